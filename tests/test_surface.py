import ast
import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import flytekitplugins.openai
from flytekitplugins.openai.batch.task import BatchEndpointTask

PACKAGE = Path(flytekitplugins.openai.__file__).parent
# Where each public name of the published package is defined: these paths are in registered tasks and running batches.
DEFINED_IN = {
    "batch.connector": ["BatchEndpointConnector", "BatchEndpointMetadata", "State"],
    "batch.task": [
        "BatchEndpointTask",
        "BatchResult",
        "DownloadJSONFilesExecutor",
        "DownloadJSONFilesTask",
        "OpenAIFileConfig",
        "OpenAIFileDefaultImages",
        "UploadJSONLFileExecutor",
        "UploadJSONLFileTask",
    ],
    "batch.workflow": ["create_batch"],
    "chatgpt.connector": ["ChatGPTConnector"],
    "chatgpt.task": ["ChatGPTTask"],
}
PURE = [
    "_arguments",
    "_relaxed_schemas",
    "_strict_schemas",
    "_text",
    "batch.bodies",
    "batch.encoding",
    "batch.foreign_files",
    "batch.history",
    "batch.index",
    "batch.key",
    "batch.ledger",
    "batch.legacy",
    "batch.lifecycle",
    "batch.memory",
    "batch.names",
    "batch.patience",
    "batch.plain_values",
    "batch.planning",
    "batch.problems",
    "batch.report.advice",
    "batch.report.histogram",
    "batch.report.page",
    "batch.report.prices",
    "batch.report.texts",
    "batch.report.timeline",
    "batch.request_lines",
    "batch.requests",
    "batch.result_lines",
    "batch.results",
    "batch.rows",
    "batch.shards",
    "batch.snapshot",
    "batch.submission",
    "batch.tally",
    "batch.uniqueness",
    "batch.usage",
    "chatgpt.conversation",
]
HOME = "flytekitplugins.openai"
MODULES = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "flytekitplugins.openai.")]


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in DEFINED_IN.items() for name in names])
def test_name_is_defined_where_the_published_package_has_it(module, name):
    """Executors' and the metadata's module paths are written down by Flyte."""
    path = f"flytekitplugins.openai.{module}"
    assert getattr(importlib.import_module(path), name).__module__ == path


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_public_names_are_listed_sorted_and_there(module):
    """`__all__` is what a module offers."""
    imported = importlib.import_module(module)
    names = getattr(imported, "__all__", [])
    assert sorted(names) == sorted(set(names))
    assert [name for name in names if not hasattr(imported, name)] == []
    assert sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name)) == names


@pytest.mark.parametrize("name", PURE)
def test_pure_module_knows_neither_flyte_nor_openai(name):
    """Decisions are read and tested without knowing either system, and without a network."""
    module = importlib.import_module(f"{HOME}.{name}")
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            home = f"{module.__package__}." if node.level else ""
            imported.add(f"{home}{node.module}")
    ours = {name for name in imported if name.startswith("flytekitplugins")}
    assert ours <= {f"{HOME}.{name}" for name in PURE}
    assert not {name.split(".")[0] for name in imported - ours} & {"flytekit", "flyteidl", "openai"}


def test_plugin_is_found_by_flytekit():
    """flytekit loads every package under this entry point."""
    [entry] = [e for e in importlib.metadata.entry_points(group="flytekit.plugins") if e.name == "openai"]
    assert entry.load() is flytekitplugins.openai


@pytest.mark.parametrize("module", ["openai._client", "jinja2", "genai_prices", "prometheus_client"])
def test_importing_the_plugin_does_not_import_what_it_may_not_need(module):
    """flytekit imports every plugin at its start, and the SDK alone would add half a second to each `pyflyte`."""
    code = f"import sys, flytekitplugins.openai; print({module!r} in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_package_is_typed():
    """A type checker reads the annotations of a package that says so."""
    assert (PACKAGE / "py.typed").exists()


def test_namespace_is_shared():
    """Other plugins live beside this one."""
    assert not (PACKAGE.parent / "__init__.py").exists()


def test_batch_task_type_is_the_published_one():
    """Operators name it in FlytePropeller's settings."""
    task = BatchEndpointTask(name="batch", config={})
    assert (task.task_type, task.task_type_version) == ("openai-batch", 0)
