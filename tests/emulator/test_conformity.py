"""Held against the SDK that is installed: what a new release of it adds makes a test fail by name."""

import importlib
import typing

import pytest
import typing_extensions
from openai.types import Batch, FileObject
from openai.types.batch_create_params import BatchCreateParams
from openai.types.batch_error import BatchError
from openai.types.batch_request_counts import BatchRequestCounts

from flytekitplugins.openai.emulator.app import PURPOSES
from flytekitplugins.openai.emulator.responder import echo, reply_to

from .builders import CHAT, DAY, call, make_line, run, submit, upload
from .test_responder import BODIES, make_request

STATUSES = typing.get_args(Batch.model_fields["status"].annotation)
ENDPOINTS = typing.get_args(typing_extensions.get_type_hints(BatchCreateParams)["endpoint"])
# Which settings, seconds and cancel lead a batch of one request into each status.
WAYS = {
    "validating": ({"validating": 10}, 0, False),
    "failed": ({"models": ()}, 0, False),
    "in_progress": ({"requests_per_second": 0}, 0, False),
    "finalizing": ({"finalizing": 10}, 0, False),
    "completed": ({}, 0, False),
    "expired": ({"requests_per_second": 0}, DAY, False),
    "cancelling": ({"validating": 10, "cancelling": 10}, 0, True),
    "cancelled": ({"validating": 10}, 0, True),
}
MODELS = {
    "/v1/chat/completions": ("openai.types.chat", "ChatCompletion"),
    "/v1/completions": ("openai.types", "Completion"),
    "/v1/responses": ("openai.types.responses", "Response"),
    "/v1/embeddings": ("openai.types", "CreateEmbeddingResponse"),
    "/v1/moderations": ("openai.types", "ModerationCreateResponse"),
    "/v1/images/generations": ("openai.types", "ImagesResponse"),
    "/v1/images/edits": ("openai.types", "ImagesResponse"),
    "/v1/videos": ("openai.types", "Video"),
}


def lead_into(status, emulator, client):
    """A batch that has come to this status, as it was when it was created."""
    settings, seconds, cancelled = WAYS[status]
    emulator.change(**settings)
    batch = submit(client)
    if cancelled:
        client.batches.cancel(batch.id)
    emulator.advance(seconds)
    return batch


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_can_be_reached(emulator, client, status):
    """The emulator leads a batch into each status that the SDK knows."""
    batch = lead_into(status, emulator, client)
    assert client.batches.retrieve(batch.id).status == status


@pytest.mark.parametrize("status", STATUSES)
def test_every_field_of_a_batch_is_there(emulator, client, status):
    """Whatever its status, a batch has each field of the SDK's model, null where there is nothing to tell."""
    batch = lead_into(status, emulator, client)
    assert set(Batch.model_fields) <= set(call(emulator, "GET", f"/v1/batches/{batch.id}").json)


@pytest.mark.parametrize("status", STATUSES)
def test_every_batch_is_what_the_sdk_expects(emulator, client, status):
    """In each status a batch passes the checks of the SDK's model, which the SDK itself leaves out."""
    settings, seconds, cancelled = WAYS[status]
    emulator.change(**settings)
    batch = submit(client, metadata={"team": "search"})
    if cancelled:
        client.batches.cancel(batch.id)
    emulator.advance(seconds)
    Batch.model_validate(call(emulator, "GET", f"/v1/batches/{batch.id}").json, strict=True)


@pytest.mark.parametrize("name", FileObject.model_fields)
def test_every_field_of_a_file_is_there(emulator, client, name):
    """A file has each field of the SDK's model."""
    assert name in call(emulator, "GET", f"/v1/files/{upload(client).id}").json


@pytest.mark.parametrize("kind", ["input", "output"])
def test_every_file_is_what_the_sdk_expects(emulator, client, kind):
    """Uploaded and written files pass the checks of the SDK's model."""
    batch = run(client)
    file_id = getattr(batch, f"{kind}_file_id")
    FileObject.model_validate(call(emulator, "GET", f"/v1/files/{file_id}").json, strict=True)


@pytest.mark.parametrize("name", BatchRequestCounts.model_fields)
def test_every_count_is_there(emulator, client, name):
    """A batch counts what the SDK's model counts."""
    assert name in call(emulator, "GET", f"/v1/batches/{run(client).id}").json["request_counts"]


@pytest.mark.parametrize("name", BatchError.model_fields)
def test_every_field_of_an_error_is_there(emulator, client, name):
    """An error of a batch has each field of the SDK's model."""
    batch = run(client, [make_line(), make_line()])
    assert name in call(emulator, "GET", f"/v1/batches/{batch.id}").json["errors"]["data"][0]


def test_every_field_of_usage_is_there(emulator, client):
    """A batch's usage passes the checks of the SDK's model, where the SDK has one."""
    usage = pytest.importorskip("openai.types.batch_usage", exc_type=ImportError).BatchUsage
    found = call(emulator, "GET", f"/v1/batches/{run(client).id}").json["usage"]
    assert set(usage.model_fields) <= set(found)
    usage.model_validate(found, strict=True)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_endpoint_runs(client, endpoint):
    """A batch can be created for each endpoint that the SDK knows, and runs."""
    batch = run(client, [make_line(url=endpoint, **BODIES[endpoint])], endpoint=endpoint)
    assert (batch.status, batch.request_counts.completed) == ("completed", 1)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_purpose_can_be_uploaded(client, purpose):
    """A file can be uploaded for each purpose that there is."""
    assert upload(client, purpose=purpose).purpose == purpose


def test_every_purpose_is_known():
    """The emulator takes the purposes that the SDK knows."""
    purpose = importlib.import_module("openai.types.file_purpose").FilePurpose
    assert set(typing.get_args(purpose)) <= set(PURPOSES)


@pytest.mark.parametrize("url", MODELS)
def test_every_answer_is_what_the_sdk_expects(url):
    """Default answers pass the checks of the SDK's models."""
    module, name = MODELS[url]
    model = getattr(pytest.importorskip(module, exc_type=ImportError), name, None)
    if model is None:
        pytest.skip(f"the installed SDK has no {name}")
    model.model_validate(reply_to(make_request(url), echo).body, strict=True)


def test_every_endpoint_with_a_text_has_an_answer():
    """The answers that are held against the SDK's models are all that the emulator makes."""
    assert set(MODELS) == set(BODIES) > {CHAT}
