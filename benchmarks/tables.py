"""What the steps of a table's workflow cost: a million rows of a kilobyte, in and out."""

import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pyarrow as pa
import pyarrow.parquet as pq
from flytekit import StructuredDataset
from flytekit.types.file import JSONLFile
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from . import review_by_hand
from .containers import Containers, Used
from .errors import BenchmarkError
from .machine import describe_machine
from .polls_report import MEGABYTE
from .review_table import sort_review
from .reviews import SENTENCES, SENTENCES_A_REVIEW
from .steps import COLLECT, UPLOAD, batch_step, open_account

AIM_MEGABYTES, AIM_MEGABYTES_GROWN, AIM_TIMES = 150, 20, 1.5
ROWS_AT_ONCE = 10_000
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Job:
    """What the steps of a workflow used: those of a table, and those of the requests between them."""

    prompts: Used
    upload: Used
    collect: Used
    answers: Used

    @property
    def cpu(self) -> float:
        """Of all steps."""
        return self.prompts.cpu + self.upload.cpu + self.collect.cpu + self.answers.cpu


def run(sizes: list[int]) -> None:
    """Run the job with so many rows, beside the same job by hand with the fewest of them, and print what it cost.

    Raises:
        BenchmarkError: A step failed, or did not do what it was measured for.
    """
    console = Console()
    sizes = sorted(set(sizes))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, console.status("import flytekit") as status:
        directory = Path(name)
        containers = Containers(Path(sys.executable), directory / "ours", user_code=ROOT)
        jobs, by_hand, copied = {}, None, None
        for size in sizes:
            table = _write_table(directory / str(size), size)
            with open_account() as account:
                jobs[size] = _run_job(containers, table, account, size, status.update)
                if by_hand is None:
                    by_hand = _run_by_hand(containers, table, account, size, status.update)
                    copied, _ = containers.run(review_by_hand.copy, {"reviews": table}, base_url="")
            containers.clear()
    console.print(_sizes(jobs))
    console.print(_compared(sizes[0], jobs[sizes[0]], by_hand, copied))
    console.print(describe_machine("flytekit", "openai", "msgspec", "pyarrow", "pandas"), highlight=False)


def _write_table(directory: Path, size: int) -> StructuredDataset:
    """A table of reviews of about a kilobyte each, in a directory of its own."""
    directory.mkdir()
    choose = random.Random(size).choices  # noqa: S311 (reviews, not secrets)
    schema = pa.schema([("review", pa.int64()), ("text", pa.string()), ("shop", pa.string())])
    with pq.ParquetWriter(directory / "00000", schema) as writer:
        for first in range(0, size, ROWS_AT_ONCE):
            numbers = range(first, min(first + ROWS_AT_ONCE, size))
            texts = ["\n".join(choose(SENTENCES, k=2 * SENTENCES_A_REVIEW)) for _ in numbers]
            columns = [pa.array(numbers), pa.array(texts), pa.array(["shop"] * len(numbers))]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return StructuredDataset(uri=str(directory), file_format="parquet")


def _run_job(
    containers: Containers, table: StructuredDataset, account: openai.OpenAI, size: int, tell: Callable[[str], None]
) -> Job:
    prompts, answers = (sort_review.steps_by_name[step] for step in ("prompts", "answers"))
    tell(f"{size:,} rows: prompts")
    prompting, prompted = containers.run(prompts, {"table": table}, base_url="")
    uploading, collecting, result = _run_requests(containers, prompted["jsonl"], account, size, tell)
    tell(f"{size:,} rows: answers")
    answering, answered = containers.run(answers, {"table": table, "result": result}, base_url="")
    _check(answered["answers"], size)
    return Job(prompting, uploading, collecting, answering)


def _run_by_hand(
    containers: Containers, table: StructuredDataset, account: openai.OpenAI, size: int, tell: Callable[[str], None]
) -> Job:
    tell(f"{size:,} rows: by hand")
    # A step of `create_batch` takes the iterator for the file that it is.
    asking, asked = containers.run(review_by_hand.ask, {"reviews": table}, base_url="", types={"o0": JSONLFile})
    uploading, collecting, result = _run_requests(containers, asked["o0"], account, size, tell)
    inputs = {"reviews": table, "result": result}
    joining, joined = containers.run(review_by_hand.join, inputs, base_url="", types={"o0": StructuredDataset})
    _check(joined["o0"], size)
    return Job(asking, uploading, collecting, joining)


def _run_requests(
    containers: Containers, requests: Any, account: openai.OpenAI, size: int, tell: Callable[[str], None]
) -> tuple[Used, Used, Any]:
    """What `create_batch` does between the two steps."""
    base_url = str(account.base_url)
    tell(f"{size:,} rows: uploading")
    uploading, uploaded = containers.run(UPLOAD, {"jsonl_in": requests}, base_url=base_url)
    tell(f"{size:,} rows: batches")
    ran = {"indexes": [uploaded["index"]], "results": [batch_step(account, uploaded["input_file_ids"])]}
    tell(f"{size:,} rows: collecting")
    collecting, collected = containers.run(COLLECT, ran, base_url=base_url)
    return uploading, collecting, collected["result"]


def _check(table: StructuredDataset, size: int) -> None:
    codes = table.open(pa.Table).all().column("error_code")
    if len(codes) != size or not 0.9 * size < codes.null_count < size:
        raise BenchmarkError(f"Of {size:,} rows {len(codes):,} came back, {codes.null_count:,} of them answered.")


def _sizes(jobs: dict[int, Job]) -> Table:
    table = _table("Tables, of rows of a kilobyte")
    for heading in (*(f"{size:,}" for size in jobs), "aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in ("prompts", "answers"):
        used = [getattr(job, name) for job in jobs.values()]
        memory = [one.peak / MEGABYTE for one in used]
        table.add_row(f"[bold]{name}")
        table.add_row("most memory", *(f"{one:.1f} MB" for one in memory), f"≤ {AIM_MEGABYTES} MB")
        if len(memory) > 1:
            grown = [f"{one - memory[0]:+.1f} MB" for one in memory[1:]]
            table.add_row("growth", "", *grown, f"≤ {AIM_MEGABYTES_GROWN} MB")
        table.add_row("CPU", *(f"{one.cpu:.1f} s" for one in used), end_section=True)
    return table


def _compared(size: int, job: Job, by_hand: Job, copied: Used) -> Table:
    table = _table(f"CPU of a row, of {size:,}")
    for heading in ("compared", "table", "the other", "aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    requests = job.upload.cpu + job.collect.cpu
    rows = {
        "beside the same job by hand": (job.cpu, by_hand.cpu, f"≤ {AIM_TIMES} times"),
        "beside create_batch alone": (job.cpu, requests, ""),
        "beside a copy by pandas": (job.prompts.cpu + job.answers.cpu, copied.cpu, ""),
    }
    for name, (own, other, aim) in rows.items():
        table.add_row(
            name, f"{own / other:.2f} times", f"{1e6 * own / size:.1f} µs", f"{1e6 * other / size:.1f} µs", aim
        )
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(no_wrap=True)
    return table
