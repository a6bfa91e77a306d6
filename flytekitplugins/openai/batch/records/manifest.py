"""What is in each file of an input: the upload step's word for the connector and the report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated

import msgspec

from flytekitplugins.openai._ids import is_id

__all__ = ["DIGEST", "FileEntry", "Manifest"]

# The entry of a batch's metadata that holds the digest of its lines.
DIGEST = "flyte_lines"

Count = Annotated[int, msgspec.Meta(ge=0)]
DIGEST_FORM = re.compile(r"[\w-]{0,64}")


class FileEntry(msgspec.Struct, frozen=True, array_like=True):
    """What is in one file.

    Attributes:
        model: Which of the manifest's models it is for.
        requests: How many it has.
        tokens: Of its prompts.
        answer: Tokens of its answers at most; `None` if a request of it sets no limit.
        digest: Of its lines; "" if nobody asked for it.
        reused: The batch whose results are reused in place of a new one; "" if there is none.
    """

    model: Count
    requests: Count
    tokens: Count
    answer: Count | None = None
    digest: str = ""
    reused: str = ""


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is in the files of an input, in their order.

    Attributes:
        models: Those that the requests are for; "" if a request names none.
        files: What is in each file.
        exact: Whether a tokenizer counted the tokens; otherwise they are an estimate that is rather too high.
        limits: How many tokens OpenAI's queue takes, by model, as far as it is known.
        cut_again: Whether the requests of a file that is too large for it will be uploaded again, in smaller files.
    """

    models: tuple[str, ...] = ()
    files: tuple[FileEntry, ...] = ()
    exact: bool = False
    limits: Mapping[str, Count] = msgspec.field(default_factory=dict)
    cut_again: bool = False

    def encode(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> Manifest:
        """What `encode` wrote.

        Raises:
            ValueError: It did not write this.
        """
        return _decoded(text)

    def model_of(self, file: int) -> str:
        """The model of a file, which is counted from 0."""
        return self.models[self.files[file].model]

    def by_model(self) -> Iterator[tuple[str, list[FileEntry]]]:
        """Each model with its files."""
        for number, model in enumerate(self.models):
            yield model, [entry for entry in self.files if entry.model == number]


@lru_cache(maxsize=512)
def _decoded(text: str) -> Manifest:
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(f"not a manifest: {error}") from None
    for entry in manifest.files:
        if entry.model >= len(manifest.models):
            raise ValueError("a file is for a model that is not in the manifest")
        if not DIGEST_FORM.fullmatch(entry.digest) or (entry.reused and not is_id(entry.reused)):
            raise ValueError("a digest or a batch id has another form")
    return manifest
