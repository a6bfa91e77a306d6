"""What tests are made of: requests, batches, task templates, with defaults for whatever a test is not about."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections import OrderedDict

import openai
from flyteidl.admin.agent_pb2 import TaskExecutionMetadata
from flyteidl.core.identifier_pb2 import (
    Identifier,
    NodeExecutionIdentifier,
    TaskExecutionIdentifier,
    WorkflowExecutionIdentifier,
)
from flytekit import FlyteContextManager, models
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import Literal, LiteralMap, Primitive, Scalar
from flytekit.tools.translator import get_serializable

from flytekitplugins.openai import BatchEndpointTask, ChatGPTTask, _client
from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot

ENDPOINT = "/v1/chat/completions"


def make_request(custom_id="r-0", *, url=ENDPOINT, model="gpt-4o-mini", content="What is two and two?"):
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def make_requests(count):
    return [make_request(f"r-{i}") for i in range(count)]


def make_jsonl(requests):
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def encode_line(line):
    return json.dumps(line).encode() + b"\n"


def make_answer(custom_id="r-0", *, status=200, usage=None, body=None, error=None):
    """A line of an output or error file for a request that got an HTTP answer."""
    body = {"choices": ["text"], **({"usage": usage} if usage else {})} if body is None else body
    response = {"status_code": status, "request_id": "req_1", "body": body}
    return encode_line({"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": error})


def make_refusal(custom_id="r-0", *, status=400, code="invalid_value"):
    """The same for one that the model's endpoint refused."""
    return make_answer(custom_id, status=status, body={"error": {"code": code, "message": "no"}})


def make_lost(custom_id="r-0", *, code="batch_expired"):
    """A line for a request that never got an answer."""
    error = {"code": code, "message": "too late"}
    return encode_line({"id": "batch_req_1", "custom_id": custom_id, "response": None, "error": error})


def make_batch(status="completed", *, total=0, completed=0, failed=0, **fields):
    """A batch as a server answers it, read."""
    counts = {"total": total, "completed": completed, "failed": failed}
    return BatchSnapshot.from_dict({"id": "batch_1", "status": status, "request_counts": counts, **fields})


def make_settings():
    image = Image(name="default", fqn="registry.example/workflow", tag="1")
    return SerializationSettings(
        project="project",
        domain="development",
        version="1",
        env={},
        image_config=ImageConfig(default_image=image, images=[image]),
    )


def make_template(*, config=None, kind=BatchEndpointTask, **arguments):
    """The template of a batch task, as Flyte hands it to the connector."""
    template = serialize(kind(name="batch", config=config or {}, **arguments))
    return type(template).from_flyte_idl(template.to_flyte_idl())


def make_chat_template(*, config=None, **arguments):
    """The same of a task that sends one message."""
    chatgpt_config = {"model": "gpt-4o-mini", **(config or {})}
    template = serialize(ChatGPTTask(name="chatgpt", chatgpt_config=chatgpt_config, **arguments))
    return type(template).from_flyte_idl(template.to_flyte_idl())


def serialize(task):
    return get_serializable(OrderedDict(), make_settings(), task).template


def make_inputs(input_file_id):
    return make_text_inputs(input_file_id=input_file_id)


def make_message(message="What is it?"):
    return make_text_inputs(message=message)


def make_text_inputs(**texts):
    """The inputs of a task that takes strings."""
    scalars = {name: Scalar(primitive=Primitive(string_value=text)) for name, text in texts.items()}
    return LiteralMap({name: Literal(scalar=scalar) for name, scalar in scalars.items()})


def make_execution(attempt=0, *, project="project", domain="development"):
    """The caller's execution id, which is the same for every node, as with sub-workflows."""
    execution = WorkflowExecutionIdentifier(project=project, domain=domain, name="f1")
    return TaskExecutionMetadata(
        task_execution_id=TaskExecutionIdentifier(
            task_id=Identifier(project="project", domain="development", name="workflow.batch", version="1"),
            node_execution_id=NodeExecutionIdentifier(node_id="n0", execution_id=execution),
            retry_attempt=attempt,
        ),
        namespace="project-development",
    )


def make_flyte_call(node="n0", *, attempt=0):
    """What Flyte says with a `create` beside the task and its inputs."""
    return {
        "output_prefix": f"s3://bucket/metadata/project-development-f1/{node}/data/{attempt}",
        "task_execution_metadata": models.task.TaskExecutionMetadata.from_flyte_idl(make_execution(attempt)),
    }


def make_shard_inputs(file_ids, requests):
    """The inputs of a task that has any number of files."""
    values = {"input_file_ids": list(file_ids), "requests": requests}
    types = {"input_file_ids": list[str], "requests": int}
    return TypeEngine.dict_to_literal_map(FlyteContextManager.current_context(), values, types)


def upload(emulator, requests, *, name="requests.jsonl"):
    """The id of a file that holds `requests`."""
    with make_client(emulator) as client:
        return upload_with(client, requests, name=name)


def upload_with(client, requests, *, name="requests.jsonl"):
    """The same, with a client that is there already."""
    return client.files.create(file=(name, make_jsonl(requests)), purpose="batch").id


def make_client(emulator, **arguments):
    return openai.OpenAI(**{"base_url": emulator.base_url, "api_key": "sk-test", "max_retries": 0, **arguments})


def run(call):
    """What a coroutine function returns that uses the connector's clients."""

    async def closing():
        try:
            return await call()
        finally:
            await _client.close_clients()

    return asyncio.run(closing())


@contextlib.contextmanager
def start_deaf_listener():
    """The base URL of a server that connections are never made to, as behind a firewall that drops what comes."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Nobody accepts these, and after them no other fits in.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@contextlib.contextmanager
def advance_once_polled(emulator, seconds, *, polls=1):
    """Advance the emulator's clock when a batch has been polled so often, or after a minute, while the block runs."""

    def has_been_polled():
        return sum(call.method == "GET" and call.path.startswith("/v1/batches/") for call in emulator.calls) >= polls

    def advance():
        deadline = time.monotonic() + 60
        while not has_been_polled() and time.monotonic() < deadline:
            time.sleep(0.01)
        emulator.advance(seconds)

    clock = threading.Thread(target=advance)
    clock.start()
    try:
        yield
    finally:
        clock.join()
