"""Recipes: YAML read into strict models, with `a.b=c` overrides; the resolved recipe is saved beside every artefact.

A recipe names what to run, section by section; a section that is left out is not run. Zoo members are written as
`{name: simulator, kind: independent}`, or as their bare name; their keys are checked against the member's own config
class. `name: ./my_method.py:MyMethod` is a class in a file beside the recipe.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from persona_rm.backends.pretrain import PretrainConfig
from persona_rm.benchmarks.bench_config import BenchConfig
from persona_rm.benchmarks.study_config import InferenceConfig, RealConfig
from persona_rm.bundle.bundle_file import PolicyPrompt, RewardModelSpec
from persona_rm.bundle.postprocess_config import GroupConfig, PostprocessConfig
from persona_rm.bundle.text_limits import TextLimits
from persona_rm.config import problems
from persona_rm.construct.config import ConstructConfig
from persona_rm.errors import DataError, HostError, MemberError, PersonaRMError, RecipeError
from persona_rm.hosts import load_host
from persona_rm.io.yaml_file import read_yaml
from persona_rm.methods import METHODS
from persona_rm.methods.base import PromptedMethod
from persona_rm.overrides import apply_override, place_of
from persona_rm.prompts import Chat
from persona_rm.recipe_sections import FOLDER, HostArgs, OnPolicyConfig, Section, check_reward, checked
from persona_rm.registry import Member, absolute_name


class DpoConfig(Section):
    """One run of the host's DPO trainer: rows in the format of a method, and the host's own flags."""

    method: Member
    users: str | None = None
    """A users file: the rows are its comparisons, each with the user's other items as the persona. None: the built
    examples."""
    rows: int = Field(3840, gt=0)
    """Training rows. Each is used once if the host's max_epochs is 1. Fewer examples are used repeatedly."""
    max_items: int = Field(4, ge=0)
    """Largest number of UGC items and of PAIR items in a row. Each row draws its items anew (paper, C.2: 0 to 4)."""
    mirror: bool = False
    """Every other row mirrors the row before it: a user of the opposite views on what the pair shows chose the other
    response. For a method whose prompt shows items and no directions (ICA), `build.mirror` finds that user, and pairs
    without such a user are left out."""
    on_policy: OnPolicyConfig | None = None
    """Rounds on the policy's own answers, after the training on `rows`."""
    args: HostArgs = Field(default_factory=dict)

    @field_validator("method")
    @classmethod
    def _renders(cls, method: Member) -> Member:
        if not issubclass(METHODS.load(method["name"]), PromptedMethod):
            problem = (
                f"{method['name']} has no `render`: its prompt does not hold the user, so DPO has nothing to train"
            )
            raise ValueError(f"{problem}; name it as the reward of a ppo section, or in eval.untrained")
        return method


class PpoConfig(Section):
    """One run of the host's PPO trainer on rewards of each prompt's own user."""

    reward: str = "pba"
    """The section of `dpo` whose trained policy gives the reward, or a method that needs no training: `contrast` uses
    the starting model, `pba_linear` the annotator, and `bradley_terry` is fitted on the built comparisons."""
    inferrer: Member = Field(default_factory=lambda: {"name": "posterior"})
    """An inferrer that learns is fitted on the users of the training side."""
    annotator: Member | None = None
    """For a method that reads texts (`pba_linear`). None: the recipe's, or what the source declares for texts."""
    policy_prompt: PolicyPrompt | None = None
    """How the policy's prompt shows the user, as in a bundle. None: as the reward method's own prompt does."""
    agent: bool = True
    """True: agent_func.py puts the user into the prompt. False: reward_func.py; the prompts hold the user already."""
    shuffled: bool = False
    """The control: every user is rewarded as another user."""
    users: Annotated[int, Field(gt=1)] | str = 100
    """The users whose rewards train the policy: a users file, the folder of a bundle (its rewards are taken as they
    are), or how many users of the source."""
    prompts: Annotated[int, Field(gt=0)] | str = 320
    """The prompts: a file (a row has `prompt`, and `user` if one asks it; other rows get the users in turn), or how
    many, drawn from the posts of the source or from the items of a users file."""
    items: int = Field(8, ge=1)
    """Behavioural items per user of the source, half UGC and half PAIR. Of a users file every item counts."""
    actors: int = Field(1, gt=0)
    max_actors: int | None = Field(None, gt=0)
    """Largest number of actors to which the pool grows while requests wait. None: it keeps its size."""
    on_failure: Literal["stop", "skip_group"] = "stop"
    """If no reward is available after all retries: end the job, or let the host's filtering drop the group."""
    judged: int = Field(200, ge=0)
    """Held-out prompts whose answers are judged by the user's true utility, before and after; 0: not judged."""
    postprocess: PostprocessConfig = PostprocessConfig()
    """Reward post-processing: shrinkage, standardisation, mix, clip, length, floor."""
    groups: GroupConfig | None = None
    """Rewards of all samples of a prompt together; needs `agent`."""
    universal: RewardModelSpec | None = None
    """For `postprocess.mix`; its method_dir is a folder of `Method.save`."""
    safety: RewardModelSpec | None = None
    """For `postprocess.floor`."""
    limits: TextLimits = TextLimits()
    """How long prompts and responses may be, in characters."""
    args: HostArgs = Field(default_factory=dict)

    @field_validator("reward")
    @classmethod
    def _absolute(cls, reward: str, info: ValidationInfo) -> str:
        return absolute_name(reward, (info.context or {}).get(FOLDER))

    @field_validator("universal", "safety")
    @classmethod
    def _known_model(cls, given: RewardModelSpec | None, info: ValidationInfo) -> RewardModelSpec | None:
        if given is None:
            return None
        return given.model_copy(update={"method": checked("method", given.method, info, f"{info.field_name}.method")})

    @model_validator(mode="after")
    def _can_skip(self) -> Self:
        try:
            load_host().check(self.args, self.on_failure)
        except HostError as error:
            raise ValueError(str(error)) from error
        return self


class EvalConfig(Section):
    """The cases of an evaluation, and how they are scored."""

    benchmark: Member | None = None
    """None: the simulator's own users if the source is the simulator, else the held-out share of what was built."""
    methods: tuple[str, ...] | None = None
    """Sections of `dpo` to evaluate; None: all. The results of a section begin with its name."""
    untrained: dict[str, Member] | None = None
    """Methods that need no training, by the name that their results begin with; None: all that the zoo has."""
    items: int = Field(8, gt=1)
    history: tuple[int, ...] = (2, 4, 8, 16)
    batch: int = Field(64, gt=0)
    resamples: int = Field(2000, gt=0)
    runs: str | None = None
    """The run folder whose trained models are evaluated. None: this run's."""

    @field_validator("untrained")
    @classmethod
    def _need_no_training(cls, given: dict[str, Member] | None, info: ValidationInfo) -> dict[str, Member] | None:
        if given is None:
            return None
        methods = {name: checked("method", one, info, f"untrained.{name}") for name, one in given.items()}
        for name, one in methods.items():
            if "reference" in METHODS.load(one["name"]).needs:
                raise ValueError(f"untrained.{name}: {one['name']} must be trained: give it a section of dpo")
        return methods


class InferConfig(Section):
    """`persona-rm infer`: learn from a population how evidence errs, and infer the directions of users."""

    inferrer: Member = Field(default_factory=lambda: {"name": "posterior"})
    population: int = Field(400, ge=10)
    """Largest number of users of the training side to learn from."""
    items: int = Field(16, ge=1)
    """Largest number of items of each, half UGC and half PAIR."""
    users: str | None = None
    """The users to infer: a users file. None: the users of the evaluation side."""
    store: str = "profiles.arrow"
    """Where their states go: a file in the stage's folder, sqlite:PATH or redis://HOST."""


class Recipe(Section):
    """Everything that `persona-rm run` may do, in its order: pretrain, build, infer, dpo, eval, ppo, report."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = 0
    space: str = "alignx90"
    prompts: str = "released"
    chat: Chat | None = None
    """How prompts are put into turns; `template`: by the model's chat template. None: as the prompt format says."""
    source: Member = Field(default_factory=lambda: {"name": "simulator"})
    annotator: Member | None = None
    """None: what the source declares (`given` for the simulator, `encoder` for real text)."""
    model: str = "simulator_lm"
    """The starting policy: a folder in Hugging Face format, or `simulator_lm`, the packaged one."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    out: str = ""
    """Where the run goes; default runs/<name>."""
    pretrain: PretrainConfig | None = None
    build: ConstructConfig | None = None
    dpo: dict[str, DpoConfig] = Field(default_factory=dict)
    infer: InferConfig | None = None
    eval: EvalConfig | None = None
    inference: InferenceConfig | None = None
    real: RealConfig | None = None
    bench: BenchConfig | None = None
    """What `persona-rm bench` compares; `persona-rm run` does not run it."""
    ppo: dict[str, PpoConfig] = Field(default_factory=dict)
    report: bool = True

    @field_validator("build")
    @classmethod
    def _known_sets(cls, build: ConstructConfig | None, info: ValidationInfo) -> ConstructConfig | None:
        if not build or not build.universal:
            return build
        sets = tuple(checked("universal", entry, info, "build.universal") for entry in build.universal)
        return build.model_copy(update={"universal": sets})

    @field_validator("bench")
    @classmethod
    def _known_members(cls, bench: BenchConfig | None, info: ValidationInfo) -> BenchConfig | None:
        if bench is None:
            return None
        sets = {name: checked("benchmark", one, info, f"bench.sets.{name}") for name, one in bench.sets.items()}
        methods = {name: checked("method", one, info, f"bench.methods.{name}") for name, one in bench.methods.items()}
        return bench.model_copy(update={"sets": sets, "methods": methods})

    @field_validator("real")
    @classmethod
    def _one_folder(cls, real: RealConfig | None, info: ValidationInfo) -> RealConfig | None:
        if real and info.data.get("inference"):
            raise RecipeError("`inference` and `real` write the same files; give each a recipe of its own")
        return real

    @model_validator(mode="after")
    def _rewards_exist(self) -> Self:
        for name, config in self.ppo.items():
            check_reward(f"ppo.{name}.reward", config.reward, list(self.dpo))
        for place, (name, section) in enumerate(self.dpo.items()):
            if section.on_policy is not None and section.on_policy.reward is not None:
                # The policy of a later section is not trained yet, and its own is still being trained.
                before = list(self.dpo)[:place]
                check_reward(f"dpo.{name}.on_policy.reward", section.on_policy.reward, before)
        return self

    @property
    def folder(self) -> Path:
        """The folder of this run."""
        return Path(self.out or f"runs/{self.name}")

    @property
    def build_folder(self) -> Path:
        """Where construction goes: <folder>/build, or the folder itself for a recipe that does nothing else."""
        others = (self.pretrain, self.dpo, self.infer, self.eval, self.inference, self.real, self.bench, self.ppo)
        alone = not any(others)
        return self.folder if alone else self.folder / "build"


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `a.b=c` overrides (values are YAML). Raises `RecipeError` naming file and key."""
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"no recipe at {path}; the packaged ones are listed by `persona-rm recipes`")
    try:
        raw = read_yaml(path)
    except DataError as error:
        raise RecipeError(str(error)) from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections, found {type(raw).__name__}")
    for override in overrides:
        apply_override(raw, override)
    try:
        return Recipe.model_validate(raw, context={FOLDER: path.parent})
    except ValidationError as error:
        found = problems(error, Recipe)
        said = [f"{place_of(path, overrides, problem.key)}: {problem.key}: {problem.text}" for problem in found]
        raise RecipeError("; ".join(said)) from error
    except PersonaRMError as error:
        key = (error.key or "") if isinstance(error, MemberError) else ""
        raise RecipeError(f"{place_of(path, overrides, key)}: {error}") from error


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe: every key, defaults included; but a source that was not named stays so, because
    users files are all the data of a recipe without one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = recipe.model_dump(mode="json", exclude={"source"} - recipe.model_fields_set)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
