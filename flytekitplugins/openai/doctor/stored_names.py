"""Under which names keys, and what belongs to them, are stored for Flyte projects; and which names nobody reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import flytekit

from flytekitplugins.openai._client import STORED_NAMES
from flytekitplugins.openai._secret_names import OPENAI_API_KEY

from .findings import Check, failed
from .key_names import PREFIX, expected_name, scope_of_parts

__all__ = ["check_names_beside_keys", "stored_for_projects"]


def check_names_beside_keys() -> Iterator[Check]:
    """A failure for each organization and project of OpenAI's that is never used, and for each name not read."""
    scopes = {scope_of_parts(parts) for parts in stored_for_projects(OPENAI_API_KEY)} - {None}
    for what, name in STORED_NAMES.items():
        for parts, where in sorted(stored_for_projects(name).items()):
            if scope_of_parts(parts) not in scopes:
                text = f"the {where} is never used; end its name as its key's, and write a file's in small letters"
                yield failed(f"{what} of {'__'.join(parts)}", text)
    for what, name in {"key": OPENAI_API_KEY, **STORED_NAMES}.items():
        yield from _names_not_read(what, name)


def _names_not_read(what: str, secret: str) -> Iterator[Check]:
    """Names that look like this secret's, unless what they should be is there, too."""
    files = {path.name: path for path in _files()}
    read = {name.removeprefix(PREFIX).lower() for name in os.environ if name.startswith(PREFIX)}.union(files)
    # A variable that is the common key itself is reported with the key.
    for name in sorted(set(os.environ) - {OPENAI_API_KEY}):
        wanted = expected_name(name, secret)
        if wanted and wanted.removeprefix(PREFIX).lower() not in read:
            yield failed(f"{what} of {name}", f"the connector does not read the variable {name}; rename it to {wanted}")
    for name, path in sorted(files.items()):
        wanted = expected_name(PREFIX + name.upper(), secret).replace(PREFIX, "")
        if wanted and wanted.lower() not in read:
            text = f"the connector does not read the file {path}; rename it to {wanted.lower()}"
            yield failed(f"{what} of {name}", text)


def _files() -> list[Path]:
    """Where Flyte mounts the secrets of the connector."""
    directory = Path(flytekit.current_context().secrets.get_secrets_file(key=OPENAI_API_KEY)).parent
    return sorted(directory.iterdir()) if directory.is_dir() else []


def stored_for_projects(name: str) -> dict[tuple[str, ...], str]:
    """The secrets of this name that are stored for projects: the parts after the name, and where each is."""
    secrets = flytekit.current_context().secrets
    variable, file = secrets.get_secrets_env_var(key=f"{name}__"), f"{name}__".lower()
    variables = {each: f"variable {each}" for each in os.environ if each.startswith(variable)}
    files = {each.name: f"file {each}" for each in _files() if each.name.lower().startswith(file)}
    return {
        **{tuple(each[len(variable) :].lower().split("__")): where for each, where in variables.items()},
        # flytekit looks for a file in small letters alone: one with capitals is no project's, whatever it says.
        **{tuple(each[len(file) :].split("__")) if each.islower() else (each,): where for each, where in files.items()},
    }
