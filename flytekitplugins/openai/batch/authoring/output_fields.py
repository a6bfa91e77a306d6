"""Reads the fields of outputs for the columns of a table. A model's object is dumped only where its dump may differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

if TYPE_CHECKING:
    import pydantic
else:
    pydantic = lazy_module("pydantic")

__all__ = ["WHOLE", "field_reader"]

# The name of what has no fields; a field may have any text for a name.
WHOLE = object()
# Pydantic's types of values that a dump leaves as they are, and those around one of them.
# https://docs.pydantic.dev/latest/api/pydantic_core_schema/
LEFT_AS_THEY_ARE = frozenset({"str", "int", "float", "bool", "literal"})
WRAPPERS = frozenset({"default", "nullable"})


def field_reader() -> Callable[[Any], Mapping[Any, Any]]:
    """A function that reads the fields of a model's object. A list, or a number, has none, and is `WHOLE`."""
    readers: dict[type, Callable[[Any], Mapping[Any, Any]]] = {}

    def read(output: Any) -> Mapping[Any, Any]:
        kind = type(output)
        if kind not in readers:
            readers[kind] = _reader_of(kind)
        return readers[kind](output)

    return read


def _reader_of(kind: type) -> Callable[[Any], Mapping[Any, Any]]:
    if not issubclass(kind, pydantic.BaseModel):
        return lambda output: {WHOLE: output}
    if issubclass(kind, pydantic.RootModel):
        return lambda output: {WHOLE: output.model_dump()}
    # To dump an object takes as long as to decode its line.
    return attrgetter("__dict__") if _holds_what_it_dumps(kind) else kind.model_dump


def _holds_what_it_dumps(model: type[pydantic.BaseModel]) -> bool:
    """Whether the attributes of a model's objects certainly are what `model_dump` makes of them."""
    schema = model.__pydantic_core_schema__
    # That of a model which is not built yet is no dictionary.
    if not isinstance(schema, dict) or schema["type"] != "model" or schema["schema"]["type"] != "model-fields":
        return False
    fields: Mapping[str, Any] = schema["schema"]
    # Code of the model's own may give an object attributes that are no fields.
    has_code = schema.get("custom_init") or schema.get("post_init") or fields.get("computed_fields")
    dumps_itself = "serialization" in schema or model.model_dump is not pydantic.BaseModel.model_dump
    if has_code or dumps_itself or model.model_config.get("extra") == "allow":
        return False
    return all(map(_is_left_as_it_is, fields["fields"].values()))


def _is_left_as_it_is(schema: Mapping[str, Any]) -> bool:
    # What a model says about a field's dump: a serializer, another name, or that the field is left out.
    if any(key.startswith("serialization") for key in schema):
        return False
    if schema["type"] == "model-field" or schema["type"] in WRAPPERS:
        return _is_left_as_it_is(schema["schema"])
    return schema["type"] in LEFT_AS_THEY_ARE
