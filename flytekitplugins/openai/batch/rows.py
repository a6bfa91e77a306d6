"""A request's result as a person reads it: whether it went well, what was answered, and as what it was understood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .result_lines import body_of, failure_of, object_in, read_object
from .usage import Usage

__all__ = ["INVALID_OUTPUT", "ResultRow", "row_of"]

# Codes of our own.
INVALID_OUTPUT = "invalid_output"
UNREADABLE = "unreadable_line"

T = TypeVar("T")


@dataclass(frozen=True)
class ResultRow(Generic[T]):
    """What came of one request.

    Attributes:
        custom_id: The request's.
        ok: Whether it was answered, and the answer fits the model that was asked for.
        status_code: The HTTP status of the answer; `None` if there was none.
        body: The body of the answer, as the endpoint wrote it; of a request that was refused, the refusal.
        error_code: What went wrong: OpenAI's code, `missing`, `invalid_output`, ...; `None` if nothing did.
        error_message: The same in words.
        usage: The tokens that the answer took, if the server tells.
        output: The answer as an object of the model that was asked for.
    """

    custom_id: str
    ok: bool
    status_code: int | None = None
    body: Mapping[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    usage: Usage | None = None
    output: T | None = None

    @property
    def text(self) -> str | None:
        """What the model wrote; `None` where there is no text, such as in embeddings."""
        return "".join(_texts(self.body or {})) or None

    def flat(self) -> dict[str, Any]:
        """The row for a table: the tokens, and the fields of the output, are columns of their own."""
        usage = self.usage or Usage()
        named = ("custom_id", "ok", "status_code", "text", "error_code", "error_message")
        return {
            **{name: getattr(self, name) for name in named},
            **{name: count if self.usage else None for name, count in vars(usage).items()},
            **self._output_fields(),
            "body": self.body,
        }

    def _output_fields(self) -> dict[str, Any]:
        if self.output is None:
            return {}
        dump = getattr(self.output, "model_dump", None)
        value: Any = dump() if dump is not None else self.output
        # A model of a list, or of a number, has no fields.
        has_fields = dump is not None and isinstance(value, dict)
        return {f"output.{name}": field for name, field in value.items()} if has_fields else {"output": value}


def row_of(line: bytes, validate: Callable[[str], T] | None = None) -> ResultRow[T]:
    """The row of a line of an output or error file.

    Args:
        line: The line.
        validate: Makes an object of what the model wrote, or raises a `ValueError` that says why it cannot.
    """
    found = object_in(line)
    read = read_object(found)
    if read is None:
        shown = line[:80].decode(errors="replace").strip()
        return ResultRow("", ok=False, error_code=UNREADABLE, error_message=f"this is no line of results: {shown!r}")
    body = body_of(found)
    known: dict[str, Any] = {
        "custom_id": read.custom_id,
        "status_code": read.response.status_code if read.response else None,
        "body": body or None,
        "usage": read.usage,
    }
    if not read.succeeded:
        failure = failure_of(found)
        return ResultRow(ok=False, error_code=failure.code, error_message=failure.message, **known)
    if validate is None:
        return ResultRow(ok=True, **known)
    try:
        return ResultRow(ok=True, output=validate(_text_of(body)), **known)
    except ValueError as error:
        return ResultRow(ok=False, error_code=INVALID_OUTPUT, error_message=f"{_excuse(body)}{error}", **known)


def _text_of(body: Mapping[str, Any]) -> str:
    texts = list(_texts(body))
    if not texts:
        raise ValueError("the answer has no text")
    return "".join(texts)


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    """What the model wrote, in the forms of chat completions, completions, and responses."""
    for choice in _objects(body.get("choices"))[:1]:
        texts = (_object(choice.get("message")).get("content"), choice.get("text"))
        yield from (text for text in texts if isinstance(text, str))
    for part in _parts(body):
        if part.get("type") == "output_text" and isinstance(part.get("text"), str):
            yield part["text"]


def _excuse(body: Mapping[str, Any]) -> str:
    """Why the model wrote something else than was asked for, if it says so."""
    choice = next(iter(_objects(body.get("choices"))), {})
    refusals = [_object(choice.get("message")).get("refusal"), *(part.get("refusal") for part in _parts(body))]
    for refusal in refusals:
        if refusal:
            return f"the model refused ({refusal}); "
    reason = _object(body.get("incomplete_details")).get("reason") or choice.get("finish_reason")
    return f"the answer was cut off ({reason}); " if reason not in (None, "stop") else ""


def _parts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [part for item in _objects(body.get("output")) for part in _objects(item.get("content"))]


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
