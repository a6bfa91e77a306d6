"""Triage a week of support tickets: a table in, the same table with a team and an urgency for each ticket out.

    pyflyte run examples/ticket_triage.py triage_tickets

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...
"""

from pathlib import Path
from typing import Literal

import pandas as pd
from flytekit import Secret, StructuredDataset, task, workflow
from flytekit.types.file import CSVFile
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from flytekitplugins.openai import batch_prompt

TICKETS = str(Path(__file__).parent / "data" / "support_tickets.csv")


class Triage(BaseModel):
    """Where a ticket goes, and how soon."""

    team: Literal["delivery", "billing", "returns", "quality", "account", "sales"]
    urgency: Literal["low", "normal", "high"]


@batch_prompt(
    model="gpt-4o-mini",
    secret=Secret(group="openai", key="api_key"),
    output=Triage,
    system="You sort the support mail of a furniture shop.",
    usage=True,
)
def triage(subject: str, text: str) -> str:
    """The question about one ticket: the parameters are columns of the table."""
    return f"{subject}\n\n{text}"


@task
def load(tickets: CSVFile) -> pd.DataFrame:
    """The tickets as a table."""
    return pd.read_csv(tickets)


@task
def show(tickets: StructuredDataset) -> None:
    """Print counts, and the first rows with their answers."""
    table = tickets.open(pd.DataFrame).all()
    answered = table[table["error_code"].isna()]
    console = Console()
    overview = Table("tickets", "answered", "failed", "tokens in", "tokens out", title="The batch")
    counts = (len(table), len(answered), len(table) - len(answered), *table[["input_tokens", "output_tokens"]].sum())
    overview.add_row(*(f"{count:,.0f}" for count in counts))
    console.print(overview)
    first = Table("ticket", "subject", "text", "team", "urgency", title="The first three rows", show_lines=True)
    for row in answered[:3].itertuples():
        first.add_row(row.ticket_id, row.subject, row.text, row.team, row.urgency)
    console.print(first)
    console.print(f"Table: {tickets.literal.uri}", soft_wrap=True, highlight=False)


@workflow
def triage_tickets(tickets: CSVFile = TICKETS) -> None:
    """From tickets to the same tickets with their answers."""
    show(tickets=triage(table=load(tickets=tickets)))
