"""The task that sends one message to a model."""

from __future__ import annotations

import copy
import functools
from typing import Any

from flytekit import kwtypes
from flytekit.configuration import SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.extend.backend.base_connector import Resource, SyncConnectorExecutorMixin

from flytekitplugins.openai._client import close_clients
from flytekitplugins.openai._flyte import beside_running_loop

from .connector import TIMEOUT_SECONDS
from .conversation import check_config, check_timeout

__all__ = ["ChatGPTTask"]


class ChatGPTTask(SyncConnectorExecutorMixin, PythonTask[dict[str, Any]]):
    """Sends a message to a model by the connector, and returns its text: `message: str -> o0: str`.

    Args:
        name: Name of the task.
        chatgpt_config: Arguments of the chat completion, `model` among them. Its `messages`, such as a system prompt,
            come before the message; its `timeout` is for each try to get an answer.
        openai_organization: The organization to ask for; the key's own by default.
        openai_project: The project to ask for; the key's own by default.
        timeout_seconds: How long the answer may take, with all tries to get it. Flyte cancels a call to a connector
            after 10 s; for more, the operator sets
            `plugins.connector-service.defaultConnector.timeouts: [{ExecuteTaskSync: 60s}]` in FlytePropeller's
            configuration (a list: Flyte does not find the name in a map), and the task a little less.
        **kwargs: Anything else that flytekit's `PythonTask` takes.

    Raises:
        ValueError: `chatgpt_config` has no model, asks for a stream, or cannot be sent; `timeout_seconds` is not a
            positive number.
    """

    _TASK_TYPE = "chatgpt"
    _INTERFACE = Interface(inputs=kwtypes(message=str), outputs=kwtypes(o0=str))

    def __init__(
        self,
        name: str,
        chatgpt_config: dict[str, Any],
        openai_organization: str | None = None,
        *,
        openai_project: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        **kwargs: Any,
    ) -> None:
        check_config(chatgpt_config)
        check_timeout(timeout_seconds)
        # As in the published package, whose users may read it.
        task_config = {"openai_organization": openai_organization, "chatgpt_config": copy.deepcopy(chatgpt_config)}
        super().__init__(
            name=name, task_type=self._TASK_TYPE, interface=self._INTERFACE, task_config=task_config, **kwargs
        )
        self._more: dict[str, Any] = {}
        if openai_project:
            self._more["openai_project"] = openai_project
        if timeout_seconds != TIMEOUT_SECONDS:
            self._more["timeout_seconds"] = timeout_seconds

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:  # noqa: ARG002
        """What the connector reads from the template."""
        return {**copy.deepcopy(self.task_config or {}), **self._more}

    def execute(self, **kwargs: Any) -> Any:
        """What flytekit does in a local run, also in a notebook."""
        return beside_running_loop(functools.partial(super().execute, **kwargs))

    async def _do(self, *args: Any, **kwargs: Any) -> Resource:
        """What flytekit does in a local run; nobody else closes the connections of its loop."""
        try:
            return await super()._do(*args, **kwargs)
        finally:
            await close_clients()
