import copy
import re

import pytest

from flytekitplugins.openai.batch.control.policy.creation_body import check_config, creation_body
from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey

KEY = IdempotencyKey("abc", "0")
TAGS = {"flyte_execution": "f1", "flyte_node": "n0"}


def request_of(config, **arguments):
    return {**creation_body(config, **arguments), "input_file_id": "file-1"}


def test_defaults_are_a_day_of_chat_completions():
    """A task needs to say nothing but the file."""
    expected = {"input_file_id": "file-1", "completion_window": "24h", "endpoint": "/v1/chat/completions"}
    assert request_of({}) == expected


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"new": 1},
        {"metadata": None},
        {"metadata": {f"k{n}": "v" for n in range(15)}},
    ],
)
def test_config_that_somebody_takes_passes(config):
    """OpenAI takes more and more, and compatible servers take other things."""
    check_config(config)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("x", "config must be a dictionary, such as {'endpoint': '/v1/responses'}, not 'x'."),
        ({"metadata": "x"}, "The metadata in config must be a dictionary, not 'x'."),
        (
            {"metadata": {f"k{n}": "v" for n in range(16)}},
            "The metadata in config has 16 entries; at most 15 are allowed, because one of OpenAI's 16 is reserved for "
            "the connector.",
        ),
        (
            {"metadata": {"run": "x" * 513}},
            "The entry 'run' of the metadata in config is too long: OpenAI allows 64 characters for a name and "
            "512 for a value.",
        ),
        (
            {"metadata": {"run": 7}},
            "The metadata in config must consist of strings, and 'run' is 7; str(...) converts a number.",
        ),
        ({"metadata": {1: "a"}}, "The metadata in config must consist of strings, and 1 is 'a'; str(...) converts"),
        ({"metadata": {"k" * 65: "v"}}, f"The entry '{'k' * 64}' of the metadata in config is too long: OpenAI allows"),
    ],
)
def test_config_that_is_invalid_is_refused_at_once(config, told):
    """Not after everything was uploaded."""
    with pytest.raises((TypeError, ValueError), match=re.escape(told)):
        check_config(config)


def test_config_comes_before_the_defaults():
    """A task may say everything."""
    assert request_of({"endpoint": "/v1/responses"})["endpoint"] == "/v1/responses"


def test_whole_numbers_are_integers_again():
    """Those of the metadata, too."""
    assert str(request_of({"metadata": {"seconds": 3600.0}})["metadata"]) == "{'seconds': 3600}"


def test_key_and_tags_are_added_to_the_metadata():
    """By the one the batch is found again, and the others are for people."""
    metadata = request_of({"metadata": {"run": "nightly"}}, key=KEY, tags=TAGS)["metadata"]
    assert metadata == {"run": "nightly", "flyte_key": "abc/0", **TAGS}


@pytest.mark.parametrize(
    ("own", "added"), [(14, ["flyte_key", "flyte_execution"]), (15, ["flyte_key"]), (16, []), (17, [])]
)
def test_metadata_of_the_user_always_has_its_place(own, added):
    """OpenAI allows 16 entries; the key comes before the entries for people."""
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
    """OpenAI's own message explains it best."""
    assert request_of({"metadata": "text"}, key=KEY)["metadata"] == "text"


def test_config_is_left_as_it_is():
    """It belongs to the task's template."""
    config = {"metadata": {"seconds": 3600.0}}
    before = copy.deepcopy(config)
    request_of(config, key=KEY)
    assert config == before
    assert isinstance(config["metadata"]["seconds"], float)
