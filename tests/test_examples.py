import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from flytekit import FlyteContextManager
from flytekit.core.context_manager import ExecutionState
from flytekit.types.file import JSONLFile

from flytekitplugins.openai.emulator import Emulator, RequestFault
from tests.builders import make_client, make_settings

ROOT = Path(__file__).parent.parent


@pytest.mark.long
def test_demo_triages_every_ticket():
    """`make demo` shows the counts, three rows with their answers, and where the table and the report are."""
    run = subprocess.run(
        [sys.executable, "examples/demo.py"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "300 of 300 requests done, 2 failed" in run.stderr
    assert [number in run.stdout for number in (" 300 ", " 298 ", " 2 ")] == [True] * 3
    assert [ticket in run.stdout for ticket in ("T-20411", "T-20412", "T-20413")] == [True] * 3
    [path] = re.findall("^Table: (.*)$", run.stdout, flags=re.MULTILINE)
    answered = pq.read_table(path)
    assert answered.num_rows == 300
    assert answered.column("team").null_count == 2
    [page] = re.findall(r"the report is at file://(\S+)", run.stderr)
    assert "298 of 300 requests succeeded" in Path(page).read_text()
    assert "Only half of the order came" in Path(page).read_text()


@pytest.mark.long
def test_table_workflow_is_packaged(tmp_path):
    """The one of the README, as it is registered: the steps of the user's function, and those of the batch."""
    [code, *_] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (tmp_path / "tickets.py").write_text(code)
    pyflyte = Path(sys.executable).with_name("pyflyte")
    command = [pyflyte, "--pkgs", "tickets", "package", "--image", "registry.example/workflow:1"]
    subprocess.run([*command, "--output", "package.tgz"], cwd=tmp_path, capture_output=True, check=True, timeout=120)
    with tarfile.open(tmp_path / "package.tgz") as package:
        names = {re.sub(r"^\d+_|_\d+\.pb$", "", Path(member.name).name) for member in package.getmembers()}
    batch = {f"openai-{step}-tickets-triage" for step in ("file-upload", "batch", "download-files")}
    steps = {"tickets.triage.prompts", "tickets.triage.answers"}
    assert names >= {*batch, *steps, "tickets.triage", "tickets.handle"}


def start_example(name, workflow, emulator):
    """`pyflyte run`, with an emulator in OpenAI's place, run to its end."""
    return subprocess.run(
        [Path(sys.executable).with_name("pyflyte"), "run", f"examples/{name}.py", workflow],
        cwd=ROOT,
        env={**os.environ, **emulator.environment, "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_example(name, workflow, emulator):
    """What a run that succeeds prints."""
    run = start_example(name, workflow, emulator)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_every_example_is_run():
    """By a test below."""
    tested = set(re.findall(r'_example\(\s*"(\w+)"', Path(__file__).read_text()))
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == tested | {"demo", "ticket_triage"}


def test_quick_start_finds_the_capitals(openai_emulator):
    """The first workflow that a newcomer runs."""
    printed = run_example("quick_start", "find_capitals", openai_emulator)
    assert [f"What is the capital of {country}?" in printed for country in ("Kenya", "Peru", "Laos")] == [True] * 3


@pytest.mark.long
def test_structured_extraction_sets_aside_what_does_not_fit():
    """The others are objects."""
    invoice = {"sender": "Holm & Sons", "date": "2026-11-03", "amount": 840, "currency": "EUR", "is_reminder": False}

    def answer(request):
        return json.dumps(invoice) if "Holm" in request.prompt else "I cannot read this."

    with Emulator(responder=answer) as emulator:
        printed = run_example("structured_extraction", "extract_invoices", emulator)
    assert "letter-1: Holm & Sons: 840.00 EUR, 2026-11-03" in printed
    assert printed.count("to be read by a person: the answer does not match the model: Invalid JSON") == 2


@pytest.mark.long
def test_embeddings_are_compared(openai_emulator):
    """Each article's neighbour is another article."""
    neighbours = ast.literal_eval(run_example("embeddings", "find_neighbours", openai_emulator).splitlines()[-1])
    assert len(neighbours) == 4
    assert all(name != other and other in neighbours for name, other in neighbours.items())


@pytest.mark.long
def test_error_budget_runs_again_what_may_pass(openai_emulator):
    """And puts up with one failure that does not."""
    openai_emulator.order(
        RequestFault(status=429, code="rate_limit_exceeded", times=5),
        RequestFault(custom_id="review-30", status=400, code="content_filter"),
    )
    printed = run_example("error_budget", "label_reviews", openai_emulator)
    assert "39 of 40 reviews labelled; not labelled: review-30 (content_filter)" in printed
    with make_client(openai_emulator) as client:
        assert sorted(batch.request_counts.total for batch in client.batches.list()) == [5, 40]


@pytest.mark.long
def test_error_budget_that_is_spent_fails_the_workflow(openai_emulator):
    """With the reason, and the report."""
    openai_emulator.order(RequestFault(status=400, code="content_filter", times=3))
    run = start_example("error_budget", "label_reviews", openai_emulator)
    assert run.returncode == 1
    assert "37 of 40 requests succeeded, and min_success_ratio requires 0.95 of them." in run.stdout
    assert "the report is at file://" in run.stderr


@pytest.mark.long
def test_small_account_pays_once(openai_emulator):
    """The second run makes no batch."""
    for _ in range(2):
        printed = run_example("small_account", "translate_menu", openai_emulator)
        assert "40 of 40 dishes translated" in printed
    with make_client(openai_emulator) as client:
        assert len(list(client.batches.list())) == 1


@pytest.mark.long
def test_launch_plan_of_a_batch_is_mapped_over_many_inputs(openai_emulator):
    """Past what one pod can upload, there are several."""
    assert "50 of 50 products reviewed, from 3 inputs" in run_example(
        "many_inputs", "review_catalogue", openai_emulator
    )
    with make_client(openai_emulator) as client:
        assert sorted(batch.request_counts.total for batch in client.batches.list()) == [10, 20, 20]


def test_mapped_launch_plan_is_one_to_flyte(monkeypatch):
    """Flyte makes an execution for each input, and of so many at once as the example says."""
    spec = importlib.util.spec_from_file_location("many_inputs", ROOT / "examples" / "many_inputs.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    context = FlyteContextManager.current_context()
    on_a_cluster = context.new_execution_state().with_params(mode=ExecutionState.Mode.TASK_EXECUTION)
    builder = context.with_serialization_settings(make_settings()).with_execution_state(on_a_cluster)
    with FlyteContextManager.with_context(builder) as context:
        inputs = [JSONLFile(str(ROOT / "README.md"))] * 3
        made = module.review_inputs.compile_into_workflow(context, module.review_inputs.task_function, inputs=inputs)
    [mapped] = [node.array_node for node in made.nodes if node.array_node is not None]
    assert mapped.node.workflow_node.launchplan_ref.name == "review-one-input"
    assert mapped.to_flyte_idl().parallelism == 2
