"""Submits, polls and cancels the batches of tasks, each within one call of Flyte's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import find_api_key
from flytekitplugins.openai._metrics import watch_tasks
from flytekitplugins.openai._secret_names import SecretName
from flytekitplugins.openai.exceptions import (
    OpenAIPluginError,
    PassingError,
    RefusedBatchError,
    RefusedError,
    UnavailableError,
)

from .batches_api import BatchesAPI
from .cancellation import BackgroundCancellations
from .cleanup import delete_input_files
from .failure_log import Subject, log_batch_errors, log_recovery, log_waiting, record_failure, sentence_of
from .live_tasks import LiveTasks
from .observer import Observer
from .policy.retry_policy import backoff_seconds, input_file_is_invisible, is_final_refusal, is_rate_limited
from .policy.task_phase import task_phase
from .policy.task_plan import TaskPlan
from .policy.unreachable import assumed_phase, phase_while_unreachable
from .reconciler import Reconciler
from .state.phase import Phase, PhaseInfo
from .state.poll_state import Outage, PollState, PollStates
from .state.snapshot import BatchSnapshot
from .state.task_spec import TaskSpec
from .task_call import TaskCall

__all__ = ["PollResult", "TaskController"]

# Flyte cancels a call after 10 s. One that ends by itself before that can still say why.
BUDGET_SECONDS = 8.0

T = TypeVar("T")


@dataclass(frozen=True)
class PollResult:
    """What a poll found out.

    Attributes:
        info: The task's phase and message.
        batch_ids: Its current batches.
        plan: The state of its batches; `None` if OpenAI could not be polled.
    """

    info: PhaseInfo
    batch_ids: Sequence[str]
    plan: TaskPlan | None = None


class TaskController:
    """The tasks that this process submits, polls and cancels."""

    def __init__(self) -> None:
        self._states = PollStates()
        self._cancellations = BackgroundCancellations()
        self._live_tasks = LiveTasks(self._states)
        watch_tasks(self._live_tasks)

    async def submit(self, spec: TaskSpec) -> str:
        """Submit the task's batches, unless it has them; returns the id of the first one, "" if there is none yet.

        A task without an idempotency key is submitted once: nothing would find its batch again.

        Raises:
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key or the request.
            UnavailableError: A task without a key could not be submitted; a batch may have been created even so.
        """
        account = _account(spec)
        if spec.key is None:
            request = spec.request or {}
            doing = f"create a batch from file {request['input_file_id']!r}"
            return (await _within_budget(BatchesAPI(account).create(request), doing)).id
        if spec.local:
            # A local run creates a task once. Another one may have had its output prefix, as in tests.
            self._states.forget(spec.unique_name)
        now = time.time()
        state = self._states.of(spec.unique_name, now=now)
        call = TaskCall(BatchesAPI(account), spec, state, now)
        try:
            plan = await _within_budget(Reconciler(call).submit(), "submit the batch")
        except (PassingError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.reason != "404" and not spec.tolerant:
                raise
            record_failure("submission_failures", error, task=spec)
            return ""
        info = task_phase(plan, spec, started=state.has_started, now=time.time())
        state.record(plan.by_file(spec.files), info)
        first = plan.shards[0].batch if plan.shards else None
        return first.id if first is not None else ""

    async def poll(self, spec: TaskSpec) -> PollResult:
        """The task's phase, after its batches have been reconciled with what it asks for. Never raises."""
        now = time.time()
        state = self._states.of(spec.unique_name, now=now)
        ids = state.batch_ids or ([spec.batch_id] if spec.batch_id else [])
        if state.outage is not None and now < state.backoff_until:
            info = phase_while_unreachable(state.outage, last=state.last_info, now=now)
            state.note_answer(info.phase, now=now)
            return PollResult(info, ids)
        doing = f"look up batch {', '.join(map(repr, ids[:3]))}" if ids else "submit the batch"
        try:
            result = await _within_budget(self._reconcile(spec, state, now=now), doing)
        except Exception as error:  # noqa: BLE001 (Flyte stops polling a task after its sixth error)
            result = PollResult(_tolerated(error, spec, state, now=now), ids)
        else:
            if state.outage is not None:
                log_recovery(task=spec, seconds=now - state.outage.since)
            state.outage = None
        if result.info.phase.is_terminal:
            self._states.forget(spec.unique_name)
        state.note_answer(result.info.phase, now=now)
        return result

    async def cancel(self, spec: TaskSpec) -> list[str]:
        """Cancel the task's batches; returns the ids of those that will stop.

        Raises:
            MissingAPIKeyError: The service has no key.
            RefusedError: OpenAI refuses the key.
            UnavailableError: OpenAI was not reached, or did not answer in time.
        """
        stopped = await _within_budget(Reconciler(self._call(spec)).cancel(), "cancel the task's batches")
        self._states.forget(spec.unique_name)
        return stopped

    async def cancel_or_retry(self, spec: TaskSpec) -> None:
        """Cancel the task's batches; what fails is retried in the background. Never raises."""
        try:
            await self.cancel(spec)
        except Exception as error:  # noqa: BLE001 (Flyte would fail round after round of the workflow)
            record_failure("cancel_failures", error, task=spec)
            self._cancellations.start(spec, lambda: self.cancel(spec))

    async def current_batches(self, spec: TaskSpec) -> list[BatchSnapshot]:
        """The task's current batches, as they are now.

        Raises:
            OpenAIPluginError: OpenAI could not be asked, or there is no batch yet.
        """
        current = await _within_budget(Observer(self._call(spec)).current_batches(), "look up the task's batches")
        if not current:
            raise UnavailableError("The task has no batch yet.")
        return list(current.values())

    async def delete_files(self, spec: TaskSpec, file_ids: Sequence[str], *, task: Subject) -> None:
        """Delete the input files of a task that was refused, as far as that is possible. Never raises."""
        try:
            await delete_input_files(BatchesAPI(_account(spec)), file_ids, task=task)
        except OpenAIPluginError:
            # The refusal says it.
            return

    def _call(self, spec: TaskSpec) -> TaskCall:
        now = time.time()
        return TaskCall(BatchesAPI(_account(spec)), spec, self._states.of(spec.unique_name, now=now), now)

    async def _reconcile(self, spec: TaskSpec, state: PollState, *, now: float) -> PollResult:
        account = _account(spec)
        plan = await Reconciler(TaskCall(BatchesAPI(account), spec, state, now)).reconcile()
        info = task_phase(plan, spec, started=state.has_started, now=now)
        if info.phase in (Phase.FAILED, Phase.RETRYABLE_FAILED):
            log_batch_errors(plan.batches, task=spec)
        if info.phase is Phase.FAILED:
            if spec.delete_files:
                uploaded = [file_id for file_id in spec.files if file_id not in spec.reused]
                await delete_input_files(BatchesAPI(account), uploaded, task=spec)
            info = _with_key_used(info, plan, account)
        if plan.waiting and not state.waiting:
            log_waiting(plan.waiting, task=spec)
        state.record(plan.by_file(spec.files), info)
        state.waiting, state.enqueued_tokens = plan.waiting, plan.enqueued_tokens(spec.contents)
        return PollResult(info, [batch.id for batch in plan.batches], plan)


def _tolerated(error: Exception, spec: TaskSpec, state: PollState, *, now: float) -> PhaseInfo:
    """The phase of a task whose poll failed; the outage is noted in its state.

    Args:
        error: Why the poll failed.
        spec: What the task asks for.
        state: What is known of it.
        now: Unix seconds.
    """
    answer = error.answer if isinstance(error, OpenAIPluginError) else None
    if isinstance(error, RefusedBatchError) and is_final_refusal(answer.status if answer else None):
        return PhaseInfo(Phase.FAILED, sentence_of(error))
    previous, submitted = state.outage, bool(spec.batch_id or state.batch_ids)
    is_not_found = answer is not None and answer.status == 404
    is_unreached = (
        spec.local
        and not submitted
        and not state.may_have_unknown_batch
        and isinstance(error, UnavailableError)
        and not error.was_sent
    )
    state.outage = Outage(
        sentence_of(error),
        since=previous.since if previous else now,
        not_found_since=((previous and previous.not_found_since) or now) if is_not_found else None,
        window_ends_at=state.window_ends_at,
        submitted=submitted,
        assumed_phase=previous.assumed_phase if previous else assumed_phase(spec, now=now),
        unreached_since=((previous and previous.unreached_since) or now) if is_unreached else None,
    )
    last = state.last_info
    is_waiting = not submitted or (last is not None and last.phase is Phase.WAITING_FOR_RESOURCES)
    if is_waiting and answer is not None and is_rate_limited(answer.status, answer.code):
        state.back_off(until=now + backoff_seconds(state.refusals + 1, retry_after=answer.retry_after))
    metric = "poll_failures" if submitted else "submission_failures"
    record_failure(metric, error, task=spec, first=previous is None)
    return phase_while_unreachable(state.outage, last=last, now=now)


def _with_key_used(info: PhaseInfo, plan: TaskPlan, account: Account) -> PhaseInfo:
    """The phase of a failed task; if OpenAI did not find an input file, its message says which key was used."""
    if not any(s.batch and not s.wrongly_not_found and input_file_is_invisible(s.batch) for s in plan.shards):
        return info
    project = f", project {account.project!r}" if account.project else ""
    hint = (
        f"The batch was created with the key from {account.api_key.source}{project}; a file is visible only to keys of "
        "the project it was uploaded to: give the upload step and the batch step keys of the same project."
    )
    return replace(info, message=f"{info.message.removesuffix('.')}. {hint}")


def _account(spec: TaskSpec) -> Account:
    scope = spec.key_scope
    key = find_api_key(SecretName.from_custom(spec.secret_arg), in_connector=True, scope=scope)
    return Account.of(key, organization=spec.openai_org, project=spec.openai_project, scope=scope)


async def _within_budget(call: Awaitable[T], doing: str) -> T:
    try:
        return await asyncio.wait_for(call, BUDGET_SECONDS)
    except asyncio.TimeoutError:
        raise UnavailableError(f"Could not {doing}: OpenAI did not answer in time.", reason="timeout") from None
