"""What the emulated models answer: deterministic, cheap, with usage; or whatever a responder of the user's says."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flytekitplugins.openai._text import shortened

from .errors import error_body
from .schemas import document_for
from .strict_schemas import refusal_of

__all__ = ["Reply", "Request", "Responder", "count_tokens", "echo", "embedding_inputs", "prompt_tokens", "reply_to"]

# OpenAI's rule of thumb for English text.
# https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
CHARACTERS_PER_TOKEN = 4
EMBEDDING_SIZE = 8
# How much of the prompt the strings of a JSON document tell back.
WORDS, LONGEST_STRING = 5, 40
LONGEST_VALUE = 100
# https://platform.openai.com/docs/api-reference/moderations/object
MODERATION_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


@dataclass(frozen=True)
class Request:
    """One line of a batch, or a call by itself, as a responder sees it.

    Attributes:
        custom_id: The line's; that of a call by itself is the emulator's own.
    """

    custom_id: str
    url: str
    body: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        """The text of the last message, or of the input: what a person would call the question."""
        texts = [piece for piece in _pieces(self.body) if isinstance(piece, str)]
        return texts[-1] if texts else ""


@dataclass(frozen=True)
class Reply:
    """A whole answer: what would be the HTTP status and body of the same request sent by itself."""

    body: Mapping[str, Any]
    status_code: int = 200


# A responder says the text of the answer, or the whole of it.
Responder = Callable[[Request], "str | Reply"]


def echo(request: Request) -> str:
    """The default responder: tells the request's own prompt back; in a JSON document, where one is asked for."""
    form = _form_of(request)
    if form.get("type") == "json_schema":
        text = " ".join(request.prompt[:LONGEST_STRING].split()[:WORDS]) or "text"
        schema = form.get("json_schema", form).get("schema", {})
        return json.dumps(document_for(schema, text=text), ensure_ascii=False)
    if form.get("type") == "json_object":
        return json.dumps({"heard": request.prompt}, ensure_ascii=False)
    return f"The emulator heard: {request.prompt}"


def count_tokens(text: str) -> int:
    """About as many tokens as a real tokenizer would find; at least one for any text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of everything the request asks a model to read."""
    return sum(count_tokens(piece) if isinstance(piece, str) else 1 for piece in _pieces(body))


def embedding_inputs(body: Mapping[str, Any]) -> list[Any]:
    """The inputs of an embeddings request: it takes a text, the tokens of one, or a list of either.

    https://platform.openai.com/docs/api-reference/embeddings/create
    """
    given = body.get("input")
    return given if isinstance(given, list) and not all(isinstance(one, int) for one in given) else [given]


def reply_to(request: Request, responder: Responder) -> Reply:
    """The answer in the form of the request's endpoint, with its usage.

    It is a 400 when the request's schema is none that can be followed strictly, and a 500 when the responder fails.
    """
    refusal = refusal_of(_form_of(request))
    if refusal is not None:
        return Reply(refusal, 400)
    try:
        said: object = responder(request)
        if isinstance(said, Reply):
            return said
        if isinstance(said, str):
            return Reply(_BODIES.get(request.url, _plain)(request, said))
    except Exception as error:  # noqa: BLE001 (whatever goes wrong in the user's code is this request's answer alone)
        return _failed(f"The responder failed: {error!r}")
    return _failed(
        f"The responder must answer with a text or a Reply, not with {shortened(repr(said), LONGEST_VALUE)}; "
        "json.dumps makes a text of a document."
    )


def _failed(message: str) -> Reply:
    return Reply(error_body(500, message, code=None), 500)


def _form_of(request: Request) -> Mapping[str, Any]:
    """The form that the answer is asked for in, if it is another than plain text.

    https://platform.openai.com/docs/guides/structured-outputs
    """
    text = request.body.get("text")
    chat = request.url == "/v1/chat/completions"
    form = request.body.get("response_format") if chat else text.get("format") if isinstance(text, Mapping) else None
    return form if isinstance(form, Mapping) else {}


def _pieces(body: Mapping[str, Any]) -> list[str | int]:
    """Every text, and every token given as its number, in the places where the endpoints take their input."""
    found: list[str | int] = []
    pending = [body.get(name) for name in ("instructions", "prompt", "input", "messages")]
    while pending:
        value = pending.pop(0)
        if isinstance(value, str | int):
            found.append(value)
        elif isinstance(value, list):
            pending = [*value, *pending]
        elif isinstance(value, dict):
            pending = [value.get("content"), value.get("text"), *pending]
    return found


def _identifier(prefix: str, request: Request) -> str:
    return f"{prefix}{hashlib.sha256(repr(request.custom_id).encode()).hexdigest()[:24]}"


def _usage(request: Request, text: str) -> tuple[int, int]:
    return prompt_tokens(request.body), count_tokens(text)


def _chat_completion(request: Request, text: str) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    return {"id": _identifier("chatcmpl-", request), "object": "chat.completion"} | _completion(request, text, choice)


def _text_completion(request: Request, text: str) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
    return {"id": _identifier("cmpl-", request), "object": "text_completion"} | _completion(request, text, choice)


def _completion(request: Request, text: str, choice: dict[str, Any]) -> dict[str, Any]:
    read, written = _usage(request, text)
    return {
        "created": 0,
        "model": request.body.get("model"),
        "choices": [choice],
        "usage": {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
    }


def _response(request: Request, text: str) -> dict[str, Any]:
    read, written = _usage(request, text)
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {
        "id": _identifier("msg_", request),
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": _identifier("resp_", request),
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "error": None,
        "model": request.body.get("model"),
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        },
    }


def _embeddings(request: Request, _text: str) -> dict[str, Any]:
    inputs = embedding_inputs(request.body)
    size = request.body.get("dimensions") or EMBEDDING_SIZE
    read = prompt_tokens(request.body)
    return {
        "object": "list",
        "model": request.body.get("model"),
        "data": [
            {"object": "embedding", "index": index, "embedding": _encoded(_vector(one, size), request)}
            for index, one in enumerate(inputs)
        ],
        "usage": {"prompt_tokens": read, "total_tokens": read},
    }


def _vector(value: object, size: int) -> list[float]:
    """Numbers between -1 and 1 that are the same for the same input."""
    seed = json.dumps(value).encode()
    digests = (hashlib.sha256(seed + bytes([i // 256, i % 256])).digest() for i in range(size))
    return [int.from_bytes(digest[:4], "big") / 2**31 - 1 for digest in digests]


def _encoded(vector: list[float], request: Request) -> list[float] | str:
    """The vector in the form that the request asks for; the SDK asks for base64 where nobody says otherwise.

    https://platform.openai.com/docs/api-reference/embeddings/create#embeddings-create-encoding_format
    """
    if request.body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _moderation(request: Request, _text: str) -> dict[str, Any]:
    given = request.body.get("input")
    count = len(given) if isinstance(given, list) and all(isinstance(one, str) for one in given) else 1
    result = {
        "flagged": False,
        "categories": dict.fromkeys(MODERATION_CATEGORIES, False),
        "category_scores": dict.fromkeys(MODERATION_CATEGORIES, 0.0),
        "category_applied_input_types": {category: ["text"] for category in MODERATION_CATEGORIES},
    }
    return {
        "id": _identifier("modr-", request),
        "model": request.body.get("model", "omni-moderation-latest"),
        "results": [result] * count,
    }


def _plain(request: Request, text: str) -> dict[str, Any]:
    return {"id": _identifier("emulated-", request), "created": 0, "data": [], "text": text}


_BODIES: dict[str, Callable[[Request, str], dict[str, Any]]] = {
    "/v1/chat/completions": _chat_completion,
    "/v1/completions": _text_completion,
    "/v1/responses": _response,
    "/v1/embeddings": _embeddings,
    "/v1/moderations": _moderation,
}
