"""The emulated OpenAI itself: what each call of the API does, free of HTTP."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from .batch import LIVE, Batch, ResultFiles
from .clock import Clock
from .errors import ApiError
from .faults import CallFault, Fault, FaultBooks
from .files import FileStore, StoredFile
from .lifecycle import Lifecycle
from .limits import RateLimits
from .paging import page_of
from .responder import Reply, Request, Responder, echo, reply_to
from .settings import COMPLETION_WINDOW, Settings
from .validation import check_request, check_upload

__all__ = ["OpenAIService"]

HOUR = 3600
MINUTE = 60


class OpenAIService:
    """Files, batches, faults and a clock. Every public method may be called from any thread."""

    def __init__(self, directory: Path, *, settings: Settings, responder: Responder = echo) -> None:
        self._lock = threading.RLock()
        self._directory = directory
        self._first_settings = settings
        self._first_responder = responder
        self._ids = 0
        self.reset()

    def reset(self) -> None:
        """Restore the initial state. Ids are not reused, so old ones never match new objects."""
        with self._lock:
            for path in self._directory.iterdir():
                path.unlink()
            self.clock = Clock()
            self.settings = self._first_settings
            self._responder = self._first_responder
            self._faults = FaultBooks()
            self._limits = RateLimits()
            self._files = FileStore(self._directory, self._new_id)
            self._life = Lifecycle(self._files, self._faults, self._responder)

    # What a test may do. Faults do not apply to the past, so due transitions come first.

    def order(self, fault: Fault) -> None:
        """Order a fault, from now on."""
        with self._lock:
            self._faults.add(fault, now=self._catch_up())

    def take_call_fault(self, method: str, path: str) -> CallFault | None:
        """The fault ordered for this call, if there is one. It never waits for other calls."""
        return self._faults.calls.take(f"{method} {path}", now=self.clock.now())

    def clear_faults(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._catch_up()
            self._faults.clear()

    def respond(self, responder: Responder) -> None:
        """Set the responder, from now on."""
        with self._lock:
            self._catch_up()
            self._responder = self._life.responder = responder

    def change(self, **settings: Any) -> None:
        """Change some of the settings; batches that are under way keep theirs."""
        with self._lock:
            self._catch_up()
            self.settings = replace(self.settings, **settings)

    # Files. https://platform.openai.com/docs/api-reference/files

    def create_file(
        self, source: BinaryIO, *, filename: str, purpose: str, lifetime: float | None, project: str
    ) -> dict[str, Any]:
        """Take an upload. Only what OpenAI checks during the upload is checked here.

        Raises:
            ApiError: 400 for what `check_upload` refuses; 429 for too many uploads.
        """
        with self._lock:
            now, settings = self.clock.now(), self.settings
            most = settings.uploads_per_minute
            self._limits.spend("upload", project=project, limit=most, window=MINUTE, now=now)
        # Reading and copying is done outside the lock: 200 MB must not keep every other call waiting.
        if purpose == "batch":
            check_upload(source, filename, most_bytes=settings.max_file_bytes)
        path = self._files.save(source)
        with self._lock:
            stored = self._files.adopt(
                path,
                filename=filename,
                purpose=purpose,
                project=project,
                now=self._catch_up(),
                lifetime=lifetime,
                hidden_for=settings.hide_files,
            )
        return stored.to_dict()

    def list_files(
        self, *, purpose: str | None, after: str | None, limit: int, newest_first: bool, project: str
    ) -> dict[str, Any]:
        """One page of the files that can be seen.

        Raises:
            ApiError: 400 when `after` is not among them.
        """
        with self._lock:
            visible = self._files.visible(project=project, now=self._catch_up())
            files = [stored for stored in visible if purpose in (None, stored.purpose)]
        if newest_first:
            files.reverse()
        return page_of(files, key=lambda stored: stored.id, show=StoredFile.to_dict, after=after, limit=limit)

    def file(self, file_id: str, *, project: str) -> StoredFile:
        """A file by its id.

        Raises:
            ApiError: 404 when this project cannot see it.
        """
        with self._lock:
            return self._files.get(file_id, project=project, now=self._catch_up())

    def delete_file(self, file_id: str, *, project: str) -> dict[str, Any]:
        """Delete a file. A live batch that uses it keeps reading it.

        Raises:
            ApiError: 404 when this project cannot see it.
        """
        with self._lock:
            stored = self._files.forget(file_id, project=project, now=self._catch_up())
            if not self._life.reads(stored.path):
                stored.path.unlink()
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
            ApiError: 400 for a file that was uploaded for another purpose, or, in the Azure flavour, for a full queue;
                429 for too many batches in an hour.
        """
        with self._lock:
            now = self._catch_up()
            most = self.settings.batches_per_hour
            self._limits.spend("batch", project=project, limit=most, window=HOUR, now=now)
            batch = Batch(
                id=self._new_id("batch_"),
                project=project,
                endpoint=endpoint,
                input_file_id=input_file_id,
                input_path=self._files.input_path(input_file_id, project=project, now=now),
                metadata=metadata,
                settings=self.settings,
                results=ResultFiles(self._files.new_path(), self._files.new_path()),
                output_lifetime=output_lifetime,
                times={"created_at": now, "expires_at": now + COMPLETION_WINDOW},
            )
            if self.settings.azure:
                self._life.refuse_over_quota(batch, self.settings.enqueued_tokens)
            self._life.batches[batch.id] = batch
            answer = batch.to_dict(now)
            self._catch_up()
            return answer

    def list_batches(self, *, after: str | None, limit: int, project: str) -> dict[str, Any]:
        """One page of the project's batches, newest first.

        Raises:
            ApiError: 400 when `after` is not among them.
        """
        with self._lock:
            now = self._catch_up()
            batches = [batch for batch in reversed(self._life.batches.values()) if batch.project == project]
            return page_of(
                batches, key=lambda batch: batch.id, show=lambda batch: batch.to_dict(now), after=after, limit=limit
            )

    def batch(self, batch_id: str, *, project: str) -> dict[str, Any]:
        """A batch by its id.

        Raises:
            ApiError: 404 when this project has none of that id.
        """
        with self._lock:
            now = self._catch_up()
            return self._life.get(batch_id, project=project).to_dict(now)

    def cancel_batch(self, batch_id: str, *, project: str) -> dict[str, Any]:
        """Ask for a batch to stop.

        Raises:
            ApiError: 404 when this project has none of that id; 409 when it is over already, other than by a cancel.
        """
        with self._lock:
            now = self._catch_up()
            batch = self._life.get(batch_id, project=project)
            if batch.status not in LIVE | {"cancelled"}:
                raise ApiError(409, f"Cannot cancel a batch with status '{batch.status}'.")
            if batch.status in LIVE - {"cancelling"}:
                batch.enter("cancelling", now)
            answer = batch.to_dict(now)
            self._catch_up()
            return answer

    # Single requests to a model.

    def answer(self, endpoint: str, body: dict[str, Any]) -> Reply:
        """Answer a request at once, as a line of a batch would be; several of them at the same time.

        Raises:
            ApiError: 400 or 404 for what `check_request` refuses.
        """
        check_request(body, endpoint=endpoint, settings=self.settings)
        return reply_to(Request(self._new_id("call_"), endpoint, body, self.clock.now()), self._responder)

    # Small things.

    def _catch_up(self) -> float:
        """Apply all transitions due by now; returns the current time."""
        now = self.clock.now()
        self._life.catch_up(now, self.settings)
        return now

    def _new_id(self, prefix: str) -> str:
        with self._lock:
            self._ids += 1
            return f"{prefix}{self._ids:024x}"
