import pytest

from flytekitplugins.openai.emulator import RequestFault

from .builders import DAY, counts, make_line, make_lines, results, run, submit

TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")

# A batch of four requests that validates for 10 s, runs one request a second and finalizes for 5 s:
# second, status, requests done, the states it has passed into so far.
STAGES = (
    (0, "validating", (0, 0, 0), ()),
    (9, "validating", (0, 0, 0), ()),
    (10, "in_progress", (4, 0, 0), ("in_progress",)),
    (12, "in_progress", (4, 2, 0), ("in_progress",)),
    (14, "finalizing", (4, 4, 0), ("in_progress", "finalizing")),
    (18, "finalizing", (4, 4, 0), ("in_progress", "finalizing")),
    (19, "completed", (4, 4, 0), ("in_progress", "finalizing", "completed")),
)
MOMENTS = {"in_progress": 10, "finalizing": 14, "completed": 19}


def reached(batch):
    """The moments of a batch's states, in seconds since it was created."""
    found = {name: getattr(batch, f"{name}_at") for name in TIMES}
    return {name: at - batch.created_at for name, at in found.items() if at is not None}


@pytest.fixture
def slow(emulator):
    emulator.change(validating=10, requests_per_second=1, finalizing=5, cancelling=3)
    return emulator


@pytest.mark.parametrize(("second", "status", "_done", "_states"), STAGES)
def test_status_follows_the_clock(slow, client, second, status, _done, _states):
    """A batch validates, is in progress, finalizes and completes (platform.openai.com/docs/guides/batch)."""
    batch = submit(client, make_lines(4))
    slow.advance(second)
    assert client.batches.retrieve(batch.id).status == status


@pytest.mark.parametrize(("second", "_status", "done", "_states"), STAGES)
def test_counts_follow_the_clock(slow, client, second, _status, done, _states):
    """Counts are zero until a batch is in progress and whole while it is finalizing, as users have seen."""
    batch = submit(client, make_lines(4))
    slow.advance(second)
    assert counts(client.batches.retrieve(batch.id)) == done


@pytest.mark.parametrize(("second", "_status", "_done", "states"), STAGES)
def test_times_are_null_until_they_are_reached(slow, client, second, _status, _done, states):
    """Each state leaves the moment it began in a field of its own (platform.openai.com/docs/api-reference/batch)."""
    batch = submit(client, make_lines(4))
    slow.advance(second)
    assert reached(client.batches.retrieve(batch.id)) == {name: MOMENTS[name] for name in states}


def test_new_batch_answers_its_own_parameters(emulator, client):
    """The answer to a creation is the batch itself, validating, with what it was created from."""
    batch = submit(client, metadata={"team": "search"})
    assert (batch.status, batch.endpoint, batch.completion_window) == ("validating", "/v1/chat/completions", "24h")
    assert (batch.metadata, batch.created_at) == ({"team": "search"}, int(emulator.now()))


def test_batch_expires_a_day_after_its_creation(client):
    """`expires_at` is the end of the 24 hour window (platform.openai.com/docs/api-reference/batch/object)."""
    batch = submit(client)
    assert batch.expires_at - batch.created_at == DAY


def test_states_nobody_looked_at_have_their_own_times(slow, client):
    """A batch first polled long after its end still has the times of its transitions."""
    batch = submit(client, make_lines(4))
    slow.advance(1_000)
    assert reached(client.batches.retrieve(batch.id)) == MOMENTS


def test_files_are_null_until_completed(slow, client):
    """While a batch is finalizing, its output file is not known yet (platform.openai.com/docs/guides/batch)."""
    batch = submit(client, make_lines(4))
    slow.advance(14)
    finalizing = client.batches.retrieve(batch.id)
    assert (finalizing.output_file_id, finalizing.error_file_id) == (None, None)


def test_clean_batch_has_no_error_file(client):
    """When every request succeeds there is an output file and no error file."""
    batch = run(client, make_lines(2))
    assert batch.output_file_id is not None
    assert batch.error_file_id is None


def test_model_is_known_after_validation(slow, client):
    """`model` is the one that the requests name, once they were read."""
    batch = submit(client, [make_line(model="gpt-4.1")])
    slow.advance(10)
    assert (batch.model, client.batches.retrieve(batch.id).model) == (None, "gpt-4.1")


def test_invalid_batch_fails_after_validating(slow, client):
    """A batch whose input does not pass goes from validating to failed, and nothing of it runs."""
    batch = submit(client, [make_line(), make_line()])
    slow.advance(10)
    failed = client.batches.retrieve(batch.id)
    assert (failed.status, counts(failed), reached(failed)) == ("failed", (0, 0, 0), {"failed": 10})
    assert (failed.output_file_id, failed.error_file_id) == (None, None)


def test_batch_completes_although_every_request_failed(emulator, client):
    """A batch in which nothing succeeded is completed, has no output file and an error file, as users have seen."""
    emulator.order(RequestFault(status=400, times=None))
    batch = run(client, make_lines(3))
    assert (batch.status, counts(batch)) == ("completed", (3, 0, 3))
    assert batch.output_file_id is None
    assert batch.error_file_id is not None


def test_partly_failed_batch_has_both_files(emulator, client):
    """Answered and failed requests are counted apart and go into files of their own."""
    emulator.order(RequestFault(custom_id="r-1", status=400))
    batch = run(client, make_lines(3))
    output, errors = results(client, batch)
    assert (counts(batch), set(output), set(errors)) == ((3, 2, 1), {"r-0", "r-2"}, {"r-1"})


def test_late_files_are_null_for_a_while(emulator, client):
    """The file ids can appear a moment after `completed`, as users have seen."""
    emulator.change(late_files=30)
    batch = run(client)
    assert (batch.status, batch.output_file_id) == ("completed", None)
    emulator.advance(30)
    assert client.batches.retrieve(batch.id).output_file_id is not None


@pytest.fixture
def expired(emulator, client):
    """A batch that had done half of its four requests when its day was over."""
    emulator.change(requests_per_second=2 / DAY)
    batch = submit(client, make_lines(4))
    emulator.advance(DAY)
    return client.batches.retrieve(batch.id)


def test_unfinished_batch_expires(expired):
    """A batch that is not done at the end of its window expires there (platform.openai.com/docs/guides/batch)."""
    assert (expired.status, expired.expired_at) == ("expired", expired.expires_at)
    assert (expired.finalizing_at, expired.completed_at) == (None, None)


def test_expired_batch_does_not_count_the_unfinished_as_failed(expired):
    """What did not run by the end of the window is neither completed nor failed, as users have seen."""
    assert counts(expired) == (4, 2, 0)


def test_expired_batch_keeps_what_was_done(expired, client):
    """Requests that finished in time are in the output file (platform.openai.com/docs/guides/batch)."""
    output, errors = results(client, expired)
    assert (len(output), len(errors), set(output) | set(errors)) == (2, 2, {"r-0", "r-1", "r-2", "r-3"})


def test_expired_requests_say_so(expired, client):
    """What did not run has an error line of code `batch_expired` (platform.openai.com/docs/guides/batch)."""
    _, errors = results(client, expired)
    told = {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }
    assert [(line["response"], line["error"]) for line in errors.values()] == [(None, told)] * 2


def test_batch_at_no_pace_at_all_expires(emulator, client):
    """A batch can be stuck at 0 requests for its whole day, as users have seen, and then has no output file."""
    emulator.change(requests_per_second=0)
    batch = submit(client)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    emulator.advance(DAY)
    expired = client.batches.retrieve(batch.id)
    assert (expired.status, counts(expired), expired.output_file_id) == ("expired", (1, 0, 0), None)


def test_batch_keeps_the_pace_it_was_created_with(slow, client):
    """Changing the emulator's speed leaves batches that are under way alone."""
    batch = submit(client, make_lines(4))
    slow.change(validating=0)
    slow.advance(9)
    assert client.batches.retrieve(batch.id).status == "validating"
