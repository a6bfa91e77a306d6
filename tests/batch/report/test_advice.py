import pytest

from flytekitplugins.openai.batch.report.advice import BY_CODE, LATER, OTHERWISE, REQUEST, advice_for
from flytekitplugins.openai.batch.result_lines import Failure, is_worth_running_again


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("context_length_exceeded", 400, BY_CODE["context_length_exceeded"]),
        ("new_code", 400, REQUEST),
        ("new_code", 503, LATER),
        ("new_code", 418, OTHERWISE),
        ("new_code", None, OTHERWISE),
        ("batch_expired", None, BY_CODE["batch_expired"]),
    ],
)
def test_advice_goes_by_the_code_and_else_by_the_status(code, status, advice):
    """OpenAI has more codes than anybody knows."""
    assert advice_for(code, status) == advice


@pytest.mark.parametrize("code", BY_CODE)
def test_advice_by_code_agrees_with_what_is_run_again(code):
    """The page does not tell otherwise than the upload step does."""
    assert ("max_resubmissions" in advice_for(code)) is is_worth_running_again(Failure(code, ""))


@pytest.mark.parametrize("status", range(400, 600))
def test_advice_by_status_agrees_with_what_is_run_again(status):
    """The page does not tell otherwise than the upload step does."""
    again = "max_resubmissions" in advice_for("unheard_of", status)
    assert again is is_worth_running_again(Failure("unheard_of", "", status))
