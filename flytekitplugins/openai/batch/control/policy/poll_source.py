"""Decides whether a poll is answered from a page of OpenAI's list, or by looking up its batch."""

from __future__ import annotations

from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot

from .batch_phase import FAILED, RUNNING, SUCCEEDED, is_live

__all__ = ["is_behind", "is_page_cheaper", "needs_no_look_up"]

# What a page costs in look-ups, as an estimate: it is one call, too, with the bytes of a hundred.
PAGE_COST_IN_LOOK_UPS = 3
# How far a batch has come, by its status.
STAGES = {status: stage for stage, status in enumerate(RUNNING)} | dict.fromkeys((*SUCCEEDED, *FAILED), len(RUNNING))


def is_page_cheaper(polls: int) -> bool:
    """Whether a page of the list costs less than the look-ups of so many polls, which it would answer."""
    return polls > PAGE_COST_IN_LOOK_UPS


def needs_no_look_up(listed: BatchSnapshot) -> bool:
    """Whether a poll may be answered with a batch as the list shows it.

    Whatever follows from the end of a batch is decided by the batch itself, because the list leaves out parts of some.
    """
    return bool(listed.status) and (is_live(listed) or listed.status in RUNNING)


def is_behind(listed: BatchSnapshot, seen: BatchSnapshot) -> bool:
    """Whether the list shows a batch as it was before it was seen, or with less: it is cached, or leaves out parts."""
    return (
        _comes_before(listed.status, seen.status)
        or listed.total < seen.total
        or listed.completed < seen.completed
        or listed.failed < seen.failed
    )


def _comes_before(status: str, other: str) -> bool:
    """Whether a batch has one status before it has the other; of a status that is not OpenAI's, nobody knows."""
    return status in STAGES and other in STAGES and STAGES[status] < STAGES[other]
