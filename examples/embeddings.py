"""Articles alike: embed them in one batch, and find to each the one that is nearest.

    pyflyte run examples/embeddings.py find_neighbours

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...
"""

import math
from typing import Iterator  # noqa: UP035 (flytekit knows the JSON iterator by this one)

from flytekit import Secret, task, workflow
from flytekit.types.iterator import JSON

from flytekitplugins.openai import BatchResult, create_batch, embedding_request, read_results

ARTICLES = {
    "return-a-parcel": "How to send a parcel back, and when you get your money",
    "track-a-parcel": "Where is my parcel, and when does it arrive?",
    "reset-a-password": "You cannot log in, or have forgotten your password",
    "change-your-address": "Your new e-mail or postal address in your account",
}

embed = create_batch(
    name="articles",
    secret=Secret(group="openai", key="api_key"),
    config={"endpoint": "/v1/embeddings"},
)


@task
def write_requests(articles: dict[str, str]) -> Iterator[JSON]:
    """One request for each article; each could also hold many texts as its input."""
    for name, text in articles.items():
        yield embedding_request(name, model="text-embedding-3-small", input=text)


@task
def compare(result: BatchResult) -> dict[str, str]:
    """The nearest other article, by the angle between the vectors."""
    vectors = {row.custom_id: row.body["data"][0]["embedding"] for row in read_results(result) if row.ok}
    return {
        name: max((other for other in vectors if other != name), key=lambda other: cosine(vector, vectors[other]))
        for name, vector in vectors.items()
    }


def cosine(one: list[float], other: list[float]) -> float:
    """1 for the same direction, 0 for a right angle."""
    return sum(x * y for x, y in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


@workflow
def find_neighbours(articles: dict[str, str] = ARTICLES) -> dict[str, str]:
    """From articles to neighbours."""
    return compare(result=embed(jsonl_in=write_requests(articles=articles)))
