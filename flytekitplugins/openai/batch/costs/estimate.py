"""What an input costs, as far as that is known before it is submitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from flytekitplugins.openai._text import dollars, plural
from flytekitplugins.openai.batch.records.manifest import Manifest
from flytekitplugins.openai.batch.results.usage import Usage

from .prices import SYNCHRONOUS, estimate_cost

__all__ = ["CostEstimate", "ModelEstimate", "estimate_of"]


@dataclass(frozen=True)
class ModelEstimate:
    """What the requests for one model cost.

    Attributes:
        model: Its name.
        requests: How many there are.
        tokens: Of their prompts.
        answer_tokens: Of their answers at most; `None` if a request sets no limit.
        prompts: US dollars for the prompts; `None` if the price is not known.
        answers: US dollars for the answers at most; `None` if there is no limit, or the price is not known.
    """

    model: str
    requests: int
    tokens: int
    answer_tokens: int | None
    prompts: Decimal | None
    answers: Decimal | None


@dataclass(frozen=True)
class CostEstimate:
    """What an input costs, without what is reused.

    Attributes:
        models: For each of its models.
        exact: Whether a tokenizer counted the tokens; otherwise they are an estimate that is rather too high.
        priced: Whether prices are installed.
        files: How many files are submitted.
        reused: How many files are not, because their results are there.
    """

    models: Sequence[ModelEstimate]
    exact: bool
    priced: bool
    files: int
    reused: int

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return sum(model.requests for model in self.models)

    @property
    def tokens(self) -> int:
        """Of the prompts."""
        return sum(model.tokens for model in self.models)

    @property
    def prompts(self) -> Decimal | None:
        """US dollars for the prompts; `None` if a price is not known."""
        return _sum([model.prompts for model in self.models])

    @property
    def answers(self) -> Decimal | None:
        """US dollars for the answers at most; `None` if there is no limit, or a price is not known."""
        return _sum([model.answers for model in self.models])

    @property
    def unknown(self) -> list[str]:
        """The models whose price is not known."""
        return [model.model for model in self.models if model.prompts is None]

    @property
    def unlimited(self) -> list[str]:
        """The models that may answer without a limit."""
        return [model.model for model in self.models if model.answer_tokens is None]

    @property
    def most(self) -> Decimal | None:
        """US dollars for everything, at most; `None` if there is no limit, or a price is not known."""
        return _sum([self.prompts, self.answers])

    @property
    def synchronous(self) -> Decimal | None:
        """The same as `most`, if the requests were sent one by one."""
        return None if self.most is None else self.most / SYNCHRONOUS

    def __str__(self) -> str:
        """`about 15,000 prompt tokens: $0.01 for the prompts, and at most $0.09 for the answers`."""
        about = "" if self.exact else "about "
        told = f"{about}{plural(self.tokens, 'prompt token')}"
        if not self.priced or self.prompts is None:
            return told
        answers = (
            "the answers have no limit" if self.answers is None else f"at most {dollars(self.answers)} for the answers"
        )
        return f"{told}: {dollars(self.prompts)} for the prompts, and {answers}"


def estimate_of(manifest: Manifest) -> CostEstimate:
    """What the files of a manifest cost, without those that are reused."""
    models = []
    for model, entries in manifest.by_model():
        bought = [entry for entry in entries if not entry.reused]
        if not bought:
            continue
        tokens = sum(entry.tokens for entry in bought)
        limits = [entry.answer for entry in bought]
        answer_tokens = None if None in limits else sum(limit or 0 for limit in limits)
        models.append(
            ModelEstimate(
                model,
                sum(entry.requests for entry in bought),
                tokens,
                answer_tokens,
                _price(model, Usage(input_tokens=tokens)),
                None if answer_tokens is None else _price(model, Usage(output_tokens=answer_tokens)),
            )
        )
    reused = sum(bool(entry.reused) for entry in manifest.files)
    return CostEstimate(
        models, manifest.exact, estimate_cost({}) is not None, files=len(manifest.files) - reused, reused=reused
    )


def _price(model: str, usage: Usage) -> Decimal | None:
    cost = estimate_cost({model: usage})
    return None if cost is None else cost.by_model.get(model)


def _sum(amounts: Sequence[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return None if len(known) < len(amounts) else sum(known, Decimal(0))
