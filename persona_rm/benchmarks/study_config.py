"""The sections `inference` and `real` of a recipe: how inferred directions are evaluated."""

from pydantic import Field

from persona_rm.config import Config
from persona_rm.simulator.simulated_users import PopulationKind


class InferenceConfig(Config):
    """`persona-rm eval` of inferred directions, on the simulator."""

    policy: str = "pba"
    """The section of `dpo` whose policy reads the directions."""
    items: int = Field(8, ge=2)
    history: tuple[int, ...] = (0, 2, 4, 8, 16)
    per_user: int = Field(4, gt=0)
    """Held-out choices of each test user."""
    choices: int = Field(10, gt=0)
    """Held-out choices of each user who is asked."""
    populations: tuple[PopulationKind, ...] = ("low_rank", "clusters", "independent")
    """Kinds of population in which new users are asked. The first one's figure is `questions_to_match_16`."""
    asked_users: int = Field(150, gt=1)
    """Number of users who are asked in each of them."""
    questions: int = Field(20, ge=1)
    bank: int = Field(4000, ge=2)
    """Pairs to choose questions from."""
    batch: int = Field(64, gt=0)
    resamples: int = Field(2000, gt=0)


class UkpFiles(Config):
    """The two files of UKPConvArg1, and the least number of votes without ties of an annotator who is used."""

    arguments: str
    judgments: str
    least: int = Field(40, ge=2)


class RealConfig(Config):
    """`persona-rm eval` of inferred directions on text that people wrote: every part whose file is named."""

    statements: str | None = None
    """Statements with the trait that they show. They say how often the recipe's annotator errs."""
    psoups: str | None = None
    ukp: UkpFiles | None = None
    cobbler: str | None = None
    history: int = Field(16, ge=1)
    """Number of pairs of each user from which directions are inferred (UKP, CoBBLEr)."""
    per_user: int | None = Field(None, ge=1)
    """Number of held-out pairs of each. None: the default of the benchmark (UKP 8, CoBBLEr 102)."""
    derangements: int = Field(5, ge=1)
    """How many times the control gives every user another user's directions."""
    resamples: int = Field(2000, gt=0)
