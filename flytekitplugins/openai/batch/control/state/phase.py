"""The phase of a task, with the message that a person reads beside it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Phase", "PhaseInfo"]


class Phase(Enum):
    """The phases that this connector reports, by their names in Flyte."""

    WAITING_FOR_RESOURCES = auto()
    INITIALIZING = auto()
    RUNNING = auto()
    SUCCEEDED = auto()
    FAILED = auto()
    RETRYABLE_FAILED = auto()

    @property
    def is_terminal(self) -> bool:
        """Whether Flyte polls no more after this phase."""
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED)


@dataclass(frozen=True)
class PhaseInfo:
    """A phase and its message."""

    phase: Phase
    message: str
