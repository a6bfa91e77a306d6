import pytest
from flytekit.exceptions.user import FlyteRecoverableException, FlyteUserRuntimeException

from flytekitplugins.openai import exceptions

FINAL = [
    "InconsistentError",
    "InvalidInputError",
    "InvalidMetadataError",
    "MissingAPIKeyError",
    "OpenAIPluginError",
    "RefusedBatchError",
    "RefusedError",
    "TooFewSucceededError",
]
PASSING = ["IncompleteFileError", "PassingError", "UnavailableError"]


def test_every_error_is_final_or_passing():
    """A new error has to be given a place in the retry policy."""
    errors = {name for name in exceptions.__all__ if name.endswith("Error")}
    assert {*FINAL, *PASSING} == errors


@pytest.mark.parametrize("name", FINAL)
def test_final_error_is_not_retried(name):
    """flytekit's entrypoint asks the value in a user's error whether it may pass."""
    error = getattr(exceptions, name)("No.")
    assert isinstance(error, FlyteUserRuntimeException)
    assert not isinstance(error.value, FlyteRecoverableException)


@pytest.mark.parametrize("name", PASSING)
def test_passing_error_is_retried(name):
    """A recoverable value makes it a retry that counts against the task's `retries`."""
    error = getattr(exceptions, name)("Later.")
    assert isinstance(error, FlyteUserRuntimeException)
    assert isinstance(error.value, FlyteRecoverableException)


@pytest.mark.parametrize("name", [*FINAL, *PASSING])
def test_text_of_an_error_is_its_sentence(name):
    """Nothing is put before or after it."""
    assert str(getattr(exceptions, name)("One sentence.")) == "One sentence."


def test_error_knows_what_openai_answered():
    """Retries and the metric's label depend on it."""
    error = exceptions.UnavailableError("Later.", answer=exceptions.Answer(429, "rate_limit_exceeded", 30.0))
    assert (error.answer.status, error.answer.retry_after, error.reason) == (429, 30.0, "429")


def test_code_of_an_error_is_its_own():
    """Flyte shows the code as the kind of the error."""
    assert exceptions.RefusedError("No.").error_code == "OpenAI:Refused"
