import pytest

from flytekitplugins.openai.batch.report.advice import AGAIN, BY_CODE, OTHERWISE, REQUEST, TROUBLE, advice_for
from flytekitplugins.openai.batch.results.failures import Failure, is_worth_running_again


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("context_length_exceeded", 400, BY_CODE["context_length_exceeded"]),
        ("new_code", 400, REQUEST),
        ("new_code", 503, f"{TROUBLE} {AGAIN}"),
        ("new_code", 418, OTHERWISE),
        # Without money, another run fails as well.
        ("insufficient_quota", 429, BY_CODE["insufficient_quota"]),
        ("new_code", None, OTHERWISE),
        ("batch_expired", None, f"{BY_CODE['batch_expired']} {AGAIN}"),
    ],
)
def test_advice_goes_by_the_code_and_else_by_the_status(code, status, advice):
    """OpenAI has more codes than anybody knows."""
    assert advice_for(code, status) == advice


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((code, status) for code in BY_CODE for status in (None, 400, 401, 403, 408, 429, 500)),
        *(("unheard_of", status) for status in range(400, 600)),
    ],
)
def test_advice_agrees_with_what_is_run_again(code, status):
    """The page does not tell otherwise than the upload step does."""
    assert advice_for(code, status).endswith(AGAIN) is is_worth_running_again(Failure(code, "", status))


@pytest.mark.parametrize(("run_again", "times"), [(1, "once"), (2, "twice"), (7, "7 times")])
def test_what_was_run_again_already_is_not_advised_to_be(run_again, times):
    """The advice does not recommend max_resubmissions to a user who has set it."""
    advice = advice_for("server_error", 500, run_again=run_again)
    assert advice == f"{TROUBLE} It was run again {times} and failed each time: try later."
    assert advice_for("invalid_value", 400, run_again=run_again) == BY_CODE["invalid_value"]
