"""The cost of annotation: measured on a sample, extrapolated to all comments."""

from collections.abc import Sequence
from dataclasses import dataclass

from persona_rm.errors import DataError


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of some comments. `cached_tokens` are those of `prompt_tokens` that a prefix cache answered."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
        )

    @property
    def computed_tokens(self) -> int:
        """Tokens that the model really ran over."""
        return self.prompt_tokens - self.cached_tokens + self.output_tokens


def estimate(
    sample_costs: Sequence[Cost],
    n_sample: int,
    n_total: int,
    *,
    price_in: float = 0.0,
    price_out: float = 0.0,
    price_cached: float | None = None,
    gpu_hour_price: float = 0.0,
    tokens_per_second: float | None = None,
) -> dict[str, float]:
    """Tokens, machine hours and money for `n_total` comments, in proportion to a sample of `n_sample`.

    `price_*`: money per million tokens of an API (`price_cached` is `price_in` where not given), the sum is
    `money_tokens`. `gpu_hour_price`: money per hour of one machine, the sum is `money_hours`. `hours` are the computed
    tokens at `tokens_per_second` of that machine; without it, the measured seconds of the sample (CPU-hours for an
    annotator without a language model). Keys that end in `_per_million` are for a
    million comments. Raises DataError for an empty sample, and for a speed that is not positive.
    """
    if n_sample < 1 or n_total < 0:
        raise DataError(f"an estimate needs a sample of one or more comments, found {n_sample} (of {n_total})")
    if tokens_per_second is not None and tokens_per_second <= 0:
        raise DataError(f"`tokens_per_second` must be positive, found {tokens_per_second}")
    sample, scale = sum(sample_costs, Cost()), n_total / n_sample
    seconds = sample.computed_tokens / tokens_per_second if tokens_per_second else sample.seconds
    # Servers bill cached tokens at a price of their own.
    fresh = sample.prompt_tokens - sample.cached_tokens
    cached = sample.cached_tokens * (price_in if price_cached is None else price_cached)
    figures = {
        "prompt_tokens": sample.prompt_tokens * scale,
        "cached_tokens": sample.cached_tokens * scale,
        "output_tokens": sample.output_tokens * scale,
        "hours": seconds * scale / 3600,
        "money_tokens": (fresh * price_in + cached + sample.output_tokens * price_out) * scale / 1e6,
        "money_hours": seconds * scale / 3600 * gpu_hour_price,
    }
    million = 1e6 / n_total if n_total else 0.0
    return {"comments": float(n_total), **figures, **{f"{key}_per_million": n * million for key, n in figures.items()}}
