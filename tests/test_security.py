"""What SECURITY.md says, where no other test does."""

import re
from pathlib import Path

import pytest
from flytekit import Secret

from flytekitplugins.openai.emulator.__main__ import _parser
from flytekitplugins.openai.exceptions import OpenAIPluginError
from tests.builders import make_inputs, make_requests, make_template, upload

ROOT = Path(__file__).parent.parent
THEFTS = [
    {"base_url": "http://127.0.0.1:9/v1"},
    {"api_key": "sk-thief"},
    {"extra_body": {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-thief"}},
    {"extra_query": {"base_url": "http://127.0.0.1:9/v1"}},
]


@pytest.mark.parametrize("config", THEFTS)
async def test_task_chooses_neither_the_key_nor_its_address(connector, emulator, config):
    """Whatever its config names like them reaches the operator's server, as a parameter, with the operator's key."""
    inputs = make_inputs(upload(emulator, make_requests(1)))
    emulator.calls.clear()
    try:
        await connector.create(make_template(config=config), inputs)
    except OpenAIPluginError as error:
        assert "no connection" not in str(error)  # noqa: PT017 (the server may refuse the parameter)
    [call] = [call for call in emulator.calls if (call.method, call.path) == ("POST", "/v1/batches")]
    assert call.key == "sk-operator"


async def test_connector_puts_no_key_into_metadata(connector, emulator):
    """Only the name of a secret."""
    template = make_template(secret=Secret(group="team", key="key"))
    metadata = await connector.create(template, make_inputs(upload(emulator, make_requests(1))))
    assert metadata.secret_arg["group"] == "team"
    assert b"sk-operator" not in metadata.encode()


def test_command_listens_on_this_machine_alone():
    """Unless another host is named."""
    assert _parser().parse_args([]).host == "127.0.0.1"


def test_tests_of_the_page_exist():
    """Each is found by its name, and each row has one."""
    rows = [row for row in (ROOT / "SECURITY.md").read_text().splitlines() if row.startswith("| ") and "`test_" in row]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    assert len(rows) > 8
    assert [name for name in sorted(named) if f"def {name}(" not in tests] == []
