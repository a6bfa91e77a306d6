"""Which API keys there are, and where each was found; never what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import flytekit
from flytekit import FlyteContextManager
from flytekit.core.context_manager import ExecutionState

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import (
    OPENAI_API_KEY,
    REQUIRE_PROJECT_KEY,
    APIKey,
    common_key_is_for_all,
    find_api_key,
    scope_of,
)
from flytekitplugins.openai._secret_names import COMMON, KeyScope, SecretName
from flytekitplugins.openai.exceptions import OpenAIPluginError

from .findings import Check, failed, passed
from .key_names import scope_of_parts
from .stored_names import stored_for_projects

__all__ = ["FoundKey", "find_keys", "find_upload_key", "is_in_pod", "secret_name"]

KEY = "key"
UPLOAD_KEY = "upload key"
# How the message begins if there is no key, and not a key that cannot be one.
NOT_FOUND = "No OpenAI API key was found"


@dataclass(frozen=True)
class FoundKey:
    """A key, or that there is none.

    Attributes:
        check: What to tell about it.
        account: Whose it is; `None` if there is none.
    """

    check: Check
    account: Account | None = None


def is_in_pod() -> bool:
    """Whether Kubernetes runs this process, as it does the connector.

    https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
    """
    return "KUBERNETES_SERVICE_HOST" in os.environ


def secret_name(text: str) -> SecretName:
    """`GROUP/KEY`, `GROUP/VERSION/KEY` or `KEY`, as Flyte names a secret.

    Raises:
        ValueError: It is none of these.
    """
    parts = text.split("/")
    if not all(parts) or len(parts) > 3:
        raise ValueError(text)
    *groups, key = parts
    return SecretName(key, *groups)


def find_keys(*, in_connector: bool, whose: KeyScope = COMMON) -> list[FoundKey]:
    """All keys of the connector, the common one first; or, in a local run, the one that every step would use.

    Args:
        in_connector: Look where the connector looks.
        whose: A Flyte project, and a domain of it, of which only the key is wanted that its tasks would use.
    """
    if not in_connector:
        return [_find(KEY, SecretName(OPENAI_API_KEY), is_local=True)]
    try:
        with _run_mode(is_local=False):
            needs_common = common_key_is_for_all()
            if whose != COMMON:
                return [_find_for_tasks_of(whose)]
    except OpenAIPluginError as error:
        return [FoundKey(failed(KEY, str(error)))]
    of_projects = [*_keys_of_projects()]
    if needs_common:
        return [_find_scoped(COMMON), *of_projects]
    if not any(map(scope_of_parts, stored_for_projects(OPENAI_API_KEY))):
        text = (
            f"no Flyte project has a key of its own, and {REQUIRE_PROJECT_KEY} forbids the common one: every new task "
            f"fails; store a project's key, such as {OPENAI_API_KEY}__my-team, or remove the setting"
        )
        return [FoundKey(failed(KEY, text)), *of_projects]
    return of_projects


def _find_for_tasks_of(whose: KeyScope) -> FoundKey:
    """The key that tasks of a Flyte project use, and whether it is the common one because there is no other."""
    scope = scope_of(whose.project, whose.domain)
    found = _find_scoped(scope)
    if scope != COMMON:
        return found
    stored = ", ".join("/".join(parts) for parts in sorted(stored_for_projects(OPENAI_API_KEY)))
    text = (
        f"{found.check.text}{'; ' if found.account else ' '}'{whose}' has no key of its own, and its tasks use the "
        f"common one (keys of projects: {stored or 'none'})"
    )
    return replace(found, check=replace(found.check, text=text))


def _find_scoped(scope: KeyScope) -> FoundKey:
    named = f"{KEY} of {scope}" if scope.project else KEY
    return _find(named, scope.secret(OPENAI_API_KEY), is_local=False, scope=scope)


def _keys_of_projects() -> Iterator[FoundKey]:
    """A key for each project of Flyte's that has one, and a failure for a name that no project has."""
    for parts, where in sorted(stored_for_projects(OPENAI_API_KEY).items()):
        scope = scope_of_parts(parts)
        if scope is not None:
            yield _find_scoped(scope)
            continue
        text = (
            f"the {where} matches no project; name it after a project of Flyte's as it is written, and after its "
            f"domain, such as {OPENAI_API_KEY}__my-team or {OPENAI_API_KEY}__my-team__production; a file in small "
            "letters"
        )
        yield FoundKey(failed(f"{KEY} of {'__'.join(parts)}", text))


def find_upload_key(secret: SecretName) -> FoundKey:
    """The key that the upload step's secret holds, mounted as Flyte does it, or as a plain variable."""
    found = _find(UPLOAD_KEY, secret, is_local=False)
    if found.account is not None:
        return found
    local = _find(UPLOAD_KEY, secret, is_local=True)
    # A local run would also take another key, which says nothing about this secret.
    if local.account is not None and local.account.api_key.source == f"secret {secret}":
        return local
    if not found.check.text.startswith(NOT_FOUND):
        return found
    variable = (
        f", or in a shell whose variable {secret.variable} holds the key" if secret.variable.isidentifier() else ""
    )
    text = f"{found.check.text} Run the doctor where the secret is mounted, in a task that requests it{variable}."
    return replace(found, check=replace(found.check, text=text))


def _find(name: str, secret: SecretName, *, is_local: bool, scope: KeyScope = COMMON) -> FoundKey:
    with _run_mode(is_local=is_local):
        try:
            key = find_api_key(secret)
            # As the environment has them: a task may name others.
            account = Account.of(key, organization=None, project=None, scope=scope)
        except OpenAIPluginError as error:
            return FoundKey(failed(name, f"{error}{_hint(secret, is_local=is_local)}"))
        names = {"organization": account.organization, "project": account.project}
        beside = "".join(f", {what} {value!r}" for what, value in names.items() if value)
        return FoundKey(passed(name, _place(key, secret) + beside), account)


def _place(key: APIKey, secret: SecretName) -> str:
    if key.source != f"secret {secret}":
        return key.source
    secrets = flytekit.current_context().secrets
    variable = secrets.get_secrets_env_var(secret.group, secret.key, secret.group_version)
    path = secrets.get_secrets_file(secret.group, secret.key, secret.group_version)
    where = (
        f"variable {variable}"
        if variable in os.environ
        else f"variable {secret.variable}"
        if secret.variable in os.environ
        else f"file {Path(path)}"
    )
    return f"{key.source}, from the {where}"


def _hint(secret: SecretName, *, is_local: bool) -> str:
    """Why a key that seems to be there is not used."""
    if is_local or not os.environ.get(secret.variable):
        return ""
    return f" The variable {secret.variable} is set, but only local runs read it: rename it to _FSEC_{secret.variable}."


@contextmanager
def _run_mode(*, is_local: bool) -> Iterator[None]:
    """Look up secrets as a local run does, or as a process on a cluster."""
    context = FlyteContextManager.current_context()
    mode = ExecutionState.Mode.LOCAL_WORKFLOW_EXECUTION if is_local else ExecutionState.Mode.TASK_EXECUTION
    state = context.new_execution_state().with_params(mode=mode)
    with FlyteContextManager.with_context(context.with_execution_state(state)):
        yield
