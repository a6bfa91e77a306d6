"""Faults of the published package, 1.16.31, that this one does not have. Each test fails there.

They use the public interface alone: what they ask of this package can be asked of that one.
"""

import copy
import json
import os
import pickle
from pathlib import Path

import pytest
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit import Resources, Secret, TaskMetadata
from flytekit.exceptions.user import FlyteUserRuntimeException
from flytekit.types.file import JSONLFile

from flytekitplugins.openai import (
    BatchEndpointTask,
    ChatGPTConnector,
    DownloadJSONFilesTask,
    OpenAIFileConfig,
    UploadJSONLFileTask,
    create_batch,
)
from flytekitplugins.openai.batch.connector import BatchEndpointMetadata
from flytekitplugins.openai.emulator import BatchFault, CallFault, Emulator, RequestFault
from tests.builders import (
    advance_once_polled,
    make_chat_template,
    make_client,
    make_flyte_call,
    make_inputs,
    make_jsonl,
    make_message,
    make_request,
    make_requests,
    make_template,
    serialize,
    upload,
)

HOUR = 3600
SECRET = Secret(group="team", key="key")
CONFIG = OpenAIFileConfig(secret=SECRET)


async def submit(connector, emulator, requests=None, **arguments):
    file_id = upload(emulator, requests or make_requests(3))
    return await connector.create(make_template(**arguments), make_inputs(file_id))


@pytest.fixture
def requests_file(tmp_path):
    """A function that writes a file of requests under a name."""

    def write(name, content=None):
        (tmp_path / name).write_bytes(content or make_jsonl(make_requests(1)))
        return JSONLFile(str(tmp_path / name))

    return write


async def test_polls_share_a_client_and_a_connection(connector, emulator):
    """There, each poll makes a client: 17 ms of CPU for its TLS context, and a connection."""
    meta = await submit(connector, emulator)
    emulator.calls.clear()
    for _ in range(5):
        await connector.get(meta)
    assert len({call.connection for call in emulator.calls}) == 1


async def test_poll_survives_what_passes(connector, emulator):
    """There, each is an error to Flyte, which after the sixth polls the attempt no more."""
    meta = await submit(connector, emulator)
    for fault in ({"status": 503}, {"status": 401}, {"drop": True}, {"body": "<html>"}):
        emulator.order(CallFault(path="/v1/batches/*", times=3, **fault))
        assert (await connector.get(meta)).phase == TaskExecution.RUNNING
        emulator.clear_faults()


async def test_task_is_submitted_once(connector, emulator):
    """Flyte creates the same again whenever it has lost what came of it. There, each time is another bill."""
    template, inputs = make_template(), make_inputs(upload(emulator, make_requests(3)))
    for attempt in (0, 0, 1):
        await connector.create(template, inputs, **make_flyte_call(attempt=attempt))
    with make_client(emulator) as client:
        assert len(client.batches.list().data) == 1


async def test_full_queue_is_no_failure(connector, emulator):
    """There, it is, and the user starts it again by hand until it is not."""
    emulator.change(enqueued_tokens=0)
    template, inputs = make_template(), make_inputs(upload(emulator, make_requests(3)))
    meta = await connector.create(template, inputs, **make_flyte_call())
    assert (await connector.get(meta)).phase == TaskExecution.WAITING_FOR_RESOURCES


async def test_cancelling_is_not_failed(connector, emulator):
    """For up to ten minutes such a batch is billed and may complete."""
    emulator.freeze()
    emulator.change(requests_per_second=1, cancelling=600)
    meta = await submit(connector, emulator)
    await connector.delete(meta)
    assert (await connector.get(meta)).phase == TaskExecution.RUNNING


async def test_status_that_is_not_known_is_running(connector, emulator):
    """There, it is an AttributeError, and after six of those Flyte stops polling."""
    emulator.order(CallFault(path="/v1/batches/*", body='{"id": "batch_1", "status": "pre_schedule"}'))
    resource = await connector.get(BatchEndpointMetadata("org-1", "batch_1"))
    assert resource.phase == TaskExecution.RUNNING


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_metadata_is_read_without_running_it(tmp_path):
    """In the published package, anyone who can reach the port can run code."""
    with pytest.raises(ValueError, match="not the metadata"):
        BatchEndpointMetadata.decode(pickle.dumps(Touch(tmp_path / "executed")))
    assert not (tmp_path / "executed").exists()


async def test_every_error_of_a_failed_batch_is_reported(connector, emulator, caplog):
    """The published package reports only the first error's message, without its line and code."""
    meta = await submit(connector, emulator, [make_request("a")] * 3)
    resource = await connector.get(meta)
    assert resource.phase == TaskExecution.FAILED
    errors = [("duplicate_custom_id", 2), ("duplicate_custom_id", 3)]
    told = resource.custom_info["errors"]
    assert [(error["code"], error["line"], error["batch_id"]) for error in told] == [
        (code, line, meta.batch_id) for code, line in errors
    ]
    assert resource.message == told[0]["message"]
    for code, line in errors:
        assert f"batch '{meta.batch_id}': line {line}: {code}: " in caplog.text


@pytest.mark.parametrize("fault", [None, BatchFault(code="empty_file", message="no")])
async def test_delete_of_a_batch_that_is_over_does_nothing(connector, emulator, fault):
    """There, OpenAI's 409 is raised, and fails the workflow's round until Flyte kills it."""
    if fault is not None:
        emulator.order(fault)
    meta = await submit(connector, emulator)
    await connector.get(meta)
    await connector.delete(meta)


def test_file_step_that_openai_refuses_is_not_retried(openai_emulator, monkeypatch, requests_file):
    """There, Flyte takes it for a fault of the system and uploads four times."""
    monkeypatch.setenv("TEAM_KEY", "sk-team")
    monkeypatch.setenv("_FSEC_TEAM_KEY", "sk-team")
    with pytest.raises(FlyteUserRuntimeException, match=r"not (a JSON object|valid JSON)"):
        UploadJSONLFileTask(name="upload", task_config=CONFIG)(jsonl_in=requests_file("notes.jsonl", b"hello\n"))


@pytest.mark.parametrize("name", ["requests.txt", "requests", "requests.jsonl.tmp"])
def test_file_may_have_any_name(openai_emulator, monkeypatch, requests_file, name):
    """OpenAI refuses whatever is not called `.jsonl`."""
    monkeypatch.setenv("TEAM_KEY", "sk-team")
    file_id = UploadJSONLFileTask(name="upload", task_config=CONFIG)(jsonl_in=requests_file(name))
    with make_client(openai_emulator) as client:
        assert client.files.retrieve(file_id).filename.endswith(".jsonl")


async def test_whole_numbers_of_the_config_arrive_as_integers(connector, emulator):
    """A protobuf Struct turns 3600 into 3600.0, which OpenAI refuses."""
    config = {"output_expires_after": {"anchor": "created_at", "seconds": HOUR}}
    meta = await submit(connector, emulator, config=config)
    with make_client(emulator) as client:
        output = client.files.retrieve(client.batches.retrieve(meta.batch_id).output_file_id)
    assert output.expires_at - output.created_at == HOUR


async def test_create_leaves_the_template_as_it_was(connector, emulator):
    """There, the defaults are written into the caller's template."""
    template = make_template(config={"metadata": {"a": "b"}})
    before = copy.deepcopy(template.custom)
    await connector.create(template, make_inputs(upload(emulator, make_requests(1))))
    assert template.custom == before


async def test_failure_names_the_key_that_cannot_see_the_file(connector, emulator):
    """Upload and batch step have keys of their own, and so perhaps of two projects."""
    meta = await connector.create(make_template(), make_inputs("file-elsewhere"))
    resource = await connector.get(meta)
    assert resource.phase == TaskExecution.FAILED
    assert resource.message.endswith(
        "The batch was created with the key from secret 'FLYTE_OPENAI_API_KEY'; a file is visible only to keys "
        "of the project it was uploaded to: give the upload step and the batch step keys of the same project."
    )


def test_one_key_is_enough_on_a_laptop(openai_emulator, requests_file):
    """There, the file steps know only the named secret, and the batch step only the operator's."""
    batch = create_batch(name="laptop", secret=SECRET, is_json_iterator=False)
    result = batch(jsonl_in=requests_file("requests.jsonl"))
    assert len(Path(result.output_file).read_bytes().splitlines()) == 1


@pytest.mark.parametrize("kind", [UploadJSONLFileTask, DownloadJSONFilesTask])
def test_file_task_takes_keywords_of_its_base(kind):
    """There, `requests` is given twice."""
    task = kind(name="files", task_config=CONFIG, requests=Resources(mem="2Gi"), metadata=TaskMetadata(retries=3))
    template = serialize(task)
    assert template.container.resources.requests[0].value == "2Gi"
    assert template.metadata.retries.retries == 3


def test_create_batch_sets_image_retries_and_timeout():
    """There, it takes none of them."""
    workflow = create_batch(name="set", secret=SECRET, container_image="mine:2", retries=3, timeout=26 * HOUR)
    tasks = [node.flyte_entity for node in workflow.nodes]
    assert [task.metadata.retries for task in tasks] == [3, 3, 3]
    [batch] = [task for task in tasks if isinstance(task, BatchEndpointTask)]
    assert batch.metadata.timeout.total_seconds() == 26 * HOUR
    assert [task.container_image for task in tasks if task is not batch] == ["mine:2", "mine:2"]


@pytest.fixture
def run_on_a_laptop(openai_emulator, monkeypatch, requests_file):
    """A function that runs requests by `create_batch`, with a key wherever one of the two packages looks for it."""
    for name in ("TEAM_KEY", "FLYTE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, "sk-team")

    def run(content):
        batch = create_batch(name="laptop", secret=SECRET, is_json_iterator=False)
        return batch(jsonl_in=requests_file("requests.jsonl", content))

    return run


def ids_in(file):
    return [json.loads(line)["custom_id"] for line in Path(file).read_bytes().splitlines()]


def test_results_of_an_expired_batch_are_kept(openai_emulator, run_on_a_laptop):
    """They are billed. There, the workflow fails and they are left at OpenAI."""
    openai_emulator.freeze()
    openai_emulator.change(requests_per_second=2 / (24 * HOUR))
    with advance_once_polled(openai_emulator, 25 * HOUR):
        result = run_on_a_laptop(make_jsonl(make_requests(4)))
    assert (len(ids_in(result.output_file)), len(ids_in(result.error_file))) == (2, 2)


def test_batch_in_which_every_request_failed_is_a_failure(openai_emulator, run_on_a_laptop):
    """There, it is a success without results."""
    openai_emulator.order(RequestFault(status=400, code="invalid_value", message="bad", times=None))
    with pytest.raises(FlyteUserRuntimeException, match=r"invalid_value \(400\): 2, such as 'r-0': bad"):
        run_on_a_laptop(make_jsonl(make_requests(2)))


@pytest.mark.long
def test_more_requests_than_a_batch_takes_come_back_in_order(openai_emulator, run_on_a_laptop):
    """There, OpenAI refuses more than 50,000, after the upload."""
    result = run_on_a_laptop(make_jsonl(make_requests(50_001)))
    assert ids_in(result.output_file) == [f"r-{number}" for number in range(50_001)]


def test_results_come_in_the_order_of_the_requests(openai_emulator, run_on_a_laptop):
    """There, in that of the batch, which keeps none."""
    result = run_on_a_laptop(make_jsonl(make_requests(50)))
    assert ids_in(result.output_file) == [f"r-{number}" for number in range(50)]


def test_bad_line_is_found_before_anything_is_submitted(openai_emulator, run_on_a_laptop):
    """There, the file is uploaded and the batch fails; and the file stays at OpenAI."""
    content = make_jsonl([*make_requests(2), make_request("r-0"), make_request("r-9", url="/v1/responses")])
    with pytest.raises(FlyteUserRuntimeException, match=r"2 problems: line 4 has a url .*; line 3 repeats a custom_id"):
        run_on_a_laptop(content)
    with make_client(openai_emulator) as client:
        assert (client.batches.list().data, client.files.list().data) == ([], [])


@pytest.fixture
def bodies(emulator, monkeypatch):
    """What models are asked, as it arrives."""
    arrived = []
    with Emulator(responder=lambda request: arrived.append(request.body) or "fine") as keeping:
        monkeypatch.setenv("OPENAI_BASE_URL", keeping.base_url)
        yield arrived


async def test_messages_share_a_client_and_a_connection(connector, emulator):
    """There, each makes a client, as each poll does."""
    for _ in range(5):
        await ChatGPTConnector().do(make_chat_template(), make_message())
    assert len({call.connection for call in emulator.calls}) == 1


async def test_message_leaves_the_template_as_it_was(connector):
    """There, it is written into the caller's template."""
    template = make_chat_template()
    before = copy.deepcopy(template.custom)
    await ChatGPTConnector().do(template, make_message())
    assert template.custom == before


async def test_message_does_not_replace_those_of_the_config(connector, bodies):
    """There, a system prompt is left out without a word."""
    system = {"role": "system", "content": "Be brief."}
    await ChatGPTConnector().do(make_chat_template(config={"messages": [system]}), make_message("hi"))
    assert bodies[0]["messages"] == [system, {"role": "user", "content": "hi"}]


async def test_whole_numbers_of_a_chat_arrive_as_integers(connector, bodies):
    """There, `max_tokens: 20` is sent as 20.0."""
    await ChatGPTConnector().do(make_chat_template(config={"max_tokens": 20}), make_message())
    assert str(bodies[0]["max_tokens"]) == "20"
