"""What a process keeps of its tasks between two polls. It saves calls; a new process works without it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .batch_outcome import WINDOW_SECONDS, Verdict
from .retry_policy import Trouble, backoff_seconds
from .snapshot import BatchSnapshot

__all__ = ["Memory", "TaskMemory"]

MAX_TASKS = 10_000


@dataclass
class TaskMemory:
    """One task. Times are Unix seconds.

    Attributes:
        batches: The batch that counts of each file, by the file's id, as it was last seen.
        over: Batches of the task's that are over, by their ids: nobody need ask about them again.
        asked_at: When OpenAI was asked last about each of the others, by its id.
        ends_at: When the last of their windows closes.
        verdict: What the last usable answer came to.
        looked_at: When it was made sure last that the task has one batch only.
        not_before: When a submission that was put off is due.
        put_off: How often in a row it was.
        trouble: Why OpenAI cannot be asked, while that lasts.
        waiting: Why a file of it waits, as it was seen last; "" when none does.
        has_started: Whether a batch of it has passed validation, or Flyte was told so.
        is_in_doubt: Whether there may be a batch that this process made and does not know: the reply was lost.
    """

    batches: dict[str, BatchSnapshot] = field(default_factory=dict)
    over: dict[str, BatchSnapshot] = field(default_factory=dict)
    asked_at: dict[str, float] = field(default_factory=dict)
    ends_at: float | None = None
    verdict: Verdict | None = None
    looked_at: float | None = None
    not_before: float = 0.0
    put_off: int = 0
    trouble: Trouble | None = None
    waiting: str = ""
    has_started: bool = False
    is_in_doubt: bool = False

    @property
    def batch_ids(self) -> list[str]:
        """The batches that count."""
        return [batch.id for batch in self.batches.values()]

    def remember(self, batches: Mapping[str, BatchSnapshot], verdict: Verdict | None = None) -> None:
        """Keep what was seen of the batches that count, by their files, and what it came to."""
        if len(batches) > 1:
            # Hundreds of whole answers are some megabytes.
            batches = {file_id: replace(batch, raw={}) for file_id, batch in batches.items()}
        self.batches, self.verdict = dict(batches), verdict
        if len(self.asked_at) > 2 * len(batches) + 1:
            self.asked_at = {batch.id: self.asked_at.get(batch.id, 0.0) for batch in batches.values()}
        self.ends_at = max((end for batch in batches.values() if (end := _end_of(batch))), default=None)

    def put_off_submissions(self, *, retry_after: float | None, now: float) -> None:
        """Submit nothing for a while: longer each time in a row."""
        self.put_off += 1
        self.not_before = now + backoff_seconds(self.put_off, retry_after=retry_after)

    def go_on_submitting(self) -> None:
        """OpenAI has taken a batch."""
        self.put_off, self.not_before = 0, 0.0


class Memory:
    """The tasks that were asked about last."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, TaskMemory] = OrderedDict()

    def of(self, task: str) -> TaskMemory:
        """What is remembered of a task, by any name that is its own."""
        memory = self._tasks.setdefault(task, TaskMemory())
        self._tasks.move_to_end(task)
        if len(self._tasks) > MAX_TASKS:
            self._tasks.popitem(last=False)
        return memory

    def forget(self, task: str) -> None:
        """A task is over."""
        self._tasks.pop(task, None)

    def __len__(self) -> int:
        return len(self._tasks)


def _end_of(batch: BatchSnapshot) -> float | None:
    started_at = batch.times.get("created_at")
    return batch.times.get("expires_at") or (started_at and started_at + WINDOW_SECONDS)
