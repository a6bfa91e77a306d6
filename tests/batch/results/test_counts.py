"""Results are counted, and compared with `min_success_ratio`."""

import pytest

from flytekitplugins.openai.batch.results.counts import LONGEST_CODE, LONGEST_MESSAGE, MOST_KINDS, Tally, tally_files
from flytekitplugins.openai.batch.results.lines import read_line
from tests.builders import encode_line, make_answer, make_lost, make_refusal


def make_tally(*lines, succeeded=0):
    tally = Tally(succeeded)
    for line in lines:
        tally.add_failure(read_line(line).custom_id, line)
    return tally


def test_counts_add_up():
    """Succeeded and failed are all there were."""
    tally = make_tally(make_refusal("a"), make_lost("b"), make_lost("c"), succeeded=4)
    assert (tally.requests, tally.succeeded, tally.failed) == (7, 4, 3)
    assert tally.errors == {"invalid_value": 1, "batch_expired": 2}


def test_statuses_of_one_code_are_distinguished():
    """The advice differs by status; the counts by code include both."""
    tally = make_tally(make_refusal(status=400), make_refusal(status=429), make_refusal(status=429))
    assert [(kind.label, kind.count) for kind in tally.by_count] == [
        ("invalid_value (429)", 2),
        ("invalid_value (400)", 1),
    ]
    assert tally.errors == {"invalid_value": 3}
    assert tally.worth_running_again == 2


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
        "None of the 3 requests succeeded.\nbatch_expired: 2, such as 'b': too late\n"
        "invalid_value (400): 1, such as 'a': no"
    )
    tally.succeeded = 1
    assert tally.complaint(0.5).startswith("1 of 4 requests succeeded, and min_success_ratio requires 0.5 of them.\n")


def test_answers_that_were_cut_off_may_count_as_none():
    """With `complete_answers`, a truncated answer counts as failed."""
    tally = make_tally(succeeded=10)
    tally.consumption.cut_off = 4
    assert tally.complaint(0.7) == ""
    assert tally.complaint(0.6, complete_answers=True) == ""
    assert tally.complaint(0.7, complete_answers=True) == (
        "6 of 10 requests succeeded, and min_success_ratio requires 0.7 of them. Answers that were cut off: 4."
    )
    tally.consumption.cut_off = 10
    assert tally.complaint(0.0, complete_answers=True) == (
        "None of the 10 requests succeeded. Answers that were cut off: 10."
    )


def test_complaint_about_a_single_request_is_about_it():
    """A newcomer's first batch."""
    assert make_tally(make_lost("b")).complaint(0.0).startswith("The request failed.\nbatch_expired: 1, such as 'b'")


def test_tally_holds_what_flyte_can(tmp_path):
    """Half a character, or a text of a megabyte, would cost the step all its results."""
    line = encode_line({"custom_id": "\ud800", "error": {"code": "c" * 999, "message": "m" * 10**6}})
    tally = make_tally(line)
    [kind] = tally.kinds.values()
    assert (len(kind.code), kind.example, len(kind.message)) == (LONGEST_CODE, "?", LONGEST_MESSAGE)


def test_kinds_of_failures_are_limited():
    """A server that calls every error otherwise does not fill the memory, and none is lost."""
    tally = make_tally(*(make_refusal(code=f"code-{n}") for n in range(MOST_KINDS + 50)))
    assert (len(tally.kinds), tally.errors["other"], tally.failed) == (MOST_KINDS + 1, 50, MOST_KINDS + 50)
    assert tally.complaint(0.0).endswith("\nother: 50") is False
    assert "\nother: 50\n" in tally.complaint(0.0)


def test_files_are_tallied_whatever_was_asked_for(tmp_path):
    """The download step does not know the input."""
    (tmp_path / "output").write_bytes(make_answer("a", usage={"prompt_tokens": 10}) + b"junk\n")
    (tmp_path / "errors").write_bytes(make_lost("b"))
    tally = tally_files([tmp_path / "output", tmp_path / "errors", tmp_path / "absent"])
    assert (tally.succeeded, tally.failed, tally.consumption.usage.input_tokens) == (1, 1, 10)
