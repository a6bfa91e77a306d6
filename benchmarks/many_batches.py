"""An account of many batches in a process of its own: a Batches API that answers at once, however many there are."""

import itertools
import json
import multiprocessing
import signal
import socket
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# The batches were made in the course of so long, as OpenAI's limits ask for, and none lately: of young ones the list is
# read time and again.
OLDEST_SECONDS, YOUNGEST_SECONDS = 22 * 3600, 3600
REQUESTS = 100_000
REQUESTS_PER_SECOND = 10


class ManyBatches:
    """The account. Its batches make progress at the same pace, so that each answer tells how old it is.

    Args:
        live: How many live tasks it will have.
        ended_each: How many batches have ended for each of theirs, between these on the list.
        batches_each: How many batches a task has.
    """

    def __init__(self, live: int, ended_each: int, batches_each: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._batches_each = batches_each
        self._process = context.Process(target=_serve, args=(theirs, live * batches_each, ended_each), daemon=True)
        self._process.start()
        theirs.close()
        port, self._began_at = self._pipe.recv()
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._numbers = itertools.count()

    @property
    def pid(self) -> int | None:
        """Of its process."""
        return self._process.pid

    def upload(self) -> str:
        """The id of a file; what is in it does not matter here."""
        return f"file-{next(self._numbers)}"

    def count_calls(self) -> Counter[str]:
        """How often the list was read, and how often single batches were looked up, since this was last asked."""
        self._pipe.send("count")
        return self._pipe.recv()

    def age(self, done: int, *, at: float) -> float:
        """How long before a time so many requests of a task were done, in seconds; of several batches, on average."""
        return at - self._began_at - done / (REQUESTS_PER_SECOND * self._batches_each)

    def stop(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


class _Account:
    def __init__(self, live: int, ended_each: int) -> None:
        self.calls: Counter[str] = Counter()
        self.began_at = time.time()
        self._ended_each = ended_each
        self._spacing = (OLDEST_SECONDS - YOUNGEST_SECONDS) / (live * (1 + ended_each))
        # Oldest first.
        self._batches: list[dict] = []

    async def create(self, request: Request) -> Response:
        """A new batch, and before it those that have ended."""
        body = await request.json()
        for _ in range(self._ended_each):
            self._add({}, status="completed", output_file_id="file-output")
        return self._answer(self._shown(self._add(body)))

    async def retrieve(self, request: Request) -> Response:
        """A batch."""
        self.calls["look-ups"] += 1
        return self._answer(self._shown(self._batches[_number(request.path_params["id"])]))

    async def list(self, request: Request) -> Response:
        """A page of the list, newest first."""
        self.calls["pages"] += 1
        after = request.query_params.get("after")
        end = len(self._batches) if after is None else _number(after)
        begin = max(0, end - int(request.query_params["limit"]))
        shown = [self._shown(batch) for batch in reversed(self._batches[begin:end])]
        return self._answer({"object": "list", "data": shown, "has_more": begin > 0})

    def _add(self, body: dict, *, status: str = "in_progress", **fields: str) -> dict:
        number = len(self._batches)
        created_at = int(self.began_at - OLDEST_SECONDS + self._spacing * number)
        batch = {
            "id": f"batch_{number:024}",
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "status": status,
            "input_file_id": body.get("input_file_id", "file-others"),
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "created_at": created_at,
            "in_progress_at": created_at + 60,
            "expires_at": created_at + 86_400,
            "metadata": body.get("metadata"),
            "model": "gpt-4o-mini-2024-07-18",
            "usage": {
                "input_tokens": 1_000,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 500,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 1_500,
            },
            **fields,
        }
        self._batches.append(batch)
        return batch

    def _shown(self, batch: dict) -> dict:
        ran = REQUESTS if batch["status"] == "completed" else int((time.time() - self.began_at) * REQUESTS_PER_SECOND)
        return {**batch, "request_counts": {"total": REQUESTS, "completed": ran, "failed": 0}}

    @staticmethod
    def _answer(body: dict) -> Response:
        return Response(json.dumps(body), media_type="application/json")


def _number(batch_id: str) -> int:
    return int(batch_id.removeprefix("batch_"))


def _serve(pipe: Connection, live: int, ended_each: int) -> None:
    # Ctrl-C goes to every process of the terminal; the one that started this ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    account = _Account(live, ended_each)
    routes = [
        Route("/v1/batches", account.create, methods=["POST"]),
        Route("/v1/batches", account.list, methods=["GET"]),
        Route("/v1/batches/{id}", account.retrieve, methods=["GET"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_level="warning", timeout_keep_alive=120)
    # With its protocol named, asyncio sends each answer at once; else each would wait 40 ms for an acknowledgement.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(config)
        threading.Thread(target=server.run, args=([listener],), daemon=True).start()
        pipe.send((listener.getsockname()[1], account.began_at))
        try:
            while pipe.recv():
                calls, account.calls = account.calls, Counter()
                pipe.send(calls)
        except EOFError:
            pass
