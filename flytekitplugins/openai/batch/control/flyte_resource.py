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

from flytekitplugins.openai._client import platform_url

from .policy.task_phase import result_of, summary_of
from .policy.task_plan import TaskPlan
from .state import history
from .state.phase import Phase
from .state.snapshot import BatchSnapshot
from .state.task_spec import TaskSpec
from .task_controller import PollResult

__all__ = ["as_logs", "as_metrics", "as_resource"]

# Nobody follows hundreds of links, and Flyte keeps every one.
MAX_LINKS = 20


async def as_resource(result: PollResult, spec: TaskSpec) -> Resource:
    """The answer to a poll; once the task has succeeded, with the batch object, or those of its shards, as `result`."""
    info, plan = result.info, result.plan
    resource = Resource(
        phase=TaskExecution.Phase.Value(info.phase.name), message=info.message, log_links=_links(result.batch_ids)
    )
    if plan is None:
        return resource
    if info.phase is Phase.SUCCEEDED:
        output = plan.batches[0].result if spec.shards is None else _result_of_files(plan, spec)
        resource.outputs = await _as_literals(output)
    resource.custom_info = summary_of(plan) or None
    return resource


def as_metrics(batches: Sequence[BatchSnapshot], *, now: float) -> GetTaskMetricsResponse:
    """Requests by state and tokens by kind, at `now` in Unix seconds."""
    results = []
    for name, data in history.figures(batches, now=now).items():
        result = ExecutionMetricResult(metric=name)
        result.data.update(data)
        results.append(result)
    return GetTaskMetricsResponse(results=results)


def as_logs(batches: Sequence[BatchSnapshot]) -> GetTaskLogsResponse:
    """The batches' states and errors, one line each."""
    return GetTaskLogsResponse(body=GetTaskLogsResponseBody(results=history.timeline(batches)))


def _links(batch_ids: Sequence[str]) -> list[TaskLog]:
    """Links to the batches on OpenAI's platform, if they run there."""
    urls = [url for batch_id in batch_ids[:MAX_LINKS] if (url := platform_url(batch_id))]
    names = ["OpenAI batch"] if len(urls) == 1 else [f"OpenAI batch {number}" for number in range(1, len(urls) + 1)]
    # Without the flag Flyte shows no link of a task before it is RUNNING.
    return [TaskLog(uri=url, name=name, ShowWhilePending=True) for url, name in zip(urls, names, strict=True)]


def _result_of_files(plan: TaskPlan, spec: TaskSpec) -> dict[str, Any]:
    return result_of(plan, spec.files, reused=set(spec.reused.values()))


async def _as_literals(output: dict[str, Any]) -> LiteralMap:
    context = FlyteContextManager.current_context()
    literal_type = TypeEngine.to_literal_type(dict)
    return LiteralMap({"result": await TypeEngine.async_to_literal(context, output, dict, literal_type)})
