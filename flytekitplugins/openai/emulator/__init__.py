"""A local stand-in for OpenAI's Files and Batches API, for tests, demos and trying things out.

Requests to models are answered one by one, too: chat completions, responses, embeddings, completions, moderations.

It needs the extra `emulator`: `pip install 'flytekitplugins-openai[emulator]'`. Use `Emulator` in process,
`python -m flytekitplugins.openai.emulator` by itself, or the pytest fixture of
`flytekitplugins.openai.emulator.pytest_plugin`.
"""

from . import _requirements  # noqa: F401 (before the others: it says what to install)
from .control import EmulatorControl
from .faults import BatchFault, CallFault, RequestFault
from .gateway import Call
from .responder import Reply, Request
from .server import Emulator
from .settings import Settings

__all__ = [
    "BatchFault",
    "Call",
    "CallFault",
    "Emulator",
    "EmulatorControl",
    "Reply",
    "Request",
    "RequestFault",
    "Settings",
]
