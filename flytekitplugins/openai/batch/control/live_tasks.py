"""Counts the live tasks and their batches, for an operator's metrics."""

from __future__ import annotations

import time

from flytekitplugins.openai._metrics import Census

from .policy.batch_phase import FAILED, RUNNING, SUCCEEDED
from .state.poll_state import LIVE_SECONDS, PollStates

__all__ = ["LiveTasks"]

# Other servers have statuses of their own, of which there might be any number.
STATUSES = frozenset({*RUNNING, *SUCCEEDED, *FAILED})


class LiveTasks:
    """The tasks that Flyte has asked for in the last ten minutes."""

    def __init__(self, states: PollStates) -> None:
        self._states = states

    def census(self) -> Census:
        """Count them. Another thread than that of the polls calls it."""
        now = time.time()
        census = Census()
        for state in self._states.seen_since(now - LIVE_SECONDS):
            if state.phase is not None:
                census.tasks[state.phase.name] += 1
            census.batches.update(
                batch.status if batch.status in STATUSES else "other" for batch in list(state.batches.values())
            )
            census.enqueued_tokens += state.enqueued_tokens
            if state.waits_since is not None:
                census.oldest_waiting = max(census.oldest_waiting, now - state.waits_since)
        return census
