"""Whether what is installed fits together."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from .findings import Check, failed, passed

__all__ = ["check_connector_extra", "check_versions"]

PACKAGE = "flytekitplugins-openai"
VERSIONS = "versions"
CONNECTOR_EXTRA = "connector extra"
# What an operator is asked for first.
TOLD = ("flytekit", "flyteidl", "openai")
# What `pyflyte serve connector` runs.
SERVICE = "flytekit.extend.backend.connector_service"


def check_versions() -> Check:
    """Python and the packages that this one needs, against what its own metadata asks for."""
    wrong = []
    python = platform.python_version()
    asked = metadata.metadata(PACKAGE).get("Requires-Python") or ""
    if not SpecifierSet(asked).contains(python, prereleases=True):
        wrong.append(f"Python {python} is running, and {asked} is needed: use another image")
    wrong += _unmet(PACKAGE, extra="")
    if wrong:
        return failed(VERSIONS, "; ".join(wrong))
    told = [f"{PACKAGE} {metadata.version(PACKAGE)}", f"Python {python}", *(f"{n} {metadata.version(n)}" for n in TOLD)]
    return passed(VERSIONS, ", ".join(told))


def check_connector_extra() -> Check:
    """What `pyflyte serve connector` needs beside them."""
    wrong = list(_unmet("flytekit", extra="connector"))
    if not wrong:
        try:
            importlib.import_module(SERVICE)
        # Generated code of another protobuf raises errors of its own.
        except Exception as error:  # noqa: BLE001
            wrong = [f"the service cannot be imported ({type(error).__name__}: {error})"]
    if wrong:
        return failed(CONNECTOR_EXTRA, f"{'; '.join(wrong)}; pip install '{PACKAGE}[connector]'")
    return passed(CONNECTOR_EXTRA, "the connector service can be imported")


def _unmet(package: str, *, extra: str) -> Iterator[str]:
    """What a package asks for, with this extra alone, and does not have."""
    for line in metadata.requires(package) or []:
        needed = Requirement(line)
        applies = needed.marker is None or needed.marker.evaluate({"extra": extra})
        if not applies or (extra and needed.marker is None):
            continue
        wanted = f"{needed.name}{needed.specifier}"
        try:
            version = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield f"{needed.name} is not installed: pip install '{wanted}'"
            continue
        if not needed.specifier.contains(version, prereleases=True):
            yield f"{needed.name} {version} is installed, and {needed.specifier} is needed: pip install '{wanted}'"
