"""Cuts the input into shards, each of which fits into one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from flytekitplugins.openai._lines import LineTooLongError, whole_lines
from flytekitplugins.openai._tokenizer import counts_exactly
from flytekitplugins.openai.batch.records.manifest import FileEntry, Manifest

from .duplicates import UniqueIds, find_repetitions
from .endpoints import EMBEDDINGS, canonical_endpoint
from .file_kinds import HEAD, complaint_about
from .lines import Block, RequestReader
from .problems import SHOWN, BadRequestsError, Problems
from .request_line import RequestLine, inputs_in
from .shards import Amount, Limits, Shard, usable

__all__ = ["Complete", "Lines", "Sharder"]

# A file of another kind has too many problems to count them all.
MOST_PROBLEMS = 10_000


@dataclass(frozen=True)
class Lines:
    """Consecutive lines of the input to append to a shard.

    Attributes:
        shard: Which one, with these lines counted in.
        data: The lines as they are in the input, each ended by a newline.
        custom_ids: Theirs, in the same order.
    """

    shard: Shard
    data: bytes
    custom_ids: list[str]


@dataclass(frozen=True)
class Complete:
    """This shard is complete."""

    shard: Shard


class Sharder:
    """Checks an input and cuts it into shards.

    Args:
        endpoint: Where every request must go; `None`: where the first one goes.
        limits: What one batch can take.
        many: What to do with more than the limits allow, for the error message.
        may_be_empty: Whether no requests at all are good.
    """

    def __init__(
        self, endpoint: str | None, *, limits: Limits | None = None, many: str = "", may_be_empty: bool = False
    ) -> None:
        self.requests = 0
        self._limits = limits or Limits()
        self._many = many
        self._may_be_empty = may_be_empty
        self._problems = Problems()
        self._reader = RequestReader(endpoint, self._problems)
        self._open: dict[str | None, Shard] = {}
        self._shards: list[Shard] = []

    @property
    def endpoint(self) -> str | None:
        """Where the requests go; `None` while that is not known."""
        return self._reader.endpoint

    def cut(self, open_input: Callable[[], Iterable[bytes]]) -> Iterator[Lines | Complete]:
        """Read the input once, and yield which lines go into which shard, in input order.

        Args:
            open_input: Gives the input's bytes from its beginning, in chunks of any size. It is called once more when
                a `custom_id` seems to be repeated.

        Raises:
            BadRequestsError: Some of the input cannot be sent; after the first problem nothing is cut any more.
        """
        with UniqueIds() as unique:
            chunks = iter(open_input())
            head: list[bytes] = []
            while sum(map(len, head)) < HEAD and (chunk := next(chunks, b"")):
                head.append(chunk)
            if complaint := complaint_about(b"".join(head)):
                raise BadRequestsError(f"it {complaint}")
            try:
                for data in whole_lines(chain(head, chunks), longest=self._limits.size):
                    yield from self._cut_block(data, unique)
                    if self._problems.count >= MOST_PROBLEMS:
                        rest = f"what comes after line {self._reader.line:,} was not checked"
                        raise BadRequestsError(f"{self._problems}; {rest}", [*self._problems.details, rest])
            except LineTooLongError:
                self._problems.add(self._reader.line + 1, "is too long", f"over {self._limits.size:,} bytes")
                # What comes after it is not looked at.
                raise BadRequestsError(str(self._problems), self._problems.details) from None
            repeated, count = unique.repeated()
        if repeated:
            where = find_repetitions(repeated, whole_lines(open_input(), longest=self._limits.size))
            # Without any, different ids had the same hash.
            if first := list(islice(where, SHOWN)):
                self._problems.add_all("repeats a custom_id", first, count=count)
        if self._problems:
            raise BadRequestsError(str(self._problems), self._problems.details)
        if not self.requests and not self._may_be_empty:
            raise BadRequestsError("it has no requests, and a batch needs at least one")
        for shard in sorted(self._open.values(), key=lambda shard: shard.number):
            yield Complete(shard)

    def manifest(
        self, *, digests: Mapping[int, str] | None = None, reused: Mapping[int, str] | None = None
    ) -> Manifest:
        """What is in the shards so far.

        Args:
            digests: Of their lines, by their numbers, as far as there are any.
            reused: The batches whose results are reused in place of a shard's, in the same way.
        """
        digests, reused = digests or {}, reused or {}
        models = list(dict.fromkeys(shard.model or "" for shard in self._shards))
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
            for shard in self._shards
        )
        limits = {model: limit for model in models if (limit := self._limits.queue_of(model)) is not None}
        return Manifest(tuple(models), files, exact=counts_exactly(), limits=limits)

    def _cut_block(self, data: bytes, unique: UniqueIds) -> Iterator[Lines | Complete]:
        block = self._reader.read(data)
        self.requests += len(block.requests)
        custom_ids = [request.custom_id for request in block.requests]
        unique.add(custom_ids)
        if block.requests and not self._problems:
            yield from self._place(block, custom_ids)

    def _place(self, block: Block, custom_ids: list[str]) -> Iterator[Lines | Complete]:
        models = {request.body.model for request in block.requests}
        inputs = self._embedding_inputs(block.requests)
        if len(models) == 1:
            shard = self._open.get(block.requests[0].body.model)
            whole = Amount(len(custom_ids), len(block.data), sum(inputs), self._reader.load_of(block.requests))
            if shard is not None and self._fits(shard, whole):
                shard.add(whole)
                yield Lines(shard, block.data, custom_ids)
                return
        yield from self._place_one_by_one(block, inputs)

    def _place_one_by_one(self, block: Block, inputs: Sequence[int]) -> Iterator[Lines | Complete]:
        run: list[bytes] = []
        custom_ids: list[str] = []
        last: Shard | None = None
        counts = inputs or [0] * len(block.lines)
        for number, line, request, count in zip(block.numbers, block.lines, block.requests, counts, strict=True):
            shard = self._open.get(request.body.model)
            one = Amount(1, len(line) + 1, count, self._reader.load_of([request]))
            is_full = shard is not None and not self._fits(shard, one)
            if last is not None and (shard is not last or is_full):
                yield Lines(last, b"".join(run), custom_ids)
                run, custom_ids = [], []
            if shard is None or is_full:
                if shard is not None:
                    yield Complete(shard)
                shard = self._new_shard(request.body.model, one, line=number)
            if shard is None:
                # It was a problem, after which nothing is placed.
                return
            shard.add(one)
            run += (line, b"\n")
            custom_ids.append(request.custom_id)
            last = shard
        if last is not None:
            yield Lines(last, b"".join(run), custom_ids)

    def _new_shard(self, model: str | None, first: Amount, *, line: int) -> Shard | None:
        most = self._limits
        shard = Shard(len(self._shards), model)
        if not self._fits(shard, first):
            self._problems.add(line, "is more than a batch can take", self._excess(model, first))
        elif len(self._shards) == most.shards:
            limit = f"{most.requests:,} requests or {most.size:,} bytes of one model"
            if (queue := most.queue_of(model)) is not None:
                limit = f"{limit}, or {usable(queue):,} tokens of {model!r}"
            batches = "one batch" if most.shards == 1 else f"{most.shards:,} batches"
            self._problems.add(line, f"does not fit into {batches}", f"of {limit}; {self._many}")
        else:
            self._shards.append(shard)
            self._open[model] = shard
            return shard
        return None

    def _fits(self, shard: Shard, amount: Amount) -> bool:
        most, queue = self._limits, self._limits.queue_of(shard.model)
        return (
            shard.requests + amount.requests <= most.requests
            and shard.size + amount.size <= most.size
            and shard.embedding_inputs + amount.embedding_inputs <= most.embedding_inputs
            and (queue is None or shard.load.plus(amount.load).prompt <= usable(queue))
        )

    def _excess(self, model: str | None, amount: Amount) -> str:
        """Which limit of a batch a single request is beyond."""
        if amount.size > self._limits.size:
            return f"{amount.size:,} bytes"
        if amount.embedding_inputs > self._limits.embedding_inputs:
            return f"{amount.embedding_inputs:,} embedding inputs"
        usable_tokens = usable(self._limits.queue_of(model) or 0)
        return f"{amount.load.prompt:,} tokens, and of the queue of {model!r} {usable_tokens:,} are used"

    def _embedding_inputs(self, requests: Iterable[RequestLine]) -> list[int]:
        endpoint = self._reader.endpoint
        if endpoint is None or canonical_endpoint(endpoint) != EMBEDDINGS:
            return []
        return [inputs_in(request.body) for request in requests]
