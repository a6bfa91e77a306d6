import copy

import pytest

from flytekitplugins.openai.batch.submission import creation_arguments

DEFAULTS = {"completion_window": "24h", "endpoint": "/v1/chat/completions"}


def create(*, completion_window, endpoint, metadata=None, extra_body=None):
    """Stands for the SDK's function, by its parameters."""


def test_defaults_are_a_day_of_chat_completions():
    """A task needs to say nothing."""
    assert creation_arguments({}, create) == DEFAULTS


def test_config_comes_before_the_defaults():
    """A task may say everything."""
    assert creation_arguments({"endpoint": "/v1/responses"}, create)["endpoint"] == "/v1/responses"


@pytest.mark.parametrize(
    ("given", "sent"),
    [(3600.0, 3600), ([1.0, 2.5], [1, 2.5]), ({"a": {"b": 2.0}}, {"a": {"b": 2}}), (True, True), ("1.0", "1.0")],
)
def test_whole_numbers_are_integers_again(given, sent):
    """A protobuf Struct turns every number into a float; a number with a fraction stays one."""
    value = creation_arguments({"metadata": given}, create)["metadata"]
    assert (value, str(value)) == (sent, str(sent))


def test_argument_without_a_name_in_the_sdk_goes_into_the_body():
    """The API grows faster than the SDK of a deployment."""
    arguments = creation_arguments({"priority": "low", "extra_body": {"a": 1.0}}, create)
    assert arguments == {**DEFAULTS, "extra_body": {"priority": "low", "a": 1}}


def test_function_that_takes_anything_gets_everything_by_name():
    """Whoever replaces the SDK's function sees what it was asked for."""
    assert creation_arguments({"priority": "low"}, lambda **arguments: arguments) == {**DEFAULTS, "priority": "low"}


def test_function_whose_parameters_cannot_be_told_gets_everything_by_name():
    """On Python 3.10 a mocked method has no signature."""

    class Unsigned:
        __signature__ = "none"

        def __call__(self, **arguments):
            return arguments

    assert creation_arguments({"priority": "low"}, Unsigned()) == {**DEFAULTS, "priority": "low"}


def test_config_is_left_as_it_is():
    """It belongs to the task's template."""
    config = {"metadata": {"seconds": 3600.0}}
    before = copy.deepcopy(config)
    creation_arguments(config, create)
    assert config == before
    assert isinstance(config["metadata"]["seconds"], float)
