"""Cuts the input into shards, each of which fits into one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from zlib import crc32

from flytekitplugins.openai._lines import LineTooLongError, whole_lines
from flytekitplugins.openai.batch.records.manifest import Manifest

from .duplicates import UniqueIds, find_repetitions
from .endpoints import EMBEDDINGS, canonical_endpoint
from .file_kinds import HEAD, complaint_about
from .lines import Block, RequestReader
from .problems import SHOWN, BadRequestsError, Problems
from .prompts import prompts_in
from .request_line import RequestLine
from .shards import NOTHING, Amount, Limits, Shard, manifest_of, usable

__all__ = ["Complete", "Lines", "Sharder"]

# A shard that is to be found again ends, once it is so full, at the next of so many requests.
NEARLY_FULL, ENDS_AT_ONE_IN = 0.8, 16
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
        leave_out: Leave out what does not fit, in place of refusing the input; its requests have been run before.
        realign: Cut so that a changed line changes its own shard alone, if possible.
        cut_again: Whether what turns out to be too large for OpenAI's queue will be cut again.
    """

    def __init__(
        self,
        endpoint: str | None,
        *,
        limits: Limits | None = None,
        many: str = "",
        may_be_empty: bool = False,
        leave_out: bool = False,
        realign: bool = False,
        cut_again: bool = False,
    ) -> None:
        self.requests = 0
        self._limits = limits or Limits()
        self._many = many
        self._may_be_empty = may_be_empty
        self._leave_out = leave_out
        self._may_end_at = self._limits.scaled(NEARLY_FULL) if realign else None
        self._cut_again = cut_again
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
        return manifest_of(
            self._shards, self._limits, digests=digests or {}, reused=reused or {}, cut_again=self._cut_again
        )

    def _cut_block(self, data: bytes, unique: UniqueIds) -> Iterator[Lines | Complete]:
        block = self._reader.read(data)
        self.requests += len(block.requests)
        custom_ids = [request.custom_id for request in block.requests]
        unique.add(custom_ids)
        if block.requests and not self._problems:
            yield from self._place(block, custom_ids)

    def _place(self, block: Block, custom_ids: list[str]) -> Iterator[Lines | Complete]:
        bodies = [request.body for request in block.requests]
        models = {body.model for body in bodies}
        inputs = self._embedding_inputs(block.requests)
        if len(models) == 1:
            shard = self._open.get(bodies[0].model)
            whole = Amount(len(custom_ids), len(block.data), sum(inputs), self._reader.load_of(bodies))
            if shard is not None and self._limits.allow(shard, whole) and not self._may_end(shard, whole):
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
            one = Amount(1, len(line) + 1, count, self._reader.load_of([request.body]))
            is_full = shard is not None and not self._limits.allow(shard, one)
            if last is not None and (shard is not last or is_full):
                yield Lines(last, b"".join(run), custom_ids)
                run, custom_ids = [], []
            if shard is None or is_full:
                if obstacle := self._obstacle(request.body.model, one):
                    if self._leave_out:
                        self.requests -= 1
                        last = None
                        continue
                    self._problems.add(number, *obstacle)
                    # After a problem nothing is placed.
                    return
                if shard is not None:
                    yield Complete(shard)
                shard = self._open[request.body.model] = Shard(len(self._shards), request.body.model)
                self._shards.append(shard)
            shard.add(one)
            run += (line, b"\n")
            custom_ids.append(request.custom_id)
            last = shard
            if self._may_end(shard, NOTHING) and _hash(request.custom_id) % ENDS_AT_ONE_IN == 0:
                yield Lines(last, b"".join(run), custom_ids)
                yield Complete(self._open.pop(shard.model))
                run, custom_ids, last = [], [], None
        if last is not None:
            yield Lines(last, b"".join(run), custom_ids)

    def _may_end(self, shard: Shard, amount: Amount) -> bool:
        """Whether a shard may end before it is full, so that the next one begins where it did in another run."""
        return self._may_end_at is not None and not self._may_end_at.allow(shard, amount)

    def _obstacle(self, model: str | None, first: Amount) -> tuple[str, str] | None:
        """Why there can be no new shard for this request, as a kind of problem and a detail."""
        most = self._limits
        if not self._limits.allow(Shard(0, model), first):
            return "is more than a batch can take", self._excess(model, first)
        if len(self._shards) < most.shards:
            return None
        limit = f"{most.requests:,} requests or {most.size:,} bytes of one model"
        if (queue := most.queue_of(model)) is not None:
            limit = f"{limit}, or {usable(queue):,} tokens of {model!r}"
        batches = "one batch" if most.shards == 1 else f"{most.shards:,} batches"
        return f"does not fit into {batches}", f"of {limit}; {self._many}"

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
        return [prompts_in(request.body.part("input")) for request in requests]


def _hash(custom_id: str) -> int:
    """The same in each process, as Python's own is not."""
    return crc32(custom_id.encode(errors="replace"))
