"""What a task asks for: the body of the request that creates its batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flytekitplugins.openai._arguments import whole_numbers

from .key import TAG, TaskKey

__all__ = ["creation_request", "shard_request"]

DEFAULTS = {"completion_window": "24h", "endpoint": "/v1/chat/completions"}
# https://platform.openai.com/docs/api-reference/batch/create#batch-create-metadata
METADATA_ENTRIES = 16
METADATA_VALUE_LENGTH = 512


def creation_request(
    config: Mapping[str, Any], *, key: TaskKey | None = None, tags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a task asks for, but for the file.

    Args:
        config: The task's, which is left as it is.
        key: Goes into the batch's metadata, unless all its entries are the user's own.
        tags: More entries for people to read, as far as there is room.
    """
    request: dict[str, Any] = {**DEFAULTS, **whole_numbers(config)}
    metadata = request.get("metadata")
    if key is not None and isinstance(metadata, (Mapping, type(None))):
        request["metadata"] = _tagged(metadata or {}, {TAG: key.tag, **(tags or {})})
    return request


def shard_request(request: Mapping[str, Any], *, input_file_id: str, number: int, of: int) -> dict[str, Any]:
    """The request for one file of the task's; of several, its metadata tells which one it is, counted from 1."""
    shard = {**request, "input_file_id": input_file_id}
    metadata = request.get("metadata")
    if of > 1 and isinstance(metadata, Mapping):
        shard["metadata"] = _tagged(metadata, {TAG: metadata.get(TAG, ""), "flyte_shard": f"{number + 1} of {of}"})
    return shard


def _tagged(metadata: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    # A key that somebody copied from another batch would make two tasks one.
    tagged = {name: value for name, value in metadata.items() if name != TAG}
    for name, value in tags.items():
        if value and name not in tagged and len(tagged) < METADATA_ENTRIES:
            tagged[name] = value[:METADATA_VALUE_LENGTH]
    return tagged
