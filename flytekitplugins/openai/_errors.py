"""Where the SDK's errors become ours: each one sentence that says what could not be done, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flytekit import lazy_module

from ._answers import UnsafeAnswerError
from ._client import Account, shown_url
from ._ids import is_id
from ._text import shortened, tidied
from .exceptions import Answer, OpenAIPluginError, RefusedError, UnavailableError

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_module("openai")

__all__ = ["check_id", "explained", "is_broken", "raise_error_in"]

# What httpx and httpx2 call a connection that was not made in time; the SDK says only that a time was up.
CONNECT_TIMEOUT = "ConnectTimeout"
# The errors of httpx and httpx2 before anything has been sent.
NEVER_SENT = frozenset({CONNECT_TIMEOUT, "ConnectError", "PoolTimeout", "ProxyError", "UnsupportedProtocol"})
LONGEST_CODE = 100
# OpenAI's statuses for what may pass. https://platform.openai.com/docs/guides/error-codes
PASSING_STATUSES = frozenset({408, 409, 429})
# Azure refuses a batch with it at once, where OpenAI lets it fail in validation.
# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
QUOTA_CODE = "token_limit_exceeded"
ANY_ERROR = range(400, 600)
# Of another host: on the same one they are followed.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FILES_AND_BATCHES = "Files and Batches"
# The HTTP statuses of errors that come with a status of 200, by their code or type.
# https://platform.openai.com/docs/guides/error-codes
STATUSES = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found": 404,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "api_error": 500,
    "service_unavailable": 503,
}


@contextmanager
def explained(account: Account, doing: str, *, permission: str = FILES_AND_BATCHES) -> Iterator[None]:
    """Turn an error of the SDK into one of ours, with one sentence.

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
    except UnsafeAnswerError as error:
        # Releases of the SDK differ in whether they wrap it.
        raise _unread(error, doing) from None
    except openai.OpenAIError as error:
        # From None: a hundred lines of the SDK's internals help nobody who reads the sentence.
        raise _explanation(error, account, doing, permission) from None
    except (ValueError, RecursionError) as error:
        # A truncated JSON document, or one that Python's reader refuses: with a number of thousands of digits, or
        # nested too deeply. The SDK does not wrap it in an error of its own.
        raise UnavailableError(
            f"Could not {doing}: the response could not be read ({error}).", reason="unreadable"
        ) from None


def check_id(file_id: object, doing: str) -> None:
    """Check an id before it becomes part of a path: another path would do something else with the key.

    Raises:
        RefusedError: It cannot be the id of a file.
    """
    if not is_id(file_id):
        shown = shortened(repr(file_id), LONGEST_CODE)
        raise RefusedError(f"Could not {doing}: {shown} cannot be the id of a file.", reason="other")


def is_broken(error: openai.APIConnectionError) -> bool:
    """Whether an established connection broke: the server may have closed it while it was idle."""
    is_answered = isinstance(error.__cause__, UnsafeAnswerError)
    return not isinstance(error, openai.APITimeoutError) and not is_answered and _was_sent(error)


def _was_sent(error: openai.APIConnectionError) -> bool:
    """Whether OpenAI may have received the request before the connection failed."""
    cause = error.__cause__
    # respx, and other mocks of a network, assert that a request is one they know.
    return type(cause).__name__ not in NEVER_SENT and not isinstance(cause, AssertionError)


def _explanation(error: openai.OpenAIError, account: Account, doing: str, permission: str) -> OpenAIPluginError:
    if isinstance(error, openai.APIStatusError):
        return _refusal(error, account, doing, permission)
    if isinstance(error.__cause__, UnsafeAnswerError):
        return _unread(error.__cause__, doing)
    cause = type(error.__cause__).__name__ if error.__cause__ else ""
    if isinstance(error, openai.APITimeoutError) and cause != CONNECT_TIMEOUT:
        return UnavailableError(f"Could not {doing}: OpenAI did not answer in time.", reason="timeout")
    if isinstance(error, openai.APIConnectionError):
        told = f" ({cause})" if cause else ""
        sentence = f"Could not {doing}: no connection to {shown_url()}{told}."
        return UnavailableError(sentence, reason="connection", was_sent=_was_sent(error))
    return UnavailableError(
        f"Could not {doing}: the response could not be read ({type(error).__name__}).", reason="unreadable"
    )


def _unread(error: UnsafeAnswerError, doing: str) -> UnavailableError:
    return UnavailableError(f"Could not {doing}: the response is not read, because {error}.", reason="unreadable")


def raise_error_in(answer: object, account: Account, doing: str, *, otherwise: int) -> None:
    """Raise the error that an answer with HTTP status 200 holds, if it holds one.

    OpenAI has answered so for batches that are gone. https://github.com/tensorzero/tensorzero/issues/1198

    Args:
        answer: What the SDK made of the answer, or its JSON.
        account: Whose key was used.
        doing: What was being done, as `explained` takes it.
        otherwise: The HTTP status that an error stands for whose code and type are not known.

    Raises:
        UnavailableError: It may work the next time.
        RefusedError: It will not.
    """
    error = answer.get("error") if isinstance(answer, Mapping) else getattr(answer, "error", None)
    if isinstance(error, str) and error:
        error = {"message": error}
    if not isinstance(error, Mapping):
        return
    names = [error.get("code"), error.get("type")]
    known = (STATUSES.get(str(name)) or (name if name in ANY_ERROR else None) for name in names)
    status = next(filter(None, known), otherwise)
    raise _refused(account, doing, status=status, code=names[0] or names[1], message=error.get("message"))


def _refusal(error: openai.APIStatusError, account: Account, doing: str, permission: str) -> OpenAIPluginError:
    message = error.body.get("message") if isinstance(error.body, dict) else None
    return _refused(
        account,
        doing,
        status=error.status_code,
        code=error.code,
        message=message,
        retry_after=_retry_after(error),
        permission=permission,
    )


def _refused(
    account: Account,
    doing: str,
    *,
    status: int,
    code: object,
    message: object,
    retry_after: float | None = None,
    permission: str = FILES_AND_BATCHES,
) -> OpenAIPluginError:
    # Not all servers have texts in their errors.
    code = tidied(str(code), secret=account.api_key.value, longest=LONGEST_CODE) if code else None
    answer, reason = Answer(status, code, retry_after), f"{status} {code or ''}".rstrip()
    if status in (401, 403):
        # The server's own words are left out: they repeat part of the key.
        return RefusedError(
            f"Could not {doing}: OpenAI refused the key from {account.api_key.source}{_scope(account)} "
            f"({reason}); check that it is valid, and allowed for {permission}.",
            answer=answer,
        )
    if isinstance(message, str) and message:
        reason += f": {tidied(message, secret=account.api_key.value)}"
    if code == QUOTA_CODE:
        return UnavailableError(f"Could not {doing}: its queue is full ({reason}).", answer=answer)
    if status in PASSING_STATUSES or status >= 500:
        return UnavailableError(f"Could not {doing}: OpenAI is unavailable ({reason}).", answer=answer)
    if status in REDIRECTS:
        return RefusedError(
            f"Could not {doing}: {shown_url()} redirects to another host ({status}), which is sent no key; "
            "check OPENAI_BASE_URL.",
            answer=answer,
        )
    return RefusedError(f"Could not {doing}: OpenAI refused ({reason}).", answer=answer)


def _retry_after(error: openai.APIStatusError) -> float | None:
    try:
        return float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None


def _scope(account: Account) -> str:
    named = {"organization": account.organization, "project": account.project}
    return "".join(f", {name} {value!r}" for name, value in named.items() if value)
