import pytest

from flytekitplugins.openai._arguments import call_arguments, whole_numbers

REQUEST = {"endpoint": "/v1/responses", "priority": "low"}


def create(*, endpoint, metadata=None, extra_body=None):
    """Stands for a function of the SDK's, by its parameters."""


@pytest.mark.parametrize(
    ("given", "sent"),
    [(3600.0, 3600), ([1.0, 2.5], [1, 2.5]), ({"a": {"b": 2.0}}, {"a": {"b": 2}}), (True, True), ("1.0", "1.0")],
)
def test_whole_numbers_are_integers_again(given, sent):
    """A protobuf Struct turns every number into a float; a number with a fraction stays one."""
    value = whole_numbers(given)
    assert (value, str(value)) == (sent, str(sent))


def test_argument_without_a_name_in_the_sdk_goes_into_the_body():
    """The API grows faster than the SDK of a deployment."""
    arguments = call_arguments({**REQUEST, "extra_body": {"a": 1}}, create)
    assert arguments == {"endpoint": "/v1/responses", "extra_body": {"priority": "low", "a": 1}}


def test_body_that_is_null_is_none():
    """A config may say so of every argument."""
    assert call_arguments({**REQUEST, "extra_body": None}, create)["extra_body"] == {"priority": "low"}


def test_function_that_takes_anything_gets_everything_by_name():
    """Whoever replaces the SDK's function sees what it was asked for."""
    assert call_arguments(REQUEST, lambda **arguments: arguments) == REQUEST


def test_function_whose_parameters_cannot_be_told_gets_everything_by_name():
    """On Python 3.10 a mocked method has no signature."""

    class Unsigned:
        __signature__ = "none"

        def __call__(self, **arguments):
            return arguments

    assert call_arguments(REQUEST, Unsigned()) == REQUEST
