import openai
import pytest

from flytekitplugins.openai.emulator import CallFault, Emulator

from .builders import call, submit

KEY = "sk-very-secret"


def test_calls_are_recorded_in_order(emulator, client):
    """Every call is there, in the order they came in."""
    batch = submit(client)
    client.batches.retrieve(batch.id)
    assert [(seen.method, seen.path) for seen in emulator.calls] == [
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("GET", f"/v1/batches/{batch.id}"),
    ]


def test_call_has_its_query(emulator):
    """A call's query is distinguished from its path."""
    call(emulator, "GET", "/v1/batches?limit=5&after=")
    assert (emulator.calls[0].path, emulator.calls[0].query) == ("/v1/batches", {"limit": "5", "after": ""})


def test_call_has_its_headers(emulator, client):
    """Headers are there by their names in lower case."""
    client.batches.list(extra_headers={"X-Stainless-Test": "Yes"})
    assert emulator.calls[0].headers["x-stainless-test"] == "Yes"


@pytest.mark.parametrize("status", [200, 404, 503])
def test_call_has_its_status(emulator, status):
    """A call tells what it was answered, by the API or by a fault."""
    if status == 503:
        emulator.order(CallFault(status=503))
    call(emulator, "GET", "/v1/batches/unknown" if status == 404 else "/v1/batches")
    assert emulator.calls[0].status == status


def test_dropped_call_has_no_status(emulator, client):
    """A call that was never answered is recorded with no status."""
    emulator.order(CallFault(drop=True))
    with pytest.raises(openai.APIConnectionError):
        client.batches.list()
    assert [seen.status for seen in emulator.calls] == [None]


def test_call_has_its_key(emulator):
    """A test can see which key was used."""
    call(emulator, "GET", "/v1/batches", key=KEY)
    assert emulator.calls[0].key == KEY


@pytest.mark.parametrize("sent", [{"authorization": f"Bearer {KEY}"}, {"authorization": KEY}, {"api-key": KEY}])
def test_key_is_not_passed_on(emulator, sent):
    """A key shows neither in the repr of a call, which tests print, nor in what goes to other processes."""
    call(emulator, "GET", "/v1/batches", headers=sent, key="")
    seen = emulator.calls[0]
    assert KEY not in repr(seen)
    assert KEY not in str(seen.to_dict())


def test_call_has_its_connection(emulator):
    """Calls of one client share a connection; another client has another."""
    parameters = {"base_url": emulator.base_url, "api_key": "sk-test", "max_retries": 0}
    for _ in range(2):
        with openai.OpenAI(**parameters) as client:
            client.batches.list()
            client.batches.list()
    first, again, other, other_again = (seen.connection for seen in emulator.calls)
    assert first == again != other == other_again


def test_callback_sees_each_call_once_it_is_answered():
    """`on_call` is told of every call with its status, dropped and failing ones too."""
    seen = []
    with Emulator(on_call=lambda one: seen.append((one.path, one.status))) as emulator:
        emulator.order(CallFault(path="/v1/files", status=500))
        call(emulator, "GET", "/v1/batches")
        call(emulator, "GET", "/v1/files")
    assert seen == [("/v1/batches", 200), ("/v1/files", 500)]
