"""What it takes until something happens: the import, a file step up to its first request, and the demo."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from flytekit.core.base_task import PythonTask
from flytekit.types.file import JSONLFile
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flytekitplugins.openai.emulator import Emulator

from . import published
from .containers import Containers
from .errors import BenchmarkError
from .machine import describe_machine
from .reviews import requests_file
from .steps import PUBLISHED_UPLOAD, UPLOAD

ROUNDS = 5
REQUESTS = 10
DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
# flytekit imports the package by itself, through its entry point. Another plugin may have made the namespace before our
# checkout was on the path.
IMPORTS = """
import importlib, importlib.metadata as metadata, time
importlib.invalidate_caches()
entry_points = metadata.entry_points
metadata.entry_points = lambda **named: () if named.get("group") == "flytekit.plugins" else entry_points(**named)
began_at = time.process_time()
import flytekit
imported_at = time.process_time()
import flytekitplugins.openai
print("seconds", imported_at - began_at, time.process_time() - imported_at)
"""


@dataclass(frozen=True)
class Startup:
    """What an environment takes, in seconds.

    Attributes:
        flytekit: CPU of `import flytekit` without any plugin.
        plugin: CPU of the import of the plugin after it.
        process: From the start of a process that does no more than `import flytekit`, plugins included, to its end.
        request: From the start of an upload step to its first request.
    """

    flytekit: float
    plugin: float
    process: float
    request: float


@dataclass(frozen=True)
class Demo:
    """What the demo takes, in seconds by the clock and of CPU."""

    seconds: float
    cpu: float


def run() -> None:
    """Start everything several times, and print how long it took.

    Raises:
        BenchmarkError: Something did not start.
    """
    console = Console()
    with console.status("startup") as status, tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        ours = _measure(Path(sys.executable), UPLOAD, Path(name, "ours"), status.update)
        theirs = _measure(published.PYTHON, PUBLISHED_UPLOAD, Path(name, "published"), status.update)
        status.update("the demo")
        # What is on the disk is read once before.
        _, demo = _run_demo(), _run_demo()
    console.print(_table(ours, theirs))
    console.print(f"The demo, once it has run: {demo.seconds:.1f} s, of which {demo.cpu:.1f} s are CPU time.")
    console.print(describe_machine("flytekit", "openai"), highlight=False)


def _measure(python: Path, upload: PythonTask, directory: Path, tell: Callable[[str], None]) -> Startup:
    tell(f"{directory.name}: imports")
    imports = [_import(python) for _ in range(ROUNDS)]
    tell(f"{directory.name}: import flytekit")
    containers = Containers(python, directory)
    tell(f"{directory.name}: upload steps")
    requests = [_first_request(containers, upload, directory) for _ in range(ROUNDS)]
    flytekit, plugin = (median(each) for each in zip(*imports, strict=True))
    return Startup(flytekit, plugin, containers.import_seconds, median(requests))


def _import(python: Path) -> tuple[float, float]:
    said = subprocess.run([python, "-I", "-c", IMPORTS], capture_output=True, text=True, check=False).stdout.split()
    if said[-3:-2] != ["seconds"]:
        raise BenchmarkError(f"The package could not be imported by {python}.")
    return float(said[-2]), float(said[-1])


def _first_request(containers: Containers, upload: PythonTask, directory: Path) -> float:
    answered: list[float] = []
    with (
        requests_file(directory, REQUESTS) as source,
        Emulator(on_call=lambda _: answered.append(time.monotonic())) as emulator,
    ):
        began_at = time.monotonic()
        containers.run(upload, {"jsonl_in": JSONLFile(str(source))}, base_url=emulator.base_url)
    return answered[0] - began_at


def _run_demo() -> Demo:
    before, began_at = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    status = subprocess.run([sys.executable, DEMO], capture_output=True, check=False).returncode
    if status:
        raise BenchmarkError(f"The demo ended with status {status}.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Demo(time.monotonic() - began_at, cpu)


def _table(ours: Startup, theirs: Startup) -> Table:
    table = Table(title="Startup", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for heading in ("", "compared", "this package", "published"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    rows = (
        ("import, beside flytekit's", ours.flytekit, ours.plugin, theirs.plugin),
        ("first request of an upload", ours.process, ours.request, theirs.request),
    )
    for what, beside, own, other in rows:
        table.add_row(what, f"{own / beside:.2f} times", f"{own:.2f} s", f"{other:.2f} s")
    return table
