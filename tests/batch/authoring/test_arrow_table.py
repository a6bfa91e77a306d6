import datetime as dt
import enum
import json
import struct
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from pydantic import AwareDatetime, BaseModel, RootModel, create_model

from flytekitplugins.openai.batch.authoring.arrow_columns import columns_of_model, columns_of_output, vectors
from flytekitplugins.openai.batch.authoring.arrow_table import arrow_table_of, matrix_of, part_reader
from flytekitplugins.openai.batch.results.row_values import values_in
from flytekitplugins.openai.batch.results.rows import ResultRow
from flytekitplugins.openai.batch.results.usage import Usage


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Part(BaseModel):
    name: str
    mood: Mood
    parts: "list[Part]" = []


class Answer(BaseModel):
    team: Literal["a", "b"]
    level: Literal[1, 2]
    urgent: bool
    count: int | None
    ratio: int | float
    day: dt.date
    moment: dt.datetime
    aware: AwareDatetime
    tags: set[str]
    mood: Mood | None
    part: Part
    either: Part | str
    whole: RootModel[list[int]]


ANSWER = Answer(
    team="b",
    level=2,
    urgent=True,
    count=None,
    ratio=1,
    day="2026-01-02",
    moment="2026-01-02T03:04:05",
    aware="2026-01-02T03:04:05+01:00",
    tags={"x"},
    mood="bad",
    part={"name": "p", "mood": "good", "parts": [{"name": "q", "mood": "bad"}]},
    either={"name": "p", "mood": "good"},
    whole=[1, 2],
)


def column(name):
    return columns_of_model(Answer)[name]


@pytest.mark.parametrize(
    ("name", "type_", "value"),
    [
        ("team", pa.dictionary(pa.int32(), pa.string()), "b"),
        ("level", pa.dictionary(pa.int32(), pa.int64()), 2),
        ("urgent", pa.bool_(), True),
        ("count", pa.int64(), None),
        ("ratio", pa.float64(), 1.0),
        ("day", pa.date32(), dt.date(2026, 1, 2)),
        ("moment", pa.timestamp("us", tz="UTC"), dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)),
        ("aware", pa.timestamp("us", tz="UTC"), dt.datetime(2026, 1, 2, 2, 4, 5, tzinfo=dt.timezone.utc)),
        ("tags", pa.list_(pa.string()), ["x"]),
        ("mood", pa.dictionary(pa.int32(), pa.string()), "bad"),
        ("whole", pa.string(), "[1, 2]"),
        ("either", pa.string(), json.dumps({"name": "p", "mood": "good", "parts": []})),
    ],
)
def test_column_has_the_type_of_its_field(name, type_, value):
    """Whatever the answers are, and if there is none."""
    assert column(name).array([]).type == type_
    assert column(name).array([getattr(ANSWER, name), None]).to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("annotation", "given", "kept"),
    [
        (str, ["a", None, "b\ud800", "\u00e9"], ["a", None, "b?", "\u00e9"]),
        (Mood, [Mood.BAD, None, "good"], ["bad", None, "good"]),
    ],
)
def test_value_that_arrow_does_not_take_is_converted(annotation, given, kept):
    """The others of its column, which are as they should be, stay so."""
    assert columns_of_output(annotation)["output"].array(given).to_pylist() == kept


def test_nested_model_is_a_struct():
    """One that refers to itself is cut off at a depth, and kept as JSON there."""
    [part] = column("part").array([ANSWER.part]).to_pylist()
    assert (part["name"], part["mood"], part["parts"][0]["name"]) == ("p", "good", "q")


def test_category_has_all_its_members():
    """Also those that no answer has."""
    assert column("team").array(["b"]).dictionary.to_pylist() == ["a", "b"]


def test_table_has_the_columns_of_pandas():
    """Typed, with nulls where there is nothing."""
    rows = [
        ResultRow("1", ok=True, status_code=200, usage=Usage(3, 0, 2, 0), output=ANSWER),
        ResultRow("2", ok=False, error_code="missing", error_message="lone \ud800"),
    ]
    columns = columns_of_output(Answer)
    table = arrow_table_of([values_in(row, part_reader(columns)) for row in rows], columns)
    assert table.column("custom_id").to_pylist() == ["1", "2"]
    assert table.column("output.team").to_pylist() == ["b", None]
    assert table.column("output_tokens").to_pylist() == [2, None]
    assert table.column("error_message").to_pylist() == [None, "lone ?"]


def test_table_needs_nothing_of_arrows_own_allocator():
    """It takes some 15 MB for itself when it is first used."""
    before = pa.default_memory_pool().bytes_allocated(), pa.system_memory_pool().bytes_allocated()
    columns = columns_of_output(Answer)
    rows = [values_in(ResultRow("x" * 1_000, ok=True, output=ANSWER), part_reader(columns)) for _ in range(1_000)]
    table = arrow_table_of(rows, columns)
    assert pa.default_memory_pool().bytes_allocated() <= before[0]
    assert pa.system_memory_pool().bytes_allocated() > before[1] + 1_000_000
    assert len(table) == 1_000


def test_dot_in_the_name_of_a_field_is_no_path():
    """JSON allows it."""
    model = create_model("Dotted", **{"a.b": (int, 1), "c": (str, "x")})
    columns = columns_of_output(model)
    rows = [values_in(ResultRow("1", ok=True, output=model()), part_reader(columns))]
    assert arrow_table_of(rows, columns).column("output.a.b").to_pylist() == [1]


def test_table_without_rows_has_its_columns():
    """And their types."""
    table = arrow_table_of([], columns_of_output(list[int]))
    assert table.schema.field("output").type == pa.list_(pa.int64())


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        (int, 2**64, r"'output', which is of type int64: .*too large.*"),
        (list[int], [1, -(2**63) - 1], r"'output', which is of type list<item: int64>: .*too large.*"),
        (dt.timedelta, dt.timedelta.max, r"'output', which is of type duration\[us\]: .*"),
        (int, "a text", r"'output', which is of type int64: .*"),
        (Literal["a", "b"], "c", r"'output', which is of type dictionary<values=string, .*>: 'c'"),
        (Part, 5, r"'output', which is of type struct<.*>: 'int' object has no attribute 'name'"),
    ],
)
def test_value_that_does_not_fit_is_told_with_its_column(annotation, value, said):
    """What Python and Arrow raise is of five kinds, and none names the column."""
    columns = columns_of_output(annotation) if annotation is not Part else {"output": column("part")}
    rows = [values_in(ResultRow("1", ok=True, output=value), lambda output: (output,))]
    with pytest.raises(ValueError, match=f"^An answer does not fit into the column {said}; give the field another "):
        arrow_table_of(rows, columns)


def vector(*numbers, custom_id="1"):
    body = {"data": [{"embedding": list(numbers)}]} if numbers else {}
    return ResultRow(custom_id, ok=bool(numbers), body=body)


def test_vectors_are_a_matrix():
    """A row without one is not-a-number."""
    matrix = matrix_of([vector(1, 2), vector(), vector(3, 4)])
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[1, 2], [np.nan, np.nan], [3, 4]])
    assert matrix_of([]).shape == (0, 0)


def test_vectors_of_several_lengths_are_no_matrix():
    """With the lengths."""
    with pytest.raises(ValueError, match=r"of different lengths \(1, 2\), and cannot be one matrix"):
        matrix_of([vector(1), vector(1, 2)])


def test_vectors_are_a_column_of_one_buffer():
    """With nulls between them."""
    packed = [struct.pack("<2f", 1, 2), None, struct.pack("<2f", 3, 4)]
    made = vectors(packed)
    assert made.to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]]
    assert vectors([]).type == pa.list_(pa.float32())
