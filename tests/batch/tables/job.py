"""Table functions as a user's module has them."""

from datetime import timedelta
from typing import Literal

from flytekit import Secret, workflow
from flytekit.types.structured.structured_dataset import StructuredDataset
from pydantic import BaseModel

from flytekitplugins.openai import batch_embedding, batch_prompt

SECRET = Secret(group="team", key="key")


class Triage(BaseModel):
    team: Literal["billing", "delivery"]
    urgent: bool
    reason: str | None = None


@batch_prompt(model="gpt-4o-mini", secret=SECRET, output=Triage, system="Sort the mail.", temperature=0)
def triage(subject: str, body: str) -> str:
    """Sort a ticket."""
    return f"{subject}\n\n{body}"


@batch_prompt(model="gpt-4o-mini", secret=SECRET, prefix="es_", usage=True)
def translate(text: str | None) -> str | None:
    return f"Translate: {text}" if text else None


@batch_prompt(model="gpt-5-mini", secret=SECRET, config={"endpoint": "/v1/responses"}, system="Be brief.")
def answer(text):
    return text


@batch_prompt(
    model="gpt-4o-mini",
    secret=SECRET,
    reuse_results_within=timedelta(days=1),
    enqueued_token_limit=2_000_000,
    max_cost_usd=1,
    max_completion_tokens=50,
)
def label(text: str) -> str:
    return f"Label: {text}"


@batch_prompt(model="gpt-4o-mini", secret=SECRET)
def price(text: str, amount: float = 1.0) -> dict:
    return {"messages": f"{text} for {amount:g}", "max_tokens": 50}


@batch_prompt(model="gpt-4o-mini", secret=SECRET)
def divide(number: int) -> str:
    return str(1 // number)


@batch_prompt(model="gpt-4o-mini", secret=SECRET)
def odd(text: str) -> object:
    return 7


@batch_embedding(model="text-embedding-3-small", secret=SECRET, dimensions=4)
def embed(text: str) -> str:
    return text


@workflow
def handle(tickets: StructuredDataset) -> StructuredDataset:
    return triage(table=tickets)
