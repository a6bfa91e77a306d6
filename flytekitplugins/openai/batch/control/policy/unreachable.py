"""How long a task goes on while OpenAI is unreachable, and which phase to report meanwhile."""

from __future__ import annotations

from flytekitplugins.openai.batch.control.state.phase import Phase, PhaseInfo
from flytekitplugins.openai.batch.control.state.poll_state import Outage
from flytekitplugins.openai.batch.control.state.snapshot import WINDOW_SECONDS
from flytekitplugins.openai.batch.control.state.task_spec import TaskSpec

__all__ = ["GRACE_SECONDS", "assumed_phase", "phase_while_unreachable"]

# Grace period after the completion window before an unreachable batch is declared lost. Batches have ended late.
GRACE_SECONDS = 2 * 3600.0
# How long OpenAI may answer 404 for a batch: time for a person to correct a key that was rotated wrongly.
LOST_BATCH_SECONDS = 2 * 3600.0
# How long OpenAI may answer 404 for a new input file.
LOST_FILE_SECONDS = 600.0
# How long a local run retries its first submission while OpenAI is unreachable. It is short: a person is watching.
UNREACHED_SECONDS = 60.0
# A file of the largest size is validated within minutes.
VALIDATION_SECONDS = 600.0


def phase_while_unreachable(outage: Outage, *, last: PhaseInfo | None, now: float) -> PhaseInfo:
    """The phase of a task while OpenAI is unreachable: the last known one, until a deadline passes.

    Args:
        outage: Why OpenAI is unreachable, and since when.
        last: The phase and message of the last successful poll.
        now: Unix seconds.
    """
    not_found_for = now - outage.not_found_since if outage.not_found_since is not None else 0.0
    if not_found_for >= (LOST_BATCH_SECONDS if outage.submitted else LOST_FILE_SECONDS):
        return PhaseInfo(Phase.FAILED, f"Gave up after {_duration(not_found_for)}. {outage.reason}")
    unreached_for = now - outage.unreached_since if outage.unreached_since is not None else 0.0
    if unreached_for >= UNREACHED_SECONDS:
        return PhaseInfo(Phase.FAILED, f"Gave up after {_duration(unreached_for)}. {outage.reason}")
    # A process that has never seen the batch assumes that it is as young as possible.
    ends_at = outage.window_ends_at if outage.window_ends_at is not None else outage.since + WINDOW_SECONDS
    if now >= ends_at + GRACE_SECONDS:
        waited = f"{_duration(now - outage.since)}, after the end of the batch's completion window"
        return PhaseInfo(Phase.FAILED, f"Gave up after {waited}. {outage.reason}")
    if not outage.submitted:
        return PhaseInfo(Phase.WAITING_FOR_RESOURCES, f"Not submitted yet; will retry. {outage.reason}")
    # That a task has succeeded is said once, with its result: `create` may have found it so.
    phase = last.phase if last is not None and not last.phase.is_terminal else outage.assumed_phase
    last_seen = f" Last seen: {last.message}." if last is not None and last.message else ""
    return PhaseInfo(phase, f"{outage.reason}{last_seen}")


def assumed_phase(spec: TaskSpec, *, now: float) -> Phase:
    """The phase of a task whose batches this process has never seen."""
    is_young = spec.created_at is not None and now - spec.created_at < VALIDATION_SECONDS
    return Phase.INITIALIZING if spec.shards is not None and is_young else Phase.RUNNING


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} hours"
