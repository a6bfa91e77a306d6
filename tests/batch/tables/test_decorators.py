"""What a user writes: a decorated function, called with a table."""

import html
import json
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from flytekit import StructuredDataset, conditional, dynamic, kwtypes, task, workflow
from pydantic import BaseModel

from flytekitplugins.openai import batch_embedding, batch_prompt
from flytekitplugins.openai.batch.tables.row_workflow import TableWorkflow
from flytekitplugins.openai.emulator import RequestFault
from flytekitplugins.openai.emulator.responder import Reply
from flytekitplugins.openai.exceptions import InvalidInputError
from tests.builders import make_client

from . import job
from .job import SECRET

TICKETS = pd.DataFrame(
    {"id": [1, 2, 2], "subject": ["Late", "Twice", "Where"], "body": ["My parcel", "Charged", "Is it?"]},
    index=[5, 5, 9],
)


def answers_of(table, kind=pd.DataFrame):
    return table.open(kind).all()


@pytest.fixture
def sorting(openai_emulator):
    """An emulator that sorts tickets by their rows."""
    teams = {"Late": "delivery", "Twice": "billing", "Where": "delivery"}
    openai_emulator.respond(
        lambda request: json.dumps(
            {"team": teams[request.row["subject"]], "urgent": request.row["body"] == "Charged", "reason": None}
        )
    )
    return openai_emulator


def test_table_comes_back_with_its_answers(sorting):
    """All rows in their order, with all columns, and the fields of the model after them."""
    answered = answers_of(job.triage(table=TICKETS))
    assert list(answered.columns) == [
        "id",
        "subject",
        "body",
        "team",
        "urgent",
        "reason",
        "error_code",
        "error_message",
    ]
    pd.testing.assert_frame_equal(answered[["id", "subject", "body"]], TICKETS, check_dtype=False)
    assert answered["team"].tolist() == ["delivery", "billing", "delivery"]
    assert isinstance(answered["team"].dtype, pd.CategoricalDtype)
    assert answered["urgent"].tolist() == [False, True, False]
    assert answered[["error_code", "error_message"]].isna().all(axis=None)


def test_table_is_paid_for_once(openai_emulator):
    """All arguments of `create_batch` pass through; those of the cost need a limit for the answers, which does, too."""
    pytest.importorskip("genai_prices")
    frame = pd.DataFrame({"text": ["a", "b"]})
    first, second = (answers_of(job.label(table=frame)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    with make_client(openai_emulator) as client:
        [batch] = client.batches.list()
    assert batch.request_counts.completed == 2


def test_workflow_gives_the_table_that_it_names(sorting):
    """A pandas table in, an Arrow table out."""

    @workflow
    def handle(tickets: pd.DataFrame) -> pa.Table:
        return job.triage(table=tickets)

    assert handle(tickets=TICKETS).column("team").to_pylist() == ["delivery", "billing", "delivery"]


def test_polars_table_is_taken_and_given(sorting):
    """With its plugin of flytekit."""

    @workflow
    def handle(tickets: pl.DataFrame) -> pl.DataFrame:
        return job.triage(table=tickets)

    answered = handle(tickets=pl.from_pandas(TICKETS))
    assert answered["team"].to_list() == ["delivery", "billing", "delivery"]


@task
def load_csv() -> Annotated[StructuredDataset, "csv"]:
    return StructuredDataset(dataframe=TICKETS)


def test_csv_is_taken(sorting):
    """What flytekit reads in another way than in record batches."""

    @workflow
    def handle() -> pa.Table:
        return job.triage(table=load_csv())

    assert handle().column("team").to_pylist() == ["delivery", "billing", "delivery"]


def test_row_that_fails_stays_with_nulls(sorting):
    """And with its error; the others are not affected."""
    sorting.order(RequestFault(custom_id="1", status=400, code="content_filter", message="No."))
    answered = answers_of(job.triage(table=TICKETS), pa.Table).to_pylist()
    assert [row["team"] for row in answered] == ["delivery", None, "delivery"]
    assert (answered[1]["urgent"], answered[1]["error_code"]) == (None, "content_filter")
    assert answered[1]["error_message"] == "No."


def test_answer_that_does_not_match_is_an_error_of_its_row(openai_emulator):
    """The message says why."""
    openai_emulator.respond(lambda request: "no JSON" if request.row["subject"] == "Late" else '{"team": "x"}')
    answered = answers_of(job.triage(table=TICKETS), pa.Table)
    assert set(answered.column("error_code").to_pylist()) == {"invalid_output"}
    assert answered.column("team").null_count == 3
    assert all("does not match the model" in message for message in answered.column("error_message").to_pylist())


def test_rows_that_are_left_out_are_not_asked_about(openai_emulator):
    """They stay, with nulls and without an error."""
    openai_emulator.respond(lambda request: request.row["text"].upper())
    answered = answers_of(job.translate(table=pd.DataFrame({"text": ["uno", None, "", "dos"]})), pa.Table)
    assert answered.column("es_answer").to_pylist() == ["UNO", None, None, "DOS"]
    assert answered.column("es_error_code").null_count == 4
    assert answered.column("es_output_tokens").null_count == 2
    assert answered.column_names[-4:] == [
        "es_input_tokens",
        "es_cached_tokens",
        "es_output_tokens",
        "es_reasoning_tokens",
    ]


@pytest.mark.parametrize("texts", [[], [None, ""]], ids=["empty table", "nothing to ask"])
def test_table_without_a_question_makes_no_batch(openai_emulator, texts):
    """And is no failure."""
    table = pd.DataFrame({"text": pd.Series(texts, dtype="string")})
    answered = answers_of(job.translate(table=table), pa.Table)
    assert (answered.num_rows, answered.column("es_answer").null_count) == (len(texts), len(texts))
    assert [call for call in openai_emulator.calls if call.path == "/v1/batches" and call.method == "POST"] == []


def test_refusal_is_an_error_of_its_row(openai_emulator):
    """The model wrote no text."""
    refusal = {"choices": [{"message": {"role": "assistant", "content": None, "refusal": "I will not."}}]}
    openai_emulator.respond(lambda _: Reply(refusal))
    [row] = answers_of(job.translate(table=pd.DataFrame({"text": ["x"]})), pa.Table).to_pylist()
    assert (row["es_answer"], row["es_error_code"]) == (None, "invalid_output")
    assert row["es_error_message"] == "the model refused (I will not.)"


def test_vectors_are_a_column_of_32_bit_floats(openai_emulator):
    """They are one buffer, which numpy takes without copying row by row."""
    answered = answers_of(job.embed(table=pd.DataFrame({"text": ["a", "b"]})), pa.Table)
    column = answered.column("embedding").combine_chunks()
    assert column.type == pa.list_(pa.float32())
    vectors = column.flatten().to_numpy(zero_copy_only=True).reshape(2, -1)
    assert vectors.dtype == np.float32
    assert not np.array_equal(vectors[0], vectors[1])


def test_endpoint_of_responses_is_asked(openai_emulator):
    """Its instructions are a parameter, and not a message."""
    bodies = []
    openai_emulator.respond(lambda request: bodies.append(request.body) or "yes")
    answered = answers_of(job.answer(table=pd.DataFrame({"text": ["Hi"]})), pa.Table)
    assert answered.column("answer").to_pylist() == ["yes"]
    assert bodies == [{"model": "gpt-5-mini", "input": "Hi", "instructions": "Be brief."}]


def test_request_has_the_system_text_and_the_parameters(sorting):
    """Every argument that is not of create_batch goes into each request."""
    bodies = []
    sorting.respond(lambda request: bodies.append(request.body) or "{}")
    job.triage(table=TICKETS[:1])
    [body] = bodies
    assert body["messages"] == [
        {"role": "system", "content": "Sort the mail."},
        {"role": "user", "content": "Late\n\nMy parcel"},
    ]
    assert (body["temperature"], body["response_format"]["type"]) == (0, "json_schema")


def test_report_shows_the_first_rows(sorting, capsys):
    """With their answers, because people look for them first."""
    job.triage(table=TICKETS)
    [path] = re.findall(r"the report is at file://(\S+)", capsys.readouterr().err)
    page = html.unescape(Path(path).read_text())
    assert page.index("The first rows") < page.index("What came back")
    for text in ("subject", "Late", "My parcel", '"team": "delivery"'):
        assert text in page


def test_node_can_be_in_a_dynamic_workflow(sorting):
    """Which is made while it runs."""

    @dynamic
    def handle(tickets: pd.DataFrame) -> pd.DataFrame:
        return job.triage(table=tickets)

    assert handle(tickets=TICKETS)["team"].tolist() == ["delivery", "billing", "delivery"]


def test_node_can_be_in_a_conditional(sorting):
    """One branch asks the model, the other gives the table back."""

    @task
    def same(table: StructuredDataset) -> StructuredDataset:
        return table

    @workflow
    def handle(tickets: StructuredDataset, ask: bool) -> StructuredDataset:
        return conditional("asked").if_(ask.is_true()).then(job.triage(table=tickets)).else_().then(same(table=tickets))

    table = StructuredDataset(dataframe=TICKETS)
    assert "team" in answers_of(handle(tickets=table, ask=True), pa.Table).column_names


def test_function_can_be_called_in_a_test():
    """It is what was decorated."""
    assert job.triage.function("Late", "My parcel") == "Late\n\nMy parcel"
    assert job.triage.__doc__ == "Sort a ticket."


def test_column_that_is_known_to_lack_is_an_error_of_the_workflow():
    """Where a task says which columns its table has."""

    @task
    def load() -> Annotated[pd.DataFrame, kwtypes(subject=str, text=str)]:
        return TICKETS

    @workflow
    def handle() -> pd.DataFrame:
        return job.triage(table=load())

    with pytest.raises(
        Exception, match="The table has no column 'body', which triage reads; its columns are 'subject'"
    ):
        handle.compile()


@pytest.mark.parametrize(
    ("function", "table", "message"),
    [
        (
            job.triage,
            TICKETS.rename(columns={"body": "text"}),
            "The table has no column 'body', which triage reads; its columns are 'id', 'subject', 'text'",
        ),
        (
            job.triage,
            TICKETS.assign(body=[1, 2, 3]),
            "Column 'body' of the table is of type int64, and triage takes body: str; convert the column, or change "
            "the annotation.",
        ),
        (
            job.triage,
            TICKETS.assign(team="x"),
            "The table already has a column 'team', like the answers; give the answers other names with prefix='...', "
            "or rename the table's.",
        ),
        (
            job.triage,
            TICKETS.assign(body=["a", None, "b"]),
            "Column 'body' is null in row 1 of the table, counted from 0; annotate the parameter of triage as "
            "body: str | None, and return None for a row to leave out.",
        ),
        (
            job.divide,
            pd.DataFrame({"number": [1, 0]}),
            "divide raised ZeroDivisionError for row 1 of the table, counted from 0: ",
        ),
        (
            job.odd,
            pd.DataFrame({"text": ["a"]}),
            "What odd returned for row 0 of the table, counted from 0, cannot be sent: a prompt must be a string, a "
            "list, a dictionary of parameters, or None for a row to leave out, not int.",
        ),
    ],
)
def test_table_that_cannot_be_used_is_one_sentence(openai_emulator, function, table, message):
    """Before anything is uploaded."""
    with pytest.raises(InvalidInputError) as raised:
        function(table=table)
    assert message in str(raised.value)
    assert openai_emulator.calls == []


def nested():
    def inside(text: str) -> str:
        return text

    return inside


class Owner:
    def method(self, text: str) -> str:
        return text


def generator(text: str):
    yield text


async def asynchronous(text: str) -> str:
    return text


def variadic(*texts):
    return texts


def nothing():
    return "x"


def unknown_type(text: set) -> str:
    return str(text)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (generator, "it is a generator; return the prompt of one row instead of yielding."),
        (asynchronous, "it is an async function; write it without async, because it only makes a prompt."),
        (Owner.method, "it is a method; define it as a function of the module."),
        (
            nested(),
            "it is defined inside another function, where its container cannot find it; define it in the module.",
        ),
        (lambda text: text, "it is a lambda, which has no name to find it by; write a function with def."),
        (str.upper, "it is not a function; write one, and let it call the object."),
        (variadic, "its parameter 'texts' does not name a column; name each column that it reads."),
        (nothing, "it has no parameters; name the columns that it reads."),
    ],
)
@pytest.mark.parametrize("decorator", [batch_prompt, batch_embedding])
def test_function_that_cannot_be_a_step_is_refused_where_it_is_decorated(decorator, function, problem):
    """And not in its container."""
    with pytest.raises(TypeError) as raised:
        decorator(model="gpt-4o-mini", secret=SECRET)(function)
    assert str(raised.value).startswith(f"{decorator.__name__} cannot be used for ")
    assert str(raised.value).endswith(problem)


def test_annotation_that_no_column_has_is_refused():
    """With those that columns have."""
    with pytest.raises(TypeError, match="is annotated as set, which no column has; the types of columns are str, "):
        batch_prompt(model="gpt-4o-mini", secret=SECRET)(unknown_type)


class Endless(BaseModel):
    anything: dict


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"output": dict}, TypeError, "output must be a Pydantic model with fields, not <class 'dict'>."),
        ({"output": Endless}, ValueError, "Endless cannot be a response_format, because OpenAI would refuse"),
        (
            {"config": {"endpoint": "/v1/embeddings"}},
            ValueError,
            "The endpoint in config must be /v1/chat",
        ),
        ({"sample_rows": -1}, ValueError, "sample_rows must be 0 or more, not -1."),
    ],
)
def test_argument_that_is_wrong_is_refused_at_once(arguments, error, message):
    """Where the function is decorated."""
    with pytest.raises(error, match=message):
        batch_prompt(model="gpt-4o-mini", secret=SECRET, **arguments)


def test_function_cannot_be_two_workflows():
    """Their steps would find the function by its name, and either of the two workflows."""
    function = job.divide.function
    batch_prompt(model="gpt-4o-mini", secret=SECRET)(function)
    with pytest.raises(
        ValueError, match=r"batch_prompt was called twice with the name .* and different values of model"
    ):
        batch_prompt(model="gpt-5-mini", secret=SECRET)(function)


def test_something_else_than_a_table_is_refused():
    """With the call as it should be."""
    with pytest.raises(TypeError, match=r"triage takes one table, as in triage\(table=tickets\)\."):
        job.triage(tickets=TICKETS)


def test_arguments_of_create_batch_are_passed_on():
    """Each of them."""

    def made(**arguments):
        return batch_prompt(model="gpt-4o-mini", secret=SECRET, **arguments)(job.divide.function)

    workflow = made(name="other", max_resubmissions=2, delete_files=True, container_image="image:1", retries=3)
    assert isinstance(workflow, TableWorkflow)
    prompts, batch, answers = (node.flyte_entity for node in workflow.nodes)
    assert (batch.name, len(batch.nodes)) == ("openai-batch-other", 8)
    assert [step.container_image for step in (prompts, answers)] == ["image:1"] * 2
    assert [step.metadata.retries for step in (prompts, answers)] == [3, 3]
