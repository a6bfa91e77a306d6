"""The progress of a batch, in the form of Flyte's metrics and logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from .snapshot import BatchSnapshot

__all__ = ["figures", "moment", "timeline"]

_USAGE = {
    "input": ("input_tokens",),
    "cached_input": ("input_tokens_details", "cached_tokens"),
    "output": ("output_tokens",),
    "reasoning_output": ("output_tokens_details", "reasoning_tokens"),
    "total": ("total_tokens",),
}


def figures(batches: Sequence[BatchSnapshot], *, now: float) -> dict[str, dict[str, Any]]:
    """Requests by state and tokens by kind, of all batches together, each as a result of a Prometheus range query.

    https://prometheus.io/docs/prometheus/latest/querying/api/#range-vectors

    Args:
        batches: The batches as they are.
        now: Unix seconds: when that was.
    """
    requests = {name: sum(getattr(batch, name) for batch in batches) for name in ("total", "completed", "failed")}
    tokens = {kind: _sum([_within(batch.usage, path) for batch in batches]) for kind, path in _USAGE.items()}
    return {
        "openai_batch_requests": _matrix("state", requests, now),
        "openai_batch_tokens": _matrix("kind", {kind: n for kind, n in tokens.items() if n is not None}, now),
    }


def timeline(batches: Sequence[BatchSnapshot]) -> list[str]:
    """When each batch came into which state, and its errors, one line each; of several, with their ids."""
    if len(batches) == 1:
        return _timeline(batches[0])
    return [f"{batch.id}: {line}" for batch in batches for line in _timeline(batch)]


def _timeline(batch: BatchSnapshot) -> list[str]:
    reached = sorted((at, name.removesuffix("_at").replace("_", " ")) for name, at in batch.times.items())
    lines = [f"{moment(at)} {state}" for at, state in reached if state != "expires"]
    if (expires := batch.times.get("expires_at")) is not None and batch.ended_at is None:
        lines.append(f"{moment(expires)} expires, unless it is over by then")
    return lines + [f"error: {error}" for error in batch.errors]


def _matrix(label: str, values: Mapping[str, float], now: float) -> dict[str, Any]:
    series = [{"metric": {label: name}, "values": [[now, str(value)]]} for name, value in values.items()]
    return {"resultType": "matrix", "result": series}


def _sum(counts: Sequence[int | None]) -> int | None:
    """The sum of what is known; `None` when nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _within(usage: Mapping[str, Any], path: tuple[str, ...]) -> int | None:
    value: Any = usage
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) else None


def moment(seconds: float) -> str:
    """A time of a batch, in Unix seconds, as people write it."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
