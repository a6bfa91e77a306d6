"""Reads what most result lines have: an answer of one text that is nothing else than was asked for."""

from __future__ import annotations

import msgspec

from .lines import CUT_OFF, decode_usage, read_line
from .usage import Usage

__all__ = ["QuickLine", "quick_line"]

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


class _Body(msgspec.Struct, gc=False):
    id: str = ""
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    choices: list[_Choice] | None = None
    output: list[_Item] | None = None
    incomplete_details: _IncompleteDetails | None = None


class _Response(msgspec.Struct, gc=False):
    status_code: int
    body: _Body


class QuickLine(msgspec.Struct, gc=False):
    """The parts of a line that a row needs at once."""

    custom_id: str
    response: _Response
    error: None = None

    @property
    def is_answer(self) -> bool:
        """Whether it certainly has an answer."""
        response = self.response
        # What has neither may have no answer in it.
        return 200 <= response.status_code < 300 and (response.body.id != "" or len(response.body.usage) > NONE)

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
    def finish_reasons(self) -> tuple[str | None, str | None]:
        """Why the model stopped: of a response that is incomplete, and of a completion."""
        body = self.response.body
        details, choices = body.incomplete_details, body.choices
        return details.reason if details else None, choices[0].finish_reason if choices else None

    def usage(self, line: bytes) -> Usage | None:
        """The tokens of the answer; `None` if the server does not count them."""
        if len(self.response.body.usage) <= NONE:
            return None
        try:
            return decode_usage(self.response.body.usage)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            read = read_line(line)
            return None if read is None else read.usage

    @property
    def is_complete(self) -> bool:
        """Whether nothing says that the answer is another one than was asked for."""
        body = self.response.body
        message = body.choices[0].message if body.choices else None
        refusals = [part.refusal for item in body.output or () for part in item.content or ()]
        is_cut_off = not CUT_OFF.isdisjoint(self.finish_reasons)
        return not (len(body.error) > NONE or is_cut_off or (message and message.refusal) or any(refusals))


_decode = msgspec.json.Decoder(QuickLine).decode


def quick_line(line: bytes) -> QuickLine | None:
    """The line, if it has the form that OpenAI's answers have."""
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.is_answer else None
