"""A finished batch as a page a person looks at."""

from .page import Report, render

__all__ = ["Report", "render"]
