"""The evaluation stage: figures with intervals for the trained policies, the controls and the strong simple
baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from persona_rm.annotators import ANNOTATORS
from persona_rm.annotators.base import Annotator
from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.benchmarks import BENCHMARKS
from persona_rm.benchmarks.base import Benchmark, Case
from persona_rm.benchmarks.controls import longer_wins, no_persona, shuffled_personas, truncate_history, without_golden
from persona_rm.benchmarks.evaluation import Evaluation
from persona_rm.benchmarks.metrics import direction_figures
from persona_rm.errors import RecipeError
from persona_rm.inferrers.base import Inferrer
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
from persona_rm.pipeline.run import RunFolder, file_hash
from persona_rm.pipeline.stages.annotate_evidence import annotated
from persona_rm.pipeline.stages.dpo_rows import held_out
from persona_rm.pipeline.stages.train import MODEL, examples_of
from persona_rm.recipe import EvalConfig, Recipe
from persona_rm.registry import Member

HISTORY_CASES = 500
"""History sizes are compared on so many cases: long prompts are slow on a CPU."""


def cases_of(recipe: Recipe, config: EvalConfig) -> list[Case]:
    """The cases: of the named benchmark, of the embedded world, or of what was built from real data: its test side, or
    its held-out share."""
    given = config.benchmark or _own(recipe)
    cls, settings = BENCHMARKS.member(given)
    if "world" in cls.Config.model_fields and "world" not in given:
        _, settings = BENCHMARKS.member({**given, "world": simulator_of(recipe).config.model_dump()})
    benchmark: Benchmark = cls(settings, space_of(recipe))
    cases = benchmark.cases()
    if config.benchmark is None and not truth_of(recipe):
        own = cases if "test-*" in str(given["path"]) else [case for case in cases if held_out(case.example)]
        cases = sorted(own, key=lambda case: case.example.id)
    return cases


def _own(recipe: Recipe) -> Member:
    if truth_of(recipe):
        return {"name": "simulator"}
    data = recipe.build_folder / "data"
    name = "test-*.parquet" if list(data.glob("test-*.parquet")) else "train-*.parquet"
    return {"name": "alignx", "path": str(data / name)}


def run_eval(run: RunFolder, config: EvalConfig) -> str:
    """All figures of this run into <run>/eval/metrics.json. Raises `RecipeError` where a policy is missing."""
    trained = Path(config.runs) if config.runs else run.folder
    hashes = {name: file_hash(policy_of(trained, name)) for name in config.methods}

    def work(folder: Path) -> None:
        cases = cases_of(run.recipe, config)
        sheet = Evaluation(config.batch, run.recipe.seed, config.resamples, run.console)
        evaluate(run, config, sheet, cases, trained)
        sheet.write(folder / "metrics.json")

    inputs = {"config": config, "trained": hashes, "prompts": run.recipe.prompts, "seed": run.recipe.seed}
    key = run.stage("eval", {**inputs, "source": run.recipe.source}, work)
    (run.folder / "metrics.json").write_bytes((run.folder / "eval" / "metrics.json").read_bytes())
    return key


def policy_of(trained: Path, name: str) -> Path:
    """The folder of a trained policy of a run. Raises `RecipeError` where there is none."""
    folder = trained / "dpo" / name / MODEL
    if not (folder / "config.json").is_file():
        raise RecipeError(f"no trained policy in {folder}: run the recipe that trains dpo.{name} first")
    return folder


def evaluate(run: RunFolder, config: EvalConfig, sheet: Evaluation, cases: Sequence[Case], trained: Path) -> None:
    """Controls first, then PBA, ICA and what needs no training, each where this run has it and the cases allow it."""
    recipe = run.recipe
    truth = all(case.utilities is not None for case in cases)
    sheet.given("control_longer", cases, longer_wins(cases))
    if truth:
        sheet.bayes(cases)
    encoder = MiniLM(MiniLMConfig())
    annotator = {"name": "simulator"} if truth else annotator_of(recipe)
    cls, settings = ANNOTATORS.member(annotator)
    reader: Annotator = cls(settings, space_of(recipe), Backends(encoder=encoder))
    backed = Backends(encoder=encoder, reader=reader)
    annotated = annotate_items(cases, backed)
    infer = inferrer_of({"name": "vote"}, space_of(recipe))
    for name in config.methods:
        if name not in recipe.dpo:
            raise RecipeError(f"eval.methods names {name!r}; dpo has: {', '.join(recipe.dpo) or 'nothing'}")
        backends = policies(policy_of(trained, name), model_folder(recipe.model))
        kind = recipe.dpo[name].method
        figures = _pba if kind["name"] == "pba" else _ica
        figures(_ScorerFactory(recipe, config, sheet, backends, infer, kind, truth), annotated)
    _untrained(run, config, sheet, annotated, backed, infer)


@dataclass(frozen=True)
class _ScorerFactory:
    """What the figures of one policy share. `truth`: the cases' directions are the hidden ones of a known world."""

    recipe: Recipe
    config: EvalConfig
    sheet: Evaluation
    backends: Backends
    infer: Inferrer
    kind: Member
    truth: bool

    def method(self, **settings: object) -> Method:
        """The method on this policy, with some settings changed."""
        return method_of(self.recipe, {**self.kind, **settings}, self.backends)

    def history(self, name: str, method: Method, cases: Sequence[Case], prepare: Callable[[Case], Case]) -> None:
        """Accuracy by history size, where the cases have such histories; `config.items` of them were scored before."""
        for n in self.config.history:
            if not all(_has(case, n) for case in cases):
                continue
            some = [prepare(truncate_history(case, n)) for case in cases[:HISTORY_CASES]]
            if n == self.config.items:
                self.sheet.given(f"{name}_h{n}", some, self.sheet.rewards[name].values[:HISTORY_CASES])
            else:
                self.sheet.accuracy(f"{name}_h{n}", method, some)


def _has(case: Case, n: int) -> bool:
    persona = case.example.persona
    return len(persona.ugc) >= n // 2 and len(persona.pairs) >= n - n // 2


def _shorter(case: Case, n: int) -> Case:
    """The case with `n` items; one with fewer as it is (P-SOUPS has 4 pairs and nothing else)."""
    return truncate_history(case, n) if _has(case, n) else case


def annotate_items(cases: Sequence[Case], backends: Backends) -> list[Case]:
    """The cases with directions on every item of evidence."""
    people = annotated([case.example.persona for case in cases], backends)
    return [case.with_persona(person) for case, person in zip(cases, people, strict=True)]


def inferred(case: Case, infer: Inferrer) -> Case:
    """The case with the directions that an inferrer reads in the evidence, in place of the golden ones."""
    persona = without_golden(case).example.persona
    return case.with_persona(persona.with_directions(infer.infer(persona).directions))


def _pba(desk: _ScorerFactory, cases: list[Case]) -> None:
    sheet, method, seed = desk.sheet, desk.method(), desk.recipe.seed
    given = "pba_golden" if desk.truth else "pba_given"
    if all(case.example.persona.directions is not None for case in cases):
        sheet.accuracy(given, method, cases)
        sheet.flip(f"{given}_flip", given, method)
        sheet.accuracy("control_shuffled", method, shuffled_personas(cases, seed))
        sheet.accuracy(f"{given}_per_token", desk.method(normalise="token"), cases)
        start = policies(model_folder(desk.recipe.model))
        sheet.accuracy("contrast", method_of(desk.recipe, {"name": "contrast", "persona_as": "pba"}, start), cases)
    sheet.accuracy("control_no_persona", method, [no_persona(case) for case in cases])
    voted = [inferred(_shorter(case, desk.config.items), desk.infer) for case in cases]
    sheet.accuracy("pba_vote", method, voted)
    desk.history("pba_vote", method, cases, lambda case: inferred(case, desk.infer))
    if given in sheet.figures:
        sheet.gap(f"gap_{given.removeprefix('pba_')}_minus_vote", given, "pba_vote")
    if desk.truth:
        found, truth = ([case.example.persona.directions or () for case in some] for some in (voted, cases))
        figures, _ = direction_figures("vote", found, truth, [case.unit for case in cases], seed=seed)
        sheet.add(figures)


def _ica(desk: _ScorerFactory, cases: list[Case]) -> None:
    most = max((desk.config.items, *desk.config.history)) // 2
    method = desk.method(n_ugc=most, n_pairs=most)
    short = [_shorter(case, desk.config.items) for case in cases]
    desk.sheet.accuracy("ica", method, short)
    desk.sheet.flip("ica_flip", "ica", method)
    desk.sheet.accuracy("ica_shuffled", method, shuffled_personas(short, desk.recipe.seed))
    desk.history("ica", method, cases, lambda case: case)


def _untrained(
    run: RunFolder, config: EvalConfig, sheet: Evaluation, cases: list[Case], backends: Backends, infer: Inferrer
) -> None:
    """Members that learn nothing or only a linear head: pba_linear by the annotator, Bradley-Terry on embeddings."""
    recipe = run.recipe
    linear = method_of(recipe, {"name": "pba_linear"}, backends)
    if all(case.example.persona.directions is not None for case in cases):
        sheet.accuracy("pba_linear_golden" if "bayes_optimal" in sheet.figures else "pba_linear_given", linear, cases)
    sheet.accuracy("pba_linear_vote", linear, [inferred(_shorter(case, config.items), infer) for case in cases])
    if list((recipe.build_folder / "data").glob("train-*.parquet")):
        everybody = method_of(recipe, {"name": "bradley_terry"}, backends)
        everybody.fit([example.comparison() for example in examples_of(run)])
        sheet.accuracy("bradley_terry", everybody, cases)
        for name in ("pba_golden", "pba_given"):
            if name in sheet.figures:
                sheet.gap(f"gap_{name.removeprefix('pba_')}_minus_bradley_terry", name, "bradley_terry")
