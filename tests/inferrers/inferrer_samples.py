"""Small spaces, known models and people drawn from them."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from persona_rm.backends.base import Backends, Generation
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.evidence import Item
from persona_rm.inferrers.model import EvidenceCounts, PreferenceModel
from persona_rm.space import PreferenceSpace
from persona_rm.space.space import Dimension, Pole
from persona_rm.types import Pair, Persona, Ugc

SOURCES = ("ugc", "pair")
CLEAR = np.array([[0.50, 0.45, 0.05], [0.10, 0.80, 0.10], [0.05, 0.45, 0.50]])
DULL = np.array([[0.35, 0.55, 0.10], [0.15, 0.70, 0.15], [0.10, 0.55, 0.35]])
LEANING = np.array([0.70, 0.20, 0.10])
"""A class that mostly holds the negative pole."""


def toy_space(size=6):
    """Dimensions d0, d1, ... with poles that a prompt could name."""
    dimensions = [
        Dimension(f"d{i}", f"d{i}", "simulator", f"d{i}?", *(_pole(f"{side} d{i}") for side in ("High", "Low")))
        for i in range(size)
    ]
    return PreferenceSpace("simulator", tuple(dimensions))


def _pole(label):
    return Pole(answer=label.split()[0], label=label, wording=label, descriptions=(label,) * 3)


def make(name, space, backends=None, **config):
    """A member of the zoo with this config."""
    member = INFERRERS.load(name)
    settings = member.Config(**config)
    return member(settings, space) if backends is None else member(settings, space, backends)


def item(id_, *votes, size=6, source="ugc", created=None):
    """An item with these first votes, silent on the other dimensions."""
    return Item(str(id_), source, (votes + (0,) * size)[:size], created)


def person(*votes, size=6, user="ann"):
    """UGC and pairs in turn, of different texts, each with these first votes."""
    filled = [(each + (0,) * size)[:size] for each in votes]
    ugc = tuple(Ugc(f"prompt {i}", f"comment {i}", v) for i, v in enumerate(filled) if i % 2 == 0)
    pairs = tuple(Pair(f"prompt {i}", f"this {i}", f"that {i}", v) for i, v in enumerate(filled) if i % 2)
    return Persona(user, ugc, pairs)


def random_model(dimensions, classes, sources, seed=0):
    """Any model at all: rows drawn evenly."""
    rng = np.random.default_rng(seed)
    names = tuple(f"s{i}" for i in range(sources))
    tables, priors = (rng.dirichlet(np.ones(3), size) for size in ((sources, dimensions, 3), (classes, dimensions)))
    return PreferenceModel(names, tables, priors, rng.dirichlet(np.ones(classes)))


def known_model(classes=1, size=6):
    """Two sources, one clearer than the other. With two classes one leans negative, the other positive."""
    tables = np.stack([np.tile(table, (size, 1, 1)) for table in (CLEAR, DULL)])
    if classes == 1:
        rows = np.tile([[0.20, 0.55, 0.25], [0.10, 0.60, 0.30]], (size // 2, 1))
        return PreferenceModel(SOURCES, tables, rows[None], np.ones(1))
    turned = [np.tile(rows, (size, 1)) for rows in (LEANING, LEANING[::-1])]
    return PreferenceModel(SOURCES, tables, np.stack(turned), np.array([0.4, 0.6]))


@dataclass(frozen=True)
class Drawn:
    """`truth` (n, D), `members` (n,), `votes` (n, S, I, D): I items of each source."""

    truth: np.ndarray
    members: np.ndarray
    votes: np.ndarray

    @property
    def counts(self):
        told = np.stack([(self.votes == way).sum(2) for way in (-1, 1)], -1).astype(float)
        return EvidenceCounts(told, np.full(self.votes.shape[:2], float(self.votes.shape[2])))

    def personas(self, labels=True):
        """As records: source 0 is UGC, source 1 pairs."""
        return [self._persona(i, labels) for i in range(len(self.truth))]

    def _persona(self, i, labels):
        ugc, pairs = ([tuple(map(int, row)) for row in source] for source in self.votes[i])
        return Persona(
            f"user{i}",
            tuple(Ugc("p", f"{i} wrote {j}", votes) for j, votes in enumerate(ugc)),
            tuple(Pair("p", f"{i} chose {j}", f"{i} left {j}", votes) for j, votes in enumerate(pairs)),
            directions=tuple(map(int, self.truth[i])) if labels else None,
        )


def draw(model, n, items=8, seed=0):
    """People of a model, `items` items of each source."""
    rng = np.random.default_rng(seed)
    members = rng.choice(len(model.shares), n, p=model.shares)
    truth = _pick(rng, model.classes[members])
    rows = np.stack([model.tables[:, d][:, truth[:, d]] for d in range(model.size)], 2).transpose(1, 0, 2, 3)
    votes = _pick(rng, np.repeat(rows[:, :, None], items, 2)) - 1
    return Drawn(truth - 1, members, votes)


def _pick(rng, p):
    """One of three by P (..., 3)."""
    return (rng.random(p.shape[:-1])[..., None] > p.cumsum(-1)[..., :-1]).sum(-1)


def one(votes):
    """Counts of one person from votes (S, I, D)."""
    votes = np.asarray(votes)
    told = np.stack([(votes == way).sum(1) for way in (-1, 1)], -1).astype(float)
    return EvidenceCounts(told[None], np.full((1, len(votes)), float(votes.shape[1])))


def _rng(text):
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


class Hashed:
    """An encoder, an annotator and a language model: what each answers depends on the hash of the text alone."""

    def __init__(self, space):
        self.space = space

    def encode(self, texts):
        vectors = np.array([_rng(text).normal(size=16) for text in texts], np.float32).reshape(len(texts), 16)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def levels(self, prompts, texts):
        rows = [_rng(text).choice([1, 2, 3], p=[0.1, 0.6, 0.3], size=len(self.space)) for text in texts]
        return [tuple(row.tolist()) for row in rows]

    def generate(self, prompts, *, max_tokens, schema=None, choices=None):
        return [Generation(self._labels(prompt) if schema else f"Profile {prompt[-40:]}") for prompt in prompts]

    def _labels(self, prompt):
        sides = _rng(prompt).choice([-1, 0, 1], p=[0.1, 0.8, 0.1], size=len(self.space))
        poles = [d.pole(int(side)) for d, side in zip(self.space.dimensions, sides, strict=True)]
        return json.dumps({"labels": [pole.label for pole in poles if pole]})


def toy_backends(space):
    """Everything that an inferrer may ask for, without weights."""
    toy = Hashed(space)
    return Backends(encoder=toy, reader=toy, generator=toy)
