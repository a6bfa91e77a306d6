import json
from types import SimpleNamespace

import openai
import pytest

from flytekitplugins.openai import _client, _errors
from flytekitplugins.openai._client import Account, async_client
from flytekitplugins.openai._credentials import APIKey
from flytekitplugins.openai._errors import explained
from flytekitplugins.openai.emulator import CallFault
from flytekitplugins.openai.exceptions import RefusedError, UnavailableError
from tests.builders import run, start_deaf_listener

ACCOUNT = Account(APIKey("sk-secret", "secret 'team/key'"))


def retrieve(emulator, fault=None, *, account=ACCOUNT):
    """What a look-up that fails is explained as."""
    if fault is not None:
        emulator.order(fault)

    async def call():
        with explained(account, "look up batch 'batch_1'"):
            await async_client(account).batches.retrieve("batch_1")

    with pytest.raises((RefusedError, UnavailableError)) as raised:
        run(call)
    return raised.value


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_named_by_its_secret(emulator, status):
    """The server's words are left out, because they repeat part of the key."""
    error = retrieve(emulator, CallFault(status=status, code="invalid_api_key", message="Incorrect: sk-sec***et"))
    assert isinstance(error, RefusedError)
    assert str(error) == (
        f"Could not look up batch 'batch_1': OpenAI refused the key from secret 'team/key' ({status} invalid_api_key); "
        "check that it is valid, and allowed for Files and Batches."
    )


def test_refused_key_is_reported_with_its_organization_and_project(emulator):
    """The key may be valid, but not for that organization or project."""
    account = Account(ACCOUNT.api_key, "org-1", "proj-1")
    error = retrieve(emulator, CallFault(status=401), account=account)
    assert "the key from secret 'team/key', organization 'org-1', project 'proj-1' (401)" in str(error)


def test_answer_that_takes_too_long_may_pass(emulator, monkeypatch):
    """Slow is not wrong."""
    monkeypatch.setattr(_client, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(_client, "CALL_RETRIES", 0)
    error = retrieve(emulator, CallFault(delay=5))
    assert isinstance(error, UnavailableError)
    assert str(error) == "Could not look up batch 'batch_1': OpenAI did not answer in time."


@pytest.mark.parametrize("status", [400, 404, 422])
def test_refused_request_is_final(emulator, status):
    """The same request would be refused again."""
    error = retrieve(emulator, CallFault(status=status, code="some_code", message="It is wrong."))
    assert isinstance(error, RefusedError)
    assert str(error) == f"Could not look up batch 'batch_1': OpenAI refused ({status} some_code: It is wrong)."


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_refusal_for_now_may_pass(emulator, status):
    """These statuses speak of the moment, not of the request."""
    error = retrieve(emulator, CallFault(status=status, message="Busy.", times=None))
    assert isinstance(error, UnavailableError)
    assert str(error) == f"Could not look up batch 'batch_1': OpenAI is unavailable ({status}: Busy)."


def test_dropped_connection_may_pass(emulator):
    """The network is not OpenAI's answer."""
    error = retrieve(emulator, CallFault(drop=True, times=None))
    assert isinstance(error, UnavailableError)
    assert str(error).startswith(f"Could not look up batch 'batch_1': no connection to {emulator.base_url} (")


def test_connection_that_is_not_made_in_time_is_no_slow_answer(emulator, monkeypatch):
    """The SDK calls both a timeout, and what to do about them is not the same."""
    monkeypatch.setattr(_client, "CALL_CONNECT_SECONDS", 0.05)
    with start_deaf_listener() as base_url:
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
        error = retrieve(emulator)
    assert str(error) == f"Could not look up batch 'batch_1': no connection to {base_url} (ConnectTimeout)."
    assert error.reason == "connection"


def test_secrets_of_the_base_url_are_not_shown(monkeypatch):
    """A proxy's password is the operator's, and so is a key in the query."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:secret@127.0.0.1:9/v1?api-key=secret#secret")
    monkeypatch.setattr(_client, "CALL_RETRIES", 0)

    async def call():
        with explained(ACCOUNT, "look up batch 'batch_1'"):
            await async_client(ACCOUNT).batches.retrieve("batch_1")

    with pytest.raises(UnavailableError, match=r"no connection to http://127\.0\.0\.1:9/v1 \(") as raised:
        run(call)
    assert "secret" not in str(raised.value)


def test_document_that_breaks_off_may_pass(emulator):
    """A proxy that fails in the middle leaves half a document."""
    error = retrieve(emulator, CallFault(body='{"id": "batch_1", '))
    assert isinstance(error, UnavailableError)
    assert str(error).startswith("Could not look up batch 'batch_1': the response could not be read (")


def test_key_in_the_servers_words_is_masked(emulator):
    """Some compatible servers repeat what they were sent."""
    error = retrieve(emulator, CallFault(status=400, message="bad header Bearer sk-secret"))
    assert str(error) == "Could not look up batch 'batch_1': OpenAI refused (400: bad header Bearer ***)."


@pytest.mark.parametrize("status", [400, 401, 429])
def test_key_in_the_servers_code_is_masked(emulator, status):
    """Wherever a server repeats it."""
    error = retrieve(emulator, CallFault(status=status, code="no sk-secret", message="No."))
    assert f"({status} no ***" in str(error)
    assert "sk-secret" not in f"{error} {error.answer}"


def test_words_of_a_server_are_cut(emulator):
    """Flyte's console is not for pages, and a key at the cut would be half a key."""
    words = "x" * 990 + "sk-secret" + "y" * 5_000
    error = retrieve(emulator, CallFault(status=400, code="c" * 500, message=words))
    assert str(error) == (
        f"Could not look up batch 'batch_1': OpenAI refused (400 {'c' * 99}\u2026: {'x' * 990}***{'y' * 6}\u2026)."
    )


def test_code_may_be_a_number(emulator):
    """Some gateways repeat the status there."""
    body = json.dumps({"error": {"code": 502, "message": "upstream"}})
    error = retrieve(emulator, CallFault(status=400, body=body))
    assert str(error) == "Could not look up batch 'batch_1': OpenAI refused (400 502: upstream)."
    assert error.answer.code == "502"


def test_page_in_place_of_an_error_is_left_out(emulator):
    """A gateway's HTML is not a sentence."""
    body = json.dumps("<html>Bad Gateway</html>")
    error = retrieve(emulator, CallFault(status=502, body=body, times=None))
    assert str(error) == "Could not look up batch 'batch_1': OpenAI is unavailable (502)."


@pytest.mark.parametrize(("header", "seconds"), [("30", 30.0), ("1.5", 1.5), ("soon", None), ("", None)])
def test_answer_tells_when_to_ask_again(emulator, header, seconds):
    """OpenAI says so in seconds."""
    error = retrieve(emulator, CallFault(status=429, code="rate_limit_exceeded", headers={"Retry-After": header}))
    assert (error.answer.status, error.answer.code) == (429, "rate_limit_exceeded")
    assert error.answer.retry_after == seconds


def test_full_queue_may_pass_even_as_a_400(emulator):
    """Azure refuses at once what OpenAI lets fail in validation."""
    error = retrieve(emulator, CallFault(status=400, code="token_limit_exceeded"))
    assert isinstance(error, UnavailableError)


def test_every_status_error_of_the_sdk_is_explained(emulator):
    """A new class of errors in the SDK has a status, and so a meaning."""
    for kind in openai.APIStatusError.__subclasses__():
        status = getattr(kind, "status_code", 500)
        with pytest.raises((RefusedError, UnavailableError)):
            raise _errors._explanation(make_status_error(kind, status), ACCOUNT, "test", "tests")  # noqa: SLF001


def make_status_error(kind, status):
    error = kind.__new__(kind)
    error.status_code, error.code, error.body = status, None, None
    error.response = SimpleNamespace(headers={})
    return error
