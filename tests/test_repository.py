"""The files beside the code: pipelines, Dependabot, and what they repeat of the package."""

import importlib.metadata
import re
import shlex
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
METADATA = importlib.metadata.metadata("flytekitplugins-openai")
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
CI, RELEASE = (yaml.safe_load((GITHUB / "workflows" / name).read_text()) for name in ("ci.yml", "release.yml"))
PINNED = re.compile(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$")


def verbs_of(script):
    """The calls of make in it."""
    return [shlex.split(line)[1:] for line in script.splitlines() if line.startswith("make ")]


def test_pipeline_calls_what_a_change_must_pass():
    """The verbs of .ci/run, with the same arguments, and nothing but make."""
    wanted = verbs_of((ROOT / ".ci" / "run").read_text())
    jobs = [shlex.split(job["verb"]) for job in CI["jobs"]["make"]["strategy"]["matrix"]["include"]]
    assert len(wanted) == 5
    assert [verb for verb in wanted if verb not in jobs] == []
    assert ["build"] in jobs
    assert [step["run"] for step in CI["jobs"]["make"]["steps"] if "run" in step] == ["make $VERB"]


def test_pipeline_tests_every_python_that_the_package_is_for():
    """As its classifiers name them."""
    jobs = CI["jobs"]["make"]["strategy"]["matrix"]["include"]
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(METADATA.get_all("Classifier")), flags=re.MULTILINE)
    assert sorted(job["python"] for job in jobs if job["verb"] == "test") == sorted(named)


@pytest.mark.parametrize("verb", ["test", "soak", "matrix", "check", "docs", "build"])
def test_verb_of_the_pipeline_is_in_the_makefile(verb):
    """A misspelt one is found here and not in a run."""
    assert f"\n{verb}: $(READY)\n" in (ROOT / "Makefile").read_text()


def test_actions_are_pinned_to_a_commit_with_its_version():
    """A tag can be moved. The same action is the same commit everywhere."""
    lines = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    pins = [PINNED.search(line) for line in lines]
    assert [line for line, pin in zip(lines, pins, strict=True) if pin is None] == []
    assert len({pin.groups() for pin in pins}) == len({pin[1] for pin in pins})


def test_only_the_publishing_job_may_do_more_than_read():
    """It gets a token of the index's, and runs no code of this repository."""
    permissions = {
        (name, scope): level
        for workflow in (CI, RELEASE)
        for name, job in workflow["jobs"].items()
        for scope, level in job["permissions"].items()
    }
    assert [grant for grant, level in permissions.items() if level != "read"] == [("publish", "id-token")]
    assert [CI["permissions"], RELEASE["permissions"]] == [{}, {}]
    assert [step for step in RELEASE["jobs"]["publish"]["steps"] if "run" in step or "checkout" in step["uses"]] == []


def test_release_is_of_what_was_built_and_tried():
    """`make build` tries the wheel."""
    steps = RELEASE["jobs"]["build"]["steps"]
    assert "make build" in [step.get("run") for step in steps]
    assert RELEASE["jobs"]["publish"]["needs"] == "build"


def test_dependabot_offers_no_python_that_the_package_is_not_for():
    """The image's Python is in its range."""
    settings = yaml.safe_load((GITHUB / "dependabot.yml").read_text())
    [docker] = [update for update in settings["updates"] if update["package-ecosystem"] == "docker"]
    [ignored] = docker["ignore"]
    [bound] = [limit for limit in SpecifierSet(METADATA["Requires-Python"]) if limit.operator == "<"]
    assert ignored == {"dependency-name": "python", "versions": [f">={bound.version}"]}


def test_only_the_metadata_says_where_the_project_lives():
    """Other files name what it names, and nothing else there."""
    urls = {line.split(", ")[1] for line in METADATA.get_all("Project-URL")}
    files = [ROOT / "Dockerfile", ROOT / "SECURITY.md", *(path for path in GITHUB.rglob("*") if path.is_file())]
    named = {url for path in files for url in re.findall(r"https://github\.com[^\s\")]*", path.read_text())}
    assert len(files) > 7
    assert named <= urls


def test_issue_forms_point_to_files_that_exist():
    """And so does the template of a change."""
    texts = [path.read_text() for path in GITHUB.rglob("*") if path.is_file() and "workflows" not in path.parts]
    named = {name for text in texts for name in re.findall(r"\b(?:docs/)?[\w-]+\.md\b", text)}
    assert {"SECURITY.md", "CONTRIBUTING.md", "docs/messages.md"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
