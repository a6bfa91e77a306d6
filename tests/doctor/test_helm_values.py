"""Flyte's settings in Helm values: those of deploy/ pass, and each fault is told."""

import copy
from pathlib import Path

import pytest
import yaml

from flytekitplugins.openai.doctor.helm_values import check_helm_values

DEPLOY = Path(__file__).parents[2] / "deploy"
BINARY = yaml.safe_load((DEPLOY / "flyte-binary-values.yaml").read_text())
CONNECTOR, SETTINGS = BINARY["flyteconnector"], BINARY["configuration"]["inline"]
FLYTE_LINES = [
    "enabled-plugins",
    "supportedTaskTypes",
    "readRateLimiter",
    "workers",
    "maxSystemFailures",
    "waitForReady",
    "timeouts",
]
CONNECTOR_LINES = ["replicaCount", "API key"]


def binary(settings=None, connector=None):
    inline = copy.deepcopy(SETTINGS if settings is None else settings)
    return {
        "configuration": {**copy.deepcopy(BINARY["configuration"]), "inline": inline},
        "flyteconnector": copy.deepcopy(CONNECTOR if connector is None else connector),
    }


def core(settings=None):
    return {"configmap": {"enabled_plugins": copy.deepcopy(SETTINGS if settings is None else settings)}}


def own_release():
    return {name: value for name, value in copy.deepcopy(CONNECTOR).items() if name != "enabled"}


@pytest.fixture
def check(tmp_path):
    """A function: the outcome and text of each line about values."""

    def check(*values):
        paths = []
        for number, one in enumerate(values):
            path = tmp_path / f"values-{number}.yaml"
            path.write_text(one if isinstance(one, str) else yaml.safe_dump(one))
            paths.append(path)
        return {line.name.removeprefix("Helm values: "): (line.outcome, line.text) for line in check_helm_values(paths)}

    return check


@pytest.mark.parametrize("values", [[binary()], [core(), own_release()], [own_release(), binary(connector={})]])
def test_values_of_deploy_are_well(check, values):
    """Of either chart, with the connector in it or as a release of its own."""
    assert check(*values) == dict.fromkeys([*FLYTE_LINES, *CONNECTOR_LINES], ("ok", "set"))


@pytest.mark.parametrize(
    ("own", "enabled", "outcome"),
    [({"timeouts": None}, True, "ok"), ({"timeouts": {}}, True, "failed"), ({}, True, "failed"), ({}, False, "ok")],
)
def test_list_of_timeouts_that_flyte_would_ignore_is_told(check, own, enabled, outcome):
    """The chart flyte-binary writes a map beside it, with the connector."""
    values = binary(connector={**CONNECTOR, "enabled": enabled})
    values["configuration"]["connectorService"] = {"defaultConnector": own}
    found, text = check(values, own_release())["timeouts"]
    assert found == outcome
    assert ("timeouts: null" in text) == (outcome == "failed")


def test_later_values_override(check):
    """As with `helm -f`; lists are replaced as a whole."""
    over = {"configuration": {"inline": {"tasks": {"task-plugins": {"enabled-plugins": ["container"]}}}}}
    lines = check(binary(), over)
    assert [name for name, (outcome, _) in lines.items() if outcome == "failed"] == ["enabled-plugins"]


def test_settings_may_be_in_any_place_that_the_charts_have(check):
    """Flyte reads them all, and ignores case."""
    plugin = copy.deepcopy(SETTINGS["plugins"]["connector-service"])
    plugin["WEBAPI"] = plugin.pop("webApi")
    in_binary = {
        "enabled_plugins": {"tasks": SETTINGS["tasks"]},
        "configuration": {"connectorService": plugin},
        "flyteconnector": CONNECTOR,
    }
    in_core = {
        "configmap": {"enabled_plugins": {"tasks": SETTINGS["tasks"]}},
        "flyteconnector": {**CONNECTOR, "plugin_config": {"plugins": {"connector-service": plugin}}},
    }
    for values in (in_binary, in_core):
        assert {outcome for outcome, _ in check(values).values()} == {"ok"}


@pytest.mark.parametrize("routes", [[{"openai-batch": "openai"}], {"openai-batch": "openai"}])
def test_task_type_may_be_routed_to_a_deployment_of_its_own(check, routes):
    """In place of being listed."""
    settings = copy.deepcopy(SETTINGS)
    plugin = settings["plugins"]["connector-service"]
    plugin["supportedTaskTypes"] = ["other"]
    plugin["connectorForTaskTypes"] = routes
    plugin["connectors"] = {"openai": plugin.pop("defaultConnector")}
    assert {outcome for outcome, _ in check(binary(settings)).values()} == {"ok"}


def without(values, *path):
    *parents, last = path
    for name in parents:
        values = values[name]
    del values[last]


def plugin_of(values):
    return values["configuration"]["inline"]["plugins"]["connector-service"]


def caching_of(values):
    return plugin_of(values)["webApi"]["caching"]


def connector_of(values):
    return plugin_of(values)["defaultConnector"]


RATE = (
    "set plugins.connector-service.webApi.readRateLimiter: {qps: 50, burst: 500}; with Flyte's default, more than 300 "
    "tasks are polled late"
)
WORKERS = (
    "set plugins.connector-service.webApi.caching.workers: 50; with Flyte's default of 10, more than 300 tasks are "
    "polled late"
)
NO_TIMEOUTS = (
    "set plugins.connector-service.defaultConnector.timeouts: [{ExecuteTaskSync: 60s}]; without it, questions of "
    "ChatGPTTask have 10 s"
)
MAP_OF_TIMEOUTS = (
    "write plugins.connector-service.defaultConnector.timeouts as a list, [{ExecuteTaskSync: 60s}]; Flyte ignores what "
    "is in a map"
)
CHARTS_TIMEOUTS = (
    "set configuration.connectorService.defaultConnector.timeouts: null, and "
    "plugins.connector-service.defaultConnector.timeouts: [{ExecuteTaskSync: 60s}]; the chart writes a map there, and "
    "Flyte ignores a list beside it"
)
FAILURES = "set plugins.connector-service.webApi.caching.maxSystemFailures: 1000 (it is "
NEVER_POLLED = "); a task with more failed polls is never polled again"
WAIT_FOR_READY = (
    "set waitForReady in plugins.connector-service.defaultConnector.defaultServiceConfig; tasks that are created while "
    "no connector answers fail at once"
)
TASK_TYPE = (
    "add openai-batch to plugins.connector-service.supportedTaskTypes; without it, Flyte treats the tasks as container "
    "tasks while no connector answers"
)
ENABLED = "add connector-service to tasks.task-plugins.enabled-plugins; without it, tasks stay QUEUED"
REPLICAS = "set replicaCount: 2; with one, polls fail while it restarts"
KEY = "add _FSEC_FLYTE_OPENAI_API_KEY to podEnv, or flyte_openai_api_key to connectorSecret.secretData.stringData"
FAULTS = [
    ("enabled-plugins", lambda v: without(v, "configuration", "inline", "tasks"), ENABLED),
    ("enabled-plugins", lambda v: v["configuration"]["inline"].update(tasks={"task-plugins": None}), ENABLED),
    ("supportedTaskTypes", lambda v: plugin_of(v).pop("supportedTaskTypes"), TASK_TYPE),
    ("supportedTaskTypes", lambda v: plugin_of(v).update(supportedTaskTypes=["chatgpt"]), TASK_TYPE),
    (
        "supportedTaskTypes",
        lambda v: plugin_of(v)["supportedTaskTypes"].append("chatgpt"),
        "remove chatgpt from plugins.connector-service.supportedTaskTypes; Flyte would poll its tasks",
    ),
    ("readRateLimiter", lambda v: plugin_of(v)["webApi"].pop("readRateLimiter"), RATE),
    ("readRateLimiter", lambda v: plugin_of(v)["webApi"].update(readRateLimiter={"qps": 50}), RATE),
    ("readRateLimiter", lambda v: plugin_of(v)["webApi"].update(readRateLimiter={"qps": 5, "burst": 500}), RATE),
    ("workers", lambda v: caching_of(v).pop("workers"), WORKERS),
    ("workers", lambda v: caching_of(v).update(workers="many"), WORKERS),
    ("timeouts", lambda v: connector_of(v).pop("timeouts"), NO_TIMEOUTS),
    ("timeouts", lambda v: connector_of(v).update(timeouts=None), NO_TIMEOUTS),
    ("timeouts", lambda v: connector_of(v).update(timeouts=[{"GetTask": "10s"}]), NO_TIMEOUTS),
    ("timeouts", lambda v: connector_of(v).update(timeouts={"ExecuteTaskSync": "60s"}), MAP_OF_TIMEOUTS),
    ("maxSystemFailures", lambda v: caching_of(v).pop("maxSystemFailures"), f"{FAILURES}5 by default{NEVER_POLLED}"),
    ("maxSystemFailures", lambda v: caching_of(v).update(maxSystemFailures=20), f"{FAILURES}20{NEVER_POLLED}"),
    ("maxSystemFailures", lambda v: caching_of(v).update(maxSystemFailures="x"), f"{FAILURES}'x'{NEVER_POLLED}"),
    ("waitForReady", lambda v: connector_of(v).pop("defaultServiceConfig"), WAIT_FOR_READY),
    (
        "waitForReady",
        lambda v: connector_of(v).update(defaultServiceConfig='{"methodConfig": [{}]}'),
        WAIT_FOR_READY,
    ),
    ("waitForReady", lambda v: connector_of(v).update(defaultServiceConfig="{"), WAIT_FOR_READY),
    ("replicaCount", lambda v: v["flyteconnector"].update(replicaCount=1), REPLICAS),
    ("replicaCount", lambda v: v["flyteconnector"].pop("replicaCount"), REPLICAS),
    ("API key", lambda v: v["flyteconnector"].pop("podEnv"), KEY),
    (
        "API key",
        lambda v: v["flyteconnector"].update(podEnv=[{"name": "FLYTE_OPENAI_API_KEY", "value": "sk-1"}]),
        "rename FLYTE_OPENAI_API_KEY in podEnv to _FSEC_FLYTE_OPENAI_API_KEY; only local runs read the other",
    ),
    (
        "connector",
        lambda v: v["flyteconnector"].update(enabled=False),
        "not installed by these values; set flyteconnector.enabled: true, or give those of its own release, too",
    ),
    (
        "connector",
        lambda v: v.pop("flyteconnector"),
        "not installed by these values; set flyteconnector.enabled: true, or give those of its own release, too",
    ),
]


@pytest.mark.parametrize(("line", "break_it", "text"), FAULTS)
def test_fault_of_values_is_told(check, line, break_it, text):
    """Each line is shown failing, and the others are well."""
    values = binary()
    break_it(values)
    lines = check(values)
    assert lines[line] == ("failed", text)
    assert {name for name, (outcome, _) in lines.items() if outcome != "ok"} == {line}


@pytest.mark.parametrize(("line", "break_it", "text"), [fault for fault in FAULTS if fault[0] in FLYTE_LINES])
def test_fault_of_values_of_flyte_core_is_told(check, line, break_it, text):
    """As with the other chart."""
    values = binary()
    break_it(values)
    lines = check(core(values["configuration"]["inline"]), own_release())
    assert {name: told for name, told in lines.items() if told[0] != "ok"} == {line: ("failed", text)}


@pytest.mark.parametrize("values", [binary(settings={}), core(settings={"a": 1})])
def test_settings_that_are_absent_are_never_said_to_be_set(check, values):
    """Each has a line that fails."""
    lines = check(values, own_release())
    assert {name for name, (outcome, _) in lines.items() if outcome == "failed"} == set(FLYTE_LINES)


@pytest.mark.parametrize("settings", [SETTINGS, {}, {"plugins": {"connector-service": {"defaultConnector": None}}}])
@pytest.mark.parametrize("own", [{}, {"timeouts": {}}, {"timeouts": {"ExecuteTaskSync": "60s"}}])
def test_map_of_timeouts_that_the_chart_writes_is_told(check, settings, own):
    """Whether there is a list or not: it would be ignored."""
    values = binary(settings)
    values["configuration"]["connectorService"] = {"defaultConnector": own}
    assert check(values)["timeouts"] == ("failed", CHARTS_TIMEOUTS)


def test_settings_that_the_chart_does_not_write_are_not_set(check):
    """Both charts leave out what belongs to the connector, if they do not install it."""
    plugin = SETTINGS["plugins"]["connector-service"]
    in_binary = {"configuration": {"connectorService": plugin}, "flyteconnector": {"enabled": False}}
    in_core = {"flyteconnector": {"plugin_config": SETTINGS}, "configmap": {"core": {}}}
    for values in (in_binary, in_core):
        lines = check(values, own_release())
        assert {name for name, (outcome, _) in lines.items() if outcome == "failed"} == set(FLYTE_LINES)


def test_list_of_timeouts_may_be_the_one_of_the_chart(check):
    """Helm replaces the chart's map by it."""
    values = binary({**SETTINGS, "plugins": {"connector-service": {}}})
    values["configuration"]["connectorService"] = SETTINGS["plugins"]["connector-service"]
    assert {outcome for outcome, _ in check(values).values()} == {"ok"}


REQUIRED = {"name": "FLYTE_OPENAI_REQUIRE_PROJECT_KEY", "value": "true"}
NO_PROJECTS_KEY = (
    "no Flyte project has a key of its own, and FLYTE_OPENAI_REQUIRE_PROJECT_KEY forbids the common one: every new "
    "task fails; add a project's key to podEnv, such as _FSEC_FLYTE_OPENAI_API_KEY__MY-TEAM, or remove the setting"
)


def key_line(check, variables, **values):
    named = [each if isinstance(each, dict) else {"name": each, "value": "sk"} for each in variables]
    return check({"podEnv": named, "replicaCount": 2, **values})["API key"]


def test_keys_of_projects_alone_are_enough_where_they_are_required(check):
    """In a variable or in a file."""
    assert key_line(check, ["_FSEC_FLYTE_OPENAI_API_KEY__ADS", REQUIRED]) == ("ok", "set")
    for form in ("stringData", "data"):
        secret = {"secretData": {form: {"flyte_openai_api_key__ads": "sk"}}}
        assert key_line(check, [REQUIRED], connectorSecret=secret) == ("ok", "set")
    assert key_line(check, ["_FSEC_FLYTE_OPENAI_API_KEY__ADS"]) == ("failed", KEY)


@pytest.mark.parametrize(
    "variables",
    [[], ["_FSEC_FLYTE_OPENAI_API_KEY"], ["_FSEC_FLYTE_OPENAI_API_KEY__A_B"], ["_FSEC_FLYTE_OPENAI_API_KEY__a"]],
)
def test_common_key_is_not_enough_where_keys_of_projects_are_required(check, variables):
    """Every new task would be refused."""
    assert key_line(check, [*variables, REQUIRED]) == ("failed", NO_PROJECTS_KEY)


def test_setting_that_says_neither_yes_nor_no_is_told(check):
    """No task would use the common key."""
    variables = ["_FSEC_FLYTE_OPENAI_API_KEY", {**REQUIRED, "value": "yes"}]
    assert key_line(check, variables) == (
        "failed",
        'set FLYTE_OPENAI_REQUIRE_PROJECT_KEY in podEnv to "true" or "false"; '
        "with 'yes', no task uses the common key",
    )


def test_key_of_a_project_with_another_name_is_told(check):
    """Its project would use the common one."""
    variables = ["_FSEC_FLYTE_OPENAI_API_KEY", "_FSEC_FLYTE_OPENAI_API_KEY_ADS"]
    wanted = "_FSEC_FLYTE_OPENAI_API_KEY__ADS"
    text = f"rename {variables[1]} in podEnv to {wanted}; the connector does not read it"
    assert key_line(check, variables) == ("failed", text)
    assert key_line(check, [*variables, wanted]) == ("ok", "set")


@pytest.mark.parametrize(
    "key",
    [
        {"connectorSecret": {"secretData": {"stringData": {"flyte_openai_api_key": "sk-1"}}}},
        {"additionalVolumeMounts": [{"name": "key", "mountPath": "/etc/secrets"}]},
    ],
)
def test_key_may_be_a_file(check, key):
    """In the values, or mounted from a secret."""
    connector = {**{name: value for name, value in CONNECTOR.items() if name != "podEnv"}, **key}
    assert check(binary(connector=connector))["API key"] == ("ok", "set")


def test_charts_that_are_not_given_are_not_checked(check):
    """And it is told how."""

    def skipped(chart):
        return ("skipped", f"not checked, because no values of {chart} were given; add them with --helm-values")

    assert {check(core())[name] for name in CONNECTOR_LINES} == {skipped("flyteconnector")}
    assert {check(own_release())[name] for name in FLYTE_LINES} == {skipped("Flyte")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "is not YAML (line 1: expected the node content, but found '<stream end>')"),
        ("", "is not of the chart flyte-binary, flyte-core or flyteconnector; give it one"),
        ("\x00", "is not YAML (ReaderError)"),
        ("- a", "is not of the chart flyte-binary, flyte-core or flyteconnector; give it one"),
        ("ingress: {}", "is not of the chart flyte-binary, flyte-core or flyteconnector; give it one"),
    ],
)
def test_file_that_holds_no_values_is_told(check, tmp_path, text, told):
    """In one line."""
    [(outcome, line)] = check(text).values()
    assert outcome == "failed"
    assert line.startswith(f"{tmp_path / 'values-0.yaml'} {told}")


def test_file_that_is_not_there_is_told(tmp_path):
    """In one line."""
    path = tmp_path / "none.yaml"
    [line] = check_helm_values([path])
    assert (line.outcome, line.text) == ("failed", f"{path} cannot be read (No such file or directory)")


def test_key_in_the_values_is_never_told(check):
    """Neither are other texts of a file that is not YAML."""
    values = binary(connector={"enabled": True, "podEnv": [{"name": "FLYTE_OPENAI_API_KEY", "value": "sk-secret"}]})
    assert "sk-secret" not in str(check(values))
    assert "sk-secret" not in str(check("podEnv: [{value: sk-secret"))


def test_values_of_a_tag_are_not_run(check):
    """YAML can name Python functions."""
    [(outcome, text)] = check("podEnv: !!python/object/apply:os.getpid []").values()
    assert (outcome, "is not YAML (" in text) == ("failed", True)
