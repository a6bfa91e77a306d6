"""Reads the input once, and checks, cuts and uploads it at the same time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from flytekit import logger

from flytekitplugins.openai._client import Account, sync_client
from flytekitplugins.openai._text import plural
from flytekitplugins.openai.batch.container.files import delete_file, upload_file, uploaded_files
from flytekitplugins.openai.batch.container.progress import StepProgress
from flytekitplugins.openai.batch.costs.budget import over_budget
from flytekitplugins.openai.batch.costs.estimate import CostEstimate, estimate_of
from flytekitplugins.openai.batch.records.index import IndexWriter
from flytekitplugins.openai.batch.records.manifest import Manifest
from flytekitplugins.openai.batch.requests.problems import BadRequestsError
from flytekitplugins.openai.batch.requests.sharding import Complete, Sharder
from flytekitplugins.openai.batch.requests.shards import Shard
from flytekitplugins.openai.exceptions import InvalidInputError, OpenAIPluginError

from .past_batches import PastBatches
from .spool import Spool
from .upload_names import UploadNames

if TYPE_CHECKING:
    import openai

__all__ = ["Uploaded", "upload_shards"]

# Files of an attempt that was killed are younger than this.
LEFTOVER_SECONDS = 72 * 3600.0


@dataclass(frozen=True)
class Uploaded:
    """The result of an upload.

    Attributes:
        file_ids: The shards' files at OpenAI, in the order of the shards.
        requests: How many there are in all of them.
        manifest: What is in the files.
    """

    file_ids: list[str]
    requests: int
    manifest: Manifest


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
    past: PastBatches | None = None,
    max_cost_usd: float | None = None,
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
        past: The batches whose results may be used again; `None`: each file is uploaded.
        max_cost_usd: US dollars that the requests may cost at most; `None`: any amount.

    Raises:
        InvalidInputError: The input cannot be sent, or may cost too much.
        RefusedError: OpenAI refuses a file or the key.
        UnavailableError: OpenAI was not reached.
    """

    def send(path: Path, shard: Shard) -> str:
        name = (name_of or uploads.file_name)(shard)
        return upload_file(client, path, name=name, account=account, expires_after=expires_after)

    with sync_client(account) as client, Spool(send, past) as spool:
        writer = IndexWriter(index)
        read = 0
        try:
            for event in sharder.cut(open_input):
                if isinstance(event, Complete):
                    if not spool.is_closed:
                        spool.upload(event.shard)
                    # What may be there already is known of all files only at the end.
                    if max_cost_usd is not None and past is None:
                        spool.is_closed = bool(over_budget(estimate_of(sharder.manifest()), max_cost_usd))
                    continue
                if not spool.is_closed:
                    spool.write(event.shard, event.data)
                    writer.add(event.shard.number, event.custom_ids)
                read += len(event.data)
                checked, uploaded = plural(sharder.requests, "request"), plural(spool.done, "file")
                progress.show(f"{checked} checked, {uploaded} uploaded", done=read)
            writer.flush()
            manifest = sharder.manifest(digests=spool.digests, reused=spool.reused)
            estimate = estimate_of(manifest)
            _check_budget(estimate, max_cost_usd)
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
        progress.show(_told(estimate), done=read)
        return Uploaded(file_ids, sharder.requests, manifest)


def _check_budget(estimate: CostEstimate, max_cost_usd: float | None) -> None:
    if max_cost_usd is not None and (reason := over_budget(estimate, max_cost_usd)):
        raise BadRequestsError(reason)


def _told(estimate: CostEstimate) -> str:
    """`1,000 requests uploaded, in 1 file (300,000 prompt tokens: ...)`, and what is reused."""
    reused = f"the results of {plural(estimate.reused, 'file')} are there already, and are reused"
    if not estimate.files:
        return reused if estimate.reused else "nothing to upload"
    sent = f"{plural(estimate.requests, 'request')} uploaded, in {plural(estimate.files, 'file')} ({estimate})"
    return f"{sent}; {reused}" if estimate.reused else sent


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
