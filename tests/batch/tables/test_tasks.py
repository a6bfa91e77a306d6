"""The first and the last step: any table in, its requests between, the same table out."""

import datetime as dt
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flyteidl.core import errors_pb2, literals_pb2
from flytekit import FlyteContextManager, StructuredDataset
from flytekit.core.type_engine import TypeEngine
from flytekit.core.utils import load_proto_from_file
from flytekit.models.literals import LiteralMap
from flytekit.types.file import JSONLFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flytekitplugins.openai import BatchResult
from flytekitplugins.openai.batch.tables.tasks import resolver
from flytekitplugins.openai.exceptions import InconsistentError

from . import job

PROMPTS, ANSWERS = (job.translate.steps_by_name[step] for step in ("prompts", "answers"))
TEXTS = st.none() | st.just("") | st.text(max_size=8)
# Columns that nobody reads, each with values of its type.
OTHERS = {
    "number": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "ratio": (pa.float64(), st.floats(allow_nan=False)),
    "flag": (pa.bool_(), st.booleans()),
    "moment": (pa.timestamp("us", tz="UTC"), st.datetimes(timezones=st.just(dt.timezone.utc))),
    "day": (pa.date32(), st.dates()),
    "data": (pa.binary(), st.binary(max_size=4)),
    "tags": (pa.list_(pa.string()), st.lists(st.text(max_size=3), max_size=3)),
    "place": (pa.struct([("city", pa.string()), ("code", pa.int32())]), st.just({"city": "Lima", "code": None})),
    "kind": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b"])),
}


@st.composite
def tables(draw):
    """A table in chunks, with a column of texts among others, and nulls in all of them."""
    rows = draw(st.integers(0, 30))
    columns = {"text": pa.array(draw(st.lists(TEXTS, min_size=rows, max_size=rows)), pa.string())}
    for name in draw(st.lists(st.sampled_from(sorted(OTHERS)), unique=True)):
        kind, values = OTHERS[name]
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
    table = pa.table(draw(st.permutations(sorted(columns.items()))) and columns)
    cut = draw(st.integers(0, rows))
    return pa.concat_tables([table.slice(0, cut), table.slice(cut)])


def run(step, **inputs):
    """What a step gives, with what is in files read again."""
    context = FlyteContextManager.current_context()
    types = step.python_interface.inputs
    outputs = step.dispatch_execute(context, TypeEngine.dict_to_literal_map(context, inputs, types)).literals
    kinds = step.python_interface.outputs
    return [TypeEngine.to_python_value(context, outputs[name], kind) for name, kind in kinds.items()]


def requests_in(jsonl):
    return [json.loads(line) for line in Path(jsonl).read_bytes().splitlines()]


def result_of(requests, tmp_path, *, failing=()):
    """The result of a batch of these requests, each of which is answered by itself, or fails."""
    files = {name: tmp_path / f"{name}.jsonl" for name in ("output", "error", "order")}
    lines = {"output": [], "error": [], "order": []}
    for request in requests:
        content = request["body"]["messages"][-1]["content"]
        if int(request["custom_id"]) in failing:
            error = {"code": "batch_expired", "message": "too late"}
            lines["error"].append({"custom_id": request["custom_id"], "response": None, "error": error})
        else:
            body = {"choices": [{"message": {"role": "assistant", "content": content}}]}
            answer = {"status_code": 200, "body": body}
            lines["output"].append({"custom_id": request["custom_id"], "response": answer, "error": None})
        lines["order"].append([0, 1] if int(request["custom_id"]) in failing else [1, 0])
    for name, path in files.items():
        path.write_text("".join(json.dumps(line) + "\n" for line in lines[name]))
    output, error, order = (JSONLFile(str(path)) for path in files.values())
    return BatchResult(output, error, order_file=order)


@pytest.mark.long
@given(table=tables(), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_table_is_the_same_with_its_answers(tmp_path, table, data):
    """Every row, in its order, and every column, whatever is in it."""
    jsonl, _ = run(PROMPTS, table=StructuredDataset(dataframe=table))
    requests = requests_in(jsonl)
    asked = [number for number, text in enumerate(table.column("text").to_pylist()) if text]
    assert [int(request["custom_id"]) for request in requests] == asked
    failing = data.draw(st.sets(st.sampled_from(asked))) if asked else set()
    result = result_of(requests, tmp_path, failing=failing)
    [answered] = run(ANSWERS, table=StructuredDataset(dataframe=table), result=result)
    answered = answered.open(pa.Table).all()
    assert answered.select(table.column_names).equals(table)
    texts = table.column("text").to_pylist()
    expected = [f"Translate: {text}" if n in asked and n not in failing else None for n, text in enumerate(texts)]
    assert answered.column("es_answer").to_pylist() == expected
    codes = ["batch_expired" if number in failing else None for number in range(table.num_rows)]
    assert answered.column("es_error_code").to_pylist() == codes


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"text": ["a", "b", "c"]}, index=[7, 7, 1]),
        pd.DataFrame({"text": ["a"]}, index=pd.MultiIndex.from_tuples([("x", 1)], names=["one", "two"])),
        pd.DataFrame(
            {
                "text": ["a", None],
                "when": pd.to_datetime(["2026-01-01", None]).astype("datetime64[us]"),
                "kind": pd.Categorical(["x", "y"]),
            }
        ),
    ],
)
def test_index_and_types_of_a_pandas_table_stay(tmp_path, frame):
    """An index that repeats, one of several levels, and types of pandas."""
    jsonl, _ = run(PROMPTS, table=StructuredDataset(dataframe=frame))
    result = result_of(requests_in(jsonl), tmp_path)
    [answered] = run(ANSWERS, table=StructuredDataset(dataframe=frame), result=result)
    pd.testing.assert_frame_equal(answered.open(pd.DataFrame).all()[list(frame.columns)], frame, check_dtype=False)


def test_table_of_many_record_batches_is_read_in_order(tmp_path):
    """Over several files, row groups and batches."""
    texts = [f"text {number}" for number in range(10_000)]
    (tmp_path / "table").mkdir()
    for number, start in enumerate((0, 6_000)):
        rows = pa.table({"text": texts[start : start + 6_000 if start == 0 else None]})
        pq.write_table(rows, tmp_path / "table" / f"part-{number}.parquet", row_group_size=1_500)
    jsonl, sample = run(PROMPTS, table=StructuredDataset(uri=str(tmp_path / "table"), file_format="parquet"))
    requests = requests_in(jsonl)
    assert [request["body"]["messages"][0]["content"] for request in requests] == [f"Translate: {t}" for t in texts]
    assert json.loads(sample) == [{"text": text} for text in texts[:5]]
    [answered] = run(
        ANSWERS,
        table=StructuredDataset(uri=str(tmp_path / "table"), file_format="parquet"),
        result=result_of(requests, tmp_path),
    )
    assert answered.open(pa.Table).all().column("es_answer").to_pylist() == [f"Translate: {text}" for text in texts]


def test_columns_of_partitioned_folders_are_columns(tmp_path):
    """As Hive and Spark write them: they come last, for each row that of its folder."""
    table = pa.table({"text": [f"text {number}" for number in range(9)], "shop": ["b", "a", "c"] * 3})
    pq.write_to_dataset(table, tmp_path / "table", partition_cols=["shop"])
    stored = StructuredDataset(uri=str(tmp_path / "table"), file_format="parquet")
    jsonl, _ = run(PROMPTS, table=stored)
    [answered] = run(ANSWERS, table=stored, result=result_of(requests_in(jsonl), tmp_path))
    rows = answered.open(pa.Table).all().to_pylist()
    assert {row["text"]: row["shop"] for row in rows} == dict(zip(*table.to_pydict().values(), strict=True))
    assert all(row["es_answer"] == f"Translate: {row['text']}" for row in rows)


def test_result_of_another_table_is_an_error(tmp_path):
    """There is a result for a row that the table does not have."""
    jsonl, _ = run(PROMPTS, table=StructuredDataset(dataframe=pa.table({"text": ["a", "b"]})))
    result = result_of(requests_in(jsonl), tmp_path)
    with pytest.raises(InconsistentError, match="it has 1 row, and there is a result for row 1"):
        run(ANSWERS, table=StructuredDataset(dataframe=pa.table({"text": ["a"]})), result=result)


def outputs_in(directory):
    literals = LiteralMap.from_flyte_idl(load_proto_from_file(literals_pb2.LiteralMap, directory / "outputs.pb"))
    return literals.literals


@pytest.mark.long
def test_steps_run_in_their_containers(container, tmp_path):
    """`pyflyte-execute` finds the user's function by its module, and needs nothing else of it."""
    table = pa.table({"text": ["a", None]})
    outputs = outputs_in(container(PROMPTS, {"table": StructuredDataset(dataframe=table)}))
    result = result_of(requests_in(outputs["jsonl"].scalar.blob.uri), tmp_path)
    answers = container(ANSWERS, {"table": StructuredDataset(dataframe=table), "result": result})
    uri = outputs_in(answers)["answers"].scalar.structured_dataset.uri
    assert pq.read_table(uri).column("es_answer").to_pylist() == ["Translate: a", None]


def test_function_that_is_gone_is_an_error():
    """The image has another version of the code than was registered."""
    with pytest.raises(ImportError, match="has no table function 'gone'; register the workflow again"):
        resolver.load_task(["module", job.__name__, "function", "gone", "step", "prompts"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("step", "table", "message"),
    [
        (PROMPTS, {"other": ["a"]}, "The table has no column 'text', which translate reads; its columns are 'other'."),
        (
            job.divide.steps_by_name["prompts"],
            {"number": [0]},
            "divide raised ZeroDivisionError for row 0 of the table, counted from 0: ",
        ),
    ],
)
def test_error_is_one_sentence_in_the_console(start, step, table, message):
    """And final, because the table would be the same in another attempt."""
    process, directory = start(step, {"table": StructuredDataset(dataframe=pa.table(table))})
    process.wait()
    error = load_proto_from_file(errors_pb2.ErrorDocument, directory / "error.pb").error
    assert (error.code, error.kind) == ("OpenAI:InvalidInput", errors_pb2.ContainerError.NON_RECOVERABLE)
    assert f"InvalidInputError: {message}" in error.message
    assert "Traceback" not in error.message
