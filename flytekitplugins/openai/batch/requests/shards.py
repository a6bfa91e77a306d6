"""The limits of a batch, and what counts against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .tokens import Load

__all__ = ["Amount", "Limits", "Shard", "limits_of", "usable"]

# Of the tokens that OpenAI's queue takes, what a file may have.
QUEUE_SHARE = 0.95


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
        return self.enqueued_tokens.get(model or "", self.enqueued_tokens_otherwise)


class Amount(NamedTuple):
    """What requests add to a shard, by its attributes of the same names."""

    requests: int
    size: int
    embedding_inputs: int
    load: Load


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
