"""The bodies of image and video answers: a tiny picture as data, and a video that is still to be made."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from typing import Any

from .exchange import Request, identifier, prompt_tokens

__all__ = ["images", "video"]

# What the tokens of one picture are counted as.
IMAGE_TOKENS = 1


def images(request: Request, _texts: list[str]) -> dict[str, Any]:
    """`n` pictures of one pixel, whose colour follows from the prompt.

    https://platform.openai.com/docs/api-reference/images/object
    """
    count = request.body.get("n") or 1
    read, written = prompt_tokens(request.body), count * IMAGE_TOKENS
    return {
        "created": int(request.time),
        "background": "opaque",
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
        "data": [{"b64_json": _picture(f"{request.prompt}{index}")} for index in range(count)],
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": read},
            "output_tokens": written,
            "total_tokens": read + written,
        },
    }


def video(request: Request, _texts: list[str]) -> dict[str, Any]:
    """The video object, `completed` at once.

    https://platform.openai.com/docs/api-reference/videos/object
    """
    return {
        "id": identifier("video_", request),
        "object": "video",
        "created_at": int(request.time),
        "completed_at": int(request.time),
        "expires_at": None,
        "error": None,
        "model": request.body.get("model"),
        "progress": 100,
        "prompt": request.body.get("prompt"),
        "remixed_from_video_id": None,
        "seconds": str(request.body.get("seconds") or "4"),
        "size": request.body.get("size") or "720x1280",
        "status": "completed",
    }


def _picture(text: str) -> str:
    """A PNG of one pixel, in base64 (https://www.w3.org/TR/png-3/)."""
    colour = hashlib.sha256(repr(text).encode()).digest()[:3]
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + colour)), (b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
