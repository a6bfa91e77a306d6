import json
import subprocess
import sys
from pathlib import Path

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
