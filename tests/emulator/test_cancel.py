import openai
import pytest

from flytekitplugins.openai.emulator import BatchFault

from .builders import DAY, counts, make_lines, results, run, submit


@pytest.fixture
def slow(emulator):
    emulator.change(validating=10, requests_per_second=1, finalizing=5, cancelling=3)
    return emulator


def cancel_after(emulator, client, seconds, count=4):
    """The answer to a cancel of a batch that has lived for so many seconds."""
    batch = submit(client, make_lines(count))
    emulator.advance(seconds)
    return client.batches.cancel(batch.id)


# A second in each of the states that a batch can be cancelled from, and the requests it has done by then.
LIVE = {"validating": (5, (0, 0, 0)), "in_progress": (12, (4, 2, 0)), "finalizing": (16, (4, 4, 0))}


@pytest.mark.parametrize("state", LIVE)
def test_live_batch_becomes_cancelling(slow, client, state):
    """A cancelled batch is cancelling at first (platform.openai.com/docs/api-reference/batch/cancel)."""
    batch = cancel_after(slow, client, LIVE[state][0])
    assert (batch.status, batch.cancelling_at, batch.cancelled_at) == ("cancelling", int(slow.now()), None)


@pytest.mark.parametrize("state", LIVE)
def test_cancelling_batch_becomes_cancelled(slow, client, state):
    """Some time after the cancel the batch is over (platform.openai.com/docs/api-reference/batch/cancel)."""
    batch = cancel_after(slow, client, LIVE[state][0])
    slow.advance(3)
    cancelled = client.batches.retrieve(batch.id)
    assert (cancelled.status, cancelled.cancelled_at) == ("cancelled", batch.cancelling_at + 3)


@pytest.mark.parametrize("state", LIVE)
def test_cancelled_batch_counts_what_was_done(slow, client, state):
    """What did not run before the cancel is neither completed nor failed."""
    second, done = LIVE[state]
    batch = cancel_after(slow, client, second)
    slow.advance(3)
    assert counts(client.batches.retrieve(batch.id)) == done


def test_cancelled_batch_keeps_what_was_done(slow, client):
    """Results from before the cancel are in the output file (platform.openai.com/docs/api-reference/batch/cancel)."""
    batch = cancel_after(slow, client, 12)
    slow.advance(3)
    output, errors = results(client, client.batches.retrieve(batch.id))
    assert (len(output), len(errors), set(output) | set(errors)) == (2, 2, {"r-0", "r-1", "r-2", "r-3"})


def test_cancelled_requests_say_so(slow, client):
    """What did not run has an error line of code `batch_cancelled`, as users have seen."""
    batch = cancel_after(slow, client, 12)
    slow.advance(3)
    _, errors = results(client, client.batches.retrieve(batch.id))
    told = {
        "code": "batch_cancelled",
        "message": "This request was not executed because the batch was cancelled.",
    }
    assert [(line["response"], line["error"]) for line in errors.values()] == [(None, told)] * 2


def test_batch_cancelled_before_it_ran_has_no_files(slow, client):
    """A batch that was cancelled while validating has nothing to show."""
    batch = cancel_after(slow, client, 5)
    slow.advance(3)
    cancelled = client.batches.retrieve(batch.id)
    assert (cancelled.output_file_id, cancelled.error_file_id) == (None, None)


def test_no_request_runs_while_cancelling(slow, client):
    """However long a batch is cancelling, it does no more work."""
    slow.change(cancelling=600)
    batch = cancel_after(slow, client, 12)
    slow.advance(60)
    assert counts(client.batches.retrieve(batch.id)) == (4, 2, 0)


def test_second_cancel_changes_nothing(slow, client):
    """Cancelling a batch that is cancelling answers it as it is."""
    first = cancel_after(slow, client, 12)
    slow.advance(1)
    assert client.batches.cancel(first.id).cancelling_at == first.cancelling_at


def test_cancel_can_come_too_late(slow, client):
    """A cancel can be accepted and lose the race all the same: the batch ends completed, as users have seen."""
    slow.change(cancel_too_late=True)
    batch = cancel_after(slow, client, 12)
    slow.advance(3)
    completed = client.batches.retrieve(batch.id)
    assert (batch.status, completed.status, counts(completed)) == ("cancelling", "completed", (4, 4, 0))


def completed(_emulator, client):
    return run(client)


def failed(emulator, client):
    emulator.order(BatchFault())
    return run(client)


def expired(emulator, client):
    emulator.change(requests_per_second=0)
    batch = submit(client)
    emulator.advance(DAY)
    return client.batches.retrieve(batch.id)


@pytest.mark.parametrize("ended", [completed, failed, expired])
def test_ended_batch_cannot_be_cancelled(emulator, client, ended):
    """Cancelling a batch that is over is a conflict, worded and without code as users have seen it."""
    batch = ended(emulator, client)
    with pytest.raises(openai.ConflictError) as caught:
        client.batches.cancel(batch.id)
    message = f"Cannot cancel a batch with status '{ended.__name__}'."
    assert caught.value.body == {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_cancelled_batch_can_be_cancelled_again(emulator, client):
    """Cancelling a cancelled batch succeeds and changes nothing, as users have seen."""
    emulator.change(validating=10)
    batch = submit(client)
    client.batches.cancel(batch.id)
    assert client.batches.cancel(batch.id).status == "cancelled"


def test_unknown_batch_cannot_be_cancelled(client):
    """Cancelling a batch that does not exist is a 404."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.batches.cancel("batch_unknown")
    assert caught.value.body["message"] == "No batch found with id 'batch_unknown'."
