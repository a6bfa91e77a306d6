"""Checks the account of each key in turn; what an earlier failure makes impossible is skipped, and says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import APIKey

from .caller import Caller, Deadline
from .connection import CLOCK, check_base_url, check_clock
from .findings import Check, failed, passed, skipped
from .keys import FoundKey
from .permissions import BATCH_CHECKS, FILE_CHECKS, READ_FILES, WRITE_FILES, check_batches, check_files, list_batches
from .reply import is_key_refused, problem_with
from .shared_files import SAME_FILES, check_same_files
from .submission import REAL_BATCH, RealBatch, Submission

__all__ = ["AccountChecks"]

# The checks take some seconds if OpenAI answers, and end after this if it does not.
TOTAL_SECONDS = 60.0
ACCEPTED = "accepted"
UNREACHED = "OpenAI was not reached"
NO_KEY_FOUND = "there is no key"
NOT_ACCEPTED = "the key is not accepted"
NOT_UPLOADING = "the connector does not upload; --upload-secret GROUP/KEY checks the key of the upload step"
# For the first call, if there is no key: that it is refused says that OpenAI was reached.
NO_KEY = Account(APIKey("none", "no secret"))


class AccountChecks:
    """The checks of all keys.

    Args:
        keys: Those that create batches.
        upload_key: The one that uploads, if it is another secret.
        in_connector: Whether this is the connector, which uploads nothing.
    """

    def __init__(self, keys: Sequence[FoundKey], upload_key: FoundKey | None, *, in_connector: bool) -> None:
        self._keys = keys
        self._upload_key = upload_key
        self._all = [*keys, *([upload_key] if upload_key else [])]
        self._in_connector = in_connector
        # By the name of the key's line.
        self._callers: dict[str, Caller] = {}
        # Why a key cannot be used.
        self._unusable: dict[str, str] = {}
        # The names of the lines that failed.
        self._failed: set[str] = set()

    def run(self, submission: Submission | None) -> Iterator[Check]:
        """Make the checks one after the other."""
        deadline = Deadline(TOTAL_SECONDS)
        with ExitStack() as clients:
            for key in self._all:
                if key.account is None:
                    self._unusable[key.check.name] = NO_KEY_FOUND
                else:
                    is_connectors = self._in_connector and key is not self._upload_key
                    caller = Caller(key.account, deadline, clients, is_connectors=is_connectors)
                    self._callers[key.check.name] = caller
            first = next(iter(self._callers.values()), None) or Caller(NO_KEY, deadline, clients)
            for check in self._checks(first, submission):
                if check.outcome == "failed":
                    self._failed.add(check.name)
                yield check

    def _checks(self, first: Caller, submission: Submission | None) -> Iterator[Check]:
        listed = first.call(list_batches)
        yield (reached := check_base_url(listed))
        if reached.outcome == "ok":
            yield check_clock(listed)
        else:
            yield _not_checked(CLOCK, UNREACHED)
            self._unusable = dict.fromkeys(self._callers, UNREACHED) | self._unusable
        for key in self._all:
            yield from self._labelled(key, self._key_checks(key), among=self._all)
        for key in self._keys:
            yield from self._labelled(key, self._joint_checks(key, submission), among=self._keys)

    def _labelled(self, key: FoundKey, checks: Iterator[Check], *, among: Sequence[FoundKey]) -> Iterator[Check]:
        """The checks, named after their key if there are several."""
        label = f"{key.check.name}: " if len(among) > 1 else ""
        return (replace(check, name=f"{label}{check.name}") for check in checks)

    def _key_checks(self, key: FoundKey) -> Iterator[Check]:
        """What one key may do."""
        name = key.check.name
        uploads = key is self._upload_key
        writes = uploads or not (self._in_connector or self._upload_key)
        batch_checks = () if uploads else BATCH_CHECKS
        file_checks = FILE_CHECKS if writes else FILE_CHECKS[1:]
        if name not in self._unusable:
            caller = self._callers[name]
            listed = caller.call(list_batches)
            if listed.status is not None and not is_key_refused(listed):
                yield passed(ACCEPTED, "OpenAI knows the key")
                if batch_checks:
                    yield from check_batches(caller, listed)
                if self._in_connector and not self._upload_key:
                    yield _not_checked(WRITE_FILES, NOT_UPLOADING)
                yield from check_files(caller, writes=writes)
                return
            self._unusable[name] = UNREACHED if listed.status is None else NOT_ACCEPTED
            yield failed(ACCEPTED, problem_with(listed))
        else:
            yield _not_checked(ACCEPTED, self._unusable[name])
        yield from (_not_checked(each, self._unusable[name]) for each in (*batch_checks, *file_checks))

    def _joint_checks(self, key: FoundKey, submission: Submission | None) -> Iterator[Check]:
        """What a key does together with the upload step's."""
        names = (key.check.name, (self._upload_key or key).check.name)
        reason = next((self._unusable[name] for name in names if name in self._unusable), "")
        if self._upload_key:
            needed = dict(zip(names, (READ_FILES, WRITE_FILES), strict=True))
            lacking = [f"{name}: {check}" for name, check in needed.items() if f"{name}: {check}" in self._failed]
            if reason or lacking:
                yield _not_checked(SAME_FILES, reason or f"{lacking[0]!r} failed")
            else:
                connector, uploader = (self._callers[name] for name in names)
                yield check_same_files(uploader, connector)
        if submission is None:
            return
        if reason or self._failed:
            yield _not_checked(REAL_BATCH, reason or "an earlier check failed")
            return
        connector, uploader = (self._callers[name].without_deadline() for name in names)
        yield RealBatch(connector, uploader, submission).run()


def _not_checked(name: str, reason: str) -> Check:
    return skipped(name, f"not checked, because {reason}")
