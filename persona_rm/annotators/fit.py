"""Fits the thresholds of the `encoder` annotator and checks them on statements that it has not seen.

Data: statements that people with a trait would or would not make (Anthropic's model-written evals), for the traits
that are dimensions of AlignX; and real comments, which mostly say nothing about a dimension. Half of the statements
fits, the other half checks; a statement's half depends on its text only.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from persona_rm.annotators.encoder import Axes, Floats, Thresholds, answers, axes, columns, read_levels
from persona_rm.backends.base import Encoder, Vectors
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import content_id

TRAITS = {
    "agreeableness": ("agreeableness", 1),
    "conscientiousness": ("conscientiousness", 1),
    "extraversion": ("extraversion", 1),
    "neuroticism": ("neuroticism", 1),
    "openness": ("openness", 1),
    "interest-in-art": ("likes_art", 1),
    "interest-in-literature": ("likes_reading", 1),
    "interest-in-music": ("likes_music", 1),
    "interest-in-science": ("likes_science", 1),
    "interest-in-sports": ("likes_sports", 1),
    "risk-averse": ("investment", -1),
    "risk-seeking": ("investment", 1),
    "willingness-to-defer-to-authorities": ("need_deference", 1),
}
"""Trait -> (dimension of alignx90, the direction of a matching statement)."""

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Statement:
    """`matches`: a person with the trait would say this."""

    trait: str
    text: str
    matches: bool

    @property
    def fits(self) -> bool:
        """In the half that fits (the other checks)."""
        # By the text, so that a statement stays in its half whatever else is in the file.
        return int(content_id(self.text), 16) % 2 == 0


@dataclass(frozen=True, slots=True)
class TraitCheck:
    """One trait on statements that did not fit. `balanced`: of the contrast's sign, without gate and band.

    `coverage` of its statements get a level other than 2, of which `right` point the right way; `stray` is the share
    of statements about other traits that get one.
    """

    trait: str
    dimension: str
    n: int
    auc: float
    balanced: float
    coverage: float
    right: float
    stray: float


def read_statements(path: Path) -> list[Statement]:
    """JSON lines (gzip) of trait, statement, matches. Raises DataError by row, or for no such file."""
    if not path.is_file():
        raise DataError("there is no such file: statements.jsonl.gz is expected", file=path)
    statements = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                statements.append(Statement(record["trait"], record["statement"], bool(record["matches"])))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"not a statement: {error!r}", file=path, row=row) from error
    return statements


def fit_thresholds(
    statements: Sequence[Statement],
    background: Sequence[str],
    space: PreferenceSpace,
    encoder: Encoder,
    pass_rate: float = 0.08,
    band: float = 0.25,
) -> tuple[Thresholds, list[TraitCheck]]:
    """The thresholds, and how they do on the other half.

    `gate` is where `pass_rate` of all (real comment, dimension) cells pass; the weight of each shared direction is the
    best mean AUC; a dimension's `zero` is the best balanced accuracy, or the pooled one where no trait is its own.
    """
    vectors, real = encoder.encode([s.text for s in statements]), encoder.encode(background)
    fitting = np.array([s.fits for s in statements])
    weights = _weights(statements, vectors, fitting, space, encoder)
    directions = axes(space, encoder, weights)
    thresholds = _thresholds(statements, vectors, fitting, real, space, directions, weights, pass_rate, band)
    return thresholds, _checks(statements, vectors, ~fitting, space, directions, thresholds)


def _rows(statements: Sequence[Statement], dimension: str) -> tuple[Bools, Bools]:
    """(is about the dimension, says its positive pole) per statement."""
    signs = np.array([_sign(s) if TRAITS.get(s.trait, ("", 0))[0] == dimension else 0 for s in statements])
    return signs != 0, signs > 0


def _sign(statement: Statement) -> int:
    return TRAITS[statement.trait][1] * (1 if statement.matches else -1)


def _weights(
    statements: Sequence[Statement], vectors: Vectors, fitting: Bools, space: PreferenceSpace, encoder: Encoder
) -> dict[str, float]:
    known = sorted({dimension for dimension, _ in TRAITS.values()} & {*space.ids})
    kinds = {dimension: answers(space.dimensions[space.index(dimension)]) for dimension in known}
    scores: dict[str, list[float]] = {kind: [] for kind in kinds.values()}
    # One pass serves all kinds: the shared direction of a kind moves the dimensions of that kind only.
    for weight in WEIGHTS:
        contrast = vectors @ axes(space, encoder, dict.fromkeys(scores, weight)).contrast.T
        aucs = {id: _auc_of(statements, contrast, fitting, space, id) for id in known}
        for kind, scores_of_kind in scores.items():
            scores_of_kind.append(float(np.mean([aucs[id] for id in known if kinds[id] == kind])))
    # Rounded, so that of weights that do equally well the smallest is taken.
    return {kind: WEIGHTS[int(np.argmax(np.round(scores_of_kind, 3)))] for kind, scores_of_kind in scores.items()}


def _auc_of(statements: Sequence[Statement], contrast: Vectors, half: Bools, space: PreferenceSpace, id: str) -> float:
    about, positive = _rows(statements, id)
    rows = about & half
    return auc(contrast[rows, space.index(id)], positive[rows])


def _thresholds(
    statements: Sequence[Statement],
    vectors: Vectors,
    fitting: Bools,
    real: Vectors,
    space: PreferenceSpace,
    directions: Axes,
    weights: dict[str, float],
    pass_rate: float,
    band: float,
) -> Thresholds:
    relevance, contrast = real @ directions.relevance.T, real @ directions.contrast.T
    # The background decides what is usual for real comments; statements are all about some trait.
    middle, spread = np.median(relevance, 0), _spread(relevance)
    gate = float(np.quantile((relevance - middle) / spread, 1 - pass_rate))
    centre, width = np.median(contrast, 0), _spread(contrast)
    zeros = _zeros(statements, vectors, fitting, space, directions)
    # A dimension without statements gets its zero where those with statements have theirs on average, in spreads from
    # the median of real comments.
    shift = float(np.mean([(zero - centre[i]) / width[i] for i, zero in zeros.items()])) if zeros else 0.0
    zero = np.array([zeros.get(i, centre[i] + shift * width[i]) for i in range(len(space))])
    table = np.stack([middle, spread, width, zero], 1)
    rows = dict(zip(space.ids, (_entry(row) for row in table), strict=True))
    data = {"gate": round(gate, 4), "band": band, "weights": weights, "pooled": _entry(table.mean(0))}
    return Thresholds.model_validate({**data, "dimensions": rows})


def _entry(row: Floats) -> dict[str, Any]:
    middle, spread, width, zero = (round(float(value), 5) for value in row)
    return {"relevance": (middle, spread), "spread": width, "zero": zero}


def _spread(values: Vectors) -> Floats:
    """A standard deviation that a topical corpus does not inflate: half of the central 68 %."""
    low, high = np.quantile(values, (0.16, 0.84), axis=0)
    return np.asarray((high - low) / 2)


def _zeros(
    statements: Sequence[Statement], vectors: Vectors, fitting: Bools, space: PreferenceSpace, directions: Axes
) -> dict[int, float]:
    contrast = vectors @ directions.contrast.T
    zeros = {}
    for id in sorted({dimension for dimension, _ in TRAITS.values()} & {*space.ids}):
        about, positive = _rows(statements, id)
        rows, i = about & fitting, space.index(id)
        if rows.any():
            zeros[i] = _best_cut(contrast[rows, i], positive[rows])
    return zeros


def _best_cut(scores: Vectors, positive: Bools) -> float:
    """The threshold of the best balanced accuracy."""
    # Every half percent, without the outermost 2 %, in which a cut would separate only a few statements.
    cuts = np.quantile(scores, np.linspace(0.02, 0.98, 193))
    return float(max(cuts, key=lambda cut: balanced_accuracy(scores > cut, positive)))


def _checks(
    statements: Sequence[Statement],
    vectors: Vectors,
    half: Bools,
    space: PreferenceSpace,
    directions: Axes,
    thresholds: Thresholds,
) -> list[TraitCheck]:
    contrast = vectors @ directions.contrast.T
    fitted = columns(thresholds, space.ids)
    levels = read_levels(vectors, directions, fitted, thresholds.gate, thresholds.band)
    traits = np.array([s.trait for s in statements])
    checks = []
    for trait, (id, _) in TRAITS.items():
        if id not in space.ids or not (rows := (traits == trait) & half).any():
            continue
        i, (about, positive) = space.index(id), _rows(statements, id)
        read = levels[:, i]
        decided = rows & (read != 2)
        checks.append(
            TraitCheck(
                trait,
                id,
                int(rows.sum()),
                auc(contrast[rows, i], positive[rows]),
                balanced_accuracy(contrast[rows, i] > fitted[2][i], positive[rows]),
                float((read[rows] != 2).mean()),
                float(((read[decided] == 3) == positive[decided]).mean()) if decided.any() else float("nan"),
                # Statements about other traits say nothing on this dimension, so a level there is an error of the
                # gate.
                float((read[half & ~about] != 2).mean()) if (half & ~about).any() else float("nan"),
            )
        )
    return checks


def auc(scores: Vectors, positive: Bools) -> float:
    """P(score of a positive > score of a negative), ties one half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Equal scores share their mean rank. The sum of the positives' ranks, less its smallest possible value, counts the
    # pairs that a positive wins (Mann-Whitney).
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def balanced_accuracy(predicted: Bools, positive: Bools) -> float:
    """The mean of the recalls of both classes."""
    return float((predicted[positive].mean() + (~predicted[~positive]).mean()) / 2)


def write_thresholds(thresholds: Thresholds, path: Path, about: str) -> None:
    """As YAML, one dimension a line."""
    data = thresholds.model_dump(mode="json") | {"about": about}
    path.write_text(yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=118))


def read_comments(path: Path, n: int) -> list[str]:
    """`n` comments spread evenly over a file of threads (JSON lines, gzip, `responses[{text}]`)."""
    texts = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            responses = json.loads(line)["responses"]
            texts += [text for response in responses if (text := response["text"].strip())]
    return texts[:: max(1, len(texts) // n)][:n]
