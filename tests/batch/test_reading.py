import enum
import json
import sys
import tracemalloc
from typing import Literal

import pytest
from flytekit.types.file import JSONLFile
from pydantic import BaseModel, RootModel

from flytekitplugins.openai import BatchResult, read_results
from tests.batch.test_rows import make_chat, make_line


class Triage(BaseModel):
    team: Literal["billing", "delivery"]
    urgent: bool = False


class Color(enum.Enum):
    RED = "red"


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
GOOD = make_line({**make_chat('{"team": "billing"}'), "usage": USAGE}, custom_id="good")
BAD = make_line(make_chat('{"team": "sales", "urgent": "perhaps"}'), custom_id="bad")
LOST = make_line(error={"code": "batch_expired", "message": "too late"}, custom_id="lost")


@pytest.fixture
def make_result(tmp_path):
    """A function that writes result files."""

    def make(output=(), errors=()):
        files = []
        for name, lines in (("output", output), ("errors", errors)):
            path = tmp_path / f"{name}.jsonl"
            path.write_bytes(b"".join(line + b"\n" for line in lines))
            files.append(JSONLFile(str(path)) if lines else None)
        return BatchResult(*files)

    return make


def test_every_request_is_a_row(make_result):
    """First those that succeeded, then the others."""
    rows = list(read_results(make_result([GOOD, BAD], [LOST])))
    assert [(row.custom_id, row.ok) for row in rows] == [("good", True), ("bad", True), ("lost", False)]


def test_result_of_nothing_has_no_rows():
    """Both files may be absent."""
    assert list(read_results(BatchResult())) == []


def test_answers_become_objects_of_the_model(make_result):
    """And one that does not fit is marked, without failing the rest."""
    good, bad, lost = read_results(make_result([GOOD, BAD], [LOST]), Triage)
    assert good.output == Triage(team="billing")
    assert (bad.ok, bad.output, bad.error_code) == (False, None, "invalid_output")
    assert bad.error_message == (
        "the answer does not fit: team: Input should be 'billing' or 'delivery'; "
        "urgent: Input should be a valid boolean, unable to interpret input"
    )
    assert lost.error_code == "batch_expired"


@pytest.mark.parametrize(
    ("model", "text", "output"), [(list[int], "[1, 2]", [1, 2]), (Color, '"red"', Color.RED), (dict, "{}", {})]
)
def test_model_may_be_any_type_that_pydantic_knows(make_result, model, text, output):
    """A list needs no class."""
    [row] = read_results(make_result([make_line(make_chat(text))]), model)
    assert row.output == output


def test_what_is_wrong_is_told_in_short(make_result):
    """Of an answer with a hundred wrong items, the first three."""
    [row] = read_results(make_result([make_line(make_chat('["a", "b", "c", "d", "e"]'))]), list[int])
    assert row.error_message.count("valid integer") == 3
    assert row.error_message.endswith("(and 2 more)")


def test_results_are_an_iterator(make_result):
    """What has been read is over."""
    results = read_results(make_result([GOOD, BAD]))
    assert next(results).custom_id == "good"
    assert [row.custom_id for row in results] == ["bad"]
    assert list(results) == []


def test_separators_of_unicode_do_not_end_a_line(make_result):
    """They may stand within JSON."""
    line = json.dumps({"custom_id": "a\u2028b", "response": None, "error": None}, ensure_ascii=False).encode()
    [row] = read_results(make_result([line]))
    assert row.custom_id == "a\u2028b"


def test_reading_streams(make_result):
    """A result larger than the memory can be read."""
    result = make_result([make_line(make_chat("x" * 10_000))] * 3_000)
    tracemalloc.start()
    assert sum(len(row.text) for row in read_results(result)) == 30_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_table_has_a_column_for_each_field(make_result):
    """In one line."""
    frame = read_results(make_result([GOOD, BAD], [LOST]), Triage).to_pandas()
    assert list(frame.custom_id) == ["good", "bad", "lost"]
    assert frame["output.team"].dropna().to_list() == ["billing"]
    assert frame.groupby("error_code").size().to_dict() == {"batch_expired": 1, "invalid_output": 1}
    assert frame.output_tokens.sum() == 2
    assert str(frame.status_code.dtype) == "Int64"


def test_table_has_a_column_for_an_output_that_has_no_fields(make_result):
    """A number, for example."""
    frame = read_results(make_result([make_line(make_chat("7"))]), int).to_pandas()
    assert frame.output.to_list() == [7]


def test_table_has_the_columns_of_a_model_that_no_answer_fits(make_result):
    """What reads it need not ask whether any did."""
    frame = read_results(make_result([BAD], [LOST]), Triage).to_pandas()
    assert frame["output.team"].isna().all()


def test_table_of_a_model_without_fields_has_one_column(make_result):
    """A list is a list."""
    frame = read_results(make_result([make_line(make_chat("[1, 2]"))]), RootModel[list[int]]).to_pandas()
    assert frame.output.to_list() == [[1, 2]]


def test_table_of_nothing_has_its_columns():
    """What reads it need not ask."""
    frame = read_results(BatchResult()).to_pandas()
    assert len(frame) == 0
    assert {"custom_id", "ok", "text", "output_tokens", "body"} <= set(frame.columns)


def test_table_needs_pandas(make_result, monkeypatch):
    """It is the user's, and not a dependency."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError):
        read_results(make_result([GOOD])).to_pandas()
