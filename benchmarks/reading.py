"""What reading results costs: rows beside parsing the same lines, and tables beside the rows."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson
import pydantic
from flytekit.types.file import JSONLFile
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flytekitplugins.openai import BatchResult, read_results

from .machine import describe_machine, memory_bytes
from .polls_report import MEGABYTE
from .reviews import SENTENCES

ROUNDS = 7
AIMS = {"rows": 2.5, "rows with a model": 1.6, "to_pandas": 1.3, "to_arrow": 1.3}
# Of a table of so many rows.
AIM_MEMORY, AIM_SIZE = 1.6, 200_000


class Review(pydantic.BaseModel):
    """What is asked of each review."""

    sentiment: Literal["positive", "mixed", "negative"]
    urgent: bool
    summary: str


@dataclass(frozen=True)
class Measured:
    """What a process used: CPU seconds and bytes beyond what it had before; and the size of the table it made."""

    cpu: float
    peak: int
    table: int = 0


def run(sizes: list[int]) -> None:
    """Read so many results and print what it cost: the fewest in each way, and all for the memory that it takes."""
    fewest = min(sizes)
    more = sorted(size for size in {*sizes, AIM_SIZE} if size > fewest)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, console.status("reading"):
        path = Path(name, "output.jsonl")
        _write(path, fewest)
        # One way after the other in each round, because a machine's pace drifts.
        rounds = [{way: _run_alone(function, path) for way, function in WAYS.items()} for _ in range(ROUNDS)]
        best = {way: min((each[way] for each in rounds), key=lambda each: each.cpu) for way in WAYS}
        by_size = {fewest: best}
        for size in more:
            _write(path, size)
            by_size[size] = {way: _run_alone(WAYS[way], path) for way in BESIDE}
    console.print(_table(fewest, best))
    console.print(_memory(by_size))
    console.print(describe_machine("msgspec", "orjson", "pydantic", "pandas", "pyarrow"), highlight=False)


def _write(path: Path, size: int) -> None:
    with path.open("wb") as target:
        for number in range(size):
            answer = {"sentiment": "mixed", "urgent": number % 2 == 0, "summary": SENTENCES[number % len(SENTENCES)]}
            message = {"role": "assistant", "content": orjson.dumps(answer).decode(), "refusal": None}
            body = {
                "id": f"chatcmpl-{number:032}",
                "object": "chat.completion",
                "model": "gpt-4o-mini-2024-07-18",
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": 180,
                    "completion_tokens": 40,
                    "total_tokens": 220,
                    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
                },
                "system_fingerprint": "fp_0123456789",
            }
            response = {"status_code": 200, "request_id": f"req_{number:032}", "body": body}
            line = {"id": f"batch_req_{number}", "custom_id": f"r-{number}", "response": response, "error": None}
            target.write(msgspec.json.encode(line) + b"\n")


def _run_alone(function: Callable[[Path], Any], path: Path) -> Measured:
    """Run a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, function, path).result()


def _measure(function: Callable[[Path], Any], path: Path) -> Measured:
    import pandas as pd  # noqa: PLC0415 (not what is measured)
    import pyarrow as pa  # noqa: F401, PLC0415 (the same)

    held, before = memory_bytes("VmRSS"), time.process_time()
    table = function(path)
    cpu = time.process_time() - before
    # Before the size, because to tell it takes memory.
    peak = memory_bytes("VmHWM") - held
    if isinstance(table, pd.DataFrame):
        return Measured(cpu, peak, int(table.memory_usage(deep=True).sum()))
    return Measured(cpu, peak, 0 if table is None else table.nbytes)


def _result(path: Path) -> BatchResult:
    return BatchResult(JSONLFile(str(path)), None)


def parse(path: Path) -> None:
    """`orjson.loads`, line by line."""
    with path.open("rb") as lines:
        for line in lines:
            orjson.loads(line)


def parse_and_validate(path: Path) -> None:
    """The same, and Pydantic's `validate_json` of what the model wrote."""
    validate = pydantic.TypeAdapter(Review).validate_json
    with path.open("rb") as lines:
        for line in lines:
            validate(orjson.loads(line)["response"]["body"]["choices"][0]["message"]["content"])


def read_rows(path: Path) -> None:
    """Each row, by this package."""
    for _ in read_results(_result(path)):
        pass


def read_objects(path: Path) -> None:
    """Each row with its object."""
    for _ in read_results(_result(path), Review):
        pass


def read_pandas(path: Path) -> Any:
    """All rows as a pandas table, with the fields of the objects."""
    return read_results(_result(path), Review).to_pandas()


def read_arrow(path: Path) -> Any:
    """All rows as an Arrow table, with the fields of the objects."""
    return read_results(_result(path), Review).to_arrow()


WAYS: dict[str, Callable[[Path], Any]] = {
    "parse": parse,
    "rows": read_rows,
    "parse and validate": parse_and_validate,
    "rows with a model": read_objects,
    "to_pandas": read_pandas,
    "to_arrow": read_arrow,
}
BESIDE = {
    "rows": "parse",
    "rows with a model": "parse and validate",
    "to_pandas": "rows with a model",
    "to_arrow": "rows with a model",
}


def _table(size: int, measured: dict[str, Measured]) -> Table:
    table = Table(title=f"Reading {size:,} results", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for heading in ("", "compared", "CPU a row", "aim"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for way, used in measured.items():
        ratio = f"{used.cpu / measured[BESIDE[way]].cpu:.2f} times" if way in BESIDE else ""
        aim = f"≤ {AIMS[way]} times" if way in AIMS else ""
        table.add_row(way, ratio, f"{1e6 * used.cpu / size:.2f} µs", aim)
    return table


def _memory(measured: dict[int, dict[str, Measured]]) -> Table:
    title = "Most memory beyond the imports, and how many times that of the table"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for heading in ("", *(f"{size:,}" for size in measured), "aim"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for way in BESIDE:
        told = [_told(ways[way]) for ways in measured.values()]
        table.add_row(way, *told, f"≤ {AIM_MEMORY}" if way.startswith("to_") else "flat")
    return table


def _told(used: Measured) -> str:
    if used.table:
        return f"{used.peak / MEGABYTE:.0f} MB, {used.peak / used.table:.2f}"
    return f"{used.peak / MEGABYTE:.1f} MB"
