"""Triage a week of support tickets: one request for each, answered as a batch.

    pyflyte run examples/ticket_triage.py triage_tickets

The model is asked for a line of JSON with a team and an urgency. What it answers is joined with the tickets by
`custom_id`, because a batch keeps no order.
"""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Iterator  # noqa: UP035 (flytekit knows the JSON iterator by this one)

from flytekit import Secret, task, workflow
from flytekit.types.file import CSVFile, FlyteFile
from flytekit.types.iterator import JSON
from rich.console import Console
from rich.table import Table

from flytekitplugins.openai import BatchResult, create_batch

TICKETS = str(Path(__file__).parent / "data" / "support_tickets.csv")
INSTRUCTIONS = (
    "You sort the support mail of a furniture shop. Answer with one JSON object: "
    '"team" is one of delivery, billing, returns, quality, account, sales; "urgency" is low, normal or high.'
)

triage = create_batch(name="ticket-triage", secret=Secret(group="openai", key="api_key"))


def read_tickets(tickets: FlyteFile) -> Iterator[dict[str, str]]:
    """The tickets, one dictionary a row."""
    with Path(tickets.download()).open(newline="", encoding="utf-8") as rows:
        yield from csv.DictReader(rows)


@task
def write_requests(tickets: CSVFile) -> Iterator[JSON]:
    """One chat completion for each ticket."""
    for ticket in read_tickets(tickets):
        yield {
            "custom_id": ticket["ticket_id"],
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "gpt-4o-mini",
                "messages": [
                    {"role": "system", "content": INSTRUCTIONS},
                    {"role": "user", "content": f"{ticket['subject']}\n\n{ticket['text']}"},
                ],
            },
        }


@task
def summarise(tickets: CSVFile, results: BatchResult) -> None:
    """Print what came of the tickets."""
    succeeded, failed = read_lines(results.output_file), read_lines(results.error_file)
    bodies = {line["custom_id"]: line["response"]["body"] for line in succeeded}
    console = Console()

    overview = Table("requests", "succeeded", "failed", "tokens in", "tokens out", title="The batch")
    usage = Counter()
    for body in bodies.values():
        usage.update(read=body["usage"]["prompt_tokens"], written=body["usage"]["completion_tokens"])
    counts = (len(succeeded) + len(failed), len(succeeded), len(failed), usage["read"], usage["written"])
    overview.add_row(*(f"{count:,}" for count in counts))
    console.print(overview)

    answers = Table("ticket", "question", "answer", title="The first three answers", show_lines=True)
    answered = [ticket for ticket in read_tickets(tickets) if ticket["ticket_id"] in bodies]
    for ticket in answered[:3]:
        answer = bodies[ticket["ticket_id"]]["choices"][0]["message"]["content"]
        answers.add_row(ticket["ticket_id"], ticket["text"], answer)
    console.print(answers)

    for name, file in (("Answers", results.output_file), ("Failures", results.error_file)):
        console.print(f"{name}: {file.path if file else 'none'}", soft_wrap=True, highlight=False)


def read_lines(file: FlyteFile | None) -> list[dict]:
    """The lines of a result file, which need not be there."""
    if file is None:
        return []
    with Path(file.download()).open("rb") as lines:
        return [json.loads(line) for line in lines]


@workflow
def triage_tickets(tickets: CSVFile = TICKETS) -> BatchResult:
    """From tickets to answers."""
    results = triage(jsonl_in=write_requests(tickets=tickets))
    summarise(tickets=tickets, results=results)
    return results
