"""What the tasks share that run this package's code in a container, with the user's secret."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import flytekit
from flytekit import FlyteContextManager, ImageSpec, Resources, Secret
from flytekit.configuration import SerializationSettings
from flytekit.core.interface import Interface
from flytekit.core.python_customized_container_task import PythonCustomizedContainerTask
from flytekit.core.shim_task import ShimTaskExecutor
from flytekit.models.task import TaskTemplate
from flytekit.types.file import FlyteFile
from fsspec import AbstractFileSystem

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import find_api_key
from flytekitplugins.openai._secret_names import SecretName

__all__ = ["FileTask", "account_of", "chunks_of", "name_of", "secret_argument", "size_of", "working_directory"]

FILE_TASK_MEMORY = "700Mi"
CHUNK_BYTES = 1 << 18
# By default, some blob stores are read fifty megabytes at a time.
READ_AHEAD_BYTES = 1 << 23


class FileConfig(Protocol):
    """Whose account a step uses: as `OpenAIFileConfig`."""

    secret: Secret
    openai_organization: str | None
    openai_project: str | None


class FileTask(PythonCustomizedContainerTask[FileConfig]):
    """A container of this package's code, with the user's secret. What it needs to know comes in its `custom`."""

    _TASK_TYPE: str
    _EXECUTOR: type[ShimTaskExecutor[Any]]
    _INTERFACE: Interface
    _HAS_DECK = False

    def __init__(
        self,
        name: str,
        task_config: FileConfig,
        container_image: str | ImageSpec | None = None,
        *,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not kwargs.get("limits"):
            # A pod whose request is above the user's own limit cannot start.
            kwargs.setdefault("requests", Resources(mem=FILE_TASK_MEMORY))
        if self._HAS_DECK and "disable_deck" not in kwargs:
            kwargs.setdefault("enable_deck", True)
        if kwargs.get("metadata"):
            # flytekit notes in it that a task has a deck; and it may be another task's, too.
            kwargs["metadata"] = replace(kwargs["metadata"])
        kwargs["secret_requests"] = [task_config.secret, *(kwargs.get("secret_requests") or [])]
        self._options = options or {}
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
        """What the executor reads from the template."""
        config = cast(FileConfig, self.task_config)
        custom: dict[str, Any] = {
            "openai_organization": config.openai_organization,
            "secret_arg": secret_argument(config.secret),
        }
        project = {"openai_project": config.openai_project} if config.openai_project else {}
        return custom | project | self._options


def secret_argument(secret: Secret) -> dict[str, Any]:
    """A secret's name as a task's `custom` carries it."""
    return {
        "group": secret.group,
        "key": secret.key,
        "group_version": secret.group_version,
        "mount_requirement": secret.mount_requirement.value,
    }


def account_of(template: TaskTemplate) -> Account:
    """The account that a task's `custom` names.

    Raises:
        MissingAPIKeyError: Its secret is not there.
        InvalidInputError: A name in it cannot be one.
    """
    custom = template.custom
    key = find_api_key(SecretName.from_custom(custom["secret_arg"]))
    return Account.of(key, organization=custom.get("openai_organization"), project=custom.get("openai_project"))


def chunks_of(file: FlyteFile[Any]) -> Iterator[bytes]:
    """The content of a file, streamed: a file in a blob store is not downloaded first."""
    with _filesystem(file).open(_path(file), "rb", block_size=READ_AHEAD_BYTES) as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def name_of(file: FlyteFile[Any]) -> str:
    """The name of a file without its directory."""
    return posixpath.basename(_path(file).rstrip("/"))


def size_of(file: FlyteFile[Any]) -> int | None:
    """Size of a file in bytes, if it is known without reading the file."""
    size = _filesystem(file).info(_path(file)).get("size")
    return size if isinstance(size, int) else None


def working_directory() -> Path:
    """The directory that a step may write to."""
    directory = Path(flytekit.current_context().working_directory)
    # People's tests mock the whole context.
    return directory if directory.is_dir() else Path(tempfile.mkdtemp())


def _path(file: FlyteFile[Any]) -> str:
    return str(file.remote_source or file.path)


def _filesystem(file: FlyteFile[Any]) -> AbstractFileSystem:
    return FlyteContextManager.current_context().file_access.get_filesystem_for_path(_path(file))
