"""Downloads the result files of each shard, and joins them with the requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flytekit import logger

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._text import plural
from flytekitplugins.openai.batch.container.files import download_file
from flytekitplugins.openai.batch.container.progress import StepProgress
from flytekitplugins.openai.batch.records.index import read_index
from flytekitplugins.openai.batch.results.counts import Tally
from flytekitplugins.openai.batch.results.join import InconsistentResultsError, Round, merge
from flytekitplugins.openai.batch.results.order import OrderWriter
from flytekitplugins.openai.batch.results.shard_results import BUFFER_BYTES, LineBuffer, Outcome, Row, ShardResults
from flytekitplugins.openai.exceptions import InconsistentError, RefusedError

if TYPE_CHECKING:
    import openai

__all__ = ["CompletedRound", "collect", "outcomes"]

# Rows written at once; one by one takes longer.
ROWS_AT_ONCE = 250


@dataclass(frozen=True)
class CompletedRound:
    """A completed round: the index of its upload, and the result of its batch step."""

    index: Path
    result: Mapping[str, Any]


def collect(
    rounds: Sequence[CompletedRound],
    client: openai.OpenAI,
    *,
    output: Path,
    errors: Path,
    order: Path,
    account: Account,
    directory: Path,
    progress: StepProgress,
    keep: int = 0,
) -> tuple[Tally, list[bytes]]:
    """Write the line of each request, in input order, into the output or the error file.

    Returns the counts, and the first lines.

    Args:
        rounds: The first, of all requests, and those in which some were run again.
        client: For the downloads.
        output: Where the lines of the requests that succeeded go.
        errors: Where those of the others go.
        order: Where the order of the two goes.
        account: Whose files they are, for the error messages.
        directory: Where the files are downloaded to; nothing is left in it.
        progress: What is shown meanwhile.
        keep: How many of the first lines are returned.

    Raises:
        InconsistentError: The results are not those of the requests.
        IncompleteFileError: A file never arrived whole.
        RefusedError: OpenAI refuses the key, or has a file no more.
        UnavailableError: OpenAI was not reached.
    """
    tally = Tally()
    first: list[bytes] = []
    with (
        outcomes(rounds, client, account=account, directory=directory, tally=tally) as rows,
        # Without a large buffer: what is written to it is a block already.
        output.open("wb") as succeeded,
        errors.open("wb", BUFFER_BYTES) as failed,
        order.open("wb", BUFFER_BYTES) as runs,
    ):
        outcomes_in_order = OrderWriter(runs)
        while block := list(islice(rows, ROWS_AT_ONCE)):
            succeeded.write(b"".join([line for _, outcome, line in block if outcome == Outcome.SUCCEEDED]))
            first += [line for _, _, line in block[: keep - len(first)]] if len(first) < keep else []
            failures = [number for number, row in enumerate(block) if row[1] != Outcome.SUCCEEDED]
            outcomes_in_order.add_all(len(block), failures)
            tally.succeeded += len(block) - len(failures)
            for number in failures:
                custom_id, _, line = block[number]
                failed.write(line)
                tally.add_failure(custom_id, line)
            progress.show(f"{plural(tally.requests, 'request')} collected", done=tally.requests)
        outcomes_in_order.flush()
    progress.show(f"{tally.succeeded:,} of {plural(tally.requests, 'request')} succeeded", done=tally.requests)
    return tally, first


@contextmanager
def outcomes(
    rounds: Sequence[CompletedRound],
    client: openai.OpenAI,
    *,
    account: Account,
    directory: Path,
    tally: Tally | None = None,
) -> Iterator[Iterator[Row]]:
    """The outcome of each request, in input order; what the rows do not hold is added to the tally at the end.

    Raises:
        InconsistentError: The results are not those of the requests.
    """
    with ExitStack() as stack:
        running, buffer = [], LineBuffer()
        for number, ran in enumerate(rounds):
            batches = ran.result.get("batches") or []
            downloads = _Downloads(batches, client, account, directory, prefix=f"round-{number}", buffer=buffer)
            stack.callback(downloads.close)
            index = stack.enter_context(ran.index.open("rb"))
            running.append(Round(read_index(index), downloads.open))
            stack.callback(running[-1].close)
        try:
            yield merge(running)
        except InconsistentResultsError as error:
            raise InconsistentError(f"The results do not match the requests: {error}.") from None
        finally:
            for number, each in enumerate(running):
                if tally is not None:
                    tally.consumption.merge(each.consumption)
                    # Every request of a later round was in all rounds before it.
                    tally.run_again += each.requests if number == 1 else 0
                    tally.recovered += each.recovered
                if each.unreadable:
                    logger.warning(f"{plural(each.unreadable, 'line')} of the result files could not be read.")


class _Downloads:
    """The result files of a round, shard by shard; while one is read, the next is downloaded."""

    def __init__(
        self,
        batches: Sequence[Mapping[str, Any]],
        client: openai.OpenAI,
        account: Account,
        directory: Path,
        *,
        prefix: str,
        buffer: LineBuffer,
    ) -> None:
        self._batches = batches
        self._buffer = buffer
        self._client = client
        self._account = account
        self._directory = directory
        self._prefix = prefix
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="download")
        self._begun: dict[int, Future[list[Path]]] = {}

    def open(self, number: int) -> ShardResults:
        """The results of a shard."""
        if number >= len(self._batches):
            raise InconsistentResultsError(f"none of {len(self._batches):,} batches ran shard {number + 1:,}")
        self._begin(number)
        paths = self._begun[number].result()
        if number + 1 < len(self._batches):
            self._begin(number + 1)
        return ShardResults(paths, self._batches[number], self._buffer)

    def close(self) -> None:
        """Stop downloading, and remove files that were not read."""
        self._pool.shutdown(cancel_futures=True)
        for path in self._directory.glob(f"{self._prefix}-*"):
            path.unlink()

    def _begin(self, number: int) -> None:
        if number not in self._begun:
            self._begun[number] = self._pool.submit(self._download, number)

    def _download(self, number: int) -> list[Path]:
        paths = []
        for name in ("output_file_id", "error_file_id"):
            file_id = self._batches[number].get(name)
            if file_id:
                path = self._directory / f"{self._prefix}-{number}-{name}.jsonl"
                try:
                    download_file(self._client, file_id, path, account=self._account)
                except RefusedError as error:
                    if not self._batches[number].get("reused") or error.answer is None or error.answer.status != 404:
                        raise
                    logger.warning(f"{error} Its results were to be reused; its requests are missing.")
                else:
                    paths.append(path)
        return paths
