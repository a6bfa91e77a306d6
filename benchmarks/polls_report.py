"""What the polls cost, as a table: how the connectors compare first, and the figures behind it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .machine import describe_machine

MEGABYTE = 1_000_000
# A process with one event loop has one core to itself, and no more. Below this share something else held it up.
BUSY = 0.9
AIM_TIMES_LESS_CPU = 15
AIM_MEGABYTES_GROWN = 5


@dataclass(frozen=True)
class Sample:
    """A number of polls in one go.

    Attributes:
        seconds: By the clock.
        service_cpu: CPU seconds of the service; `openai_cpu` and `client_cpu` are those of its surroundings.
        connections: How many TCP connections the service used.
    """

    polls: int
    seconds: float
    service_cpu: float
    openai_cpu: float
    client_cpu: float
    connections: int


@dataclass(frozen=True)
class Result:
    """All that was measured of one connector.

    Attributes:
        samples: One of each round, by the number of polls in flight.
        resident_before: Bytes, after the warm-up.
        resident_after: Bytes, after the last round.
        resident_peak: Bytes, the most there ever were.
    """

    title: str
    samples: dict[int, list[Sample]]
    resident_before: int
    resident_after: int
    resident_peak: int

    @property
    def polls(self) -> int:
        """How many there were between the two readings of the memory."""
        return sum(sample.polls for samples in self.samples.values() for sample in samples)

    def median(self, in_flight: int, measure: Callable[[Sample], float]) -> float:
        """Of all rounds."""
        return median(map(measure, self.samples[in_flight]))


def show(console: Console, ours: Result, published: Result, idle: Result) -> None:
    """Print the table, what it was measured on, and what must be known to judge it."""
    results = (ours, published, idle)
    rounds = min(len(samples) for samples in ours.samples.values())
    title = f"{ours.polls:,} polls of each connector, medians of {rounds} rounds"
    # Narrow enough for a terminal of 80 columns.
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(no_wrap=True)
    for heading in ("compared", *(result.title.replace(" ", "\n") for result in results), "aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    for in_flight in ours.samples:
        table.add_row(f"[bold]{in_flight} in flight")
        table.add_row("CPU per poll", *_cpu(in_flight, *results))
        table.add_row("polls a second", *_rate(in_flight, *results))
        table.add_row("connections", *_connections(in_flight, *results), end_section=True)
    table.add_row("[bold]memory")
    table.add_row("after a warm-up", *_memory(*results, measure=lambda result: result.resident_before))
    table.add_row("growth since", *_growth(*results))
    table.add_row("most ever", *_memory(*results, measure=lambda result: result.resident_peak))
    console.print(table)
    for remark in (
        describe_machine("flytekit", "openai", "grpcio"),
        _spread(ours, published),
        *_held_up(results),
    ):
        console.print(remark, highlight=False)


def _cpu(in_flight: int, *results: Result) -> list[str]:
    ours, published, idle = (result.median(in_flight, _cpu_milliseconds) for result in results)
    compared = f"{published / ours:.1f} times less"
    return [
        compared,
        *(f"{one:.2f} ms" for one in (ours, published, idle)),
        f"≥ {AIM_TIMES_LESS_CPU} times",
    ]


def _rate(in_flight: int, *results: Result) -> list[str]:
    ours, published, idle = (result.median(in_flight, _polls_per_second) for result in results)
    return [f"{ours / published:.1f} times more", *(f"{one:,.0f}" for one in (ours, published, idle))]


def _connections(in_flight: int, *results: Result) -> list[str]:
    """The most of any round, because it is the peak that a limit is for."""
    most = [max(sample.connections for sample in result.samples[in_flight]) for result in results]
    return ["", *(f"{one:,}" for one in most), f"≤ {in_flight}"]


def _memory(*results: Result, measure: Callable[[Result], int]) -> list[str]:
    ours, published, idle = (measure(result) / MEGABYTE for result in results)
    return [f"{published / ours:.1f} times less", *(f"{one:.0f} MB" for one in (ours, published, idle))]


def _growth(*results: Result) -> list[str]:
    grown = [(result.resident_after - result.resident_before) / MEGABYTE for result in results]
    return ["", *(f"{one:+.1f} MB" for one in grown), f"≤ {AIM_MEGABYTES_GROWN} MB"]


def _cpu_milliseconds(sample: Sample) -> float:
    return 1_000 * sample.service_cpu / sample.polls


def _polls_per_second(sample: Sample) -> float:
    return sample.polls / sample.seconds


def _spread(ours: Result, published: Result) -> str:
    in_flight = min(ours.samples)
    pairs = zip(ours.samples[in_flight], published.samples[in_flight], strict=True)
    ratios = [_cpu_milliseconds(theirs) / _cpu_milliseconds(own) for own, theirs in pairs]
    return (
        f"CPU per poll with {in_flight} in flight was {min(ratios):.1f} to {max(ratios):.1f} times less "
        "in the single rounds."
    )


def _held_up(results: tuple[Result, ...]) -> Iterator[str]:
    """A sentence for each rate that is not the service's own, because it had to wait for its surroundings."""
    for result in results:
        for in_flight in result.samples:
            service = result.median(in_flight, lambda sample: sample.service_cpu / sample.seconds)
            openai = result.median(in_flight, lambda sample: sample.openai_cpu / sample.seconds)
            client = result.median(in_flight, lambda sample: sample.client_cpu / sample.seconds)
            if service < BUSY:
                yield (
                    f"{result.title!r} could answer more polls a second than that with {in_flight} in flight: it was "
                    f"busy {service:.0%} of the time (the client {client:.0%}, the emulator {openai:.0%})."
                )
