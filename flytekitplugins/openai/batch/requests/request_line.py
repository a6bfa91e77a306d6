"""The parts of a request that are looked at, and a decoder that reads nothing else of a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec

from .endpoints import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, MODERATIONS, RESPONSES, VERSION, canonical_endpoint

__all__ = ["Body", "ChatBody", "LooseBody", "RequestLine", "line_decoder"]

Text = Annotated[str, msgspec.Meta(min_length=1)]
ABSENT = msgspec.Raw()
_decode = msgspec.json.Decoder().decode


# What a line must be, for the decoder to let it pass at full speed. What it stops is looked at again, one line at a
# time, by `RequestReader`, which finds what is wrong, or nothing.
class _AnyBody(msgspec.Struct, gc=False):
    def part(self, name: str) -> Any:
        """A part as JSON has it; `None` if it is not there.

        Raises:
            msgspec.MsgspecError: It is valid, and cannot be decoded, such as a number that is too large.
        """
        value = getattr(self, name, None)
        if isinstance(value, msgspec.Raw):
            return _decode(value) if len(value) else None
        return value


class _Body(_AnyBody, gc=False):
    model: Text
    stream: None = None


class ChatBody(_AnyBody, gc=False):
    """The body of a chat completion."""

    model: Text
    messages: msgspec.Raw
    stream: None = None
    tools: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    n: int | None = None


class _ResponseBody(_AnyBody, gc=False):
    model: Text
    input: msgspec.Raw
    stream: None = None
    instructions: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    max_output_tokens: int | None = None


class _CompletionBody(_AnyBody, gc=False):
    model: Text
    stream: None = None
    prompt: msgspec.Raw = ABSENT
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None


class _ModerationBody(_AnyBody, gc=False):
    input: msgspec.Raw
    model: Text | None = None
    stream: None = None


class _EmbeddingsBody(_AnyBody):
    model: Text
    # Decoded, because a batch has a limit of them.
    input: Text | Annotated[list[Any], msgspec.Meta(min_length=1)]
    stream: None = None


class LooseBody(msgspec.Struct):
    """The body of a request that the decoder stopped, and that is good all the same."""

    model: str | None
    given: dict[str, Any]

    def part(self, name: str) -> Any:
        """A part as JSON has it; `None` if it is not there."""
        return self.given.get(name)


Body: TypeAlias = _Body | ChatBody | _ResponseBody | _CompletionBody | _ModerationBody | _EmbeddingsBody | LooseBody


class RequestLine(msgspec.Struct, gc=False):
    """The parts of a request that are looked at."""

    custom_id: str
    body: Body


_BODIES = {
    CHAT_COMPLETIONS: ChatBody,
    RESPONSES: _ResponseBody,
    COMPLETIONS: _CompletionBody,
    MODERATIONS: _ModerationBody,
    EMBEDDINGS: _EmbeddingsBody,
}


def line_decoder(endpoint: str) -> Callable[[bytes], RequestLine]:
    """A function that reads a line for this endpoint, or raises what msgspec raises."""
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
