"""The parts of a request that are looked at, and a decoder that reads nothing else of a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec

from .endpoints import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, MODERATIONS, RESPONSES, VERSION, canonical_endpoint

__all__ = ["Body", "LooseBody", "RequestLine", "inputs_in", "line_decoder"]

Text = Annotated[str, msgspec.Meta(min_length=1)]
ABSENT = msgspec.Raw()


# What a line must be, for the decoder to let it pass at full speed. What it stops is looked at again, one line at a
# time, by `RequestReader`, which finds what is wrong, or nothing.
class _Body(msgspec.Struct, gc=False):
    model: Text
    stream: None = None


class _ChatBody(msgspec.Struct, gc=False):
    model: Text
    messages: msgspec.Raw
    stream: None = None
    tools: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    n: int | None = None


class _ResponseBody(msgspec.Struct, gc=False):
    model: Text
    input: msgspec.Raw
    stream: None = None
    instructions: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    max_output_tokens: int | None = None


class _CompletionBody(msgspec.Struct, gc=False):
    model: Text
    stream: None = None
    prompt: msgspec.Raw = ABSENT
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None


class _ModerationBody(msgspec.Struct, gc=False):
    input: msgspec.Raw
    model: Text | None = None
    stream: None = None


class _EmbeddingsBody(msgspec.Struct):
    model: Text
    # Decoded, because a batch has a limit of them.
    input: Text | Annotated[list[Any], msgspec.Meta(min_length=1)]
    stream: None = None


class LooseBody(msgspec.Struct):
    """The body of a request that the decoder stopped, and that is good all the same."""

    model: str | None
    given: dict[str, Any]


Body: TypeAlias = _Body | _ChatBody | _ResponseBody | _CompletionBody | _ModerationBody | _EmbeddingsBody | LooseBody


class RequestLine(msgspec.Struct, gc=False):
    """The parts of a request that are looked at."""

    custom_id: str
    body: Body


_BODIES = {
    CHAT_COMPLETIONS: _ChatBody,
    RESPONSES: _ResponseBody,
    COMPLETIONS: _CompletionBody,
    MODERATIONS: _ModerationBody,
    EMBEDDINGS: _EmbeddingsBody,
}


def inputs_in(body: Body) -> int:
    """How many texts a request embeds. A list of numbers is one text, as tokens."""
    given = body.given.get("input") if isinstance(body, LooseBody) else getattr(body, "input", None)
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return len(given)
    return 1


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
