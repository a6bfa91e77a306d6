"""A schema without what OpenAI refuses in it and what costs it no meaning, or none that a description cannot keep."""

from __future__ import annotations

from typing import Any

from ._strict_schemas import FORMATS, has_lookaround

__all__ = ["relaxed"]


def relaxed(schema: Any) -> Any:
    """The schema, in which OpenAI refuses less.

    `oneOf` is written as `anyOf`, which means the same where each part has a constant of its own, as those of a
    discriminated union have. A pattern with look-around and a format that OpenAI does not know are left out, and told
    in the description: Pydantic checks them all the same. Defaults are left out: every field is required, and Azure
    refuses them. https://github.com/openai/openai-agents-python/pull/1884

    Args:
        schema: Any part of a schema; it is left as it is.
    """
    if isinstance(schema, list):
        return [relaxed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: part for name, part in schema.items() if name not in ("discriminator", "default", "oneOf")}
    told: list[str] = []
    if isinstance(pattern := kept.get("pattern"), str) and has_lookaround(pattern):
        told.append(f"It must match the regular expression {kept.pop('pattern')}")
    if isinstance(kind := kept.get("format"), str) and kind not in FORMATS:
        told.append(f"Its format is {kept.pop('format')}")
    if told:
        given = str(kept.get("description") or "").rstrip(". ")
        kept["description"] = ". ".join([*([given] if given else []), *told]) + "."
    result = {name: _within(name, part) for name, part in kept.items()}
    if "oneOf" in schema:
        result["anyOf"] = relaxed([*schema.get("anyOf", []), *schema["oneOf"]])
    return result


def _within(name: str, part: Any) -> Any:
    """What stands at a keyword; the names of properties and definitions are no keywords."""
    if name in ("properties", "$defs", "definitions") and isinstance(part, dict):
        return {own: relaxed(schema) for own, schema in part.items()}
    return relaxed(part) if name in ("items", "anyOf", "prefixItems") else part
