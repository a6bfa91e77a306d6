"""Where Azure's batches differ from OpenAI's: spelling of statuses, short endpoints, codes of line errors."""

from __future__ import annotations

__all__ = ["full_endpoint", "line_error_code", "short_endpoint", "shown_status"]

# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch#troubleshooting
_CODES = {"invalid_url": "url_mismatch", "mismatched_model": "model_mismatch", "empty_file": "empty_batch"}
_PREFIX = "/v1"


def short_endpoint(endpoint: str) -> str:
    """An endpoint without its `/v1`, such as `/chat/completions`."""
    return endpoint.removeprefix(_PREFIX)


def full_endpoint(endpoint: str) -> str:
    """An endpoint with its `/v1`, in whichever form it was given."""
    return endpoint if endpoint.startswith(f"{_PREFIX}/") else f"{_PREFIX}{endpoint}"


def shown_status(status: str) -> str:
    """A status as clients of Azure have seen it, such as `Validating`."""
    return status.capitalize()


def line_error_code(code: str) -> str:
    """What Azure calls an error of an input file."""
    return _CODES.get(code, code)
