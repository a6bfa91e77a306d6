"""`python -m flytekitplugins.openai`: what can be done without a workflow."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from .batch.check import CHECK
from .doctor import DOCTOR

COMMANDS = (CHECK, DOCTOR)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 if all is well."""
    options = _parser().parse_args(arguments)
    try:
        found = options.run(options)
    except OSError as error:
        print(f"{error.filename}: {error.strerror or error}", file=sys.stderr)
        return 1
    if options.json:
        print(found.to_json())
    else:
        found.show(Console())
    return 0 if found.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flytekitplugins.openai", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        added = commands.add_parser(command.name, help=command.tells, description=f"Tells {command.tells}.")
        command.add_arguments(added)
        added.add_argument("--json", action="store_true", help="print what was found as JSON")
        added.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
