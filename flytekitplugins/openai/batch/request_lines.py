"""One line going in: read quickly if it is as it should be, and otherwise looked at until it is clear what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import msgspec

from .problems import Problems

__all__ = ["EMBEDDINGS", "Block", "LineTooLongError", "RequestLine", "RequestReader", "whole_lines"]

# The moderation endpoint has a default model; every other must be told one.
# https://platform.openai.com/docs/api-reference/moderations/create#moderations-create-model
MODERATIONS = "/v1/moderations"
EMBEDDINGS = "/v1/embeddings"


Text = Annotated[str, msgspec.Meta(min_length=1)]


# What a line must be, for the decoder to let it pass at full speed. What it stops is looked at again, one line at a
# time, by `RequestReader._look_closely`: which finds what is wrong, or nothing.
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


class RequestLine(msgspec.Struct, gc=False):
    """As much of a request as matters here."""

    custom_id: str
    body: _Body | _ModerationBody | _EmbeddingsBody


_BODIES = {MODERATIONS: _ModerationBody, EMBEDDINGS: _EmbeddingsBody}


@dataclass(frozen=True)
class Block:
    """Some consecutive lines of an input, those that cannot be sent left out.

    Attributes:
        data: The lines as they are in the input, each ended by a newline.
        lines: The same, one by one and without their newlines.
        requests: What is in each.
        numbers: Their numbers in the input, counted from 1.
    """

    data: bytes
    lines: list[bytes]
    requests: list[RequestLine]
    numbers: Sequence[int]


class RequestReader:
    """Reads an input block by block.

    Args:
        endpoint: Where every request must go; `None`: where the first one goes.
        problems: Where what is wrong is noted.
    """

    def __init__(self, endpoint: str | None, problems: Problems) -> None:
        self.endpoint = endpoint
        self.line = 0
        self._decode: Callable[[bytes], RequestLine] | None = _decoder(endpoint) if endpoint else None
        self._problems = problems

    def read(self, data: bytes) -> Block:
        """The requests in a block of whole lines, which come after those read before."""
        lines = data.split(b"\n")
        lines.pop()
        numbers = range(self.line + 1, self.line + 1 + len(lines))
        self.line += len(lines)
        requests = self._read_quickly(data, lines)
        if requests is not None:
            return Block(data, lines, requests, numbers)
        kept = [
            (number, line, request)
            for number, line in zip(numbers, lines, strict=True)
            if (request := self._read_carefully(number, line))
        ]
        return Block(
            b"".join(line + b"\n" for _, line, _ in kept),
            [line for _, line, _ in kept],
            [request for _, _, request in kept],
            [number for number, _, _ in kept],
        )

    def _read_quickly(self, block: bytes, lines: list[bytes]) -> list[RequestLine] | None:
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

    def _read_carefully(self, number: int, line: bytes) -> RequestLine | None:
        """The request in a line of a block that was not read quickly; `None` when there is none, or a bad one."""
        if not line.strip():
            return None
        found = self._read_quickly(line, [line])
        return found[0] if found is not None else self._look_closely(number, line)

    def _look_closely(self, number: int, line: bytes) -> RequestLine | None:
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
        if self.endpoint is None and isinstance(request.get("url"), str):
            self.endpoint = request["url"]
            self._decode = _decoder(self.endpoint)
        for kind, detail in _problems_of(request, self.endpoint):
            # One is enough to look at the line again.
            self._problems.add(number, kind, detail)
            return None
        body = request["body"]
        return RequestLine(request["custom_id"], _EmbeddingsBody(body.get("model"), body.get("input")))


class LineTooLongError(Exception):
    """A line is longer than any may be."""


def whole_lines(chunks: Iterable[bytes], *, longest: int) -> Iterator[bytes]:
    """The chunks again, but each ends with a line; what is not ended by a newline gets one.

    Lines are ended by newlines alone: the separators of Unicode that `str.splitlines` knows may stand within JSON.

    Raises:
        LineTooLongError: A line has more bytes than `longest`, by more than a chunk.
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
            raise LineTooLongError
    rest = b"".join(begun)
    if rest:
        yield rest + b"\n"


def _decoder(endpoint: str) -> Callable[[bytes], RequestLine]:
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
    return cast(Callable[[bytes], RequestLine], msgspec.json.Decoder(kind).decode)


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
    if custom_id is None or custom_id == "":
        yield "has no custom_id", "a text" if custom_id is None else "it is ''"
    elif not isinstance(custom_id, str):
        yield "has a custom_id that is no text", f"it is {custom_id!r}"
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
