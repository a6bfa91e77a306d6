"""One emulated batch: its states, the times of their transitions, and the files it writes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .azure import full_endpoint, shown_status
from .errors import error_body
from .faults import RequestFault
from .responder import Reply, Request, Responder, reply_to
from .settings import Settings
from .validation import BatchError

__all__ = ["LIVE", "Batch", "ResultFiles"]

LIVE = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_TIMES = (
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
_UNFINISHED = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}


@dataclass(frozen=True)
class ResultFiles:
    """Where a batch's output and error lines are written while it runs."""

    output: Path
    errors: Path

    def append(self, line: dict[str, Any]) -> None:
        """Add one line to the file it belongs in: the errors' unless it was answered with a 2xx."""
        response = line["response"]
        succeeded = response is not None and 200 <= response["status_code"] < 300
        with (self.output if succeeded else self.errors).open("ab") as target:
            # Half a surrogate pair, which JSON can hold and UTF-8 cannot, goes out escaped as it came in.
            target.write(json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")


@dataclass
class Batch:
    """A batch as the API knows it, and what it needs to run.

    Attributes:
        times: The `*_at` fields of the Batch object that have been reached.
        queue: Where in the input file each request starts, in the order they will run: not the order of the input,
            because OpenAI keeps none.
        done: How many of the queue have run.
    """

    id: str
    project: str
    endpoint: str
    input_file_id: str
    input_path: Path | None
    metadata: dict[str, str] | None
    settings: Settings
    results: ResultFiles
    output_lifetime: float | None
    times: dict[str, float]
    status: str = "validating"
    errors: list[BatchError] = field(default_factory=list)
    model: str | None = None
    prompt_tokens: int = 0
    queue: list[int] = field(default_factory=list)
    done: int = 0
    completed: int = 0
    failed: int = 0
    usage: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("input", "cached", "output", "reasoning"), 0))
    output_file_id: str | None = None
    error_file_id: str | None = None
    files_visible_at: float = math.inf

    def next_event(self) -> float | None:
        """When its state changes next without further calls; `None` once it has ended."""
        pace = self.settings
        if self.status == "validating":
            return self.times["created_at"] + pace.validating
        if self.status == "in_progress":
            window_ends_at = math.inf if pace.azure else self.times["expires_at"]
            return min(self._ran_at(len(self.queue)), window_ends_at)
        if self.status == "finalizing":
            return self.times["finalizing_at"] + pace.finalizing
        if self.status == "cancelling":
            return self.times["cancelling_at"] + pace.cancelling
        return None

    def enter(self, status: str, at: float) -> None:
        """Enter a state at a given time."""
        self.status = status
        self.times[f"{status}_at"] = at

    def fail(self, errors: list[BatchError], at: float) -> None:
        """Fail validation: no request runs."""
        self.errors = errors
        self.enter("failed", at)

    def start(self, offsets: list[int], at: float) -> None:
        """Begin to run the requests at these offsets of the input file."""
        self.queue = offsets
        random.Random(self.id).shuffle(self.queue)  # noqa: S311 (an order, not a secret)
        self.enter("in_progress", at)

    def due(self, now: float) -> int:
        """How many requests have run by `now`, at the batch's pace."""
        started = self.times.get("in_progress_at", math.inf)
        if started > now:
            return 0
        until = min(now, self.times.get("cancelling_at", math.inf))
        if math.isinf(self.settings.requests_per_second):
            return len(self.queue)
        # The smallest fraction of a second forgives what adding and subtracting Unix times rounds away.
        return min(len(self.queue), int((until - started + 1e-6) * self.settings.requests_per_second))

    def run(self, upto: int, responder: Responder, fault_for: Callable[[str, float], RequestFault | None]) -> None:
        """Run the queue until `upto` requests of it are done.

        Args:
            upto: How many of the queue are done afterwards.
            responder: What the models answer.
            fault_for: Returns the ordered fault for a `custom_id` when it runs, if there is one.
        """
        if upto <= self.done or self.input_path is None:
            return
        with self.input_path.open("rb") as lines:
            for index in range(self.done, upto):
                line = self._read(lines, self.queue[index])
                at = self._ran_at(index + 1)
                # A cancel that came too late runs what its batch's pace would never have come to.
                time = min(at, self.times.get("cancelling_at", math.inf))
                request = Request(line["custom_id"], full_endpoint(line["url"]), line["body"], time)
                self._record(request, fault_for(request.custom_id, at), responder)
                self.done = index + 1

    def leave_unfinished(self, status: str) -> None:
        """Write an error line for each request that will not run any more: the batch is `expired` or `cancelled`.

        They are not counted as failed: OpenAI has been seen to answer `{total: 10, completed: 1, failed: 0}`.
        """
        if self.done == len(self.queue) or self.input_path is None:
            return
        code, message = _UNFINISHED[status]
        with self.input_path.open("rb") as lines:
            for offset in self.queue[self.done :]:
                custom_id = self._read(lines, offset)["custom_id"]
                self.results.append(self._line(custom_id, None, {"code": code, "message": message}))

    def to_dict(self, now: float) -> dict[str, Any]:
        """The API's Batch object, https://platform.openai.com/docs/api-reference/batch/object ."""
        shown = now >= self.files_visible_at
        times = {name: int(self.times[name]) if name in self.times else None for name in _TIMES}
        return times | {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": [asdict(e) for e in self.errors]} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": shown_status(self.status) if self.settings.azure else self.status,
            "output_file_id": self.output_file_id if shown else None,
            "error_file_id": self.error_file_id if shown else None,
            "request_counts": {"total": len(self.queue), "completed": self.completed, "failed": self.failed},
            "usage": {
                "input_tokens": self.usage["input"],
                "input_tokens_details": {"cached_tokens": self.usage["cached"]},
                "output_tokens": self.usage["output"],
                "output_tokens_details": {"reasoning_tokens": self.usage["reasoning"]},
                "total_tokens": self.usage["input"] + self.usage["output"],
            },
            "metadata": self.metadata,
        }

    def _ran_at(self, count: int) -> float:
        """When this many requests of the queue have run, without further calls."""
        pace = self.settings.requests_per_second
        return self.times["in_progress_at"] + (count / pace if pace else math.inf)

    @staticmethod
    def _read(lines: BinaryIO, offset: int) -> dict[str, Any]:
        lines.seek(offset)
        line: dict[str, Any] = json.loads(lines.readline())
        return line

    def _record(self, request: Request, fault: RequestFault | None, responder: Responder) -> None:
        """Run one request and write its result."""
        if fault is None:
            reply = reply_to(request, responder)
        elif fault.status is not None:
            reply = Reply(error_body(fault.status, fault.message, code=fault.code), fault.status)
        else:
            if fault.code is not None:
                error = {"code": fault.code, "message": fault.message}
                self.results.append(self._line(request.custom_id, None, error))
            self.failed += 1
            return
        request_id = f"req_{request.custom_id}"
        response = {"status_code": reply.status_code, "request_id": request_id, "body": dict(reply.body)}
        self.results.append(self._line(request.custom_id, response, None))
        succeeded = 200 <= reply.status_code < 300
        self.completed += succeeded
        self.failed += not succeeded
        self._count_usage(reply.body.get("usage") or {})

    def _count_usage(self, usage: dict[str, Any]) -> None:
        read_details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        written_details = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
        self.usage["input"] += usage.get("prompt_tokens") or usage.get("input_tokens") or 0
        self.usage["output"] += usage.get("completion_tokens") or usage.get("output_tokens") or 0
        self.usage["cached"] += read_details.get("cached_tokens") or 0
        self.usage["reasoning"] += written_details.get("reasoning_tokens") or 0

    def _line(self, custom_id: str, response: dict[str, Any] | None, error: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "id": f"batch_req_{self.id[6:]}_{custom_id}",
            "custom_id": custom_id,
            "response": response,
            "error": error,
        }
