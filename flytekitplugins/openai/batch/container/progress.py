"""Reports the progress of a file step: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["StepProgress", "stderr_console"]

# Seconds between two lines in a log.
SILENCE_SECONDS = 30.0


def stderr_console() -> Console:
    """The console for progress, apart from what a run prints."""
    # A notebook is no terminal, but early releases of rich treat it as one, and draw a line again and again.
    return Console(file=sys.stderr, soft_wrap=True, highlight=False, force_jupyter=False)


class StepProgress:
    """A bar in a terminal, and a line now and then in a log.

    Args:
        name: Of the step.
        total: How much there is to do, in any unit; `None` when nobody knows.
    """

    def __init__(self, name: str, *, total: float | None) -> None:
        self._name = name
        self._total = total
        self._console = stderr_console()
        self._printed_at = time.monotonic()
        self._message = ""
        self._bar: Progress | None = None
        self._row = TaskID(0)
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._row = self._bar.add_task(name, total=total)

    def show(self, message: str, *, done: float) -> None:
        """Show the progress.

        Args:
            message: In words: "340,000 requests checked".
            done: In the unit of the total.
        """
        self._message = message
        if self._bar is not None:
            self._bar.update(self._row, completed=done, description=f"{self._name}: {message}")
        elif time.monotonic() - self._printed_at >= SILENCE_SECONDS:
            self._print(f" ({100 * done / self._total:.0f}%)" if self._total else "")

    def _print(self, share: str = "") -> None:
        self._printed_at = time.monotonic()
        self._console.print(f"{self._name}: {self._message}{share}", markup=False)

    def __enter__(self) -> StepProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if error is None and self._message:
            self._print()
