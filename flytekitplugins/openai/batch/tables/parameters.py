"""The columns that a function reads: its parameters, by name."""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from flytekit import lazy_module

from flytekitplugins.openai.exceptions import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazy_module("pyarrow")

__all__ = ["Parameter", "Parameters"]

# The names of Arrow's predicates (`pyarrow.types.is_string`, ...) for the columns that fit an annotation.
FITTING: dict[Any, tuple[str, ...]] = {
    str: ("string", "large_string", "string_view"),
    bool: ("boolean",),
    int: ("integer",),
    float: ("floating", "integer"),
    bytes: ("binary", "large_binary", "fixed_size_binary", "binary_view"),
    dt.datetime: ("timestamp",),
    dt.date: ("date",),
    dt.time: ("time",),
    dt.timedelta: ("duration",),
    decimal.Decimal: ("decimal",),
    list: ("list", "large_list", "fixed_size_list", "list_view", "large_list_view"),
    dict: ("struct", "map"),
}
# Functions that cannot be used, and why, in this order.
UNUSABLE: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (
        lambda function: inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        "it is an async function; write it without async, because it only makes a prompt",
    ),
    (inspect.isgeneratorfunction, "it is a generator; return the prompt of one row instead of yielding"),
    (
        lambda function: function.__name__ == "<lambda>",
        "it is a lambda, which has no name to find it by; write a function with def",
    ),
    (
        lambda function: "<locals>" in function.__qualname__,
        "it is defined inside another function, where its container cannot find it; define it in the module",
    ),
    (lambda function: "." in function.__qualname__, "it is a method; define it as a function of the module"),
)
CONTAINERS: dict[Any, Any] = {Sequence: list, Mapping: dict}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the function.

    Attributes:
        name: Its name, and that of the column.
        shown: Its annotation as the user wrote it; "" if there is none.
        kinds: The kinds of values that it takes, as keys of `FITTING`; empty if it takes any.
        takes_null: Whether it takes `None`.
        is_optional: Whether it has a default, so that the column may be missing.
    """

    name: str
    shown: str
    kinds: tuple[Any, ...]
    takes_null: bool
    is_optional: bool

    def fits(self, column: pa.DataType) -> bool:
        """Whether the values of a column of this type may be given to it."""
        if pa.types.is_dictionary(column):
            column = column.value_type
        if not self.kinds or pa.types.is_null(column):
            return True
        return any(_is(column, name) for kind in self.kinds for name in FITTING[kind])


class Parameters:
    """The parameters of a function.

    Args:
        function: The function.
        decorator: How the user calls the decorator, for the errors.

    Raises:
        TypeError: It is no function that a step of a workflow can find and call with the columns of a row.
    """

    def __init__(self, function: Callable[..., Any], *, decorator: str) -> None:
        problem = _problem_of(function)
        name = getattr(function, "__qualname__", repr(function))
        if problem:
            raise TypeError(f"{decorator} cannot be used for {name}: {problem}.")
        self.function = function
        self.name: str = function.__name__
        hints = _hints_of(function)
        parameters = inspect.signature(function).parameters.values()
        self.all = [_parameter_of(each, hints.get(each.name, Any), name) for each in parameters]

    def columns_in(self, schema: pa.Schema) -> list[str]:
        """The columns of a table that are read for it.

        Raises:
            InvalidInputError: One is missing, or its type does not fit.
        """
        chosen = []
        for parameter in self.all:
            count = schema.names.count(parameter.name)
            if count > 1:
                raise InvalidInputError(f"The table has {count} columns {parameter.name!r}; {self.name} reads one.")
            if count == 0:
                if parameter.is_optional:
                    continue
                has = ", ".join(map(repr, schema.names)) or "none"
                raise InvalidInputError(
                    f"The table has no column {parameter.name!r}, which {self.name} reads; its columns are {has}."
                )
            column = schema.field(parameter.name).type
            if not parameter.fits(column):
                raise InvalidInputError(
                    f"Column {parameter.name!r} of the table is of type {column}, and {self.name} takes "
                    f"{parameter.name}: {parameter.shown}; convert the column, or change the annotation."
                )
            chosen.append(parameter.name)
        return chosen

    def calls(self, batch: pa.RecordBatch, columns: Sequence[str], first: int) -> Iterator[tuple[dict[str, Any], Any]]:
        """Each row of a batch, as its values by column, and what the function returns for it.

        Args:
            batch: The rows.
            columns: The columns, of `columns_in`.
            first: The number of the first row, for the errors.

        Raises:
            InvalidInputError: A value is null that must not be, or the function raised.
        """
        self._check_nulls(batch, columns, first)
        function = self.function
        # A function whose parameters all have defaults may read no column at all.
        values = [batch.column(name).to_pylist() for name in columns] or [[None] * batch.num_rows]
        for number, cells in enumerate(zip(*values, strict=True), first):
            row = dict(zip(columns, cells, strict=False))
            try:
                yield row, function(**row)
            except Exception as error:
                raise InvalidInputError(
                    f"{self.name} raised {type(error).__name__} for row {number} of the table, counted from 0: {error}"
                ) from error

    def _check_nulls(self, batch: pa.RecordBatch, columns: Sequence[str], first: int) -> None:
        for parameter in self.all:
            if parameter.takes_null or parameter.name not in columns or not batch.column(parameter.name).null_count:
                continue
            row = first + batch.column(parameter.name).is_null().to_pylist().index(True)
            raise InvalidInputError(
                f"Column {parameter.name!r} is null in row {row} of the table, counted from 0; annotate the parameter "
                f"of {self.name} as {parameter.name}: {parameter.shown} | None, and return None for a row to leave out."
            )


def _problem_of(function: Any) -> str:
    """Why a function cannot be one of a table; "" if it can."""
    if not inspect.isfunction(function):
        return "it is not a function; write one, and let it call the object"
    for is_so, problem in UNUSABLE:
        if is_so(function):
            return problem
    kinds = {each.kind: each.name for each in inspect.signature(function).parameters.values()}
    for kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY):
        if kind in kinds:
            return f"its parameter {kinds[kind]!r} does not name a column; name each column that it reads"
    return "" if kinds else "it has no parameters; name the columns that it reads"


def _hints_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        raise TypeError(f"An annotation of {function.__name__} cannot be read: {error}.") from None


def _parameter_of(parameter: inspect.Parameter, annotation: Any, name: str) -> Parameter:
    shown = "" if parameter.annotation is parameter.empty else _shown(parameter.annotation)
    choices = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    kinds, takes_null = [], annotation is Any
    for choice in choices:
        if choice is type(None):
            takes_null = True
        elif choice is not Any and choice is not object:
            kinds += _kinds_of(choice)
        else:
            return Parameter(parameter.name, shown, (), True, parameter.default is not parameter.empty)
    unknown = [kind for kind in kinds if kind not in FITTING]
    if unknown:
        raise TypeError(
            f"Parameter {parameter.name!r} of {name} is annotated as {shown}, which no column has; the types of "
            f"columns are {', '.join(kind.__name__ for kind in FITTING)}, and lists and dictionaries of them."
        )
    return Parameter(parameter.name, shown, tuple(kinds), takes_null, parameter.default is not parameter.empty)


def _kinds_of(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return [type(value) for value in get_args(annotation)]
    if typing.is_typeddict(annotation):
        return [dict]
    kind = get_origin(annotation) or annotation
    return [CONTAINERS.get(kind, kind)]


def _shown(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _is(column: pa.DataType, name: str) -> bool:
    # Views of strings and lists are not in older releases of Arrow.
    predicate = getattr(pa.types, f"is_{name}", None)
    return predicate is not None and bool(predicate(column))
