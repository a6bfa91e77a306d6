# ruff: noqa: E402 (flytekit makes its directory when it is imported)
import os
import tempfile

# Before flytekit is imported, here and in the processes that tests start: each makes a directory, and leaves it.
TEMPORARY = tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = TEMPORARY.name

import openai
import pytest
import pytest_asyncio
import respx
from hypothesis import HealthCheck, settings

from flytekitplugins.openai import BatchEndpointConnector, _client

# A busy machine is not a slow function.
machine = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# The same examples in every run, so that a change is judged by what it changed.
settings.register_profile("suite", derandomize=True, **machine)
# `make soak` looks for others.
settings.register_profile("soak", max_examples=1_000, print_blob=True, **machine)
settings.load_profile("suite")

pytest_plugins = ["flytekitplugins.openai.emulator.pytest_plugin"]


def pytest_unconfigure():
    """Nothing is left behind in the machine's temporary directory."""
    TEMPORARY.cleanup()


def pytest_xdist_auto_num_workers():
    """One more than there are cores, because tests wait for processes and for the network."""
    return (os.cpu_count() or 1) + 1


def is_ours(name):
    """Whether an environment variable says which account to use, or where."""
    return name.startswith(("OPENAI_", "FLYTE_OPENAI", "_FSEC_"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No test sees the keys and addresses of the machine it runs on."""
    for name in list(os.environ):
        if is_ours(name):
            monkeypatch.delenv(name)


@pytest.fixture
def emulator(openai_emulator, monkeypatch):
    """An emulator, and a connector's environment that leads to it."""
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator")
    return openai_emulator


@pytest.fixture
def openai_api(monkeypatch):
    """OpenAI's API as `respx` mocks it, for tests of a single odd reply, and a connector's environment."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator")
    # What the SDK sends its requests with, from its release 3 on and before.
    transport = "httpcore2" if int(openai.__version__.split(".")[0]) >= 3 else "httpcore"
    with respx.mock(base_url="https://api.openai.com/v1", using=transport) as router:
        yield router


@pytest_asyncio.fixture
async def closing_clients():
    """The connections of the test's event loop are closed at its end."""
    yield
    await _client.close_clients()


@pytest.fixture
def connector(emulator, closing_clients):
    return BatchEndpointConnector()
