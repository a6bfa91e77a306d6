import json

import grpc
import pytest
from flyteidl.admin.agent_pb2 import ListAgentsRequest
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.interaction.string_literals import literal_map_string_repr
from flytekit.models.literals import LiteralMap

from tests.builders import make_inputs, make_requests, make_template, upload


def details_of(call):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.details()


def test_service_drives_a_batch_from_create_to_result(service, emulator):
    """As Flyte runs it: a process of its own, gRPC, real HTTP."""
    meta = service.create(make_template(), make_inputs(upload(emulator, make_requests(3))))
    resource = service.get(meta)
    result = json.loads(literal_map_string_repr(LiteralMap.from_flyte_idl(resource.outputs))["result"])
    assert resource.phase == TaskExecution.SUCCEEDED
    assert (result["id"], result["request_counts"]["completed"]) == (json.loads(meta)["batch_id"], 3)


def test_service_cancels_a_batch(service, emulator):
    """An aborted execution costs nothing more."""
    emulator.freeze()
    emulator.change(requests_per_second=1)
    meta = service.create(make_template(), make_inputs(upload(emulator, make_requests(3))))
    assert service.get(meta).phase == TaskExecution.RUNNING
    service.delete(meta)
    service.delete(meta)
    assert service.get(meta).phase == TaskExecution.FAILED


def test_service_offers_the_task_type(service):
    """FlytePropeller asks a connector what it can do."""
    [agent] = [
        agent
        for agent in service.metadata.ListAgents(ListAgentsRequest()).agents
        if agent.name == "OpenAI Batch Endpoint Connector"
    ]
    assert [(category.name, category.version) for category in agent.supported_task_categories] == [("openai-batch", 0)]


def test_service_uses_its_own_key_and_few_connections(service, emulator):
    """A poll is cheap when client and connection are kept."""
    meta = service.create(make_template(), make_inputs(upload(emulator, make_requests(1))))
    emulator.calls.clear()
    for _ in range(20):
        service.get(meta)
    assert {call.key for call in emulator.calls} == {"sk-operator"}
    assert len({call.connection for call in emulator.calls}) == 1


def test_service_shows_a_refusal_as_one_sentence(service):
    """Flyte's console gets it alone, and no traceback with it, as it would of an exception."""
    resource = service.get(service.create(make_template(config={"endpoint": "/v1/no"}), make_inputs("file-1")))
    assert resource.phase == TaskExecution.FAILED
    assert resource.message.startswith("Could not create a batch from file 'file-1': OpenAI refused (400 invalid_value")
    assert resource.message.count("Could not create") == 1


def test_service_survives_bytes_that_are_not_metadata(service):
    """The port is open to anyone in the cluster."""
    details = details_of(lambda: service.get(b"\x80\x05."))
    assert "These bytes are not the metadata of an OpenAI batch task" in details
    assert "Traceback" not in details
    assert service.process.poll() is None
