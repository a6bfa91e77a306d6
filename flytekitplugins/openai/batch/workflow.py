"""`create_batch`: the steps of a batch, wired into a workflow."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Iterator  # noqa: UP035 (flytekit knows the JSON iterator by typing's, not collections.abc's)

from flytekit import ImageSpec, Resources, Secret, TaskMetadata, Workflow
from flytekit.core.node import Node
from flytekit.types.file import JSONLFile
from flytekit.types.iterator import JSON

from flytekitplugins.openai._names import reserve_name

from .authoring.workflow_arguments import check_costs, check_numbers, seconds_of
from .control.policy.creation_body import DEFAULTS, check_config
from .steps import (
    BatchShardsTask,
    CollectResultsTask,
    CollectRowsTask,
    DeleteFilesTask,
    UploadAgainTask,
    UploadShardsTask,
)
from .task import BatchResult, OpenAIFileConfig

__all__ = ["batch_for_rows", "create_batch"]


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
    max_resubmissions: int = 0,
    min_success_ratio: float = 0.0,
    max_concurrent_batches: int | None = None,
    delete_files: bool = False,
    input_expires_after: timedelta | None = None,
    complete_answers: bool = False,
    enqueued_token_limit: int | Mapping[str, int] | None = None,
    max_cost_usd: float | None = None,
    reuse_results_within: timedelta | None = None,
) -> Workflow:
    """A workflow that runs any number of requests, and returns each of them once, in input order.

    It has one input, `jsonl_in`, and one output, `batch_output: BatchResult`. It uploads the requests in as many files
    as it needs, runs each file as a batch, and joins the results.

    Args:
        name: Ending of the names of the workflow and its tasks, without its dots.
        secret: The secret that holds the API key of the file steps.
        openai_organization: The organization to run in; the key's own by default.
        config: Arguments of the batches' creation, such as `endpoint` and `metadata`.
        is_json_iterator: Whether `jsonl_in` is an `Iterator[JSON]`; otherwise it is a `JSONLFile`.
        file_upload_mem: Memory of the upload step.
        file_download_mem: Memory of the download step.
        openai_project: The project to run in; the key's own by default.
        container_image: Image of the file steps; it must have this package. By default the one the workflow is
            registered with.
        retries: How often each of the steps is tried again when it fails for a reason that may pass. Flyte counts
            every failure to create the batch, too.
        timeout: How long a batch step may take, as a duration or in seconds. A batch may take 24 hours, and Flyte
            counts its own queueing in; less than 26 hours is not advisable, and batches that wait for room in OpenAI's
            queue take longer.
        max_resubmissions: How often to run again, in batches of their own, the requests for which it is worth it:
            those that expired, were cancelled, met a time-out, a rate limit or an error of OpenAI's, or of which
            nothing came back. Each adds two steps to the workflow.
        min_success_ratio: The part of the requests that must succeed, from 0 to 1, for the workflow to succeed. When
            none does, it always fails.
        max_concurrent_batches: How many batches may be under way at once; as many as OpenAI takes by default.
        delete_files: Delete the files at OpenAI, those uploaded and those that the batches wrote, once the results
            have been collected; and those uploaded, when OpenAI refuses the batches or they fail.
        input_expires_after: After how long OpenAI deletes the uploaded files, from an hour to 30 days, which is the
            default. A batch that has to wait for room needs its file until then.
        complete_answers: Count an answer that was cut off, by the limit of output tokens or a content filter, as failed
            for `min_success_ratio`. It stays in the output file.
        enqueued_token_limit: How many prompt tokens of a model OpenAI's queue holds for the account, for every model or
            as a dictionary by model; https://platform.openai.com/settings/organization/limits shows it. No file has
            more, and batches are created as there is room. By default it is learnt when OpenAI refuses a batch.
        max_cost_usd: US dollars that a run of the requests may cost, with the longest answers that they allow. If it
            may cost more, nothing is submitted. It needs the extra `prices`.
        reuse_results_within: How old a completed batch of the same account may be for its results to be used again, in
            place of a new batch of exactly the same lines. Only batches of a workflow with this argument are found.

    Raises:
        TypeError: `config` is no dictionary, or its metadata is none.
        ValueError: A number is out of its range; or `config` names an input file, or has metadata that is too much; or
            another workflow of this process has the name.
    """
    return _wired(locals())


def batch_for_rows(name: str, secret: Secret, **arguments: Any) -> Workflow:
    """As `create_batch`, for the requests of a table: a `JSONLFile` that may be empty, and a second input `sample`.

    Args:
        name: As for `create_batch`.
        secret: As for `create_batch`.
        **arguments: Any other argument of `create_batch`, but for `is_json_iterator`.

    Raises:
        TypeError: `create_batch` has no such argument, or as for `create_batch`.
        ValueError: As for `create_batch`.
    """
    bound = inspect.signature(create_batch).bind(name, secret, is_json_iterator=False, **arguments)
    bound.apply_defaults()
    return _wired(bound.arguments, for_rows=True)


def _wired(arguments: Mapping[str, Any], *, for_rows: bool = False) -> Workflow:
    """The workflow that these arguments of `create_batch` describe."""
    arguments = {**arguments, "config": {} if arguments["config"] is None else arguments["config"]}
    given = SimpleNamespace(**arguments)
    check_numbers(given.max_resubmissions, given.min_success_ratio, given.max_concurrent_batches)
    check_costs(given.enqueued_token_limit, given.max_cost_usd)
    check_config(given.config, reserved=1 if given.reuse_results_within is None else 2)
    suffix = given.name.replace(".", "")
    upload = {
        "endpoint": given.config.get("endpoint", DEFAULTS["endpoint"]),
        "input_expires_after": seconds_of("input_expires_after", given.input_expires_after),
        "may_be_empty": for_rows,
        "enqueued_token_limit": given.enqueued_token_limit,
        "max_cost_usd": given.max_cost_usd,
        "reuse_results_within": seconds_of("reuse_results_within", given.reuse_results_within),
    }
    files = {
        "task_config": OpenAIFileConfig(given.secret, given.openai_organization, given.openai_project),
        "container_image": given.container_image,
        "metadata": TaskMetadata(retries=given.retries),
    }
    batch = {
        "config": given.config,
        "openai_organization": given.openai_organization,
        "openai_project": given.openai_project,
        "secret": given.secret,
        "max_concurrent_batches": given.max_concurrent_batches,
        # A later round may still succeed, and a failed one must not lose the results of others.
        "tolerant": given.max_resubmissions > 0,
        "delete_files": given.delete_files,
        "metadata": TaskMetadata(retries=given.retries, timeout=given.timeout),
    }
    collect = {
        "min_success_ratio": given.min_success_ratio,
        "title": given.name,
        "delete_files": given.delete_files,
        "complete_answers": given.complete_answers,
    }
    reserve_name(f"openai-batch-{suffix}", arguments)
    wiring = _Wiring(suffix, Iterator[JSON] if given.is_json_iterator else JSONLFile, for_rows=for_rows)
    for number in range(given.max_resubmissions + 1):
        cut_again = number < given.max_resubmissions
        wiring.add_round(number, upload={**upload, **files, "cut_again": cut_again}, batch=batch)
    wiring.add_collection({**collect, **files})
    if given.delete_files:
        wiring.add_deletion(files)
    return wiring.finish(upload_memory=given.file_upload_mem, download_memory=given.file_download_mem)


class _Wiring:
    """The workflow while its steps are added.

    Args:
        suffix: Ending of the names of the workflow and its steps.
        input_type: The type of the requests.
        for_rows: Whether they are those of a table, of which the report shows some.
    """

    def __init__(self, suffix: str, input_type: Any, *, for_rows: bool) -> None:
        self._suffix = suffix
        self._workflow = Workflow(name=f"openai-batch-{suffix}")
        self._workflow.add_workflow_input("jsonl_in", input_type)
        self._sample = {"sample": self._workflow.add_workflow_input("sample", str)} if for_rows else {}
        self._uploads: list[Node] = []
        self._batches: list[Node] = []
        self._downloads: list[Node] = []

    def add_round(self, number: int, *, upload: dict[str, Any], batch: dict[str, Any]) -> None:
        """Upload the requests, or in a later round those that are worth running again, and run them."""
        again = f"-again-{number}" if number else ""
        task = (UploadAgainTask if number else UploadShardsTask)(f"openai-file-upload-{self._suffix}{again}", **upload)
        earlier = self._rounds() if number else {}
        uploaded = self._workflow.add_entity(task, jsonl_in=self._workflow.inputs["jsonl_in"], **earlier)
        files = {output: uploaded.outputs[output] for output in ("input_file_ids", "requests", "manifest")}
        run = BatchShardsTask(f"openai-batch-{self._suffix}{again}", **batch)
        self._uploads.append(uploaded)
        self._batches.append(self._workflow.add_entity(run, **files))

    def add_collection(self, options: dict[str, Any]) -> None:
        """Download the results of all rounds, and join them: the output of the workflow."""
        kind = CollectRowsTask if self._sample else CollectResultsTask
        task = kind(f"openai-download-files-{self._suffix}", **options)
        manifests = [upload.outputs["manifest"] for upload in self._uploads]
        collected = self._workflow.add_entity(task, **self._rounds(), manifests=manifests, **self._sample)
        self._workflow.add_workflow_output("batch_output", collected.outputs["result"], BatchResult)
        self._downloads.append(collected)

    def add_deletion(self, options: dict[str, Any]) -> None:
        """Delete the files at OpenAI, in a step of its own: when it begins, Flyte has the results."""
        task = DeleteFilesTask(name=f"openai-delete-files-{self._suffix}", **options)
        deleted = self._workflow.add_entity(task, results=self._rounds()["results"])
        self._downloads[-1].runs_before(deleted)
        self._downloads.append(deleted)

    def finish(self, *, upload_memory: str, download_memory: str) -> Workflow:
        """The workflow, with the memory of its steps in containers."""
        for nodes, memory in ((self._uploads, upload_memory), (self._downloads, download_memory)):
            for node in nodes:
                node.with_overrides(requests=Resources(mem=memory), limits=Resources(mem=memory))
        return self._workflow

    def _rounds(self) -> dict[str, Any]:
        """The inputs of a step that reads the results so far."""
        return {
            "indexes": [upload.outputs["index"] for upload in self._uploads],
            "results": [batch.outputs["result"] for batch in self._batches],
        }
