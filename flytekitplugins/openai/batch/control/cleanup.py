"""Deletes the input files of a task that failed for good, where the task asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .batches_api import BatchesAPI
from .failure_log import Subject, log_left_files

__all__ = ["delete_input_files"]

# A part of a call's time.
SECONDS = 3.0


async def delete_input_files(api: BatchesAPI, file_ids: Sequence[str], *, task: Subject) -> None:
    """Delete the uploaded files of a task. Never raises.

    A file that cannot be deleted is logged; OpenAI keeps it for 30 days.

    Args:
        api: The account's.
        file_ids: The files.
        task: Whose they are, for the log.
    """
    deletions = [asyncio.create_task(api.delete_file(file_id)) for file_id in file_ids]
    if not deletions:
        return
    done, pending = await asyncio.wait(deletions, timeout=SECONDS)
    for deletion in pending:
        deletion.cancel()
    errors = [error for deletion in done if (error := deletion.exception()) is not None]
    if errors or pending:
        reason = str(errors[0]) if errors else "OpenAI did not answer in time."
        left = len(errors) + len(pending)
        log_left_files(left, len(deletions), reason, task=task)
