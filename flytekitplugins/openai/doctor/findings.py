"""What the doctor found: one line for each check."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console

__all__ = ["Check", "Diagnosis", "failed", "passed", "skipped"]

Outcome = Literal["ok", "failed", "skipped"]
# A failure is what a reader looks for.
SHOWN = {"ok": "ok", "failed": "FAILED", "skipped": "skipped"}
WIDTH = 8


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        outcome: `skipped` is a check that could not be made.
        text: What was found; of a failed check also what to do, of a skipped one why.
    """

    name: str
    outcome: Outcome
    text: str

    def __str__(self) -> str:
        return f"{SHOWN[self.outcome]:{WIDTH}}{self.name}: {self.text}"


def passed(name: str, text: str) -> Check:
    """A check that found all well."""
    return Check(name, "ok", text)


def failed(name: str, text: str) -> Check:
    """A check that found something to do."""
    return Check(name, "failed", text)


def skipped(name: str, text: str) -> Check:
    """A check that could not be made."""
    return Check(name, "skipped", text)


@dataclass(frozen=True)
class Diagnosis:
    """All checks, in the order they were made."""

    checks: tuple[Check, ...]

    @property
    def is_good(self) -> bool:
        """Whether none failed."""
        return not any(check.outcome == "failed" for check in self.checks)

    def to_json(self) -> str:
        """For programs."""
        return json.dumps({"ok": self.is_good, "checks": [asdict(check) for check in self.checks]})

    def show(self, console: Console) -> None:
        """Print them for people."""
        for check in self.checks:
            console.print(str(check), markup=False, highlight=False, soft_wrap=True)
