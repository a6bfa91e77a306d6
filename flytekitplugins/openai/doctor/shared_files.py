"""Whether the connector's key sees the files that the upload step's key uploads."""

from __future__ import annotations

import time

from .caller import Caller
from .findings import Check, failed, passed
from .permissions import NOT_A_FILE, remove_file, upload
from .reply import Reply, problem_with

__all__ = ["SAME_FILES", "check_same_files"]

SAME_FILES = "same files"
# A new file may be invisible for a moment, to its own key too.
LOOKS = 5
PAUSE_SECONDS = 1.0


def check_same_files(uploader: Caller, connector: Caller) -> Check:
    """Upload a file with one key, look it up with the other, and delete it."""
    uploaded = upload(uploader)
    file_id = uploaded.text_of("id")
    if not file_id:
        problem = problem_with(uploaded) or NOT_A_FILE
        return failed(SAME_FILES, f"could not upload with the upload step's key: {problem}")
    try:
        found = _look_up(connector, file_id)
    finally:
        deleted = remove_file(uploader, file_id)
    left = "" if deleted.is_success else f"; file {file_id!r} is left at OpenAI, delete it there"
    if found.status == 404:
        text = (
            "the connector's key does not see what the upload step's key uploads; give both steps keys of the same "
            "project"
        )
        return failed(SAME_FILES, text + left)
    problem = problem_with(found)
    if problem:
        return failed(SAME_FILES, f"could not look up with the connector's key: {problem}{left}")
    if left:
        return failed(SAME_FILES, f"could not delete with the upload step's key: {problem_with(deleted)}{left}")
    return passed(SAME_FILES, "the connector's key sees what the upload step's key uploads")


def _look_up(connector: Caller, file_id: str) -> Reply:
    for _ in range(LOOKS - 1):
        found = connector.call(lambda client: client.files.with_raw_response.retrieve(file_id))
        if found.status != 404:
            return found
        time.sleep(PAUSE_SECONDS)
    return connector.call(lambda client: client.files.with_raw_response.retrieve(file_id))
