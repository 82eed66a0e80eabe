"""The rows of a user check: which of them decide, and what each is called in tables and pictures."""

from collections.abc import Mapping

from persona_rm.benchmarks.figures import Figure

DIFFERENCES = ("gain", "own_minus_swapped")
DECIDING = ("pooled", "longer", "personal", "shuffled", *DIFFERENCES)
"""The figures that the verdict rests on, in the order in which they are shown."""
LABELS = {
    "pooled": "pooled reward, the same for all users",
    "longer": "the longer response wins",
    "personal": "personal reward, the user's own state",
    "shuffled": "personal reward, another user's state",
    "gain": "personal minus pooled",
    "own_minus_swapped": "personal minus another user's",
    "pooled_encoder": "pooled reward, encoder without surface features",
    "pba_linear": "pba_linear, directions read by an annotator",
}


def deciding(figures: Mapping[str, Figure]) -> list[Figure]:
    """The figures that decide, as far as they were measured."""
    return [figures[name] for name in DECIDING if name in figures]


def label_of(name: str) -> str:
    """The words for a figure, such as `k2.personal`: new users who gave two comparisons."""
    k, _, what = name.rpartition(".")
    words = LABELS.get(what, what)
    return f"{words}; new users, history of {k.removeprefix('k')} comparisons" if k else words


def is_difference(figure: Figure) -> bool:
    """True for a difference of two accuracies, which is compared with 0; an accuracy is compared with one half."""
    return figure.name.rpartition(".")[2] in DIFFERENCES
