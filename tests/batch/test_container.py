"""The file steps as Flyte runs them: `pyflyte-execute` in a process of its own, with files in and files out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flyteidl.core import errors_pb2, execution_pb2, literals_pb2
from flytekit import FlyteContextManager, Secret
from flytekit.core.type_engine import TypeEngine
from flytekit.core.utils import load_proto_from_file, write_proto_to_file
from flytekit.types.file import JSONLFile

from flytekitplugins.openai import DownloadJSONFilesTask, OpenAIFileConfig, UploadJSONLFileTask
from flytekitplugins.openai.emulator import CallFault
from tests.builders import ENDPOINT, make_client, make_jsonl, make_requests, serialize, upload

CONFIG = OpenAIFileConfig(secret=Secret(group="team", key="key"))


@pytest.fixture
def container(openai_emulator, tmp_path):
    """A function that runs a task as its container does, and returns what it left for Flyte."""

    def run(task, inputs):
        template = serialize(task)
        literals = TypeEngine.dict_to_literal_map(
            FlyteContextManager.current_context(), inputs, task.python_interface.inputs
        )
        places = {
            "{{.taskTemplatePath}}": tmp_path / "template.pb",
            "{{.input}}": tmp_path / "inputs.pb",
            "{{.outputPrefix}}": tmp_path / "outputs",
            "{{.rawOutputDataPrefix}}": tmp_path / "raw",
        }
        write_proto_to_file(template.to_flyte_idl(), str(places["{{.taskTemplatePath}}"]))
        write_proto_to_file(literals.to_flyte_idl(), str(places["{{.input}}"]))
        command, *arguments = (str(places.get(argument, argument)) for argument in template.container.args)
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": openai_emulator.base_url,
            "_FSEC_TEAM_KEY": "sk-team",
        }
        subprocess.run([Path(sys.executable).with_name(command), *arguments], env=environment, check=True, cwd=tmp_path)
        return places["{{.outputPrefix}}"]

    return run


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
    assert (error.code, error.kind) == ("OpenAI:Refused", errors_pb2.ContainerError.NON_RECOVERABLE)
    assert error.origin == execution_pb2.ExecutionError.USER
    assert "RefusedError: Could not upload the requests in 'notes.jsonl': OpenAI refused (400" in error.message
    assert "Traceback" not in error.message


def test_trouble_that_may_pass_counts_against_retries(container, openai_emulator, tmp_path):
    """A user's recoverable error is tried again as often as `retries` says, a fault of the system four times."""
    openai_emulator.order(CallFault(path="/v1/files", status=503, headers={"x-should-retry": "false"}))
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
