"""Maps of YAML, as Helm and Flyte merge and read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Values", "at", "lowered", "merged"]

Values = Mapping[str, Any]


def merged(base: Values, over: Values, *, keeps_maps: bool = False) -> Values:
    """Maps are merged, and everything else is replaced, as Helm does it.

    Args:
        base: What is there.
        over: What comes over it.
        keeps_maps: As Flyte does it: nothing but a map comes over a map.
            https://github.com/spf13/viper/blob/v1.21.0/viper.go#L1806
    """
    result = dict(base)
    for name, value in over.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[name] = merged(old, value, keeps_maps=keeps_maps)
        elif not (keeps_maps and isinstance(old, Mapping)):
            result[name] = value
    return result


def lowered(value: Any) -> Any:
    """The same with the keys of maps in lower case, as Flyte reads them; in a list it keeps them as they are written.

    https://github.com/flyteorg/flyte/blob/v1.16.8/flytestdlib/config/viper/viper.go
    """
    return {str(name).lower(): lowered(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def at(values: Any, *names: str) -> Any:
    """What is at the end of a path of keys; `None` if nothing is."""
    for name in names:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values
