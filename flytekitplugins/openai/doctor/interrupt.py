"""Keeps Ctrl-C from being lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["NotedInterrupt"]


class NotedInterrupt:
    """Notes an interrupt that comes while it is entered, and calls the handler that was there.

    A handler raises wherever the main thread is, and Python prints and drops what is raised in a `__del__` or in the
    callback of a weak reference: https://docs.python.org/3/reference/datamodel.html#object.__del__

    In another thread than the main one, where Python handles no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._handler: Any = None
        self._has_come = False

    def __enter__(self) -> NotedInterrupt:
        handler = signal.getsignal(signal.SIGINT)
        # There is none where interrupts are ignored, as in the background of a shell.
        if callable(handler) and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        if error is None:
            self.raise_again()
        self._has_come = False

    def raise_again(self) -> None:
        """Call the handler once more if an interrupt has come and what it raised was dropped."""
        if self._has_come:
            self._has_come = False
            self._handler(signal.SIGINT, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._has_come = True
        self._handler(number, frame)
