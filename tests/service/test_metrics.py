"""What the real service tells an operator: metrics for Prometheus, and lines of a log for a program that reads them."""

import json
import re
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flytekitplugins.openai.emulator import CallFault
from tests.service.propeller import End
from tests.service.world import HOUR, MINUTE, World
from tests.test_deploy import QUERIES, series_of
from tests.test_docs import OPERATING, table

PREFIX = "flyte_connector_openai_"


@pytest.fixture(scope="module")
def lone_world(nursery):
    """One replica, which is asked for everything."""
    world = World(nursery, replicas=1, environment={"FLYTE_SDK_LOGGING_FORMAT": "json"})
    yield world
    world.stop()


@pytest.fixture
def world(lone_world):
    lone_world.begin()
    lone_world.restart(0)
    return lone_world


def families(world):
    """What Prometheus would read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{world.replicas[0].prometheus_port}/metrics") as page:
        return list(text_string_to_metric_families(page.read().decode()))


def metrics(world):
    """Each series of ours with its labels, and its value."""
    return {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in families(world)
        for sample in family.samples
        if sample.name.startswith(PREFIX) and not sample.name.endswith(("_created", "_bucket"))
    }


def labels(world):
    """The names of our metrics, with those of their labels."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in families(world)
        if family.name.startswith(PREFIX) and not family.name.endswith("_created")
    }


@pytest.fixture
def busy_world(world):
    """It has a task whose batch runs."""
    world.emulator.change(requests_per_second=3 / HOUR)
    node = world.node()
    for _ in range(2):
        world.propeller.round(node)
    return world


def test_page_lists_the_metrics_of_the_service(busy_world):
    """With their labels, and no others."""
    counters = table(OPERATING, "counter | counts | alert when")
    others = table(OPERATING, "metric | labels | is | watch")
    told = {row[0].strip("`"): {"reason"} for row in counters}
    told |= {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in others}
    assert labels(busy_world) == told


def test_alerts_and_dashboard_ask_for_series_that_there_are(busy_world):
    """A misspelt name or label is an alert that never comes."""
    # Prometheus' own, whether a target answered.
    served = {"up": {"job"}}
    for sample in (sample for family in families(busy_world) for sample in family.samples):
        served.setdefault(sample.name, set()).update(sample.labels)
    for query in QUERIES:
        for name, named in series_of(query).items():
            assert named <= served[name], query


def test_calls_are_counted_by_name_and_status(world):
    """With the times that they took."""
    world.emulator.order(CallFault(method="POST", path="/v1/batches", status=429, code="rate_limit_exceeded"))
    world.emulator.order(CallFault(method="GET", path="/v1/batches/*", drop=True))
    node = world.node()
    world.run(node, seconds=HOUR)
    found = metrics(world)
    assert node.end is End.SUCCEEDED
    assert found["call_seconds_count", "batches.create", "429"] == 1
    assert found["call_seconds_count", "batches.create", "200"] == 1
    assert found["call_seconds_count", "batches.retrieve", "connection"] == 1
    assert found["call_seconds_count", "batches.retrieve", "200"] >= 1
    assert found["call_seconds_count", "batches.list", "200"] >= 1
    assert 0 < found["call_seconds_sum", "batches.retrieve", "200"] < MINUTE
    assert found["calls_under_way",] == 0
    # The service's clock is that of the world, and goes on by itself as well.
    assert abs(found["last_answer_timestamp_seconds",] - world.emulator.now()) < 2 * MINUTE


@pytest.mark.long
def test_call_that_takes_too_long_is_a_timeout(nursery):
    """It is OpenAI's answer that did not come, whatever its status would have been."""
    world = World(nursery, replicas=1, call_seconds=0.3)
    try:
        world.emulator.order(CallFault(method="GET", path="/v1/batches", delay=1.0))
        world.propeller.round(world.node())
        assert metrics(world)["call_seconds_count", "batches.list", "timeout"] == 1
    finally:
        world.stop()


def test_live_tasks_are_counted(world):
    """By what Flyte is told of them, and their batches by what OpenAI says."""
    world.emulator.change(requests_per_second=3 / HOUR, validating=MINUTE, enqueued_tokens=0)
    waiting = world.node()
    for _ in range(2):
        world.propeller.round(waiting)
        world.advance(MINUTE)
    world.emulator.change(enqueued_tokens=None)
    running = [world.sharded_node(2), world.node()]
    for _ in range(3):
        for node in running:
            world.propeller.round(node)
        world.advance(MINUTE)
    found = metrics(world)
    assert (found["tasks", "WAITING_FOR_RESOURCES"], found["tasks", "RUNNING"]) == (1, 2)
    assert found["batches", "in_progress"] == 3
    assert 4 * MINUTE < found["oldest_waiting_seconds",] < 6 * MINUTE
    for node in [*running, waiting]:
        world.run(node, seconds=8 * HOUR)
    world.advance(MINUTE)
    assert not [series for series in metrics(world) if series[0] in ("tasks", "batches")]
    assert metrics(world)["oldest_waiting_seconds",] == 0


@pytest.mark.long
def test_task_that_is_asked_for_no_more_is_not_live(busy_world):
    """Another replica may have it, or nobody."""
    assert metrics(busy_world)["tasks", "RUNNING"] == 1
    busy_world.advance(11 * MINUTE)
    assert ("tasks", "RUNNING") not in metrics(busy_world)


def test_log_lines_have_their_task_as_fields(world):
    """A program finds all lines of an execution, or of a batch."""
    node = world.node()
    world.propeller.round(node)
    message = "to be found in a log"
    world.emulator.order(CallFault(method="GET", path="/v1/batches/*", status=503, message=message))
    world.propeller.round(node)
    lines = [json.loads(line) for line in world.log().splitlines() if message in line]
    [batch] = world.batches()
    [line] = lines
    fields = {name: line[name] for name in ("execution", "project", "domain", "node", "batch", "levelname")}
    assert fields == {
        "execution": "f1",
        "project": "project",
        "domain": "development",
        "node": "n0",
        "batch": batch.id,
        "levelname": "WARNING",
    }
    assert line["message"].startswith("node 'n0' of execution 'f1': Could not look up batch")


def test_log_line_of_a_refused_task_says_whose_it_is(world):
    """Though nothing of the task could be read."""
    node = world.node(config={"metadata": {"flyte_execution": "another's"} | {f"e{n}": "" for n in range(16)}})
    world.run(node, seconds=HOUR)
    [line] = [json.loads(line) for line in world.log().splitlines() if "too many properties" in line]
    fields = {name: line[name] for name in ("execution", "project", "domain", "node")}
    assert fields == {"execution": "f1", "project": "project", "domain": "development", "node": "n0"}
