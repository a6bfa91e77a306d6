"""What OpenAI refuses in a schema whose answers are to follow it strictly, in OpenAI's own words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

__all__ = ["FORMATS", "has_lookaround", "problem_in"]

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
LOOKAROUND = re.compile(r"\(\?<?[=!]")
LOOKAROUND_REFUSED = "regex lookaround is not supported"
# https://platform.openai.com/docs/guides/structured-outputs#limitations-on-nesting-depth-and-size
MOST_PROPERTIES = 5_000
MOST_LEVELS = 10
MOST_CHARACTERS = 120_000
MOST_ENUM_VALUES = 1_000
MANY_ENUM_VALUES, MOST_ENUM_CHARACTERS = 250, 15_000


def problem_in(schema: Mapping[str, Any]) -> str | None:
    """The first problem, after "Invalid schema for response_format 'name': "; `None` when there is none.

    The words are those of users' reports, such as https://github.com/moeru-ai/xsai/issues/202 and
    https://github.com/vercel/ai/issues/6484 . Those of the limits are ours. Levels are counted as objects within each
    other; one that is referred to begins anew, because a schema may refer to itself.
    """
    kind = schema.get("type")
    if kind != "object":
        # https://github.com/podly-pure-podcasts/podly_pure_podcasts/pull/89
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    if "anyOf" in schema:
        return "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
    return next(chain(_problems(schema, ()), _excesses(schema)), None)


def has_lookaround(pattern: str) -> bool:
    """Whether a regular expression looks ahead or behind, which OpenAI's own cannot."""
    return LOOKAROUND.search(pattern) is not None


def _problems(schema: Any, context: tuple[str, ...]) -> Iterator[str]:
    """Those of a part of a schema, and of the parts within it."""
    if not isinstance(schema, Mapping):
        return
    beside = [name for name in schema if name not in ("$ref", *DEFINITIONS)]
    if "$ref" in schema and beside:
        # https://github.com/agno-agi/agno/issues/3493
        yield f"context={context!r}, $ref cannot have keywords {{{', '.join(map(repr, sorted(beside)))}}}."
    for problem in _own_problems(schema):
        if problem == LOOKAROUND_REFUSED:
            # https://github.com/pydantic/pydantic-ai/issues/5508
            yield f"{problem}. Found at {'.'.join(('$', *context))}.pattern."
        else:
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
    if isinstance(pattern := schema.get("pattern"), str) and has_lookaround(pattern):
        yield LOOKAROUND_REFUSED
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


def _excesses(schema: Mapping[str, Any]) -> Iterator[str]:
    """What there is more of in a whole schema than there may be."""
    parts = list(_all_parts(schema, 0))
    names = [name for part, _ in parts for keyword in ("properties", *DEFINITIONS) for name in _named(part, keyword)]
    enums = [part["enum"] for part, _ in parts if isinstance(part.get("enum"), list)]
    values = [str(value) for values in enums for value in values]
    characters = sum(map(len, [*names, *values]))
    counted = (
        (sum(len(_named(part, "properties")) for part, _ in parts), MOST_PROPERTIES, "properties"),
        (max(level for _, level in parts), MOST_LEVELS, "levels of objects within each other"),
        (characters, MOST_CHARACTERS, "characters in its names and enum values"),
        (len(values), MOST_ENUM_VALUES, "enum values"),
    )
    yield from (f"schema has {count:,} {what}, and may have {most:,}." for count, most, what in counted if count > most)
    for given in enums:
        size = sum(len(str(value)) for value in given)
        if len(given) > MANY_ENUM_VALUES and size > MOST_ENUM_CHARACTERS:
            yield (
                f"schema has an enum of {len(given):,} values with {size:,} characters, and one of more than "
                f"{MANY_ENUM_VALUES} may have {MOST_ENUM_CHARACTERS:,}."
            )


def _all_parts(schema: Any, level: int) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Every schema within a schema, and how many objects it stands in, itself counted."""
    if not isinstance(schema, Mapping):
        return
    level += "properties" in schema
    yield schema, level
    for name, part in _parts(schema):
        yield from _all_parts(part, 0 if name[0] in DEFINITIONS else level)


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
