"""What to do about a request that failed, by its error's code or else by its HTTP status."""

from __future__ import annotations

__all__ = ["BY_CODE", "BY_STATUS", "advice_for"]

AGAIN = "Run it again; max_resubmissions does so by itself."
LATER = f"OpenAI's trouble, not the request's. {AGAIN}"
REQUEST = "Correct the request, as the message says; every run of it would fail."

# Codes of requests that never got an HTTP answer come from the batch, all others from the endpoint that was to answer.
# https://platform.openai.com/docs/guides/batch, https://platform.openai.com/docs/guides/error-codes
BY_CODE = {
    "batch_expired": f"OpenAI did not come to it within 24 hours. {AGAIN}",
    "batch_cancelled": f"The batch was cancelled before it came to this request. {AGAIN}",
    "request_timeout": f"The model took too long. {AGAIN}",
    "missing": f"Nothing came back, and most likely nothing is billed. {AGAIN}",
    "internal_error": LATER,
    "server_error": LATER,
    "rate_limit_exceeded": f"{AGAIN} If it stays, fewer batches at once: max_concurrent_batches.",
    "token_limit_exceeded": "OpenAI's queue was full. Run it again later, with max_concurrent_batches or fewer tokens.",
    "insufficient_quota": "The account has no credit left: add some, then run it again.",
    "billing_hard_limit_reached": "The account's spending limit is reached: raise it, then run it again.",
    "context_length_exceeded": "Shorten the prompt, or take a model with a larger context.",
    "string_above_max_length": "Shorten the text that the message names.",
    "content_policy_violation": "OpenAI refuses this content: change the prompt, or leave the request out.",
    "content_filter": "OpenAI refuses this content: change the prompt, or leave the request out.",
    "invalid_prompt": "OpenAI refuses this prompt: change it, or leave the request out.",
    "model_not_found": "Look for a typing error in the model's name, and whether the key's project may use it.",
    "mismatched_model": "A file is for one model; create_batch cuts its input so.",
    "invalid_api_key": "Store a valid key in the secret, and run it again.",
    "invalid_json_line": REQUEST,
    "invalid_url": "The request's url must be the batch's endpoint.",
    "missing_required_parameter": REQUEST,
    "unknown_parameter": REQUEST,
    "unsupported_parameter": "This model does not take the parameter: leave it out, or take another model.",
    "unsupported_value": "This model does not take the value: change it, or take another model.",
    "invalid_type": REQUEST,
    "invalid_value": REQUEST,
    "duplicate_custom_id": "Give each request a custom_id of its own.",
    "streaming_unsupported": "Leave stream out: a batch does not stream.",
}
BY_STATUS = {
    400: REQUEST,
    401: BY_CODE["invalid_api_key"],
    403: "The key's project is not allowed to do this; ask for it in OpenAI's settings.",
    404: "Look for a typing error in what the message names, and whether the key's project may use it.",
    408: BY_CODE["request_timeout"],
    409: AGAIN,
    413: "Make the request smaller.",
    422: REQUEST,
    429: BY_CODE["rate_limit_exceeded"],
}
OTHERWISE = "Read the message; the code is none of OpenAI's well-known ones."


def advice_for(code: str, status: int | None = None) -> str:
    """What to do, in a sentence or two.

    Args:
        code: The error's code.
        status: The HTTP status, where there was an answer.
    """
    known = BY_CODE.get(code) or BY_STATUS.get(status or 0)
    return known or (LATER if status is not None and status >= 500 else OTHERWISE)
