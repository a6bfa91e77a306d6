"""A small account: its queue is never overfilled, the cost is capped, and what was paid for is used again.

    pyflyte run examples/small_account.py translate_menu

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...
"""

from datetime import timedelta
from typing import Iterator  # noqa: UP035 (flytekit knows the JSON iterator by this one)

from flytekit import Secret, task, workflow
from flytekit.types.iterator import JSON

from flytekitplugins.openai import BatchResult, chat_completion_request, create_batch, read_results

translate = create_batch(
    name="menu",
    secret=Secret(group="openai", key="api_key"),
    # https://platform.openai.com/settings/organization/limits: what the account's queue holds of each model.
    enqueued_token_limit={"gpt-4o-mini": 2_000_000},
    # If the prompts and the longest possible answers may cost more, nothing is submitted.
    max_cost_usd=1,
    # A second run within a week buys only what has changed.
    reuse_results_within=timedelta(days=7),
)


@task
def write_requests(dishes: int) -> Iterator[JSON]:
    """One request for each dish, with a limit for its answer, by which the highest cost is known."""
    for number in range(dishes):
        question = f"Translate into French, in one line: dish {number}, grilled with herbs."
        yield chat_completion_request(
            f"dish-{number}", model="gpt-4o-mini", messages=question, max_completion_tokens=60
        )


@task
def count_translated(result: BatchResult) -> str:
    """How many dishes have a name in French."""
    translated = sum(row.ok for row in read_results(result))
    return f"{translated} of {result.requests} dishes translated"


@workflow
def translate_menu(dishes: int = 40) -> str:
    """From dishes to translations."""
    return count_translated(result=translate(jsonl_in=write_requests(dishes=dishes)))
