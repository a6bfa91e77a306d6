import openai
import pytest

from .builders import CHAT, DAY, counts, make_line, results, run, submit

SHORT = "/chat/completions"


@pytest.fixture
def azure(emulator):
    """An emulator whose batches are Azure's."""
    emulator.change(azure=True)
    return emulator


def test_status_is_capitalised(azure, client):
    """Clients of Azure have seen `Validating`."""
    azure.change(validating=10)
    batch = submit(client)
    assert batch.status == "Validating"
    azure.advance(10)
    assert client.batches.retrieve(batch.id).status == "Completed"


@pytest.mark.parametrize("endpoint", [CHAT, SHORT])
@pytest.mark.parametrize("url", [CHAT, SHORT])
def test_url_and_endpoint_may_have_either_form(azure, client, endpoint, url):
    """An extra `/v1` is no mismatch, and the batch shows the endpoint that it was created with."""
    batch = run(client, [make_line(url=url)], endpoint=endpoint)
    assert (batch.status, batch.endpoint, counts(batch)) == ("Completed", endpoint, (1, 1, 0))


@pytest.mark.parametrize("endpoint", [CHAT, SHORT])
def test_openai_has_no_short_form(client, endpoint):
    """Without `azure` a line's url must have its `/v1`, and so must an endpoint."""
    if endpoint == SHORT:
        with pytest.raises(openai.BadRequestError):
            submit(client, endpoint=SHORT)
    else:
        assert run(client, [make_line(url=SHORT)], endpoint=endpoint).status == "failed"


def test_line_errors_have_the_codes_of_azure(azure, client):
    """Another endpoint, another model and an empty file have names of Azure's own."""
    batch = run(client, [make_line("a", url="/v1/responses"), make_line("b", model="other")])
    assert [error.code for error in batch.errors.data] == ["url_mismatch", "model_mismatch"]
    assert [error.code for error in run(client, [b""]).errors.data] == ["empty_batch"]


def test_model_is_the_name_of_a_deployment(azure, client):
    """Any name in `models` is a deployment."""
    azure.change(models=("team-deployment",))
    assert run(client, [make_line(model="team-deployment")]).status == "Completed"
    assert run(client).status == "Failed"


def test_full_queue_refuses_the_creation(azure, client):
    """The refusal is HTTP 400, there is no batch, and a batch that validates takes room already."""
    azure.change(enqueued_tokens=15, validating=10)
    submit(client, [make_line(content="word" * 10)])
    with pytest.raises(openai.BadRequestError) as caught:
        submit(client, [make_line(content="word" * 6)])
    assert caught.value.code == "token_limit_exceeded"
    assert len(client.batches.list().data) == 1
    azure.advance(10)
    assert submit(client, [make_line(content="word" * 6)]).status == "Validating"


def test_completed_batch_has_an_empty_error_file(azure, client):
    """The error file is there even if no request failed."""
    batch = run(client)
    assert client.files.content(batch.error_file_id).read() == b""
    output, errors = results(client, batch)
    assert (set(output), set(errors)) == ({"r-1"}, set())


def test_batch_never_expires(azure, client):
    """It runs until all requests are done."""
    azure.change(requests_per_second=1 / DAY)
    batch = submit(client, [make_line("a"), make_line("b")])
    azure.advance(1.5 * DAY)
    assert client.batches.retrieve(batch.id).status == "In_progress"
    azure.advance(DAY)
    assert client.batches.retrieve(batch.id).status == "Completed"
