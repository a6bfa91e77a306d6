import asyncio

import openai
import pytest

from flytekitplugins.openai import _client
from flytekitplugins.openai._client import Account, async_client, platform_url
from flytekitplugins.openai._credentials import APIKey
from flytekitplugins.openai.emulator import CallFault
from tests.builders import run

ACCOUNT = Account(APIKey("sk-secret", "secret 'team/key'"))


def test_client_is_kept_for_the_next_call(emulator):
    """A client costs 17 ms of CPU for its TLS context."""

    async def call():
        return async_client(ACCOUNT) is async_client(ACCOUNT)

    assert run(call)


def test_accounts_share_one_connection_pool(emulator):
    """The TLS context belongs to the pool, and is made once."""

    async def call():
        other = async_client(Account(APIKey("sk-other", "another secret")))
        return async_client(ACCOUNT)._client is other._client  # noqa: SLF001 (there is no public way to ask)

    assert run(call)


def test_accounts_do_not_share_a_key(emulator):
    """Each call carries the key, organization and project of its own account."""

    async def call():
        for name in ("a", "b"):
            account = Account(APIKey(f"sk-{name}", "a secret"), f"org-{name}", f"proj-{name}")
            await async_client(account).batches.list()

    run(call)
    seen = [(c.key, c.headers["openai-organization"], c.headers["openai-project"]) for c in emulator.calls]
    assert seen == [("sk-a", "org-a", "proj-a"), ("sk-b", "org-b", "proj-b")]


def test_polls_one_after_the_other_use_one_connection(emulator):
    """Opening one costs a round trip, and in production a TLS handshake."""

    async def call():
        for _ in range(5):
            await async_client(ACCOUNT).batches.list()

    run(call)
    assert len({call.connection for call in emulator.calls}) == 1


def test_connection_is_kept_until_the_next_poll(emulator, monkeypatch):
    """Flyte polls a task every 30 seconds."""
    assert _client.KEEP_ALIVE_SECONDS > 30
    monkeypatch.setattr(_client, "KEEP_ALIVE_SECONDS", 0.5)

    async def call():
        for pause in (0, 0, 0.8):
            await asyncio.sleep(pause)
            await async_client(ACCOUNT).batches.list()

    run(call)
    first, second, third = (call.connection for call in emulator.calls)
    assert first == second != third


def test_slow_calls_do_not_hold_up_a_poll(emulator):
    """Models may take their time, however many are asked."""
    emulator.order(CallFault(path="/v1/chat/completions", delay=60, times=None))

    async def call():
        client = async_client(ACCOUNT)
        ask = client.chat.completions.create
        asked = [asyncio.create_task(ask(model="m", messages=[])) for _ in range(_client.MAX_KEPT_CONNECTIONS + 10)]
        listed = await asyncio.ensure_future(client.batches.list())
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return listed.data

    assert run(call) == []


def test_each_event_loop_has_a_client_of_its_own(emulator):
    """flytekit runs several loops, and a client breaks on any but its first."""

    async def call():
        await async_client(ACCOUNT).batches.list()

    run(call)
    run(call)
    assert [call.status for call in emulator.calls] == [200, 200]


def test_clients_of_closed_loops_are_forgotten(emulator):
    """A process that makes many loops does not keep them all."""

    async def call():
        async_client(ACCOUNT)

    for _ in range(3):
        asyncio.run(call())
    closed = [loop for loop in _client._clients if loop.is_closed()]  # noqa: SLF001 (it is what is tested)
    assert len(closed) == 1
    run(call)


def test_number_of_kept_clients_is_bounded(emulator, monkeypatch):
    """Keys rotate, and the service runs for months; those in use are kept."""
    monkeypatch.setattr(_client, "MAX_CLIENTS", 3)

    async def call():
        first = async_client(ACCOUNT)
        for number in range(10):
            async_client(Account(APIKey(f"sk-{number}", "a secret")))
            assert async_client(ACCOUNT) is first
        return len(_client._clients[asyncio.get_running_loop()].by_account)  # noqa: SLF001

    assert run(call) == 3


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_empty_variable_sends_no_header(emulator, monkeypatch, name):
    """The SDK would send an empty header, which OpenAI refuses."""
    monkeypatch.setenv(name, "")

    async def call():
        await async_client(ACCOUNT).batches.list()

    run(call)
    assert not {"openai-organization", "openai-project"} & set(emulator.calls[0].headers)


def test_account_without_a_project_is_the_environments(emulator, monkeypatch):
    """An operator sets them for tasks that name none."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env")

    async def call():
        await async_client(ACCOUNT).batches.list()

    run(call)
    [seen] = emulator.calls
    assert (seen.headers["openai-organization"], seen.headers["openai-project"]) == ("org-env", "proj-env")


def test_empty_base_url_is_openais_own(monkeypatch):
    """An empty variable is how Kubernetes manifests say nothing."""
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert platform_url("batch_1") == "https://platform.openai.com/batches/batch_1"


@pytest.mark.parametrize("url", ["https://eu.api.openai.com/v1", "https://api.openai.com/v1"])
def test_batch_has_a_page_on_openais_platform(monkeypatch, url):
    """Data residency has hosts of its own, and the same platform."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert platform_url("batch_1") == "https://platform.openai.com/batches/batch_1"


@pytest.mark.parametrize("batch_id", ["../../evil", "a?b=c#d", "a b"])
def test_link_leads_to_the_page_of_a_batch_alone(monkeypatch, batch_id):
    """Whatever a server calls it."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    prefix, _, last = platform_url(batch_id).rpartition("/")
    assert prefix == "https://platform.openai.com/batches"
    assert not set("?# ") & set(last)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8089/v1", "https://example.com/openai.com", "https://notopenai.com"])
def test_batch_of_another_server_has_no_page(monkeypatch, url):
    """A link that leads nowhere is worse than none."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert platform_url("batch_1") is None


@pytest.mark.skipif(
    tuple(map(int, openai.__version__.split(".")[:2])) < (2, 34), reason="openai 2.34 began to read the variable"
)
def test_custom_headers_of_the_environment_are_sent(emulator, monkeypatch):
    """A gateway gets its headers with each call, one a line of `OPENAI_CUSTOM_HEADERS`."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: blue\nX-Team: search")

    async def call():
        await async_client(ACCOUNT).batches.list()

    run(call)
    (seen,) = emulator.calls
    assert (seen.headers["x-gateway"], seen.headers["x-team"]) == ("blue", "search")
