"""OpenAI in a process of its own: the package's emulator, so that its CPU time is nobody else's."""

import json
import multiprocessing
import signal
from multiprocessing.connection import Connection

import openai

from flytekitplugins.openai.emulator import Emulator
from flytekitplugins.openai.emulator.responder import Responder, echo

API_KEY = "sk-benchmark"
# In a run of minutes no batch gets anywhere.
REQUESTS_PER_SECOND = 0.0001
ENDPOINT = "/v1/chat/completions"


class StandIn:
    """An emulator, at which batches stay in progress.

    Args:
        requests_per_second: How fast they run if not so.
        responder: What the models answer: a function of a module's, because another process is to find it.
    """

    def __init__(self, *, requests_per_second: float = REQUESTS_PER_SECOND, responder: Responder = echo) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, requests_per_second, responder), daemon=True)
        self._process.start()
        theirs.close()
        self.base_url: str = self._pipe.recv()

    @property
    def pid(self) -> int | None:
        """Of its process."""
        return self._process.pid

    def upload(self) -> str:
        """The id of a file with one request."""
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "What is two and two?"}]}
        line = {"custom_id": "r-0", "method": "POST", "url": ENDPOINT, "body": body}
        with openai.OpenAI(base_url=self.base_url, api_key=API_KEY) as client:
            return client.files.create(file=("requests.jsonl", json.dumps(line).encode()), purpose="batch").id

    def count_connections(self) -> int:
        """Over how many TCP connections calls have come in since this was last asked."""
        self._pipe.send("count")
        return self._pipe.recv()

    def stop(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, requests_per_second: float, responder: Responder) -> None:
    # Ctrl-C goes to every process of the terminal; the one that started this ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Emulator(validating=0.0, requests_per_second=requests_per_second, responder=responder) as emulator:
        pipe.send(emulator.base_url)
        try:
            while pipe.recv():
                pipe.send(len({call.connection for call in emulator.calls}))
                emulator.calls.clear()
        except EOFError:
            pass
