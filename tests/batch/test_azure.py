"""A workflow run locally against the emulator in its Azure flavour."""

import threading
from pathlib import Path

import pytest
from flytekit import Secret
from flytekit.types.file import JSONLFile

from flytekitplugins.openai import create_batch
from flytekitplugins.openai.batch import local_run
from flytekitplugins.openai.emulator import Emulator, RequestFault
from tests.builders import make_client, make_jsonl, make_request, upload

SHORT = "/chat/completions"


@pytest.fixture
def azure(monkeypatch):
    """An emulator of Azure, to which every client goes."""
    monkeypatch.setattr(local_run, "POLL_SECONDS", 0.01)
    with Emulator(azure=True, models=("team-deployment",)) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def requests(tmp_path):
    """Three requests of a deployment, in a file; the urls are of both forms, as clients of Azure write them."""
    path = tmp_path / "requests.jsonl"
    urls = (SHORT, SHORT, f"/v1{SHORT}")
    path.write_bytes(
        make_jsonl([make_request(f"r-{i}", url=url, model="team-deployment") for i, url in enumerate(urls)])
    )
    return JSONLFile(str(path))


def run(requests, **options):
    secret = Secret(group="team", key="key")
    workflow = create_batch(name="azure", secret=secret, config={"endpoint": SHORT}, is_json_iterator=False, **options)
    return workflow(jsonl_in=requests)


def test_every_request_is_answered(azure, requests):
    """An empty error file is no error."""
    result = run(requests)
    assert len(Path(result.output_file).read_bytes().splitlines()) == 3
    assert result.error_file is None


def test_refused_request_is_in_the_error_file(azure, requests):
    """The other requests are answered."""
    azure.order(RequestFault(custom_id="r-1", status=400, code="content_filter"))
    result = run(requests)
    assert len(Path(result.output_file).read_bytes().splitlines()) == 2
    assert b'"r-1"' in Path(result.error_file).read_bytes()


def test_full_queue_is_retried_until_it_has_room(azure, requests):
    """The creation is refused with a 400 while another batch fills the queue, and the same file is submitted later."""
    azure.freeze()
    azure.change(enqueued_tokens=25, validating=10)
    file_id = upload(azure, [make_request("other", url=SHORT, model="team-deployment", content="word" * 20)])
    with make_client(azure) as client:
        client.batches.create(input_file_id=file_id, endpoint=SHORT, completion_window="24h")
    emptied = threading.Event()

    def empty_the_queue():
        while not any(call.path == "/v1/batches" and call.status == 400 for call in azure.calls):
            if emptied.wait(0.01):
                return
        azure.change(validating=0)
        azure.advance(10)

    emptier = threading.Thread(target=empty_the_queue)
    emptier.start()
    try:
        result = run(requests)
    finally:
        emptied.set()
        emptier.join()
    assert len(Path(result.output_file).read_bytes().splitlines()) == 3
    assert [call.status for call in azure.calls if call.path == "/v1/batches" and call.method == "POST"][-2:] == [
        400,
        200,
    ]
