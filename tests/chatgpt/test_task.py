import contextlib
import copy

import pytest
from flytekit import workflow
from flytekit.exceptions.user import FlyteUserException
from flytekit.extend.backend.base_connector import local_connector_loop

from flytekitplugins.openai import ChatGPTTask, _client
from flytekitplugins.openai.emulator import CallFault
from tests.builders import make_chat_template, serialize

CONFIG = {"model": "gpt-4o-mini", "temperature": 0.7}
SAID = "The emulator heard: hi"


def make_task(config=CONFIG, **arguments):
    return ChatGPTTask(name="chatgpt", chatgpt_config=config, **arguments)


def test_task_type_is_the_published_one():
    """Operators name it in FlytePropeller's settings."""
    assert (make_task().task_type, make_task().task_type_version) == ("chatgpt", 0)


def test_interface_is_the_published_one():
    """A message goes in, a text comes out."""
    interface = make_task().python_interface
    assert (interface.inputs, interface.outputs) == ({"message": str}, {"o0": str})


def test_custom_has_nothing_that_was_not_said():
    """It is what the published package writes."""
    assert serialize(make_task(openai_organization="org-1")).custom == {
        "openai_organization": "org-1",
        "chatgpt_config": CONFIG,
    }


def test_custom_has_what_was_said():
    """The connector reads it."""
    custom = make_chat_template(openai_project="proj-1", timeout_seconds=55).custom
    assert (custom["openai_project"], custom["timeout_seconds"]) == ("proj-1", 55)


def test_config_without_a_model_is_refused():
    """When the task is made, and not when it runs."""
    with pytest.raises(ValueError, match=r"^The chatgpt_config names no model; "):
        make_task({"temperature": 0.7})


def test_config_that_asks_for_a_stream_is_refused():
    """The answer is one text."""
    with pytest.raises(ValueError, match=r"^The chatgpt_config asks for a stream, "):
        make_task({**CONFIG, "stream": True})


def test_timeout_that_is_none_is_refused():
    """A task that has no time cannot succeed."""
    with pytest.raises(ValueError, match=r"^timeout_seconds must be a positive number of seconds, not 0\.$"):
        make_task(timeout_seconds=0)


def test_config_is_the_callers(openai_emulator):
    """It is neither changed, nor does it change the task any more."""
    config = {**CONFIG, "messages": [{"role": "system", "content": "Be brief."}]}
    before = copy.deepcopy(config)
    task = make_task(config)
    assert task(message="hi") == SAID
    assert config == before
    config["model"] = "another"
    config["messages"].append({"role": "system", "content": "Be long."})
    assert serialize(task).custom["chatgpt_config"] == before


def test_task_config_is_the_published_one():
    """The task's attributes show the configuration."""
    task = make_task(openai_organization="org-1", openai_project="proj-1")
    assert task.task_config == {"openai_organization": "org-1", "chatgpt_config": CONFIG}


def test_local_run_answers(openai_emulator):
    """A laptop has `OPENAI_API_KEY` and nothing else."""
    assert make_task()(message="hi") == SAID
    assert [call.key for call in openai_emulator.calls] == ["sk-emulator"]


@pytest.mark.parametrize("status", [200, 400])
def test_local_run_closes_its_connections(openai_emulator, status):
    """Otherwise a user's test with warnings as errors would fail."""
    if status == 400:
        openai_emulator.order(CallFault(status=status))
    with contextlib.suppress(FlyteUserException):
        make_task()(message="hi")
    assert [call.status for call in openai_emulator.calls] == [status]
    assert local_connector_loop not in _client._clients  # noqa: SLF001 (it is what is tested)


def test_local_run_in_a_workflow_answers(openai_emulator):
    """One task's text is the next one's message."""
    task = make_task()

    @workflow
    def ask_twice(message: str) -> str:
        return task(message=task(message=message))

    assert ask_twice(message="hi") == f"The emulator heard: {SAID}"


def test_local_run_tells_its_error(openai_emulator):
    """As Flyte's console would."""
    openai_emulator.change(keys={})
    with pytest.raises(FlyteUserException, match=r"OpenAI refused the key from .* OPENAI_API_KEY \(401 "):
        make_task()(message="hi")


def test_local_run_without_a_key_tells_the_ways():
    """A newcomer knows what to type."""
    with pytest.raises(FlyteUserException, match="OPENAI_API_KEY or FLYTE_OPENAI_API_KEY"):
        make_task()(message="hi")


def test_local_run_ends_in_time(openai_emulator):
    """The time is the task's own, with Flyte or without."""
    openai_emulator.order(CallFault(delay=5))
    with pytest.raises(FlyteUserException, match=r"did not answer within 0\.2 seconds"):
        make_task(timeout_seconds=0.2)(message="hi")
