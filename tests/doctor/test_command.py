"""The doctor as it is started in a shell."""

import importlib.util
import io
import json
import os
import subprocess
import sys

import pytest
import yaml

from flytekitplugins.openai.__main__ import main

from .test_helm_values import binary

COMMAND = (sys.executable, "-m", "flytekitplugins.openai", "doctor")


def test_line_begins_with_its_outcome(emulator, capsys, monkeypatch):
    """One line for each check, so that a person reads down, and `grep` finds what failed."""
    monkeypatch.delenv("_FSEC_FLYTE_OPENAI_API_KEY")
    assert main(["doctor", "--connector"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {"ok", "FAILED", "skipped"}
    assert lines[1] == "ok      connector extra: the connector service can be imported"
    assert lines[2].startswith("FAILED  key: No OpenAI API key was found: ")
    assert lines[6] == "skipped list batches: not checked, because there is no key"


def test_json_has_the_same_lines(emulator, capsys):
    """With the outcome of all."""
    main(["doctor", "--connector"])
    shown = capsys.readouterr().out.splitlines()
    main(["doctor", "--connector", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert [(check["name"], check["outcome"]) for check in told["checks"]] == [
        (line[8:].partition(": ")[0], line.split()[0]) for line in shown
    ]


def test_helm_values_are_checked_when_given(emulator, diagnose, tmp_path):
    """Beside all else."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(binary()))
    assert diagnose("--connector", "--helm-values", path)[1]["Helm values: maxSystemFailures"] == ("ok", "set")
    status, lines = diagnose("--connector", "--helm-values", tmp_path / "none.yaml")
    assert (status, lines["Helm values"][0]) == (1, "failed")


@pytest.fixture
def given(monkeypatch):
    """A function that gives a text as standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_helm_values_are_checked_alone(given, diagnose, monkeypatch):
    """Where values are kept, such as in a CI job, there is no key, and nobody calls OpenAI."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1")
    given(yaml.safe_dump(binary()))
    status, lines = diagnose("--only-helm-values", "--helm-values", "-")
    assert status == 0
    assert {name.partition(":")[0] for name in lines} == {"Helm values"}
    given(yaml.safe_dump(binary(settings={})))
    assert diagnose("--only-helm-values", "--helm-values", "-")[0] == 1
    given("a: [")
    _, lines = diagnose("--only-helm-values", "--helm-values", "-")
    assert lines["Helm values"][1].startswith("standard input is not YAML (line 1: ")


def test_helm_values_alone_must_be_given(diagnose):
    """A job that checks nothing must not pass."""
    expected = {"Helm values": ("failed", "none were given; give each file with --helm-values")}
    assert diagnose("--only-helm-values") == (1, expected)


@pytest.mark.parametrize(("variables", "is_connector"), [({}, False), ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True)])
def test_doctor_knows_whether_it_is_in_a_pod(emulator, diagnose, monkeypatch, variables, is_connector):
    """Kubernetes sets the variable in each container."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ("connector extra" in diagnose()[1]) is is_connector


def test_openai_may_not_be_installed(emulator, diagnose, monkeypatch):
    """What can be checked without it is."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openai" else find_spec(name))
    _, lines = diagnose("--connector")
    assert lines["account"] == ("skipped", "not checked, because the package openai is not installed")
    assert "base URL" not in lines


@pytest.mark.parametrize("secret", ["", "openai/", "a/b/c/d"])
def test_secret_must_be_named_as_one(capsys, secret):
    """As argparse reports it."""
    with pytest.raises(SystemExit):
        main(["doctor", "--upload-secret", secret])
    told = f"argument --upload-secret: {secret!r} is no name of a secret, such as openai/api_key"
    assert told in capsys.readouterr().err


@pytest.mark.long
def test_command_runs_in_a_shell(openai_emulator):
    """With the environment that a laptop has, and nothing beside the lines."""
    environment = {"PATH": "", "HOME": os.environ.get("HOME", "/"), **openai_emulator.environment}
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=True, env=environment)
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok"}
    assert done.stderr == ""


def test_keys_of_several_projects_are_checked(openai_emulator, diagnose, monkeypatch):
    """Each in lines of its own; an upload step is of one project."""
    for name in ("", "__ADS", "__FRAUD-TEAM"):
        monkeypatch.setenv(f"_FSEC_FLYTE_OPENAI_API_KEY{name}", f"sk{name.lower()}")
    openai_emulator.change(keys={"sk": "proj_a", "sk__ads": "proj_b", "sk-team": "proj_b"})
    status, lines = diagnose("--connector", "--upload-secret", "team/key")
    assert status == 1
    assert lines["key of ads: list batches"] == ("ok", "allowed")
    assert lines["key of fraud-team: accepted"][0] == "failed"
    assert lines["upload key"] == (
        "failed",
        "not checked, because several projects have keys; say whose step it is: --flyte-project NAME",
    )
    monkeypatch.setenv("TEAM_KEY", "sk-team")
    status, lines = diagnose("--connector", "--upload-secret", "team/key", "--flyte-project", "ads/production")
    assert (status, lines["same files"][0]) == (0, "ok")


@pytest.mark.parametrize("project", ["a/b/c", "A", "", "a_b"])
def test_project_may_be_named_wrongly(project, capsys):
    """As no project of Flyte's is."""
    with pytest.raises(SystemExit):
        main(["doctor", "--flyte-project", project])
    assert f"{project!r} is no name of a project, such as fraud-team" in capsys.readouterr().err
