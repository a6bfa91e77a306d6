import base64
import struct
import threading
import time
from dataclasses import replace

import openai
import pytest

from flytekitplugins.openai.emulator import CallFault, Emulator, Reply, RequestFault
from flytekitplugins.openai.emulator.responder import echo, reply_to
from flytekitplugins.openai.emulator.settings import SINGLE_ENDPOINTS

from .builders import CHAT, MODEL, call
from .test_responder import BODIES, SAID, make_request


def post(emulator, url=CHAT, **body):
    """A request of an endpoint by itself; `None` leaves a parameter out."""
    given = {"model": MODEL} | BODIES[url] | body
    return call(emulator, "POST", url, body={name: value for name, value in given.items() if value is not None})


def without_ids(value):
    """An answer without what tells it apart from another to the same request."""
    if isinstance(value, dict):
        return {name: without_ids(item) for name, item in value.items() if name not in ("id", "call_id")}
    return [without_ids(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("url", SINGLE_ENDPOINTS)
def test_request_by_itself_is_answered_as_in_a_batch(emulator, url):
    """The same responder answers both."""
    reply = post(emulator, url)
    in_batch = reply_to(replace(make_request(url, model=MODEL), time=emulator.now()), echo)
    assert reply.status == 200
    assert without_ids(reply.json) == without_ids(in_batch.body)


def test_sdk_gets_a_chat_completion(client):
    """What runs against OpenAI runs against the emulator."""
    messages = [{"role": "user", "content": "What is it?"}]
    assert client.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content == SAID


def test_sdk_gets_a_response(client):
    """The same by the newer endpoint, as far as the SDK has it."""
    pytest.importorskip("openai.resources.responses", exc_type=ImportError)
    assert client.responses.create(model=MODEL, input="What is it?").output_text == SAID


def test_sdk_gets_embeddings(client):
    """The SDK asks for base64 by default, and decodes it; both are the same numbers, nearly."""
    encoded, plain = (
        client.embeddings.create(model=MODEL, input="What is it?", **options).data[0].embedding
        for options in ({}, {"encoding_format": "float"})
    )
    assert list(encoded) == pytest.approx(plain, abs=1e-6)


def test_embedding_comes_as_base64_when_asked_for(emulator):
    """Four bytes a number, the lowest first."""
    encoded = post(emulator, "/v1/embeddings", encoding_format="base64").json["data"][0]["embedding"]
    plain = post(emulator, "/v1/embeddings").json["data"][0]["embedding"]
    assert struct.unpack("<8f", base64.b64decode(encoded)) == pytest.approx(plain, abs=1e-6)


def test_answers_of_two_calls_have_ids_of_their_own(emulator):
    """Answers are distinguished by their ids, even those to the same request."""
    assert post(emulator).json["id"] != post(emulator).json["id"]


def test_half_a_surrogate_pair_comes_back(emulator):
    """JSON can hold it, and goes out as it came in."""
    reply = post(emulator, messages=[{"role": "user", "content": "\ud83d"}])
    assert reply.json["choices"][0]["message"]["content"].endswith("\ud83d")


@pytest.mark.parametrize("url", SINGLE_ENDPOINTS)
@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"[" * 100_000])
def test_request_must_be_an_object(emulator, url, body):
    """Nothing else is a request."""
    reply = call(emulator, "POST", url, body=body)
    assert (reply.status, reply.error["message"]) == (400, "We could not parse the JSON body of your request.")


@pytest.mark.parametrize("url", sorted(set(SINGLE_ENDPOINTS) - {"/v1/moderations"}))
@pytest.mark.parametrize("model", [None, ""])
def test_request_must_name_a_model(emulator, url, model):
    """As a line of a batch must."""
    assert post(emulator, url, model=model).error == {
        "message": "Missing required parameter: 'model'.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "missing_required_parameter",
    }


def test_moderation_has_a_model_of_its_own(emulator):
    """It need not be named (platform.openai.com/docs/api-reference/moderations/create)."""
    assert post(emulator, "/v1/moderations", model=None).status == 200


def test_model_must_be_a_string(emulator):
    """Another type is refused in the words of OpenAI."""
    reply = post(emulator, model=5)
    message = "Invalid type for 'model': expected a string, but got an integer instead."
    assert (reply.status, reply.error["message"]) == (400, message)


def test_model_that_does_not_exist_is_not_found(emulator):
    """The setting holds for batches and for calls by themselves."""
    emulator.change(models=("gpt-5",))
    reply = post(emulator)
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert reply.error["message"] == "The model 'gpt-4o-mini' does not exist."


def test_stream_is_refused(emulator):
    """A client that waits for events would not know what to make of one document."""
    reply = post(emulator, stream=True)
    assert (reply.status, reply.error["param"]) == (400, "stream")
    assert reply.error["message"] == "The emulator does not stream."


def test_request_needs_a_key(emulator):
    """As every call does."""
    assert call(emulator, "POST", CHAT, body={"model": MODEL}, headers={"authorization": ""}).status == 401


def test_call_fault_strikes_a_request_by_itself(emulator):
    """It is a call like any other."""
    emulator.order(CallFault(path=CHAT, status=429, headers={"Retry-After": "3"}))
    refused, answered = post(emulator), post(emulator)
    assert (refused.status, refused.headers["retry-after"], answered.status) == (429, "3", 200)


def test_request_fault_is_for_lines_of_batches(emulator):
    """It waits for one."""
    emulator.order(RequestFault(status=400))
    assert post(emulator).status == 200


def test_responder_says_status_and_body(sdk):
    """A responder's own reply goes out as it is."""
    with Emulator(responder=lambda _request: Reply({"error": {"message": "No.", "code": "no"}}, 403)) as emulator:
        client = sdk.with_options(base_url=emulator.base_url)
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.moderations.create(input="What is it?")
    assert caught.value.body == {"message": "No.", "code": "no"}


def test_slow_responder_holds_up_nobody_else():
    """Calls are answered at the same time, as OpenAI's are."""
    waiting = threading.Event()

    def answer(request):
        assert request.prompt != "slow" or waiting.wait(10)
        return "fine"

    with Emulator(responder=answer) as emulator:
        slow = threading.Thread(
            target=post, args=(emulator,), kwargs={"messages": [{"role": "user", "content": "slow"}]}
        )
        slow.start()
        deadline = time.monotonic() + 10
        while not emulator.calls and time.monotonic() < deadline:
            time.sleep(0.001)
        quick = post(emulator)
        waiting.set()
        slow.join()
    assert quick.status == 200
    assert [call.status for call in emulator.calls] == [200, 200]
