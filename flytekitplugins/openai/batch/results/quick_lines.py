"""Reads what most result lines have: an answer of one text that is nothing else than was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .answer_usage import AnswerUsage, decode_usage
from .lines import CUT_OFF, read_line
from .usage import Usage

__all__ = ["NOT_QUICK", "CountedLine", "QuickLine", "counted_line", "quick_line"]

# In place of an output that only a careful reading tells.
NOT_QUICK = object()
ABSENT = msgspec.Raw()
# Of a value that says that there is none; no other is shorter than five bytes.
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


class _Answer(msgspec.Struct, gc=False, kw_only=True):
    id: str = ""
    error: msgspec.Raw = ABSENT
    choices: list[_Choice] | None = None
    output: list[_Item] | None = None
    incomplete_details: _IncompleteDetails | None = None


class _Body(_Answer, gc=False, kw_only=True):
    usage: msgspec.Raw = ABSENT


class _CountedBody(_Answer, gc=False, kw_only=True):
    usage: AnswerUsage | None = None


class _Response(msgspec.Struct, gc=False, kw_only=True):
    status_code: int
    body: _Answer


class _QuickResponse(_Response, gc=False, kw_only=True):
    body: _Body


class _CountedResponse(_Response, gc=False, kw_only=True):
    body: _CountedBody


class _Line(msgspec.Struct, gc=False, kw_only=True):
    custom_id: str
    response: _Response
    error: None = None

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
        """What the text is to the caller; `NOT_QUICK` if it is not all that was asked for."""
        if not text or "```" in text or not self.is_complete:
            return NOT_QUICK
        try:
            return validate(text)
        except ValueError:
            return NOT_QUICK


class QuickLine(_Line, gc=False, kw_only=True):
    """The parts of a line that a row needs at once."""

    response: _QuickResponse

    @property
    def is_answer(self) -> bool:
        """Whether it certainly has an answer."""
        response = self.response
        # What has neither may have no answer in it.
        return 200 <= response.status_code < 300 and (response.body.id != "" or len(response.body.usage) > NONE)

    def usage(self, line: bytes) -> Usage | None:
        """The tokens of the answer; `None` if the server does not count them."""
        if len(self.response.body.usage) <= NONE:
            return None
        try:
            return decode_usage(self.response.body.usage)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            read = read_line(line)
            return None if read is None else read.usage


class CountedLine(_Line, gc=False, kw_only=True):
    """The parts of a line that the row of a table needs, its tokens among them."""

    response: _CountedResponse

    @property
    def is_answer(self) -> bool:
        """As `QuickLine.is_answer`."""
        response = self.response
        return 200 <= response.status_code < 300 and (response.body.id != "" or response.body.usage is not None)


_decode = msgspec.json.Decoder(QuickLine).decode
_decode_counted = msgspec.json.Decoder(CountedLine).decode


def quick_line(line: bytes) -> QuickLine | None:
    """The line, if it has the form that OpenAI's answers have."""
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.is_answer else None


def counted_line(line: bytes) -> CountedLine | None:
    """The same with its tokens."""
    try:
        found = _decode_counted(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.is_answer else None
