"""Which files OpenAI's queue has room for, and which it can never hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.control.policy.batch_phase import FAILED, SUCCEEDED
from flytekitplugins.openai.batch.control.policy.queues import Queues
from flytekitplugins.openai.batch.control.policy.task_phase import result_of, task_phase
from flytekitplugins.openai.batch.control.policy.task_plan import plan_task
from flytekitplugins.openai.batch.control.state.phase import Phase
from flytekitplugins.openai.batch.control.state.task_spec import TaskSpec
from flytekitplugins.openai.batch.records.manifest import FileEntry, Manifest
from tests.batch.control.policy.test_shard_plan import NOW, STATUSES, batch

MESSAGE = (
    "Enqueued token limit reached for gpt-4o-mini in organization org-1. Limit: {} enqueued tokens. Please try again "
    "once some in_progress batches have been completed."
)


def manifest_of(*tokens, models=("m",), exact=True, limits=None, numbers=(), cut_again=False, reused=None):
    numbers, reused = numbers or [0] * len(tokens), reused or {}
    files = tuple(
        FileEntry(model, 1, count, reused=reused.get(number, ""))
        for number, (model, count) in enumerate(zip(numbers, tokens, strict=True))
    )
    return Manifest(models, files, exact=exact, limits=limits or {}, cut_again=cut_again)


def files_of(manifest):
    return tuple(f"file-{number}" for number in range(len(manifest.files)))


def running(number, status="in_progress"):
    return batch(f"run-{number}", status, file_id=f"file-{number}")


def refused(number, limit, *, ended=0):
    errors = {"data": [{"code": "token_limit_exceeded", "message": MESSAGE.format(limit)}]}
    name = f"refused-{number}-{limit}"
    return batch(name, "failed", file_id=f"file-{number}", failed_at=NOW - ended, errors=errors)


def queues(manifest, *batches):
    return Queues(manifest, files_of(manifest), batches)


def plan(manifest, *batches, **arguments):
    return plan_task(batches, files=files_of(manifest), attempt="0", manifest=manifest, now=NOW, **arguments)


# What fits


def test_files_are_submitted_as_long_as_they_fit_together():
    """What is under way counts."""
    manifest = manifest_of(40, 40, 40, 40, limits={"m": 100})
    assert plan(manifest).submit == (0, 1)
    assert plan(manifest, running(0)).submit == (1,)
    assert plan(manifest, running(0), running(1, "validating")).submit == ()
    assert plan(manifest, running(0, "completed"), running(1, "cancelling")).submit == (2,)


def test_no_file_overtakes_another_of_its_model():
    """A large one would wait for ever."""
    assert plan(manifest_of(60, 60, 10, limits={"m": 100})).submit == (0,)


def test_each_model_has_its_queue():
    """One that is full holds up nothing else, and one without a limit takes everything."""
    manifest = manifest_of(
        60, 60, 60, 60, 60, 60, models=("a", "b", "c"), numbers=[0, 1, 2, 0, 1, 2], limits={"a": 100, "b": 200}
    )
    assert plan(manifest).submit == (0, 1, 2, 4, 5)


def test_files_of_which_nothing_is_known_are_all_submitted():
    """As those of an earlier version."""
    assert plan_task([], files=("file-0", "file-1"), attempt="0", now=NOW).submit == (0, 1)
    assert plan(manifest_of(60, 60)).submit == (0, 1)


def test_file_that_seems_larger_than_the_queue_is_tried_alone():
    """An estimate may be too high."""
    manifest = manifest_of(120, 120, exact=False, limits={"m": 100})
    assert plan(manifest).submit == (0,)
    assert plan(manifest, running(0)).submit == ()


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 1), st.sampled_from([None, *STATUSES])), max_size=8),
    st.integers(100, 300),
)
def test_what_is_under_way_and_submitted_fits_together(files, limit):
    """Unless it was too much before."""
    manifest = manifest_of(
        *(tokens for tokens, _, _ in files),
        models=("a", "b"),
        numbers=[number for _, number, _ in files],
        limits={"a": limit},
    )
    batches = [running(number, status) for number, (_, _, status) in enumerate(files) if status is not None]
    due = [number for number, (_, _, status) in enumerate(files) if status is None]
    chosen = queues(manifest, *batches).fitting(due)
    held = sum(tokens for tokens, model, status in files if model == 0 and status not in (None, *SUCCEEDED, *FAILED))
    added = sum(files[number][0] for number in chosen if files[number][1] == 0)
    assert held + added <= limit or added == 0
    assert [number for number in due if files[number][1] == 1] == [n for n in chosen if files[n][1] == 1]
    # Nothing waits without a reason.
    left = [number for number in due if number not in chosen]
    assert not left or held + added + files[left[0]][0] > limit


# What never fits


def test_limit_is_learnt_from_a_refusal():
    """It names it; the last one counts, and nothing but a lower one changes what the user says."""
    manifest = manifest_of(10, 10)
    assert queues(manifest, refused(0, "2,000,000")).limits == {"m": 2_000_000}
    refusals = [refused(0, "90,000", ended=100), refused(1, "50,000", ended=10)]
    assert queues(manifest, *refusals).limits == {"m": 50_000}
    assert queues(manifest, *reversed(refusals)).limits == {"m": 50_000}
    told = manifest_of(10, 10, limits={"m": 60_000, "other": 5})
    assert queues(told, refusals[0]).limits == {"m": 60_000, "other": 5}
    assert queues(told, *refusals).limits == {"m": 50_000, "other": 5}


@pytest.mark.parametrize("message", ["Limit: 0 enqueued tokens", "Limit: none", "the queue is full", "Limit: ,", None])
def test_refusal_may_name_no_limit(message):
    """Of other servers, or for an account without any."""
    errors = {"data": [{"code": "token_limit_exceeded", "message": message}]}
    assert queues(manifest_of(10), batch("b", "failed", file_id="file-0", errors=errors)).limits == {}


@pytest.mark.parametrize(
    ("tokens", "exact", "cut_again", "never"),
    [
        (100, True, False, False),
        (105, True, False, False),
        (120, True, False, True),
        (300, False, False, False),
        (310, False, False, True),
        (105, True, True, True),
        (105, False, True, True),
        (100, False, True, False),
    ],
)
def test_file_that_can_never_run_is_known(tokens, exact, cut_again, never):
    """It must be certain, unless the requests are cut again, which costs nothing."""
    manifest = manifest_of(tokens, exact=exact, cut_again=cut_again)
    assert bool(queues(manifest, refused(0, 100)).too_large(0)) is never


def test_task_whose_file_can_never_run_fails_at_once():
    """It says what the file has, what the queue holds, and what to do."""
    manifest = manifest_of(15_000_000)
    told = plan(manifest, refused(0, "2,000,000"))
    spec = TaskSpec(None, "", shards=["file-0"], requests=50_000, manifest=manifest.encode())
    info = task_phase(told, spec, started=False, now=NOW)
    assert (info.phase, info.message) == (
        Phase.FAILED,
        "File 'file-0' has 15,000,000 tokens, and can never run, because the queue of 'm' holds 2,000,000: set "
        "enqueued_token_limit=2000000 for smaller files, or max_resubmissions=1",
    )


def test_files_that_were_not_submitted_are_too_large_as_well():
    """Each would be refused, too; those that fit run."""
    manifest = manifest_of(300, 300, 50)
    told = plan(manifest, refused(0, 100))
    assert [bool(shard.refused) for shard in told.shards] == [True, True, False]
    assert told.submit == (2,)
    result = result_of(told, files_of(manifest))
    codes = [(entry["errors"] or {"data": [{}]})["data"][0].get("code") for entry in result["batches"][:2]]
    assert codes == ["token_limit_exceeded"] * 2
    assert result["enqueued_token_limits"] == {"m": 100}


def test_file_that_runs_is_not_too_large():
    """Whatever its count says."""
    told = plan(manifest_of(300), refused(0, 100, ended=50), running(0))
    assert (told.shards[0].refused, told.submit) == ("", ())


# What is reused


def test_file_that_a_batch_stands_for_is_never_submitted():
    """Not even while that batch has not been seen: it would be paid for twice."""
    manifest = manifest_of(10, 10, reused={0: "batch_old"})
    told = plan(manifest)
    assert (told.submit, told.shards[0].refused) == ((1,), "")
    told = plan(manifest, running(0, "completed"))
    assert (told.submit, told.shards[0].batch.id) == ((1,), "batch_run-0")


def test_file_whose_results_are_gone_is_missing():
    """The others go on, and another round runs its requests."""
    manifest = manifest_of(10, 10, reused={0: "batch_old"})
    told = plan(manifest, running(1, "completed"), gone={"batch_old"})
    [lost, _] = result_of(told, files_of(manifest))["batches"]
    assert lost["errors"]["data"] == [
        {
            "code": "missing",
            "message": "OpenAI does not have batch 'batch_old' any more, whose results were to be reused",
            "line": None,
        }
    ]


# What people read


def test_wait_for_room_is_explained():
    """It is no refusal."""
    manifest = manifest_of(60, 60, 60, limits={"m": 100})
    spec = TaskSpec(None, "", shards=list(files_of(manifest)), requests=3, manifest=manifest.encode())
    info = task_phase(plan(manifest, running(0)), spec, started=True, now=NOW)
    assert info.phase is Phase.RUNNING
    assert info.message == (
        "in progress: 0 of 3 batches done, 0 of 3 requests; 2 files wait for room in the queue of 'm', which holds 100 "
        "tokens"
    )
