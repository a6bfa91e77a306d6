import http.client
import time

import openai
import pytest

from flytekitplugins.openai.emulator import CallFault

from .builders import call, make_line, make_lines, run, submit, upload


def statuses(emulator, count, *, method="GET", path="/v1/batches"):
    """What so many calls are answered."""
    return [call(emulator, method, path).status for _ in range(count)]


def test_fault_strikes_once(emulator):
    """By default, the next call goes wrong and the one after it does not."""
    emulator.order(CallFault(status=503))
    assert statuses(emulator, 3) == [503, 200, 200]


def test_fault_strikes_so_many_times(emulator):
    """`times` calls go wrong."""
    emulator.order(CallFault(status=503, times=2))
    assert statuses(emulator, 3) == [503, 503, 200]


def test_fault_can_strike_every_time(emulator):
    """Without `times` a fault goes on until it is cleared."""
    emulator.order(CallFault(status=503, times=None))
    assert statuses(emulator, 3) == [503, 503, 503]
    emulator.clear_faults()
    assert statuses(emulator, 1) == [200]


def test_fault_lets_calls_pass_first(emulator):
    """`skip` calls pass unharmed before the fault strikes."""
    emulator.order(CallFault(status=503, skip=2))
    assert statuses(emulator, 4) == [200, 200, 503, 200]


def test_fault_lasts_so_long(emulator):
    """A fault of so many seconds is over by the emulator's clock."""
    emulator.order(CallFault(status=503, times=None, seconds=10))
    emulator.advance(9)
    assert statuses(emulator, 1) == [503]
    emulator.advance(1)
    assert statuses(emulator, 1) == [200]


def test_faults_strike_one_after_the_other(emulator):
    """Of several faults the one ordered first is used up first."""
    emulator.order(CallFault(status=500), CallFault(status=429), CallFault(status=503))
    assert statuses(emulator, 4) == [500, 429, 503, 200]


@pytest.mark.parametrize(
    ("aim", "struck"),
    [
        ({"method": "GET"}, [503, 503, 503, 404]),
        ({"path": "/v1/batches"}, [503, 200, 404, 404]),
        ({"path": "/v1/batches/*"}, [200, 200, 503, 503]),
        ({"path": "/v1/*/unknown"}, [200, 200, 503, 404]),
        ({"method": "POST", "path": "/v1/batches/*/cancel"}, [200, 200, 404, 503]),
    ],
)
def test_fault_strikes_what_it_is_meant_for(emulator, aim, struck):
    """Method and path choose the calls, with `*` for any part."""
    emulator.order(CallFault(status=503, times=None, **aim))
    calls = [
        ("GET", "/v1/batches"),
        ("GET", "/v1/files"),
        ("GET", "/v1/batches/unknown"),
        ("POST", "/v1/batches/unknown/cancel"),
    ]
    assert [call(emulator, method, path).status for method, path in calls] == struck


def test_fault_answers_in_openais_envelope(emulator, client):
    """A status comes with the error code and the message that were ordered."""
    emulator.order(CallFault(status=400, code="billing_hard_limit_reached", message="no money"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.list()
    assert caught.value.body == {
        "message": "no money",
        "type": "invalid_request_error",
        "param": None,
        "code": "billing_hard_limit_reached",
    }


@pytest.mark.parametrize(
    ("status", "kind"), [(404, "invalid_request_error"), (429, "rate_limit_error"), (502, "server_error")]
)
def test_type_follows_from_the_status(emulator, status, kind):
    """The `type` of an error is that of its HTTP status (platform.openai.com/docs/guides/error-codes)."""
    emulator.order(CallFault(status=status))
    assert call(emulator, "GET", "/v1/batches").error["type"] == kind


def test_fault_can_carry_headers(emulator):
    """Headers are added to the answer, or take the place of its own."""
    emulator.order(CallFault(status=429, headers={"Retry-After": "7", "Content-Type": "text/plain"}))
    headers = call(emulator, "GET", "/v1/batches").headers
    assert (headers["retry-after"], headers.get_all("content-type")) == ("7", ["text/plain"])


def test_fault_can_answer_any_text(emulator):
    """A body takes the place of the JSON document, as a proxy's error page would."""
    emulator.order(CallFault(status=502, body="<h1>Bad Gateway</h1>"))
    reply = call(emulator, "GET", "/v1/batches")
    assert (reply.status, reply.body) == (502, b"<h1>Bad Gateway</h1>")


def test_body_alone_is_a_success(emulator):
    """A body without a status is answered as 200."""
    emulator.order(CallFault(body="{}"))
    assert call(emulator, "GET", "/v1/batches").json == {}


def test_refused_creation_did_not_happen(emulator, client):
    """A fault with a status does nothing but answer."""
    file = upload(client)
    emulator.order(CallFault(method="POST", status=500))
    with pytest.raises(openai.InternalServerError):
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.list().data == []


def test_dropped_creation_did_not_happen(emulator, client):
    """A connection dropped before the work leaves nothing behind."""
    emulator.order(CallFault(path="/v1/batches", drop=True))
    with pytest.raises(openai.APIConnectionError):
        submit(client)
    assert client.batches.list().data == []


@pytest.mark.parametrize("fault", [CallFault(after_work=True), CallFault(after_work=True, drop=True)])
def test_creation_with_a_lost_reply_did_happen(emulator, client, fault):
    """After the work only the reply is lost: the batch is there, though nobody was told."""
    file = upload(client)
    emulator.order(fault)
    with pytest.raises(openai.APIConnectionError):
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert [batch.input_file_id for batch in client.batches.list()] == [file.id]


def test_creation_with_a_wrong_reply_did_happen(emulator, client):
    """After the work the reply can be replaced: an error is answered for a batch that is there."""
    emulator.order(CallFault(path="/v1/batches", after_work=True, status=504))
    with pytest.raises(openai.InternalServerError):
        submit(client)
    assert len(client.batches.list().data) == 1


def test_drop_closes_one_connection_only(emulator, client):
    """Other connections go on as if nothing had happened."""
    before = client.batches.list()
    emulator.order(CallFault(drop=True))
    with pytest.raises(http.client.RemoteDisconnected):
        call(emulator, "GET", "/v1/batches")
    assert client.batches.list().data == before.data
    assert emulator.calls[0].connection == emulator.calls[2].connection


def test_delay_holds_a_call_up(emulator):
    """A delayed call is answered as ever, later."""
    emulator.order(CallFault(delay=0.05))
    started = time.monotonic()
    assert statuses(emulator, 1) == [200]
    assert time.monotonic() - started >= 0.05


def test_delayed_call_can_time_out(emulator, client):
    """A client that does not wait for so long gives up; the call after it is on time."""
    emulator.order(CallFault(delay=60))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.05).batches.list()
    assert client.batches.list().data == []


def test_delayed_creation_did_not_happen_in_time(emulator, client):
    """A delay comes before the work: after a client's timeout nothing has been done."""
    file = upload(client)
    emulator.order(CallFault(delay=60))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.05).batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    assert client.batches.list().data == []


def test_delayed_creation_happens_even_when_nobody_waits(emulator, client):
    """A server that is slow has read the request all the same, and may make a batch that its client gave up."""
    file = upload(client)
    emulator.order(CallFault(method="POST", path="/v1/batches", delay=0.2))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.05).batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    ends_at = time.monotonic() + 10
    while not client.batches.list().data and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert len(client.batches.list().data) == 1


def test_delay_after_work_holds_the_reply_up(emulator, client):
    """A delay after the work lets a client time out on a batch that it does have."""
    file = upload(client)
    emulator.order(CallFault(delay=60, after_work=True))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    assert len(client.batches.list().data) == 1


def test_large_upload_is_read_before_it_is_refused(emulator, client):
    """A fault does not cut off a client that is still sending."""
    emulator.order(CallFault(status=503))
    with pytest.raises(openai.InternalServerError):
        client.files.create(file=("requests.jsonl", b" " * 8_000_000), purpose="batch")


def test_large_upload_is_read_before_its_connection_drops(emulator):
    """A dropped call looks to its client as if only the reply had failed to come."""
    emulator.order(CallFault(drop=True))
    with pytest.raises(http.client.RemoteDisconnected):
        call(emulator, "POST", "/v1/files", body=b" " * 8_000_000)


@pytest.fixture
def output(client):
    """The path of an output file's content, and the bytes of it."""
    batch = run(client, make_lines(10))
    return f"/v1/files/{batch.output_file_id}/content", client.files.content(batch.output_file_id).read()


@pytest.mark.parametrize("count", [0, 1, 100])
def test_truncated_download_breaks_off(emulator, output, count):
    """A download that is cut announces its whole length, so that the client can tell."""
    path, whole = output
    emulator.order(CallFault(path="*/content", truncate=count))
    with pytest.raises(http.client.IncompleteRead) as caught:
        call(emulator, "GET", path)
    assert (caught.value.partial, caught.value.expected) == (whole[:count], len(whole) - count)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_download_without_a_length_is_cut_unnoticed(emulator, output, count):
    """Without a Content-Length the cut looks like the end, as users have seen."""
    path, whole = output
    emulator.order(CallFault(path="*/content", truncate=count, hide_length=True))
    reply = call(emulator, "GET", path)
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, whole[:count], None)


def test_large_download_is_cut_anywhere(emulator, client):
    """A file that is sent in many pieces is cut at the byte that was said."""
    file = upload(client, [make_line(content="x" * 400_000)])
    emulator.order(CallFault(path="*/content", truncate=300_000, hide_length=True))
    assert len(call(emulator, "GET", f"/v1/files/{file.id}/content").body) == 300_000


def test_download_shorter_than_the_cut_is_whole(emulator, output):
    """A cut beyond the end takes nothing away."""
    path, whole = output
    emulator.order(CallFault(path="*/content", truncate=len(whole) + 1, hide_length=True))
    assert call(emulator, "GET", path).body == whole


def test_download_after_a_truncated_one_is_whole(emulator, client, output):
    """The file itself is not touched."""
    path, whole = output
    emulator.order(CallFault(path="*/content", truncate=1))
    with pytest.raises(openai.APIConnectionError):
        client.files.content(path.split("/")[3])
    assert call(emulator, "GET", path).body == whole


def test_truncated_creation_did_happen(emulator, client):
    """Any answer can be cut; the work behind it is done."""
    file = upload(client)
    emulator.order(CallFault(path="/v1/batches", truncate=10, after_work=True))
    creation = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    with pytest.raises(http.client.IncompleteRead) as caught:
        call(emulator, "POST", "/v1/batches", body=creation)
    assert len(caught.value.partial) == 10
    assert len(client.batches.list().data) == 1


def test_call_faults_leave_the_control_of_time_alone(emulator):
    """However many calls go wrong, the emulator itself still obeys."""
    emulator.order(CallFault(drop=True, times=None))
    before = emulator.now()
    emulator.advance(5)
    assert emulator.now() == before + 5
