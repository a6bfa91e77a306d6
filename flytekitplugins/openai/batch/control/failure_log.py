"""Logs and counts what fails and is retried, of which Flyte is told nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flytekitplugins.openai._flyte import is_local_run
from flytekitplugins.openai._metrics import count_failure
from flytekitplugins.openai.exceptions import OpenAIPluginError

from .state.snapshot import BatchSnapshot

__all__ = ["log_batch_errors", "log_recovery", "log_waiting", "record_failure", "sentence_of"]

# Not flytekit's logger, which `pyflyte` silences without `--verbose`.
logger = logging.getLogger("flytekitplugins.openai")


def record_failure(metric: str, error: Exception, *, task: str, first: bool = True, last: bool = False) -> None:
    """Count a failure, and log it if it is the first or the last of a streak.

    Args:
        metric: As `count_failure` takes it.
        error: What happened.
        task: The task's display name.
        first: Whether it is the first of a streak.
        last: Whether it will not be retried.
    """
    is_expected = isinstance(error, OpenAIPluginError)
    count_failure(metric, reason=error.reason if isinstance(error, OpenAIPluginError) else "unexpected")
    if first or last:
        prospect = "It will not be retried." if last else "It will be retried."
        _log(logging.WARNING, "%s: %s %s", task, sentence_of(error), prospect, error=None if is_expected else error)


def sentence_of(error: Exception) -> str:
    """An error as one sentence for Flyte's console."""
    if isinstance(error, OpenAIPluginError):
        return str(error)
    return f"The connector failed with {type(error).__name__}: {error}."


def log_recovery(*, task: str, seconds: float) -> None:
    """Log the end of a streak of failed polls, and how long it was."""
    _log(logging.INFO, "%s: OpenAI is available again after %.0f s", task, seconds)


def log_batch_errors(batches: Iterable[BatchSnapshot], *, task: str) -> None:
    """Log every error of the batches, one line each. Flyte shows only the first."""
    for batch in batches:
        for error in batch.errors:
            logger.warning("%s: batch %r: %s", task, batch.id, error)


def log_waiting(reason: str, *, task: str) -> None:
    """Log why a file of the task waits. Flyte's console shows RUNNING as soon as any batch runs."""
    _log(logging.WARNING, "%s: %s.", task, reason)


def _log(level: int, message: str, *values: object, error: Exception | None = None) -> None:
    # In a local run the progress line says it.
    logger.log(logging.DEBUG if is_local_run() else level, message, *values, exc_info=error)
