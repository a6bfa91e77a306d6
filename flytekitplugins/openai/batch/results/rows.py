"""One result as a typed row: whether the request succeeded, the answer, and the validated model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flytekitplugins.openai._text import plural, shortened, whole

from .answer_usage import usage_of
from .bodies import ToolCall, candidates, finish_reasons, shortcomings, texts_in, tool_calls_in, vector_in
from .failures import UNREADABLE, failure_of
from .json_objects import body_of, object_in
from .lines import read_line
from .quick_lines import NOT_QUICK, QuickLine, quick_line
from .usage import Usage

__all__ = ["INVALID_OUTPUT", "ResultRow", "SampleRow", "row_of", "sample_of"]

# Codes of our own.
INVALID_OUTPUT = "invalid_output"
LONGEST_MESSAGE = 1_000
LONGEST_ANSWER = 400

T = TypeVar("T")


def _no_usage() -> Usage | None:
    return None


@dataclass(frozen=True)
class ResultRow(Generic[T]):
    """The result of one request.

    Attributes:
        custom_id: The request's.
        ok: Whether it was answered, and the answer fits the model that was asked for.
        status_code: The HTTP status of the answer; `None` if there was none.
        body: The body of the answer, as the endpoint wrote it; of a request that was refused, the refusal; empty if
            there was no answer.
        error_code: What went wrong: OpenAI's code, `missing`, `invalid_output`, ...; `None` if nothing did.
        error_message: The same in words.
        usage: The tokens that the answer took, if the server tells.
        output: The answer as an object of the model that was asked for; `None` unless the row is ok.
    """

    # Every object has these two. They are named because orjson then asks for each field; otherwise it reads `__dict__`
    # alone, which lacks what nobody has asked for yet.
    __slots__ = ("__dict__", "__weakref__")

    custom_id: str
    ok: bool
    status_code: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    error_code: str | None = None
    error_message: str | None = None
    usage: Usage | None = field(default_factory=_no_usage)
    output: T | None = None

    def __getattr__(self, name: str) -> Any:
        # Of most rows the body is asked for by nobody, and to read it takes as long as all the rest.
        found = self.__dict__.get("_found")
        if found is None or name not in ("body", "usage"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        line = self.__dict__["_line"]
        is_usage = name == "usage"
        value = usage_of(found.response.body.usage) if is_usage else body_of(object_in(line, errors="replace"))
        self.__dict__[name] = value
        return value

    @property
    def text(self) -> str | None:
        """What the model wrote; `None` where there is no text, because it refused, or as for embeddings."""
        found: QuickLine | None = self.__dict__.get("_found")
        return (found and found.text) or next(iter(self.texts), None) or None

    @property
    def texts(self) -> list[str]:
        """What the model wrote in each of its answers, of which there are several where the request asked for `n`."""
        return [whole("".join(parts)) for parts in texts_in(self.body)]

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tools that the model asks for, with their arguments, in its first answer."""
        return tool_calls_in(self.body)

    @property
    def embedding(self) -> list[float] | None:
        """The vector, of a request that embeds one text; `None` where there is none."""
        return vector_in(self.body)

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, as the endpoint says; with `length` or `content_filter` the text is not all of it."""
        found: QuickLine | None = self.__dict__.get("_found")
        if found is not None:
            return found.finish_reason
        return next((str(reason) for reason in finish_reasons(self.body) if reason), None)


@dataclass(frozen=True)
class SampleRow:
    """A row of a table with its answer, for people to read.

    Attributes:
        columns: What was read of it.
        answer: The text of the answer, or the error.
        ok: Whether it was answered.
    """

    columns: Mapping[str, str]
    answer: str
    ok: bool


def sample_of(columns: Sequence[Mapping[str, str]], lines: Sequence[bytes]) -> list[SampleRow]:
    """Rows with their answers.

    Args:
        columns: What was read of each row.
        lines: The line of each in an output or error file.
    """
    rows: list[ResultRow[Any]] = [row_of(line) for line in lines]
    return [
        SampleRow(told, shortened(_answer_shown(row), LONGEST_ANSWER), row.ok)
        for told, row in zip(columns, rows, strict=False)
    ]


def _answer_shown(row: ResultRow[Any]) -> str:
    if not row.ok:
        return f"{row.error_code}: {row.error_message}"
    vector = row.embedding or []
    numbers = f"{plural(len(vector), 'number')}: {', '.join(f'{each:.4g}' for each in vector[:3])}, ..."
    return row.text or (numbers if vector else "")


def row_of(line: bytes, validate: Callable[[str], T] | None = None) -> ResultRow[T]:
    """The row of a line of an output or error file.

    Args:
        line: The line.
        validate: Makes an object of what the model wrote, or raises a `ValueError` that says why it cannot.
    """
    if (quick := _quick_row(line, validate)) is not None:
        return quick
    read = read_line(line)
    if read is None:
        shown = line[:80].decode(errors="replace").strip()
        return ResultRow("", ok=False, error_code=UNREADABLE, error_message=f"this is not a line of results: {shown!r}")
    # A byte that is no UTF-8 costs the text that it stands in, and not the answer, in a line of OpenAI's form.
    found = object_in(line, errors="replace")
    body = body_of(found)
    known: dict[str, Any] = {
        "custom_id": read.custom_id,
        "status_code": read.response.status_code if read.response else None,
        "body": body,
        "usage": read.usage,
    }
    if not read.succeeded:
        failure = failure_of(found)
        return ResultRow(ok=False, error_code=failure.code, error_message=failure.message, **known)
    if validate is None:
        return ResultRow(ok=True, **known)
    problems = list(shortcomings(body))
    try:
        output = _validated(body, validate)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        message = shortened("; ".join(problems), LONGEST_MESSAGE)
        return ResultRow(ok=False, error_code=INVALID_OUTPUT, error_message=message, **known)
    return ResultRow(ok=True, output=output, **known)


def _quick_row(line: bytes, validate: Callable[[str], T] | None) -> ResultRow[T] | None:
    """The row of a line in which all is well, without what nobody may ask for; `None` of any other."""
    found = quick_line(line)
    if found is None:
        return None
    output = None if validate is None else found.output(found.text, validate)
    if output is NOT_QUICK:
        return None
    row: ResultRow[T] = object.__new__(ResultRow)
    # A frozen dataclass sets each attribute by a call of its own.
    row.__dict__.update(
        custom_id=found.custom_id,
        ok=True,
        status_code=found.response.status_code,
        error_code=None,
        error_message=None,
        output=output,
        _line=line,
        _found=found,
    )
    return row


def _validated(body: Mapping[str, Any], validate: Callable[[str], T]) -> T:
    """The answer as an object: the whole text, or the only part of it that is one.

    Raises:
        ValueError: There is none; with the reason of the whole text.
    """
    text, parts = candidates(body)
    try:
        return validate(text)
    except ValueError:
        fitting: list[T] = []
        for part in parts:
            with contextlib.suppress(ValueError):
                fitting.append(validate(part))
        if len(fitting) != 1:
            raise
        return fitting[0]
