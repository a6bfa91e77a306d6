"""What is said to a model, what its answer says, and how long to wait before saying it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flytekitplugins.openai._arguments import check_arguments, is_positive, whole_numbers
from flytekitplugins.openai._text import tidied, whole

__all__ = [
    "UNPAID_CODES",
    "NoTextError",
    "chat_request",
    "check_config",
    "check_timeout",
    "seconds_to_pause",
    "text_of",
]

# Pauses where OpenAI does not say how long; the last one repeats.
PAUSES_SECONDS = (0.5, 1.0, 2.0)
# Answers of "not now" that hold until somebody pays. https://platform.openai.com/docs/guides/error-codes
UNPAID_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
LONGEST_REASON = 100


class NoTextError(ValueError):
    """An answer has no text; what it has in its place goes on after "the model returned no text: "."""


def check_config(config: Mapping[str, Any]) -> None:
    """Check that a task's config can be sent.

    Raises:
        ValueError: It names no model, its messages are no list, it asks for a stream, or has something for the SDK
            that the SDK cannot take.
    """
    if not config.get("model"):
        raise ValueError("The chatgpt_config names no model; give it one, as in {'model': 'gpt-4o-mini'}.")
    if not isinstance(config.get("messages") or [], list | tuple):
        raise ValueError("The messages of the chatgpt_config are not a list.")  # noqa: TRY004 (as for any config)
    if config.get("stream"):
        raise ValueError("The chatgpt_config asks for a stream, but the task has one output: leave stream out.")
    check_arguments(config, where="chatgpt_config")


def check_timeout(seconds: object) -> None:
    """Check that a call can have this much time.

    Raises:
        ValueError: It is not a positive number.
    """
    if not is_positive(seconds):
        raise ValueError(f"timeout_seconds must be a positive number of seconds, not {seconds!r}.")


def chat_request(config: Mapping[str, Any], message: str) -> dict[str, Any]:
    """The body of the request: the config, and the message after the config's own messages.

    Args:
        config: The task's, which is left as it is.
        message: The user's.
    """
    request: dict[str, Any] = whole_numbers(config)
    return {**request, "messages": [*(request.get("messages") or []), {"role": "user", "content": message}]}


def text_of(answer: Any, *, secret: str = "") -> str:
    """The text of a chat completion, whatever a server has put into its fields.

    Args:
        answer: What the SDK made of a server's answer.
        secret: The secret that must not appear in the message.

    Raises:
        NoTextError: It has none.
    """
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list) or not choices:
        error = _error_in(answer)
        raise NoTextError(f"it is an error ({tidied(error, secret=secret)})" if error else "it has no choices")
    message = getattr(choices[0], "message", None)
    content, reason = _joined(getattr(message, "content", None)), getattr(choices[0], "finish_reason", None)
    # A model may well say nothing when it is asked to; not so when it was cut off.
    if content is not None and (content or reason == "stop"):
        return whole(content)
    refusal = getattr(message, "refusal", None)
    if isinstance(refusal, str) and refusal:
        raise NoTextError(f"it refused ({tidied(refusal, secret=secret)})")
    raise NoTextError(f"finish_reason is {tidied(repr(reason), secret=secret, longest=LONGEST_REASON)}")


def _error_in(answer: object) -> str | None:
    """The error that some gateways report with status 200."""
    error = getattr(answer, "error", None)
    message = error.get("message") if isinstance(error, Mapping) else error
    return message if isinstance(message, str) else None


def _joined(content: object) -> str | None:
    """A message's content as one text: some compatible servers write it in parts, of which others are no text."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    parts = (part for part in content if isinstance(part, Mapping) and part.get("type") == "text")
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "".join(texts) if texts else None


def seconds_to_pause(failures: int, *, retry_after: float | None) -> float:
    """How long to wait after so many failures in a row, at least one: as long as OpenAI says, if it does."""
    if retry_after is not None and retry_after > 0:
        return retry_after
    return PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS)) - 1]
