"""What the emulator's tests are made of: request lines, files, batches, and calls that no SDK would make."""

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

CHAT = "/v1/chat/completions"
MODEL = "gpt-4o-mini"
DAY = 86_400


def make_line(custom_id="r-1", *, method="POST", url=CHAT, model=MODEL, content="Hello", **body):
    body = {"model": model, "messages": [{"role": "user", "content": content}]} | body
    return {"custom_id": custom_id, "method": method, "url": url, "body": body}


def make_lines(count):
    return [make_line(f"r-{i}") for i in range(count)]


def make_jsonl(lines):
    """An input file with nothing escaped that need not be; a line given as bytes goes in as it is."""
    return b"".join((line if isinstance(line, bytes) else encoded(line)) + b"\n" for line in lines)


def encoded(line):
    return json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace")


def upload(client, lines=None, *, name="requests.jsonl", purpose="batch", **parameters):
    data = make_jsonl([make_line()] if lines is None else lines)
    return client.files.create(file=(name, data), purpose=purpose, extra_body=parameters)


def submit(client, lines=None, *, endpoint=CHAT, window="24h", metadata=None, **parameters):
    """A batch of these lines, just created."""
    file = upload(client, lines)
    return client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,
        completion_window=window,
        metadata=metadata,
        extra_body=parameters,
    )


def run(client, lines=None, **parameters):
    """The batch of these lines after its creation: ended, unless the emulator was told to run slowly."""
    return client.batches.retrieve(submit(client, lines, **parameters).id)


def counts(batch):
    """How many requests of a batch there are, were answered, and failed."""
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def read_lines(client, file_id):
    """The lines of a file by their `custom_id`; none when there is no file."""
    if file_id is None:
        return {}
    # Not `splitlines`, which takes U+2028 for the end of one.
    lines = [json.loads(line) for line in client.files.content(file_id).read().split(b"\n") if line]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines), "a request came back twice"
    return found


def results(client, batch):
    """The output and the error lines of a batch."""
    return read_lines(client, batch.output_file_id), read_lines(client, batch.error_file_id)


@dataclass(frozen=True)
class RawReply:
    """An answer as it came over the wire."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        """The document that came as the body."""
        return json.loads(self.body)

    @property
    def error(self):
        """What the error envelope holds."""
        return self.json["error"]


def call(emulator, method, path, *, body=None, key="sk-test", headers=None):
    """One call over a connection of its own, with nothing added to it."""
    address = urlsplit(emulator.base_url)
    sent = {"authorization": f"Bearer {key}"} | (headers or {})
    if isinstance(body, dict | list):
        body, sent = json.dumps(body), {"content-type": "application/json"} | sent
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    try:
        connection.request(method, path, body, sent)
        reply = connection.getresponse()
        return RawReply(reply.status, reply.headers, reply.read())
    finally:
        connection.close()
