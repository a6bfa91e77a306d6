"""Logs and counts what fails and is retried, of which Flyte is told nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from flytekitplugins.openai._flyte import is_local_run
from flytekitplugins.openai._metrics import count_failure
from flytekitplugins.openai._text import one_line
from flytekitplugins.openai.exceptions import OpenAIPluginError

from .state.snapshot import BatchSnapshot
from .state.task_spec import TaskSpec

__all__ = [
    "Named",
    "log_batch_errors",
    "log_left_files",
    "log_recovery",
    "log_waiting",
    "record_failure",
    "sentence_of",
]

# Not flytekit's logger, which `pyflyte` silences without `--verbose`.
logger = logging.getLogger("flytekitplugins.openai")


class Subject(Protocol):
    """What a line of the log is about, such as a `TaskSpec`."""

    @property
    def display_name(self) -> str:
        """For people."""

    @property
    def log_fields(self) -> dict[str, str]:
        """For a program that reads the log."""


@dataclass(frozen=True)
class Named:
    """Anything else than a `TaskSpec`, by its name."""

    display_name: str
    log_fields: dict[str, str] = field(default_factory=dict)


def record_failure(metric: str, error: Exception, *, task: Subject, first: bool = True, last: bool = False) -> None:
    """Count a failure, and log it if it is the first or the last of a streak.

    Args:
        metric: As `count_failure` takes it.
        error: What happened.
        task: What failed.
        first: Whether it is the first of a streak.
        last: Whether it will not be retried.
    """
    is_expected = isinstance(error, OpenAIPluginError)
    count_failure(metric, reason=error.reason if isinstance(error, OpenAIPluginError) else "unexpected")
    if first or last:
        prospect = "It will not be retried." if last else "It will be retried."
        _log(logging.WARNING, task, f"{sentence_of(error)} {prospect}", error=None if is_expected else error)


def sentence_of(error: Exception) -> str:
    """An error as one sentence for Flyte's console."""
    if isinstance(error, OpenAIPluginError):
        return str(error)
    return f"The connector failed with {type(error).__name__}: {error}."


def log_recovery(*, task: TaskSpec, seconds: float) -> None:
    """Log the end of a streak of failed polls, and how long it was."""
    _log(logging.INFO, task, f"OpenAI is available again after {seconds:.0f} s")


def log_batch_errors(batches: Iterable[BatchSnapshot], *, task: TaskSpec) -> None:
    """Log every error of the batches, one line each. Flyte shows only the first."""
    for batch in batches:
        for error in batch.errors:
            _log(logging.WARNING, task, f"batch {batch.id!r}: {error}", batch=batch.id, always=True)


def log_waiting(reason: str, *, task: TaskSpec) -> None:
    """Log why a file of the task waits. Flyte's console shows RUNNING as soon as any batch runs."""
    _log(logging.WARNING, task, f"{reason}.")


def log_left_files(left: int, of: int, reason: object, *, task: Subject) -> None:
    """Log how many input files of a task were not deleted; OpenAI keeps them for 30 days."""
    _log(logging.WARNING, task, f"{left} of {of} files at OpenAI were not deleted: {reason}", always=True)


def _log(
    level: int,
    task: Subject,
    sentence: str,
    *,
    error: Exception | None = None,
    batch: str = "",
    always: bool = False,
) -> None:
    fields = task.log_fields | ({"batch": batch} if batch else {})
    # In a local run the progress line says it.
    shown_at = logging.DEBUG if is_local_run() and not always else level
    logger.log(shown_at, "%s: %s", one_line(task.display_name), one_line(sentence), exc_info=error, extra=fields)
