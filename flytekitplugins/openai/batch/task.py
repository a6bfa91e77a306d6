"""The three tasks for a batch of one file: upload it, run it, download the results."""

# No `from __future__ import annotations`: flytekit and mashumaro read the types of BatchResult.
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Optional  # noqa: UP035 (as in the published interface)

import flytekit
from flytekit import Secret, kwtypes
from flytekit.configuration import SerializationSettings
from flytekit.configuration.default_images import DefaultImages, PythonVersion
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.core.shim_task import ShimTaskExecutor
from flytekit.extend.backend.base_connector import AsyncConnectorExecutorMixin
from flytekit.models.task import TaskTemplate
from flytekit.types.file import HTMLPage, JSONLFile
from mashumaro.mixins.json import DataClassJSONMixin

from flytekitplugins.openai._client import sync_client
from flytekitplugins.openai._flyte import said_plainly

from .container.deck import publish_report
from .container.files import download_file
from .container.progress import StepProgress
from .container.tasks import FileTask, account_of, chunks_of, name_of, secret_argument, working_directory
from .container.upload import upload_shards
from .container.upload_names import UploadNames
from .local_run import LocalRunMixin
from .requests.sharding import Sharder
from .requests.shards import Limits
from .results.counts import Tally, tally_files

__all__ = [
    "BatchEndpointTask",
    "BatchResult",
    "DownloadJSONFilesExecutor",
    "DownloadJSONFilesTask",
    "OpenAIFileConfig",
    "OpenAIFileDefaultImages",
    "UploadJSONLFileExecutor",
    "UploadJSONLFileTask",
]


@dataclass
class BatchResult(DataClassJSONMixin):
    """The result of a batch.

    Attributes:
        output_file: The lines of the requests that succeeded; `None` when none did.
        error_file: The lines of those that did not; `None` when all did.
        requests: How many there were.
        succeeded: How many of them have a line in the output file.
        failed: How many have one in the error file.
        errors: How many those are by the code of their error.
        input_tokens: Tokens that were read for the requests that succeeded, as far as the server tells.
        cached_tokens: Those of them that came from a cache.
        output_tokens: Tokens that were written.
        reasoning_tokens: Those of them that nobody sees.
        report: A page about all this, which is also the deck of the step; `None` if it could not be made.
        cut_off: How many of the answers are not the whole ones, because of their length or a content filter.
        order_file: The order of the lines of the two files; `None` when it is not known.
    """

    output_file: Optional[JSONLFile] = None  # noqa: UP045 (flytekit reads it)
    error_file: Optional[JSONLFile] = None  # noqa: UP045
    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    errors: Dict[str, int] = field(default_factory=dict)  # noqa: UP006
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    report: Optional[HTMLPage] = None  # noqa: UP045
    cut_off: int = 0
    order_file: Optional[JSONLFile] = None  # noqa: UP045

    @classmethod
    def of(cls, tally: Tally, *, output: Path, errors: Path, report: Path, order: Path | None = None) -> "BatchResult":
        """The result with these counts and files; a file that is empty, or not there, is left out."""
        return cls(
            output_file=_unless_empty(output),
            error_file=_unless_empty(errors),
            order_file=_unless_empty(order) if order else None,
            requests=tally.requests,
            succeeded=tally.succeeded,
            failed=tally.failed,
            errors=tally.errors,
            report=HTMLPage(str(report)) if Path(report).exists() else None,
            cut_off=tally.consumption.cut_off,
            **asdict(tally.consumption.usage),
        )


class BatchEndpointTask(  # type: ignore[misc]  # runs by this connector, where the mixin of flytekit's takes any
    LocalRunMixin,
    AsyncConnectorExecutorMixin,
    PythonTask,  # type: ignore[type-arg]  # takes no config object
):
    """Runs one uploaded file as a batch, by the connector.

    Args:
        name: Name of the task.
        config: Arguments of the batch's creation. Unless said otherwise, `completion_window` is `24h` and `endpoint`
            is `/v1/chat/completions`.
        openai_organization: The organization to run in; the key's own by default.
        openai_project: The project to run in; the key's own by default.
        secret: Name of the secret that the upload step uses. A local run takes the same one; on a cluster the
            connector has its own.
        partial_results: Accept the results of an expired or cancelled batch.
        **kwargs: Anything else that flytekit's `PythonTask` takes.

    Raises:
        ValueError: `config` names the input file, which is the task's input.
    """

    _TASK_TYPE = "openai-batch"
    _INTERFACE = Interface(inputs=kwtypes(input_file_id=str), outputs=kwtypes(result=Dict))  # noqa: UP006

    def __init__(
        self,
        name: str,
        config: dict[str, Any],
        openai_organization: str | None = None,
        *,
        openai_project: str | None = None,
        secret: Secret | None = None,
        partial_results: bool = False,
        **kwargs: Any,
    ) -> None:
        if "input_file_id" in config:
            raise ValueError(
                f"The config of task {name!r} names an input_file_id; pass it as the task's input instead."
            )
        super().__init__(name=name, task_type=self._TASK_TYPE, interface=self._INTERFACE, **kwargs)
        self._custom: dict[str, Any] = {"openai_organization": openai_organization, "config": dict(config)}
        optional = {
            "openai_project": openai_project,
            "secret_arg": secret_argument(secret) if secret is not None else None,
            "partial_results": partial_results,
        }
        self._custom |= {key: value for key, value in optional.items() if value}

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:  # noqa: ARG002
        """What the connector reads from the template."""
        return dict(self._custom)


class OpenAIFileDefaultImages(DefaultImages):
    """The images that come with the published package. They hold that package's code, not this one's."""

    _DEFAULT_IMAGE_PREFIXES = {  # noqa: RUF012 (as in the class it overrides)
        version: f"cr.flyte.org/flyteorg/flytekit:py{version.value[0]}.{version.value[1]}-openai-batch-"
        for version in PythonVersion
        if version.value >= (3, 9)
    }


@dataclass
class OpenAIFileConfig:
    """Whose account the file tasks use.

    Attributes:
        secret: The secret that holds the API key.
        openai_organization: The organization to act for; the key's own by default.
        openai_project: The project to act for; the key's own by default.
    """

    secret: Secret
    openai_organization: str | None = None
    openai_project: str | None = None


class UploadJSONLFileExecutor(ShimTaskExecutor["UploadJSONLFileTask"]):
    """Runs an `UploadJSONLFileTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Check the file, upload it, and return its id."""
        account, file, context = account_of(tt), kwargs["jsonl_in"], flytekit.current_context()
        # Which endpoint the batch is for, only the batch step knows; all requests must have the same.
        sharder = Sharder(None, limits=Limits(shards=1), many="create_batch splits an input of any size")
        uploads = UploadNames.of(name_of(file), context.output_metadata_prefix)
        with StepProgress(tt.id.name, total=None) as progress, Path(os.devnull).open("wb") as index:
            uploaded = upload_shards(
                lambda: chunks_of(file),
                sharder,
                uploads=uploads,
                account=account,
                index=index,
                progress=progress,
                name_of=lambda _: f"{uploads.stem}.jsonl",
            )
        return uploaded.file_ids[0]


class DownloadJSONFilesExecutor(ShimTaskExecutor["DownloadJSONFilesTask"]):
    """Runs a `DownloadJSONFilesTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Download the output and the error file, as far as the batch has them."""
        account, batch = account_of(tt), kwargs["batch_endpoint_result"]
        # In these words, because the published package's tests put a Path of theirs into this module.
        directory = Path(flytekit.current_context().working_directory)
        output, errors = (Path(directory, name).with_suffix(".jsonl") for name in ("output_file", "error_file"))
        report = working_directory() / "report.html"
        with sync_client(account) as client:
            for name, path in (("output_file_id", output), ("error_file_id", errors)):
                if batch.get(name):
                    download_file(client, batch[name], path, account=account)
        tally = tally_files([output, errors])
        publish_report(tt, [[batch]], tally, page=report)
        return BatchResult.of(tally, output=output, errors=errors, report=report)


class UploadJSONLFileTask(FileTask):
    """Uploads a JSONL file of requests: `jsonl_in: JSONLFile -> result: str`, the file's id at OpenAI.

    Args:
        name: Name of the task.
        task_config: Whose account to use.
        container_image: Image to run in; it must have this package. By default the one the workflow is registered with,
            because the published images hold the published package's code.
        **kwargs: Anything else that flytekit's `PythonCustomizedContainerTask` takes, such as `requests` or `metadata`.
    """

    _TASK_TYPE = "openai-batch-upload-file"
    _EXECUTOR: type[ShimTaskExecutor[Any]] = UploadJSONLFileExecutor
    _INTERFACE = Interface(inputs=kwtypes(jsonl_in=JSONLFile), outputs=kwtypes(result=str))


class DownloadJSONFilesTask(FileTask):
    """Downloads what a batch wrote: `batch_endpoint_result: Dict -> result: BatchResult`.

    It takes the arguments of `UploadJSONLFileTask`, and has a deck unless it is told `enable_deck=False`.
    """

    _TASK_TYPE = "openai-batch-download-files"
    _HAS_DECK = True
    _EXECUTOR: type[ShimTaskExecutor[Any]] = DownloadJSONFilesExecutor
    _INTERFACE = Interface(inputs=kwtypes(batch_endpoint_result=Dict), outputs=kwtypes(result=BatchResult))  # noqa: UP006


def _unless_empty(path: Path) -> Optional[JSONLFile]:  # noqa: UP045 (as above)
    return JSONLFile(str(path)) if Path(path).exists() and Path(path).stat().st_size else None
