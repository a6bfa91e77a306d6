"""What comes back is put together with what went in."""

import io
import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.index import IndexWriter, read_index
from flytekitplugins.openai.batch.result_lines import (
    Failure,
    failure_in,
    is_worth_running_again,
    missing_line,
    read_line,
)
from flytekitplugins.openai.batch.results import (
    LONGEST_CODE,
    LONGEST_MESSAGE,
    MOST_KINDS,
    Fate,
    InconsistentResultsError,
    Room,
    Round,
    ShardResults,
    Tally,
    merge,
    tally_files,
)
from flytekitplugins.openai.batch.usage import Usage

CHAT_USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
RESPONSES_USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 2},
}


def encoded(line):
    return json.dumps(line).encode() + b"\n"


def make_answer(custom_id="r-0", *, status=200, usage=None, body=None, error=None):
    """A line of an output or error file for a request that got an HTTP answer."""
    body = {"choices": ["text"], **({"usage": usage} if usage else {})} if body is None else body
    response = {"status_code": status, "request_id": "req_1", "body": body}
    return encoded({"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": error})


def make_refusal(custom_id="r-0", *, status=400, code="invalid_value"):
    return make_answer(custom_id, status=status, body={"error": {"code": code, "message": "no"}})


def make_lost(custom_id="r-0", *, code="batch_expired"):
    error = {"code": code, "message": "too late"}
    return encoded({"id": "batch_req_1", "custom_id": custom_id, "response": None, "error": error})


def fate_of(line):
    return None if (found := read_line(line)) is None else found.succeeded


def make_shards(directory, *contents, batches=None, room=None):
    """A function that opens what came back for a shard, out of the lines of its files."""

    def open_shard(number):
        paths = []
        for kind, lines in enumerate(contents[number]):
            paths.append(directory / f"{number}-{kind}.jsonl")
            paths[-1].write_bytes(b"".join(lines))
        batch = (batches or {}).get(number, {"id": f"batch_{number}", "status": "completed"})
        return ShardResults(paths, batch, room)

    return open_shard


def make_round(directory, index, *contents, **arguments):
    directory.mkdir(exist_ok=True)
    return Round(iter(index), make_shards(directory, *contents, **arguments))


def fates(rows):
    return [(custom_id, fate) for custom_id, fate, _ in rows]


# A line


@pytest.mark.parametrize(
    ("line", "succeeded"),
    [
        (make_answer(), True),
        (make_answer(status=201), True),
        (make_refusal(), False),
        (make_refusal(status=500), False),
        (make_lost(), False),
        (make_answer(error={}), True),
        (make_answer(error={"code": "x", "message": "y"}), False),
        (make_answer(error="a text"), False),
        (make_answer(status="200"), True),
        (make_answer(body='{"usage": {"prompt_tokens": 1}}'), True),
        (make_answer(body=[1, 2]), True),
        (make_answer(usage={"prompt_tokens": "ten"}), True),
        (make_answer(status=None), False),
        (encoded({"custom_id": "r-0"}), False),
        (encoded({"custom_id": "\ud800", "response": {"status_code": 200}}), True),
    ],
)
def test_line_succeeded_when_it_has_an_answer_and_no_error(line, succeeded):
    """The error of a request that the model's endpoint refused is null; servers differ in all the rest."""
    assert fate_of(line) is succeeded


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{", b"[]", b"null", encoded({"id": 1}), encoded({"custom_id": 5}), b"\xff", b"[" * 9_999]
)
def test_line_of_nobody_is_none(line):
    """Nothing in a file can make the reading fail."""
    assert read_line(line) is None


@pytest.mark.parametrize("usage", [CHAT_USAGE, RESPONSES_USAGE])
@pytest.mark.parametrize("as_text", [False, True])
def test_usage_is_counted_for_every_endpoint(usage, as_text):
    """Each has names of its own, and some servers write the body as text."""
    body = {"usage": usage}
    line = read_line(make_answer(body=json.dumps(body) if as_text else body))
    assert line.usage == Usage(input_tokens=10, cached_tokens=4, output_tokens=5, reasoning_tokens=2)


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        (make_refusal(), Failure("invalid_value", "no", 400)),
        (make_lost(), Failure("batch_expired", "too late")),
        (make_answer(status=429, body={}), Failure("429", "no reason given", 429)),
        (
            make_answer(status=500, body='{"error": {"type": "server_error"}}'),
            Failure("server_error", "no reason given", 500),
        ),
        (missing_line("r-1", "missing", "nothing"), Failure("missing", "nothing")),
        (b"junk", Failure("unknown", "no reason given")),
        (make_answer(error="overloaded"), Failure("200", "overloaded", 200)),
        (make_answer(status=404, body={"error": "no such model"}), Failure("404", "no such model", 404)),
        (
            make_answer(status=400, body={"object": "error", "message": "too long", "code": 40303}),
            Failure("40303", "too long", 400),
        ),
        (make_answer(status=502, body="Bad Gateway"), Failure("502", "Bad Gateway", 502)),
        (make_refusal(code="bad\ud800"), Failure("bad?", "no", 400)),
    ],
)
def test_failure_is_what_the_line_says(line, failure):
    """OpenAI's word for it, or the endpoint's, or at least the status."""
    assert failure_in(line) == failure


@pytest.mark.parametrize(
    ("line", "worth"),
    [
        *((make_lost(code=code), True) for code in ("batch_expired", "batch_cancelled", "request_timeout")),
        (missing_line("a", "missing", ""), True),
        (missing_line("a", "internal_error", ""), True),
        (missing_line("a", "duplicate_custom_id", ""), False),
        *((make_refusal(status=status), True) for status in (408, 409, 429, 500, 503)),
        *((make_refusal(status=status), False) for status in (400, 401, 403, 404, 422)),
    ],
)
def test_request_is_worth_running_again_when_it_may_go_well(line, worth):
    """What is wrong with the request itself stays wrong."""
    assert is_worth_running_again(failure_in(line)) is worth


# The index


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.text(max_size=5), max_size=3)), max_size=30))
def test_index_tells_what_it_was_told(runs):
    """In its order, whatever the ids are."""
    target = io.BytesIO()
    writer = IndexWriter(target)
    for shard, custom_ids in runs:
        writer.add(shard, custom_ids)
    writer.flush()
    told = [
        (shard, custom_id)
        for shard, custom_ids in read_index(target.getvalue().splitlines())
        for custom_id in custom_ids
    ]
    assert told == [(shard, custom_id) for shard, custom_ids in runs for custom_id in custom_ids]


def test_index_keeps_half_characters():
    """JSON can hold them, and UTF-8 cannot."""
    target = io.BytesIO()
    writer = IndexWriter(target)
    writer.add(0, ["\ud800"])
    writer.flush()
    assert list(read_index([target.getvalue()])) == [(0, ["\ud800"])]


def test_index_is_written_as_it_goes():
    """A million ids are not held."""
    target = io.BytesIO()
    writer = IndexWriter(target)
    writer.add(0, [f"r-{number}" for number in range(5_000)])
    assert target.getvalue()


# The join


def test_rows_come_in_the_order_of_the_input(tmp_path):
    """A batch keeps none."""
    shards = make_round(tmp_path, [(0, ["a", "b", "c"])], [[make_answer("c"), make_answer("a")], [make_refusal("b")]])
    assert list(shards.rows()) == [
        ("a", Fate.SUCCEEDED, make_answer("a")),
        ("b", Fate.FAILED, make_refusal("b")),
        ("c", Fate.SUCCEEDED, make_answer("c")),
    ]


def test_line_tells_how_it_went_and_not_its_file(tmp_path):
    """Some servers write everything into one."""
    shards = make_round(tmp_path, [(0, ["a", "b"])], [[make_refusal("a")], [make_answer("b")]])
    assert fates(shards.rows()) == [("a", Fate.FAILED), ("b", Fate.SUCCEEDED)]


def test_request_that_came_back_twice_is_taken_once(tmp_path):
    """The one that succeeded, if there is one."""
    usage = {"prompt_tokens": 1}
    lines = [make_refusal("a"), make_answer("a", usage=usage), make_answer("a", usage=usage)]
    shards = make_round(tmp_path, [(0, ["a"])], [lines])
    assert fates(shards.rows()) == [("a", Fate.SUCCEEDED)]
    assert shards.consumption.usage.input_tokens == 1


def test_request_that_did_not_come_back_is_missing(tmp_path):
    """It has a line in OpenAI's form, and is worth running again."""
    [(custom_id, fate, line)] = make_round(tmp_path, [(0, ["a"])], [[]]).rows()
    assert (custom_id, fate) == ("a", Fate.MISSING)
    assert json.loads(line) == {
        "id": None,
        "custom_id": "a",
        "response": None,
        "error": {"code": "missing", "message": "nothing came back for it from batch 'batch_0', which is completed"},
    }


def refused(*errors):
    return {"id": "batch_0", "status": "failed", "errors": {"data": list(errors)}}


def test_refused_batch_tells_its_errors_line_by_line(tmp_path):
    """The others of the shard have nothing wrong, and are worth running again."""
    batch = refused({"code": "invalid_value", "message": "no", "line": 2})
    rows = make_round(tmp_path, [(0, ["a"]), (0, ["b", "c"])], [], batches={0: batch}).rows()
    told = [failure_in(line) for _, _, line in rows]
    assert [failure.code for failure in told] == ["missing", "invalid_value", "missing"]
    assert told[0].message == (
        "batch 'batch_0' was refused because of another request, in its line 2: invalid_value: no"
    )


def test_refused_batch_may_have_one_error_for_all(tmp_path):
    """A model that does not exist, or a bill that was not paid."""
    batch = refused({"code": "billing_hard_limit_reached", "message": "no", "line": None})
    rows = make_round(tmp_path, [(0, ["a", "b"])], [], batches={0: batch}).rows()
    assert {failure_in(line) for _, _, line in rows} == {Failure("billing_hard_limit_reached", "no")}


def test_line_that_nobody_asked_for_is_an_error(tmp_path):
    """The counts would not add up."""
    shards = make_round(tmp_path, [(0, ["a"])], [[make_answer("a"), make_answer("x"), make_answer("y")]])
    with pytest.raises(InconsistentResultsError, match="requests 'x', 'y' came back unasked"):
        list(shards.rows())


def test_line_that_cannot_be_read_is_counted(tmp_path):
    """Its request is missing; the others are not lost for it."""
    shards = make_round(tmp_path, [(0, ["a", "b"])], [[b"junk\n", make_answer("b"), b"\n"]])
    assert fates(shards.rows()) == [("a", Fate.MISSING), ("b", Fate.SUCCEEDED)]
    assert shards.unreadable == 1


def test_last_line_may_lack_its_newline(tmp_path):
    """It may come before another in the order of the input."""
    [(_, _, line)] = make_round(tmp_path, [(0, ["a"])], [[make_answer("a").rstrip()]]).rows()
    assert line == make_answer("a")


def test_files_of_a_shard_are_removed_when_they_have_been_read(tmp_path):
    """Otherwise the disk would have to hold everything twice."""
    rows = make_round(tmp_path, [(0, ["a"]), (1, ["b"])], [[make_answer("a")]], [[make_answer("b")]]).rows()
    assert fates([next(rows)]) == [("a", Fate.SUCCEEDED)]
    assert list(tmp_path.iterdir()) == []


def test_files_are_let_go_of_when_the_reading_ends_early(tmp_path):
    """An upload that fails half-way leaves nothing."""
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    shards = make_round(tmp_path, [(0, ["a", "b"])], [[make_answer("a"), make_answer("b")]])
    next(shards.rows())
    shards.close()
    assert list(tmp_path.iterdir()) == []
    assert not before or len(list(descriptors.iterdir())) == before


# Several rounds


def test_request_that_was_run_again_counts_once(tmp_path):
    """With what came of it in the end."""
    first = make_round(tmp_path / "1", [(0, ["a", "b", "c"])], [[make_answer("b")], [make_lost("a"), make_lost("c")]])
    again = make_round(tmp_path / "2", [(0, ["a", "c"])], [[make_answer("a")], [make_refusal("c")]])
    assert list(merge([first, again])) == [
        ("a", Fate.SUCCEEDED, make_answer("a")),
        ("b", Fate.SUCCEEDED, make_answer("b")),
        ("c", Fate.FAILED, make_refusal("c")),
    ]


def test_what_came_back_counts_more_than_what_did_not(tmp_path):
    """What the first round said is told when the second said nothing."""
    first = make_round(tmp_path / "1", [(0, ["a"])], [[make_lost("a")]])
    again = make_round(tmp_path / "2", [(0, ["a"])], [[]])
    assert list(merge([first, again])) == [("a", Fate.FAILED, make_lost("a"))]


def test_round_without_requests_changes_nothing(tmp_path):
    """There was nothing worth running again."""
    first = make_round(tmp_path / "1", [(0, ["a"])], [[make_answer("a")]])
    assert fates(merge([first, make_round(tmp_path / "2", [])])) == [("a", Fate.SUCCEEDED)]


def test_request_that_was_run_again_without_having_been_run_is_an_error(tmp_path):
    """It is of another input."""
    first = make_round(tmp_path / "1", [(0, ["a"])], [[make_answer("a")]])
    again = make_round(tmp_path / "2", [(0, ["z"])], [[make_answer("z")]])
    with pytest.raises(InconsistentResultsError, match="requests 'z' were run again without having been run"):
        list(merge([first, again]))


@st.composite
def runs(draw):
    """What one or more rounds may have come to: who was in which shard, and what came back, in any order."""
    ids = draw(st.lists(st.text(max_size=4), unique=True, min_size=1, max_size=25))
    chance = random.Random(draw(st.integers()))
    rounds = []
    room = Room(draw(st.sampled_from([0, 200, 10_000])))
    for _ in range(draw(st.integers(1, 3))):
        asked = ids if not rounds else [custom_id for custom_id in ids if chance.random() < 0.5]
        shards = draw(st.integers(1, 3))
        index = [(chance.randrange(shards), [custom_id]) for custom_id in asked]
        contents = [[[], []] for _ in range(shards)]
        for number, [custom_id] in index:
            line = chance.choice([make_answer, make_answer, make_refusal, make_lost, None])
            if line is not None:
                contents[number][chance.randrange(2)].append(line(custom_id))
        for files in contents:
            for lines in files:
                chance.shuffle(lines)
        rounds.append((index, contents))
    return ids, rounds, room


@given(runs())
def test_rows_are_the_requests(tmp_path_factory, case):
    """Any interleaving of outputs, errors and gaps: each request once, in order, with the best that came back."""
    ids, rounds, room = case
    memory = room.left
    directory = tmp_path_factory.mktemp("rounds")
    rows = list(
        merge(
            [make_round(directory / str(n), index, *contents, room=room) for n, (index, contents) in enumerate(rounds)]
        )
    )
    assert [custom_id for custom_id, _, _ in rows] == ids
    came = Counter(line for _, contents in rounds for files in contents for lines in files for line in lines)
    succeeded = {read_line(line).custom_id for line in came if read_line(line).succeeded}
    failed = {read_line(line).custom_id for line in came} - succeeded
    for custom_id, fate, line in rows:
        expected = Fate.SUCCEEDED if custom_id in succeeded else Fate.FAILED if custom_id in failed else Fate.MISSING
        assert fate == expected
        assert (line in came) == (expected != Fate.MISSING)
        assert json.loads(line)["custom_id"] == custom_id
    assert list(islice(directory.rglob("*.jsonl"), 1)) == []
    assert room.left == memory


# The counts


def make_tally(*lines, succeeded=0):
    tally = Tally(succeeded)
    for line in lines:
        tally.add_failure(read_line(line).custom_id, line)
    return tally


def test_counts_add_up():
    """Succeeded and failed are all there were."""
    tally = make_tally(make_refusal("a"), make_lost("b"), make_lost("c"), succeeded=4)
    assert (tally.requests, tally.succeeded, tally.failed) == (7, 4, 3)
    assert {code: kind.count for code, kind in tally.kinds.items()} == {"invalid_value": 1, "batch_expired": 2}


@pytest.mark.parametrize(
    ("succeeded", "failed", "ratio", "enough"),
    [(1, 99, 0.0, True), (0, 3, 0.0, False), (7, 93, 0.07, True), (6, 94, 0.07, False), (3, 0, 1.0, True)],
)
def test_success_needs_the_ratio_and_at_least_one(succeeded, failed, ratio, enough):
    """With none succeeded there is nothing to go on with."""
    tally = make_tally(*[make_refusal(f"r-{number}") for number in range(failed)], succeeded=succeeded)
    assert (tally.complaint(ratio) == "") is enough


def test_complaint_has_a_line_for_each_code():
    """The most frequent first, each with an example."""
    tally = make_tally(make_refusal("a"), make_lost("b"), make_lost("c"))
    assert tally.complaint(0.0) == (
        "None of the 3 requests succeeded.\nbatch_expired: 2, such as 'b': too late\ninvalid_value: 1, such as 'a': no"
    )
    tally.succeeded = 1
    assert tally.complaint(0.5).startswith("1 of 4 requests succeeded, and min_success_ratio asks for 0.5 of them.\n")


def test_tally_holds_what_flyte_can(tmp_path):
    """Half a character, or a text of a megabyte, would cost the step all its results."""
    line = encoded({"custom_id": "\ud800", "error": {"code": "c" * 999, "message": "m" * 10**6}})
    tally = make_tally(line)
    [(code, kind)] = tally.kinds.items()
    assert (len(code), kind.example, len(kind.message)) == (LONGEST_CODE, "?", LONGEST_MESSAGE)


def test_kinds_of_failures_are_limited():
    """A server that calls every error otherwise does not fill the memory, and none is lost."""
    tally = make_tally(*(make_refusal(code=f"code-{n}") for n in range(MOST_KINDS + 50)))
    assert (len(tally.kinds), tally.kinds["other"].count, tally.failed) == (MOST_KINDS + 1, 50, MOST_KINDS + 50)


def test_files_are_tallied_whatever_was_asked_for(tmp_path):
    """The download step does not know the input."""
    (tmp_path / "output").write_bytes(make_answer("a", usage=CHAT_USAGE) + b"junk\n")
    (tmp_path / "errors").write_bytes(make_lost("b"))
    tally = tally_files([tmp_path / "output", tmp_path / "errors", tmp_path / "absent"])
    assert (tally.succeeded, tally.failed, tally.consumption.usage.input_tokens) == (1, 1, 10)
