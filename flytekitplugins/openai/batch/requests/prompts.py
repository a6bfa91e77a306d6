"""Finds what a model reads of a request, and how many tokens its answer may have at most."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from .endpoints import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, MODERATIONS, RESPONSES

__all__ = [
    "ANSWER_TOKENS",
    "LIMITS_OF_ANSWER",
    "MESSAGE_TOKENS",
    "PROMPT_FIELDS",
    "Prompt",
    "most_output_tokens",
    "prompt_of",
    "prompts_in",
]

# The parts of a body that a model reads. Schemas and tools are text to it, too.
PROMPT_FIELDS = {
    CHAT_COMPLETIONS: ("messages", "tools", "functions", "response_format"),
    RESPONSES: ("input", "instructions", "tools", "text"),
    COMPLETIONS: ("prompt",),
    EMBEDDINGS: ("input",),
    MODERATIONS: ("input",),
}
# Those that are sent as JSON.
AS_JSON = frozenset({"tools", "functions", "response_format", "text"})
# What stands around a message, and before the answer.
# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
MESSAGE_TOKENS, ANSWER_TOKENS = 4, 3
# The most that an image of any size has, by the beginning of the model's name, the longest that fits; and one of low
# detail. Eight tiles are the most after scaling, or 1,536 patches times the model's factor.
# https://platform.openai.com/docs/guides/images-vision#calculating-costs
IMAGE_TOKENS = {
    "gpt-4o": (1_445, 85),
    "gpt-4.1": (1_445, 85),
    "gpt-4o-mini": (48_169, 2_833),
    "gpt-4.1-mini": (2_489, 2_489),
    "gpt-4.1-nano": (3_779, 3_779),
    "gpt-5": (1_190, 70),
    "gpt-5-mini": (2_489, 2_489),
    "gpt-5-nano": (3_779, 3_779),
    "o1": (1_275, 75),
    "o3": (1_275, 75),
    "o4-mini": (2_642, 2_642),
}
OTHER_IMAGE = (3_779, 3_779)
IMAGES = ("image_url", "input_image", "image")
# What a recording or a document has depends on how long it is, which only OpenAI finds out. This many are assumed.
FILES = ("input_audio", "file", "input_file")
FILE_TOKENS = 5_000
# The parameters that limit an answer, the first that is set, and those that say how many answers there are.
LIMITS_OF_ANSWER = {
    CHAT_COMPLETIONS: ("max_completion_tokens", "max_tokens", "n"),
    RESPONSES: ("max_output_tokens",),
    COMPLETIONS: ("max_tokens", "n", "best_of"),
}
ANSWERS = ("n", "best_of")
# Of `/v1/completions`. https://platform.openai.com/docs/api-reference/completions/create
DEFAULT_COMPLETION = 16
# What answers with numbers or a verdict, which cost nothing.
NO_ANSWER = (EMBEDDINGS, MODERATIONS)


@dataclass(frozen=True)
class Prompt:
    """What a model reads of a request.

    Attributes:
        texts: To be counted by a tokenizer.
        tokens: Those of everything else: tokens that are given as numbers, images, and what stands around messages.
    """

    texts: tuple[str, ...]
    tokens: int = 0


def prompt_of(given: Mapping[str, Any], *, model: str | None) -> Prompt:
    """The prompt in the parts of a body that `PROMPT_FIELDS` names."""
    texts: list[str] = []
    tokens = 0
    for name, value in given.items():
        if value is None:
            continue
        if name in AS_JSON:
            texts.append(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
            continue
        if name in ("messages", "input") and isinstance(value, list) and any(isinstance(one, dict) for one in value):
            tokens += MESSAGE_TOKENS * len(value) + ANSWER_TOKENS
        for piece in _pieces(value, model):
            if isinstance(piece, str):
                texts.append(piece)
            else:
                tokens += piece
    return Prompt(tuple(texts), tokens)


def most_output_tokens(given: Mapping[str, Any], endpoint: str, *, prompts: int = 1) -> int | None:
    """How many tokens the answer may have at most; `None` if the request sets no limit.

    Args:
        given: The parts of a body that `LIMITS_OF_ANSWER` names.
        endpoint: Where it goes, as OpenAI writes it.
        prompts: How many prompts it has, each of which is answered.
    """
    if endpoint in NO_ANSWER:
        return 0
    limit, answers = (DEFAULT_COMPLETION if endpoint == COMPLETIONS else None), 1
    # The first that is set counts, and so comes last.
    for name, value in reversed(list(given.items())):
        if _is_count(value):
            if name in ANSWERS:
                answers = max(answers, value)
            else:
                limit = value
    return None if limit is None else limit * answers * prompts


def prompts_in(given: Any) -> int:
    """How many texts an embedding or a text completion is asked for. A list of numbers is one text, as tokens."""
    return len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _pieces(value: Any, model: str | None) -> Iterator[str | int]:
    """The texts within a value, and the tokens of what is none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int):
        # A token, given as its number.
        yield 1
    elif isinstance(value, list):
        for item in value:
            yield from _pieces(item, model)
    elif isinstance(value, dict):
        kind = value.get("type")
        if kind in IMAGES:
            yield _image_tokens(value, model)
        elif kind in FILES:
            yield FILE_TOKENS
        else:
            for name, item in value.items():
                if name != "type":
                    yield from _pieces(item, model)


def _image_tokens(part: Mapping[str, Any], model: str | None) -> int:
    name = (model or "").removeprefix("ft:")
    known = max((each for each in IMAGE_TOKENS if name.startswith(each)), key=len, default="")
    most, low = IMAGE_TOKENS.get(known, OTHER_IMAGE)
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, dict) else part.get("detail")
    return low if detail == "low" else most
