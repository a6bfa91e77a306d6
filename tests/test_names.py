import subprocess
import sys
from datetime import timedelta

import pytest
from flytekit import ImageSpec, Secret

from flytekitplugins.openai import create_batch

SECRET = Secret(group="team", key="key")
OTHERS = {
    "secret": Secret(group="other", key="key"),
    "openai_organization": "org-other",
    "config": {"endpoint": "/v1/embeddings"},
    "is_json_iterator": False,
    "file_upload_mem": "2Gi",
    "openai_project": "proj-other",
    "container_image": "mine:2",
    "retries": 3,
    "timeout": timedelta(hours=30),
    "max_resubmissions": 2,
    "min_success_ratio": 0.5,
    "complete_answers": True,
}


def make(name="reviews", **arguments):
    """A workflow; its image is equal in each call, and another object."""
    return create_batch(name, **{"secret": SECRET, "container_image": ImageSpec(name="mine"), **arguments})


@pytest.mark.parametrize("argument", OTHERS)
def test_second_workflow_of_a_name_is_refused(argument):
    """Flyte would register one of the two, and run it for both."""
    make()
    with pytest.raises(ValueError, match=r"create_batch") as caught:
        make(**{argument: OTHERS[argument]})
    assert str(caught.value) == (
        f"create_batch was called twice with the name 'reviews' and different values of {argument}, and Flyte "
        "would register both workflows as openai-batch-reviews; give each its own name."
    )


def test_names_that_differ_by_dots_are_one_name():
    """Flyte knows a workflow without the dots of its name."""
    make("re.views")
    with pytest.raises(ValueError, match=r"create_batch") as caught:
        make("reviews")
    assert str(caught.value) == (
        "create_batch was called with the names 're.views' and 'reviews', and Flyte would register both workflows as "
        "openai-batch-reviews; give each its own name."
    )


def test_same_workflow_is_made_twice():
    """flytekit may import the module of a workflow twice, under two names."""
    assert make(config={"metadata": {"run": "7"}}).name == make(config={"metadata": {"run": "7"}}).name
    assert make("plain").name == make("plain", config={}).name


def test_workflow_is_compared_as_it_was_made():
    """A config that is changed after the call makes another workflow of the second call."""
    config = {"metadata": {"run": "7"}}
    make(config=config)
    config["metadata"]["run"] = "8"
    with pytest.raises(ValueError, match="different values of config, and Flyte"):
        make(config=config)


def test_refused_workflow_leaves_its_name_free():
    """A call that raises has made nothing."""
    with pytest.raises(ValueError, match="min_success_ratio"):
        make(min_success_ratio=2)
    make(min_success_ratio=1)


@pytest.mark.parametrize("retries", [0, 1])
def test_each_test_has_names_of_its_own(retries):
    """pytest runs the tests of many workflows in one process."""
    make(retries=retries)


@pytest.mark.long
@pytest.mark.parametrize(("interactive", "code"), [(False, 1), (True, 0)])
def test_cell_that_is_changed_and_run_again_makes_another_workflow(interactive, code, monkeypatch):
    """In an interactive session the last definition counts; in a module, two are one too many."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    session = "import sys; sys.ps1 = '>>> '; " if interactive else ""
    calls = "; ".join(f"create_batch('reviews', Secret('g', 'k'), retries={retries})" for retries in (0, 1, 2))
    program = f"{session}from flytekit import Secret; from flytekitplugins.openai import create_batch; {calls}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
