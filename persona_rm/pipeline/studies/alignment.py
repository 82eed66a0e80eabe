"""Alignment accuracy of one policy that gets golden, inferred or recalled directions, on the same pairs."""

from collections.abc import Mapping
from pathlib import Path

from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.controls import PriorOnly, shuffled_personas
from persona_rm.benchmarks.figures import Figure, accuracy, bootstrap_ratio
from persona_rm.errors import RecipeError
from persona_rm.inferrers.base import Inferrer
from persona_rm.pipeline.members import backends_of, inferrer_of, method_of, model_folder, policies
from persona_rm.pipeline.studies.study import Study, StudyResults, dot
from persona_rm.registry import Member

RECALLED = 4
"""The number of items that an episodic memory recalls."""
MEMORIES: Mapping[str, tuple[str, Member]] = {
    "recalled": ("episodic: the items most like the prompt", {"similarity": 1.0, "recency": 0.0}),
    "recent": ("episodic: the most recent items", {"similarity": 0.0, "recency": 1.0}),
}


def alignment(study: Study, policy: Path) -> StudyResults:
    """Accuracy of the policy by the source of the directions, the share of the gap closed, memories side by side.

    The names of results begin with the section of `dpo` that trained the policy. Raises `RecipeError` if its method
    does not read directions.
    """
    recipe, sheet, items, name = study.run.recipe, study.sheet, study.config.items, study.config.policy
    method = method_of(recipe, recipe.dpo[name].method, policies(policy, model_folder(recipe.model)))
    if method.reads != "directions":
        raise RecipeError(f"inference.policy is {name!r}, and {method.name} does not read directions; name another")
    golden = sheet.accuracy(f"{name}_golden", method, study.cases)
    vote = sheet.accuracy(f"{name}_vote", method, _with(study, study.vote, items))
    inferred = _with(study, study.posterior, items)
    posterior = sheet.accuracy(f"{name}_posterior", method, inferred)
    shuffled = sheet.accuracy("control_posterior_shuffled", method, shuffled_personas(inferred, study.seed))
    no_user = sheet.accuracy("control_no_persona", PriorOnly(method), study.cases)
    sheet.bayes(study.cases)
    sheet.gap("gap_posterior_minus_vote", f"{name}_posterior", f"{name}_vote")
    sheet.gap("gap_golden_minus_posterior", f"{name}_golden", f"{name}_posterior")
    dots = [
        dot(sheet.figures["bayes_optimal"], name="Bayes-optimal", kind="best"),
        dot(golden, name="PBA, golden", kind="main"), dot(posterior, name="PBA, posterior", kind="main"),
        dot(vote, name="PBA, vote", kind="main"), dot(no_user, name="no persona", kind="control"),
        dot(shuffled, name="posterior of another user", kind="control"),
    ]  # fmt: skip
    memory = [dot(posterior, name=f"semantic: posterior over all {items} items")]
    for suffix, (label, settings) in MEMORIES.items():
        given = {"name": "retrieval", "items": RECALLED, **settings}
        inferrer = inferrer_of(given, study.space, backends_of(recipe))
        figure = sheet.accuracy(f"{name}_{suffix}", method, _with(study, inferrer, items))
        memory.append(dot(figure, name=f"{label} ({RECALLED})"))
    return {"alignment": dots, "memory": memory} | _closed(study, golden, vote, posterior)


def _with(study: Study, inferrer: Inferrer, items: int) -> list[Case]:
    """The cases with the directions that an inferrer reads in `items` items, in place of the golden ones."""
    rows = zip(study.cases, study.personas(items), study.inferred(inferrer, items), strict=True)
    return [case.with_persona(persona.with_directions(one.directions)) for case, persona, one in rows]


def _closed(study: Study, golden: Figure, vote: Figure, posterior: Figure) -> StudyResults:
    """(posterior - vote) / (golden - vote), with its interval by users.

    If golden directions are no better than the vote, there is no gap and hence no figure. A line on the console says
    so.
    """
    right = {}
    for name in ("golden", "vote", "posterior"):
        right[name] = accuracy(*study.sheet.rewards[f"{study.config.policy}_{name}"].values.T)
    gained, gap = right["posterior"] - right["vote"], right["golden"] - right["vote"]
    # The ratio has no meaning then: its sign would follow the noise in the divisor.
    if gap.sum() <= 0:
        text = f"golden {golden.value:.3f}, vote {vote.value:.3f}: no gap to close, so no golden_gap_closed"
        study.run.console.print(text)
        return {}
    ratio = bootstrap_ratio(gained, gap, study.units, study.seed, study.config.resamples)
    study.sheet.add([Figure("golden_gap_closed", *ratio, len(gap))])
    values = {"golden": golden.value, "vote": vote.value, "posterior": posterior.value}
    return {"gap": {"closed": list(ratio), **values}}
