"""What the emulated models answer: deterministic, cheap, with usage; or the text of the user's responder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flytekitplugins.openai._text import shortened

from .completions import chat_completion, text_completion
from .embeddings import embeddings
from .errors import ApiError, error_body
from .exchange import (
    Reply,
    Request,
    Responder,
    count_tokens,
    embedding_inputs,
    identifier,
    prompt_tokens,
    text_prompts,
)
from .images import images, video
from .responses import response
from .schemas import document_for
from .shapes import check_shape
from .strict_schemas import refusal_of
from .tools import forced_tool

__all__ = ["Reply", "Request", "Responder", "count_tokens", "echo", "embedding_inputs", "prompt_tokens", "reply_to"]

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


def echo(request: Request) -> str:
    """The default responder: repeats the request's prompt, in a JSON document if the request asks for one.

    The arguments of a forced tool are such a document.
    """
    text = " ".join(request.prompt[:LONGEST_STRING].split()[:WORDS]) or "text"
    tool = forced_tool(request.body)
    if tool is not None:
        parameters = {"type": "object"} | dict(tool.get("parameters") or {})
        return json.dumps(document_for(parameters, text=text), ensure_ascii=False)
    form = _form_of(request)
    if form.get("type") == "json_schema":
        schema = form.get("json_schema", form).get("schema", {})
        return json.dumps(document_for(schema, text=text), ensure_ascii=False)
    if form.get("type") == "json_object":
        return json.dumps({"heard": request.prompt}, ensure_ascii=False)
    return f"The emulator heard: {request.prompt}"


def reply_to(request: Request, responder: Responder) -> Reply:
    """The answer in the form of the request's endpoint, with its usage.

    It is a 400 when the request has the wrong shape or its schema is not supported, and a 500
    when the responder fails.
    """
    try:
        check_shape(request.body, request.url)
    except ApiError as error:
        return Reply(error.body, error.status)
    refusal = refusal_of(_form_of(request))
    if refusal is not None:
        return Reply(refusal, 400)
    try:
        texts: list[str] = []
        for question in _questions(request):
            said: object = responder(question)
            if isinstance(said, Reply):
                return said
            if not isinstance(said, str):
                return _unusable(said)
            texts.append(said)
        return Reply(_BODIES[request.url](request, texts))
    except Exception as error:  # noqa: BLE001 (whatever goes wrong in the user's code is this request's answer alone)
        return _failed(f"The responder failed: {error!r}")


def _questions(request: Request) -> list[Request]:
    """The request once for each of its prompts: a text completion takes several, each with an answer of its own."""
    if request.url != "/v1/completions":
        return [request]
    return [replace(request, body={**request.body, "prompt": prompt}) for prompt in text_prompts(request.body)]


def _unusable(said: object) -> Reply:
    return _failed(
        f"The responder must return a string or a Reply, not {shortened(repr(said), LONGEST_VALUE)}; "
        "json.dumps converts a document."
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


def _moderation(request: Request, _texts: list[str]) -> dict[str, Any]:
    given = request.body.get("input")
    count = len(given) if isinstance(given, list) and all(isinstance(one, str) for one in given) else 1
    result = {
        "flagged": False,
        "categories": dict.fromkeys(MODERATION_CATEGORIES, False),
        "category_scores": dict.fromkeys(MODERATION_CATEGORIES, 0.0),
        "category_applied_input_types": {category: ["text"] for category in MODERATION_CATEGORIES},
    }
    return {
        "id": identifier("modr-", request),
        "model": request.body.get("model", "omni-moderation-latest"),
        "results": [result] * count,
    }


_BODIES: dict[str, Callable[[Request, list[str]], dict[str, Any]]] = {
    "/v1/chat/completions": chat_completion,
    "/v1/completions": text_completion,
    "/v1/responses": response,
    "/v1/embeddings": embeddings,
    "/v1/moderations": _moderation,
    "/v1/images/generations": images,
    "/v1/images/edits": images,
    "/v1/videos": video,
}
