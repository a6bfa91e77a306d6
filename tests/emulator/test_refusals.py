import json
import socket
from urllib.parse import urlsplit

import openai
import pytest

from flytekitplugins.openai.emulator import Emulator, Reply

from .builders import CHAT, call, make_line, run, submit, upload


def make_creation(**parameters):
    """The body of a batch creation; `None` leaves a parameter out."""
    given = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"} | parameters
    return {name: value for name, value in given.items() if value is not None}


def create(emulator, **parameters):
    return call(emulator, "POST", "/v1/batches", body=make_creation(**parameters))


@pytest.fixture
def lenient():
    """An emulator that does not mind unknown routes when it ends."""
    with Emulator(strict=False) as lenient:
        yield lenient


def test_refusal_has_openais_envelope(client):
    """A refusal is `error` with message, type, param and code (platform.openai.com/docs/guides/error-codes)."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.batches.retrieve("batch_unknown")
    assert caught.value.response.json() == {
        "error": {
            "message": "No batch found with id 'batch_unknown'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }


def test_every_answer_has_a_request_id(emulator, client):
    """Answers and refusals alike carry `x-request-id`, and no two the same (platform.openai.com/docs/api-reference)."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.batches.retrieve("batch_unknown")
    answered = call(emulator, "GET", "/v1/batches").headers["x-request-id"]
    assert caught.value.request_id.startswith("req_")
    assert answered.startswith("req_")
    assert answered != caught.value.request_id


# What the API does not have: another route, another method, one slash too many, no /v1.
UNKNOWN = {
    ("GET", "/v1/models"): 404,
    ("POST", "/v1/audio/speech"): 404,
    ("PUT", "/v1/files"): 405,
    ("DELETE", "/v1/batches"): 405,
    ("GET", "/v1/batches/"): 404,
    ("GET", "/batches"): 404,
    ("GET", "/"): 404,
    ("POST", "/control/clock"): 404,
}


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_unknown_route_is_refused(lenient, method, path):
    """A call that the API does not have is answered in its envelope."""
    reply = call(lenient, method, path)
    assert (reply.status, reply.error["code"]) == (UNKNOWN[method, path], "unknown_url")
    assert reply.error["message"] == f"Unknown request URL: {method} {path}."


def test_client_of_another_protocol_is_no_unknown_route():
    """It had this port before, such as one of gRPC whose server was stopped."""
    with Emulator() as emulator:
        with socket.create_connection(("127.0.0.1", urlsplit(emulator.base_url).port)) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            connection.recv(1)
        assert [call.method for call in emulator.calls] in ([], ["PRI"])


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_unknown_route_fails_a_strict_emulator(method, path):
    """A strict emulator complains about calls without a route when it ends."""
    message = f"^the emulator does not support: {method} {path}$"
    with pytest.raises(AssertionError, match=message), Emulator() as emulator:
        call(emulator, method, path)


def test_check_names_every_unknown_call(lenient):
    """All calls without a route are told at once, and only those."""
    for path in ("/v1/models", "/v1/batches", "/v1/fine_tuning/jobs"):
        call(lenient, "GET", path)
    message = "^the emulator does not support: GET /v1/models, GET /v1/fine_tuning/jobs$"
    with pytest.raises(AssertionError, match=message):
        lenient.check()


def test_error_of_the_test_comes_first():
    """A strict emulator does not hide what went wrong in its context."""

    def go_wrong():
        with Emulator() as emulator:
            call(emulator, "GET", "/v1/models")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go_wrong()


def test_method_not_allowed_names_the_allowed(lenient):
    """A refused method comes with those that there are (RFC 9110, 15.5.6)."""
    assert call(lenient, "PUT", "/v1/files/file-1").headers["allow"] is not None


def test_head_answers_without_a_body(emulator):
    """HEAD is GET without the body (RFC 9110, 9.3.2)."""
    reply = call(emulator, "HEAD", "/v1/batches")
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'"text"', b"\xff"])
def test_creation_must_be_an_object(emulator, body):
    """A batch is created from a JSON object."""
    reply = call(emulator, "POST", "/v1/batches", body=body)
    assert reply.status == 400
    assert reply.error["message"] == "We could not parse the JSON body of your request."


@pytest.mark.parametrize("name", ["input_file_id", "endpoint", "completion_window"])
def test_missing_parameter_is_named(emulator, name):
    """A creation lacks what it requires, in the words users have seen."""
    reply = create(emulator, **{name: None})
    assert reply.status == 400
    assert reply.error == {
        "message": f"Missing required parameter: '{name}'.",
        "type": "invalid_request_error",
        "param": name,
        "code": "missing_required_parameter",
    }


def test_unknown_parameter_is_named(emulator):
    """A parameter that a creation does not have is refused by name."""
    reply = create(emulator, priority="high")
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "unknown_parameter", "priority")


@pytest.mark.parametrize(
    ("name", "value"), [("endpoint", "/v1/audio/speech"), ("endpoint", 5), ("completion_window", "1h")]
)
def test_parameter_must_be_one_of_the_choices(emulator, name, value):
    """Endpoint and completion window are among a few (platform.openai.com/docs/api-reference/batch/create)."""
    reply = create(emulator, **{name: value})
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_value", name)
    assert reply.error["message"].startswith(f"Invalid value: {value!r}. Expected one of '")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(5, "an integer"), (["a"], "an array"), ({}, "an object"), (True, "a boolean"), (0.5, "a decimal")],
)
def test_input_file_id_is_a_string(emulator, value, kind):
    """A parameter of another type is refused, in the words users have seen."""
    reply = create(emulator, input_file_id=value)
    message = f"Invalid type for 'input_file_id': expected a string, but got {kind} instead."
    assert (reply.status, reply.error["code"], reply.error["message"]) == (400, "invalid_type", message)


PAIR = {"k" * 64: "v" * 512}


@pytest.mark.parametrize("metadata", [None, {}, PAIR, {f"key {i}": "" for i in range(16)}])
def test_metadata_comes_back(client, metadata):
    """Up to 16 pairs with keys of 64 and values of 512 characters are kept (platform.openai.com/docs/api-reference)."""
    batch = submit(client, metadata=metadata)
    assert client.batches.retrieve(batch.id).metadata == metadata


BAD_METADATA = {
    "too many pairs": (
        {f"key {i}": "" for i in range(17)},
        "object_above_max_properties",
        "metadata",
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
        "but got an object with 17 properties instead.",
    ),
    "long value": (
        {"team": "v" * 513},
        "string_above_max_length",
        "metadata.team",
        "Invalid 'metadata.team': string too long. Expected a string with maximum length 512, "
        "but got a string with length 513 instead.",
    ),
    "long key": (
        {"k" * 65: "v"},
        "string_above_max_length",
        "metadata",
        "Invalid 'metadata': string too long. Expected a string with maximum length 64, "
        "but got a string with length 65 instead.",
    ),
    "number": (
        {"shard": 1},
        "invalid_type",
        "metadata.shard",
        "Invalid type for 'metadata.shard': expected a string, but got an integer instead.",
    ),
    "text": (
        "team=search",
        "invalid_type",
        "metadata",
        "Invalid type for 'metadata': expected an object, but got a string instead.",
    ),
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_metadata_is_refused(emulator, case):
    """Metadata beyond its limits is refused, in the words users have seen."""
    metadata, code, param, message = BAD_METADATA[case]
    reply = create(emulator, metadata=metadata)
    assert reply.status == 400
    assert reply.error == {"message": message, "type": "invalid_request_error", "param": param, "code": code}


BAD_LIFETIMES = {
    "too short": {"anchor": "created_at", "seconds": 3_599},
    "too long": {"anchor": "created_at", "seconds": 2_592_001},
    "other anchor": {"anchor": "last_used", "seconds": 3_600},
    "no anchor": {"seconds": 3_600},
    "no seconds": {"anchor": "created_at"},
    "unknown part": {"anchor": "created_at", "seconds": 3_600, "unit": "s"},
    "no number": {"anchor": "created_at", "seconds": "soon"},
    "superscript": {"anchor": "created_at", "seconds": "\u00b2"},
}


@pytest.mark.parametrize("case", BAD_LIFETIMES)
def test_bad_lifetime_of_output_is_refused(emulator, case):
    """Output expires after an hour to 30 days (platform.openai.com/docs/api-reference/batch/create)."""
    reply = create(emulator, output_expires_after=BAD_LIFETIMES[case])
    assert (reply.status, reply.error["code"]) == (400, "invalid_value")
    assert reply.error["param"].startswith("output_expires_after")


@pytest.mark.parametrize("case", sorted(set(BAD_LIFETIMES) - {"unknown part"}))
def test_bad_lifetime_of_an_upload_is_refused(client, case):
    """A file expires after an hour to 30 days (platform.openai.com/docs/api-reference/files/create)."""
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, expires_after=BAD_LIFETIMES[case])
    assert caught.value.code == "invalid_value"


def test_lifetime_is_an_object(emulator):
    """A lifetime that is a bare number is refused."""
    reply = create(emulator, output_expires_after=3_600)
    assert (reply.status, reply.error["param"]) == (400, "output_expires_after")


@pytest.mark.parametrize("seconds", [3_600, 2_592_000])
def test_lifetime_can_be_an_hour_or_a_month(client, seconds):
    """Both ends of the range are allowed (platform.openai.com/docs/api-reference/files/create)."""
    lifetime = {"anchor": "created_at", "seconds": seconds}
    file = upload(client, expires_after=lifetime)
    assert file.expires_at == file.created_at + seconds
    submit(client, output_expires_after=lifetime)


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Basic sk-test", "sk-test"])
def test_call_without_a_key_is_refused(emulator, sent):
    """A call needs a key, as a Bearer token (platform.openai.com/docs/api-reference/authentication)."""
    reply = call(emulator, "GET", "/v1/batches", headers={"authorization": sent})
    assert reply.status == 401
    message = "You didn't provide an API key in an Authorization header with Bearer auth."
    assert reply.error["message"] == message


def test_failure_of_the_emulator_tells_itself(sdk):
    """What goes wrong within the emulator is a 500 that says what it was."""
    with Emulator(responder=lambda _request: Reply({"a set": {1}})) as emulator:
        client = sdk.with_options(base_url=emulator.base_url)
        with pytest.raises(openai.InternalServerError) as caught:
            run(client, [make_line()])
    message = "The emulator failed: TypeError('Object of type set is not JSON serializable')"
    assert caught.value.body["message"] == message


def test_refusals_are_json(emulator):
    """A refusal says that it is JSON."""
    reply = call(emulator, "GET", "/v1/batches/unknown")
    assert reply.headers["content-type"] == "application/json"
    assert json.loads(reply.body)
