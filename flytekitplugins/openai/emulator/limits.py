"""Rate limits of a project, beyond which it gets a 429."""

from __future__ import annotations

import math
from collections import deque

from .errors import ApiError

__all__ = ["RateLimits"]


class RateLimits:
    """The recent calls of each project. Times are Unix seconds."""

    def __init__(self) -> None:
        self._recent: dict[tuple[str, str], deque[float]] = {}

    def spend(self, what: str, *, project: str, limit: int, window: float, now: float) -> None:
        """Count one use against `limit` uses within the last `window` seconds.

        Raises:
            ApiError: 429, with the whole seconds after which there is room again in `Retry-After`.
        """
        recent = self._recent.setdefault((what, project), deque())
        while recent and recent[0] <= now - window:
            recent.popleft()
        if len(recent) >= limit:
            oldest = recent[0] if recent else now
            wait = math.ceil(oldest + window - now)
            raise ApiError(
                429,
                f"Rate limit reached: {limit} {what} creations in {window} seconds. Try again in {wait} s.",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(wait)},
            )
        recent.append(now)
