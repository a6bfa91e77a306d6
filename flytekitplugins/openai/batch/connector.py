"""The connector for `openai-batch` tasks: Flyte's verbs create, get and delete over OpenAI's batches."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, ParamSpec, TypeVar

from flyteidl.admin.agent_pb2 import GetTaskLogsResponse, GetTaskMetricsResponse
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskExecutionMetadata, TaskTemplate

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import OPENAI_API_KEY, SecretName, find_api_key
from flytekitplugins.openai._flyte import said_plainly
from flytekitplugins.openai._metrics import count_from_zero
from flytekitplugins.openai.exceptions import (
    InvalidInputError,
    InvalidMetadataError,
    OpenAIPluginError,
    PassingError,
    RefusedError,
    UnavailableError,
)

from .control import batch_outcome, retry_policy
from .control.api import RemoteBatches
from .control.batch_outcome import Outcome, Verdict
from .control.cancellation import Cancellations
from .control.cleanup import delete_input_files
from .control.controller import Controller
from .control.flyte_resource import PHASES, as_logs, as_metrics, as_resource, links
from .control.metadata_encoding import MAX_BYTES, decode_fields, encode_fields
from .control.plan import TaskPlan
from .control.poll_errors import log_errors, log_waiting, recover, report, tolerate
from .control.poll_state import Memory, TaskMemory
from .control.snapshot import BatchSnapshot, canonical_status
from .control.task_outcome import judge_file, judge_task
from .control.task_spec import Order, read_request, read_shards

__all__ = ["OPENAI_API_KEY", "BatchEndpointConnector", "BatchEndpointMetadata", "State"]

# Flyte cancels a call after 10 s; a verb that ends by itself before that can still say why.
BUDGET_SECONDS = 8.0

ROOM_FOR_AN_ID = 1_024
ENDS = (TaskExecution.SUCCEEDED, TaskExecution.FAILED, TaskExecution.RETRYABLE_FAILED)

P = ParamSpec("P")
T = TypeVar("T")


class State(Enum):
    """What a batch's status means to Flyte. A status that is in none of these counts as running."""

    # Lists, as they are in the published package.
    Running = [*batch_outcome.RUNNING]  # noqa: RUF012 (an Enum's values are no defaults)
    Success = [*batch_outcome.SUCCEEDED]  # noqa: RUF012
    Failed = [*batch_outcome.FAILED]  # noqa: RUF012

    @classmethod
    def key_by_value(cls, value: str) -> str:
        """The name of the state that a status belongs to."""
        status = canonical_status(value)
        return next((state.name for state in cls if status in state.value), cls.Running.name)


@dataclass
class BatchEndpointMetadata(ResourceMeta):
    """What Flyte keeps about a batch between two calls of the connector: JSON, small, and readable in Flyte's logs.

    Attributes:
        openai_org: The organization the task named.
        batch_id: OpenAI's id of the batch; "" when it could not be submitted yet.
        openai_project: The project the task named.
        secret_arg: The *name* of the task's secret, for local runs.
        partial_results: Whether an expired or cancelled batch's results are good enough.
        request: What creates a batch, to find it by and to submit it again; `None` when Flyte gave no output prefix.
        shards: The files to run, if each is a part of a larger input; `None` when the request names the only one.
        requests: How many requests there are in all files.
        max_concurrent_batches: How many batches may be under way at once.
        tolerant: Whether the task has succeeded even if nothing came of it.
        delete_files: Whether the files to run are deleted at OpenAI when the task fails for good.
        local: Whether the task runs in this process alone, in a local run or in somebody's test, and not in Flyte.
        created_at: When Flyte created the task, in Unix seconds.
        refused: Why there will never be a batch, in a sentence; `None` when there is one, or may be.
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
    refused: str | None = field(default=None, compare=False)

    @property
    def order(self) -> Order:
        """What the task asked for."""
        shards = tuple(self.shards) if self.shards is not None else None
        return Order(
            self.batch_id,
            self.request,
            shards,
            self.requests,
            self.max_concurrent_batches,
            tolerant=self.tolerant,
            local=self.local,
            created_at=self.created_at,
        )

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
                "These bytes are not the metadata of an OpenAI batch task; they were neither written by this connector "
                "nor by the published flytekitplugins-openai."
            ) from error


def _verb(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """What the connector's verbs have in common: their errors are said plainly."""

    @functools.wraps(function)
    async def verb(*args: P.args, **kwargs: P.kwargs) -> T:
        with said_plainly():
            return await function(*args, **kwargs)

    return verb


class BatchEndpointConnector(AsyncConnectorBase):
    """Submits a batch, watches it, and cancels it. It transfers no files."""

    name = "OpenAI Batch Endpoint Connector"

    def __init__(self) -> None:
        super().__init__(
            metadata_type=BatchEndpointMetadata,  # type: ignore[arg-type]  # flytekit means the class and says an instance
            task_type_name="openai-batch",
        )
        self._memory = Memory()
        self._cancellations = Cancellations()

    @_verb
    async def create(  # type: ignore[override]  # flytekit's verbs are plain functions of other arguments
        self,
        task_template: TaskTemplate,
        inputs: LiteralMap | None = None,
        output_prefix: str = "",
        task_execution_metadata: TaskExecutionMetadata | None = None,
        **_kwargs: Any,
    ) -> BatchEndpointMetadata:
        """Submit the batch, unless the task has one already; Flyte may ask several times for the same.

        With an output prefix it raises nothing that Flyte would show as a traceback, and try again at once while the
        task has `retries`: after what may pass the batch is submitted by `get`, and of what is refused for good `get`
        tells the sentence.

        Raises:
            InvalidInputError: The task was given no file id, or a config that cannot be sent or is too large.
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key or the request.
            UnavailableError: OpenAI was not reached, or did not answer in time; a batch may have been made even so.
        """
        count_from_zero()
        try:
            return await self._create(task_template, inputs, output_prefix, task_execution_metadata)
        except OpenAIPluginError as error:
            if not output_prefix:
                raise
            name, custom = f"task {task_template.id.name!r}", task_template.custom or {}
            report("refused_tasks", error, name=name, last=True)
            metadata = _account_metadata(custom)
            if custom.get("delete_files"):
                with contextlib.suppress(OpenAIPluginError):
                    await delete_input_files(RemoteBatches(_account(metadata)), read_shards(inputs)[0] or [], name=name)
            return replace(metadata, refused=str(error))

    async def get(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> Resource:
        """The batch's phase, with a link, a message, and once it succeeded the batch object as `result`.

        It never raises: Flyte counts the errors of an attempt, and after the sixth asks no more until it is restarted.
        """
        count_from_zero()
        if resource_meta.refused:
            return Resource(PHASES[Outcome.FAILED], resource_meta.refused)
        order = resource_meta.order
        task, now = self._memory.of(order.name), time.time()
        ids = task.batch_ids or ([resource_meta.batch_id] if resource_meta.batch_id else [])
        doing = f"look up batch {', '.join(map(repr, ids[:3]))}" if ids else "submit the batch"
        if task.trouble is not None and now < task.not_before:
            verdict = retry_policy.verdict_while_unreachable(task.trouble, last=task.verdict, now=now)
            return Resource(PHASES[verdict.outcome], verdict.message, log_links=links(ids))
        try:
            resource = await _within_budget(self._poll(resource_meta, order, task, now), doing)
        except Exception as error:  # noqa: BLE001 (see above)
            verdict = tolerate(error, task, order=order, submitted=bool(ids), now=now)
            resource = Resource(PHASES[verdict.outcome], verdict.message, log_links=links(ids))
        else:
            recover(task, name=order.label, now=now)
        if resource.phase in ENDS:
            self._memory.forget(order.name)
        # Flyte would not send RUNNING to its console a second time.
        task.has_started = task.has_started or resource.phase == PHASES[Outcome.RUNNING]
        return resource

    async def delete(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> None:
        """Cancel the task's batches; what is over already, or gone, is left as it is.

        It never raises, because Flyte would fail round after round of the workflow until it kills it. What could not
        be done is tried again in the background.
        """
        count_from_zero()
        if resource_meta.refused:
            return
        try:
            await self.cancel(resource_meta)
        except Exception as error:  # noqa: BLE001 (see above)
            report("cancel_failures", error, name=resource_meta.order.label)
            self._cancellations.go_on(resource_meta.order.name, lambda: self.cancel(resource_meta))

    async def cancel(self, resource_meta: BatchEndpointMetadata) -> list[str]:
        """Cancel the task's batches; returns the ids of those that stop because of it.

        Raises:
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key.
            UnavailableError: OpenAI was not reached, or did not answer in time.
        """
        remote = RemoteBatches(_account(resource_meta))
        task = self._memory.of(resource_meta.order.name)
        controller = Controller(remote, resource_meta.order, task, now=time.time())
        stopped = await _within_budget(controller.cancel(), "cancel the task's batches")
        self._memory.forget(resource_meta.order.name)
        return stopped

    @_verb
    async def get_metrics(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> GetTaskMetricsResponse:
        """Requests by state, and tokens by kind.

        Raises:
            OpenAIPluginError: OpenAI could not be asked.
        """
        return as_metrics(await self._batches(resource_meta), now=time.time())

    @_verb
    async def get_logs(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> GetTaskLogsResponse:
        """When the batch came into which state, and its errors.

        Raises:
            OpenAIPluginError: OpenAI could not be asked.
        """
        return as_logs(await self._batches(resource_meta))

    async def _create(
        self,
        task_template: TaskTemplate,
        inputs: LiteralMap | None,
        output_prefix: str,
        execution: TaskExecutionMetadata | None,
    ) -> BatchEndpointMetadata:
        custom = task_template.custom or {}
        shards, requests = read_shards(inputs)
        metadata = replace(
            _account_metadata(custom),
            partial_results=bool(custom.get("partial_results")),
            request=read_request(custom, inputs, output_prefix=output_prefix, execution=execution),
            shards=shards,
            requests=requests,
            max_concurrent_batches=_whole(custom.get("max_concurrent_batches")),
            tolerant=bool(custom.get("tolerant")),
            delete_files=bool(custom.get("delete_files")),
            # Flyte always says whose call it is.
            local=execution is None,
            created_at=int(time.time()),
        )
        remote = RemoteBatches(_account(metadata))
        if metadata.order.key is None:
            if shards is not None:
                raise InvalidInputError(
                    "The batches of this task could not be found again: its config has 16 metadata entries, and one "
                    "of them must be left to the connector."
                )
            # Nothing will find this batch again, so that nothing may submit it again.
            return await _submit_once(remote, metadata)
        if len(metadata.encode()) > MAX_BYTES - ROOM_FOR_AN_ID:
            raise InvalidInputError(
                f"The config of the batch task{' and its file ids are' if shards else ' is'} larger than "
                f"{MAX_BYTES - ROOM_FOR_AN_ID:,} bytes."
            )
        if metadata.local:
            # Nobody asks twice for the same: another task may have had this prefix, as in tests.
            self._memory.forget(metadata.order.name)
        task = self._memory.of(metadata.order.name)
        try:
            controller = Controller(remote, metadata.order, task, now=time.time())
            plan = await _within_budget(controller.submit(), "submit the batch")
        except (PassingError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.reason != "404" and not metadata.tolerant:
                raise
            report("submission_failures", error, name=metadata.order.label)
            return metadata
        task.remember(_by_file(plan, metadata.order), _judge(metadata, plan, task, now=time.time()))
        first = plan.shards[0].batch if plan.shards else None
        return replace(metadata, batch_id=first.id if first is not None else "")

    async def _poll(self, resource_meta: BatchEndpointMetadata, order: Order, task: TaskMemory, now: float) -> Resource:
        account = _account(resource_meta)
        plan = await Controller(RemoteBatches(account), order, task, now=now).reconcile()
        verdict = _judge(resource_meta, plan, task, now=now)
        if verdict.outcome in (Outcome.FAILED, Outcome.WORTH_RETRYING):
            log_errors(plan.batches, name=order.label)
        if verdict.outcome is Outcome.FAILED and resource_meta.delete_files:
            await delete_input_files(RemoteBatches(account), order.files, name=order.label)
        if plan.waiting and not task.waiting:
            log_waiting(plan.waiting, name=order.label)
        resource = await as_resource(plan, verdict, account, shards=resource_meta.shards)
        task.remember(_by_file(plan, order), verdict)
        task.waiting = plan.waiting
        return resource

    async def _batches(self, resource_meta: BatchEndpointMetadata) -> list[BatchSnapshot]:
        """The batches that count and are known, as they are."""
        task = self._memory.of(resource_meta.order.name)
        controller = Controller(RemoteBatches(_account(resource_meta)), resource_meta.order, task, now=time.time())
        known = await _within_budget(controller.known(), "look up the task's batches")
        if not known:
            raise UnavailableError("There is no batch yet to tell of.")
        return list(known.values())


def _judge(metadata: BatchEndpointMetadata, plan: TaskPlan, task: TaskMemory, *, now: float) -> Verdict:
    """What a task has come to; one of `BatchEndpointTask` as the published package tells it."""
    if metadata.shards is None:
        return judge_file(plan.shards[0], partial_results=metadata.partial_results, now=now)
    return judge_task(
        plan,
        requests=metadata.requests,
        partial_results=metadata.partial_results,
        tolerant=metadata.tolerant,
        started=task.has_started,
        now=now,
    )


def _by_file(plan: TaskPlan, order: Order) -> dict[str, BatchSnapshot]:
    return {
        file_id: shard.batch for file_id, shard in zip(order.files, plan.shards, strict=True) if shard.batch is not None
    }


def _whole(number: float | None) -> int | None:
    """A whole number again: on its way in a protobuf Struct it was a float."""
    return None if number is None else int(number)


async def _submit_once(remote: RemoteBatches, metadata: BatchEndpointMetadata) -> BatchEndpointMetadata:
    request = metadata.request or {}
    doing = f"create a batch from file {request['input_file_id']!r}"
    batch = await _within_budget(remote.create(request), doing)
    return replace(metadata, batch_id=batch.id, request=None)


def _account_metadata(custom: Mapping[str, Any]) -> BatchEndpointMetadata:
    """The metadata of a task that has no batch yet, with the account that its template names."""
    return BatchEndpointMetadata(
        openai_org=custom.get("openai_organization"),
        batch_id="",
        openai_project=custom.get("openai_project"),
        secret_arg=custom.get("secret_arg"),
    )


def _account(metadata: BatchEndpointMetadata) -> Account:
    key = find_api_key(SecretName.from_custom(metadata.secret_arg), in_connector=True)
    return Account.of(key, organization=metadata.openai_org, project=metadata.openai_project)


async def _within_budget(call: Awaitable[T], doing: str) -> T:
    try:
        return await asyncio.wait_for(call, BUDGET_SECONDS)
    except asyncio.TimeoutError:
        raise UnavailableError(f"Could not {doing}: OpenAI did not answer in time.", reason="timeout") from None


ConnectorRegistry.register(BatchEndpointConnector())
