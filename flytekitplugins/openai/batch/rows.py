"""A request's result as a person reads it: whether it went well, what was answered, and as what it was understood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flytekitplugins.openai._text import shortened, whole

from .result_lines import CUT_OFF, UNREADABLE, body_of, failure_of, object_in, read_line
from .usage import Usage

__all__ = ["INVALID_OUTPUT", "ResultRow", "row_of"]

# Codes of our own.
INVALID_OUTPUT = "invalid_output"
LONGEST_MESSAGE = 1_000

T = TypeVar("T")


@dataclass(frozen=True)
class ResultRow(Generic[T]):
    """What came of one request.

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

    custom_id: str
    ok: bool
    status_code: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    error_code: str | None = None
    error_message: str | None = None
    usage: Usage | None = None
    output: T | None = None

    @property
    def text(self) -> str | None:
        """What the model wrote; `None` where there is no text, because it refused, or as for embeddings."""
        return whole("".join(_texts(self.body))) or None

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, as the endpoint says; with `length` or `content_filter` the text is not all of it."""
        return next((str(reason) for reason in _reasons(self.body) if reason), None)


def row_of(line: bytes, validate: Callable[[str], T] | None = None) -> ResultRow[T]:
    """The row of a line of an output or error file.

    Args:
        line: The line.
        validate: Makes an object of what the model wrote, or raises a `ValueError` that says why it cannot.
    """
    read = read_line(line)
    if read is None:
        shown = line[:80].decode(errors="replace").strip()
        return ResultRow("", ok=False, error_code=UNREADABLE, error_message=f"this is no line of results: {shown!r}")
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
    problems = list(_shortcomings(body))
    try:
        output = validate(_text_of(body))
    except ValueError as error:
        problems.append(str(error))
    if problems:
        message = shortened("; ".join(problems), LONGEST_MESSAGE)
        return ResultRow(ok=False, error_code=INVALID_OUTPUT, error_message=message, **known)
    return ResultRow(ok=True, output=output, **known)


def _text_of(body: Mapping[str, Any]) -> str:
    texts = list(_texts(body))
    if not texts:
        raise ValueError("the answer has no text")
    return "".join(texts)


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    """What the model wrote, in the forms of chat completions, completions, and responses."""
    for choice in _objects(body.get("choices"))[:1]:
        yield from _texts_in(_object(choice.get("message")).get("content"))
        yield from _texts_in(choice.get("text"))
    for part in _parts(body):
        if part.get("type") == "output_text":
            yield from _texts_in(part.get("text"))


def _texts_in(content: object) -> Iterator[str]:
    """The text that `content` is; or, as some servers write it, the texts of its parts."""
    if isinstance(content, str):
        yield content
    else:
        parts = (part for part in _objects(content) if part.get("type") == "text")
        yield from (part["text"] for part in parts if isinstance(part.get("text"), str))


def _shortcomings(body: Mapping[str, Any]) -> Iterator[str]:
    """Why the model wrote something else than was asked for, or not all of it, as far as it says so."""
    choice = next(iter(_objects(body.get("choices"))), {})
    refusals = [_object(choice.get("message")).get("refusal"), *(part.get("refusal") for part in _parts(body))]
    yield from (f"the model refused ({whole(str(refusal))})" for refusal in refusals if refusal)
    yield from (f"the answer was cut off ({reason})" for reason in _reasons(body) if str(reason) in CUT_OFF)
    if error := _object(body.get("error")):
        yield f"the model failed ({whole(str(error.get('message') or error.get('code')))})"


def _reasons(body: Mapping[str, Any]) -> tuple[object, object]:
    """Why the model stopped: of a response that is incomplete, and of a completion."""
    choice = next(iter(_objects(body.get("choices"))), {})
    return _object(body.get("incomplete_details")).get("reason"), choice.get("finish_reason")


def _parts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [part for item in _objects(body.get("output")) for part in _objects(item.get("content"))]


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
