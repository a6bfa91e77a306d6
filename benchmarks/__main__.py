"""`python -m benchmarks`: every part, one after the other."""

import argparse
import sys
from contextlib import nullcontext

from rich.console import Console

from . import days, files, polls, published, reading, scale, startup, tables
from .errors import BenchmarkError
from .machine import tell_of_others

PARTS = {
    "polls": lambda options: polls.run(options.polls),
    "scale": lambda options: scale.run(options.live),
    "days": lambda options: days.run(options.days),
    "files": lambda options: files.run(options.requests),
    "tables": lambda options: tables.run(options.requests),
    "reading": lambda options: reading.run(options.requests),
    "startup": lambda _: startup.run(),
}
# They tell of no CPU time, and kill processes whose time is then nobody's.
WITHOUT_TIMES = frozenset({"days"})


def main() -> int:
    """Measure and print; returns the exit status, which no time can change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--polls", type=int, default=10_000, metavar="N", help="how often each connector is polled (%(default)s)"
    )
    parser.add_argument(
        "--days", type=int, default=25, metavar="N", help="how many days each lives through (%(default)s)"
    )
    parser.add_argument(
        "--requests",
        type=int,
        nargs="+",
        default=[100_000, 1_000_000],
        metavar="N",
        help="how many requests, or rows of a table, go up and come back, one size after the other (%(default)s)",
    )
    parser.add_argument(
        "--live", type=int, default=5_000, metavar="N", help="how many live tasks there are at most (%(default)s)"
    )
    parser.add_argument("--only", choices=PARTS, help="one part, in place of all")
    options = parser.parse_args()
    if sys.platform != "linux":
        print("The benchmarks need Linux: they read what a process has used from /proc.", file=sys.stderr)
        return 1
    try:
        published.install()
        for name, run in PARTS.items():
            if options.only in (None, name):
                with nullcontext() if name in WITHOUT_TIMES else tell_of_others(Console()):
                    run(options)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
