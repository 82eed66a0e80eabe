"""Why a user got this reward, in words: the trace of a reward, with the user's history behind it.

A reward is explained either live, by computing it again from the bundle, or from its line in the reward log. Both are
shown the same way. The log holds no texts, so the response of a logged reward is described by the sign of the parts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from persona_rm.bundle import Bundle, PostprocessInputs, load_bundle
from persona_rm.bundle.bundle_file import YAML
from persona_rm.bundle.postprocess_config import PostprocessConfig
from persona_rm.errors import DataError, RecipeError
from persona_rm.io.log_ids import HASHED, LogIds
from persona_rm.io.user_ids import near_user
from persona_rm.report.user_words import EvidenceNote, evidence_words, notes_of
from persona_rm.serving.actor.reward_log import LOG_FOLDER
from persona_rm.serving.postprocess import Postprocessor
from persona_rm.serving.request_ids import with_id
from persona_rm.space import Dimension
from persona_rm.types import MIDDLE, Directions, RewardRequest, RewardResult, RewardStep, RewardTrace, UserState

LEVELS = {1: "low", MIDDLE: "neutral", 3: "high"}
SHOWN = 3
"""So many of the user's newest items are shown under a part that comes from all of them."""
STATUS = {
    "ok": "the user is known",
    "cold": "no evidence about a user was read, so the population prior answered",
    "erased": "the user was erased, so the population prior answered",
    "abstained": "the method declined, so the population prior answered",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A reward and what is known behind it; without a bundle only what the trace holds."""

    result: RewardResult
    bundle: Bundle | None = None
    inferred: UserState | None = None
    """What the bundle knows about the user now; None for an unknown user."""
    evidence: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Dimension -> ids of the items that speak for the user's direction on it."""
    levels: tuple[int, ...] | None = None
    """What the bundle's annotator reads in the response; None for a logged reward, or without an annotator."""
    items: Mapping[str, str] = field(default_factory=dict)
    """What the items of the user's history say, by id, as far as the users file has them."""
    remarks: tuple[str, ...] = ()

    def to_row(self) -> dict[str, Any]:
        """The reward and its trace as plain JSON, and the items behind each direction by the id of the dimension."""
        row = {"reward": self.result.reward, **self.result.trace.to_row()}
        if self.bundle is not None:
            ids = self.bundle.space.ids
            row["evidence_by_dimension"] = {ids[dim]: list(items) for dim, items in self.evidence.items()}
        return row


def explain_request(folder: Path, request: RewardRequest) -> Explanation:
    """The reward of a request as a reward actor without earlier samples gives it.

    Raises `DataError` for a user that the bundle does not know, and `RecipeError` if the method only compares.
    """
    bundle = load_bundle(folder)
    try:
        inferred = bundle.inferred(request.user, bundle.reader.read(request).prompt_text)
        if request.user is not None and not inferred.known:
            raise DataError(
                f"user {request.user!r} {why_unknown(inferred, bundle)}. Rewards for unknown users come from the "
                "population prior. To see those, leave out --user",
                file=bundle.folder,
            )
        return explain_live(bundle, request)
    finally:
        bundle.close()


def why_unknown(inferred: UserState, bundle: Bundle) -> str:
    """Why the bundle does not know the user of this state, with the id that was probably meant."""
    if inferred.status == "erased":
        return "was erased from this bundle"
    return f"is not in this bundle{near_user(inferred.user_id or '', bundle.users)}"


def explain_logged(run: Path, request_id: str, folder: Path | None = None) -> Explanation:
    """A reward of a run, found in its reward log by the id of the request.

    `folder`: the bundle; None: the one beside the log, if there is one. Raises `DataError` for a run without a log and
    for an unknown id.
    """
    log, row = find_logged(run, request_id)
    try:
        result = RewardResult(float(row["reward"]), RewardTrace.from_row(row))
    except (KeyError, TypeError, ValueError) as error:
        problem = f"the line of request {request_id!r} was written by another version ({type(error).__name__})"
        raise DataError(problem, file=log) from error
    # The PPO stage keeps the bundle and the folder of the logs side by side.
    beside = log.parent.parent / "bundle"
    if folder is None and not (beside / YAML).is_file():
        remark = "There is no bundle beside the log, so dimensions have no words: name the bundle to see more."
        return Explanation(result, remarks=(remark,))
    bundle = load_bundle(folder or beside)
    try:
        ids = LogIds.existing(log.parent.parent)
        return _logged(bundle, _with_user(result, bundle, ids) if ids else result)
    finally:
        bundle.close()


def _with_user(result: RewardResult, bundle: Bundle, ids: LogIds) -> RewardResult:
    """The result with the user whose hash the log has, if the bundle still knows the user."""
    logged = result.trace.user
    if logged is None or not HASHED.fullmatch(logged):
        return result
    stored = bundle.store.ids() if bundle.store is not None else ()
    fitted = bundle.fitted.ids() if bundle.fitted is not None else ()
    user = ids.user_of(logged, chain(bundle.users, stored, fitted))
    return result if user is None else replace(result, trace=replace(result.trace, user=user))


def find_logged(run: Path, request_id: str) -> tuple[Path, dict[str, Any]]:
    """The log and the line of a request. Raises `DataError` if there is no log, no such line, or if it is cut off."""
    if not run.is_dir():
        raise DataError("there is no such run folder", file=run)
    logs = sorted(run.rglob(f"{LOG_FOLDER}/*.jsonl"))
    if not logs:
        raise DataError(
            f"there is no reward log here: a run writes {LOG_FOLDER}/ACTOR.jsonl into its folder", file=run
        )
    # As it stands in the line, so that only lines that hold the id are parsed: logs have a line per sample.
    written = json.dumps(request_id, ensure_ascii=False)
    for log in logs:
        with log.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                if written not in line:
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    problem = "this line is incomplete: the actor that wrote it ended in the middle of it"
                    raise DataError(problem, file=log, row=number) from error
                if row.get("request_id") == request_id:
                    return log, row
    raise DataError(
        f"none of the {len(logs)} reward logs here has a reward with the request id {request_id!r}", file=run
    )


def lines_of(explanation: Explanation) -> list[str]:
    """The explanation as lines of text, for a console."""
    result, trace = explanation.result, explanation.result.trace
    user = "a request without a user" if trace.user is None else f"user {trace.user!r} of group {trace.group!r}"
    lines = [f"The reward is {result.reward:.4g} for {user}: {STATUS[trace.status]}."]
    lines.append(f"Request {trace.request_id}; {_state_words(explanation)}.")
    lines += [*explanation.remarks, "", *_method_lines(explanation), "", *_step_lines(explanation)]
    return lines


def explain_live(bundle: Bundle, request: RewardRequest) -> Explanation:
    """The reward of a request, also for a user that the bundle does not know: the prior's.

    Raises `RecipeError` if the method only compares.
    """
    request = bundle.reader.read(with_id(request))
    prompt = request.prompt_text
    inferred = bundle.inferred(request.user, prompt)
    inputs, remarks, groups = PostprocessInputs(bundle), [], bundle.file.groups
    inputs.check()
    if groups is not None and groups.listwise:
        raise RecipeError(
            "this bundle rewards responses by comparing those of a group, and a single one has no reward"
        )
    if groups is not None and groups.normalise != "none":
        remarks.append(
            f"This bundle also makes the rewards of a group {groups.normalise}; a single response has no group."
        )
    if bundle.file.postprocess.standardise != "none":
        remarks.append("No earlier samples are known here, so the reward is not standardised.")
    (result,) = inputs.add([request], bundle.score([request]))
    # A new postprocessor: an explanation must not count as a sample in the running statistics.
    result = Postprocessor(bundle.file.postprocess).apply(result)
    result = replace(result, trace=replace(result.trace, request_id=request.request_id))
    evidence = bundle.user_states.evidence(inferred, prompt)
    levels = bundle.levels(prompt, request.response)
    known = inferred if inferred.known else None
    return Explanation(result, bundle, known, evidence, levels, _items(bundle, request.user), tuple(remarks))


def _logged(bundle: Bundle, result: RewardResult) -> Explanation:
    trace = result.trace
    inferred = bundle.inferred(trace.user)
    if not trace.user_known or not inferred.known:
        return Explanation(result, bundle)
    remarks = []
    if inferred.version != trace.state_version:
        now = f"it is version {inferred.version} now"
        remarks.append(
            f"The user's state has changed since this reward: {now}, and the directions below are of today."
        )
    evidence, items = bundle.user_states.evidence(inferred), _items(bundle, trace.user)
    return Explanation(result, bundle, inferred, evidence, items=items, remarks=tuple(remarks))


def _items(bundle: Bundle, user: str | None) -> dict[str, str]:
    if user is None or user not in bundle.users:
        return {}
    return {id_: note.text for id_, note in notes_of(bundle.users[user].persona).items()}


def _state_words(explanation: Explanation) -> str:
    trace, bundle = explanation.result.trace, explanation.bundle
    known = bundle.users.get(trace.user or "") if bundle is not None else None
    comparisons, ties = (len(known.persona.pairs), known.persona.n_ties) if known is not None else (0, 0)
    items = int(trace.inputs.get("n_items", len(trace.evidence)))
    state = f"version {trace.state_version}" if trace.state_version else "computed for the request and not stored"
    return f"the user's state is {state}, from {evidence_words(items, comparisons, ties)}"


def _method_lines(explanation: Explanation) -> list[str]:
    """The raw reward and its parts, the largest first; under each the items that speak for the user's direction."""
    trace, bundle = explanation.result.trace, explanation.bundle
    name = f"The method {bundle.file.method['name']!r}" if bundle is not None else "The method"
    if bundle is not None and bundle.method.reads == "nothing":
        # The user's items would be shown as reasons for a reward that they cannot change.
        return [f"{name} gives {trace.raw:.4g}, as it does to every user: it does not read the user's history."]
    if not trace.parts:
        return [f"{name} gives {trace.raw:.4g}, without parts.", *_direction_lines(explanation)]
    if not any(trace.parts.values()):
        return [f"{name} gives {trace.raw:.4g}, because the response says nothing about {_parts(len(trace.parts))}."]
    lines = [f"{name} gives {trace.raw:.4g}, the sum of:"]
    for part, value in sorted(trace.parts.items(), key=lambda item: -abs(item[1])):
        if value:
            lines += _part_lines(explanation, part, value)
    if zeros := sum(not value for value in trace.parts.values()):
        lines.append(f"  and 0 for {_parts(zeros, other=True)}, about which the response says nothing.")
    return lines


def _parts(n: int, *, other: bool = False) -> str:
    """The number of parts of a reward, in words: each stands for a preference or a feature that the method reads."""
    if n == 1:
        return f"the {'other' if other else 'only'} part that the method reads"
    return f"{'the other' if other else 'any of the'} {n} parts that the method reads"


def _part_lines(explanation: Explanation, part: str, value: float) -> list[str]:
    bundle, inferred = explanation.bundle, explanation.inferred
    if bundle is None or part not in bundle.space.ids:
        items = explanation.result.trace.evidence[-SHOWN:] if part == "personal" else ()
        return [f"  {value:+.4g}  {part}", *(_item_line(explanation, id_) for id_ in items)]
    place = bundle.space.index(part)
    dimension = bundle.space.dimensions[place]
    directions = inferred.directions if inferred is not None else None
    wanted = dimension.pole(directions[place]) if directions else None
    user = f"the user's direction is {wanted.label!r}" if wanted else "the user has no direction"
    words = f"  {value:+.4g}  {dimension.name}: {user}; {_response_words(explanation, dimension, place, value)}"
    return [words, *_evidence_lines(explanation, place)]


def _response_words(explanation: Explanation, dimension: Dimension, place: int, value: float) -> str:
    if explanation.levels is None:
        return "the response agrees with it" if value > 0 else "the response is against it"
    level = explanation.levels[place]
    pole = dimension.pole(level - MIDDLE)
    return f"the response is {LEVELS[level]} in it" + (f", {pole.label!r}" if pole else "")


def _direction_lines(explanation: Explanation) -> list[str]:
    """For a method without parts: the user's directions, or the items that the method reads itself."""
    bundle, inferred = explanation.bundle, explanation.inferred
    if bundle is None or inferred is None:
        return []
    directions: Directions = inferred.directions or ()
    lines = []
    for place, (dimension, direction) in enumerate(zip(bundle.space.dimensions, directions, strict=bool(directions))):
        if pole := dimension.pole(direction):
            lines += [f"  {pole.label} ({dimension.name})", *_evidence_lines(explanation, place)]
    if lines:
        return ["The user's directions are:", *lines]
    items = [_item_line(explanation, id_) for id_ in explanation.result.trace.evidence]
    return ["No direction of the user is known. The items of the user are:", *items] if items else []


def _evidence_lines(explanation: Explanation, place: int) -> list[str]:
    return [_item_line(explanation, id_) for id_ in explanation.evidence.get(place, ())]


def _item_line(explanation: Explanation, id_: str) -> str:
    return EvidenceNote(id_, explanation.items.get(id_, "")).line()


def _step_lines(explanation: Explanation) -> list[str]:
    trace = explanation.result.trace
    if not trace.steps:
        return ["Post-processing changes nothing in this bundle."]
    config = explanation.bundle.file.postprocess if explanation.bundle is not None else None
    lines = ["Post-processing:"]
    lines += [
        f"  {step.name}: {step.before:.4g} -> {step.after:.4g}, {_step_words(step, trace, config)}"
        for step in trace.steps
    ]
    return lines


def _step_words(step: RewardStep, trace: RewardTrace, config: PostprocessConfig | None) -> str:
    """What a step did to this reward."""
    inputs = trace.inputs
    if step.name.startswith("group_"):
        return f"made {step.name.removeprefix('group_')} among the samples of the prompt"
    # Shrinkage is by items or by the standard deviation. The log has no config, so the inputs of the step tell which.
    if step.name == "shrinkage" and "prior" in inputs and (trace.std is None or _by_items(config)):
        return f"moved toward the prior's reward {inputs['prior']:.4g}, as the evidence is {inputs['n_items']:g} items"
    if step.name == "shrinkage":
        return f"lowered because the method is uncertain (standard deviation {trace.std:.4g})"
    if step.name == "standardise":
        moved = step.after != step.before
        return "in standard deviations from the running mean" if moved else "unchanged: too few samples so far"
    if step.name == "mix":
        return f"mixed with the universal model's {inputs['universal']:.4g}"
    if step.name == "clip":
        bounds = f" [{config.clip[0]:g}, {config.clip[1]:g}]" if config is not None and config.clip else ""
        return f"limited to the range{bounds}" if step.after != step.before else f"inside the range{bounds}"
    if step.name == "length":
        return f"a penalty for the length of {inputs['length']:g}"
    if step.name == "cut":
        return "a penalty because the response was cut" if inputs["cut"] else "unchanged: the response ended by itself"
    if step.name == "floor":
        name = config.floor.by if config is not None and config.floor is not None else "safety"
        score = f"the {name} score is {inputs[name]:.4g}" if name in inputs else "the score"
        return f"lowered: {score}" if step.after != step.before else f"not lowered: {score}"
    return "a step of the method"


def _by_items(config: PostprocessConfig | None) -> bool:
    return config is not None and config.shrinkage is not None and config.shrinkage.by == "items"
