"""The corpus is replayed in every run, and what the fuzzer finds from there in `make soak`."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import CORPUS
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SEEDS = sorted(CORPUS.glob("*/*"))
# About ten seconds each, where nothing else runs: an answer goes through the SDK four times.
RUNS = {"metadata": 15_000, "answers": 1_200, "result_lines": 6_000}
MOST_SECONDS = 300
MOST_BYTES = 50_000


@pytest.fixture(autouse=True)
def operators_key(monkeypatch):
    """As the target that answers polls sets it, too."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator-0123456789")


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_input_of_the_corpus_keeps_the_properties(path):
    """What a fuzzer has found once is never found again."""
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_change_of_an_input_keeps_the_properties(path):
    """The first changes that the fuzzer makes, also where there is no fuzzer."""
    for seed in range(10):
        TARGETS[path.parent.name](mutate(path.read_bytes(), seed) or path.read_bytes()[seed:])


def test_corpus_is_small():
    """Every clone of the repository has it."""
    assert {path.parent.name for path in SEEDS} == set(TARGETS) == set(RUNS)
    assert sum(path.stat().st_size for path in SEEDS) < MOST_BYTES


def fuzz(target, crashes, *, seed, runs):
    command = [sys.executable, "-m", "tests.fuzz", target, f"--seed={seed}", f"--runs={runs}", f"--crashes={crashes}"]
    # The order of sets decides what is covered first.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS, check=False
    )


needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python or this machine"
)


@needs_atheris
@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_fuzzer_finds_nothing(target, tmp_path):
    """With the seed of `make soak`, so that the same seed finds the same."""
    seed = int(os.environ.get("FIRST_DAY", "0"))
    run = fuzz(target, tmp_path, seed=seed, runs=RUNS[target])
    if run.returncode:
        [path, *_] = [*tmp_path.iterdir(), Path("nowhere")]
        pytest.fail(
            f"{run.stderr[-5_000:]}\nTo fuzz again: python -m tests.fuzz {target} --seed {seed} --runs {RUNS[target]}\n"
            f"To run this input alone, write it to a file FILE: python -m tests.fuzz {target} FILE\n"
            f"It is: {path.read_bytes() if path.exists() else run.returncode!r}\n"
            f"Once it is corrected, the file belongs into {CORPUS.relative_to(ROOT) / target}/."
        )
    assert f"Done {RUNS[target]} runs" in run.stderr


BROKEN = """
import sys
from tests.fuzz import __main__, targets

def broken(data):
    if b'"requests"' in data and b'"requests":6' not in data.replace(b" ", b""):
        raise KeyError("a defect")

targets.TARGETS["metadata"] = broken
sys.argv = ["fuzz", "metadata", "--crashes", sys.argv[1]]
__main__.main()
"""


@needs_atheris
@pytest.mark.long
def test_defect_is_found_and_its_input_kept(tmp_path):
    """Without this, a fuzzer that does nothing would pass."""
    command = [sys.executable, "-c", BROKEN, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
    [kept] = tmp_path.iterdir()
    assert run.returncode
    assert f"The input that breaks 'metadata': {kept.read_bytes()!r}" in run.stderr
    again = subprocess.run([sys.executable, "-m", "tests.fuzz", "metadata", str(kept)], cwd=ROOT, check=False)
    assert again.returncode == 0
