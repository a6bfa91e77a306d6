"""Makes the parameter for structured output, from a Pydantic model or from a dictionary."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

from flytekitplugins.openai._relaxed_schemas import relaxed
from flytekitplugins.openai._strict_schemas import problem_in

from .json_values import plain_parameters

if TYPE_CHECKING:
    import pydantic

    import openai
else:
    openai = lazy_module("openai")
    pydantic = lazy_module("pydantic")

__all__ = ["checked_form", "schema_of"]

# https://platform.openai.com/docs/api-reference/chat/create#chat-create-response_format
LONGEST_NAME = 64
# By the words of OpenAI's refusal.
REMEDIES = {
    "'additionalProperties' is required": "use a list of pairs instead of a dictionary with arbitrary keys",
    "array schema missing items": "use a list or a model instead of a tuple",
    "must have a 'type' key": "use a specific type instead of Any",
}
FORMS = ("text", "json_object", "json_schema")


def checked_form(given: Mapping[str, Any], *, nested: bool) -> dict[str, Any]:
    """A response format that the user wrote as a dictionary, checked for its shape.

    Args:
        given: The dictionary.
        nested: Whether name and schema are in an object of their own, as in a chat completion but not in a response.

    Raises:
        TypeError: It is a JSON schema alone, or a value has no form in JSON.
        ValueError: Its type is none of the API's, or it lacks the name or the schema.
    """
    kind = given.get("type")
    if kind == "object" or "properties" in given:
        raise TypeError(
            "response_format is a bare JSON schema; pass the class of the Pydantic model, or what the API takes, which "
            "has a type such as 'json_schema'."
        )
    if kind not in FORMS:
        raise ValueError(f"response_format must have one of the types {', '.join(FORMS)}, not {kind!r}.")
    if kind == "json_schema":
        holder, where = (given.get("json_schema"), "json_schema") if nested else (given, "response_format")
        if not isinstance(holder, Mapping) or not isinstance(holder.get("name"), str):
            raise ValueError(f"{where} must be a dictionary with a name and a schema, not {holder!r}.")
        if not isinstance(holder.get("schema"), Mapping):
            raise ValueError(f"The schema of {where} must be a JSON schema, not {holder.get('schema')!r}.")
    return plain_parameters(dict(given))


def schema_of(model: Any) -> dict[str, Any]:
    """The name and the strict JSON schema of a Pydantic model, as the API takes them.

    Raises:
        TypeError: `model` is not the class of a Pydantic model.
        ValueError: OpenAI cannot follow its schema strictly.
    """
    # By its own type, because `list[int]` is a class to Python 3.10.
    if not isinstance(model, type(pydantic.BaseModel)):
        raise TypeError(
            f"response_format must be a Pydantic model, or the parameter itself as a dictionary, not {model!r}."
        )
    schema: dict[str, Any] = json.loads(_schema_text(model))
    return schema


# Making it takes longer than all the rest of a request, of which there may be a million.
@functools.lru_cache
def _schema_text(model: type[pydantic.BaseModel]) -> str:
    # The SDK makes the strict form for responses it parses itself, by a function that is not public; but that of a
    # tool's parameters is the same, and public.
    try:
        function = openai.pydantic_function_tool(model)["function"]
        parameters = relaxed(function["parameters"])
        problem = problem_in(parameters)
    except (pydantic.PydanticUserError, pydantic.PydanticUndefinedAnnotation) as error:
        raise ValueError(f"{model.__name__} cannot be a response_format: {error.message}") from None
    except RecursionError:
        # The SDK puts a reference that has a description beside it in its place, again and again.
        raise ValueError(
            f"{model.__name__} cannot be a response_format, because it refers to itself in a field with a description; "
            "describe the model instead."
        ) from None
    if problem:
        raise ValueError(
            f"{model.__name__} cannot be a response_format, because OpenAI would refuse every request with it "
            f"({problem.rstrip('.')}); {_remedy(problem)}, or pass the parameter itself, with 'strict': False."
        )
    # A generic model is called `Box[int]`, and the API takes letters, digits, dashes and underscores.
    name = re.sub(r"[^\w-]", "_", function["name"], flags=re.ASCII)[:LONGEST_NAME]
    return json.dumps({"name": name, "schema": parameters, "strict": True})


def _remedy(problem: str) -> str:
    """What to write instead, of the kinds of fields that people write most."""
    fields = re.findall(r"'properties', '([^']+)'", problem)
    where = f"for field {'.'.join(fields)!r} " if fields else ""
    remedy = next((remedy for words, remedy in REMEDIES.items() if words in problem), None)
    return f"{where}{remedy}" if remedy else "change the model"
