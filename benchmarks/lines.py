"""What a line costs by itself, without a network: on its way in, beside parsing it; on its way back, beside a copy."""

import gc
import multiprocessing
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
from flytekit.types.file import JSONLFile

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import APIKey
from flytekitplugins.openai._tokenizer import tokenizer_of
from flytekitplugins.openai.batch.container import download
from flytekitplugins.openai.batch.container.progress import StepProgress
from flytekitplugins.openai.batch.container.tasks import chunks_of
from flytekitplugins.openai.batch.requests import tokens
from flytekitplugins.openai.batch.requests.sharding import Sharder

from .errors import BenchmarkError
from .reviews import MODEL
from .stand_in import API_KEY, ENDPOINT

ROUNDS = 7
WARM_UPS = 1


@dataclass(frozen=True)
class Pair:
    """CPU seconds of the same number of lines, for each round: those of this package, and those of the yardstick."""

    lines: int
    ours: list[float]
    yardstick: list[float]

    @property
    def ratio(self) -> float:
        """Of the best rounds, because whatever else the machine does makes a round only slower."""
        return min(self.ours) / min(self.yardstick)

    @property
    def ratios(self) -> list[float]:
        """Of the single rounds."""
        return [one / other for one, other in zip(self.ours, self.yardstick, strict=True)]


@dataclass(frozen=True)
class Compared:
    """What a line costs.

    Attributes:
        cutting: Checking and cutting, with tokens estimated, beside `orjson.loads`.
        counting: The same with tokens counted, beside the tokenizer by itself.
        joining: Joining and writing, beside copying line by line.
        joining_parsed: The same, beside `orjson.loads` of each line that is copied.
    """

    cutting: Pair
    counting: Pair
    joining: Pair
    joining_parsed: Pair


def compare(source: Path, index: Path, result: Mapping[str, Any], results: Path) -> Compared:
    """Check and cut an input, and join its results with it.

    Args:
        source: The input.
        index: What its upload left.
        result: What its batch step left.
        results: Where the result files are, each called by its id; it is written to.
    """
    # In a process that does nothing else: no garbage of others to look through, and no progress to draw.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return Compared(
            process.submit(_cutting, source).result(),
            process.submit(_counting, source).result(),
            process.submit(_joining, index, result, results).result(),
            process.submit(_joining, index, result, results, parse=True).result(),
        )


def _cut(source: Path) -> None:
    # The steps read a file in this way, wherever it is.
    deque(Sharder(ENDPOINT).cut(lambda: chunks_of(JSONLFile(str(source)))), maxlen=0)


def _cutting(source: Path) -> Pair:
    lines = source.read_bytes().split(b"\n")[:-1]

    def cut() -> None:
        # As where no tokenizer is installed.
        with (
            mock.patch.object(tokens, "counts_exactly", return_value=False),
            mock.patch.object(tokens, "tokenizer_of", return_value=None),
        ):
            _cut(source)

    def parse() -> None:
        loads = orjson.loads
        for line in lines:
            loads(line)

    return _alternate(cut, parse, len(lines))


def _counting(source: Path) -> Pair:
    lines = source.read_bytes().split(b"\n")[:-1]
    messages = [message for line in lines for message in orjson.loads(line)["body"]["messages"]]
    texts = [text for message in messages for text in message.values()]
    count = tokenizer_of(MODEL)
    if count is None:
        raise BenchmarkError("quicktok-v1 is not installed, which the extra tokens brings.")
    return _alternate(lambda: _cut(source), lambda: deque(map(count, texts), maxlen=0), len(lines))


def _joining(index: Path, result: Mapping[str, Any], results: Path, *, parse: bool = False) -> Pair:
    ran = download.CompletedRound(index, result)
    directory = results / "joined"
    output, errors, order, copied = (directory / f"{name}.jsonl" for name in ("output", "errors", "order", "copied"))
    account = Account(APIKey(API_KEY, "the benchmark"))
    client = mock.sentinel.client  # Nobody asks it.
    file_ids = [batch[name] for batch in result["batches"] for name in ("output_file_id", "error_file_id")]
    paths = [results / file_id for file_id in file_ids if file_id]

    def join() -> None:
        # Never entered, so it shows nothing.
        progress = StepProgress("join", total=None)
        download.collect(
            [ran],
            client,
            output=output,
            errors=errors,
            order=order,
            account=account,
            directory=directory,
            progress=progress,
        )

    def copy() -> None:
        with copied.open("wb") as target:
            for path in paths:
                with path.open("rb") as source:
                    for line in source:
                        target.write(line)

    def parse_and_copy() -> None:
        loads = orjson.loads
        with copied.open("wb") as target:
            for path in paths:
                with path.open("rb") as source:
                    for line in source:
                        loads(line)
                        target.write(line)

    def link(_client: object, file_id: str, destination: Path, **_: object) -> None:
        os.link(results / file_id, destination)

    # The package's own loop is what is measured, not a copy of it; only, its files are there already.
    with mock.patch.object(download, "download_file", link):
        total = sum(batch["request_counts"]["total"] for batch in result["batches"])
        return _alternate(join, parse_and_copy if parse else copy, total, directory)


def _alternate(
    ours: Callable[[], None], yardstick: Callable[[], None], lines: int, directory: Path | None = None
) -> Pair:
    spent: dict[Callable[[], None], list[float]] = {ours: [], yardstick: []}
    for number in range(ROUNDS + WARM_UPS):
        # Each is first in turn, because a machine's pace drifts.
        for action in (ours, yardstick) if number % 2 else (yardstick, ours):
            if directory is not None:
                # A file that is written over takes longer, for what was in it.
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir()
            gc.collect()
            before = time.process_time()
            action()
            spent[action].append(time.process_time() - before)
    return Pair(lines, spent[ours][WARM_UPS:], spent[yardstick][WARM_UPS:])
