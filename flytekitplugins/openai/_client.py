"""The one place where a client of OpenAI's SDK is made, kept and closed."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from flytekit import lazy_module

from ._answers import ENCODINGS, read_guarded, stay_on_host
from ._credentials import APIKey, scoped_value
from ._secret_names import COMMON, KeyScope
from .exceptions import InvalidInputError

if TYPE_CHECKING:
    import openai
else:
    # flytekit imports every plugin at its start, and the SDK would add half a second to each `pyflyte`.
    openai = lazy_module("openai")

__all__ = [
    "Account",
    "async_client",
    "call_timeout",
    "came_over_http",
    "close_clients",
    "platform_url",
    "shown_url",
    "sync_client",
]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
# The secrets beside a Flyte project's key.
STORED_NAMES = {"organization": "FLYTE_OPENAI_ORG_ID", "project": "FLYTE_OPENAI_PROJECT_ID"}
# Flyte polls each task every 30 s; the default keep-alive of 5 s would mean a new connection for each poll.
KEEP_ALIVE_SECONDS = 60.0
MAX_KEPT_CONNECTIONS = 100
# More than are kept, because calls of slow models must not block a poll; and half of the 1,024 files that a process may
# have open by default, because the service needs some for itself.
MAX_CONNECTIONS = 500
# Of each account that is in use one is needed, and with it the list of its batches.
MAX_CLIENTS = 256
# Flyte cancels a call to the connector after 10 s, in which ours may have to ask OpenAI more than once.
CALL_SECONDS = 3.5
CALL_CONNECT_SECONDS = 2.0
# The share of a call's time for connecting; otherwise the call would end before it could say that it never connected.
CALL_CONNECT_SHARE = 0.9
# The next poll retries, not the SDK: that would wait as long as a Retry-After says, up to two minutes, and the call
# would end before it could report the answer.
CALL_RETRIES = 0
# A container has time: 200 MB may take minutes.
TRANSFER_SECONDS = 600.0
TRANSFER_CONNECT_SECONDS = 10.0
TRANSFER_RETRIES = 5


@dataclass(frozen=True)
class Account:
    """An account at OpenAI: a key, and optionally an organization and a project.

    Attributes:
        api_key: The key.
        organization: OpenAI's organization.
        project: OpenAI's project.
        scope: Whose key it is. The environment's organization and project are those of the common key.
    """

    api_key: APIKey
    organization: str | None = None
    project: str | None = None
    scope: KeyScope = COMMON

    @classmethod
    def of(cls, api_key: APIKey, *, organization: str | None, project: str | None, scope: KeyScope = COMMON) -> Account:
        """The account that a task names. Empty names count as none, and white space around them is removed.

        Args:
            api_key: The key.
            organization: OpenAI's organization, if the task names one.
            project: OpenAI's project, in the same way.
            scope: Whose key it is; with a Flyte project's, what is stored beside it is used for what the task does not
                name.

        Raises:
            InvalidInputError: A name cannot be sent, because it has other characters than a header may have.
        """
        names = {"organization": (organization or "").strip(), "project": (project or "").strip()}
        if scope.project:
            names = {what: name or scoped_value(STORED_NAMES[what], scope) or "" for what, name in names.items()}
        for what, name in names.items():
            if not name.isascii() or not name.isprintable():
                raise InvalidInputError(f"{name!r} cannot be the name of an OpenAI {what}; check it for a typo.")
        return cls(api_key, names["organization"] or None, names["project"] or None, scope)


@dataclass
class _LoopClients:
    """The clients of one event loop: one connection pool under one client for each account.

    Attributes:
        http_client: The pool.
        fresh_http_client: Another one, which keeps no connection; made when it is needed.
        by_account: The clients.
    """

    http_client: Any
    fresh_http_client: Any = None
    by_account: OrderedDict[tuple[Account, str], openai.AsyncOpenAI] = field(default_factory=OrderedDict)


# A client must only be used on the loop that its connections were made on; otherwise the SDK fails with a bare
# "Event loop is closed", or hangs.
_clients: dict[asyncio.AbstractEventLoop, _LoopClients] = {}


def async_client(account: Account, *, fresh: bool = False) -> openai.AsyncOpenAI:
    """The client for `account` on the running event loop, made once and kept.

    Making one costs 17 ms for its TLS context, on the event loop; so all accounts of a loop share one.

    Args:
        account: Whose client.
        fresh: Make a new connection for each call.
    """
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        for closed in [known for known in _clients if known.is_closed()]:
            del _clients[closed]
        _clients[loop] = _LoopClients(_http_client(kept_connections=MAX_KEPT_CONNECTIONS))
    kept = _clients[loop]
    key = (account, _base_url())
    client = kept.by_account.get(key)
    if client is None:
        client = openai.AsyncOpenAI(
            api_key=account.api_key.value,
            base_url=_base_url(),
            max_retries=CALL_RETRIES,
            timeout=call_timeout(CALL_SECONDS),
            http_client=kept.http_client,
        )
        _set_account(client, account)
        kept.by_account[key] = client
        if len(kept.by_account) > MAX_CLIENTS:
            kept.by_account.popitem(last=False)
    kept.by_account.move_to_end(key)
    if not fresh:
        return client
    if kept.fresh_http_client is None:
        kept.fresh_http_client = _http_client(kept_connections=0)
    client = client.with_options(http_client=kept.fresh_http_client)
    _set_account(client, account)
    return client


def _http_client(*, kept_connections: int) -> Any:
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=kept_connections,
        keepalive_expiry=KEEP_ALIVE_SECONDS,
    )
    return openai.DefaultAsyncHttpxClient(
        limits=limits,
        headers={"Accept-Encoding": ", ".join(ENCODINGS)},
        event_hooks={"response": [read_guarded]},
    )


def call_timeout(seconds: float) -> openai.Timeout:
    """The timeout of a call that may take this long; connecting may take a part of it."""
    return openai.Timeout(seconds, connect=min(CALL_CONNECT_SECONDS, CALL_CONNECT_SHARE * seconds))


async def close_clients() -> None:
    """Close the connections of the running event loop."""
    kept = _clients.pop(asyncio.get_running_loop(), None)
    if kept is not None:
        await kept.http_client.aclose()
        if kept.fresh_http_client is not None:
            await kept.fresh_http_client.aclose()


@contextmanager
def sync_client(account: Account, *, call_seconds: float | None = None) -> Iterator[openai.OpenAI]:
    """A client of its own for a file step, closed at the end.

    Args:
        account: Whose client.
        call_seconds: Send each call once, and wait so long for the answer; `None`: with a container's patience.
    """
    with openai.OpenAI(
        api_key=account.api_key.value,
        base_url=_base_url(),
        max_retries=TRANSFER_RETRIES if call_seconds is None else CALL_RETRIES,
        timeout=openai.Timeout(TRANSFER_SECONDS, connect=TRANSFER_CONNECT_SECONDS)
        if call_seconds is None
        else call_timeout(call_seconds),
        # Without the other guard: files are streamed to the disk.
        http_client=openai.DefaultHttpxClient(event_hooks={"response": [stay_on_host]}),
    ) as client:
        _set_account(client, account)
        yield client


def came_over_http(response: object) -> bool:
    """Whether a reply came from a server, and not from a mock of the SDK in a user's test."""
    return isinstance(getattr(response, "headers", None), Mapping)


def platform_url(batch_id: str) -> str | None:
    """The page about a batch on OpenAI's platform; `None` when the server is another."""
    host = urlsplit(_base_url()).hostname or ""
    if host == "openai.com" or host.endswith(".openai.com"):
        return f"https://platform.openai.com/batches/{quote(batch_id, safe='')}"
    return None


def _base_url() -> str:
    """From the operator's environment alone: a task that set it could send the operator's key anywhere."""
    return os.environ.get("OPENAI_BASE_URL", "").strip() or DEFAULT_BASE_URL


def shown_url() -> str:
    """The base URL without a password or query, which may hold a key."""
    parts = urlsplit(_base_url())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _set_account(client: openai.AsyncOpenAI | openai.OpenAI, account: Account) -> None:
    # Not through the constructor: None stands for the environment's value there, and "" sends an empty header.
    common = os.environ if account.scope.project is None else {}
    client.organization = account.organization or common.get("OPENAI_ORG_ID", "").strip() or None
    client.project = account.project or common.get("OPENAI_PROJECT_ID", "").strip() or None
