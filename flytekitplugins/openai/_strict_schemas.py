"""What OpenAI refuses in a schema whose answers are to follow it strictly, in OpenAI's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["problem_in"]

# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
NOT_PERMITTED = (
    *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"),
    *("propertyNames", "unevaluatedProperties", "minProperties", "maxProperties"),
    *("unevaluatedItems", "contains", "minContains", "maxContains", "uniqueItems"),
)
# Any of these says what a value is.
TYPES = ("type", "$ref", "anyOf", "enum")
# https://platform.openai.com/docs/guides/structured-outputs#supported-properties
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
DEFINITIONS = ("$defs", "definitions")


def problem_in(schema: Mapping[str, Any]) -> str | None:
    """The first problem, after "Invalid schema for response_format 'name': "; `None` when there is none.

    The words are those of users' reports, such as https://github.com/moeru-ai/xsai/issues/202 and
    https://github.com/vercel/ai/issues/6484 . How OpenAI counts properties and levels is not looked at.
    """
    kind = schema.get("type")
    if kind != "object":
        # https://github.com/podly-pure-podcasts/podly_pure_podcasts/pull/89
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    if "anyOf" in schema:
        return "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
    return next(_problems(schema, ()), None)


def _problems(schema: Any, context: tuple[str, ...]) -> Iterator[str]:
    """Those of a part of a schema, and of the parts within it."""
    if not isinstance(schema, Mapping):
        return
    beside = [name for name in schema if name not in ("$ref", *DEFINITIONS)]
    if "$ref" in schema and beside:
        # https://github.com/agno-agi/agno/issues/3493
        yield f"context={context!r}, $ref cannot have keywords {{{', '.join(map(repr, sorted(beside)))}}}."
    for problem in _own_problems(schema):
        yield f"In context={context!r}, {problem}."
    for name, part in _parts(schema):
        yield from _problems(part, (*context, *name))


def _own_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"'{name}' is not permitted" for name in NOT_PERMITTED if name in schema)
    if not any(name in schema for name in TYPES):
        yield "schema must have a 'type' key"
    if schema.get("format", FORMATS[0]) not in FORMATS:
        # https://github.com/cyanheads/git-mcp-server/issues/47
        yield f"{schema['format']!r} is not a valid format"
    given = schema.get("type")
    kinds = given if isinstance(given, list) else [given]
    if "array" in kinds and "items" not in schema:
        # As that of a tuple: https://github.com/modelscope/ms-agent/pull/610
        yield "array schema missing items"
    if "object" not in kinds:
        return
    if schema.get("additionalProperties") is not False:
        yield "'additionalProperties' is required to be supplied and to be false"
    if "properties" not in schema:
        # https://github.com/spring-projects/spring-ai/issues/4776
        yield "object schema missing properties"
    properties = list(_named(schema, "properties"))
    given = schema.get("required")
    required = given if isinstance(given, list) else []
    every = "'required' is required to be supplied and to be an array including every key in properties"
    yield from (f"{every}. Missing '{name}'" for name in properties if name not in required)
    yield from (f"{every}. Extra required key '{name}' supplied" for name in required if name not in properties)


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The schemas within a schema, each with the way to it."""
    for keyword in ("properties", *DEFINITIONS):
        yield from (((keyword, name), part) for name, part in _named(schema, keyword).items())
    yield ("items",), schema.get("items")
    choices = schema.get("anyOf")
    if isinstance(choices, list):
        yield from ((("anyOf", str(number)), part) for number, part in enumerate(choices))


def _named(schema: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    found = schema.get(keyword)
    return found if isinstance(found, Mapping) else {}
