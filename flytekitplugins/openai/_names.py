"""The names of the workflows of this process, so that two different ones never have the same name at Flyte."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["reserve_name"]

# The arguments each workflow was made with, by test and by the name that Flyte knows it by.
_arguments: dict[tuple[str, str], dict[str, Any]] = {}


def reserve_name(registered: str, arguments: Mapping[str, Any], *, caller: str = "create_batch") -> None:
    """Reserve the name of a workflow, so that no different workflow takes it.

    The same workflow may be made again: Flyte imports a module more than once. In an interactive session the last one
    counts, because a cell of a notebook is changed and run again.

    Args:
        registered: The name that the workflow is registered with.
        arguments: What it is made from; among them `name`, as the user wrote it.
        caller: The function that makes it, for the error.

    Raises:
        ValueError: Another workflow has the name.
    """
    # pytest runs many tests in one process, each with workflows of its own.
    # https://docs.pytest.org/en/stable/example/simple.html#pytest-current-test-environment-variable
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    earlier = _arguments.setdefault((test, registered), copy.deepcopy(dict(arguments)))
    differences = [name for name, value in arguments.items() if earlier[name] != value]
    if not differences:
        return
    # https://docs.python.org/3/library/sys.html#sys.ps1
    if hasattr(sys, "ps1"):
        _arguments[test, registered] = copy.deepcopy(dict(arguments))
        return
    if "name" in differences:
        what = f"{caller} was called with the names {earlier['name']!r} and {arguments['name']!r}"
    else:
        what = (
            f"{caller} was called twice with the name {arguments['name']!r} and different values of "
            f"{', '.join(differences)}"
        )
    raise ValueError(f"{what}, and Flyte would register both workflows as {registered}; give each its own name.")
