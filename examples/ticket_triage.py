"""Triage a week of support tickets: one request for each, answered as a batch.

    pyflyte run examples/ticket_triage.py triage_tickets

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...

The model must answer with a team and an urgency. What it answers is joined with the tickets by `custom_id`.
"""

import csv
from pathlib import Path
from typing import Iterator, Literal  # noqa: UP035 (flytekit knows the JSON iterator by this one)

from flytekit import Secret, task, workflow
from flytekit.types.file import CSVFile, FlyteFile
from flytekit.types.iterator import JSON
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from flytekitplugins.openai import BatchResult, chat_completion_request, create_batch, read_results

TICKETS = str(Path(__file__).parent / "data" / "support_tickets.csv")


class Triage(BaseModel):
    """Where a ticket goes, and how soon."""

    team: Literal["delivery", "billing", "returns", "quality", "account", "sales"]
    urgency: Literal["low", "normal", "high"]


triage = create_batch(name="ticket-triage", secret=Secret(group="openai", key="api_key"))


def read_tickets(tickets: FlyteFile) -> Iterator[dict[str, str]]:
    """The tickets, one dictionary a row."""
    with Path(tickets.download()).open(newline="", encoding="utf-8") as rows:
        yield from csv.DictReader(rows)


@task
def write_requests(tickets: CSVFile) -> Iterator[JSON]:
    """One chat completion for each ticket."""
    for ticket in read_tickets(tickets):
        yield chat_completion_request(
            ticket["ticket_id"],
            model="gpt-4o-mini",
            messages=[
                {"role": "system", "content": "You sort the support mail of a furniture shop."},
                {"role": "user", "content": f"{ticket['subject']}\n\n{ticket['text']}"},
            ],
            response_format=Triage,
        )


@task
def summarise(tickets: CSVFile, results: BatchResult) -> None:
    """Print what came of the tickets."""
    console = Console()
    counts = (results.requests, results.succeeded, results.failed, results.input_tokens, results.output_tokens)
    overview = Table("requests", "succeeded", "failed", "tokens in", "tokens out", title="The batch")
    overview.add_row(*(f"{count:,}" for count in counts))
    console.print(overview)

    answers = {row.custom_id: row.output for row in read_results(results, Triage) if row.output}
    answered = [ticket for ticket in read_tickets(tickets) if ticket["ticket_id"] in answers]
    table = Table("ticket", "text", "team", "urgency", title="The first three answers", show_lines=True)
    for ticket in answered[:3]:
        answer = answers[ticket["ticket_id"]]
        table.add_row(ticket["ticket_id"], ticket["text"], answer.team, answer.urgency)
    console.print(table)

    files = {"Answers": results.output_file, "Failures": results.error_file, "Report": results.report}
    for name, file in files.items():
        console.print(f"{name}: {file.path if file else 'none'}", soft_wrap=True, highlight=False)


@workflow
def triage_tickets(tickets: CSVFile = TICKETS) -> BatchResult:
    """From tickets to answers."""
    results = triage(jsonl_in=write_requests(tickets=tickets))
    summarise(tickets=tickets, results=results)
    return results
