"""What a hostile server, or somebody between it and us, can do with an answer."""

import gzip
import json
import threading
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flytekitplugins.openai import _answers
from flytekitplugins.openai._client import Account, async_client, sync_client
from flytekitplugins.openai._credentials import APIKey
from flytekitplugins.openai._errors import explained
from flytekitplugins.openai.exceptions import RefusedError, UnavailableError
from tests.builders import run

ACCOUNT = Account(APIKey("sk-operator-0123456789", "a secret"), "org-1", "proj-1")
BATCH = {"id": "batch_1", "object": "batch", "status": "validating"}


@contextmanager
def serve(answer):
    """A server that answers each request with a status, headers and a body, and the requests that it got."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def look_up(monkeypatch, base_url):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{base_url}/v1")

    async def call():
        with explained(ACCOUNT, "look up batch 'batch_1'"):
            return await async_client(ACCOUNT).batches.retrieve("batch_1")

    return run(call)


def error_of(monkeypatch, headers, body):
    with serve(lambda _: (200, headers, body)) as (base_url, _), pytest.raises(UnavailableError) as raised:
        look_up(monkeypatch, base_url)
    return str(raised.value)


def body_of(batch):
    return json.dumps(batch).encode()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_to_another_host_is_not_followed(monkeypatch, status):
    """It would get the names of the account, the headers of a gateway, and the requests."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway-Key: secret")
    with (
        serve(lambda _: (200, {}, body_of(BATCH))) as (elsewhere, seen),
        serve(lambda path: (status, {"Location": f"{elsewhere}{path}"}, b"")) as (base_url, _),
        pytest.raises(RefusedError) as raised,
    ):
        look_up(monkeypatch, base_url)
    assert not seen
    assert str(raised.value) == (
        f"Could not look up batch 'batch_1': {base_url}/v1 redirects to another host ({status}), which is sent no key; "
        "check OPENAI_BASE_URL."
    )


def test_redirect_of_a_file_step_to_another_host_is_not_followed(monkeypatch):
    """It has a client of its own."""
    with (
        serve(lambda _: (200, {}, b"")) as (elsewhere, seen),
        serve(lambda path: (307, {"Location": f"{elsewhere}{path}"}, b"")) as (base_url, _),
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", f"{base_url}/v1")
        with pytest.raises(RefusedError), sync_client(ACCOUNT) as client, explained(ACCOUNT, "list files"):
            client.files.list()
    assert not seen


@pytest.mark.parametrize("location", ["http://[", "file:///etc/passwd", "https://127.0.0.1/v1/x"])
def test_redirect_to_something_else_is_not_followed(monkeypatch, location):
    """No URL, no HTTP, or another port."""
    with serve(lambda _: (302, {"Location": location}, b"")) as (base_url, seen), pytest.raises(RefusedError):
        look_up(monkeypatch, base_url)
    assert len(seen) == 1


def test_redirect_on_the_same_host_is_followed(monkeypatch):
    """Some servers write their paths otherwise."""

    def answer(path):
        return (200, {}, body_of(BATCH)) if path.endswith("/") else (307, {"Location": f"{path}/"}, b"")

    with serve(answer) as (base_url, seen):
        assert look_up(monkeypatch, base_url).id == "batch_1"
    assert [headers["authorization"] for _, headers in seen] == ["Bearer sk-operator-0123456789"] * 2


def test_answer_that_is_compressed_is_read(monkeypatch):
    """OpenAI compresses the pages of its list."""
    with serve(lambda _: (200, {"Content-Encoding": "gzip"}, gzip.compress(body_of(BATCH)))) as (base_url, seen):
        assert look_up(monkeypatch, base_url).id == "batch_1"
    assert [headers["accept-encoding"] for _, headers in seen] == ["gzip, deflate"]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_decompression_bomb_is_not_read(monkeypatch, encoding, compress):
    """Twenty kilobytes that are twenty megabytes; one for each of a hundred tasks would end the pod."""
    bomb = compress(b" " * (20 << 20))
    assert error_of(monkeypatch, {"Content-Encoding": encoding}, bomb) == (
        "Could not look up batch 'batch_1': the response is not read, because it is larger than 16,777,216 bytes."
    )


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd"])
def test_answer_in_an_encoding_that_was_not_asked_for_is_not_read(monkeypatch, encoding):
    """A bomb within a bomb has a factor of a million."""
    assert error_of(monkeypatch, {"Content-Encoding": encoding}, gzip.compress(b"{}")) == (
        f"Could not look up batch 'batch_1': the response is not read, because it is compressed as {encoding!r}."
    )


def test_huge_answer_is_not_read(monkeypatch):
    """It is given up as soon as it is too large."""
    monkeypatch.setattr(_answers, "MAX_ANSWER_BYTES", 100)
    assert "larger than 100 bytes" in error_of(monkeypatch, {}, b" " * 101)


@pytest.mark.parametrize("document", ["[" * 100_000, '{"id": 1' + "0" * 5_000 + "}"], ids=["nested", "digits"])
def test_document_that_python_refuses_is_unreadable(monkeypatch, document):
    """The error is none of `json`'s own."""
    assert error_of(monkeypatch, {}, document.encode()).startswith(
        "Could not look up batch 'batch_1': the response could not be read ("
    )


def test_key_that_a_server_repeats_is_masked(monkeypatch):
    """Some gateways do when they are set to debug; the answer is the task's output, which everybody reads."""
    echo = {**BATCH, "errors": {"data": [{"message": "Bearer sk-operator-0123456789"}]}}
    with serve(lambda _: (200, {}, body_of(echo))) as (base_url, _):
        assert look_up(monkeypatch, base_url).errors.data[0].message == "Bearer ***"
