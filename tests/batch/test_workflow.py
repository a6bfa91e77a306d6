import re
from collections import OrderedDict
from datetime import timedelta

import pytest
from flytekit import Resources, Secret
from flytekit.models.task import TaskSpec
from flytekit.models.types import SimpleType
from flytekit.tools.translator import get_serializable

from flytekitplugins.openai import BatchEndpointTask, DownloadJSONFilesTask, UploadJSONLFileTask, create_batch
from flytekitplugins.openai.batch.steps import BatchShardsTask, CollectResultsTask, UploadShardsTask
from tests.builders import make_settings, serialize

SECRET = Secret(group="team", key="key")
PUBLISHED = (UploadJSONLFileTask, BatchEndpointTask, DownloadJSONFilesTask)


def compile_workflow(workflow=None, **arguments):
    """The workflow as it is registered, and the templates of its tasks by name."""
    entities = OrderedDict()
    workflow = workflow or create_batch(**{"name": "gpt-4.1", "secret": SECRET, **arguments})
    spec = get_serializable(entities, make_settings(), workflow)
    templates = {e.template.id.name: e.template for e in entities.values() if isinstance(e, TaskSpec)}
    return spec.template, templates


def test_workflow_is_named_without_dots():
    """The name is that of the published package."""
    assert create_batch(name="gpt-4.1", secret=SECRET).name == "openai-batch-gpt-41"


def test_workflow_has_three_nodes_in_order():
    """Upload, batch, download."""
    workflow, templates = compile_workflow()
    names = ["openai-file-upload-gpt-41", "openai-batch-gpt-41", "openai-download-files-gpt-41"]
    assert [node.task_node.reference_id.name for node in workflow.nodes] == names
    assert [templates[name].type for name in names] == [
        "openai-batch-upload-file",
        "openai-batch",
        "openai-batch-download-files",
    ]


@pytest.mark.parametrize(("is_json_iterator", "metadata"), [(True, {"format": "json iterator"}), (False, None)])
def test_workflow_takes_an_iterator_or_a_file(is_json_iterator, metadata):
    """To Flyte both are a JSONL blob; the iterator is marked."""
    workflow, _ = compile_workflow(is_json_iterator=is_json_iterator)
    [(name, variable)] = workflow.interface.inputs.items()
    assert (name, variable.type.blob.format, variable.type.metadata) == ("jsonl_in", "jsonl", metadata)


def test_workflow_gives_one_batch_result():
    """The output is a dataclass, which Flyte knows as a struct."""
    workflow, _ = compile_workflow()
    [(name, variable)] = workflow.interface.outputs.items()
    assert (name, variable.type.simple) == ("batch_output", SimpleType.STRUCT)


def test_last_step_alone_has_a_deck():
    """Flyte looks for the page of a task that says it has one."""
    _, templates = compile_workflow(retries=2, max_resubmissions=1, delete_files=True)
    with_deck = [name for name, template in templates.items() if template.metadata.generates_deck]
    assert with_deck == ["openai-download-files-gpt-41"]
    assert templates["openai-download-files-gpt-41"].custom["title"] == "gpt-4.1"


def test_memory_of_the_file_steps_is_their_request_and_limit():
    """Upload and download may need different amounts."""
    workflow, _ = compile_workflow(file_upload_mem="1Gi", file_download_mem="2Gi")
    upload, _, download = (node.task_node.overrides.resources for node in workflow.nodes)
    amounts = [(kind.requests[0].value, kind.limits[0].value) for kind in (upload, download)]
    assert amounts == [("1Gi", "1Gi"), ("2Gi", "2Gi")]


def test_nodes_take_other_resources():
    """There is no argument for the room that the files of a step need."""
    given = create_batch(name="test", secret=SECRET)
    needed = Resources(mem="700Mi", ephemeral_storage="2Gi")
    given.nodes[0].with_overrides(requests=needed, limits=needed)
    workflow, _ = compile_workflow(given)
    resources = workflow.nodes[0].task_node.overrides.resources
    amounts = [[entry.value for entry in entries] for entries in (resources.requests, resources.limits)]
    assert amounts == [["700Mi", "2Gi"]] * 2


def test_every_task_knows_organization_and_project():
    """All three steps must act for the same account."""
    _, templates = compile_workflow(openai_organization="org-1", openai_project="proj-1")
    customs = [template.custom for template in templates.values()]
    assert {(c["openai_organization"], c["openai_project"]) for c in customs} == {("org-1", "proj-1")}


def test_config_is_that_of_the_batch_step():
    """Endpoint and metadata of the batch are the user's."""
    _, templates = compile_workflow(config={"metadata": {"a": "b"}})
    assert templates["openai-batch-gpt-41"].custom["config"] == {"metadata": {"a": "b"}}


def test_container_image_is_that_of_both_file_steps():
    """The batch step has no container."""
    _, templates = compile_workflow(container_image="registry.example/mine:2")
    images = [template.container.image for template in templates.values() if template.container]
    assert images == ["registry.example/mine:2"] * 2


def test_retries_are_those_of_every_step():
    """Each of the three may meet what passes."""
    _, templates = compile_workflow(retries=3)
    assert [template.metadata.retries.retries for template in templates.values()] == [3, 3, 3]


@pytest.mark.parametrize("timeout", [93_600, timedelta(hours=26)])
def test_timeout_is_that_of_the_batch_step(timeout):
    """It alone may take a day."""
    _, templates = compile_workflow(timeout=timeout)
    limited = {name: t.metadata.timeout for name, t in templates.items() if t.metadata.timeout}
    assert limited == {"openai-batch-gpt-41": timedelta(hours=26)}


def test_batch_task_custom_is_the_published_one():
    """What the connector of either package reads."""
    task = BatchEndpointTask(name="batch", config={"metadata": {"a": "b"}}, openai_organization="org-1")
    assert serialize(task).custom == {"openai_organization": "org-1", "config": {"metadata": {"a": "b"}}}


def test_batch_task_leaves_the_config_as_it_was():
    """The config is the caller's."""
    config = {"metadata": {"a": "b"}}
    serialize(BatchEndpointTask(name="batch", config=config))
    assert config == {"metadata": {"a": "b"}}


def test_batch_task_is_not_changed_through_its_config():
    """A config that is used for several tasks may be changed between them."""
    config = {"endpoint": "/v1/responses"}
    task = BatchEndpointTask(name="batch", config=config)
    config["endpoint"] = "/v1/embeddings"
    assert serialize(task).custom["config"] == {"endpoint": "/v1/responses"}


def test_batch_task_refuses_a_config_that_names_the_file():
    """The file is the task's input."""
    with pytest.raises(ValueError, match="The config of task 'batch' names an input_file_id"):
        BatchEndpointTask(name="batch", config={"input_file_id": "file-1"})


def test_batch_task_has_the_published_interface():
    """A file's id in, the batch object out."""
    interface = serialize(BatchEndpointTask(name="batch", config={})).interface
    assert interface.inputs["input_file_id"].type.simple == SimpleType.STRING
    assert interface.outputs["result"].type.simple == SimpleType.STRUCT


def test_steps_are_those_of_any_number_of_files():
    """Each is what the published package's step is, and more."""
    steps = [node.flyte_entity for node in create_batch(name="test", secret=SECRET).nodes]
    assert [type(step) for step in steps] == [UploadShardsTask, BatchShardsTask, CollectResultsTask]
    assert [isinstance(step, published) for step, published in zip(steps, PUBLISHED, strict=True)] == [True] * 3


def test_upload_is_reported_the_endpoint():
    """So that a line for another endpoint is refused before the upload."""
    _, templates = compile_workflow(config={"endpoint": "/v1/responses"})
    assert templates["openai-file-upload-gpt-41"].custom["endpoint"] == "/v1/responses"


def test_costs_are_those_of_every_upload_step():
    """A later round uploads, too; without the arguments nothing is told."""
    costs = {"enqueued_token_limit": {"gpt-4o": 90_000}, "max_cost_usd": 0.5}
    _, templates = compile_workflow(**costs, reuse_results_within=timedelta(days=1), max_resubmissions=1)
    for name in ("openai-file-upload-gpt-41", "openai-file-upload-gpt-41-again-1"):
        custom = templates[name].custom
        assert {key: custom[key] for key in costs} == costs
        assert custom["reuse_results_within"] == 86_400
    _, templates = compile_workflow(name="plain")
    assert not {*costs, "reuse_results_within"} & set(templates["openai-file-upload-plain"].custom)


def test_batch_step_keeps_what_was_finished():
    """Results of batches that expired have been paid for."""
    _, templates = compile_workflow()
    custom = templates["openai-batch-gpt-41"].custom
    assert (custom["partial_results"], "tolerant" in custom) == (True, False)


def test_batches_at_once_are_the_batch_steps():
    """It arrives as a float, as all numbers do."""
    _, templates = compile_workflow(max_concurrent_batches=3)
    assert templates["openai-batch-gpt-41"].custom["max_concurrent_batches"] == 3


def test_each_resubmission_adds_an_upload_and_a_batch_step():
    """Each sees the results of all before it."""
    workflow, templates = compile_workflow(max_resubmissions=2)
    names = [node.task_node.reference_id.name.replace("gpt-41", "x") for node in workflow.nodes]
    assert names == [
        "openai-file-upload-x",
        "openai-batch-x",
        "openai-file-upload-x-again-1",
        "openai-batch-x-again-1",
        "openai-file-upload-x-again-2",
        "openai-batch-x-again-2",
        "openai-download-files-x",
    ]
    assert all(custom["tolerant"] for custom in (t.custom for t in templates.values() if t.type == "openai-batch"))
    seen = [len(b.binding.collection.bindings) for node in workflow.nodes for b in node.inputs if b.var == "results"]
    assert seen == [1, 2, 3]


def test_files_are_deleted_by_a_step_that_follows_the_results():
    """Flyte has them by then."""
    workflow, _ = compile_workflow(delete_files=True)
    names = [node.task_node.reference_id.name for node in workflow.nodes]
    assert names[2:] == ["openai-download-files-gpt-41", "openai-delete-files-gpt-41"]
    assert workflow.nodes[2].id in workflow.nodes[3].upstream_node_ids


def test_config_that_is_invalid_is_reported_when_the_workflow_is_made():
    """Not after everything was uploaded."""
    with pytest.raises(ValueError, match="The metadata in config has 16 entries; at most 15 are allowed"):
        create_batch(name="test", secret=SECRET, config={"metadata": {f"k{n}": "v" for n in range(16)}})
    config = {"metadata": {f"k{n}": "v" for n in range(15)}}
    assert create_batch(name="test", secret=SECRET, config=config)
    told = "has 15 entries; at most 14 are allowed, because two of OpenAI's 16 are reserved for the connector."
    with pytest.raises(ValueError, match=re.escape(told)):
        create_batch(name="other", secret=SECRET, config=config, reuse_results_within=timedelta(days=1))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"max_resubmissions": -1}, "max_resubmissions must be 0 or more, not -1."),
        ({"min_success_ratio": 1.1}, "min_success_ratio must be between 0 and 1, not 1.1."),
        ({"min_success_ratio": 95}, "min_success_ratio must be between 0 and 1, not 95."),
        ({"max_concurrent_batches": 0}, "max_concurrent_batches must be 1 or more, or None, not 0."),
        (
            {"input_expires_after": timedelta(minutes=59)},
            "input_expires_after must be a timedelta from an hour to 30 days, or None, "
            "not datetime.timedelta(seconds=3540).",
        ),
        (
            {"input_expires_after": 7200},
            "input_expires_after must be a timedelta from an hour to 30 days, or None, not",
        ),
        (
            {"reuse_results_within": timedelta(days=31)},
            "reuse_results_within must be a timedelta from an hour to 30 days, or None, "
            "not datetime.timedelta(days=31).",
        ),
        *(
            (
                {"enqueued_token_limit": limit},
                "enqueued_token_limit must be a whole number above 0, a dictionary from models to such numbers, "
                f"or None, not {limit!r}.",
            )
            for limit in (0, 1.5, True, "2000000", {"gpt-4o": 0}, {"gpt-4o": None}, {4: 1})
        ),
        *(
            ({"max_cost_usd": cost}, f"max_cost_usd must be US dollars above 0, or None, not {cost!r}.")
            for cost in (0, -1, True, "20", float("nan"), float("inf"))
        ),
    ],
)
def test_number_out_of_range_is_reported_when_the_workflow_is_made(arguments, told):
    """And not a day later."""
    with pytest.raises(ValueError, match=re.escape(told)):
        create_batch(name="test", secret=SECRET, **arguments)
