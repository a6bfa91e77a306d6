"""`python -m flytekitplugins.openai`: what can be done without a workflow."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ._arguments import amount, token_limit, token_limits
from .batch.check import check_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 if all is well."""
    options = _parser().parse_args(arguments)
    try:
        found = check_file(
            options.file,
            endpoint=options.endpoint,
            enqueued_token_limit=token_limits(options.enqueued_token_limit),
            max_cost_usd=options.max_cost_usd,
        )
    except OSError as error:
        print(f"{options.file}: {error.strerror or error}", file=sys.stderr)
        return 1
    if options.json:
        print(found.to_json())
    else:
        found.show(Console())
    return 0 if found.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flytekitplugins.openai", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    what = "what is wrong with a file of requests, how many batches it makes, and what they cost, without a key"
    check = commands.add_parser("check", help=what, description=f"Tells {what}.")
    check.add_argument("file", type=Path, help="the requests, one JSON object in each line")
    check.add_argument("--endpoint", help="where every request must go (where the first one goes)")
    check.add_argument(
        "--enqueued-token-limit",
        action="append",
        type=token_limit,
        metavar="[MODEL=]N",
        help="prompt tokens that the account's queue holds, of each model or of one (any number)",
    )
    check.add_argument("--max-cost-usd", type=amount, metavar="AMOUNT", help="what they may cost at most (any amount)")
    check.add_argument("--json", action="store_true", help="print what was found as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
