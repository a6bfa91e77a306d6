"""The Files half of the emulator: bytes on disk, with the little that the API tells of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .errors import no_such_file
from .settings import FILE_RETENTION

__all__ = ["FileStore", "StoredFile"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """A file that was uploaded, or that a batch wrote. Times are Unix seconds."""

    id: str
    path: Path
    filename: str
    purpose: str
    project: str
    created_at: float
    expires_at: float
    visible_at: float

    def to_dict(self) -> dict[str, Any]:
        """The API's File object, https://platform.openai.com/docs/api-reference/files/object ."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.path.stat().st_size,
            "created_at": int(self.created_at),
            "expires_at": int(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }

    def is_visible(self, project: str, now: float) -> bool:
        """Whether a call of `project` can see it at this moment."""
        return self.project == project and self.visible_at <= now < self.expires_at


class FileStore:
    """Every file there is. Nothing is held in memory but names and times."""

    def __init__(self, directory: Path, new_id: Callable[[str], str]) -> None:
        self._directory = directory
        self._new_id = new_id
        self._files: dict[str, StoredFile] = {}

    def add(
        self,
        source: BinaryIO,
        *,
        filename: str,
        purpose: str,
        project: str,
        now: float,
        lifetime: float = FILE_RETENTION,
        hidden_for: float = 0.0,
    ) -> StoredFile:
        """Keep what `source` holds from its current position on, copied as a stream."""
        path = self.new_path()
        with path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
        return self.adopt(
            path,
            filename=filename,
            purpose=purpose,
            project=project,
            now=now,
            lifetime=lifetime,
            hidden_for=hidden_for,
        )

    def adopt(
        self,
        path: Path,
        *,
        filename: str,
        purpose: str,
        project: str,
        now: float,
        lifetime: float = FILE_RETENTION,
        hidden_for: float = 0.0,
    ) -> StoredFile:
        """Make a file that is already in place, at `new_path()`, known under a new id."""
        stored = StoredFile(
            id=self._new_id("file-"),
            path=path,
            filename=filename,
            purpose=purpose,
            project=project,
            created_at=now,
            expires_at=now + lifetime,
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

    def delete(self, file_id: str, *, project: str, now: float) -> None:
        """Forget a file and free its bytes.

        Raises:
            ApiError: 404 when this project cannot see it.
        """
        stored = self.get(file_id, project=project, now=now)
        del self._files[file_id]
        stored.path.unlink()

    def visible(self, *, project: str, now: float) -> Iterator[StoredFile]:
        """The files this project can see, oldest first."""
        return (stored for stored in self._files.values() if stored.is_visible(project, now))
