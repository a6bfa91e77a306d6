"""A local run where an event loop is running already: in a notebook's cell, and in an `async def` test."""

import tempfile
import textwrap
import time

import pytest
from flytekit import Secret
from jupyter_client.manager import KernelManager

from flytekitplugins.openai import BatchEndpointTask, ChatGPTTask, create_batch
from flytekitplugins.openai.emulator import CallFault
from tests.builders import make_client, make_requests, upload

SECONDS = 60
SETUP = """
    from flytekit import Secret
    from flytekitplugins.openai import chat_completion_request, create_batch, read_results

    requests = [chat_completion_request(f"r-{i}", model="m", messages="hi") for i in range(3)]
    ask = create_batch(name="notebook", secret=Secret(group="team", key="key"))
"""


class Notebook:
    """A kernel, as a notebook has one."""

    def __init__(self, directory):
        # Over TCP it would be given ports that another process may take before it has them.
        self._manager = KernelManager(transport="ipc", ip=f"{directory}/kernel")
        self._manager.start_kernel()
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=SECONDS)

    def run(self, code):
        """What a cell shows, and the name of its error."""
        shown = []

        def keep(message):
            content = message["content"]
            shown.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

        reply = self._client.execute_interactive(textwrap.dedent(code), output_hook=keep, timeout=SECONDS)
        return "".join(shown), reply["content"].get("ename")

    def start(self, code):
        """Run a cell, and do not wait for it."""
        return self._client.execute(textwrap.dedent(code))

    def error_of(self, cell):
        """The name of the error that a cell ends with."""
        while True:
            reply = self._client.get_shell_msg(timeout=SECONDS)
            if reply["parent_header"].get("msg_id") == cell:
                return reply["content"].get("ename")

    def interrupt(self):
        self._manager.interrupt_kernel()

    def stop(self):
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(openai_emulator):
    # The path of a socket may have 107 bytes, and `tmp_path` some eighty.
    with tempfile.TemporaryDirectory() as directory:
        notebook = Notebook(directory)
        yield notebook
        notebook.stop()


def batches(emulator):
    with make_client(emulator) as client:
        return list(client.batches.list())


def test_workflow_runs_in_a_cell(notebook):
    """With its progress, as anywhere else."""
    notebook.run(SETUP)
    printed, error = notebook.run("print([row.custom_id for row in read_results(ask(jsonl_in=iter(requests)))])")
    assert error is None, printed
    assert "['r-0', 'r-1', 'r-2']" in printed
    assert "openai-batch-notebook: completed: 3 of 3 requests done" in printed


def wait_for_batches(emulator, *statuses):
    """Returns once there are batches in these states, and no others."""
    ends_at = time.monotonic() + SECONDS
    while (found := tuple(batch.status for batch in batches(emulator))) != statuses:
        assert time.monotonic() < ends_at, found
        time.sleep(0.05)


@pytest.fixture
def slow_emulator(openai_emulator):
    """One whose batches do not end by themselves."""
    openai_emulator.freeze()
    openai_emulator.change(validating=1, cancelling=600)
    return openai_emulator


@pytest.mark.long
def test_interrupted_cell_cancels_its_batch(notebook, slow_emulator):
    """The notebook keeps working."""
    notebook.run(SETUP)
    cell = notebook.start("ask(jsonl_in=iter(requests))")
    wait_for_batches(slow_emulator, "validating")
    notebook.interrupt()
    assert notebook.error_of(cell) == "KeyboardInterrupt"
    wait_for_batches(slow_emulator, "cancelling")
    assert notebook.run("print('the next cell')") == ("the next cell\n", None)


@pytest.mark.long
def test_interrupted_cell_that_imports_flytekit_cancels_its_batch(notebook, slow_emulator):
    """There flytekit takes the signal for itself, and ends the kernel."""
    notebook.start(SETUP + "    ask(jsonl_in=iter(requests))")
    wait_for_batches(slow_emulator, "validating")
    notebook.interrupt()
    wait_for_batches(slow_emulator, "cancelling")


@pytest.mark.long
def test_cell_that_imports_flytekit_is_interrupted_while_its_batch_is_created(notebook, slow_emulator):
    """Only the reply says which batch it is."""
    slow_emulator.order(CallFault(method="POST", path="/v1/batches", after_work=True, delay=2.0))
    notebook.start(SETUP + "    ask(jsonl_in=iter(requests))")
    wait_for_batches(slow_emulator, "validating")
    notebook.interrupt()
    wait_for_batches(slow_emulator, "cancelling")


async def test_batch_task_runs_in_an_async_test(openai_emulator):
    """pytest has a loop there."""
    file_id = upload(openai_emulator, make_requests(3))
    assert BatchEndpointTask(name="batch", config={})(input_file_id=file_id)["status"] == "completed"


async def test_workflow_runs_in_an_async_test(openai_emulator):
    """From its upload to its results."""
    workflow = create_batch(name="async", secret=Secret(group="team", key="key"))
    assert workflow(jsonl_in=iter(make_requests(3))).succeeded == 3


async def test_question_is_asked_in_an_async_test(openai_emulator):
    """The task that sends one message has a loop of flytekit's, too."""
    task = ChatGPTTask(name="chatgpt", chatgpt_config={"model": "m"})
    assert task(message="hi") == "The emulator heard: hi"
