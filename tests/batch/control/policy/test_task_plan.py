"""What to do next for a task of many files, and its phase."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.control.policy.batch_phase import is_live, is_live_or_completed
from flytekitplugins.openai.batch.control.policy.shard_plan import ShardPlan
from flytekitplugins.openai.batch.control.policy.task_phase import result_of, summary_of, task_phase
from flytekitplugins.openai.batch.control.policy.task_plan import TaskPlan, plan_task
from flytekitplugins.openai.batch.control.state.phase import Phase, PhaseInfo
from flytekitplugins.openai.batch.control.state.task_spec import TaskSpec
from tests.batch.control.policy.test_shard_plan import (
    INTERNAL,
    INVISIBLE,
    MINUTE,
    NOW,
    STATUSES,
    TOKEN_LIMIT,
    batch,
    refused,
)
from tests.builders import make_batch

FILES = tuple(f"file-{number}" for number in range(6))


def plan(*batches, files=FILES, **arguments):
    return plan_task(batches, **{"files": files, "attempt": "0", "now": NOW, **arguments})


def of_file(number, status="in_progress", **fields):
    return batch(fields.pop("id", number), status, file_id=FILES[number], **fields)


def refused_for(number, *, ended, **fields):
    return refused(fields.pop("id", number), file_id=FILES[number], ended=ended, **fields)


# What to do


def test_everything_is_submitted_at_first():
    """In the order of the files."""
    assert plan().submit == (0, 1, 2, 3, 4, 5)


def test_what_is_not_there_yet_is_submitted():
    """The others run already."""
    assert plan(of_file(0), of_file(3, "completed"), of_file(4, "expired")).submit == (1, 2, 5)


def test_no_more_than_allowed_are_under_way():
    """One that is being cancelled still runs."""
    batches = [of_file(0), of_file(1, "cancelling", cancelling_at=NOW), of_file(2, "completed")]
    assert plan(*batches, max_concurrent_batches=3).submit == (3,)
    assert plan(*batches, max_concurrent_batches=1).submit == ()


def test_full_queue_stops_what_has_not_been_submitted():
    """It would be refused as well."""
    assert plan(of_file(0), refused_for(1, ended=10)).submit == ()


def test_full_queue_is_tried_with_one_batch_when_the_wait_is_over():
    """The first that waits."""
    assert plan(of_file(0), refused_for(1, ended=MINUTE), refused_for(2, ended=MINUTE)).submit == (1,)


def test_wait_is_that_of_the_file_that_was_refused_most():
    """Otherwise each would be tried in its turn, and the queue with all of them."""
    twice = [refused_for(1, id=number, ended=ended) for number, ended in ((11, 200), (12, 90))]
    assert plan(*twice, refused_for(2, ended=200)).submit == ()


def test_end_of_a_batch_makes_room_for_one():
    """It ended after the last refusal."""
    ended = of_file(0, "completed", age=500, ended=5)
    assert plan(ended, refused_for(1, ended=10), refused_for(2, ended=10)).submit == (1,)


def test_batch_that_passed_makes_room_for_the_next():
    """The queue has taken it, after the last refusal."""
    passed = of_file(0, age=5, in_progress_at=NOW - 3)
    assert plan(passed, refused_for(1, ended=10)).submit == (1,)


def test_batch_that_is_being_validated_is_waited_for():
    """Whether the queue takes it is not known yet."""
    tried = of_file(0, "validating", age=5)
    ended = of_file(3, "completed", age=500, ended=7)
    assert plan(tried, ended, refused_for(1, ended=10)).submit == ()


def test_as_many_are_tried_as_have_passed():
    """So that a queue that has become empty is filled in a few polls."""
    passed = [of_file(number, age=8, in_progress_at=NOW - 5) for number in (0, 1)]
    assert plan(*passed, *(refused_for(number, ended=10) for number in (2, 3, 4))).submit == (2, 3)


@pytest.mark.parametrize(("failures", "submit"), [(1, True), (3, True), (4, False)])
def test_part_that_openai_failed_is_submitted_again(failures, submit):
    """A few times: a new attempt of the task would stop the other parts."""
    batches = [refused_for(1, id=number, ended=4 * 3600 - number, errors=INTERNAL) for number in range(failures)]
    assert (1 in plan(*batches).submit) is submit
    assert {0, 2, 3, 4, 5} <= set(plan(*batches).submit)


def test_single_file_that_openai_failed_is_not():
    """Flyte makes a new attempt, if the user wants one."""
    failed = refused(1, ended=4 * 3600, errors=INTERNAL)
    assert plan(failed, files=("file-1",)) == TaskPlan((ShardPlan(failed),))


def test_file_that_is_not_found_is_retried_by_itself():
    """OpenAI knows the others."""
    batches = [of_file(0), refused_for(1, ended=4 * 3600, errors=INVISIBLE), of_file(2)]
    assert 1 in plan(*batches).submit
    assert 1 not in plan(*batches, invisible=["file-1"]).submit


@st.composite
def nodes(draw):
    """All that a node of several files may have come to."""
    batches = []
    for number in range(draw(st.integers(0, 10))):
        age = draw(st.integers(0, 90_000))
        batches.append(
            batch(
                number,
                draw(st.sampled_from(STATUSES)),
                attempt=draw(st.sampled_from("01")),
                age=age,
                ended=draw(st.integers(0, age)),
                file_id=draw(st.sampled_from([*FILES[:3], "file-of-others"])),
                errors=draw(st.sampled_from([[], TOKEN_LIMIT, INVISIBLE, INTERNAL])),
            )
        )
    return batches


@given(nodes(), st.none() | st.integers(1, 4), st.randoms())
def test_plan_of_a_task_buys_nothing_twice_and_forgets_nothing(batches, most, chance: random.Random):
    """Whatever there is: each file has a batch, or gets one, or waits; and no more are under way than allowed."""
    found = plan(*batches, files=FILES[:3], max_concurrent_batches=most)
    assert found == plan(*chance.sample(batches, len(batches)), files=FILES[:3], max_concurrent_batches=most)
    for number, shard in enumerate(found.shards):
        good = [one for one in batches if one.input_file_id == FILES[number] and is_live_or_completed(one)]
        assert not (good and number in found.submit)
        assert (shard.batch in good) == bool(good)
        assert shard.submit or shard.batch is not None
    assert len(set(found.submit)) == len(found.submit)
    assert all(is_live(one) for one in found.duplicates)
    if most is not None:
        running = sum(one.status not in ("completed", "failed", "expired", "cancelled") for one in batches)
        assert not found.submit or running + len(found.submit) <= most


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4))
def test_task_ends_however_little_room_there_is(files, room, duration):
    """Played poll by poll against a queue that takes so many at once, each for so many polls."""
    names, batches, created = [f"file-{number}" for number in range(files)], [], 0
    for poll in range(400):
        now = NOW + poll * 30
        running = [one for one in batches if one.status in ("validating", "in_progress")]
        for one in running:
            position = batches.index(one)
            if one.status == "validating":
                taken = sum(other.status == "in_progress" for other in batches) < room
                batches[position] = played(one, "in_progress" if taken else "failed", now)
            elif now - one.times["in_progress_at"] >= duration * 30:
                batches[position] = played(one, "completed", now)
        found = plan_task(batches, files=names, attempt="0", now=now)
        if not any(shard.batch is None or is_live(shard.batch) or shard.waiting for shard in found.shards):
            break
        for number in found.submit:
            created += 1
            batches.append(played(make_batch(), "validating", now, id=f"batch_{created:04}", file=names[number]))
    assert [shard.batch.status for shard in found.shards] == ["completed"] * files
    # One by one, each in its turn until it is taken, they would be a hundred times as many.
    assert created <= 4 * files + 2 * 400 * 30 / 1800


def played(one, status, now, **fields):
    times = {**one.times, f"{'created' if status == 'validating' else status}_at": now}
    errors = TOKEN_LIMIT if status == "failed" else []
    return make_batch(
        status,
        id=fields.get("id", one.id),
        input_file_id=fields.get("file", one.input_file_id),
        metadata={"flyte_key": "node/0"},
        errors=errors,
        **times,
    )


# What it has come to


def shard(status="completed", *, total=10, completed=None, number=0, **fields):
    completed = total if completed is None and status == "completed" else completed or 0
    fields.setdefault("output_file_id", "file-out" if completed else None)
    return ShardPlan(make_batch(status, id=f"batch_{number}", total=total, completed=completed, **fields))


def judged(*shards, requests=None, tolerant=False, started=False):
    spec = TaskSpec(None, "", shards=["file"] * len(shards), requests=requests, partial_results=True, tolerant=tolerant)
    return task_phase(TaskPlan(shards), spec, started=started, now=NOW)


WAITING = ShardPlan(make_batch("failed"), waiting="waiting: no room")
REFUSED = ShardPlan(refused="Could not create a batch: no.")


def test_progress_counts_batches_and_requests():
    """Those of batches that are not there yet, too."""
    shards = [*[shard(total=51_000)] * 12, *[ShardPlan(submit=True)] * 8]
    assert judged(*shards, shard("in_progress"), requests=1_000_000) == PhaseInfo(
        Phase.RUNNING, "in progress: 12 of 21 batches done, 612,000 of 1,000,000 requests"
    )


@pytest.mark.parametrize(
    ("shards", "outcome"),
    [
        ([shard(), shard()], Phase.SUCCEEDED),
        ([shard(), shard("in_progress")], Phase.RUNNING),
        ([shard("validating"), shard("validating")], Phase.INITIALIZING),
        ([shard("validating"), ShardPlan(submit=True)], Phase.INITIALIZING),
        ([shard("validating"), WAITING], Phase.INITIALIZING),
        ([WAITING, WAITING], Phase.WAITING_FOR_RESOURCES),
        ([ShardPlan(submit=True)], Phase.WAITING_FOR_RESOURCES),
        ([shard("validating"), shard("in_progress")], Phase.RUNNING),
        ([shard("pre_schedule")], Phase.RUNNING),
        ([shard(), WAITING], Phase.RUNNING),
        ([shard("in_progress"), WAITING], Phase.RUNNING),
        ([shard(), shard("failed", errors=[{"code": "x", "line": 1}])], Phase.SUCCEEDED),
        ([shard(), shard("expired", completed=3)], Phase.SUCCEEDED),
        ([shard("expired", completed=3), shard("cancelled")], Phase.SUCCEEDED),
        ([shard("expired"), shard("cancelled")], Phase.FAILED),
        ([shard(), REFUSED], Phase.SUCCEEDED),
        ([shard("in_progress"), REFUSED], Phase.RUNNING),
        ([shard("failed", errors=INTERNAL), shard("failed", errors=[{"code": "x"}])], Phase.RETRYABLE_FAILED),
        ([], Phase.SUCCEEDED),
    ],
)
def test_task_has_come_to_what_its_batches_have(shards, outcome):
    """What came of one is not thrown away because of another."""
    assert judged(*shards).phase is outcome


@pytest.mark.parametrize("shards", [[WAITING], [shard("validating")], [WAITING, shard("validating")]])
def test_task_that_has_started_stays_running(shards):
    """Flyte sends RUNNING once: another phase in between would stay on its console for the rest of the day."""
    assert judged(*shards, started=True).phase is Phase.RUNNING


def test_task_that_waits_says_why_and_how_far_it_is():
    """Flyte's console shows the message of a task that waits, and its `custom_info` has the reason of one that runs."""
    assert judged(WAITING, WAITING, requests=20).message == "waiting: no room; 0 of 2 batches done, 0 of 20 requests"
    assert judged(shard(), WAITING, requests=20).message == (
        "in progress: 1 of 2 batches done, 10 of 20 requests; waiting: no room"
    )
    assert summary_of(TaskPlan((shard(), WAITING)))["waiting"] == {"files": 1, "reason": "waiting: no room"}
    assert summary_of(TaskPlan((WAITING,)))["waiting"] == {"files": 1, "reason": "waiting: no room"}


def test_task_that_is_validated_says_how_many_files():
    """There is nothing else to tell of it yet."""
    validating = shard("validating", total=0)
    assert judged(validating).message == "OpenAI is validating 1 file"
    assert judged(*[validating] * 3).message == "OpenAI is validating 3 files"
    assert judged(*[validating] * 3, ShardPlan(submit=True)).message == "OpenAI is validating 3 of 4 files"


@pytest.mark.parametrize("shards", [[shard("failed", errors=INTERNAL)], [shard("expired"), shard("cancelled")]])
def test_tolerant_task_succeeds_with_nothing(shards):
    """Another round follows, or has been."""
    assert judged(*shards, tolerant=True).phase is Phase.SUCCEEDED
    assert judged(*shards).phase is not Phase.SUCCEEDED


def test_tolerant_task_still_waits():
    """Nothing has ended yet."""
    assert judged(WAITING, tolerant=True).phase is Phase.WAITING_FOR_RESOURCES


def test_task_of_one_file_is_reported_as_a_batch():
    """As a task with a single file id."""
    assert judged(shard("in_progress", total=10, completed=4)).message == "in progress: 4 of 10 requests done"


def test_result_has_what_the_collect_step_needs():
    """In the order of the files, with an entry even where OpenAI made no batch."""
    one = shard("failed", number=1, total=0, errors=[{"code": "x", "message": "no", "line": 2}], failed_at=NOW)
    first, second = result_of(TaskPlan((one, REFUSED)), ["file-1", "file-2"])["batches"]
    assert (first["id"], first["input_file_id"], first["status"], first["failed_at"]) == (
        "batch_1",
        "file-1",
        "failed",
        NOW,
    )
    assert first["errors"] == {"data": [{"code": "x", "message": "no", "line": 2}]}
    assert (second["id"], second["input_file_id"]) == (None, "file-2")
    assert second["errors"]["data"][0]["message"] == "Could not create a batch: no."


def phase_of_one(shard):
    return task_phase(TaskPlan((shard,)), TaskSpec(None, ""), started=False, now=NOW)


def test_file_that_failed_is_reported_in_openais_words():
    """Verbatim, as tests for the published package compare them; the line and the code are in the summary."""
    failed = shard("failed", errors=[{"code": "x", "message": "No: this. ", "line": 2}, {"code": "y", "message": "b"}])
    assert phase_of_one(failed).message == "No: this. "
    unsaid = shard("failed", errors=[{"code": "empty_file", "line": 2}])
    assert phase_of_one(unsaid).message == "1 error: line 2: empty_file"


def test_times_in_the_result_are_whole_seconds():
    """As OpenAI writes them, whatever a server wrote."""
    times = {"created_at": 1_000, "in_progress_at": 1_010.0, "completed_at": "2026-01-01T00:00:00.500000Z"}
    [batch] = result_of(TaskPlan((shard(**times),)), FILES[:1])["batches"]
    assert [repr(batch[name]) for name in times] == ["1000", "1010", "1767225600"]


def test_summary_holds_the_errors_of_all_batches():
    """With the batch that each is of; a thousand of them, and how many there are."""
    error = {"code": "x", "message": "no " * 1_000, "line": 2}
    found = summary_of(TaskPlan((shard(number=1), shard("failed", number=2, errors=[error] * 1_200))))
    assert (len(found["errors"]), found["error_count"]) == (1_000, 1_200)
    assert len(found["errors"][0].pop("message")) == 500
    assert found["errors"][0] == {"batch_id": "batch_2", "code": "x", "line": 2}


def test_result_stays_small():
    """Flyte takes two megabytes of outputs."""
    errors = [{"code": "invalid_value", "message": "x" * 100, "line": line} for line in range(50_000)]
    result = result_of(TaskPlan((shard("failed", errors=errors),) * 500), FILES[:1] * 500)
    assert len(str(result)) < 1_000_000


def test_summary_is_of_all_batches():
    """Sums, and how many are in which state."""
    found = summary_of(TaskPlan((shard(number=1), shard("in_progress", completed=4, number=2))))
    assert found == {
        "batches": 2,
        "batch_ids": ["batch_1", "batch_2"],
        "request_counts": {"total": 20, "completed": 14, "failed": 0},
        "statuses": {"completed": 1, "in_progress": 1},
    }
