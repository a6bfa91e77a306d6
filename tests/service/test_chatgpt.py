from flyteidl.admin.agent_pb2 import ListAgentsRequest
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.models.literals import LiteralMap

from tests.builders import make_chat_template, make_message
from tests.service.test_service import details_of


def test_service_answers_a_message(service, emulator):
    """As Flyte runs it: one call over gRPC, with the operator's key."""
    resource = service.do(make_chat_template(), make_message("What is it?"))
    said = LiteralMap.from_flyte_idl(resource.outputs).literals["o0"].scalar.primitive.string_value
    assert (resource.phase, said) == (TaskExecution.SUCCEEDED, "The emulator heard: What is it?")
    assert [call.key for call in emulator.calls] == ["sk-operator"]


def test_service_shows_a_refused_message_as_one_sentence(service, emulator):
    """What the user reads has no traceback in it."""
    emulator.change(models=())
    details = details_of(lambda: service.do(make_chat_template(), make_message()))
    assert "Could not ask model 'gpt-4o-mini': OpenAI refused (404 model_not_found: " in details
    assert "Traceback" not in details
    assert "sk-operator" not in details


def test_service_offers_the_task_type_as_one_that_answers_at_once(service):
    """FlytePropeller calls it otherwise than one that is polled."""
    agents = service.metadata.ListAgents(ListAgentsRequest()).agents
    [agent] = [agent for agent in agents if agent.name == "ChatGPT Connector"]
    assert [(category.name, category.version) for category in agent.supported_task_categories] == [("chatgpt", 0)]
    assert agent.is_sync
