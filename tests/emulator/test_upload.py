import gc
import socket
import time
from urllib.parse import urlsplit

import openai
import pytest

from .builders import call, make_jsonl, make_line, upload

BOUNDARY = "boundary"


def make_form(*, file=b"{}", name="requests.jsonl", **fields):
    """A multipart body, as `curl -F` writes it; `None` leaves a field out."""
    parts = [
        f'Content-Disposition: form-data; name="{field}"\r\n\r\n{value}'.encode()
        for field, value in fields.items()
        if value is not None
    ]
    if file is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + file)
    return b"".join(f"--{BOUNDARY}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def post_form(emulator, form, *, kind=f"multipart/form-data; boundary={BOUNDARY}"):
    return call(emulator, "POST", "/v1/files", body=form, headers={"content-type": kind})


def test_upload_answers_a_file(emulator, client):
    """The answer to an upload is the File object (platform.openai.com/docs/api-reference/files/object)."""
    data = make_jsonl([make_line()])
    file = upload(client, [make_line()], name="my requests.jsonl")
    assert (file.filename, file.purpose, file.status) == ("my requests.jsonl", "batch", "processed")
    assert (file.bytes, file.created_at) == (len(data), int(emulator.now()))


def test_uploaded_bytes_come_back(client):
    """The content of a file is what was uploaded, byte for byte."""
    data = make_jsonl([make_line(content="a\u2028b\r\n\x00")])
    file = client.files.create(file=("requests.jsonl", data), purpose="batch")
    assert client.files.content(file.id).read() == data


def test_batch_file_without_a_name_is_accepted(client):
    """The SDK calls raw bytes `upload`, and OpenAI has accepted such a file in recorded exchanges."""
    file = client.files.create(file=make_jsonl([make_line()]), purpose="batch")
    assert (file.filename, file.status) == ("upload", "processed")


@pytest.mark.parametrize("name", ["requests.json", "requests.JSONL", "requests.txt", "requests", "upload.txt"])
def test_batch_file_must_be_named_jsonl(client, name):
    """A batch file of another name is refused, in the words users have seen."""
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, name=name)
    message = "Invalid file format for Batch API. Must be .jsonl"
    assert caught.value.body == {"message": message, "type": "invalid_request_error", "param": None, "code": None}


def test_batch_file_must_not_be_empty(client):
    """A batch file without a byte is refused at upload, as users have seen."""
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, [])
    assert caught.value.body["message"] == "The file is empty."


@pytest.mark.parametrize("first", [b"no JSON", b"[1, 2]", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_first_line_must_be_an_object(client, first):
    """A batch file that does not begin with a JSON object is refused at upload, as users have seen."""
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, [first, make_line()])
    assert caught.value.body["message"] == "Invalid file format. The first line is not a JSON object."


def test_batch_file_must_not_be_too_large(emulator, client):
    """A batch file over the limit is refused at upload, in the words users have seen."""
    emulator.change(max_file_bytes=len(make_jsonl([make_line()])))
    upload(client, [make_line()])
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, [make_line(), make_line()])
    assert caught.value.body["message"] == "File is too large."


def test_refused_file_is_not_kept(client):
    """After a refusal there is no file."""
    with pytest.raises(openai.BadRequestError):
        upload(client, name="requests.txt")
    assert client.files.list().data == []


def test_other_purposes_are_not_looked_at(client):
    """What a batch file must be like does not hold for files of another purpose."""
    assert upload(client, [b"no JSON"], name="notes.txt", purpose="user_data").purpose == "user_data"


def test_only_batch_files_make_batches(client):
    """The input of a batch must have been uploaded for it (platform.openai.com/docs/api-reference/batch/create)."""
    file = upload(client, purpose="user_data")
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert (caught.value.code, caught.value.param) == ("invalid_value", "input_file_id")


@pytest.mark.parametrize(
    ("form", "param"), [(make_form(file=None, purpose="batch"), "file"), (make_form(purpose=None), "purpose")]
)
def test_missing_field_is_refused(emulator, form, param):
    """An upload needs a file and a purpose (platform.openai.com/docs/api-reference/files/create)."""
    reply = post_form(emulator, form)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "missing_required_parameter", param)


def test_unknown_field_is_refused(emulator):
    """A field that an upload does not have is named in the refusal."""
    reply = post_form(emulator, make_form(purpose="batch", colour="red"))
    assert reply.status == 400
    assert reply.error == {
        "message": "Unknown parameter: 'colour'.",
        "type": "invalid_request_error",
        "param": "colour",
        "code": "unknown_parameter",
    }


def test_unknown_purpose_is_refused(emulator):
    """A purpose that does not exist is refused with those that do."""
    reply = post_form(emulator, make_form(purpose="fun"))
    assert reply.error["message"] == (
        "Invalid value: 'fun'. Expected one of 'assistants', 'batch', 'fine-tune', 'vision', 'user_data', 'evals'."
    )


def test_broken_form_is_refused(emulator):
    """A body that is no form is a mistake in the request, and not an unknown route."""
    reply = post_form(emulator, make_form(purpose="batch"), kind="multipart/form-data")
    assert (reply.status, reply.error["message"]) == (400, "Missing boundary in multipart.")
    assert emulator.calls[0].known


def test_refused_key_does_not_cut_a_large_upload_off(emulator, client):
    """A client that is still sending gets to read why it is refused."""
    emulator.change(keys={"sk-good": "proj_a"})
    with pytest.raises(openai.AuthenticationError):
        client.files.create(file=("requests.jsonl", b" " * 8_000_000), purpose="batch")


def test_upload_whose_sender_goes_away_leaves_nothing(emulator, client):
    """Neither a file that can be listed nor, whatever the version of starlette, one that is open."""
    # More than is kept in memory.
    form = make_form(file=b"x" * 3_000_000, purpose="batch")
    head = f"POST /v1/files HTTP/1.1\r\nHost: emulator\r\nAuthorization: Bearer sk-test\r\nContent-Length: {len(form)}"
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    address = urlsplit(emulator.base_url)
    with socket.create_connection((address.hostname, address.port)) as sender:
        sender.sendall(f"{head}\r\n{kind}\r\n\r\n".encode() + form[:-1_000])
    ends_at = time.monotonic() + 10
    while not (emulator.calls and emulator.calls[0].status) and time.monotonic() < ends_at:
        time.sleep(0.005)
    assert emulator.calls[0].status == 400
    gc.collect()
    assert client.files.list().data == []
