"""Counts the tokens of prompts: exactly if a tokenizer is installed, else by an estimate that is rather too high."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from operator import add, attrgetter
from typing import NamedTuple

import msgspec

from flytekitplugins.openai._tokenizer import counts_exactly, tokenizer_of

from .endpoints import COMPLETIONS, EMBEDDINGS, canonical_endpoint
from .prompts import (
    ANSWER_TOKENS,
    LIMITS_OF_ANSWER,
    MESSAGE_TOKENS,
    PROMPT_FIELDS,
    most_output_tokens,
    prompt_of,
    prompts_in,
)
from .request_line import Body, ChatBody, LooseBody

__all__ = ["Load", "TokenCounter"]

# A lower-case letter or a space is counted as half a token: a word of English has four to six of them, and one of Zulu
# is several tokens. Any other byte is one: digits, capitals, signs and most scripts have one to three bytes a token.
PROSE = bytes([*range(ord("a"), ord("z") + 1), ord(" ")])
TOKENS_OF_PROSE = 0.5
# What stands in every part of a prompt that is no text: within a text, the quotes would be escaped. The name of what it
# is, such as "image_url", "input_audio" or "file_id", has one underscore between letters.
PART, NAME_OF_MEDIA = b'"type"', b'"_"'
# Attributes that every body has.
NAMES = ("model", "stream")


class Load(NamedTuple):
    """The tokens of requests, in a form that can be added up.

    Attributes:
        counted: Tokens of the prompts that were counted; in an estimate, the bytes that count as a token each.
        prose: The lower-case letters and spaces of an estimate, which count as half a token each.
        answer: Tokens of the answers at most, as far as the requests limit them.
        open_answers: How many requests set no limit for their answer.
    """

    counted: int = 0
    prose: int = 0
    answer: int = 0
    open_answers: int = 0

    @property
    def prompt(self) -> int:
        """Tokens of the prompts."""
        return self.counted + math.ceil(TOKENS_OF_PROSE * self.prose)

    def plus(self, other: Load) -> Load:
        """Both together."""
        return Load(*map(add, self, other))


class TokenCounter:
    """Counts the tokens of requests to one endpoint.

    Args:
        endpoint: Where they go.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = canonical_endpoint(endpoint)
        self._fields = PROMPT_FIELDS.get(self._endpoint, ())
        self._limits = LIMITS_OF_ANSWER.get(self._endpoint, ())
        # Of one name alone it would make no tuple.
        self._read_limits = attrgetter(*self._limits) if len(self._limits) > 1 else attrgetter(*self._limits, *NAMES)
        self._is_exact = counts_exactly()

    def load_of(self, bodies: Sequence[Body]) -> Load:
        """The tokens of requests with these bodies."""
        loose = LooseBody in set(map(type, bodies))
        estimated = None if loose or self._is_exact else self._estimated(bodies)
        load = Load(sum(map(self._count, bodies))) if estimated is None else estimated
        if loose or self._endpoint == COMPLETIONS:
            answers = Counter(map(self._answer_of, bodies))
        else:
            answers = self._answers_of(bodies)
        known = sum(most * count for most, count in answers.items() if most is not None)
        return load._replace(answer=known, open_answers=answers[None])

    def _answers_of(self, bodies: Sequence[Body]) -> Counter[int | None]:
        """How many answers have which limit. Most inputs have one limit for all."""
        answers: Counter[int | None] = Counter()
        found = set(map(self._read_limits, bodies))
        counts = Counter(map(self._read_limits, bodies)) if len(found) > 1 else dict.fromkeys(found, len(bodies))
        for limits, count in counts.items():
            answers[most_output_tokens(dict(zip(self._limits, limits, strict=False)), self._endpoint)] += count
        return answers

    def _answer_of(self, body: Body) -> int | None:
        prompts = prompts_in(body.part("prompt")) if self._endpoint == COMPLETIONS else 1
        return most_output_tokens({name: body.part(name) for name in self._limits}, self._endpoint, prompts=prompts)

    def _estimated(self, bodies: Sequence[Body]) -> Load | None:
        """About how many tokens the prompts have; `None` if one of them must be looked into."""
        if self._endpoint == EMBEDDINGS:
            texts = [text for body in bodies if isinstance(text := getattr(body, "input", None), str)]
            return _estimate("".join(texts).encode()) if len(texts) == len(bodies) else None
        if not self._fields:
            return Load()
        first, *more = (list(map(attrgetter(name), bodies)) for name in self._fields)
        text = b"".join(chain(first, *(parts for parts in more if any(map(len, parts)))))
        others = text.translate(None, PROSE)
        # Tools and schemas have such names, too, but no images.
        if NAME_OF_MEDIA in others and PART in b"".join(first):
            return None
        return Load(len(others), len(text) - len(others))

    def _count(self, body: Body) -> int:
        """The tokens of one prompt: by a tokenizer, or estimated text by text."""
        try:
            if isinstance(body, ChatBody) and (quick := _count_texts(body)) is not None:
                return quick
            given = {name: body.part(name) for name in self._fields}
            prompt = prompt_of(given, model=body.model)
        except (msgspec.MsgspecError, RecursionError):
            # OpenAI may read it all the same.
            return sum(len(getattr(body, name, b"")) for name in self._fields)
        count = tokenizer_of(body.model) or _estimated
        return prompt.tokens + sum(map(count, prompt.texts))


class _Message(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message as most are."""

    role: str
    content: str
    name: str | None = None


_decode_messages = msgspec.json.Decoder(list[_Message]).decode


def _count_texts(body: ChatBody) -> int | None:
    """The same of a conversation of texts, in a third of the time; `None` of any other."""
    count = tokenizer_of(body.model)
    try:
        messages = _decode_messages(body.messages)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if count is None:
        return None
    tokens = ANSWER_TOKENS + MESSAGE_TOKENS * len(messages)
    for message in messages:
        tokens += _count_known(message.role, body.model) + count(message.content)
        if message.name is not None:
            tokens += count(message.name)
    # Most often the same in each request.
    for part in (body.tools, body.functions, body.response_format):
        if len(part):
            tokens += _count_json(bytes(part), body.model)
    return tokens


@lru_cache
def _count_known(text: str, model: str) -> int:
    count = tokenizer_of(model)
    return 0 if count is None else count(text)


@lru_cache
def _count_json(text: bytes, model: str) -> int:
    prompt = prompt_of({"tools": msgspec.json.decode(text)}, model=model)
    return sum(_count_known(each, model) for each in prompt.texts)


def _estimated(text: str) -> int:
    return _estimate(text.encode(errors="replace")).prompt


def _estimate(text: bytes) -> Load:
    """About how many tokens a text in UTF-8 has, rather too many: of prose and code up to three times as many.

    Measured with the tokenizers of the extra `tokens` for the texts of tests/batch/requests/test_tokens.py, in two
    dozen languages and scripts, code and base64, it was never less; for lower-case letters at random it was 7 % less.
    """
    others = len(text.translate(None, PROSE))
    return Load(others, len(text) - others)
