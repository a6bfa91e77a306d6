import ast
import importlib.util
import inspect
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import flytekit.extend.backend.connector_service  # noqa: F401 (it makes flytekit's metrics)
import pandas as pd
import pytest
import yaml

from flytekitplugins.openai import _metrics, batch_prompt, create_batch, exceptions
from flytekitplugins.openai.__main__ import main
from flytekitplugins.openai.batch.connector import State
from flytekitplugins.openai.batch.report.advice import BY_CODE, advice_for
from flytekitplugins.openai.batch.results.failures import NO_CODE, Failure, is_worth_running_again
from flytekitplugins.openai.doctor.helm_rules import FLYTE_RULES

ROOT = Path(__file__).parent.parent
PAGES = {
    path.name: path.read_text()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *ROOT.glob("docs/*.md")]
}
WRITING, MESSAGES, OPERATING = (
    PAGES[f"{name}.md"] for name in ("writing-a-workflow", "messages", "operating-the-connector")
)


def blocks(language):
    """Of all pages: the page's name, the name of the file that the block is, if it has one, and the block."""
    pattern = re.compile(rf"(?:^`([\w.]+)`:\n\n)?^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(name, *found) for name, page in PAGES.items() for found in pattern.findall(page)]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that imports a block as a module of its own, as flytekit wants it."""
    numbers = itertools.count()

    def load(block):
        path = tmp_path / f"block_{next(numbers)}.py"
        path.write_text(block)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize(("page", "file", "block"), [found for found in blocks("python") if "test_" not in found[1]])
def test_python_block_of_a_page_runs(load, page, file, block):
    """What a page shows is what works."""
    load(block)


def test_workflow_of_the_readme_answers_every_row(load, openai_emulator):
    """The first workflow a newcomer copies runs to its end."""
    [block] = [block for page, _, block in blocks("python") if page == "README.md" and "def handle" in block]
    openai_emulator.respond(lambda request: json.dumps({"team": request.row["subject"], "urgent": True}))
    tickets = pd.DataFrame({"subject": ["billing", "delivery"], "body": ["a", "b"]})
    assert load(block).handle(tickets=tickets)["team"].tolist() == ["billing", "delivery"]


@pytest.mark.parametrize(
    ("page", "part", "said"),
    [
        ("README.md", "def handle", r"`tickets.py`, (\d+) lines:"),
        ("tables.md", "def test_every_ticket", r"test of `tickets.py`, (\d+) lines"),
    ],
)
def test_example_has_as_many_lines_as_its_page_says(page, part, said):
    """Blank lines are not counted."""
    [block] = [block for name, _, block in blocks("python") if name == page and part in block]
    [count] = re.findall(said, PAGES[page].replace("\n", " "))
    assert len([line for line in block.splitlines() if line.strip()]) == int(count)


@pytest.mark.long
@pytest.mark.parametrize(("page", "tests"), [("writing-a-workflow.md", 4), ("tables.md", 1)])
def test_test_of_a_page_passes(tmp_path, page, tests):
    """A test copied from the page works."""
    for name, file, block in blocks("python"):
        if name == page and file:
            (tmp_path / file).write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=prepend"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout
    assert f"{tests} passed" in run.stdout


def test_arguments_of_batch_prompt_are_all_listed():
    """The table has a row for each; the rest are those of create_batch."""
    told = {name for row in table(PAGES["tables.md"], "argument | for") for name in re.findall(r"`(\w+)`", row[0])}
    assert told == set(inspect.signature(batch_prompt).parameters) - {"arguments"}


@pytest.mark.parametrize(("page", "file", "block"), blocks("yaml"))
def test_yaml_block_of_a_page_is_yaml(page, file, block):
    """It is copied into values and settings."""
    assert isinstance(yaml.safe_load(block), dict)


def test_commands_of_the_readme_are_in_the_makefile():
    """A newcomer types them as they stand."""
    [block] = [block for page, _, block in blocks("bash") if page == "README.md"]
    verbs = re.findall(r"^make (\w+)", block, flags=re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert verbs == ["demo", "test"]
    assert all(f"\n{verb}: " in makefile for verb in verbs)


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_between_pages_lead_somewhere(name):
    """A file of the repository, and a heading in it."""
    directory = ROOT if (ROOT / name).exists() else ROOT / "docs"
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[name]):
        path, _, anchor = target.partition("#")
        if path.startswith("https:"):
            continue
        found = (directory / path if path else directory / name).resolve()
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text()), target


def tables(page, header):
    """The rows of each table that begins with this header, as lists of cells."""
    for part in page.split(f"| {header} |")[1:]:
        rows = part.split("\n\n")[0].splitlines()[2:]
        yield [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def table(page, header):
    """The rows of the only table that begins with this header."""
    [rows] = tables(page, header)
    return rows


def test_arguments_of_create_batch_are_all_listed():
    """The table has a row for each argument."""
    told = {name for row in table(WRITING, "argument of `create_batch`") for name in re.findall(r"`(\w+)`", row[0])}
    assert told == set(inspect.signature(create_batch).parameters)


def test_errors_of_a_request_are_reported_as_the_report_tells_them():
    """Code by code, with what to do, and whether it is run again."""
    told = {row[0].strip("`"): row[1:] for row in table(MESSAGES, "code | again | what to do")}
    assert {code: told[code][1] for code in BY_CODE} == {code: advice_for(code) for code in BY_CODE}
    assert {"invalid_output", NO_CODE} == set(told) - set(BY_CODE)
    for code, (again, _) in told.items():
        assert bool(again) is is_worth_running_again(Failure(code, ""))


def words_of(text):
    """Its words, without punctuation and numbers, as one text that begins and ends with a space."""
    return " ".join(["", *re.findall(r"[^\W\d][\w']*", text), ""])


def texts_of_the_package():
    """Every string of the code except docstrings, as words; for an f-string, the parts between the values."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "flytekitplugins" / "openai").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    texts = {n for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)} - docstrings
    return {words_of(text.value) for text in texts}


def is_made_of(words, texts, *, seam=""):
    """Whether a text is a part of another, or a concatenation of several f-strings' parts."""
    if not words:
        return True
    for length in range(len(words), 0, -1):
        part = f" {' '.join(words[:length])} "
        ends = "" if length == len(words) else part
        fits = any(part in text and text.startswith(seam and part) and text.endswith(ends) for text in texts)
        if fits and is_made_of(words[length:], texts, seam="here"):
            return True
    return False


def test_messages_are_reported_in_their_words():
    """Every message that the page quotes exists."""
    texts = texts_of_the_package()
    quoted = [
        message
        for header in ("message | means | do", "it ends with | means | do", "a line | do", "the input | do")
        for row in itertools.chain.from_iterable(tables(MESSAGES, header))
        for message in re.findall(r"`([^`]+)`", row[0])
    ]
    # What is different each time, as numbers are, is left out, or a name in quotes.
    fixed = [(message, re.split(r"\.\.\.|'[^' ]*'", message)) for message in quoted]
    unknown = [message for message, parts in fixed for part in parts if not is_made_of(words_of(part).split(), texts)]
    assert unknown == []
    assert len(quoted) > 80


def test_errors_of_the_steps_are_reported_with_their_codes():
    """Both the ones that Flyte retries and the final ones."""
    raised = [getattr(exceptions, name) for name in exceptions.__all__ if name.endswith("Error")]
    # Two are never raised by themselves, and one only by the connector, whose errors Flyte shows without their code.
    abstract = {exceptions.OpenAIPluginError, exceptions.PassingError, exceptions.InvalidMetadataError}
    told = {row[0].strip("`"): row[2].startswith("yes") for row in table(MESSAGES, "code | means | again?")}
    expected = {kind("")._ERROR_CODE: issubclass(kind, exceptions.PassingError) for kind in set(raised) - abstract}  # noqa: SLF001
    assert told == expected


def test_statuses_are_reported_with_their_phases():
    """Every status that an OpenAI batch can have."""
    statuses = {status for state in State for status in state.value}
    told = {
        word
        for row in table(MESSAGES, "status of the batch | phase in Flyte | message")
        for word in re.findall(r"`(\w+)`", row[0])
    }
    assert statuses <= told


def test_reasons_are_reported():
    """An operator finds the reason of an alert."""
    told = [word for row in table(OPERATING, "reason | is | do") for word in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(_metrics.REASONS)


def test_settings_of_flyte_are_all_checked_by_the_doctor():
    """Each row of the table has a line of the doctor's, and each line a row."""
    names = {rule.name for rule in FLYTE_RULES}
    rows = [set(re.findall(r"[\w-]+", " ".join(row[:2]))) for row in table(OPERATING, "setting | value | without it")]
    assert [row for row in rows if not row & names] == []
    assert names - set.union(*rows) == set()


@pytest.fixture
def faulty_installation(openai_emulator, monkeypatch, tmp_path):
    """The installation of the example: a key that may not upload, and Flyte's default for failed polls."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY", "sk-operator")
    monkeypatch.setenv("_FSEC_OPENAI_API_KEY", "sk-team")
    openai_emulator.change(scopes={"sk-team": ("api.files.read", "api.batches.read")})
    values = yaml.safe_load((ROOT / "deploy" / "flyte-binary-values.yaml").read_text())
    del values["configuration"]["inline"]["plugins"]["connector-service"]["webApi"]["caching"]["maxSystemFailures"]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)


def test_output_of_the_doctor_is_the_one_of_the_page(faulty_installation, capsys):
    """But for versions, the server's address, and how long it took to answer."""
    [shown] = [block for page, _, block in blocks("text") if page == "operating-the-connector.md" and "FAILED" in block]
    [arguments] = re.findall(r"`(doctor --[^`]*)` finds", OPERATING)
    main(arguments.split())
    varying = r"\d+\.\d[\w.]*|http\S+"
    assert re.sub(varying, "...", capsys.readouterr().out) == re.sub(varying, "...", shown)


def test_lines_of_the_doctor_are_all_listed(faulty_installation, capsys, monkeypatch):
    """An operator looks up one that fails."""
    for name in ("ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"_FSEC_FLYTE_OPENAI_{name}__ADS", "its-name")
    main(["doctor", "--json", "--upload-secret", "openai/api_key", "--helm-values", "values.yaml", "--submit"])
    names = {check["name"].removeprefix("key: ") for check in json.loads(capsys.readouterr().out)["checks"]}
    names = {re.sub("^Helm values: .*", "Helm values: ...", name.removeprefix("upload key: ")) for name in names}
    names = {re.sub(" of ads$", " of ...", name) for name in names}
    told = {name for row in table(OPERATING, "line | fails when") for name in re.findall(r"`([^`]+)`", row[0])}
    assert told == names
