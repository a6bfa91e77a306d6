"""The files of deploy/ are applied as they are: what they name exists, and they say what the pages say."""

import json
import re
import runpy
import shutil
import subprocess

import kubernetes_validate
import promql_parser
import pytest
import yaml

from flytekitplugins.openai import _client, _metrics
from flytekitplugins.openai.__main__ import main
from flytekitplugins.openai._credentials import find_api_key, scope_of, scoped_value
from flytekitplugins.openai._secret_names import COMMON, KeyScope
from flytekitplugins.openai.exceptions import MissingAPIKeyError
from tests.test_docs import OPERATING, ROOT, anchors, blocks, table
from tests.test_repository import METADATA

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))
# The oldest Kubernetes that Flyte 1.16 is installed on, and the newest.
KUBERNETES = ("1.26", "1.36")
# These belong to Prometheus Operator, and not to Kubernetes.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


VALUES = {name: documents(f"{name}-values.yaml")[0] for name in ("flyte-binary", "flyte-core", "flyteconnector")}
OBJECTS = [each for path in MANIFESTS for each in documents(path.name) if "kind" in each]
CONNECTORS = [VALUES["flyte-binary"]["flyteconnector"], VALUES["flyteconnector"]]
FLYTES = [VALUES["flyte-binary"]["configuration"]["inline"], VALUES["flyte-core"]["configmap"]["enabled_plugins"]]
[RULE] = [each for each in OBJECTS if each["kind"] == "PrometheusRule"]
ALERTS = [alert for group in RULE["spec"]["groups"] for alert in group["rules"]]
DASHBOARD = json.loads((DEPLOY / "dashboard.json").read_text())
QUERIES = [
    *(alert["expr"] for alert in ALERTS),
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])),
]


def series_of(query):
    """The names of the series that a query asks for, each with the labels that it names."""
    found = {}

    def note(expression, grouped=frozenset()):
        if isinstance(expression, promql_parser.VectorSelector):
            named = {matcher.name for matcher in expression.matchers.matchers}
            found.setdefault(expression.name, set()).update(named | grouped)
        elif isinstance(expression, promql_parser.AggregateExpr) and expression.modifier is not None:
            promql_parser.walk(expression.expr, lambda part: note(part, frozenset(expression.modifier.labels)))

    promql_parser.walk(promql_parser.parse(query), note)
    return found


@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_are_those_of_kubernetes(version):
    """With no field that it does not know."""
    native = [each for each in OBJECTS if each["kind"] not in CUSTOM]
    assert {each["kind"] for each in native} == {"NetworkPolicy", "Service"}
    for each in native:
        kubernetes_validate.validate(each, version, strict=True)


def test_objects_of_prometheus_operator_have_what_it_needs():
    """Its own schemas come with it alone."""
    found = {each["kind"]: each for each in OBJECTS if each["kind"] in CUSTOM}
    assert set(found) == CUSTOM
    assert {each["apiVersion"] for each in found.values()} == {"monitoring.coreos.com/v1"}
    monitor = found["ServiceMonitor"]["spec"]
    [service] = [each for each in OBJECTS if each["kind"] == "Service"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {each["port"] for each in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("query", QUERIES)
def test_query_can_be_parsed(query):
    """A rule with an error keeps Prometheus from loading the others."""
    assert series_of(query)


def test_alerts_are_those_of_the_page():
    """With their times and thresholds; each says what to do."""
    told = {
        row[0].strip("`"): row[2:] for row in table(OPERATING, "alert | measures | within | above | for | severity")
    }
    assert [alert["alert"] for alert in ALERTS] == list(told)
    for alert in ALERTS:
        within, above, lasts, severity = told[alert["alert"]]
        ranges = set(re.findall(r"\[(\w+)\]", alert["expr"])) or {"-"}
        thresholds = re.findall(r"> ([\d.]+)", alert["expr"])
        assert (ranges, thresholds[0], alert.get("for", "-")) == ({within}, above, lasts)
        assert alert["labels"] == {"severity": severity}
        assert set(alert["annotations"]) == {"summary", "runbook", "runbook_url"}
        assert all(alert["annotations"][name].endswith(".") for name in ("summary", "runbook"))


def test_alerts_link_to_the_page():
    """Where the project lives, which its metadata says, and to a heading that there is."""
    [source] = [url.split(", ")[1] for url in METADATA.get_all("Project-URL") if url.startswith("Source, ")]
    with_absolute_links = runpy.run_path(str(ROOT / "hatch_build.py"))["with_absolute_links"]
    link = with_absolute_links("[](docs/operating-the-connector.md)", source)
    for alert in ALERTS:
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert f"[]({page})" == link
        assert anchor in anchors(OPERATING)


def test_alert_on_the_connector_goes_by_the_job_of_its_monitor():
    """Prometheus Operator names a job after the Service, unless the monitor says otherwise."""
    [alert] = [alert for alert in ALERTS if alert["alert"] == "OpenAIConnectorIsDown"]
    [service] = [each for each in OBJECTS if each["kind"] == "Service"]
    [monitor] = [each for each in OBJECTS if each["kind"] == "ServiceMonitor"]
    assert re.findall(r'job="([\w-]+)"', alert["expr"]) == [service["metadata"]["name"]]
    assert "jobLabel" not in monitor["spec"]


def test_reasons_of_alerts_are_exported():
    """A misspelt one is an alert that never comes. Those of the alert on refused tasks are for the operator."""
    named = {alert["alert"]: re.findall(r'reason=~"([\w|]+)"', alert["expr"]) for alert in ALERTS}
    found = {name: set(reasons[0].split("|")) for name, reasons in named.items() if reasons}
    [row] = [row for row in table(OPERATING, "counter | counts | alert when") if "refused_tasks" in row[0]]
    assert found == {"OpenAIRefusesTasks": set(re.findall(r"`(\w+)`", row[2]))}
    assert found["OpenAIRefusesTasks"] < set(_metrics.REASONS)


def test_replicas_are_not_counted_twice():
    """Each knows nearly all tasks, and only its own calls and failures."""
    of_tasks = {"tasks", "batches", "enqueued_tokens", "oldest_waiting_seconds", "last_answer_timestamp_seconds"}
    for query in QUERIES:
        for name in re.findall(r"flyte_connector_openai_(\w+)", query):
            wanted = "max" if name in of_tasks else "sum"
            assert re.search(rf"\b{wanted}\b[^()]*(?:\([\w, ]*\) )?\((?:\w+\()?flyte_connector_openai_{name}\b", query)


def test_panels_are_laid_out_without_overlap():
    """From top to bottom, as an operator reads them, and no wider than Grafana's 24 columns."""
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not taken & cells
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"]) <= 12
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}


def threshold_of(name):
    """The number that an alert compares with."""
    [alert] = [alert for alert in ALERTS if alert["alert"] == name]
    return float(re.findall(r"> ([\d.]+)", alert["expr"])[0])


def test_red_of_the_dashboard_is_an_alert():
    """What somebody is woken for is red, and nothing else is."""
    red = {
        panel["title"]: step["value"]
        for panel in DASHBOARD["panels"]
        for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        if step["color"] == "red"
    }
    assert red == {
        "Since OpenAI last answered": threshold_of("OpenAIIsNotHeardOf"),
        "Longest wait for a submission": threshold_of("OpenAITasksWaitForHours"),
        "Calls that met a limit (429)": threshold_of("OpenAILimitsCalls"),
        "Slow calls: 95th percentile, by call": threshold_of("OpenAICallsAreSlow"),
    }


def test_calls_are_slow_before_they_are_given_up():
    """And the histogram can tell, because one of its buckets ends there."""
    assert threshold_of("OpenAICallsAreSlow") in _metrics.BUCKETS
    assert threshold_of("OpenAICallsAreSlow") < _client.CALL_SECONDS


def kept(given, model):
    """What one of Grafana's classes keeps of a value of JSON."""
    if isinstance(given, dict):
        fields = model if isinstance(model, dict) else model.to_json()
        return {name: kept(value, fields[name]) for name, value in given.items() if name in fields}
    if isinstance(given, list):
        return [kept(*pair) for pair in zip(given, model, strict=True)]
    return model


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_panel_has_no_field_that_grafana_does_not_know(panel):
    """Its own classes drop those; Grafana ignores them, and shows something else."""
    dashboards = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    pytest.importorskip("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    assert kept(panel, dashboards.Panel.from_json(panel)) == panel


def test_doctor_finds_nothing_missing_in_the_values(emulator, capsys, monkeypatch):
    """Those of either chart hold what Flyte needs."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    for names in (["flyte-binary"], ["flyte-core", "flyteconnector"]):
        files = [argument for name in names for argument in ("--helm-values", str(DEPLOY / f"{name}-values.yaml"))]
        main(["doctor", "--json", *files])
        checks = json.loads(capsys.readouterr().out)["checks"]
        helm = {check["name"]: check["outcome"] for check in checks if check["name"].startswith("Helm values")}
        assert set(helm.values()) == {"ok"}
        assert len(helm) == 9


@pytest.mark.parametrize("connector", CONNECTORS)
def test_connector_of_the_values_has_its_key_and_its_probe(connector, monkeypatch):
    """Helm takes any name for a variable, and the service serves on the port of the image."""
    from_secrets = [variable["name"] for variable in connector["podEnv"] if "valueFrom" in variable]
    assert len(from_secrets) == 1
    monkeypatch.setenv(from_secrets[0], "sk-operator")
    assert find_api_key(None, in_connector=True).value == "sk-operator"
    exposed = re.search(r"^EXPOSE (\d+) (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert str(connector["readinessProbe"]["grpc"]["port"]) == exposed[1]
    assert connector["podAnnotations"]["prometheus.io/port"] == exposed[2]


def test_values_of_both_charts_say_the_same():
    """Whichever Flyte was installed with."""
    binary, own = CONNECTORS
    assert {name: value for name, value in binary.items() if name != "enabled"} == own
    assert FLYTES[0] == FLYTES[1]


def test_flyte_binary_reads_the_list_of_timeouts():
    """Its chart writes a map of them, and Flyte ignores a list where there is a map already."""
    assert VALUES["flyte-binary"]["configuration"]["connectorService"] == {"defaultConnector": {"timeouts": None}}


def test_settings_of_flyte_are_those_of_the_page():
    """Each of them is explained there."""
    rows = table(OPERATING, "setting | value | without it")
    told = {name for row in rows for name in re.findall(r"`([\w-]+)`", row[0])} - {"flyte-binary"}
    plugin = FLYTES[0]["plugins"]["connector-service"]
    named = {"enabled-plugins", "supportedTaskTypes", *plugin["webApi"], *plugin["webApi"]["caching"]}
    named |= set(plugin["defaultConnector"]) - {"endpoint", "insecure"}
    assert named - {"caching"} == told


def test_policy_lets_flyte_reach_the_connector_and_prometheus_its_metrics():
    """And nobody else; port 8000 has no authentication."""
    [policy] = [each for each in OBJECTS if each["kind"] == "NetworkPolicy"]
    spec = policy["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    [[flyte], [prometheus]] = [rule["from"] for rule in spec["ingress"]]
    # As the charts label the pods, in the policy's own namespace.
    callers = {"key": "app.kubernetes.io/name", "operator": "In", "values": ["flytepropeller", "flyte-binary"]}
    assert flyte == {"podSelector": {"matchExpressions": [callers]}}
    assert set(prometheus) == {"namespaceSelector", "podSelector"}
    assert [[port["port"] for port in rule["ports"]] for rule in spec["ingress"]] == [[8000], [9090]]
    assert {port["port"] for rule in spec["egress"] for port in rule["ports"]} == {53, 443}


def test_pods_are_selected_by_one_label():
    """The policy and the Service must mean the same pods, which the chart names."""
    named = {
        json.dumps(each["spec"].get("podSelector", {}).get("matchLabels") or each["spec"]["selector"])
        for each in OBJECTS
        if each["kind"] in ("NetworkPolicy", "Service")
    }
    assert named == {'{"app.kubernetes.io/name": "flyteconnector"}'}


def test_files_are_listed_with_what_to_change():
    """In deploy/README.md, each with how it is applied."""
    rows = table((DEPLOY / "README.md").read_text(), "file | what it is | what to change | how to apply")
    told = {re.search(r"\[`([\w.-]+)`\]", row[0])[1] for row in rows}
    assert told == {path.name for path in DEPLOY.iterdir()} - {"README.md"}
    charts = [row[3] for row in rows if "helm" in row[3]]
    assert len(charts) == len(VALUES)
    # Otherwise Helm takes the newest chart, and upgrades Flyte.
    assert all(" --version VERSION " in command for command in charts)


def test_no_image_is_anybodys():
    """It is for the operator to say where the images are."""
    assert {connector["image"]["repository"].split("/")[0] for connector in CONNECTORS} == {"registry.example"}


def environments_of_the_page():
    """The lists of variables that the page shows, as they are: a key is called as its entry in the Secret."""
    shown = [yaml.safe_load(block)["podEnv"] for _, _, block in blocks("yaml") if "podEnv" in block]
    return [
        {one["name"]: one.get("value") or one["valueFrom"]["secretKeyRef"]["key"] for one in variables}
        for variables in shown
    ]


def set_environment(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")


FRAUD = KeyScope("fraud-team")


def test_variables_of_the_page_are_a_common_key_and_that_of_a_project(monkeypatch):
    """As the connector reads them, and with all that the values of deploy/ have: the list is replaced as a whole."""
    with_common_key, _ = environments_of_the_page()
    assert {variable["name"] for variable in CONNECTORS[0]["podEnv"]} < set(with_common_key)
    set_environment(monkeypatch, with_common_key)
    assert (scope_of("fraud-team", "production"), scope_of("ads", "production")) == (FRAUD, COMMON)
    assert find_api_key(None, in_connector=True, scope=FRAUD).value == "fraud-team"
    assert find_api_key(None, in_connector=True).value == "api_key"
    assert scoped_value("FLYTE_OPENAI_ORG_ID", FRAUD) == "org-fraud"
    for name in ("flyte-binary", "flyteconnector"):
        assert (DEPLOY / f"{name}-values.yaml").read_text().count("_FSEC_FLYTE_OPENAI_API_KEY__FRAUD-TEAM") == 1


def test_variables_of_the_page_do_without_a_common_key(monkeypatch):
    """And a project without a key is told so."""
    _, without_common_key = environments_of_the_page()
    set_environment(monkeypatch, without_common_key)
    assert find_api_key(None, in_connector=True, scope=scope_of("fraud-team", "production")).value == "fraud-team"
    with pytest.raises(MissingAPIKeyError, match="forbids the common one"):
        scope_of("ads", "production")
    with pytest.raises(MissingAPIKeyError, match="No OpenAI API key was found"):
        find_api_key(None, in_connector=True)


def test_entries_of_the_secret_are_those_that_the_page_stores():
    """The commands and the values name the same entries."""
    rows = table(OPERATING, "key | entry of the Secret `openai` | in the namespace | command")
    stored = {("openai", row[1].strip("`")) for row in rows if row[2] == "`flyte`"}
    files = [(DEPLOY / f"{name}-values.yaml").read_text() for name in ("flyte-binary", "flyteconnector")]
    named = set(re.findall(r"secretKeyRef: {name: (.*), key: (.*)}", "\n".join([OPERATING, *files])))
    assert named == stored == {("openai", "api_key"), ("openai", "fraud-team")}


def test_commands_of_the_page_make_and_change_a_secret(tmp_path):
    """With the client of Kubernetes, which needs no cluster for it."""
    kubectl = shutil.which("kubectl") or pytest.skip("kubectl is not installed")
    for name in ("connector", "fraud-team"):
        (tmp_path / f"{name}.key").write_text(f"sk-{name}\n")
    rows = table(OPERATING, "key | entry of the Secret `openai` | in the namespace | command")
    create, patch, _ = (row[3].strip("`").replace("kubectl", kubectl, 1) for row in rows)
    made = tmp_path / "secret.yaml"
    made.write_text(run_in(tmp_path, f"{create} --dry-run=client -o yaml"))
    patched = yaml.safe_load(run_in(tmp_path, f"{patch} --local -f {made} -o yaml".replace("secret openai ", "")))
    assert (set(patched["data"]), patched["stringData"]) == ({"api_key"}, {"fraud-team": "sk-fraud-team"})


def run_in(folder, command):
    return subprocess.run(["bash", "-c", command], cwd=folder, check=True, capture_output=True, text=True).stdout
