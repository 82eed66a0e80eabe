"""A tiny embedded world to evaluate inferred directions on, and toys in the place of models."""

import io
from importlib import import_module

import numpy as np
from rich.console import Console

from persona_rm.backends.base import Backends
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.io.alignx_format import write_examples
from persona_rm.methods import METHODS
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.studies import study
from persona_rm.recipe import Recipe
from persona_rm.simulator.simulator import Simulator, SimulatorConfig
from persona_rm.types import Example, Persona

# modules of the same name as the function in them
ALIGNMENT, TASTES = (import_module(f"persona_rm.pipeline.studies.{name}") for name in ("alignment", "tastes_study"))
SOURCE = {"name": "simulator", "users": 40, "test_users": 14, "posts": 60, "overclaim": [0.02, 0.3]}
POSTERIOR = {"name": "posterior", "classes": [1, 2]}
SMALL = {
    "items": 4, "history": (0, 4), "per_user": 2, "choices": 3, "asked_users": 8, "questions": 4, "bank": 60,
    "resamples": 60, "populations": ("low_rank", "independent"),
}  # fmt: skip

FEW = {"infer": {"inferrer": POSTERIOR, "population": 10, "items": 4}, "inference": {**SMALL, "asked_users": 3}}


def run_of(folder, **recipe):
    plan = Recipe(**{
        "name": "a", "source": SOURCE, "out": str(folder / "run"), "inference": SMALL,
        "infer": {"inferrer": POSTERIOR, "population": 40, "items": 8}, "build": {}, **recipe,
    })  # fmt: skip
    return RunFolder(plan, plan.folder, Console(file=io.StringIO(), width=200))


def study_of(run):
    return study.Study(run, run.recipe.inference, run.recipe.infer.inferrer)


def build(run, space):
    """Annotated pairs of the training side, as construction would leave them."""
    simulator = Simulator(SimulatorConfig(**{key: value for key, value in SOURCE.items() if key != "name"}), space)
    examples, users = [], simulator.users("train")
    for i, post in enumerate(simulator.posts("train")[:40]):
        one, two = (simulator.reply(users[(i + k) % len(users)], post, "train") for k in (0, 1))
        between = tuple((a > b) - (a < b) for a, b in zip(one.levels, two.levels, strict=True))
        examples.append(Example(f"e{i}", post.text, one.text, two.text, between, Persona(users[i].id), group=post.id))
    data = run.recipe.build_folder / "data"
    data.mkdir(parents=True)
    write_examples(data / "train-00000.parquet", examples, space)


def study_with_pairs(folder, space):
    """A study of which nothing was asked yet."""
    run = run_of(folder)
    build(run, space)
    return study_of(run)


class Told(Inferrer):
    """Says what it was told to, and counts how often it is asked and with which prompts."""

    name = "told"

    def __init__(self, space, directions, by_prompt=False):
        super().__init__(self.Config(), space)
        self.directions, self.by_prompt, self.asked = directions, by_prompt, []

    def read(self, items, persona, prompt):
        self.asked.append((persona.user_id, len(items), prompt, persona.directions))
        return Posterior(tuple((0.1, 0.8, 0.1) for _ in self.space.ids), self.directions, {}, len(items))


class Meanings:
    """An encoder for which texts that begin alike mean the same."""

    def encode(self, texts):
        rows = [np.random.default_rng(list(text[:12].encode())).normal(size=8) for text in texts]
        vectors = np.array(rows, np.float32).reshape(len(texts), 8)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Truth:
    """An annotator that reads the world's language without error."""

    def __init__(self, language):
        self.language = language

    def levels(self, prompts, texts):
        return [self.language.read_levels(text) for text in texts]


def hand_toys(monkeypatch, small):
    """In the place of the text encoder and the trained policy: toys that load nothing."""
    backends = Backends(encoder=Meanings(), reader=Truth(small.simulator.language))
    for module in (study, ALIGNMENT):
        monkeypatch.setattr(module, "backends_of", lambda recipe: backends)
    linear = METHODS.load("pba_linear")
    monkeypatch.setattr(ALIGNMENT, "method_of", lambda *_: linear(linear.Config(), small.space, backends))
