"""The connector for `chatgpt` tasks: one call of Flyte's, in which a model is asked and answers."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import ConnectorRegistry, Resource, SyncConnectorBase
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate

from flytekitplugins.openai._arguments import call_arguments
from flytekitplugins.openai._client import Account, async_client, call_timeout
from flytekitplugins.openai._credentials import find_api_key, scope_of
from flytekitplugins.openai._errors import explained
from flytekitplugins.openai._logs import log_as_asked
from flytekitplugins.openai._metrics import call_to_openai, count_failure, count_from_zero
from flytekitplugins.openai._text import one_line
from flytekitplugins.openai.exceptions import (
    InvalidInputError,
    OpenAIPluginError,
    PassingError,
    RefusedError,
    UnavailableError,
)

from .conversation import (
    UNPAID_CODES,
    NoTextError,
    chat_request,
    check_config,
    check_timeout,
    seconds_to_pause,
    text_of,
)

__all__ = ["TIMEOUT_SECONDS", "ChatGPTConnector"]

# Not flytekit's, which `pyflyte` silences unless it is told `--verbose`.
logger = logging.getLogger("flytekitplugins.openai")

# Flyte cancels the call after 10 s, unless it is set otherwise; one that ends by itself before that can still say why.
TIMEOUT_SECONDS = 9.0
# As a list, because Flyte writes the keys of a map small, and then looks for this one as it is.
FLYTES_SETTING = "plugins.connector-service.defaultConnector.timeouts: [{ExecuteTaskSync: 60s}]"


class ChatGPTConnector(SyncConnectorBase):
    """Sends a message to a model, and answers with what it says."""

    name = "ChatGPT Connector"

    def __init__(self) -> None:
        super().__init__(task_type_name="chatgpt")

    async def do(  # type: ignore[override]  # flytekit's verbs are plain functions of other arguments
        self, task_template: TaskTemplate, inputs: LiteralMap | None = None, **_kwargs: Any
    ) -> Resource:
        """The model's text as `o0`; or why there is none, in a sentence.

        What Flyte may try again is RETRYABLE_FAILED, and what would be refused again FAILED. An exception would reach
        Flyte's console as a traceback, and be tried again whatever it is.
        """
        # The time runs from here, because the first call also has the SDK to import.
        started_at = asyncio.get_running_loop().time()
        log_as_asked()
        count_from_zero()
        try:
            return Resource(TaskExecution.SUCCEEDED, outputs={"o0": await _answer(task_template, inputs, started_at)})
        except OpenAIPluginError as error:
            count_failure("failed_questions", reason=error.reason)
            logger.warning("task %r: %s", task_template.id.name, one_line(str(error)), extra=_log_fields(task_template))
            phase = TaskExecution.RETRYABLE_FAILED if _may_pass(error) else TaskExecution.FAILED
            return Resource(phase, message=str(error))


async def _answer(template: TaskTemplate, inputs: LiteralMap | None, started_at: float) -> str:
    """The model's answer to a task's message.

    Raises:
        InvalidInputError: The task was given no message, or its config cannot be sent.
        MissingAPIKeyError: The service has no key.
        RefusedError: OpenAI refuses the key or the request, or the model answers without a text.
        UnavailableError: OpenAI was not reached, was not able to answer, or not in time.
    """
    custom = template.custom or {}
    config, seconds = _checked(custom)
    request = chat_request(config, _message(inputs))
    # flytekit tells a connector of this kind of no execution, only which task it is.
    scope = scope_of(template.id.project, template.id.domain)
    account = Account.of(
        find_api_key(None, in_connector=True, scope=scope),
        organization=custom.get("openai_organization"),
        project=custom.get("openai_project"),
        scope=scope,
    )
    return await _Call(account, request, seconds=seconds, ends_at=started_at + seconds).until_answered()


def _log_fields(template: TaskTemplate) -> dict[str, str]:
    """Which task a line of the log is about; flytekit does not tell which execution."""
    return {"project": template.id.project, "domain": template.id.domain, "task": template.id.name}


def _may_pass(error: OpenAIPluginError) -> bool:
    return isinstance(error, PassingError) and not _is_unpaid(error)


def _is_unpaid(error: OpenAIPluginError) -> bool:
    return error.answer is not None and error.answer.code in UNPAID_CODES


class _Call:
    """A request that is retried after temporary failures until its time is over. Times are those of the event loop."""

    def __init__(self, account: Account, request: dict[str, Any], *, seconds: float, ends_at: float) -> None:
        self._account = account
        self._request = request
        self._seconds = seconds
        self._ends_at = ends_at
        self._longest = request.get("timeout") or math.inf
        self._doing = f"ask model {request['model']!r}"

    async def until_answered(self) -> str:
        failures: list[UnavailableError] = []
        while True:
            seconds = min(self._left, self._longest)
            try:
                return await self._once(seconds)
            except UnavailableError as error:
                # A request that timed out may have been billed, and would take as long again.
                if error.reason == "timeout":
                    raise self._too_late(seconds, after=failures) from None
                if _is_unpaid(error):
                    raise
                failures.append(error)
                retry_after = error.answer.retry_after if error.answer is not None else None
                pause = seconds_to_pause(len(failures), retry_after=retry_after)
                if pause >= self._left:
                    raise
            await asyncio.sleep(pause)

    async def _once(self, seconds: float) -> str:
        with explained(self._account, self._doing, permission="chat completions"):
            create = async_client(self._account).chat.completions.create
            arguments = {**call_arguments(self._request, create), "timeout": call_timeout(seconds)}
            try:
                # The SDK's timeout is for each part of an answer, of which there may be many.
                with call_to_openai("chat.completions.create"):
                    answer = await asyncio.wait_for(create(**arguments), seconds)
            except asyncio.TimeoutError:
                raise UnavailableError(f"Could not {self._doing} in time.", reason="timeout") from None
        try:
            return text_of(answer, secret=self._account.api_key.value)
        except NoTextError as error:
            sentence = f"Model {self._request['model']!r} returned no text: {error}."
            raise RefusedError(sentence, reason="no_text") from None

    @property
    def _left(self) -> float:
        return self._ends_at - asyncio.get_running_loop().time()

    def _too_late(self, seconds: float, *, after: list[UnavailableError]) -> UnavailableError:
        is_own = seconds == self._longest
        allowed, remedy = (
            (self._longest, "raise the timeout of the chatgpt_config")
            if is_own
            else (self._seconds, f"raise the task's timeout_seconds, and above it Flyte's {FLYTES_SETTING}")
        )
        sentence = (
            f"Could not {self._doing}: OpenAI did not answer within {allowed:g} seconds; if it needs longer, {remedy}."
        )
        before = f" The previous call failed: {after[-1]}" if after else ""
        return UnavailableError(f"{sentence}{before}", reason="timeout")


def _checked(custom: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """A task's config and how many seconds it has, from its `custom`."""
    config, seconds = custom.get("chatgpt_config") or {}, custom.get("timeout_seconds", TIMEOUT_SECONDS)
    try:
        check_config(config)
        check_timeout(seconds)
    except ValueError as error:
        raise InvalidInputError(str(error)) from None
    return config, seconds


def _message(inputs: LiteralMap | None) -> str:
    literal = inputs.literals.get("message") if inputs is not None else None
    message = literal.scalar.primitive.string_value if literal is not None else None
    if message is None:
        raise InvalidInputError("The ChatGPT task has no message.")
    return str(message)


ConnectorRegistry.register(ChatGPTConnector())
