"""Names of secrets that hold keys of Flyte projects, and names that only look like them."""

from __future__ import annotations

from flytekitplugins.openai._secret_names import OPENAI_API_KEY, KeyScope

__all__ = ["PREFIX", "expected_name", "scope_named", "scope_of_parts"]

# flytekit's, of the variables that hold secrets.
PREFIX = "_FSEC_"


def scope_of_parts(parts: tuple[str, ...]) -> KeyScope | None:
    """The project, and domain, that these parts of a name are; `None` if they are none."""
    try:
        return KeyScope(*parts)
    except (TypeError, ValueError):
        return None


def scope_named(name: str, secret: str) -> KeyScope | None:
    """The project, and domain, of a secret of this name, as `flyte_openai_api_key__my-team`; `None` if it has none."""
    start, _, rest = secret.partition("__")
    return scope_of_parts(tuple(rest.split("__"))) if rest and start == name.lower() else None


def expected_name(variable: str, secret: str = OPENAI_API_KEY) -> str:
    """What the connector reads in place of a variable that looks like a secret and is not read; "" for any other.

    It has no prefix, as in a local run, or one underscore where a project's has two.

    Args:
        variable: The name.
        secret: The secret that it looks like.
    """
    rest = variable.removeprefix(PREFIX).removeprefix(secret)
    if variable == OPENAI_API_KEY == secret:
        return PREFIX + OPENAI_API_KEY
    if variable not in (secret + rest, PREFIX + secret + rest) or not rest.startswith("_"):
        return ""
    if variable.startswith(f"{PREFIX}{secret}__"):
        return ""
    whose = rest.removeprefix("__").removeprefix("_")
    if scope_of_parts(tuple(whose.lower().split("__"))) is not None:
        return f"{PREFIX}{secret}__{whose.upper()}"
    # One underscore may stand for a hyphen, or for the two before a domain.
    return f"{PREFIX}{secret}__PROJECT or {PREFIX}{secret}__PROJECT__DOMAIN"
