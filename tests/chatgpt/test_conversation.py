import copy
from types import SimpleNamespace

import pytest

from flytekitplugins.openai.chatgpt.conversation import (
    NoTextError,
    chat_request,
    check_config,
    check_timeout,
    seconds_to_pause,
    text_of,
)

CONFIG = {"model": "gpt-4o-mini"}


def make_answer(content="Hello", *, finish_reason="stop", refusal=None):
    message = SimpleNamespace(content=content, refusal=refusal)
    return SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason=finish_reason)])


def test_message_is_the_users():
    """A task without messages of its own asks the one thing."""
    assert chat_request(CONFIG, "hi") == {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


def test_messages_of_the_config_come_first():
    """A system prompt is one of them."""
    system = {"role": "system", "content": "Be brief."}
    assert chat_request({**CONFIG, "messages": [system]}, "hi")["messages"] == [
        system,
        {"role": "user", "content": "hi"},
    ]


def test_messages_may_be_null():
    """As if they were left out."""
    assert len(chat_request({**CONFIG, "messages": None}, "hi")["messages"]) == 1


def test_whole_numbers_are_integers_again():
    """A protobuf Struct makes floats of them, which OpenAI refuses where it wants integers."""
    request = chat_request({**CONFIG, "max_tokens": 20.0, "temperature": 0.5}, "hi")
    assert (str(request["max_tokens"]), request["temperature"]) == ("20", 0.5)


def test_config_is_left_as_it_is():
    """It belongs to the task's template."""
    config = {**CONFIG, "messages": [{"role": "system", "content": "Be brief."}], "seed": 1.0}
    before = copy.deepcopy(config)
    chat_request(config, "hi")["messages"][0]["content"] = "Be long."
    assert config == before


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "The chatgpt_config names no model; give it one, as in {'model': 'gpt-4o-mini'}."),
        ({"model": ""}, "The chatgpt_config names no model; give it one, as in {'model': 'gpt-4o-mini'}."),
        ({**CONFIG, "messages": "Be brief."}, "The messages of the chatgpt_config are not a list."),
        (
            {**CONFIG, "stream": True},
            "The chatgpt_config asks for a stream, but the task has one output: leave stream out.",
        ),
        (
            {**CONFIG, "extra_body": "zz"},
            "The extra_body of the chatgpt_config must be a dictionary, as in {'top_k': 5}, not 'zz'.",
        ),
    ],
)
def test_config_that_cannot_be_sent_is_refused(config, sentence):
    """Before anybody is asked."""
    with pytest.raises(ValueError, match=r".") as raised:
        check_config(config)
    assert str(raised.value) == sentence


@pytest.mark.parametrize("stream", [False, None])
def test_config_may_say_that_it_wants_no_stream(stream):
    """It is what the task does."""
    check_config({**CONFIG, "stream": stream})


@pytest.mark.parametrize("seconds", [0, -1, 0.0, float("inf"), float("nan"), True, "9", None])
def test_timeout_must_be_a_positive_number(seconds):
    """Anything else is a mistake, and better found when the task is made."""
    with pytest.raises(ValueError, match=r"^timeout_seconds must be a positive number of seconds, not .*\.$"):
        check_timeout(seconds)


@pytest.mark.parametrize("content", ["Hello", "Hel\nlo "])
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", None])
def test_text_is_what_the_model_said(content, reason):
    """Even if it was cut off."""
    assert text_of(make_answer(content, finish_reason=reason)) == content


def test_text_may_be_in_parts():
    """Some compatible servers write it so, with what the model thought before it."""
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert text_of(make_answer(parts)) == "Hello"


def test_text_may_be_empty():
    """A model that is asked to say nothing does."""
    assert text_of(make_answer("")) == ""


def test_half_a_character_is_replaced():
    """JSON may have it, and protobuf cannot hold it."""
    assert text_of(make_answer("a\ud83d")) == "a?"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (make_answer(None, refusal="I can't help with that."), "it refused (I can't help with that)"),
        (make_answer("", finish_reason="content_filter", refusal="No"), "it refused (No)"),
        (make_answer(None, finish_reason="content_filter"), "finish_reason is 'content_filter'"),
        (make_answer("", finish_reason="length"), "finish_reason is 'length'"),
        (make_answer(None, finish_reason="tool_calls"), "finish_reason is 'tool_calls'"),
        (make_answer(None, finish_reason="x" * 500), f"finish_reason is '{'x' * 98}\u2026"),
        (make_answer(None, refusal="x" * 5_000), f"it refused ({'x' * 999}\u2026)"),
        (make_answer(["Hello"]), "finish_reason is 'stop'"),
        (make_answer([]), "finish_reason is 'stop'"),
        (make_answer([{"type": "thinking", "text": "Hm."}, {"type": "text", "text": None}]), "finish_reason is 'stop'"),
        (SimpleNamespace(choices=[None]), "finish_reason is None"),
        (SimpleNamespace(choices=[]), "it has no choices"),
        (SimpleNamespace(choices=None), "it has no choices"),
        (SimpleNamespace(error={"message": "oops"}), "it is an error (oops)"),
        (SimpleNamespace(choices=[], error="Oops."), "it is an error (Oops)"),
        (SimpleNamespace(error={"code": 502}), "it has no choices"),
        ("<html>", "it has no choices"),
        (None, "it has no choices"),
    ],
    ids=str,
)
def test_answer_without_a_text_says_what_it_has(answer, sentence):
    """The SDK hands on whatever a server said."""
    with pytest.raises(NoTextError) as raised:
        text_of(answer)
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (make_answer(None, refusal="x" * 995 + "sk-secret" + "y"), f"it refused ({'x' * 995}***y)"),
        (make_answer(None, finish_reason="sk-secret"), "finish_reason is '***'"),
        (SimpleNamespace(error={"message": "bad key sk-secret"}), "it is an error (bad key ***)"),
    ],
    ids=str,
)
def test_secret_is_not_reported(answer, sentence):
    """Some servers repeat the key, and many people read Flyte's console."""
    with pytest.raises(NoTextError) as raised:
        text_of(answer, secret="sk-secret")
    assert str(raised.value) == sentence


def test_pauses_grow():
    """As long as OpenAI does not say how long."""
    assert [seconds_to_pause(failures, retry_after=None) for failures in range(1, 6)] == [0.5, 1, 2, 2, 2]


@pytest.mark.parametrize(("retry_after", "seconds"), [(0.1, 0.1), (60, 60), (0, 0.5), (-1, 0.5), (float("nan"), 0.5)])
def test_pause_is_as_long_as_openai_says(retry_after, seconds):
    """If it says something that can be waited for."""
    assert seconds_to_pause(1, retry_after=retry_after) == seconds
