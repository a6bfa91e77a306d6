import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from flytekitplugins.openai.batch.container import files
from flytekitplugins.openai.batch.requests import shards
from flytekitplugins.openai.batch.requests.shards import Limits
from flytekitplugins.openai.emulator import Emulator
from flytekitplugins.openai.emulator.settings import Settings
from tests.builders import make_jsonl
from tests.conftest import is_ours
from tests.service.replicas import DEADLINE, Nursery, Replica, free_ports, serve_connector
from tests.service.world import World


class ServiceProcess(Replica):
    """A real `pyflyte serve connector`, from the command line."""

    def __init__(self, environment, log):
        port, prometheus_port = free_ports()
        pyflyte = Path(sys.executable).with_name("pyflyte")
        command = [pyflyte, *serve_connector(port, prometheus_port)]
        self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        super().__init__(port)

    def stop(self):
        self.close()
        self.process.terminate()
        self.process.wait(DEADLINE)


@pytest.fixture(scope="session")
def service_and_emulator(tmp_path_factory):
    """The service and an emulator behind it, started once because it takes seconds."""
    log = tmp_path_factory.mktemp("service") / "log"
    with Emulator() as emulator, log.open("wb") as output:
        secrets = {"_FSEC_FLYTE_OPENAI_API_KEY": "sk-operator", "OPENAI_BASE_URL": emulator.base_url}
        inherited = {name: value for name, value in os.environ.items() if not is_ours(name)}
        service = ServiceProcess({**inherited, **secrets}, output)
        yield service, emulator
        service.stop()


@pytest.fixture
def service(service_and_emulator):
    return service_and_emulator[0]


@pytest.fixture
def emulator(service_and_emulator):
    """The emulator behind the service, well and quick again; its batches stay, because the service knows of them."""
    emulator = service_and_emulator[1]
    emulator.clear_faults()
    emulator.thaw()
    emulator.change(**vars(Settings()))
    emulator.calls.clear()
    return emulator


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.stop()


@pytest.fixture(scope="session")
def lasting_world(nursery):
    world = World(nursery)
    yield world
    world.stop()


@pytest.fixture
def world(lasting_world):
    """A world as if it were new."""
    lasting_world.begin()
    return lasting_world


@pytest.fixture
def containers(world, monkeypatch):
    """The file steps run in this process as in their containers, with three requests to a shard."""
    monkeypatch.setenv("_FSEC_TEAM_KEY", "sk-team")
    monkeypatch.setenv("OPENAI_BASE_URL", world.emulator.base_url)
    monkeypatch.setattr(shards, "Limits", partial(Limits, requests=3))
    monkeypatch.setattr(files, "FIRST_PAUSE_SECONDS", 0)
    monkeypatch.setattr("flytekitplugins.openai._client.TRANSFER_RETRIES", 0)


@pytest.fixture
def requests_file(tmp_path):
    """A function that writes requests into a file."""

    def write(requests):
        (tmp_path / "requests.jsonl").write_bytes(make_jsonl(requests))
        return tmp_path / "requests.jsonl"

    return write
