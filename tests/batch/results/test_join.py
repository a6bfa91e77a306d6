"""What comes back is put together with what went in."""

import gc
import json
import random
import tracemalloc
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.results import shard_results
from flytekitplugins.openai.batch.results.failures import Failure, failure_in
from flytekitplugins.openai.batch.results.join import InconsistentResultsError, Round, merge
from flytekitplugins.openai.batch.results.lines import read_line
from flytekitplugins.openai.batch.results.shard_results import LineBuffer, Outcome, ShardResults
from flytekitplugins.openai.batch.results.usage import Usage
from tests.builders import make_answer, make_lost, make_refusal


def make_shards(directory, *contents, batches=None, buffer=None):
    """A function that opens what came back for a shard, out of the lines of its files."""

    def open_shard(number):
        paths = []
        for kind, lines in enumerate(contents[number]):
            paths.append(directory / f"{number}-{kind}.jsonl")
            paths[-1].write_bytes(b"".join(lines))
        batch = (batches or {}).get(number, {"id": f"batch_{number}", "status": "completed"})
        return ShardResults(paths, batch, buffer)

    return open_shard


def make_round(directory, index, *contents, **arguments):
    directory.mkdir(exist_ok=True)
    return Round(iter(index), make_shards(directory, *contents, **arguments))


def fates(rows):
    return [(custom_id, outcome) for custom_id, outcome, _ in rows]


def test_rows_come_in_the_order_of_the_input(tmp_path):
    """A batch keeps none."""
    shards = make_round(tmp_path, [(0, ["a", "b", "c"])], [[make_answer("c"), make_answer("a")], [make_refusal("b")]])
    assert list(shards.rows()) == [
        ("a", Outcome.SUCCEEDED, make_answer("a")),
        ("b", Outcome.FAILED, make_refusal("b")),
        ("c", Outcome.SUCCEEDED, make_answer("c")),
    ]


def test_line_tells_how_it_went_and_not_its_file(tmp_path):
    """Some servers write everything into one."""
    shards = make_round(tmp_path, [(0, ["a", "b"])], [[make_refusal("a")], [make_answer("b")]])
    assert fates(shards.rows()) == [("a", Outcome.FAILED), ("b", Outcome.SUCCEEDED)]


def test_request_that_came_back_twice_is_taken_once(tmp_path):
    """The one that succeeded, if there is one."""
    usage = {"prompt_tokens": 1}
    lines = [make_refusal("a"), make_answer("a", usage=usage), make_answer("a", usage=usage)]
    shards = make_round(tmp_path, [(0, ["a"])], [lines])
    assert fates(shards.rows()) == [("a", Outcome.SUCCEEDED)]
    assert shards.consumption.usage.input_tokens == 1


@pytest.mark.parametrize("block", [2, 1 << 18])
@pytest.mark.parametrize("more", [[], [make_refusal("d")], [b"junk\n"]])
def test_answers_are_counted_once_however_they_are_read(tmp_path, monkeypatch, block, more):
    """Lines are read many at a time, and one by one where a line among them is no answer, or a second one."""
    monkeypatch.setattr(shard_results, "BUFFER_BYTES", block)
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
    body = {"choices": [{"finish_reason": "stop"}], "usage": usage}
    answers = [make_answer(custom_id, body=body) for custom_id in "abc"]
    shards = make_round(tmp_path, [(0, ["c", "a", "b"])], [[*answers, *more, answers[1]], [make_lost("a"), answers[2]]])
    rows = islice(shards.rows(), 3)
    assert [(custom_id, line) for custom_id, _, line in rows] == list(
        zip("cab", [answers[2], *answers[:2]], strict=True)
    )
    assert shards.consumption.usage == Usage(input_tokens=3, cached_tokens=3, output_tokens=6)
    assert (shards.consumption.spread.counts, shards.unreadable) == ({2: 3}, int(b"junk\n" in more))


def test_request_that_did_not_come_back_is_missing(tmp_path):
    """It has a line in OpenAI's form, and is worth running again."""
    [(custom_id, outcome, line)] = make_round(tmp_path, [(0, ["a"])], [[]]).rows()
    assert (custom_id, outcome) == ("a", Outcome.MISSING)
    assert json.loads(line) == {
        "id": None,
        "custom_id": "a",
        "response": None,
        "error": {"code": "missing", "message": "batch 'batch_0' returned nothing for it, and is completed"},
    }


def refused(*errors):
    return {"id": "batch_0", "status": "failed", "errors": {"data": list(errors)}}


def test_refused_batch_tells_its_errors_line_by_line(tmp_path):
    """The others of the shard have nothing wrong, and are worth running again."""
    batch = refused({"code": "invalid_value", "message": "no", "line": 2})
    rows = make_round(tmp_path, [(0, ["a"]), (0, ["b", "c"])], [], batches={0: batch}).rows()
    told = [failure_in(line) for _, _, line in rows]
    assert [failure.code for failure in told] == ["missing", "invalid_value", "missing"]
    assert told[0].message == ("batch 'batch_0' was refused because of another request, on line 2: invalid_value: no")


def test_refused_batch_may_have_one_error_for_all(tmp_path):
    """A model that does not exist, or a bill that was not paid."""
    batch = refused({"code": "billing_hard_limit_reached", "message": "no", "line": None})
    rows = make_round(tmp_path, [(0, ["a", "b"])], [], batches={0: batch}).rows()
    assert {failure_in(line) for _, _, line in rows} == {Failure("billing_hard_limit_reached", "no")}


def test_line_that_nobody_asked_for_is_an_error(tmp_path):
    """The counts would not add up."""
    shards = make_round(tmp_path, [(0, ["a"])], [[make_answer("a"), make_answer("x"), make_answer("y")]])
    with pytest.raises(InconsistentResultsError, match="requests 'x', 'y' came back without having been submitted"):
        list(shards.rows())


def test_ids_that_nobody_asked_for_are_cut(tmp_path):
    """They go into an error that Flyte must take."""
    shards = make_round(tmp_path, [(0, ["a"])], [[make_answer("a"), make_answer("x\x1b" * 100_000)]])
    with pytest.raises(InconsistentResultsError) as raised:
        list(shards.rows())
    assert len(str(raised.value)) < 200
    assert "\x1b" not in str(raised.value)


def test_line_that_cannot_be_read_is_counted(tmp_path):
    """Its request is missing; the others are not lost for it."""
    shards = make_round(tmp_path, [(0, ["a", "b"])], [[b"junk\n", make_answer("b"), b"\n"]])
    assert fates(shards.rows()) == [("a", Outcome.MISSING), ("b", Outcome.SUCCEEDED)]
    assert shards.unreadable == 1


def test_line_that_cannot_be_read_is_reported_to_its_request(tmp_path):
    """If the line contains its id and no other line has a result; a fragment of another request's line is harmless."""
    broken = [b'{"custom_id": "%s", "response": {"body": oops\n' % custom_id for custom_id in (b"a", b"b", b"x")]
    shards = make_round(tmp_path, [(0, ["a", "b"])], [[*broken, make_answer("b")]])
    rows = list(shards.rows())
    assert fates(rows) == [("a", Outcome.FAILED), ("b", Outcome.SUCCEEDED)]
    assert failure_in(rows[0][2]).code == "unreadable_line"


def test_results_are_read_where_there_is_no_pread(tmp_path, monkeypatch):
    """Windows has none, and the last step would die after everything has been paid for."""
    monkeypatch.setattr(shard_results, "READ_AT", shard_results.seek_and_read)
    answers = [make_answer(custom_id) for custom_id in "abc"]
    rows = list(make_round(tmp_path, [(0, ["c", "a", "b"])], [answers]).rows())
    assert [line for _, _, line in rows] == [answers[2], answers[0], answers[1]]


def test_last_line_may_lack_its_newline(tmp_path):
    """It may come before another in the order of the input."""
    [(_, _, line)] = make_round(tmp_path, [(0, ["a"])], [[make_answer("a").rstrip()]]).rows()
    assert line == make_answer("a")


def test_files_of_a_shard_are_removed_when_they_have_been_read(tmp_path):
    """Otherwise the disk would have to hold everything twice."""
    rows = make_round(tmp_path, [(0, ["a"]), (1, ["b"])], [[make_answer("a")]], [[make_answer("b")]]).rows()
    assert fates([next(rows)]) == [("a", Outcome.SUCCEEDED)]
    assert list(tmp_path.iterdir()) == []


def test_shard_takes_no_memory_when_it_has_been_read(tmp_path):
    """The round keeps it until the last of its shards has been read, of which there may be hundreds."""
    custom_ids = [f"r-{number}" for number in range(1_000)]
    answers = [make_answer(custom_id) for custom_id in custom_ids]
    open_shard = make_shards(tmp_path, *[[answers]] * 4)
    # What Python 3.10 keeps of a function that was called a thousand times is not the shard's.
    for number in (1, 2, 3):
        open_shard(number).rows(custom_ids)
    tracemalloc.start()
    try:
        shard = open_shard(0)
        held, _ = tracemalloc.get_traced_memory()
        shard.rows(custom_ids)
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held > 50_000
    assert left < 5_000


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
        ("a", Outcome.SUCCEEDED, make_answer("a")),
        ("b", Outcome.SUCCEEDED, make_answer("b")),
        ("c", Outcome.FAILED, make_refusal("c")),
    ]


def test_what_came_back_counts_more_than_what_did_not(tmp_path):
    """The first round's error stays when the second round returned nothing."""
    first = make_round(tmp_path / "1", [(0, ["a"])], [[make_lost("a")]])
    again = make_round(tmp_path / "2", [(0, ["a"])], [[]])
    assert list(merge([first, again])) == [("a", Outcome.FAILED, make_lost("a"))]


def test_round_without_requests_changes_nothing(tmp_path):
    """There was nothing worth running again."""
    first = make_round(tmp_path / "1", [(0, ["a"])], [[make_answer("a")]])
    assert fates(merge([first, make_round(tmp_path / "2", [])])) == [("a", Outcome.SUCCEEDED)]


def test_request_that_was_run_again_without_having_been_run_is_an_error(tmp_path):
    """It is of another input."""
    first = make_round(tmp_path / "1", [(0, ["a"])], [[make_answer("a")]])
    again = make_round(tmp_path / "2", [(0, ["z"])], [[make_answer("z")]])
    with pytest.raises(InconsistentResultsError, match="requests 'z' were resubmitted without having been submitted"):
        list(merge([first, again]))


def make_counted_answer(custom_id):
    """An answer in OpenAI's form, which is read together with others."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return make_answer(custom_id, body={"choices": [{"finish_reason": "stop"}], "usage": usage})


def test_answers_that_are_read_together_go_to_their_requests(tmp_path):
    """All of a file at once, in another order than the requests."""
    ids = [f"r-{number}" for number in range(20)]
    round_ = make_round(tmp_path, [(0, ids)], [[make_counted_answer(custom_id) for custom_id in reversed(ids)]])
    assert [(custom_id, json.loads(line)["custom_id"]) for custom_id, _, line in round_.rows()] == [(i, i) for i in ids]


@st.composite
def runs(draw):
    """What one or more rounds may have come to: who was in which shard, and what came back, in any order."""
    ids = draw(st.lists(st.text(max_size=4), unique=True, min_size=1, max_size=25))
    chance = random.Random(draw(st.integers()))
    rounds = []
    buffer = LineBuffer(draw(st.sampled_from([0, 200, 10_000])))
    for _ in range(draw(st.integers(1, 3))):
        asked = ids if not rounds else [custom_id for custom_id in ids if chance.random() < 0.5]
        shards = draw(st.integers(1, 3))
        index = [(chance.randrange(shards), [custom_id]) for custom_id in asked]
        contents = [[[], []] for _ in range(shards)]
        for number, [custom_id] in index:
            line = chance.choice([make_answer, make_counted_answer, make_counted_answer, make_refusal, make_lost, None])
            if line is not None:
                contents[number][chance.randrange(2)].append(line(custom_id))
        for files in contents:
            for lines in files:
                chance.shuffle(lines)
        rounds.append((index, contents))
    return ids, rounds, buffer


@given(runs())
def test_rows_are_the_requests(tmp_path_factory, case):
    """Any interleaving of outputs, errors and gaps: each request once, in order, with the best that came back."""
    ids, rounds, buffer = case
    memory = buffer.left
    directory = tmp_path_factory.mktemp("rounds")
    rows = list(
        merge(
            [
                make_round(directory / str(n), index, *contents, buffer=buffer)
                for n, (index, contents) in enumerate(rounds)
            ]
        )
    )
    assert [custom_id for custom_id, _, _ in rows] == ids
    came = Counter(line for _, contents in rounds for files in contents for lines in files for line in lines)
    succeeded = {read_line(line).custom_id for line in came if read_line(line).succeeded}
    failed = {read_line(line).custom_id for line in came} - succeeded
    for custom_id, outcome, line in rows:
        expected = (
            Outcome.SUCCEEDED if custom_id in succeeded else Outcome.FAILED if custom_id in failed else Outcome.MISSING
        )
        assert outcome == expected
        assert (line in came) == (expected != Outcome.MISSING)
        assert json.loads(line)["custom_id"] == custom_id
    assert list(islice(directory.rglob("*.jsonl"), 1)) == []
    assert buffer.left == memory
