"""The body of an embeddings answer: vectors that are the same for the same input."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

from .exchange import Request, embedding_inputs, prompt_tokens

__all__ = ["embeddings"]

EMBEDDING_SIZE = 8


def embeddings(request: Request, _texts: list[str]) -> dict[str, Any]:
    """One vector for each input, in their order."""
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
    """The vector in the requested encoding; the SDK requests base64 by default.

    https://platform.openai.com/docs/api-reference/embeddings/create#embeddings-create-encoding_format
    """
    if request.body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
