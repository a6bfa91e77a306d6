"""Keeps Ctrl-C from being lost."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

__all__ = ["NotedInterrupt"]


class NotedInterrupt:
    """Notes an interrupt that comes while it is entered, besides what else handles it. For the main thread only.

    A handler raises wherever the main thread is, and Python prints and drops what is raised in a `__del__` or in the
    callback of a weak reference: https://docs.python.org/3/reference/datamodel.html#object.__del__
    """

    def __init__(self) -> None:
        self._handler: Any = None
        self._has_come = False

    def __enter__(self) -> NotedInterrupt:
        self._handler = signal.getsignal(signal.SIGINT)
        # It is none where interrupts are ignored, as after `nohup`.
        if callable(self._handler):
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._handler)
        self._has_come = False

    def raise_again(self) -> None:
        """Hand it to its handler once more, if it has come."""
        if self._has_come:
            self._handler(signal.SIGINT, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._has_come = True
        self._handler(number, frame)
