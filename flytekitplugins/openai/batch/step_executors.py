"""What the steps of `create_batch` run in their containers."""

# No `from __future__ import annotations`: flytekit reads the types of the interfaces.
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, List  # noqa: UP035 (flytekit reads them)

import flytekit
from flytekit import FlyteContextManager
from flytekit.core.shim_task import ShimTaskExecutor
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate
from flytekit.types.file import JSONLFile

from flytekitplugins.openai._client import Account, sync_client
from flytekitplugins.openai._flyte import said_plainly
from flytekitplugins.openai._lines import whole_lines
from flytekitplugins.openai.exceptions import TooFewSucceededError

from .container.deck import publish_report
from .container.download import CompletedRound, collect, outcomes
from .container.files import delete_file
from .container.past_batches import PastBatches
from .container.progress import StepProgress
from .container.tasks import account_of, chunks_of, name_of, size_of, working_directory
from .container.upload import upload_shards
from .container.upload_names import UploadNames
from .records.manifest import Manifest
from .requests.sharding import Sharder
from .requests.shards import Limits, limits_of
from .results.failures import failure_in, is_worth_running_again
from .results.join import InconsistentResultsError
from .results.rows import sample_of
from .results.shard_results import Outcome, Row
from .task import (
    BatchResult,
)

if TYPE_CHECKING:
    import openai


__all__ = [
    "UPLOADED",
    "CollectResultsExecutor",
    "DeleteFilesExecutor",
    "UploadAgainExecutor",
    "UploadShardsExecutor",
]

BEYOND_ONE_POD = "map a launch plan of the workflow over several inputs instead"
UPLOADED: dict[str, type] = {
    "input_file_ids": List[str],  # noqa: UP006
    "requests": int,
    "index": JSONLFile,
    "manifest": str,
}


class UploadShardsExecutor(ShimTaskExecutor[Any]):
    """Runs an `UploadShardsTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Upload the input; returns the files' ids, the number of requests, and the index."""
        file = kwargs["jsonl_in"]
        return _upload(tt, file, lambda: chunks_of(file), may_be_empty=bool(tt.custom.get("may_be_empty")))


class UploadAgainExecutor(ShimTaskExecutor[Any]):
    """Runs an `UploadAgainTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Upload what is worth running again; returns the same as the first upload."""
        file, account = kwargs["jsonl_in"], account_of(tt)
        rounds, directory = _rounds(kwargs), working_directory()
        with (
            sync_client(account) as client,
            outcomes(rounds, client, account=account, directory=directory) as rows,
        ):
            return _upload(
                tt, file, lambda: _worth_running_again(chunks_of(file), rows), may_be_empty=True, rounds=rounds
            )


class CollectResultsExecutor(ShimTaskExecutor[Any]):
    """Runs a `CollectResultsTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Join the results of all rounds with the requests."""
        directory = working_directory()
        output, errors, order = (directory / f"{name}_file.jsonl" for name in ("output", "error", "order"))
        report = directory / "report.html"
        rounds, account = _rounds(kwargs), account_of(tt)
        sample = json.loads(kwargs.get("sample") or "[]")
        with sync_client(account) as client, StepProgress(tt.id.name, total=_requests_in(rounds)) as progress:
            tally, first = collect(
                rounds,
                client,
                output=output,
                errors=errors,
                order=order,
                account=account,
                directory=directory,
                progress=progress,
                keep=len(sample),
            )
        complete = bool(tt.custom.get("complete_answers"))
        complaint = tally.complaint(tt.custom["min_success_ratio"], complete_answers=complete)
        batches = [ran.result.get("batches") or [] for ran in rounds]
        rows = sample_of(sample, first)
        # A workflow of an earlier version has none.
        manifests = [Manifest.decode(text) for text in kwargs.get("manifests") or []]
        publish_report(tt, batches, tally, page=report, complaint=complaint, rows=rows, manifests=manifests)
        if complaint:
            if tt.custom.get("delete_files") and not tally.succeeded:
                # Nothing in them succeeded, so nobody will want them.
                with sync_client(account) as client:
                    _delete_files(client, [ran.result for ran in rounds], account)
            raise TooFewSucceededError(complaint)
        return BatchResult.of(tally, output=output, errors=errors, report=report, order=order)


class DeleteFilesExecutor(ShimTaskExecutor[Any]):
    """Runs a `DeleteFilesTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Delete every file that the batches read or wrote."""
        account = account_of(tt)
        with sync_client(account) as client:
            _delete_files(client, kwargs["results"], account)


def _delete_files(client: "openai.OpenAI", results: Iterable[Mapping[str, Any]], account: Account) -> None:
    """Delete every file that these batches read or wrote."""
    names = ("input_file_id", "output_file_id", "error_file_id")
    # Those of an earlier run may be reused once more.
    batches = [batch for result in results for batch in result["batches"] if not batch.get("reused")]
    for file_id in dict.fromkeys(batch.get(name) for batch in batches for name in names):
        if file_id:
            delete_file(client, file_id, account)


def _upload(
    template: TaskTemplate,
    file: JSONLFile,
    open_input: Any,
    *,
    may_be_empty: bool = False,
    rounds: Sequence[CompletedRound] = (),
) -> LiteralMap:
    """Run an upload step.

    Args:
        template: Its own.
        file: The input.
        open_input: Gives the bytes to upload from their beginning.
        may_be_empty: Whether no requests at all are good.
        rounds: Those before, if there were any. A request that does not fit this time keeps its result.
    """
    index, account = working_directory() / "index.jsonl", account_of(template)
    endpoint, custom = template.custom["endpoint"], template.custom
    within = custom.get("reuse_results_within")
    told = [ran.result.get("enqueued_token_limits") or {} for ran in rounds]
    sharder = Sharder(
        endpoint,
        limits=limits_of(custom.get("enqueued_token_limit"), told),
        many=BEYOND_ONE_POD,
        may_be_empty=may_be_empty,
        leave_out=bool(rounds),
        realign=within is not None,
        cut_again=bool(custom.get("cut_again")),
    )
    uploads = UploadNames.of(name_of(file), flytekit.current_context().output_metadata_prefix)
    earlier = [batch["id"] for ran in rounds for batch in ran.result.get("batches") or () if batch.get("id")]
    with (
        StepProgress(template.id.name, total=size_of(file)) as progress,
        index.open("wb") as target,
        sync_client(account) as client,
    ):
        expires_after = custom.get("input_expires_after")
        uploaded = upload_shards(
            open_input,
            sharder,
            uploads=uploads,
            account=account,
            index=target,
            progress=progress,
            # A protobuf Struct turns it into a float.
            expires_after=None if expires_after is None else int(expires_after),
            past=None
            if within is None
            else PastBatches(client, account, endpoint=endpoint, within=within, but=earlier),
            max_cost_usd=custom.get("max_cost_usd"),
        )
    outputs = {
        "input_file_ids": uploaded.file_ids,
        "requests": uploaded.requests,
        "index": JSONLFile(str(index)),
        "manifest": uploaded.manifest.encode(),
    }
    # flytekit refuses a list that an executor returns, because it does not know the type of its items.
    return TypeEngine.dict_to_literal_map(FlyteContextManager.current_context(), outputs, UPLOADED)


def _worth_running_again(chunks: Iterable[bytes], rows: Iterator[Row]) -> Iterator[bytes]:
    """The lines of the input that are worth running again."""
    for block in whole_lines(chunks, longest=Limits().size):
        lines = (line for line in block.split(b"\n") if line.strip())
        chosen = []
        for line in lines:
            _, outcome, came = next(rows)
            if outcome != Outcome.SUCCEEDED and is_worth_running_again(failure_in(came)):
                chosen.append(line + b"\n")
        yield b"".join(chosen)
    # There is none, and if there were, this would be another input.
    for custom_id, _, _ in rows:
        raise InconsistentResultsError(f"request {custom_id!r} came back but is not in the input")


def _rounds(inputs: dict[str, Any]) -> list[CompletedRound]:
    indexes, results = inputs["indexes"], inputs["results"]
    return [CompletedRound(Path(index.download()), result) for index, result in zip(indexes, results, strict=True)]


def _requests_in(rounds: list[CompletedRound]) -> int:
    return sum((batch.get("request_counts") or {}).get("total") or 0 for batch in rounds[0].result["batches"])
