"""Whether values of Helm charts hold what batches need: of `flyte-binary`, `flyte-core` and `flyteconnector`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from .findings import Check, failed, passed, skipped
from .helm_rules import CONNECTOR_RULES, FLYTE_RULES, PLUGIN, Rule
from .yaml_maps import Values, at, lowered, merged

__all__ = ["check_helm_values"]

VALUES = "Helm values"
STANDARD_INPUT = Path("-")
# The keys by which the values of a chart are known.
FLYTE_CHARTS = ("configuration", "configmap", "flyteconnector")
CONNECTOR_CHART = ("podEnv", "connectorSecret", "replicaCount", "image")
# What `flyte-binary` writes into Flyte's configuration with the connector, unless the values say otherwise.
# https://github.com/flyteorg/flyte/blob/v1.16.8/charts/flyte-binary/values.yaml
BINARY_DEFAULTS = {"connectorService": {"defaultConnector": {"timeouts": {"GetTask": "10s", "ListAgents": "3s"}}}}


def check_helm_values(paths: Iterable[Path]) -> Iterator[Check]:
    """Check files of values, which may be of several charts; later ones override, as with `helm -f`.

    Args:
        paths: The files; `-` is standard input.
    """
    flyte: Values = {}
    connector: Values = {}
    for path in paths:
        name = "standard input" if path == STANDARD_INPUT else str(path)
        try:
            values = yaml.safe_load(sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes())
        except OSError as error:
            yield failed(VALUES, f"{name} cannot be read ({error.strerror})")
            return
        except yaml.YAMLError as error:
            yield failed(VALUES, f"{name} is not YAML ({_place(error)})")
            return
        known = set(values) if isinstance(values, Mapping) else set()
        if known.intersection(FLYTE_CHARTS):
            flyte = merged(flyte, values)
        elif known.intersection(CONNECTOR_CHART):
            connector = merged(connector, values)
        else:
            yield failed(VALUES, f"{name} is not of the chart flyte-binary, flyte-core or flyteconnector; give it one")
            return
    yield from _checks(FLYTE_RULES, _settings(flyte) if flyte else None, "Flyte")
    if not connector and _is_connector_enabled(flyte):
        connector = at(flyte, "flyteconnector")
    if not connector and "configuration" in flyte:
        text = "not installed by these values; set flyteconnector.enabled: true, or give those of its own release, too"
        yield failed(f"{VALUES}: connector", text)
    else:
        yield from _checks(CONNECTOR_RULES, connector or None, "flyteconnector")


def _checks(rules: Iterable[Rule], values: Values | None, chart: str) -> Iterator[Check]:
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


def _is_connector_enabled(values: Values) -> bool:
    return at(values, "flyteconnector", "enabled") is True


def _settings(values: Values) -> Values:
    """Flyte's own settings in a chart's values, as Flyte reads them: with their keys in lower case.

    Both charts write several files, and Flyte reads them in the order of their names.
    """
    # `flyte-core`: a file for each.
    configmap = at(values, "configmap")
    files = {str(name): part for name, part in configmap.items()} if isinstance(configmap, Mapping) else {}
    # `flyte-binary`.
    files["000-core"] = {"tasks": at(values, "enabled_plugins", "tasks")}
    files["100-inline-config"] = at(values, "configuration", "inline")
    if _is_connector_enabled(values):
        files["connector_service"] = at(values, "flyteconnector", "plugin_config")
        if isinstance(configuration := at(values, "configuration"), Mapping):
            files["000-core"]["plugins"] = {PLUGIN: at(merged(BINARY_DEFAULTS, configuration), "connectorService")}
    settings: Values = {}
    for _, part in sorted(files.items()):
        if isinstance(part, Mapping):
            settings = merged(settings, lowered(part), keeps_maps=True)
    return settings
