"""The page: what ran, what came back, what it used and what it cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import jinja2

from flytekitplugins.openai.batch.history import moment
from flytekitplugins.openai.batch.snapshot import BatchSnapshot
from flytekitplugins.openai.batch.tally import Tally

from .advice import advice_for
from .histogram import Bar, bars_of
from .prices import Estimate, estimate_cost
from .timeline import Span, Stay, duration, phases_of, stays_in, ticks_of

__all__ = ["Report", "render"]

# Of so many batches each has its line at once; the lines of the others are folded away.
LINES = 20
# So many kinds of errors have a row.
MOST_KINDS = 30
# Requests that did not fail but were not run to their end, by their codes.
UNFINISHED = {"batch_expired": "expired", "batch_cancelled": "cancelled", "missing": "missing"}
# Of a text from outside so much is shown.
MOST_CHARACTERS = 1_000
# They are not to be seen, or change the order of what is; half a character cannot even be written.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Report:
    """What a page is made of.

    Attributes:
        name: What ran, as its author calls it.
        execution: The execution it ran in, if it was one of Flyte's.
        rounds: The batch objects, in the order of the files: those of the first run, and those of the runs again.
        tally: What came of the requests.
        complaint: Why that is not good enough; "" when it is.
        link: Where OpenAI shows a batch, by its id.
    """

    name: str
    execution: str | None
    rounds: Sequence[Sequence[Mapping[str, Any]]]
    tally: Tally
    complaint: str = ""
    link: Callable[[str], str | None] = lambda _: None

    @cached_property
    def runs(self) -> list[list[BatchSnapshot]]:
        """The batches of each round, read."""
        return [[BatchSnapshot.from_dict(batch) for batch in batches] for batches in self.rounds]

    @property
    def batches(self) -> list[BatchSnapshot]:
        """All of them."""
        return [batch for run in self.runs for batch in run]

    @cached_property
    def span(self) -> Span | None:
        """When they ran."""
        return Span.of(self.batches)

    @property
    def models(self) -> list[str]:
        """Which models answered, or were to."""
        named = [*self.tally.consumption.by_model, *(batch.model or "" for batch in self.batches)]
        return list(dict.fromkeys(name for name in named if name))

    @property
    def endpoints(self) -> list[str]:
        """Where the requests went."""
        return list(dict.fromkeys(batch.endpoint for batch in self.batches if batch.endpoint))

    @property
    def stays(self) -> list[Stay]:
        """How long the batches were in each state."""
        return stays_in(self.batches)

    @property
    def fates(self) -> list[tuple[str, int]]:
        """How many requests each fate had; of those that none had, only success and failure are told."""
        unfinished = dict.fromkeys(UNFINISHED.values(), 0)
        failed = 0
        for code, kind in self.tally.kinds.items():
            if code in UNFINISHED:
                unfinished[UNFINISHED[code]] += kind.count
            else:
                failed += kind.count
        told = [(fate, count) for fate, count in unfinished.items() if count]
        return [("succeeded", self.tally.succeeded), ("failed", failed), *told]

    @property
    def bars(self) -> list[Bar]:
        """How the output tokens are spread over the answers."""
        return bars_of(self.tally.consumption.spread)

    @cached_property
    def cost(self) -> Estimate | None:
        """What it cost, if that can be told."""
        return estimate_cost(self.tally.consumption.by_model)


def render(report: Report) -> str:
    """The page as HTML: a document of its own, without scripts, in which nothing from outside is taken for markup."""
    return (
        _environment()
        .get_template("report.html")
        .render(report=report, tally=report.tally, lines=LINES, most_kinds=MOST_KINDS)
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flytekitplugins.openai.batch", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "dollars": dollars,
        "duration": duration,
        "moment": moment,
        "share": share,
    }
    environment.globals |= {"advice_for": advice_for, "phases_of": phases_of, "ticks_of": ticks_of}
    return environment


def _seen(value: object) -> object:
    """What is put into the page: not too long, and with characters spelt out that would hide or reorder others."""
    if hasattr(value, "__html__"):
        return value
    text = str(value)
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}\u2026"
    return _UNSEEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def share(part: float, whole: float) -> str:
    """`98.1 %`; never 100 % of less than all, and never 0 % of something."""
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    if 0 < part < whole:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f} %" if percent not in (0, 100) else f"{percent:.0f} %"


def dollars(amount: Decimal) -> str:
    """`$1,234.50`, `$0.0031`: to the cent, or to two digits if it is less than that."""
    if amount >= Decimal("0.01") or not amount:
        return f"${amount:,.2f}"
    return f"${amount:,.{1 - amount.adjusted()}f}"
