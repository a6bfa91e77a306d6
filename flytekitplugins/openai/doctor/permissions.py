"""What a key may do, found out by calls that leave nothing behind."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from .caller import Caller
from .findings import Check, failed, passed
from .reply import ABSENT, INVALID, Reply, problem_with

if TYPE_CHECKING:
    import openai

__all__ = [
    "BATCH_CHECKS",
    "FILE_CHECKS",
    "NOT_A_FILE",
    "READ_FILES",
    "RECENT",
    "WRITE_FILES",
    "check_batches",
    "check_files",
    "list_batches",
    "remove_file",
    "upload",
]

# Ids that no server has given out.
NO_BATCH = "batch_00000000000000000000000000000000"
NO_FILE = "file-0000000000000000000000"
FILE_NAME = "flytekitplugins-openai-doctor-{}.jsonl"
# Among so many newest files one is looked for whose upload was not answered.
RECENT = 20
# Servers read the first line of an upload.
LINE = b'{"custom_id": "doctor", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "none"}}\n'
NOT_A_FILE = "the answer is not a file; check OPENAI_BASE_URL"
LIST_BATCHES, CREATE_BATCHES, CANCEL_BATCHES = BATCH_CHECKS = ("list batches", "create batches", "cancel batches")
WRITE_FILES, READ_FILES, DELETE_FILES = FILE_CHECKS = ("write files", "read files", "delete files")


def list_batches(client: openai.OpenAI) -> Any:
    """Ask for the newest batch."""
    return client.batches.with_raw_response.list(limit=1)


def check_batches(caller: Caller, listed: Reply) -> Iterator[Check]:
    """Whether the key may list, create and cancel batches.

    Args:
        caller: The key.
        listed: The reply to `list_batches`.
    """
    yield _verdict(LIST_BATCHES, listed)
    created = caller.call(_create_nothing)
    if created.is_success and (made := created.text_of("id")):
        # A server that needs no file. It cannot have been asked to run anything, and is told to stop all the same.
        caller.call(lambda client: client.batches.with_raw_response.cancel(made), despite_deadline=True)
    yield _verdict(CREATE_BATCHES, created, harmless=INVALID)
    cancelled = caller.call(lambda client: client.batches.with_raw_response.cancel(NO_BATCH))
    yield _verdict(CANCEL_BATCHES, cancelled, harmless=ABSENT)


def check_files(caller: Caller, *, writes: bool) -> Iterator[Check]:
    """Whether the key may write, read and delete files.

    Args:
        caller: The key.
        writes: Upload a file, and delete it; otherwise only ask for one that does not exist.
    """
    file_id = ""
    if writes:
        uploaded = upload(caller)
        file_id = uploaded.text_of("id")
        yield _verdict(WRITE_FILES, uploaded, missing="" if file_id else NOT_A_FILE)
    try:
        read = caller.call(lambda client: client.files.with_raw_response.retrieve(file_id or NO_FILE))
        yield _verdict(READ_FILES, read, harmless=ABSENT)
    finally:
        deleted = remove_file(caller, file_id or NO_FILE)
    check = _verdict(DELETE_FILES, deleted, harmless=ABSENT)
    left = f"; file {file_id!r} is left at OpenAI, delete it there" if file_id and check.outcome == "failed" else ""
    yield Check(check.name, check.outcome, check.text + left)


def upload(caller: Caller, data: bytes = LINE) -> Reply:
    """Upload a file for a batch; if the answer is lost, the file is looked for and deleted."""
    name = FILE_NAME.format(uuid.uuid4().hex)
    uploaded = caller.call(
        lambda client: client.files.with_raw_response.create(file=(name, data), purpose="batch"),
    )
    if not uploaded.text_of("id") and not uploaded.is_refusal:
        listed = caller.call(
            lambda client: client.files.with_raw_response.list(purpose="batch", limit=RECENT, order="desc"),
            despite_deadline=True,
        )
        for file in listed.listed:
            if file.get("filename") == name:
                remove_file(caller, str(file.get("id")))
    return uploaded


def remove_file(caller: Caller, file_id: str) -> Reply:
    """Delete a file."""
    return caller.call(lambda client: client.files.with_raw_response.delete(file_id), despite_deadline=True)


def _create_nothing(client: openai.OpenAI) -> Any:
    # With an unknown file OpenAI creates a batch, which then fails and stays on its list. Without one it creates none.
    body = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return client.post("/batches", cast_to=object, body=body)


def _verdict(name: str, reply: Reply, *, harmless: Collection[int] = (), missing: str = "") -> Check:
    problem = problem_with(reply, harmless=harmless) or missing
    return failed(name, problem) if problem else passed(name, "allowed")
