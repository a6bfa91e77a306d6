"""`python -m tests.try_wheel WHEEL`: the wheel as people install it. `make build` runs it on what it has built.

Each extra is installed into an empty environment, one after another. In each the package is imported, a workflow runs
against the emulator, and then what the extra is for. What the wheel needs comes from the package index.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import openai
from flyteidl.core.execution_pb2 import TaskExecution

from tests.builders import make_inputs, make_jsonl, make_request, make_requests, make_template, upload_with
from tests.conftest import is_ours
from tests.service.replicas import Replica, free_ports, serve_connector

EXAMPLE = Path(__file__).parent.parent / "examples" / "quick_start.py"
KEY = "sk-nobody"
SECONDS = 180
PUBLIC_NAMES = """
import flytekitplugins.openai as package
assert all(hasattr(package, name) for name in package.__all__)
print(package.__file__)
"""
TABLE = """
import pyarrow
from flytekit import Secret, workflow
from flytekitplugins.openai import batch_prompt

@batch_prompt(model="gpt-4o-mini", secret=Secret(group="openai", key="api_key"))
def answer(question: str) -> str:
    return question

@workflow
def ask(questions: pyarrow.Table) -> pyarrow.Table:
    return answer(table=questions)
"""
ASK = """
import json, pyarrow, table
answers = table.ask(questions=pyarrow.table({"question": ["a", "b"]}))
print(json.dumps(answers.to_pydict()))
"""


class Environment:
    """A virtual environment that holds the wheel with one of its extras, and what that needs.

    Args:
        directory: Where it is made, and where its commands run.
        wheel: The file.
        extra: The extra's name; empty for none.
    """

    def __init__(self, directory, wheel, extra):
        self._directory = directory
        self.path = directory / "environment"
        uv = Path(sys.executable).with_name("uv")
        self.run(uv, "venv", "--quiet", "--python", sys.executable, self.path)
        wanted = f"{wheel}[{extra}]" if extra else wheel
        self.run(uv, "pip", "install", "--quiet", "--python", self.path / "bin" / "python", wanted)
        self.run(uv, "pip", "check", "--quiet", "--python", self.path / "bin" / "python")

    def run(self, *command, **variables):
        """What a command prints; it must end with 0."""
        run = subprocess.run(
            command,
            cwd=self._directory,
            env=self._variables(variables),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert run.returncode == 0, f"{command} ended with {run.returncode}:\n{run.stdout}{run.stderr}"
        return run.stdout

    @contextlib.contextmanager
    def running(self, *command, **variables):
        """The log of a command that runs meanwhile."""
        log = self._directory / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self._directory, env=self._variables(variables), stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield log
        except Exception:
            sys.stderr.write(log.read_text())
            raise
        finally:
            process.kill()
            process.wait()

    def write(self, name, text):
        (self._directory / name).write_bytes(text)

    def _variables(self, more):
        """Those of this process, without what leads to its packages or to somebody's account."""
        kept = {name: value for name, value in os.environ.items() if not is_ours(name) and name != "PYTHONPATH"}
        return {**kept, "PATH": f"{self.path / 'bin'}:{kept['PATH']}", **more}


def wait_until(condition):
    ends_at = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < ends_at
        time.sleep(0.2)
    return found


@contextlib.contextmanager
def emulator_of(environment):
    """A client's variables for an emulator that runs as the wheel's command."""
    command = [
        "python",
        "-m",
        "flytekitplugins.openai.emulator",
        "--port",
        "0",
        "--validating",
        "0",
        "--finalizing",
        "0",
    ]
    with environment.running(*command, PYTHONUNBUFFERED="1") as log:
        [base_url] = wait_until(lambda: re.findall(r"export OPENAI_BASE_URL=(\S+)", log.read_text()))
        yield {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": KEY}


def estimate_of(environment):
    """What the package's command finds out about a file of one request."""
    environment.write("requests.jsonl", make_jsonl([make_request(model="gpt-4o-mini")]))
    return json.loads(environment.run("python", "-m", "flytekitplugins.openai", "check", "requests.jsonl", "--json"))


def try_import(environment, _account):
    """The package is the wheel's, and every public name is there."""
    assert environment.run("python", "-c", PUBLIC_NAMES).startswith(str(environment.path))


def try_workflow(environment, account):
    """A workflow of the examples gets its answers."""
    printed = environment.run("pyflyte", "run", EXAMPLE, "find_capitals", **account)
    assert all(country in printed for country in ("Kenya", "Peru", "Laos")), printed


def try_connector(environment, account):
    """The service runs a batch, and counts."""
    port, prometheus_port = free_ports()
    variables = {"_FSEC_FLYTE_OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": account["OPENAI_BASE_URL"]}
    with (
        environment.running("pyflyte", *serve_connector(port, prometheus_port), **variables),
        contextlib.closing(Replica(port)) as service,
        openai.OpenAI(base_url=account["OPENAI_BASE_URL"], api_key=KEY) as client,
    ):
        meta = service.create(make_template(), make_inputs(upload_with(client, make_requests(3))))
        wait_until(lambda: service.get(meta).phase == TaskExecution.SUCCEEDED)
        with urllib.request.urlopen(f"http://127.0.0.1:{prometheus_port}/metrics") as answer:
            assert b"flyte_connector_openai_poll_failures_total" in answer.read()


def try_table(environment, account):
    """A table in, the same table with a column of answers out."""
    environment.write("table.py", TABLE.encode())
    answers = json.loads(environment.run("python", "-c", ASK, **account).splitlines()[-1])
    assert answers["question"] == ["a", "b"]
    assert all(answers["answer"])


def try_tokens(environment, _account):
    """Tokens are counted, and not estimated."""
    assert estimate_of(environment)["exact"] is True


def try_prices(environment, _account):
    """What the prompts cost is known."""
    assert estimate_of(environment)["prompts_usd"] > 0


def try_estimate(environment, _account):
    """Without an extra, tokens are estimated and costs are not known."""
    estimate = estimate_of(environment)
    assert (estimate["exact"], estimate["prompts_usd"]) == (False, None)


# What is tried with each extra.
TRIALS = {
    "emulator": [try_import, try_workflow],
    "": [try_import, try_workflow, try_estimate],
    "connector": [try_import, try_workflow, try_connector],
    "tables": [try_import, try_workflow, try_table],
    "tokens": [try_import, try_workflow, try_tokens],
    "prices": [try_import, try_workflow, try_prices],
}


@contextlib.contextmanager
def environment_with(wheel, extra):
    """An environment with an extra, which is then removed."""
    with tempfile.TemporaryDirectory() as directory:
        yield Environment(Path(directory), wheel, extra)


def try_extra(environment, extra, account):
    for trial in TRIALS[extra]:
        trial(environment, account)
    print(f"The wheel works {f'with [{extra}]' if extra else 'without extras'}.", flush=True)


def main(wheel):
    """Try the wheel with each extra in turn. The emulator stays, because it answers the others."""
    wheel = Path(wheel).resolve()
    with environment_with(wheel, "emulator") as emulator, emulator_of(emulator) as account:
        try_extra(emulator, "emulator", account)
        for extra in [name for name in TRIALS if name != "emulator"]:
            with environment_with(wheel, extra) as environment:
                try_extra(environment, extra, account)


if __name__ == "__main__":
    main(*sys.argv[1:])
