import asyncio
import json

import pytest
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.exceptions.user import FlyteUserRuntimeException
from flytekit.extend.backend.base_connector import ConnectorRegistry
from flytekit.interaction.string_literals import literal_map_string_repr
from flytekit.models.literals import LiteralMap

from flytekitplugins.openai import BatchEndpointConnector
from flytekitplugins.openai.batch.connector import OPENAI_API_KEY, BatchEndpointMetadata, State
from flytekitplugins.openai.batch.control import cancellation, flyte_resource, task_controller
from flytekitplugins.openai.batch.control.policy import shard_plan
from flytekitplugins.openai.batch.steps import BatchShardsTask
from flytekitplugins.openai.emulator import BatchFault, CallFault, RequestFault
from flytekitplugins.openai.exceptions import InvalidInputError, MissingAPIKeyError, RefusedError, UnavailableError
from tests.builders import (
    make_client,
    make_flyte_call,
    make_inputs,
    make_request,
    make_requests,
    make_shard_inputs,
    make_template,
    upload,
)

HOUR = 3600


async def submit(connector, emulator, requests=None, **arguments):
    """The metadata of a batch of these requests."""
    file_id = upload(emulator, requests or make_requests(3))
    return await connector.create(make_template(**arguments), make_inputs(file_id))


def batch_of(emulator, meta):
    with make_client(emulator) as client:
        return client.batches.retrieve(meta.batch_id)


def test_connector_is_registered_for_its_task_type():
    """The service finds connectors in flytekit's registry."""
    assert isinstance(ConnectorRegistry.get_connector("openai-batch", 0), BatchEndpointConnector)
    assert BatchEndpointConnector.name == "OpenAI Batch Endpoint Connector"
    assert OPENAI_API_KEY == "FLYTE_OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("in_progress", "Running"),
        ("cancelling", "Running"),
        ("pre_schedule", "Running"),
        ("completed", "Success"),
        ("Completed", "Success"),
        ("failed", "Failed"),
        ("expired", "Failed"),
        ("canceled", "Failed"),
    ],
)
def test_status_belongs_to_a_state(status, state):
    """A status that no state lists counts as running."""
    assert State.key_by_value(status) == state


# create


async def test_create_submits_the_file_with_the_defaults(connector, emulator):
    """A task needs to say nothing but the file."""
    batch = batch_of(emulator, await submit(connector, emulator))
    assert (batch.endpoint, batch.completion_window) == ("/v1/chat/completions", "24h")


async def test_config_that_cannot_be_sent_is_refused(connector, emulator):
    """In a sentence, before OpenAI is asked."""
    with pytest.raises(InvalidInputError) as raised:
        await connector.create(make_template(config={"extra_body": "zz"}), make_inputs("file-1"))
    assert str(raised.value) == (
        "The extra_body of the batch task's config must be a dictionary, as in {'top_k': 5}, not 'zz'."
    )
    assert not emulator.calls


async def test_create_passes_the_config_on(connector, emulator):
    """The config is the batch's own arguments."""
    requests = [make_request(url="/v1/responses")]
    config = {"endpoint": "/v1/responses", "metadata": {"run": "nightly"}}
    batch = batch_of(emulator, await submit(connector, emulator, requests, config=config))
    assert (batch.endpoint, batch.metadata) == ("/v1/responses", {"run": "nightly"})


async def test_create_keeps_what_get_will_need(connector, emulator):
    """flytekit gives the metadata alone to `get` and `delete`."""
    meta = await submit(connector, emulator, openai_organization="org-1", partial_results=True)
    assert meta == BatchEndpointMetadata("org-1", meta.batch_id)
    assert meta.partial_results


async def test_create_acts_for_organization_and_project(connector, emulator):
    """Both come from the task, and go with every call about its batch."""
    file_id = upload(emulator, make_requests(1))
    meta = await connector.create(
        make_template(openai_organization="org-1", openai_project="proj-1"), make_inputs(file_id)
    )
    await connector.get(meta)
    seen = {(c.headers["openai-organization"], c.headers["openai-project"], c.key) for c in emulator.calls[1:]}
    assert seen == {("org-1", "proj-1", "sk-operator")}


async def test_create_is_not_sent_twice_when_the_reply_is_lost(connector, emulator):
    """A second POST would make, and bill, a second batch."""
    emulator.order(CallFault(method="POST", path="/v1/batches", drop=True, after_work=True))
    with pytest.raises(UnavailableError):
        await submit(connector, emulator)
    with make_client(emulator) as client:
        assert len(client.batches.list().data) == 1


async def test_create_without_a_file_id_is_refused(connector):
    """An upload step that gave nothing is found before OpenAI is asked."""
    with pytest.raises(InvalidInputError) as raised:
        await connector.create(make_template(), LiteralMap({}))
    assert str(raised.value) == "The batch task has no input_file_id; pass it the id of an uploaded file."


async def test_create_says_in_one_sentence_what_openai_refuses(connector, emulator):
    """The sentence is what a user reads in Flyte's console."""
    with pytest.raises(RefusedError) as raised:
        await connector.create(make_template(config={"endpoint": "/v1/nothing"}), make_inputs("file-1"))
    assert str(raised.value).startswith(
        "Could not create a batch from file 'file-1': OpenAI refused (400 invalid_value: Invalid value: '/v1/nothing'."
    )


async def test_create_hands_on_arguments_the_sdk_has_no_name_for(connector, emulator):
    """The API grows before the SDK that a deployment has installed."""
    with pytest.raises(RefusedError, match="Unknown parameter: 'priority'"):
        await submit(connector, emulator, config={"priority": "low"})


async def test_create_without_a_key_names_the_secret(connector, monkeypatch):
    """The operator is told what is missing."""
    monkeypatch.delenv("_FSEC_FLYTE_OPENAI_API_KEY")
    with pytest.raises(MissingAPIKeyError, match="FLYTE_OPENAI_API_KEY"):
        await connector.create(make_template(), make_inputs("file-1"))


async def test_node_that_is_given_other_files_runs_those(connector, emulator, monkeypatch):
    """What this replica remembers of the node is of the others, which it was asked for some time ago."""
    monkeypatch.setattr(shard_plan, "RACE_SECONDS", 0)
    template = make_template(kind=BatchShardsTask)
    for replica in (connector, BatchEndpointConnector()):
        file_ids = [upload(emulator, make_requests(1)) for _ in range(2)]
        inputs = make_shard_inputs(file_ids, 2)
        meta = await replica.create(template, inputs, **make_flyte_call())
    resource = await connector.get(meta)
    assert resource.phase == TaskExecution.SUCCEEDED
    result = json.loads(literal_map_string_repr(resource.outputs)["result"])
    assert [batch["input_file_id"] for batch in result["batches"]] == file_ids


# get


async def test_get_answers_the_batch_as_result(connector, emulator):
    """The result is the batch object, which the download step reads."""
    meta = await submit(connector, emulator)
    resource = await connector.get(meta)
    assert resource.phase == TaskExecution.SUCCEEDED
    assert isinstance(resource.outputs, LiteralMap)
    result = json.loads(literal_map_string_repr(resource.outputs)["result"])
    assert result == batch_of(emulator, meta).to_dict()


async def test_get_shows_progress(connector, emulator):
    """A local run shows the message while it waits."""
    emulator.freeze()
    emulator.change(requests_per_second=1)
    meta = await submit(connector, emulator, make_requests(10))
    emulator.advance(4)
    resource = await connector.get(meta)
    assert (resource.phase, resource.message) == (TaskExecution.RUNNING, "in progress: 4 of 10 requests done")
    assert resource.outputs is None


async def test_get_keeps_a_summary_as_custom_info(connector, emulator):
    """Counts, ids and usage are readable through Flyte's API."""
    emulator.order(RequestFault(custom_id="r-1", status=400, code="context_length_exceeded"))
    meta = await submit(connector, emulator)
    info = (await connector.get(meta)).custom_info
    assert info["batch_id"] == meta.batch_id
    assert info["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert info["usage"]["total_tokens"] > 0


async def test_get_lets_flyte_try_again_what_openai_broke(connector, emulator):
    """RETRYABLE_FAILED makes a new attempt while the task has retries left."""
    emulator.order(BatchFault(code="internal_error", message="oops"))
    resource = await connector.get(await submit(connector, emulator))
    assert resource.phase == TaskExecution.RETRYABLE_FAILED


@pytest.mark.parametrize(("partial_results", "phase"), [(False, TaskExecution.FAILED), (True, TaskExecution.SUCCEEDED)])
async def test_get_takes_partial_results_where_asked_for(connector, emulator, partial_results, phase):
    """What an expired batch finished has been paid for."""
    emulator.freeze()
    emulator.change(requests_per_second=2 / (24 * HOUR))
    meta = await submit(connector, emulator, partial_results=partial_results)
    emulator.advance(25 * HOUR)
    resource = await connector.get(meta)
    assert resource.phase == phase
    assert (resource.outputs is not None) == partial_results


async def test_get_links_to_openais_platform_only(connector, emulator, monkeypatch):
    """The link is there from the first answer on, where there is a page to link to."""
    emulator.change(requests_per_second=0.001)
    meta = await submit(connector, emulator)
    assert (await connector.get(meta)).log_links == []
    monkeypatch.setattr(
        flyte_resource, "platform_url", lambda batch_id: f"https://platform.openai.com/batches/{batch_id}"
    )
    running = await connector.get(meta)
    [link] = running.log_links
    assert running.phase == TaskExecution.RUNNING
    assert (link.name, link.uri) == ("OpenAI batch", f"https://platform.openai.com/batches/{meta.batch_id}")
    # Flyte shows no other link before the task is RUNNING.
    assert link.ShowWhilePending


async def test_get_names_the_project_that_cannot_see_the_file(connector):
    """The task's project may be the one that is wrong."""
    meta = await connector.create(make_template(openai_project="proj-1"), make_inputs("file-elsewhere"))
    assert "secret 'FLYTE_OPENAI_API_KEY', project 'proj-1'; a file" in (await connector.get(meta)).message


async def test_get_survives_a_fault_of_its_own(connector, emulator, monkeypatch):
    """Nothing that goes wrong here is worth a batch that is paid for."""
    monkeypatch.setattr(task_controller, "task_phase", lambda *_, **__: 1 / 0)
    resource = await connector.get(await submit(connector, emulator))
    assert resource.phase == TaskExecution.RUNNING
    assert resource.message == "The connector failed with ZeroDivisionError: division by zero."


async def test_get_tells_what_it_saw_last(connector, emulator):
    """A person who waits wants to know both: how far it was, and why there is no news."""
    emulator.freeze()
    emulator.change(requests_per_second=1)
    meta = await submit(connector, emulator, make_requests(10))
    emulator.advance(4)
    await connector.get(meta)
    emulator.order(CallFault(status=503))
    assert (await connector.get(meta)).message == (
        f"Could not look up batch '{meta.batch_id}': OpenAI is unavailable (503: ordered by the test). "
        "Last seen: in progress: 4 of 10 requests done."
    )


async def test_get_says_of_an_unknown_batch_that_it_is(connector, emulator):
    """The task keeps running: an operator who stored another project's key may still correct it."""
    resource = await connector.get(BatchEndpointMetadata(None, "batch_nowhere"))
    assert resource.phase == TaskExecution.RUNNING
    assert resource.message == (
        "Could not look up batch 'batch_nowhere': OpenAI refused (404: No batch found with id 'batch_nowhere')."
    )


async def test_create_refuses_a_name_that_no_header_can_carry(connector):
    """The SDK would take it for a broken connection, and Flyte would try again."""
    with pytest.raises(InvalidInputError) as raised:
        await connector.create(make_template(openai_organization="org é"), make_inputs("file-1"))
    assert str(raised.value) == "'org é' cannot be the name of an OpenAI organization; check it for a typo."


async def test_create_strips_the_names_of_the_account(connector, emulator):
    """They are copied from web pages, with what stands around them."""
    await submit(connector, emulator, openai_organization=" org-1\n")
    assert emulator.calls[-1].headers["openai-organization"] == "org-1"


async def test_every_verb_ends_before_flyte_cancels_it(connector, emulator, monkeypatch):
    """Flyte cancels a call after 10 s, and the reason would be lost."""
    assert task_controller.BUDGET_SECONDS <= 8
    meta = await submit(connector, emulator)
    monkeypatch.setattr(task_controller, "BUDGET_SECONDS", 0.05)
    emulator.order(CallFault(delay=0.5, times=None))
    late = "OpenAI did not answer in time"
    assert late in (await connector.get(meta)).message
    with pytest.raises(UnavailableError, match=late):
        await connector.cancel(meta)
    with pytest.raises(UnavailableError, match=late):
        await connector.create(make_template(), make_inputs("file-1"))


# delete


async def test_delete_cancels_the_batch(connector, emulator):
    """An aborted execution costs nothing more."""
    emulator.freeze()
    emulator.change(requests_per_second=1)
    meta = await submit(connector, emulator)
    await connector.delete(meta)
    assert batch_of(emulator, meta).status == "cancelled"


async def test_delete_of_an_unknown_batch_does_nothing(connector, emulator):
    """There is nothing to cancel."""
    await connector.delete(BatchEndpointMetadata(None, "batch_nowhere"))


async def test_delete_takes_a_400_for_a_batch_that_is_over(connector, emulator):
    """Some compatible servers say 400 where OpenAI says 409."""
    meta = await submit(connector, emulator)
    emulator.order(CallFault(method="POST", path="*/cancel", status=400, message="already over"))
    await connector.delete(meta)


async def test_delete_takes_a_400_for_a_batch_that_is_being_cancelled(connector, emulator):
    """Asked twice, such a server refuses the second time."""
    emulator.change(requests_per_second=0.001, cancelling=600)
    meta = await submit(connector, emulator)
    await connector.delete(meta)
    emulator.order(CallFault(method="POST", path="*/cancel", status=400, message="already cancelling"))
    await connector.delete(meta)


async def test_cancel_tells_of_a_400_that_means_something_else(connector, emulator):
    """A batch that still runs and is not cancelled costs money."""
    emulator.freeze()
    emulator.change(requests_per_second=1)
    meta = await submit(connector, emulator)
    emulator.order(CallFault(method="POST", path="*/cancel", status=400, message="no"))
    with pytest.raises(RefusedError):
        await connector.cancel(meta)


async def test_delete_goes_on_in_the_background(connector, emulator, monkeypatch):
    """An error would fail the workflow's rounds until Flyte kills it."""
    monkeypatch.setattr(cancellation, "WAITS_SECONDS", (0.01,))
    emulator.freeze()
    emulator.change(requests_per_second=1)
    meta = await submit(connector, emulator)
    emulator.order(CallFault(method="POST", path="*/cancel", status=503, times=3))
    await connector.delete(meta)
    await connector.delete(meta)
    for _ in range(500):
        await asyncio.sleep(0.01)
        if batch_of(emulator, meta).status == "cancelled":
            break
    assert batch_of(emulator, meta).status == "cancelled"


# get_metrics and get_logs


async def test_logs_tell_states_and_errors(connector):
    """What a person would ask first. flytekit's service declares the call as a stream, and cannot answer it."""
    meta = await connector.create(make_template(), make_inputs("file-elsewhere"))
    lines = (await connector.get_logs(meta)).body.results
    assert [line.partition(" UTC ")[2] for line in lines[:2]] == ["created", "failed"]
    assert lines[2].startswith("error: invalid_request: Cannot find file file-elsewhere")


async def test_metrics_tell_requests_by_state(connector, emulator):
    """In the form of a Prometheus range query, as Flyte's interface has it."""
    emulator.order(RequestFault(custom_id="r-1", status=400))
    meta = await submit(connector, emulator)
    requests, _ = (await connector.get_metrics(meta)).results
    assert requests.metric == "openai_batch_requests"
    assert {series["metric"]["state"]: series["values"][0][1] for series in requests.data["result"]} == {
        "total": "3",
        "completed": "2",
        "failed": "1",
    }


async def test_nothing_is_reported_of_what_was_not_submitted(connector):
    """There is no batch to report."""
    key = {"metadata": {"flyte_key": "abc/0"}, "input_file_id": "file-1"}
    with pytest.raises(UnavailableError, match="The task has no batch yet"):
        await connector.get_metrics(BatchEndpointMetadata(None, "", request=key))


async def test_error_of_a_verb_has_a_cause_without_a_traceback(connector):
    """flytekit shows the traceback of the cause, and this one has none."""
    with pytest.raises(FlyteUserRuntimeException) as raised:
        await connector.create(make_template(), LiteralMap({}))
    assert str(raised.value.__cause__) == str(raised.value)
    assert raised.value.__cause__.__traceback__ is None
