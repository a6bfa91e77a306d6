"""What the values of a chart must say for batches, setting by setting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flytekitplugins.openai._secret_names import OPENAI_API_KEY, REQUIRE_PROJECT_KEY

from .key_names import PREFIX, expected_name, scope_named
from .yaml_maps import Values, at

__all__ = ["CONNECTOR_RULES", "FLYTE_RULES", "PLUGIN", "Rule"]

TASK_TYPE = "openai-batch"
PLUGIN = "connector-service"
# Below it, restarts of the connector within the 24 hours of a batch, which fail a poll or two each, may use it up.
LEAST_SYSTEM_FAILURES = 100
ADVISED_SYSTEM_FAILURES = 1000
# Flyte's defaults. Values that write them down have chosen them.
# https://github.com/flyteorg/flyte/blob/v1.16.8/flyteplugins/go/tasks/plugins/webapi/connector/config.go
DEFAULT_RATE = {"qps": 10, "burst": 100}
DEFAULT_WORKERS = 10
LEAST_REPLICAS = 2
SYNC_CALL = "ExecuteTaskSync"
TIMEOUTS = f"plugins.{PLUGIN}.defaultConnector.timeouts"
ADVISED_TIMEOUTS = f"[{{{SYNC_CALL}: 60s}}]"
# A part of the chart's own map of timeouts.
CHARTS_TIMEOUT = "listagents"
SECRETS_DIRECTORY = "/etc/secrets"


@dataclass(frozen=True)
class Rule:
    """One setting.

    Attributes:
        name: What it is called, for the line.
        problem: What is wrong with it in the values, and what to do; "" if nothing is.
    """

    name: str
    problem: Callable[[Values], str]


def _enabled_plugins(settings: Values) -> str:
    enabled = at(settings, "tasks", "task-plugins", "enabled-plugins")
    if PLUGIN in _texts(enabled):
        return ""
    return f"add {PLUGIN} to tasks.task-plugins.enabled-plugins; without it, tasks stay QUEUED"


def _task_types(settings: Values) -> str:
    plugin = at(settings, "plugins", PLUGIN)
    listed = _texts(at(plugin, "supportedtasktypes"))
    routes = at(plugin, "connectorfortasktypes")
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


def _rate(settings: Values) -> str:
    rate = at(settings, "plugins", PLUGIN, "webapi", "readratelimiter")
    if all(_number(at(rate, name)) >= least for name, least in DEFAULT_RATE.items()):
        return ""
    return (
        f"set plugins.{PLUGIN}.webApi.readRateLimiter: {{qps: 50, burst: 500}}; with Flyte's default, more than 300 "
        "tasks are polled late"
    )


def _workers(settings: Values) -> str:
    if _number(at(settings, "plugins", PLUGIN, "webapi", "caching", "workers")) >= DEFAULT_WORKERS:
        return ""
    return (
        f"set plugins.{PLUGIN}.webApi.caching.workers: 50; with Flyte's default of {DEFAULT_WORKERS}, more than 300 "
        "tasks are polled late"
    )


def _system_failures(settings: Values) -> str:
    found = at(settings, "plugins", PLUGIN, "webapi", "caching", "maxsystemfailures")
    if _number(found) >= LEAST_SYSTEM_FAILURES:
        return ""
    name = f"plugins.{PLUGIN}.webApi.caching.maxSystemFailures"
    now = "it is 5 by default" if found is None else f"it is {found!r}"
    return f"set {name}: {ADVISED_SYSTEM_FAILURES} ({now}); a task with more failed polls is never polled again"


def _connectors(settings: Values) -> list[Any]:
    """The default connector and those with names."""
    plugin = at(settings, "plugins", PLUGIN)
    named = at(plugin, "connectors")
    return [at(plugin, "defaultconnector"), *(named.values() if isinstance(named, Mapping) else ())]


def _wait_for_ready(settings: Values) -> str:
    if any(_waits(at(one, "defaultserviceconfig")) for one in _connectors(settings)):
        return ""
    return (
        f"set waitForReady in plugins.{PLUGIN}.defaultConnector.defaultServiceConfig; tasks that are created while no "
        "connector answers fail at once"
    )


def _timeouts(settings: Values) -> str:
    """A map is of no use: Flyte looks for its keys as they are written here, and has them in lower case."""
    found = [at(one, "timeouts") for one in _connectors(settings)]
    if any(SYNC_CALL in _texts(item) for one in found if isinstance(one, list) for item in one):
        return ""
    if any(at(one, CHARTS_TIMEOUT) for one in found):
        return (
            f"set configuration.connectorService.defaultConnector.timeouts: null, and {TIMEOUTS}: {ADVISED_TIMEOUTS}; "
            "the chart writes a map there, and Flyte ignores a list beside it"
        )
    if any(isinstance(one, Mapping) for one in found):
        return f"write {TIMEOUTS} as a list, {ADVISED_TIMEOUTS}; Flyte ignores what is in a map"
    return f"set {TIMEOUTS}: {ADVISED_TIMEOUTS}; without it, questions of ChatGPTTask have 10 s"


def _replicas(values: Values) -> str:
    if _number(values.get("replicaCount")) >= LEAST_REPLICAS:
        return ""
    return f"set replicaCount: {LEAST_REPLICAS}; with one, polls fail while it restarts"


def _key(values: Values) -> str:
    variables = _variables(values)
    misnamed = {name: wanted for name in variables if (wanted := expected_name(name)) and wanted not in variables}
    for name, wanted in misnamed.items():
        why = "the connector does not read it" if name.startswith(PREFIX) else "only local runs read the other"
        return f"rename {name} in podEnv to {wanted}; {why}"
    requires = str(variables.get(REQUIRE_PROJECT_KEY) or "false").strip().lower()
    if requires not in ("true", "false"):
        return (
            f'set {REQUIRE_PROJECT_KEY} in podEnv to "true" or "false"; with {requires!r}, no task uses the common key'
        )
    mounts = values.get("additionalVolumeMounts")
    paths = [str(at(one, "mountPath")) for one in mounts] if isinstance(mounts, list) else []
    if any(path.startswith(SECRETS_DIRECTORY) for path in paths):
        # The values do not say which keys are there.
        return ""
    secret = at(values, "connectorSecret", "secretData")
    files = {name for form in ("stringData", "data") for name in _texts(at(secret, form))}
    return _missing_key(
        files.union(
            name.removeprefix(PREFIX).lower() for name in variables if name.startswith(PREFIX) and name.isupper()
        ),
        is_common_for_all=requires == "false",
    )


def _missing_key(stored: set[str], *, is_common_for_all: bool) -> str:
    """Which key is missing.

    Args:
        stored: The names of secrets, as files have them.
        is_common_for_all: Whether tasks of a project without a key use the common one.
    """
    if is_common_for_all:
        if OPENAI_API_KEY.lower() in stored:
            return ""
        file = OPENAI_API_KEY.lower()
        return f"add {PREFIX}{OPENAI_API_KEY} to podEnv, or {file} to connectorSecret.secretData.stringData"
    if any(scope_named(OPENAI_API_KEY, name) for name in stored):
        return ""
    return (
        f"no Flyte project has a key of its own, and {REQUIRE_PROJECT_KEY} forbids the common one: every new task "
        f"fails; add a project's key to podEnv, such as {PREFIX}{OPENAI_API_KEY}__MY-TEAM, or remove the setting"
    )


def _variables(values: Values) -> dict[str, Any]:
    listed = values.get("podEnv")
    named = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    return {str(one.get("name")): one.get("value") for one in named}


FLYTE_RULES = (
    Rule("enabled-plugins", _enabled_plugins),
    Rule("supportedTaskTypes", _task_types),
    Rule("readRateLimiter", _rate),
    Rule("workers", _workers),
    Rule("maxSystemFailures", _system_failures),
    Rule("waitForReady", _wait_for_ready),
    Rule("timeouts", _timeouts),
)
CONNECTOR_RULES = (Rule("replicaCount", _replicas), Rule("API key", _key))


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | Mapping) else []


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float | str) and str(value).isdecimal() else 0.0


def _waits(service_config: Any) -> bool:
    """Whether a service config of gRPC lets calls wait; it is JSON.

    https://github.com/grpc/grpc/blob/master/doc/service_config.md
    """
    try:
        methods = at(json.loads(service_config), "methodConfig")
    except (TypeError, ValueError):
        return False
    return isinstance(methods, list) and any(at(method, "waitForReady") is True for method in methods)
