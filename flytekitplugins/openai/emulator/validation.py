"""What OpenAI finds wrong with a batch's input file, before it runs a single request of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .responder import prompt_tokens
from .settings import Settings

__all__ = ["BatchError", "Inspection", "inspect"]


@dataclass(frozen=True)
class BatchError:
    """One entry of `errors.data` of a batch: what is wrong, and in which line (counted from 1)."""

    code: str | None
    message: str
    line: int | None = None
    param: str | None = None


@dataclass
class Inspection:
    """What one pass over an input file finds.

    Attributes:
        offsets: Where each request starts in the file, in bytes.
        prompt_tokens: Of all requests together; what the enqueued-token quota counts.
    """

    errors: list[BatchError] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    model: str | None = None
    prompt_tokens: int = 0
    embedding_inputs: int = 0
    custom_ids: dict[str, int] = field(default_factory=dict)


def inspect(lines: Iterable[bytes], *, endpoint: str, settings: Settings) -> Inspection:
    """Check every line of an input file, as the `validating` state of a batch does.

    The codes are OpenAI's where its documents or users' reports name one. For two rules none is known:
    `invalid_method` is ours, and `too_many_tasks` is what Azure says.
    """
    found = Inspection()
    offset = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.offsets.append(offset)
            for code, message, param in _problems(line, number, endpoint, found):
                found.errors.append(BatchError(code, message, number, param))
        offset += len(line)
    found.errors.extend(_problems_of_the_whole(found, settings))
    return found


def _problems_of_the_whole(found: Inspection, settings: Settings) -> Iterable[BatchError]:
    if not found.offsets:
        yield BatchError("empty_file", "The input file holds no requests.")
    for what, count, most in (
        ("requests", len(found.offsets), settings.max_requests),
        ("embedding inputs", found.embedding_inputs, settings.max_embedding_inputs),
    ):
        if count > most:
            yield BatchError("too_many_tasks", f"A batch may hold {most} {what}, not {count}.")
    if found.model is not None and settings.models is not None and found.model not in settings.models:
        yield BatchError("model_not_found", f"The model {found.model!r} does not exist.", 1, "body.model")


def _problems(line: bytes, number: int, endpoint: str, found: Inspection) -> Iterable[tuple[str, str, str | None]]:
    """The problems of one line as (code, message, param); remembers in `found` what later lines are held against."""
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        yield "invalid_json_line", "This line is not parseable as valid JSON.", None
        return
    for name in ("custom_id", "method", "url", "body"):
        if not request.get(name):
            yield "missing_required_parameter", f"Missing required parameter: {name!r}.", name
    custom_id, body = request.get("custom_id"), request.get("body")
    if isinstance(custom_id, str):
        first = found.custom_ids.setdefault(custom_id, number)
        if first != number:
            yield "duplicate_custom_id", f"The custom_id {custom_id!r} was already used in line {first}.", "custom_id"
    if request.get("method") not in (None, "POST"):
        yield "invalid_method", f"The method must be 'POST', not {request['method']!r}.", "method"
    if request.get("url") not in (None, endpoint):
        yield "invalid_url", f"The URL {request['url']!r} is not the endpoint of this batch, {endpoint!r}.", "url"
    if isinstance(body, dict):
        yield from _body_problems(body, endpoint, found)


def _body_problems(body: dict[str, Any], endpoint: str, found: Inspection) -> Iterable[tuple[str, str, str | None]]:
    model = body.get("model")
    # Moderation has a default model; every other endpoint must be told one.
    if model is None and endpoint != "/v1/moderations":
        yield "missing_required_parameter", "Missing required parameter: 'body.model'.", "body.model"
    if found.model is None:
        found.model = model
    if model is not None and model != found.model:
        yield "mismatched_model", f"One batch takes one model: {found.model!r} first, {model!r} here.", "body.model"
    if body.get("stream"):
        yield "streaming_unsupported", "Streaming is not supported in a batch.", "body.stream"
    found.prompt_tokens += prompt_tokens(body)
    if endpoint == "/v1/embeddings":
        given = body.get("input")
        found.embedding_inputs += len(given) if isinstance(given, list) else 1
