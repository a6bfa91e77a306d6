"""Deletes the input files of a task that failed for good, where the task asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from .api import RemoteBatches

__all__ = ["delete_input_files"]

# A part of what a call has.
SECONDS = 3.0

logger = logging.getLogger("flytekitplugins.openai")


async def delete_input_files(remote: RemoteBatches, file_ids: Sequence[str], *, name: str) -> None:
    """Delete the uploaded files of a task. It never raises: what cannot be deleted is logged, and stays for 30 days.

    Args:
        remote: The account.
        file_ids: The files.
        name: The task's name for the log.
    """
    deletions = [asyncio.create_task(remote.delete_file(file_id)) for file_id in file_ids]
    if not deletions:
        return
    done, pending = await asyncio.wait(deletions, timeout=SECONDS)
    for deletion in pending:
        deletion.cancel()
    errors = [error for deletion in done if (error := deletion.exception()) is not None]
    if errors or pending:
        reason = errors[0] if errors else "OpenAI did not answer in time."
        left = len(errors) + len(pending)
        logger.warning("%s: %s of %s files at OpenAI were not deleted: %s", name, left, len(deletions), reason)
