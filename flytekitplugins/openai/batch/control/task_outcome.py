"""Decides what a task's batches mean together, and words it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flytekitplugins.openai._text import plural, shortened

from .batch_outcome import Outcome, Verdict, has_passed_validation, judge
from .plan import ShardPlan, TaskPlan
from .snapshot import BatchError, BatchSnapshot

__all__ = ["judge_file", "judge_task", "result_of", "summary_of"]

# An output of Flyte's may have two megabytes: so many errors of all batches together are handed on.
MOST_ERRORS = 1_000
# Of so many batches the ids are told.
MOST_IDS = 100
# Characters of an error's message in the summary. OpenAI's have a hundred or two.
LONGEST_MESSAGE = 500
FILE_IS_THERE = (
    "OpenAI's Files API has this file, so that the fault is OpenAI's, and not that of a key; run the task again, which "
    "submits the same file."
)
ENDS = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.WORTH_RETRYING)
_RESULT_FIELDS = ("input_file_id", "output_file_id", "error_file_id", "endpoint", "model", "status")


def judge_file(shard: ShardPlan, *, partial_results: bool, now: float) -> Verdict:
    """What a task of a single file has come to.

    Of a batch that failed, the message is that of the first error, verbatim, as the published package has it.

    Args:
        shard: Its batch.
        partial_results: Whether the results of a batch that expired or was cancelled are good enough.
        now: Unix seconds.
    """
    verdict = _judge_shard(shard, partial_results=partial_results, now=now)
    errors = shard.batch.errors if shard.batch is not None and not shard.refused else ()
    if verdict.outcome in (Outcome.FAILED, Outcome.WORTH_RETRYING) and errors and errors[0].message:
        return replace(verdict, message=_with_remedy(errors[0].message, shard))
    return verdict


def judge_task(
    plan: TaskPlan,
    *,
    requests: int | None,
    partial_results: bool,
    tolerant: bool = False,
    started: bool = False,
    now: float,
) -> Verdict:
    """What a task of any number of files has come to.

    Flyte sends each phase to its console once in an attempt, so that they come in this order: INITIALIZING or WAITING
    until the first batch has passed validation, then RUNNING, whatever waits later.

    Args:
        plan: Its batches.
        requests: How many requests there are in all files together.
        partial_results: Whether the results of a batch that expired or was cancelled are good enough.
        tolerant: Whether a task of which nothing came has succeeded even so.
        started: Whether a batch that no longer counts has passed validation, or Flyte was told RUNNING.
        now: Unix seconds.
    """
    if not plan.shards:
        return Verdict(Outcome.SUCCEEDED, "completed: there was nothing to run")
    verdicts = [_judge_shard(shard, partial_results=partial_results, now=now) for shard in plan.shards]
    started = started or any(map(has_passed_validation, plan.batches))
    outcome = _outcome([verdict.outcome for verdict in verdicts], tolerant=tolerant, started=started)
    if outcome is Outcome.INITIALIZING and any(batch.status == "validating" for batch in plan.batches):
        return Verdict(outcome, _validating(plan))
    if len(verdicts) == 1:
        return Verdict(outcome, verdicts[0].message)
    return Verdict(outcome, _said_of_many(outcome, plan, verdicts, requests or 0))


def result_of(plan: TaskPlan, files: Sequence[str]) -> dict[str, Any]:
    """The task's output: for each file what is needed of its batch to collect the results, in the files' order."""
    most = MOST_ERRORS // max(len(files), 1)
    return {"batches": [_result(shard, file_id, most) for shard, file_id in zip(plan.shards, files, strict=True)]}


def summary_of(plan: TaskPlan) -> dict[str, Any]:
    """What is worth keeping beside the phase: of a single batch everything, of many the sums; and the errors."""
    batches = plan.batches
    more = {**_waiting_in(plan), **_errors_in(batches)}
    if len(plan.shards) == 1:
        return {**(batches[0].summary() if batches else {}), **more}
    counts = {name: sum(getattr(batch, name) for batch in batches) for name in ("total", "completed", "failed")}
    return {
        "batches": len(plan.shards),
        "batch_ids": [batch.id for batch in batches[:MOST_IDS]],
        "request_counts": counts,
        "statuses": _tally([batch.status for batch in batches]),
        **more,
    }


def _waiting_in(plan: TaskPlan) -> dict[str, Any]:
    """How many files wait, and why the first does."""
    number = sum(bool(shard.waiting) for shard in plan.shards)
    return {"waiting": {"files": number, "reason": plan.waiting}} if number else {}


def _errors_in(batches: Sequence[BatchSnapshot]) -> dict[str, Any]:
    """The errors of all batches, and how many there are when some have been left out."""
    errors = [(batch.id, error) for batch in batches for error in batch.errors]
    if not errors:
        return {}
    told = [{"batch_id": id_, **_told(error, LONGEST_MESSAGE)} for id_, error in errors[:MOST_ERRORS]]
    return {"errors": told, **({"error_count": len(errors)} if len(errors) > MOST_ERRORS else {})}


def _told(error: BatchError, longest: int | None = None) -> dict[str, Any]:
    message = error.message
    if message is not None and longest is not None:
        message = shortened(message, longest)
    return {"code": error.code, "message": message, "line": error.line}


def _judge_shard(shard: ShardPlan, *, partial_results: bool, now: float) -> Verdict:
    if shard.refused:
        return Verdict(Outcome.FAILED, shard.refused)
    if shard.waiting or shard.batch is None:
        return Verdict(Outcome.WAITING, shard.waiting)
    verdict = judge(shard.batch, now=now, partial_results=partial_results)
    if shard.is_seen:
        return Verdict(Outcome.WORTH_RETRYING, _with_remedy(verdict.message, shard))
    return verdict


def _with_remedy(message: str, shard: ShardPlan) -> str:
    return f"{message.removesuffix('.')}. {FILE_IS_THERE}" if shard.is_seen else message


def _outcome(outcomes: Sequence[Outcome], *, tolerant: bool, started: bool) -> Outcome:
    if all(outcome in ENDS for outcome in outcomes):
        if tolerant:
            return Outcome.SUCCEEDED
        # In this order: what came of one batch is not thrown away because of another.
        return next(
            outcome for outcome in (Outcome.SUCCEEDED, Outcome.WORTH_RETRYING, Outcome.FAILED) if outcome in outcomes
        )
    if started:
        return Outcome.RUNNING
    return Outcome.INITIALIZING if Outcome.RUNNING in outcomes else Outcome.WAITING


def _validating(plan: TaskPlan) -> str:
    """`OpenAI is validating 3 files`."""
    number, files = sum(batch.status == "validating" for batch in plan.batches), len(plan.shards)
    if number == files:
        return f"OpenAI is validating {plural(number, 'file')}"
    return f"OpenAI is validating {number:,} of {files:,} files"


def _said_of_many(outcome: Outcome, plan: TaskPlan, verdicts: Sequence[Verdict], requests: int) -> str:
    progress = _progress(plan, verdicts, requests)
    if outcome is Outcome.SUCCEEDED:
        return f"completed: {progress}"
    if outcome in (Outcome.RUNNING, Outcome.INITIALIZING):
        return f"in progress: {progress}{plan.waiting and f'; {plan.waiting}'}"
    if outcome is Outcome.WAITING:
        return f"{plan.waiting or 'waiting'}; {progress}"
    first = next(verdict for verdict in verdicts if verdict.outcome is outcome)
    return f"nothing came of any of the {len(verdicts):,} batches; the first: {first.message}"


def _progress(plan: TaskPlan, verdicts: Sequence[Verdict], requests: int) -> str:
    """`12 of 20 batches done, 612,000 of 1,000,000 requests`."""
    over = sum(verdict.outcome in ENDS for verdict in verdicts)
    done = sum(batch.done for batch in plan.batches)
    failed = sum(batch.failed for batch in plan.batches)
    said = f"{over:,} of {plural(len(verdicts), 'batch')} done, {done:,} of {plural(requests, 'request')}"
    return f"{said}, {failed:,} failed" if failed else said


def _result(shard: ShardPlan, file_id: str, most_errors: int) -> dict[str, Any]:
    batch = shard.batch
    if shard.refused or batch is None:
        error = {"code": "refused", "message": shard.refused, "line": None}
        return {"id": None, "input_file_id": file_id, "status": "failed", "errors": {"data": [error]}}
    errors = [_told(error) for error in batch.errors[:most_errors]]
    return {
        "id": batch.id,
        **{name: getattr(batch, name) for name in _RESULT_FIELDS},
        "input_file_id": file_id,
        "errors": {"data": errors} if errors else None,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": dict(batch.usage) or None,
        # Whole seconds, as OpenAI itself writes them.
        **{name: int(seconds) for name, seconds in batch.times.items()},
    }


def _tally(values: Sequence[str]) -> Mapping[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}
