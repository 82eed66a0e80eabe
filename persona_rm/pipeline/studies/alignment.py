"""The end that matters: the same policy, told golden, inferred or recalled directions, on the same pairs."""

from collections.abc import Mapping
from pathlib import Path

from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.controls import no_persona, shuffled_personas
from persona_rm.benchmarks.figures import Figure, accuracy, bootstrap_ratio
from persona_rm.inferrers.base import Inferrer
from persona_rm.pipeline.members import inferrer_of, method_of, model_folder, policies
from persona_rm.pipeline.stages.infer import backends_of
from persona_rm.pipeline.studies.study import Study, StudyResults, dot
from persona_rm.registry import Member

RECALLED = 4
"""Items that episodic memory recalls of those that there are."""
MEMORIES: Mapping[str, tuple[str, Member]] = {
    "pba_recalled": ("episodic: the items most like the prompt", {"similarity": 1.0, "recency": 0.0}),
    "pba_recent": ("episodic: the most recent items", {"similarity": 0.0, "recency": 1.0}),
}


def alignment(study: Study, policy: Path) -> StudyResults:
    """Alignment accuracy of PBA by who tells the directions, the share of the gap closed, memories side by side."""
    recipe, sheet, items = study.run.recipe, study.sheet, study.config.items
    kind = recipe.dpo[study.config.policy].method
    method = method_of(recipe, kind, policies(policy, model_folder(recipe.model)))
    golden = sheet.accuracy("pba_golden", method, study.cases)
    vote = sheet.accuracy("pba_vote", method, _with(study, study.vote, items))
    spoken = _with(study, study.posterior, items)
    posterior = sheet.accuracy("pba_posterior", method, spoken)
    shuffled = sheet.accuracy("control_posterior_shuffled", method, shuffled_personas(spoken, study.seed))
    nobody = sheet.accuracy("control_no_persona", method, [no_persona(case) for case in study.cases])
    sheet.bayes(study.cases)
    sheet.gap("gap_posterior_minus_vote", "pba_posterior", "pba_vote")
    sheet.gap("gap_golden_minus_posterior", "pba_golden", "pba_posterior")
    dots = [
        dot(sheet.figures["bayes_optimal"], name="Bayes-optimal", kind="best"),
        dot(golden, name="PBA, golden", kind="main"), dot(posterior, name="PBA, posterior", kind="main"),
        dot(vote, name="PBA, vote", kind="main"), dot(nobody, name="no persona", kind="control"),
        dot(shuffled, name="posterior of somebody else", kind="control"),
    ]  # fmt: skip
    memory = [dot(posterior, name=f"semantic: posterior over all {items} items")]
    for name, (label, settings) in MEMORIES.items():
        given = {"name": "retrieval", "items": RECALLED, **settings}
        inferrer = inferrer_of(given, study.space, backends_of(recipe))
        memory.append(dot(sheet.accuracy(name, method, _with(study, inferrer, items)), name=f"{label} ({RECALLED})"))
    return {"alignment": dots, "memory": memory} | _closed(study, golden, vote, posterior)


def _with(study: Study, inferrer: Inferrer, items: int) -> list[Case]:
    """The cases with the directions that an inferrer reads in `items` items, in place of the golden ones."""
    told = study.told(inferrer, items)
    people = study.personas(items)
    rows = zip(study.cases, people, told, strict=True)
    return [case.with_persona(person.with_directions(one.directions)) for case, person, one in rows]


def _closed(study: Study, golden: Figure, vote: Figure, posterior: Figure) -> StudyResults:
    """(posterior - vote) / (golden - vote), with its interval by people. Where golden directions are no better than
    the vote there is no gap, hence no figure: that is printed, and the other figures stand."""
    right = {name: accuracy(*study.sheet.rewards[f"pba_{name}"].values.T) for name in ("golden", "vote", "posterior")}
    gained, gap = right["posterior"] - right["vote"], right["golden"] - right["vote"]
    if gap.sum() <= 0:
        text = f"golden {golden.value:.3f}, vote {vote.value:.3f}: no gap to close, so no golden_gap_closed"
        study.run.console.print(text)
        return {}
    ratio = bootstrap_ratio(gained, gap, study.units, study.seed, study.config.resamples)
    study.sheet.add([Figure("golden_gap_closed", *ratio, len(gap))])
    values = {"golden": golden.value, "vote": vote.value, "posterior": posterior.value}
    return {"gap": {"closed": list(ratio), **values}}
