"""The connector for `openai-batch` tasks: Flyte's verbs create, get and delete over OpenAI's batches."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, ParamSpec, TypeVar

from flyteidl.admin.agent_pb2 import GetTaskLogsResponse, GetTaskMetricsResponse
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskExecutionMetadata, TaskTemplate

from flytekitplugins.openai._credentials import OPENAI_API_KEY
from flytekitplugins.openai._flyte import said_plainly
from flytekitplugins.openai._logs import log_as_asked
from flytekitplugins.openai._metrics import count_from_zero
from flytekitplugins.openai._secret_names import COMMON
from flytekitplugins.openai.exceptions import InvalidInputError, InvalidMetadataError, OpenAIPluginError

from .control.failure_log import record_failure
from .control.flyte_resource import as_logs, as_metrics, as_resource
from .control.policy import batch_phase
from .control.read_task import read_account, read_files, read_name, read_scope, read_task
from .control.state.metadata_encoding import MAX_BYTES, decode_fields, encode_fields
from .control.state.snapshot import canonical_status
from .control.state.task_spec import TaskSpec
from .control.task_controller import TaskController

__all__ = ["OPENAI_API_KEY", "BatchEndpointConnector", "BatchEndpointMetadata", "State"]

# Bytes of the metadata that are kept free for a batch id.
ID_BYTES = 1_024

P = ParamSpec("P")
T = TypeVar("T")


class State(Enum):
    """What a batch's status means to Flyte. An unknown status counts as running."""

    # Lists, as they are in the published package.
    Running = [*batch_phase.RUNNING]  # noqa: RUF012 (an Enum's values are no defaults)
    Success = [*batch_phase.SUCCEEDED]  # noqa: RUF012
    Failed = [*batch_phase.FAILED]  # noqa: RUF012

    @classmethod
    def key_by_value(cls, value: str) -> str:
        """The name of the state that a status belongs to."""
        status = canonical_status(value)
        return next((state.name for state in cls if status in state.value), cls.Running.name)


@dataclass
class BatchEndpointMetadata(TaskSpec, ResourceMeta):
    """What Flyte keeps about a task between two calls of the connector: JSON, small, and readable in Flyte's logs.

    Attributes:
        refused: Why no batch will ever be created, as a sentence; `None` if there is one, or may be.
    """

    refused: str | None = field(default=None, compare=False)

    def encode(self) -> bytes:
        """As JSON, without what is at its default."""
        return encode_fields(asdict(self))

    @classmethod
    @said_plainly()
    def decode(cls, data: bytes) -> BatchEndpointMetadata:
        """Read what `encode` wrote, or the cloudpickle that the published package wrote for a batch still running.

        Raises:
            InvalidMetadataError: The bytes are neither. Nothing in them is ever executed.
        """
        try:
            given = decode_fields(data, module=cls.__module__, name=cls.__name__)
            return cls(**{name: given[name] for name in (f.name for f in fields(cls)) if name in given})
        except (TypeError, ValueError) as error:
            raise InvalidMetadataError(
                "These bytes are not the metadata of an OpenAI batch task; neither this connector nor the published "
                "flytekitplugins-openai wrote them."
            ) from error


def _verb(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """A verb whose errors reach Flyte as one plain sentence, and before whose first call metrics and log are set up."""

    @functools.wraps(function)
    async def verb(*args: P.args, **kwargs: P.kwargs) -> T:
        log_as_asked()
        count_from_zero()
        with said_plainly():
            return await function(*args, **kwargs)

    return verb


class BatchEndpointConnector(AsyncConnectorBase):
    """Submits, polls and cancels batches. It transfers no files."""

    name = "OpenAI Batch Endpoint Connector"

    def __init__(self) -> None:
        super().__init__(
            metadata_type=BatchEndpointMetadata,  # type: ignore[arg-type]  # flytekit means the class and says an instance
            task_type_name="openai-batch",
        )
        self._tasks = TaskController()

    @_verb
    async def create(  # type: ignore[override]  # flytekit's verbs are plain functions of other arguments
        self,
        task_template: TaskTemplate,
        inputs: LiteralMap | None = None,
        output_prefix: str = "",
        task_execution_metadata: TaskExecutionMetadata | None = None,
        **_kwargs: Any,
    ) -> BatchEndpointMetadata:
        """Submit the task's batches, unless it has them already. Flyte may call this several times for one task.

        With an output prefix it raises nothing: Flyte would show a traceback, and use up the task's `retries` at once.
        After a temporary failure `get` submits the batches, and after a final refusal `get` reports it.

        Raises:
            InvalidInputError: The task was given no file id, or a config that cannot be sent or is too large.
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key or the request.
            UnavailableError: OpenAI was not reached, or did not answer in time; a batch may have been created even so.
        """
        custom, scope = task_template.custom or {}, None
        try:
            scope = read_scope(task_execution_metadata)
            spec = read_task(
                custom, inputs, output_prefix=output_prefix, execution=task_execution_metadata, scope=scope
            )
            metadata = BatchEndpointMetadata(**asdict(spec))
            _check_size(metadata)
            batch_id = await self._tasks.submit(metadata)
        except OpenAIPluginError as error:
            if not output_prefix:
                raise
            task = read_name(task_template.id.name, task_execution_metadata)
            record_failure("refused_tasks", error, task=task, last=True)
            account = read_account(custom, scope or COMMON)
            metadata = BatchEndpointMetadata(**account, batch_id="", refused=str(error))
            # Without a scope there is no key whose files they would be.
            if custom.get("delete_files") and scope is not None:
                await self._tasks.delete_files(metadata, read_files(inputs)[0] or [], task=task)
            return metadata
        # Without a key nothing will find the batch again, so nothing may submit it again.
        request = metadata.request if metadata.key is not None else None
        return replace(metadata, batch_id=batch_id, request=request)

    @_verb
    async def get(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> Resource:
        """The task's phase, with a link and a message, and once it has succeeded with the batch object as `result`.

        It never raises: Flyte counts the errors of an attempt, and after the sixth polls no more until it is restarted.
        """
        if resource_meta.refused:
            return Resource(TaskExecution.FAILED, resource_meta.refused)
        return await as_resource(await self._tasks.poll(resource_meta), resource_meta)

    @_verb
    async def delete(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> None:
        """Cancel the task's batches; those that have ended or are gone are left as they are.

        It never raises, because Flyte would fail round after round of the workflow until it kills it. What fails is
        retried in the background.
        """
        if not resource_meta.refused:
            await self._tasks.cancel_or_retry(resource_meta)

    async def cancel(self, resource_meta: BatchEndpointMetadata) -> list[str]:
        """Cancel the task's batches; returns the ids of those that will stop.

        Raises:
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key.
            UnavailableError: OpenAI was not reached, or did not answer in time.
        """
        return await self._tasks.cancel(resource_meta)

    @_verb
    async def get_metrics(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> GetTaskMetricsResponse:
        """Requests by state, and tokens by kind.

        Raises:
            OpenAIPluginError: OpenAI could not be asked.
        """
        return as_metrics(await self._tasks.current_batches(resource_meta), now=time.time())

    @_verb
    async def get_logs(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> GetTaskLogsResponse:
        """When each batch entered each state, and its errors.

        Raises:
            OpenAIPluginError: OpenAI could not be asked.
        """
        return as_logs(await self._tasks.current_batches(resource_meta))


def _check_size(metadata: BatchEndpointMetadata) -> None:
    """Refuse a task that Flyte could not keep."""
    max_bytes = MAX_BYTES - ID_BYTES
    if metadata.key is not None and len(metadata.encode()) > max_bytes:
        raise InvalidInputError(
            f"The config of the batch task{' and its file ids are' if metadata.shards else ' is'} larger than "
            f"{max_bytes:,} bytes."
        )


ConnectorRegistry.register(BatchEndpointConnector())
