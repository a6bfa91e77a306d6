"""What a task asks for: the body of the request that creates its batch, and the arguments by which the SDK sends it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .key import TAG, TaskKey

__all__ = ["creation_arguments", "creation_request", "shard_request"]

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
    request: dict[str, Any] = {**DEFAULTS, **_whole_numbers(config)}
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


def creation_arguments(request: Mapping[str, Any], create: Callable[..., Any]) -> dict[str, Any]:
    """The request as arguments for `create`, the SDK's function.

    An argument that this release of the SDK has no name for goes into the body as it is, because the API grows faster
    than the SDK of a deployment.
    """
    try:
        parameters = inspect.signature(create).parameters
    except (TypeError, ValueError):
        # A stand-in of somebody's test, of which Python 3.10 cannot tell the parameters.
        return dict(request)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(request)
    named = {name: value for name, value in request.items() if name in parameters}
    others = {name: value for name, value in request.items() if name not in parameters}
    return {**named, "extra_body": {**others, **named.get("extra_body", {})}} if others else named


def _tagged(metadata: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    # A key that somebody copied from another batch would make two tasks one.
    tagged = {name: value for name, value in metadata.items() if name != TAG}
    for name, value in tags.items():
        if value and name not in tagged and len(tagged) < METADATA_ENTRIES:
            tagged[name] = value[:METADATA_VALUE_LENGTH]
    return tagged


def _whole_numbers(value: Any) -> Any:
    """`value` with its whole numbers as integers again: a protobuf Struct, in which they travel, knows only floats."""
    if isinstance(value, Mapping):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
