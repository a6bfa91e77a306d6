import base64
import copy
import dataclasses
import json
import math
import pickle
import struct
import time

import msgspec
import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.authoring.table import table_of
from flytekitplugins.openai.batch.results.bodies import ToolCall
from flytekitplugins.openai.batch.results.row_values import values_in
from flytekitplugins.openai.batch.results.rows import INVALID_OUTPUT, LONGEST_MESSAGE, ResultRow, row_of, sample_of
from flytekitplugins.openai.batch.results.usage import Usage


def make_line(body=None, *, status=200, error=None, custom_id="r-1"):
    response = None if body is None else {"status_code": status, "request_id": "req", "body": body}
    return json.dumps({"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": error}).encode()


def make_chat(content="hi", *, finish_reason="stop", **message):
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish_reason}]}


def make_response(*parts, **fields):
    return {"output": [{"type": "reasoning"}, {"type": "message", "content": list(parts)}], **fields}


TEXT = {"type": "output_text", "text": "hi"}


def take_numbers(text):
    if not text.isdigit():
        raise ValueError("the answer does not match the model: team: Field required")
    return int(text)


def test_answer_is_ok():
    """With all that the endpoint wrote, and its tokens."""
    body = {**make_chat(), "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    row = row_of(make_line(body))
    assert row == ResultRow("r-1", ok=True, status_code=200, body=body, usage=Usage(3, 0, 2))


@st.composite
def lines(draw):
    """A line as OpenAI writes it, or nearly so."""
    content = draw(
        st.sampled_from(["hi", "", "5", "```\n5\n```", None, [{"type": "text", "text": "5"}], "x\ud800", "ü"])
    )
    refusal = draw(st.sampled_from([None, "", "no"]))
    reason = draw(st.sampled_from(["stop", "length", "content_filter", None]))
    part = {"type": "output_text", "text": content, "refusal": refusal}
    answers = {
        "chat": make_chat(content, finish_reason=reason, refusal=refusal),
        "completion": {"choices": [{"text": content, "finish_reason": reason}]},
        "response": make_response(part, incomplete_details={"reason": reason}),
        "vector": {"data": [{"embedding": [0.5]}]},
        "tool": make_chat(None, tool_calls=[{"function": {"name": "f", "arguments": "5"}}]),
        "nothing": {},
    }
    answer = answers[draw(st.sampled_from(sorted(answers)))]
    if draw(st.booleans()):
        answer.get("choices", []).append({"message": {"content": "other"}})
        answer.get("output", []).append({"type": "message", "content": [{**part, "text": "7"}]})
    more = [{}, {"error": None}, {"error": {"message": "bad"}}, {"id": ""}, {"usage": None}, {"id": 5}]
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    body = {"id": "chatcmpl-1", "usage": usage, **answer, **draw(st.sampled_from(more))}
    line = make_line(body, status=draw(st.sampled_from([200, 400, "200"])))
    return line.replace(b'"chatcmpl-1"', draw(st.sampled_from([b'"chatcmpl-1"', b'"chat\xff"'])))


@pytest.mark.parametrize("validate", [None, take_numbers])
@given(lines())
def test_quick_row_is_the_careful_one(validate, line):
    """Whatever a line has, it is read as if it had been looked at closely."""
    quick = row_of(line, validate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flytekitplugins.openai.batch.results.rows.quick_line", lambda _: None)
        careful = row_of(line, validate)
    assert quick == careful
    assert (quick.text, quick.texts, quick.finish_reason) == (careful.text, careful.texts, careful.finish_reason)


@pytest.mark.parametrize(
    "answer",
    [
        make_chat("5", refusal="no"),
        make_chat("5", finish_reason="length"),
        {**make_chat("5"), "error": {"message": "bad"}},
        {**make_chat("5"), **make_response({**TEXT, "refusal": "no"})},
        make_response({"type": "output_text", "text": "5", "refusal": "no"}),
        make_response({"type": "output_text", "text": "5"}, incomplete_details={"reason": "max_output_tokens"}),
    ],
)
def test_answer_that_is_not_what_was_asked_for_is_no_quick_row(answer):
    """Though its text would fit the model."""
    row = row_of(make_line({"id": "c", **answer}), take_numbers)
    assert (row.ok, row.error_code, row.output) == (False, INVALID_OUTPUT, None)


def test_quick_row_can_be_copied_and_shown():
    """As any dataclass."""
    row = row_of(make_line({"id": "c", **make_chat("5")}), int)
    assert pickle.loads(pickle.dumps(row)) == copy.deepcopy(row) == row
    assert dataclasses.replace(row, output=6).output == 6
    assert "body={'id': 'c'" in repr(row)
    assert dataclasses.asdict(row)["body"]["id"] == "c"
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.ok = False
    with pytest.raises(AttributeError, match="'ResultRow' object has no attribute 'answer'"):
        row.answer  # noqa: B018 (it is asked for)


@pytest.mark.parametrize(
    "encode",
    [
        lambda row: json.dumps(dataclasses.asdict(row)),
        msgspec.json.encode,
        orjson.dumps,
        pydantic.TypeAdapter(ResultRow).dump_json,
    ],
    ids=["json", "msgspec", "orjson", "pydantic"],
)
def test_quick_row_is_serialized_whole(encode):
    """Also with what nobody has asked for yet."""
    line = make_line({"id": "c", **make_chat("5"), "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    read = row_of(line)
    whole = ResultRow("r-1", ok=True, status_code=200, body=read.body, usage=read.usage)
    assert json.loads(encode(row_of(line))) == json.loads(encode(whole)) == json.loads(encode(read))


def test_refused_request_has_its_code_and_status():
    """The refusal is the body."""
    body = {"error": {"code": "context_length_exceeded", "message": "too long"}}
    row = row_of(make_line(body, status=400))
    assert (row.ok, row.status_code, row.error_code, row.error_message) == (
        False,
        400,
        "context_length_exceeded",
        "too long",
    )
    assert row.body == body


def test_request_that_was_not_run_has_a_code_alone():
    """There is no answer, so no status, and nothing in the body."""
    row = row_of(make_line(error={"code": "batch_expired", "message": "too late"}))
    assert row == ResultRow("r-1", ok=False, error_code="batch_expired", error_message="too late")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (make_chat(), "hi"),
        ({"choices": [{"text": "hi"}]}, "hi"),
        (make_response(TEXT), "hi"),
        (make_response(TEXT, TEXT), "hihi"),
        (make_chat(None), None),
        (
            make_chat(
                [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}, {"type": "thinking", "text": "hm"}]
            ),
            "hi",
        ),
        (make_chat("x\ud800"), "x?"),
        (make_response({"type": "reasoning_text", "text": "hm"}, TEXT), "hi"),
        ({"data": [{"embedding": [0.5]}]}, None),
        ({"choices": []}, None),
        ({"choices": [{"text": "hi"}, {"text": "ho"}]}, "hi"),
        ({"choices": "text", "output": [1, {"content": 5}]}, None),
        (json.dumps(make_chat()), "hi"),
    ],
)
def test_text_is_what_the_model_wrote(body, text):
    """Each endpoint has its own form, and some servers write the body as text."""
    assert row_of(make_line(body)).text == text


def test_output_is_what_the_text_was_understood_as():
    """The validation is the caller's."""
    row = row_of(make_line(make_chat("[1, 2]")), json.loads)
    assert (row.ok, row.output) == (True, [1, 2])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (make_chat("{}"), "the answer does not match the model: team: Field required"),
        (
            make_chat("{", finish_reason="length"),
            "the answer was cut off (length); the answer does not match the model: team: Field required",
        ),
        (make_chat(None, refusal="I can't."), "the model refused (I can't.); the answer has no text"),
        (
            make_response({"type": "refusal", "refusal": "no"}, status="completed"),
            "the model refused (no); the answer has no text",
        ),
        (
            make_response(TEXT, incomplete_details={"reason": "max_output_tokens"}),
            "the answer was cut off (max_output_tokens); the answer does not match the model: team: Field required",
        ),
        (make_chat("7", finish_reason="length"), "the answer was cut off (length)"),
        (make_chat("x", finish_reason="eos"), "the answer does not match the model: team: Field required"),
        (make_chat(None, finish_reason="tool_calls"), "the answer has no text"),
        (
            make_response(status="failed", error={"code": "server_error", "message": "oops"}),
            "the model failed (oops); the answer has no text",
        ),
        ({"data": []}, "the answer has no text"),
    ],
)
def test_answer_that_does_not_fit_is_not_ok(body, message):
    """The message says what is wrong and why; the text is still there."""
    row = row_of(make_line(body), take_numbers)
    assert (row.ok, row.error_code, row.error_message) == (False, INVALID_OUTPUT, message)
    assert (row.status_code, row.body, row.output) == (200, body, None)


def test_message_about_an_answer_is_short():
    """A model may refuse at length."""
    row = row_of(make_line(make_chat(None, refusal="no" * 9_999)), take_numbers)
    assert len(row.error_message) == LONGEST_MESSAGE


def test_failed_request_is_not_validated():
    """Its error is its own."""
    assert row_of(make_line(error={"code": "missing"}), take_numbers).error_code == "missing"


def test_byte_that_is_no_utf_8_does_not_cost_the_answer():
    """The collect step, which does not look at texts, has counted it as one that succeeded."""
    row = row_of(make_line(make_chat("h!")).replace(b"!", b"\xff"))
    assert (row.custom_id, row.ok, row.text) == ("r-1", True, "h\ufffd")


def test_mark_at_the_beginning_of_a_file_is_not_part_of_its_first_line():
    """Some programs write one."""
    assert row_of(b"\xef\xbb\xbf" + make_line(make_chat())).text == "hi"


@pytest.mark.parametrize(
    ("usage", "known"),
    [
        ({"prompt_tokens": 3.0, "completion_tokens": "2"}, Usage(3, 0, 2)),
        ({"input_tokens": 5, "prompt_tokens": 3, "output_tokens": 2, "completion_tokens": 1}, Usage(5, 0, 2)),
        ({"total_tokens": 9}, None),
        ({"prompt_tokens": math.pi}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_that_is_not_reported_is_not_zero(usage, known):
    """Nor is it in a table."""
    row = row_of(make_line({**make_chat(), "usage": usage}))
    assert row.usage == known
    assert table_of([values_in(row)], {}).output_tokens.isna().all() == (known is None)


@pytest.mark.parametrize("line", [b"junk", b"{}", b"[]", b'{"custom_id": 5}', b"\xff"])
def test_line_of_nobody_is_a_row_that_is_not_ok(line):
    """One unreadable line does not affect the others."""
    row = row_of(line)
    assert (row.custom_id, row.ok, row.error_code) == ("", False, "unreadable_line")


KEYS = ["choices", "message", "content", "output", "type", "text", "refusal", "error", "code", "model", "finish_reason"]
COUNTS = ["input_tokens", "output_tokens", "prompt_tokens", "completion_tokens"]
DETAILS = ["input_tokens_details", "completion_tokens_details", "cached_tokens", "reasoning_tokens"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**18, 10**30) | st.floats() | st.text(),
    lambda more: st.lists(more) | st.dictionaries(st.sampled_from([*KEYS, "usage", *COUNTS, *DETAILS]), more),
)


@given(JSON, JSON, st.sampled_from([200, 400, "200", None, 10**30]))
def test_no_line_can_make_the_reading_fail(body, usage, status):
    """Compatible servers write what they like."""
    body = {**body, "usage": usage} if isinstance(body, dict) else body
    row = row_of(make_line(body if body is not None else {}, status=status), json.loads)
    assert row.custom_id == "r-1"
    assert len(table_of([values_in(row)], {})) == 1
    assert all(0 <= count <= 10**9 for count in vars(row.usage or Usage()).values())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (make_chat(), "stop"),
        (make_chat("half a te", finish_reason="length"), "length"),
        (make_chat(None, finish_reason="content_filter"), "content_filter"),
        (
            make_response(TEXT, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "max_output_tokens",
        ),
        (make_response(TEXT, status="completed", incomplete_details=None), None),
        ({"data": [{"embedding": [0.1]}]}, None),
    ],
    ids=str,
)
def test_row_says_why_the_model_stopped(body, reason):
    """An answer that was cut off is half a text, and looks like a whole one."""
    row = row_of(make_line(body))
    assert (row.ok, row.finish_reason) == (True, reason)


# Answers of several parts


def take_json(text):
    """As a Pydantic model does."""
    return json.loads(text)


def text_part(text):
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ({"output": [text_part('{"a"'), text_part(": 1}")]}, {"a": 1}),
        ({"output": [text_part('{"a": '), text_part('{"a": 1}')]}, {"a": 1}),
        (make_chat('```json\n{"a": 1}\n```'), {"a": 1}),
        (make_chat('\n```\n{"a": 1}\n```\n'), {"a": 1}),
        (make_chat(None, tool_calls=[{"function": {"name": "f", "arguments": '{"a": 1}'}}]), {"a": 1}),
        ({"output": [{"type": "function_call", "name": "f", "arguments": '{"a": 1}'}]}, {"a": 1}),
    ],
    ids=str,
)
def test_answer_is_found_in_its_parts(body, output):
    """A fragment and then the whole, a code fence, or the arguments of the only tool that is called."""
    assert row_of(make_line(body), take_json).output == output


@pytest.mark.parametrize(
    "body",
    [
        make_chat('Here it is: {"a": 1}'),
        make_chat("```\n1\n```\n```\n2\n```"),
        {"output": [text_part("1"), text_part("x"), text_part("2")]},
        make_chat(None, tool_calls=[{"function": {"name": "f", "arguments": "1"}}] * 2),
    ],
    ids=str,
)
def test_answer_that_is_not_one_is_invalid(body):
    """Two candidates are ambiguous, and prose does not match the model."""
    assert row_of(make_line(body), take_json).error_code == "invalid_output"


def test_row_has_the_tools_that_are_called():
    """Of a chat completion and of a response."""
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "g", "arguments": {"a": 1}}}]
    chat = row_of(make_line(make_chat(None, tool_calls=calls)))
    assert chat.tool_calls == [ToolCall("f", "{}"), ToolCall("g", '{"a": 1}')]
    response = row_of(make_line({"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}))
    assert response.tool_calls == [ToolCall("f", "{}")]


def test_row_has_all_answers_of_a_request():
    """Of which there are `n`."""
    choices = [make_chat(text)["choices"][0] for text in ("a", "b")]
    row = row_of(make_line({"choices": choices}))
    assert (row.text, row.texts) == ("a", ["a", "b"])


@pytest.mark.parametrize("vector", [[0.5, -2.0], base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()])
def test_row_has_its_vector(vector):
    """However it was asked for."""
    assert row_of(make_line({"data": [{"embedding": vector}]})).embedding == [0.5, -2.0]


# Found by the fuzzer: the report of a table fails with the first, and `read_results` with the second.
NO_VECTORS = [{"data": [{"embedding": vector}]} for vector in ([None], "\u00e9", ["1"], [[1.0]], [])]


@pytest.mark.parametrize("body", [make_chat(), {"data": []}, {"data": [{"embedding": "no base64!"}]}, *NO_VECTORS])
def test_row_without_a_vector_has_none(body):
    """As those of any other endpoint."""
    assert row_of(make_line(body)).embedding is None


@pytest.mark.parametrize("body", NO_VECTORS)
def test_vector_that_is_none_does_not_cost_the_report(body):
    """It is shown as an answer without a text."""
    assert sample_of([{}], [make_line(body)])[0].answer == ""


@pytest.mark.parametrize(
    "text", ["```json\n{}" + " \t" * 200_000 + "x```", "```\n" + "\n" * 400_000 + "x", " " * 400_000]
)
def test_run_of_white_space_is_read_at_once(text):
    """Models write them until they are cut off; the time must not be that of its length squared."""
    started_at = time.process_time()
    row_of(make_line(make_chat(text)), json.loads)
    assert time.process_time() - started_at < 2


NESTED = "[" * 120 + "]" * 120


@pytest.mark.parametrize(
    "line",
    [
        '{"custom_id": "a", "error": {"message": %s}}',
        '{"custom_id": "a", "response": {"status_code": 200, "body": {"id": "c", "choices": [{"finish_reason": %s}]}}}',
        '{"custom_id": "a", "response": {"status_code": 200, "body": {"output": %s}}}',
    ],
)
def test_line_that_is_nested_too_deeply_is_not_ok(line):
    """What writes it again as text is recursive, and would fail for all rows."""
    row = row_of((line % NESTED).encode(), json.loads)
    assert (row.ok, row.body) == (False, {})


def test_sample_shows_text_vector_and_error():
    """For people: shortened, and with the reason of a failure."""
    vector = {"data": [{"embedding": [0.5, 1.25, 3, 4]}]}
    answers = [{"choices": [{"message": {"content": "x" * 500}}]}, vector]
    lines = [
        json.dumps({"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}).encode()
        for body in answers
    ]
    lines.append(b'{"custom_id": "c", "response": null, "error": {"code": "missing", "message": "gone"}}')
    shown = sample_of([{"text": name} for name in "abc"], lines)
    assert [row.answer for row in shown] == ["x" * 399 + "\u2026", "4 numbers: 0.5, 1.25, 3, ...", "missing: gone"]
    assert [row.ok for row in shown] == [True, True, False]
