"""`batch_prompt` and `batch_embedding`: a function from the columns of a table to a prompt becomes a node."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flytekit import Resources, Secret, TaskMetadata, lazy_module
from flytekit.core.tracker import extract_task_module

from flytekitplugins.openai._names import reserve_name
from flytekitplugins.openai.batch.authoring.response_format import schema_of
from flytekitplugins.openai.batch.requests.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, RESPONSES, canonical_endpoint
from flytekitplugins.openai.batch.workflow import batch_for_rows, create_batch

from .answers import AnswerColumns
from .parameters import Parameters
from .prompts import RequestMaker
from .row_workflow import TableWorkflow
from .tasks import AnswersTask, PromptsTask

if TYPE_CHECKING:
    import pydantic
else:
    pydantic = lazy_module("pydantic")

__all__ = ["batch_embedding", "batch_prompt"]

SAMPLE_ROWS = 5
# What `create_batch` takes; any other argument goes into the requests.
OF_CREATE_BATCH = frozenset(inspect.signature(create_batch).parameters) - {"is_json_iterator"}


def batch_prompt(
    *,
    model: str,
    secret: Secret,
    output: type[pydantic.BaseModel] | None = None,
    system: str = "",
    prefix: str = "",
    usage: bool = False,
    sample_rows: int = SAMPLE_ROWS,
    **arguments: Any,
) -> Callable[[Callable[..., Any]], TableWorkflow]:
    """Ask a model about each row of a table, by a function from its columns to a prompt.

    The function's parameters are the columns that it reads, by their names; one with a default may be missing. It
    returns a text, a list of messages, a dictionary of parameters of the request, or `None` for a row that is not asked
    about. What it becomes is called with a table, and gives the same table with the answers as columns: the fields of
    `output`, or `answer`, and then `error_code` and `error_message`.

    Examples:
        >>> @batch_prompt(model="gpt-4o-mini", secret=Secret(group="openai", key="api_key"))  # doctest: +SKIP
        ... def translate(text: str) -> str:
        ...     return f"Translate into Spanish: {text}"

    Args:
        model: The model that is asked.
        secret: As for `create_batch`.
        output: What the model must write, as a Pydantic model; a text by default.
        system: Instructions that come before each prompt.
        prefix: What the names of the new columns begin with.
        usage: Add the tokens of each row as columns.
        sample_rows: How many of the first rows the report shows, with their answers.
        **arguments: Those of `create_batch`; and any others, such as `temperature`, are parameters of each request.
            With `config={"endpoint": "/v1/responses"}` the requests go there.

    Raises:
        ImportError: pyarrow is not installed.
        TypeError: An argument has the wrong type; or, at the function, it cannot be used.
        ValueError: OpenAI would refuse the model `output`; or as for `create_batch`.
    """
    endpoint = _endpoint(arguments, CHAT_COMPLETIONS, RESPONSES)
    if output is not None:
        if not isinstance(output, type(pydantic.BaseModel)) or issubclass(output, pydantic.RootModel):
            raise TypeError(f"output must be a Pydantic model with fields, not {output!r}.")
        # What OpenAI would refuse is refused here, and not in a container.
        schema_of(output)
    maker = RequestMaker(endpoint, model, output, system, _of_requests(arguments))
    columns = AnswerColumns(output, prefix=prefix, usage=usage)
    return _decorator("batch_prompt", maker, columns, sample_rows, {"secret": secret, **arguments})


def batch_embedding(
    *,
    model: str,
    secret: Secret,
    prefix: str = "",
    usage: bool = False,
    sample_rows: int = SAMPLE_ROWS,
    **arguments: Any,
) -> Callable[[Callable[..., Any]], TableWorkflow]:
    """Embed each row of a table, by a function from its columns to a text.

    As `batch_prompt`; the answers are one column, `embedding`, of lists of 32-bit floats.

    Args:
        model: The model that embeds.
        secret: As for `create_batch`.
        prefix: What the names of the new columns begin with.
        usage: Add the tokens of each row as columns.
        sample_rows: How many of the first rows the report shows.
        **arguments: Those of `create_batch`; and any others, such as `dimensions`, are parameters of each request.

    Raises:
        ImportError: pyarrow is not installed.
        TypeError: At the function: it cannot be used.
        ValueError: As for `create_batch`.
    """
    arguments["config"] = {"endpoint": EMBEDDINGS, **(arguments.get("config") or {})}
    endpoint = _endpoint(arguments, EMBEDDINGS)
    # A quarter of the bytes that the numbers have as text.
    maker = RequestMaker(endpoint, model, parameters={"encoding_format": "base64", **_of_requests(arguments)})
    columns = AnswerColumns(is_embedding=True, prefix=prefix, usage=usage)
    return _decorator("batch_embedding", maker, columns, sample_rows, {"secret": secret, **arguments})


def _endpoint(arguments: Mapping[str, Any], *known: str) -> str:
    """The endpoint of the config, in its usual form.

    Raises:
        ValueError: It is not among those that are known.
    """
    given = (arguments.get("config") or {}).get("endpoint", known[0])
    endpoint = canonical_endpoint(given)
    if endpoint not in known:
        raise ValueError(f"The endpoint in config must be {' or '.join(known)}, not {given!r}.")
    return endpoint


def _of_requests(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in OF_CREATE_BATCH}


def _decorator(
    decorator: str, maker: RequestMaker, columns: AnswerColumns, sample_rows: int, arguments: Mapping[str, Any]
) -> Callable[[Callable[..., Any]], TableWorkflow]:
    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError(f"{decorator} needs pyarrow: pip install 'flytekitplugins-openai[tables]'.")
    if sample_rows < 0:
        raise ValueError(f"sample_rows must be 0 or more, not {sample_rows!r}.")
    of_batch = {name: value for name, value in arguments.items() if name in OF_CREATE_BATCH}

    def decorate(function: Callable[..., Any]) -> TableWorkflow:
        parameters = Parameters(function, decorator=decorator)
        full_name, module, name, _ = extract_task_module(function)
        # The steps find the function by its name, so that one function cannot be two workflows.
        made_of = {"name": full_name, **vars(maker), **vars(columns), "sample_rows": sample_rows}
        reserve_name(full_name, made_of, caller=decorator)
        batch = batch_for_rows(**{"name": full_name.replace(".", "-"), **of_batch})

        def step(memory: str) -> dict[str, Any]:
            resources = Resources(mem=of_batch.get(memory, inspect.signature(create_batch).parameters[memory].default))
            return {
                "module": module,
                "function_name": name,
                "container_image": of_batch.get("container_image"),
                "metadata": TaskMetadata(retries=of_batch.get("retries", 0)),
                "requests": resources,
                "limits": resources,
            }

        return TableWorkflow(
            full_name,
            parameters,
            prompts=PromptsTask(parameters, maker, columns, sample_rows=sample_rows, **step("file_upload_mem")),
            batch=batch,
            answers=AnswersTask(columns, **step("file_download_mem")),
        )

    return decorate
