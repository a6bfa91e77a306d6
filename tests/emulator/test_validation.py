import pytest

from flytekitplugins.openai.emulator import Emulator

from .builders import CHAT, make_line, run, upload


def errors_of(batch):
    return [(error.code, error.line, error.param) for error in batch.errors.data]


def without(name, line=None):
    return {key: value for key, value in (line or make_line("r-2")).items() if key != name}


def replaced(name, value):
    return make_line("r-2") | {name: value}


MISSING = "missing_required_parameter"
GOOD = make_line("r-1")
# What a second line holds, and what is said about it.
BAD_LINES = {
    "text": (b"no JSON", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "array": (b"[]", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "cut off": (b'{"custom_id": "r-2"', "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "not UTF-8": (b'{"a": "\xff"}', "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "too deep": (b"[" * 100_000, "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "no custom_id": (without("custom_id"), MISSING, "custom_id", "Missing required parameter: 'custom_id'."),
    "empty custom_id": (make_line(""), MISSING, "custom_id", "Missing required parameter: 'custom_id'."),
    "no method": (without("method"), MISSING, "method", "Missing required parameter: 'method'."),
    "no url": (without("url"), MISSING, "url", "Missing required parameter: 'url'."),
    "no body": (without("body"), MISSING, "body", "Missing required parameter: 'body'."),
    "no model": (make_line("r-2", model=None), MISSING, "body.model", "Missing required parameter: 'body.model'."),
    "custom_id a number": (
        replaced("custom_id", 2),
        "invalid_type",
        "custom_id",
        "Invalid type for 'custom_id': expected a string, but got an integer instead.",
    ),
    "body a text": (
        replaced("body", "Hello"),
        "invalid_type",
        "body",
        "Invalid type for 'body': expected an object, but got a string instead.",
    ),
    "model an array": (
        make_line("r-2", model=["gpt-4o-mini"]),
        "invalid_type",
        "body.model",
        "Invalid type for 'body.model': expected a string, but got an array instead.",
    ),
    "same custom_id": (
        make_line("r-1"),
        "duplicate_custom_id",
        "custom_id",
        "The custom_id 'r-1' was already used in line 1.",
    ),
    "other method": (
        make_line("r-2", method="GET"),
        "invalid_method",
        "method",
        "The method must be 'POST', not 'GET'.",
    ),
    "other endpoint": (
        make_line("r-2", url="/v1/embeddings"),
        "invalid_url",
        "url",
        f"The URL '/v1/embeddings' is not the endpoint of this batch, '{CHAT}'.",
    ),
    "other model": (
        make_line("r-2", model="gpt-4.1"),
        "mismatched_model",
        "body.model",
        "One batch takes one model: 'gpt-4o-mini' first, 'gpt-4.1' here.",
    ),
    "streaming": (
        make_line("r-2", stream=True),
        "streaming_unsupported",
        "body.stream",
        "Streaming is not supported in a batch.",
    ),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_line_fails_the_batch(client, case):
    """One line that OpenAI does not take fails the batch, which names the line, the parameter and a code."""
    line, code, param, message = BAD_LINES[case]
    batch = run(client, [GOOD, line])
    assert (batch.status, batch.errors.object) == ("failed", "list")
    assert [error.to_dict() for error in batch.errors.data] == [
        {"code": code, "message": message, "line": 2, "param": param}
    ]


def test_every_bad_line_is_reported(client):
    """A failed batch has one entry for each thing that is wrong, in the order of the lines."""
    batch = run(client, [GOOD, b"no JSON", make_line("r-3", stream=True), GOOD])
    assert errors_of(batch) == [
        ("invalid_json_line", 2, None),
        ("streaming_unsupported", 3, "body.stream"),
        ("duplicate_custom_id", 4, "custom_id"),
    ]


def test_one_line_can_have_several_errors(client):
    """A line that is wrong in two ways has two entries."""
    batch = run(client, [GOOD, make_line("r-2", method="GET", url="/v1/embeddings")])
    assert errors_of(batch) == [("invalid_method", 2, "method"), ("invalid_url", 2, "url")]


def test_line_numbers_count_blank_lines(client):
    """The line of an error is the one that an editor shows."""
    assert errors_of(run(client, [GOOD, b"", b"no JSON"])) == [("invalid_json_line", 3, None)]


def test_blank_file_is_empty(client):
    """A file of blank lines is one without requests."""
    batch = run(client, [b"", b""])
    assert [error.message for error in batch.errors.data] == ["The input file holds no requests."]
    assert errors_of(batch) == [("empty_file", None, None)]


def test_moderations_need_no_model(client):
    """The moderation endpoint has a default model (platform.openai.com/docs/api-reference/moderations/create)."""
    line = {"custom_id": "r-1", "method": "POST", "url": "/v1/moderations", "body": {"input": "Hello"}}
    assert run(client, [line], endpoint="/v1/moderations").status == "completed"


def test_batch_holds_so_many_requests(emulator, client):
    """There is a limit to the requests of a batch (platform.openai.com/docs/guides/batch)."""
    emulator.change(max_requests=2)
    assert run(client, [make_line("r-1"), make_line("r-2")]).status == "completed"
    batch = run(client, [make_line("r-1"), make_line("r-2"), make_line("r-3")])
    assert [error.message for error in batch.errors.data] == ["A batch may hold 2 requests, not 3."]
    assert errors_of(batch) == [("too_many_tasks", None, None)]


# How many inputs each of these is (platform.openai.com/docs/api-reference/embeddings/create).
INPUTS = {"text": ("Hello", 1), "texts": (["a", "b", "c"], 3), "tokens": ([1, 2, 3], 1), "token lists": ([[1], [2]], 2)}


@pytest.mark.parametrize("kind", INPUTS)
def test_batch_holds_so_many_embedding_inputs(emulator, client, kind):
    """Embedding inputs are limited over all requests of a batch (platform.openai.com/docs/api-reference/batch)."""
    given, count = INPUTS[kind]
    line = {"method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": given}}
    emulator.change(max_embedding_inputs=2 * count - 1)
    batch = run(client, [line | {"custom_id": "r-1"}, line | {"custom_id": "r-2"}], endpoint="/v1/embeddings")
    message = f"A batch may hold {2 * count - 1} embedding inputs, not {2 * count}."
    assert [error.message for error in batch.errors.data] == [message]


def test_unknown_model_fails_the_batch(emulator, client):
    """When the emulator is told which models there are, another one is not found."""
    emulator.change(models=("gpt-4.1",))
    batch = run(client, [make_line(model="gpt-3")])
    assert [error.message for error in batch.errors.data] == ["The model 'gpt-3' does not exist."]
    assert errors_of(batch) == [("model_not_found", 1, "body.model")]


def test_unknown_input_file_fails_the_batch(client):
    """A batch of a file that cannot be seen is created, and then fails, as users have seen."""
    parameters = {"endpoint": CHAT, "completion_window": "24h"}
    created = client.batches.create(input_file_id="file-unknown", **parameters)
    batch = client.batches.retrieve(created.id)
    assert (created.status, batch.status, errors_of(batch)) == (
        "validating",
        "failed",
        [("invalid_request", None, "file_id")],
    )
    message = "Cannot find file file-unknown, or organization does not have access to it."
    assert batch.errors.data[0].message == message


def test_limits_are_those_of_openai():
    """50,000 requests, 50,000 embedding inputs, 200 MB (platform.openai.com/docs/guides/batch)."""
    with Emulator() as emulator:
        limits = emulator.settings
    assert (limits.max_requests, limits.max_embedding_inputs) == (50_000, 50_000)
    assert limits.max_file_bytes == 200 * 1024 * 1024


def test_bad_lines_are_not_looked_for_at_upload(client):
    """Only validation looks at the lines after the first: the upload succeeds, as users have seen."""
    assert upload(client, [GOOD, b"no JSON"]).status == "processed"
