"""A finished batch as a page a person looks at. Pure.

In: the batch objects, and the counts of the results. Out: the page as HTML.

- `page` has what is shown, and `report.html` how; `texts` formats numbers.
- `advice` says what to do about an error, by its code and status.
- `timeline` draws the batches over time, and `histogram` the tokens.
"""

from .page import Report, render

__all__ = ["Report", "render"]
