"""What the fuzzer calls: a function for each parser that reads foreign bytes, which fails if a property does not hold.

- `metadata`: what comes back to the connector's port as a task's metadata.
- `answers`: what a server answers to a poll, a creation and a list, through the SDK and the whole of `get`.
- `result_lines`: the files of results, as `read_results` reads them.
"""

# ruff: noqa: SLF001 (the fuzzer puts its bytes in the place of the network)
import asyncio
import functools
import json
import os
import sys

import openai
from google.protobuf.struct_pb2 import Struct

from flytekitplugins.openai import BatchEndpointConnector, _client
from flytekitplugins.openai._client import Account, async_client
from flytekitplugins.openai._credentials import APIKey
from flytekitplugins.openai._ids import is_id
from flytekitplugins.openai._lines import whole_lines
from flytekitplugins.openai.batch.connector import BatchEndpointMetadata
from flytekitplugins.openai.batch.control import batches_api
from flytekitplugins.openai.batch.control.policy.creation_body import creation_body
from flytekitplugins.openai.batch.control.state.history import timeline
from flytekitplugins.openai.batch.control.state.metadata_encoding import MAX_BYTES
from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot
from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey
from flytekitplugins.openai.batch.report import Report, render
from flytekitplugins.openai.batch.results.counts import Tally
from flytekitplugins.openai.batch.results.failures import line_in_place_of, missing_line
from flytekitplugins.openai.batch.results.lines import count_tokens, read_answers, read_line
from flytekitplugins.openai.batch.results.rows import row_of, sample_of
from flytekitplugins.openai.batch.results.usage import Consumption
from flytekitplugins.openai.exceptions import InvalidMetadataError, RefusedError, UnavailableError

NODE = "0123456789abcdef0123456789abcdef"
REQUEST = creation_body({"input_file_id": "file-1"}, key=IdempotencyKey(NODE, "0"))
MOST_BYTES_TOLD = 100_000


def metadata(data):
    """The bytes are metadata or refused; what was read survives a round trip, and names a batch or how to find one."""
    try:
        read = BatchEndpointMetadata.decode(data)
    except InvalidMetadataError:
        return
    assert is_id(read.batch_id) or read.refused or read.key is not None
    assert isinstance(read.unique_name + read.display_name, str)
    assert all(isinstance(file_id, str) for file_id in (*read.files, *read.reused))
    encoded = read.encode()
    # Text that is not ASCII takes up to three times its bytes.
    if len(encoded) <= MAX_BYTES:
        assert vars(BatchEndpointMetadata.decode(encoded)) == vars(read)


class Server:
    """Answers every request of one event loop with the same bytes."""

    def __init__(self):
        os.environ["_FSEC_FLYTE_OPENAI_API_KEY"] = "sk-operator-0123456789"
        self.account = Account(APIKey(os.environ["_FSEC_FLYTE_OPENAI_API_KEY"], "a secret"))
        # httpx, or httpx2 from the SDK's release 3 on.
        self._http = sys.modules[type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0]]
        self._loop = asyncio.new_event_loop()
        self._data = b""

    def run(self, call, data):
        self._data = data
        return self._loop.run_until_complete(self._connected(call))

    async def _connected(self, call):
        if self._loop not in _client._clients:
            async_client(self.account)
            _client._clients[self._loop].http_client._transport = self._http.MockTransport(self._answer)
        # What was learnt from the bytes before.
        batches_api._lists.clear()
        return await call()

    def _answer(self, _request):
        return self._http.Response(200, headers={"Content-Type": "application/json"}, content=self._data)


server = functools.cache(Server)


def answers(data):
    """A poll never fails, and answers what Flyte can hold; other calls fail with an error of ours alone."""
    resource = server().run(lambda: BatchEndpointConnector().get(BatchEndpointMetadata(None, "batch_1")), data)
    assert "\0" not in resource.message
    assert len(resource.message) < MOST_BYTES_TOLD
    told = Struct()
    told.update(resource.custom_info or {})
    assert Struct.FromString(told.SerializeToString()) == told
    for call in (lambda api: api.list_by_node(NODE), lambda api: api.create(REQUEST), lambda api: api.sees_file("f")):
        try:
            found = server().run(lambda call=call: call(batches_api.BatchesAPI(server().account)), data)
        except (RefusedError, UnavailableError):
            continue
        for batch in found if isinstance(found, list) else []:
            assert is_id(batch.id)
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(given, dict):
        batch = BatchSnapshot.from_dict(given)
        assert BatchSnapshot.from_dict(json.loads(json.dumps(batch.raw, allow_nan=False))) == batch
        assert all(isinstance(line, str) for line in timeline([batch]))
        assert "<script" not in render(Report("fuzz", None, [[batch.raw]], Tally()))


def result_lines(data):
    """Each line is a row, whatever it has; and a line that is written in place of another says the same again."""
    for block in whole_lines([data], longest=sys.maxsize):
        for line in filter(bytes.strip, block.split(b"\n")):
            _read(line)


def _read(line):
    tally = Tally()
    for row in (row_of(line), row_of(line, json.loads)):
        assert isinstance(row.custom_id, str)
        assert row.ok == (row.error_code is None)
        assert isinstance(row.body, dict)
        assert [type(text) for text in row.texts] == [str] * len(row.texts)
        assert row.text is None or "\ud800" not in row.text
        assert [type(call.arguments) for call in row.tool_calls] == [str] * len(row.tool_calls)
        assert row.finish_reason is None or isinstance(row.finish_reason, str)
        assert row.embedding is None or isinstance(row.embedding, list)
        if not row.ok:
            again = row_of(missing_line(row.custom_id, row.error_code, row.error_message))
            assert (again.error_code, again.error_message) == (row.error_code, row.error_message)
    assert len(sample_of([{}], [line])[0].answer) <= 400
    read = read_line(line)
    if read is not None:
        count_tokens([read], tally.consumption)
        _is_read_alike_among_others(line, read, tally.consumption)
        tally.add_failure(read.custom_id, line)
        assert tally.complaint(1.0)
    if (instead := line_in_place_of(line)) is not None:
        assert row_of(instead[1]).custom_id == instead[0]


def _is_read_alike_among_others(line, read, consumption):
    """A line that is read with many others, and counted with them, is the same as by itself."""
    if (answers := read_answers([line, line])) is None:
        return
    assert read.succeeded
    assert [answer.custom_id for answer in answers] == [read.custom_id] * 2
    counted = Consumption()
    count_tokens(answers[:1], counted)
    assert counted == consumption


TARGETS = {"metadata": metadata, "answers": answers, "result_lines": result_lines}
