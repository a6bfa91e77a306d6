"""What a process keeps of its tasks from one poll to the next. It saves calls; a new process works without it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .phase import Phase, PhaseInfo
from .snapshot import BatchSnapshot

__all__ = ["LIVE_SECONDS", "MAX_TASKS", "Outage", "PollState", "PollStates"]

# More than one core can poll every 30 seconds; each takes some ten kilobytes.
MAX_TASKS = 20_000
# A task that Flyte has not asked for in that time is over, or is another replica's.
LIVE_SECONDS = 600.0


@dataclass(frozen=True)
class Outage:
    """A streak of failed polls. Times are Unix seconds.

    Attributes:
        reason: What happened last, as a sentence.
        since: When the streak began.
        not_found_since: Since when OpenAI has answered nothing but 404.
        window_ends_at: When the completion window of the task's batches ends, if that is known.
        submitted: Whether the task has a batch.
        assumed_phase: The phase to report if this process has never seen the task's batches.
        unreached_since: Since when a local run that has submitted nothing has not reached OpenAI.
    """

    reason: str
    since: float
    not_found_since: float | None = None
    window_ends_at: float | None = None
    submitted: bool = True
    assumed_phase: Phase = Phase.RUNNING
    unreached_since: float | None = None


@dataclass
class PollState:
    """What is known of one task. Times are Unix seconds.

    Attributes:
        batches: The task's current batches, keyed by input file id, as they were last seen.
        final: Batches of the task that will not change any more, by id. They are not polled again.
        polled_at: When each other batch was polled last, by id.
        last_info: The phase and message that the last successful poll led to.
        duplicates_checked_at: When OpenAI's list was last checked for duplicates of the task's batches.
        backoff_until: When the next submission is due.
        refusals: How many submissions in a row OpenAI has refused for now.
        outage: The current streak of failed polls.
        waiting: Why a file of the task waits, as last seen; "" when none does.
        has_started: Whether one of its batches has passed validation, or Flyte was told RUNNING.
        gone: Ids of batches of earlier runs that OpenAI does not have any more.
        seen_at: When Flyte asked for it last.
        phase: What Flyte was told then.
        waits_since: Since when a file of it waits, or all of it; `None` if none does.
        enqueued_tokens: The prompt tokens of its batches that have not ended, as far as they are known.
        may_have_unknown_batch: Whether this process may have created a batch that it does not know, because the reply
            was lost.
    """

    batches: dict[str, BatchSnapshot] = field(default_factory=dict)
    final: dict[str, BatchSnapshot] = field(default_factory=dict)
    polled_at: dict[str, float] = field(default_factory=dict)
    last_info: PhaseInfo | None = None
    duplicates_checked_at: float | None = None
    backoff_until: float = 0.0
    refusals: int = 0
    outage: Outage | None = None
    waiting: str = ""
    has_started: bool = False
    gone: set[str] = field(default_factory=set)
    may_have_unknown_batch: bool = False
    seen_at: float = 0.0
    phase: Phase | None = None
    waits_since: float | None = None
    enqueued_tokens: int = 0

    @property
    def batch_ids(self) -> list[str]:
        """The ids of the current batches."""
        return [batch.id for batch in self.batches.values()]

    @property
    def window_ends_at(self) -> float | None:
        """When the last completion window of the batches that have not ended ends, if that is known."""
        running = (batch for batch in self.batches.values() if batch.ended_at is None)
        return max((end for batch in running if (end := batch.window_ends_at)), default=None)

    def record(self, batches: Mapping[str, BatchSnapshot], info: PhaseInfo | None = None) -> None:
        """Keep the current batches, keyed by input file id, and the phase that they led to."""
        if len(batches) > 1:
            # Hundreds of whole replies are some megabytes.
            batches = {file_id: replace(batch, raw={}) for file_id, batch in batches.items()}
        self.batches, self.last_info = dict(batches), info
        if len(self.polled_at) > 2 * len(batches) + 1:
            self.polled_at = {batch.id: self.polled_at.get(batch.id, 0.0) for batch in batches.values()}

    def note_answer(self, phase: Phase, *, now: float) -> None:
        """Note what Flyte is told of the task."""
        self.seen_at, self.phase = now, phase
        # Flyte would not send RUNNING to its console a second time.
        self.has_started = self.has_started or phase is Phase.RUNNING
        is_waiting = bool(self.waiting) or phase is Phase.WAITING_FOR_RESOURCES
        self.waits_since = (now if self.waits_since is None else self.waits_since) if is_waiting else None

    def back_off(self, *, until: float) -> None:
        """Note that OpenAI refused a submission for now; the next one is due at `until`."""
        self.refusals += 1
        self.backoff_until = until

    def end_backoff(self) -> None:
        """Note that OpenAI accepted a submission."""
        self.refusals, self.backoff_until = 0, 0.0


class PollStates:
    """The state of the tasks that are polled, by a name that no other task has."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, PollState] = OrderedDict()

    def of(self, task: str, *, now: float) -> PollState:
        """The state of a task; a new one if it is not known.

        Where there are too many, a live task's state is not dropped for that of another: they are polled in turn, so
        each would be dropped before its next poll.
        """
        state = self._states.get(task)
        if state is not None:
            self._states.move_to_end(task)
            return state
        state = PollState(seen_at=now)
        if len(self._states) >= MAX_TASKS:
            oldest, unseen = next(iter(self._states.items()))
            if now - unseen.seen_at < LIVE_SECONDS:
                return state
            del self._states[oldest]
        self._states[task] = state
        return state

    def forget(self, task: str) -> None:
        """Drop the state of a task that has ended."""
        self._states.pop(task, None)

    def seen_since(self, time: float) -> list[PollState]:
        """The tasks that Flyte has asked for since, in Unix seconds."""
        return [state for state in list(self._states.values()) if state.seen_at >= time]

    def __len__(self) -> int:
        return len(self._states)
