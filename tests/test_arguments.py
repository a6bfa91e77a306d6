import math

import pytest

from flytekitplugins.openai._arguments import call_arguments, check_arguments, whole_numbers

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


def test_users_own_body_comes_last():
    """`extra_body` overrides a parameter of the same name."""
    arguments = call_arguments({**REQUEST, "extra_body": {"priority": "high"}}, create)
    assert arguments["extra_body"] == {"priority": "high"}


def test_body_that_is_null_is_none():
    """A config may say so of every argument."""
    assert call_arguments({**REQUEST, "extra_body": None}, create)["extra_body"] == {"priority": "low"}


def test_function_that_takes_anything_gets_everything_by_name():
    """A replacement of the SDK's function sees the arguments by name."""
    assert call_arguments(REQUEST, lambda **arguments: arguments) == REQUEST


def test_function_whose_parameters_cannot_be_told_gets_everything_by_name():
    """On Python 3.10 a mocked method has no signature."""

    class Unsigned:
        __signature__ = "none"

        def __call__(self, **arguments):
            return arguments

    assert call_arguments(REQUEST, Unsigned()) == REQUEST


@pytest.mark.parametrize(
    "config",
    [
        {"extra_headers": {"X-Team": "search", "x_other": ""}, "extra_query": {"a": ["b"]}, "extra_body": {"c": None}},
        {"extra_headers": None, "extra_query": None, "extra_body": None, "timeout": None},
        {"extra_headers": {"X-Team": "a\tb c"}, "extra_query": [], "extra_body": ""},
        {"timeout": 0.5, "model": 5, "logit_bias": {50256: -100}, "tools": "none"},
    ],
    ids=str,
)
def test_config_that_the_sdk_can_take_is_no_error(config):
    """The API's own parameters are for the API to judge."""
    check_arguments(config, where="config")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"extra_headers": "x"},
            "The extra_headers of the config must be a dictionary, as in {'X-Team': 'search'}, not 'x'.",
        ),
        (
            {"extra_query": ["x"]},
            "The extra_query of the config must be a dictionary, as in {'api-version': 'preview'}, not ['x'].",
        ),
        (
            {"extra_body": "z" * 200},
            f"The extra_body of the config must be a dictionary, as in {{'top_k': 5}}, not '{'z' * 98}\u2026.",
        ),
        (
            {"extra_headers": {"X-Team": 1}},
            "The extra_headers of the config must have plain strings as names and values, not {'X-Team': 1}.",
        ),
        ({"timeout": "9"}, "The timeout of the config must be a positive number of seconds, not '9'."),
    ],
)
def test_config_that_the_sdk_cannot_take_is_reported_in_a_sentence(config, sentence):
    """The SDK would raise Python's own error."""
    with pytest.raises(ValueError, match=r".") as raised:
        check_arguments(config, where="config")
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    "headers", [{"a b": "c"}, {"": "c"}, {"a:": "c"}, {"a": "\u00e9"}, {"a": "b\nc"}, {"a": "b "}, {"a": None}]
)
def test_header_that_cannot_be_sent_is_reported(headers):
    """The SDK would report it as a connection error."""
    with pytest.raises(
        ValueError, match=r"^The extra_headers of the config must have plain strings as names and values, not "
    ):
        check_arguments({"extra_headers": headers}, where="config")


@pytest.mark.parametrize("name", ["Host", "connection", "Content-length", "Transfer-Encoding", "Proxy-Authorization"])
def test_header_of_http_itself_is_refused(name):
    """It would choose who gets the key, or end the call early."""
    with pytest.raises(ValueError, match=r"^The extra_headers of the config must have no headers of HTTP itself, not "):
        check_arguments({"extra_headers": {name: "1"}}, where="config")


@pytest.mark.parametrize("seconds", [0, -1, True, math.inf])
def test_timeout_must_be_a_time(seconds):
    """The SDK would end at once, or never."""
    with pytest.raises(ValueError, match=r"^The (timeout of the )?config "):
        check_arguments({"timeout": seconds}, where="config")


@pytest.mark.parametrize("value", [dict, math.nan])
def test_value_that_is_no_json_is_reported(value):
    """A common mistake is a Pydantic model for the answer."""
    with pytest.raises(ValueError, match=r"^The config cannot be sent as JSON \(.+\); give it plain values"):
        check_arguments({"response_format": value}, where="config")
