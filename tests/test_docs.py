import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest

from flytekitplugins.openai import create_batch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that imports a block as a module of its own, as flytekit wants it."""

    def load(block):
        path = tmp_path / "readme_block.py"
        path.write_text(block)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("block", blocks("python"))
def test_python_block_of_the_readme_runs(load, block):
    """What the README shows is what works."""
    load(block)


def test_workflow_of_the_readme_answers_every_request(load, openai_emulator):
    """The first workflow a newcomer copies runs to its end."""
    [block] = [block for block in blocks("python") if "find_capitals" in block]
    result = load(block).find_capitals()
    assert len(Path(result.output_file).read_bytes().splitlines()) == 3


def test_commands_of_the_readme_are_in_the_makefile():
    """A newcomer types them as they stand."""
    [block] = blocks("bash")
    verbs = re.findall(r"^make (\w+)", block, flags=re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert verbs == ["demo", "test"]
    assert all(f"\n{verb}: " in makefile for verb in verbs)


def test_arguments_of_create_batch_are_all_told():
    """The table has a row for each."""
    table = README.split("| argument of `create_batch`")[1].split("\n\n")[0]
    assert set(inspect.signature(create_batch).parameters) <= set(re.findall(r"`(\w+)`", table))
