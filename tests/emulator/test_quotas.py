import openai
import pytest

from .builders import call, make_line, run, submit, upload


def make_tokens(count, **body):
    """A request that is counted as so many prompt tokens: four characters each."""
    return make_line(content="word" * count, **body)


@pytest.fixture
def busy(emulator, client):
    """An emulator with room for 15 tokens, of which a batch has 10 for the next ten seconds."""
    emulator.change(enqueued_tokens=15, requests_per_second=0.1)
    submit(client, [make_tokens(10)])
    return emulator


def test_full_queue_fails_a_batch(busy, client):
    """A batch that would exceed the enqueued prompt tokens fails, in the words users have seen."""
    batch = run(client, [make_tokens(6)])
    assert batch.status == "failed"
    assert batch.errors.data[0].to_dict() == {
        "code": "token_limit_exceeded",
        "message": "Enqueued token limit reached for gpt-4o-mini in organization org-emulator. "
        "Limit: 15 enqueued tokens. Please try again once some in_progress batches have been completed.",
        "line": None,
        "param": None,
    }


def test_queue_can_be_filled_to_the_brim(busy, client):
    """A batch that just fits is accepted."""
    assert run(client, [make_tokens(5)]).status == "in_progress"


def test_queue_has_room_again_once_a_batch_is_over(busy, client):
    """The same file is accepted after the batch that was in its way."""
    refused = run(client, [make_tokens(6)])
    busy.advance(10)
    again = client.batches.create(
        input_file_id=refused.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert client.batches.retrieve(again.id).status == "in_progress"


def test_refused_batch_takes_no_room(busy, client):
    """A batch that failed for the quota does not count against it."""
    run(client, [make_tokens(6)])
    assert run(client, [make_tokens(5)]).status == "in_progress"


def test_each_model_has_a_queue(busy, client):
    """Enqueued tokens are limited for each model by itself (platform.openai.com/docs/guides/rate-limits)."""
    assert run(client, [make_tokens(6, model="gpt-4.1")]).status == "in_progress"


def test_each_project_has_a_queue(busy, client):
    """Another project's batches take none of this one's tokens."""
    theirs = client.with_options(default_headers={"OpenAI-Project": "proj_b"})
    assert run(theirs, [make_tokens(6)]).status == "in_progress"


def test_quota_can_be_lifted(busy, client):
    """A change of the quota counts from the next batch on."""
    busy.change(enqueued_tokens=None)
    assert run(client, [make_tokens(1_000)]).status == "in_progress"


def test_too_many_batches_are_refused(emulator, client):
    """One batch too many in an hour is a 429 (platform.openai.com/docs/guides/rate-limits)."""
    emulator.change(batches_per_hour=1)
    submit(client)
    emulator.advance(20)
    with pytest.raises(openai.RateLimitError) as caught:
        submit(client)
    assert caught.value.body == {
        "message": "Rate limit reached: 1 batch creations in 3600 seconds. Try again in 3580 s.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }


def test_too_many_uploads_are_refused(emulator, client):
    """One upload too many in a minute is a 429 (platform.openai.com/docs/api-reference/files/create)."""
    emulator.change(uploads_per_minute=1)
    upload(client)
    emulator.advance(20)
    with pytest.raises(openai.RateLimitError) as caught:
        upload(client)
    message = "Rate limit reached: 1 upload creations in 60 seconds. Try again in 40 s."
    assert caught.value.body["message"] == message


@pytest.mark.parametrize(("setting", "create"), [("batches_per_hour", submit), ("uploads_per_minute", upload)])
def test_retry_after_is_long_enough(emulator, client, setting, create):
    """A client that waits for Retry-After is accepted, and an earlier one is not."""
    emulator.change(**{setting: 1})
    create(client)
    emulator.advance(20.5)
    with pytest.raises(openai.RateLimitError) as caught:
        create(client)
    wait = int(caught.value.response.headers["retry-after"])
    emulator.advance(wait - 1)
    with pytest.raises(openai.RateLimitError):
        create(client)
    emulator.advance(1)
    create(client)


def test_limit_of_none_refuses_everything(emulator, client):
    """A limit of 0 refuses every call, and Retry-After is the whole window."""
    emulator.change(batches_per_hour=0)
    with pytest.raises(openai.RateLimitError) as caught:
        submit(client)
    assert caught.value.response.headers["retry-after"] == "3600"


def test_each_project_has_a_limit(emulator, client):
    """Another project's creations are counted apart."""
    emulator.change(batches_per_hour=1)
    submit(client)
    submit(client.with_options(default_headers={"OpenAI-Project": "proj_b"}))


def test_looking_is_not_limited(emulator, client):
    """Only creations count: polling goes on at any rate."""
    emulator.change(batches_per_hour=0, uploads_per_minute=0)
    assert call(emulator, "GET", "/v1/batches").status == 200
    assert client.files.list().data == []
