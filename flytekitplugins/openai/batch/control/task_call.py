"""One call of the connector about one task."""

from __future__ import annotations

from dataclasses import dataclass

from .batches_api import BatchesAPI
from .state.poll_state import PollState
from .state.task_spec import TaskSpec

__all__ = ["TaskCall"]


@dataclass(frozen=True)
class TaskCall:
    """What a call works with.

    Attributes:
        api: The account's batches.
        spec: What the task asks for.
        state: What this process knows of the task. The call keeps it up to date.
        now: Unix seconds.
    """

    api: BatchesAPI
    spec: TaskSpec
    state: PollState
    now: float
