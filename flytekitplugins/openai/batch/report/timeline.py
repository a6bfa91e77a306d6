"""When each batch was in which state, and how that is drawn on a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot

__all__ = ["Phase", "Span", "Stay", "duration", "phases_of", "stays_in", "ticks_of"]

# What begins each state, in the order in which a batch passes through them.
_STATES = {
    "created_at": "validating",
    "in_progress_at": "in progress",
    "finalizing_at": "finalizing",
    "cancelling_at": "cancelling",
}
MINUTE, HOUR, DAY = 60, 3_600, 86_400
_STEPS = (1, 2, 5, 10, 15, 30, *(MINUTE * n for n in (1, 2, 5, 10, 15, 30)), *(HOUR * n for n in (1, 2, 3, 6, 12)))
MOST_TICKS = 6


@dataclass(frozen=True)
class Span:
    """A stretch of time, in Unix seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start

    def position(self, moment: float) -> float:
        """The position of a time in the span, in percent."""
        return 100 * (moment - self.start) / self.seconds if self.seconds else 0.0

    @classmethod
    def of(cls, batches: Sequence[BatchSnapshot]) -> Span | None:
        """From the first creation to the last end; `None` when no time is known."""
        times = [at for batch in batches for name, at in batch.times.items() if name != "expires_at"]
        return cls(min(times), max(times)) if times else None


@dataclass(frozen=True)
class Phase:
    """A batch's stay in one state."""

    state: str
    span: Span


@dataclass(frozen=True)
class Stay:
    """How long batches were in a state, in seconds."""

    state: str
    typical: float
    longest: float


def phases_of(batch: BatchSnapshot) -> list[Phase]:
    """The states that a batch went through, by its times; a time that goes back counts as no progress."""
    begun: list[tuple[float, str]] = []
    for name, state in _STATES.items():
        at = batch.times.get(name)
        if at is not None:
            begun.append((max(at, begun[-1][0]) if begun else at, state))
    if not begun:
        return []
    ends = [at for at, _ in begun[1:]]
    last = max(batch.ended_at or 0.0, begun[-1][0])
    return [Phase(state, Span(at, end)) for (at, state), end in zip(begun, [*ends, last], strict=True)]


def stays_in(batches: Sequence[BatchSnapshot]) -> list[Stay]:
    """How long the batches were in each state, without states that no batch was in."""
    phases = [phase for batch in batches for phase in phases_of(batch)]
    stays = []
    for state in _STATES.values():
        seconds = [phase.span.seconds for phase in phases if phase.state == state]
        if seconds:
            stays.append(Stay(state, median(seconds), max(seconds)))
    return stays


def ticks_of(span: Span) -> list[tuple[float, str]]:
    """Marks for a time line: where, in percent, and how long after its start."""
    step = next((step for step in _STEPS if span.seconds / step <= MOST_TICKS), 0)
    if not step:
        step = DAY * max(1, -(-int(span.seconds) // (DAY * MOST_TICKS)))
    count = int(span.seconds // step) + 1
    return [(span.position(span.start + step * number), duration(step * number)) for number in range(count)]


def duration(seconds: float) -> str:
    """`2 h 5 min`: the two largest units, and of seconds only whole ones."""
    left = max(int(seconds + 0.5), 0)
    parts: list[tuple[int, str]] = []
    for name, size in (("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count:,} {name}" for count, name in parts[:2] if count) or "0 s"
