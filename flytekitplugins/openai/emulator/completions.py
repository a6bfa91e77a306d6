"""The bodies of chat and text completions."""

from __future__ import annotations

from typing import Any

from .exchange import Request, count_tokens, cut_off, identifier, prompt_tokens
from .tools import forced_tool

__all__ = ["chat_completion", "text_completion"]


def chat_completion(request: Request, texts: list[str]) -> dict[str, Any]:
    """A chat completion with `n` choices; the text is the arguments of a tool where the request forces one."""
    text, is_cut = cut_off(texts[0], request.body, "max_completion_tokens", "max_tokens")
    choices = [_chat_choice(request, text, is_cut, index) for index in range(request.body.get("n") or 1)]
    head = {"id": identifier("chatcmpl-", request), "object": "chat.completion"}
    return head | _completion(request, choices, len(choices) * count_tokens(text))


def text_completion(request: Request, texts: list[str]) -> dict[str, Any]:
    """A text completion with `n` choices for each prompt."""
    choices: list[dict[str, Any]] = []
    written = 0
    for said in texts:
        text, is_cut = cut_off(said, request.body, "max_tokens")
        for _ in range(request.body.get("n") or 1):
            reason = "length" if is_cut else "stop"
            choices.append({"index": len(choices), "text": text, "logprobs": None, "finish_reason": reason})
            written += count_tokens(text)
    head = {"id": identifier("cmpl-", request), "object": "text_completion"}
    return head | _completion(request, choices, written)


def _chat_choice(request: Request, text: str, is_cut: bool, index: int) -> dict[str, Any]:
    tool = forced_tool(request.body)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if tool is not None:
        call = {
            "id": f"{identifier('call_', request)}{index}",
            "type": "function",
            "function": {"name": tool["name"], "arguments": text},
        }
        message |= {"content": None, "tool_calls": [call]}
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": "length" if is_cut else "stop" if tool is None else "tool_calls",
    }


def _completion(request: Request, choices: list[dict[str, Any]], written: int) -> dict[str, Any]:
    read = prompt_tokens(request.body)
    return {
        "created": int(request.time),
        "model": request.body.get("model"),
        "choices": choices,
        "usage": {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
    }
