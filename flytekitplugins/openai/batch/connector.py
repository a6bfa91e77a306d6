"""The connector for `openai-batch` tasks: Flyte's verbs create, get and delete over OpenAI's batches."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, ParamSpec, TypeGuard, TypeVar

from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flytekit import FlyteContextManager, lazy_module
from flytekit.core.type_engine import TypeEngine
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate

from flytekitplugins.openai._client import Account, async_client, explained, platform_url
from flytekitplugins.openai._credentials import OPENAI_API_KEY, SecretName, find_api_key
from flytekitplugins.openai._flyte import said_plainly
from flytekitplugins.openai.exceptions import InvalidInputError, InvalidMetadataError, UnavailableError

from . import lifecycle
from .legacy import read_pickled_fields
from .lifecycle import Outcome, judge
from .snapshot import BatchSnapshot, canonical_status
from .submission import creation_arguments

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_module("openai")

__all__ = ["OPENAI_API_KEY", "BatchEndpointConnector", "BatchEndpointMetadata", "State"]

# Flyte cancels a call after 10 s; a verb that ends by itself before that can still say why.
BUDGET_SECONDS = 8.0
# Ours are a few hundred bytes long.
MAX_METADATA_BYTES = 16_384

P = ParamSpec("P")
T = TypeVar("T")


class State(Enum):
    """What a batch's status means to Flyte. A status that is in none of these counts as running."""

    # Lists, as they are in the published package.
    Running = [*lifecycle.RUNNING]  # noqa: RUF012 (an Enum's values are no defaults)
    Success = [*lifecycle.SUCCEEDED]  # noqa: RUF012
    Failed = [*lifecycle.FAILED]  # noqa: RUF012

    @classmethod
    def key_by_value(cls, value: str) -> str:
        """The name of the state that a status belongs to."""
        status = canonical_status(value)
        return next((state.name for state in cls if status in state.value), cls.Running.name)


PHASES: dict[Outcome, TaskExecution.Phase] = {
    Outcome.RUNNING: TaskExecution.RUNNING,
    Outcome.SUCCEEDED: TaskExecution.SUCCEEDED,
    Outcome.FAILED: TaskExecution.FAILED,
    Outcome.WORTH_RETRYING: TaskExecution.RETRYABLE_FAILED,
}


@dataclass
class BatchEndpointMetadata(ResourceMeta):
    """What Flyte keeps about a batch between two calls of the connector: JSON, small, and readable in Flyte's logs.

    Attributes:
        openai_org: The organization the task named.
        batch_id: OpenAI's id of the batch.
        openai_project: The project the task named.
        secret_arg: The *name* of the task's secret, for local runs.
        partial_results: Whether an expired or cancelled batch's results are good enough.
    """

    openai_org: str | None
    batch_id: str
    openai_project: str | None = field(default=None, compare=False)
    secret_arg: dict[str, str | None] | None = field(default=None, compare=False)
    partial_results: bool = field(default=False, compare=False)

    def encode(self) -> bytes:
        """As JSON, without what is at its default."""
        required = {"openai_org", "batch_id"}
        kept = {name: value for name, value in asdict(self).items() if value or name in required}
        return json.dumps(kept, separators=(",", ":")).encode()

    @classmethod
    @said_plainly()
    def decode(cls, data: bytes) -> BatchEndpointMetadata:
        """Read what `encode` wrote, or the cloudpickle that the published package wrote for a batch still running.

        Raises:
            InvalidMetadataError: The bytes are neither. Nothing in them is ever executed.
        """
        try:
            if len(data) > MAX_METADATA_BYTES:
                raise ValueError(f"{len(data)} bytes are too many")  # noqa: TRY301 (one refusal for all that is wrong)
            if data.startswith(b"{"):
                given = json.loads(data)
            else:
                given = read_pickled_fields(data, module=cls.__module__, name=cls.__name__)
            known = {name: given[name] for name in (f.name for f in fields(cls)) if name in given}
            metadata = cls(**known)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidMetadataError(_NOT_METADATA) from error
        if not metadata._is_sound():
            raise InvalidMetadataError(_NOT_METADATA)
        return metadata

    def _is_sound(self) -> bool:
        names = (self.openai_org, self.openai_project)
        return (
            all(isinstance(name, (str, type(None))) for name in names)
            and isinstance(self.partial_results, bool)
            and isinstance(self.secret_arg, (dict, type(None)))
            and _is_batch_id(self.batch_id)
        )


def _is_batch_id(value: object) -> TypeGuard[str]:
    """Whether a value can be a batch's id: it becomes part of a path that the operator's key is sent to."""
    return isinstance(value, str) and _BATCH_ID.fullmatch(value) is not None


# Anything that stays within its segment of the path: compatible servers have ids of many forms, base64 among them.
_BATCH_ID = re.compile(r"(?!\.{1,2}$)[^\s/?#%\\\x00-\x1f\x7f]+")
_NOT_METADATA = (
    "These bytes are not the metadata of an OpenAI batch task; they were neither written by this connector "
    "nor by the published flytekitplugins-openai."
)


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

    @_verb
    async def create(  # type: ignore[override]  # flytekit's verbs are plain functions of other arguments
        self, task_template: TaskTemplate, inputs: LiteralMap | None = None, **_kwargs: Any
    ) -> BatchEndpointMetadata:
        """Submit the batch.

        Raises:
            InvalidInputError: The task was given no file id.
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key or the request.
            UnavailableError: OpenAI was not reached, or did not answer in time; a batch may have been made even so.
        """
        custom = task_template.custom or {}
        metadata = BatchEndpointMetadata(
            openai_org=custom.get("openai_organization"),
            batch_id="",
            openai_project=custom.get("openai_project"),
            secret_arg=custom.get("secret_arg"),
            partial_results=bool(custom.get("partial_results")),
        )
        account = _account(metadata)
        input_file_id = _input_file_id(inputs)
        # A POST that is sent again after a lost reply makes, and bills, a second batch: no retries.
        batches = async_client(account).with_options(max_retries=0).batches
        arguments = creation_arguments(custom.get("config") or {}, batches.create)
        doing = f"create a batch from file {input_file_id!r}"
        answer = await _within_budget(lambda: batches.create(**arguments, input_file_id=input_file_id), account, doing)
        batch_id = getattr(answer, "id", None)
        if not _is_batch_id(batch_id):
            raise UnavailableError(f"Could not {doing}: the answer was not a batch.")
        return replace(metadata, batch_id=batch_id)

    @_verb
    async def get(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> Resource:
        """The batch's phase, with a link, a message, and once it succeeded the batch object as `result`.

        Raises:
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key, or does not know the batch.
            UnavailableError: OpenAI was not reached, or did not answer in time.
        """
        account = _account(resource_meta)
        batches = async_client(account).batches
        batch_id = resource_meta.batch_id
        batch = await _ask(lambda: batches.retrieve(batch_id), account, f"look up batch {batch_id!r}")
        verdict = judge(batch, now=time.time(), partial_results=resource_meta.partial_results)
        message = verdict.message
        if lifecycle.input_file_is_invisible(batch):
            message += _about_keys(account)
        return Resource(
            phase=PHASES[verdict.outcome],
            message=message,
            log_links=_links(batch_id),
            outputs=await _outputs(batch) if verdict.outcome is Outcome.SUCCEEDED else None,
            custom_info=batch.summary(),
        )

    @_verb
    async def delete(  # type: ignore[override]  # the same
        self, resource_meta: BatchEndpointMetadata, **_kwargs: Any
    ) -> None:
        """Cancel the batch; one that is over already, or gone, is left as it is.

        Raises:
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key.
            UnavailableError: OpenAI was not reached, or did not answer in time.
        """
        account = _account(resource_meta)
        batches = async_client(account).batches
        await _within_budget(
            lambda: _cancel(batches, resource_meta.batch_id), account, f"cancel batch {resource_meta.batch_id!r}"
        )


def _account(metadata: BatchEndpointMetadata) -> Account:
    key = find_api_key(SecretName.from_custom(metadata.secret_arg), in_connector=True)
    return Account.of(key, organization=metadata.openai_org, project=metadata.openai_project)


def _input_file_id(inputs: LiteralMap | None) -> str:
    literal = inputs.literals.get("input_file_id") if inputs is not None else None
    file_id: str | None = literal.scalar.primitive.string_value if literal is not None else None
    if not file_id:
        raise InvalidInputError("The batch task was given no input_file_id; pass it the id of an uploaded file.")
    return file_id


async def _within_budget(call: Callable[[], Awaitable[T]], account: Account, doing: str) -> T:
    with explained(account, doing):
        try:
            return await asyncio.wait_for(call(), BUDGET_SECONDS)
        except asyncio.TimeoutError as error:
            raise UnavailableError(f"Could not {doing}: OpenAI did not answer in time.") from error


async def _ask(call: Callable[[], Awaitable[openai.types.Batch]], account: Account, doing: str) -> BatchSnapshot:
    answer = await _within_budget(call, account, doing)
    # The SDK hands on whatever a server said, be it a text, a list or null; and warns of types that are not OpenAI's.
    batch = BatchSnapshot.from_dict(answer.to_dict(warnings=False) if hasattr(answer, "to_dict") else {})
    if not batch.id:
        raise UnavailableError(f"Could not {doing}: the answer was not a batch.")
    return batch


async def _cancel(batches: openai.resources.AsyncBatches, batch_id: str) -> None:
    try:
        await batches.cancel(batch_id)
    except (openai.NotFoundError, openai.ConflictError):
        return
    except openai.BadRequestError:
        # Some compatible servers say 400 where OpenAI says 409.
        batch = await batches.retrieve(batch_id)
        if canonical_status(batch.status) not in (*lifecycle.SUCCEEDED, *lifecycle.FAILED, "cancelling"):
            raise


def _about_keys(account: Account) -> str:
    project = f", project {account.project!r}" if account.project else ""
    return (
        f" The batch was created with the key from {account.api_key.source}{project}; a file is seen only by keys of "
        "the project it was uploaded in, so give the upload and the batch step keys of one project."
    )


def _links(batch_id: str) -> list[TaskLog]:
    url = platform_url(batch_id)
    return [TaskLog(uri=url, name="OpenAI batch")] if url else []


async def _outputs(batch: BatchSnapshot) -> LiteralMap:
    context = FlyteContextManager.current_context()
    literal_type = TypeEngine.to_literal_type(dict)
    return LiteralMap({"result": await TypeEngine.async_to_literal(context, batch.result, dict, literal_type)})


ConnectorRegistry.register(BatchEndpointConnector())
