"""Checks of a model request's shape, with OpenAI's messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .errors import ApiError, invalid_type, invalid_value, missing_parameter
from .tools import function_of

__all__ = ["REQUIRED", "check_shape", "missing_input"]

# What a model is asked to read, for each endpoint. https://platform.openai.com/docs/api-reference
REQUIRED = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/responses": "input",
    "/v1/embeddings": "input",
    "/v1/moderations": "input",
    "/v1/images/generations": "prompt",
    "/v1/images/edits": "prompt",
    "/v1/videos": "prompt",
}
FORMATS = ("text", "json_object", "json_schema")
ROLES = ("developer", "system", "user", "assistant", "tool", "function")
# The least and the most of each whole number. A response takes no fewer than 16 tokens.
NUMBERS = {
    "n": (1, 128),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "max_output_tokens": (16, None),
    "dimensions": (1, None),
}


def missing_input(body: Mapping[str, Any], endpoint: str) -> str | None:
    """The name of the input that the endpoint needs and the request lacks."""
    name = REQUIRED[endpoint]
    return name if body.get(name) is None else None


def check_shape(body: Mapping[str, Any], endpoint: str) -> None:
    """Refuse a request whose shape is wrong.

    Raises:
        ApiError: 400 for the first thing that is wrong.
    """
    for name, (least, most) in NUMBERS.items():
        _whole_number(body, name, least, most)
    if endpoint == "/v1/chat/completions":
        _check_messages(body.get("messages"))
        _check_format(body.get("response_format"), "response_format", "json_schema.")
    elif endpoint == "/v1/responses":
        _check_response(body)
    elif endpoint in ("/v1/embeddings", "/v1/completions"):
        _check_texts(body.get(REQUIRED[endpoint]), REQUIRED[endpoint])
    if endpoint in ("/v1/chat/completions", "/v1/responses"):
        _check_tools(body, is_chat=endpoint == "/v1/chat/completions")


def _check_response(body: Mapping[str, Any]) -> None:
    given = body.get("input")
    if given is not None and not isinstance(given, str | list):
        raise invalid_type("input", given, "a string or an array")
    text = body.get("text")
    if text is not None:
        _check_format(_object(text, "text").get("format"), "text.format", "")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise invalid_type("messages", messages, "an array of objects")
    if not messages:
        raise _empty_array("messages")
    for index, message in enumerate(messages):
        param = f"messages[{index}]"
        role = _text(_object(message, param), "role", f"{param}.role")
        if role not in ROLES:
            raise invalid_value(f"{param}.role", role, f"one of {', '.join(map(repr, ROLES))}")
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise invalid_type(f"{param}.content", content, "a string or an array of objects")


def _check_format(form: Any, param: str, nested: str) -> None:
    """Check a chat's `response_format`, which nests its schema, or a response's `text.format`, which does not."""
    if form is None:
        return
    kind = _text(_object(form, param), "type", f"{param}.type")
    if kind not in FORMATS:
        raise invalid_value(f"{param}.type", kind, f"one of {', '.join(map(repr, FORMATS))}")
    if kind != "json_schema":
        return
    if nested and form.get("json_schema") is None:
        raise missing_parameter(f"{param}.json_schema")
    described = _object(form["json_schema"], f"{param}.json_schema") if nested else form
    _text(described, "name", f"{param}.{nested}name")
    schema = described.get("schema")
    if schema is None and not nested:
        raise missing_parameter(f"{param}.schema")
    if schema is not None:
        _object(schema, f"{param}.{nested}schema")


def _check_tools(body: Mapping[str, Any], *, is_chat: bool) -> None:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is not None and not isinstance(tools, list):
        raise invalid_type("tools", tools, "an array of objects")
    names = list(_tool_names(tools or [], is_chat=is_chat))
    if is_chat and choice is not None and not tools:
        message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        raise ApiError(400, message, param="tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise invalid_value("tool_choice", choice, "one of 'none', 'auto', 'required'")
    if choice is None or isinstance(choice, str):
        return
    if _object(choice, "tool_choice").get("type") == "function" and function_of(choice).get("name") not in names:
        name = function_of(choice).get("name")
        raise ApiError(400, f"Tool choice 'function' not found in 'tools' parameter: {name!r}.", param="tool_choice")


def _tool_names(tools: list[Any], *, is_chat: bool) -> Iterator[str]:
    for index, tool in enumerate(tools):
        param = f"tools[{index}]"
        if _text(_object(tool, param), "type", f"{param}.type") != "function":
            continue
        if is_chat and tool.get("function") is None:
            raise missing_parameter(f"{param}.function")
        function = _object(tool["function"], f"{param}.function") if is_chat else tool
        prefix = f"{param}.function" if is_chat else param
        yield _text(function, "name", f"{prefix}.name")
        if function.get("parameters") is not None:
            _object(function["parameters"], f"{prefix}.parameters")


def _check_texts(given: Any, param: str) -> None:
    if not isinstance(given, str | list):
        raise invalid_type(param, given, "a string or an array")
    if given in ("", []) and param == "input":
        raise invalid_value(param, given, "a string or an array that is not empty")


def _whole_number(body: Mapping[str, Any], name: str, least: int, most: int | None) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid_type(name, value, "an integer")
    too_small = value < least
    if too_small or (most is not None and value > most):
        kind, sign, bound = ("below minimum", ">=", least) if too_small else ("above maximum", "<=", most)
        message = f"Invalid '{name}': integer {kind} value. Expected a value {sign} {bound}, but got {value} instead."
        code = "integer_below_min_value" if too_small else "integer_above_max_value"
        raise ApiError(400, message, code=code, param=name)


def _object(value: Any, param: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise invalid_type(param, value, "an object")
    return value


def _text(given: Mapping[str, Any], name: str, param: str) -> str:
    value = given.get(name)
    if value is None:
        raise missing_parameter(param)
    if not isinstance(value, str):
        raise invalid_type(param, value, "a string")
    return value


def _empty_array(param: str) -> ApiError:
    message = (
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    )
    return ApiError(400, message, code="empty_array", param=param)
