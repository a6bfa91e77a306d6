"""Flyte's settings in Helm values: those of deploy/ pass, and each fault is told."""

import copy
from pathlib import Path

import pytest
import yaml

from flytekitplugins.openai.doctor.helm_values import check_helm_values

DEPLOY = Path(__file__).parents[2] / "deploy"
BINARY = yaml.safe_load((DEPLOY / "flyte-binary-values.yaml").read_text())
CONNECTOR, SETTINGS = BINARY["flyteconnector"], BINARY["configuration"]["inline"]
FLYTE_LINES = ["enabled-plugins", "supportedTaskTypes", "maxSystemFailures", "waitForReady"]
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
    lines = check(*values)
    lines.pop("timeouts", None)
    assert lines == dict.fromkeys([*FLYTE_LINES, *CONNECTOR_LINES], ("ok", "set"))


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
    ("maxSystemFailures", lambda v: plugin_of(v).pop("webApi"), f"{FAILURES}5 by default{NEVER_POLLED}"),
    ("maxSystemFailures", lambda v: caching_of(v).update(maxSystemFailures=20), f"{FAILURES}20{NEVER_POLLED}"),
    ("maxSystemFailures", lambda v: caching_of(v).update(maxSystemFailures="x"), f"{FAILURES}'x'{NEVER_POLLED}"),
    ("waitForReady", lambda v: plugin_of(v).pop("defaultConnector"), WAIT_FOR_READY),
    ("waitForReady", lambda v: plugin_of(v)["defaultConnector"].pop("defaultServiceConfig"), WAIT_FOR_READY),
    (
        "waitForReady",
        lambda v: plugin_of(v)["defaultConnector"].update(defaultServiceConfig='{"methodConfig": [{}]}'),
        WAIT_FOR_READY,
    ),
    ("waitForReady", lambda v: plugin_of(v)["defaultConnector"].update(defaultServiceConfig="{"), WAIT_FOR_READY),
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
