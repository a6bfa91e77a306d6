"""The life of batches, from `validating` to their end, with each transition at its due time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .batch import LIVE, Batch
from .errors import ApiError
from .faults import FaultBooks, RequestFault
from .files import FileStore
from .responder import Responder
from .settings import Settings
from .validation import BatchError, inspect

__all__ = ["Lifecycle"]


class Lifecycle:
    """All batches and their transitions. Not thread-safe."""

    def __init__(self, files: FileStore, faults: FaultBooks, responder: Responder) -> None:
        self.batches: dict[str, Batch] = {}
        self._settling = False
        self._files = files
        self._faults = faults
        self.responder = responder

    def get(self, batch_id: str, *, project: str) -> Batch:
        """A batch of this project.

        Raises:
            ApiError: 404 when it has none of that id.
        """
        batch = self.batches.get(batch_id)
        if batch is None or batch.project != project:
            raise ApiError(404, f"No batch found with id '{batch_id}'.")
        return batch

    def catch_up(self, now: float, settings: Settings) -> None:
        """Apply all transitions due by `now`, in order."""
        if self._settling:
            # A responder called the emulator that it answers for. The settling it came from goes on after it.
            return
        self._settling = True
        try:
            self._live_until(now, settings)
        finally:
            self._settling = False

    def refuse_over_quota(self, batch: Batch, limit: int | Mapping[str, int] | None) -> None:
        """Refuse the creation of a batch for which the queue has no room, as Azure does.

        Raises:
            ApiError: 400 with the code that OpenAI fails such a batch with.
        """
        if batch.input_path is None:
            return
        with batch.input_path.open("rb") as lines:
            found = inspect(lines, endpoint=batch.endpoint, settings=batch.settings)
        batch.model, batch.prompt_tokens = found.model, found.prompt_tokens
        for error in self._over_quota(batch, limit):
            raise ApiError(400, error.message, code=error.code)

    def reads(self, path: Path) -> bool:
        """Whether a batch that is not over takes its requests from this file."""
        return any(batch.status in LIVE and batch.input_path == path for batch in self.batches.values())

    def _live_until(self, now: float, settings: Settings) -> None:
        while True:
            due = [(at, batch) for batch in self.batches.values() if (at := batch.next_event()) is not None]
            at, batch = min(due, key=lambda event: event[0], default=(now, None))
            if batch is None or at > now:
                break
            self._pass(batch, at, settings)
        for batch in self.batches.values():
            if batch.status == "in_progress":
                self._run(batch, batch.due(now))

    def _pass(self, batch: Batch, at: float, settings: Settings) -> None:
        if batch.status == "validating":
            self._validated(batch, at, settings)
        elif batch.status == "in_progress":
            self._ran(batch, at)
        elif batch.status == "finalizing":
            self._end(batch, "completed", at)
        else:
            self._cancelled(batch, at)

    def _validated(self, batch: Batch, at: float, settings: Settings) -> None:
        ordered = self._faults.batches.take(batch.input_file_id, now=at)
        if ordered is not None:
            batch.fail([BatchError(ordered.code, ordered.message, ordered.line, ordered.param)], at)
            return
        if batch.input_path is None:
            message = (
                f"Cannot find file {batch.input_file_id}, or organization does not have access to it."
                if batch.input_file_id
                else "No input file."
            )
            batch.fail([BatchError("invalid_request", message, param="file_id")], at)
            return
        with batch.input_path.open("rb") as lines:
            found = inspect(lines, endpoint=batch.endpoint, settings=batch.settings)
        batch.model, batch.prompt_tokens = found.model, found.prompt_tokens
        if not found.errors and not batch.settings.azure:
            found.errors.extend(self._over_quota(batch, settings.enqueued_tokens))
        if found.errors:
            batch.fail(found.errors, at)
        else:
            batch.start(found.offsets, at)

    def _over_quota(self, batch: Batch, limits: int | Mapping[str, int] | None) -> Iterable[BatchError]:
        limit = limits.get(batch.model or "") if isinstance(limits, Mapping) else limits
        enqueued = batch.prompt_tokens + sum(
            other.prompt_tokens
            for other in self.batches.values()
            if other is not batch
            and other.status in LIVE
            and (other.project, other.model) == (batch.project, batch.model)
        )
        if limit is not None and enqueued > limit:
            yield BatchError(
                "token_limit_exceeded",
                f"Enqueued token limit reached for {batch.model} in organization org-emulator. "
                f"Limit: {limit:,} enqueued tokens. Please try again once some in_progress batches have been "
                "completed.",
            )

    def _ran(self, batch: Batch, at: float) -> None:
        self._run(batch, batch.due(at))
        if batch.done == len(batch.queue):
            batch.enter("finalizing", at)
        else:
            self._end(batch, "expired", at)

    def _cancelled(self, batch: Batch, at: float) -> None:
        if batch.settings.cancel_too_late and "in_progress_at" in batch.times:
            self._run(batch, len(batch.queue))
            self._end(batch, "completed", at)
        else:
            self._run(batch, batch.due(at))
            self._end(batch, "cancelled", at)

    def _run(self, batch: Batch, upto: int) -> None:
        def fault_for(custom_id: str, at: float) -> RequestFault | None:
            return self._faults.requests.take(custom_id, now=at)

        batch.run(upto, self.responder, fault_for)

    def _end(self, batch: Batch, status: str, at: float) -> None:
        """Close a batch: whatever it wrote becomes files. A file without lines is not made, and its id stays null."""
        if status != "completed":
            batch.leave_unfinished(status)
        elif batch.settings.azure:
            batch.results.errors.touch()
        batch.enter(status, at)
        batch.output_file_id = self._publish(batch, batch.results.output, "output", at)
        batch.error_file_id = self._publish(batch, batch.results.errors, "error", at)
        batch.files_visible_at = at + batch.settings.late_files

    def _publish(self, batch: Batch, path: Path, kind: str, at: float) -> str | None:
        if not path.exists():
            return None
        return self._files.adopt(
            path,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            project=batch.project,
            now=at,
            lifetime=batch.output_lifetime,
        ).id
