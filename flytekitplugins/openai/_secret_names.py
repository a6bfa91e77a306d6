"""The names of the secrets that hold keys. A name may be shown, a secret may not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

__all__ = ["COMMON", "OPENAI_API_KEY", "REQUIRE_PROJECT_KEY", "KeyScope", "SecretName", "is_flyte_name"]

# The secret of the connector service, which the operator sets.
OPENAI_API_KEY = "FLYTE_OPENAI_API_KEY"
# The operator's word on whether a task may use that key if its Flyte project has none of its own.
REQUIRE_PROJECT_KEY = "FLYTE_OPENAI_REQUIRE_PROJECT_KEY"

# What Flyte lets a project or a domain be called, a label of DNS: nothing in it could be read as another's secret, or
# as a path. https://datatracker.ietf.org/doc/html/rfc1123#section-2
_FLYTE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_flyte_name(name: object) -> TypeGuard[str]:
    """Whether a project or a domain of Flyte's can be called so."""
    return isinstance(name, str) and _FLYTE_NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class SecretName:
    """The name by which Flyte finds a secret. The name may be shown, the secret may not."""

    key: str | None
    group: str | None = None
    group_version: str | None = None

    @classmethod
    def from_custom(cls, custom: Mapping[str, str | None] | None) -> SecretName | None:
        """Read the form in which a task's `custom` carries it."""
        if not custom:
            return None
        return cls(key=custom.get("key"), group=custom.get("group"), group_version=custom.get("group_version"))

    @property
    def variable(self) -> str:
        """The environment variable of a local run; elsewhere flytekit reads the same with `_FSEC_` before it."""
        return "_".join(part.upper() for part in (self.group, self.group_version, self.key) if part)

    def __str__(self) -> str:
        return repr("/".join(part for part in (self.group, self.group_version, self.key) if part))


@dataclass(frozen=True)
class KeyScope:
    """Whose key of the connector's: a Flyte project's in one of its domains, a project's, or everybody's.

    Attributes:
        project: Flyte's project; `None` for the common key.
        domain: The domain of it; `None` if the key is for all of them.

    Raises:
        ValueError: Flyte lets no project or domain have such a name.
    """

    project: str | None = None
    domain: str | None = None

    def __post_init__(self) -> None:
        names = (self.project,) if self.domain is None else (self.project, self.domain)
        if names != (None,) and not all(map(is_flyte_name, names)):
            raise ValueError(f"{self.project!r} and {self.domain!r} are no names of a project and a domain of Flyte's")

    def __str__(self) -> str:
        return "/".join(part for part in (self.project, self.domain) if part)

    def secret(self, name: str) -> SecretName:
        """The secret of this name that belongs to the scope; no name of Flyte's has the `_` that parts it."""
        return SecretName("__".join(part for part in (name, self.project, self.domain) if part))


COMMON = KeyScope()
