"""A table of results has the same columns, of the same types, whatever came back."""

import sys
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pandas as pd
import pytest
from flytekit.types.file import JSONLFile
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, RootModel, create_model, field_serializer

from flytekitplugins.openai import BatchResult, ResultRow, read_results
from flytekitplugins.openai.batch.authoring import table
from flytekitplugins.openai.batch.authoring.output_fields import field_reader
from flytekitplugins.openai.batch.authoring.table import columns_of
from flytekitplugins.openai.batch.results import row_values
from flytekitplugins.openai.batch.results.row_values import values_in
from flytekitplugins.openai.batch.results.usage import Usage


class Order(BaseModel):
    number: int
    paid: bool
    price: float
    team: str


class Refund(BaseModel):
    reason: str
    # A name that Pydantic has for other models.
    root: int = 0


class Open(BaseModel):
    number: Any


class Loose(BaseModel):
    price: float = 2**60
    paid: bool = 0
    team: str = 7


NAMES = ["custom_id", "ok", "status_code", "text", "finish_reason", "error_code", "error_message"]
TOKENS = ["input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"]
LOST = ResultRow("lost", ok=False, error_code="batch_expired", error_message="too late")


@pytest.fixture(autouse=True, params=[True, False], ids=["with pyarrow", "without"], scope="module")
def has_arrow(request):
    """The table is the same without pyarrow, which pandas does not need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_has_arrow", lambda: request.param)
        yield


def table_of(rows, columns, *, body=False):
    read = field_reader()
    values = [(*values_in(row, read), *([row.body] if body else [])) for row in rows]
    return table.table_of(values, columns, body=body)


def make_row(output=None, **fields):
    return ResultRow("r-1", ok=True, status_code=200, usage=Usage(3, 1, 2, 1), output=output, **fields)


def make_order(**fields):
    return make_row(Order(**{"number": 7, "paid": True, "price": 840.0, "team": "billing", **fields}))


def types_of(frame):
    return {name: str(kind) for name, kind in frame.dtypes.items()}


def test_columns_are_those_of_a_row():
    """The outputs after what all rows have, and the longest at the end, if it is wanted."""
    fields = [f"output.{name}" for name in Order.model_fields]
    assert list(table_of([make_order(), LOST], columns_of(Order))) == [*NAMES, *TOKENS, *fields]
    assert list(table_of([make_order(), LOST], columns_of(Order), body=True)) == [*NAMES, *TOKENS, *fields, "body"]


@given(
    st.lists(
        st.sampled_from(
            [LOST, make_order(), make_order(number=2**70), make_row(None), make_row([1, "a"]), make_row({"x": 1})]
        ),
        max_size=8,
    ),
    st.integers(1, 4),
    st.booleans(),
)
def test_table_is_the_same_however_many_rows_are_read_at_once(rows, size, known):
    """Types that only all rows tell, and columns that only the last one has, included."""
    columns = columns_of(Order) if known else {}
    whole = table_of(rows, columns, body=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ROWS_AT_ONCE", size)
        patch.setattr(row_values, "ROWS_KEPT", 1)
        pd.testing.assert_frame_equal(table_of(rows, columns, body=True), whole)


@pytest.mark.parametrize("rows", [[], [LOST], [make_order()], [make_order(), LOST], [LOST, make_order(price=0.5)]])
def test_types_do_not_depend_on_the_rows(rows):
    """One request that failed does not make 1.0 of all whole numbers, or objects of all flags; nor do all of them."""
    types = types_of(table_of(rows, columns_of(Order)))
    assert [types[f"output.{name}"] for name in Order.model_fields] == ["Int64", "boolean", "Float64", "string"]
    assert [types[name] for name in NAMES] == ["string", "bool", "Int64", *["string"] * 4]
    assert [types[name] for name in TOKENS] == ["Int64"] * 4


class Color(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int | None, "Int64"),
        (Annotated[int, Field(ge=0)] | None, "Int64"),
        (Literal["a", "b"], "string"),
        (Literal[1, None], "Int64"),
        (Color, "string"),
        (Annotated[int, Field(ge=0)], "Int64"),
        (int | str, None),
        (Literal["a", 1], None),
        (list[int], None),
        (Any, None),
    ],
)
def test_type_is_what_the_field_says(annotation, kind):
    """As far as it says one; the rest is seen by what came back."""
    assert columns_of(create_model("Model", field=(annotation, ...))) == {"output.field": kind}


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**63, 10**30])
def test_whole_numbers_are_kept_to_the_last_digit(number):
    """A float would not hold them."""
    frame = table_of([make_order(number=number), LOST], columns_of(Order))
    assert frame["output.number"][0] == number


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_numbers_that_are_too_long_are_kept(number):
    """A status is one as well, and what only the outputs tell."""
    frame = table_of([ResultRow("r-1", ok=False, status_code=number), make_row(Open(number=number)), LOST], {})
    assert frame.status_code.to_list()[0] == frame["output.number"].to_list()[1] == number


def test_default_may_be_of_another_type_than_its_field():
    """Pydantic does not look at it."""
    frame = table_of([make_row(Loose()), make_row(Loose(price=0.5, paid=True, team="x")), LOST], columns_of(Loose))
    assert frame["output.price"].to_list() == [2**60, 0.5, pd.NA]
    assert frame["output.paid"].to_list() == [0, True, None]
    assert frame["output.team"].to_list() == [7, "x", None]


def test_tokens_that_are_not_reported_are_missing():
    """They are null, not zero."""
    frame = table_of([make_row(), LOST], {})
    assert frame.output_tokens.to_list() == [2, pd.NA]


def test_text_and_body_are_columns():
    """What no column is for is in the body."""
    body = {"choices": [{"message": {"content": "hi"}}]}
    frame = table_of([make_row(body=body), LOST], {}, body=True)
    assert frame.text[0] == "hi"
    assert frame.body.to_list() == [body, {}]


@pytest.mark.parametrize(
    ("model", "output", "column"),
    [(int, 7, 7), (list, [1, 2], [1, 2]), (RootModel[list[int]], RootModel[list[int]]([1, 2]), [1, 2])],
)
def test_output_without_fields_is_one_column(model, output, column):
    """A number, or a list."""
    frame = table_of([make_row(output)], columns_of(model))
    assert list(frame)[-1] == "output"
    assert frame.output.to_list() == [column]


def test_enums_are_what_they_stand_for():
    """Arrow, by which Flyte hands a table from task to task, knows none."""
    team, colors = Enum("Team", {"SALES": "sales"}), Enum("Color", {"RED": "red"})
    model = create_model("Model", team=(team, ...), colors=(list[colors], ...), by_team=(dict[team, team], ...))
    output = model(team="sales", colors=["red"], by_team={"sales": "sales"})
    frame = table_of([make_row(output)], columns_of(model))
    assert frame.iloc[0][["output.team", "output.colors", "output.by_team"]].to_list() == [
        "sales",
        ["red"],
        {"sales": "sales"},
    ]


def test_values_are_those_that_arrow_knows():
    """Any collection becomes a list, and any other object a string."""
    kinds = {"url": HttpUrl, "key": UUID, "pair": tuple[int, Color], "some": frozenset[int], "day": date}
    model = create_model("Model", **{name: (kind, ...) for name, kind in kinds.items()})
    given = {"url": "https://a.example/", "key": str(UUID(int=7)), "pair": [1, "red"], "some": [3], "day": "2026-11-25"}
    frame = table_of([make_row(model(**given))], columns_of(model))
    assert frame.iloc[0][list(columns_of(model))].to_list() == [*list(given.values())[:-1], date(2026, 11, 25)]


def test_half_a_character_in_an_id_does_not_cost_the_table():
    """A text of pandas' cannot hold it."""
    assert table_of([ResultRow("x\ud83d", ok=True)], {}).custom_id.to_list() == ["x?"]


@pytest.mark.parametrize("storage", ["python", "pyarrow"])
def test_texts_are_kept_as_pandas_is_told_to(storage):
    """Its versions differ in the Arrow types that they take."""
    with pd.option_context("mode.string_storage", storage):
        frame = table_of([make_row(), LOST], {})
    assert frame.error_code.dtype.storage == storage
    assert frame.error_code.to_list() == [pd.NA, "batch_expired"]


def test_model_with_a_field_called_root_has_its_fields():
    """The name alone says nothing."""
    assert list(columns_of(Refund)) == ["output.reason", "output.root"]


def test_columns_of_several_models_are_those_of_their_objects():
    """Which they are, only the rows tell."""
    frame = table_of([make_order(), make_row(Refund(reason="late"))], columns_of(Order | Refund))
    assert frame["output.team"].to_list() == ["billing", pd.NA]
    assert frame["output.reason"].to_list() == [pd.NA, "late"]
    assert "output" not in frame


class Aliased(BaseModel):
    team: str = Field(alias="Team")


class Described(BaseModel):
    team: str

    def model_dump(self):
        return {"team": f"team {self.team}"}


def test_columns_are_called_as_the_fields():
    """Whatever the model calls them in JSON."""
    assert table_of([make_row(Aliased(Team="sales"))], columns_of(Aliased))["output.team"].to_list() == ["sales"]


def test_model_may_say_itself_what_is_in_it():
    """As it does where it is dumped."""
    assert table_of([make_row(Described(team="sales"))], columns_of(Described))["output.team"][0] == "team sales"


class Rounded(BaseModel):
    price: float
    number: int

    @field_serializer("price", "number")
    def write(self, number):
        return f"{number:.0f}"


def test_serializer_may_write_another_type():
    """Of which the field says nothing."""
    frame = table_of([make_row(Rounded(price=2.4, number=5)), LOST], columns_of(Rounded))
    assert frame[["output.price", "output.number"]].to_numpy().tolist() == [["2", "5"], [None, None]]


def test_field_without_a_name_is_no_whole_output():
    """JSON allows it."""
    model = create_model("Open", __config__=ConfigDict(extra="allow"))
    frame = table_of([make_row(model(**{"": 7})), make_row(5)], {})
    assert frame[["output.", "output"]].astype(object).to_numpy().tolist() == [[7, pd.NA], [pd.NA, 5]]


def test_results_without_a_model_have_no_output(tmp_path):
    """Neither of them makes a column for it."""
    path = tmp_path / "output.jsonl"
    path.write_text(
        '{"custom_id": "a", "response": {"status_code": 200, "body": {"id": "b", "choices": [{"text": "hi"}]}}}\n'
    )
    results = read_results(BatchResult(JSONLFile(str(path))))
    assert list(results.to_pandas()) == results.to_arrow().column_names == [*NAMES, *TOKENS]


def test_table_of_nothing_has_its_columns():
    """What reads it need not ask whether there is anything."""
    frame = read_results(BatchResult(), Order).to_pandas()
    assert (len(frame), list(frame)[-1]) == (0, "output.team")
    assert types_of(frame)["output_tokens"] == "Int64"


def test_table_is_made_of_what_is_read(tmp_path):
    """A line of code."""
    path = tmp_path / "output.jsonl"
    path.write_text(
        '{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": [{"text": "\\"billing\\""}]}}}\n'
    )
    frame = read_results(BatchResult(JSONLFile(str(path))), Literal["billing"]).to_pandas()
    assert frame[["custom_id", "output"]].to_dict("records") == [{"custom_id": "a", "output": "billing"}]


def test_table_needs_pandas(monkeypatch):
    """It is the user's, and not a dependency."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError):
        read_results(BatchResult()).to_pandas()
