"""A key for each Flyte project: whatever happens, nothing of one account is ever asked for with another's key."""

import re
from functools import partial

import pytest

from flytekitplugins.openai.emulator import BatchFault, CallFault
from tests.builders import make_client
from tests.service.propeller import End
from tests.service.world import HOUR, MINUTE, World

# Whose key each is: what the environment of the service calls it, the key, and its project at OpenAI.
COMMON, FRAUD, FRAUD_LIVE, ADS = "sk-operator", "sk-fraud", "sk-fraud-live", "sk-ads"
KEYS = {COMMON: "proj_common", FRAUD: "proj_fraud", FRAUD_LIVE: "proj_fraud_live", ADS: "proj_ads"}
ENVIRONMENT = {
    "_FSEC_FLYTE_OPENAI_API_KEY__FRAUD-TEAM": FRAUD,
    "_FSEC_FLYTE_OPENAI_API_KEY__FRAUD-TEAM__PRODUCTION": FRAUD_LIVE,
    "_FSEC_FLYTE_OPENAI_API_KEY__ADS": ADS,
    "_FSEC_FLYTE_OPENAI_ORG_ID__ADS": "org-ads",
    "_FSEC_FLYTE_OPENAI_PROJECT_ID__ADS": "proj_ads",
    "OPENAI_ORG_ID": "org-common",
}
# The project and domain of an execution, and whose key is its.
WHOSE = {
    ("fraud-team", "development"): FRAUD,
    ("fraud-team", "production"): FRAUD_LIVE,
    ("ads", "production"): ADS,
    ("research", "development"): COMMON,
    # Names that Flyte gives nobody have no key of their own.
    ("ADS", "development"): COMMON,
    ("fraud-team__production", "development"): COMMON,
    ("../ads", "development"): COMMON,
}
TEAMS = [(("fraud-team", "production"), FRAUD_LIVE), (("ads", "production"), ADS), (("research", "x"), COMMON)]


@pytest.fixture(scope="module")
def keyed_world(nursery):
    world = World(nursery, environment=ENVIRONMENT)
    yield world
    world.stop()


@pytest.fixture
def world(keyed_world):
    keyed_world.begin()
    keyed_world.emulator.change(keys={**KEYS, "sk-test": "proj_default"})
    yield keyed_world
    keyed_world.emulator.change(keys=None)


def node_of(world, whose, key, *, shards=2, **arguments):
    """A node of an execution in this project and domain, whose files were uploaded with this key."""
    with make_client(world.emulator, api_key=key) as client:
        node = world.sharded_node(shards, client=client, **arguments)
    node.project, node.domain = whose
    return node


def batches_of(world, key):
    with make_client(world.emulator, api_key=key) as client:
        return list(client.batches.list(limit=100))


def strays(world):
    """The calls for a batch or a file with another key than that which sees it."""
    owners = {}
    for key in KEYS:
        with make_client(world.emulator, api_key=key) as client:
            ids = [*client.batches.list(limit=100), *client.files.list()]
            owners.update({each.id: key for each in ids})
    asked = ((call.key, re.search(r"(?:batch|file)[_-]\w+", call.path)) for call in list(world.emulator.calls))
    return [(key, found[0]) for key, found in asked if found and owners.get(found[0], key) != key]


@pytest.mark.parametrize(("whose", "key"), WHOSE.items())
def test_task_uses_the_key_of_its_project(world, whose, key):
    """The narrowest that there is, or everybody's."""
    node = node_of(world, whose, key)
    world.run(node, seconds=HOUR)
    assert (node.end, len(batches_of(world, key)), strays(world)) == (End.SUCCEEDED, 2, [])


def test_organization_and_project_are_those_of_the_key(world):
    """What the environment names belongs to the common key."""
    for whose, key in TEAMS:
        world.run(node_of(world, whose, key), seconds=HOUR)
    named = {
        call.key: (call.headers.get("openai-organization"), call.headers.get("openai-project"))
        for call in world.emulator.calls
        if call.method == "POST" and call.path == "/v1/batches"
    }
    assert named == {FRAUD_LIVE: (None, None), ADS: ("org-ads", "proj_ads"), COMMON: ("org-common", None)}


@pytest.mark.long
def test_projects_never_mix(world):
    """Through lost replies, restarts, resubmissions, outages and aborts, and with duplicates to look for."""
    world.emulator.change(requests_per_second=6 / HOUR, cancelling=MINUTE)
    for _ in TEAMS:
        world.emulator.order(BatchFault(code="internal_error"))
    nodes = [(node_of(world, whose, key, shards=3, retries=2), key) for whose, key in TEAMS for _ in range(2)]
    world.emulator.order(CallFault(method="POST", path="/v1/batches", drop=True, after_work=True, times=2))
    world.propeller.lose_states = 2
    for minute in range(20):
        if minute in (3, 9):
            world.restart(minute % 2)
        if minute == 6:
            world.emulator.order(CallFault(path="/v1/batches*", status=503, times=None, seconds=2 * MINUTE))
        if minute == 15:
            world.propeller.abort(nodes[0][0])
        for node, _ in nodes:
            world.propeller.round(node)
        world.advance(MINUTE)
    for node, _ in nodes[1:]:
        world.run(node, seconds=6 * HOUR)
    assert [node.end for node, _ in nodes] == [End.ABORTED] + [End.SUCCEEDED] * 5
    world.come_to_rest()
    assert strays(world) == []
    for _, key in nodes:
        completed = [batch.input_file_id for batch in batches_of(world, key) if batch.status == "completed"]
        assert len(completed) == len(set(completed))


def restart_with(keyed_world, **keys):
    """Another environment for a moment, as an operator changes it: `None` takes a key away."""
    environment = dict(keyed_world._environment)  # noqa: SLF001 (an operator's new secret, for these tests alone)
    changed = {f"_FSEC_FLYTE_OPENAI_API_KEY__{name}": key for name, key in keys.items()}
    keyed_world._environment = {  # noqa: SLF001
        name: value for name, value in (environment | changed).items() if value is not None
    }
    for number in (0, 1):
        keyed_world.restart(number)
    keyed_world._environment = environment  # noqa: SLF001


@pytest.fixture
def changed_keys(keyed_world):
    """A function that changes the keys of the service until the test ends."""
    yield partial(restart_with, keyed_world)
    restart_with(keyed_world)


@pytest.mark.long
def test_running_task_keeps_the_key_that_it_began_with(world, changed_keys):
    """Its batches are there, whatever keys the operator adds."""
    world.emulator.change(requests_per_second=1 / HOUR)
    node = node_of(world, ("research", "development"), COMMON)
    world.propeller.round(node)
    changed_keys(RESEARCH=ADS)
    world.run(node, seconds=5 * HOUR)
    assert (node.end, strays(world)) == (End.SUCCEEDED, [])


@pytest.mark.long
def test_running_task_whose_key_is_taken_away_waits_for_it(world, changed_keys):
    """It does not go on with the common one."""
    world.emulator.change(requests_per_second=1 / HOUR)
    node = node_of(world, ("ads", "production"), ADS)
    world.propeller.round(node)
    changed_keys(ADS=None)
    world.emulator.calls.clear()
    world.run(node, seconds=HOUR)
    assert (node.end, world.emulator.calls) == (None, [])
    changed_keys()
    world.run(node, seconds=5 * HOUR)
    assert (node.end, strays(world)) == (End.SUCCEEDED, [])


@pytest.mark.long
def test_task_that_is_created_again_with_a_new_key_of_its_account_finds_its_batches(world, changed_keys):
    """Flyte lost what the first `create` returned, and the key is looked up again."""
    world.emulator.change(keys={**KEYS, "sk-research": KEYS[COMMON]})
    node = node_of(world, ("research", "development"), COMMON)
    world.propeller.lose_states = 1
    world.propeller.round(node)
    changed_keys(RESEARCH="sk-research")
    world.run(node, seconds=5 * HOUR)
    assert (node.end, world.emulator.calls[-1].key) == (End.SUCCEEDED, "sk-research")
    assert len(batches_of(world, COMMON)) == 2


@pytest.mark.long
def test_task_that_is_created_again_with_a_key_of_another_account_fails(world, changed_keys):
    """The other account does not have its files, and says so; its first batches are left alone."""
    node = node_of(world, ("research", "development"), COMMON)
    world.propeller.lose_states = 1
    world.propeller.round(node)
    changed_keys(RESEARCH=ADS)
    world.run(node, seconds=5 * HOUR)
    assert "give the upload step and the batch step keys of the same project" in node.state.message
    assert (node.end, {batch.status for batch in batches_of(world, ADS)}) == (End.FAILED, {"failed"})
    assert {asked.partition("-")[0] for _, asked in strays(world)} == {"file"}


@pytest.fixture
def strict_world(nursery):
    world = World(nursery, replicas=1, environment={**ENVIRONMENT, "FLYTE_OPENAI_REQUIRE_PROJECT_KEY": "true"})
    yield world
    world.stop()


def test_operator_may_keep_the_common_key_from_tasks(strict_world):
    """The message says what to store, and nothing was asked with any key."""
    node = strict_world.sharded_node(1, delete_files=True)
    node.project = "research"
    strict_world.emulator.calls.clear()
    strict_world.run(node, seconds=HOUR)
    assert (node.end, node.state.message) == (
        End.FAILED,
        "Flyte project 'research' has no OpenAI API key of its own in the connector service, and "
        "FLYTE_OPENAI_REQUIRE_PROJECT_KEY forbids the common one: store one as secret "
        "'FLYTE_OPENAI_API_KEY__research'.",
    )
    assert strict_world.emulator.calls == []
