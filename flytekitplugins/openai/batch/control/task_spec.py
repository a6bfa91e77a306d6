"""What a task asks for, read from what Flyte hands over in `create`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskExecutionMetadata

from flytekitplugins.openai._arguments import check_arguments
from flytekitplugins.openai._flyte import is_local_run
from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey
from flytekitplugins.openai.exceptions import InvalidInputError

from .batch_outcome import Outcome
from .submission import creation_request, shard_request

__all__ = ["Order", "read_request", "read_shards"]

# A file of the largest size is validated within minutes.
VALIDATION_SECONDS = 600.0


@dataclass(frozen=True)
class Order:
    """What a task asked for, as Flyte keeps it.

    Attributes:
        batch_id: The batch of the first file, as far as Flyte knows of it; "" when there was none yet.
        request: The body that creates a batch; `None` when it must not be created again.
        shards: The files to run, if each is a part of a larger input; otherwise the request names the file.
        requests: How many there are in all of them together.
        most: How many batches may be under way at once.
        tolerant: Whether the task has succeeded even if nothing came of it.
        local: Whether it runs in this process alone, and not in Flyte.
        created_at: When Flyte created it, in Unix seconds.
    """

    batch_id: str
    request: Mapping[str, Any] | None = None
    shards: tuple[str, ...] | None = None
    requests: int | None = None
    most: int | None = None
    tolerant: bool = False
    local: bool = False
    created_at: float | None = None

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The files to run, each as a batch."""
        if self.shards is not None:
            return self.shards
        return ((self.request or {}).get("input_file_id", ""),)

    def creation(self, number: int) -> dict[str, Any]:
        """The body that creates the batch of a file, by its place among the files."""
        return shard_request(self.request or {}, input_file_id=self.files[number], number=number, of=len(self.files))

    @cached_property
    def key(self) -> IdempotencyKey | None:
        """By what the task's batches are found."""
        return IdempotencyKey.read(self._metadata)

    def presumed(self, now: float) -> Outcome:
        """What it is taken to be when nobody can be asked, and nothing is remembered of it."""
        is_young = self.created_at is not None and now - self.created_at < VALIDATION_SECONDS
        return Outcome.INITIALIZING if self.shards is not None and is_young else Outcome.RUNNING

    @property
    def name(self) -> str:
        """A name for the task that no other has."""
        return f"task {self.key.tag}" if self.key is not None else f"batch {self.batch_id!r}"

    @property
    def label(self) -> str:
        """The task as an operator knows it, as far as Flyte told."""
        execution, node = self._metadata.get("flyte_execution"), self._metadata.get("flyte_node")
        return f"node {node!r} of execution {execution!r}" if execution and node else self.name

    @property
    def _metadata(self) -> Mapping[str, Any]:
        metadata = (self.request or {}).get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}


def read_request(
    custom: Mapping[str, Any],
    inputs: LiteralMap | None,
    *,
    output_prefix: str,
    execution: TaskExecutionMetadata | None,
) -> dict[str, Any]:
    """The body that creates a batch of the task, as far as it is the same for all of them.

    Raises:
        InvalidInputError: The task was given no file id, or its config cannot be sent.
    """
    literals = inputs.literals if inputs is not None else {}
    config = custom.get("config") or {}
    try:
        check_arguments(config, where="batch task's config")
    except ValueError as error:
        raise InvalidInputError(str(error)) from None
    request = creation_request(config, key=_key(output_prefix), tags=_tags(execution))
    if "input_file_ids" in literals:
        return request
    literal = literals.get("input_file_id")
    file_id: str | None = literal.scalar.primitive.string_value if literal is not None else None
    if not file_id:
        raise InvalidInputError("The batch task was given no input_file_id; pass it the id of an uploaded file.")
    return {**request, "input_file_id": file_id}


def read_shards(inputs: LiteralMap | None) -> tuple[list[str] | None, int | None]:
    """The files of a task that has any number of them, and how many requests they hold; otherwise `None`."""
    literals = inputs.literals if inputs is not None else {}
    if "input_file_ids" not in literals:
        return None, None
    collection, count = literals["input_file_ids"].collection, literals.get("requests")
    files = [literal.scalar.primitive.string_value for literal in (collection.literals if collection else [])]
    return files, count.scalar.primitive.integer if count is not None else None


def _key(output_prefix: str) -> IdempotencyKey | None:
    if not output_prefix:
        return None
    # A local run's prefix is the attempt's own, and its directory that of the whole run.
    return IdempotencyKey.of(f"{output_prefix}/0" if is_local_run() else output_prefix)


def _tags(execution: TaskExecutionMetadata | None) -> dict[str, str]:
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
