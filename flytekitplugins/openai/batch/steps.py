"""The steps of `create_batch`: upload an input of any size in shards, run each as a batch, and join the results."""

# No `from __future__ import annotations`: flytekit reads the types of the interfaces.
from collections.abc import Mapping
from typing import Any, Dict, List  # noqa: UP035 (flytekit reads them)

from flytekit import ImageSpec, kwtypes
from flytekit.core.interface import Interface
from flytekit.core.shim_task import ShimTaskExecutor
from flytekit.types.file import JSONLFile

from .container.tasks import FileTask
from .control.policy.creation_body import DEFAULTS
from .step_executors import (
    UPLOADED,
    CollectResultsExecutor,
    DeleteFilesExecutor,
    UploadAgainExecutor,
    UploadShardsExecutor,
)
from .task import (
    BatchEndpointTask,
    BatchResult,
    DownloadJSONFilesTask,
    OpenAIFileConfig,
    UploadJSONLFileTask,
)

__all__ = [
    "BatchShardsTask",
    "CollectResultsTask",
    "CollectRowsTask",
    "DeleteFilesTask",
    "UploadAgainTask",
    "UploadShardsTask",
]

# What is in a Dict is for flytekit to see: with types it would be another one.
RESULTS: dict[str, type] = {"results": List[Dict]}  # type: ignore[type-arg]  # noqa: UP006
RAN: dict[str, type] = {"indexes": List[JSONLFile], **RESULTS}  # noqa: UP006
COLLECTED: dict[str, type] = {**RAN, "manifests": List[str]}  # noqa: UP006


class UploadShardsTask(UploadJSONLFileTask):
    """Checks an input, cuts it into shards, and uploads them.

    `jsonl_in: JSONLFile -> input_file_ids: List[str], requests: int, index: JSONLFile, manifest: str`

    Args:
        name: Name of the task.
        task_config: Whose account to use.
        container_image: As for `UploadJSONLFileTask`.
        endpoint: Where every request must go.
        input_expires_after: Seconds after which OpenAI deletes the uploaded files; after 30 days by default.
        may_be_empty: Accept an input without requests.
        enqueued_token_limit: How many tokens OpenAI's queue holds, of every model or by model.
        max_cost_usd: US dollars that the requests may cost at most.
        reuse_results_within: How many seconds old a batch may be whose results are used again.
        cut_again: Whether a later round uploads what turns out to be too large for OpenAI's queue.
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
        may_be_empty: bool = False,
        enqueued_token_limit: int | Mapping[str, int] | None = None,
        max_cost_usd: float | None = None,
        reuse_results_within: int | None = None,
        cut_again: bool = False,
        **kwargs: Any,
    ) -> None:
        optional = {
            "input_expires_after": input_expires_after,
            "may_be_empty": may_be_empty or None,
            "enqueued_token_limit": enqueued_token_limit,
            "max_cost_usd": max_cost_usd,
            "reuse_results_within": reuse_results_within,
            "cut_again": cut_again or None,
        }
        options = {"endpoint": endpoint, **{name: value for name, value in optional.items() if value is not None}}
        super().__init__(name, task_config, container_image, options=options, **kwargs)


class UploadAgainTask(UploadShardsTask):
    """Uploads the requests that are worth running again after one or more rounds.

    `jsonl_in: JSONLFile, indexes: List[JSONLFile], results: List[Dict] -> ` the same as `UploadShardsTask`
    """

    _EXECUTOR = UploadAgainExecutor
    _INTERFACE = Interface(inputs={"jsonl_in": JSONLFile, **RAN}, outputs=UPLOADED)


class BatchShardsTask(BatchEndpointTask):
    """Runs any number of uploaded files, each as a batch of its own, by the connector.

    `input_file_ids: List[str], requests: int, manifest: str -> result: Dict`, with the batches in the files' order.

    Args:
        name: Name of the task.
        config: As for `BatchEndpointTask`, and the same for every batch.
        max_concurrent_batches: How many may be under way at once; as many as OpenAI takes by default.
        tolerant: The task succeeds even if none of its batches did.
        delete_files: Delete the files at OpenAI if the task fails for good.
        **kwargs: Anything else that `BatchEndpointTask` takes.
    """

    _INTERFACE = Interface(
        inputs=kwtypes(input_file_ids=List[str], requests=int, manifest=str),  # noqa: UP006
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
    """Joins the results of all rounds, in input order.

    `indexes: List[JSONLFile], results: List[Dict], manifests: List[str] -> result: BatchResult`, the first round first.

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
    _INTERFACE = Interface(inputs=COLLECTED, outputs=kwtypes(result=BatchResult))

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


class CollectRowsTask(CollectResultsTask):
    """As `CollectResultsTask`, for the rows of a table: its report shows the first of them with their answers.

    Its inputs are those, and `sample: str`. The sample is a JSON list, with
    a dictionary from columns to texts for each of the first requests.
    """

    _INTERFACE = Interface(inputs={**COLLECTED, "sample": str}, outputs=kwtypes(result=BatchResult))


class DeleteFilesTask(FileTask):
    """Deletes the files at OpenAI that batches read and wrote: `results: List[Dict]`."""

    _TASK_TYPE = "openai-batch-delete-files"
    _EXECUTOR = DeleteFilesExecutor
    _INTERFACE = Interface(inputs=RESULTS)
