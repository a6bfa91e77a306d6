"""What people mock of OpenAI's SDK in tests for the published package is enough here, and nothing else is called."""

import socket
import time
from pathlib import Path
from unittest import mock
from unittest.mock import AsyncMock, MagicMock

import pytest
from flytekit import Secret
from flytekit.exceptions.user import FlyteUserException
from flytekit.types.file import JSONLFile
from openai.types import Batch, FileObject

from flytekitplugins.openai import (
    BatchEndpointConnector,
    BatchEndpointTask,
    DownloadJSONFilesTask,
    OpenAIFileConfig,
    UploadJSONLFileTask,
    create_batch,
)
from flytekitplugins.openai.batch.control.policy import unreachable
from tests.builders import (
    make_answer,
    make_flyte_call,
    make_inputs,
    make_jsonl,
    make_requests,
    make_template,
)

CONFIG = OpenAIFileConfig(secret=Secret(group="team", key="key"))
CREATE = "openai.resources.batches.AsyncBatches.create"
RETRIEVE = "openai.resources.batches.AsyncBatches.retrieve"
LIST = "openai.resources.batches.AsyncBatches.list"
UPLOAD = "openai.resources.files.Files.create"
STREAMING = "openai.resources.files.FilesWithStreamingResponse"


@pytest.fixture(autouse=True)
def attempts(monkeypatch):
    """Attempts to use the network, which must be none."""
    attempts = []

    def fail(*target, **_):
        attempts.append(target)
        raise OSError("there is no network in this test")

    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with mock.patch("flytekit.current_context") as context:
        context.return_value.secrets.get.return_value = "sk-mocked"
        yield attempts


@pytest.fixture
def no_network(attempts):
    yield
    assert attempts == []


def make_answered(status="completed", **fields):
    """A batch as the SDK gives it."""
    usual = {
        "id": "batch_1",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "created_at": int(time.time()),
        "input_file_id": "file-7",
        "output_file_id": "file-out",
        "request_counts": {"completed": 3, "failed": 0, "total": 3},
    }
    return Batch(status=status, **{**usual, **fields})


def make_uploaded(file_id="file-7"):
    about = {"object": "file", "filename": "x.jsonl", "purpose": "batch", "status": "processed"}
    return FileObject(id=file_id, bytes=1, created_at=int(time.time()), **about)


@pytest.fixture
def batches():
    """The two calls of a batch that people mock."""
    with (
        mock.patch(CREATE, new=AsyncMock(return_value=make_answered("validating"))) as create,
        mock.patch(RETRIEVE, new=AsyncMock(return_value=make_answered())) as retrieve,
    ):
        yield mock.Mock(create=create, retrieve=retrieve)


@pytest.fixture
def stream():
    """Mocks the stream of a download, by one of the two methods that the SDK's response has for it."""
    with mock.patch(STREAMING) as streaming:
        response = streaming.return_value.content.return_value.__enter__.return_value

        def answer(content, *, by):
            if by == "stream_to_file":
                response.stream_to_file.side_effect = lambda path: Path(path).write_bytes(content)
            else:
                response.iter_bytes.return_value = [content[:5], content[5:]]

        yield answer


@pytest.fixture
def requests_file(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(make_jsonl(make_requests(3)))
    return JSONLFile(str(path))


@pytest.mark.usefixtures("no_network")
def test_upload_calls_nothing_but_the_upload(requests_file, tmp_path):
    """The mocked context has a mock in place of each of its values, the prefix of the outputs among them."""
    with mock.patch(UPLOAD, return_value=make_uploaded("file-abc123")):
        task = UploadJSONLFileTask(name="upload", task_config=CONFIG)
        assert task(jsonl_in=requests_file) == "file-abc123"


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("by", ["stream_to_file", "iter_bytes"])
def test_download_asks_for_nothing_but_the_content(stream, by, tmp_path):
    """A mock of the stream is the whole of OpenAI, and either of its methods will do."""
    stream(make_answer("r-0"), by=by)
    with mock.patch("flytekitplugins.openai.batch.task.Path") as path:
        path.return_value.with_suffix.return_value = str(tmp_path / "output.jsonl")
        task = DownloadJSONFilesTask(name="download", task_config=CONFIG)
        result = task(batch_endpoint_result={"id": "batch_1", "output_file_id": "file-1", "error_file_id": None})
    assert Path(result.output_file).read_bytes() == make_answer("r-0")


@pytest.mark.usefixtures("no_network")
def test_download_leaves_a_file_alone_that_the_mock_does_not_write(tmp_path):
    """The published package's own test has written it before."""
    written = tmp_path / "output.jsonl"
    written.write_bytes(make_answer("r-0"))
    with mock.patch(STREAMING), mock.patch("flytekitplugins.openai.batch.task.Path") as path:
        path.return_value.with_suffix.return_value = str(written)
        task = DownloadJSONFilesTask(name="download", task_config=CONFIG)
        task(batch_endpoint_result={"id": "batch_1", "output_file_id": "file-1"})
    assert written.read_bytes() == make_answer("r-0")


@pytest.mark.usefixtures("no_network")
def test_batch_task_needs_two_mocks(batches):
    """A local run has no earlier batch, so it does not read the list."""
    assert BatchEndpointTask(name="t", config={})(input_file_id="file-7")["id"] == "batch_1"
    assert (batches.create.call_count, batches.retrieve.call_count) == (1, 1)


@pytest.mark.usefixtures("no_network")
async def test_create_with_a_prefix_needs_one_mock(batches):
    """It is Flyte that asks twice for the same; and Flyte says whose call it is."""
    connector = BatchEndpointConnector()
    for _ in range(2):
        meta = await connector.create(make_template(), make_inputs("file-7"), output_prefix="/tmp/outputs")
        assert meta.batch_id == "batch_1"
    assert batches.create.call_count == 2


@pytest.mark.usefixtures("no_network")
def test_batch_that_is_refused_for_a_full_queue_is_counted_without_the_list(batches, monkeypatch):
    """This process has seen every batch of the task."""
    monkeypatch.setattr("flytekitplugins.openai.batch.control.policy.retry_policy.FIRST_BACKOFF_SECONDS", 0.0)
    full = {"errors": {"data": [{"code": "token_limit_exceeded", "message": "full"}]}, "failed_at": int(time.time())}
    ids = iter(["batch_1", "batch_2", "batch_3"])
    batches.create.side_effect = lambda **_: make_answered("validating", id=next(ids))
    batches.retrieve.side_effect = lambda id_: (
        make_answered(id=id_) if id_ == "batch_3" else make_answered("failed", id=id_, **full)
    )
    assert BatchEndpointTask(name="t", config={})(input_file_id="file-7")["id"] == "batch_3"
    assert batches.create.call_count == 3


@pytest.mark.usefixtures("no_network", "batches")
def test_whole_workflow_needs_the_mocks_of_its_steps(stream, requests_file):
    """The upload, the batch's two calls, and the stream of the results."""
    stream(b"".join(make_answer(f"r-{number}") for number in range(3)), by="iter_bytes")
    with mock.patch(UPLOAD, return_value=make_uploaded()):
        workflow = create_batch(name="w", secret=Secret(group="team", key="key"), is_json_iterator=False)
        result = workflow(jsonl_in=requests_file)
    assert (result.succeeded, result.failed) == (3, 0)


def page(*batches):
    return mock.Mock(data=list(batches), spec=["data"])


LISTS = {
    "a coroutine of a page": lambda batch: AsyncMock(return_value=page(batch)),
    "a page": lambda batch: MagicMock(return_value=page(batch)),
    "an iterator": lambda batch: MagicMock(return_value=iterate(batch)),
}


async def iterate(batch):
    yield batch


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("kind", LISTS)
async def test_list_may_be_mocked_in_any_natural_way(batches, kind):
    """A call as Flyte makes it looks for the batch of an earlier one."""
    connector, call = BatchEndpointConnector(), make_flyte_call()
    with mock.patch(LIST, new=AsyncMock(return_value=page())):
        made = await connector.create(make_template(), make_inputs("file-7"), **call)
    metadata = batches.create.call_args.kwargs["metadata"]
    listed = make_answered("in_progress", id="batch_listed", metadata=metadata)
    batches.retrieve.return_value = listed
    with mock.patch(LIST, new=LISTS[kind](listed)):
        found = await BatchEndpointConnector().create(make_template(), make_inputs("file-7"), **call)
    assert (made.batch_id, found.batch_id) == ("batch_1", "batch_listed")


def test_local_run_that_does_not_reach_openai_ends(monkeypatch, attempts):
    """After a minute, with its sentence: nothing has been submitted that would be worth the wait."""
    monkeypatch.setattr(unreachable, "UNREACHED_SECONDS", 1.0)
    with pytest.raises(
        FlyteUserException, match=r"Gave up after a minute\. Could not create a batch .*no connection to"
    ):
        BatchEndpointTask(name="t", config={})(input_file_id="file-7")
    assert attempts
