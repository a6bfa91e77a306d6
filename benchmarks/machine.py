"""What was measured on."""

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
