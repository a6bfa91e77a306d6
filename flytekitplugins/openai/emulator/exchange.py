"""A responder's argument and result: a request and a reply, with their token counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flytekitplugins.openai._tokenizer import tokenizer_of

__all__ = [
    "Reply",
    "Request",
    "Responder",
    "count_tokens",
    "cut_off",
    "embedding_inputs",
    "enqueued_tokens",
    "identifier",
    "prompt_tokens",
    "text_prompts",
]

# OpenAI's rule of thumb for English text.
# https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Request:
    """One line of a batch, or a single call, as a responder sees it.

    Attributes:
        custom_id: The line's; the emulator makes one up for a single call.
        time: Unix time at which the request runs, by the emulator's clock.
        row: The row that `batch_prompt` or `batch_embedding` made it of, by column, with the pytest fixture; `None` if
            it was made otherwise.
    """

    custom_id: str
    url: str
    body: Mapping[str, Any]
    time: float = 0.0
    row: Mapping[str, Any] | None = None

    @property
    def prompt(self) -> str:
        """The text of the last message, or of the input: the question that a person would see."""
        texts = [piece for piece in _pieces(self.body) if isinstance(piece, str)]
        return texts[-1] if texts else ""


@dataclass(frozen=True)
class Reply:
    """A complete answer: the HTTP status and body that a single call would get."""

    body: Mapping[str, Any]
    status_code: int = 200


# A responder says the text of the answer, or the whole of it.
Responder = Callable[[Request], "str | Reply"]


def count_tokens(text: str) -> int:
    """Roughly the token count of a real tokenizer; at least one for any text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of everything the request asks a model to read."""
    return sum(count_tokens(piece) if isinstance(piece, str) else 1 for piece in _pieces(body))


def enqueued_tokens(body: Mapping[str, Any]) -> int:
    """The same as they count against the queue: as the model's tokenizer counts, if the extra `tokens` is installed."""
    count = tokenizer_of(str(body.get("model") or "")) or count_tokens
    return sum(count(piece) if isinstance(piece, str) else 1 for piece in _pieces(body))


def embedding_inputs(body: Mapping[str, Any]) -> list[Any]:
    """The inputs of an embeddings request: it takes a text, the tokens of one, or a list of either.

    https://platform.openai.com/docs/api-reference/embeddings/create
    """
    return _one_or_more(body.get("input"))


def text_prompts(body: Mapping[str, Any]) -> list[Any]:
    """The prompts of a text completion: it takes a text, the tokens of one, or a list of either.

    https://platform.openai.com/docs/api-reference/completions/create
    """
    return _one_or_more(body.get("prompt"))


def cut_off(text: str, body: Mapping[str, Any], *names: str) -> tuple[str, bool]:
    """The text within the first token limit that the request sets under `names`, and whether it was cut."""
    most = next((body[name] for name in names if body.get(name) is not None), None)
    if most is None or count_tokens(text) <= most:
        return text, False
    return text[: most * CHARACTERS_PER_TOKEN], True


def identifier(prefix: str, request: Request) -> str:
    """An id that is the same for the same request."""
    return f"{prefix}{hashlib.sha256(repr(request.custom_id).encode()).hexdigest()[:24]}"


def _one_or_more(given: Any) -> list[Any]:
    return given if isinstance(given, list) and not all(isinstance(one, int) for one in given) else [given]


def _pieces(body: Mapping[str, Any]) -> list[str | int]:
    """Every text, and every token given as its number, in the places where the endpoints take their input."""
    found: list[str | int] = []
    pending = [body.get(name) for name in ("instructions", "prompt", "input", "messages")]
    while pending:
        value = pending.pop(0)
        if isinstance(value, str | int):
            found.append(value)
        elif isinstance(value, list):
            pending = [*value, *pending]
        elif isinstance(value, dict):
            pending = [value.get("content"), value.get("text"), *pending]
    return found
