import pytest
from flytekit import FlyteContextManager
from flytekit.core.context_manager import ExecutionState

from flytekitplugins.openai._credentials import find_api_key, scope_of
from flytekitplugins.openai._secret_names import COMMON, KeyScope, SecretName
from flytekitplugins.openai.exceptions import MissingAPIKeyError

NAMED = SecretName(key="key", group="team")


@pytest.fixture
def local_run():
    context = FlyteContextManager.current_context()
    state = context.new_execution_state().with_params(mode=ExecutionState.Mode.LOCAL_WORKFLOW_EXECUTION)
    with FlyteContextManager.with_context(context.with_execution_state(state)):
        yield


def sentence_of(*arguments, **keywords):
    with pytest.raises(MissingAPIKeyError) as raised:
        find_api_key(*arguments, **keywords)
    return str(raised.value)


def test_file_step_uses_the_secret_its_task_names(monkeypatch):
    """On a cluster Flyte mounts it into the container."""
    monkeypatch.setenv("_FSEC_TEAM_KEY", "sk-team")
    assert find_api_key(NAMED).value == "sk-team"


def test_connector_uses_the_operators_key_whatever_the_task_names(monkeypatch):
    """A task that could choose could have any secret of the service sent to OpenAI."""
    monkeypatch.setenv("_FSEC_TEAM_KEY", "sk-team")
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator")
    assert find_api_key(NAMED, in_connector=True).value == "sk-operator"


def test_cluster_does_not_read_the_sdks_variable(monkeypatch):
    """A key that is in an image by accident is not used."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-accident")
    assert sentence_of(NAMED) == (
        "No OpenAI API key was found: secret 'team/key' is not in the container of this task, neither as the "
        "environment variable _FSEC_TEAM_KEY nor as the file /etc/secrets/team/key."
    )


def test_missing_key_of_the_connector_tells_the_operator_where_to_put_it():
    """The operator sees the message, and has two ways."""
    assert sentence_of(NAMED, in_connector=True) == (
        "No OpenAI API key was found: secret 'FLYTE_OPENAI_API_KEY' is not in the connector service, neither as the "
        "environment variable _FSEC_FLYTE_OPENAI_API_KEY nor as the file /etc/secrets/flyte_openai_api_key."
    )


@pytest.mark.parametrize("in_connector", [False, True])
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OPENAI_API_KEY": "sk-sdk"}, "sk-sdk"),
        ({"OPENAI_API_KEY": "sk-sdk", "FLYTE_OPENAI_API_KEY": "sk-flyte"}, "sk-flyte"),
        ({"OPENAI_API_KEY": "sk-sdk", "FLYTE_OPENAI_API_KEY": "sk-flyte", "TEAM_KEY": "sk-team"}, "sk-team"),
    ],
)
def test_local_run_uses_one_key_for_every_step(local_run, monkeypatch, variables, expected, in_connector):
    """A file is seen only by keys of the project it was uploaded in."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_api_key(NAMED, in_connector=in_connector).value == expected


def test_missing_key_of_a_local_run_names_all_three_ways(local_run):
    """A newcomer reads one sentence and knows what to type."""
    assert sentence_of(NAMED) == (
        "No OpenAI API key was found: set one of the environment variables OPENAI_API_KEY, FLYTE_OPENAI_API_KEY "
        "or TEAM_KEY."
    )


def test_key_is_stripped(monkeypatch):
    """A secret that was written with `echo` ends in a newline."""
    monkeypatch.setenv("_FSEC_TEAM_KEY", " sk-team\n")
    assert find_api_key(NAMED).value == "sk-team"


@pytest.mark.parametrize(
    "value", ["sk-\nteam", "sk- team", "sk-té", "sk-\x7fteam", '"sk-team"', "'sk-team'", "“sk-team”"]
)
def test_key_with_characters_no_key_has_is_refused(monkeypatch, value):
    """The SDK would only say "Connection error."."""
    monkeypatch.setenv("_FSEC_TEAM_KEY", value)
    assert sentence_of(NAMED) == (
        "The OpenAI API key from secret 'team/key' contains white space or other characters that no key has; "
        "store it again as one line."
    )


def test_key_is_not_in_its_repr(monkeypatch):
    """Keys end up in logs by being printed with what holds them."""
    monkeypatch.setenv("_FSEC_TEAM_KEY", "sk-team")
    assert repr(find_api_key(NAMED)) == "APIKey(source=\"secret 'team/key'\")"


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (SecretName("OPENAI_API_KEY"), "OPENAI_API_KEY or FLYTE_OPENAI_API_KEY"),
        (SecretName("api-key", "openai"), "OPENAI_API_KEY or FLYTE_OPENAI_API_KEY"),
        (SecretName("api_key", "team", "2"), "OPENAI_API_KEY, FLYTE_OPENAI_API_KEY or TEAM_2_API_KEY"),
    ],
)
def test_variables_are_reported_once_and_only_if_a_shell_takes_them(local_run, secret, expected):
    """`export OPENAI_API-KEY=...` is an error in any shell."""
    assert sentence_of(secret).endswith(f"variables {expected}.")


# A key for each Flyte project.

TEAM, TEAM_LIVE = KeyScope("a-team"), KeyScope("a-team", "production")


@pytest.mark.parametrize(
    ("stored", "domain", "scope"),
    [
        ([], "production", COMMON),
        (["__A-TEAM"], "production", TEAM),
        (["__A-TEAM__PRODUCTION"], "production", TEAM_LIVE),
        (["__A-TEAM", "__A-TEAM__PRODUCTION"], "production", TEAM_LIVE),
        (["__A-TEAM__PRODUCTION"], "development", COMMON),
        (["__A", "__TEAM", "__A__TEAM", "__A_TEAM", "__PRODUCTION"], "production", COMMON),
    ],
)
def test_task_has_the_narrowest_key_of_its_project(monkeypatch, stored, domain, scope):
    """Never another project's, however similar its name is."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-common")
    for name in stored:
        monkeypatch.setenv(f"_FSEC_FLYTE_OPENAI_API_KEY{name}", f"sk{name}")
    assert scope_of("a-team", domain) == scope
    own = {COMMON: "sk-common", TEAM: "sk__A-TEAM", TEAM_LIVE: "sk__A-TEAM__PRODUCTION"}
    assert find_api_key(None, in_connector=True, scope=scope).value == own[scope]


def test_key_of_a_project_is_read_from_a_file_at_every_call(monkeypatch, tmp_path):
    """As Kubernetes mounts a secret, and changes it later."""
    context = FlyteContextManager.current_context().user_space_params
    monkeypatch.setattr(context.secrets, "_base_dir", str(tmp_path))
    (tmp_path / "flyte_openai_api_key__a-team").write_text("sk-1\n")
    assert scope_of("a-team", "production") == TEAM
    (tmp_path / "flyte_openai_api_key__a-team").write_text("sk-2\n")
    assert find_api_key(None, in_connector=True, scope=TEAM).value == "sk-2"
    (tmp_path / "flyte_openai_api_key__a-team").unlink()
    assert sentence_of(None, in_connector=True, scope=TEAM) == (
        "No OpenAI API key was found: secret 'FLYTE_OPENAI_API_KEY__a-team' is not in the connector service, neither "
        "as the environment variable _FSEC_FLYTE_OPENAI_API_KEY__A-TEAM nor as the file "
        "/etc/secrets/flyte_openai_api_key__a-team."
    )


def test_empty_key_of_a_project_does_not_become_the_common_one(monkeypatch):
    """Somebody meant it to have one."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-common")
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY__A-TEAM", " ")
    assert scope_of("a-team", "production") == TEAM
    assert "'FLYTE_OPENAI_API_KEY__a-team' is not in" in sentence_of(None, in_connector=True, scope=TEAM)


@pytest.mark.parametrize("project", ["a-team", None, "../etc", "a__b"])
@pytest.mark.parametrize("value", ["true", "TRUE ", "false", "", "yes"])
def test_operator_decides_whether_the_common_key_is_for_all(monkeypatch, project, value):
    """A setting that nobody understands lets nobody use it."""
    monkeypatch.setenv("FLYTE_OPENAI_REQUIRE_PROJECT_KEY", value)
    if value in ("false", ""):
        assert scope_of(project, "production") == COMMON
        return
    with pytest.raises(MissingAPIKeyError) as raised:
        scope_of(project, "production")
    if value == "yes":
        expected = "FLYTE_OPENAI_REQUIRE_PROJECT_KEY is 'yes' in the connector service; set it to true or false."
    else:
        store = ": store one as secret 'FLYTE_OPENAI_API_KEY__a-team'" if project == "a-team" else ""
        whose = f"Flyte project {project!r}" if project else "A task of no known Flyte project"
        expected = (
            f"{whose} has no OpenAI API key of its own in the connector service, and "
            f"FLYTE_OPENAI_REQUIRE_PROJECT_KEY forbids the common one{store}."
        )
    assert str(raised.value) == expected


def test_local_run_knows_no_projects(local_run, monkeypatch):
    """There is one person, with one key."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY__A-TEAM", "sk-team")
    monkeypatch.setenv("FLYTE_OPENAI_REQUIRE_PROJECT_KEY", "true")
    assert scope_of("a-team", "production") == COMMON


@pytest.mark.parametrize("names", [("", None), ("A", None), ("a_b", None), ("a/b", None), (None, "a"), ("a", "")])
def test_scope_is_of_names_that_flyte_gives(names):
    """They become part of a secret's name, and of a path."""
    with pytest.raises(ValueError, match="no names of a project and a domain"):
        KeyScope(*names)


def test_key_that_is_no_text_does_not_become_the_common_one(monkeypatch, tmp_path):
    """As a shell of Windows writes it; nor does one that may not be read."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-common")
    context = FlyteContextManager.current_context().user_space_params
    monkeypatch.setattr(context.secrets, "_base_dir", str(tmp_path))
    path = tmp_path / "flyte_openai_api_key__a-team"
    path.write_bytes("sk-1".encode("utf-16"))
    with pytest.raises(MissingAPIKeyError, match="cannot be read as text; store it again as one line"):
        scope_of("a-team", "production")
    path.unlink()
    path.mkdir()
    with pytest.raises(MissingAPIKeyError, match="correct its permissions"):
        scope_of("a-team", "production")
