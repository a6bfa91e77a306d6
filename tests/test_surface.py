import ast
import importlib
import importlib.metadata
import importlib.util
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
# Which rooms, and which modules beside them, each room of `batch` may import. The modules beside the rooms wire them.
MAY_IMPORT = {
    "records": [],
    "requests": [],
    "results": [],
    "control.state": [],
    "control.policy": ["control.state"],
    "control": ["control.policy", "control.state"],
    "costs": ["results"],
    "report": ["costs", "results", "control.state"],
    "container": ["requests", "results", "costs", "report", "control.state"],
    "authoring": ["results", "container", "task"],
    "tables": ["authoring", "requests", "results", "container", "task", "workflow"],
}
# The doctor stands beside the batches: it looks at the account as it is, and not through the code that uses it.
DOCTOR_MAY_IMPORT = {
    "_arguments",
    "_client",
    "_command",
    "_credentials",
    "_secret_names",
    "_text",
    "exceptions",
}
PURE_MODULES_OF_THE_DOCTOR = [
    "doctor.findings",
    "doctor.helm_rules",
    "doctor.helm_values",
    "doctor.key_names",
    "doctor.reply",
    "doctor.yaml_maps",
]
# Used on both sides of a batch's life.
SHARED = ["idempotency_key", "records"]
PURE_ROOMS = ("records", "requests", "results", "control.state", "control.policy", "costs", "report")
# The package itself brings flytekit along.
CONNECTING = {"flytekit", "flyteidl", "flytekitplugins", "openai"}
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


def imports_of(name):
    """The modules that a module of ours imports, ours without the name of the package."""
    module = importlib.import_module(f"{HOME}.{name}")
    found = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = importlib.util.resolve_name("." * node.level, module.__package__) if node.level else ""
            home = ".".join(filter(None, [package, node.module]))
            # `from . import name` imports a module.
            whole = {f"{home}.{alias.name}" for alias in node.names} & set(MODULES)
            found |= whole or {home}
    return {name.removeprefix(f"{HOME}.") for name in found}


def room_of(name):
    """The room that a module of `batch` is in, or the module itself if it is beside the rooms."""
    path = name.removeprefix("batch.")
    return max((room for room in MAY_IMPORT if f"{path}.".startswith(f"{room}.")), key=len, default=path)


IN_ROOMS = [
    name
    for name in sorted(module.removeprefix(f"{HOME}.") for module in MODULES)
    if name.startswith("batch.") and room_of(name) in MAY_IMPORT
]


def everything_imported_by(name, seen):
    """The modules of others that a module of ours imports, itself or through other modules of ours."""
    seen.add(name)
    found = imports_of(name)
    ours = {other for other in found if f"{HOME}.{other}" in MODULES}
    return (found - ours).union(*(everything_imported_by(other, seen) for other in sorted(ours - seen)))


@pytest.mark.parametrize("name", [name for name in IN_ROOMS if room_of(name) in PURE_ROOMS])
def test_module_of_a_pure_room_knows_neither_flyte_nor_openai(name):
    """Decisions are read and tested without either system, and without a network."""
    imported = {other.split(".")[0] for other in everything_imported_by(name, set())}
    assert not imported & CONNECTING


@pytest.mark.parametrize("name", IN_ROOMS)
def test_room_imports_only_the_rooms_it_may(name):
    """Requests, batches and results are understood one without the other; each room is entered from above."""
    room = room_of(name)
    used = {room_of(other) for other in imports_of(name) if other.startswith("batch.")}
    assert used <= {room, *SHARED, *MAY_IMPORT[room]}


@pytest.mark.parametrize("name", PURE_MODULES_OF_THE_DOCTOR)
def test_what_the_doctor_concludes_is_pure(name):
    """From a reply, or from a file."""
    imported = {other.split(".")[0] for other in everything_imported_by(name, set())}
    assert not imported & CONNECTING


@pytest.mark.parametrize("name", [name.removeprefix(f"{HOME}.") for name in MODULES if ".doctor" in name])
def test_doctor_does_not_use_what_it_checks(name):
    """Only what says which key there is, and makes a client for it."""
    ours = {other for other in imports_of(name) if f"{HOME}.{other}" in MODULES}
    assert {other for other in ours if not other.startswith("doctor")} <= DOCTOR_MAY_IMPORT


def test_only_the_command_knows_the_doctor():
    """The connector and the steps run without it."""
    users = {name.removeprefix(f"{HOME}.") for name in MODULES if ".doctor" not in name}
    assert {name for name in users if any(other.startswith("doctor") for other in imports_of(name))} == {"__main__"}


def test_few_modules_stand_beside_the_rooms():
    """A ninth belongs in a room."""
    beside = [path.stem for path in (PACKAGE / "batch").glob("*.py") if path.stem != "__init__"]
    assert len(beside) <= 8, beside


def test_modules_are_short():
    """A longer one has a second idea in it."""
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 250} == {}


def test_tests_mirror_the_rooms():
    """The tests of a room are where its name says."""
    tests = Path(__file__).parent / "batch"
    assert [room for room in MAY_IMPORT if not list((tests / room.replace(".", "/")).glob("test_*.py"))] == []


def test_plugin_is_found_by_flytekit():
    """flytekit loads every package under this entry point."""
    [entry] = [e for e in importlib.metadata.entry_points(group="flytekit.plugins") if e.name == "openai"]
    assert entry.load() is flytekitplugins.openai


@pytest.fixture(scope="module")
def imported():
    """The modules that a process has which imports the plugin."""
    code = "import sys, flytekitplugins.openai; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "module", ["openai._client", "jinja2", "genai_prices", "prometheus_client", "flytekitplugins.openai.doctor"]
)
def test_importing_the_plugin_does_not_import_what_it_may_not_need(imported, module):
    """flytekit imports every plugin at its start, and the SDK alone would add half a second to each `pyflyte`."""
    assert module not in imported


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
