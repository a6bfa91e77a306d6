"""What a file of requests costs, and what is wrong with it, from the command line."""

import json
import subprocess
import sys
import tracemalloc

import pytest

from flytekitplugins.openai.__main__ import main
from flytekitplugins.openai.batch.check import check_file
from tests.builders import make_jsonl, make_request, make_requests

pytest.importorskip("genai_prices")


def limited(request, most=100):
    return {**request, "body": {**request["body"], "max_tokens": most}}


@pytest.fixture
def file_of(tmp_path):
    """A function that writes requests, or any bytes, into a file."""

    def write(requests):
        path = tmp_path / "requests.jsonl"
        path.write_bytes(requests if isinstance(requests, bytes) else make_jsonl(requests))
        return path

    return write


def run(capsys, *arguments):
    """The exit status, what was printed, and what was reported beside it."""
    status = main(["check", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_good_file_is_described(file_of, capsys):
    """Requests, batches, tokens and cost, by model."""
    requests = [
        limited(make_request(f"r-{number}", model=["gpt-4o", "gpt-4o-mini"][number % 2])) for number in range(9)
    ]
    status, told, _ = run(capsys, file_of(requests))
    assert status == 0
    words = " ".join(told.split())
    assert "9 requests for /v1/chat/completions, in 2 batches" in words
    assert "gpt-4o 5 " in words
    assert "gpt-4o-mini 4 " in words
    assert " 500 " in words
    assert "Cost: $" in words
    assert "One by one: at most $" in words


def test_json_is_for_programs(file_of, capsys):
    """The same numbers."""
    status, told, _ = run(capsys, file_of([limited(request) for request in make_requests(3)]), "--json")
    found = json.loads(told)
    assert (status, found["ok"], found["problems"]) == (0, True, [])
    assert (found["requests"], found["batches"], found["endpoint"]) == (3, 1, "/v1/chat/completions")
    [model] = found["models"]
    assert (model["model"], model["requests"], model["output_tokens_at_most"]) == ("gpt-4o-mini", 3, 300)
    assert found["at_most_usd"] == pytest.approx(found["prompts_usd"] + found["answers_usd_at_most"])
    assert found["synchronous_usd_at_most"] == pytest.approx(2 * found["at_most_usd"])


def test_open_answers_have_no_cost(file_of, capsys):
    """Nobody knows how long they will be."""
    status, told, _ = run(capsys, file_of(make_requests(3)))
    assert status == 0
    assert "no limit" in told
    assert "the answers have no limit, because max_completion_tokens is not set." in told
    assert json.loads(run(capsys, file_of(make_requests(3)), "--json")[1])["at_most_usd"] is None


def test_problems_are_listed_by_line(file_of, capsys):
    """Each on a line of its own, with the file's name for an editor to jump to."""
    data = make_jsonl(make_requests(2)) + b"{\n" * 12 + make_jsonl([make_request("")])
    path = file_of(data)
    status, told, _ = run(capsys, path)
    lines = told.splitlines()
    assert (status, len(lines)) == (1, 12)
    assert lines[0].startswith(f"{path}: line 3 is not valid JSON (")
    assert lines[10:] == [f"{path}: 2 more lines like these", f"{path}: line 15 has no custom_id (it is '')"]
    found = json.loads(run(capsys, path, "--json")[1])
    assert (found["ok"], len(found["problems"])) == (False, 12)


def test_queue_makes_more_batches(file_of, capsys):
    """By model, as `create_batch` cuts them."""
    requests = [make_request(f"r-{n}", model="ab"[n % 2], content="word " * 99) for n in range(20)]
    path = file_of(requests)
    found = [
        json.loads(run(capsys, path, "--json", *limits)[1])["batches"]
        for limits in ([], ["--enqueued-token-limit", "600"], ["--enqueued-token-limit", "a=600"])
    ]
    assert found == [2, 4, 3]


def test_cost_beyond_the_cap_is_a_problem(file_of, capsys):
    """The rest is told all the same."""
    status, told, _ = run(capsys, file_of([limited(r) for r in make_requests(100)]), "--max-cost-usd", "0.001")
    assert status == 1
    assert "requests.jsonl: its 100 requests may cost $0.0031, which is $0.0021 more than max_cost_usd=0.001" in told
    assert "in 1 batch" in told


def test_endpoint_may_be_given(file_of, capsys):
    """Otherwise it is that of the first request."""
    status, told, _ = run(capsys, file_of(make_requests(1)), "--endpoint", "/v1/responses")
    assert status == 1
    assert "has a url that is not the endpoint" in told


def test_file_may_not_be_there(tmp_path, capsys):
    """A sentence, and no traceback."""
    path = tmp_path / "none.jsonl"
    assert run(capsys, path) == (1, "", f"{path}: No such file or directory\n")
    assert run(capsys, tmp_path) == (1, "", f"{tmp_path}: Is a directory\n")


@pytest.mark.parametrize("limit", ["many", "-5", "a=", "a=b"])
def test_limit_must_be_a_number(file_of, capsys, limit):
    """As argparse reports it."""
    with pytest.raises(SystemExit):
        run(capsys, file_of(make_requests(1)), f"--enqueued-token-limit={limit}")
    told = f"argument --enqueued-token-limit: {limit!r} is no number of tokens, such as 2000000 or gpt-4o=90000"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("amount", ["nan", "0", "-1", "inf", "much"])
def test_cap_must_be_an_amount(file_of, capsys, amount):
    """As in `create_batch`."""
    with pytest.raises(SystemExit):
        run(capsys, file_of(make_requests(1)), f"--max-cost-usd={amount}")
    assert f"argument --max-cost-usd: {amount!r} is no amount above 0" in capsys.readouterr().err


def test_model_may_have_no_price(file_of, capsys):
    """What it is called is told."""
    _, told, _ = run(capsys, file_of([make_request(model="mine")]))
    assert "What they cost is not known: genai-prices has no price of 'mine'." in told


def test_extras_may_not_be_installed(file_of, capsys, monkeypatch):
    """Tokens are estimated then, and said to be."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    for module in ("requests.tokens", "requests.shards"):
        monkeypatch.setattr(f"flytekitplugins.openai.batch.{module}.counts_exactly", lambda: False)
    monkeypatch.setattr("flytekitplugins.openai.batch.requests.tokens.tokenizer_of", lambda _: None)
    _, told, _ = run(capsys, file_of(make_requests(1)))
    words = " ".join(told.split())
    assert "prompt tokens, about" in words
    assert "pip install 'flytekitplugins-openai[prices]'" in words
    assert "with pip install 'flytekitplugins-openai[tokens]' they are counted." in words


def test_command_needs_neither_key_nor_flyte(file_of):
    """As it is started in a shell."""
    command = [sys.executable, "-m", "flytekitplugins.openai", "check", file_of(make_requests(2)), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": ""})
    assert json.loads(done.stdout)["requests"] == 2


def test_memory_does_not_grow_with_the_file(file_of):
    """A million lines are checked in the memory of a few thousand."""
    peaks = []
    for count in (10_000, 40_000):
        path = file_of(make_jsonl(make_requests(count)))
        tracemalloc.start()
        assert check_file(path).is_good
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000
