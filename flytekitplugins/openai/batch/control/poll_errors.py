"""Handles a poll that failed: logs the first of a streak, counts each, and decides whether the task goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flytekitplugins.openai._flyte import is_local_run
from flytekitplugins.openai._metrics import count_failure
from flytekitplugins.openai.exceptions import Answer, OpenAIPluginError, RefusedBatchError, UnavailableError

from . import retry_policy
from .batch_outcome import Outcome, Verdict
from .poll_state import TaskMemory
from .retry_policy import Trouble
from .snapshot import BatchSnapshot
from .task_spec import Order

__all__ = ["log_errors", "log_waiting", "recover", "report", "tolerate"]

# Not flytekit's, which `pyflyte` silences unless it is told `--verbose`.
logger = logging.getLogger("flytekitplugins.openai")


def tolerate(error: Exception, task: TaskMemory, *, order: Order, submitted: bool, now: float) -> Verdict:
    """The verdict on a task whose poll failed. Raising would use up the six errors that Flyte allows an attempt.

    Args:
        error: Why the poll failed.
        task: What is remembered of it; the trouble is added.
        order: What the task asked for.
        submitted: Whether it has a batch.
        now: Unix seconds.
    """
    sentence, answer, _ = _explained(error)
    if isinstance(error, RefusedBatchError) and retry_policy.is_final_refusal(answer.status if answer else None):
        return Verdict(Outcome.FAILED, sentence)
    before = task.trouble
    unknown = answer is not None and answer.status == 404
    unreached = order.local and not submitted and not task.is_in_doubt and _is_unreached(error)
    task.trouble = Trouble(
        sentence,
        since=before.since if before else now,
        unknown_since=((before and before.unknown_since) or now) if unknown else None,
        ends_at=task.ends_at,
        submitted=submitted,
        presumed=before.presumed if before else order.presumed(now),
        unreached_since=((before and before.unreached_since) or now) if unreached else None,
    )
    is_waiting = not submitted or (task.verdict is not None and task.verdict.outcome is Outcome.WAITING)
    if is_waiting and answer is not None and retry_policy.is_asked_to_wait(answer.status, answer.code):
        task.put_off_submissions(retry_after=answer.retry_after, now=now)
    report("poll_failures" if submitted else "submission_failures", error, name=order.label, first=before is None)
    return retry_policy.verdict_while_unreachable(task.trouble, last=task.verdict, now=now)


def recover(task: TaskMemory, *, name: str, now: float) -> None:
    """Note that a poll succeeded."""
    if task.trouble is not None:
        _log(logging.INFO, "%s: OpenAI answers again, after %.0f s", name, now - task.trouble.since)
    task.trouble = None


def report(what: str, error: Exception, *, name: str, first: bool = True, last: bool = False) -> None:
    """Count a failure that Flyte is not told of as one, and log the first and the last in a row.

    Args:
        what: As `count_failure` takes it.
        error: What happened.
        name: The task's name for the log.
        first: Whether it is the first in a row.
        last: Whether it is not tried again.
    """
    sentence, _, reason = _explained(error)
    count_failure(what, reason=reason)
    if first or last:
        prospect = "It is not tried any more." if last else "It is tried again."
        unexpected = None if isinstance(error, OpenAIPluginError) else error
        _log(logging.WARNING, "%s: %s %s", name, sentence, prospect, error=unexpected)


def log_errors(batches: Iterable[BatchSnapshot], *, name: str) -> None:
    """Log every error of these batches, a line each: Flyte shows the first one alone.

    Args:
        batches: Those of a task that failed.
        name: The task's name for the log.
    """
    for batch in batches:
        for error in batch.errors:
            logger.warning("%s: batch %r: %s", name, batch.id, error)


def log_waiting(reason: str, *, name: str) -> None:
    """Log that a file of a task waits, once in a row: Flyte's console shows RUNNING from the first batch that runs on.

    Args:
        reason: Why, in words.
        name: The task's name for the log.
    """
    _log(logging.WARNING, "%s: %s.", name, reason)


def _is_unreached(error: Exception) -> bool:
    """Whether OpenAI cannot have learnt of what was asked of it."""
    return isinstance(error, UnavailableError) and not error.was_sent


def _explained(error: Exception) -> tuple[str, Answer | None, str]:
    if isinstance(error, OpenAIPluginError):
        return str(error), error.answer, error.reason
    return f"The connector failed with {type(error).__name__}: {error}.", None, "unexpected"


def _log(level: int, message: str, *values: object, error: Exception | None = None) -> None:
    # In a local run the progress line says it.
    logger.log(logging.DEBUG if is_local_run() else level, message, *values, exc_info=error)
