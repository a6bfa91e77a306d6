"""Cuts the input into shards, each of which fits into one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from flytekitplugins.openai._lines import LineTooLongError, whole_lines

from .duplicates import UniqueIds, find_repetitions
from .endpoints import EMBEDDINGS, canonical_endpoint
from .file_kinds import HEAD, complaint_about
from .lines import Block, RequestLine, RequestReader
from .problems import SHOWN, BadRequestsError, Problems

__all__ = ["Complete", "Limits", "Lines", "Shard", "Sharder"]

# A file of another kind has too many problems to count them all.
MOST_PROBLEMS = 10_000


@dataclass(frozen=True)
class Limits:
    """The limits of one batch, and how many batches there may be.

    The first three are in https://platform.openai.com/docs/guides/batch#rate-limits .

    Attributes:
        requests: Lines of a shard.
        size: Bytes of a shard.
        embedding_inputs: Texts to embed in a shard.
        shards: Of an input. Their ids are kept in Flyte's record of the task, which is not made for more.
    """

    requests: int = 50_000
    size: int = 200_000_000
    embedding_inputs: int = 50_000
    shards: int = 500


@dataclass
class Shard:
    """A part of the input that becomes a file and a batch of its own; `number` counts from 0."""

    number: int
    model: str | None
    requests: int = 0
    size: int = 0
    embedding_inputs: int = 0


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
        self._shards = 0

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
                        raise BadRequestsError(f"{self._problems}; {rest}")
            except LineTooLongError:
                self._problems.add(self._reader.line + 1, "is too long", f"over {self._limits.size:,} bytes")
                # What comes after it is not looked at.
                raise BadRequestsError(str(self._problems)) from None
            repeated, count = unique.repeated()
        if repeated:
            where = find_repetitions(repeated, whole_lines(open_input(), longest=self._limits.size))
            # Without any, different ids had the same hash.
            if first := list(islice(where, SHOWN)):
                self._problems.add_all("repeats a custom_id", first, count=count)
        if self._problems:
            raise BadRequestsError(str(self._problems))
        if not self.requests and not self._may_be_empty:
            raise BadRequestsError("it has no requests, and a batch needs at least one")
        for shard in sorted(self._open.values(), key=lambda shard: shard.number):
            yield Complete(shard)

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
            if shard is not None and self._fits(shard, len(custom_ids), len(block.data), sum(inputs)):
                _count(shard, len(custom_ids), len(block.data), sum(inputs))
                yield Lines(shard, block.data, custom_ids)
                return
        yield from self._place_one_by_one(block, inputs)

    def _place_one_by_one(self, block: Block, inputs: Sequence[int]) -> Iterator[Lines | Complete]:
        run: list[bytes] = []
        custom_ids: list[str] = []
        last: Shard | None = None
        counts = inputs or [0] * len(block.lines)
        for number, line, request, count in zip(block.numbers, block.lines, block.requests, counts, strict=True):
            size = len(line) + 1
            shard = self._open.get(request.body.model)
            is_full = shard is not None and not self._fits(shard, 1, size, count)
            if last is not None and (shard is not last or is_full):
                yield Lines(last, b"".join(run), custom_ids)
                run, custom_ids = [], []
            if shard is None or is_full:
                if shard is not None:
                    yield Complete(shard)
                shard = self._new_shard(request.body.model, size, count, line=number)
            if shard is None:
                # It was a problem, after which nothing is placed.
                return
            _count(shard, 1, size, count)
            run += (line, b"\n")
            custom_ids.append(request.custom_id)
            last = shard
        if last is not None:
            yield Lines(last, b"".join(run), custom_ids)

    def _new_shard(self, model: str | None, size: int, inputs: int, *, line: int) -> Shard | None:
        most = self._limits
        shard = Shard(self._shards, model)
        if not self._fits(shard, 1, size, inputs):
            what = f"{size:,} bytes" if size > most.size else f"{inputs:,} embedding inputs"
            self._problems.add(line, "is more than a batch can take", what)
        elif self._shards == most.shards:
            limit = f"{most.requests:,} requests or {most.size:,} bytes of one model"
            batches = "one batch" if most.shards == 1 else f"{most.shards:,} batches"
            self._problems.add(line, f"does not fit into {batches}", f"of {limit}; {self._many}")
        else:
            self._shards += 1
            self._open[model] = shard
            return shard
        return None

    def _fits(self, shard: Shard, requests: int, size: int, inputs: int) -> bool:
        most = self._limits
        return (
            shard.requests + requests <= most.requests
            and shard.size + size <= most.size
            and shard.embedding_inputs + inputs <= most.embedding_inputs
        )

    def _embedding_inputs(self, requests: Iterable[RequestLine]) -> list[int]:
        endpoint = self._reader.endpoint
        if endpoint is None or canonical_endpoint(endpoint) != EMBEDDINGS:
            return []
        return [_inputs_in(getattr(request.body, "input", None)) for request in requests]


def _inputs_in(given: object) -> int:
    """How many texts one request embeds. A list of numbers is one text, as tokens."""
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return len(given)
    return 1


def _count(shard: Shard, requests: int, size: int, inputs: int) -> None:
    shard.requests += requests
    shard.size += size
    shard.embedding_inputs += inputs
