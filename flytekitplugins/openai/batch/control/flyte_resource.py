"""Answers Flyte about a batch: phase, message, links and outputs, metrics, and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyteidl.admin.agent_pb2 import GetTaskLogsResponse, GetTaskLogsResponseBody, GetTaskMetricsResponse
from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flyteidl.core.metrics_pb2 import ExecutionMetricResult
from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.extend.backend.base_connector import Resource
from flytekit.models.literals import LiteralMap

from flytekitplugins.openai._client import Account, platform_url

from . import batch_outcome, history
from .batch_outcome import Outcome, Verdict
from .plan import ShardPlan, TaskPlan
from .snapshot import BatchSnapshot
from .task_outcome import result_of, summary_of

__all__ = ["PHASES", "as_logs", "as_metrics", "as_resource", "links"]

# Nobody follows hundreds of links, and Flyte keeps every one.
MOST_LINKS = 20

PHASES: dict[Outcome, TaskExecution.Phase] = {
    Outcome.WAITING: TaskExecution.WAITING_FOR_RESOURCES,
    Outcome.INITIALIZING: TaskExecution.INITIALIZING,
    Outcome.RUNNING: TaskExecution.RUNNING,
    Outcome.SUCCEEDED: TaskExecution.SUCCEEDED,
    Outcome.FAILED: TaskExecution.FAILED,
    Outcome.WORTH_RETRYING: TaskExecution.RETRYABLE_FAILED,
}


async def as_resource(plan: TaskPlan, verdict: Verdict, account: Account, *, shards: Sequence[str] | None) -> Resource:
    """The answer to a poll; once the task succeeded, with its `result`: a batch object, or those of its `shards`."""
    message = verdict.message
    if verdict.outcome is Outcome.FAILED and any(map(_lacks_its_file, plan.shards)):
        message = f"{message.removesuffix('.')}. {_about_keys(account)}"
    result: dict[str, Any] | None = None
    if verdict.outcome is Outcome.SUCCEEDED:
        result = plan.batches[0].result if shards is None else result_of(plan, shards)
    return Resource(
        phase=PHASES[verdict.outcome],
        message=message,
        log_links=links([batch.id for batch in plan.batches]),
        outputs=await _outputs(result) if result is not None else None,
        custom_info=summary_of(plan) or None,
    )


def as_metrics(batches: Sequence[BatchSnapshot], *, now: float) -> GetTaskMetricsResponse:
    """Requests by state and tokens by kind, as they were at `now`, in Unix seconds."""
    results = []
    for name, data in history.figures(batches, now=now).items():
        result = ExecutionMetricResult(metric=name)
        result.data.update(data)
        results.append(result)
    return GetTaskMetricsResponse(results=results)


def as_logs(batches: Sequence[BatchSnapshot]) -> GetTaskLogsResponse:
    """The batches' states and errors, a line each."""
    return GetTaskLogsResponse(body=GetTaskLogsResponseBody(results=history.timeline(batches)))


def links(batch_ids: Sequence[str]) -> list[TaskLog]:
    """The pages about the batches, where there are any."""
    urls = [url for batch_id in batch_ids[:MOST_LINKS] if (url := platform_url(batch_id))]
    names = ["OpenAI batch"] if len(urls) == 1 else [f"OpenAI batch {number}" for number in range(1, len(urls) + 1)]
    # Without the flag Flyte shows no link of a task before it is RUNNING.
    return [TaskLog(uri=url, name=name, ShowWhilePending=True) for url, name in zip(urls, names, strict=True)]


def _lacks_its_file(shard: ShardPlan) -> bool:
    return shard.batch is not None and not shard.is_seen and batch_outcome.input_file_is_invisible(shard.batch)


def _about_keys(account: Account) -> str:
    """What to look at when a batch's input file was not found."""
    project = f", project {account.project!r}" if account.project else ""
    return (
        f"The batch was created with the key from {account.api_key.source}{project}; a file is seen only by keys of "
        "the project it was uploaded in, so give the upload and the batch step keys of one project."
    )


async def _outputs(result: dict[str, Any]) -> LiteralMap:
    context = FlyteContextManager.current_context()
    literal_type = TypeEngine.to_literal_type(dict)
    return LiteralMap({"result": await TypeEngine.async_to_literal(context, result, dict, literal_type)})
