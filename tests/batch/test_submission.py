import copy

import pytest

from flytekitplugins.openai.batch.key import TaskKey
from flytekitplugins.openai.batch.submission import creation_arguments, creation_request

KEY = TaskKey("abc", "0")
TAGS = {"flyte_execution": "f1", "flyte_node": "n0"}


def request_of(config, **arguments):
    return {**creation_request(config, **arguments), "input_file_id": "file-1"}


def create(*, input_file_id, completion_window, endpoint, metadata=None, extra_body=None):
    """Stands for the SDK's function, by its parameters."""


def test_defaults_are_a_day_of_chat_completions():
    """A task needs to say nothing but the file."""
    expected = {"input_file_id": "file-1", "completion_window": "24h", "endpoint": "/v1/chat/completions"}
    assert request_of({}) == expected


def test_config_comes_before_the_defaults():
    """A task may say everything."""
    assert request_of({"endpoint": "/v1/responses"})["endpoint"] == "/v1/responses"


@pytest.mark.parametrize(
    ("given", "sent"),
    [(3600.0, 3600), ([1.0, 2.5], [1, 2.5]), ({"a": {"b": 2.0}}, {"a": {"b": 2}}), (True, True), ("1.0", "1.0")],
)
def test_whole_numbers_are_integers_again(given, sent):
    """A protobuf Struct turns every number into a float; a number with a fraction stays one."""
    value = request_of({"metadata": given})["metadata"]
    assert (value, str(value)) == (sent, str(sent))


def test_key_and_tags_are_added_to_the_metadata():
    """By the one the batch is found again, and the others are for people."""
    metadata = request_of({"metadata": {"run": "nightly"}}, key=KEY, tags=TAGS)["metadata"]
    assert metadata == {"run": "nightly", "flyte_key": "abc/0", **TAGS}


@pytest.mark.parametrize(
    ("own", "added"), [(14, ["flyte_key", "flyte_execution"]), (15, ["flyte_key"]), (16, []), (17, [])]
)
def test_metadata_of_the_user_always_has_its_place(own, added):
    """OpenAI takes 16 entries; the key comes before what is only for people."""
    given = {f"own-{i}": "x" for i in range(own)}
    assert list(request_of({"metadata": given}, key=KEY, tags=TAGS)["metadata"]) == [*given, *added]


def test_entry_of_the_user_is_not_replaced():
    """Even one of the same name."""
    given = {"flyte_node": "mine"}
    assert request_of({"metadata": given}, key=KEY, tags=TAGS)["metadata"]["flyte_node"] == "mine"


def test_key_that_was_copied_from_another_batch_is_replaced():
    """It would make two tasks one: to abort the one would cancel the other's batch."""
    assert request_of({"metadata": {"flyte_key": "other/0"}}, key=KEY)["metadata"] == {"flyte_key": "abc/0"}


def test_tag_is_as_long_as_a_value_may_be():
    """OpenAI would refuse the batch for a longer one."""
    assert len(request_of({}, key=KEY, tags={"flyte_task": "x" * 600})["metadata"]["flyte_task"]) == 512


def test_metadata_that_is_none_at_all_is_left_to_openai():
    """Its refusal says best what is wrong."""
    assert request_of({"metadata": "text"}, key=KEY)["metadata"] == "text"


def test_argument_without_a_name_in_the_sdk_goes_into_the_body():
    """The API grows faster than the SDK of a deployment."""
    arguments = creation_arguments(request_of({"priority": "low", "extra_body": {"a": 1.0}}), create)
    assert arguments == {**request_of({}), "extra_body": {"priority": "low", "a": 1}}


def test_function_that_takes_anything_gets_everything_by_name():
    """Whoever replaces the SDK's function sees what it was asked for."""
    request = request_of({"priority": "low"})
    assert creation_arguments(request, lambda **arguments: arguments) == request


def test_function_whose_parameters_cannot_be_told_gets_everything_by_name():
    """On Python 3.10 a mocked method has no signature."""

    class Unsigned:
        __signature__ = "none"

        def __call__(self, **arguments):
            return arguments

    request = request_of({"priority": "low"})
    assert creation_arguments(request, Unsigned()) == request


def test_config_is_left_as_it_is():
    """It belongs to the task's template."""
    config = {"metadata": {"seconds": 3600.0}}
    before = copy.deepcopy(config)
    request_of(config, key=KEY)
    assert config == before
    assert isinstance(config["metadata"]["seconds"], float)
