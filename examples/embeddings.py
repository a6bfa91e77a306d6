"""Similar articles: embed them in one batch, and find the nearest neighbour of each.

    pyflyte run examples/embeddings.py find_neighbours

It needs OPENAI_API_KEY. To try it without: python -m flytekitplugins.openai.emulator -- pyflyte run ...
"""

import numpy as np
import pandas as pd
from flytekit import Secret, task, workflow

from flytekitplugins.openai import batch_embedding

ARTICLES = {
    "return-a-parcel": "How to send a parcel back, and when you get your money",
    "track-a-parcel": "Where is my parcel, and when does it arrive?",
    "reset-a-password": "You cannot log in, or have forgotten your password",
    "change-your-address": "Your new e-mail or postal address in your account",
}


@batch_embedding(model="text-embedding-3-small", secret=Secret(group="openai", key="api_key"))
def embed(text: str) -> str:
    """What is embedded of each row."""
    return text


@task
def read_articles() -> pd.DataFrame:
    """One row for each article."""
    return pd.DataFrame({"name": ARTICLES.keys(), "text": ARTICLES.values()})


@task
def compare(articles: pd.DataFrame) -> dict[str, str]:
    """The nearest other article, by the angle between the vectors."""
    vectors = np.stack(articles["embedding"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    closeness = vectors @ vectors.T - 2 * np.eye(len(vectors))
    names = articles["name"].tolist()
    return dict(zip(names, (names[nearest] for nearest in closeness.argmax(axis=1)), strict=True))


@workflow
def find_neighbours() -> dict[str, str]:
    """From articles to neighbours."""
    return compare(articles=embed(table=read_articles()))
