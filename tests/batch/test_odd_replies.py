"""What the connector makes of replies that OpenAI's API does not give: proxies, gateways and compatible servers do."""

import pytest
from flyteidl.core.execution_pb2 import TaskExecution

from flytekitplugins.openai import BatchEndpointConnector
from flytekitplugins.openai.batch.connector import BatchEndpointMetadata
from flytekitplugins.openai.batch.control.policy import unreachable
from flytekitplugins.openai.exceptions import RefusedError
from tests.builders import make_flyte_call, make_inputs, make_template

META = BatchEndpointMetadata(None, "batch_1")


@pytest.fixture
def connector(openai_api, closing_clients):
    """A connector whose OpenAI is `openai_api`."""
    return BatchEndpointConnector()


def make_answer(status="validating", **fields):
    """A batch as OpenAI answers it."""
    counts = {"total": 1, "completed": 1, "failed": 0}
    return {"id": "batch_1", "status": status, "request_counts": counts, "output_file_id": "file-out", **fields}


def make_error(message="No batch found with id 'batch_1'.", **fields):
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize("body", [None, "text", [], {}, {"status": "completed"}], ids=str)
async def test_get_does_not_take_anything_for_a_batch(connector, openai_api, body):
    """A proxy's answer with status 200 is still not a batch."""
    openai_api.get("/batches/batch_1").respond(json=body)
    resource = await connector.get(META)
    assert resource.phase == TaskExecution.RUNNING
    assert resource.message == "Could not look up batch 'batch_1': the response was not a batch."


@pytest.mark.parametrize(
    "fields",
    [
        {"created_at": "2023-11-14T22:13:20Z"},
        {"errors": []},
        {"errors": "out of luck"},
        {"output_file_id": 7},
        {"request_counts": None},
        {"status": "Completed"},
    ],
    ids=str,
)
async def test_get_reads_what_compatible_servers_answer(connector, openai_api, fields):
    """They leave out and retype what the SDK takes for given, and it warns of that."""
    openai_api.get("/batches/batch_1").respond(json=make_answer("completed") | fields)
    assert (await connector.get(META)).phase == TaskExecution.SUCCEEDED


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"type": "invalid_request_error"}, "OpenAI refused (404 invalid_request_error: No batch"),
        (
            {"code": "invalid_api_key"},
            "OpenAI refused the key from secret 'FLYTE_OPENAI_API_KEY' (401 invalid_api_key)",
        ),
        ({"code": 429, "type": "too_many"}, "OpenAI is unavailable (429 429: No batch"),
        ({"type": "server_error", "code": None}, "OpenAI is unavailable (500 server_error: No batch"),
    ],
    ids=str,
)
async def test_error_with_a_good_status_counts_as_that_error(connector, openai_api, error, said):
    """OpenAI has answered 200 with an error for batches that are gone."""
    openai_api.get("/batches/batch_1").respond(json=make_error(**error))
    resource = await connector.get(META)
    assert resource.phase == TaskExecution.RUNNING
    assert resource.message.startswith(f"Could not look up batch 'batch_1': {said}")


async def test_batch_that_is_gone_with_a_good_status_is_given_up(connector, openai_api, monkeypatch):
    """As one of which OpenAI answers 404: after two hours, and not after a day."""
    monkeypatch.setattr(unreachable, "LOST_BATCH_SECONDS", 0.0)
    openai_api.get("/batches/batch_1").respond(json=make_error(type="invalid_request_error"))
    resource = await connector.get(META)
    assert resource.phase == TaskExecution.FAILED
    assert resource.message.startswith("Gave up after a minute. Could not look up batch 'batch_1': OpenAI refused (404")


async def test_creation_that_is_refused_with_a_good_status_is_refused(connector, openai_api):
    """No batch has been made, and none will be."""
    openai_api.post("/batches").respond(json=make_error("Bad endpoint.", type="invalid_request_error"))
    with pytest.raises(RefusedError, match=r"OpenAI refused \(400 invalid_request_error: Bad endpoint\)"):
        await connector.create(make_template(), make_inputs("file-1"))


async def test_list_that_is_an_error_is_not_an_empty_one(connector, openai_api):
    """Nothing may be submitted that could not be looked for."""
    openai_api.get("/batches").respond(json=make_error("Slow down.", code="rate_limit_exceeded"))
    meta = await connector.create(make_template(), make_inputs("file-1"), **make_flyte_call())
    message = (await connector.get(meta)).message
    assert "Could not read the list of batches: OpenAI is unavailable (429" in message
    assert {call.request.method for call in openai_api.calls} == {"GET"}


async def test_create_does_not_take_an_id_it_could_not_read_again(connector, openai_api):
    """The id becomes part of a path, and metadata with such a one is refused: the batch would be lost."""
    openai_api.post("/batches").respond(json=make_answer(id="../files"))
    with pytest.raises(RefusedError, match=r"'\.\./files' cannot be the id of a batch"):
        await connector.create(make_template(), make_inputs("file-1"))


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refusal_is_what_get_tells(connector, openai_api, status):
    """Flyte shows an exception as a traceback, and tries again at once while the task has retries."""
    openai_api.get("/batches").respond(json={"data": []})
    openai_api.post("/batches").respond(status, json=make_error("No."))
    meta = await connector.create(make_template(), make_inputs("file-1"), **make_flyte_call())
    resource = await connector.get(BatchEndpointMetadata.decode(meta.encode()))
    assert resource.phase == TaskExecution.FAILED
    assert resource.message.startswith("Could not create a batch from file 'file-1': OpenAI refused")
    assert f"({status}" in resource.message
    await connector.delete(meta)


async def test_refusal_is_raised_without_a_prefix(connector, openai_api):
    """As in the published package: it is not Flyte that asks."""
    openai_api.post("/batches").respond(400, json=make_error("No."))
    with pytest.raises(RefusedError, match="No"):
        await connector.create(make_template(), make_inputs("file-1"))


async def test_task_that_cannot_be_submitted_says_so(connector):
    """All reasons are reported in the same way."""
    template, nothing = make_template(), make_inputs("")
    resource = await connector.get(await connector.create(template, nothing, **make_flyte_call()))
    assert (resource.phase, resource.message) == (
        TaskExecution.FAILED,
        "The batch task has no input_file_id; pass it the id of an uploaded file.",
    )


async def test_task_runs_without_the_list_of_batches(connector, openai_api):
    """A user's test need not mock calls that a single run does not need."""
    openai_api.post("/batches").respond(json=make_answer())
    openai_api.get("/batches/batch_1").respond(json=make_answer("completed"))
    meta = await connector.create(make_template(), make_inputs("file-1"), output_prefix="/tmp/outputs")
    assert (await connector.get(meta)).phase == TaskExecution.SUCCEEDED
