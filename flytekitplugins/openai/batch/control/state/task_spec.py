"""What a task asks for: its desired state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flytekitplugins.openai._secret_names import KeyScope
from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey
from flytekitplugins.openai.batch.records.manifest import Manifest

__all__ = ["TaskSpec", "log_fields"]


@dataclass
class TaskSpec:
    """A batch task, as Flyte keeps it between two calls of the connector. Two are equal if they name the same batch.

    Attributes:
        openai_org: The organization that the task names.
        batch_id: OpenAI's id of the first file's batch; "" while Flyte does not know it.
        openai_project: The project that the task names.
        secret_arg: The *name* of the task's secret, for local runs.
        partial_results: Whether the results of an expired or cancelled batch are accepted.
        request: The body that creates a batch. `None` if no batch may be created any more, because none could be found
            again: Flyte gave no output prefix.
        shards: Input file ids, if the task has any number of them; `None` if the request names the only one.
        requests: Number of requests in all files.
        max_concurrent_batches: How many batches may be under way at once.
        tolerant: Whether the task succeeds even when no batch did.
        delete_files: Whether the input files are deleted at OpenAI when the task fails for good.
        local: Whether the task runs in this process alone, in a local run or in a test, and not in Flyte.
        created_at: When Flyte created the task, in Unix seconds.
        manifest: What is in the files, as `Manifest` encodes it; `None` if the upload step did not say.
        flyte_project: The Flyte project whose own key the task's batches are made with; `None` for the common key.
        flyte_domain: The domain whose key it is; `None` if the project has one for all of them.
    """

    openai_org: str | None
    batch_id: str
    openai_project: str | None = field(default=None, compare=False)
    secret_arg: dict[str, str | None] | None = field(default=None, compare=False)
    partial_results: bool = field(default=False, compare=False)
    request: dict[str, Any] | None = field(default=None, compare=False)
    shards: list[str] | None = field(default=None, compare=False)
    requests: int | None = field(default=None, compare=False)
    max_concurrent_batches: int | None = field(default=None, compare=False)
    tolerant: bool = field(default=False, compare=False)
    delete_files: bool = field(default=False, compare=False)
    local: bool = field(default=False, compare=False)
    created_at: int | None = field(default=None, compare=False)
    manifest: str | None = field(default=None, compare=False)
    flyte_project: str | None = field(default=None, compare=False)
    flyte_domain: str | None = field(default=None, compare=False)

    @property
    def key_scope(self) -> KeyScope:
        """Whose key it is that the task's batches are made with."""
        return KeyScope(self.flyte_project, self.flyte_domain)

    @property
    def files(self) -> tuple[str, ...]:
        """Input file ids, one batch each."""
        if self.shards is not None:
            return tuple(self.shards)
        return ((self.request or {}).get("input_file_id", ""),)

    @property
    def contents(self) -> Manifest | None:
        """What is in the files, if it is known."""
        return None if self.manifest is None else Manifest.decode(self.manifest)

    @property
    def reused(self) -> dict[str, str]:
        """The batches of earlier runs that stand for files of the task, by the ids of the files."""
        entries = self.contents.files if self.contents else ()
        return {file_id: entry.reused for file_id, entry in zip(self.files, entries, strict=False) if entry.reused}

    @property
    def key(self) -> IdempotencyKey | None:
        """The idempotency key, by which the task's batches are found."""
        return IdempotencyKey.read(self._metadata)

    @property
    def unique_name(self) -> str:
        """A name that no other task has."""
        name = f"task {self.key.tag}" if self.key is not None else f"batch {self.batch_id!r}"
        # Flyte may create a task again after its project got a key; nothing of another account is known of it then.
        return f"{name} of {self.key_scope}" if self.flyte_project else name

    @property
    def display_name(self) -> str:
        """The task as an operator knows it, as far as Flyte said."""
        execution, node = self._metadata.get("flyte_execution"), self._metadata.get("flyte_node")
        return f"node {node!r} of execution {execution!r}" if execution and node else self.unique_name

    @property
    def log_fields(self) -> dict[str, str]:
        """Which task a line of a log is about, for a program that reads it."""
        # A task's config may have entries of these names, but it cannot say whose key is used.
        certain = {"project": self.flyte_project, "domain": self.flyte_domain, "batch": self.batch_id}
        return log_fields(self._metadata) | {name: value for name, value in certain.items() if value}

    @property
    def _metadata(self) -> Mapping[str, Any]:
        metadata = (self.request or {}).get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}


def log_fields(tags: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a log's line from the metadata of a batch, which says where it comes from."""
    named = {name: tags.get(f"flyte_{name}") for name in ("execution", "project", "domain", "node")}
    return {name: str(value) for name, value in named.items() if value}
