"""How many tokens a request has: counted where a tokenizer is installed, and estimated where none is."""

import base64
import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai._tokenizer import _counter, counts_exactly, tokenizer_of
from flytekitplugins.openai.batch.requests.lines import RequestReader
from flytekitplugins.openai.batch.requests.problems import Problems
from flytekitplugins.openai.batch.requests.request_line import LooseBody
from flytekitplugins.openai.batch.requests.tokens import TokenCounter
from tests.builders import ENDPOINT, make_jsonl, make_request, make_requests

EMBEDDINGS, RESPONSES, COMPLETIONS = "/v1/embeddings", "/v1/responses", "/v1/completions"
MODELS = ("gpt-4o-mini", "gpt-4")
ROOT = Path(__file__).parents[3]
RANDOM = random.Random(0)
ORDERS = {
    # ruff: noqa: RUF001 (other scripts have letters like those of Latin)
    "Chinese": "我订购的商品还没有到，客服也不回复邮件。请告诉我什么时候可以收到。",
    "Japanese": "注文した商品がまだ届きません。サポートからの返事もありません。",
    "Korean": "주문한 상품이 아직 도착하지 않았고 고객 지원에서도 답장이 없습니다.",
    "Russian": "Мой заказ до сих пор не пришёл, и служба поддержки не отвечает на письма.",
    "Arabic": "لم يصل طلبي بعد والدعم لا يرد على رسائلي",
    "Hindi": "मेरा ऑर्डर अभी तक नहीं आया है और सहायता टीम जवाब नहीं दे रही है।",
    "Thai": "สินค้าที่ฉันสั่งยังมาไม่ถึงและฝ่ายบริการลูกค้าไม่ตอบ",
    "Greek": "Η παραγγελία μου δεν έχει φτάσει ακόμα και η υποστήριξη δεν απαντά.",
    "German": "Meine Bestellung ist noch nicht angekommen, und der Kundendienst antwortet nicht auf Nachfragen.",
    "Finnish": "Tilaukseni ei ole vieläkään saapunut eikä asiakaspalvelu vastaa sähköposteihini.",
    "Polish": "Moje zamówienie jeszcze nie dotarło, a obsługa klienta nie odpowiada na wiadomości.",
    "Swahili": "Agizo langu bado halijafika, na huduma kwa wateja haijibu barua pepe zangu. Tafadhali nisaidieni.",
    "Zulu": "Ukuthenga kwami akukafiki, futhi abasebenzi abaphenduli imiyalezo yami. Ngicela ningisize ngokushesha.",
    "Somali": "Dalabkaygii weli ma iman, taageerada macaamiishana kama jawaabto emailladayda. Fadlan i caawiya.",
    "emoji": "🎉🚀🐍🦄🍕🏳️‍🌈👩‍💻",
}
PROSE = {
    "prose": (ROOT / "LICENSE").read_text(),
    "code": (ROOT / "flytekitplugins" / "openai" / "_client.py").read_text(),
}
RANDOM_TEXTS = {
    "base64": base64.b64encode(RANDOM.randbytes(3_000)).decode(),
    "letters one by one": " ".join(RANDOM.choices("abcdefghijklmnopqrstuvwxyz", k=1_000)),
    "hex": RANDOM.randbytes(2_000).hex(),
    "numbers": " ".join(str(RANDOM.randrange(10**6)) for _ in range(500)),
    "json": json.dumps([{"id": number, "price": RANDOM.random(), "name": "chair"} for number in range(200)]),
    "signs": "".join(RANDOM.choices("!@#$%^&*()_+-=[]{}|;:,.<>?/~`'\"\\", k=2_000)),
    "Hangul at random": "".join(chr(RANDOM.randrange(0xAC00, 0xD7A3)) for _ in range(500)),
    "Han at random": "".join(chr(RANDOM.randrange(0x4E00, 0x9FFF)) for _ in range(500)),
    "Ethiopic at random": "".join(chr(RANDOM.randrange(0x1200, 0x1248)) for _ in range(500)),
    "hieroglyphs": "".join(chr(RANDOM.randrange(0x13000, 0x13430)) for _ in range(500)),
}

needs_a_tokenizer = pytest.mark.skipif(not counts_exactly(), reason="needs the extra `tokens`")


@pytest.fixture
def no_tokenizer(monkeypatch):
    monkeypatch.setattr("flytekitplugins.openai.batch.requests.tokens.counts_exactly", lambda: False)
    monkeypatch.setattr("flytekitplugins.openai.batch.requests.tokens.tokenizer_of", lambda _: None)


def load(*requests, endpoint=ENDPOINT, data=None):
    """The tokens of requests, as they are read from an input."""
    problems = Problems()
    reader = RequestReader(endpoint, problems)
    block = reader.read(data or make_jsonl(requests))
    assert not problems
    return reader.load_of([request.body for request in block.requests])


def ask(content, **body):
    request = make_request(content=content)
    return {**request, "body": {**request["body"], **body}}


def at(url, **body):
    return {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "gpt-4o-mini", **body}}


def exactly(text, model="gpt-4o-mini"):
    return tokenizer_of(model)(text)


# The estimate


@needs_a_tokenizer
@pytest.mark.usefixtures("no_tokenizer")
@pytest.mark.parametrize("name", [*ORDERS, *PROSE, *RANDOM_TEXTS])
@pytest.mark.parametrize("escaped", [True, False])
def test_estimate_is_never_too_low(name, escaped):
    """A file that is cut by it fits into the queue, whatever it is about."""
    text = {**ORDERS, **PROSE, **RANDOM_TEXTS}[name]
    data = json.dumps(ask(text), ensure_ascii=escaped).encode() + b"\n"
    assert load(data=data).prompt >= max(exactly(text, model) for model in MODELS)


@needs_a_tokenizer
@pytest.mark.usefixtures("no_tokenizer")
@pytest.mark.parametrize(
    "text",
    ["".join(RANDOM.choices(letters, k=2_000)) for letters in ("abcdefghijklmnopqrstuvwxyz", "acgt")]
    + [base64.b32encode(RANDOM.randbytes(2_000)).decode().lower()],
)
def test_estimate_of_letters_at_random_is_hardly_too_low(text):
    """Nobody asks a model about them."""
    assert load(ask(text)).prompt >= 0.9 * max(exactly(text, model) for model in MODELS)


@needs_a_tokenizer
@pytest.mark.usefixtures("no_tokenizer")
@pytest.mark.parametrize("name", PROSE)
def test_estimate_of_prose_and_code_is_at_most_three_times_the_count(name):
    """Files would be smaller than they need to be."""
    assert load(ask(PROSE[name])).prompt <= 3 * exactly(PROSE[name])


@pytest.mark.usefixtures("no_tokenizer")
def test_image_is_not_counted_as_its_text():
    """Its base64 would be a million tokens."""
    url = {"url": f"data:image/png;base64,{'A' * 1_000_000}", "detail": "low"}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": url}]
    assert 2_833 < load(ask(parts)).prompt < 2_900


# The count


@needs_a_tokenizer
def test_prompt_of_a_conversation_is_counted():
    """Each message has a few tokens more, and so has the answer's beginning."""
    request = ask("What is two and two?")
    assert load(request).prompt == exactly("user") + exactly("What is two and two?") + 4 + 3


@needs_a_tokenizer
@pytest.mark.parametrize("more", [{}, {"name": "Ann"}, {"name": None}])
@pytest.mark.parametrize("parameters", [{}, {"tools": [{"type": "function"}], "response_format": {"type": "text"}}])
def test_conversation_of_texts_is_counted_as_any_other(more, parameters):
    """There is a quick way for it."""
    messages = [{"role": "system", "content": "Be brief. \u2019\n"}, {"role": "user", "content": "", **more}]
    quick = load(at(ENDPOINT, messages=messages, **parameters)).prompt
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flytekitplugins.openai.batch.requests.tokens._count_texts", lambda _: None)
        assert load(at(ENDPOINT, messages=messages, **parameters)).prompt == quick


@needs_a_tokenizer
@pytest.mark.parametrize(
    ("endpoint", "body", "texts"),
    [
        (RESPONSES, {"input": "Hello there", "instructions": "Be brief."}, ["Hello there", "Be brief."]),
        (RESPONSES, {"input": "Hi", "tools": [{"type": "web_search"}]}, ["Hi", '[{"type":"web_search"}]']),
        (COMPLETIONS, {"prompt": ["One day", "One night"]}, ["One day", "One night"]),
        (EMBEDDINGS, {"input": ["first text", "second text"]}, ["first text", "second text"]),
        ("/v1/moderations", {"input": "mean words"}, ["mean words"]),
        ("/v1/images/generations", {"prompt": "a cat"}, []),
    ],
)
def test_prompt_of_each_endpoint_is_counted(endpoint, body, texts):
    """What the model reads, and nothing else."""
    assert load(at(endpoint, **body), endpoint=endpoint).prompt == sum(map(exactly, texts))


@pytest.mark.parametrize("inputs", [[1, 2, 3], [[1, 2], [3]]])
def test_tokens_that_are_given_as_numbers_are_counted(inputs):
    """An embedding can be asked for by tokens."""
    assert load(at(EMBEDDINGS, input=inputs), endpoint=EMBEDDINGS).prompt == 3


@needs_a_tokenizer
def test_schema_is_a_part_of_the_prompt():
    """OpenAI gives it to the model."""
    schema = {"type": "json_schema", "json_schema": {"name": "team", "schema": {"type": "object"}}}
    more = load(ask("Hi", response_format=schema)).prompt - load(ask("Hi")).prompt
    assert more == exactly(json.dumps(schema, separators=(",", ":")))


@pytest.mark.parametrize(
    ("model", "detail", "tokens"),
    [
        ("gpt-4o", "high", 1_445),
        ("gpt-4o", "low", 85),
        ("ft:gpt-4o-mini-2024-07-18:us::1", "low", 2_833),
        ("gpt-5-nano-2025-08-07", "auto", 3_779),
        ("a-model-of-tomorrow", "auto", 3_779),
    ],
)
def test_image_has_the_tokens_that_openai_documents(model, detail, tokens):
    """The most that an image of any size has."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": detail}}
    with_image, without = (at(ENDPOINT, messages=[{"role": "user", "content": c}]) for c in ([image], []))
    for request in (with_image, without):
        request["body"]["model"] = model
    assert load(with_image).prompt - load(without).prompt == tokens


def test_image_of_a_response_says_its_detail_beside_its_url():
    """And in a conversation within it."""
    image = {"type": "input_image", "image_url": "https://example.com/cat.png", "detail": "low"}
    given = [{"role": "user", "content": [image]}]
    assert 2_833 < load(at(RESPONSES, input=given), endpoint=RESPONSES).prompt < 2_850


def test_recording_is_counted_as_a_constant():
    """How long it is, only OpenAI finds out."""
    part = {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "mp3"}}
    assert 5_000 < load(ask([part])).prompt < 5_050


@needs_a_tokenizer
def test_half_of_a_character_is_counted_too():
    """JSON can hold it, and UTF-8 cannot."""
    assert load(ask("half \ud83d of it")).prompt > 5


@needs_a_tokenizer
@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4.1-mini", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("ft:gpt-3.5-turbo:us::1", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("ft:gpt-4:us::1", "cl100k_base"),
        ("davinci-002", "cl100k_base"),
        (None, "o200k_base"),
    ],
)
def test_model_has_its_tokenizer(model, encoding):
    """The older ones have another."""
    quicktok = pytest.importorskip("quicktok")
    text = ORDERS["Hindi"]
    assert exactly(text, model) == quicktok.get_encoding(encoding).count(text)


def test_there_may_be_no_tokenizer(monkeypatch):
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "quicktok", None)
    _counter.cache_clear()
    assert tokenizer_of("gpt-4o") is None
    _counter.cache_clear()


@pytest.mark.parametrize("part", ['"tools": [1e999]', '"tools": [' + "[" * 900 + "1e999" + "]" * 900 + "]"])
def test_what_cannot_be_read_is_counted_by_its_bytes(part):
    """Whether it can be sent, OpenAI decides."""
    line = json.dumps(ask("Hi")).replace('"messages"', f'{part}, "messages"')
    assert load(data=f"{line}\n".encode()).prompt >= len(part) / 4


def test_prompt_that_is_nested_too_deeply_is_counted_all_the_same():
    """Also one that the decoder stopped."""
    deep = json.loads("[" * 700 + "]" * 700)
    body = LooseBody("gpt-4o", {"messages": [{"role": "user", "content": deep}], "max_tokens": 5})
    assert TokenCounter(ENDPOINT).load_of([body]).answer == 5


# The answers


@pytest.mark.parametrize(
    ("endpoint", "body", "most"),
    [
        (ENDPOINT, {"max_tokens": 10}, 10),
        (ENDPOINT, {"max_tokens": 10, "max_completion_tokens": 20, "n": 3}, 60),
        (ENDPOINT, {"n": 3}, None),
        (ENDPOINT, {"max_tokens": None}, None),
        (RESPONSES, {"max_output_tokens": 7}, 7),
        (COMPLETIONS, {}, 16),
        (COMPLETIONS, {"n": 2, "best_of": 4}, 64),
        (COMPLETIONS, {"prompt": ["a", "b", "c"], "max_tokens": 100}, 300),
        (COMPLETIONS, {"prompt": [[1, 2], [3]], "max_tokens": 100}, 200),
        (COMPLETIONS, {"prompt": [1, 2], "max_tokens": 100}, 100),
        (EMBEDDINGS, {}, 0),
        ("/v1/moderations", {}, 0),
    ],
)
def test_answer_is_as_long_as_its_request_allows(endpoint, body, most):
    """By the parameters of each endpoint; without one, nobody knows."""
    prompt = {"messages": [{"role": "user", "content": "Hi"}], "input": "Hi", "prompt": "Hi"}
    found = load(at(endpoint, **{**prompt, **body}), endpoint=endpoint)
    assert (None if found.open_answers else found.answer) == most


@pytest.mark.parametrize("most", ["100", 10.5, True, {"a": 1}])
def test_limit_that_is_no_number_is_none(most):
    """OpenAI refuses the request; it is not for a count to fail."""
    assert load(ask("Hi", max_tokens=most)).open_answers == 1


# Adding up


@pytest.mark.parametrize("exact", [pytest.param(True, marks=needs_a_tokenizer), False])
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.data())
def test_tokens_of_a_block_are_those_of_its_requests(exact, texts, data):
    """Wherever an input is cut."""
    with pytest.MonkeyPatch.context() as patch:
        if not exact:
            patch.setattr("flytekitplugins.openai.batch.requests.tokens.counts_exactly", lambda: False)
            patch.setattr("flytekitplugins.openai.batch.requests.tokens.tokenizer_of", lambda _: None)
        limits = data.draw(st.lists(st.none() | st.integers(1, 9), min_size=len(texts), max_size=len(texts)))
        requests = [ask(text, max_tokens=most) for text, most in zip(texts, limits, strict=True)]
        whole, single = load(*requests), [load(request) for request in requests]
        added = single[0]
        for one in single[1:]:
            added = added.plus(one)
    assert whole == added


def test_nothing_has_no_tokens():
    """An input may be empty."""
    reader = RequestReader(None, Problems())
    assert reader.load_of(reader.read(b"").requests).prompt == 0
    assert load(*make_requests(2)).prompt == 2 * load(make_request()).prompt
