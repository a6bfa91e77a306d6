"""A line that comes back says whose it is, how it went, and what it took."""

import json

import pytest

from flytekitplugins.openai.batch.results.failures import (
    Failure,
    failure_in,
    is_worth_running_again,
    line_in_place_of,
    missing_line,
)
from flytekitplugins.openai.batch.results.lines import count_tokens, read_answers, read_line
from flytekitplugins.openai.batch.results.usage import Consumption, Usage
from tests.builders import encode_line, make_answer, make_lost, make_refusal

CHAT_USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
RESPONSES_USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 2},
}


def fate_of(line):
    return None if (found := read_line(line)) is None else found.succeeded


@pytest.mark.parametrize(
    ("line", "succeeded"),
    [
        (make_answer(), True),
        (make_answer(status=201), True),
        (make_refusal(), False),
        (make_refusal(status=500), False),
        (make_lost(), False),
        (make_answer(error={}), True),
        (make_answer(error={"code": "x", "message": "y"}), False),
        (make_answer(error="a text"), False),
        (make_answer(status="200"), True),
        (make_answer(status=200.0), True),
        (b"\xef\xbb\xbf" + make_answer(), True),
        (make_answer(body='{"usage": {"prompt_tokens": 1}}'), True),
        (make_answer(body=[1, 2]), True),
        (make_answer(usage={"prompt_tokens": "ten"}), True),
        (make_answer(status=None), False),
        (encode_line({"custom_id": "r-0"}), False),
        (encode_line({"custom_id": "\ud800", "response": {"status_code": 200, "body": {"id": "x"}}}), True),
    ],
)
def test_line_succeeded_when_it_has_an_answer_and_no_error(line, succeeded):
    """The error of a request that the model's endpoint refused is null; servers differ in all the rest."""
    assert fate_of(line) is succeeded


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"{", b"[]", b"null", encode_line({"id": 1}), encode_line({"custom_id": 5}), b"\xff", b"[" * 9_999],
)
def test_line_of_nobody_is_none(line):
    """No content of a file can make reading fail."""
    assert read_line(line) is None


@pytest.mark.parametrize("usage", [CHAT_USAGE, RESPONSES_USAGE])
@pytest.mark.parametrize("as_text", [False, True])
def test_usage_is_counted_for_every_endpoint(usage, as_text):
    """Each has names of its own, and some servers write the body as text."""
    body = {"usage": usage}
    line = read_line(make_answer(body=json.dumps(body) if as_text else body))
    assert line.usage == Usage(input_tokens=10, cached_tokens=4, output_tokens=5, reasoning_tokens=2)


def test_tokens_of_answers_are_counted_by_model():
    """However they are mixed. One that tells of no tokens is not counted, as no answer takes none."""
    bodies = [
        {"model": "a", "usage": CHAT_USAGE},
        {"model": "b", "usage": RESPONSES_USAGE},
        {"model": "a", "usage": {"total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}}},
        {"model": "a", "usage": {"prompt_tokens": 7}},
        {"model": "c", "usage": {"completion_tokens": 0}},
    ]
    consumption = Consumption()
    count_tokens(read_answers([make_answer(body=body) for body in bodies]), consumption)
    assert consumption.by_model == {"a": Usage(17, 4, 5, 2), "b": Usage(10, 4, 5, 2)}
    assert consumption.spread.counts == {5: 2, 0: 1}


@pytest.mark.parametrize(
    ("body", "cut_off"),
    [
        ({"choices": [{"finish_reason": "length"}]}, True),
        ({"choices": [{"finish_reason": "content_filter"}, {"finish_reason": "stop"}]}, True),
        ({"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]}, False),
        ({"choices": [{"finish_reason": "tool_calls"}]}, False),
        ({"choices": [{}], "usage": {"prompt_tokens": 1}}, False),
        ({"choices": []}, False),
        ({"choices": [{"finish_reason": 5}, 7]}, False),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, True),
        ({"incomplete_details": None}, False),
        ({"incomplete_details": "length"}, False),
        ({"data": []}, False),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_answer_that_was_cut_off_is_counted(body, cut_off, as_text):
    """It counts as an answer, and as cut off."""
    consumption = Consumption()
    count_tokens([read_line(make_answer(body=json.dumps(body) if as_text else body))], consumption)
    assert consumption.cut_off == cut_off


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        (make_refusal(), Failure("invalid_value", "no", 400)),
        (make_lost(), Failure("batch_expired", "too late")),
        (make_answer(status=429, body={}), Failure("429", "no reason given", 429)),
        (
            make_answer(status=500, body='{"error": {"type": "server_error"}}'),
            Failure("server_error", "no reason given", 500),
        ),
        (missing_line("r-1", "missing", "nothing"), Failure("missing", "nothing")),
        (b"junk", Failure("unknown", "no reason given")),
        (make_answer(error="overloaded"), Failure("200", "overloaded", 200)),
        (make_answer(status=404, body={"error": "no such model"}), Failure("404", "no such model", 404)),
        (
            make_answer(status=400, body={"object": "error", "message": "too long", "code": 40303}),
            Failure("40303", "too long", 400),
        ),
        (make_answer(status=502, body="Bad Gateway"), Failure("502", "Bad Gateway", 502)),
        (make_refusal(code="bad\ud800"), Failure("bad?", "no", 400)),
    ],
)
def test_failure_is_what_the_line_says(line, failure):
    """OpenAI's word for it, or the endpoint's, or at least the status."""
    assert failure_in(line) == failure


REQUEST = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (make_answer(status=0, body={}), "no_answer"),
        (make_answer(status=0, body=""), "no_answer"),
        (make_answer(body={}), "empty_answer"),
        (make_answer(body=""), "empty_answer"),
        (encode_line({"custom_id": "r-0", "response": {"status_code": 200}}), "empty_answer"),
        (make_answer(body=REQUEST), "empty_answer"),
        (make_answer(body={"model": "m", "input": "Hi"}), "empty_answer"),
    ],
)
def test_line_without_an_answer_did_not_succeed(line, code):
    """Half of a batch has been seen so; none of it may be counted as answered, and all of it is worth another run."""
    assert fate_of(line) is False
    assert failure_in(line).code == code
    assert is_worth_running_again(failure_in(line))


@pytest.mark.parametrize(
    "body",
    [
        {"object": "list", "data": [{"embedding": [0.1]}], "model": "m"},
        {"id": "modr-1", "results": [{"flagged": False}]},
        {"created": 1, "data": [{"b64_json": "eA=="}]},
        {"id": "resp_1", "object": "response", "output": [], "instructions": None},
        {"choices": [{"text": "x"}], "prompt": "the prompt"},
    ],
)
def test_answer_without_usage_is_an_answer(body):
    """Some endpoints have none, and some servers tell none."""
    assert fate_of(make_answer(body=body)) is True


@pytest.mark.parametrize(("words", "worth"), [("Error code: 503 - busy", True), ("Error code: 400 - no", False)])
def test_status_may_be_told_in_words(words, worth):
    """A compatible server writes only the SDK's message."""
    line = encode_line({"custom_id": "r-0", "response": None, "error": {"message": words}})
    assert is_worth_running_again(failure_in(line)) is worth


def test_line_that_is_not_json_is_known_by_its_custom_id():
    """What it says may be worth something, and it has been paid for."""
    custom_id, line = line_in_place_of(
        b'{"id": "x", "custom_id": "r\\u00e9-7", "response": {"body": {"choices": [oops\n'
    )
    assert custom_id == "r\u00e9-7"
    assert failure_in(line).code == "unreadable_line"
    assert "[oops" in failure_in(line).message
    assert line_in_place_of(b"no line at all") is None


@pytest.mark.parametrize(
    ("line", "worth"),
    [
        *((make_lost(code=code), True) for code in ("batch_expired", "batch_cancelled", "request_timeout")),
        (missing_line("a", "missing", ""), True),
        (missing_line("a", "internal_error", ""), True),
        (missing_line("a", "duplicate_custom_id", ""), False),
        *((make_refusal(status=status), True) for status in (408, 409, 429, 500, 503)),
        *((make_refusal(status=status), False) for status in (400, 401, 403, 404, 422)),
        # Without credit, another run fails as well.
        (make_refusal(status=429, code="insufficient_quota"), False),
        (make_refusal(status=400, code="server_error"), True),
    ],
)
def test_request_is_worth_running_again_when_it_may_go_well(line, worth):
    """What is wrong with the request itself stays wrong."""
    assert is_worth_running_again(failure_in(line)) is worth
