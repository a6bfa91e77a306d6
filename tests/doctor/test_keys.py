"""Where the doctor finds keys, and that it never tells them."""

import os

import flytekit
import pytest
from flytekit.configuration import SecretsConfig
from flytekit.core.context_manager import SecretsManager

from flytekitplugins.openai._credentials import SecretName
from flytekitplugins.openai.doctor.keys import find_keys, find_upload_key, secret_name

NAMED = SecretName("key", "team")


def told(found):
    return found.check.outcome, found.check.text


@pytest.fixture
def secrets_directory(tmp_path, monkeypatch):
    """A directory in the place of /etc/secrets."""
    manager = SecretsManager(SecretsConfig(default_dir=str(tmp_path)))
    monkeypatch.setattr(type(flytekit.current_context()), "secrets", property(lambda _: manager))
    return tmp_path


def test_key_of_the_connector_is_found_in_its_variable(monkeypatch):
    """As Helm sets it."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator")
    [found] = find_keys(in_connector=True)
    assert told(found) == ("ok", "secret 'FLYTE_OPENAI_API_KEY', from the variable _FSEC_FLYTE_OPENAI_API_KEY")
    assert found.account.api_key.value == "sk-operator"
    assert "sk-operator" not in repr(found)


def test_key_of_the_connector_is_found_in_its_file(secrets_directory):
    """As Helm mounts it."""
    path = secrets_directory / "flyte_openai_api_key"
    path.write_text("sk-operator\n")
    [found] = find_keys(in_connector=True)
    assert told(found) == ("ok", f"secret 'FLYTE_OPENAI_API_KEY', from the file {path}")
    assert found.account.api_key.value == "sk-operator"


def test_missing_key_of_the_connector_is_told():
    """With both places where it may be."""
    [found] = find_keys(in_connector=True)
    assert told(found) == (
        "failed",
        "No OpenAI API key was found: secret 'FLYTE_OPENAI_API_KEY' is not in the connector service, neither as the "
        "environment variable _FSEC_FLYTE_OPENAI_API_KEY nor as the file /etc/secrets/flyte_openai_api_key.",
    )


def test_plain_variable_in_the_connector_is_told(monkeypatch):
    """It is found in local runs only, which many learn late."""
    monkeypatch.setenv("FLYTE_OPENAI_API_KEY", "sk-operator")
    [found] = find_keys(in_connector=True)
    assert found.account is None
    assert found.check.text.endswith(
        " The variable FLYTE_OPENAI_API_KEY is set, but only local runs read it: rename it to "
        "_FSEC_FLYTE_OPENAI_API_KEY."
    )


def test_key_that_cannot_be_one_is_told(monkeypatch):
    """By where it is, and not by what it is."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-ope\nrator")
    [found] = find_keys(in_connector=True)
    assert told(found) == (
        "failed",
        "The OpenAI API key from secret 'FLYTE_OPENAI_API_KEY' contains white space or other characters that no key "
        "has; store it again as one line.",
    )


def test_file_that_cannot_be_read_is_told(secrets_directory):
    """As one whose owner is another user."""
    path = secrets_directory / "flyte_openai_api_key"
    path.mkdir()
    [found] = find_keys(in_connector=True)
    assert told(found) == ("failed", f"{path} cannot be read (Is a directory); correct its permissions")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("OPENAI_API_KEY", "environment variable OPENAI_API_KEY"),
        ("FLYTE_OPENAI_API_KEY", "secret 'FLYTE_OPENAI_API_KEY', from the variable FLYTE_OPENAI_API_KEY"),
    ],
)
def test_key_of_a_local_run_is_found(monkeypatch, variable, text):
    """In each of its places."""
    monkeypatch.setenv(variable, "sk-mine")
    [found] = find_keys(in_connector=False)
    assert told(found) == ("ok", text)


def test_missing_key_of_a_local_run_is_told():
    """With what to type."""
    [found] = find_keys(in_connector=False)
    assert told(found) == (
        "failed",
        "No OpenAI API key was found: set one of the environment variables OPENAI_API_KEY or FLYTE_OPENAI_API_KEY.",
    )


@pytest.mark.parametrize("variable", ["_FSEC_TEAM_KEY", "TEAM_KEY"])
def test_upload_key_is_found_as_flyte_mounts_it_and_as_a_plain_variable(monkeypatch, variable):
    """An operator may give it either way."""
    monkeypatch.setenv(variable, "sk-team")
    found = find_upload_key(NAMED)
    assert told(found) == ("ok", f"secret 'team/key', from the variable {variable}")
    assert found.account.api_key.value == "sk-team"


def test_upload_key_is_no_other_key(monkeypatch):
    """A local run would take one of these, which says nothing about the secret."""
    for name in ("OPENAI_API_KEY", "FLYTE_OPENAI_API_KEY", "_FSEC_FLYTE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, "sk-other")
    found = find_upload_key(NAMED)
    assert found.account is None
    assert found.check.text.startswith("No OpenAI API key was found: secret 'team/key' is not in the container")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api_key", SecretName("api_key")),
        ("openai/api_key", SecretName("api_key", "openai")),
        ("openai/2/api_key", SecretName("api_key", "openai", "2")),
    ],
)
def test_secret_is_named_as_in_a_task(text, expected):
    """With its group, and the group's version."""
    assert secret_name(text) == expected


@pytest.mark.parametrize("text", ["", "/", "openai/", "a/b/c/d"])
def test_secret_may_be_named_wrongly(text):
    """A part is missing, or is too many."""
    with pytest.raises(ValueError, match=f"^{text}$"):
        secret_name(text)


def test_looking_for_keys_changes_nothing(monkeypatch):
    """Neither the environment nor Flyte's context."""
    before = dict(os.environ), flytekit.FlyteContextManager.current_context()
    find_keys(in_connector=False)
    find_upload_key(NAMED)
    assert (dict(os.environ), flytekit.FlyteContextManager.current_context()) == before
