"""Which API key a step uses, and what to tell a person who gave none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import flytekit

from ._flyte import is_local_run
from .exceptions import MissingAPIKeyError

__all__ = ["OPENAI_API_KEY", "APIKey", "SecretName", "find_api_key"]

# The secret of the connector service, which the operator sets.
OPENAI_API_KEY = "FLYTE_OPENAI_API_KEY"
# Where the SDK itself looks. It is enough on a laptop.
_SDK_VARIABLE = "OPENAI_API_KEY"


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
class APIKey:
    """A key, and where it came from in words: `secret 'openai/key'`."""

    value: str = field(repr=False)
    source: str


def find_api_key(secret: SecretName | None, *, in_connector: bool = False) -> APIKey:
    """The key for a step.

    A file step on a cluster uses the secret that its task names, and the connector uses the operator's,
    `FLYTE_OPENAI_API_KEY`: it must not take names from a task, or a task could have any secret of the service sent to
    OpenAI. In a local run there is one person and one process, and every step takes the first it finds of the named
    secret, `FLYTE_OPENAI_API_KEY` and `OPENAI_API_KEY`; so all of them use the same one.

    Raises:
        MissingAPIKeyError: There is none, or what there is has white space in the middle.
    """
    operators = SecretName(OPENAI_API_KEY)
    if is_local_run():
        names = [name for name in (secret, operators) if name is not None]
    else:
        names = [operators if in_connector or secret is None else secret]
    for name in names:
        value = _look_up(name)
        if value:
            return _checked(APIKey(value, f"secret {name}"))
    if is_local_run() and (value := os.environ.get(_SDK_VARIABLE, "").strip()):
        return _checked(APIKey(value, f"environment variable {_SDK_VARIABLE}"))
    raise MissingAPIKeyError(_how_to_give_one(names))


def _look_up(name: SecretName) -> str | None:
    try:
        value = flytekit.current_context().secrets.get(group=name.group, key=name.key, group_version=name.group_version)
    except ValueError:
        return None
    # A key with a newline at its end reaches the user as a bare "Connection error."
    # Without a check of its type: a user's test may mock all of flytekit's context.
    return value.strip() if value else None


def _checked(key: APIKey) -> APIKey:
    if not key.value.isascii() or not key.value.isprintable() or " " in key.value:
        raise MissingAPIKeyError(
            f"The OpenAI API key from {key.source} contains white space or other characters that no key has; "
            "store it again as one line."
        )
    return key


def _how_to_give_one(names: list[SecretName]) -> str:
    if is_local_run():
        named = [name.variable for name in reversed(names) if name.variable.isidentifier()]
        variables = list(dict.fromkeys([_SDK_VARIABLE, *named]))
        return f"No OpenAI API key was found: set one of the environment variables {_either(variables)}."
    name = names[0]
    path = "/".join(part.lower() for part in (name.group, name.group_version, name.key) if part)
    where = "the connector service" if name.key == OPENAI_API_KEY else "the container of this task"
    return (
        f"No OpenAI API key was found: secret {name} is not in {where}, "
        f"neither as the environment variable _FSEC_{name.variable} nor as the file /etc/secrets/{path}."
    )


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
