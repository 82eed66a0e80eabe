"""The settings of construction. The defaults are the published ones (paper, section 4 and appendix A)."""

from typing import Any, Literal

from pydantic import Field, field_validator

from persona_rm.config import Config
from persona_rm.construct.cleaning.config import CleanConfig
from persona_rm.construct.mix import MixConfig
from persona_rm.construct.split.sides import SplitConfig
from persona_rm.construct.split.testset import TestConfig

PersonaOf = Literal["similar", "author", "author-then-similar"]
Consistency = Literal["majority", "items", "strict"]


class DemoConfig(Config):
    """P_DEMO: words made from the pair's directions (`template`), or an LLM's description (`llm`, `http`).

    A description is read back by the construction's annotator. It is kept if it mentions at least one dimension and
    at least the share `agree` of those points the pair's way. Otherwise the template is used and counted.
    """

    by: Literal["template", "llm", "http", "none"] = "template"
    generator: dict[str, Any] = Field(default_factory=dict)
    """Settings of the engine (`llm`: model, ...) or of the server (`http`: base_url, model, ...)."""
    agree: float = Field(0.6, gt=0, le=1)
    max_tokens: int = Field(400, gt=0)


class PriceConfig(Config):
    """Prices for the estimate of `--dry-run`. A price that is not given is left out of the estimate."""

    tokens_in: float | None = None
    """Money per million prompt tokens."""
    tokens_out: float | None = None
    gpu_hour: float | None = None
    tokens_per_second: float | None = None
    """Of one GPU, prompt and answer together; None: as measured on this machine for the sample."""


class ConstructConfig(Config):
    """One construction job."""

    max_threads: int | None = Field(None, gt=0)
    sample: float = Field(1.0, gt=0, le=1)
    """Share of threads, drawn by their ids; `--sample 1%` on the command line."""
    clean: CleanConfig = CleanConfig()
    retest: bool = False
    """Annotate a second time with another wording. A level that differs becomes neutral (test-retest)."""
    min_confidence: float = Field(0.0, ge=0, lt=1)
    """A level with less confidence becomes "cannot reflect"; the card holds their share."""
    max_errors: float = Field(0.05, ge=0, le=1)
    """The job fails if the annotator cannot read a larger share of the responses."""
    n_clusters: int = Field(3, gt=1)
    pairs_per_post: int = Field(1, gt=0)
    pick: Literal["uniform", "margin"] = "uniform"
    """`margin` takes the two responses of different clusters that differ on the most dimensions."""
    min_contrast: int = Field(1, ge=1)
    """A pair with fewer non-neutral dimensions is dropped."""
    persona: PersonaOf = "similar"
    consistency: Consistency = "items"
    """On one dimension of the pair: the majority of each component points its way (`majority`, paper section 4); all
    items do (`items`); all items do and none contradicts the pair anywhere (`strict`, appendix A.1)."""
    outputs_only: bool = True
    """A known author's history holds the author's answers only; False adds the posts that the author asked."""
    threshold: float = Field(0.6, ge=0, lt=1)
    n_ugc: int = Field(16, ge=0)
    n_pairs: int = Field(16, ge=0)
    min_items: int = Field(4, gt=0)
    """A persona component (UGC, PAIR) with fewer items stays empty. An example with both empty is dropped."""
    candidates: int = Field(64, gt=0)
    """A search stops after this many similar posts; `n_ugc` or `n_pairs` of them are drawn."""
    mirror: bool = False
    """Also make an example of a user of the opposite views, who chooses the rejected response: in mirrored/."""
    demo: DemoConfig = DemoConfig()
    universal: tuple[dict[str, Any], ...] = ()
    """Universal-value sets to mix in, each `{name: ultrafeedback, path: FILE}`."""
    mix: MixConfig = MixConfig()
    split: SplitConfig = SplitConfig()
    testset: TestConfig = TestConfig()
    curate: int | None = Field(None, gt=0)
    """Keep only this many training examples, the most informative ones."""
    workers: int | None = Field(None, gt=0)
    """Actors of a stage. None: one per core, or a single one for a language model."""
    gpus: float = Field(0, ge=0)
    """GPUs of each annotator actor."""
    annotate_batch: int = Field(256, gt=0)
    """Posts per call of the annotator."""
    shard: int = Field(500, gt=0)
    """Posts per file: the unit of work of a worker, and the most that is repeated after a kill."""
    stall_timeout: float = Field(1800, gt=0)
    """Seconds without a finished row or file, after which a stage on Ray ends with an error that says what waits and
    what each node has. After a third of it the terminal shows the same. A slow model needs more."""
    prices: PriceConfig = PriceConfig()

    @field_validator("universal")
    @classmethod
    def _named(cls, given: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for entry in given:
            if not isinstance(entry.get("name"), str):
                raise ValueError("each universal set is a mapping with `name` and its settings")
        return given
