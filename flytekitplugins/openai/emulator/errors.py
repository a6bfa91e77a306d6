"""The API's error envelope, and the errors that several modules raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "ApiError",
    "error_body",
    "invalid_type",
    "invalid_value",
    "missing_parameter",
    "missing_scope",
    "no_such_file",
]

_JSON_TYPES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    type(None): "null",
}


class ApiError(Exception):
    """An error response, sent to the client in OpenAI's envelope `{"error": {message, type, param, code}}`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(status, message, code=code, param=param)
        self.headers = dict(headers or {})


def error_body(status: int, message: str, *, code: str | None, param: str | None = None) -> dict[str, Any]:
    """The envelope for `message`; the `type` follows from the HTTP status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def invalid_value(param: str, value: object, expected: str) -> ApiError:
    """A parameter that is there but wrong."""
    return ApiError(400, f"Invalid value: {value!r}. Expected {expected}.", code="invalid_value", param=param)


def invalid_type(param: str, value: object, expected: str) -> ApiError:
    """A parameter of another JSON type, as in https://github.com/BerriAI/litellm/pull/28425 ."""
    message = f"Invalid type for '{param}': expected {expected}, but got {_JSON_TYPES[type(value)]} instead."
    return ApiError(400, message, code="invalid_type", param=param)


def missing_parameter(param: str) -> ApiError:
    """A parameter that must be there."""
    return ApiError(400, f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)


def missing_scope(scope: str) -> ApiError:
    """A call that a restricted key is not allowed for: 401, and no code. https://community.openai.com/t/1374480 ."""
    return ApiError(
        401,
        f"You have insufficient permissions for this operation. Missing scopes: {scope}. Check that you have the "
        "correct role in your organization (Reader, Writer, Owner) and project (Member, Owner), and if you're using a "
        "restricted API key, that it has the necessary scopes.",
    )


def no_such_file(file_id: str) -> ApiError:
    """An id that this project cannot see: unknown, deleted, expired, hidden, or another project's."""
    return ApiError(404, f"No such File object: {file_id}", param="id")
