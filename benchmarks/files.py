"""What large inputs cost: uploading them and collecting their results, as the file steps of a workflow do."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
from flytekit.types.file import JSONLFile
from rich.console import Console

from . import files_published, files_report, lines, published
from .containers import Containers, Steps
from .errors import BenchmarkError
from .reviews import requests_file
from .steps import COLLECT, UPLOAD, batch_step, open_account


def run(sizes: list[int]) -> None:
    """Upload and collect so many requests of a kilobyte each, and print what it cost.

    Raises:
        BenchmarkError: A step failed, or did not do what it was measured for.
    """
    console = Console()
    sizes = sorted(set(sizes))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, console.status("import flytekit") as status:
        directory, tell = Path(name), status.update
        ours = Containers(Path(sys.executable), directory / "ours")
        theirs = Containers(published.PYTHON, directory / "published")
        compared = files_published.compare(ours, theirs, directory, tell)
        by_size, by_line = {}, None
        for size in sizes:
            with requests_file(directory, size) as source, open_account() as account:
                by_size[size], index, result = _run_steps(ours, source, account, size, tell)
                if by_line is None:
                    tell(f"{size:,} requests: line by line")
                    by_line = _line_by_line(source, index, result, account, directory)
            ours.clear()
    files_report.show(console, by_size, by_line, compared)


def _run_steps(
    containers: Containers, source: Path, account: openai.OpenAI, size: int, tell: Callable[[str], None]
) -> tuple[Steps, Path, dict[str, Any]]:
    """One workflow, from its input to its results: what its file steps used, and the index and result in between."""
    tell(f"{size:,} requests: uploading")
    base_url = str(account.base_url)
    uploading, uploaded = containers.run(UPLOAD, {"jsonl_in": JSONLFile(str(source))}, base_url=base_url)
    index, file_ids = uploaded["index"], uploaded["input_file_ids"]
    tell(f"{size:,} requests: {len(file_ids)} batches")
    result = batch_step(account, file_ids)
    tell(f"{size:,} requests: collecting")
    collecting, collected = containers.run(COLLECT, {"indexes": [index], "results": [result]}, base_url=base_url)
    if collected["result"].requests != size:
        raise BenchmarkError(f"Of {size:,} requests {collected['result'].requests:,} were collected.")
    return Steps(uploading, collecting), Path(index.path), result


def _line_by_line(
    source: Path, index: Path, result: dict[str, Any], account: openai.OpenAI, directory: Path
) -> lines.Compared:
    with tempfile.TemporaryDirectory(dir=directory) as name:
        results = Path(name)
        for batch in result["batches"]:
            for file_id in filter(None, (batch["output_file_id"], batch["error_file_id"])):
                with account.files.with_streaming_response.content(file_id) as response:
                    response.stream_to_file(results / file_id)
        return lines.compare(source, index, result, results)
