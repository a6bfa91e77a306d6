"""Checks one line of an input: quickly when it is valid, in detail when it is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from .endpoints import CHAT_COMPLETIONS, MODERATIONS, NEEDED, RESPONSES, canonical_endpoint
from .line_problems import problems_of, refuse_constant, syntax_problem
from .problems import Problems
from .request_line import Body, LooseBody, RequestLine, line_decoder
from .tokens import Load, TokenCounter

__all__ = ["Block", "RequestReader"]


# How the needed field may begin. It is not decoded, which would take half as long again.
_BEGINNINGS = {CHAT_COMPLETIONS: frozenset(b"["), **dict.fromkeys((RESPONSES, MODERATIONS), frozenset(b'["'))}
# `null`, `[]` and `""` have no more bytes. What has as few is looked at closely.
NOTHING = 4


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
        self._counter: TokenCounter | None = None
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

    def load_of(self, bodies: Sequence[Body]) -> Load:
        """The tokens of requests that were read."""
        # Without an endpoint there is no request.
        return self._counter.load_of(bodies) if self._counter is not None else Load()

    def _expect(self, endpoint: str) -> None:
        self.endpoint, self._decode, self._counter = endpoint, line_decoder(endpoint), TokenCounter(endpoint)
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
        return RequestLine(request["custom_id"], LooseBody(body.get("model"), body))
