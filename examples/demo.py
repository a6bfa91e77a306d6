"""`make demo`: the ticket triage, with an emulator in OpenAI's place."""

import json
import os
import subprocess
import sys
from pathlib import Path

from flytekitplugins.openai.emulator import Emulator, Request, RequestFault

EXAMPLE = Path(__file__).with_name("ticket_triage.py")
# Enough of a triage for a demonstration; a model would do it better.
TEAMS = {
    "delivery": ("parcel", "deliver", "arrive", "courier", "boxes", "garage"),
    "billing": ("refund", "charge", "invoice", "code", "payment"),
    "quality": ("broken", "crack", "missing", "screw", "smell", "solid wood"),
    "returns": ("send this back", "return", "swap", "cancel", "credit"),
    "account": ("account", "log in", "password", "e-mail", "newsletter"),
}
URGENT = ("hurt", "burning", "at once", "second time", "stranger", "twice", "before saturday")


def sort_ticket(request: Request) -> str:
    """The stand-in's answer to one ticket, by its words."""
    text = request.prompt.lower()
    team = next((team for team, words in TEAMS.items() if any(word in text for word in words)), "sales")
    urgency = "high" if any(word in text for word in URGENT) else "normal"
    return json.dumps({"team": team, "urgency": urgency})


def main() -> int:
    """Run the example as a user would, against an emulator; returns the exit status."""
    pace = {"validating": 1.0, "requests_per_second": 120.0, "finalizing": 1.0}
    with Emulator(responder=sort_ticket, **pace) as emulator:
        # Two of the tickets fail, as in a real week.
        emulator.order(
            RequestFault(status=429, code="rate_limit_exceeded", message="Rate limit reached", times=2, skip=99)
        )
        command = ["pyflyte", "run", os.path.relpath(EXAMPLE), "triage_tickets"]
        print(f"An emulator is OpenAI here, at {emulator.base_url}: it needs no key, and nothing leaves this machine.")
        print(f"\n$ {' '.join(command)}", flush=True)
        pyflyte = Path(sys.executable).with_name("pyflyte")
        environment = {**os.environ, **emulator.environment}
        return subprocess.run([pyflyte, *command[1:]], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
