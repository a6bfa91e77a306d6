"""What becomes of a task on days when much goes wrong. The days are those of the tests, one for each seed."""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.service.days import Fault, faults_of, make_day, play
from tests.service.replicas import Nursery
from tests.service.world import World

from . import published

TITLES = {"this package": Path(sys.executable), f"published {published.VERSION}": published.PYTHON}


def run(days: int) -> None:
    """Let each connector live through so many days, and print on how many of them it did what wrong."""
    console = Console()
    found = {}
    for title, python in TITLES.items():
        with console.status(f"days of {title}") as status:
            found[title] = _live(python, days, lambda day, title=title: status.update(f"day {day} of {title}"))
    console.print(_table(found, days))


def _live(python: Path, days: int, tell) -> Counter:
    """On how many days there was which fault, and under `None` on how many there was none."""
    found: Counter = Counter()
    with tempfile.TemporaryDirectory() as directory:
        nursery = Nursery(Path(directory), python=python)
        world = World(nursery)
        try:
            for seed in range(days):
                tell(seed + 1)
                day = make_day(seed)
                found.update(list(faults_of(world, play(world, day), day)) or [None])
        finally:
            world.stop()
            nursery.stop()
    return found


def _table(found: dict[str, Counter], days: int) -> Table:
    table = Table(title=f"{days} days of faults, restarts and lost state")
    table.add_column("")
    for title in found:
        table.add_column(title, justify="right")
    rows = {"ended well": None} | {fault.value: fault for fault in Fault}
    for name, fault in rows.items():
        table.add_row(name, *(f"{counts[fault]} of {days}" for counts in found.values()))
    return table
