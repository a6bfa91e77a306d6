"""What an operator watches: failures, calls to OpenAI, and the live tasks. flytekit serves it with its own metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    import prometheus_client
    from prometheus_client.metrics_core import Metric

__all__ = ["REASONS", "Census", "call_to_openai", "count_failure", "count_from_zero", "watch_tasks"]

PREFIX = "flyte_connector_openai"
FAILURES = {
    "poll_failures": "Batch polls that failed; the task keeps running.",
    "submission_failures": "Batch submissions that failed and will be retried.",
    "list_failures": "Times that the list of batches could not answer polls; each batch is looked up then.",
    "cancel_failures": "Batch cancellations that failed and will be retried.",
    "refused_tasks": "Batch tasks that failed for good when Flyte created them.",
    "failed_questions": "ChatGPT tasks that failed.",
}
# Values of the label that exist from the start. Any other HTTP status appears with its first failure.
REASONS = (
    *("400", "401", "403", "404", "408", "409", "429", "500", "502", "503", "504"),
    *("timeout", "connection", "unreadable", "stale", "no_text", "other", "unexpected"),
)
# A poll has 3.5 s for each call; a question to a model has what its task says.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 15.0, 30.0, 60.0)


@dataclass
class Census:
    """The live tasks of this process, counted.

    Attributes:
        tasks: How many are in each phase.
        batches: How many of their batches have each status.
        enqueued_tokens: The prompt tokens of their batches that have not ended, as far as they are known.
        oldest_waiting: The longest time that any task has waited, in seconds; 0 if none waits.
    """

    tasks: Counter[str] = field(default_factory=Counter)
    batches: Counter[str] = field(default_factory=Counter)
    enqueued_tokens: int = 0
    oldest_waiting: float = 0.0

    def add(self, more: Census) -> None:
        """Add other tasks."""
        self.tasks += more.tasks
        self.batches += more.batches
        self.enqueued_tokens += more.enqueued_tokens
        self.oldest_waiting = max(self.oldest_waiting, more.oldest_waiting)


class _HasTasks(Protocol):
    def census(self) -> Census:
        """Its live tasks."""


@dataclass(frozen=True)
class _Metrics:
    failures: dict[str, prometheus_client.Counter]
    call_seconds: prometheus_client.Histogram
    calls_under_way: prometheus_client.Gauge
    last_answer: prometheus_client.Gauge


logger = logging.getLogger("flytekitplugins.openai")
# Empty before Flyte's first call; `[None]` if there can be no metrics.
_made: list[_Metrics | None] = []
_making = threading.Lock()
_watched: WeakSet[_HasTasks] = WeakSet()


def count_from_zero() -> None:
    """Create all metrics, and the counters at 0 for each of the `REASONS`.

    Prometheus does not see a counter grow that appears with its first failure, and an alert on its growth would miss
    that failure. The connector's verbs call this, and not the import, because every `pyflyte` imports this package.
    """
    with _making:
        if not _made:
            _made.append(_make())


def _make() -> _Metrics | None:
    try:
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram  # noqa: PLC0415 (in an extra of flytekit's)
    except ImportError:
        return None
    made: list[Any] = []
    try:
        for what, told in FAILURES.items():
            made.append(Counter(f"{PREFIX}_{what}_total", told, ["reason"]))
        failures = dict(zip(FAILURES, made, strict=True))
        for counter in failures.values():
            for reason in REASONS:
                counter.labels(reason=reason)
        told = "How long OpenAI took to answer a call, in seconds."
        made.append(Histogram(f"{PREFIX}_call_seconds", told, ["call", "status"], buckets=BUCKETS))
        made.append(Gauge(f"{PREFIX}_calls_under_way", "Calls that OpenAI has not answered yet."))
        made.append(Gauge(f"{PREFIX}_last_answer_timestamp_seconds", "When OpenAI last answered, in Unix seconds."))
        REGISTRY.register(_LiveTasks())
    except ValueError:
        # The names are taken. No task fails for it, and no counter stays that would never grow.
        for metric in made:
            REGISTRY.unregister(metric)
        logger.exception("the connector has no metrics")
        return None
    return _Metrics(failures, *made[-3:])


def count_failure(what: str, *, reason: str) -> None:
    """Count one in `flyte_connector_openai_<what>_total`.

    Args:
        what: `poll_failures`, `submission_failures`, `list_failures`, `cancel_failures`, `refused_tasks` or
            `failed_questions`.
        reason: The value of the label `reason`: an HTTP status, or a word.
    """
    count_from_zero()
    [metrics] = _made
    if metrics is not None:
        metrics.failures[what].labels(reason=reason).inc()


@contextmanager
def call_to_openai(call: str) -> Iterator[None]:
    """Measure a call to OpenAI.

    Args:
        call: The SDK's name of it, such as `batches.retrieve`.
    """
    metrics = _made[0] if _made else None
    if metrics is None:
        yield
        return
    status, began_at = "200", time.monotonic()
    metrics.calls_under_way.inc()
    try:
        yield
    except BaseException as error:
        status = _status_of(error)
        raise
    finally:
        metrics.calls_under_way.dec()
        metrics.call_seconds.labels(call=call, status=status).observe(time.monotonic() - began_at)
        if status.isdecimal():
            metrics.last_answer.set_to_current_time()


def watch_tasks(owner: _HasTasks) -> None:
    """Count the live tasks of an object, for as long as it is there, whenever Prometheus asks."""
    _watched.add(owner)


def _status_of(error: BaseException) -> str:
    """The HTTP status of one of the SDK's errors, or a word for one without."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return str(status)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"APITimeoutError", "CancelledError", "TimeoutError"}:
        return "timeout"
    return "connection" if "APIConnectionError" in kinds else "unreadable"


class _LiveTasks:
    """A collector that counts the tasks when it is asked."""

    def collect(self) -> Iterable[Metric]:
        """The gauges."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 (as above)

        census = Census()
        for owner in list(_watched):
            census.add(owner.census())
        by_label = (
            ("tasks", "phase", "Batch tasks that were polled in the last ten minutes, by phase.", census.tasks),
            ("batches", "status", "The batches of these tasks, by status.", census.batches),
        )
        for name, label, told, counts in by_label:
            family = GaugeMetricFamily(f"{PREFIX}_{name}", told, labels=[label])
            for value, count in counts.items():
                family.add_metric([value], count)
            yield family
        tokens, waiting = census.enqueued_tokens, census.oldest_waiting
        yield GaugeMetricFamily(
            f"{PREFIX}_enqueued_tokens", "Prompt tokens of the batches that have not ended, if known.", value=tokens
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_oldest_waiting_seconds", "The longest time that any task has waited, in seconds.", value=waiting
        )
