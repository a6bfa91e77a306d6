"""Where the SDK's errors become ours: each one sentence that says what could not be done, why, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flytekit import lazy_module

from ._client import Account, shown_url
from ._text import tidied
from .exceptions import Answer, OpenAIPluginError, RefusedError, UnavailableError

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_module("openai")

__all__ = ["explained"]

# What httpx and httpx2 call a connection that was not made in time; the SDK says only that a time was up.
CONNECT_TIMEOUT = "ConnectTimeout"
LONGEST_CODE = 100
# OpenAI's statuses for what may pass. https://platform.openai.com/docs/guides/error-codes
PASSING_STATUSES = frozenset({408, 409, 429})
# Azure refuses a batch with it at once, where OpenAI lets it fail in validation.
# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
QUOTA_CODE = "token_limit_exceeded"


@contextmanager
def explained(account: Account, doing: str, *, permission: str = "Files and Batches") -> Iterator[None]:
    """Turn what the SDK raises into one sentence of ours.

    Args:
        account: Whose key was used: named in the sentence when it is the key that was refused.
        doing: What was being done, after "could not": `"cancel batch 'batch_1'"`.
        permission: What a key must be allowed for to do it.

    Raises:
        UnavailableError: It may work the next time.
        RefusedError: It will not.
    """
    try:
        yield
    except OpenAIPluginError:
        raise
    except openai.OpenAIError as error:
        # From None: a person who reads the sentence is not helped by a hundred lines of the SDK's inside.
        raise _explanation(error, account, doing, permission) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        # A JSON document that breaks off, which the SDK lets through as it is.
        raise UnavailableError(
            f"Could not {doing}: the answer could not be read ({error}).", reason="unreadable"
        ) from None


def _explanation(error: openai.OpenAIError, account: Account, doing: str, permission: str) -> OpenAIPluginError:
    if isinstance(error, openai.APIStatusError):
        return _refusal(error, account, doing, permission)
    cause = type(error.__cause__).__name__ if error.__cause__ else ""
    if isinstance(error, openai.APITimeoutError) and cause != CONNECT_TIMEOUT:
        return UnavailableError(f"Could not {doing}: OpenAI did not answer in time.", reason="timeout")
    if isinstance(error, openai.APIConnectionError):
        told = f" ({cause})" if cause else ""
        return UnavailableError(f"Could not {doing}: no connection to {shown_url()}{told}.", reason="connection")
    return UnavailableError(
        f"Could not {doing}: the answer could not be read ({type(error).__name__}).", reason="unreadable"
    )


def _refusal(error: openai.APIStatusError, account: Account, doing: str, permission: str) -> OpenAIPluginError:
    code = _code(error, account)
    answer, status = Answer(error.status_code, code, _retry_after(error)), f"{error.status_code} {code or ''}".rstrip()
    if error.status_code in (401, 403):
        # The server's own words are left out: they repeat part of the key.
        return RefusedError(
            f"Could not {doing}: OpenAI refused the key from {account.api_key.source}{_scope(account)} "
            f"({status}); check that it is valid, and allowed for {permission}.",
            answer=answer,
        )
    reason = f"{status}{_server_words(error, account)}"
    if code == QUOTA_CODE:
        return UnavailableError(f"Could not {doing}: there is no room for it now ({reason}).", answer=answer)
    if error.status_code in PASSING_STATUSES or error.status_code >= 500:
        return UnavailableError(f"Could not {doing}: OpenAI is not able to answer now ({reason}).", answer=answer)
    return RefusedError(f"Could not {doing}: OpenAI refused ({reason}).", answer=answer)


def _retry_after(error: openai.APIStatusError) -> float | None:
    try:
        return float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None


def _code(error: openai.APIStatusError, account: Account) -> str | None:
    """The error's code; not all servers have a text there."""
    code: object = error.code
    return tidied(str(code), secret=account.api_key.value, longest=LONGEST_CODE) if code else None


def _server_words(error: openai.APIStatusError, account: Account) -> str:
    message = error.body.get("message") if isinstance(error.body, dict) else None
    if not isinstance(message, str) or not message:
        return ""
    return f": {tidied(message, secret=account.api_key.value)}"


def _scope(account: Account) -> str:
    named = {"organization": account.organization, "project": account.project}
    return "".join(f", {name} {value!r}" for name, value in named.items() if value)
