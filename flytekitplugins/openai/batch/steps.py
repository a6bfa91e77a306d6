"""The steps of `create_batch`: an input of any size goes up in shards, runs as so many batches, and is put together."""

# No `from __future__ import annotations`: flytekit reads the types of the interfaces.
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List  # noqa: UP035 (flytekit reads them)

import flytekit
from flytekit import FlyteContextManager, ImageSpec, kwtypes
from flytekit.core.interface import Interface
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
from .container.download import Ran, collect, outcomes
from .container.files import delete_file
from .container.progress import StepProgress
from .container.tasks import FileTask, account_of, chunks_of, name_of, size_of, working_directory
from .container.upload import Uploads, upload_shards
from .control.policy.creation_body import DEFAULTS
from .requests.sharding import Cutter, Limits
from .results.join import Fate, InconsistentResultsError, Row
from .results.lines import failure_in, is_worth_running_again
from .task import (
    BatchEndpointTask,
    BatchResult,
    DownloadJSONFilesTask,
    OpenAIFileConfig,
    UploadJSONLFileTask,
)

if TYPE_CHECKING:
    import openai

__all__ = [
    "BatchShardsTask",
    "CollectResultsExecutor",
    "CollectResultsTask",
    "DeleteFilesExecutor",
    "DeleteFilesTask",
    "UploadAgainExecutor",
    "UploadAgainTask",
    "UploadShardsExecutor",
    "UploadShardsTask",
]

BEYOND_ONE_POD = "map a launch plan of the workflow over several inputs instead"
UPLOADED: dict[str, type] = {"input_file_ids": List[str], "requests": int, "index": JSONLFile}  # noqa: UP006
# What is in a Dict is for flytekit to see: with types it would be another one.
RESULTS: dict[str, type] = {"results": List[Dict]}  # type: ignore[type-arg]  # noqa: UP006
RAN: dict[str, type] = {"indexes": List[JSONLFile], **RESULTS}  # noqa: UP006


class UploadShardsExecutor(ShimTaskExecutor["UploadShardsTask"]):
    """Runs an `UploadShardsTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Upload the input; returns the files' ids, the number of requests, and the index."""
        file = kwargs["jsonl_in"]
        return _upload(tt, file, lambda: chunks_of(file))


class UploadAgainExecutor(ShimTaskExecutor["UploadAgainTask"]):
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
            return _upload(tt, file, lambda: _worth_running_again(chunks_of(file), rows), may_be_empty=True)


class CollectResultsExecutor(ShimTaskExecutor["CollectResultsTask"]):
    """Runs a `CollectResultsTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Put the results together."""
        directory = working_directory()
        output, errors, report = (directory / name for name in ("output_file.jsonl", "error_file.jsonl", "report.html"))
        rounds, account = _rounds(kwargs), account_of(tt)
        with sync_client(account) as client, StepProgress(tt.id.name, total=_requests_in(rounds)) as progress:
            tally = collect(
                rounds,
                client,
                output=output,
                errors=errors,
                account=account,
                directory=directory,
                progress=progress,
            )
        complete = bool(tt.custom.get("complete_answers"))
        complaint = tally.complaint(tt.custom["min_success_ratio"], complete_answers=complete)
        batches = [ran.result.get("batches") or [] for ran in rounds]
        publish_report(tt, batches, tally, page=report, complaint=complaint)
        if complaint:
            if tt.custom.get("delete_files") and not tally.succeeded:
                # Nobody will come back for them; with anything that succeeded in them, somebody may.
                with sync_client(account) as client:
                    _delete_files(client, [ran.result for ran in rounds], account)
            raise TooFewSucceededError(complaint)
        return BatchResult.of(tally, output=output, errors=errors, report=report)


class DeleteFilesExecutor(ShimTaskExecutor["DeleteFilesTask"]):
    """Runs a `DeleteFilesTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Delete every file that the batches read or wrote."""
        account = account_of(tt)
        with sync_client(account) as client:
            _delete_files(client, kwargs["results"], account)


class UploadShardsTask(UploadJSONLFileTask):
    """Checks an input, cuts it into shards, and uploads them.

    `jsonl_in: JSONLFile -> input_file_ids: List[str], requests: int, index: JSONLFile`

    Args:
        name: Name of the task.
        task_config: Whose account to use.
        container_image: As for `UploadJSONLFileTask`.
        endpoint: Where every request must go.
        input_expires_after: Seconds after which OpenAI deletes the uploaded files; after 30 days by default.
        **kwargs: Anything else that flytekit's `PythonCustomizedContainerTask` takes.
    """

    _EXECUTOR: type[ShimTaskExecutor[Any]] = UploadShardsExecutor
    _INTERFACE = Interface(inputs=kwtypes(jsonl_in=JSONLFile), outputs=UPLOADED)

    def __init__(
        self,
        name: str,
        task_config: OpenAIFileConfig,
        container_image: str | ImageSpec | None = None,
        *,
        endpoint: str = DEFAULTS["endpoint"],
        input_expires_after: int | None = None,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {"endpoint": endpoint}
        if input_expires_after is not None:
            options["input_expires_after"] = input_expires_after
        super().__init__(name, task_config, container_image, options=options, **kwargs)


class UploadAgainTask(UploadShardsTask):
    """Uploads once more what is worth running again, after one or more rounds.

    `jsonl_in: JSONLFile, indexes: List[JSONLFile], results: List[Dict] -> ` the same as `UploadShardsTask`
    """

    _EXECUTOR = UploadAgainExecutor
    _INTERFACE = Interface(inputs={"jsonl_in": JSONLFile, **RAN}, outputs=UPLOADED)


class BatchShardsTask(BatchEndpointTask):
    """Runs any number of uploaded files, each as a batch of its own, by the connector.

    `input_file_ids: List[str], requests: int -> result: Dict`, with the batches in the order of the files.

    Args:
        name: Name of the task.
        config: As for `BatchEndpointTask`, and the same for every batch.
        max_concurrent_batches: How many may be under way at once; as many as OpenAI takes by default.
        tolerant: The task succeeds even if nothing came of any of its batches.
        delete_files: Delete the files at OpenAI if the task fails for good.
        **kwargs: Anything else that `BatchEndpointTask` takes.
    """

    _INTERFACE = Interface(
        inputs=kwtypes(input_file_ids=List[str], requests=int),  # noqa: UP006
        outputs=kwtypes(result=Dict),  # noqa: UP006
    )

    def __init__(
        self,
        name: str,
        config: dict[str, Any],
        *,
        max_concurrent_batches: int | None = None,
        tolerant: bool = False,
        delete_files: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, config, partial_results=True, **kwargs)
        optional = {
            "max_concurrent_batches": max_concurrent_batches,
            "tolerant": tolerant,
            "delete_files": delete_files,
        }
        self._custom |= {key: value for key, value in optional.items() if value}


class CollectResultsTask(DownloadJSONFilesTask):
    """Puts the results of all rounds together, in the order of the input.

    `indexes: List[JSONLFile], results: List[Dict] -> result: BatchResult`, the first round first.

    Args:
        name: Name of the task.
        task_config: Whose account to use.
        container_image: As for `UploadJSONLFileTask`.
        min_success_ratio: The part of the requests that must have succeeded, from 0 to 1.
        title: What the report is about; the task's name by default.
        delete_files: Delete the files at OpenAI if none of the requests succeeded, and the task fails for it.
        complete_answers: Count an answer that was cut off as none.
        **kwargs: Anything else that flytekit's `PythonCustomizedContainerTask` takes.
    """

    _EXECUTOR = CollectResultsExecutor
    _INTERFACE = Interface(inputs=RAN, outputs=kwtypes(result=BatchResult))

    def __init__(
        self,
        name: str,
        task_config: OpenAIFileConfig,
        container_image: str | ImageSpec | None = None,
        *,
        min_success_ratio: float = 0.0,
        title: str = "",
        delete_files: bool = False,
        complete_answers: bool = False,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {"min_success_ratio": min_success_ratio, "title": title}
        optional = {"delete_files": delete_files, "complete_answers": complete_answers}
        options |= {name: value for name, value in optional.items() if value}
        super().__init__(name, task_config, container_image, options=options, **kwargs)


class DeleteFilesTask(FileTask):
    """Deletes the files at OpenAI that batches read and wrote: `results: List[Dict]`."""

    _TASK_TYPE = "openai-batch-delete-files"
    _EXECUTOR = DeleteFilesExecutor
    _INTERFACE = Interface(inputs=RESULTS)


def _delete_files(client: "openai.OpenAI", results: Iterable[Mapping[str, Any]], account: Account) -> None:
    """Delete every file that these batches read or wrote."""
    names = ("input_file_id", "output_file_id", "error_file_id")
    batches = [batch for result in results for batch in result["batches"]]
    for file_id in dict.fromkeys(batch.get(name) for batch in batches for name in names):
        if file_id:
            delete_file(client, file_id, account)


def _upload(template: TaskTemplate, file: JSONLFile, open_input: Any, *, may_be_empty: bool = False) -> LiteralMap:
    index = working_directory() / "index.jsonl"
    cutter = Cutter(template.custom["endpoint"], limits=Limits(), many=BEYOND_ONE_POD, may_be_empty=may_be_empty)
    uploads = Uploads.of(name_of(file), flytekit.current_context().output_metadata_prefix)
    with StepProgress(template.id.name, total=size_of(file)) as progress, index.open("wb") as target:
        expires_after = template.custom.get("input_expires_after")
        uploaded = upload_shards(
            open_input,
            cutter,
            uploads=uploads,
            account=account_of(template),
            index=target,
            progress=progress,
            # In a protobuf Struct it was a float.
            expires_after=None if expires_after is None else int(expires_after),
        )
    outputs = {"input_file_ids": uploaded.file_ids, "requests": uploaded.requests, "index": JSONLFile(str(index))}
    # flytekit takes a list that an executor returns for one of nothing in particular, and refuses it.
    return TypeEngine.dict_to_literal_map(FlyteContextManager.current_context(), outputs, UPLOADED)


def _worth_running_again(chunks: Iterable[bytes], rows: Iterator[Row]) -> Iterator[bytes]:
    """Those of the input's lines whose requests may well succeed the next time."""
    for block in whole_lines(chunks, longest=Limits().size):
        lines = (line for line in block.split(b"\n") if line.strip())
        chosen = []
        for line in lines:
            _, fate, came = next(rows)
            if fate != Fate.SUCCEEDED and is_worth_running_again(failure_in(came)):
                chosen.append(line + b"\n")
        yield b"".join(chosen)
    # There is none, and if there were, this would be another input.
    for custom_id, _, _ in rows:
        raise InconsistentResultsError(f"request {custom_id!r} came back and is not in the input")


def _rounds(inputs: dict[str, Any]) -> list[Ran]:
    indexes, results = inputs["indexes"], inputs["results"]
    return [Ran(Path(index.download()), result) for index, result in zip(indexes, results, strict=True)]


def _requests_in(rounds: list[Ran]) -> int:
    return sum((batch.get("request_counts") or {}).get("total") or 0 for batch in rounds[0].result["batches"])
