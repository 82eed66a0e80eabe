"""The evaluation stage: figures with intervals for every section of `dpo` and for methods that need no training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from persona_rm.annotators import ANNOTATORS
from persona_rm.annotators.base import Annotator
from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.benchmarks import BENCHMARKS
from persona_rm.benchmarks.base import Benchmark, Case
from persona_rm.benchmarks.controls import longer_wins
from persona_rm.benchmarks.evaluation import Evaluation
from persona_rm.benchmarks.figures import direction_figures
from persona_rm.errors import RecipeError
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method
from persona_rm.pipeline.members import (
    annotator_of,
    inferrer_of,
    method_of,
    model_folder,
    policies,
    simulator_of,
    space_of,
    truth_of,
)
from persona_rm.pipeline.run import RunFolder, code_hash, file_hash
from persona_rm.pipeline.stages.annotate_evidence import annotated_cases
from persona_rm.pipeline.stages.dpo_rows import held_out
from persona_rm.pipeline.stages.method_figures import MethodFigures
from persona_rm.pipeline.stages.train import MODEL, examples_of
from persona_rm.recipe import EvalConfig, Recipe
from persona_rm.registry import Member
from persona_rm.types import Comparison


def cases_of(recipe: Recipe, config: EvalConfig) -> list[Case]:
    """The cases: of the named benchmark, of the simulator, or of what was built from real data: its test side, or
    its held-out share."""
    given = config.benchmark or _own(recipe)
    cls, settings = BENCHMARKS.member(given)
    if "simulator" in cls.Config.model_fields and "simulator" not in given:
        _, settings = BENCHMARKS.member({**given, "simulator": simulator_of(recipe).config.model_dump()})
    benchmark: Benchmark = cls(settings, space_of(recipe))
    cases = benchmark.cases()
    if config.benchmark is None and not truth_of(recipe):
        own = cases if "test-*" in str(given["path"]) else [case for case in cases if held_out(case.example)]
        # The order of rows in a file is arbitrary, and figures must not depend on it.
        cases = sorted(own, key=lambda case: case.example.id)
    return cases


def _own(recipe: Recipe) -> Member:
    if truth_of(recipe):
        return {"name": "simulator"}
    data = recipe.build_folder / "data"
    name = "test-*.parquet" if list(data.glob("test-*.parquet")) else "train-*.parquet"
    return {"name": "alignx", "path": str(data / name)}


def run_eval(run: RunFolder, config: EvalConfig) -> str:
    """All figures of this run into <run>/eval/metrics.json. Raises `RecipeError` if a trained policy is missing."""
    recipe, trained = run.recipe, Path(config.runs) if config.runs else run.folder
    methods = evaluated_methods(recipe, config, trained)

    def work(folder: Path) -> None:
        cases = cases_of(recipe, config)
        sheet = Evaluation(config.batch, recipe.seed, config.resamples, run.console)
        evaluate(run, config, sheet, cases, methods)
        sheet.write(folder / "metrics.json")

    # The hash of a trained policy is an input, so the evaluation runs again when a policy was trained again.
    hashes = {one.name: [one.member, code_hash(one.member), one.policy and file_hash(one.policy)] for one in methods}
    inputs = {"config": config, "methods": hashes, "prompts": recipe.prompts, "chat": recipe.chat}
    inputs |= {"seed": recipe.seed}
    key = run.stage("eval", {**inputs, "source": recipe.source}, work)
    (run.folder / "metrics.json").write_bytes((run.folder / "eval" / "metrics.json").read_bytes())
    return key


def policy_of(trained: Path, name: str) -> Path:
    """The folder of a trained policy of a run. Raises `RecipeError` if there is none."""
    folder = trained / "dpo" / name / MODEL
    if not (folder / "config.json").is_file():
        raise RecipeError(f"no trained policy in {folder}: run the recipe that trains dpo.{name} first")
    return folder


@dataclass(frozen=True)
class EvaluatedMethod:
    """One method of an evaluation. `name` begins the names of its results; `policy` is the one that DPO trained."""

    name: str
    member: Member
    policy: Path | None = None


def evaluated_methods(recipe: Recipe, config: EvalConfig, trained: Path) -> list[EvaluatedMethod]:
    """The sections of `dpo` that are evaluated, then the methods that need no training.

    A method that needs no training is called by its name; if a section has the same name, `_untrained` follows it.
    """
    sections = tuple(recipe.dpo) if config.methods is None else config.methods
    for name in sections:
        if name not in recipe.dpo:
            raise RecipeError(f"eval.methods names {name!r}; dpo has: {', '.join(recipe.dpo) or 'nothing'}")
    methods = [EvaluatedMethod(name, recipe.dpo[name].method, policy_of(trained, name)) for name in sections]
    untrained = config.untrained
    if untrained is None:
        names = (name for name in METHODS.names() if "reference" not in METHODS.load(name).needs)
        untrained = {name: {"name": name} for name in names}
    for name, member in untrained.items():
        methods.append(EvaluatedMethod(f"{name}_untrained" if name in sections else name, member))
    return methods


def evaluate(
    run: RunFolder, config: EvalConfig, sheet: Evaluation, cases: Sequence[Case], methods: Sequence[EvaluatedMethod]
) -> None:
    """The figures that need no method first, then those of every method; what a method declares decides which."""
    recipe = run.recipe
    truth = all(case.utilities is not None for case in cases)
    sheet.given("control_longer", cases, longer_wins(cases))
    if truth:
        sheet.bayes(cases)
    encoder = MiniLM(MiniLMConfig())
    cls, settings = ANNOTATORS.member({"name": "simulator"} if truth else annotator_of(recipe))
    reader: Annotator = cls(settings, space_of(recipe), Backends(encoder=encoder))
    backends = Backends(encoder=encoder, reader=reader)
    cases = annotated_cases(cases, backends)
    figures = MethodFigures(sheet, config, cases, inferrer_of({"name": "vote"}, space_of(recipe)), truth, recipe.seed)
    if truth:
        _direction_figures(figures)
    comparisons = [example.comparison() for example in examples_of(run)]
    for one in methods:
        learns = "fit" in METHODS.load(one.member["name"]).needs
        if learns and not comparisons:
            run.console.print(f"{one.name}: not evaluated, because no comparison was built that it could learn from")
            continue
        base = model_folder(recipe.model)
        # A method that needs no training reads the starting model and has no reference to compare it with.
        logprob = policies(one.policy or base, base if one.policy else None).logprob
        make = partial(_made, recipe, one.member, replace(backends, logprob=logprob), comparisons if learns else ())
        figures.measure(one.name, make, may_lead=one.policy is not None)


def _made(
    recipe: Recipe, member: Member, backends: Backends, comparisons: Sequence[Comparison], **settings: object
) -> Method:
    """The method with some settings changed, fitted if it learns from comparisons."""
    method = method_of(recipe, {**member, **settings}, backends)
    if comparisons:
        method.fit(comparisons)
    return method


def _direction_figures(figures: MethodFigures) -> None:
    """Precision and recall of the directions that the vote infers, against the hidden ones."""
    told = [case.example.persona.directions or () for case in figures.inferred]
    hidden = [case.example.persona.directions or () for case in figures.cases]
    units = [case.unit for case in figures.cases]
    figures.sheet.add(direction_figures("vote", told, hidden, units, seed=figures.seed)[0])
