"""The emulator's clock: real time, which a test may freeze and advance."""

from __future__ import annotations

import threading
import time

__all__ = ["Clock"]


class Clock:
    """Unix time in seconds. It only ever moves forward, as the API's own does. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead = 0.0
        self._frozen_at: float | None = None

    def now(self) -> float:
        """Seconds since the epoch, as the emulator sees them."""
        with self._lock:
            real = time.time() if self._frozen_at is None else self._frozen_at
            return real + self._ahead

    def advance(self, seconds: float) -> None:
        """Jump forward by `seconds`; works on a frozen clock as well.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock can only be advanced; got {seconds!r} seconds")
        with self._lock:
            self._ahead += seconds

    def freeze(self) -> None:
        """Stop the clock; from now on only `advance` moves it."""
        with self._lock:
            if self._frozen_at is None:
                self._frozen_at = time.time()

    def thaw(self) -> None:
        """Let real time pass again, from the clock's current time."""
        with self._lock:
            if self._frozen_at is not None:
                self._ahead -= time.time() - self._frozen_at
                self._frozen_at = None
