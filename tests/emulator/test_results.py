import contextlib

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flytekitplugins.openai.emulator import Emulator, Reply, RequestFault

from .builders import CHAT, DAY, make_jsonl, make_line, make_lines, results, run, submit

# On 1 January 2100, and half a second past it: answers tell whole seconds, and a sum of floats may be a little less.
NOON = 4_102_488_000.5


def output_of(client, batch):
    return client.files.content(batch.output_file_id).read()


def test_answer_has_the_form_of_an_output_line(client):
    """An output line is id, custom_id, response and a null error (platform.openai.com/docs/guides/batch)."""
    output, _ = results(client, run(client, [make_line("r-7")]))
    line = output["r-7"]
    assert set(line) == {"id", "custom_id", "response", "error"}
    assert set(line["response"]) == {"status_code", "request_id", "body"}
    assert (line["response"]["status_code"], line["error"]) == (200, None)


def test_answer_is_matched_to_its_request(client):
    """Each line answers the request of its own custom_id."""
    lines = [make_line(f"r-{i}", content=f"number {i}") for i in range(20)]
    output, _ = results(client, run(client, lines))
    said = {key: line["response"]["body"]["choices"][0]["message"]["content"] for key, line in output.items()}
    assert said == {f"r-{i}": f"The emulator heard: number {i}" for i in range(20)}


def test_refused_request_is_reported_in_its_response(emulator, client):
    """A request that its endpoint refused has a null `error`, and the refusal in its response, as users have seen."""
    emulator.order(RequestFault(status=400, code="context_length_exceeded", message="too long"))
    _, errors = results(client, run(client, [make_line("r-1")]))
    error = {"message": "too long", "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}
    assert errors["r-1"]["error"] is None
    assert errors["r-1"]["response"] == {"status_code": 400, "request_id": "req_r-1", "body": {"error": error}}


def test_order_is_not_that_of_the_input(client):
    """Output lines come in another order than the requests (platform.openai.com/docs/guides/batch)."""
    output, _ = results(client, run(client, make_lines(20)))
    assert list(output) != [f"r-{i}" for i in range(20)]


def test_output_is_the_same_on_every_run(sdk):
    """Two emulators that are asked the same at the same time answer the same, byte for byte."""
    outputs = []
    for _ in range(2):
        with Emulator() as emulator:
            emulator.freeze()
            emulator.advance(NOON - emulator.now())
            client = sdk.with_options(base_url=emulator.base_url)
            outputs.append(output_of(client, run(client, make_lines(20))))
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\u0085"])
def test_odd_line_ends_survive(client, odd):
    """Only a line feed ends a line: what else Python takes for an end goes through inside a text."""
    line = make_line(f"r{odd}1", content=f"a{odd}b")
    output, _ = results(client, run(client, [line]))
    answer = output[f"r{odd}1"]["response"]["body"]["choices"][0]["message"]["content"]
    assert answer == f"The emulator heard: a{odd}b"


def test_text_is_not_escaped(client):
    """Output holds letters outside ASCII as themselves, so that a reader who splits at U+2028 is found out."""
    batch = run(client, [make_line(content="a\u2028b")])
    assert "a\u2028b".encode() in output_of(client, batch)


def test_half_a_surrogate_pair_survives(client):
    """JSON can name half of a surrogate pair; it comes back as it went in."""
    output, _ = results(client, run(client, [make_line("r-\ud83d")]))
    assert set(output) == {"r-\ud83d"}


def test_last_line_needs_no_line_feed(client):
    """The last request counts although its line is not ended."""
    data = make_jsonl(make_lines(2)).rstrip(b"\n")
    file = client.files.create(file=("requests.jsonl", data), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert client.batches.retrieve(batch.id).request_counts.total == 2


def test_blank_lines_are_no_requests(client):
    """Empty lines between the requests are passed over."""
    batch = run(client, [make_line("r-0"), b"", b"  ", make_line("r-1")])
    assert (batch.status, batch.request_counts.total) == ("completed", 2)


def test_usage_adds_up(client):
    """The usage of a batch is the sum over its answers (platform.openai.com/docs/api-reference/batch/object)."""
    batch = run(client, make_lines(5))
    output, _ = results(client, batch)
    used = [line["response"]["body"]["usage"] for line in output.values()]
    usage = batch.to_dict()["usage"]
    assert usage["input_tokens"] == sum(one["prompt_tokens"] for one in used) > 0
    assert usage["output_tokens"] == sum(one["completion_tokens"] for one in used) > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize("names", [("prompt", "completion"), ("input", "output")])
def test_usage_counts_cached_and_reasoning_tokens(sdk, names):
    """Cached and reasoning tokens are counted from answers in the words of either endpoint."""
    read, written = names
    usage = {
        f"{read}_tokens": 10,
        f"{written}_tokens": 5,
        f"{read}_tokens_details": {"cached_tokens": 4},
        f"{written}_tokens_details": {"reasoning_tokens": 3},
    }
    with Emulator(responder=lambda _request: Reply({"usage": usage})) as emulator:
        total = run(sdk.with_options(base_url=emulator.base_url), make_lines(2)).to_dict()["usage"]
    assert (total["input_tokens_details"], total["output_tokens_details"]) == (
        {"cached_tokens": 8},
        {"reasoning_tokens": 6},
    )


@pytest.fixture(scope="module")
def shared():
    """One emulator for every example of a property."""
    with Emulator() as shared:
        shared.freeze()
        yield shared


FATES = {
    "answered": None,
    "refused": RequestFault(status=500, times=None),
    "timed out": RequestFault(code="request_timeout", times=None),
}


def end(emulator, client, batch, ending):
    """The batch once it is over, in one of the ways in which it can be."""
    if ending == "cancelled":
        emulator.advance(DAY / 2)
        with contextlib.suppress(openai.ConflictError):  # It was done before.
            client.batches.cancel(batch.id)
    emulator.advance(DAY)
    return client.batches.retrieve(batch.id)


@settings(max_examples=settings().max_examples // 4)
@given(
    fates=st.lists(st.sampled_from(sorted(FATES)), min_size=1, max_size=8),
    pace=st.sampled_from([0, 2 / DAY, 5 / DAY, 1]),
    ending=st.sampled_from(["by itself", "cancelled"]),
)
def test_every_request_comes_back_once(shared, sdk, fates, pace, ending):
    """However a batch ends, its two files together hold each of its requests exactly once."""
    client = sdk.with_options(base_url=shared.base_url)
    shared.change(requests_per_second=pace)
    shared.clear_faults()
    for number, fate in enumerate(fates):
        if FATES[fate] is not None:
            shared.order(RequestFault(**{**vars(FATES[fate]), "custom_id": f"r-{number}"}))
    batch = end(shared, client, submit(client, make_lines(len(fates))), ending)
    output, errors = results(client, batch)
    assert sorted([*output, *errors]) == [f"r-{i}" for i in range(len(fates))]
