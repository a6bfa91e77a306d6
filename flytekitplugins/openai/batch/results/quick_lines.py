"""Reads what most result lines have: an answer of one text that is nothing else than was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .answer_usage import AnswerUsage
from .lines import CUT_OFF

__all__ = ["NOT_QUICK", "QuickLine", "quick_line"]

# In place of an output, if the answer must be read with care.
NOT_QUICK = object()
ABSENT = msgspec.Raw()
# As long as `null`; an error that says what is wrong is longer.
NONE = 4


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    finish_reason: str | None = None
    text: str | None = None


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct, gc=False):
    content: list[_Part] | None = None


class _IncompleteDetails(msgspec.Struct, gc=False):
    reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    id: str = ""
    usage: AnswerUsage | None = None
    error: msgspec.Raw = ABSENT
    choices: list[_Choice] | None = None
    output: list[_Item] | None = None
    incomplete_details: _IncompleteDetails | None = None


class _Response(msgspec.Struct, gc=False):
    status_code: int
    body: _Body


class QuickLine(msgspec.Struct, gc=False):
    """The parts of a line that a row, or a row of a table, needs."""

    custom_id: str
    response: _Response
    error: None = None

    @property
    def is_answer(self) -> bool:
        """Whether it certainly has an answer."""
        response = self.response
        # What has neither may have no answer in it.
        return 200 <= response.status_code < 300 and (response.body.id != "" or response.body.usage is not None)

    @property
    def text(self) -> str | None:
        """The text of the first answer; `None` if there is none, or it has several parts."""
        body = self.response.body
        if body.choices:
            choice = body.choices[0]
            return choice.text if choice.message is None else choice.message.content if choice.text is None else None
        parts = [part for item in body.output or () for part in item.content or () if part.type == "output_text"]
        return parts[0].text if len(parts) == 1 else None

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped: of a response that is incomplete, or else of a completion."""
        body = self.response.body
        reason = body.incomplete_details.reason if body.incomplete_details else None
        return reason or (body.choices[0].finish_reason if body.choices else None) or None

    @property
    def is_complete(self) -> bool:
        """Whether nothing says that the answer is another one than was asked for."""
        body = self.response.body
        if len(body.error) > NONE or (body.incomplete_details and body.incomplete_details.reason in CUT_OFF):
            return False
        choice = body.choices[0] if body.choices else None
        if choice and (choice.finish_reason in CUT_OFF or (choice.message and choice.message.refusal)):
            return False
        return not body.output or not any(part.refusal for item in body.output for part in item.content or ())

    def output(self, text: str | None, validate: Callable[[str], Any]) -> Any:
        """What `validate` makes of the text; `NOT_QUICK` if the answer must be read with care."""
        if not text or "```" in text or not self.is_complete:
            return NOT_QUICK
        try:
            return validate(text)
        except ValueError:
            return NOT_QUICK


_decode = msgspec.json.Decoder(QuickLine).decode


def quick_line(line: bytes) -> QuickLine | None:
    """The line, if it has the form that OpenAI's answers have."""
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.is_answer else None
