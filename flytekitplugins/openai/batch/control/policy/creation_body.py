"""Makes the body of the request that creates a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flytekitplugins.openai._arguments import check_arguments, whole_numbers
from flytekitplugins.openai.batch.idempotency_key import TAG, IdempotencyKey
from flytekitplugins.openai.batch.records.manifest import DIGEST

__all__ = ["check_config", "check_request", "creation_body", "shard_creation_body"]

DEFAULTS = {"completion_window": "24h", "endpoint": "/v1/chat/completions"}
# https://platform.openai.com/docs/api-reference/batch/create#batch-create-metadata
METADATA_ENTRIES = 16
METADATA_KEY_LENGTH = 64
METADATA_VALUE_LENGTH = 512
# What a batch runs, and how it is found again.
OWN_PARAMETERS = ("input_file_id", "metadata")


def check_config(config: Mapping[str, Any], *, reserved: int = 1) -> None:
    """Find out whether batches of several files can be made with a task's config.

    OpenAI refuses a bad config only after everything has been uploaded. New parameters appear, so only the metadata is
    checked, whose limits have always been the same.

    Args:
        config: The task's.
        reserved: How many of the metadata's entries are the connector's own.

    Raises:
        TypeError: It is no dictionary, or its metadata is none, or has something else than texts in it.
        ValueError: Its metadata has more entries than there is room for, or an entry is too long.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dictionary, such as {{'endpoint': '/v1/responses'}}, not {config!r}.")
    metadata = config.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"The metadata in config must be a dictionary, not {metadata!r}.")
    own = [name for name in metadata if name not in (TAG, DIGEST)]
    if len(own) > METADATA_ENTRIES - reserved:
        most = METADATA_ENTRIES - reserved
        reason = "one of OpenAI's 16 is" if reserved == 1 else "two of OpenAI's 16 are"
        raise ValueError(
            f"The metadata in config has {len(own)} entries; at most {most} are allowed, because {reason} reserved for "
            "the connector."
        )
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(
                f"The metadata in config must consist of strings, and {name!r} is {value!r}; "
                "str(...) converts a number."
            )
        if len(name) > METADATA_KEY_LENGTH or len(value) > METADATA_VALUE_LENGTH:
            raise ValueError(
                f"The entry {name[:METADATA_KEY_LENGTH]!r} of the metadata in config is too long: OpenAI allows "
                f"{METADATA_KEY_LENGTH} characters for a name and {METADATA_VALUE_LENGTH} for a value."
            )


def check_request(request: Mapping[str, Any]) -> None:
    """Check what a task sends with the key: its config, or what was made of it and came back in Flyte's metadata.

    Raises:
        ValueError: The SDK cannot send it, or it would go to another host, or create a batch that is not found again.
    """
    where = "batch task's config"
    if not isinstance(request, Mapping):
        raise ValueError(f"The {where} must be a dictionary, not {request!r}.")  # noqa: TRY004 (as for any config)
    check_arguments(request, where=where)
    # The SDK puts it over the body.
    for name in OWN_PARAMETERS:
        if name in (request.get("extra_body") or {}):
            raise ValueError(f"The extra_body of the {where} must not have {name!r}; the connector sets it.")


def creation_body(
    config: Mapping[str, Any],
    *,
    key: IdempotencyKey | None = None,
    tags: Mapping[str, str] | None = None,
    entries: int = METADATA_ENTRIES,
) -> dict[str, Any]:
    """What a task asks for, but for the file.

    Args:
        config: The task's, which is left as it is.
        key: Goes into the batch's metadata, unless all its entries are the user's own.
        tags: More entries for people to read, as far as there is room.
        entries: How many there may be.
    """
    request: dict[str, Any] = {**DEFAULTS, **whole_numbers(config)}
    metadata = request.get("metadata")
    if key is not None and isinstance(metadata, (Mapping, type(None))):
        request["metadata"] = _tagged(metadata or {}, {TAG: key.tag, **(tags or {})}, entries)
    return request


def shard_creation_body(
    request: Mapping[str, Any], *, input_file_id: str, number: int, of: int, digest: str = ""
) -> dict[str, Any]:
    """The request for one file of the task's.

    Args:
        request: What is the same for all of them.
        input_file_id: The file.
        number: Its own, counted from 0; the batch's metadata tells it.
        of: How many there are.
        digest: Of its lines, by which a later run finds the batch.
    """
    shard = {**request, "input_file_id": input_file_id}
    metadata = request.get("metadata")
    if (of > 1 or digest) and isinstance(metadata, Mapping):
        which = {"flyte_shard": f"{number + 1} of {of}"} if of > 1 else {}
        shard["metadata"] = _tagged(metadata, {TAG: metadata.get(TAG, ""), DIGEST: digest, **which})
    return shard


def _tagged(metadata: Mapping[str, Any], tags: Mapping[str, str], entries: int = METADATA_ENTRIES) -> dict[str, Any]:
    # A key that somebody copied from another batch would make two tasks one, and a digest reuse the wrong results.
    tagged = {name: value for name, value in metadata.items() if name not in (TAG, DIGEST)}
    for name, value in tags.items():
        if value and name not in tagged and len(tagged) < entries:
            tagged[name] = value[:METADATA_VALUE_LENGTH]
    return tagged
