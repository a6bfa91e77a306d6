from flyteidl.admin.agent_pb2 import ListAgentsRequest
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.models.literals import LiteralMap

from flytekitplugins.openai.emulator import CallFault
from tests.builders import make_chat_template, make_message


def test_service_answers_a_message(service, emulator):
    """As Flyte runs it: one call over gRPC, with the operator's key."""
    resource = service.do(make_chat_template(), make_message("What is it?"))
    said = LiteralMap.from_flyte_idl(resource.outputs).literals["o0"].scalar.primitive.string_value
    assert (resource.phase, said) == (TaskExecution.SUCCEEDED, "The emulator heard: What is it?")
    assert [call.key for call in emulator.calls] == ["sk-operator"]


def test_service_shows_a_refused_message_as_one_sentence(service, emulator):
    """For good: Flyte does not ask again, and the console gets no traceback."""
    emulator.change(models=())
    resource = service.do(make_chat_template(), make_message())
    assert (resource.phase, resource.message) == (
        TaskExecution.FAILED,
        "Could not ask model 'gpt-4o-mini': OpenAI refused "
        "(404 model_not_found: The model 'gpt-4o-mini' does not exist).",
    )


def test_service_lets_flyte_try_again_what_may_pass(service, emulator):
    """As long as the task has `retries`."""
    emulator.order(CallFault(path="/v1/chat/completions", status=429, headers={"Retry-After": "60"}))
    assert service.do(make_chat_template(), make_message()).phase == TaskExecution.RETRYABLE_FAILED


def test_service_offers_the_task_type_as_one_that_answers_at_once(service):
    """FlytePropeller calls it otherwise than one that is polled."""
    agents = service.metadata.ListAgents(ListAgentsRequest()).agents
    [agent] = [agent for agent in agents if agent.name == "ChatGPT Connector"]
    assert [(category.name, category.version) for category in agent.supported_task_categories] == [("chatgpt", 0)]
    assert agent.is_sync
