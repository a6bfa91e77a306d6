"""Whether OpenAI is reached, and whether its clock and ours agree."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from flytekitplugins.openai._client import shown_url

from .findings import Check, failed, passed, skipped
from .reply import Reply, problem_with

__all__ = ["BASE_URL", "CLOCK", "check_base_url", "check_clock"]

BASE_URL = "base URL"
CLOCK = "clock"
# Times of OpenAI's are compared with ours in the look-up of a task's batches, and decide when a batch is lost. Minutes
# matter there; and a certificate is not yet or no longer valid to a clock that is wrong by days.
TOLERANCE_SECONDS = 60.0


def check_base_url(reply: Reply) -> Check:
    """Whether a reply to a request for the list of batches came from the API; refusing the key, it did."""
    if reply.status is None:
        return failed(BASE_URL, reply.trouble)
    if reply.status in (404, 405, 407, 501) or reply.status >= 500:
        return failed(BASE_URL, f"{shown_url()}: {problem_with(reply)}")
    if not isinstance(reply.body, Mapping):
        text = f"{shown_url()} does not answer with JSON; check the proxy, and whether OPENAI_BASE_URL ends in /v1"
        return failed(BASE_URL, text)
    return passed(BASE_URL, f"{shown_url()} answers, within {max(reply.seconds, 0.1):.1f} s")


def check_clock(reply: Reply) -> Check:
    """Our clock against the reply's date, which has whole seconds."""
    try:
        theirs = parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
    except ValueError:
        return skipped(CLOCK, "not checked, because the server does not date its answers")
    off = time.time() - theirs
    if abs(off) <= TOLERANCE_SECONDS:
        return passed(CLOCK, "agrees with the server's")
    direction = "ahead of" if off > 0 else "behind"
    return failed(CLOCK, f"{abs(off):,.0f} seconds {direction} the server's; set this machine's clock")
