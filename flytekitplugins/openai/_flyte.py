"""Where Flyte runs us, and how it shows our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flytekit import FlyteContextManager

from .exceptions import OpenAIPluginError

__all__ = ["is_local_run", "said_plainly"]


def is_local_run() -> bool:
    """Whether this process runs a workflow by itself, with no Flyte around it."""
    state = FlyteContextManager.current_context().execution_state
    return state is None or state.is_local_execution()


@contextmanager
def said_plainly() -> Iterator[None]:
    """Let our errors be shown as their sentence, without what led to it.

    On a cluster flytekit tells Flyte the traceback of what was raised, but prefers that of its cause; so the cause is a
    twin that was never raised, and has none. In a local run it would only be the same sentence again.
    """
    try:
        yield
    except OpenAIPluginError as error:
        twin = None if is_local_run() else type(error)(str(error))
        raise error.with_traceback(None) from twin
