"""A latent that collapses says so; the guidance by swapped comparisons keeps it alive; no users, no figures."""

from collections.abc import Sequence

import numpy as np
import pytest

from persona_rm.backends.base import Backends, Vectors
from persona_rm.benchmarks import BENCHMARKS
from persona_rm.errors import ScoreError
from persona_rm.methods import METHODS
from persona_rm.methods.latent_user import Collapse, LatentUserMethod
from persona_rm.simulator.simulated_language import load_language
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Levels


class ExactReader:
    """The true levels of a text of the simulator, as continuous readings."""

    def __init__(self, space: PreferenceSpace) -> None:
        self.language = load_language(space)

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]:
        return [self.language.read_levels(text) for text in texts]

    def contrasts(self, prompts: Sequence[str], texts: Sequence[str]) -> Vectors:
        return np.array(self.levels(prompts, texts), np.float32) - 2


@pytest.fixture(scope="module")
def clusters(space: PreferenceSpace) -> list[Comparison]:
    simulator = {"kind": "clusters", "users": 60, "test_users": 2, "posts": 120}
    cls, config = BENCHMARKS.member({"name": "simulator", "judged": 20, "simulator": simulator})
    rows: list[Comparison] = cls(config, space).comparisons()
    return rows


def fitted(name: str, rows: list[Comparison], space: PreferenceSpace, **config: float) -> LatentUserMethod:
    cls, checked = METHODS.member({"name": name, "features": ["contrasts"], "l2": 0.01, **config})
    method: LatentUserMethod = cls(checked, space, Backends(reader=ExactReader(space)))
    method.fit(rows)
    return method


def test_a_strong_prior_collapses_and_the_figures_say_so(clusters: list[Comparison], space: PreferenceSpace) -> None:
    collapsed = fitted("vpl", clusters, space, kl=1.0, updates=150, rate=0.01).collapse
    guided = fitted("spl", clusters, space, kl=1.0, updates=150, rate=0.01).collapse
    assert collapsed.active == 0
    assert collapsed.kl < 0.1
    assert guided.active > 0
    assert guided.kl > 0.5
    # The latent of a user who chose the opposite everywhere points the other way.
    assert guided.swap < -0.5 < collapsed.swap


def test_under_a_moderate_prior_guidance_keeps_four_units_in_five_active(
    clusters: list[Comparison], space: PreferenceSpace
) -> None:
    plain, guided = (fitted(name, clusters, space, kl=0.1, updates=150, rate=0.01).collapse for name in ("vpl", "spl"))
    assert guided.active > 0.8 > plain.active


def test_one_user_leaves_nothing_to_measure(space: PreferenceSpace) -> None:
    method = fitted("vpl", [Comparison("u", "p", "a", "b")], space)
    with pytest.raises(ScoreError, match="no latent to measure"):
        assert isinstance(method.collapse, Collapse)
