"""The first and the last step of a table's workflow. They need the user's code, and run in the user's image."""

# No `from __future__ import annotations`: flytekit reads the types of the interfaces.
import importlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from flytekit import StructuredDataset, kwtypes, lazy_module, logger
from flytekit.configuration import SerializationSettings
from flytekit.core.base_task import TaskResolverMixin
from flytekit.core.interface import Interface
from flytekit.core.python_auto_container import PythonAutoContainerTask
from flytekit.core.tracker import TrackedInstance
from flytekit.exceptions.user import FlyteUserRuntimeException
from flytekit.types.file import JSONLFile

from flytekitplugins.openai import _observed_rows
from flytekitplugins.openai._flyte import said_plainly
from flytekitplugins.openai._text import plural, shortened
from flytekitplugins.openai.batch.authoring.read_results import read_results
from flytekitplugins.openai.batch.container.progress import StepProgress
from flytekitplugins.openai.batch.container.tasks import working_directory
from flytekitplugins.openai.batch.results.rows import ResultRow
from flytekitplugins.openai.batch.task import BatchResult
from flytekitplugins.openai.exceptions import InconsistentError, InvalidInputError, OpenAIPluginError

from .answers import AnswerColumns
from .parameters import Parameters
from .prompts import RequestMaker

if TYPE_CHECKING:
    import pyarrow as pa

    from . import storage
else:
    # flytekit imports every plugin at its start, and few steps have a table.
    pa = lazy_module("pyarrow")
    storage = lazy_module("flytekitplugins.openai.batch.tables.storage")

__all__ = ["AnswersTask", "PromptsTask", "resolver"]

LONGEST_CELL = 400


class _StepResolver(TrackedInstance, TaskResolverMixin):
    """Finds a step in its container: by the module and the name of the function that was decorated."""

    def name(self) -> str:
        """Its name, for flytekit."""
        return "openai-table-step"

    def loader_args(self, settings: SerializationSettings, task: Any) -> list[str]:  # noqa: ARG002
        """The arguments of the container by which `load_task` finds the step."""
        return ["module", task.module, "function", task.function_name, "step", task.STEP]

    def load_task(self, loader_args: list[str]) -> Any:
        """The step.

        Raises:
            ImportError: The module has no such function any more.
        """
        _, module_name, _, name, _, step = loader_args
        module = importlib.import_module(module_name)
        # The decorated function may have been given another name.
        for value in (getattr(module, name, None), *vars(module).values()):
            steps: Mapping[str, Any] = getattr(value, "steps_by_name", {})
            if step in steps and steps[step].function_name == name:
                return steps[step]
        raise ImportError(f"Module {module_name!r} has no table function {name!r}; register the workflow again.")

    def get_all_tasks(self) -> list[Any]:
        """Not asked for: the steps are in their workflow."""
        return []


resolver = _StepResolver()  # type: ignore[no-untyped-call]  # as its base


class _TableTask(PythonAutoContainerTask[None]):  # type: ignore[metaclass]  # as flytekit's own
    STEP: str
    INTERFACE: Interface

    def __init__(self, *, module: str, function_name: str, **kwargs: Any) -> None:
        self.module = module
        self.function_name = function_name
        super().__init__(
            name=f"{module}.{function_name}.{self.STEP}",
            task_config=None,
            task_type="python-task",
            interface=self.INTERFACE,
            task_resolver=resolver,
            **kwargs,
        )

    def dispatch_execute(self, ctx: Any, input_literal_map: Any) -> Any:
        """As any task, except that an error of ours is shown as its sentence, and its cause is in the log."""
        with said_plainly():
            try:
                return super().dispatch_execute(ctx, input_literal_map)
            except FlyteUserRuntimeException as error:
                if not isinstance(error.value, OpenAIPluginError):
                    raise
                if error.value.__cause__ is not None:
                    logger.error(str(error.value), exc_info=error.value.__cause__)
                raise error.value from None


class PromptsTask(_TableTask):
    """Makes the requests of a table: `table: StructuredDataset -> jsonl: JSONLFile, sample: str`.

    The `custom_id` of a request is the number of its row, from 0. The sample has the first rows for the report.

    Args:
        parameters: The user's function.
        maker: Makes the requests.
        columns: Those of the answers, which the table must not have.
        sample_rows: How many rows are in the sample.
        **kwargs: Anything else that flytekit's `PythonAutoContainerTask` takes.
    """

    STEP = "prompts"
    INTERFACE = Interface(inputs=kwtypes(table=StructuredDataset), outputs=kwtypes(jsonl=JSONLFile, sample=str))

    def __init__(
        self, parameters: Parameters, maker: RequestMaker, columns: AnswerColumns, *, sample_rows: int, **kwargs: Any
    ) -> None:
        self._parameters = parameters
        self._maker = maker
        self._columns = columns
        self._sample_rows = sample_rows
        super().__init__(**kwargs)

    def execute(self, **kwargs: Any) -> Any:
        """Write the requests.

        Raises:
            InvalidInputError: The table, or a prompt, cannot be used.
        """
        reader = storage.TableReader(kwargs["table"])
        self._columns.check(reader.schema.names)
        path = _new_directory() / f"{self.function_name}.jsonl"
        sample: list[dict[str, str]] = []
        rows = requests = 0
        with StepProgress(self.name, total=None) as progress, path.open("wb") as target:
            for lines, shown, read in self._blocks(reader):
                target.write(b"".join(lines))
                sample += shown[: self._sample_rows - len(sample)]
                rows, requests = rows + read, requests + len(lines)
                progress.show(f"{plural(rows, 'row')} read, {plural(requests, 'request')}", done=rows)
        return JSONLFile(str(path)), json.dumps(sample)

    def _blocks(self, reader: "storage.TableReader") -> Iterator[tuple[list[bytes], list[dict[str, str]], int]]:
        """The lines of each record batch, the rows for the sample, and how many rows there were."""
        columns = self._parameters.columns_in(reader.schema)
        first, shown = 0, 0
        for batch in reader.batches(columns):
            lines: list[bytes] = []
            sample: list[dict[str, str]] = []
            for number, (row, prompt) in enumerate(self._parameters.calls(batch, columns, first), first):
                if prompt is None:
                    continue
                request = self._request(number, prompt)
                _observed_rows.observe(request, row)
                lines.append(msgspec.json.encode(request) + b"\n")
                if shown < self._sample_rows:
                    sample.append({name: shortened(str(cell), LONGEST_CELL) for name, cell in row.items()})
                    shown += 1
            yield lines, sample, batch.num_rows
            first += batch.num_rows

    def _request(self, number: int, prompt: Any) -> dict[str, Any]:
        try:
            return self._maker.request(str(number), prompt)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"What {self.function_name} returned for row {number} of the table, counted from 0, cannot be sent: "
                f"{str(error).rstrip('.')}."
            ) from error


class AnswersTask(_TableTask):
    """Adds the answers to the table: `table: StructuredDataset, result: BatchResult -> answers: StructuredDataset`.

    Args:
        columns: Those of the answers.
        **kwargs: Anything else that flytekit's `PythonAutoContainerTask` takes.
    """

    STEP = "answers"
    INTERFACE = Interface(
        inputs=kwtypes(table=StructuredDataset, result=BatchResult), outputs=kwtypes(answers=StructuredDataset)
    )

    def __init__(self, columns: AnswerColumns, **kwargs: Any) -> None:
        self._columns = columns
        super().__init__(**kwargs)

    def execute(self, **kwargs: Any) -> Any:
        """Write the table with its answers.

        Raises:
            InconsistentError: The results are not those of the table.
        """
        reader, rows = storage.TableReader(kwargs["table"]), iter(read_results(kwargs["result"], self._columns.output))
        schema = self._columns.schema(reader.schema)
        first, coming = 0, next(rows, None)
        directory = _new_directory() / self.function_name
        with StepProgress(self.name, total=None) as progress, storage.TableWriter(directory, schema) as writer:
            for batch in reader.batches():
                answers: list[ResultRow[Any] | None] = []
                for number in range(first, first + batch.num_rows):
                    if coming is not None and coming.custom_id == str(number):
                        answers.append(coming)
                        coming = next(rows, None)
                    else:
                        answers.append(None)
                columns = [*batch.columns, *self._columns.of(answers).values()]
                writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))
                first += batch.num_rows
                progress.show(f"{plural(first, 'row')} answered", done=first)
            if coming is not None:
                raise InconsistentError(
                    f"The results do not match the table: it has {plural(first, 'row')}, and there is a result for row "
                    f"{coming.custom_id}."
                )
            return writer.table()


def _new_directory() -> Path:
    """One of its own: in a local run the steps share theirs."""
    return Path(tempfile.mkdtemp(dir=working_directory()))
