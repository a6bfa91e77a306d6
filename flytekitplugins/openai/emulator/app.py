"""The HTTP side of the emulator: routes and the error envelope."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .azure import short_endpoint
from .errors import ApiError, invalid_type, missing_parameter, missing_scope
from .parameters import (
    choice,
    json_object,
    lifetime_of,
    metadata_of,
    only_known,
    page_limit,
    required,
    whole_number,
)
from .service import OpenAIService
from .settings import BATCH_ENDPOINTS, SINGLE_ENDPOINTS

__all__ = ["build_app"]

# https://platform.openai.com/docs/api-reference/files/create
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
DEFAULT_PROJECT = "proj_default"
# What a restricted key is allowed for. Users have seen the names of the first two and the last; those of batches are
# made up after them. https://community.openai.com/t/1374480
FILES_READ, FILES_WRITE, MODEL_REQUEST = "api.files.read", "api.files.write", "model.request"
BATCHES_READ, BATCHES_WRITE = "api.batches.read", "api.batches.write"


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
    """A request whose client may disconnect in the middle; before 1.6, starlette then left what it had read open."""

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
        project = self._project(request, FILES_WRITE)
        async with _Upload(request.scope, request.receive).form() as form:
            parameters = {name: value for name, value in form.items() if isinstance(value, str)}
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise missing_parameter("file")
            only_known(parameters, "purpose", "expires_after[anchor]", "expires_after[seconds]")
            purpose = choice(parameters, "purpose", PURPOSES)
            lifetime = None
            if any(name.startswith("expires_after") for name in parameters):
                anchor, seconds = (parameters.get(f"expires_after[{name}]", "") for name in ("anchor", "seconds"))
                lifetime = lifetime_of({"anchor": anchor, "seconds": whole_number(seconds) or seconds}, "expires_after")
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
        only_known(query, "purpose", "limit", "order", "after")
        newest_first = choice({"order": "desc"} | query, "order", ("asc", "desc")) == "desc"
        answer = self._service.list_files(
            purpose=query.get("purpose"),
            after=query.get("after"),
            limit=page_limit(query, default=10_000, most=10_000),
            newest_first=newest_first,
            project=self._project(request, FILES_READ),
        )
        return JSONResponse(answer)

    def retrieve_file(self, request: Request) -> Response:
        stored = self._service.file(request.path_params["file_id"], project=self._project(request, FILES_READ))
        return JSONResponse(stored.to_dict())

    def delete_file(self, request: Request) -> Response:
        return JSONResponse(
            self._service.delete_file(request.path_params["file_id"], project=self._project(request, FILES_WRITE))
        )

    def file_content(self, request: Request) -> Response:
        stored = self._service.file(request.path_params["file_id"], project=self._project(request, FILES_READ))
        return FileResponse(stored.path, media_type="application/octet-stream", filename=stored.filename)

    async def create_batch(self, request: Request) -> Response:
        project = self._project(request, BATCHES_WRITE)
        given = await json_object(request)
        only_known(given, "input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
        if not isinstance(required(given, "input_file_id"), str):
            raise invalid_type("input_file_id", given["input_file_id"], "a string")
        choice(given, "completion_window", ("24h",))
        expires = given.get("output_expires_after")
        answer = await run_in_threadpool(
            self._service.create_batch,
            input_file_id=given["input_file_id"],
            endpoint=choice(given, "endpoint", self._endpoints()),
            metadata=metadata_of(given.get("metadata")),
            output_lifetime=None if expires is None else lifetime_of(expires, "output_expires_after"),
            project=project,
        )
        return JSONResponse(answer)

    def _endpoints(self) -> tuple[str, ...]:
        is_azure = self._service.settings.azure
        return (*BATCH_ENDPOINTS, *(map(short_endpoint, BATCH_ENDPOINTS) if is_azure else ()))

    def list_batches(self, request: Request) -> Response:
        query = dict(request.query_params)
        only_known(query, "limit", "after")
        answer = self._service.list_batches(
            after=query.get("after"),
            limit=page_limit(query, default=20, most=100),
            project=self._project(request, BATCHES_READ),
        )
        return JSONResponse(answer)

    def retrieve_batch(self, request: Request) -> Response:
        return JSONResponse(
            self._service.batch(request.path_params["batch_id"], project=self._project(request, BATCHES_READ))
        )

    def cancel_batch(self, request: Request) -> Response:
        return JSONResponse(
            self._service.cancel_batch(request.path_params["batch_id"], project=self._project(request, BATCHES_WRITE))
        )

    async def answer(self, request: Request) -> Response:
        """A single request to a model."""
        self._project(request, MODEL_REQUEST)
        body = await json_object(request)
        reply = await run_in_threadpool(self._service.answer, request.url.path, body)
        # Not JSONResponse, which cannot say half a surrogate pair.
        return Response(json.dumps(reply.body), reply.status_code, media_type="application/json")

    def _project(self, request: Request, scope: str) -> str:
        """The calling project. It sees no files or batches of other projects.

        Raises:
            ApiError: 401 for a wrong key, and, as at OpenAI, for one that lacks the scope of the call.
        """
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise ApiError(401, "You didn't provide an API key in an Authorization header with Bearer auth.")
        asked = request.headers.get("openai-project") or DEFAULT_PROJECT
        settings = self._service.settings
        if settings.keys is not None:
            if key not in settings.keys:
                raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
            if asked not in (DEFAULT_PROJECT, settings.keys[key]):
                message = "OpenAI-Project header should match project for API key."
                raise ApiError(401, message, code="mismatched_project")
            asked = settings.keys[key]
        if scope not in settings.scopes.get(key, [scope]):
            raise missing_scope(scope)
        return asked


def _refused(_request: Request, error: Exception) -> Response:
    refusal = cast(ApiError, error)
    return JSONResponse(refusal.body, refusal.status, headers=refusal.headers)


def _misunderstood(request: Request, error: Exception) -> Response:
    """Starlette's own errors, for an unknown route or method or a malformed body."""
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
