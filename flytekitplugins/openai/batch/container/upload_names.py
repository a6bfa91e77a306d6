"""Names the files of an upload at OpenAI, so that a later attempt finds what an earlier one left."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey
from flytekitplugins.openai.batch.requests.shards import Shard

__all__ = ["UploadNames"]

LONGEST_NAME = 60


@dataclass(frozen=True)
class UploadNames:
    """How the files of one step are named at OpenAI, so that a later attempt finds what an earlier one left.

    Attributes:
        name: The input's.
        node: Identifies the step: the same for all of its attempts.
        attempt: The attempt of the step.
    """

    name: str
    node: str = field(default_factory=lambda: uuid.uuid4().hex)
    attempt: str = "0"

    @classmethod
    def of(cls, name: str, output_prefix: str | None) -> UploadNames:
        """The names for the step with this output prefix.

        A local run has no prefix, and a user's test may have a mock in its place. There are no other attempts then.
        """
        if not isinstance(output_prefix, str) or not output_prefix:
            return cls(name)
        key = IdempotencyKey.of(output_prefix)
        return cls(name, key.node, key.attempt)

    @property
    def title(self) -> str:
        """The input's name for a sentence; flytekit names the file of an iterator by a number, which is left out."""
        return f" {self.name!r}" if Path(self.name).suffix else ""

    @property
    def stem(self) -> str:
        """The input's name without its ending."""
        return Path(self.name).stem[:LONGEST_NAME]

    @property
    def prefix(self) -> str:
        """How the names of all files of the step begin."""
        return f"{self.stem}-{self.node[:16]}-"

    def file_name(self, shard: Shard) -> str:
        """The name of a shard's file."""
        return f"{self.prefix}{self.attempt}-{shard.number:05}.jsonl"
