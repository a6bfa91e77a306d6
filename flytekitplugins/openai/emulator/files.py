"""The Files half of the emulator: bytes on disk, and the metadata that the API reports."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .errors import invalid_value, no_such_file
from .settings import FILE_RETENTION

__all__ = ["FileStore", "StoredFile"]

_CHUNK = 1 << 20
# Files of every other purpose are kept until somebody deletes them.
# https://platform.openai.com/docs/api-reference/files/create
_RETENTION: dict[str, float] = {"batch": FILE_RETENTION, "batch_output": FILE_RETENTION}


@dataclass(frozen=True)
class StoredFile:
    """A file that was uploaded, or that a batch wrote. Times are Unix seconds; `math.inf` is never."""

    id: str
    path: Path
    filename: str
    purpose: str
    project: str
    size: int
    created_at: float
    expires_at: float
    visible_at: float

    def to_dict(self) -> dict[str, Any]:
        """The API's File object, https://platform.openai.com/docs/api-reference/files/object ."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": int(self.created_at),
            "expires_at": None if math.isinf(self.expires_at) else int(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }

    def is_visible(self, project: str, now: float) -> bool:
        """Whether a call of `project` can see it at this moment."""
        return self.project == project and self.visible_at <= now < self.expires_at


class FileStore:
    """All files. Only names and times are held in memory."""

    def __init__(self, directory: Path, new_id: Callable[[str], str]) -> None:
        self._directory = directory
        self._new_id = new_id
        self._files: dict[str, StoredFile] = {}

    def save(self, source: BinaryIO) -> Path:
        """Copy what `source` holds from its current position on, as a stream; `adopt` makes a file of it."""
        path = self.new_path()
        with path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
        return path

    def adopt(
        self,
        path: Path,
        *,
        filename: str,
        purpose: str,
        project: str,
        now: float,
        lifetime: float | None = None,
        hidden_for: float = 0.0,
    ) -> StoredFile:
        """Make a file that is already in place, at `new_path()`, known under a new id.

        It lives for `lifetime` seconds, by default as long as files of its purpose are kept, and cannot be seen in
        the first `hidden_for` of them.
        """
        kept = _RETENTION.get(purpose, math.inf) if lifetime is None else lifetime
        stored = StoredFile(
            id=self._new_id("file-"),
            path=path,
            filename=filename,
            purpose=purpose,
            project=project,
            size=path.stat().st_size,
            created_at=now,
            expires_at=now + kept,
            visible_at=now + hidden_for,
        )
        self._files[stored.id] = stored
        return stored

    def new_path(self) -> Path:
        """A place for a new file."""
        return self._directory / self._new_id("stored-")

    def get(self, file_id: str, *, project: str, now: float) -> StoredFile:
        """The file, if this project can see it.

        Raises:
            ApiError: 404 when it cannot.
        """
        stored = self._files.get(file_id)
        if stored is None or not stored.is_visible(project, now):
            raise no_such_file(file_id)
        return stored

    def input_path(self, file_id: str, *, project: str, now: float) -> Path | None:
        """Where the input file of a new batch is; `None` if this project cannot see it.

        Raises:
            ApiError: 400 when it was uploaded for another purpose.
        """
        stored = self._files.get(file_id)
        if stored is None or not stored.is_visible(project, now):
            return None
        if stored.purpose != "batch":
            raise invalid_value("input_file_id", file_id, "a file of purpose 'batch'")
        return stored.path

    def forget(self, file_id: str, *, project: str, now: float) -> StoredFile:
        """Take a file off the list. Its bytes are the caller's now: a batch may still be reading them.

        Raises:
            ApiError: 404 when this project cannot see it.
        """
        stored = self.get(file_id, project=project, now=now)
        del self._files[file_id]
        return stored

    def visible(self, *, project: str, now: float) -> Iterator[StoredFile]:
        """The files this project can see, oldest first."""
        return (stored for stored in self._files.values() if stored.is_visible(project, now))
