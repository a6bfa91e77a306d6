"""The values of a row for a table are those of the row itself, however they were read."""

import json

import pytest
from hypothesis import given

from flytekitplugins.openai.batch.results import row_values
from flytekitplugins.openai.batch.results.quick_lines import quick_line
from flytekitplugins.openai.batch.results.row_values import COLUMNS, blocks_of_columns, values_in, values_of
from flytekitplugins.openai.batch.results.rows import row_of
from tests.batch.results.test_rows import JSON, make_chat, make_line, take_numbers
from tests.batch.results.test_rows import lines as result_lines

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


@pytest.mark.parametrize("validate", [None, take_numbers])
@given(result_lines())
def test_values_of_a_line_are_those_of_its_row(validate, line):
    """The row is not made where the line has the form of OpenAI's answers."""
    assert values_of(line, validate) == values_in(row_of(line, validate))


@given(JSON, JSON)
def test_values_of_any_line_are_those_of_its_row(body, usage):
    """Compatible servers write what they like."""
    line = make_line({**body, "usage": usage} if isinstance(body, dict) else body)
    # As texts, because NaN is not equal to itself.
    assert repr(values_of(line, json.loads)) == repr(values_in(row_of(line, json.loads)))


def test_values_are_in_the_order_of_the_columns():
    """The tokens by their common names."""
    line = make_line({"id": "chatcmpl-1", **make_chat("5"), "usage": USAGE})
    assert quick_line(line) is not None
    assert dict(zip(COLUMNS, values_of(line, int), strict=True)) == {
        "custom_id": "r-1",
        "ok": True,
        "status_code": 200,
        "text": "5",
        "finish_reason": "stop",
        "error_code": None,
        "error_message": None,
        "input_tokens": 7,
        "cached_tokens": 3,
        "output_tokens": 5,
        "reasoning_tokens": 2,
        "output": 5,
    }


def test_tokens_that_are_not_counted_are_no_zeros():
    """Every answer takes some."""
    line = make_line({"id": "chatcmpl-1", **make_chat("5"), "usage": {"prompt_tokens": 0, "completion_tokens": 0}})
    assert quick_line(line) is not None
    assert values_of(line)[7:11] == (None,) * 4


@pytest.mark.parametrize("body", [{"id": "chatcmpl-1", **make_chat("5")}, make_chat("```\n5\n```")])
def test_something_is_taken_of_each_output(body):
    """Whichever way the line is read; of a row without an output, nothing."""
    assert values_of(make_line(body), int, lambda number: number + 1)[-1] == 6
    assert values_of(make_line(error={"code": "missing"}), int, lambda number: number + 1)[-1] is None


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_blocks_have_all_rows_in_order(monkeypatch, count, sizes):
    """The last one has what is left."""
    monkeypatch.setattr(row_values, "ROWS_KEPT", 2)
    blocks = list(blocks_of_columns(((number, -number) for number in range(count)), 4))
    assert [len(numbers) for numbers, _ in blocks] == sizes
    assert [number for numbers, _ in blocks for number in numbers] == list(range(count))
    assert all(negatives == [-number for number in numbers] for numbers, negatives in blocks)
