"""What a process remembers of its tasks between two polls; one that remembers nothing is right as well."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from .lifecycle import WINDOW_SECONDS, Verdict
from .patience import Trouble
from .snapshot import BatchSnapshot

__all__ = ["Memory", "TaskMemory"]

MAX_TASKS = 10_000


@dataclass
class TaskMemory:
    """One task. Times are Unix seconds.

    Attributes:
        batch_id: The batch that counts, if it is another than the one Flyte knows of.
        ends_at: When that batch's window closes.
        verdict: What the last usable answer came to.
        looked_at: When it was made sure last that the task has one batch only.
        not_before: When a submission that was put off is due.
        put_off: How often in a row it was.
        trouble: Why OpenAI cannot be asked, while that lasts.
    """

    batch_id: str = ""
    ends_at: float | None = None
    verdict: Verdict | None = None
    looked_at: float | None = None
    not_before: float = 0.0
    put_off: int = 0
    trouble: Trouble | None = None

    def remember(self, batch: BatchSnapshot, verdict: Verdict | None = None) -> None:
        """Keep what was seen of the batch that counts, and what it came to."""
        self.batch_id, self.verdict = batch.id, verdict
        started_at = batch.times.get("created_at")
        self.ends_at = batch.times.get("expires_at") or (started_at and started_at + WINDOW_SECONDS)


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
