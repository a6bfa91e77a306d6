"""What was measured on, and the memory of its processes."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe_machine(*packages: str) -> str:
    """A sentence with the processor, and the versions of Python and of what matters."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in described if line.startswith("model name")), platform.machine())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"Measured on {os.cpu_count()} cores of {model}, with Python {platform.python_version()}, {versions}."


def memory_bytes(name: str, process: int | str = "self") -> int:
    """Resident memory of a process: "VmRSS" is what it has now, and "VmHWM" the most that it ever had.

    `getrusage` tells the most as well, and begins with what the process had that started this one.
    """
    # https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024
