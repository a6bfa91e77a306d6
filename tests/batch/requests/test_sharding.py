"""What may go in, and how it is cut."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai._lines import whole_lines
from flytekitplugins.openai._tokenizer import counts_exactly, tokenizer_of
from flytekitplugins.openai.batch.requests import duplicates
from flytekitplugins.openai.batch.requests.problems import BadRequestsError
from flytekitplugins.openai.batch.requests.sharding import Complete, Sharder
from flytekitplugins.openai.batch.requests.shards import Limits
from tests.builders import ENDPOINT, make_jsonl, make_request, make_requests

EMBEDDINGS = "/v1/embeddings"


def cut(data, *, endpoint=ENDPOINT, chunk=1 << 18, **arguments):
    """The shards of an input as bytes, and the shard number recorded for each request."""
    chunks = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    shards, order, complete = {}, [], []
    for event in Sharder(endpoint, **arguments).cut(lambda: iter(chunks)):
        if isinstance(event, Complete):
            complete.append(event.shard.number)
        else:
            assert event.shard.number not in complete
            shards[event.shard.number] = shards.get(event.shard.number, b"") + event.data
            order += [(event.shard.number, custom_id) for custom_id in event.custom_ids]
    assert sorted(complete) == list(shards) == list(range(len(shards)))
    return list(shards.values()), order


def problems(data, **arguments):
    """The message of the refusal of an input."""
    with pytest.raises(BadRequestsError) as raised:
        cut(data, **arguments)
    return str(raised.value)


def lines_of(*requests):
    return make_jsonl(requests)


def embedding(custom_id, given):
    body = {"model": "text-embedding-3-small", "input": given}
    return {"custom_id": custom_id, "method": "POST", "url": EMBEDDINGS, "body": body}


# What may go in


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(make_request("line\u2028separator\u2029\u0085"), ensure_ascii=False).encode(),
        json.dumps(make_request("naïve 日本 🎉"), ensure_ascii=False).encode(),
        json.dumps(make_request("\ud83d half")).encode(),
        b"  " + json.dumps(make_request(), indent=None).encode() + b" \r",
        json.dumps({**make_request(), "more": [1.5, None, {"a": True}]}).encode(),
        json.dumps({**make_request(), "body": {**make_request()["body"], "stream": False}}).encode(),
    ],
)
def test_line_goes_in_as_it_is(line):
    """Byte for byte: what JSON allows, and nothing but a newline ends a line."""
    shards, [(_, custom_id)] = cut(line + b"\n")
    assert shards == [line + b"\n"]
    assert custom_id == json.loads(line)["custom_id"]


def test_last_line_needs_no_newline():
    """It gets one, because another may come after it in its shard."""
    data = make_jsonl(make_requests(2))
    assert cut(data[:-1])[0] == [data]


def test_blank_lines_are_left_out():
    """They are not requests, but count in the line numbers of messages."""
    [shard], order = cut(b"\n" + lines_of(make_request("a")) + b" \r\n" + lines_of(make_request("b")) + b"\n")
    assert shard == lines_of(make_request("a"), make_request("b"))
    assert [custom_id for _, custom_id in order] == ["a", "b"]


def test_moderation_needs_no_model():
    """It has one by default."""
    request = {**make_request(url="/v1/moderations"), "body": {"input": "hello"}}
    assert len(cut(lines_of(request), endpoint="/v1/moderations")[0]) == 1


def test_endpoint_that_nobody_names_is_that_of_the_first_line():
    """All the others must have the same."""
    first = {**make_request("a", url="/v1/responses"), "body": {"model": "m", "input": "Hello"}}
    second = {**first, "custom_id": "b", "url": "/v1/chat/completions"}
    assert problems(lines_of(first, second), endpoint=None) == (
        "1 problem: line 2 has a url that is not the endpoint ('/v1/chat/completions', and the batch is for "
        "'/v1/responses'; config={'endpoint': '/v1/chat/completions'} would make the batch one for this url)"
    )


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions/"])
@pytest.mark.parametrize("url", ["/v1/chat/completions", "/chat/completions", "/chat/completions/"])
def test_url_matches_with_and_without_the_version(endpoint, url):
    """Azure's documents have both, and OpenAI's servers take a slash at the end; the line goes in as it is."""
    line = lines_of(make_request(url=url))
    assert cut(line, endpoint=endpoint)[0] == [line]


@pytest.mark.parametrize(
    ("endpoint", "body", "name"),
    [
        ("/v1/responses", {"model": "m", "prompt": {"id": "pmpt_1"}}, "input"),
        ("/v1/responses", {"model": "m", "input": ""}, "input"),
        ("/responses", {"model": "m", "input": None}, "input"),
        ("/v1/embeddings", {"model": "m"}, "input"),
        ("/v1/embeddings", {"model": "m", "input": []}, "input"),
        ("/v1/moderations", {}, "input"),
        ("/v1/chat/completions", {"model": "m", "input": "Hello"}, "messages"),
    ],
)
def test_line_without_what_its_endpoint_needs_is_reported(endpoint, body, name):
    """OpenAI fails the whole batch for one such line."""
    told = problems(lines_of({**make_request(url=endpoint), "body": body}), endpoint=endpoint)
    assert told.startswith(f"1 problem: line 1 has no {name} in its body (")


def test_all_problems_of_a_line_are_reported_at_once():
    """So that users correct all of them in one go."""
    line = {"custom_id": 7, "method": "GET", "url": "/v1/responses", "body": {"stream": True}}
    assert problems(lines_of(line)) == (
        "6 problems: line 1 has a custom_id that is not a string (it is 7); "
        "line 1 has a method other than POST ('GET'); "
        "line 1 has a url that is not the endpoint ('/v1/responses', and the batch is for '/v1/chat/completions'; "
        "config={'endpoint': '/v1/responses'} would make the batch one for this url); "
        "line 1 has no model in its body (a string); "
        "line 1 has no messages in its body (a list); line 1 asks for a stream (a batch cannot stream)"
    )


def test_byte_order_mark_is_dropped():
    """Some editors write one, and OpenAI would take it for a part of the first line."""
    line = lines_of(make_request())
    assert cut(b"\xef\xbb\xbf" + line)[0] == [line]


def pretty(value):
    return json.dumps(value, indent=2).encode()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (lines_of(make_request()).decode().encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        (lines_of(make_request()).decode().encode("utf-16-le"), "it is UTF-16 text; save it as UTF-8"),
        (lines_of(make_request()).decode().encode("utf-32"), "it is UTF-32 text; save it as UTF-8"),
        (lines_of(make_request()).decode().encode("utf-32-be"), "it is UTF-32 text; save it as UTF-8"),
        (gzip.compress(lines_of(make_request())), "it is compressed with gzip; unpack it first"),
        (pretty([make_request()] * 30), "it is a JSON array; write one request per line"),
        (json.dumps([make_request()] * 30).encode(), "it is a JSON array; write one request per line"),
        (b"\xef\xbb\xbf" + pretty([make_request()]), "it is a JSON array; write one request per line"),
        (
            b"".join(json.dumps(letter).encode() + b"\n" for letter in "requests.jsonl"),
            "it is a string, read letter by letter; for a file, create the workflow with is_json_iterator=False",
        ),
        (pretty(make_request()), "it is JSON over several lines; write one request per line"),
        (b'{"custom_id": "a",\n "method": "POST"}', "it is JSON over several lines; write one request per line"),
    ],
)
def test_file_of_another_kind_is_reported_in_one_sentence(data, told):
    """Not by thirty invalid lines."""
    assert problems(data) == told


def test_long_file_of_another_kind_is_not_read_to_its_end():
    """To tell how many more lines are wrong would take longer than to read as many that are right."""
    told = problems(b"name,age\n" * 1_000_000)
    assert "1 is not valid JSON" in told
    assert told.endswith("was not checked")


# What may not


def without(name):
    request = make_request()
    del request[name]
    return request


def with_body(**fields):
    return {**make_request(), "body": {**make_request()["body"], **fields}}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{'a': 1}", "is not valid JSON (Expecting property name enclosed in double quotes at column 2)"),
        (b'{"a": "\xff"}', "is not valid JSON (byte 8 is not UTF-8)"),
        (json.dumps(make_request()).encode("utf-16"), "is not valid JSON (byte 1 is not UTF-8)"),
        (b"[" * 200_000, "is not valid JSON (it is nested too deeply)"),
        (b'["a"]', "is not a JSON object (list)"),
        (without("custom_id"), "has no custom_id (a string)"),
        (make_request(""), "has no custom_id (it is '')"),
        (make_request(5), "has a custom_id that is not a string (it is 5)"),
        ({**make_request(), "method": "GET"}, "has a method other than POST ('GET')"),
        (without("method"), "has no method ('POST')"),
        (
            make_request(url="/v1/responses"),
            "has a url that is not the endpoint ('/v1/responses', and the batch is for",
        ),
        (without("url"), "has no url ('/v1/chat/completions')"),
        (
            make_request(url="https://api.openai.com/v1/chat/completions"),
            "has an absolute url ('https://api.openai.com",
        ),
        (without("body"), "has no body (an object)"),
        ({**make_request(), "body": "text"}, "has no body (it is of type str)"),
        (with_body(model=None), "has no model in its body (a string)"),
        (with_body(model=""), "has no model in its body (it is '')"),
        (with_body(messages=None), "has no messages in its body (a list)"),
        (with_body(messages=[]), "has no messages in its body (it is [], and must be a list)"),
        (with_body(messages="Hello there"), "has no messages in its body (it is 'Hello there', and must be a list)"),
        (with_body(stream=True), "asks for a stream (a batch cannot stream)"),
    ],
)
def test_line_that_openai_would_refuse_is_reported_with_its_number(line, told):
    """Before it costs money or a day."""
    line = line if isinstance(line, bytes) else json.dumps(line).encode()
    data = lines_of(make_request("first")) + b"\n" + line + b"\n" + lines_of(make_request("last"))
    assert problems(data).startswith(f"1 problem: line 3 {told}")


def test_number_that_json_does_not_know_is_reported():
    """Python reads NaN, and OpenAI does not."""
    data = lines_of(with_body(temperature=float("nan")))
    assert problems(data) == "1 problem: line 1 is not valid JSON (NaN is not a JSON number)"


def test_ten_problems_of_the_first_kind_are_reported_and_all_counted():
    """And one problem of each other kind."""
    data = b"no\n" * 12 + lines_of(without("body"), without("method"), without("method"))
    told = problems(data)
    assert told.startswith("15 problems: line 1 is not valid JSON (Expecting value at column 1), line 2 ")
    assert "line 10 is not" in told
    assert "line 11 is not" not in told
    assert told.endswith(
        " (and 2 more like these); line 13 has no body (an object); line 14 has no method ('POST') (and 1 more like it)"
    )


def test_long_detail_is_cut():
    """A message does not quote a megabyte."""
    told = problems(lines_of({**make_request(), "method": "x" * 10_000}))
    assert len(told) < 300
    assert told.endswith("...)")


def test_repeated_custom_id_is_reported_with_both_lines():
    """Over the whole input, however far apart and in whichever shard."""
    requests = [make_request(f"r-{number % 40}") for number in range(42)]
    assert problems(make_jsonl(requests), limits=Limits(requests=10), chunk=1_000) == (
        "2 problems: line 41 repeats a custom_id ('r-0' is already on line 1), "
        "line 42 repeats a custom_id ('r-1' is already on line 2)"
    )


def test_repeated_custom_ids_are_found_on_the_disk(monkeypatch):
    """A million of them do not fit into the memory of a small pod."""
    monkeypatch.setattr(duplicates, "MOST_IN_MEMORY", 10)
    requests = [*make_requests(100), make_request("r-3")]
    assert problems(make_jsonl(requests), chunk=1_000) == (
        "1 problem: line 101 repeats a custom_id ('r-3' is already on line 4)"
    )


def test_ids_of_one_hash_are_not_one(monkeypatch):
    """A hash is only a suspicion."""
    monkeypatch.setattr(duplicates, "hash", lambda _: 7, raising=False)
    assert len(cut(make_jsonl(make_requests(3)))[1]) == 3


def test_input_without_requests_is_reported():
    """A batch needs at least one."""
    assert problems(b"\n \n") == "it has no requests, and a batch needs at least one"


def test_line_that_is_larger_than_a_file_may_be_is_reported():
    """No shard could hold it."""
    data = lines_of(make_request("a"), make_request("b", content="x" * 2_000))
    limits = Limits(size=1_000)
    assert problems(data, limits=limits, chunk=100) == "1 problem: line 2 is too long (over 1,000 bytes)"
    assert problems(data, limits=limits).startswith("1 problem: line 2 is more than a batch can take (2,")


def test_line_that_is_too_long_ends_the_reading():
    """The file may be of another kind and of any size; the problems found so far are reported."""
    data = b"no\n" + lines_of(make_request("a"), make_request("a"), make_request("b", content="x" * 2_000))
    assert problems(data, limits=Limits(size=1_000), chunk=100) == (
        "2 problems: line 1 is not valid JSON (Expecting value at column 1); line 4 is too long (over 1,000 bytes)"
    )


def test_input_that_needs_more_batches_than_a_task_may_have_is_reported():
    """What to do instead is reported with it."""
    told = problems(make_jsonl(make_requests(5)), limits=Limits(requests=2, shards=2), many="do otherwise")
    assert told == (
        "1 problem: line 5 does not fit into 2 batches (of 2 requests or 200,000,000 bytes of one model; do otherwise)"
    )


# How it is cut


def test_shard_takes_as_many_requests_as_a_batch_may_have():
    """50,000 at OpenAI."""
    shards, _ = cut(make_jsonl(make_requests(7)), limits=Limits(requests=3))
    assert [shard.count(b"\n") for shard in shards] == [3, 3, 1]


def test_shard_takes_as_many_bytes_as_a_file_may_have():
    """To the byte."""
    lines = [lines_of(request) for request in make_requests(4)]
    shards, _ = cut(b"".join(lines), limits=Limits(size=len(lines[0]) * 2))
    assert shards == [lines[0] + lines[1], lines[2] + lines[3]]


def test_shard_takes_as_many_texts_as_a_batch_may_embed():
    """A request may have many; a list of numbers is one text."""
    requests = [
        embedding("a", ["x"] * 3),
        embedding("b", "text"),
        embedding("c", [1, 2, 3]),
        embedding("d", [[1], [2]]),
        embedding("e", ["x"] * 4),
    ]
    shards, _ = cut(make_jsonl(requests), endpoint=EMBEDDINGS, limits=Limits(embedding_inputs=5))
    assert [shard.count(b"\n") for shard in shards] == [3, 1, 1]
    assert problems(make_jsonl(requests), endpoint=EMBEDDINGS, limits=Limits(embedding_inputs=3)) == (
        "1 problem: line 5 is more than a batch can take (4 embedding inputs)"
    )


def test_each_model_has_shards_of_its_own():
    """However the input mixes them."""
    requests = [make_request(f"r-{number}", model="ab"[number % 2]) for number in range(6)]
    shards, order = cut(make_jsonl(requests), limits=Limits(requests=2))
    assert [{json.loads(line)["body"]["model"] for line in shard.splitlines()} for shard in shards] == [
        {"a"},
        {"b"},
        {"a"},
        {"b"},
    ]
    assert order == [(0, "r-0"), (1, "r-1"), (0, "r-2"), (1, "r-3"), (2, "r-4"), (3, "r-5")]


def test_nothing_is_cut_after_a_problem():
    """It would be uploaded, and deleted again."""
    data = lines_of(make_request("a")) + b"no\n" + make_jsonl(make_requests(50))
    events = Sharder(ENDPOINT).cut(lambda: iter(data.splitlines(keepends=True)))
    assert next(events).custom_ids == ["a"]
    with pytest.raises(BadRequestsError):
        next(events)


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_whole_lines_are_the_chunks(chunks):
    """Put together again, each ended by a newline."""
    blocks = list(whole_lines(chunks, longest=10**6))
    # A byte order mark at the beginning is no part of the first line.
    data = b"".join([chunks[0].removeprefix(b"\xef\xbb\xbf"), *chunks[1:]] if chunks else [])
    assert b"".join(blocks) == (data if data.endswith(b"\n") or not data else data + b"\n")
    assert all(block.endswith(b"\n") for block in blocks)


TEXTS = st.text(max_size=8) | st.sampled_from(["\u2028", "\u2029", "\u0085", "\r", "\x1e", "\ud800", '"\\', "日本"])


@st.composite
def inputs(draw):
    """Requests with ids and texts of every kind, as lines of every spelling."""
    ids = draw(st.lists(TEXTS.filter(bool), unique=True, min_size=1, max_size=30))
    lines = []
    for custom_id in ids:
        request = make_request(custom_id, model=draw(st.sampled_from("abc")), content=draw(TEXTS))
        is_ascii = draw(st.booleans()) or "\ud800" in json.dumps(request, ensure_ascii=False)
        lines.append(json.dumps(request, ensure_ascii=is_ascii).encode() + draw(st.sampled_from([b"\n", b" \r\n"])))
    return lines


@given(inputs(), st.integers(1, 8), st.integers(400, 2_000), st.integers(1, 3_000))
def test_shards_are_the_input(lines, most, size, chunk):
    """Every line in one shard, unchanged and in order; none over a limit, and none too many."""
    limits = Limits(requests=most, size=size)
    shards, order = cut(b"".join(lines), limits=limits, chunk=chunk)
    assert [custom_id for _, custom_id in order] == [json.loads(line)["custom_id"] for line in lines]
    cut_lines = [shard.split(b"\n")[:-1] for shard in shards]
    position = [iter(shard) for shard in cut_lines]
    assert [next(position[number]) + b"\n" for number, _ in order] == lines
    assert all(len(shard) <= most for shard in cut_lines)
    assert all(len(shard) <= size for shard in shards)
    models = [{json.loads(line)["body"]["model"] for line in shard} for shard in cut_lines]
    assert all(len(model) == 1 for model in models)
    for model in "abc":
        assert models.count({model}) == fewest([line for line in lines if model_of(line) == model], most, size)


def model_of(line):
    return json.loads(line)["body"]["model"]


def fewest(lines, most, size):
    """Into how few shards lines can be cut, in their order."""
    best = [0] + [len(lines)] * len(lines)
    for end in range(1, len(lines) + 1):
        for start in range(max(0, end - most), end):
            if sum(map(len, lines[start:end])) <= size:
                best[end] = min(best[end], best[start] + 1)
    return best[-1]


GOOD = json.dumps(make_request("a", content="text")).encode()


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_line_is_taken_only_if_json_is_read_as_the_same(position, inserted, removed):
    """The fast parser skips most of a line, and must not accept invalid JSON."""
    line = GOOD[:position] + inserted + GOOD[position + removed :]
    if b"\n" in line:
        return
    try:
        shards, [(_, custom_id)] = cut(line + b"\n")
    except BadRequestsError:
        return
    assert shards == [line + b"\n"]
    assert json.loads(line.decode())["custom_id"] == custom_id


# The queue


def tokens_in(shard):
    messages = [message for line in shard.splitlines() for message in json.loads(line)["body"]["messages"]]
    return sum(tokenizer_of("gpt-4o-mini")(message["content"]) for message in messages)


@pytest.mark.skipif(not counts_exactly(), reason="needs the extra `tokens`")
@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from("ab")), max_size=30), st.integers(60, 300), st.booleans())
def test_no_shard_has_more_tokens_than_the_queue(requests, queue, exact):
    """Every request is in one of them, in its order."""
    made = [make_request(f"r-{n}", model=model, content="word " * words) for n, (words, model) in enumerate(requests)]
    with pytest.MonkeyPatch.context() as patch:
        if not exact:
            patch.setattr("flytekitplugins.openai.batch.requests.tokens.counts_exactly", lambda: False)
            patch.setattr("flytekitplugins.openai.batch.requests.tokens.tokenizer_of", lambda _: None)
        limits = Limits(enqueued_tokens={"a": queue}, enqueued_tokens_otherwise=2 * queue)
        data = make_jsonl(made)
        sharder = Sharder(ENDPOINT, limits=limits, may_be_empty=True, leave_out=True)
        shards, ids = {}, []
        for event in sharder.cut(lambda: iter([data])):
            if not isinstance(event, Complete):
                shards[event.shard.number] = shards.get(event.shard.number, b"") + event.data
                ids += event.custom_ids
    models = sharder.manifest().models
    for (_, shard), entry in zip(sorted(shards.items()), sharder.manifest().files, strict=True):
        limit = queue if models[entry.model] == "a" else 2 * queue
        assert tokens_in(shard) <= entry.tokens <= 0.95 * limit
    assert sorted(ids, key=lambda name: int(name[2:])) == [f"r-{n}" for n in range(len(made)) if f"r-{n}" in ids]
    if exact:
        assert len(ids) == len(made)


def test_request_that_cannot_fit_is_left_out_of_a_later_round():
    """It was run before, and keeps its result; the others are placed as if it were not there."""
    requests = [make_request(f"r-{n}", content="word " * (500 if n in (1, 4) else 30)) for n in range(6)]
    sharder = Sharder(ENDPOINT, limits=Limits(enqueued_tokens_otherwise=200), leave_out=True)
    events = list(sharder.cut(lambda: iter([make_jsonl(requests)])))
    assert [name for event in events if not isinstance(event, Complete) for name in event.custom_ids] == [
        f"r-{n}" for n in (0, 2, 3, 5)
    ]
    assert sharder.requests == sum(entry.requests for entry in sharder.manifest().files) == 4


@pytest.mark.parametrize("change", ["longer", "removed", "added"])
@pytest.mark.parametrize("limits", [Limits(requests=400), Limits(enqueued_tokens_otherwise=20_000)])
def test_changed_line_changes_few_shards(limits, change):
    """Those before it and those well after it are the same, byte for byte, and are found again."""
    requests = [make_request(f"r-{n}", content="word " * (20 + n % 50)) for n in range(3_000)]
    before, _ = cut(make_jsonl(requests), limits=limits, realign=True)
    if change == "longer":
        requests[500] = make_request("r-500", content="word " * 300)
    elif change == "removed":
        del requests[500]
    else:
        requests.insert(500, make_request("new"))
    after, _ = cut(make_jsonl(requests), limits=limits, realign=True)
    assert len(after) > 5
    assert len(set(after) - set(before)) <= 2
