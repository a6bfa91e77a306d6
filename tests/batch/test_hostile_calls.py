"""What somebody can do who writes a task of their own, or reaches the connector's port."""

import json
import logging

import pytest
from flyteidl.core.execution_pb2 import TaskExecution
from google.protobuf.struct_pb2 import Struct

from flytekitplugins.openai.batch.connector import BatchEndpointMetadata
from flytekitplugins.openai.batch.control import failure_log
from flytekitplugins.openai.batch.steps import BatchShardsTask
from flytekitplugins.openai.emulator import BatchFault, CallFault
from flytekitplugins.openai.exceptions import InvalidInputError
from tests.builders import make_flyte_call, make_inputs, make_requests, make_shard_inputs, make_template, upload

KEY = {"flyte_key": "0123456789abcdef0123456789abcdef/0"}
CREATE = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": KEY}


def forged(**request):
    """Metadata that never went through `create`."""
    fields = {"openai_org": None, "batch_id": "", "request": {**CREATE, **request}}
    return BatchEndpointMetadata.decode(json.dumps(fields).encode())


@pytest.mark.parametrize("name", ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection"])
async def test_task_chooses_no_host_and_no_end_of_a_call(connector, emulator, name):
    """The operator's key would go to another host behind the same address, or into another call."""
    with pytest.raises(InvalidInputError) as raised:
        await connector.create(make_template(config={"extra_headers": {name: "1"}}), make_inputs("file-1"))
    assert str(raised.value) == (
        f"The extra_headers of the batch task's config must have no headers of HTTP itself, not {{{name!r}: '1'}}."
    )
    assert not emulator.calls


@pytest.mark.parametrize(
    "request_",
    [
        {"extra_headers": {"Host": "evil.example"}},
        {"extra_headers": {"X-A": "b\r\nHost: evil.example"}},
        {"extra_body": {"metadata": {}}},
        {"extra_query": "a=b"},
    ],
    ids=str,
)
async def test_forged_metadata_creates_no_batch(connector, emulator, request_):
    """It is checked as a task's config is."""
    resource = await connector.get(forged(**request_))
    assert resource.phase == TaskExecution.FAILED
    assert not [call for call in emulator.calls if call.method == "POST"]


@pytest.mark.parametrize("name", ["base_url", "api_key", "http_client"])
async def test_task_chooses_no_server_and_no_key(connector, emulator, name):
    """What is no parameter of the API is sent to OpenAI, and changes nothing here."""
    await connector.create(
        make_template(config={name: "http://evil.example"}), make_inputs("file-1"), **make_flyte_call()
    )
    creations = [call for call in emulator.calls if call.method == "POST"]
    assert creations
    assert {call.key for call in creations} == {"sk-operator"}


@pytest.mark.parametrize(
    "secret", [{"key": "OTHER"}, {"group": "..", "key": "other"}, {"key": "../../proc/self/environ"}]
)
async def test_forged_metadata_reads_no_other_secret(connector, emulator, monkeypatch, secret):
    """The connector looks up one name, whatever a task or its metadata names."""
    monkeypatch.setenv("_FSEC_OTHER", "sk-other")
    meta = BatchEndpointMetadata(None, "batch_1", secret_arg=secret)
    await connector.get(BatchEndpointMetadata.decode(meta.encode()))
    assert {call.key for call in emulator.calls} == {"sk-operator"}


@pytest.mark.parametrize("name", ["metadata", "input_file_id"])
async def test_extra_body_does_not_replace_what_finds_a_batch(connector, emulator, name):
    """Without the key each poll would make another batch; with another's key it would be adopted by that task."""
    config = {"extra_body": {name: KEY}}
    resource = await connector.get(
        await connector.create(make_template(config=config), make_inputs("file-1"), **make_flyte_call())
    )
    assert (
        resource.message == f"The extra_body of the batch task's config must not have {name!r}; the connector sets it."
    )
    assert not emulator.calls


@pytest.mark.parametrize("file_id", ["../batches/batch_1", "..", "", "file-1/content", "file-1?a=b", "file-1\r\nX: y"])
async def test_file_id_leads_to_no_other_path(connector, emulator, file_id):
    """A task that is refused has its files deleted with the operator's key, if it asks for that."""
    template = make_template(kind=BatchShardsTask, config={"extra_body": "refused"}, delete_files=True)
    await connector.create(template, make_shard_inputs([file_id], 1), **make_flyte_call())
    assert not emulator.calls


@pytest.mark.parametrize(
    "custom",
    [
        {"config": "text"},
        {"config": ["a"]},
        {"config": {"metadata": "text"}},
        {"max_concurrent_batches": "many"},
        {"max_concurrent_batches": float("inf")},
        {"openai_organization": 5, "openai_project": ["p"]},
        {"secret_arg": "text"},
    ],
    ids=str,
)
async def test_template_that_no_task_wrote_is_a_task_or_refused(connector, emulator, custom):
    """`create` raises nothing that Flyte would show as a traceback."""
    template = make_template()
    template._custom = {**template.custom, **custom}  # noqa: SLF001 (flytekit has no other way)
    meta = await connector.create(template, make_inputs(upload(emulator, make_requests(1))), **make_flyte_call())
    assert isinstance(BatchEndpointMetadata.decode(meta.encode()), BatchEndpointMetadata)


@pytest.mark.parametrize("created_at", [-1, 10**19, 10**400], ids=["negative", "large", "huge"])
def test_count_that_is_none_is_refused(created_at):
    """No float is as large, and `get` would fail when it subtracts."""
    data = b'{"openai_org":null,"batch_id":"batch_1","created_at":%d}' % created_at
    with pytest.raises(ValueError, match="not the metadata"):
        BatchEndpointMetadata.decode(data)


async def test_attempt_of_thousands_of_digits_is_cancelled(connector, emulator):
    """Python makes no number of it."""
    meta = forged(metadata={"flyte_key": f"node/{'9' * 5_000}"})
    assert await connector.cancel(meta) == []


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(failure_log, "is_local_run", lambda: False)
    caplog.set_level(logging.INFO, logger="flytekitplugins.openai")
    return caplog


async def test_message_of_a_batch_begins_no_line_of_the_log(connector, emulator, log):
    """OpenAI repeats in it what is in a file."""
    message = "Bad line: \n2025-11-28 ERROR key sk-1 leaked\x1b[2J"
    emulator.order(BatchFault(code="invalid_json_line", message=message, line=1))
    meta = await connector.create(make_template(), make_inputs(upload(emulator, make_requests(1))), **make_flyte_call())
    await connector.get(meta)
    told = [record.getMessage() for record in log.records]
    assert any("Bad line:  2025-11-28 ERROR key sk-1 leaked\ufffd[2J" in line for line in told)
    assert not any("\n" in line or "\x1b" in line for line in told)


async def test_name_of_a_task_begins_no_line_of_the_log(connector, emulator, log):
    """Metadata that anyone wrote may have any."""
    emulator.order(CallFault(status=500, times=None))
    await connector.get(forged(metadata={"flyte_key": "node\n2025-11-28 ERROR all is lost\x1b[2J/0"}))
    told = [record.getMessage() for record in log.records]
    assert told
    assert not any("\n" in line or "\x1b" in line for line in told)


async def test_organization_of_forged_metadata_adds_no_header(connector, emulator):
    """A newline would begin another one."""
    meta = BatchEndpointMetadata("org\r\nX-Evil: 1", "batch_1", "proj\0")
    resource = await connector.get(BatchEndpointMetadata.decode(meta.encode()))
    assert "cannot be the name of an OpenAI organization" in resource.message
    assert not emulator.calls


async def test_nested_answer_does_not_keep_get_from_answering(openai_api, closing_clients):
    """Neither msgpack nor protobuf takes what JSON does."""
    from flytekitplugins.openai import BatchEndpointConnector  # noqa: PLC0415 (another than the emulator's)

    usage = {"a": 1}
    for _ in range(400):
        usage = {"a": [usage]}
    answer = {"id": "batch_1", "status": "completed", "usage": {**usage, "b": 1e308}, "output_file_id": "file-2"}
    openai_api.get("/batches/batch_1").respond(content=json.dumps(answer).replace("1e+308", "Infinity").encode())
    resource = await BatchEndpointConnector().get(BatchEndpointMetadata(None, "batch_1"))
    assert resource.phase == TaskExecution.SUCCEEDED
    info = Struct()
    info.update(resource.custom_info)
    assert Struct.FromString(info.SerializeToString()) == info
