"""The HTTP side of the emulator: routes, parameters checked as strictly as OpenAI does, the error envelope."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .azure import short_endpoint
from .errors import ApiError, invalid_type, invalid_value, missing_parameter
from .service import OpenAIService
from .settings import BATCH_ENDPOINTS, SINGLE_ENDPOINTS

__all__ = ["build_app"]

# https://platform.openai.com/docs/api-reference/files/create
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
# Both kinds of expiry take between an hour and 30 days, in seconds.
EXPIRY_RANGE = range(3_600, 2_592_000 + 1)
# https://platform.openai.com/docs/api-reference/batch/object#batch/object-metadata
METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512
DEFAULT_PROJECT = "proj_default"


def build_app(service: OpenAIService, extra_routes: list[Route]) -> Starlette:
    """The whole API as an ASGI application."""
    calls = _Calls(service)
    routes = [
        Route("/v1/files", calls.create_file, methods=["POST"]),
        Route("/v1/files", calls.list_files, methods=["GET"]),
        Route("/v1/files/{file_id}", calls.retrieve_file, methods=["GET"]),
        Route("/v1/files/{file_id}", calls.delete_file, methods=["DELETE"]),
        Route("/v1/files/{file_id}/content", calls.file_content, methods=["GET"]),
        Route("/v1/batches", calls.create_batch, methods=["POST"]),
        Route("/v1/batches", calls.list_batches, methods=["GET"]),
        Route("/v1/batches/{batch_id}", calls.retrieve_batch, methods=["GET"]),
        Route("/v1/batches/{batch_id}/cancel", calls.cancel_batch, methods=["POST"]),
        *(Route(endpoint, calls.answer, methods=["POST"]) for endpoint in SINGLE_ENDPOINTS),
        *extra_routes,
    ]
    handlers = {ApiError: _refused, HTTPException: _misunderstood, Exception: _broken}
    app = Starlette(routes=routes, exception_handlers=handlers)
    # A path with a slash too many is a mistake to be told of, not to be led around.
    app.router.redirect_slashes = False
    return app


class _Upload(Request):
    """A request whose sender may go away in the middle; before 1.6, starlette then left what it had read open."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in super().stream():
                yield chunk
        except ClientDisconnect:
            raise MultiPartException("The upload ended in the middle.") from None


class _Calls:
    """One method a route: read the parameters, let the service do it, answer."""

    def __init__(self, service: OpenAIService) -> None:
        self._service = service

    async def create_file(self, request: Request) -> Response:
        project = self._project(request)
        async with _Upload(request.scope, request.receive).form() as form:
            parameters = {name: value for name, value in form.items() if isinstance(value, str)}
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise missing_parameter("file")
            _known(parameters, "purpose", "expires_after[anchor]", "expires_after[seconds]")
            purpose = _choice(parameters, "purpose", PURPOSES)
            lifetime = None
            if any(name.startswith("expires_after") for name in parameters):
                anchor, seconds = (parameters.get(f"expires_after[{name}]", "") for name in ("anchor", "seconds"))
                lifetime = _lifetime({"anchor": anchor, "seconds": _whole_number(seconds) or seconds}, "expires_after")
            answer = await run_in_threadpool(
                self._service.create_file,
                upload.file,
                filename=upload.filename or "",
                purpose=purpose,
                lifetime=lifetime,
                project=project,
            )
        return JSONResponse(answer)

    def list_files(self, request: Request) -> Response:
        query = dict(request.query_params)
        _known(query, "purpose", "limit", "order", "after")
        newest_first = _choice({"order": "desc"} | query, "order", ("asc", "desc")) == "desc"
        answer = self._service.list_files(
            purpose=query.get("purpose"),
            after=query.get("after"),
            limit=_limit(query, default=10_000, most=10_000),
            newest_first=newest_first,
            project=self._project(request),
        )
        return JSONResponse(answer)

    def retrieve_file(self, request: Request) -> Response:
        stored = self._service.file(request.path_params["file_id"], project=self._project(request))
        return JSONResponse(stored.to_dict())

    def delete_file(self, request: Request) -> Response:
        return JSONResponse(self._service.delete_file(request.path_params["file_id"], project=self._project(request)))

    def file_content(self, request: Request) -> Response:
        stored = self._service.file(request.path_params["file_id"], project=self._project(request))
        return FileResponse(stored.path, media_type="application/octet-stream", filename=stored.filename)

    async def create_batch(self, request: Request) -> Response:
        project = self._project(request)
        given = await _json_object(request)
        _known(given, "input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
        if not isinstance(_required(given, "input_file_id"), str):
            raise invalid_type("input_file_id", given["input_file_id"], "a string")
        _choice(given, "completion_window", ("24h",))
        expires = given.get("output_expires_after")
        answer = await run_in_threadpool(
            self._service.create_batch,
            input_file_id=given["input_file_id"],
            endpoint=_choice(given, "endpoint", self._endpoints()),
            metadata=_metadata(given.get("metadata")),
            output_lifetime=None if expires is None else _lifetime(expires, "output_expires_after"),
            project=project,
        )
        return JSONResponse(answer)

    def _endpoints(self) -> tuple[str, ...]:
        is_azure = self._service.settings.azure
        return (*BATCH_ENDPOINTS, *(map(short_endpoint, BATCH_ENDPOINTS) if is_azure else ()))

    def list_batches(self, request: Request) -> Response:
        query = dict(request.query_params)
        _known(query, "limit", "after")
        answer = self._service.list_batches(
            after=query.get("after"), limit=_limit(query, default=20, most=100), project=self._project(request)
        )
        return JSONResponse(answer)

    def retrieve_batch(self, request: Request) -> Response:
        return JSONResponse(self._service.batch(request.path_params["batch_id"], project=self._project(request)))

    def cancel_batch(self, request: Request) -> Response:
        return JSONResponse(self._service.cancel_batch(request.path_params["batch_id"], project=self._project(request)))

    async def answer(self, request: Request) -> Response:
        """Any request to a model, by itself."""
        self._project(request)
        body = await _json_object(request)
        reply = await run_in_threadpool(self._service.answer, request.url.path, body)
        # Not JSONResponse, which cannot say half a surrogate pair.
        return Response(json.dumps(reply.body), reply.status_code, media_type="application/json")

    def _project(self, request: Request) -> str:
        """Who is calling. Another project's files and batches do not exist for it."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise ApiError(401, "You didn't provide an API key in an Authorization header with Bearer auth.")
        asked = request.headers.get("openai-project") or DEFAULT_PROJECT
        keys = self._service.settings.keys
        if keys is None:
            return asked
        if key not in keys:
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        if asked not in (DEFAULT_PROJECT, keys[key]):
            raise ApiError(401, "OpenAI-Project header should match project for API key.", code="mismatched_project")
        return keys[key]


def _refused(_request: Request, error: Exception) -> Response:
    refusal = cast(ApiError, error)
    return JSONResponse(refusal.body, refusal.status, headers=refusal.headers)


def _misunderstood(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: a route, a method or a body that it cannot make sense of."""
    refusal = cast(HTTPException, error)
    headers = dict(refusal.headers or {})
    code = None
    message = refusal.detail
    if refusal.status_code in (404, 405):
        headers["x-emulator-unknown-route"] = "1"
        code = "unknown_url"
        message = f"Unknown request URL: {request.method} {request.url.path}."
    body = ApiError(refusal.status_code, message, code=code).body
    return JSONResponse(body, refusal.status_code, headers=headers)


def _broken(_request: Request, error: Exception) -> Response:
    return JSONResponse(ApiError(500, f"The emulator failed: {error!r}").body, 500)


# Parameters. The names of the codes are those of OpenAI's own refusals.


async def _json_object(request: Request) -> dict[str, Any]:
    try:
        given = await request.json()
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ApiError(400, "We could not parse the JSON body of your request.")
    return given


def _required(given: Mapping[str, Any], name: str) -> Any:
    if given.get(name) is None:
        raise missing_parameter(name)
    return given[name]


def _known(given: Mapping[str, Any], *names: str) -> None:
    for name in given:
        if name not in names:
            raise ApiError(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def _choice(given: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value: str = _required(given, name)
    if value not in choices:
        raise invalid_value(name, value, f"one of {', '.join(map(repr, choices))}")
    return value


def _limit(query: Mapping[str, str], *, default: int, most: int) -> int:
    given = query.get("limit", str(default))
    limit = _whole_number(given)
    if limit is None or not 1 <= limit <= most:
        raise invalid_value("limit", given, f"a whole number from 1 to {most}")
    return limit


def _whole_number(text: str) -> int | None:
    """The number that `text` writes in plain digits; `str.isdigit` also takes some that `int` does not."""
    return int(text) if text.isascii() and text.isdigit() else None


def _lifetime(given: Any, name: str) -> float:
    if not isinstance(given, dict) or set(given) != {"anchor", "seconds"} or given["anchor"] != "created_at":
        raise invalid_value(name, given, "an object with anchor 'created_at' and seconds")
    seconds = given["seconds"]
    if not isinstance(seconds, int) or seconds not in EXPIRY_RANGE:
        raise invalid_value(
            f"{name}.seconds", seconds, f"a whole number from {EXPIRY_RANGE.start} to {EXPIRY_RANGE.stop - 1}"
        )
    return seconds


def _metadata(given: Any) -> dict[str, str] | None:
    """Checked metadata; the refusals are worded as in https://github.com/spiceai/docs/issues/928 and its like."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise invalid_type("metadata", given, "an object")
    if len(given) > METADATA_PAIRS:
        raise ApiError(
            400,
            f"Invalid 'metadata': too many properties. Expected an object with at most {METADATA_PAIRS} properties, "
            f"but got an object with {len(given)} properties instead.",
            code="object_above_max_properties",
            param="metadata",
        )
    for key, value in given.items():
        _not_longer(key, METADATA_KEY, "metadata")
        if not isinstance(value, str):
            raise invalid_type(f"metadata.{key}", value, "a string")
        _not_longer(value, METADATA_VALUE, f"metadata.{key}")
    return given


def _not_longer(text: str, most: int, param: str) -> None:
    if len(text) > most:
        raise ApiError(
            400,
            f"Invalid '{param}': string too long. Expected a string with maximum length {most}, "
            f"but got a string with length {len(text)} instead.",
            code="string_above_max_length",
            param=param,
        )
