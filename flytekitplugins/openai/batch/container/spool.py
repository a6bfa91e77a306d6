"""Shards on their way to OpenAI: written to the disk while the input is read, and uploaded in the background."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

from flytekitplugins.openai.batch.requests.shards import Shard

from .past_batches import LinesDigest, PastBatches

__all__ = ["Spool"]

# Each takes up to 200 MB of the disk, and so does the shard being written.
CONCURRENT_UPLOADS = 2


class Spool:
    """Writes shards to the disk, uploads them in the background, and removes them.

    Args:
        send: Uploads a file, and returns its id.
        past: The batches whose results may be used again; `None`: each file is uploaded.

    Attributes:
        digests: Of the shards' lines, by the shards' numbers, where they are needed.
        reused: The ids of the batches that are used again, in the same way.
        is_closed: Whether nothing is uploaded any more, because the requests may cost too much.
    """

    def __init__(self, send: Callable[[Path, Shard], str], past: PastBatches | None) -> None:
        self.digests: dict[int, str] = {}
        self.reused: dict[int, str] = {}
        self.is_closed = False
        self._send = send
        self._past = past
        self._hashed: dict[int, LinesDigest] = {}
        self._kept: dict[int, str] = {}
        self._directory = Path(tempfile.mkdtemp(prefix="shards-"))
        self._pool = ThreadPoolExecutor(CONCURRENT_UPLOADS, thread_name_prefix="upload")
        self._written: dict[int, BinaryIO] = {}
        self._uploads: dict[int, Future[str]] = {}

    @property
    def done(self) -> int:
        """How many files have been uploaded."""
        return sum(upload.done() for upload in self._uploads.values())

    @property
    def has_begun(self) -> bool:
        """Whether anything may have been uploaded."""
        return bool(self._uploads)

    def write(self, shard: Shard, data: bytes) -> None:
        """Add lines to a shard."""
        if shard.number not in self._written:
            self._written[shard.number] = self._path(shard.number).open("wb")
            if self._past is not None:
                self._hashed[shard.number] = LinesDigest(self._past.endpoint)
        self._written[shard.number].write(data)
        if self._past is not None:
            self._hashed[shard.number].add(data)

    def upload(self, shard: Shard) -> None:
        """Upload a complete shard; waits while too many are being uploaded."""
        self._written.pop(shard.number).close()
        if self._past is not None and self._is_there(shard, self._past):
            self._path(shard.number).unlink()
            return
        self._uploads[shard.number] = self._pool.submit(self._upload, shard)
        while len(running := [upload for upload in self._uploads.values() if not upload.done()]) > CONCURRENT_UPLOADS:
            wait(running, return_when=FIRST_COMPLETED)
        for upload in self._uploads.values():
            if upload.done():
                upload.result()

    def file_ids(self) -> list[str]:
        """The files' ids, in the order of the shards, once all are there."""
        uploaded = {number: upload.result() for number, upload in self._uploads.items()}
        return [file_id for _, file_id in sorted({**uploaded, **self._kept}.items())]

    def abandon(self) -> Iterator[str]:
        """Stop uploading; returns the ids of files that were uploaded, or are just being uploaded."""
        for upload in self._uploads.values():
            upload.cancel()
        for upload in self._uploads.values():
            if not upload.cancelled() and upload.exception() is None:
                yield upload.result()

    def _is_there(self, shard: Shard, past: PastBatches) -> bool:
        """Whether an earlier batch has the results of a shard."""
        digest = self._hashed.pop(shard.number).text()
        self.digests[shard.number] = digest
        batch = past.find(digest, requests=shard.requests)
        if batch is None or batch.input_file_id is None:
            return False
        self.reused[shard.number], self._kept[shard.number] = batch.id, batch.input_file_id
        return True

    def _upload(self, shard: Shard) -> str:
        path = self._path(shard.number)
        try:
            return self._send(path, shard)
        finally:
            path.unlink()

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.jsonl"

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for target in self._written.values():
            target.close()
        shutil.rmtree(self._directory, ignore_errors=True)
