"""Where the doctor finds keys, and that it never tells them."""

import os

import flytekit
import pytest
from flytekit.configuration import SecretsConfig
from flytekit.core.context_manager import SecretsManager

from flytekitplugins.openai._secret_names import KeyScope, SecretName
from flytekitplugins.openai.doctor.keys import find_keys, find_upload_key, secret_name
from flytekitplugins.openai.doctor.stored_names import check_names_beside_keys

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


@pytest.fixture
def keys_of_teams(monkeypatch, secrets_directory):
    """A common key and two of projects, in variables and a file."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator")
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY__FRAUD-TEAM__PRODUCTION", "sk-fraud")
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_ORG_ID__FRAUD-TEAM__PRODUCTION", "org-fraud")
    (secrets_directory / "flyte_openai_api_key__ads").write_text("sk-ads")
    return secrets_directory


def test_keys_of_flyte_projects_are_found(keys_of_teams):
    """Each is told, and checked as tasks of the project use it."""
    found = find_keys(in_connector=True)
    assert {each.check.name: each.account.api_key.value for each in found} == {
        "key": "sk-operator",
        "key of ads": "sk-ads",
        "key of fraud-team/production": "sk-fraud",
    }
    assert [each.account.organization for each in found] == [None, None, "org-fraud"]
    variable = "_FSEC_FLYTE_OPENAI_API_KEY__FRAUD-TEAM__PRODUCTION"
    assert found[2].check.text == (
        f"secret 'FLYTE_OPENAI_API_KEY__fraud-team__production', from the variable {variable}, organization 'org-fraud'"
    )


@pytest.mark.parametrize(
    ("whose", "name"),
    [
        (KeyScope("fraud-team", "production"), "key of fraud-team/production"),
        (KeyScope("fraud-team", "development"), "key"),
        (KeyScope("ads", "production"), "key of ads"),
        (KeyScope("research"), "key"),
    ],
)
def test_key_of_one_project_is_found(keys_of_teams, whose, name):
    """The one that its tasks would use."""
    [found] = find_keys(in_connector=True, whose=whose)
    assert found.check.name == name


def test_project_without_a_key_of_its_own_is_told(keys_of_teams, monkeypatch):
    """Its name may have been misspelt where the key is stored, and the common key is used without a word."""
    [found] = find_keys(in_connector=True, whose=KeyScope("fraud-team", "development"))
    assert told(found) == (
        "ok",
        "secret 'FLYTE_OPENAI_API_KEY', from the variable _FSEC_FLYTE_OPENAI_API_KEY; 'fraud-team/development' has no "
        "key of its own, and its tasks use the common one (keys of projects: ads, fraud-team/production)",
    )
    monkeypatch.delenv("_FSEC_FLYTE_OPENAI_API_KEY__FRAUD-TEAM__PRODUCTION")
    (keys_of_teams / "flyte_openai_api_key__ads").unlink()
    [found] = find_keys(in_connector=True, whose=KeyScope("ads"))
    assert found.check.text.endswith(
        "; 'ads' has no key of its own, and its tasks use the common one (keys of projects: none)"
    )
    monkeypatch.delenv("_FSEC_FLYTE_OPENAI_API_KEY")
    [found] = find_keys(in_connector=True, whose=KeyScope("ads"))
    assert found.check.outcome == "failed"
    assert "/flyte_openai_api_key. 'ads' has no key of its own, and" in found.check.text


@pytest.mark.parametrize("name", ["MY_TEAM__", "MY_TEAM", "A__B__C", "-A"])
def test_key_of_nobody_is_told(keys_of_teams, monkeypatch, name):
    """A shell takes no hyphen in a name, and Flyte gives no project a name with an underscore."""
    monkeypatch.setenv(f"_FSEC_FLYTE_OPENAI_API_KEY__{name}", "sk-team")
    [nobodys] = [each for each in find_keys(in_connector=True) if each.account is None]
    assert told(nobodys) == (
        "failed",
        f"the variable _FSEC_FLYTE_OPENAI_API_KEY__{name} matches no project; name it after a project of Flyte's as it "
        "is written, and after its domain, such as FLYTE_OPENAI_API_KEY__my-team or "
        "FLYTE_OPENAI_API_KEY__my-team__production; a file in small letters",
    )


@pytest.mark.parametrize("name", ["FLYTE_OPENAI_API_KEY__research", "flyte_openai_api_key__Research"])
def test_file_in_capitals_is_told(keys_of_teams, name):
    """flytekit looks for small letters, and the project would use the common key."""
    (keys_of_teams / name).write_text("sk-research")
    [nobodys] = [each for each in find_keys(in_connector=True) if each.account is None]
    assert nobodys.check.text.startswith(f"the file {keys_of_teams / name} matches no project; name it after a project")


@pytest.mark.parametrize(
    "name", ["FLYTE_OPENAI_ORG_ID__FRAUD-TEAM", "FLYTE_OPENAI_PROJECT_ID__RESEARCH", "FLYTE_OPENAI_ORG_ID__A__B__C"]
)
def test_organization_or_project_without_a_key_is_told(keys_of_teams, monkeypatch, name):
    """The key of another domain of the project does not have it, nor one that no project can have."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY__A__B__C", "sk-nobody")
    monkeypatch.setenv(f"_FSEC_{name}", "its-name")
    [unused] = check_names_beside_keys()
    what, _, whose = name.removeprefix("FLYTE_OPENAI_").partition("__")
    assert unused.name == f"{ {'ORG_ID': 'organization', 'PROJECT_ID': 'project'}[what] } of {whose.lower()}"
    assert (unused.outcome, unused.text) == (
        "failed",
        f"the variable _FSEC_{name} is never used; end its name as its key's, and write a file's in small letters",
    )


@pytest.mark.parametrize(
    ("name", "line", "wanted"),
    [
        ("FLYTE_OPENAI_API_KEY__RESEARCH", "key", "_FSEC_FLYTE_OPENAI_API_KEY__RESEARCH"),
        ("FLYTE_OPENAI_API_KEY_research", "key", "_FSEC_FLYTE_OPENAI_API_KEY__RESEARCH"),
        ("_FSEC_FLYTE_OPENAI_API_KEY_MY-TEAM", "key", "_FSEC_FLYTE_OPENAI_API_KEY__MY-TEAM"),
        ("_FSEC_FLYTE_OPENAI_API_KEY_MY-TEAM__LIVE", "key", "_FSEC_FLYTE_OPENAI_API_KEY__MY-TEAM__LIVE"),
        (
            "_FSEC_FLYTE_OPENAI_API_KEY_MY_TEAM",
            "key",
            "_FSEC_FLYTE_OPENAI_API_KEY__PROJECT or _FSEC_FLYTE_OPENAI_API_KEY__PROJECT__DOMAIN",
        ),
        (
            "FLYTE_OPENAI_ORG_ID__FRAUD-TEAM__LIVE",
            "organization",
            "_FSEC_FLYTE_OPENAI_ORG_ID__FRAUD-TEAM__LIVE",
        ),
        ("_FSEC_FLYTE_OPENAI_PROJECT_ID_ADS", "project", "_FSEC_FLYTE_OPENAI_PROJECT_ID__ADS"),
    ],
)
def test_variable_that_is_not_read_is_told(keys_of_teams, monkeypatch, name, line, wanted):
    """With the name that it needs."""
    monkeypatch.setenv(name, "sk-hidden")
    [unread] = check_names_beside_keys()
    assert unread.name == f"{line} of {name}"
    assert (unread.outcome, unread.text) == (
        "failed",
        f"the connector does not read the variable {name}; rename it to {wanted}",
    )


def test_file_that_is_not_read_is_told(keys_of_teams):
    """With the name that it needs, in small letters."""
    path = keys_of_teams / "flyte_openai_api_key_my_team"
    path.write_text("sk-hidden")
    [unread] = check_names_beside_keys()
    assert (unread.name, unread.text) == (
        f"key of {path.name}",
        f"the connector does not read the file {path}; rename it to flyte_openai_api_key__project or "
        "flyte_openai_api_key__project__domain",
    )


@pytest.mark.parametrize(
    "name",
    [
        "FLYTE_OPENAI_API_KEY__ADS",
        "FLYTE_OPENAI_API_KEY",
        "_FSEC_FLYTE_OPENAI_API_KEY_FRAUD-TEAM__PRODUCTION",
        "_FSEC_FLYTE_OPENAI_API_KEYS",
        "MY_FLYTE_OPENAI_API_KEY_ADS",
        "_FSEC__FSEC_FLYTE_OPENAI_API_KEY_ADS",
        "FLYTE_OPENAI_ORG_ID",
        "OPENAI_API_KEY_ADS",
    ],
)
def test_other_names_are_not_told(keys_of_teams, monkeypatch, name):
    """The key is also stored under the right name, or the name is not like a secret's."""
    monkeypatch.setenv(name, "sk-hidden")
    assert list(check_names_beside_keys()) == []


def test_common_key_alone_is_told_where_it_is_for_nobody(monkeypatch):
    """Every new task would be refused, and nothing else would say so."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator")
    monkeypatch.setenv("FLYTE_OPENAI_REQUIRE_PROJECT_KEY", "true")
    [found] = find_keys(in_connector=True)
    assert told(found) == (
        "failed",
        "no Flyte project has a key of its own, and FLYTE_OPENAI_REQUIRE_PROJECT_KEY forbids the common one: every new "
        "task fails; store a project's key, such as FLYTE_OPENAI_API_KEY__my-team, or remove the setting",
    )
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY__MY_TEAM", "sk-team")
    assert [each.check.name for each in find_keys(in_connector=True)] == ["key", "key of my_team"]
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY__MY-TEAM", "two words")
    assert [each.check.name for each in find_keys(in_connector=True)] == ["key of my-team", "key of my_team"]


def test_common_key_may_be_missing_where_it_is_for_nobody(keys_of_teams, monkeypatch):
    """But a project without a key is told."""
    monkeypatch.delenv("_FSEC_FLYTE_OPENAI_API_KEY")
    assert [each.check.outcome for each in find_keys(in_connector=True)] == ["failed", "ok", "ok"]
    monkeypatch.setenv("FLYTE_OPENAI_REQUIRE_PROJECT_KEY", "true")
    assert [each.check.outcome for each in find_keys(in_connector=True)] == ["ok", "ok"]
    [found] = find_keys(in_connector=True, whose=KeyScope("research"))
    assert found.check.text.startswith("Flyte project 'research' has no OpenAI API key of its own")


def test_setting_that_says_neither_yes_nor_no_is_told(keys_of_teams, monkeypatch):
    """No task would use the common key."""
    monkeypatch.setenv("FLYTE_OPENAI_REQUIRE_PROJECT_KEY", "yes")
    [found] = find_keys(in_connector=True)
    assert told(found)[1].startswith("FLYTE_OPENAI_REQUIRE_PROJECT_KEY is 'yes' in the connector service")


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
    assert found.check.text == (
        "No OpenAI API key was found: secret 'team/key' is not in the container of this task, neither as the "
        "environment variable _FSEC_TEAM_KEY nor as the file /etc/secrets/team/key. Run the doctor where the secret is "
        "mounted, in a task that requests it, or in a shell whose variable TEAM_KEY holds the key."
    )


def test_upload_key_that_cannot_be_one_is_told(monkeypatch):
    """It is there, and another place would not help."""
    monkeypatch.setenv("_FSEC_TEAM_KEY", '"sk-team"')
    found = find_upload_key(NAMED)
    assert found.check.text.endswith(
        "contains white space or other characters that no key has; store it again as one line."
    )


def test_variable_that_no_shell_takes_is_not_told():
    """The secret can only be mounted."""
    found = find_upload_key(SecretName("api-key", "team"))
    assert found.check.text.endswith(" Run the doctor where the secret is mounted, in a task that requests it.")


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
