"""What was measured on, and the memory of its processes."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

# More than this share of a core, used by others, makes figures worse.
DISTURBING = 0.1


def describe_machine(*packages: str) -> str:
    """A sentence with the processor, and the versions of Python and of what matters."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in described if line.startswith("model name")), platform.machine())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"Measured on {os.cpu_count()} cores of {model}, with Python {platform.python_version()}, {versions}."


@contextmanager
def tell_of_others(console: Console) -> Iterator[None]:
    """Say at the end how much of the machine others used, beside this process and those that it started."""
    before = _spent()
    yield
    seconds, own, everybody = (after - earlier for earlier, after in zip(before, _spent(), strict=True))
    used = max(0.0, everybody - own) / seconds
    advice = "; a quieter machine gives better figures" if used > DISTURBING else ""
    console.print(f"Others used {used:.0%} of a core meanwhile{advice}.\n", highlight=False)


def _spent() -> tuple[float, float, float]:
    """Seconds so far: by the clock, CPU time of our own, and of everybody, what the host gave to others included."""
    # https://man7.org/linux/man-pages/man5/proc_stat.5.html
    line = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    everybody = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), sum(os.times()[:4]), everybody


def memory_bytes(name: str, process: int | str = "self") -> int:
    """Resident memory of a process: "VmRSS" is what it has now, and "VmHWM" the most that it ever had.

    `getrusage` tells the most as well, and begins with what the process had that started this one.
    """
    # https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024
