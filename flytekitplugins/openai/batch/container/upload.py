"""Reads the input once, and checks, cuts and uploads it at the same time."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from flytekit import logger

from flytekitplugins.openai._client import Account, sync_client
from flytekitplugins.openai._text import plural
from flytekitplugins.openai.batch.container.files import delete_file, upload_file, uploaded_files
from flytekitplugins.openai.batch.container.progress import StepProgress
from flytekitplugins.openai.batch.index import IndexWriter
from flytekitplugins.openai.batch.requests.problems import BadRequestsError
from flytekitplugins.openai.batch.requests.sharding import Complete, Shard, Sharder
from flytekitplugins.openai.exceptions import InvalidInputError, OpenAIPluginError

from .upload_names import UploadNames

if TYPE_CHECKING:
    import openai

__all__ = ["Uploaded", "upload_shards"]

# Each takes up to 200 MB of the disk, and so does the shard being written.
CONCURRENT_UPLOADS = 2
# Files of an attempt that was killed are younger than this.
LEFTOVER_SECONDS = 72 * 3600.0


@dataclass(frozen=True)
class Uploaded:
    """The result of an upload.

    Attributes:
        file_ids: The shards' files at OpenAI, in the order of the shards.
        requests: How many there are in all of them.
    """

    file_ids: list[str]
    requests: int


def upload_shards(
    open_input: Callable[[], Iterable[bytes]],
    sharder: Sharder,
    *,
    uploads: UploadNames,
    account: Account,
    index: BinaryIO,
    progress: StepProgress,
    name_of: Callable[[Shard], str] | None = None,
    expires_after: int | None = None,
) -> Uploaded:
    """Upload an input in as many files as it needs.

    When it fails, it deletes its files at OpenAI; after a kill, the next attempt deletes them.

    Args:
        open_input: Gives the input's bytes from its beginning.
        sharder: Checks and cuts them.
        uploads: How the files are named.
        account: Where they go.
        index: Where the index of the requests goes.
        progress: What is shown meanwhile.
        name_of: Names the files in another way.
        expires_after: Seconds after which OpenAI deletes them.

    Raises:
        InvalidInputError: The input cannot be sent.
        RefusedError: OpenAI refuses a file or the key.
        UnavailableError: OpenAI was not reached.
    """

    def send(path: Path, shard: Shard) -> str:
        name = (name_of or uploads.file_name)(shard)
        return upload_file(client, path, name=name, account=account, expires_after=expires_after)

    with sync_client(account) as client, _Spool(send) as spool:
        writer = IndexWriter(index)
        read = 0
        try:
            for event in sharder.cut(open_input):
                if isinstance(event, Complete):
                    spool.upload(event.shard)
                    continue
                spool.write(event.shard, event.data)
                writer.add(event.shard.number, event.custom_ids)
                read += len(event.data)
                checked, uploaded = plural(sharder.requests, "request"), plural(spool.done, "file")
                progress.show(f"{checked} checked, {uploaded} uploaded", done=read)
            writer.flush()
            file_ids = spool.file_ids()
            if uploads.attempt != "0":
                # At the end, because a file that an earlier attempt was sending when it was killed may arrive late.
                _delete_leftovers(client, uploads, account, but=file_ids)
        except BaseException as error:
            # Ctrl-C, too.
            for file_id in spool.abandon():
                _delete(client, file_id, account)
            if spool.has_begun:
                # A file whose reply was lost is found by its name.
                _delete_leftovers(client, uploads, account)
            if isinstance(error, BadRequestsError):
                raise InvalidInputError(f"The input{uploads.title} was not submitted: {error}.") from None
            raise
        sent = f"{plural(sharder.requests, 'request')} uploaded, in {plural(len(file_ids), 'file')}"
        progress.show(sent if file_ids else "nothing to upload", done=read)
        return Uploaded(file_ids, sharder.requests)


class _Spool:
    """Writes shards to the disk, uploads them in the background, and removes them."""

    def __init__(self, send: Callable[[Path, Shard], str]) -> None:
        self._send = send
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
        self._written[shard.number].write(data)

    def upload(self, shard: Shard) -> None:
        """Upload a complete shard; waits while too many are being uploaded."""
        self._written.pop(shard.number).close()
        self._uploads[shard.number] = self._pool.submit(self._upload, shard)
        while len(running := [upload for upload in self._uploads.values() if not upload.done()]) > CONCURRENT_UPLOADS:
            wait(running, return_when=FIRST_COMPLETED)
        for upload in self._uploads.values():
            if upload.done():
                upload.result()

    def file_ids(self) -> list[str]:
        """The files' ids, in the order of the shards, once all are there."""
        return [self._uploads[number].result() for number in sorted(self._uploads)]

    def abandon(self) -> Iterator[str]:
        """Stop uploading; returns the ids of files that were uploaded, or are just being uploaded."""
        for upload in self._uploads.values():
            upload.cancel()
        for upload in self._uploads.values():
            if not upload.cancelled() and upload.exception() is None:
                yield upload.result()

    def _upload(self, shard: Shard) -> str:
        path = self._path(shard.number)
        try:
            return self._send(path, shard)
        finally:
            path.unlink()

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.jsonl"

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for target in self._written.values():
            target.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _delete_leftovers(
    client: openai.OpenAI, uploads: UploadNames, account: Account, *, but: Collection[str] = ()
) -> None:
    """Delete the step's files at OpenAI, except these."""
    since = time.time() - LEFTOVER_SECONDS
    try:
        left = [file_id for file_id, name in uploaded_files(client, account, since=since) if uploads.prefix in name]
    except OpenAIPluginError as error:
        logger.warning(f"{error} Files of an earlier attempt may stay at OpenAI for 30 days.")
        return
    for file_id in left:
        if file_id not in but:
            _delete(client, file_id, account)


def _delete(client: openai.OpenAI, file_id: str, account: Account) -> None:
    with contextlib.suppress(OpenAIPluginError):
        delete_file(client, file_id, account)
