"""Decides which files fit into OpenAI's queue, which holds so many prompt tokens of each model at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot
from flytekitplugins.openai.batch.records.manifest import Manifest

from .batch_phase import FAILED, SUCCEEDED
from .retry_policy import is_over_quota
from .shard_plan import refused_at

__all__ = ["Queues"]

# https://github.com/openai/openai-python/issues/2084 has the whole message.
LIMIT = re.compile(r"\bLimit: *([\d,]+)")
# How many times as large as the queue a file must be for it to be certain that it can never run: OpenAI counts in its
# own way, and an estimate may be three times as high.
CERTAIN_COUNT, CERTAIN_ESTIMATE = 1.1, 3.0


@dataclass(frozen=True)
class Queues:
    """OpenAI's queues of the models that a task's files are for.

    Attributes:
        manifest: What is in the files; an empty one if that is not known.
        files: Their ids.
        batches: All batches of the node.
    """

    manifest: Manifest
    files: Sequence[str]
    batches: Sequence[BatchSnapshot]
    limits: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", dict(self._limits()))

    def too_large(self, number: int) -> str:
        """Why a file can never run, as a sentence; "" if it can.

        Args:
            number: Of the file, counted from 0.
        """
        if not self.manifest.files:
            return ""
        model, tokens = self.manifest.model_of(number), self.manifest.files[number].tokens
        limit = self.limits.get(model)
        certain = CERTAIN_COUNT if self.manifest.exact else CERTAIN_ESTIMATE
        if self.manifest.cut_again:
            # To be wrong costs nothing.
            certain = 1.0
        if limit is None or tokens <= limit * certain:
            return ""
        about = "" if self.manifest.exact else "about "
        return (
            f"File {self.files[number]!r} has {about}{tokens:,} tokens, and can never run, because the queue of "
            f"{model!r} holds {limit:,}: set enqueued_token_limit={limit} for smaller files, or max_resubmissions=1"
        )

    def fitting(self, due: Sequence[int]) -> list[int]:
        """Those of the files that are due for which the queue has room, in the same order.

        Of one model no file overtakes another. A file that seems to be larger than the queue is tried when none of its
        model is under way.
        """
        if not self.limits:
            return list(due)
        used = self._under_way()
        full: set[str] = set()
        chosen: list[int] = []
        for number in due:
            model, tokens = self.manifest.model_of(number), self.manifest.files[number].tokens
            limit = self.limits.get(model)
            under_way = used.get(model, 0)
            if limit is not None and (model in full or (under_way and under_way + tokens > limit)):
                full.add(model)
                continue
            used[model] = under_way + tokens
            chosen.append(number)
        return chosen

    def waiting(self, held: Sequence[int]) -> str:
        """Why files are not submitted yet, in words; "" if there are none."""
        if not held:
            return ""
        model = self.manifest.model_of(held[0])
        what = "1 file waits" if len(held) == 1 else f"{len(held):,} files wait"
        return f"{what} for room in the queue of {model!r}, which holds {self.limits.get(model, 0):,} tokens"

    def _under_way(self) -> dict[str, int]:
        """The tokens of each model that are in the queue now, as far as they are the task's own."""
        numbers = {file_id: number for number, file_id in enumerate(self.files)}
        used: dict[str, int] = {}
        for batch in self.batches:
            number = numbers.get(batch.input_file_id or "")
            if number is not None and batch.status not in (*SUCCEEDED, *FAILED):
                model = self.manifest.model_of(number)
                used[model] = used.get(model, 0) + self.manifest.files[number].tokens
        return used

    def _limits(self) -> Iterator[tuple[str, int]]:
        """How many tokens each queue holds: as the user says, or fewer as OpenAI said when it last refused a batch."""
        yield from self.manifest.limits.items()
        if not self.manifest.files:
            return
        models = {file_id: self.manifest.model_of(number) for number, file_id in enumerate(self.files)}
        refused = [batch for batch in self.batches if is_over_quota(batch) and batch.input_file_id in models]
        told = {
            models[batch.input_file_id or ""]: limit
            for batch in sorted(refused, key=refused_at)
            if (limit := _limit_in(batch)) is not None
        }
        for model, limit in told.items():
            yield model, min(limit, self.manifest.limits.get(model, limit))


def _limit_in(batch: BatchSnapshot) -> int | None:
    """The limit that a refusal names; one of 0 says nothing about the size of a file."""
    found = (LIMIT.search(error.message or "") for error in batch.errors)
    return next((limit for match in found if match and (limit := int(match[1].replace(",", "") or 0))), None)
