"""The capitals of some countries: three requests, one batch, three answers.

    pyflyte run examples/quick_start.py find_capitals

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...
"""

from typing import Iterator  # noqa: UP035 (flytekit knows the JSON iterator by this one)

from flytekit import Secret, task, workflow
from flytekit.types.iterator import JSON

from flytekitplugins.openai import BatchResult, chat_completion_request, create_batch, read_results

capitals = create_batch(name="capitals", secret=Secret(group="openai", key="api_key"))


@task
def ask(countries: list[str]) -> Iterator[JSON]:
    """One request for each country, known by its name."""
    for country in countries:
        question = f"What is the capital of {country}? Answer with its name alone."
        yield chat_completion_request(country, model="gpt-4o-mini", messages=question)


@task
def tell(result: BatchResult) -> dict[str, str]:
    """The answers that came back."""
    return {row.custom_id: row.text for row in read_results(result) if row.text}


@workflow
def find_capitals(countries: list[str] = ["Kenya", "Peru", "Laos"]) -> dict[str, str]:  # noqa: B006 (as flytekit has it)
    """From countries to capitals."""
    return tell(result=capitals(jsonl_in=ask(countries=countries)))
