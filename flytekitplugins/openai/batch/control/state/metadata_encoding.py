"""Encodes a task's metadata as bytes, and decodes what comes back from a port that anyone can write to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from flytekitplugins.openai._ids import is_id
from flytekitplugins.openai._nesting import is_nested_deeper
from flytekitplugins.openai._secret_names import KeyScope
from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey
from flytekitplugins.openai.batch.records.manifest import Manifest

from .legacy_metadata import read_pickled_fields

__all__ = ["MAX_BYTES", "decode_fields", "encode_fields"]

# Ours are a few hundred bytes long, and 70 more for each file; a task may have 500 of those, and metadata of its own.
MAX_BYTES = 65_536
# More than a request to create a batch has.
MOST_LEVELS = 50
_REQUIRED = frozenset({"openai_org", "batch_id"})


def encode_fields(values: Mapping[str, Any]) -> bytes:
    """As JSON, without what is at its default."""
    kept = {name: value for name, value in values.items() if name in _REQUIRED or not (value is None or value is False)}
    return json.dumps(kept, separators=(",", ":")).encode()


def decode_fields(data: bytes, *, module: str, name: str) -> dict[str, Any]:
    """Read what `encode_fields` wrote, or the cloudpickle of the published package. Nothing in it is ever executed.

    Args:
        data: The bytes.
        module: Where the one class is that a pickle may be of.
        name: What that class is called.

    Raises:
        ValueError: The bytes are neither, or hold what no metadata of ours does.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes are too many")
    try:
        if data.startswith(b"{"):
            given: dict[str, Any] = json.loads(data, parse_constant=_finite, parse_float=_finite)
        else:
            given = read_pickled_fields(data, module=module, name=name)
    except (TypeError, RecursionError) as error:
        raise ValueError("the bytes cannot be read") from error
    if is_nested_deeper(given, MOST_LEVELS):
        raise ValueError(f"it has more than {MOST_LEVELS} levels")
    unsound = [field for field, is_sound in _SOUND.items() if not is_sound(given.get(field))]
    if not _names_its_files(given):
        unsound.append("request")
    if not unsound and not _counts_its_files(given):
        unsound.append("manifest")
    if not unsound and not _names_a_scope(given):
        unsound.append("flyte_project")
    if unsound or not (is_id(given.get("batch_id")) or _may_lack_one(given)):
        raise ValueError(f"{', '.join(unsound) or 'batch_id'}: not what it should be")
    return {name: value for name, value in given.items() if name in _REQUIRED or value is not None}


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"JSON has no number {number}")
    return value


def _may_lack_one(given: Mapping[str, Any]) -> bool:
    """Whether a task that has no batch yet can find one, or was refused and will have none."""
    metadata = (given.get("request") or {}).get("metadata")
    return given.get("batch_id") == "" and (bool(given.get("refused")) or IdempotencyKey.read(metadata) is not None)


def _names_its_files(given: Mapping[str, Any]) -> bool:
    """Whether what creates a batch comes with the file or the files to run."""
    request = given.get("request")
    return not isinstance(request, dict) or "input_file_id" in request or given.get("shards") is not None


def _names_a_scope(given: Mapping[str, Any]) -> bool:
    """Whether a project and domain are those of a key: they become part of a secret's name."""
    try:
        return bool(KeyScope(given.get("flyte_project"), given.get("flyte_domain")))
    except ValueError:
        return False


def _counts_its_files(given: Mapping[str, Any]) -> bool:
    """Whether a manifest is one of the files that the task has."""
    manifest = given.get("manifest")
    return manifest is None or len(Manifest.decode(manifest).files) == len(given.get("shards") or ())


def _is_text_or_none(value: object) -> bool:
    return isinstance(value, (str, type(None)))


def _is_request_or_none(value: object) -> bool:
    return value is None or (isinstance(value, dict) and isinstance(value.get("input_file_id", ""), str))


def _is_texts_or_none(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_count_or_none(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63)


def _is_manifest_or_none(value: object) -> bool:
    try:
        return value is None or (isinstance(value, str) and bool(Manifest.decode(value)))
    except ValueError:
        return False


_SOUND: dict[str, Callable[[object], bool]] = {
    "openai_org": _is_text_or_none,
    "openai_project": _is_text_or_none,
    "secret_arg": lambda value: isinstance(value, (dict, type(None))),
    "partial_results": lambda value: isinstance(value, (bool, type(None))),
    "request": _is_request_or_none,
    "shards": _is_texts_or_none,
    "requests": _is_count_or_none,
    "max_concurrent_batches": _is_count_or_none,
    "tolerant": lambda value: isinstance(value, (bool, type(None))),
    "delete_files": lambda value: isinstance(value, (bool, type(None))),
    "local": lambda value: isinstance(value, (bool, type(None))),
    "created_at": _is_count_or_none,
    "refused": _is_text_or_none,
    "manifest": _is_manifest_or_none,
    "flyte_project": _is_text_or_none,
    "flyte_domain": _is_text_or_none,
}
