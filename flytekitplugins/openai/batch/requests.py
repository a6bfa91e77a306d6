"""Requests going in: every line is checked, and the input cut into shards, each of which one batch can take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal, cast

import msgspec

from .problems import SHOWN, BadRequestsError, Problems
from .uniqueness import UniqueIds, find_repetitions

__all__ = ["Complete", "Cutter", "Limits", "Lines", "Shard", "whole_lines"]

# The moderation endpoint has a default model; every other must be told one.
# https://platform.openai.com/docs/api-reference/moderations/create#moderations-create-model
MODERATIONS = "/v1/moderations"
EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True)
class Limits:
    """What one batch can take, and how many there may be.

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
    """Consecutive lines of the input that go to the end of a shard.

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
    """Nothing more goes into this shard."""

    shard: Shard


Text = Annotated[str, msgspec.Meta(min_length=1)]


# What a line must be, for the decoder to let it pass at full speed. What it stops is looked at again, one line at a
# time, by `_look_closely`: which finds what is wrong, or nothing.
class _Body(msgspec.Struct, gc=False):
    model: Text
    stream: None = None


class _ModerationBody(msgspec.Struct, gc=False):
    model: Text | None = None
    stream: None = None


class _EmbeddingsBody(msgspec.Struct):
    model: Text
    input: Any = None
    stream: None = None


class _Request(msgspec.Struct, gc=False):
    custom_id: str
    body: _Body | _ModerationBody | _EmbeddingsBody


_BODIES = {MODERATIONS: _ModerationBody, EMBEDDINGS: _EmbeddingsBody}


class Cutter:
    """Checks an input and cuts it.

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
        self._endpoint = endpoint
        self._decode: Callable[[bytes], _Request] | None = _decoder(endpoint) if endpoint else None
        self._problems = Problems()
        self._open: dict[str | None, Shard] = {}
        self._shards = 0
        self._line = 0

    def cut(self, open_input: Callable[[], Iterable[bytes]]) -> Iterator[Lines | Complete]:
        """Read the input once, and say which lines go where, in the order of the input.

        Args:
            open_input: Gives the input's bytes from its beginning, in chunks of any size. It is called once more when
                a `custom_id` seems to be repeated.

        Raises:
            BadRequestsError: Some of the input cannot be sent; after the first problem nothing is cut any more.
        """
        with UniqueIds() as unique:
            try:
                for block in whole_lines(open_input(), longest=self._limits.size):
                    yield from self._cut_block(block, unique)
            except _LineTooLongError:
                self._problems.add(self._line + 1, "is too long", f"over {self._limits.size:,} bytes")
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
            raise BadRequestsError("there are no requests in it, and a batch needs at least one")
        for shard in sorted(self._open.values(), key=lambda shard: shard.number):
            yield Complete(shard)

    def _cut_block(self, block: bytes, unique: UniqueIds) -> Iterator[Lines | Complete]:
        lines = block.split(b"\n")
        lines.pop()
        requests = self._read_quickly(block, lines)
        numbers: Sequence[int] = range(self._line + 1, self._line + 1 + len(lines))
        self._line += len(lines)
        if requests is None:
            kept = [
                (number, line, found)
                for number, line in zip(numbers, lines, strict=True)
                if (found := self._read_carefully(number, line))
            ]
            numbers, lines, requests = [list(column) for column in zip(*kept, strict=True)] if kept else ([], [], [])
            block = b"".join(line + b"\n" for line in lines)
        self.requests += len(requests)
        custom_ids = [request.custom_id for request in requests]
        unique.add(custom_ids)
        if requests and not self._problems:
            yield from self._place(block, lines, requests, custom_ids, numbers)

    def _read_quickly(self, block: bytes, lines: list[bytes]) -> list[_Request] | None:
        """The requests of a block in which every line is as it should be; otherwise `None`."""
        decode = self._decode
        if decode is None:
            return None
        try:
            if not block.isascii():
                # The decoder does not look at the bytes of what it skips.
                block.decode()
            return [decode(line) for line in lines]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _read_carefully(self, number: int, line: bytes) -> _Request | None:
        """The request in a line of a block that was not read quickly; `None` when there is none, or a bad one."""
        if not line.strip():
            return None
        found = self._read_quickly(line, [line])
        return found[0] if found is not None else self._look_closely(number, line)

    def _look_closely(self, number: int, line: bytes) -> _Request | None:
        """A request that the quick decoder did not take: it may be good all the same."""
        try:
            # From text: given bytes, it would take UTF-16 as well.
            request = json.loads(line.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            self._problems.add(number, "is not valid JSON", _explained(error))
            return None
        if not isinstance(request, dict):
            self._problems.add(number, "is not a JSON object", type(request).__name__)
            return None
        if self._endpoint is None and isinstance(request.get("url"), str):
            self._endpoint = request["url"]
            self._decode = _decoder(self._endpoint)
        for kind, detail in _problems_of(request, self._endpoint):
            # One is enough to look at the line again.
            self._problems.add(number, kind, detail)
            return None
        body = request["body"]
        return _Request(request["custom_id"], _EmbeddingsBody(body.get("model"), body.get("input")))

    def _place(
        self,
        block: bytes,
        lines: list[bytes],
        requests: list[_Request],
        custom_ids: list[str],
        numbers: Sequence[int],
    ) -> Iterator[Lines | Complete]:
        models = {request.body.model for request in requests}
        inputs = self._embedding_inputs(requests)
        if len(models) == 1:
            shard = self._open.get(requests[0].body.model)
            if shard is not None and self._fits(shard, len(requests), len(block), sum(inputs)):
                _count(shard, len(requests), len(block), sum(inputs))
                yield Lines(shard, block, custom_ids)
                return
        yield from self._place_one_by_one(lines, requests, inputs, numbers)

    def _place_one_by_one(
        self, lines: list[bytes], requests: list[_Request], inputs: Sequence[int], numbers: Sequence[int]
    ) -> Iterator[Lines | Complete]:
        run: list[bytes] = []
        custom_ids: list[str] = []
        last: Shard | None = None
        counts = inputs or [0] * len(lines)
        for number, line, request, count in zip(numbers, lines, requests, counts, strict=True):
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

    def _embedding_inputs(self, requests: Iterable[_Request]) -> list[int]:
        if self._endpoint != EMBEDDINGS:
            return []
        return [_inputs_in(getattr(request.body, "input", None)) for request in requests]


class _LineTooLongError(Exception):
    pass


def whole_lines(chunks: Iterable[bytes], *, longest: int) -> Iterator[bytes]:
    """The chunks again, but each ends with a line; what is not ended by a newline gets one.

    Lines are ended by newlines alone: the separators of Unicode that `str.splitlines` knows may stand within JSON.
    """
    begun: list[bytes] = []
    size = 0
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join([*begun, chunk[:end]]) if begun else chunk[:end]
            begun, size = [], 0
        begun.append(chunk[end:])
        size += len(chunk) - end
        if size > longest:
            raise _LineTooLongError
    rest = b"".join(begun)
    if rest:
        yield rest + b"\n"


def _decoder(endpoint: str) -> Callable[[bytes], _Request]:
    kind = msgspec.defstruct(
        "Request",
        [
            ("custom_id", Text),
            ("method", Literal["POST"]),
            ("url", Literal[endpoint]),
            ("body", _BODIES.get(endpoint, _Body)),
        ],
        gc=False,
    )
    return cast(Callable[[bytes], _Request], msgspec.json.Decoder(kind).decode)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _explained(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno:,}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1:,} is not UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _problems_of(request: dict[str, Any], endpoint: str | None) -> Iterator[tuple[str, str]]:
    custom_id, body = request.get("custom_id"), request.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        yield "has no custom_id", "a text" if custom_id is None else f"it is {custom_id!r}"
    if request.get("method") != "POST":
        yield "has another method than POST", f"{request.get('method')!r}"
    if endpoint is None or request.get("url") != endpoint:
        expected = f", and the batch is for {endpoint!r}" if endpoint else ""
        yield "has another url than the endpoint", f"{request.get('url')!r}{expected}"
    if not isinstance(body, dict):
        yield "has no body", "an object" if body is None else f"it is of type {type(body).__name__}"
        return
    model = body.get("model")
    if not (isinstance(model, str) and model) and not (model is None and endpoint == MODERATIONS):
        yield "has no model in its body", "a text" if model is None else f"it is {model!r}"
    if body.get("stream"):
        yield "asks for a stream", "which a batch cannot give"


def _inputs_in(given: object) -> int:
    """How many texts one request embeds. A list of numbers is one text, as tokens."""
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return len(given)
    return 1


def _count(shard: Shard, requests: int, size: int, inputs: int) -> None:
    shard.requests += requests
    shard.size += size
    shard.embedding_inputs += inputs
