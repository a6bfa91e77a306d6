"""How deeply JSON is nested: many functions that read it are recursive, and fail with a `RecursionError`."""

from __future__ import annotations

__all__ = ["is_nested_deeper"]


def is_nested_deeper(value: object, levels: int) -> bool:
    """Whether lists and objects are nested in more levels than this; a list of numbers is one level."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [item for each in layer for item in _items(each)]
        if not layer:
            return False
    return True


def _items(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
