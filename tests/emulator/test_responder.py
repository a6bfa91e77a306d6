import pytest

from flytekitplugins.openai.emulator import Emulator, Reply, Request
from flytekitplugins.openai.emulator.responder import count_tokens, echo, prompt_tokens, reply_to

from .builders import counts, make_line, make_lines, results, run

# A request of each kind whose prompt is "What is it?".
BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "What is it?"}]},
    "/v1/completions": {"prompt": "What is it?"},
    "/v1/responses": {"input": "What is it?"},
    "/v1/embeddings": {"input": "What is it?"},
    "/v1/moderations": {"input": "What is it?"},
    "/v1/images/generations": {"prompt": "What is it?"},
    "/v1/images/edits": {"prompt": "What is it?"},
    "/v1/videos": {"prompt": "What is it?"},
}
WITHOUT_ID = {"/v1/embeddings", "/v1/moderations", "/v1/images/generations", "/v1/images/edits"}
SAID = "The emulator heard: What is it?"


def make_request(url, custom_id="r-1", **body):
    return Request(custom_id, url, {"model": "m"} | BODIES[url] | body)


def answer(client, url, **body):
    """What a batch of one such request is answered."""
    line = {"custom_id": "r-1", "method": "POST", "url": url, "body": {"model": "m"} | BODIES[url] | body}
    output, _ = results(client, run(client, [line], endpoint=url))
    return output["r-1"]["response"]["body"]


@pytest.mark.parametrize("url", BODIES)
def test_same_request_has_the_same_answer(url):
    """Answers are the same on every run."""
    assert reply_to(make_request(url), echo) == reply_to(make_request(url), echo)


@pytest.mark.parametrize("url", sorted(set(BODIES) - WITHOUT_ID))
def test_other_request_has_another_id(url):
    """Answers are distinguished by their ids."""
    one, other = (reply_to(make_request(url, key), echo).body["id"] for key in ("r-1", "r-2"))
    assert one != other


def test_chat_completion_echoes_the_prompt(client):
    """A chat completion says its text in a choice, and counts its tokens."""
    body = answer(client, "/v1/chat/completions")
    assert body["choices"][0]["message"]["content"] == SAID
    used = body["usage"]
    assert (used["prompt_tokens"], used["completion_tokens"], used["total_tokens"]) == (3, 8, 11)


def test_completion_echoes_the_prompt(client):
    """A completion says its text in a choice, and counts its tokens."""
    body = answer(client, "/v1/completions")
    assert (body["choices"][0]["text"], body["usage"]["total_tokens"]) == (SAID, 11)


def test_response_echoes_the_prompt(client):
    """A response says its text in an output message, and counts its tokens in words of its own."""
    body = answer(client, "/v1/responses")
    assert body["output"][0]["content"][0]["text"] == SAID
    assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (3, 8)


@pytest.mark.parametrize(("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)])
def test_each_embedding_input_has_a_vector(client, given, count):
    """There is one vector for each input, in their order (platform.openai.com/docs/api-reference/embeddings)."""
    data = answer(client, "/v1/embeddings", input=given)["data"]
    assert [one["index"] for one in data] == list(range(count))


def test_vectors_tell_inputs_apart(client):
    """The same input has the same vector, and another input another, with numbers from -1 to 1."""
    same, again, other = (one["embedding"] for one in answer(client, "/v1/embeddings", input=["a", "a", "b"])["data"])
    assert same == again != other
    assert all(-1 <= number <= 1 for number in same)


def test_vectors_have_the_dimensions_asked_for(client):
    """`dimensions` is the length of a vector (platform.openai.com/docs/api-reference/embeddings/create)."""
    assert len(answer(client, "/v1/embeddings", dimensions=300)["data"][0]["embedding"]) == 300


def test_embeddings_count_what_they_read(client):
    """Embeddings are billed for their input alone, a token given as its number being one."""
    assert answer(client, "/v1/embeddings")["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert answer(client, "/v1/embeddings", input=[[1, 2], [3]])["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(("given", "count"), [("a", 1), (["a", "b"], 2), ([{"type": "text", "text": "a"}], 1)])
def test_each_moderation_input_has_a_result(client, given, count):
    """There is one result for each text (platform.openai.com/docs/api-reference/moderations)."""
    moderated = answer(client, "/v1/moderations", input=given)["results"]
    assert [one["flagged"] for one in moderated] == [False] * count


def test_prompt_is_the_last_text():
    """What a request asks is its last message, or the last part of it."""
    parts = [{"type": "text", "text": "Look:"}, {"type": "text", "text": "what is it?"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    assert make_request("/v1/chat/completions", messages=messages).prompt == "what is it?"


def test_prompt_is_of_the_last_message():
    """However deep a message holds its text, a later message comes after it."""
    messages = [{"role": "user", "content": [{"text": "Look:"}]}, {"role": "user", "content": "what is it?"}]
    assert make_request("/v1/chat/completions", messages=messages).prompt == "what is it?"


def test_request_without_text_has_no_prompt():
    """A request with a picture alone is answered all the same."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    request = make_request("/v1/chat/completions", messages=[{"role": "user", "content": [picture]}])
    assert (request.prompt, reply_to(request, echo).status_code) == ("", 200)


def test_tokens_are_counted_over_the_whole_prompt():
    """Every text that the model reads counts: instructions, system and user messages."""
    messages = [{"role": "system", "content": "word" * 2}, {"role": "user", "content": [{"text": "word" * 3}]}]
    assert prompt_tokens({"instructions": "word", "messages": messages}) == 6


@pytest.mark.parametrize(("length", "count"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_token_is_four_characters(length, count):
    """A token is about four characters (help.openai.com/en/articles/4936856)."""
    assert count_tokens("x" * length) == count


def test_responder_says_the_text(sdk):
    """A responder of one's own says what the answer's text is; its form and usage are the emulator's."""
    with Emulator(responder=lambda request: request.prompt.upper()) as emulator:
        output, _ = results(*(client := sdk.with_options(base_url=emulator.base_url), run(client)))
    body = output["r-1"]["response"]["body"]
    assert (body["choices"][0]["message"]["content"], body["usage"]["completion_tokens"]) == ("HELLO", 2)


def test_responder_can_give_the_whole_reply(sdk):
    """A responder may answer a body of its own with any status; what is no success is a failed request."""
    replies = {"r-0": Reply({"fine": True}, 201), "r-1": Reply({"error": {"code": "no"}}, 403)}
    with Emulator(responder=lambda request: replies[request.custom_id]) as emulator:
        client = sdk.with_options(base_url=emulator.base_url)
        output, errors = results(client, run(client, make_lines(2)))
    assert (output["r-0"]["response"]["status_code"], output["r-0"]["response"]["body"]) == (201, {"fine": True})
    assert (errors["r-1"]["response"]["status_code"], errors["r-1"]["error"]) == (403, None)


def test_responder_sees_the_request(sdk):
    """A responder is told custom_id, url and body of each request, once."""
    seen = []
    with Emulator(responder=lambda request: seen.append(request) or "fine") as emulator:
        client = sdk.with_options(base_url=emulator.base_url)
        batch = run(client, [line := make_line("r-1")])
        client.batches.retrieve(batch.id)
    assert [(one.custom_id, one.url, one.body) for one in seen] == [("r-1", line["url"], line["body"])]


def test_failing_responder_fails_its_request(sdk):
    """A responder that raises is a 500 for its request, which says why, and no harm to the others."""

    def answer(request):
        if request.custom_id == "r-1":
            raise ZeroDivisionError("oh")
        return "fine"

    with Emulator(responder=answer) as emulator:
        client = sdk.with_options(base_url=emulator.base_url)
        batch = run(client, make_lines(3))
        _, errors = results(client, batch)
    response = errors["r-1"]["response"]
    assert (counts(batch), response["status_code"]) == ((3, 2, 1), 500)
    assert response["body"]["error"]["message"] == "The responder failed: ZeroDivisionError('oh')"


@pytest.mark.parametrize(
    ("said", "shown"),
    [({"city": "Lima"}, "{'city': 'Lima'}"), (None, "None"), (b"x" * 200, f"b'{'x' * 97}\u2026")],
    ids=["dict", "None", "bytes"],
)
@pytest.mark.parametrize("url", BODIES)
def test_answer_that_is_no_text_is_a_500_that_says_what_to_do(url, said, shown):
    """A document is the natural slip where structured output is asked for."""
    reply = reply_to(make_request(url), lambda _request: said)
    assert reply.status_code == 500
    assert reply.body["error"]["message"] == (
        f"The responder must return a string or a Reply, not {shown}; json.dumps converts a document."
    )


def test_responder_may_use_its_emulator(sdk):
    """A responder can order faults and look at the clock while its batch runs, and still runs once a request."""
    seen = []

    def answer(request):
        seen.append(request.custom_id)
        emulator.change(validating=emulator.now())
        return "fine"

    with Emulator(responder=answer) as emulator:
        client = sdk.with_options(base_url=emulator.base_url)
        run(client, make_lines(3))
    assert sorted(seen) == ["r-0", "r-1", "r-2"]


def test_models_answer_otherwise_from_now_on(emulator, client):
    """A fixture's user says what they answer, and what was answered before stays."""
    before = run(client, [make_line()])
    emulator.respond(lambda request: f"{request.custom_id}!")
    output, _ = results(client, run(client, [make_line()]))
    assert output["r-1"]["response"]["body"]["choices"][0]["message"]["content"] == "r-1!"
    output, _ = results(client, before)
    assert output["r-1"]["response"]["body"]["choices"][0]["message"]["content"] == "The emulator heard: Hello"


def test_models_answer_as_in_the_beginning_after_a_reset(emulator, client):
    """A test leaves nothing to the next."""
    emulator.respond(lambda _: "otherwise")
    emulator.reset()
    output, _ = results(client, run(client, [make_line()]))
    assert output["r-1"]["response"]["body"]["choices"][0]["message"]["content"] == "The emulator heard: Hello"
