import openai.resources.chat  # noqa: F401 (imported at the first call, it would take from that call's time)
import pytest

from flytekitplugins.openai import ChatGPTConnector
from flytekitplugins.openai.emulator import Emulator


@pytest.fixture
def connector(emulator, closing_clients):
    return ChatGPTConnector()


@pytest.fixture
def emulator(monkeypatch):
    """An emulator that keeps the bodies it is asked with, and a connector's environment that leads to it."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator")
    bodies = []
    with Emulator(responder=lambda request: bodies.append(request.body) or f"Heard: {request.prompt}") as emulator:
        emulator.bodies = bodies
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
        yield emulator
