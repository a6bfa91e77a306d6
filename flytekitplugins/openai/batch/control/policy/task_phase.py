"""Maps the state of all batches of a task to its phase, with its message, and makes its output."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flytekitplugins.openai._text import plural, shortened
from flytekitplugins.openai.batch.control.state.phase import Phase, PhaseInfo
from flytekitplugins.openai.batch.control.state.snapshot import BatchError, BatchSnapshot
from flytekitplugins.openai.batch.control.state.task_spec import TaskSpec

from .batch_phase import batch_phase, has_passed_validation
from .shard_plan import REFUSED, ShardPlan
from .task_plan import TaskPlan

__all__ = ["result_of", "summary_of", "task_phase"]

# An output of Flyte may have two megabytes, so a task's result holds this many errors of all batches together.
MAX_ERRORS = 1_000
# How many batch ids the summary lists.
MAX_IDS = 100
# Characters of an error's message in the summary. OpenAI's have a hundred or two.
MAX_MESSAGE_LENGTH = 500
WRONGLY_NOT_FOUND = (
    "OpenAI's Files API has this file, so the fault is OpenAI's and not a key's; run the task again to "
    "submit the same file."
)
_RESULT_FIELDS = ("input_file_id", "output_file_id", "error_file_id", "endpoint", "model", "status")


def task_phase(plan: TaskPlan, spec: TaskSpec, *, started: bool, now: float) -> PhaseInfo:
    """The phase of a task.

    Args:
        plan: Its batches.
        spec: What it asks for.
        started: Whether a batch that no longer counts has passed validation, or Flyte was told RUNNING.
        now: Unix seconds.
    """
    if spec.shards is None:
        return _phase_of_one(plan.shards[0], partial_results=spec.partial_results, now=now)
    return _phase_of_many(plan, spec, started=started, now=now)


def _phase_of_one(shard: ShardPlan, *, partial_results: bool, now: float) -> PhaseInfo:
    """The phase of a task with a single file.

    If its batch failed, the message is that of the first error, verbatim, as in the published package.
    """
    info = _shard_phase(shard, partial_results=partial_results, now=now)
    errors = shard.batch.errors if shard.batch is not None and not shard.refused else ()
    if info.phase in (Phase.FAILED, Phase.RETRYABLE_FAILED) and errors and errors[0].message:
        return replace(info, message=_with_remedy(errors[0].message, shard))
    return info


def _phase_of_many(plan: TaskPlan, spec: TaskSpec, *, started: bool, now: float) -> PhaseInfo:
    """The phase of a task with any number of files.

    Flyte sends each phase to its console once in an attempt, so they come in this order: INITIALIZING or
    WAITING_FOR_RESOURCES until the first batch has passed validation, then RUNNING, whatever waits later.
    """
    if not plan.shards:
        return PhaseInfo(Phase.SUCCEEDED, "completed: there were no requests to run")
    infos = [_shard_phase(shard, partial_results=spec.partial_results, now=now) for shard in plan.shards]
    started = started or any(map(has_passed_validation, plan.batches))
    phase = _combined([info.phase for info in infos], tolerant=spec.tolerant, started=started)
    if phase is Phase.INITIALIZING and any(batch.status == "validating" for batch in plan.batches):
        return PhaseInfo(phase, _validating(plan))
    if len(infos) == 1:
        return PhaseInfo(phase, infos[0].message or plan.held)
    return PhaseInfo(phase, _message_of_many(phase, plan, infos, spec.requests or 0))


def result_of(plan: TaskPlan, files: Sequence[str], *, reused: Collection[str] = ()) -> dict[str, Any]:
    """The task's output: for each file, in order, what is needed of its batch to collect the results.

    Args:
        plan: The task's batches.
        files: Their files.
        reused: The ids of those that an earlier run made, whose files are not the task's to delete.
    """
    max_errors = MAX_ERRORS // max(len(files), 1)
    batches = [_result(shard, file_id, max_errors) for shard, file_id in zip(plan.shards, files, strict=True)]
    for batch in batches:
        if batch["id"] in reused:
            batch["reused"] = True
    # By which the requests of files that are too large are cut again.
    return {"batches": batches, **({"enqueued_token_limits": dict(plan.limits)} if plan.limits else {})}


def summary_of(plan: TaskPlan) -> dict[str, Any]:
    """The task's `custom_info`: all of a single batch, or the sums of many; and the errors."""
    batches = plan.batches
    more = {**_waiting_in(plan), **_errors_in(batches)}
    if len(plan.shards) == 1:
        return {**(batches[0].summary() if batches else {}), **more}
    counts = {name: sum(getattr(batch, name) for batch in batches) for name in ("total", "completed", "failed")}
    return {
        "batches": len(plan.shards),
        "batch_ids": [batch.id for batch in batches[:MAX_IDS]],
        "request_counts": counts,
        "statuses": _tally([batch.status for batch in batches]),
        **more,
    }


def _waiting_in(plan: TaskPlan) -> dict[str, Any]:
    """How many files wait, and why the first does."""
    number = sum(bool(shard.waiting) for shard in plan.shards)
    return {"waiting": {"files": number, "reason": plan.waiting}} if number else {}


def _errors_in(batches: Sequence[BatchSnapshot]) -> dict[str, Any]:
    """The errors of all batches, and their number if some were left out."""
    errors = [(batch.id, error) for batch in batches for error in batch.errors]
    if not errors:
        return {}
    listed = [{"batch_id": id_, **_error(error, MAX_MESSAGE_LENGTH)} for id_, error in errors[:MAX_ERRORS]]
    return {"errors": listed, **({"error_count": len(errors)} if len(errors) > MAX_ERRORS else {})}


def _error(error: BatchError, max_length: int | None = None) -> dict[str, Any]:
    message = error.message
    if message is not None and max_length is not None:
        message = shortened(message, max_length)
    return {"code": error.code, "message": message, "line": error.line}


def _shard_phase(shard: ShardPlan, *, partial_results: bool, now: float) -> PhaseInfo:
    if shard.refused:
        return PhaseInfo(Phase.FAILED, shard.refused)
    if shard.waiting or shard.batch is None:
        return PhaseInfo(Phase.WAITING_FOR_RESOURCES, shard.waiting)
    info = batch_phase(shard.batch, now=now, partial_results=partial_results)
    if shard.wrongly_not_found:
        return PhaseInfo(Phase.RETRYABLE_FAILED, _with_remedy(info.message, shard))
    return info


def _with_remedy(message: str, shard: ShardPlan) -> str:
    return f"{message.removesuffix('.')}. {WRONGLY_NOT_FOUND}" if shard.wrongly_not_found else message


def _combined(phases: Sequence[Phase], *, tolerant: bool, started: bool) -> Phase:
    if all(phase.is_terminal for phase in phases):
        if tolerant:
            return Phase.SUCCEEDED
        # In this order, so that the results of one batch are not thrown away because of another.
        return next(phase for phase in (Phase.SUCCEEDED, Phase.RETRYABLE_FAILED, Phase.FAILED) if phase in phases)
    if started:
        return Phase.RUNNING
    return Phase.INITIALIZING if Phase.RUNNING in phases else Phase.WAITING_FOR_RESOURCES


def _validating(plan: TaskPlan) -> str:
    """`OpenAI is validating 3 files`."""
    number, files = sum(batch.status == "validating" for batch in plan.batches), len(plan.shards)
    if number == files:
        return f"OpenAI is validating {plural(number, 'file')}"
    return f"OpenAI is validating {number:,} of {files:,} files"


def _message_of_many(phase: Phase, plan: TaskPlan, infos: Sequence[PhaseInfo], requests: int) -> str:
    progress = _progress(plan, infos, requests)
    if phase is Phase.SUCCEEDED:
        return f"completed: {progress}"
    if phase in (Phase.RUNNING, Phase.INITIALIZING):
        return "; ".join(filter(None, [f"in progress: {progress}", plan.waiting or plan.held]))
    if phase is Phase.WAITING_FOR_RESOURCES:
        return f"{plan.waiting or plan.held or 'waiting'}; {progress}"
    first = next(info for info in infos if info.phase is phase)
    return f"none of the {len(infos):,} batches has results; the first: {first.message}"


def _progress(plan: TaskPlan, infos: Sequence[PhaseInfo], requests: int) -> str:
    """`12 of 20 batches done, 612,000 of 1,000,000 requests`."""
    over = sum(info.phase.is_terminal for info in infos)
    done = sum(batch.done for batch in plan.batches)
    failed = sum(batch.failed for batch in plan.batches)
    progress = f"{over:,} of {plural(len(infos), 'batch')} done, {done:,} of {plural(requests, 'request')}"
    return f"{progress}, {failed:,} failed" if failed else progress


def _result(shard: ShardPlan, file_id: str, max_errors: int) -> dict[str, Any]:
    batch = shard.batch
    if batch is None or (shard.refused and shard.refusal_code == REFUSED):
        error = {"code": shard.refusal_code, "message": shard.refused, "line": None}
        return {"id": None, "input_file_id": file_id, "status": "failed", "errors": {"data": [error]}}
    errors = [_error(error) for error in batch.errors[:max_errors]]
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
