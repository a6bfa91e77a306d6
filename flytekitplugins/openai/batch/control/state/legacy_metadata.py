"""Reads the metadata of the published package: a pickle, from a port that anyone can write to."""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

__all__ = ["read_pickled_fields"]

# All that an honest pickle of a flat dataclass is made of. Others are refused unread: `LONG_BINPUT`, for one, makes the
# unpickler take as much memory as its argument says.
ADMITTED_OPCODES = frozenset(
    [
        "PROTO",
        "FRAME",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "MEMOIZE",
        "BINPUT",
        "BINGET",
        "GLOBAL",
        "STACK_GLOBAL",
        "EMPTY_TUPLE",
        "NEWOBJ",
        "EMPTY_DICT",
        "MARK",
        "SETITEM",
        "SETITEMS",
        "NONE",
        "BUILD",
        "STOP",
    ]
)


class _Fields:
    """Stands in for the pickled class, so that loading makes nothing but a bag of attributes."""


class _OneClassUnpickler(pickle.Unpickler):
    """Admits the one class that an honest pickle names, and runs nothing: not even that class's own code."""

    def __init__(self, data: bytes, module: str, name: str) -> None:
        super().__init__(io.BytesIO(data))
        self._admitted = (module, name)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != self._admitted:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")
        return _Fields


def read_pickled_fields(data: bytes, *, module: str, name: str) -> dict[str, Any]:
    """The attributes of the object that `data` is a pickle of, if it is one of the class `module.name`.

    Raises:
        ValueError: It is anything else.
    """
    try:
        strange = {opcode.name for opcode, _, _ in pickletools.genops(data)} - ADMITTED_OPCODES
        if strange:
            raise pickle.UnpicklingError(f"{', '.join(sorted(strange))} not admitted")  # noqa: TRY301 (the same refusal)
        loaded = _OneClassUnpickler(data, module, name).load()
    except Exception as error:  # Bytes can make the unpickler raise almost anything.
        raise ValueError(f"not a pickle of {name}: {error}") from error
    if type(loaded) is not _Fields:
        raise ValueError(f"a pickle of something else than {name}")
    attributes = dict(vars(loaded))
    if not all(isinstance(value, (str, type(None))) for value in attributes.values()):
        # An object may be in itself, or in another a million times; the published package wrote two texts.
        raise ValueError("an attribute is no text")
    return attributes
