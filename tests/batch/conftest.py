import os
import subprocess
import sys
from pathlib import Path

import pytest
from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.core.utils import write_proto_to_file

from tests.builders import serialize

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def start(openai_emulator, tmp_path):
    """A function that starts a task as its container does; returns the process, and where it leaves its outputs."""

    def start(task, inputs, *, attempt=0):
        template = serialize(task)
        literals = TypeEngine.dict_to_literal_map(
            FlyteContextManager.current_context(), inputs, task.python_interface.inputs
        )
        places = {
            "{{.taskTemplatePath}}": tmp_path / "template.pb",
            "{{.input}}": tmp_path / "inputs.pb",
            "{{.outputPrefix}}": tmp_path / task.name / "data" / str(attempt),
            "{{.rawOutputDataPrefix}}": tmp_path / "raw",
            "{{.checkpointOutputPrefix}}": tmp_path / "checkpoint",
            # flytekit takes it for none.
            "{{.prevCheckpointPrefix}}": "",
        }
        write_proto_to_file(template.to_flyte_idl(), str(places["{{.taskTemplatePath}}"]))
        write_proto_to_file(literals.to_flyte_idl(), str(places["{{.input}}"]))
        command, *arguments = (str(places.get(argument, argument)) for argument in template.container.args)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENAI_BASE_URL": openai_emulator.base_url,
            "_FSEC_TEAM_KEY": "sk-team",
            "FLYTE_INTERNAL_EXECUTION_PROJECT": "project",
            "FLYTE_INTERNAL_EXECUTION_DOMAIN": "development",
            "FLYTE_INTERNAL_EXECUTION_ID": "f1",
        }
        command = [Path(sys.executable).with_name(command), *arguments]
        return subprocess.Popen(command, env=environment, cwd=tmp_path), places["{{.outputPrefix}}"]

    return start


@pytest.fixture
def container(start):
    """A function that runs a task as its container does, and returns what it left for Flyte."""

    def run(task, inputs, **arguments):
        process, outputs = start(task, inputs, **arguments)
        assert process.wait() == 0
        return outputs

    return run
