"""The endpoints that a batch can be for, and what each needs in the body of a request."""

from __future__ import annotations

__all__ = [
    "CHAT_COMPLETIONS",
    "COMPLETIONS",
    "EMBEDDINGS",
    "MODERATIONS",
    "NEEDED",
    "RESPONSES",
    "VERSION",
    "canonical_endpoint",
]

# The moderation endpoint has a default model; every other must be told one.
# https://platform.openai.com/docs/api-reference/moderations/create#moderations-create-model
MODERATIONS = "/v1/moderations"
EMBEDDINGS = "/v1/embeddings"
CHAT_COMPLETIONS = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
# Without it OpenAI fails the whole batch, for one such line.
NEEDED = {CHAT_COMPLETIONS: "messages", RESPONSES: "input", EMBEDDINGS: "input", MODERATIONS: "input"}
VERSION = "/v1"


def canonical_endpoint(url: str) -> str:
    """An endpoint as OpenAI writes it: Azure leaves out the `/v1`, and some write a slash at the end.

    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
    """
    path = url.rstrip("/")
    return path if path == VERSION or path.startswith(f"{VERSION}/") else f"{VERSION}{path}"
