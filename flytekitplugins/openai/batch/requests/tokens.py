"""Counts the tokens of prompts: exactly if a tokenizer is installed, else by an estimate that is rather too high."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from operator import add, attrgetter
from typing import NamedTuple

import msgspec

from flytekitplugins.openai._tokenizer import counts_exactly, tokenizer_of

from .endpoints import COMPLETIONS, EMBEDDINGS, canonical_endpoint
from .prompts import LIMITS_OF_ANSWER, PROMPT_FIELDS, most_output_tokens, prompt_of, prompts_in
from .request_line import Body, LooseBody

__all__ = ["Load", "TokenCounter"]

# A lower-case letter or a space is counted as half a token: a word of English has four to six of them, and one of Zulu
# is several tokens. Any other byte is one: digits, capitals, signs and most scripts have one to three bytes a token.
PROSE = bytes([*range(ord("a"), ord("z") + 1), ord(" ")])
TOKENS_OF_PROSE = 0.5
# What stands in every part of a prompt that is no text: within a text, the quotes would be escaped.
PART = b'"type"'


class Load(NamedTuple):
    """The tokens of requests, in a form that can be added up.

    Attributes:
        counted: Tokens of the prompts, as far as they are certain or count as one each.
        prose: Lower-case letters and spaces of the rest.
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
        # With two names more, so that it always makes a tuple.
        self._read_limits = attrgetter("model", "model", *self._limits)
        self._is_exact = counts_exactly()

    def load_of(self, bodies: Sequence[Body]) -> Load:
        """The tokens of requests with these bodies."""
        loose = LooseBody in set(map(type, bodies))
        text = None if loose or self._is_exact else self._text_of(bodies)
        load = Load(sum(map(self._count, bodies))) if text is None else _estimate(text)
        if loose or self._endpoint == COMPLETIONS:
            answers = Counter(map(self._answer_of, bodies))
        else:
            answers = self._answers_of(bodies)
        known = sum(most * count for most, count in answers.items() if most is not None)
        return load._replace(answer=known, open_answers=answers[None])

    def _answers_of(self, bodies: Sequence[Body]) -> Counter[int | None]:
        """How many answers have which limit. Most inputs have one limit for all."""
        answers: Counter[int | None] = Counter()
        for (_, _, *limits), count in Counter(map(self._read_limits, bodies)).items():
            answers[most_output_tokens(dict(zip(self._limits, limits, strict=True)), self._endpoint)] += count
        return answers

    def _answer_of(self, body: Body) -> int | None:
        prompts = prompts_in(body.part("prompt")) if self._endpoint == COMPLETIONS else 1
        return most_output_tokens({name: body.part(name) for name in self._limits}, self._endpoint, prompts=prompts)

    def _text_of(self, bodies: Sequence[Body]) -> bytes | None:
        """The prompts of all bodies together; `None` if one of them must be looked into."""
        if self._endpoint == EMBEDDINGS:
            texts = [text for body in bodies if isinstance(text := getattr(body, "input", None), str)]
            return "".join(texts).encode() if len(texts) == len(bodies) else None
        parts = [list(map(attrgetter(name), bodies)) for name in self._fields]
        text = b"".join(chain.from_iterable(parts))
        # Tools and schemas have types, too, but no images.
        return None if PART in text and PART in b"".join(parts[0]) else text

    def _count(self, body: Body) -> int:
        """The tokens of one prompt: by a tokenizer, or estimated text by text."""
        try:
            given = {name: body.part(name) for name in self._fields}
            prompt = prompt_of(given, model=body.model)
        except (msgspec.MsgspecError, RecursionError):
            # OpenAI may read it all the same.
            return sum(len(getattr(body, name, b"")) for name in self._fields)
        count = tokenizer_of(body.model) or _estimated
        return prompt.tokens + sum(map(count, prompt.texts))


def _estimated(text: str) -> int:
    return _estimate(text.encode(errors="replace")).prompt


def _estimate(text: bytes) -> Load:
    """About how many tokens a text in UTF-8 has, rather too many: of prose and code up to three times as many.

    Measured with the tokenizers of the extra `tokens` for the texts of tests/batch/requests/test_tokens.py, in two
    dozen languages and scripts, code and base64, it was never less; for lower-case letters at random it was 7 % less.
    """
    others = len(text.translate(None, PROSE))
    return Load(others, len(text) - others)
