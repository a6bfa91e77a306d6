"""The three tasks that a batch workflow is made of: upload the requests, run the batch, download the results."""

# No `from __future__ import annotations`: flytekit and mashumaro read the types of BatchResult.
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, cast  # noqa: UP035 (as in the published interface)

import flytekit
from flytekit import ImageSpec, Resources, Secret, kwtypes
from flytekit.configuration import SerializationSettings
from flytekit.configuration.default_images import DefaultImages, PythonVersion
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.core.python_customized_container_task import PythonCustomizedContainerTask
from flytekit.core.shim_task import ShimTaskExecutor
from flytekit.extend.backend.base_connector import AsyncConnectorExecutorMixin, Resource
from flytekit.models.task import TaskTemplate
from flytekit.types.file import JSONLFile
from mashumaro.mixins.json import DataClassJSONMixin

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import SecretName, find_api_key
from flytekitplugins.openai._flyte import said_plainly

from .connector import BatchEndpointConnector
from .files import download_file, upload_file
from .local import cancel, watch

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

FILE_TASK_MEMORY = "700Mi"


@dataclass
class BatchResult(DataClassJSONMixin):
    """What came of a batch.

    Attributes:
        output_file: The lines of the requests that succeeded; `None` when none did.
        error_file: The lines of those that did not; `None` when all did.
    """

    output_file: Optional[JSONLFile] = None  # noqa: UP045 (flytekit reads it)
    error_file: Optional[JSONLFile] = None  # noqa: UP045


class BatchEndpointTask(AsyncConnectorExecutorMixin, PythonTask):  # type: ignore[type-arg]  # takes no config object
    """Runs one uploaded file as a batch, by the connector.

    Args:
        name: Name of the task.
        config: Arguments of the batch's creation. Unless said otherwise, `completion_window` is `24h` and `endpoint`
            is `/v1/chat/completions`.
        openai_organization: The organization to run in; the key's own by default.
        openai_project: The project to run in; the key's own by default.
        secret: Name of the secret that the upload step uses. A local run takes the same one; on a cluster the
            connector has its own.
        partial_results: Take the results of a batch that expired or was cancelled for good enough.
        **kwargs: Anything else that flytekit's `PythonTask` takes.

    Raises:
        ValueError: `config` names the input file, which is the task's input.
    """

    _TASK_TYPE = "openai-batch"
    _connector: BatchEndpointConnector

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
        super().__init__(
            name=name,
            task_type=self._TASK_TYPE,
            interface=Interface(
                inputs=kwtypes(input_file_id=str),
                outputs=kwtypes(result=Dict),  # noqa: UP006
            ),
            **kwargs,
        )
        self._ended: set[str] = set()
        self._custom: dict[str, Any] = {"openai_organization": openai_organization, "config": dict(config)}
        optional = {
            "openai_project": openai_project,
            "secret_arg": _secret_argument(secret) if secret is not None else None,
            "partial_results": partial_results,
        }
        self._custom |= {key: value for key, value in optional.items() if value}

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:  # noqa: ARG002
        """What the connector is told."""
        return dict(self._custom)

    # What flytekit does in a local run; see `local` for why ours does it otherwise.

    async def _get(self, resource_meta: Any) -> Resource:
        resource = await watch(self.name, self._connector, resource_meta)
        self._ended.add(resource_meta.order.name)
        return resource

    def connector_signal_handler(self, resource_meta: Any, signum: int, frame: Any) -> None:  # noqa: ARG002
        """Cancel the batch when the run is interrupted; flytekit asks this of every batch the run ever made."""
        if resource_meta.order.name not in self._ended:
            cancel(self.name, self._connector, resource_meta)


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
        """Upload the file and return its id."""
        account = _account(tt)
        return upload_file(Path(kwargs["jsonl_in"].download()), account)


class DownloadJSONFilesExecutor(ShimTaskExecutor["DownloadJSONFilesTask"]):
    """Runs a `DownloadJSONFilesTask` in its container."""

    @said_plainly()
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> Any:
        """Download the output and the error file, as far as the batch has them."""
        account = _account(tt)
        batch = kwargs["batch_endpoint_result"]
        directory = Path(flytekit.current_context().working_directory)
        files: dict[str, JSONLFile] = {}
        for name in ("output_file", "error_file"):
            file_id = batch.get(f"{name}_id")
            if file_id:
                target = Path(directory, name).with_suffix(".jsonl")
                download_file(file_id, target, account)
                # Azure makes an error file of no bytes when nothing failed.
                if Path(target).stat().st_size:
                    files[name] = JSONLFile(str(target))
        return BatchResult(**files)


class _FileTask(PythonCustomizedContainerTask[OpenAIFileConfig]):
    """What the two file tasks have in common: a container of this package's code, with the user's secret."""

    _TASK_TYPE: str
    _EXECUTOR: type[ShimTaskExecutor[Any]]
    _INTERFACE: Interface

    def __init__(
        self,
        name: str,
        task_config: OpenAIFileConfig,
        container_image: str | ImageSpec | None = None,
        **kwargs: Any,
    ) -> None:
        if not kwargs.get("limits"):
            # A request above the user's own limit would be a pod that cannot start.
            kwargs.setdefault("requests", Resources(mem=FILE_TASK_MEMORY))
        kwargs["secret_requests"] = [task_config.secret, *(kwargs.get("secret_requests") or [])]
        super().__init__(
            name=name,
            task_config=task_config,
            container_image=cast(str, container_image),  # flytekit takes an ImageSpec or None as well, and says str.
            task_type=self._TASK_TYPE,
            executor_type=self._EXECUTOR,
            interface=self._INTERFACE,
            **kwargs,
        )

    def get_image(self, settings: SerializationSettings) -> str:
        """The image's name; a local run needs none, so none is looked up or built for it."""
        if settings is self.SERIALIZE_SETTINGS:
            return "placeholder"
        if not self.container_image and settings.image_config.default_image is None:
            raise ValueError(
                f"No image is known for task {self.name!r}: register with --image, or pass container_image."
            )
        return str(super().get_image(settings))

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:  # noqa: ARG002
        """What the executor is told."""
        config = cast(OpenAIFileConfig, self.task_config)
        custom: dict[str, Any] = {
            "openai_organization": config.openai_organization,
            "secret_arg": _secret_argument(config.secret),
        }
        return custom | ({"openai_project": config.openai_project} if config.openai_project else {})


class UploadJSONLFileTask(_FileTask):
    """Uploads a JSONL file of requests: `jsonl_in: JSONLFile -> result: str`, the file's id at OpenAI.

    Args:
        name: Name of the task.
        task_config: Whose account to use.
        container_image: Image to run in; it must have this package. By default the one the workflow is registered with,
            because the published images hold the published package's code.
        **kwargs: Anything else that flytekit's `PythonCustomizedContainerTask` takes, such as `requests` or `metadata`.
    """

    _TASK_TYPE = "openai-batch-upload-file"
    _EXECUTOR = UploadJSONLFileExecutor
    _INTERFACE = Interface(inputs=kwtypes(jsonl_in=JSONLFile), outputs=kwtypes(result=str))


class DownloadJSONFilesTask(_FileTask):
    """Downloads what a batch wrote: `batch_endpoint_result: Dict -> result: BatchResult`.

    It takes the arguments of `UploadJSONLFileTask`.
    """

    _TASK_TYPE = "openai-batch-download-files"
    _EXECUTOR = DownloadJSONFilesExecutor
    _INTERFACE = Interface(inputs=kwtypes(batch_endpoint_result=Dict), outputs=kwtypes(result=BatchResult))  # noqa: UP006


def _secret_argument(secret: Secret) -> dict[str, Any]:
    return {
        "group": secret.group,
        "key": secret.key,
        "group_version": secret.group_version,
        "mount_requirement": secret.mount_requirement.value,
    }


def _account(template: TaskTemplate) -> Account:
    custom = template.custom
    key = find_api_key(SecretName.from_custom(custom["secret_arg"]))
    return Account.of(key, organization=custom.get("openai_organization"), project=custom.get("openai_project"))
