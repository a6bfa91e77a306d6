"""The file steps of both packages, on as much as both can do: a single batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import openai
from flytekit.types.file import JSONLFile

from .containers import Containers, Steps, Used, median_of
from .reviews import requests_file
from .steps import COLLECT, PUBLISHED_DOWNLOAD, PUBLISHED_UPLOAD, UPLOAD, batch_step, open_account, run_batch

# https://platform.openai.com/docs/guides/batch#rate-limits
MOST_OF_A_BATCH = 50_000
ROUNDS = 5

Step = Callable[[], tuple[Used, dict[str, Any]]]


@dataclass(frozen=True)
class Beside:
    """What both packages' steps used, as medians; and why OpenAI refused the published one's batch of one more."""

    requests: int
    rounds: int
    ours: Steps
    published: Steps
    refusal: str


def compare(ours: Containers, theirs: Containers, directory: Path, tell: Callable[[str], None]) -> Beside:
    """Upload as many requests as a batch can take, and collect what came of them; then try one more.

    Raises:
        BenchmarkError: A step failed.
    """
    with open_account() as account:
        base_url = str(account.base_url)
        with requests_file(directory, MOST_OF_A_BATCH) as source:
            tell(f"{MOST_OF_A_BATCH:,} requests: uploading with either package")
            inputs = {"jsonl_in": JSONLFile(str(source))}
            uploads, [left, left_by_theirs] = _alternate(
                partial(ours.run, UPLOAD, inputs, base_url=base_url),
                partial(theirs.run, PUBLISHED_UPLOAD, inputs, base_url=base_url),
            )
        tell(f"{MOST_OF_A_BATCH:,} requests: a batch for either package")
        result = batch_step(account, left["input_file_ids"])
        batch = run_batch(account, left_by_theirs["result"])
        tell(f"{MOST_OF_A_BATCH:,} requests: collecting with either package")
        collects, _ = _alternate(
            partial(ours.run, COLLECT, {"indexes": [left["index"]], "results": [result]}, base_url=base_url),
            partial(theirs.run, PUBLISHED_DOWNLOAD, {"batch_endpoint_result": batch.result}, base_url=base_url),
        )
        tell(f"{MOST_OF_A_BATCH + 1:,} requests with the published package")
        refusal = _refusal(theirs, account, directory)
    ours.clear()
    theirs.clear()
    own, published = (Steps(upload, collect) for upload, collect in zip(uploads, collects, strict=True))
    return Beside(MOST_OF_A_BATCH, ROUNDS, own, published, refusal)


def _alternate(ours: Step, theirs: Step) -> tuple[list[Used], list[dict[str, Any]]]:
    """Run either step some times; gives the medians of what they used, and the last outputs."""
    spent: dict[Step, list[Used]] = {ours: [], theirs: []}
    outputs: dict[Step, dict[str, Any]] = {}
    for number in range(ROUNDS):
        # Each is first in turn, because a machine's pace drifts.
        for step in (ours, theirs) if number % 2 else (theirs, ours):
            used, outputs[step] = step()
            spent[step].append(used)
    return [median_of(spent[step]) for step in (ours, theirs)], [outputs[step] for step in (ours, theirs)]


def _refusal(containers: Containers, account: openai.OpenAI, directory: Path) -> str:
    with requests_file(directory, MOST_OF_A_BATCH + 1) as source:
        inputs = {"jsonl_in": JSONLFile(str(source))}
        _, uploaded = containers.run(PUBLISHED_UPLOAD, inputs, base_url=str(account.base_url))
    return str(run_batch(account, uploaded["result"], until="failed").errors[0])
