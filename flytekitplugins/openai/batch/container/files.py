"""Transfers one file to or from OpenAI as a stream, and checks that a download is whole."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module, logger

from flytekitplugins.openai._arguments import call_arguments
from flytekitplugins.openai._client import Account, came_over_http
from flytekitplugins.openai._errors import check_id, explained
from flytekitplugins.openai.exceptions import IncompleteFileError, UnavailableError

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_module("openai")

__all__ = ["delete_file", "download_file", "upload_file", "uploaded_files"]

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 1.0
# A download that receives nothing for this long has failed.
SILENCE_SECONDS = 60.0
CHUNK_BYTES = 1 << 20
SIZE_RETRIES = 2
SIZE_SECONDS = 10.0


def upload_file(
    client: openai.OpenAI, path: Path, *, name: str, account: Account, expires_after: int | None = None
) -> str:
    """Upload a batch input file and return its id.

    Args:
        client: The account's.
        path: Where the file is.
        name: What it is called at OpenAI, which takes only names that end in `.jsonl`.
        account: For the error message.
        expires_after: Seconds after which OpenAI deletes it; after 30 days by default.

    Raises:
        RefusedError: OpenAI refuses the file or the key.
        UnavailableError: OpenAI was not reached.
    """
    doing = f"upload the requests as {name!r}"
    # An open file is streamed; the SDK would read a Path into memory three times.
    with path.open("rb") as handle, explained(account, doing):
        request: dict[str, Any] = {"file": (name, handle), "purpose": "batch"}
        if expires_after is not None:
            request["expires_after"] = {"anchor": "created_at", "seconds": expires_after}
        create = client.files.create
        file_id = getattr(create(**call_arguments(request, create)), "id", None)
        if not isinstance(file_id, str) or not file_id:
            raise UnavailableError(f"Could not {doing}: the response was not a file.")
        return file_id


def uploaded_files(client: openai.OpenAI, account: Account, *, since: float) -> Iterator[tuple[str, str]]:
    """Ids and names of the batch input files uploaded since a time, in Unix seconds.

    Raises:
        RefusedError: OpenAI refuses to list files.
        UnavailableError: The list could not be read.
    """
    with explained(account, "list the uploaded files"):
        # Newest first, unless the server does otherwise.
        for file in client.files.list(purpose="batch"):
            created_at = getattr(file, "created_at", None)
            if isinstance(created_at, (int, float)) and created_at < since:
                return
            yield file.id, str(getattr(file, "filename", ""))


def delete_file(client: openai.OpenAI, file_id: str, account: Account) -> None:
    """Delete a file at OpenAI; one that is gone already is left alone.

    Raises:
        RefusedError: OpenAI refuses the key.
        UnavailableError: OpenAI was not reached.
    """
    doing = f"delete file {file_id!r}"
    check_id(file_id, doing)
    with explained(account, doing), contextlib.suppress(openai.NotFoundError):
        client.files.delete(file_id)


def download_file(
    client: openai.OpenAI, file_id: str, destination: str | os.PathLike[str], *, account: Account
) -> None:
    """Download a file to `destination`, which then holds all of it or does not exist.

    The bytes go to a file beside it first, are counted against what the reply and the Files API announce, and are
    fetched again when any are missing.

    Raises:
        IncompleteFileError: It never arrived whole.
        RefusedError: OpenAI refuses the key, or has no such file.
        UnavailableError: OpenAI was not reached.
    """
    check_id(file_id, f"download file {file_id!r}")
    target = Path(destination)
    target.parent.mkdir(parents=True, exist_ok=True)
    announced_size = functools.cache(lambda: _announced_size(client, file_id))
    for attempt in range(1, ATTEMPTS + 1):
        handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent)
        os.close(handle)
        part = Path(name)
        try:
            _fetch(client, file_id, part=part, target=target, announced_size=announced_size, account=account)
        except (IncompleteFileError, UnavailableError) as error:
            if attempt == ATTEMPTS:
                raise
            logger.warning(f"{error} Attempt {attempt} of {ATTEMPTS}; trying again.")
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        else:
            return
        finally:
            part.unlink(missing_ok=True)


def _announced_size(client: openai.OpenAI, file_id: str) -> int | None:
    """The file's length by the Files API; `None` if the server does not say it."""
    patient = client.with_options(max_retries=SIZE_RETRIES, timeout=SIZE_SECONDS)
    try:
        size = getattr(patient.files.retrieve(file_id), "bytes", None)
    except (openai.OpenAIError, ValueError) as error:
        logger.debug(f"no size is known for file {file_id!r}: {type(error).__name__}")
        return None
    # No batch leaves an empty file at OpenAI; servers that always say 0 mean that they do not know.
    return size if type(size) is int and size > 0 else None


def _fetch(
    client: openai.OpenAI,
    file_id: str,
    *,
    part: Path,
    target: Path,
    announced_size: Callable[[], int | None],
    account: Account,
) -> None:
    """Download into `part`, check that it is whole, and move it to `target`."""
    doing = f"download file {file_id!r}"
    # Without the SDK's retries, which do not notice that a file is incomplete.
    client = client.with_options(max_retries=0, timeout=openai.Timeout(SILENCE_SECONDS))
    with explained(account, doing), client.files.with_streaming_response.content(file_id) as response:
        if not came_over_http(response):
            _write_mocked(response, target)
            return
        content_length = str(response.headers.get("content-length") or "")
        with part.open("wb") as file:
            try:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)
            except openai.OpenAIError:
                raise
            except OSError:
                # A failure of the disk, not of the network.
                raise
            except Exception as error:
                # The transport's own error, and httpx2 has others than httpx had.
                raise IncompleteFileError(
                    f"Could not {doing}: the connection broke ({type(error).__name__})."
                ) from error
    received = part.stat().st_size
    # Bytes that were decompressed on the way say nothing about Content-Length.
    counted = content_length.isdigit() and not response.headers.get("content-encoding")
    lengths = (int(content_length) if counted else None, announced_size())
    expected = [length for length in lengths if length is not None]
    for length in expected:
        if received != length:
            raise IncompleteFileError(f"Could not {doing}: {received:,} of {length:,} bytes arrived.")
    if not expected and not _ends_like_json_lines(part):
        raise IncompleteFileError(f"Could not {doing}: it ends in the middle of a line.")
    part.replace(target)


def _write_mocked(response: Any, target: Path) -> None:
    """Write a mocked file, by the one of the SDK's two methods that the test mocks.

    There is no server to ask how long the file is.
    """
    target.touch()
    if hasattr(response, "stream_to_file"):
        response.stream_to_file(target)
    chunks = response.iter_bytes() if hasattr(response, "iter_bytes") else ()
    content = b"".join(chunks) if isinstance(chunks, Iterable) else b""
    if content:
        target.write_bytes(content)


def _ends_like_json_lines(path: Path) -> bool:
    """Whether the last line is a JSON document: the only check if no length was announced."""
    with path.open("rb") as lines:
        last = b""
        for line in lines:
            last = line
    try:
        json.loads(last or b"null")
    except ValueError:
        return False
    return True
