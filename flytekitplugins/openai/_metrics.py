"""What an operator can alert on: how often OpenAI could not be asked. flytekit serves it with its own metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter

__all__ = ["count_failure"]

_counters: dict[str, Counter] = {}
_HELP = {
    "poll": "Polls of a batch that failed, while its task went on.",
    "submission": "Submissions of a batch that failed, and are tried again.",
    "cancel": "Cancellations of batches that failed, and are tried again.",
}


def count_failure(what: str, *, reason: str) -> None:
    """Count one in `flyte_connector_openai_<what>_failures_total`.

    Args:
        what: `poll`, `submission` or `cancel`.
        reason: The value of the label `reason`: an HTTP status, or a word.
    """
    if what not in _counters:
        try:
            from prometheus_client import Counter  # noqa: PLC0415 (it comes with flytekit's connector extra alone)
        except ImportError:
            return
        _counters[what] = Counter(f"flyte_connector_openai_{what}_failures_total", _HELP[what], ["reason"])
    _counters[what].labels(reason=reason).inc()
