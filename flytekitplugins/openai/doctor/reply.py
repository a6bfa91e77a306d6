"""What a reply of OpenAI's, or of a compatible server, says about the key that asked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flytekitplugins.openai._text import shortened, tidied

__all__ = ["ABSENT", "INVALID", "KeySettings", "Reply", "is_key_refused", "problem_with"]

# Answers to a call for something that does not exist, or is over: what the key is allowed for is checked before.
ABSENT = frozenset({400, 404, 409, 422})
# Answers to a call that is not valid.
INVALID = frozenset({400, 422})
# A key's permissions are names of letters and points. The rest of such a message may repeat a part of the key.
SCOPES = re.compile(r"[Mm]issing scopes: ([a-z_]+(?:\.[a-z_]+)+(?:, [a-z_]+(?:\.[a-z_]+)+)*)")
NO_PERMISSION = "insufficient permissions"
LONGEST_CODE = 60
LONGEST_MESSAGE = 300
# What to do about an error, by its code. https://platform.openai.com/docs/guides/error-codes
BY_CODE = {
    "mismatched_organization": "the key is of another organization; correct or unset {organization}",
    "mismatched_project": "the key is of another project; correct or unset {project}",
    "unsupported_country_region_territory": "OpenAI does not serve the country of this network; use another one",
    "ip_not_authorized": "the project does not allow this network; add its address on OpenAI's platform",
    "insufficient_quota": "the account has no credit left; add some on OpenAI's platform",
    "billing_hard_limit_reached": "the account's spending limit is reached; raise it on OpenAI's platform",
}
# The same by status.
BY_STATUS = {
    401: "OpenAI does not know the key; store a valid one{afterwards}",
    403: "the key is not allowed to; give it the permission on OpenAI's platform, or ask who runs the server",
    404: "the server has no such call; correct OPENAI_BASE_URL, or use a server that has it",
    405: "the server has no such call; correct OPENAI_BASE_URL, or use a server that has it",
    407: "the proxy asks for a password; put it into HTTPS_PROXY",
    501: "the server has no such call; correct OPENAI_BASE_URL, or use a server that has it",
}
UNAVAILABLE = "OpenAI is unavailable or busy; run this again later"
PASSING = frozenset({408, 409, 429})


@dataclass(frozen=True)
class KeySettings:
    """What to change if a key is refused, for what is said about it.

    Attributes:
        organization: Where OpenAI's organization is set for it.
        project: Where OpenAI's project is.
        afterwards: What to do once another key is stored.
    """

    organization: str = "OPENAI_ORG_ID"
    project: str = "OPENAI_PROJECT_ID"
    afterwards: str = ", and restart the connector if it is in a variable"


@dataclass(frozen=True)
class Reply:
    """A reply, or why there is none.

    Attributes:
        status: The HTTP status; `None` without a reply.
        body: The JSON that was answered, or what was said in place of JSON.
        code: The code of an error.
        message: The message of an error. It may hold a part of the key.
        headers: Of the reply.
        seconds: How long the reply took.
        trouble: Why there is no reply.
        settings: Of the key that asked.
    """

    status: int | None = None
    body: Any = None
    code: str | None = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    trouble: str = ""
    settings: KeySettings = KeySettings()

    @property
    def is_success(self) -> bool:
        """Whether the call was carried out."""
        return self.status is not None and self.status < 300

    @property
    def is_refusal(self) -> bool:
        """Whether the call was surely not carried out."""
        return self.status is not None and 400 <= self.status < 500

    @property
    def listed(self) -> list[Mapping[str, Any]]:
        """The objects of a list that was answered."""
        data = self.body.get("data") if isinstance(self.body, Mapping) else None
        return [one for one in data if isinstance(one, Mapping)] if isinstance(data, list) else []

    @property
    def missing_scopes(self) -> str | None:
        """Which permissions the key lacks, "" if that is not said; `None` if it is something else that is wrong.

        OpenAI answers 401 without a code, where other servers answer 403. https://community.openai.com/t/1374480
        """
        if self.status not in (401, 403):
            return None
        named = SCOPES.search(self.message)
        return named[1] if named else "" if NO_PERMISSION in self.message else None

    def text_of(self, name: str) -> str:
        """A text in the object that was answered; "" if it has none."""
        value = self.body.get(name) if isinstance(self.body, Mapping) else None
        return value if isinstance(value, str) else ""


def is_key_refused(reply: Reply) -> bool:
    """Whether the key is refused whatever it is used for."""
    if reply.status == 401:
        return reply.missing_scopes is None
    return reply.status == 403 and reply.code in BY_CODE


def problem_with(reply: Reply, *, harmless: Collection[int] = ()) -> str:
    """What is wrong and what to do, if the reply is not what an allowed call gets; otherwise "".

    Args:
        reply: To the call.
        harmless: The statuses of an error that the call was made for: it asked for what does not exist.
    """
    if reply.status is None:
        return reply.trouble
    # A server that has no such call at all says so by the code.
    if reply.is_success or (reply.status in harmless and reply.code != "unknown_url"):
        return ""
    reason = " ".join(filter(None, [str(reply.status), shortened(reply.code or "", LONGEST_CODE)]))
    scopes = reply.missing_scopes
    if scopes is not None:
        lacking = f", missing {scopes}" if scopes else ""
        return f"the key is not allowed to ({reason}{lacking}); give it the permission on OpenAI's platform"
    advice = BY_CODE.get(reply.code or "") or BY_STATUS.get(reply.status)
    if advice is None and (reply.status in PASSING or reply.status >= 500):
        advice = UNAVAILABLE
    if advice is not None:
        found, _, action = advice.format_map(asdict(reply.settings)).partition("; ")
        return f"{found} ({reason}); {action}"
    told = f": {tidied(reply.message, longest=LONGEST_MESSAGE)}" if reply.message else ""
    return f"OpenAI refused it ({reason}{told}); ask who runs the server"
