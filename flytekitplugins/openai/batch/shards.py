"""What a task of one or many batches has come to, and how to say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .lifecycle import Outcome, Verdict, judge
from .planning import ShardPlan, TaskPlan

__all__ = ["judge_task", "result_of", "summary_of"]

# An output of Flyte's may have two megabytes: so many errors of all batches together are handed on.
MOST_ERRORS = 1_000
# Of so many batches the ids are told.
MOST_IDS = 100
ENDS = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.WORTH_RETRYING)
_RESULT_FIELDS = ("input_file_id", "output_file_id", "error_file_id", "endpoint", "model", "status")


def judge_task(
    plan: TaskPlan, *, requests: int | None, partial_results: bool, tolerant: bool = False, now: float
) -> Verdict:
    """What a task has come to.

    Args:
        plan: Its batches.
        requests: How many requests there are in all files together; `None`: as many as the batch says.
        partial_results: Whether the results of a batch that expired or was cancelled are good enough.
        tolerant: Whether a task of which nothing came has succeeded even so.
        now: Unix seconds.
    """
    verdicts = [_judge_shard(shard, partial_results=partial_results, now=now) for shard in plan.shards]
    if len(verdicts) == 1:
        only = verdicts[0]
        is_tolerated = tolerant and only.outcome in ENDS
        return Verdict(Outcome.SUCCEEDED, only.message) if is_tolerated else only
    if not verdicts:
        return Verdict(Outcome.SUCCEEDED, "completed: there was nothing to run")
    outcome = _outcome([verdict.outcome for verdict in verdicts], tolerant=tolerant)
    progress = _progress(plan, verdicts, requests or 0)
    if outcome is Outcome.SUCCEEDED:
        return Verdict(outcome, f"completed: {progress}")
    if outcome is Outcome.RUNNING:
        return Verdict(outcome, f"in progress: {progress}")
    first = next(verdict for verdict in verdicts if verdict.outcome is outcome)
    if outcome is Outcome.WAITING:
        return Verdict(outcome, f"{first.message or 'waiting'}; {progress}")
    return Verdict(outcome, f"nothing came of any of the {len(verdicts):,} batches; the first: {first.message}")


def result_of(plan: TaskPlan, files: Sequence[str]) -> dict[str, Any]:
    """The task's output: for each file what is needed of its batch to collect the results, in the files' order."""
    most = MOST_ERRORS // max(len(files), 1)
    return {"batches": [_result(shard, file_id, most) for shard, file_id in zip(plan.shards, files, strict=True)]}


def summary_of(plan: TaskPlan) -> dict[str, Any]:
    """What is worth keeping beside the phase: of a single batch everything, of many the sums."""
    batches = plan.batches
    if len(plan.shards) == 1:
        return batches[0].summary() if batches else {}
    counts = {name: sum(getattr(batch, name) for batch in batches) for name in ("total", "completed", "failed")}
    return {
        "batches": len(plan.shards),
        "batch_ids": [batch.id for batch in batches[:MOST_IDS]],
        "request_counts": counts,
        "statuses": _tally([batch.status for batch in batches]),
    }


def _judge_shard(shard: ShardPlan, *, partial_results: bool, now: float) -> Verdict:
    if shard.refused:
        return Verdict(Outcome.FAILED, shard.refused)
    if shard.waiting or shard.batch is None:
        return Verdict(Outcome.WAITING, shard.waiting)
    return judge(shard.batch, now=now, partial_results=partial_results)


def _outcome(outcomes: Sequence[Outcome], *, tolerant: bool) -> Outcome:
    if all(outcome in ENDS for outcome in outcomes):
        if tolerant:
            return Outcome.SUCCEEDED
        # In this order: what came of one batch is not thrown away because of another.
        return next(
            outcome for outcome in (Outcome.SUCCEEDED, Outcome.WORTH_RETRYING, Outcome.FAILED) if outcome in outcomes
        )
    return Outcome.RUNNING if Outcome.RUNNING in outcomes else Outcome.WAITING


def _progress(plan: TaskPlan, verdicts: Sequence[Verdict], requests: int) -> str:
    """`12 of 20 batches done, 612,000 of 1,000,000 requests`."""
    over = sum(verdict.outcome in ENDS for verdict in verdicts)
    done = sum(batch.done for batch in plan.batches)
    failed = sum(batch.failed for batch in plan.batches)
    said = f"{over:,} of {len(verdicts):,} batches done, {done:,} of {requests:,} requests"
    return f"{said}, {failed:,} failed" if failed else said


def _result(shard: ShardPlan, file_id: str, most_errors: int) -> dict[str, Any]:
    batch = shard.batch
    if shard.refused or batch is None:
        error = {"code": "refused", "message": shard.refused, "line": None}
        return {"id": None, "input_file_id": file_id, "status": "failed", "errors": {"data": [error]}}
    errors = [
        {"code": error.code, "message": error.message, "line": error.line} for error in batch.errors[:most_errors]
    ]
    return {
        "id": batch.id,
        **{name: getattr(batch, name) for name in _RESULT_FIELDS},
        "input_file_id": file_id,
        "errors": {"data": errors} if errors else None,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": dict(batch.usage) or None,
        **batch.times,
    }


def _tally(values: Sequence[str]) -> Mapping[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}
