"""What to do about requests that failed, by their error's code or else by its HTTP status."""

from __future__ import annotations

from flytekitplugins.openai.batch.results.failures import Failure, is_worth_running_again

__all__ = ["BY_CODE", "BY_STATUS", "advice_for"]

REQUEST = "Correct the request as the message says; it would fail every time."
TROUBLE = "OpenAI's fault, not the request's."
# Advice to run again follows the same rule as a later round does.
AGAIN = "Run it again; max_resubmissions does this automatically."

# Codes of requests that never got an HTTP answer come from the batch, all others from the endpoint that was to answer.
# https://platform.openai.com/docs/guides/batch, https://platform.openai.com/docs/guides/error-codes
BY_CODE = {
    "batch_expired": "OpenAI did not get to it within 24 hours.",
    "batch_cancelled": "The batch was cancelled before OpenAI got to this request.",
    "request_timeout": "The model took too long.",
    "missing": "OpenAI returned nothing for it, and most likely bills nothing.",
    "no_answer": TROUBLE,
    "empty_answer": TROUBLE,
    "unreadable_line": "Its line in a result file could not be read; the message shows it.",
    "internal_error": TROUBLE,
    "server_error": TROUBLE,
    "rate_limit_exceeded": "Too many requests at once for the model; if it persists, set max_concurrent_batches.",
    "token_limit_exceeded": "OpenAI's queue was full, or too small for the file: set enqueued_token_limit to its size.",
    "insufficient_quota": "The account has no credit left: add some, then run it again.",
    "billing_hard_limit_reached": "The account's spending limit is reached: raise it, then run it again.",
    "context_length_exceeded": "Shorten the prompt, or use a model with a larger context.",
    "string_above_max_length": "Shorten the text that the message names.",
    "content_policy_violation": "OpenAI refuses this content: change the prompt, or leave the request out.",
    "content_filter": "OpenAI refuses this content: change the prompt, or leave the request out.",
    "invalid_prompt": "OpenAI refuses this prompt: change it, or leave the request out.",
    "model_not_found": (
        "Check that the model's name has no typo, that the key's project may use it, and that it supports "
        "batches: not every model does."
    ),
    "mismatched_model": "A file must be for one model; create_batch splits its input by model.",
    "invalid_api_key": "Store a valid key in the secret, and run it again.",
    "invalid_json_line": REQUEST,
    "invalid_request": "OpenAI could not run the batch; if it found no file, the steps' keys belong to two projects.",
    "empty_file": "The batch's file had no requests in it.",
    "refused": "OpenAI refused the batch: do what the message says, then run it again.",
    "invalid_url": "The request's url must be the batch's endpoint.",
    "missing_required_parameter": REQUEST,
    "unknown_parameter": REQUEST,
    "unsupported_parameter": "This model does not support the parameter: leave it out, or use another model.",
    "unsupported_value": "This model does not support the value: change it, or use another model.",
    "invalid_type": REQUEST,
    "invalid_value": REQUEST,
    "duplicate_custom_id": "Give each request its own custom_id.",
    "streaming_unsupported": "Leave stream out: a batch does not stream.",
    "other": "There are more than 200 kinds of errors; these are the rest. See the error file.",
}
BY_STATUS = {
    400: REQUEST,
    401: BY_CODE["invalid_api_key"],
    403: "The key's project is not allowed to do this; ask for it in OpenAI's settings.",
    404: "Check that what the message names has no typo, and that the key's project may use it.",
    408: BY_CODE["request_timeout"],
    409: "Another operation on it was under way.",
    413: "Make the request smaller.",
    422: REQUEST,
    429: BY_CODE["rate_limit_exceeded"],
}
OTHERWISE = "Read the message: this package does not know the code."


def advice_for(code: str, status: int | None = None, *, run_again: int = 0) -> str:
    """What to do, in a sentence or two.

    Args:
        code: The error's code.
        status: The HTTP status, where there was an answer.
        run_again: How often what is worth it has been run again already.
    """
    is_worth_it = is_worth_running_again(Failure(code, "", status))
    by_status = BY_STATUS.get(status or 0) or (TROUBLE if status is not None and status >= 500 else OTHERWISE)
    # A code that asks for a correction is not what went wrong when the status says to try again.
    is_contradicted = is_worth_it and not is_worth_running_again(Failure(code, ""))
    advice = by_status if is_contradicted else BY_CODE.get(code, by_status)
    if not is_worth_it:
        return advice
    if run_again:
        times = "once" if run_again == 1 else "twice" if run_again == 2 else f"{run_again} times"
        return f"{advice} It was run again {times} and failed each time: try later."
    return f"{advice} {AGAIN}"
