"""`create_batch`: the tasks of a batch, wired into a workflow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Iterator  # noqa: UP035 (flytekit knows the JSON iterator by typing's, not collections.abc's)

from flytekit import ImageSpec, Resources, Secret, TaskMetadata, Workflow
from flytekit.types.file import JSONLFile
from flytekit.types.iterator import JSON

from .task import (
    BatchEndpointTask,
    BatchResult,
    DownloadJSONFilesTask,
    OpenAIFileConfig,
    UploadJSONLFileTask,
)

__all__ = ["create_batch"]


def create_batch(  # noqa: PLR0917 (the published signature)
    name: str,
    secret: Secret,
    openai_organization: str | None = None,
    config: dict[str, Any] | None = None,
    is_json_iterator: bool = True,
    file_upload_mem: str = "700Mi",
    file_download_mem: str = "700Mi",
    *,
    openai_project: str | None = None,
    container_image: str | ImageSpec | None = None,
    retries: int = 0,
    timeout: timedelta | int | None = None,
) -> Workflow:
    """A workflow that uploads requests, runs them as a batch, and downloads what came of them.

    It has one input, `jsonl_in`, and one output, `batch_output: BatchResult`.

    Args:
        name: Ending of the names of the workflow and its tasks, without its dots.
        secret: The secret that holds the API key of the file steps.
        openai_organization: The organization to run in; the key's own by default.
        config: Arguments of the batch's creation, such as `endpoint` and `metadata`.
        is_json_iterator: Whether `jsonl_in` is an `Iterator[JSON]`; otherwise it is a `JSONLFile`.
        file_upload_mem: Memory of the upload step.
        file_download_mem: Memory of the download step.
        openai_project: The project to run in; the key's own by default.
        container_image: Image of the file steps; it must have this package. By default the one the workflow is
            registered with.
        retries: How often each of the three steps is tried again when it fails for a reason that may pass. Flyte counts
            every failure to create the batch, too.
        timeout: How long the batch step may take, as a duration or in seconds. A batch may take 24 hours, and Flyte
            counts its own queueing in; less than 26 hours is not advisable.
    """
    suffix = name.replace(".", "")
    workflow = Workflow(name=f"openai-batch-{suffix}")
    workflow.add_workflow_input("jsonl_in", Iterator[JSON] if is_json_iterator else JSONLFile)
    files: dict[str, Any] = {
        "task_config": OpenAIFileConfig(secret, openai_organization, openai_project),
        "container_image": container_image,
        "metadata": TaskMetadata(retries=retries),
    }
    upload = workflow.add_entity(
        UploadJSONLFileTask(name=f"openai-file-upload-{suffix}", **files),
        jsonl_in=workflow.inputs["jsonl_in"],
    )
    batch = workflow.add_entity(
        BatchEndpointTask(
            name=f"openai-batch-{suffix}",
            config=config or {},
            openai_organization=openai_organization,
            openai_project=openai_project,
            secret=secret,
            metadata=TaskMetadata(retries=retries, timeout=timeout),
        ),
        input_file_id=upload.outputs["result"],
    )
    download = workflow.add_entity(
        DownloadJSONFilesTask(name=f"openai-download-files-{suffix}", **files),
        batch_endpoint_result=batch.outputs["result"],
    )
    for node, memory in ((upload, file_upload_mem), (download, file_download_mem)):
        node.with_overrides(requests=Resources(mem=memory), limits=Resources(mem=memory))
    workflow.add_workflow_output("batch_output", download.outputs["result"], BatchResult)
    return workflow
