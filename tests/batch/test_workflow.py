from collections import OrderedDict
from datetime import timedelta

import pytest
from flytekit import Secret
from flytekit.models.task import TaskSpec
from flytekit.models.types import SimpleType
from flytekit.tools.translator import get_serializable

from flytekitplugins.openai import BatchEndpointTask, create_batch
from tests.builders import make_settings, serialize

SECRET = Secret(group="team", key="key")


def compile_workflow(**arguments):
    """The workflow as it is registered, and the templates of its tasks by name."""
    entities = OrderedDict()
    spec = get_serializable(
        entities, make_settings(), create_batch(**{"name": "gpt-4.1", "secret": SECRET, **arguments})
    )
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


def test_memory_of_the_file_steps_is_their_request_and_limit():
    """Upload and download may need different amounts."""
    workflow, _ = compile_workflow(file_upload_mem="1Gi", file_download_mem="2Gi")
    upload, _, download = (node.task_node.overrides.resources for node in workflow.nodes)
    amounts = [(kind.requests[0].value, kind.limits[0].value) for kind in (upload, download)]
    assert amounts == [("1Gi", "1Gi"), ("2Gi", "2Gi")]


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
