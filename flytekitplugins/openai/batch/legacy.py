"""The reader of metadata that the published package wrote: a pickle, from a port that anyone can write to."""

from __future__ import annotations

import io
import pickle
from typing import Any

__all__ = ["read_pickled_fields"]

# Two short strings and a class name; the published package needs about 200 bytes.
MAX_BYTES = 4096


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

    def persistent_load(self, _pid: Any) -> Any:
        raise pickle.UnpicklingError("persistent ids are not admitted")


def read_pickled_fields(data: bytes, *, module: str, name: str) -> dict[str, Any]:
    """The attributes of the object that `data` is a pickle of, if it is one of the class `module.name`.

    Raises:
        ValueError: It is anything else.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"a pickle of {len(data)} bytes is too long")
    try:
        loaded = _OneClassUnpickler(data, module, name).load()
    except Exception as error:  # Bytes can make the unpickler raise almost anything.
        raise ValueError(f"not a pickle of {name}: {error}") from error
    if type(loaded) is not _Fields:
        raise ValueError(f"a pickle of something else than {name}")
    return dict(vars(loaded))
