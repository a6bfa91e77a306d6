"""Whether values of Helm charts hold what batches need: of `flyte-binary`, `flyte-core` and `flyteconnector`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .findings import Check, failed, passed, skipped

__all__ = ["check_helm_values"]

VALUES = "Helm values"
TASK_TYPE = "openai-batch"
PLUGIN = "connector-service"
# Below it, restarts of the connector within the 24 hours of a batch, which fail a poll or two each, may use it up.
LEAST_SYSTEM_FAILURES = 100
ADVISED_SYSTEM_FAILURES = 1000
LEAST_REPLICAS = 2
VARIABLE = "_FSEC_FLYTE_OPENAI_API_KEY"
PLAIN_VARIABLE = "FLYTE_OPENAI_API_KEY"
SECRET_FILE = "flyte_openai_api_key"  # noqa: S105 (a name)
SECRETS_DIRECTORY = "/etc/secrets"
# The keys by which the values of a chart are known.
FLYTE_CHARTS = ("configuration", "configmap", "flyteconnector")
CONNECTOR_CHART = ("podEnv", "connectorSecret", "replicaCount", "image")

Values = Mapping[str, Any]


@dataclass(frozen=True)
class _Rule:
    """One setting.

    Attributes:
        name: What it is called, for the line.
        problem: What is wrong with it in the values, and what to do; "" if nothing is.
    """

    name: str
    problem: Callable[[Values], str]


def check_helm_values(paths: Iterable[Path]) -> Iterator[Check]:
    """Check files of values, which may be of several charts; later ones override, as with `helm -f`."""
    flyte: Values = {}
    connector: Values = {}
    for path in paths:
        try:
            values = yaml.safe_load(path.read_bytes())
        except OSError as error:
            yield failed(VALUES, f"{path} cannot be read ({error.strerror})")
            return
        except yaml.YAMLError as error:
            yield failed(VALUES, f"{path} is not YAML ({_place(error)})")
            return
        known = set(values) if isinstance(values, Mapping) else set()
        if known.intersection(FLYTE_CHARTS):
            flyte = _merged(flyte, values)
        elif known.intersection(CONNECTOR_CHART):
            connector = _merged(connector, values)
        else:
            yield failed(VALUES, f"{path} is not of the chart flyte-binary, flyte-core or flyteconnector; give it one")
            return
    yield from _checks(FLYTE_RULES, _settings(flyte) if flyte else None, "Flyte")
    if "configuration" in flyte:
        yield from _checks(BINARY_RULES, flyte, "flyte-binary")
    bundled = _map(flyte, "flyteconnector")
    if not connector and bundled.get("enabled") is True:
        connector = bundled
    if not connector and "configuration" in flyte:
        text = "not installed by these values; set flyteconnector.enabled: true, or give those of its own release, too"
        yield failed(f"{VALUES}: connector", text)
    else:
        yield from _checks(CONNECTOR_RULES, connector or None, "flyteconnector")


def _checks(rules: Iterable[_Rule], values: Values | None, chart: str) -> Iterator[Check]:
    for rule in rules:
        name = f"{VALUES}: {rule.name}"
        if values is None:
            yield skipped(name, f"not checked, because no values of {chart} were given; add them with --helm-values")
        elif problem := rule.problem(values):
            yield failed(name, problem)
        else:
            yield passed(name, "set")


def _place(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text around it, which may be a key."""
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}{getattr(error, 'problem', None) or type(error).__name__}"


def _settings(values: Values) -> Values:
    """Flyte's own settings in a chart's values, with their keys in lower case: Flyte ignores case."""
    configuration = _map(values, "configuration")
    parts = [
        # flyte-core writes each of them to a file of its own, and Flyte reads them all.
        *_map(values, "configmap").values(),
        _map(_map(values, "flyteconnector"), "plugin_config"),
        {"tasks": _map(_map(values, "enabled_plugins"), "tasks")},
        {"plugins": {PLUGIN: _map(configuration, "connectorService")}},
        _map(configuration, "inline"),
    ]
    merged: Values = {}
    for part in parts:
        if isinstance(part, Mapping):
            merged = _merged(merged, _lowered(part))
    return merged


def _enabled_plugins(settings: Values) -> str:
    enabled = _at(settings, "tasks", "task-plugins", "enabled-plugins")
    if PLUGIN in _texts(enabled):
        return ""
    return f"add {PLUGIN} to tasks.task-plugins.enabled-plugins; without it, tasks stay QUEUED"


def _task_types(settings: Values) -> str:
    plugin = _at(settings, "plugins", PLUGIN)
    listed = _texts(_at(plugin, "supportedtasktypes"))
    routes = _at(plugin, "connectorfortasktypes")
    # A list of maps, or a map.
    routed = [name for route in (routes if isinstance(routes, list) else [routes]) for name in _texts(route)]
    if TASK_TYPE not in (*listed, *routed):
        return (
            f"add {TASK_TYPE} to plugins.{PLUGIN}.supportedTaskTypes; without it, Flyte treats the tasks as container "
            "tasks while no connector answers"
        )
    if "chatgpt" in listed:
        return f"remove chatgpt from plugins.{PLUGIN}.supportedTaskTypes; Flyte would poll its tasks"
    return ""


def _system_failures(settings: Values) -> str:
    found = _at(settings, "plugins", PLUGIN, "webapi", "caching", "maxsystemfailures")
    if _number(found) >= LEAST_SYSTEM_FAILURES:
        return ""
    name = f"plugins.{PLUGIN}.webApi.caching.maxSystemFailures"
    now = "it is 5 by default" if found is None else f"it is {found!r}"
    return f"set {name}: {ADVISED_SYSTEM_FAILURES} ({now}); a task with more failed polls is never polled again"


def _wait_for_ready(settings: Values) -> str:
    plugin = _at(settings, "plugins", PLUGIN)
    connectors = [_at(plugin, "defaultconnector"), *_map(plugin, "connectors").values()]
    if any(_waits(_at(one, "defaultserviceconfig")) for one in connectors):
        return ""
    return (
        f"set waitForReady in plugins.{PLUGIN}.defaultConnector.defaultServiceConfig; tasks that are created while no "
        "connector answers fail at once"
    )


def _timeouts(values: Values) -> str:
    """The chart writes a map of timeouts with the connector, and of a map and a list Flyte takes the map."""
    configuration = _map(values, "configuration")
    wanted = _at(_lowered(_map(configuration, "inline")), "plugins", PLUGIN, "defaultconnector", "timeouts")
    own = _map(_map(configuration, "connectorService"), "defaultConnector")
    is_written = _map(values, "flyteconnector").get("enabled") is True and own.get("timeouts", {}) is not None
    if not (isinstance(wanted, list) and is_written):
        return ""
    return (
        "set configuration.connectorService.defaultConnector.timeouts: null; the chart writes a map there, and Flyte "
        "ignores your list"
    )


def _replicas(values: Values) -> str:
    if _number(values.get("replicaCount")) >= LEAST_REPLICAS:
        return ""
    return f"set replicaCount: {LEAST_REPLICAS}; with one, polls fail while it restarts"


def _key(values: Values) -> str:
    variables = values.get("podEnv")
    names = [one.get("name") for one in variables if isinstance(one, Mapping)] if isinstance(variables, list) else []
    data = _map(_map(_map(values, "connectorSecret"), "secretData"), "stringData")
    mounts = values.get("additionalVolumeMounts")
    paths = [str(one.get("mountPath")) for one in mounts or [] if isinstance(one, Mapping)]
    if VARIABLE in names or SECRET_FILE in data or any(path.startswith(SECRETS_DIRECTORY) for path in paths):
        return ""
    if PLAIN_VARIABLE in names:
        return f"rename {PLAIN_VARIABLE} in podEnv to {VARIABLE}; only local runs read the other"
    return f"add {VARIABLE} to podEnv, or {SECRET_FILE} to connectorSecret.secretData.stringData"


FLYTE_RULES = (
    _Rule("enabled-plugins", _enabled_plugins),
    _Rule("supportedTaskTypes", _task_types),
    _Rule("maxSystemFailures", _system_failures),
    _Rule("waitForReady", _wait_for_ready),
)
BINARY_RULES = (_Rule("timeouts", _timeouts),)
CONNECTOR_RULES = (_Rule("replicaCount", _replicas), _Rule("API key", _key))


def _merged(base: Values, over: Values) -> Values:
    """Maps are merged, and everything else is replaced, as Helm and Flyte do it."""
    merged = dict(base)
    for name, value in over.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(old, value) if both else value  # type: ignore[arg-type]  # they are: see `both`
    return merged


def _lowered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name).lower(): _lowered(item) for name, item in value.items()}
    return [_lowered(item) for item in value] if isinstance(value, list) else value


def _map(values: Any, name: str) -> Values:
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _at(values: Any, *names: str) -> Any:
    for name in names:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | Mapping) else []


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float | str) and str(value).isdecimal() else 0.0


def _waits(service_config: Any) -> bool:
    """Whether a service config of gRPC lets calls wait; it is JSON.

    https://github.com/grpc/grpc/blob/master/doc/service_config.md
    """
    try:
        methods = _at(json.loads(service_config), "methodConfig")
    except (TypeError, ValueError):
        return False
    return isinstance(methods, list) and any(_at(method, "waitForReady") is True for method in methods)
