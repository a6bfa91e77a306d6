"""Connector services: started as `pyflyte serve connector`, called as FlytePropeller calls, and killed at will."""

import contextlib
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import grpc
from flyteidl.admin.agent_pb2 import (
    CreateRequestHeader,
    CreateTaskRequest,
    DeleteTaskRequest,
    ExecuteTaskSyncRequest,
    GetTaskMetricsRequest,
    GetTaskRequest,
)
from flyteidl.service.agent_pb2_grpc import (
    AgentMetadataServiceStub,
    AsyncAgentServiceStub,
    SyncAgentServiceStub,
)

TASK_TYPE = "openai-batch"
# FlytePropeller's, in seconds.
DEADLINE = 10
START_TIMEOUT = 60
ATTEMPTS = 5
FIRST_PORT, WORKERS, PORTS = 20_000, 12, 1_000
# Of two runs at the same time each begins somewhere else.
_port_numbers = itertools.count(os.getpid())


def free_ports():
    """Two free ports that only a test of this worker would take before the service that they are for has them.

    The kernel gives ports from 32,768 on to whoever asks for any, such as the emulators of other workers.
    """
    return _free_port(), _free_port()


def _free_port():
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for number in _port_numbers:
        port = FIRST_PORT + worker % WORKERS * PORTS + number % PORTS
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("not reached: the numbers do not end")


def _wait_until_open(port, is_alive):
    """Whether a process is listening. gRPC itself would wait a second between its first tries to connect."""
    ends_at = time.monotonic() + START_TIMEOUT
    while is_alive() and time.monotonic() < ends_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.005)
    return False


def _is_alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def serve_connector(port, prometheus_port):
    """The command line that starts a service, after `pyflyte`."""
    return ["serve", "connector", "--port", str(port), "--prometheus_port", str(prometheus_port)]


class Replica:
    """The calls that FlytePropeller makes of a service that listens on a port of this machine."""

    def __init__(self, port):
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        grpc.channel_ready_future(self._channel).result(START_TIMEOUT)
        self.tasks = AsyncAgentServiceStub(self._channel)
        self.sync_tasks = SyncAgentServiceStub(self._channel)
        self.metadata = AgentMetadataServiceStub(self._channel)
        self._executions = itertools.count()

    def create(self, template, inputs, *, output_prefix=None, execution=None):
        request = CreateTaskRequest(
            template=template.to_flyte_idl(),
            inputs=inputs.to_flyte_idl(),
            output_prefix=output_prefix or f"s3://bucket/execution-{next(self._executions)}/n0/data/0",
            task_execution_metadata=execution,
        )
        return self.tasks.CreateTask(request, timeout=DEADLINE).resource_meta

    def get(self, resource_meta):
        request = GetTaskRequest(task_type=TASK_TYPE, resource_meta=resource_meta)
        return self.tasks.GetTask(request, timeout=DEADLINE).resource

    def delete(self, resource_meta):
        request = DeleteTaskRequest(task_type=TASK_TYPE, resource_meta=resource_meta)
        self.tasks.DeleteTask(request, timeout=DEADLINE)

    def do(self, template, inputs):
        """Run a task that is over with its one call; Flyte sends first what it is, then its inputs."""
        prefix = f"s3://bucket/execution-{next(self._executions)}/n0/data/0"
        header = CreateRequestHeader(template=template.to_flyte_idl(), output_prefix=prefix)
        requests = [ExecuteTaskSyncRequest(header=header), ExecuteTaskSyncRequest(inputs=inputs.to_flyte_idl())]
        [response] = self.sync_tasks.ExecuteTaskSync(iter(requests), timeout=DEADLINE)
        return response.header.resource

    def get_metrics(self, resource_meta):
        request = GetTaskMetricsRequest(task_type=TASK_TYPE, resource_meta=resource_meta)
        return self.tasks.GetTaskMetrics(request, timeout=DEADLINE).results

    def close(self):
        self._channel.close()


class Nursery:
    """Starts services in milliseconds, with a wall clock that can be set ahead; see `nursery.py`.

    Args:
        directory: For the services' log and their clock.
        python: The interpreter whose packages they run with.
    """

    def __init__(self, directory, *, python=sys.executable):
        self.clock = Clock(directory / "clock")
        self.log = directory / "log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [python, Path(__file__).with_name("nursery.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=directory,
                text=True,
            )

    def start(self, environment, *, call_seconds=None):
        """A new replica.

        Args:
            environment: Variables that it has besides those of this process.
            call_seconds: How long it waits for an answer of OpenAI's, if not as long as usual.
        """
        for _ in range(ATTEMPTS):
            port, prometheus_port = free_ports()
            process_id = self._fork(serve_connector(port, prometheus_port), environment, call_seconds)
            # A port that was free may be taken before the service has it.
            if _wait_until_open(port, lambda pid=process_id: _is_alive(pid)):
                return NurseryReplica(port, prometheus_port, process_id)
        raise AssertionError(f"no service came up; see {self.log}")

    def _fork(self, arguments, environment, call_seconds):
        order = {
            "arguments": arguments,
            "environment": environment,
            "log": str(self.log),
            "clock": str(self.clock.path),
            "call_seconds": call_seconds,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def stop(self):
        self._process.stdin.close()
        self._process.wait(START_TIMEOUT)
        self._process.stdout.close()


class NurseryReplica(Replica):
    """A replica that can be killed."""

    def __init__(self, port, prometheus_port, process_id):
        super().__init__(port)
        self.prometheus_port = prometheus_port
        self._process_id = process_id

    def kill(self):
        """As the kernel does when memory runs out: nothing in the process learns of it."""
        # First the channel, which would connect to whatever takes the port next.
        self.close()
        os.kill(self._process_id, signal.SIGKILL)


class Clock:
    """How far the wall clock of the services is ahead, in seconds; shared with them through a file."""

    def __init__(self, path):
        self.path = path
        self.ahead = 0.0
        self._write()

    def advance(self, seconds):
        self.ahead += seconds
        self._write()

    def _write(self):
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("d", self.ahead))
