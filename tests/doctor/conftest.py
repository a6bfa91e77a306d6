import json

import pytest

from flytekitplugins.openai.__main__ import main


@pytest.fixture
def diagnose(capsys):
    """A function that runs the doctor: its exit status, and the outcome and text of each of its lines."""

    def diagnose(*arguments):
        status = main(["doctor", "--json", *map(str, arguments)])
        told = json.loads(capsys.readouterr().out)
        lines = {check["name"]: (check["outcome"], check["text"]) for check in told["checks"]}
        assert len(lines) == len(told["checks"]), "two lines have one name"
        assert told["ok"] is (status == 0)
        return status, lines

    return diagnose
