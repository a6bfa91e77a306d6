"""Calls OpenAI with one key, once and briefly, and takes any reply for an answer."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

from flytekitplugins.openai._client import STORED_NAMES, Account, call_timeout, shown_url, sync_client
from flytekitplugins.openai._text import tidied

from .reply import KeySettings, Reply

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_module("openai")

__all__ = ["Caller", "Deadline"]

# Long for one call; each check makes one or two.
CALL_SECONDS = 10.0
LONGEST_REASON = 200
CHECK_NETWORK = "check OPENAI_BASE_URL, network, DNS, proxy and certificates"
CHECK_URL = "check the proxy and OPENAI_BASE_URL"


class Deadline:
    """When the doctor stops to ask."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends_at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then."""
        return self._ends_at - time.monotonic()


class Caller:
    """One key's calls, over one client.

    Args:
        account: The key, and its organization and project.
        deadline: After which nothing is asked.
        clients: Closes the client at the end.
        is_connectors: Whether the connector uses the key, which reads a variable at its start.
    """

    def __init__(self, account: Account, deadline: Deadline, clients: ExitStack, *, is_connectors: bool = True) -> None:
        self._account = account
        self._deadline = deadline
        self._clients = clients
        self._client: openai.OpenAI | None = None
        self._is_connectors = is_connectors

    def call(self, request: Callable[[openai.OpenAI], Any], *, despite_deadline: bool = False) -> Reply:
        """The reply to one call.

        Args:
            request: Makes it, and returns the raw response of the SDK, or the JSON.
            despite_deadline: It cleans up, and is made in any case.
        """
        left = CALL_SECONDS if despite_deadline else self._deadline.left()
        seconds = min(CALL_SECONDS, left)
        too_late = Reply(trouble=f"the time for all checks, {self._deadline.seconds:g} seconds, was up; run this again")
        if seconds <= 0:
            return too_late
        try:
            client = self._client = self._client or self._new_client()
        except (OSError, ValueError, ImportError) as error:
            # A proxy of a kind that is not known, or a file of certificates that is not there.
            return Reply(trouble=f"no client could be made ({error}); check HTTPS_PROXY and SSL_CERT_FILE")
        client.timeout = call_timeout(seconds)
        started = time.monotonic()
        try:
            answer = request(client)
        except openai.APIStatusError as error:
            return self._refusal(error, time.monotonic() - started)
        except (openai.OpenAIError, ValueError) as error:
            is_late = isinstance(error, openai.APITimeoutError) and left < CALL_SECONDS
            return too_late if is_late else Reply(trouble=self._trouble(error))
        return _answer(answer, time.monotonic() - started)

    def without_deadline(self) -> Caller:
        """The same for something that takes its own time; each call ends as soon as before."""
        return Caller(self._account, Deadline(math.inf), self._clients, is_connectors=self._is_connectors)

    def _new_client(self) -> openai.OpenAI:
        return self._clients.enter_context(sync_client(self._account, call_seconds=CALL_SECONDS))

    def _trouble(self, error: Exception) -> str:
        if isinstance(error, openai.APITimeoutError):
            return f"{shown_url()} did not answer within {CALL_SECONDS:g} seconds; {CHECK_NETWORK}"
        if isinstance(error, openai.APIConnectionError):
            reason = tidied(_innermost(error), secret=self._account.api_key.value, longest=LONGEST_REASON)
            return f"no connection to {shown_url()} ({reason}); {CHECK_NETWORK}"
        return f"the answer of {shown_url()} could not be read ({type(error).__name__}); {CHECK_URL}"

    def _refusal(self, error: openai.APIStatusError, seconds: float) -> Reply:
        body = error.body
        message = body.get("message") if isinstance(body, Mapping) else body
        return Reply(
            status=error.status_code,
            body=body,
            code=str(error.code) if error.code else None,
            message=tidied(message, secret=self._account.api_key.value) if isinstance(message, str) else "",
            headers=error.response.headers,
            seconds=seconds,
            settings=self._settings(),
        )

    def _settings(self) -> KeySettings:
        settings = KeySettings() if self._is_connectors else KeySettings(afterwards="")
        scope = self._account.scope
        if not scope.project:
            return settings
        names = {what: f"the secret {scope.secret(name)}" for what, name in STORED_NAMES.items()}
        return replace(settings, **names)


def _answer(answer: Any, seconds: float) -> Reply:
    response = getattr(answer, "http_response", None)
    if response is None:
        return Reply(status=200, body=answer, seconds=seconds)
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = response.text
    return Reply(status=response.status_code, body=body, headers=response.headers, seconds=seconds)


def _innermost(error: BaseException) -> str:
    """The cause at the bottom: DNS, a refused connection, a certificate."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__
