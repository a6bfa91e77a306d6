"""What large inputs cost, as tables: what is aimed for first, and the figures behind it."""

from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .containers import Steps, Used
from .files_published import Beside
from .lines import Compared, Pair
from .machine import describe_machine
from .polls_report import MEGABYTE

AIM_MEGABYTES = 100
AIM_MEGABYTES_GROWN = 10
AIM_TIMES_PARSING = 2
AIM_TIMES_COPYING = 2.5
STEPS = ("upload", "collect")


def show(console: Console, by_size: dict[int, Steps], by_line: Compared, beside: Beside) -> None:
    """Print the tables, what it was measured on, and what must be known to judge it."""
    console.print(_sizes(by_size))
    console.print(_lines(by_line))
    console.print(_beside(beside))
    for remark in (describe_machine("flytekit", "openai", "msgspec", "orjson"), *_remarks(by_line, beside)):
        console.print(remark, highlight=False)


def _sizes(by_size: dict[int, Steps]) -> Table:
    table = _table("Any number of requests, of a kilobyte each")
    for heading in (*(f"{size:,}" for size in by_size), "aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in STEPS:
        used = [getattr(steps, name) for steps in by_size.values()]
        memory = [one.peak / MEGABYTE for one in used]
        grown = [f"{one - memory[0]:+.1f} MB" for one in memory[1:]]
        table.add_row(f"[bold]{name}")
        table.add_row("most memory", *(f"{one:.1f} MB" for one in memory), f"≤ {AIM_MEGABYTES} MB")
        if grown:
            table.add_row("growth", "", *grown, f"≤ {AIM_MEGABYTES_GROWN} MB")
        table.add_row("CPU", *(f"{one.cpu:.1f} s" for one in used))
        table.add_row("by the clock", *(f"{one.seconds:.1f} s" for one in used), end_section=True)
    return table


def _lines(by_line: Compared) -> Table:
    table = _table(f"CPU of a line, the best of {len(by_line.cutting.ours)} rounds of {by_line.cutting.lines:,} lines")
    for heading in ("compared", "this\npackage", "the\nother", "aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("[bold]beside orjson.loads")
    table.add_row("check and cut", *_pair(by_line.cutting, AIM_TIMES_PARSING), end_section=True)
    table.add_row("[bold]beside the tokenizer by itself")
    table.add_row("check, count and cut", *_pair(by_line.counting, None), end_section=True)
    table.add_row("[bold]beside a copy, line by line")
    table.add_row("join and write", *_pair(by_line.joining, AIM_TIMES_COPYING), end_section=True)
    table.add_row("[bold]beside orjson.loads and a copy")
    table.add_row("join and write", *_pair(by_line.joining_parsed, None))
    return table


def _pair(pair: Pair, aim: float | None) -> list[str]:
    times = [1e6 * min(seconds) / pair.lines for seconds in (pair.ours, pair.yardstick)]
    return [f"{pair.ratio:.2f} times", *(f"{time:.2f} µs" for time in times), f"≤ {aim} times" if aim else ""]


def _beside(beside: Beside) -> Table:
    table = _table(f"{beside.requests:,} requests, medians of {beside.rounds} rounds")
    for heading in ("compared", "this\npackage", "published"):
        table.add_column(heading, justify="right", no_wrap=True)
    measures: dict[str, tuple[Callable[[Used], float], str]] = {
        "most memory": (lambda used: used.peak / MEGABYTE, "MB"),
        "CPU": (lambda used: used.cpu, "s"),
        "by the clock": (lambda used: used.seconds, "s"),
    }
    for name in STEPS:
        table.add_row(f"[bold]{name}")
        for measure, (read, unit) in measures.items():
            own, other = (read(getattr(steps, name)) for steps in (beside.ours, beside.published))
            digits = 1 if unit == "MB" else 2
            compared = _compared(own, other)
            table.add_row(measure, compared, f"{own:.{digits}f} {unit}", f"{other:.{digits}f} {unit}")
        table.add_section()
    return table


def _compared(own: float, other: float) -> str:
    return f"{own / other:.1f} times more" if own > other else f"{other / own:.1f} times less"


def _table(title: str) -> Table:
    # Narrow enough for a terminal of 80 columns.
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(no_wrap=True)
    return table


def _remarks(by_line: Compared, beside: Beside) -> list[str]:
    cut, joined = (f"{min(pair.ratios):.2f} to {max(pair.ratios):.2f}" for pair in (by_line.cutting, by_line.joining))
    return [
        "Memory, CPU and time are those of the step's process, beyond what `import flytekit` takes by itself.",
        f"In the single rounds cutting took {cut} times as long as parsing, and joining {joined} times as copying.",
        f"More than {beside.requests:,} are too many for the published package: with one more, the batch failed "
        f"({beside.refusal}).",
    ]
