"""The images' commands, run on this machine as the Dockerfile gives them."""

import contextlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from flyteidl.core.execution_pb2 import TaskExecution
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from flytekitplugins.openai.emulator import CallFault
from tests.builders import make_inputs, make_requests, make_template, upload
from tests.service.replicas import DEADLINE, Replica, free_ports

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SECONDS = 20


def read_stages():
    """The instructions of each stage of the Dockerfile, those of the stage that it builds on first."""
    stages, text = {}, re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            parent, _, name = rest.partition(" AS ")
            stages[name] = list(stages.get(parent, []))
        elif instruction:
            stages[name].append((instruction, rest))
    return stages


STAGES = read_stages()
IMAGES = ("connector", "file-steps")


def value_of(stage, instruction):
    """The last word on it."""
    return [rest for name, rest in STAGES[stage] if name == instruction][-1]


def command_of(stage, instruction):
    """A command in its JSON form; a health check has options before it."""
    rest = value_of(stage, instruction)
    return json.loads(rest[rest.index("[") :])


def labels_of(stage):
    words = [word for name, rest in STAGES[stage] if name == "LABEL" for word in shlex.split(rest)]
    return {
        name.removeprefix("org.opencontainers.image."): value
        for name, _, value in (word.partition("=") for word in words)
    }


STOP_SIGNAL = signal.Signals[value_of("connector", "STOPSIGNAL")]
# As Flyte's chart starts the connector, whatever the image's own command is.
CHART = ["pyflyte", "serve", "agent", "--port", "8000", "--prometheus_port", "9090"]
AS_FIRST_PROCESS = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def may_be_first_process():
    try:
        return subprocess.run([*AS_FIRST_PROCESS, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


MAY_BE_FIRST = may_be_first_process()


def wait_until(condition, *, seconds=SECONDS):
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


class Container:
    """A process with an image's commands on its path; the first of a PID namespace where the machine allows one."""

    def __init__(self, command, log, **environment):
        self._log = log
        prefix = AS_FIRST_PROCESS if MAY_BE_FIRST else []
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*prefix, *command], env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def _first(self):
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children")
        return int(children.read_text().split()[0]) if MAY_BE_FIRST else own

    def wait_for(self, text):
        wait_until(lambda: text in self._log.read_text())

    def send(self, number):
        os.kill(self._first, number)

    def end(self, number=None):
        """Its exit status, after a signal."""
        if number is not None:
            self.send(number)
        return self._process.wait(SECONDS)

    def is_running(self):
        return self._process.poll() is None

    def kill(self):
        if self.is_running():
            self.send(signal.SIGKILL)
            self._process.wait(SECONDS)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The directory of the commands that the connector's image adds, first on the path."""
    commands = tmp_path / "bin"
    commands.mkdir()
    copies = [rest.split() for name, rest in STAGES["connector"] if name == "COPY" and "--from" not in rest]
    for source, target in copies:
        assert Path(target).parent == Path("/usr/local/bin")
        shutil.copy(ROOT / source, commands / Path(target).name)
    monkeypatch.setenv("PATH", f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    return commands


@pytest.fixture
def start(tmp_path, path, emulator):
    """A function that starts a command in a container."""
    with contextlib.ExitStack() as stack:

        def start(command):
            container = Container(command, tmp_path / "log", OPENAI_BASE_URL=emulator.base_url)
            stack.callback(container.kill)
            return container

        yield start


@pytest.fixture
def start_service(start):
    """A function that starts the connector by a command and waits until it answers."""
    with contextlib.ExitStack() as stack:

        def start_service(command):
            port, prometheus_port = free_ports()
            ports = {"8000": str(port), "9090": str(prometheus_port)}
            assert set(ports) <= set(command)
            container = start([ports.get(word, word) for word in command])
            wait_until(lambda: probe(port).returncode == 0, seconds=3 * SECONDS)
            return container, stack.enter_context(contextlib.closing(Replica(port))), port

        yield start_service


def probe(port):
    """The image's health check, at another port."""
    return subprocess.run(
        [*command_of("connector", "HEALTHCHECK"), str(port)], capture_output=True, text=True, check=False
    )


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, STOP_SIGNAL])
@pytest.mark.parametrize("command", [command_of("connector", "CMD"), CHART], ids=["image", "chart"])
def test_connector_answers_the_calls_under_way_and_ends(start_service, emulator, command, number):
    """With 0 on both signals: a runtime may send the image's, or SIGTERM."""
    container, service, port = start_service(command)
    meta = service.create(make_template(), make_inputs(upload(emulator, make_requests(3))))
    emulator.calls.clear()
    emulator.order(CallFault(path="/v1/batches*", delay=1.0, times=None))
    with ThreadPoolExecutor() as pool:
        poll = pool.submit(service.get, meta)
        wait_until(lambda: emulator.calls)
        container.send(number)
        assert poll.result().phase == TaskExecution.SUCCEEDED
    assert container.end() == 0
    assert probe(port).returncode == 1


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, STOP_SIGNAL])
def test_connector_ends_while_it_starts(start, tmp_path, monkeypatch, number):
    """A pod that is replaced at once is not waited for."""
    (tmp_path / "slow.py").write_text("import time; print('loading', flush=True); time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    container = start([*command_of("connector", "CMD"), "--modules", "slow"])
    container.wait_for("loading")
    assert container.end(number) == 0


@pytest.mark.long
def test_other_commands_of_pyflyte_work_in_the_image(path):
    """`pyflyte` there is only different for a service."""
    run = subprocess.run(["pyflyte", "serve", "--help"], capture_output=True, text=True, check=True)
    assert "connector" in run.stdout
    assert subprocess.run(["pyflyte", "no"], capture_output=True, check=False).returncode == 2


@pytest.fixture
def health():
    """Another service's health, on a port of its own."""
    server, servicer = grpc.server(ThreadPoolExecutor()), HealthServicer()
    add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, port
    server.stop(None).wait()


@pytest.mark.parametrize(("status", "code", "message"), [("SERVING", 0, ""), ("NOT_SERVING", 1, "answers NOT_SERVING")])
def test_probe_tells_whether_the_service_is_serving(path, health, status, code, message):
    """By the exit status, with the reason."""
    servicer, port = health
    servicer.set("", HealthCheckResponse.ServingStatus.Value(status))
    run = probe(port)
    assert (run.returncode, run.stderr) == (code, message and f"The connector at port {port} {message}\n")


def test_probe_tells_that_nothing_answers(path):
    """A connector that has not started yet."""
    with socket.socket() as taken:
        # Bound, so that nobody else can have it, and not listened on.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        run = probe(port)
    assert run.returncode == 1
    assert run.stderr == f"The connector at port {port} does not answer: UNAVAILABLE\n"


@pytest.mark.skipif(not MAY_BE_FIRST, reason="this machine does not allow a process to be the first of a namespace")
@pytest.mark.skipif(shutil.which("dumb-init", path=Path(sys.executable).parent) is None, reason="no dumb-init here")
def test_file_steps_end_on_sigterm(start):
    """By the entry point: a step by itself would run on until it is killed."""
    step = ["python", "-c", "import time; print('running', flush=True); time.sleep(60)"]
    bare = start(step)
    bare.wait_for("running")
    bare.send(signal.SIGTERM)
    time.sleep(0.2)
    assert bare.is_running()
    bare.kill()
    wrapped = start([*command_of("file-steps", "ENTRYPOINT"), *step])
    wrapped.wait_for("running")
    assert wrapped.end(signal.SIGTERM) == 128 + signal.SIGTERM


def test_entry_point_is_the_tested_one():
    """The same release in the image and in the development environment."""
    [wanted] = [
        line.split(";")[0].strip()
        for line in importlib.metadata.requires("flytekitplugins-openai")
        if line.startswith("dumb-init")
    ]
    assert wanted in [word for name, rest in STAGES["file-steps"] if name == "RUN" for word in rest.split()]


@pytest.mark.parametrize("stage", IMAGES)
def test_labels_say_what_an_image_is(stage):
    """As the package's metadata does."""
    labels, metadata = labels_of(stage), importlib.metadata.metadata("flytekitplugins-openai")
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert labels["version"] == metadata["Version"]
    assert labels["licenses"] == metadata["License-Expression"]
    assert labels["source"] == urls["Source"]
    [base] = re.findall(r"^FROM (\S+) AS base$", DOCKERFILE, flags=re.MULTILINE)
    assert labels["base.name"] == f"docker.io/library/{base}"
    assert {"title", "description"} <= set(labels)


def test_images_describe_themselves_differently():
    """Somebody who finds one in a registry knows which."""
    assert labels_of("connector")["title"] != labels_of("file-steps")["title"]


def test_context_holds_what_is_copied():
    """`.dockerignore` keeps everything out that it does not name, and a command must be executable."""
    admitted = (ROOT / ".dockerignore").read_text().splitlines()
    for name, rest in STAGES["connector"]:
        if name == "COPY" and "--from" not in rest:
            source = ROOT / rest.split()[0]
            assert os.access(source, os.X_OK)
            assert f"!{source.relative_to(ROOT).parts[0]}" in admitted


def test_page_says_how_long_a_call_under_way_is_waited_for():
    """Less than a pod's grace period, which is half a minute by default."""
    [said] = re.findall(r"for up to (\d+) seconds", (ROOT / "docs" / "operating-the-connector.md").read_text())
    [grace] = re.findall(r"^GRACE_SECONDS = (\d+)$", (ROOT / "docker" / "pyflyte.py").read_text(), flags=re.MULTILINE)
    assert said == grace
    assert DEADLINE < int(grace) < 30
