"""The workflow that a decorated function becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flytekit import FlyteContextManager, StructuredDataset, Workflow, lazy_module
from flytekit.core.promise import Promise
from flytekit.models.types import LiteralType, SimpleType, StructuredDatasetType

from flytekitplugins.openai.exceptions import InvalidInputError

from .parameters import Parameters
from .tasks import AnswersTask, PromptsTask

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazy_module("pyarrow")

__all__ = ["TableWorkflow"]


class TableWorkflow(Workflow):
    """A node from a table to the same table with its answers: `table: StructuredDataset -> StructuredDataset`.

    It is called as `triage(table=...)`, in a workflow like a task, and elsewhere with a table: a `StructuredDataset`,
    or what flytekit can make one of, such as a pandas table.

    Args:
        name: Its name at Flyte.
        parameters: The user's function.
        prompts: Its first step.
        batch: The workflow of `create_batch` that runs the requests.
        answers: Its last step.
    """

    def __init__(
        self, name: str, parameters: Parameters, *, prompts: PromptsTask, batch: Workflow, answers: AnswersTask
    ) -> None:
        super().__init__(name=name)
        self.__doc__ = parameters.function.__doc__
        self._parameters = parameters
        self.steps_by_name: Mapping[str, Any] = {task.STEP: task for task in (prompts, answers)}
        table = self.add_workflow_input("table", StructuredDataset)
        asked = self.add_entity(prompts, table=table)
        ran = self.add_entity(batch, jsonl_in=asked.outputs["jsonl"], sample=asked.outputs["sample"])
        filled = self.add_entity(answers, table=table, result=ran.outputs["batch_output"])
        # By the name that a task's only output has, so that both may be branches of one conditional.
        self.add_workflow_output("o0", filled.outputs["answers"], StructuredDataset)

    @property
    def function(self) -> Callable[..., Any]:
        """The function as it was written, for a test of its prompts."""
        return self._parameters.function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The table with its answers, or a node that makes it.

        Raises:
            TypeError: There is no table, or something else.
            ValueError: The table is known to lack a column that the function reads.
        """
        if len(args) > 1 or (args and kwargs) or (not args and set(kwargs) != {"table"}):
            raise TypeError(f"{self._parameters.name} takes one table, as in {self._parameters.name}(table=tickets).")
        table = args[0] if args else kwargs["table"]
        if isinstance(table, Promise):
            self._check(table)
        elif (
            not isinstance(table, StructuredDataset) and FlyteContextManager.current_context().compilation_state is None
        ):
            table = StructuredDataset(dataframe=table)
        return super().__call__(table=table)

    def _check(self, table: Promise) -> None:
        """Check the columns of a table that is made later, as far as its type names them."""
        known = _columns_of(table._type)  # noqa: SLF001 (flytekit has no other way to ask)
        if known:
            try:
                self._parameters.columns_in(known)
            except InvalidInputError as error:
                raise ValueError(str(error)) from None


def _columns_of(type_: LiteralType | None) -> pa.Schema | None:
    """The columns that a type names, with their types as far as Flyte's tell."""
    dataset: StructuredDatasetType | None = type_.structured_dataset_type if type_ else None
    if dataset is None or not dataset.columns:
        return None
    types = {column.name: _ARROW.get(column.literal_type.simple, "null") for column in dataset.columns}
    return pa.schema([(name, pa.type_for_alias(alias)) for name, alias in types.items()])


# By flytekit's `SimpleType`; what is not among them may be anything.
_ARROW: dict[Any, str] = {
    SimpleType.INTEGER: "int64",
    SimpleType.FLOAT: "float64",
    SimpleType.STRING: "string",
    SimpleType.BOOLEAN: "bool",
    SimpleType.DATETIME: "timestamp[us]",
    SimpleType.DURATION: "duration[us]",
}
