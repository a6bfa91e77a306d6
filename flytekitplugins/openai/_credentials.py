"""Which API key a step uses, and what to tell a person who gave none."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import flytekit

from ._flyte import is_local_run
from ._secret_names import COMMON, OPENAI_API_KEY, REQUIRE_PROJECT_KEY, KeyScope, SecretName, is_flyte_name
from .exceptions import MissingAPIKeyError

__all__ = [
    "OPENAI_API_KEY",
    "REQUIRE_PROJECT_KEY",
    "APIKey",
    "common_key_is_for_all",
    "find_api_key",
    "scope_of",
    "scoped_value",
]

# Where the SDK itself looks. It is enough on a laptop.
_SDK_VARIABLE = "OPENAI_API_KEY"
_QUOTATION_MARKS = ("'", '"')


@dataclass(frozen=True)
class APIKey:
    """A key, and where it came from in words: `secret 'openai/key'`."""

    value: str = field(repr=False)
    source: str


def find_api_key(secret: SecretName | None, *, in_connector: bool = False, scope: KeyScope = COMMON) -> APIKey:
    """The key for a step.

    A file step on a cluster uses the secret that its task names, and the connector uses the operator's,
    `FLYTE_OPENAI_API_KEY`: it must not take names from a task, or a task could have any secret of the service sent to
    OpenAI. In a local run there is one person and one process, and every step takes the first it finds of the named
    secret, `FLYTE_OPENAI_API_KEY` and `OPENAI_API_KEY`; so all of them use the same one.

    Args:
        secret: The one that the task names.
        in_connector: Whether it is for the connector.
        scope: Whose key of the connector's; everybody's, if it is left out.

    Raises:
        MissingAPIKeyError: There is none, or what there is has white space in the middle, or quotation marks.
    """
    operators = scope.secret(OPENAI_API_KEY)
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


def scope_of(project: str | None, domain: str | None) -> KeyScope:
    """The scope whose key the connector uses for a task: of its own ones the narrowest that has a key, or everybody's.

    Args:
        project: The task's Flyte project, as Flyte reports it; `None` if Flyte did not say.
        domain: Its domain.

    Raises:
        MissingAPIKeyError: It has none of its own, and the operator lets no task use the common one.
    """
    if is_local_run():
        return COMMON
    own = [KeyScope(*names) for names in ((project, domain), (project,)) if all(map(is_flyte_name, names))]
    found = next((scope for scope in own if _look_up(scope.secret(OPENAI_API_KEY)) is not None), None)
    if found is not None:
        return found
    if not common_key_is_for_all():
        stored = f": store one as secret {own[-1].secret(OPENAI_API_KEY)}" if own else ""
        whose = f"Flyte project {project!r}" if project else "A task of no known Flyte project"
        raise MissingAPIKeyError(
            f"{whose} has no OpenAI API key of its own in the connector service, and "
            f"{REQUIRE_PROJECT_KEY} forbids the common one{stored}."
        )
    return COMMON


def scoped_value(name: str, scope: KeyScope) -> str | None:
    """What is stored beside the key of a project, such as the organization that it belongs to."""
    return _look_up(scope.secret(name)) or None


def common_key_is_for_all() -> bool:
    """Whether a task may use the common key if its Flyte project has none of its own.

    Raises:
        MissingAPIKeyError: The operator's setting says neither yes nor no.
    """
    value = os.environ.get(REQUIRE_PROJECT_KEY, "").strip().lower()
    if value not in ("", "true", "false"):
        raise MissingAPIKeyError(
            f"{REQUIRE_PROJECT_KEY} is {value!r} in the connector service; set it to true or false."
        )
    return value != "true"


def _look_up(name: SecretName) -> str | None:
    try:
        value = flytekit.current_context().secrets.get(group=name.group, key=name.key, group_version=name.group_version)
    except UnicodeDecodeError:
        raise MissingAPIKeyError(f"Secret {name} cannot be read as text; store it again as one line.") from None
    except OSError as error:
        sentence = f"{error.filename} cannot be read ({error.strerror}); correct its permissions"
        raise MissingAPIKeyError(sentence) from None
    except ValueError:
        return None
    # A key with a newline at its end reaches the user as a bare "Connection error."
    # Without a check of its type: a user's test may mock all of flytekit's context.
    return None if value is None else value.strip()


def _checked(key: APIKey) -> APIKey:
    is_quoted = key.value.startswith(_QUOTATION_MARKS) or key.value.endswith(_QUOTATION_MARKS)
    if not key.value.isascii() or not key.value.isprintable() or " " in key.value or is_quoted:
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
    is_operators = (name.key or "").startswith(OPENAI_API_KEY)
    where = "the connector service" if is_operators else "the container of this task"
    return (
        f"No OpenAI API key was found: secret {name} is not in {where}, "
        f"neither as the environment variable _FSEC_{name.variable} nor as the file /etc/secrets/{path}."
    )


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
