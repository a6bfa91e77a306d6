from collections import Counter
from decimal import Decimal
from html.parser import HTMLParser
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.costs.prices import Estimate
from flytekitplugins.openai.batch.report import Report, page, render
from flytekitplugins.openai.batch.results.counts import Kind, Tally
from flytekitplugins.openai.batch.results.rows import SampleRow
from flytekitplugins.openai.batch.results.usage import Consumption, Spread, Usage

VOID = {"meta", "br", "img", "link"}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</td></table><h1>",
    "{{ report }} {% raw %}",
    "&lt;b&gt;",
    "\ud800 \x00 \x1b[31m \u202e",
]


class Page(HTMLParser):
    """A page as a browser sees it: its elements, their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.elements = Counter()
        self.attributes = []
        self.words = []
        self._open = []
        self.feed(html)
        self.close()
        assert not self._open, f"{self._open} is not closed"

    def handle_starttag(self, tag, attrs):
        self.elements[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self._open):
            self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


def make_batch(number=1, **fields):
    times = {"created_at": 1_000, "in_progress_at": 1_010, "finalizing_at": 4_610, "completed_at": 4_670}
    counts = {"total": 10, "completed": 9, "failed": 1}
    return {"id": f"batch_{number}", "status": "completed", "request_counts": counts, **times, **fields}


def make_kind(code="server_error", status=None, count=1, *, example="r-1", message="no"):
    return Kind(code, status, count, example, message)


def make_tally(succeeded=9, *kinds, model="gpt-4o-mini"):
    usage = Usage(1_000, 200, 300, 40)
    spread = Spread({30: succeeded - 1, 60: 1} if succeeded else {})
    consumption = Consumption({model: usage}, spread) if succeeded else Consumption()
    kinds = kinds or (make_kind("batch_expired", example="r-9", message="too late"),)
    return Tally(succeeded, consumption, {(kind.code, kind.status): kind for kind in kinds})


def make_report(*, tally=None, rounds=None, **fields):
    rounds = [[make_batch()]] if rounds is None else rounds
    return Report(**{"name": "capitals", "execution": None, "rounds": rounds, "tally": tally or make_tally(), **fields})


def seen(**fields):
    return Page(render(make_report(**fields)))


def test_page_tells_what_ran():
    """Name, model, endpoint, and when."""
    batch = make_batch(endpoint="/v1/responses")
    text = seen(rounds=[[batch]], execution="project/development/f1").text
    for told in ("capitals", "gpt-4o-mini", "/v1/responses", "1970-01-01 00:16:40 UTC", "1 h 1 min", "/f1"):
        assert told in text


def test_page_tells_what_came_back():
    """Every request has one outcome, and those that were never run are shown separately."""
    kinds = make_kind("batch_expired", count=3), make_kind("missing", count=2), make_kind("server_error", 500, 4)
    text = seen(tally=make_tally(1, *kinds)).text
    assert "1 of 10 requests succeeded (10.0 %)" in text
    assert "1 succeeded 10.0 % 4 failed 40.0 % 3 expired 30.0 % 2 missing 20.0 %" in text
    assert "cancelled" not in text


def test_first_rows_are_shown_with_their_answers():
    """Of a table; a row that failed says why."""
    rows = [
        SampleRow({"subject": "Late", "body": "Where?"}, '{"team": "a"}', ok=True),
        SampleRow({"subject": HOSTILE[0], "body": HOSTILE[3]}, "missing: gone", ok=False),
    ]
    text = seen(rows=rows).text
    assert 'subject body Answer Late Where? {"team": "a"}' in text
    assert f"{HOSTILE[0]} {HOSTILE[3]} failed missing: gone" in text
    assert "The first rows" not in seen().text


def test_error_has_an_example_and_what_to_do():
    """The most frequent one comes first."""
    long = make_kind("context_length_exceeded", 400, 4, example="r-7", message="too long")
    text = seen(tally=make_tally(5, make_kind("server_error", 500), long)).text
    assert text.index("context_length_exceeded") < text.index("server_error")
    assert "HTTP 400 4 r-7 too long Shorten the prompt" in text


def test_statuses_of_one_code_are_distinguished():
    """Many errors have a type and no code; their advice depends on the status."""
    kinds = (make_kind("invalid_request_error", status, message=f"m{status}") for status in (400, 413))
    text = seen(tally=make_tally(1, *kinds)).text
    assert "HTTP 400 1 r-1 m400 Correct the request" in text
    assert "HTTP 413 1 r-1 m413 Make the request smaller." in text


def test_error_of_a_whole_batch_comes_first():
    """One bad line is why thousands of others did not run."""
    batch = make_batch(status="failed", errors={"data": [{"code": "invalid_json_line", "message": "no", "line": 7}]})
    kinds = make_kind("missing", count=9_999), make_kind("invalid_json_line")
    [first, _] = make_report(rounds=[[batch]], tally=make_tally(0, *kinds)).kinds
    assert first.code == "invalid_json_line"


def test_errors_beyond_the_first_kinds_are_folded_away():
    """A server may call every error otherwise."""
    kinds = (make_kind(f"code-{n:03}", count=2) for n in range(page.MOST_KINDS + 7))
    found = seen(tally=make_tally(1, *kinds))
    assert found.elements["details"] == 1
    assert "7 more codes, of 14 requests" in found.text


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ([("server_error", 500, 3)], "All that did not succeed may do so in another run."),
        ([("invalid_value", 400, 2)], "None that did not succeed would do so in another run"),
        (
            [("server_error", 500, 3), ("invalid_value", 400, 2)],
            "Of the 5 requests that did not succeed, 3 may do so in another run; for the rest, something "
            "must be done first.",
        ),
    ],
)
def test_page_tells_how_many_may_go_well_another_time(kinds, told):
    """It is what the reader has to decide about."""
    assert told in seen(tally=make_tally(5, *(make_kind(*kind) for kind in kinds))).text


@pytest.mark.parametrize(("count", "told"), [(1, "1 answer was cut off"), (12, "12 answers were cut off")])
def test_answers_that_were_cut_off_are_reported(count, told):
    """They count as succeeded, and may be of no use."""
    tally = make_tally()
    assert "cut off" not in seen(tally=tally).text
    tally.consumption.cut_off = count
    assert told in seen(tally=tally).text


def test_advice_knows_what_was_run_again():
    """The page of a workflow with max_resubmissions does not praise it."""
    tally = make_tally(5, make_kind("server_error", 500))
    assert "max_resubmissions" in seen(tally=tally).text
    text = seen(tally=tally, rounds=[[make_batch()], [make_batch(2)]]).text
    assert "It was run again once and failed each time: try later." in text
    assert "max_resubmissions" not in text


def test_resubmission_is_reported():
    """How many requests a resubmission recovered."""
    tally = make_tally()
    tally.run_again, tally.recovered = 340, 290
    page = seen(tally=tally, rounds=[[make_batch()], [make_batch(2)]])
    assert "340 requests were run again, and 290 of them succeeded then." in page.text
    assert "First run" in page.text
    assert "Run again, once" in page.text
    assert "2 completed; in 2 runs" in page.text


def test_round_in_which_nothing_was_run_is_left_out():
    """Everything had gone well before it."""
    text = seen(rounds=[[make_batch()], [], []]).text
    assert "1 completed" in text
    assert "runs" not in text


def test_batch_has_its_states_on_the_time_line():
    """How long it was in each, and where that stands on the line."""
    page = seen(rounds=[[make_batch()]])
    told = "completed 9 of 10 requests succeeded, 1 failed; validating 10 s; in progress 1 h; finalizing 1 min"
    assert told in page.text
    assert ("style", "left:0.272%;width:98.093%") in page.attributes


def test_batches_beyond_the_first_are_folded_away():
    """Five hundred of them are not what a person wants to scroll through."""
    batches = [make_batch(n) for n in range(page.LINES + 3)]
    found = seen(rounds=[batches])
    assert found.elements["details"] == 1
    assert "3 more batches" in found.text
    assert all(batch["id"] in found.words for batch in batches)


def test_batches_that_did_not_complete_are_not_folded_away():
    """They are what a reader looks for."""
    batches = [make_batch(n) for n in range(page.LINES + 3)] + [make_batch(99, status="expired")]
    [run] = make_report(rounds=[batches]).runs
    shown, folded = page.parted(run)
    assert [lane.number for lane in shown] == [*range(1, page.LINES), page.LINES + 4]
    assert [lane.number for lane in folded] == [*range(page.LINES, page.LINES + 4)]


def test_batches_are_counted_by_how_they_ended():
    """At the head of the page."""
    batches = [make_batch(1), make_batch(2), make_batch(3, status="expired"), {"id": None, "status": "failed"}]
    assert "Batches 2 completed, 1 expired, 1 never submitted" in seen(rounds=[batches]).text


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"total": 1_000, "completed": 597, "failed": 44}, "597 of 1,000 requests succeeded, 44 failed, 359 not run"),
        ({"total": 1, "completed": 1, "failed": 0}, "1 of 1 request succeeded"),
        ({"total": 0, "completed": 0, "failed": 0}, ""),
    ],
)
def test_batch_tells_what_became_of_its_requests(counts, told):
    """Of one that was refused OpenAI does not even count them."""
    [[lane]] = make_report(rounds=[[make_batch(request_counts=counts)]]).runs
    assert ", ".join(lane.counts) == told


def test_batch_tells_its_model_where_there_are_several():
    """An input is cut by model."""
    tally = make_tally()
    assert seen(rounds=[[make_batch(model="gpt-5-mini")]], tally=tally).words.count("gpt-5-mini") == 0
    tally.consumption.of("gpt-5-mini-2026-01-01")
    text = seen(rounds=[[make_batch(model="gpt-5-mini")]], tally=tally).text
    assert "Models gpt-4o-mini, gpt-5-mini-2026-01-01 Endpoint" in text
    assert "completed gpt-5-mini ; 9 of 10 requests" in text


def test_batch_that_was_refused_is_reported():
    """It has no id, and a reason."""
    error = {"code": "refused", "message": "OpenAI refused (400).", "line": None}
    text = seen(rounds=[[{"id": None, "status": "failed", "errors": {"data": [error]}}]]).text
    assert "1 never submitted refused: OpenAI refused (400)." in text


def test_batch_is_linked_to_openais_platform():
    """Where that is what it runs on."""
    page = seen(link=lambda batch_id: f"https://platform.openai.com/batches/{batch_id}")
    assert ("href", "https://platform.openai.com/batches/batch_1") in page.attributes
    # In the console it would open within the frame, and OpenAI's pages refuse that.
    assert ("target", "_blank") in page.attributes
    assert seen().elements["a"] == 0


def test_tokens_are_reported_by_model_and_spread():
    """Input, cached, output and reasoning tokens."""
    text = seen().text
    assert "gpt-4o-mini 1,000 200 300 40" in text
    assert "Median 30, 95th percentile 60, longest 60." in text


def test_cost_is_an_estimate():
    """And says so."""
    text = seen().text
    assert "Tokens 1,000 in, 300 out Cost, estimated $0.00016" in text
    assert "gpt-4o-mini 1,000 200 300 40 $0.00016" in text
    assert "an estimate, not a bill" in text


def test_cost_of_several_models_is_summed():
    """And is more than that if the price of one is not known."""
    tally = make_tally()
    tally.consumption.of("gpt-5-mini").add(Usage(output_tokens=1_000_000))
    assert "All models 1,000 200 1,000,300 40 $1.00" in seen(tally=tally).text
    tally.consumption.of("my-deployment").add(Usage(output_tokens=1))
    assert "All models 1,000 200 1,000,301 40 more than $1.00" in seen(tally=tally).text


def test_cost_of_a_model_without_a_price_says_so():
    """It does not advise to install what is already installed."""
    text = seen(tally=make_tally(model="my-deployment")).text
    assert "has no price of OpenAI's for this model." in text
    assert "pip install" not in text


def test_cost_that_is_not_known_says_how_to_know_it(monkeypatch):
    """Prices are an extra."""
    monkeypatch.setattr(page, "estimate_cost", lambda _: None)
    assert "flytekitplugins-openai[prices]" in seen().text


def test_step_that_failed_says_why():
    """The page is most wanted then."""
    text = seen(complaint="9 of 10 requests succeeded, and that is too few.\nbatch_expired: 1").text
    assert "The step failed. 9 of 10 requests succeeded, and that is too few." in text


@pytest.mark.parametrize("rounds", [[], [[]], [[{}]], [[], []]])
def test_page_of_nothing_is_a_page(rounds):
    """A compatible server may report nothing."""
    assert "0 of 0 requests succeeded (0 %)" in seen(tally=Tally(), rounds=rounds).text


@given(st.text())
@example("O1")
@example("completed")
@example("batch_expired")
@example(HOSTILE[0])
@example(HOSTILE[1])
@example(HOSTILE[2])
@example(HOSTILE[3])
@example(HOSTILE[4])
@example(HOSTILE[5])
def test_nothing_from_outside_becomes_markup(text):
    """Names, ids, codes, messages, models and statuses have the elements of any other page."""

    def with_text(text):
        # A word that the page knows has elements of its own: a status, a code with advice, a model with a price.
        text = f"?{text}"
        error = {"code": text, "message": text, "line": 3}
        batch = make_batch(id=text, status=text, endpoint=text, model=text, errors={"data": [error]})
        tally = make_tally(9, make_kind(text, 400, example=text, message=text), model=text)
        report = make_report(name=text, execution=text, rounds=[[batch]], tally=tally, complaint=text)
        # The list of prices may take any text for the name of a model: "O1" is one.
        with mock.patch.object(
            page, "estimate_cost", lambda by_model: Estimate(dict.fromkeys(by_model, Decimal(1)), True)
        ):
            return render(report)

    html = with_text(text)
    html.encode()
    found, expected = Page(html), Page(with_text("plain"))
    assert found.elements - expected.elements == Counter()
    assert not {"script", "img", "iframe", "link"} & set(found.elements)
    assert {name for name, _ in found.attributes} <= {name for name, _ in expected.attributes}


def test_hostile_text_is_shown_as_it_is():
    """It is escaped and not dropped; invisible characters are spelt out."""
    text = seen(tally=make_tally(1, make_kind(example=HOSTILE[0], message=f"a\u202eb {HOSTILE[1]}"))).text
    assert HOSTILE[0] in text
    assert f"a\\u202eb {HOSTILE[1]}" in text


def test_page_stays_small():
    """However long the texts are that it is given."""
    long = "x" * 10**6
    batch = make_batch(id=long, status=long, model=long, errors={"data": [{"code": long, "message": long}]})
    tally = make_tally(9, make_kind(long, example=long, message=long), model=long)
    assert len(render(make_report(name=long, rounds=[[batch]], tally=tally))) < 50_000


def test_page_of_many_hostile_batches_stays_small():
    """Five hundred is the most there are."""
    batch = make_batch(id="\u202e" * 999, status="\u202e" * 999, errors={"data": [{"code": "c" * 999}]})
    assert len(render(make_report(rounds=[[batch] * 500]))) < 3_000_000


def test_page_loads_nothing_and_runs_nothing():
    """It is the same in the console, from a disk, and without a network."""
    html = render(make_report())
    assert "http:" not in html
    assert "https:" not in html
    assert "default-src 'none'" in html
    assert "url(" not in html
    assert "@import" not in html
    assert html.lstrip().startswith("<!doctype html>")
