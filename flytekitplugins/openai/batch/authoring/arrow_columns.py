"""The columns of an Arrow table for the objects of a Pydantic model: their types follow the model, not the results."""

from __future__ import annotations

import datetime as dt
import enum
import json
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from flytekit import lazy_module

from flytekitplugins.openai._text import whole

if TYPE_CHECKING:
    import pyarrow as pa
    import pydantic
else:
    pa = lazy_module("pyarrow")
    pydantic = lazy_module("pydantic")

__all__ = ["FLOAT_BYTES", "ArrowColumn", "array_of", "columns_of_model", "columns_of_output", "exact", "vectors"]

# How deep models may be nested; a model that refers to itself has no end, and is kept as JSON below this depth.
DEEPEST = 8
FLOAT_BYTES = 4
# What Arrow and Python raise for a value that a column of its type cannot hold.
UNFITTING = (ValueError, TypeError, OverflowError, KeyError, AttributeError)
PYDANTIC_NAMES: Mapping[type, tuple[str, ...]] = {
    dt.datetime: ("AwareDatetime", "NaiveDatetime", "PastDatetime", "FutureDatetime"),
    dt.date: ("PastDate", "FutureDate"),
}


@dataclass(frozen=True)
class ArrowColumn:
    """A column, or a part of one.

    Attributes:
        type: Its Arrow type.
        convert: Makes a value of that type of a Python value that is not `None`; `None` if it is one already.
        categories: The values that a category has; empty unless it is one.
        converts_few: Whether few values need `convert`, and Arrow or the category refuses those that do.
    """

    type: pa.DataType
    convert: Callable[[Any], Any] | None = None
    categories: Sequence[Any] = ()
    converts_few: bool = False

    def array(self, values: Sequence[Any]) -> pa.Array:
        """The values as Arrow has them.

        Raises:
            ValueError: A value does not fit, such as a number of more than 64 bits.
        """
        try:
            return self._converted(values)
        except UNFITTING as error:
            raise ValueError(str(error)) from error

    def _converted(self, values: Sequence[Any]) -> pa.Array:
        convert = self.convert
        if convert is None:
            return self._array_of(values)
        if self.converts_few:
            with suppress(UnicodeEncodeError, KeyError):
                return self._array_of(values)
        return self._array_of([None if value is None else convert(value) for value in values])

    def _array_of(self, values: Sequence[Any]) -> pa.Array:
        if not self.categories:
            return array_of(values, self.type)
        codes = {None: None, **{value: code for code, value in enumerate(self.categories)}}
        indices = array_of([codes[value] for value in values], pa.int32())
        return pa.DictionaryArray.from_arrays(indices, array_of(self.categories, self.type.value_type))


def columns_of_model(model: type[pydantic.BaseModel]) -> dict[str, ArrowColumn]:
    """A column for each field of a model.

    Numbers, flags, texts, dates and times have Arrow's types; a time without a zone is taken as UTC. A `Literal` or an
    enum is a category, a collection a list, and a model a struct. What has no one type, such as a union of models, is a
    text of JSON.
    """
    return {name: _column_of(field.annotation) for name, field in model.model_fields.items()}


def columns_of_output(model: Any) -> dict[str, ArrowColumn]:
    """The columns for the outputs of any type that Pydantic knows: `output`, or `output.` and the name of a field."""
    if isinstance(model, type(pydantic.BaseModel)) and not issubclass(model, pydantic.RootModel):
        return {f"output.{name}": column for name, column in columns_of_model(model).items()}
    return {} if model is None else {"output": _column_of(model)}


def array_of(values: Iterable[Any], type_: pa.DataType) -> pa.Array:
    """An array of the values, in memory from the system's allocator.

    Arrow's own allocator takes some 15 MB for itself when it is first used.
    """
    return pa.array(values, type=type_, memory_pool=pa.system_memory_pool())


def exact(array: pa.Array) -> pa.Array:
    """A copy that takes the memory it needs: an array has the room that it grew into, half as much again."""
    return pa.concat_arrays([array[:1], array[1:]], memory_pool=pa.system_memory_pool())


def vectors(packed: Sequence[bytes | None]) -> pa.Array:
    """Vectors as a column of lists of 32-bit floats; the numbers of all of them are one buffer.

    Args:
        packed: The numbers of each vector, little-endian; `None` for a row without one.
    """
    ends = list(accumulate((len(each or b"") // FLOAT_BYTES for each in packed), initial=0))
    numbers = pa.py_buffer(b"".join(each or b"" for each in packed))
    # A list begins at its offset, and at none if it is null.
    starts = [None if each is None else start for each, start in zip(packed, ends, strict=False)]
    offsets = array_of([*starts, ends[-1]], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.Array.from_buffers(pa.float32(), ends[-1], [None, numbers]))


def _column_of(annotation: Any, *, depth: int = 0) -> ArrowColumn:
    choices = [choice for choice in _choices_of(annotation) if choice is not type(None)]
    if len(choices) != 1:
        return _number_or_json(choices)
    [kind] = choices
    if (members := _members_of(kind)) is not None:
        return _category_of(members, nested=depth > 0)
    if get_origin(kind) in (list, set, frozenset, tuple, Sequence):
        return _list_of(get_args(kind), depth)
    if isinstance(kind, type(pydantic.BaseModel)) and not issubclass(kind, pydantic.RootModel) and depth < DEEPEST:
        return _struct_of(kind, depth)
    is_scalar = isinstance(kind, type) and get_origin(kind) is None and not issubclass(kind, pydantic.BaseModel)
    return _scalar_of(kind) if is_scalar else _json()


def _scalar_of(kind: type) -> ArrowColumn:
    for known, column in _scalars():
        # Pydantic has types of its own for some, such as AwareDatetime.
        if issubclass(kind, known) or kind.__name__ in PYDANTIC_NAMES.get(known, ()):
            return column
    return ArrowColumn(pa.string(), _as_text)


def _choices_of(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for choice in get_args(annotation) for kind in _choices_of(choice)]
    return _choices_of(get_args(annotation)[0]) if get_origin(annotation) is Annotated else [annotation]


def _members_of(kind: Any) -> list[Any] | None:
    """The values of a `Literal` or an enum."""
    if get_origin(kind) is Literal:
        return [_value_of(value) for value in get_args(kind)]
    if isinstance(kind, enum.EnumMeta):
        members: Iterable[Any] = kind
        return [member.value for member in members]
    return None


def _value_of(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _category_of(members: Sequence[Any], *, nested: bool) -> ArrowColumn:
    kinds = {type(member) for member in members if member is not None}
    if kinds == {bool}:
        return ArrowColumn(pa.bool_(), _value_of)
    if kinds not in ({str}, {int}):
        return _json()
    type_ = pa.string() if kinds == {str} else pa.int64()
    # Parquet has no categories within a list or a struct.
    if nested:
        return ArrowColumn(type_, _value_of)
    categories = [each for each in members if each is not None]
    return ArrowColumn(pa.dictionary(pa.int32(), type_), _value_of, categories, converts_few=True)


def _list_of(arguments: tuple[Any, ...], depth: int) -> ArrowColumn:
    kinds = {argument for argument in arguments if argument is not Ellipsis}
    item = _column_of(kinds.pop(), depth=depth + 1) if len(kinds) == 1 else _json()
    return ArrowColumn(pa.list_(item.type), lambda values: [_or_none(item, value) for value in values])


def _struct_of(model: type[pydantic.BaseModel], depth: int) -> ArrowColumn:
    parts = {name: _column_of(field.annotation, depth=depth + 1) for name, field in model.model_fields.items()}
    struct = pa.struct([(name, part.type) for name, part in parts.items()])
    return ArrowColumn(
        struct, lambda value: {name: _or_none(part, getattr(value, name)) for name, part in parts.items()}
    )


def _or_none(part: ArrowColumn, value: Any) -> Any:
    return value if value is None or part.convert is None else part.convert(value)


def _number_or_json(choices: Sequence[Any]) -> ArrowColumn:
    return ArrowColumn(pa.float64(), float) if set(choices) == {int, float} else _json()


def _json() -> ArrowColumn:
    return ArrowColumn(pa.string(), _as_json)


def _as_json(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return whole(value)
    return whole(json.dumps(pydantic.TypeAdapter(Any).dump_python(value, mode="json"), ensure_ascii=False))


def _as_text(value: Any) -> str:
    return whole(str(value))


def _in_utc(value: dt.datetime) -> dt.datetime:
    return value.replace(tzinfo=dt.timezone.utc) if value.tzinfo is None else value.astimezone(dt.timezone.utc)


def _scalars() -> Sequence[tuple[type, ArrowColumn]]:
    """By Python's types, in this order: a flag is a whole number as well, and a time a date."""
    return (
        (bool, ArrowColumn(pa.bool_())),
        (int, ArrowColumn(pa.int64())),
        (float, ArrowColumn(pa.float64())),
        (str, ArrowColumn(pa.string(), whole, converts_few=True)),
        (dt.datetime, ArrowColumn(pa.timestamp("us", tz="UTC"), _in_utc)),
        (dt.date, ArrowColumn(pa.date32())),
        (dt.time, ArrowColumn(pa.time64("us"), lambda value: value.replace(tzinfo=None))),
        (dt.timedelta, ArrowColumn(pa.duration("us"))),
    )
