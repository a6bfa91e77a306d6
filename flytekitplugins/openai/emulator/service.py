"""The emulated OpenAI itself: what each call of the Files and Batches API does, free of HTTP."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from .batch import LIVE, Batch, ResultFiles
from .clock import Clock
from .errors import ApiError, invalid_value
from .faults import BatchFault, CallFault, Fault, FaultBook, RequestFault
from .files import FileStore, StoredFile
from .responder import Responder, echo
from .settings import COMPLETION_WINDOW, FILE_RETENTION, Settings
from .validation import BatchError, inspect

__all__ = ["OpenAIService"]

HOUR = 3600
MINUTE = 60
T = TypeVar("T")


class OpenAIService:
    """Files, batches, faults and a clock. Every public method may be called from any thread."""

    def __init__(self, directory: Path, *, settings: Settings, responder: Responder = echo) -> None:
        self.clock = Clock()
        self.settings = settings
        self.responder = responder
        self.call_faults: FaultBook[CallFault] = FaultBook()
        self.batch_faults: FaultBook[BatchFault] = FaultBook()
        self.request_faults: FaultBook[RequestFault] = FaultBook()
        self._lock = threading.RLock()
        self._ids = 0
        self._directory = directory
        self._files = FileStore(directory, self._new_id)
        self._batches: dict[str, Batch] = {}
        self._recent: dict[tuple[str, str], deque[float]] = {}

    def order(self, fault: Fault) -> None:
        """Make something go wrong, from now on."""
        with self._lock:
            if isinstance(fault, CallFault):
                self.call_faults.add(fault, now=self.clock.now())
            elif isinstance(fault, BatchFault):
                self.batch_faults.add(fault, now=self.clock.now())
            else:
                self.request_faults.add(fault, now=self.clock.now())

    def take_call_fault(self, method: str, path: str) -> CallFault | None:
        """The fault ordered for this call, if there is one."""
        with self._lock:
            return self.call_faults.take(f"{method} {path}", now=self.clock.now())

    def clear_faults(self) -> None:
        """Let everything go right again."""
        with self._lock:
            for book in (self.call_faults, self.batch_faults, self.request_faults):
                book.clear()

    def change(self, **settings: Any) -> None:
        """Change some of the settings; batches that are under way keep theirs."""
        with self._lock:
            self.settings = replace(self.settings, **settings)

    # Files. https://platform.openai.com/docs/api-reference/files

    def create_file(
        self, source: BinaryIO, *, filename: str, purpose: str, lifetime: float | None, project: str
    ) -> dict[str, Any]:
        """Take an upload. Only what OpenAI looks at during the upload is looked at here.

        Raises:
            ApiError: 400 for a batch file that is not named `.jsonl`, is empty, too large, or begins with a line that
                is not a JSON object; 429 for too many uploads.
        """
        with self._lock:
            self._spend("upload", project, self.settings.uploads_per_minute, MINUTE)
            hidden_for = self.settings.hide_files
            limit = self.settings.max_file_bytes
        if purpose == "batch":
            _check_batch_file(source, filename, limit)
        # Copying is done outside the lock: 200 MB must not keep every other call waiting.
        stored = self._files.add(
            source,
            filename=filename,
            purpose=purpose,
            project=project,
            now=self.clock.now(),
            lifetime=lifetime or FILE_RETENTION,
            hidden_for=hidden_for,
        )
        return stored.to_dict()

    def list_files(
        self, *, purpose: str | None, after: str | None, limit: int, newest_first: bool, project: str
    ) -> dict[str, Any]:
        """One page of the files that can be seen."""
        with self._lock:
            self._settle()
            files = [
                f for f in self._files.visible(project=project, now=self.clock.now()) if purpose in (None, f.purpose)
            ]
            if newest_first:
                files.reverse()
            return _page(files, key=lambda f: f.id, show=StoredFile.to_dict, after=after, limit=limit)

    def file(self, file_id: str, *, project: str) -> StoredFile:
        """A file by its id.

        Raises:
            ApiError: 404 when this project cannot see it.
        """
        with self._lock:
            self._settle()
            return self._files.get(file_id, project=project, now=self.clock.now())

    def delete_file(self, file_id: str, *, project: str) -> dict[str, Any]:
        """Delete a file.

        Raises:
            ApiError: 404 when this project cannot see it.
        """
        with self._lock:
            self._settle()
            self._files.delete(file_id, project=project, now=self.clock.now())
        return {"id": file_id, "object": "file", "deleted": True}

    # Batches. https://platform.openai.com/docs/api-reference/batch

    def create_batch(
        self,
        *,
        input_file_id: str,
        endpoint: str,
        metadata: dict[str, str] | None,
        output_lifetime: float | None,
        project: str,
    ) -> dict[str, Any]:
        """Create a batch, `validating` whatever its input: even a file that cannot be seen shows only as `failed`.

        Raises:
            ApiError: 429 for too many batches in an hour.
        """
        with self._lock:
            self._settle()
            self._spend("batch", project, self.settings.batches_per_hour, HOUR)
            now = self.clock.now()
            batch = Batch(
                id=self._new_id("batch_"),
                project=project,
                endpoint=endpoint,
                input_file_id=input_file_id,
                input_path=self._input_path(input_file_id, project),
                metadata=metadata,
                settings=self.settings,
                results=ResultFiles(self._files.new_path(), self._files.new_path()),
                output_lifetime=output_lifetime,
                times={"created_at": now, "expires_at": now + COMPLETION_WINDOW},
            )
            self._batches[batch.id] = batch
            answer = batch.to_dict(now)
            self._settle()
            return answer

    def list_batches(self, *, after: str | None, limit: int, project: str) -> dict[str, Any]:
        """One page of the project's batches, newest first."""
        with self._lock:
            self._settle()
            now = self.clock.now()
            batches = [b for b in reversed(self._batches.values()) if b.project == project]
            return _page(batches, key=lambda b: b.id, show=lambda b: b.to_dict(now), after=after, limit=limit)

    def batch(self, batch_id: str, *, project: str) -> dict[str, Any]:
        """A batch by its id.

        Raises:
            ApiError: 404 when this project has none of that id.
        """
        with self._lock:
            self._settle()
            return self._find(batch_id, project).to_dict(self.clock.now())

    def cancel_batch(self, batch_id: str, *, project: str) -> dict[str, Any]:
        """Ask for a batch to stop.

        Raises:
            ApiError: 404 when this project has none of that id; 409 when it is over already, other than by a cancel.
        """
        with self._lock:
            self._settle()
            batch = self._find(batch_id, project)
            if batch.status in LIVE - {"cancelling"}:
                batch.enter("cancelling", self.clock.now())
                answer = batch.to_dict(self.clock.now())
                self._settle()
                return answer
            if batch.status in ("cancelling", "cancelled"):
                return batch.to_dict(self.clock.now())
            raise ApiError(409, f"Cannot cancel a batch with status '{batch.status}'.")

    # How time passes.

    def _settle(self) -> None:
        """Let every batch live through what has happened since the last call, in the order it happened."""
        now = self.clock.now()
        events = {
            "validating": self._validated,
            "in_progress": self._ran,
            "finalizing": self._finalized,
            "cancelling": self._cancelled,
        }
        while True:
            live = [(at, b) for b in self._batches.values() if (at := b.next_event()) is not None and at <= now]
            if not live:
                break
            at, batch = min(live, key=lambda event: event[0])
            events[batch.status](batch, at)
        for batch in self._batches.values():
            if batch.status == "in_progress":
                self._run(batch, batch.due(now))

    def _validated(self, batch: Batch, at: float) -> None:
        ordered = self.batch_faults.take(batch.input_file_id, now=at)
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
        if not found.errors:
            found.errors.extend(self._over_quota(batch))
        if found.errors:
            batch.fail(found.errors, at)
        else:
            batch.start(found.offsets, at)

    def _over_quota(self, batch: Batch) -> Iterable[BatchError]:
        limit = self.settings.enqueued_tokens
        others = (
            b
            for b in self._batches.values()
            if b.status in LIVE and (b.project, b.model) == (batch.project, batch.model)
        )
        if limit is not None and sum(b.prompt_tokens for b in others) > limit:
            yield BatchError(
                "token_limit_exceeded",
                f"Enqueued token limit reached for {batch.model}. Limit: {limit:,} enqueued tokens. "
                "Please try again once some in_progress batches have been completed.",
            )

    def _ran(self, batch: Batch, at: float) -> None:
        self._run(batch, batch.due(at))
        if batch.done == len(batch.queue):
            batch.enter("finalizing", at)
        else:
            self._end(batch, "expired", at)

    def _finalized(self, batch: Batch, at: float) -> None:
        self._end(batch, "completed", at)

    def _cancelled(self, batch: Batch, at: float) -> None:
        if batch.settings.cancel_too_late and "in_progress_at" in batch.times:
            self._run(batch, len(batch.queue))
            self._end(batch, "completed", at)
        else:
            self._run(batch, batch.due(at))
            self._end(batch, "cancelled", at)

    def _run(self, batch: Batch, upto: int) -> None:
        def fault_for(custom_id: str) -> RequestFault | None:
            return self.request_faults.take(custom_id, now=self.clock.now())

        batch.run(upto, self.responder, fault_for)

    def _end(self, batch: Batch, status: str, at: float) -> None:
        """Close a batch: whatever it wrote becomes files. A file without lines is not made, and its id stays null."""
        if status != "completed":
            batch.leave_unfinished(status)
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
            lifetime=batch.output_lifetime or FILE_RETENTION,
        ).id

    # Small things.

    def _new_id(self, prefix: str) -> str:
        with self._lock:
            self._ids += 1
            return f"{prefix}{self._ids:024x}"

    def _find(self, batch_id: str, project: str) -> Batch:
        batch = self._batches.get(batch_id)
        if batch is None or batch.project != project:
            raise ApiError(404, f"No batch found with id '{batch_id}'.")
        return batch

    def _input_path(self, file_id: str, project: str) -> Path | None:
        try:
            return self._files.get(file_id, project=project, now=self.clock.now()).path
        except ApiError:
            return None

    def _spend(self, what: str, project: str, limit: int, window: float) -> None:
        """Count one use against a limit within a moving window of seconds."""
        now = self.clock.now()
        recent = self._recent.setdefault((what, project), deque())
        while recent and recent[0] <= now - window:
            recent.popleft()
        if len(recent) >= limit:
            wait = max(1, round(recent[0] + window - now))
            raise ApiError(
                429,
                f"Rate limit reached: {limit} {what} creations in {window} seconds. Try again in {wait} s.",
                code="rate_limit_exceeded",
                headers={"Retry-After": str(wait)},
            )
        recent.append(now)


def _check_batch_file(source: BinaryIO, filename: str, limit: int) -> None:
    """Refuse what OpenAI refuses while the file is uploaded; later lines are looked at in validation only."""
    if not filename.endswith(".jsonl"):
        raise ApiError(400, f"Invalid extension of file {filename!r}. Supported formats: '.jsonl'.", param="file")
    size = source.seek(0, 2)
    source.seek(0)
    if size == 0:
        raise ApiError(400, "The file is empty.", param="file")
    if size > limit:
        raise ApiError(400, "File is too large.", param="file")
    try:
        usable = isinstance(json.loads(source.readline()), dict)
    except ValueError:
        usable = False
    source.seek(0)
    if not usable:
        raise ApiError(400, "Invalid file format. Line 1 is not a JSON object.", param="file")


def _page(
    items: list[T], *, key: Callable[[T], str], show: Callable[[T], dict[str, Any]], after: str | None, limit: int
) -> dict[str, Any]:
    """A page of a list in the API's form; `after` is the last id of the page before."""
    if after is not None:
        places = [i for i, item in enumerate(items) if key(item) == after]
        if not places:
            raise invalid_value("after", after, "the id of an item of this list")
        items = items[places[0] + 1 :]
    page = items[:limit]
    return {
        "object": "list",
        "data": [show(item) for item in page],
        "first_id": key(page[0]) if page else None,
        "last_id": key(page[-1]) if page else None,
        "has_more": len(items) > limit,
    }
