"""The idempotency key: which task a batch was created for. `create` writes it into the batch, and finds that by it."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["IdempotencyKey"]

# The entry of a batch's metadata that holds the key.
TAG = "flyte_key"
_DIGITS = 32
# Python makes no number of more than 4,300 digits.
LONGEST_ATTEMPT = 18


@dataclass(frozen=True)
class IdempotencyKey:
    """A node of an execution, and one of its attempts.

    Attributes:
        node: A hash of where Flyte keeps the node's outputs. It is the same for each attempt, and for each time that
            Flyte forgets an attempt and creates it again; no two nodes share it, not even of sub-workflows, for which
            the ids of executions and nodes do not suffice.
        attempt: What Flyte calls the attempt, "0" for the first.
    """

    node: str
    attempt: str

    @classmethod
    def of(cls, output_prefix: str) -> IdempotencyKey:
        """The key of the task that Flyte gave this prefix: `.../<execution>/<node>/data/<attempt>`."""
        directory, attempt = posixpath.split(output_prefix.rstrip("/"))
        return cls(hashlib.sha256(directory.encode()).hexdigest()[:_DIGITS], attempt)

    @classmethod
    def read(cls, metadata: object) -> IdempotencyKey | None:
        """The key in a batch's metadata; `None` when there is none."""
        tag: Any = metadata.get(TAG) if isinstance(metadata, Mapping) else None
        node, slash, attempt = tag.partition("/") if isinstance(tag, str) else ("", "", "")
        return cls(node, attempt) if node and slash else None

    @property
    def tag(self) -> str:
        """The key as a value in a batch's metadata."""
        return f"{self.node}/{self.attempt}"

    def ends(self, other: IdempotencyKey | None) -> bool:
        """Whether a cancellation of this attempt covers `other`: the same attempt of the node, or an earlier one."""
        return other is not None and other.node == self.node and other.number <= self.number

    @property
    def number(self) -> int:
        """The place of this attempt among those of its node."""
        return int(self.attempt) if self.attempt.isdecimal() and len(self.attempt) <= LONGEST_ATTEMPT else 0
