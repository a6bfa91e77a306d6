"""What an operator can alert on: how often OpenAI could not be asked. flytekit serves it with its own metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter

__all__ = ["REASONS", "count_failure", "count_from_zero"]

_counters: dict[str, Counter] = {}
_HELP = {
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


def count_from_zero() -> None:
    """Create all counters, at 0 for each of the `REASONS`.

    Prometheus does not see a counter grow that appears with its first failure, and an alert on its growth would miss
    that failure. The connector's verbs call this, and not the import, because every `pyflyte` imports this package.
    """
    if not _counters:
        try:
            from prometheus_client import Counter  # noqa: PLC0415 (it comes with flytekit's connector extra alone)
        except ImportError:
            return
        made = {
            what: Counter(f"flyte_connector_openai_{what}_total", help_text, ["reason"])
            for what, help_text in _HELP.items()
        }
        for counter in made.values():
            for reason in REASONS:
                counter.labels(reason=reason)
        _counters.update(made)


def count_failure(what: str, *, reason: str) -> None:
    """Count one in `flyte_connector_openai_<what>_total`.

    Args:
        what: `poll_failures`, `submission_failures`, `list_failures`, `cancel_failures`, `refused_tasks` or
            `failed_questions`.
        reason: The value of the label `reason`: an HTTP status, or a word.
    """
    count_from_zero()
    if _counters:
        _counters[what].labels(reason=reason).inc()
