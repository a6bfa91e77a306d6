import os

import openai
import pytest

from flytekitplugins.openai.emulator import pytest_plugin

# As `pytest_plugins` in a user's conftest.py would bring it.
openai_emulator = pytest_plugin.openai_emulator


@pytest.fixture
def foreign_environment(monkeypatch):
    """A machine whose environment leads clients elsewhere."""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.example/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-foreign")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_foreign")


def test_fixture_leads_every_client_to_the_emulator(openai_emulator):
    """A client that is told nothing talks to the fixture's emulator."""
    with openai.OpenAI(max_retries=0) as client:
        assert client.batches.list().data == []
    assert [seen.path for seen in openai_emulator.calls] == ["/v1/batches"]


@pytest.mark.usefixtures("foreign_environment")
def test_fixture_sets_the_environment(request):
    """Address and key are the emulator's, and no organisation or project is left over."""
    emulator = request.getfixturevalue("openai_emulator")
    found = {name: value for name, value in os.environ.items() if name.startswith("OPENAI_")}
    assert found == {"OPENAI_BASE_URL": emulator.base_url, "OPENAI_API_KEY": "sk-emulator"}


def test_fixture_is_strict(openai_emulator):
    """The fixture's emulator can be asked whether every call had a route."""
    openai_emulator.check()
