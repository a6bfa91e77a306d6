"""A small document that fits a JSON schema: the emulated models' answer to a request for structured output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any
from urllib.parse import unquote

__all__ = ["EndlessSchemaError", "document_for"]

# https://platform.openai.com/docs/guides/structured-outputs#supported-properties
FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "person@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
# So many references within each other are filled with all there may be.
DEEP = 3


class EndlessSchemaError(ValueError):
    """Every document that fits a schema would be endless."""

    def __init__(self) -> None:
        super().__init__("The schema leads back to itself with no way out.")


def document_for(schema: Mapping[str, Any], *, text: str) -> Any:
    """A document that fits `schema`, the same one every time.

    It knows what structured outputs may hold, but for `pattern`; rarer keywords, such as `uniqueItems`, it passes over.

    Args:
        schema: Its references are to places within it.
        text: What strings hold that may hold anything.

    Raises:
        EndlessSchemaError: There is none.
    """
    return _Filler(schema, text).fill(schema, frozenset({"#"}))


class _Filler:
    """Fills the parts of one schema. `seen` are the references that led to a part: a second time would be endless."""

    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self._root = root
        self._text = text
        self._kinds: dict[str, Callable[[Mapping[str, Any], frozenset[str]], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": lambda schema, _: _number(schema, whole=True),
            "number": lambda schema, _: _number(schema, whole=False),
            "boolean": lambda *_: True,
            "null": lambda *_: None,
        }

    def fill(self, schema: Any, seen: frozenset[str]) -> Any:
        schema, seen = self._resolved(schema if isinstance(schema, Mapping) else {}, seen)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        for name in ("anyOf", "oneOf", "type"):
            if schema.get(name) and isinstance(schema[name], list):
                return self._first_of(name, schema, seen)
        return self._kinds[_kind_of(schema)](schema, seen)

    def _if_any(self, schema: Any, seen: frozenset[str]) -> list[Any]:
        """The document, or nothing."""
        try:
            return [self.fill(schema, seen)]
        except EndlessSchemaError:
            return []

    def _resolved(self, schema: Mapping[str, Any], seen: frozenset[str]) -> tuple[dict[str, Any], frozenset[str]]:
        """The schema as one with what it refers to, and with all that `allOf` says."""
        parts = list(schema.get("allOf", ()))
        if "$ref" in schema:
            if schema["$ref"] in seen:
                raise EndlessSchemaError
            seen |= {schema["$ref"]}
            parts.append(self._at(schema["$ref"]))
        whole = {name: value for name, value in schema.items() if name not in ("$ref", "allOf")}
        for part in parts:
            other, seen = self._resolved(part, seen)
            properties = {**other.get("properties", {}), **whole.get("properties", {})}
            required = [*other.get("required", ()), *whole.get("required", ())]
            whole = {**other, **whole, "properties": properties, "required": required}
        return whole, seen

    def _at(self, reference: str) -> Any:
        """What a reference such as `#/$defs/Node` points at (RFC 6901)."""
        steps = [unquote(step).replace("~1", "/").replace("~0", "~") for step in reference.split("/")[1:]]
        return reduce(lambda part, step: part[step], steps, self._root)

    def _first_of(self, name: str, schema: Mapping[str, Any], seen: frozenset[str]) -> Any:
        """A document for the first of the choices under `name` that has one."""
        common = {key: value for key, value in schema.items() if key != name}
        # So deep, whatever may be left out is, or schemas that refer to each other would grow beyond measure.
        is_deep = len(seen) > DEEP
        for choice in sorted(schema[name], key=_is_not_null) if is_deep else schema[name]:
            for document in self._if_any({**common, **({"type": choice} if name == "type" else choice)}, seen):
                return document
        raise EndlessSchemaError

    def _object(self, schema: Mapping[str, Any], seen: frozenset[str]) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        document: dict[str, Any] = {}
        for name in dict.fromkeys([*(properties if len(seen) <= DEEP else ()), *required]):
            filled = self._if_any(properties.get(name), seen)
            if not filled and name in required:
                raise EndlessSchemaError
            document.update((name, value) for value in filled)
        return document

    def _array(self, schema: Mapping[str, Any], seen: frozenset[str]) -> list[Any]:
        items = [self.fill(item, seen) for item in schema.get("prefixItems", ())]
        least = schema.get("minItems", 0)
        most = max(least, min(1, schema.get("maxItems", 1)))
        items += self._if_any(schema.get("items"), seen) * (most - len(items))
        if len(items) < least:
            raise EndlessSchemaError
        return items

    def _string(self, schema: Mapping[str, Any], _seen: frozenset[str]) -> str:
        text = FORMATS.get(schema.get("format", ""), self._text)
        return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]


def _is_not_null(choice: object) -> bool:
    return choice not in ("null", {"type": "null"})


def _kind_of(schema: Mapping[str, Any]) -> str:
    """The type, or what its other keywords speak of."""
    inferred = "object" if schema.get("properties") else "array" if schema.get("items") else "string"
    return str(schema.get("type") or inferred)


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    """A number within the bounds: 0 if it may be, or one near an end, or the middle."""
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    step = schema.get("multipleOf", 1)
    ends = [end for end in (low, high, above, below) if math.isfinite(end)]
    near = [(round(end / step) + offset) * step for end in ends for offset in (0, 1, -1)]
    for number in [0, *near, *ends, sum(ends) / max(len(ends), 1)]:
        if low <= number <= high and above < number < below and (not whole or number == int(number)):
            return int(number) if whole else number
    return 0
