import asyncio
import io
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator  # noqa: UP035 (flytekit knows this one)

import pytest
from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flytekit import Secret, task, workflow
from flytekit.exceptions.user import FlyteUserException
from flytekit.extend.backend.base_connector import Resource
from flytekit.types.file import JSONLFile
from flytekit.types.iterator import JSON
from rich.console import Console

from flytekitplugins.openai import BatchEndpointConnector, BatchEndpointTask, BatchResult, _client, create_batch
from flytekitplugins.openai.batch import local_run
from flytekitplugins.openai.batch.steps import BatchShardsTask
from flytekitplugins.openai.emulator import BatchFault, CallFault, RequestFault
from flytekitplugins.openai.exceptions import MissingAPIKeyError
from tests.builders import (
    advance_once_polled,
    make_client,
    make_inputs,
    make_jsonl,
    make_request,
    make_requests,
    make_shard_inputs,
    make_template,
    upload,
)

SECRET = Secret(group="team", key="key")


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch):
    """The emulator needs no second between polls."""
    monkeypatch.setattr(local_run, "POLL_SECONDS", 0.01)


def lines_of(file):
    return Path(file).read_bytes().splitlines()


@task
def ask(count: int) -> Iterator[JSON]:
    yield from make_requests(count)


batch = create_batch(name="local", secret=SECRET)


@workflow
def ask_all(count: int) -> BatchResult:
    return batch(jsonl_in=ask(count=count))


def test_every_request_is_answered(openai_emulator):
    """One key, one line, and every answer comes back."""
    result = ask_all(count=20)
    assert len(lines_of(result.output_file)) == 20
    assert result.error_file is None


def test_one_key_serves_every_step(openai_emulator):
    """A laptop has `OPENAI_API_KEY` and nothing else."""
    ask_all(count=1)
    assert {call.key for call in openai_emulator.calls} == {"sk-emulator"}


def test_named_secret_serves_every_step(openai_emulator, monkeypatch):
    """The batch step knows the secret's name from `create_batch`, in all of its calls."""
    monkeypatch.setenv("TEAM_KEY", "sk-team")
    ask_all(count=1)
    assert {call.key for call in openai_emulator.calls} == {"sk-team"}


def test_file_in_place_of_an_iterator(openai_emulator, tmp_path):
    """Requests that are in a file already need not be read first."""
    (tmp_path / "requests.jsonl").write_bytes(make_jsonl(make_requests(2)))
    from_file = create_batch(name="file", secret=SECRET, is_json_iterator=False)
    result = from_file(jsonl_in=JSONLFile(str(tmp_path / "requests.jsonl")))
    assert len(lines_of(result.output_file)) == 2


def test_missing_key_is_reported_before_anything_is_uploaded(openai_emulator, monkeypatch):
    """The upload step looks for the key first."""
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(MissingAPIKeyError, match="OPENAI_API_KEY, FLYTE_OPENAI_API_KEY or TEAM_KEY"):
        ask_all(count=1)
    assert not openai_emulator.calls


def test_failed_batch_ends_the_run_with_its_errors(openai_emulator, caplog):
    """The message is the one that Flyte's console would show, and the others are in the log."""
    file_id = upload(openai_emulator, [make_request("a"), make_request("a"), make_request("a")])
    with pytest.raises(FlyteUserException, match="with error: The custom_id 'a'"):
        BatchEndpointTask(name="batch", config={})(input_file_id=file_id)
    assert "line 2: duplicate_custom_id" in caplog.text
    assert "line 3: duplicate_custom_id" in caplog.text


def test_trouble_that_passes_does_not_end_the_run(openai_emulator, capsys):
    """A 503 must not end a run; the progress line says what it waits for."""
    openai_emulator.freeze()
    openai_emulator.change(validating=1)
    openai_emulator.order(CallFault(method="POST", path="/v1/batches", drop=True))
    openai_emulator.order(CallFault(method="GET", path="/v1/batches/*", status=503, times=3))
    # Three of them fail.
    with advance_once_polled(openai_emulator, 2, polls=6):
        result = ask_all(count=2)
    assert len(lines_of(result.output_file)) == 2
    said = capsys.readouterr().err
    assert "openai-batch-local: Could not look up batch" in said
    assert "Last seen: OpenAI is validating 1 file." in said
    assert "openai-batch-local: completed: 2 of 2 requests done" in said


def test_two_runs_of_one_file_are_two_batches(openai_emulator):
    """On a laptop each call of a task is its own; only Flyte's attempts share a batch."""
    file_id = upload(openai_emulator, make_requests(1))
    for _ in range(2):
        BatchEndpointTask(name="batch", config={})(input_file_id=file_id)
    with make_client(openai_emulator) as client:
        assert len(client.batches.list().data) == 2


def test_internal_error_ends_the_run(openai_emulator):
    """flytekit before 1.16.25 would poll for ever."""
    openai_emulator.order(BatchFault(code="internal_error"))
    with pytest.raises(FlyteUserException, match="OpenAI failed batch"):
        ask_all(count=1)


# A stream that is interrupted in the middle of its first line.
INTERRUPTING = """
import io, os, signal, sys
class Interrupting(io.FileIO):
    lines = 0
    def write(self, data):
        self.lines += 1
        written = super().write(data)
        if self.lines == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return written
raw = Interrupting(2, "w", closefd=False)
sys.stderr = sys.__stderr__ = io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True)
"""


def start_script(emulator, directory, *, beginning=""):
    """A process that runs a batch of three requests, which takes long."""
    emulator.change(requests_per_second=0.001)
    script = directory / "script.py"
    script.write_text(
        f"{beginning}\nfrom flytekitplugins.openai import BatchEndpointTask\n"
        f"BatchEndpointTask(name='batch', config={{}})(input_file_id={upload(emulator, make_requests(3))!r})\n"
    )
    return subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True)


@pytest.mark.long
def test_interrupted_run_cancels_its_batch(openai_emulator, tmp_path):
    """An abandoned batch is billed."""
    run = start_script(openai_emulator, tmp_path)
    # Only when it says where the batch is, it has been created and is being watched.
    first_line = run.stderr.readline()
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=30)[1]
    with make_client(openai_emulator) as client:
        [batch] = client.batches.list().data
    assert first_line.startswith("batch: ")
    assert said == f"batch: interrupted; batch {batch.id!r} is being cancelled.\n"
    assert batch.status == "cancelled"


def test_run_that_is_interrupted_while_its_batch_is_created_cancels_it(openai_emulator, tmp_path):
    """Only the reply says which batch it is, so the run waits for it."""
    openai_emulator.order(CallFault(method="POST", path="/v1/batches", after_work=True, delay=1.0))
    run = start_script(openai_emulator, tmp_path)
    with make_client(openai_emulator) as client:
        while not client.batches.list().data:
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=30)[1]
        [batch] = client.batches.list().data
    assert batch.status == "cancelled"
    assert said == f"batch: interrupted; batch {batch.id!r} is being cancelled.\n"


@pytest.mark.long
def test_run_that_is_interrupted_in_the_middle_of_a_line_says_so_once(openai_emulator, tmp_path):
    """Python refuses to write to a stream that is being written to."""
    said = start_script(openai_emulator, tmp_path, beginning=INTERRUPTING).communicate(timeout=30)[1]
    with make_client(openai_emulator) as client:
        [batch] = client.batches.list().data
    assert batch.status == "cancelled"
    assert "Traceback" not in said
    assert said.splitlines().count(f"batch: interrupted; batch {batch.id!r} is being cancelled.") == 1


def interrupt(emulator, capsys, *faults):
    """The message when a run is interrupted while its batch is under way."""
    file_id = upload(emulator, make_requests(3))
    meta = start_and_interrupt(emulator, make_template(), make_inputs(file_id), *faults)
    return capsys.readouterr().err, meta.batch_id


def start_and_interrupt(emulator, template, inputs, *faults):
    emulator.change(requests_per_second=0.001)
    connector = BatchEndpointConnector()

    async def create():
        meta = await connector.create(template, inputs, output_prefix="/run/1")
        await _client.close_clients()
        return meta

    meta = asyncio.run(create())
    emulator.order(*faults)
    local_run.cancel("batch", connector, meta)
    return meta


def test_interrupt_cancels_every_batch_of_the_task(emulator, capsys):
    """They are named, but not hundreds of them."""
    file_ids = [upload(emulator, make_requests(1)) for _ in range(7)]
    start_and_interrupt(emulator, make_template(kind=BatchShardsTask), make_shard_inputs(file_ids, 7))
    with make_client(emulator) as client:
        assert {batch.status for batch in client.batches.list()} == {"cancelled"}
    said = capsys.readouterr().err
    assert said.startswith("batch: interrupted; batches 'batch_")
    assert (said.count("'batch_"), said.endswith(" and 2 more are being cancelled.\n")) == (5, True)


def test_interrupt_is_retried(emulator, capsys):
    """An abandoned batch is billed, and a 503 soon passes."""
    said, batch_id = interrupt(emulator, capsys, CallFault(path="*/cancel", status=503, times=2))
    assert said == f"batch: interrupted; batch {batch_id!r} is being cancelled.\n"


def test_interrupt_that_fails_says_so(emulator, capsys):
    """The user can then cancel the batch on OpenAI's platform."""
    said, batch_id = interrupt(emulator, capsys, CallFault(path="*/cancel", status=503, times=None))
    assert said == (
        f"batch: interrupted, but batch {batch_id!r} keeps running: Could not cancel batch {batch_id!r}: "
        "OpenAI is unavailable (503: ordered by the test).\n"
    )


def test_interrupt_before_anything_was_submitted_cancels_nothing(emulator, capsys):
    """OpenAI was away the whole time, and has no batch of this run."""
    emulator.order(CallFault(method="POST", path="/v1/batches", status=503))
    said, batch_id = interrupt(emulator, capsys)
    assert (batch_id, said) == ("", "batch: interrupted; no batch was running.\n")


def test_interrupt_after_the_end_cancels_nothing(openai_emulator, capsys):
    """flytekit asks every batch of the run to stop, those that are over too."""
    task = BatchEndpointTask(name="batch", config={})
    task(input_file_id=upload(openai_emulator, make_requests(1)))
    task.connector_signal_handler(task.resource_meta, signal.SIGINT, None)
    assert "interrupted" not in capsys.readouterr().err
    assert not [call for call in openai_emulator.calls if call.path.endswith("/cancel")]


def test_progress_is_printed_where_there_is_no_terminal(openai_emulator, capsys):
    """A log of a run says what happened."""
    openai_emulator.order(RequestFault(custom_id="r-1", status=400, code="bad"))
    ask_all(count=3)
    assert "openai-batch-local: completed: 3 of 3 requests done, 1 failed\n" in capsys.readouterr().err


def test_progress_is_not_printed_for_every_poll(openai_emulator, capsys):
    """A day has 86,400 seconds."""
    openai_emulator.freeze()
    openai_emulator.change(validating=1)
    with advance_once_polled(openai_emulator, 2, polls=10):
        ask_all(count=1)
    printed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("openai-batch-local")]
    assert printed == [
        "openai-batch-local: OpenAI is validating 1 file",
        "openai-batch-local: completed: 1 of 1 request done",
    ]
    assert len(openai_emulator.calls) > 10


def show(*messages, terminal=False, links=()):
    """What the progress line leaves in a log or a terminal, one second passing between polls."""
    output = io.StringIO()
    line = local_run.ProgressLine(
        "batch", Console(file=output, force_terminal=terminal, soft_wrap=True, highlight=False)
    )
    with line:
        for now, message in enumerate(messages):
            line.show(Resource(phase=TaskExecution.RUNNING, message=message, log_links=list(links)), now=now)
    return output.getvalue()


def test_progress_is_printed_more_and_more_seldom():
    """After 1, 2, 4, ... seconds, as long as the state is the same."""
    printed = show(*(f"in progress: {done}" for done in range(20)))
    assert printed.splitlines() == [f"batch: in progress: {done}" for done in (0, 1, 3, 7, 15)]


def test_new_state_is_printed_at_once():
    """Whatever was printed before."""
    assert show("validating", "in progress: 0", "finalizing").count("\n") == 3


def test_link_is_printed_once():
    """It stays where it was printed."""
    link = TaskLog(name="OpenAI batch", uri="https://platform.openai.com/batches/batch_1")
    printed = show("validating", "in progress: 0", links=[link])
    assert printed.count("batch: OpenAI batch: https://platform.openai.com/batches/batch_1\n") == 1


def test_terminal_shows_one_line_as_it_is():
    """What looks like markup in a message is text."""
    printed = show("validating", "1 error: [bold]no[/nothing]", terminal=True)
    assert "batch: 1 error: [bold]no[/nothing]" in printed
