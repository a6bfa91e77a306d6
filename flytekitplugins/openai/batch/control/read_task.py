"""Reads what a task asks for from what Flyte hands over in `create`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskExecutionMetadata

from flytekitplugins.openai._credentials import scope_of
from flytekitplugins.openai._flyte import is_local_run
from flytekitplugins.openai._secret_names import KeyScope
from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey
from flytekitplugins.openai.batch.records.manifest import Manifest
from flytekitplugins.openai.exceptions import InvalidInputError

from .failure_log import Named
from .policy.creation_body import METADATA_ENTRIES, check_request, creation_body
from .state.task_spec import TaskSpec, log_fields

__all__ = ["read_account", "read_files", "read_name", "read_scope", "read_task"]

ACCOUNT_NAMES = {"openai_org": "openai_organization", "openai_project": "openai_project"}


def read_task(
    custom: Mapping[str, Any],
    inputs: LiteralMap | None,
    *,
    output_prefix: str,
    execution: TaskExecutionMetadata | None,
    scope: KeyScope,
) -> TaskSpec:
    """What a task asks for.

    Args:
        custom: The `custom` of its template.
        inputs: Its inputs.
        output_prefix: Where Flyte keeps its outputs; "" if Flyte did not say.
        execution: Who runs it; `None` outside of Flyte, which always says it.
        scope: Whose key it is run with.

    Raises:
        InvalidInputError: It was given no file id, its config cannot be sent, or its batches could not be found again.
    """
    files, requests = read_files(inputs)
    account = read_account(custom, scope)
    manifest = _read_manifest(inputs, files)
    # Each batch will have one in its metadata.
    reserved = 1 if manifest and any(entry.digest for entry in manifest.files) else 0
    spec = TaskSpec(
        **account,
        batch_id="",
        partial_results=bool(custom.get("partial_results")),
        request=_read_request(
            custom, inputs, output_prefix=output_prefix, execution=execution, entries=METADATA_ENTRIES - reserved
        ),
        shards=files,
        requests=requests,
        max_concurrent_batches=_whole(custom.get("max_concurrent_batches")),
        tolerant=bool(custom.get("tolerant")),
        delete_files=bool(custom.get("delete_files")),
        local=execution is None,
        created_at=int(time.time()),
        manifest=manifest.encode() if manifest else None,
    )
    if spec.key is None and files is not None:
        raise InvalidInputError(
            f"The batches of this task could not be found again: its config has {METADATA_ENTRIES} metadata entries, "
            "and one of them is reserved for the connector; remove one."
        )
    return spec


def read_scope(execution: TaskExecutionMetadata | None) -> KeyScope:
    """Whose key a task is run with, by what Flyte says of its execution: its config could name anybody's.

    Raises:
        MissingAPIKeyError: Its project has no key, and the operator lets no task use the common one.
    """
    task = getattr(execution, "task_execution_id", None)
    if task is None:
        return scope_of(None, None)
    by_whom = task.node_execution_id.execution_id
    return scope_of(by_whom.project, by_whom.domain)


def read_name(task_name: str, execution: TaskExecutionMetadata | None) -> Named:
    """A task of which nothing else could be read, for the log."""
    return Named(f"task {task_name!r}", log_fields(_read_tags(execution)))


def read_account(custom: Mapping[str, Any], scope: KeyScope) -> dict[str, Any]:
    """The fields of a `TaskSpec` that name the account. A template that no task wrote may have anything in them."""
    names = {field: custom.get(name) for field, name in ACCOUNT_NAMES.items()}
    secret = custom.get("secret_arg")
    return {
        **{field: name if isinstance(name, str) else None for field, name in names.items()},
        "secret_arg": secret if isinstance(secret, dict) else None,
        "flyte_project": scope.project,
        "flyte_domain": scope.domain,
    }


def read_files(inputs: LiteralMap | None) -> tuple[list[str] | None, int | None]:
    """The file ids of a task with any number of files, and how many requests they hold; otherwise `None`."""
    literals = inputs.literals if inputs is not None else {}
    if "input_file_ids" not in literals:
        return None, None
    collection, count = literals["input_file_ids"].collection, literals.get("requests")
    files = [literal.scalar.primitive.string_value for literal in (collection.literals if collection else [])]
    return files, count.scalar.primitive.integer if count is not None else None


def _read_manifest(inputs: LiteralMap | None, files: Sequence[str] | None) -> Manifest | None:
    """What is in the files, as the upload step says; one of an older version does not."""
    literal = inputs.literals.get("manifest") if inputs is not None else None
    if literal is None:
        return None
    try:
        manifest = Manifest.decode(literal.scalar.primitive.string_value)
    except ValueError as error:
        raise InvalidInputError(f"The manifest of the input files cannot be read: {error}.") from None
    if len(manifest.files) != len(files or ()):
        raise InvalidInputError(
            f"The manifest is of {len(manifest.files):,} files, and the task was given {len(files or ()):,}."
        )
    return manifest


def _read_request(
    custom: Mapping[str, Any],
    inputs: LiteralMap | None,
    *,
    output_prefix: str,
    execution: TaskExecutionMetadata | None,
    entries: int,
) -> dict[str, Any]:
    """The body that creates a batch of the task, as far as it is the same for all of them."""
    literals = inputs.literals if inputs is not None else {}
    config = custom.get("config") or {}
    try:
        check_request(config)
    except ValueError as error:
        raise InvalidInputError(str(error)) from None
    request = creation_body(config, key=_read_key(output_prefix), tags=_read_tags(execution), entries=entries)
    if "input_file_ids" in literals:
        return request
    literal = literals.get("input_file_id")
    file_id: str | None = literal.scalar.primitive.string_value if literal is not None else None
    if not file_id:
        raise InvalidInputError("The batch task has no input_file_id; pass it the id of an uploaded file.")
    return {**request, "input_file_id": file_id}


def _read_key(output_prefix: str) -> IdempotencyKey | None:
    if not output_prefix:
        return None
    # A local run's prefix is the attempt's own, and its directory that of the whole run.
    return IdempotencyKey.of(f"{output_prefix}/0" if is_local_run() else output_prefix)


def _read_tags(execution: TaskExecutionMetadata | None) -> dict[str, str]:
    """Where a batch comes from, for people who look at the list of batches on OpenAI's platform."""
    task = getattr(execution, "task_execution_id", None)
    if task is None:
        return {}
    node = task.node_execution_id
    tags = {
        "flyte_execution": node.execution_id.name,
        "flyte_project": node.execution_id.project,
        "flyte_domain": node.execution_id.domain,
        "flyte_node": node.node_id,
        "flyte_task": task.task_id.name,
    }
    return {name: value for name, value in tags.items() if value}


def _whole(number: object) -> int | None:
    """A whole number again, which a protobuf Struct turns into a float; `None` for anything else."""
    return int(number) if isinstance(number, (int, float)) and 0 < number < 2**63 else None
