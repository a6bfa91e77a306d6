"""What a sub-command of `python -m flytekitplugins.openai` is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console

__all__ = ["Command", "Found"]


class Found(Protocol):
    """What a command found out."""

    @property
    def is_good(self) -> bool:
        """Whether all is well: the exit status is 0 then, and else 1."""

    def to_json(self) -> str:
        """For programs."""

    def show(self, console: Console) -> None:
        """Print it for people."""


@dataclass(frozen=True)
class Command:
    """A sub-command.

    Attributes:
        name: What it is called by.
        tells: What it tells, to follow "Tells".
        add_arguments: Adds its arguments to a parser; `--json` is there already.
        run: Finds it out. It may raise an `OSError` about a file that it cannot read.
    """

    name: str
    tells: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Found]
