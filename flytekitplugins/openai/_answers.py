"""Guards against what a server answers, before the SDK reads it."""

from __future__ import annotations

from typing import Any

__all__ = ["ENCODINGS", "MAX_ANSWER_BYTES", "UnsafeAnswerError", "read_guarded", "stay_on_host"]

# A page of a hundred batches, each with all the metadata that OpenAI takes, has 1 MB. As Python's objects, an answer
# may take ten times its bytes, and the pod has 300 MB.
MAX_ANSWER_BYTES = 16 << 20
# What answers may be compressed with, once. Others make a gigabyte of a kilobyte, and so do two of these, one in
# another.
ENCODINGS = ("gzip", "deflate")
# Shorter keys, as local servers take them, may be a part of any word.
SHORTEST_MASKED = 16


class UnsafeAnswerError(Exception):
    """An answer is not read, because it might take more memory than there is."""


def stay_on_host(response: Any) -> None:
    """Make the client follow a redirect only on the same host, and never from HTTPS to HTTP.

    httpx takes the key from a request that it sends to another host, but neither the headers of a gateway nor the body.
    """
    if response.has_redirect_location and not _is_on_host(response):
        del response.headers["location"]


async def read_guarded(response: Any) -> None:
    """Read an answer, if it is not too large, and mask the key in it, as some gateways repeat it.

    Raises:
        UnsafeAnswerError: It is too large, or compressed in a way that nobody asked for.
    """
    stay_on_host(response)
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in (*ENCODINGS, "identity", ""):
        raise UnsafeAnswerError(f"it is compressed as {encoding[:40]!r}")
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise UnsafeAnswerError(f"it is larger than {MAX_ANSWER_BYTES:,} bytes")
        chunks.append(chunk)
    content = b"".join(chunks)
    key = response.request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    # Where `aread` keeps what it has read; it has no limit.
    response._content = content.replace(key, b"***") if len(key) >= SHORTEST_MASKED else content  # noqa: SLF001


def _is_on_host(response: Any) -> bool:
    here = response.request.url
    try:
        there = here.join(response.headers["location"])
    except Exception:  # noqa: BLE001 (httpx and httpx2 have errors of their own for what is no URL)
        return False
    if here.host != there.host:
        return False
    is_secured = (here.scheme, here.port, there.scheme, there.port) == ("http", None, "https", None)
    return is_secured or (here.scheme, here.port) == (there.scheme, there.port)
