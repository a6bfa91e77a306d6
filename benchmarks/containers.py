"""File steps as Flyte runs them, each in a process of its own: files in, files out, and what the process has used."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from flyteidl.core import errors_pb2, literals_pb2
from flytekit import FlyteContextManager, Secret
from flytekit.core.base_task import PythonTask
from flytekit.core.type_engine import TypeEngine
from flytekit.core.utils import load_proto_from_file, write_proto_to_file
from flytekit.models.literals import LiteralMap

from flytekitplugins.openai import OpenAIFileConfig
from tests.builders import serialize

from .errors import BenchmarkError
from .stand_in import API_KEY

CONFIG = OpenAIFileConfig(secret=Secret(group="team", key="key"))
SCRIPT = Path(__file__).with_name("step.py")
IMPORTS = 3


@dataclass(frozen=True)
class Used:
    """What a process has used: `cpu` is in seconds as well, `peak` is the most memory it had, in bytes."""

    seconds: float
    cpu: float
    peak: int

    def beyond(self, other: "Used") -> "Used":
        """How much more than another."""
        return Used(self.seconds - other.seconds, self.cpu - other.cpu, self.peak - other.peak)


@dataclass(frozen=True)
class Steps:
    """What the two file steps of a workflow used."""

    upload: Used
    collect: Used


def median_of(runs: list[Used]) -> Used:
    """Of each measure by itself."""
    return Used(*(median(getattr(run, name) for run in runs) for name in ("seconds", "cpu", "peak")))


class Containers:
    """Where the steps of one package run.

    Args:
        python: Of the environment that the package is installed in.
        directory: Where they keep what they are given, and what they leave.
        user_code: Where the modules of a user's own tasks are, if there are any.
    """

    def __init__(self, python: Path, directory: Path, *, user_code: Path | None = None) -> None:
        self._python = python
        self._directory = directory
        self._user_code = user_code
        self._runs = 0
        self._import = median_of([self._run([]) for _ in range(IMPORTS)])

    @property
    def import_seconds(self) -> float:
        """How long a process takes that does no more than `import flytekit`."""
        return self._import.seconds

    def run(
        self, task: PythonTask, inputs: dict[str, Any], *, base_url: str, types: Mapping[str, type] | None = None
    ) -> tuple[Used, dict[str, Any]]:
        """Run a task; returns what it used beyond what `import flytekit` does, and its outputs.

        Args:
            task: The task.
            inputs: What it is given.
            base_url: Where its OpenAI is.
            types: What its outputs are read as; what they are by default.

        Raises:
            BenchmarkError: It failed.
        """
        place = self._new_place()
        template, context = serialize(task), FlyteContextManager.current_context()
        literals = TypeEngine.dict_to_literal_map(context, inputs, task.python_interface.inputs)
        places = {
            "{{.taskTemplatePath}}": place / "template.pb",
            "{{.input}}": place / "inputs.pb",
            # As in Flyte, the last part is the number of the attempt.
            "{{.outputPrefix}}": place / "n0" / "data" / "0",
            "{{.rawOutputDataPrefix}}": place / "raw",
            "{{.checkpointOutputPrefix}}": place / "checkpoint",
            "{{.prevCheckpointPrefix}}": "",
        }
        write_proto_to_file(template.to_flyte_idl(), str(places["{{.taskTemplatePath}}"]))
        write_proto_to_file(literals.to_flyte_idl(), str(places["{{.input}}"]))
        _, *arguments = (str(places.get(argument, argument)) for argument in template.container.args)
        used = self._run(arguments, {"OPENAI_BASE_URL": base_url, "_FSEC_TEAM_KEY": API_KEY})
        outputs = _outputs(task, places["{{.outputPrefix}}"])
        return used.beyond(self._import), TypeEngine.literal_map_to_kwargs(
            context, outputs, dict(types or task.python_interface.outputs)
        )

    def clear(self) -> None:
        """Remove whatever the steps have left so far."""
        for place in self._directory.iterdir():
            shutil.rmtree(place)

    def _run(self, arguments: list[str], environment: Mapping[str, str] | None = None) -> Used:
        place = self._new_place()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        kept |= {"USER_CODE": str(self._user_code)} if self._user_code else {}
        with (place / "log").open("wb") as log:
            status = subprocess.run(
                # Isolated, so that it finds neither what is beside the script nor what is at the repository's root.
                [self._python, "-I", SCRIPT, place / "used.json", *arguments],
                # flytekit leaves its temporary files where they are.
                env={**kept, **(environment or {}), "TMPDIR": str(place)},
                cwd=place,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if status:
            said = (place / "log").read_text(errors="replace")[-2_000:]
            raise BenchmarkError(f"A step ended with status {status}. It last said:\n{said}")
        used = Used(**json.loads((place / "used.json").read_text()))
        shutil.rmtree(place)
        return used

    def _new_place(self) -> Path:
        self._runs += 1
        place = self._directory / f"{self._runs}"
        place.mkdir(parents=True)
        return place


def _outputs(task: PythonTask, prefix: Path) -> LiteralMap:
    # A step that fails has done its duty once it has written this, and exits with 0.
    error = prefix / "error.pb"
    if error.exists():
        message = load_proto_from_file(errors_pb2.ErrorDocument, str(error)).error.message
        raise BenchmarkError(f"Step {task.name!r} failed: {message}")
    return LiteralMap.from_flyte_idl(load_proto_from_file(literals_pb2.LiteralMap, str(prefix / "outputs.pb")))
