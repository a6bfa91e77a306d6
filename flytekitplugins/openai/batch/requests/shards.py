"""The limits of a batch, and what counts against them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from flytekitplugins.openai._tokenizer import counts_exactly
from flytekitplugins.openai.batch.records.manifest import FileEntry, Manifest

from .tokens import Load

__all__ = ["NOTHING", "Amount", "Limits", "Shard", "limits_of", "manifest_of", "usable"]

# Of the tokens that OpenAI's queue takes, what a file may have.
QUEUE_SHARE = 0.95
# As in `gpt-4o-mini-2024-07-18`.
VERSION = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Limits:
    """The limits of one batch, and how many batches there may be.

    The first three are in https://platform.openai.com/docs/guides/batch#rate-limits .

    Attributes:
        requests: Lines of a shard.
        size: Bytes of a shard.
        embedding_inputs: Texts to embed in a shard.
        shards: Of an input. Their ids are kept in Flyte's record of the task, which is not made for more.
        enqueued_tokens: Prompt tokens that OpenAI's queue takes, by model.
        enqueued_tokens_otherwise: The same for every other model; `None`: any number.
    """

    requests: int = 50_000
    size: int = 200_000_000
    embedding_inputs: int = 50_000
    shards: int = 500
    enqueued_tokens: Mapping[str, int] = field(default_factory=dict)
    enqueued_tokens_otherwise: int | None = None

    def queue_of(self, model: str | None) -> int | None:
        """How many tokens OpenAI's queue takes for a model; `None`: any number."""
        name = model or ""
        # A version of a model has the queue of the model.
        known = (each for each in (name, VERSION.sub("", name)) if each in self.enqueued_tokens)
        return self.enqueued_tokens.get(next(known, name), self.enqueued_tokens_otherwise)

    def allow(self, shard: Shard, amount: Amount) -> bool:
        """Whether a shard can take this in."""
        queue = self.queue_of(shard.model)
        return (
            shard.requests + amount.requests <= self.requests
            and shard.size + amount.size <= self.size
            and shard.embedding_inputs + amount.embedding_inputs <= self.embedding_inputs
            and (queue is None or shard.load.plus(amount.load).prompt <= usable(queue))
        )

    def scaled(self, share: float) -> Limits:
        """A part of these limits."""
        others = self.enqueued_tokens_otherwise
        return replace(
            self,
            requests=int(self.requests * share),
            size=int(self.size * share),
            embedding_inputs=int(self.embedding_inputs * share),
            enqueued_tokens={model: int(limit * share) for model, limit in self.enqueued_tokens.items()},
            enqueued_tokens_otherwise=None if others is None else int(others * share),
        )


class Amount(NamedTuple):
    """What requests add to a shard, by its attributes of the same names."""

    requests: int
    size: int
    embedding_inputs: int
    load: Load


NOTHING = Amount(0, 0, 0, Load())


@dataclass
class Shard:
    """A part of the input that becomes a file and a batch of its own; `number` counts from 0."""

    number: int
    model: str | None
    requests: int = 0
    size: int = 0
    embedding_inputs: int = 0
    load: Load = field(default_factory=Load)

    def add(self, amount: Amount) -> None:
        """Count more requests in."""
        self.requests += amount.requests
        self.size += amount.size
        self.embedding_inputs += amount.embedding_inputs
        self.load = self.load.plus(amount.load)


def limits_of(enqueued: float | Mapping[str, float] | None, told: Iterable[Mapping[str, float]] = ()) -> Limits:
    """The limits of a batch with a queue of this size.

    Args:
        enqueued: How many tokens OpenAI's queue takes, of every model or by model; `None`: any number.
        told: The same by model, as OpenAI said when it refused a batch; the lower one counts.
    """
    by_model = {model: int(limit) for model, limit in enqueued.items()} if isinstance(enqueued, Mapping) else {}
    otherwise = int(enqueued) if isinstance(enqueued, (int, float)) else None
    for each in told:
        for model, limit in each.items():
            by_model[model] = min(int(limit), by_model.get(model, otherwise or int(limit)))
    return Limits(enqueued_tokens=by_model, enqueued_tokens_otherwise=otherwise)


def usable(queue: int) -> int:
    """How many tokens one file may have, of those that the queue takes: OpenAI may count a few more than we do."""
    return int(queue * QUEUE_SHARE)


def manifest_of(
    shards: Sequence[Shard], limits: Limits, *, digests: Mapping[int, str], reused: Mapping[int, str], cut_again: bool
) -> Manifest:
    """What is in these shards.

    Args:
        shards: In their order.
        limits: By which they were cut.
        digests: Of their lines, by their numbers, as far as there are any.
        reused: The batches whose results are reused in place of a shard's, in the same way.
        cut_again: Whether what turns out to be too large will be cut again.
    """
    models = list(dict.fromkeys(shard.model or "" for shard in shards))
    files = tuple(
        FileEntry(
            models.index(shard.model or ""),
            shard.requests,
            shard.load.prompt,
            None if shard.load.open_answers else shard.load.answer,
            # What is reused gets no batch that a digest could be in.
            "" if shard.number in reused else digests.get(shard.number, ""),
            reused.get(shard.number, ""),
        )
        for shard in shards
    )
    queues = {model: limit for model in models if (limit := limits.queue_of(model)) is not None}
    return Manifest(tuple(models), files, exact=counts_exactly(), limits=queues, cut_again=cut_again)
