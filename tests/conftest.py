import os

import pytest
import pytest_asyncio
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


@pytest_asyncio.fixture
async def connector(emulator):
    yield BatchEndpointConnector()
    await _client.close_clients()
