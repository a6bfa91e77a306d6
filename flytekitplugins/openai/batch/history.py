"""What a batch has done so far, as Flyte's interface for metrics and logs has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .snapshot import BatchSnapshot

__all__ = ["figures", "timeline"]

_USAGE = {
    "input": ("input_tokens",),
    "cached_input": ("input_tokens_details", "cached_tokens"),
    "output": ("output_tokens",),
    "reasoning_output": ("output_tokens_details", "reasoning_tokens"),
    "total": ("total_tokens",),
}


def figures(batch: BatchSnapshot, *, now: float) -> dict[str, dict[str, Any]]:
    """Requests by state and tokens by kind, each in the form of a result of a Prometheus range query.

    https://prometheus.io/docs/prometheus/latest/querying/api/#range-vectors

    Args:
        batch: The batch as it is.
        now: Unix seconds: when that was.
    """
    requests = {"total": batch.total, "completed": batch.completed, "failed": batch.failed}
    tokens = {kind: _within(batch.usage, path) for kind, path in _USAGE.items()}
    return {
        "openai_batch_requests": _matrix("state", requests, now),
        "openai_batch_tokens": _matrix("kind", {kind: n for kind, n in tokens.items() if n is not None}, now),
    }


def timeline(batch: BatchSnapshot) -> list[str]:
    """When the batch came into which state, and its errors, one line each."""
    reached = sorted((at, name.removesuffix("_at").replace("_", " ")) for name, at in batch.times.items())
    lines = [f"{_moment(at)} {state}" for at, state in reached if state != "expires"]
    if (expires := batch.times.get("expires_at")) is not None and batch.ended_at is None:
        lines.append(f"{_moment(expires)} expires, unless it is over by then")
    return lines + [f"error: {error}" for error in batch.errors]


def _matrix(label: str, values: Mapping[str, float], now: float) -> dict[str, Any]:
    series = [{"metric": {label: name}, "values": [[now, str(value)]]} for name, value in values.items()]
    return {"resultType": "matrix", "result": series}


def _within(usage: Mapping[str, Any], path: tuple[str, ...]) -> int | None:
    value: Any = usage
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) else None


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return f"{seconds:g}"
