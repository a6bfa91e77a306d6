"""Which API keys there are, and where each was found; never what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import flytekit
from flytekit import FlyteContextManager
from flytekit.core.context_manager import ExecutionState

from flytekitplugins.openai._client import Account
from flytekitplugins.openai._credentials import OPENAI_API_KEY, APIKey, SecretName, find_api_key
from flytekitplugins.openai.exceptions import OpenAIPluginError

from .findings import Check, failed, passed

__all__ = ["FoundKey", "find_keys", "find_upload_key", "is_in_pod", "secret_name"]

KEY = "key"
UPLOAD_KEY = "upload key"


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


def find_keys(*, in_connector: bool) -> list[FoundKey]:
    """The keys of the connector, or, in a local run, the one that every step would use.

    Args:
        in_connector: Look where the connector looks.
    """
    return [_find(KEY, SecretName(OPENAI_API_KEY), is_local=not in_connector)]


def find_upload_key(secret: SecretName) -> FoundKey:
    """The key that the upload step's secret holds, mounted as Flyte does it, or as a plain variable."""
    found = _find(UPLOAD_KEY, secret, is_local=False)
    if found.account is None:
        local = _find(UPLOAD_KEY, secret, is_local=True)
        # A local run would also take another key, which says nothing about this secret.
        if local.account is not None and local.account.api_key.source == f"secret {secret}":
            return local
    return found


def _find(name: str, secret: SecretName, *, is_local: bool) -> FoundKey:
    with _run_mode(is_local=is_local):
        try:
            key = find_api_key(secret)
            # As the environment has them: a task may name others.
            account = Account.of(key, organization=None, project=None)
        except OpenAIPluginError as error:
            return FoundKey(failed(name, f"{error}{_hint(secret, is_local=is_local)}"))
        except OSError as error:
            text = f"{error.filename} cannot be read ({error.strerror}); correct its permissions"
            return FoundKey(failed(name, text))
        return FoundKey(passed(name, _place(key, secret)), account)


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
