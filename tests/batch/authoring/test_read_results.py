import enum
import json
import tracemalloc
from typing import Literal

import pytest
from flytekit.types.file import JSONLFile
from pydantic import BaseModel, field_validator

from flytekitplugins.openai import BatchResult, read_results
from flytekitplugins.openai.exceptions import InconsistentError
from tests.batch.results.test_rows import make_chat, make_line


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

    def make(output=(), errors=(), order=()):
        files = []
        for name, lines in (("output", output), ("errors", errors), ("order", order)):
            path = tmp_path / f"{name}.jsonl"
            path.write_bytes(b"".join(line + b"\n" for line in lines))
            files.append(JSONLFile(str(path)) if lines else None)
        return BatchResult(*files[:2], order_file=files[2])

    return make


def test_rows_are_in_the_order_of_the_requests(make_result):
    """Where the result has it."""
    rows = list(read_results(make_result([GOOD, BAD], [LOST], order=[b"[1,1]", b"[1,0]"])))
    assert [row.custom_id for row in rows] == ["good", "lost", "bad"]


def test_order_of_another_result_is_an_error(make_result):
    """One sentence, and not rows that are wrong."""
    with pytest.raises(InconsistentError) as raised:
        list(read_results(make_result([GOOD], [LOST], order=[b"[2,1]"])))
    assert str(raised.value) == (
        "The files of the result do not belong together: there are fewer rows than the order file says."
    )


def test_every_request_is_a_row(make_result):
    """Without an order, first those that succeeded, then the others."""
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
        "the answer does not match the model: team: Input should be 'billing' or 'delivery'; "
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


def test_what_is_wrong_is_reported_in_short(make_result):
    """For an answer with a hundred wrong items, it names the first three."""
    [row] = read_results(make_result([make_line(make_chat('["a", "b", "c", "d", "e"]'))]), list[int])
    assert row.error_message.count("valid integer") == 3
    assert row.error_message.endswith("(and 2 more)")


def test_validator_that_fails_costs_its_answer_alone(make_result):
    """Pydantic does not catch errors other than ValueError, and an exception would end the generator."""

    class Strange(BaseModel):
        team: str

        @field_validator("team")
        @classmethod
        def look_up(cls, team):
            return {"billing": 1}[team]

    good, bad = read_results(make_result([GOOD, BAD]), Strange)
    assert (good.ok, good.output.team) == (True, 1)
    assert (bad.error_code, bad.error_message) == (
        "invalid_output",
        "the answer does not match the model: KeyError: 'sales'",
    )


@pytest.mark.parametrize("wrong", [None, "result.jsonl", {}])
def test_what_is_no_result_is_refused_at_once(wrong):
    """And not with the first row, which may be far away."""
    with pytest.raises(TypeError, match="read_results takes the BatchResult of a batch workflow, not "):
        read_results(wrong)


class Unfinished(BaseModel):
    other: "Nothing"  # noqa: F821 (it is nowhere)


@pytest.mark.parametrize("wrong", ["Triage", Triage(team="billing"), {"type": "object"}, object(), Unfinished])
def test_model_that_is_no_type_is_refused_at_once(wrong):
    """An object of the model is the likeliest slip."""
    with pytest.raises(TypeError, match="model must be a type"):
        read_results(BatchResult(), wrong)


def test_reading_that_is_closed_lets_go_of_its_file(make_result):
    """A reader may stop at any row."""
    rows = iter(read_results(make_result([GOOD, BAD])))
    next(rows)
    rows.close()
    assert list(rows) == []


def test_blank_lines_are_no_rows(make_result):
    """Whatever a line is ended by."""
    assert [row.custom_id for row in read_results(make_result([GOOD + b"\r", b"\r", b"", BAD]))] == ["good", "bad"]


def test_results_can_be_gone_through_again(make_result):
    """Each iteration reads all the rows."""
    results = read_results(make_result([GOOD, BAD]))
    assert sum(row.ok for row in results) == 2
    assert [row.custom_id for row in results] == ["good", "bad"]
    assert len(results.to_pandas()) == 2


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


def test_results_are_an_arrow_table(make_result):
    """The types are those of the model."""
    table = read_results(make_result([GOOD], [LOST]), dict).to_arrow()
    assert table.column("custom_id").to_pylist() == ["good", "lost"]


def test_vectors_are_a_matrix(make_result):
    """One line for each request."""
    body = {"data": [{"embedding": [0.5, 1.0]}]}
    line = {"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}
    assert read_results(make_result([json.dumps(line).encode()])).to_numpy().tolist() == [[0.5, 1.0]]
