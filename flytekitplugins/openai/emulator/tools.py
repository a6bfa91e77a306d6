"""The tools of a request: which one its `tool_choice` forces, and arguments that fit the tool's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["forced_tool", "function_of"]


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The name and parameters of a function tool: a chat nests them in `function`, a response does not.

    https://platform.openai.com/docs/guides/function-calling
    """
    nested = tool.get("function")
    return nested if isinstance(nested, Mapping) else tool


def forced_tool(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The function that the request forces: the named one, or the first one where any is required.

    `None` when the model may answer with a text; the emulator then does.
    """
    choice = body.get("tool_choice")
    functions = [function_of(tool) for tool in body.get("tools") or () if tool.get("type") == "function"]
    if choice == "required":
        return next(iter(functions), None)
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        name = function_of(choice).get("name")
        return next((function for function in functions if function.get("name") == name), None)
    return None
