"""Checks one line of an input: quickly when it is valid, in detail when it is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Literal, cast

import msgspec

from .endpoints import CHAT_COMPLETIONS, EMBEDDINGS, MODERATIONS, NEEDED, RESPONSES, VERSION, canonical_endpoint
from .line_problems import problems_of, refuse_constant, syntax_problem
from .problems import Problems

__all__ = [
    "Block",
    "RequestLine",
    "RequestReader",
]


Text = Annotated[str, msgspec.Meta(min_length=1)]


# What a line must be, for the decoder to let it pass at full speed. What it stops is looked at again, one line at a
# time, by `RequestReader._look_closely`: which finds what is wrong, or nothing.
class _Body(msgspec.Struct, gc=False):
    model: Text
    stream: None = None


class _ChatBody(msgspec.Struct, gc=False):
    model: Text
    messages: msgspec.Raw
    stream: None = None


class _ResponseBody(msgspec.Struct, gc=False):
    model: Text
    input: msgspec.Raw
    stream: None = None


class _ModerationBody(msgspec.Struct, gc=False):
    input: msgspec.Raw
    model: Text | None = None
    stream: None = None


class _EmbeddingsBody(msgspec.Struct):
    model: Text
    input: Text | Annotated[list[Any], msgspec.Meta(min_length=1)]
    stream: None = None


class RequestLine(msgspec.Struct, gc=False):
    """The parts of a request that are checked."""

    custom_id: str
    body: _Body | _ModerationBody | _EmbeddingsBody


# How the needed field may begin. It is not decoded, which would take half as long again.
_BEGINNINGS = {CHAT_COMPLETIONS: frozenset(b"["), **dict.fromkeys((RESPONSES, MODERATIONS), frozenset(b'["'))}
# `null`, `[]` and `""` have no more bytes. What has as few is looked at closely.
NOTHING = 4
_BODIES = {
    CHAT_COMPLETIONS: _ChatBody,
    RESPONSES: _ResponseBody,
    MODERATIONS: _ModerationBody,
    EMBEDDINGS: _EmbeddingsBody,
}


@dataclass(frozen=True)
class Block:
    """Consecutive lines of an input, without those that cannot be sent.

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
        self.endpoint: str | None = None
        self.line = 0
        self._problems = problems
        self._decode: Callable[[bytes], RequestLine] | None = None
        self._needed = ""
        self._beginnings: frozenset[int] = frozenset()
        if endpoint is not None:
            self._expect(endpoint)

    def read(self, data: bytes) -> Block:
        """The requests in the next block of whole lines."""
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

    def _expect(self, endpoint: str) -> None:
        self.endpoint, self._decode = endpoint, _decoder(endpoint)
        canonical = canonical_endpoint(endpoint)
        self._needed = NEEDED.get(canonical, "")
        self._beginnings = _BEGINNINGS.get(canonical, frozenset())

    def _read_quickly(self, block: bytes, lines: list[bytes]) -> list[RequestLine] | None:
        """The requests of a block in which every line passes the quick check; otherwise `None`."""
        decode = self._decode
        if decode is None:
            return None
        try:
            if not block.isascii():
                # The decoder does not look at the bytes of what it skips.
                block.decode()
            requests = [decode(line) for line in lines]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return requests if self._have_what_is_needed(requests) else None

    def _have_what_is_needed(self, requests: list[RequestLine]) -> bool:
        if not self._beginnings or not requests:
            return True
        given = list(map(attrgetter(f"body.{self._needed}"), requests))
        # To look at how each begins would take a third as long again. One who takes a text for messages does so always.
        return bytes(given[0])[0] in self._beginnings and min(map(len, given)) > NOTHING

    def _read_carefully(self, number: int, line: bytes) -> RequestLine | None:
        """The request in one line of a block that failed the quick check; `None` when there is none, or a bad one."""
        if not line.strip():
            return None
        found = self._read_quickly(line, [line])
        return found[0] if found is not None else self._look_closely(number, line)

    def _look_closely(self, number: int, line: bytes) -> RequestLine | None:
        """The request in a line that the quick decoder refused, which may be good all the same."""
        try:
            # From text: given bytes, it would take UTF-16 as well.
            request = json.loads(line.decode(), parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:
            self._problems.add(number, "is not valid JSON", syntax_problem(error))
            return None
        if not isinstance(request, dict):
            self._problems.add(number, "is not a JSON object", type(request).__name__)
            return None
        url = request.get("url")
        if self.endpoint is None and isinstance(url, str) and url.startswith("/"):
            self._expect(url)
        problems = list(problems_of(request, self.endpoint))
        for kind, detail in problems:
            self._problems.add(number, kind, detail)
        if problems:
            return None
        body = request["body"]
        return RequestLine(request["custom_id"], _EmbeddingsBody(body.get("model"), body.get("input")))


def _decoder(endpoint: str) -> Callable[[bytes], RequestLine]:
    canonical = canonical_endpoint(endpoint)
    # The forms of it that a line may have; any other is looked at closely.
    urls = tuple(dict.fromkeys((endpoint, canonical, canonical.removeprefix(VERSION))))
    kind = msgspec.defstruct(
        "Request",
        [
            ("custom_id", Text),
            ("method", Literal["POST"]),
            ("url", Literal[urls]),
            ("body", _BODIES.get(canonical, _Body)),
        ],
        gc=False,
    )
    return cast(Callable[[bytes], RequestLine], msgspec.json.Decoder(kind).decode)
