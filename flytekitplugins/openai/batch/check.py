"""Checks a file of requests without a key: what is wrong with it, how many batches it makes, and what they cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flytekitplugins.openai._arguments import amount, token_limit, token_limits
from flytekitplugins.openai._command import Command
from flytekitplugins.openai._text import dollars, plural

from .container.progress import StepProgress
from .costs.budget import over_budget
from .costs.estimate import CostEstimate, estimate_of
from .requests.problems import BadRequestsError
from .requests.sharding import Complete, Sharder
from .requests.shards import limits_of

__all__ = ["CHECK", "Findings", "check_file"]

CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Findings:
    """What was found in a file.

    Attributes:
        path: The file.
        problems: What is wrong with it, if anything is.
        endpoint: Where its requests go; `None` if that is not known.
        estimate: Its requests, files and cost; `None` if something is wrong with it.
    """

    path: Path
    problems: list[str]
    endpoint: str | None = None
    estimate: CostEstimate | None = None

    @property
    def is_good(self) -> bool:
        """Whether the requests can be submitted."""
        return not self.problems

    def to_json(self) -> str:
        """For programs. Costs are in US dollars, and `null` if they are not known."""
        told: dict[str, Any] = {"file": str(self.path), "ok": self.is_good, "problems": self.problems}
        if (estimate := self.estimate) is not None:
            told |= {
                "endpoint": self.endpoint,
                "requests": estimate.requests,
                "batches": estimate.files,
                "exact": estimate.exact,
                "models": [
                    {
                        "model": model.model,
                        "requests": model.requests,
                        "prompt_tokens": model.tokens,
                        "output_tokens_at_most": model.answer_tokens,
                    }
                    for model in estimate.models
                ],
                "prompts_usd": _number(estimate.prompts),
                "answers_usd_at_most": _number(estimate.answers),
                "at_most_usd": _number(estimate.most),
                "synchronous_usd_at_most": _number(estimate.synchronous),
            }
        return json.dumps(told)

    def show(self, console: Console) -> None:
        """Print them for people."""
        for problem in self.problems:
            console.print(f"{self.path}: {problem}", markup=False, highlight=False, soft_wrap=True)
        estimate = self.estimate
        if estimate is None:
            return
        batches = plural(estimate.files, "batch")
        console.print(
            f"{self.path}: {plural(estimate.requests, 'request')} for {self.endpoint}, in {batches}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        table = Table(box=SIMPLE_HEAD)
        table.add_column("model")
        for heading in ("requests", f"prompt tokens{'' if estimate.exact else ', about'}", "output tokens, at most"):
            table.add_column(heading, justify="right")
        for model in estimate.models:
            most = "no limit" if model.answer_tokens is None else f"{model.answer_tokens:,}"
            table.add_row(model.model or "not named", f"{model.requests:,}", f"{model.tokens:,}", most)
        console.print(table)
        console.print(_cost(estimate), markup=False, highlight=False, soft_wrap=True)
        if not estimate.exact:
            extra = "flytekitplugins-openai[tokens]"
            hint = f"The tokens are an estimate, rather too high; with pip install '{extra}' they are counted."
            console.print(hint, markup=False, highlight=False, soft_wrap=True)


def check_file(
    path: Path,
    *,
    endpoint: str | None = None,
    enqueued_token_limit: int | Mapping[str, int] | None = None,
    max_cost_usd: float | None = None,
) -> Findings:
    """Check a file as the upload step does.

    Args:
        path: Where it is.
        endpoint: Where every request must go; `None`: where the first one goes.
        enqueued_token_limit: How many tokens OpenAI's queue holds, of every model or by model.
        max_cost_usd: US dollars that the requests may cost at most.

    Raises:
        OSError: It cannot be read.
    """
    sharder = Sharder(endpoint, limits=limits_of(enqueued_token_limit), many="use several files")
    read = 0
    try:
        with StepProgress("check", total=path.stat().st_size) as progress:
            for event in sharder.cut(lambda: _chunks(path)):
                if not isinstance(event, Complete):
                    read += len(event.data)
                    progress.show(f"{plural(sharder.requests, 'request')} checked", done=read)
    except BadRequestsError as error:
        return Findings(path, error.details)
    estimate = estimate_of(sharder.manifest())
    reason = over_budget(estimate, max_cost_usd) if max_cost_usd is not None else ""
    return Findings(path, [reason] if reason else [], sharder.endpoint, estimate)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def _cost(estimate: CostEstimate) -> str:
    if not estimate.priced:
        return "What they cost is not known; pip install 'flytekitplugins-openai[prices]' tells it."
    if estimate.unknown:
        return f"What they cost is not known: genai-prices has no price of {', '.join(map(repr, estimate.unknown))}."
    prompts = dollars(estimate.prompts) if estimate.prompts is not None else ""
    if estimate.most is None or estimate.synchronous is None or estimate.answers is None:
        return f"Cost: {prompts} for the prompts; the answers have no limit, because max_completion_tokens is not set."
    return (
        f"Cost: {prompts} for the prompts, and at most {dollars(estimate.answers)} for the answers: at most "
        f"{dollars(estimate.most)}. One by one: at most {dollars(estimate.synchronous)}."
    )


def _number(amount: Any) -> float | None:
    return None if amount is None else float(amount)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the requests, one JSON object in each line")
    parser.add_argument("--endpoint", help="where every request must go (where the first one goes)")
    parser.add_argument(
        "--enqueued-token-limit",
        action="append",
        type=token_limit,
        metavar="[MODEL=]N",
        help="prompt tokens that the account's queue holds, of each model or of one (any number)",
    )
    parser.add_argument("--max-cost-usd", type=amount, metavar="AMOUNT", help="what they may cost at most (any amount)")


def _run(options: argparse.Namespace) -> Findings:
    return check_file(
        options.file,
        endpoint=options.endpoint,
        enqueued_token_limit=token_limits(options.enqueued_token_limit),
        max_cost_usd=options.max_cost_usd,
    )


CHECK = Command(
    name="check",
    tells="what is wrong with a file of requests, how many batches it makes, and what they cost, without a key",
    add_arguments=_add_arguments,
    run=_run,
)
