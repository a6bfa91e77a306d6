"""Reads the usage of an answer. Each endpoint has its own names for the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from .json_objects import whole_number
from .usage import Usage

__all__ = ["AnswerUsage", "read_usage", "usage_of"]

# No answer has more tokens; and the sum of all of them must go into 64 bits.
MOST_TOKENS = 1_000_000_000
_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count = 0


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count = 0


class AnswerUsage(msgspec.Struct, gc=False):
    """The usage of an answer, by the names of chat completions and of responses."""

    input_tokens: _Count = 0
    output_tokens: _Count = 0
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None

    @property
    def counts(self) -> tuple[int, int, int, int] | None:
        """The tokens in the order of `Usage`; `None` if there are none: every answer takes some."""
        read, written = self.input_tokens or self.prompt_tokens, self.output_tokens or self.completion_tokens
        if not read and not written:
            return None
        of_input = self.input_tokens_details or self.prompt_tokens_details
        of_output = self.output_tokens_details or self.completion_tokens_details
        return (
            read,
            of_input.cached_tokens if of_input else 0,
            written,
            of_output.reasoning_tokens if of_output else 0,
        )


_DETAILS = frozenset(name for name in AnswerUsage.__struct_fields__ if name.endswith("_details"))


def usage_of(usage: AnswerUsage | None) -> Usage | None:
    """The tokens by their common names; `None` if there are none."""
    counts = None if usage is None else usage.counts
    return None if counts is None else Usage(*counts)


def read_usage(usage: Mapping[str, Any]) -> AnswerUsage:
    """The usage that an object holds; some servers write its numbers as texts or floats."""
    details = {name: _counts(value) for name, value in usage.items() if name in _DETAILS and isinstance(value, Mapping)}
    return msgspec.convert({**_counts(usage), **details}, AnswerUsage)


def _counts(values: Mapping[str, Any]) -> dict[str, int]:
    counts = {name: whole_number(value) for name, value in values.items() if name not in _DETAILS}
    return {name: count for name, count in counts.items() if count is not None and 0 <= count <= MOST_TOKENS}
