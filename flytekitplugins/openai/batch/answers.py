"""How a batch is told to Flyte: as a phase with a message, a link and outputs, as metrics, and as logs."""

from __future__ import annotations

from flyteidl.admin.agent_pb2 import GetTaskLogsResponse, GetTaskLogsResponseBody, GetTaskMetricsResponse
from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flyteidl.core.metrics_pb2 import ExecutionMetricResult
from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.extend.backend.base_connector import Resource
from flytekit.models.literals import LiteralMap

from flytekitplugins.openai._client import Account, platform_url

from . import history, lifecycle
from .lifecycle import Outcome, Verdict
from .snapshot import BatchSnapshot

__all__ = ["PHASES", "as_logs", "as_metrics", "as_resource", "links"]

PHASES: dict[Outcome, TaskExecution.Phase] = {
    Outcome.WAITING: TaskExecution.WAITING_FOR_RESOURCES,
    Outcome.RUNNING: TaskExecution.RUNNING,
    Outcome.SUCCEEDED: TaskExecution.SUCCEEDED,
    Outcome.FAILED: TaskExecution.FAILED,
    Outcome.WORTH_RETRYING: TaskExecution.RETRYABLE_FAILED,
}


async def as_resource(batch: BatchSnapshot, verdict: Verdict, account: Account) -> Resource:
    """The answer to a poll; once the batch succeeded, with the batch object as `result`."""
    message = verdict.message
    if verdict.outcome is Outcome.FAILED and lifecycle.input_file_is_invisible(batch):
        message += _about_keys(account)
    return Resource(
        phase=PHASES[verdict.outcome],
        message=message,
        log_links=links(batch.id),
        outputs=await _outputs(batch) if verdict.outcome is Outcome.SUCCEEDED else None,
        custom_info=batch.summary(),
    )


def as_metrics(batch: BatchSnapshot, *, now: float) -> GetTaskMetricsResponse:
    """Requests by state and tokens by kind, as they were at `now`, in Unix seconds."""
    results = []
    for name, data in history.figures(batch, now=now).items():
        result = ExecutionMetricResult(metric=name)
        result.data.update(data)
        results.append(result)
    return GetTaskMetricsResponse(results=results)


def as_logs(batch: BatchSnapshot) -> GetTaskLogsResponse:
    """The batch's states and errors, a line each."""
    return GetTaskLogsResponse(body=GetTaskLogsResponseBody(results=history.timeline(batch)))


def links(batch_id: str) -> list[TaskLog]:
    """The page about a batch, where there is one."""
    url = platform_url(batch_id) if batch_id else None
    return [TaskLog(uri=url, name="OpenAI batch")] if url else []


def _about_keys(account: Account) -> str:
    """What to look at when a batch's input file was not found."""
    project = f", project {account.project!r}" if account.project else ""
    return (
        f" The batch was created with the key from {account.api_key.source}{project}; a file is seen only by keys of "
        "the project it was uploaded in, so give the upload and the batch step keys of one project."
    )


async def _outputs(batch: BatchSnapshot) -> LiteralMap:
    context = FlyteContextManager.current_context()
    literal_type = TypeEngine.to_literal_type(dict)
    return LiteralMap({"result": await TypeEngine.async_to_literal(context, batch.result, dict, literal_type)})
