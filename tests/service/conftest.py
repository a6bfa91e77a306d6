import os
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from flyteidl.admin.agent_pb2 import CreateTaskRequest, DeleteTaskRequest, GetTaskRequest
from flyteidl.service.agent_pb2_grpc import AgentMetadataServiceStub, AsyncAgentServiceStub

from flytekitplugins.openai.emulator import Emulator
from tests.conftest import is_ours

TASK_TYPE = "openai-batch"
# As FlytePropeller calls.
DEADLINE = 10
START_TIMEOUT = 60


class ConnectorService:
    """A real `pyflyte serve connector` in its own process, and the calls that FlytePropeller makes."""

    def __init__(self, environment, log):
        self._port = _free_port()
        pyflyte = Path(sys.executable).with_name("pyflyte")
        self.process = subprocess.Popen(
            [pyflyte, "serve", "connector", "--port", str(self._port), "--prometheus_port", str(_free_port())],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._port}")
        grpc.channel_ready_future(self._channel).result(START_TIMEOUT)
        self.tasks = AsyncAgentServiceStub(self._channel)
        self.metadata = AgentMetadataServiceStub(self._channel)

    def create(self, template, inputs, *, output_prefix="s3://bucket/execution/n0/0"):
        request = CreateTaskRequest(
            template=template.to_flyte_idl(), inputs=inputs.to_flyte_idl(), output_prefix=output_prefix
        )
        return self.tasks.CreateTask(request, timeout=DEADLINE).resource_meta

    def get(self, resource_meta):
        request = GetTaskRequest(task_type=TASK_TYPE, resource_meta=resource_meta)
        return self.tasks.GetTask(request, timeout=DEADLINE).resource

    def delete(self, resource_meta):
        request = DeleteTaskRequest(task_type=TASK_TYPE, resource_meta=resource_meta)
        self.tasks.DeleteTask(request, timeout=DEADLINE)

    def stop(self):
        self._channel.close()
        self.process.terminate()
        self.process.wait(DEADLINE)


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture(scope="session")
def service_and_emulator(tmp_path_factory):
    """The service and an emulator behind it, started once because it takes seconds."""
    log = tmp_path_factory.mktemp("service") / "log"
    with Emulator() as emulator, log.open("wb") as output:
        secrets = {"_FSEC_FLYTE_OPENAI_API_KEY": "sk-operator", "OPENAI_BASE_URL": emulator.base_url}
        inherited = {name: value for name, value in os.environ.items() if not is_ours(name)}
        service = ConnectorService({**inherited, **secrets}, output)
        yield service, emulator
        service.stop()


@pytest.fixture
def service(service_and_emulator):
    return service_and_emulator[0]


@pytest.fixture
def emulator(service_and_emulator):
    """The emulator behind the service, as if it were new."""
    emulator = service_and_emulator[1]
    emulator.reset()
    return emulator
