"""Where Flyte runs us, and how it shows our errors."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from flytekit import FlyteContextManager

from .exceptions import OpenAIPluginError

__all__ = ["beside_running_loop", "is_local_run", "said_plainly"]

T = TypeVar("T")
LONGEST_WAIT_SECONDS = 0.2


def is_local_run() -> bool:
    """Whether this process runs a workflow by itself, with no Flyte around it."""
    state = FlyteContextManager.current_context().execution_state
    return state is None or state.is_local_execution()


def beside_running_loop(run: Callable[[], T], *, interrupted: Callable[[Future[T]], None] | None = None) -> T:
    """Call a function that runs its own event loop: in another thread, if this one already runs a loop.

    Python runs no loop inside another, and in a notebook's cell, or in an `async def` test, there is one.

    Args:
        run: What flytekit does in a local run.
        interrupted: Called when an interrupt ends this thread's wait, with the future of what `run` returns. It must
            see to it that the call ends. Where it is given, the call always gets a thread, or the interrupt would end
            it in the middle of what it does.
    """
    if interrupted is None and not _is_loop_running():
        return run()
    with ThreadPoolExecutor(1, thread_name_prefix="local-run") as thread:
        # flytekit keeps in the context that this is a local run.
        result = thread.submit(contextvars.copy_context().run, run)
        try:
            # Of a single long wait for a lock, a signal is seen only at its end where a library has set SA_RESTART for
            # it, as polars does: https://man7.org/linux/man-pages/man7/signal.7.html
            while not wait([result], timeout=LONGEST_WAIT_SECONDS).done:
                pass
        except BaseException:
            # Python raises KeyboardInterrupt; flytekit's handler exits, or fails, because a notebook has no `exit`.
            if interrupted is not None:
                interrupted(result)
            raise
        try:
            return result.result()
        except asyncio.CancelledError:
            # Its loop was stopped by a handler of the signal that raised nothing.
            raise KeyboardInterrupt from None


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def said_plainly() -> Iterator[None]:
    """Show our errors as their sentence, without a traceback.

    On a cluster, flytekit sends Flyte the traceback of the error's cause, or of the error itself if it has no cause. So
    the cause is a copy of the error that was never raised, and has no traceback. In a local run, a cause would only
    show the same sentence again.
    """
    try:
        yield
    except OpenAIPluginError as error:
        twin = None if is_local_run() else type(error)(str(error))
        raise error.with_traceback(None) from twin
