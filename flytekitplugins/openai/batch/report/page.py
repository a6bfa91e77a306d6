"""The page: what ran, what came back, what it used and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, cached_property
from typing import Any

import jinja2

from flytekitplugins.openai._text import dollars, plural, shortened
from flytekitplugins.openai.batch.control.state.history import moment
from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot
from flytekitplugins.openai.batch.costs.estimate import CostEstimate
from flytekitplugins.openai.batch.costs.prices import SYNCHRONOUS, Estimate, estimate_cost
from flytekitplugins.openai.batch.results.counts import Kind, Tally
from flytekitplugins.openai.batch.results.rows import SampleRow

from .advice import advice_for
from .histogram import Bar, bars_of
from .texts import seen, share
from .timeline import Span, Stay, duration, phases_of, stays_in, ticks_of

__all__ = ["Report", "render"]

# How many batches of a run are shown; the others are folded.
LINES = 20
# How many kinds of errors are shown.
MOST_KINDS = 30
# Characters of a name that are shown where there may be hundreds of names.
LONGEST_NAME = 100
# Requests that did not fail but were not run to their end, by their codes.
UNFINISHED = {"batch_expired": "expired", "batch_cancelled": "cancelled", "missing": "missing"}


@dataclass(frozen=True)
class Lane:
    """A batch on the time line; they are counted from 1 in each run."""

    number: int
    batch: BatchSnapshot

    @property
    def status(self) -> str:
        """How it ended."""
        if self.is_reused:
            return "reused"
        return self.batch.status if self.batch.id else "never submitted"

    @property
    def is_reused(self) -> bool:
        """Whether it is of an earlier run."""
        return bool(self.batch.raw.get("reused"))

    @property
    def counts(self) -> list[str]:
        """`597 of 1,000 requests succeeded`, and the outcome of the others as far as OpenAI says."""
        batch = self.batch
        if not batch.total:
            return []
        others = {"failed": batch.failed, "not run": max(batch.total - batch.done, 0)}
        told = [f"{count:,} {fate}" for fate, count in others.items() if count]
        return [f"{batch.completed:,} of {plural(batch.total, 'request')} succeeded", *told]


@dataclass(frozen=True)
class Report:
    """The data of a page.

    Attributes:
        name: What ran, as its author calls it.
        execution: The execution it ran in, if it was one of Flyte's.
        rounds: The batch objects, in the order of the files: those of the first run, and those of the runs again.
        tally: The counts of the requests.
        complaint: Why that is not good enough; "" when it is.
        rows: Of a table, the first ones with their answers.
        estimates: What the requests of each run were estimated to cost before they were submitted, if that is known.
        link: Where OpenAI shows a batch, by its id.
    """

    name: str
    execution: str | None
    rounds: Sequence[Sequence[Mapping[str, Any]]]
    tally: Tally
    complaint: str = ""
    rows: Sequence[SampleRow] = ()
    estimates: Sequence[CostEstimate] = ()
    link: Callable[[str], str | None] = lambda _: None

    @cached_property
    def runs(self) -> list[list[Lane]]:
        """The batches of each round in which there was something to run."""
        return [
            [Lane(number, BatchSnapshot.from_dict(batch)) for number, batch in enumerate(batches, start=1)]
            for batches in self.rounds
            if batches
        ]

    @cached_property
    def batches(self) -> list[BatchSnapshot]:
        """All of them."""
        return [lane.batch for run in self.runs for lane in run]

    @property
    def statuses(self) -> list[tuple[str, int]]:
        """How many batches ended how, the most frequent first."""
        return Counter(lane.status for run in self.runs for lane in run).most_common()

    @cached_property
    def span(self) -> Span | None:
        """When they ran, but for those of an earlier run."""
        return Span.of(self._own)

    @property
    def _own(self) -> list[BatchSnapshot]:
        return [lane.batch for run in self.runs for lane in run if not lane.is_reused]

    @cached_property
    def models(self) -> list[str]:
        """Which models answered, or, if none did or the server does not tell, were asked."""
        answered = [model for model in self.tally.consumption.by_model if model]
        return answered or list(dict.fromkeys(batch.model for batch in self.batches if batch.model))

    @property
    def endpoints(self) -> list[str]:
        """Where the requests went."""
        return list(dict.fromkeys(batch.endpoint for batch in self.batches if batch.endpoint))

    @property
    def stays(self) -> list[Stay]:
        """How long the batches were in each state."""
        return stays_in(self._own)

    @property
    def fates(self) -> list[tuple[str, int]]:
        """How many requests had each fate, without those that none had."""
        counts = {"succeeded": self.tally.succeeded, "failed": 0, **dict.fromkeys(UNFINISHED.values(), 0)}
        for kind in self.tally.kinds.values():
            counts[UNFINISHED.get(kind.code, "failed")] += kind.count
        return [(fate, count) for fate, count in counts.items() if count]

    @cached_property
    def kinds(self) -> list[Kind]:
        """The kinds of errors: first those that OpenAI found in a whole batch, which many others may come from."""
        of_batches = {error.code for batch in self.batches for error in batch.errors}
        return sorted(self.tally.by_count, key=lambda kind: kind.code not in of_batches)

    def advice(self, kind: Kind) -> str:
        """What to do about an error."""
        return advice_for(kind.code, kind.status, run_again=max(len(self.runs) - 1, 0))

    @property
    def bars(self) -> list[Bar]:
        """How the output tokens are spread over the answers."""
        return bars_of(self.tally.consumption.spread)

    @cached_property
    def cost(self) -> Estimate | None:
        """What it cost, if prices are installed."""
        return estimate_cost(self.tally.consumption.bought)

    @property
    def synchronous(self) -> Decimal:
        """What the same would have cost without a batch."""
        return self.cost.total / SYNCHRONOUS if self.cost else Decimal(0)

    @property
    def estimate(self) -> CostEstimate | None:
        """What the first run was estimated to cost."""
        return self.estimates[0] if self.estimates else None

    @property
    def reused(self) -> int:
        """For how many files the results of an earlier run were used."""
        return sum(lane.is_reused for run in self.runs for lane in run)


def parted(run: Sequence[Lane]) -> tuple[list[Lane], list[Lane]]:
    """The batches that are shown, those that did not complete first, and the rest."""
    chosen = sorted(run, key=lambda lane: lane.status in ("completed", "reused"))[:LINES]
    numbers = {lane.number for lane in chosen}
    return [lane for lane in run if lane.number in numbers], [lane for lane in run if lane.number not in numbers]


def render(report: Report) -> str:
    """The page as HTML: self-contained, without scripts, and with all text from outside escaped."""
    return _environment().get_template("report.html").render(report=report, tally=report.tally)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flytekitplugins.openai.batch", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "dollars": dollars,
        "duration": duration,
        "moment": moment,
        "name": lambda text: shortened(text, LONGEST_NAME),
        "parted": parted,
        "phases": phases_of,
        "plural": plural,
        "share": share,
        "shortened": shortened,
        "ticks": ticks_of,
    }
    environment.globals["MOST_KINDS"] = MOST_KINDS
    return environment
