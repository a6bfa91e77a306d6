"""A stand-in for FlytePropeller's way through a workflow: its nodes in turn, each with what the others made."""

import itertools
import json
import tempfile
from pathlib import Path

from flytekit import FlyteContextManager, Secret
from flytekit.core.type_engine import TypeEngine
from flytekit.core.workflow import WorkflowBase
from flytekit.models.literals import Literal, LiteralCollection, LiteralMap
from flytekit.types.file import JSONLFile

from flytekitplugins.openai import create_batch
from flytekitplugins.openai.batch.task import BatchEndpointTask
from tests.builders import serialize
from tests.service.propeller import End, Node
from tests.service.world import HOUR

SECRET = Secret(group="team", key="key")


class NodeFailedError(Exception):
    """A node failed, with the message that Flyte's console would show."""


class WorkflowRun:
    """One execution of a workflow in a world.

    The batch steps go through the connector's service, the others run here, by the executor that their container has.

    Args:
        world: OpenAI and the connector.
        workflow: The workflow.
    """

    _numbers = itertools.count()

    def __init__(self, world, workflow):
        self._world = world
        self._workflow = workflow
        self._name = f"run{next(self._numbers)}"
        self._outputs = {}
        # As the propeller saw them, by their names.
        self.batch_nodes = {}

    def run(self, path, **times):
        """The output of a workflow that `create_batch` made, for a file of requests."""
        return self.run_with({"jsonl_in": JSONLFile(str(path))}, **times)

    def run_with(self, inputs, *, hours=30, every=600):
        """The output of any workflow with one."""
        context = FlyteContextManager.current_context()
        types = self._workflow.python_interface.inputs
        literals = TypeEngine.dict_to_literal_map(context, inputs, types).literals
        [output] = self.run_nodes(literals, hours=hours, every=every).values()
        [kind] = self._workflow.python_interface.outputs.values()
        return TypeEngine.to_python_value(context, output, kind)

    def run_nodes(self, literals, *, hours, every):
        """The outputs of the workflow, for inputs as Flyte has them."""
        # flytekit names the workflow's own inputs so until they are serialised.
        self._outputs[""] = literals
        for node in self._workflow.nodes:
            inputs = LiteralMap({binding.var: self._resolved(binding.binding) for binding in node.bindings})
            run = self._run_batch if isinstance(node.flyte_entity, BatchEndpointTask) else self._run_container
            run = self._run_workflow if isinstance(node.flyte_entity, WorkflowBase) else run
            self._outputs[node.id] = run(node, inputs, hours=hours, every=every)
        return {output.var: self._resolved(output.binding) for output in self._workflow.output_bindings}

    def outputs_of(self, name):
        """What a step gave, by the first letters of its name."""
        node = next(node for node in self._workflow.nodes if node.flyte_entity.name.startswith(name))
        return self._outputs[node.id]

    def _run_batch(self, node, inputs, *, hours, every):
        task = node.flyte_entity
        prefix = f"s3://bucket/metadata/project-development-{self._name}/{node.id}/data"
        template = serialize(task)
        template = type(template).from_flyte_idl(template.to_flyte_idl())
        remote = Node(template=template, inputs=inputs, prefix=prefix, retries=task.metadata.retries)
        self.batch_nodes[task.name] = remote
        self._world.run(remote, seconds=hours * HOUR, every=every)
        if remote.end is not End.SUCCEEDED:
            raise NodeFailedError(remote.state.message)
        return LiteralMap.from_flyte_idl(remote.outputs).literals

    def _run_workflow(self, node, inputs, **times):
        return WorkflowRun(self._world, node.flyte_entity).run_nodes(inputs.literals, **times)

    @staticmethod
    def _run_container(node, inputs, **_):
        context = FlyteContextManager.current_context()
        # Each has a disk of its own: flytekit takes a result whose paths and numbers it has seen for the same one.
        params = context.user_space_params.builder()
        params.working_dir = tempfile.mkdtemp()
        state = context.execution_state.with_params(user_space_params=params.build())
        with FlyteContextManager.with_context(context.with_execution_state(state)) as container:
            return node.flyte_entity.dispatch_execute(container, inputs).literals

    def _resolved(self, binding):
        if binding.collection is not None:
            items = [self._resolved(item) for item in binding.collection.bindings]
            return Literal(collection=LiteralCollection(items))
        return self._outputs[binding.promise.node_id][binding.promise.var]


def start(world, name="test", **arguments):
    return WorkflowRun(world, create_batch(name, SECRET, is_json_iterator=False, **arguments))


def lines_in(file):
    return [json.loads(line) for line in Path(file.download()).read_bytes().splitlines()] if file is not None else []


def ids_in(file):
    return [line["custom_id"] for line in lines_in(file)]
