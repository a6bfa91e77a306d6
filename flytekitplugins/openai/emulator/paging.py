"""Lists of the API, page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .errors import invalid_value

__all__ = ["page_of"]

T = TypeVar("T")


def page_of(
    items: Sequence[T], *, key: Callable[[T], str], show: Callable[[T], dict[str, Any]], after: str | None, limit: int
) -> dict[str, Any]:
    """One page of `items`, in the form of every list of the API.

    Args:
        items: The whole list.
        key: Tells an item's id.
        show: Tells how the API shows an item.
        after: The last id of the page before; `None` for the first page.
        limit: How many items a page may hold.

    Raises:
        ApiError: 400 when `after` is not on the list.
    """
    if after is not None:
        places = [i for i, item in enumerate(items) if key(item) == after]
        if not places:
            raise invalid_value("after", after, "the id of an item of this list")
        items = items[places[0] + 1 :]
    page = items[:limit]
    return {
        "object": "list",
        "data": [show(item) for item in page],
        "first_id": key(page[0]) if page else None,
        "last_id": key(page[-1]) if page else None,
        "has_more": len(items) > limit,
    }
