import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from flytekit import FlyteContextManager
from flytekit.core.context_manager import ExecutionState
from flytekit.types.file import JSONLFile

from tests.builders import make_client, make_settings

ROOT = Path(__file__).parent.parent


def test_demo_triages_every_ticket():
    """`make demo` shows the counts, three answers, and where the files are."""
    run = subprocess.run(
        [sys.executable, "examples/demo.py"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "300 of 300 requests done, 2 failed" in run.stderr
    assert [number in run.stdout for number in (" 300 ", " 298 ", " 2 ")] == [True] * 3
    assert [ticket in run.stdout for ticket in ("T-20411", "T-20412", "T-20413")] == [True] * 3
    answers = next(line.removeprefix("Answers: ") for line in run.stdout.splitlines() if line.startswith("Answers: "))
    lines = [json.loads(line) for line in Path(answers).read_bytes().splitlines()]
    assert len({line["custom_id"] for line in lines}) == 298


def run_example(name, workflow, emulator):
    """What `pyflyte run` prints, with an emulator in OpenAI's place."""
    run = subprocess.run(
        [Path(sys.executable).with_name("pyflyte"), "run", f"examples/{name}.py", workflow],
        cwd=ROOT,
        env={**os.environ, **emulator.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


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
