"""A connector in the real service, in a process of its own, and what that process has used."""

import os
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import grpc
from flyteidl.admin.agent_pb2 import CreateTaskRequest, GetTaskRequest
from flyteidl.core.literals_pb2 import Literal, LiteralCollection, LiteralMap, Primitive, Scalar
from flyteidl.core.tasks_pb2 import TaskTemplate
from flyteidl.service.agent_pb2_grpc import AsyncAgentServiceStub

from .errors import BenchmarkError
from .machine import memory_bytes
from .many_batches import ManyBatches
from .stand_in import API_KEY, StandIn

START_SECONDS = 60
STOP_SECONDS = 10
CREATE_SECONDS = 10
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Connector:
    """Which connector, and how it is served.

    Attributes:
        title: What it is called in a table.
        pyflyte: The command, of the environment that the connector is installed in.
        task_type: What it is registered for.
        modules: What else the service imports.
    """

    title: str
    pyflyte: Path
    task_type: str = "openai-batch"
    modules: tuple[str, ...] = ()


class ConnectorService:
    """`pyflyte serve connector`, started, with an OpenAI of its own behind it, which ends with it."""

    def __init__(self, connector: Connector, *, openai: StandIn | ManyBatches | None = None) -> None:
        self.connector = connector
        self.openai = openai or StandIn()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (`stop` closes it)
        port, metrics_port = _free_ports()
        self.address = f"127.0.0.1:{port}"
        command = [connector.pyflyte, "serve", "connector", "--port", str(port), "--prometheus_port", str(metrics_port)]
        for module in connector.modules:
            command += ["--modules", module]
        self._process = subprocess.Popen(
            command,
            env=self._environment(),
            # Not the repository's root, whence the published service would import our package.
            cwd=Path(__file__).parent,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.pid = self._process.pid

    def create_tasks(self, count: int, *, batches_each: int = 1) -> list[GetTaskRequest]:
        """Have `count` tasks submitted; returns what Flyte would poll each of them with.

        Args:
            count: How many.
            batches_each: How many batches each of them has.

        Raises:
            BenchmarkError: The service did not come up, or refused.
        """
        file_ids = [self.openai.upload() for _ in range(batches_each)]
        with grpc.insecure_channel(self.address) as channel:
            try:
                grpc.channel_ready_future(channel).result(START_SECONDS)
                tasks = AsyncAgentServiceStub(channel)
                return [self._create(tasks, file_ids, number) for number in range(count)]
            except (grpc.FutureTimeoutError, grpc.RpcError) as error:
                raise self.failure(error) from error

    def failure(self, error: Exception) -> BenchmarkError:
        """What to say when it did not do what it was asked for."""
        self._log.seek(0)
        log = self._log.read().decode(errors="replace")[-2_000:]
        reason = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.RpcError) else repr(error)
        return BenchmarkError(f"The service of {self.connector.title!r} failed: {reason}\nIt last said:\n{log}")

    def cpu_seconds(self) -> float:
        """CPU time that the process has used so far, as user and as system."""
        return cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        """Memory of the process that is in RAM now."""
        return memory_bytes("VmRSS", self.pid)

    def peak_bytes(self) -> int:
        """The most that there ever was of it."""
        return memory_bytes("VmHWM", self.pid)

    def stop(self) -> None:
        """End the service and its OpenAI."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.openai.stop()
        self._log.close()

    def _environment(self) -> dict[str, str]:
        """As in a container: nothing of the shell's, so no PYTHONPATH, proxy or key of the user's either."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "_FSEC_FLYTE_OPENAI_API_KEY": API_KEY, "OPENAI_BASE_URL": self.openai.base_url}

    def _create(self, tasks: AsyncAgentServiceStub, file_ids: list[str], number: int) -> GetTaskRequest:
        template = TaskTemplate(type=self.connector.task_type)
        template.custom.update({"openai_organization": "org-1", "config": {}})
        literals = [Literal(scalar=Scalar(primitive=Primitive(string_value=file_id))) for file_id in file_ids]
        inputs = {"input_file_id": literals[0]}
        if len(literals) > 1:
            inputs = {"input_file_ids": Literal(collection=LiteralCollection(literals=literals))}
        request = CreateTaskRequest(
            template=template,
            inputs=LiteralMap(literals=inputs),
            # Of each task its own, by which a connector may know a task again.
            output_prefix=f"s3://bucket/execution-{number}/n0/data/0",
        )
        made = tasks.CreateTask(request, timeout=CREATE_SECONDS)
        return GetTaskRequest(task_type=self.connector.task_type, resource_meta=made.resource_meta)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, to a hundredth of a second."""
    # Fields 14 and 15 of https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, counted from behind the second,
    # a name that may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on; not the same one twice, as could be with one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as another:
        return one.getsockname()[1], another.getsockname()[1]
