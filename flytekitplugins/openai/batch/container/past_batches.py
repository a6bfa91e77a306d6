"""Finds the batches of earlier runs whose results can be used again."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module, logger

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._errors import explained
from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot
from flytekitplugins.openai.batch.records.manifest import DIGEST
from flytekitplugins.openai.exceptions import OpenAIPluginError

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_module("openai")

__all__ = ["LinesDigest", "PastBatches"]

PAGE = 100
# How long OpenAI keeps a file, and how long it is needed still: the rest of the input may take a day, and waits before.
RETENTION, NEEDED_SECONDS = 30 * 86_400.0, 2 * 86_400.0
# Ninety-six bits: of a million different shards, two have the same digest once in 10^17 times.
DIGEST_BYTES = 12


class LinesDigest:
    """The digest of the lines of a shard, and of their endpoint.

    Args:
        endpoint: Where the lines go.
    """

    def __init__(self, endpoint: str) -> None:
        self._hash = hashlib.sha256(f"{endpoint}\n".encode())
        self.add = self._hash.update

    def text(self) -> str:
        """The digest."""
        return base64.urlsafe_b64encode(self._hash.digest()[:DIGEST_BYTES]).decode()


class PastBatches:
    """The completed batches of an account that have a digest.

    Args:
        client: The account's.
        account: For the error messages.
        endpoint: What the batches were for.
        within: How many seconds ago a batch was created at most.
        but: The ids of batches that are not to be found: those of earlier rounds, whose results were not good enough.
    """

    def __init__(
        self, client: openai.OpenAI, account: Account, *, endpoint: str, within: float, but: Collection[str] = ()
    ) -> None:
        self._client = client
        self._account = account
        self._since = time.time() - within
        self._but = frozenset(but)
        self.endpoint = endpoint

    def find(self, digest: str, *, requests: int) -> BatchSnapshot | None:
        """A batch of the same lines, all of which were answered, and whose results are still there.

        One of which that is not certain is not taken.
        """
        complete = (batch for batch in self._by_digest.get(digest, []) if batch.total == batch.completed == requests)
        return next(filter(self._has_results, complete), None)

    @cached_property
    def _by_digest(self) -> dict[str, list[BatchSnapshot]]:
        found: dict[str, list[BatchSnapshot]] = {}
        try:
            for digest, batch in self._listed():
                found.setdefault(digest, []).append(batch)
        except OpenAIPluginError as error:
            logger.warning(f"{error} Only results of batches that were listed before that are reused.")
        return found

    def _listed(self) -> Iterator[tuple[str, BatchSnapshot]]:
        with explained(self._account, "read the list of batches"):
            # Newest first.
            for given in self._client.batches.list(limit=PAGE):
                raw: Any = given.to_dict(warnings=False)
                batch, metadata = BatchSnapshot.from_dict(raw), raw.get("metadata") or {}
                if batch.times.get("created_at", 0.0) < self._since:
                    return
                is_usable = (
                    batch.status == "completed" and batch.endpoint == self.endpoint and batch.id not in self._but
                )
                if is_usable and metadata.get(DIGEST):
                    # There may be thousands.
                    yield str(metadata[DIGEST]), replace(batch, raw={}, usage={})

    def _has_results(self, batch: BatchSnapshot) -> bool:
        if batch.output_file_id is None or batch.error_file_id is not None or batch.input_file_id is None:
            return False
        try:
            with explained(self._account, f"look up file {batch.output_file_id!r}"):
                file = self._client.files.retrieve(batch.output_file_id)
                expires_at = getattr(file, "expires_at", None)
                ends_at = expires_at if isinstance(expires_at, (int, float)) else (batch.ended_at or 0.0) + RETENTION
                return file.id == batch.output_file_id and ends_at > time.time() + NEEDED_SECONDS
        except OpenAIPluginError as error:
            if error.answer is None or error.answer.status != 404:
                logger.warning(f"{error} The results of batch {batch.id!r} are not reused.")
            return False
