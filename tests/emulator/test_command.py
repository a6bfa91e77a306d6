import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flytekitplugins.openai.emulator import CallFault, EmulatorControl
from flytekitplugins.openai.emulator.__main__ import main

from .builders import call, run, submit

COMMAND = (sys.executable, "-m", "flytekitplugins.openai.emulator")
MEGABYTE = 1 << 20


class Process:
    """The emulator as a command, on a free port."""

    def __init__(self, directory, *options):
        environment = os.environ | {"TMPDIR": str(directory)}
        command = [*COMMAND, "--port", "0", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.pid = self._process.pid
        self.base_url = next(
            found[1] for line in self._process.stdout if (found := re.match(r" *export OPENAI_BASE_URL=(.*)", line))
        )

    def end(self, number):
        """What it exits with after a signal."""
        self._process.send_signal(number)
        self._process.communicate(timeout=10)
        return self._process.returncode


@contextlib.contextmanager
def start(directory, *options):
    process = Process(directory, *options)
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


def test_command_is_an_emulator_of_its_own(tmp_path, sdk):
    """The command tells its address, does what a controller in another process says, and ends with Ctrl-C."""
    with start(tmp_path, "--control", "--validating", "3600") as process:
        client, control = sdk.with_options(base_url=process.base_url), EmulatorControl(process.base_url)
        batch = submit(client)
        control.advance(7_200)
        assert client.batches.retrieve(batch.id).status == "completed"
        control.order(CallFault(status=503))
        assert call(process, "GET", "/v1/batches").status == 503
        assert [seen["status"] for seen in control.calls()] == [200, 200, 200, 503]
        assert process.end(signal.SIGINT) == 0


@pytest.mark.long
def test_command_behaves_as_azure_when_asked_to(tmp_path, sdk):
    """`--azure` sets the flavour of every batch."""
    with start(tmp_path, "--azure") as process:
        assert submit(sdk.with_options(base_url=process.base_url)).status == "Validating"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_leaves_nothing_behind(tmp_path, sdk, number):
    """Ended by Ctrl-C or by `kill`, the command takes its files with it."""
    with start(tmp_path, "--finalizing", "0", "--validating", "0") as process:
        run(sdk.with_options(base_url=process.base_url))
        assert len(list(tmp_path.glob("openai-emulator-*"))) == 1
        assert process.end(number) == 0
    assert list(tmp_path.glob("openai-emulator-*")) == []


def peak_memory(process):
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def make_large_form(megabytes):
    """The parts of a form with one large batch file, and the bytes of them all."""
    line = b'{"custom_id": "r-1", "padding": "' + b"x" * (MEGABYTE - 36) + b'"}\n'
    disposition = b"Content-Disposition: form-data; name="
    head = b"--b\r\n" + disposition + b'"purpose"\r\n\r\nbatch\r\n'
    head += b"--b\r\n" + disposition + b'"file"; filename="large.jsonl"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    size = len(head) + megabytes * len(line) + len(tail)
    return (part for part in (head, *[line] * megabytes, tail)), size


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_large_upload_goes_to_disk(tmp_path, sdk):
    """However large an upload, the emulator holds little of it in memory."""
    with start(tmp_path) as process:
        run(sdk.with_options(base_url=process.base_url))
        before = peak_memory(process)
        form, size = make_large_form(100)
        headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(size)}
        reply = call(process, "POST", "/v1/files", body=form, headers=headers)
        assert (reply.status, reply.json["bytes"] > 99 * MEGABYTE) == (200, True)
        assert peak_memory(process) - before < 30 * MEGABYTE


def test_command_says_that_its_port_is_taken(capsys):
    """A port that is taken is reported in one sentence, with the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    message = f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:answer", "is not a function, as package.module:function: No module named 'no_such_module'"),
        ("math:answer", "is not a function, as package.module:function: module 'math' has no attribute 'answer'"),
        ("math", "is not a function, as package.module:function: module 'math' has no attribute ''"),
        (":answer", "is not a function, as package.module:function: Empty module name"),
        ("math:pi", "is not a function, but 3.141592653589793"),
    ],
)
def test_command_says_that_its_responder_is_wrong(capsys, name, reason):
    """A responder that cannot be found is reported in one sentence."""
    with pytest.raises(SystemExit) as caught:
        main(["--responder", name])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: argument --responder: '{name}' {reason}\n")


def test_failed_start_leaves_nothing_behind(capsys, monkeypatch, tmp_path):
    """An emulator that cannot listen takes its directory with it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        main(["--port", str(taken.getsockname()[1])])
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_emulator_without_its_extra_says_what_to_install():
    """The packages it needs are not those of a workflow."""
    code = "import sys; sys.modules['uvicorn'] = None; import flytekitplugins.openai.emulator"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "The emulator needs uvicorn: pip install 'flytekitplugins-openai[emulator]'" in " ".join(run.stderr.split())


def run_with_emulator(*command):
    return subprocess.run([*COMMAND, "--", *command], capture_output=True, text=True, timeout=60, check=False)


def test_command_runs_another_with_an_emulator_in_openais_place():
    """What it prints and exits with is the other's."""
    code = "import sys, openai; print(openai.OpenAI().batches.list().data); sys.exit(3)"
    run = run_with_emulator(sys.executable, "-c", code)
    assert (run.returncode, run.stdout, run.stderr) == (3, "[]\n", "")


def test_command_that_is_killed_is_reported_as_a_shell_would():
    """With 128 plus the number of the signal."""
    run = run_with_emulator(sys.executable, "-c", "import os; os.kill(os.getpid(), 15)")
    assert run.returncode == 128 + signal.SIGTERM


def test_command_that_is_not_there_is_reported():
    """In one line; the emulator stops."""
    run = run_with_emulator("no-such-command")
    assert (run.returncode, run.stderr) == (127, "cannot run 'no-such-command': No such file or directory\n")


@pytest.mark.long
@pytest.mark.parametrize(("number", "ended"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_command_that_is_interrupted_may_still_talk_to_the_emulator(number, ended):
    """A workflow that is interrupted cancels its batches."""
    code = """
import openai, os, signal, sys, time
def say(text):
    # Past Python's stream, which the signal may find in the middle of "ready".
    os.write(1, f"{text}\\n".encode())
def end(number, frame):
    say(f"{ {2: 'interrupted', 15: 'terminated'}[number] } {openai.OpenAI().batches.list().data}")
    sys.exit(0)
for number in (2, 15):
    signal.signal(number, end)
say("ready")
time.sleep(60)
"""
    command = [*COMMAND, "--", sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    # As a terminal does for Ctrl-C, and as a supervisor does.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.terminate()
    assert process.communicate(timeout=20)[0] == f"{ended} []\n"
    assert process.returncode == 0


@pytest.mark.long
def test_command_that_has_just_started_is_ended_too(tmp_path):
    """A supervisor does not wait until everything is in place."""
    code = """
import os, signal, subprocess, sys
from flytekitplugins.openai.emulator import __main__ as command
class Interrupted(subprocess.Popen):
    def __init__(self, *args, **arguments):
        super().__init__(*args, **arguments)
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Interrupted
sys.exit(command.main(["--", sys.executable, "-c", "import time; time.sleep(60)"]))
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=30)
    assert run.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.glob("openai-emulator-*")) == []
