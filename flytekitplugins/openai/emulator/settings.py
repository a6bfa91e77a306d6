"""The settings of the emulated OpenAI: its speed, limits and quirks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

__all__ = ["BATCH_ENDPOINTS", "COMPLETION_WINDOW", "FILE_RETENTION", "SINGLE_ENDPOINTS", "Settings"]

# The only completion window there is: 24 hours, in seconds. Input and output files are kept for 30 days.
# https://platform.openai.com/docs/guides/batch
COMPLETION_WINDOW = 86_400
FILE_RETENTION = 30 * 86_400

# What a model is asked for, in a batch or by itself.
SINGLE_ENDPOINTS = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
)
# https://platform.openai.com/docs/api-reference/batch/create
BATCH_ENDPOINTS = (*SINGLE_ENDPOINTS, "/v1/images/edits", "/v1/videos")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Times are seconds of the emulator's clock. A batch keeps the pace it was created with.

    Attributes:
        validating: How long a batch stays `validating`.
        requests_per_second: How fast a batch runs once `in_progress`; 0: not at all, so that it expires.
        finalizing: How long a batch stays `finalizing`.
        cancelling: How long a batch stays `cancelling`; up to ten minutes at OpenAI.
        cancel_too_late: A cancel is accepted, yet loses the race and the batch ends `completed`.
        late_files: How long after its end a batch still shows no output and error file.
        hide_files: How long a file uploaded from now on cannot be seen.
        enqueued_tokens: Prompt tokens that may wait or run at once, for each project and model, or a number for some
            models; `None`: any number.
        batches_per_hour: Batches a project may create in an hour before it is answered 429.
        uploads_per_minute: Files a project may upload in a minute before it is answered 429.
        max_requests: Requests one batch may hold.
        max_embedding_inputs: Embedding inputs one batch may hold.
        max_file_bytes: Bytes one batch input file may hold; OpenAI's message speaks of 209,715,200.
        models: The models that exist; `None`: any name does.
        keys: API keys and the project each belongs to; `None`: any key does, and the `OpenAI-Project`
            header alone says which project a call is for.
        scopes: What a restricted key may do, by key; one that is not named may do everything.
        azure: Batches are those of Azure: statuses are capitalised, `/chat/completions` is an endpoint, a full queue
            refuses the creation, a batch never expires, and a completed one always has an error file.
    """

    validating: float = 0.0
    requests_per_second: float = math.inf
    finalizing: float = 0.0
    cancelling: float = 0.0
    cancel_too_late: bool = False
    late_files: float = 0.0
    hide_files: float = 0.0
    enqueued_tokens: int | Mapping[str, int] | None = None
    batches_per_hour: int = 2_000
    uploads_per_minute: int = 1_000
    max_requests: int = 50_000
    max_embedding_inputs: int = 50_000
    max_file_bytes: int = 209_715_200
    models: tuple[str, ...] | None = None
    keys: Mapping[str, str] | None = None
    scopes: Mapping[str, Collection[str]] = field(default_factory=dict)
    azure: bool = False
