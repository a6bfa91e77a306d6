"""The file steps that are measured, and what stands between them in a workflow: batches that are done at once."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from flytekitplugins.openai.batch.control.policy.shard_plan import ShardPlan
from flytekitplugins.openai.batch.control.policy.task_phase import result_of
from flytekitplugins.openai.batch.control.policy.task_plan import TaskPlan
from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot
from flytekitplugins.openai.batch.steps import CollectResultsTask, UploadShardsTask
from flytekitplugins.openai.batch.task import DownloadJSONFilesTask, UploadJSONLFileTask

from .containers import CONFIG
from .errors import BenchmarkError
from .reviews import answer
from .stand_in import API_KEY, ENDPOINT, StandIn

UPLOAD = UploadShardsTask(name="upload", task_config=CONFIG, endpoint=ENDPOINT)
COLLECT = CollectResultsTask(name="collect", task_config=CONFIG)
# The published package's executors have these names as well, and are told the same.
PUBLISHED_UPLOAD = UploadJSONLFileTask(name="upload", task_config=CONFIG)
PUBLISHED_DOWNLOAD = DownloadJSONFilesTask(name="download", task_config=CONFIG)
# A batch of 50,000 requests takes the stand-in some ten seconds, in which it answers nobody.
PATIENCE_SECONDS = 600


@contextmanager
def open_account() -> Iterator[openai.OpenAI]:
    """A client of an OpenAI in a process of its own, which takes its files with it when it ends."""
    stand_in = StandIn(requests_per_second=math.inf, responder=answer)
    try:
        with openai.OpenAI(
            base_url=stand_in.base_url, api_key=API_KEY, max_retries=0, timeout=PATIENCE_SECONDS
        ) as client:
            yield client
    finally:
        stand_in.stop()


def run_batch(client: openai.OpenAI, file_id: str, *, until: str = "completed") -> BatchSnapshot:
    """A batch of an uploaded file, at its end.

    Raises:
        BenchmarkError: That is another end.
    """
    made = client.batches.create(input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h")
    batch = BatchSnapshot.from_dict(client.batches.retrieve(made.id).to_dict())
    if batch.status != until:
        raise BenchmarkError(f"Batch {batch.id!r} of file {file_id!r} is {batch.status!r}, not {until!r}.")
    return batch


def batch_step(client: openai.OpenAI, file_ids: list[str]) -> dict[str, Any]:
    """What the batch step of this package hands on, when a batch of each file has run."""
    return result_of(TaskPlan(tuple(ShardPlan(run_batch(client, file_id)) for file_id in file_ids)), file_ids)
