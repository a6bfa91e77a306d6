"""Token usage: input and output tokens by model, and how the output is distributed over the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from flytekitplugins.openai._text import shortened, whole

__all__ = ["Consumption", "Spread", "Usage"]

# Beyond, as many binary digits are kept as this has: a few thousand different numbers, however long the answers are.
EXACT = 1_023
# Nobody runs more models in a task; a server that names each answer's otherwise must not fill the memory, or a page.
MOST_MODELS = 100
OTHER_MODELS = "other models"
LONGEST_NAME = 100


@dataclass
class Usage:
    """Numbers of tokens. Those that were cached are among the input, those of the reasoning among the output."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, more: Usage) -> None:
        """Add other counts."""
        self.input_tokens += more.input_tokens
        self.cached_tokens += more.cached_tokens
        self.output_tokens += more.output_tokens
        self.reasoning_tokens += more.reasoning_tokens

    def less(self, part: Usage) -> Usage:
        """These counts without those of a part."""
        return Usage(**{name: count - getattr(part, name) for name, count in vars(self).items()})


@dataclass
class Spread:
    """The distribution of output tokens over answers; exact up to 1,023 tokens, and to one in 512 above."""

    counts: Counter[int] = field(default_factory=Counter)
    _longest: int = 0

    def add(self, tokens: int, answers: int = 1) -> None:
        """Count answers in."""
        if tokens > EXACT:
            self._longest = max(self._longest, tokens)
            lost = tokens.bit_length() - EXACT.bit_length()
            tokens = tokens >> lost << lost
        self.counts[tokens] += answers

    def add_all(self, tokens: Sequence[int]) -> None:
        """Count answers in that took so many tokens each."""
        if max(tokens, default=0) <= EXACT:
            self.counts.update(tokens)
            return
        for each in tokens:
            self.add(each)

    def merge(self, more: Spread) -> None:
        """Add other counts."""
        for tokens, answers in more.counts.items():
            self.add(tokens, answers)
        self._longest = max(self._longest, more._longest)

    @property
    def total(self) -> int:
        """How many answers have been counted."""
        return sum(self.counts.values())

    @property
    def longest(self) -> int:
        """The most tokens that an answer took."""
        return self._longest or max(self.counts, default=0)

    def quantile(self, share: float) -> int:
        """The number of tokens that this share of the answers, from 0 to 1, did not exceed."""
        left = share * self.total
        for tokens, count in sorted(self.counts.items()):
            left -= count
            if left <= 0:
                return tokens
        return max(self.counts, default=0)


@dataclass
class Consumption:
    """Token usage: the tokens of each model, and the distribution of output tokens over the answers.

    An answer whose server reports no tokens is not counted.

    Attributes:
        by_model: The tokens.
        spread: How many answers took how many output tokens.
        cut_off: How many answers are not the whole ones, because of their length or a content filter.
        reused: The tokens of answers that an earlier run has paid for; they are in `by_model`, too.
    """

    by_model: dict[str, Usage] = field(default_factory=dict)
    spread: Spread = field(default_factory=Spread)
    cut_off: int = 0
    reused: dict[str, Usage] = field(default_factory=dict)

    def of(self, model: str) -> Usage:
        """The usage of one model, to add to; the model is "" if the server does not name it."""
        usage = self.by_model.get(model)
        if usage is None:
            name = whole(shortened(model, LONGEST_NAME))
            if name not in self.by_model and len(self.by_model) >= MOST_MODELS:
                name = OTHER_MODELS
            usage = self.by_model.setdefault(name, Usage())
        return usage

    def merge(self, more: Consumption) -> None:
        """Add other counts."""
        for model, usage in more.by_model.items():
            self.of(model).add(usage)
        self.spread.merge(more.spread)
        self.cut_off += more.cut_off
        for model, usage in more.reused.items():
            self.reused.setdefault(model, Usage()).add(usage)

    @property
    def bought(self) -> dict[str, Usage]:
        """The tokens that this run paid for, by model."""
        return {model: usage.less(self.reused.get(model, Usage())) for model, usage in self.by_model.items()}

    @property
    def usage(self) -> Usage:
        """Of all models together."""
        total = Usage()
        for usage in self.by_model.values():
            total.add(usage)
        return total
