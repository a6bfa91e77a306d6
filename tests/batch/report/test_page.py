from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.report import Report, page, render
from flytekitplugins.openai.batch.tally import Kind, Tally
from flytekitplugins.openai.batch.usage import Consumption, Spread, Usage

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


def make_tally(succeeded=9, *, model="gpt-4o-mini", **kinds):
    usage = Usage(1_000, 200, 300, 40)
    spread = Spread({30: succeeded - 1, 60: 1} if succeeded else {})
    consumption = Consumption({model: usage}, spread) if succeeded else Consumption()
    return Tally(succeeded, consumption, kinds or {"batch_expired": Kind(1, "r-9", "too late")})


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
    """Every request has one fate, and those that it did not come to are told apart."""
    kinds = {
        code: Kind(count, "r-1", "no", status)
        for code, count, status in (("batch_expired", 3, None), ("missing", 2, None), ("server_error", 4, 500))
    }
    text = seen(tally=make_tally(1, **kinds)).text
    assert "1 of 10 requests succeeded (10.0 %)" in text
    assert "1 succeeded 10.0 % 4 failed 40.0 % 3 expired 30.0 % 2 missing 20.0 %" in text
    assert "cancelled" not in text


def test_error_has_an_example_and_what_to_do():
    """The most frequent one comes first."""
    kinds = {"server_error": Kind(1, "r-1", "oops", 500), "context_length_exceeded": Kind(4, "r-7", "too long", 400)}
    text = seen(tally=make_tally(5, **kinds)).text
    assert text.index("context_length_exceeded") < text.index("server_error")
    assert "HTTP 400 4 r-7 too long Shorten the prompt" in text


def test_errors_beyond_the_first_kinds_are_counted():
    """A server may call every error otherwise."""
    kinds = {f"code-{n:03}": Kind(1, "r", "m") for n in range(page.MOST_KINDS + 7)}
    text = seen(tally=make_tally(1, **kinds)).text
    assert "code-029" in text
    assert "code-030" not in text
    assert "And 7 more codes" in text


def test_run_again_is_told():
    """What a resubmission was worth."""
    tally = make_tally()
    tally.run_again, tally.recovered = 340, 290
    page = seen(tally=tally, rounds=[[make_batch()], [make_batch(2)]])
    assert "340 requests were run again, and 290 of them succeeded then." in page.text
    assert "First run" in page.text
    assert "Run again, once" in page.text


def test_batch_has_its_states_on_the_time_line():
    """How long it was in each, and where that stands on the line."""
    page = seen(rounds=[[make_batch()]])
    assert "completed, 10 requests, 1 failed; validating 10 s; in progress 1 h; finalizing 1 min" in page.text
    assert ("style", "left:0.272%;width:98.093%") in page.attributes


def test_batches_beyond_the_first_are_folded_away():
    """Five hundred of them are not what a person wants to scroll through."""
    batches = [make_batch(n) for n in range(page.LINES + 3)]
    found = seen(rounds=[batches])
    assert found.elements["details"] == 1
    assert "3 more batches" in found.text
    assert all(batch["id"] in found.words for batch in batches)


def test_batch_that_was_refused_is_told():
    """It has no id, and a reason."""
    error = {"code": "refused", "message": "OpenAI refused (400).", "line": None}
    text = seen(rounds=[[{"id": None, "status": "failed", "errors": {"data": [error]}}]]).text
    assert "1 never submitted failed" in text
    assert "refused: OpenAI refused (400)." in text


def test_batch_is_linked_to_openais_platform():
    """Where that is what it runs on."""
    page = seen(link=lambda batch_id: f"https://platform.openai.com/batches/{batch_id}")
    assert ("href", "https://platform.openai.com/batches/batch_1") in page.attributes
    assert seen().elements["a"] == 0


def test_tokens_are_told_by_model_and_spread():
    """What was read, cached, written and thought."""
    text = seen().text
    assert "gpt-4o-mini 1,000 200 300 40" in text
    assert "Median 30, 95th percentile 60, longest 60." in text


def test_cost_is_an_estimate():
    """And says so."""
    text = seen().text
    assert "gpt-4o-mini 1,000 200 300 40 $0.00016" in text
    assert "an estimate, not a bill" in text


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
    """A compatible server may have told nothing."""
    assert "0 of 0 requests succeeded (0 %)" in seen(tally=Tally(), rounds=rounds).text


@given(st.text())
@example(HOSTILE[0])
@example(HOSTILE[1])
@example(HOSTILE[2])
@example(HOSTILE[3])
@example(HOSTILE[4])
@example(HOSTILE[5])
def test_nothing_from_outside_becomes_markup(text):
    """Names, ids, codes, messages, models and statuses have the elements of any other page."""

    def with_text(text):
        error = {"code": text, "message": text, "line": 3}
        batch = make_batch(id=text or "b", status=text, endpoint=text, model=text, errors={"data": [error]})
        tally = make_tally(model=text, **{text: Kind(1, text, text, 400)})
        report = make_report(name=text, execution=text or "e", rounds=[[batch]], tally=tally, complaint=text or "c")
        return render(report)

    found = with_text(text)
    found.encode()
    expected = Page(with_text("plain"))
    assert Page(found).elements - expected.elements == Counter()
    assert not {"script", "img", "iframe", "link"} & set(Page(found).elements)
    assert {name for name, _ in Page(found).attributes} <= {name for name, _ in expected.attributes}


def test_hostile_text_is_shown_as_it_is():
    """Escaped, and not left out; what nobody would see is spelt out."""
    text = seen(tally=make_tally(1, bad=Kind(1, HOSTILE[0], f"a\u202eb {HOSTILE[1]}"))).text
    assert HOSTILE[0] in text
    assert f"a\\u202eb {HOSTILE[1]}" in text


def test_page_stays_small():
    """However long the texts are that it is given."""
    long = "x" * 10**6
    batch = make_batch(id=long, status=long, model=long, errors={"data": [{"code": long, "message": long}]})
    report = make_report(name=long, rounds=[[batch]], tally=make_tally(model=long, **{long: Kind(1, long, long)}))
    assert len(render(report)) < 50_000


def test_page_loads_nothing_and_runs_nothing():
    """It is the same in the console, from a disk, and without a network."""
    html = render(make_report())
    assert "http" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert html.lstrip().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0 %"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 1_000_000, "0.1 %"),
        (999_999, 1_000_000, "99.9 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_share_is_never_all_of_less(part, whole, text):
    """One failed request of a million is to be seen."""
    assert page.share(part, whole) == text
