"""The body of a response, with the parameters of its request repeated."""

from __future__ import annotations

from typing import Any

from .exchange import Request, count_tokens, cut_off, identifier, prompt_tokens
from .tools import forced_tool

__all__ = ["response"]

# What a response repeats of its request, and what it says where the request says nothing.
# https://platform.openai.com/docs/api-reference/responses/object
_REPEATED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "model": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def response(request: Request, texts: list[str]) -> dict[str, Any]:
    """A response; the text is the arguments of a tool where the request forces one."""
    text, is_cut = cut_off(texts[0], request.body, "max_output_tokens")
    read, written = prompt_tokens(request.body), count_tokens(text)
    status = "incomplete" if is_cut else "completed"
    repeated = {
        name: default if request.body.get(name) is None else request.body[name] for name, default in _REPEATED.items()
    }
    return repeated | {
        "id": identifier("resp_", request),
        "object": "response",
        "created_at": int(request.time),
        "completed_at": None if is_cut else int(request.time),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": [_output_item(request, text, status)],
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        },
    }


def _output_item(request: Request, text: str, status: str) -> dict[str, Any]:
    tool = forced_tool(request.body)
    if tool is not None:
        return {
            "id": identifier("fc_", request),
            "type": "function_call",
            "call_id": identifier("call_", request),
            "name": tool["name"],
            "arguments": text,
            "status": status,
        }
    return {
        "id": identifier("msg_", request),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }
