"""What can go wrong, as a tree. An error's bases in flytekit say what Flyte does about it.

    OpenAIPluginError           a FlyteUserRuntimeException: final
    |-- MissingAPIKeyError      no key, or one that cannot be one
    |-- InvalidInputError       what the user gave cannot be used
    |-- InvalidMetadataError    bytes that are not metadata of ours
    |-- InconsistentError       results that are not those of the requests
    |-- TooFewSucceededError    fewer requests succeeded than must have
    |-- RefusedError            OpenAI refused, and would refuse the same again
    |   `-- RefusedBatchError   OpenAI refused to create a batch
    `-- PassingError            also a FlyteRecoverableException: tried again while the task has `retries` left
        |-- UnavailableError    OpenAI was not reached, or not able to answer
        `-- IncompleteFileError a download did not arrive whole

flytekit's entrypoint takes any other exception for a fault of the system and tries it again, up to four times,
whatever `retries` says. A `FlyteUserRuntimeException` is final, unless its value is a `FlyteRecoverableException`; ours
are their own value, so that one class says both.
"""

from __future__ import annotations

from dataclasses import dataclass

from flytekit.exceptions.user import FlyteRecoverableException, FlyteUserRuntimeException

__all__ = [
    "Answer",
    "IncompleteFileError",
    "InconsistentError",
    "InvalidInputError",
    "InvalidMetadataError",
    "MissingAPIKeyError",
    "OpenAIPluginError",
    "PassingError",
    "RefusedBatchError",
    "RefusedError",
    "TooFewSucceededError",
    "UnavailableError",
]


@dataclass(frozen=True)
class Answer:
    """What OpenAI answered in place of what it was asked for.

    Attributes:
        status: The HTTP status.
        code: The code in the error's body, such as `token_limit_exceeded`.
        retry_after: Seconds to wait before asking again.
    """

    status: int
    code: str | None = None
    retry_after: float | None = None


class OpenAIPluginError(FlyteUserRuntimeException):
    """The root of everything this package raises on purpose. Its text is one sentence, meant for Flyte's console.

    Attributes:
        answer: OpenAI's, if it was OpenAI who refused or failed.
        reason: What happened in a word, for a metric's label: an HTTP status, or `timeout`, `connection`, ...
    """

    _ERROR_CODE = "OpenAI:Error"

    def __init__(self, sentence: str, *, answer: Answer | None = None, reason: str = "other") -> None:
        super().__init__(self)
        self.args = (sentence,)
        self.answer = answer
        self.reason = str(answer.status) if answer else reason

    @property
    def error_code(self) -> str:
        """What Flyte shows as the code of the error."""
        return self._ERROR_CODE

    def __str__(self) -> str:
        return str(self.args[0])


class MissingAPIKeyError(OpenAIPluginError):
    """There is no API key, or it is malformed."""

    _ERROR_CODE = "OpenAI:MissingAPIKey"


class InvalidInputError(OpenAIPluginError, ValueError):
    """Something the user gave cannot be used."""

    _ERROR_CODE = "OpenAI:InvalidInput"


class InvalidMetadataError(OpenAIPluginError, ValueError):
    """Bytes are not the metadata of a batch."""

    _ERROR_CODE = "OpenAI:InvalidMetadata"


class InconsistentError(OpenAIPluginError):
    """The results are not those of the requests."""

    _ERROR_CODE = "OpenAI:Inconsistent"


class TooFewSucceededError(OpenAIPluginError):
    """None of the requests succeeded, or fewer than the user asked for. It has a line for each kind of failure."""

    _ERROR_CODE = "OpenAI:TooFewSucceeded"


class RefusedError(OpenAIPluginError):
    """OpenAI refused, and would refuse the same request again."""

    _ERROR_CODE = "OpenAI:Refused"


class RefusedBatchError(RefusedError):
    """OpenAI refused to create a batch; none was created."""


class PassingError(OpenAIPluginError, FlyteRecoverableException):
    """A temporary failure, worth a retry."""

    _ERROR_CODE = "OpenAI:Passing"


class UnavailableError(PassingError):
    """OpenAI was not reached, or could not answer.

    Attributes:
        was_sent: Whether the request may have reached OpenAI, and been carried out.
    """

    _ERROR_CODE = "OpenAI:Unavailable"

    def __init__(
        self, sentence: str, *, answer: Answer | None = None, reason: str = "other", was_sent: bool = True
    ) -> None:
        super().__init__(sentence, answer=answer, reason=reason)
        self.was_sent = was_sent


class IncompleteFileError(PassingError):
    """A file did not arrive whole, however often it was asked for."""

    _ERROR_CODE = "OpenAI:IncompleteFile"
