"""The threat table names tests that exist, and shows that no input of the package was left out."""

import ast
import re
from pathlib import Path

import pytest

from flytekitplugins.openai.batch.container.upload_names import UploadNames
from tests.builders import make_client, make_requests, upload_with

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "threats.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| input |")
]


def functions_in(path):
    """The functions of a module of tests."""
    if not path.is_file():
        return set()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[1]}")
def test_threat_is_shown_by_tests_that_exist(row):
    """A test that is renamed takes its row along."""
    _, _, shown = row
    named = re.findall(r"`([^`]+)`", shown)
    assert named
    assert shown == ", ".join(f"`{name}`" for name in named)
    for name in named:
        path, _, test = name.partition("::")
        assert test.startswith("test_")
        assert test in functions_in(ROOT / path), name


@pytest.mark.parametrize(
    "named",
    ["metadata", "redirect", "file ids", "line of a result", "any text", "secret named by a task", "many tasks"],
)
def test_threat_is_in_the_table(named):
    """An input that comes from outside is left out by nobody."""
    assert named in {row[0] for row in ROWS}


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.jsonl", 'a"; filename="b.jsonl', "a\r\nX-Evil: 1.jsonl", "a\0b.jsonl"]
)
def test_name_of_an_input_stays_one_name(emulator, name):
    """It becomes a part of the name of the upload, in a header of one of its parts."""
    stem = UploadNames(name, "0123456789abcdef").prefix
    with make_client(emulator) as client:
        file_id = upload_with(client, make_requests(1), name=f"{stem}0.jsonl")
        [file] = list(client.files.list())
    assert file.id == file_id
    assert not set("/\r\n\0") & set(file.filename)
    assert file.filename.endswith("-0123456789abcdef-0.jsonl")
