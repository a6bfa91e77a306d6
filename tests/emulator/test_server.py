import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import openai
import pytest

from flytekitplugins.openai.emulator import CallFault, Emulator
from flytekitplugins.openai.emulator.clock import Clock

from .builders import call, make_lines, results, run, submit, upload


def test_emulators_do_not_share(emulator, client, sdk):
    """Two emulators at a time have addresses, batches and clocks of their own."""
    submit(client)
    with Emulator() as other:
        other.advance(3_600)
        assert sdk.with_options(base_url=other.base_url).batches.list().data == []
        assert other.base_url != emulator.base_url
        assert other.now() > emulator.now() + 3_000


def test_emulator_answers_until_its_context_ends(sdk):
    """After its context an emulator is not there any more."""
    with Emulator() as emulator:
        client = sdk.with_options(base_url=emulator.base_url)
        client.batches.list()
    with pytest.raises(openai.APIConnectionError):
        client.batches.list()


def test_emulator_stops_at_once(sdk):
    """Leaving the context takes no time, even with a connection open and a call waiting for 60 s."""
    with Emulator() as emulator:
        client = sdk.with_options(base_url=emulator.base_url)
        emulator.order(CallFault(delay=60, path="/v1/files"))
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.05).files.list()
        client.batches.list()
        started = time.monotonic()
    assert time.monotonic() - started < 5


def test_emulator_can_be_stopped_twice():
    """Stopping what has stopped does nothing."""
    emulator = Emulator()
    emulator.start()
    emulator.stop()
    emulator.stop()


def test_emulator_listens_where_it_is_reported():
    """A port can be chosen; the address says it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Emulator(port=port) as emulator:
        assert emulator.base_url == f"http://127.0.0.1:{port}/v1"
        assert call(emulator, "GET", "/v1/batches").status == 200


def test_taken_port_is_an_error(tmp_path, monkeypatch):
    """An emulator that cannot listen says so, and leaves no directory behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Emulator() as first:
        port = int(first.base_url.removesuffix("/v1").rpartition(":")[2])
        with pytest.raises(OSError, match="Address already in use"):
            Emulator(port=port).start()
        assert len(list(tmp_path.iterdir())) == 1


def test_unknown_setting_is_an_error(tmp_path, monkeypatch):
    """A setting that does not exist is refused by name, before anything is begun."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(TypeError, match="'speed'"):
        Emulator(speed=3)


def test_environment_is_what_a_client_reads(emulator):
    """The environment of an emulator is its address and some key."""
    assert emulator.environment == {"OPENAI_BASE_URL": emulator.base_url, "OPENAI_API_KEY": "sk-emulator"}


def test_many_clients_at_once(emulator, sdk):
    """Uploads, batches, lists and deletions from many threads do not disturb each other."""
    client, barrier = sdk.with_options(base_url=emulator.base_url), threading.Barrier(8)

    def work(number):
        barrier.wait()
        batch = run(client, make_lines(10), metadata={"worker": str(number)})
        output, _ = results(client, batch)
        client.files.list()
        client.files.delete(batch.input_file_id)
        return len(output)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [10] * 8
    assert {batch.metadata["worker"] for batch in client.batches.list()} == {str(number) for number in range(8)}


def test_lists_hold_while_files_come_in(emulator, sdk):
    """Listing files while others are uploading sees each either wholly or not at all."""
    client, barrier = sdk.with_options(base_url=emulator.base_url), threading.Barrier(4)

    def work(act):
        barrier.wait()
        for _ in range(15):
            act(client)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [upload, upload, lambda client: client.files.list(), lambda client: client.files.list()]))
    files = client.files.list().data
    assert len({file.id for file in files}) == 30


def test_clock_runs_by_itself():
    """Unless it is frozen, the emulator's time is the machine's."""
    assert abs(Clock().now() - time.time()) < 5


def test_reset_emulator_is_as_new(emulator, client):
    """One emulator can serve many tests without what one leaves to the next."""
    run(client)
    emulator.change(validating=5)
    emulator.order(CallFault(status=500, times=None))
    emulator.advance(3_600)
    emulator.reset()
    assert emulator.calls == []
    assert client.batches.list().data == client.files.list().data == []
    assert emulator.settings.validating == 0
    assert abs(emulator.now() - time.time()) < 5


def test_ids_are_not_used_again_after_a_reset(emulator, client):
    """A client that still asks for an old batch must not be told of a new one."""
    before = run(client)
    emulator.reset()
    assert run(client).id != before.id


def test_frozen_clock_stands():
    """A frozen clock moves only when it is advanced."""
    clock = Clock()
    clock.freeze()
    stopped = clock.now()
    assert clock.now() == stopped
    clock.advance(10)
    assert clock.now() == stopped + 10


def test_thawed_clock_goes_on_from_where_it_stood():
    """Thawing makes no jump, neither back nor forward, however long the clock stood."""
    clock = Clock()
    clock.advance(3_600)
    clock.freeze()
    clock.freeze()
    stopped = clock.now()
    time.sleep(0.2)
    clock.thaw()
    clock.thaw()
    assert 0 <= clock.now() - stopped < 0.2


def test_clock_cannot_be_turned_back():
    """Time only goes forward."""
    with pytest.raises(ValueError, match=r"^a clock can only be advanced; got -1 seconds$"):
        Clock().advance(-1)


def test_environment_leads_past_a_proxy(emulator, monkeypatch):
    """Requests of a test are nobody else's, and what the machine already reaches directly stays so."""
    assert set(emulator.environment) == {"OPENAI_BASE_URL", "OPENAI_API_KEY"}
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intern.example")
    assert emulator.environment["NO_PROXY"] == emulator.environment["no_proxy"] == "intern.example,127.0.0.1"


def test_answers_are_dated(emulator):
    """By the emulator's clock, as everything else that it says."""
    emulator.advance(86_400)
    date = parsedate_to_datetime(call(emulator, "GET", "/v1/batches").headers["date"])
    assert date.timestamp() == int(emulator.now())
