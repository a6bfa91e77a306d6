"""OpenAI's validation of requests before they run, in a batch's input file and as single calls."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from .azure import full_endpoint, line_error_code
from .errors import ApiError, invalid_type, missing_parameter
from .exchange import embedding_inputs, enqueued_tokens, prompt_tokens
from .settings import Settings
from .shapes import missing_input

__all__ = ["BatchError", "Inspection", "check_request", "check_upload", "inspect"]

# What the SDK calls bytes without a name; OpenAI takes a batch file under it.
# https://github.com/openai/openai-python/blob/main/src/openai/_files.py
UNNAMED = "upload"
# What a response by itself takes in place of an input; a line of a batch with a stored prompt alone was refused.
INPUTS = ("prompt", "previous_response_id", "conversation")
# What every request line must hold, and as which type.
_PARAMETERS: dict[str, tuple[type, str]] = {
    "custom_id": (str, "a string"),
    "method": (str, "a string"),
    "url": (str, "a string"),
    "body": (dict, "an object"),
}


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
        is_counted: Whether a tokenizer counts them.
    """

    errors: list[BatchError] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    model: str | None = None
    prompt_tokens: int = 0
    embedding_inputs: int = 0
    custom_ids: dict[str, int] = field(default_factory=dict)
    is_azure: bool = False
    is_counted: bool = False


def check_upload(source: BinaryIO, filename: str, *, most_bytes: int) -> None:
    """Refuse what OpenAI refuses while the file is uploaded; only `inspect` checks later lines.

    Raises:
        ApiError: 400 for a file that is not named `.jsonl`, is empty, too large, or whose first line that is not
            blank is no JSON object.
    """
    if filename != UNNAMED and not filename.endswith(".jsonl"):
        # https://github.com/BerriAI/litellm/pull/37527
        raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl")
    size = source.seek(0, 2)
    source.seek(0)
    if size == 0:
        raise ApiError(400, "The file is empty.", param="file")
    if size > most_bytes:
        raise ApiError(400, "File is too large.", param="file")
    first = next((line for line in source if line.strip()), b"{}")
    source.seek(0)
    if _parse(first) is None:
        raise ApiError(400, "Invalid file format. The first line is not a JSON object.", param="file")


def check_request(body: dict[str, Any], *, endpoint: str, settings: Settings) -> None:
    """Refuse a single request for the reasons for which a line of a batch is refused.

    Raises:
        ApiError: 404 for a model that does not exist; 400 for anything else.
    """
    for code, message, param in _model_problems(body, endpoint, param="model"):
        raise ApiError(400, message, code=code, param=param)
    missing = missing_input(body, endpoint)
    if missing is not None and not (endpoint == "/v1/responses" and any(body.get(name) for name in INPUTS)):
        raise missing_parameter(missing)
    if body.get("stream"):
        raise ApiError(400, "The emulator does not stream.", code="streaming_unsupported", param="stream")
    model = body.get("model")
    if model and settings.models is not None and model not in settings.models:
        # https://platform.openai.com/docs/guides/error-codes
        raise ApiError(404, f"The model {model!r} does not exist.", code="model_not_found")


def inspect(lines: Iterable[bytes], *, endpoint: str, settings: Settings) -> Inspection:
    """Check every line of an input file, as the `validating` state of a batch does.

    The codes are OpenAI's where its documents or users' reports name one. For two rules none is known:
    `invalid_method` is ours, and `too_many_tasks` is what Azure says.
    """
    found = Inspection(is_azure=settings.azure, is_counted=settings.enqueued_tokens is not None)
    # An extra `/v1` is no mismatch at Azure; elsewhere every endpoint has it.
    endpoint = full_endpoint(endpoint)
    offset = 0
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.offsets.append(offset)
            for code, message, param in _problems(line, number, endpoint, found):
                found.errors.append(BatchError(code, message, number, param))
        offset += len(line)
    found.errors.extend(_problems_of_the_whole(found, settings))
    if settings.azure:
        found.errors = [replace(error, code=error.code and line_error_code(error.code)) for error in found.errors]
    return found


def _parse(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a line holds; `None` when it holds anything else."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) else None


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
    """The problems of one line as (code, message, param); records in `found` what later lines are compared with."""
    request = _parse(line)
    if request is None:
        yield "invalid_json_line", "This line is not parseable as valid JSON.", None
        return
    good: dict[str, Any] = {}
    for name, (kind, expected) in _PARAMETERS.items():
        value = request.get(name)
        if isinstance(value, kind) and value:
            good[name] = value
        elif isinstance(value, kind) or value is None:
            yield "missing_required_parameter", f"Missing required parameter: '{name}'.", name
        else:
            yield "invalid_type", str(invalid_type(name, value, expected)), name
    yield from _known_problems(good, number, endpoint, found)


def _known_problems(
    good: dict[str, Any], number: int, endpoint: str, found: Inspection
) -> Iterable[tuple[str, str, str | None]]:
    """The problems of those parameters of a line that are there and of the right type."""
    if "custom_id" in good:
        custom_id = good["custom_id"]
        first = found.custom_ids.setdefault(custom_id, number)
        if first != number:
            yield "duplicate_custom_id", f"The custom_id {custom_id!r} was already used in line {first}.", "custom_id"
    if good.get("method", "POST") != "POST":
        yield "invalid_method", f"The method must be 'POST', not {good['method']!r}.", "method"
    url = good.get("url", endpoint)
    if (full_endpoint(url) if found.is_azure else url) != endpoint:
        yield "invalid_url", f"The URL {good['url']!r} is not the endpoint of this batch, {endpoint!r}.", "url"
    if "body" in good:
        yield from _body_problems(good["body"], endpoint, found)


def _body_problems(body: dict[str, Any], endpoint: str, found: Inspection) -> Iterable[tuple[str, str, str | None]]:
    yield from _model_problems(body, endpoint, param="body.model")
    missing = missing_input(body, endpoint)
    if missing is not None:
        param = f"body.{missing}"
        yield "missing_required_parameter", f"Missing required parameter: '{param}'.", param
    model = body.get("model")
    if isinstance(model, str) and found.model is None:
        found.model = model
    elif isinstance(model, str) and model != found.model:
        yield "mismatched_model", f"One batch takes one model: {found.model!r} first, {model!r} here.", "body.model"
    if body.get("stream"):
        yield "streaming_unsupported", "Streaming is not supported in a batch.", "body.stream"
    # A tokenizer takes time and memory, which a queue of any size is not worth.
    found.prompt_tokens += prompt_tokens(body) if not found.is_counted else enqueued_tokens(body)
    if endpoint == "/v1/embeddings":
        found.embedding_inputs += len(embedding_inputs(body))


def _model_problems(body: dict[str, Any], endpoint: str, *, param: str) -> Iterable[tuple[str, str, str | None]]:
    model = body.get("model")
    # Moderation has a default model; every other endpoint must be told one.
    if model in (None, "") and endpoint != "/v1/moderations":
        yield "missing_required_parameter", f"Missing required parameter: '{param}'.", param
    if model is not None and not isinstance(model, str):
        yield "invalid_type", str(invalid_type(param, model, "a string")), param
