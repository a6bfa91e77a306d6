import pytest

from flytekitplugins.openai.emulator import BatchFault, RequestFault

from .builders import counts, make_line, make_lines, results, run, submit, upload


def test_next_batch_fails(emulator, client):
    """An ordered batch fault is the one error of the next batch."""
    emulator.order(BatchFault(code="token_limit_exceeded", message="try again later", line=3, param="body.model"))
    batch = run(client)
    error = {"code": "token_limit_exceeded", "message": "try again later", "line": 3, "param": "body.model"}
    assert (batch.status, [one.to_dict() for one in batch.errors.data]) == ("failed", [error])


def test_batch_can_fail_without_a_code(emulator, client):
    """An error of a batch can have no code, as users have seen."""
    emulator.order(BatchFault())
    assert run(client).errors.data[0].to_dict() == {
        "code": None,
        "message": "ordered by the test",
        "line": None,
        "param": None,
    }


def test_batch_fault_counts_batches(emulator, client):
    """Times and skip count batches as they validate."""
    emulator.order(BatchFault(skip=1, times=2))
    assert [run(client).status for _ in range(4)] == ["completed", "failed", "failed", "completed"]


def test_batch_fault_lasts_so_long(emulator, client):
    """A batch fault of so many seconds is over by the emulator's clock."""
    emulator.order(BatchFault(times=None, seconds=10))
    emulator.advance(9)
    assert run(client).status == "failed"
    emulator.advance(1)
    assert run(client).status == "completed"


def test_batch_fault_strikes_one_input_file(emulator, client):
    """A batch fault can be meant for the batches of one file."""
    good, bad = upload(client), upload(client)
    emulator.order(BatchFault(input_file_id=bad.id, times=None))
    found = {}
    for file in (good, bad):
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        found[file.id] = client.batches.retrieve(batch.id).status
    assert found == {good.id: "completed", bad.id: "failed"}


def test_batch_fault_does_not_strike_the_past(emulator, client):
    """A batch that had passed validation before a fault was ordered stays valid, even if it was not polled."""
    emulator.change(validating=10)
    batch = submit(client)
    emulator.advance(10)
    emulator.order(BatchFault())
    assert client.batches.retrieve(batch.id).status == "completed"


def test_request_can_be_refused(emulator, client):
    """A request fault with a status is a request that its endpoint refused."""
    emulator.order(RequestFault(status=429, code="rate_limit_exceeded", message="slower"))
    _, errors = results(client, run(client))
    response = errors["r-1"]["response"]
    error = {"message": "slower", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    assert (errors["r-1"]["error"], response["status_code"], response["body"]) == (None, 429, {"error": error})


def test_request_can_go_unanswered(emulator, client):
    """A request fault with a code alone is a request that no endpoint answered."""
    emulator.order(RequestFault(code="request_timeout", message="too slow"))
    _, errors = results(client, run(client))
    assert errors["r-1"]["response"] is None
    assert errors["r-1"]["error"] == {"code": "request_timeout", "message": "too slow"}


def test_request_can_be_lost(emulator, client):
    """It leaves no line, though it is counted as failed."""
    emulator.order(RequestFault(custom_id="r-0", lost=True))
    batch = run(client, make_lines(2))
    output, errors = results(client, batch)
    assert (set(output), set(errors), counts(batch)) == ({"r-1"}, set(), (2, 1, 1))


def test_request_fails_as_most_do_by_default(emulator, client):
    """A fault that names only a request fails it with a 500."""
    emulator.order(RequestFault(custom_id="r-0"))
    _, errors = results(client, run(client, make_lines(2)))
    assert [(custom_id, line["response"]["status_code"]) for custom_id, line in errors.items()] == [("r-0", 500)]


@pytest.mark.parametrize("wrong", [{"custom_id": 5}, {"status": "400"}, {"status": 200}])
def test_request_fault_that_would_never_strike_is_refused(wrong):
    """A test would pass by it."""
    with pytest.raises(ValueError, match="of a RequestFault must be a "):
        RequestFault(**wrong)


def test_request_fault_strikes_what_it_is_meant_for(emulator, client):
    """The custom_id chooses the requests, with `*` for any part."""
    emulator.order(RequestFault(custom_id="b-*", status=500, times=None))
    lines = [make_line(key) for key in ("a-1", "b-1", "b-2", "c-1")]
    _, errors = results(client, run(client, lines))
    assert set(errors) == {"b-1", "b-2"}


def test_request_fault_counts_requests(emulator, client):
    """Times and skip count requests as they run."""
    emulator.order(RequestFault(status=500, skip=1, times=2))
    assert counts(run(client, make_lines(4))) == (4, 2, 2)


def test_request_that_is_run_again_can_succeed(emulator, client):
    """A fault that is used up does not strike the same custom_id in the next batch."""
    emulator.order(RequestFault(custom_id="r-1", status=500))
    assert [counts(run(client)) for _ in range(2)] == [(1, 0, 1), (1, 1, 0)]


@pytest.mark.parametrize("looks", [1, 20])
def test_request_fault_lasts_as_long_as_it_says(emulator, client, looks):
    """Requests go wrong while the fault lasts, at the time they run, however seldom anybody looks."""
    emulator.change(requests_per_second=1)
    emulator.order(RequestFault(status=500, times=None, seconds=5.5))
    batch = submit(client, make_lines(20))
    for _ in range(looks):
        emulator.advance(20 / looks)
        seen = client.batches.retrieve(batch.id)
    assert counts(seen) == (20, 15, 5)


def test_request_fault_does_not_strike_the_past(emulator, client):
    """Requests that had run before a fault was ordered stay answered, even if it was not polled in between."""
    emulator.change(requests_per_second=1)
    batch = submit(client, make_lines(4))
    emulator.advance(2)
    emulator.order(RequestFault(status=500, times=None))
    emulator.advance(2)
    assert counts(client.batches.retrieve(batch.id)) == (4, 2, 2)


def test_cleared_faults_do_not_strike(emulator, client):
    """After `clear_faults` batches and requests go right again."""
    emulator.order(BatchFault(times=None), RequestFault(status=500, times=None))
    emulator.clear_faults()
    assert counts(run(client)) == (1, 1, 0)


def test_failed_request_has_no_usage(emulator, client):
    """Only answers are billed."""
    emulator.order(RequestFault(status=500))
    assert run(client).to_dict()["usage"]["total_tokens"] == 0
