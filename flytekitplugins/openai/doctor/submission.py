"""Runs a real batch of one request, and deletes its files again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flytekitplugins.openai._text import plural, tidied

from .caller import Caller, Deadline
from .findings import Check, failed, passed
from .interrupt import NotedInterrupt
from .permissions import NOT_A_FILE, RECENT, remove_file, upload
from .reply import Reply, problem_with

if TYPE_CHECKING:
    import openai

__all__ = ["REAL_BATCH", "RealBatch", "Submission"]

REAL_BATCH = "real batch"
CANCELLED = ("cancelled", "canceled")
OVER = ("completed", "failed", "expired", *CANCELLED)
PAUSES_SECONDS = (0.5, 1.0, 2.0, 5.0)
# A cancelled batch may be cancelling for ten minutes; its files cannot be known before it is over.
CANCEL_SECONDS = 10.0
# A completed batch may show its files a moment later.
LATE_FILES_SECONDS = 10.0
LONGEST_ERROR = 300
NOT_A_BATCH = "the answer is not a batch; check OPENAI_BASE_URL"


@dataclass(frozen=True)
class Submission:
    """What to submit.

    Attributes:
        model: Which model is asked.
        endpoint: The endpoint of the batch, and of its request.
        seconds: How long the batch may take.
    """

    model: str
    endpoint: str
    seconds: float


class RealBatch:
    """One run.

    Args:
        connector: The key that creates the batch.
        uploader: The key for its files.
        submission: What to submit.
    """

    def __init__(self, connector: Caller, uploader: Caller, submission: Submission) -> None:
        self._connector = connector
        self._uploader = uploader
        self._model = submission.model
        self._endpoint = submission.endpoint
        self._seconds = submission.seconds
        self._batch: Mapping[str, Any] = {}
        self._files: set[str] = set()
        self._interrupt = NotedInterrupt()

    def run(self) -> Check:
        """Submit it, wait for it, read its result, and clean up."""
        started = time.monotonic()
        try:
            with self._interrupt:
                problem = self._submit() or self._wait() or self._read()
        finally:
            left = self._clean_up()
        if problem or left:
            return failed(REAL_BATCH, "; ".join(filter(None, [problem, left])))
        took = plural(round(time.monotonic() - started), "second")
        return passed(REAL_BATCH, f"{self._id!r} ran its request in {took}, and its files are deleted")

    def _submit(self) -> str:
        body = {"model": self._model, "messages": [{"role": "user", "content": "Answer with the word yes."}]}
        line = {"custom_id": "doctor", "method": "POST", "url": self._endpoint, "body": body}
        uploaded = upload(self._uploader, json.dumps(line).encode() + b"\n")
        file_id = uploaded.text_of("id")
        if not file_id:
            return f"could not upload its file: {problem_with(uploaded) or NOT_A_FILE}"
        self._files.add(file_id)
        request: dict[str, Any] = {"input_file_id": file_id, "endpoint": self._endpoint, "completion_window": "24h"}
        created = self._connector.call(lambda client: client.batches.with_raw_response.create(**request))
        self._keep(created)
        if not self._batch and not created.is_refusal:
            # The answer may be lost, and the batch there.
            newest = self._connector.call(lambda client: client.batches.with_raw_response.list(limit=RECENT))
            self._batch = next((batch for batch in newest.listed if batch.get("input_file_id") == file_id), {})
        return "" if self._batch else f"could not create it: {problem_with(created) or NOT_A_BATCH}"

    def _wait(self) -> str:
        """Until it is over, and its result can be read."""
        if not self._wait_until(lambda: self._status in OVER, Deadline(self._seconds)):
            return f"{self._id!r} was still {self._status} after {self._seconds:g} seconds; raise --submit-seconds"
        if self._status == "completed":
            self._wait_until(lambda: bool(self._result_files()), Deadline(min(self._seconds, LATE_FILES_SECONDS)))
            return ""
        errors = self._batch.get("errors")
        told = (errors.get("data") if isinstance(errors, Mapping) else errors) or "no reason was given"
        return f"{self._id!r} is {self._status}: {tidied(json.dumps(told), longest=LONGEST_ERROR)}"

    def _read(self) -> str:
        """What is wrong with its result."""
        files = self._result_files()
        if not files:
            return f"{self._id!r} is completed, and has no result file"
        lines = []
        for file_id in files:
            answer = self._download(file_id)
            if problem := problem_with(answer):
                return f"could not read its result: {problem}"
            # A file with one line is a JSON document.
            lines.append(answer.body)
        response = lines[0].get("response") if isinstance(lines[0], Mapping) else None
        if isinstance(response, Mapping) and response.get("status_code") == 200:
            return ""
        return f"its request failed: {tidied(json.dumps(lines[0]), longest=LONGEST_ERROR)}"

    def _clean_up(self) -> str:
        """What is left behind."""
        left = []
        if self._batch and self._status not in OVER:
            self._keep(self._connector.call(self._cancel, despite_deadline=True))
            if not self._wait_until(lambda: self._status in OVER, Deadline(CANCEL_SECONDS)):
                left.append(f"{self._id!r} was cancelled; when it is over, delete its result files at OpenAI")
        for file_id in sorted(self._files.union(self._result_files())):
            deleted = remove_file(self._uploader, file_id)
            if not deleted.is_success and deleted.status != 404:
                left.append(f"file {file_id!r} is left at OpenAI, delete it there")
        return "; ".join(left)

    def _wait_until(self, condition: Callable[[], bool], deadline: Deadline) -> bool:
        polls = 0
        while not condition():
            if deadline.left() <= 0:
                return False
            if polls:
                pause = PAUSES_SECONDS[min(polls, len(PAUSES_SECONDS)) - 1]
                time.sleep(min(pause, max(deadline.left(), 0)))
            polls += 1
            self._interrupt.raise_again()
            # A poll that fails is made again.
            self._keep(self._connector.call(self._retrieve, despite_deadline=True))
        return True

    def _keep(self, reply: Reply) -> None:
        if reply.text_of("id"):
            self._batch = reply.body

    def _download(self, file_id: str) -> Reply:
        return self._uploader.call(lambda client: client.files.with_raw_response.content(file_id))

    def _cancel(self, client: openai.OpenAI) -> Any:
        return client.batches.with_raw_response.cancel(self._id)

    def _retrieve(self, client: openai.OpenAI) -> Any:
        return client.batches.with_raw_response.retrieve(self._id)

    @property
    def _id(self) -> str:
        return str(self._batch.get("id"))

    @property
    def _status(self) -> str:
        return str(self._batch.get("status")).lower()

    def _result_files(self) -> list[str]:
        """Ids of the output and the error file, as far as there are any."""
        return [file_id for name in ("output_file_id", "error_file_id") if (file_id := self._batch.get(name))]
