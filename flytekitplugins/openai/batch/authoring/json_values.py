"""Converts Python values that have one form in JSON, and refuses all others with the field's path."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["SCALARS", "all_texts", "is_plain", "plain", "plain_parameters"]

SCALARS = frozenset({str, int, bool, type(None)})


def plain(value: Any, path: str) -> Any:
    """A value as JSON has it, at any depth; one that is so already is not copied.

    Numbers, booleans and arrays of numpy, decimals, dates and times, UUIDs, members of enums, Pydantic models and
    dataclasses have one form. A set has no order, and bytes have no one form.

    Args:
        value: The value.
        path: Where it is, for the error: `messages[0].content`.

    Raises:
        TypeError: There is something in it that JSON has no one form for.
        ValueError: There is a number in it that JSON has not.
    """
    return value if is_plain(value) else _converted(value, path)


def plain_parameters(values: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a request as JSON has them, each under its own name; see `plain`."""
    for value in values.values():
        # Most are such, and a request may have a million of them.
        kind = type(value)
        if kind in SCALARS or (kind is float and -math.inf < value < math.inf) or is_plain(value):
            continue
        return {name: plain(value, name) for name, value in values.items()}
    return values


def all_texts(values: dict[str, Any]) -> bool:
    """Whether all values are texts, as those of most messages are."""
    for value in values.values():  # noqa: SIM110 (a generator takes twice as long)
        if type(value) is not str:
            return False
    return True


def is_plain(value: Any) -> bool:
    """Whether a value is as JSON has it."""
    kind = type(value)
    # Loops, and no generators, because a request may have a million of them.
    if kind is dict:
        for name, item in value.items():
            if type(name) is not str or (type(item) not in SCALARS and not is_plain(item)):
                return False
        return True
    if kind is list:
        for item in value:  # noqa: SIM110 (see above)
            if type(item) not in SCALARS and not is_plain(item):
                return False
        return True
    return kind in SCALARS or (kind is float and math.isfinite(value))


def _converted(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {_name(name, path): plain(item, f"{path}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{path}[{number}]") for number, item in enumerate(value)]
    for kinds, convert in _FORMS:
        if isinstance(value, kinds):
            return convert(value, path)
    # Pydantic's models and numpy's arrays and scalars, without importing either; and no classes.
    for method, arguments in (("model_dump", {"mode": "json"}), ("tolist", {})):
        if not isinstance(value, type) and callable(convert_itself := getattr(value, method, None)):
            return plain(convert_itself(**arguments), path)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, path)
    raise TypeError(f"{path} cannot be sent as JSON: it is of type {type(value).__name__}.")


def _number(value: float | decimal.Decimal, path: str) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{path} cannot be sent as JSON, which has no number {value}.")
    return int(value) if isinstance(value, decimal.Decimal) and value == value.to_integral_value() else float(value)


def _name(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{path} cannot be sent as JSON: its keys must be strings, not {name!r}.")
    return str(name)


# By their kinds, in this order: a member of an enum may be a text or a number as well.
_FORMS: tuple[tuple[type | tuple[type, ...], Callable[[Any, str], Any]], ...] = (
    (enum.Enum, lambda value, path: plain(value.value, path)),
    (str, lambda value, _: str(value)),
    (int, lambda value, _: int(value)),
    ((float, decimal.Decimal), _number),
    ((dt.date, dt.time), lambda value, _: value.isoformat()),
    (uuid.UUID, lambda value, _: str(value)),
)
