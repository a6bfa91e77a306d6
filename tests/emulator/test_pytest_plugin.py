import os
import subprocess
import sys

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


@pytest.mark.long
def test_fixture_is_strict(tmp_path):
    """A test whose code calls what the API does not have does not pass."""
    code = """
import urllib.error, urllib.request
def test_it(openai_emulator):
    try:
        urllib.request.urlopen(openai_emulator.base_url + "/nonsense")
    except urllib.error.HTTPError as error:
        error.close()
"""
    (tmp_path / "test_it.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-p", pytest_plugin.__name__, "-p", "no:cacheprovider", "test_it.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert "AssertionError: the emulator does not support: GET /v1/nonsense" in run.stdout
    assert run.returncode == 1
