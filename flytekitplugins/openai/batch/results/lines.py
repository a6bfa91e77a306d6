"""Parses one result line: which request it belongs to, whether it succeeded, and its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from .answer_usage import AnswerUsage, read_usage, usage_of
from .failures import lack_of_answer
from .json_objects import body_of, mapping_in, mappings_in, object_in, whole_number
from .usage import Consumption, Usage

__all__ = [
    "CUT_OFF",
    "AnswerLine",
    "ResultLine",
    "count_tokens",
    "read_answers",
    "read_line",
    "read_object",
]

# Finish reasons of an incomplete answer.
# https://platform.openai.com/docs/api-reference/chat/object#chat/object-choices-finish_reason
# https://platform.openai.com/docs/api-reference/responses/object#responses/object-incomplete_details
CUT_OFF = frozenset({"length", "content_filter", "max_output_tokens"})


# The parts of a line that are decoded; the rest is skipped without being built. Chat completions count a prompt and a
# completion, responses an input and an output. Lines of other shapes are read by `read_object`.
class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _IncompleteDetails(msgspec.Struct, gc=False):
    reason: str | None = None


class _Answer(msgspec.Struct, gc=False, kw_only=True):
    model: str = ""
    usage: AnswerUsage | None = None
    choices: list[_Choice] | None = None
    incomplete_details: _IncompleteDetails | None = None


class _Body(_Answer, gc=False, kw_only=True):
    id: str = ""


class _Response(msgspec.Struct, gc=False):
    status_code: int
    body: _Body | None = None


class ResultLine(msgspec.Struct, gc=False):
    """The parts that all result lines have."""

    custom_id: str
    response: _Response | None = None
    error: dict[str, Any] | None = None

    @property
    def succeeded(self) -> bool:
        """Whether there is an answer. A refused request has no error, only its status."""
        response = self.response
        return response is not None and 200 <= response.status_code < 300 and not self.error

    @property
    def answer(self) -> _Answer | None:
        """The body of the response, unless there was an error."""
        return self.response.body if self.response is not None and not self.error else None

    @property
    def usage(self) -> Usage | None:
        """The answer's tokens; `None` if the server does not count them."""
        answer = self.answer
        return None if answer is None else usage_of(answer.usage)


class _CountedAnswer(_Answer, gc=False, kw_only=True):
    usage: AnswerUsage


class _Success(msgspec.Struct, gc=False):
    status_code: Annotated[int, msgspec.Meta(ge=200, lt=300)]
    body: _CountedAnswer


class AnswerLine(msgspec.Struct, gc=False):
    """A line of an answer whose tokens are counted, which is what most are."""

    custom_id: str
    response: _Success
    error: None = None

    @property
    def answer(self) -> _Answer:
        """The body of the response."""
        return self.response.body


_decode = msgspec.json.Decoder(ResultLine).decode
_decode_answer = msgspec.json.Decoder(AnswerLine).decode


def read_line(line: bytes) -> ResultLine | None:
    """A line of an output or error file; `None` when it is no such line."""
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return read_object(object_in(line))
    body = None if found.response is None else found.response.body
    if not found.succeeded or (body is not None and (body.id or body.usage)):
        return found
    # There may be no answer in it. A byte that is no UTF-8, in a text that nobody reads here, is no reason to lose it.
    return read_object({**object_in(line, errors="replace"), "custom_id": found.custom_id})


def read_answers(lines: Sequence[bytes]) -> list[AnswerLine] | None:
    """The lines, if each is an answer whose tokens are counted; otherwise `None`, and `read_line` tells more."""
    try:
        return list(map(_decode_answer, lines))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def count_tokens(lines: Iterable[ResultLine | AnswerLine], consumption: Consumption) -> None:
    """Count the tokens of answers, if the server does, and how many answers were cut off."""
    # One count after the other for all lines: a call for each of a million would take as long as reading it.
    bodies = [body for line in lines if (body := line.answer)]
    stops = [
        choices[0].finish_reason if (choices := body.choices) else (why := body.incomplete_details) and why.reason
        for body in bodies
    ]
    if not CUT_OFF.isdisjoint(stops):
        consumption.cut_off += sum(stop in CUT_OFF for stop in stops)
    for model in dict.fromkeys([body.model for body in bodies]):
        # Every answer takes tokens: a server that tells of none has other names for them, or does not count. Most have
        # some in the prompt, and need no more than that look.
        usages = [
            usage
            for body in bodies
            if body.model == model and (usage := body.usage) and (usage.prompt_tokens or usage.counts)
        ]
        if not usages:
            continue
        inputs = [usage.input_tokens or usage.prompt_tokens for usage in usages]
        outputs = [usage.output_tokens or usage.completion_tokens for usage in usages]
        cached = [
            read.cached_tokens
            for usage in usages
            if (read := usage.input_tokens_details or usage.prompt_tokens_details)
        ]
        reasoning = [
            written.reasoning_tokens
            for usage in usages
            if (written := usage.output_tokens_details or usage.completion_tokens_details)
        ]
        consumption.of(model).add(Usage(sum(inputs), sum(cached), sum(outputs), sum(reasoning)))
        consumption.spread.add_all(outputs)


def read_object(found: Mapping[str, Any]) -> ResultLine | None:
    """A result line from its object, also as compatible servers write it.

    These have a body as a text within the JSON, numbers as text, or other kinds of usage.
    """
    custom_id = found.get("custom_id")
    if not isinstance(custom_id, str):
        return None
    status = whole_number(mapping_in(found.get("response")).get("status_code"))
    body = body_of(found)
    model, usage = body.get("model"), mapping_in(body.get("usage"))
    read = _Body(
        model=model if isinstance(model, str) else "",
        usage=read_usage(usage) if usage else None,
        choices=[_Choice(str(choice.get("finish_reason"))) for choice in mappings_in(body.get("choices"))],
        incomplete_details=_IncompleteDetails(str(mapping_in(body.get("incomplete_details")).get("reason"))),
    )
    error = dict(mapping_in(found.get("error"))) or ({"message": str(found["error"])} if found.get("error") else None)
    if lack := lack_of_answer(found):
        error = {"code": lack[0], "message": lack[1]}
    return ResultLine(custom_id, _Response(status, read) if status is not None else None, error)
