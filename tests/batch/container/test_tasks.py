"""The file steps as Flyte runs them: `pyflyte-execute` in a process of its own, with files in and files out."""

import time
from pathlib import Path

import pytest
from flyteidl.core import errors_pb2, execution_pb2, literals_pb2
from flytekit import FlyteContextManager, Secret
from flytekit.core.type_engine import TypeEngine
from flytekit.core.utils import load_proto_from_file
from flytekit.models.literals import LiteralMap
from flytekit.types.file import JSONLFile

from flytekitplugins.openai import BatchResult, DownloadJSONFilesTask, OpenAIFileConfig, UploadJSONLFileTask
from flytekitplugins.openai.batch.steps import CollectResultsTask, UploadShardsTask
from flytekitplugins.openai.emulator import CallFault, RequestFault
from tests.builders import ENDPOINT, make_client, make_jsonl, make_requests, upload

CONFIG = OpenAIFileConfig(secret=Secret(group="team", key="key"))


def outputs_in(outputs, types):
    literals = load_proto_from_file(literals_pb2.LiteralMap, str(outputs / "outputs.pb"))
    context = FlyteContextManager.current_context()
    return TypeEngine.literal_map_to_kwargs(context, LiteralMap.from_flyte_idl(literals), types)


def error_in(outputs):
    return load_proto_from_file(errors_pb2.ErrorDocument, str(outputs / "error.pb")).error


def write_requests(path, content=None):
    path.write_bytes(content or make_jsonl(make_requests(3)))
    return {"jsonl_in": JSONLFile(str(path))}


def test_upload_leaves_the_file_id(container, openai_emulator, tmp_path):
    """The batch step's input."""
    outputs = container(UploadJSONLFileTask(name="upload", task_config=CONFIG), write_requests(tmp_path / "in.jsonl"))
    literals = load_proto_from_file(literals_pb2.LiteralMap, str(outputs / "outputs.pb")).literals
    with make_client(openai_emulator) as client:
        [uploaded] = client.files.list().data
    assert literals["result"].scalar.primitive.string_value == uploaded.id


def test_refusal_is_the_users_error_and_final(container, tmp_path):
    """Flyte shows the sentence, without a traceback, and does not upload again."""
    task = UploadJSONLFileTask(name="upload", task_config=CONFIG)
    error = error_in(container(task, write_requests(tmp_path / "notes.jsonl", b"hello\n")))
    assert (error.code, error.kind) == ("OpenAI:InvalidInput", errors_pb2.ContainerError.NON_RECOVERABLE)
    assert error.origin == execution_pb2.ExecutionError.USER
    assert "InvalidInputError: The input 'notes.jsonl' was not submitted: 1 problem: line 1 is not" in error.message
    assert "Traceback" not in error.message


@pytest.mark.long
def test_trouble_that_may_pass_counts_against_retries(container, openai_emulator, tmp_path):
    """A user's recoverable error is retried as often as `retries` says, a fault of the system four times."""
    openai_emulator.order(CallFault(method="POST", path="/v1/files", status=503, headers={"x-should-retry": "false"}))
    task = UploadJSONLFileTask(name="upload", task_config=CONFIG)
    error = error_in(container(task, write_requests(tmp_path / "in.jsonl")))
    assert (error.code, error.kind) == ("OpenAI:Unavailable", errors_pb2.ContainerError.RECOVERABLE)
    assert error.origin == execution_pb2.ExecutionError.USER


def test_download_leaves_the_files_in_the_blob_store(container, openai_emulator, tmp_path):
    """What the workflow hands on is a path under Flyte's raw output prefix."""
    file_id = upload(openai_emulator, make_requests(3))
    with make_client(openai_emulator) as client:
        batch = client.batches.create(input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h")
        result = client.batches.retrieve(batch.id).to_dict()
    container(DownloadJSONFilesTask(name="download", task_config=CONFIG), {"batch_endpoint_result": result})
    [output] = (tmp_path / "raw").rglob("output_file.jsonl")
    assert len(output.read_bytes().splitlines()) == 3


UPLOADED = {"input_file_ids": list[str], "requests": int, "index": JSONLFile, "manifest": str}


def run_batches(emulator, file_ids):
    """What the batch step hands on for these files."""
    with make_client(emulator) as client:
        made = [
            client.batches.create(input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h")
            for file_id in file_ids
        ]
        return {"batches": [client.batches.retrieve(batch.id).to_dict() for batch in made]}


def test_requests_go_up_and_their_results_come_together(container, openai_emulator, tmp_path):
    """From container to container: ids, counts and the index by Flyte, the files in the blob store."""
    upload_task = UploadShardsTask("upload", CONFIG)
    given = outputs_in(container(upload_task, write_requests(tmp_path / "in.jsonl")), UPLOADED)
    assert given["requests"] == 3
    result = run_batches(openai_emulator, given["input_file_ids"])
    outputs = container(CollectResultsTask("collect", CONFIG), {"indexes": [given["index"]], "results": [result]})
    collected = outputs_in(outputs, {"result": BatchResult})["result"]
    assert (collected.requests, collected.succeeded) == (3, 3)
    assert str(collected.output_file.path).startswith(str(tmp_path / "raw"))


@pytest.mark.long
def test_upload_whose_pod_is_killed_is_made_good_by_the_next(start, container, openai_emulator, tmp_path):
    """What the first one left at OpenAI is deleted, and nothing is uploaded twice."""
    task = UploadShardsTask("upload", CONFIG)
    requests = write_requests(tmp_path / "in.jsonl", make_jsonl(make_requests(100_001)))
    openai_emulator.order(CallFault(method="POST", path="/v1/files", delay=1, after_work=True, skip=1))
    process, _ = start(task, requests)
    while not [call for call in openai_emulator.calls if call.method == "POST" and call.status == 200]:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    with make_client(openai_emulator) as client:
        assert client.files.list().data
        given = outputs_in(container(task, requests, attempt=1), UPLOADED)
        assert (len(given["input_file_ids"]), given["requests"]) == (3, 100_001)
        assert sorted(file.id for file in client.files.list()) == sorted(given["input_file_ids"])


def collect(container, emulator, tmp_path, **arguments):
    """Run a collect step over a batch of three requests; returns where it leaves its outputs."""
    index = tmp_path / "index.jsonl"
    index.write_text('{"custom_ids": ["r-0", "r-1", "r-2"], "runs": [[0, 3]]}\n')
    result = run_batches(emulator, [upload(emulator, make_requests(3))])
    task = CollectResultsTask("collect", CONFIG, **arguments)
    return container(task, {"indexes": [JSONLFile(str(index))], "results": [result]})


def test_report_is_the_deck_of_the_step(container, openai_emulator, tmp_path):
    """Flyte's console shows the file of this name beside the outputs; the result has it, too."""
    outputs = collect(container, openai_emulator, tmp_path, title="capitals")
    deck = (outputs / "deck.html").read_text()
    assert "capitals: 3 of 3 requests succeeded" in deck
    assert "project/development/f1" in deck
    report = outputs_in(outputs, {"result": BatchResult})["result"].report
    assert Path(report.download()).read_text() == deck


def test_step_that_fails_leaves_its_report(container, openai_emulator, tmp_path):
    """What went wrong is what people want to look at."""
    openai_emulator.order(RequestFault(custom_id="r-1", status=400, code="invalid_value", message="no"))
    outputs = collect(container, openai_emulator, tmp_path, min_success_ratio=1.0)
    assert error_in(outputs).code == "OpenAI:TooFewSucceeded"
    assert "The step failed." in (outputs / "deck.html").read_text()


@pytest.mark.long
def test_step_without_a_deck_has_none(container, openai_emulator, tmp_path):
    """Some would rather not have their ids and messages in the console."""
    outputs = collect(container, openai_emulator, tmp_path, enable_deck=False)
    assert not (outputs / "deck.html").exists()
