"""The rows that requests are made of, for whoever wants to see them in the same process: an emulator, in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Observer", "observe", "observers"]

# Called with a request and the row that it was made of.
Observer = Callable[[Mapping[str, Any], Mapping[str, Any]], None]
observers: list[Observer] = []


def observe(request: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """Show a request and its row to all observers, of which there is none outside of tests."""
    for observer in observers:
        observer(request, row)
