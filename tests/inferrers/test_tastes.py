"""Several tastes in one person: found where they are, not where they are not, and chosen by the prompt."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest

from persona_rm.backends.base import Backends, Vectors
from persona_rm.backends.minilm import MiniLM
from persona_rm.benchmarks.figures import mean_figure
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.lens import fit_lens
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.inferrers.tastes import LENS, Tastes, TastesConfig
from persona_rm.simulator.simulator import Choice, Simulator, SimulatorConfig
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Persona, Ugc

TOPICS = ("soup", "office", "tent", "piano")


class Words:
    """An encoder: an axis for every topic, and louder ones for how a question is put."""

    axes = (*TOPICS, "why", "how", "where")
    loud = np.array([1.0] * len(TOPICS) + [1.5] * 3, np.float32)

    def encode(self, texts: Sequence[str]) -> Vectors:
        found = np.array([[word in text for word in self.axes] for text in texts], np.float32) * self.loud
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


BACKENDS = Backends(encoder=Words())


def made(space: PreferenceSpace, **config: object) -> Tastes:
    return Tastes(TastesConfig.model_validate(config), space, BACKENDS)


def votes(space: PreferenceSpace, likes: Sequence[int], rng: Random) -> tuple[int, ...]:
    said = set(rng.sample(likes, 3))
    return tuple(int(d in said) for d in range(len(space)))


def person(
    space: PreferenceSpace, tastes: Sequence[Sequence[int]], n: int = 32, seed: int = 0, topics=TOPICS
) -> Persona:
    """`n` items; every topic belongs to one of the tastes, which are sets of liked dimensions."""
    rng = Random(f"{seed}/{tastes}")
    ugc = []
    for i in range(n):
        topic = i % len(topics)
        prompt = f"{rng.choice(('why', 'how', 'where'))} {topics[topic]} {i}"
        ugc.append(Ugc(prompt, "x", votes(space, tastes[topic % len(tastes)], rng), f"2024-01-{i % 28 + 1:02d}"))
    return Persona(f"p{seed}", tuple(ugc))


TWO = ((0, 1, 2, 3, 4, 5), (10, 11, 12, 13, 14, 15))
ONE = ((0, 1, 2, 3, 4, 5),)


def test_two_tastes_are_found_and_the_prompt_chooses(space: PreferenceSpace) -> None:
    inferrer, persona = made(space), person(space, TWO)
    assert len(inferrer.mixture(persona)) == 2
    for topic, likes in (("soup", TWO[0]), ("office", TWO[1]), ("tent", TWO[0]), ("piano", TWO[1])):
        found = inferrer.infer(persona, topic)
        spoken = {dim for dim, direction in enumerate(found.directions) if direction}
        assert spoken == set(likes), topic
        prompts = {item.id: item for item in inferrer.items(persona)}
        assert all(prompts[id_].votes[dim] == 1 for dim, ids in found.evidence.items() for id_ in ids)


def test_mixture_gives_shares_and_probabilities(space: PreferenceSpace) -> None:
    found = made(space).mixture(person(space, TWO, 30))
    assert sum(share for share, _ in found) == pytest.approx(1)
    assert found[0][0] >= found[1][0]
    assert all(p.shape == (len(space), 3) and np.allclose(p.sum(-1), 1) for _, p in found)


@pytest.mark.parametrize("seed", range(3))
def test_one_taste_stays_one_and_answers_like_the_posterior(space: PreferenceSpace, seed: int) -> None:
    inferrer, persona = made(space), person(space, ONE, seed=seed)
    assert len(inferrer.mixture(persona)) == 1
    assert inferrer.infer(persona, "soup") == PosteriorInferrer(PosteriorConfig(), space).infer(persona)


def test_an_impossible_penalty_keeps_one(space: PreferenceSpace) -> None:
    assert len(made(space, penalty=1e6).mixture(person(space, TWO))) == 1


def test_as_many_as_are_paid_for(space: PreferenceSpace) -> None:
    three = (*TWO, (20, 21, 22, 23, 24, 25))
    persona = person(space, three, 48, topics=TOPICS[:3])
    assert [len(made(space, most=most).mixture(persona)) for most in (1, 2, 5)] == [1, 2, 3]


def test_a_prompt_that_does_not_tell_is_answered_by_the_one_vector(space: PreferenceSpace) -> None:
    inferrer, persona = made(space, sure=0.9), person(space, TWO)
    assert inferrer.infer(persona, "nothing known") == inferrer.posterior.infer(persona)


def test_without_a_prompt_tastes_have_their_shares(space: PreferenceSpace) -> None:
    inferrer, persona = made(space), person(space, TWO)
    expected = sum(share * p for share, p in inferrer.mixture(persona))
    found = inferrer.infer(persona)
    assert np.allclose(found.probabilities, expected)
    assert inferrer.infer_many([persona]) == [found]


def test_the_order_of_items_does_not_matter(space: PreferenceSpace) -> None:
    persona = person(space, TWO)
    turned = Persona("p0", persona.ugc[::-1])
    assert made(space).infer(persona, "soup") == made(space).infer(turned, "soup")


def test_no_evidence_is_the_prior(space: PreferenceSpace) -> None:
    for prompt in ("", "soup"):
        found = made(space).infer(Persona("ann"), prompt)
        assert found.cold
        assert found.directions == space.neutral
    assert [share for share, _ in made(space).mixture(Persona("ann"))] == [1.0]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_items_are_one_taste(space: PreferenceSpace, n: int) -> None:
    persona = person(space, TWO, n)
    found = made(space).infer(persona, "soup")
    assert found == PosteriorInferrer(PosteriorConfig(), space).infer(persona)
    assert found.n_items == n


def test_everything_in_one_context(space: PreferenceSpace) -> None:
    persona = person(space, TWO)
    same = Persona("ann", tuple(Ugc("soup", str(i), item.directions) for i, item in enumerate(persona.ugc)))
    inferrer = made(space)
    assert inferrer.infer(same, "soup") == inferrer.posterior.infer(same)


def test_items_without_dates_or_prompts_count(space: PreferenceSpace) -> None:
    rng = Random(0)
    ugc = tuple(Ugc("", str(i), votes(space, TWO[0], rng)) for i in range(4))
    pairs = tuple(Pair("soup", str(i), "b", votes(space, TWO[0], rng)) for i in range(4))
    inferrer = made(space, posterior={"half_life": 30.0})
    assert inferrer.infer(Persona("ann", ugc, pairs), "soup").n_items == 8
    assert inferrer.infer(Persona("ann", ugc), "soup").n_items == 4


def test_a_missing_encoder_is_said(space: PreferenceSpace) -> None:
    bare = Tastes(TastesConfig(), space)
    for call in (lambda: bare.infer(person(space, TWO), "soup"), lambda: bare.fit([person(space, TWO)] * 10)):
        with pytest.raises(RecipeError, match="tastes needs a text encoder"):
            call()
    alone = Tastes(TastesConfig(most=1), space)
    assert alone.infer(person(space, TWO), "soup") == alone.posterior.infer(person(space, TWO))


def test_fit_learns_a_lens_that_is_saved(space: PreferenceSpace, tmp_path: Path) -> None:
    rng = Random(1)
    people = []
    for seed in range(60):
        likes = rng.sample(range(40), 12)
        people.append(person(space, (likes[:6], likes[6:]), seed=seed, topics=rng.sample(TOPICS, 4)))
    inferrer = made(space, posterior={"classes": (1,)})
    inferrer.fit(people)
    assert inferrer.lens is not None
    soup, office, asked = inferrer.lens(Words().encode(["why soup", "why office", "how soup"]).astype(float))
    assert soup @ asked > soup @ office
    inferrer.save(tmp_path)
    again = Tastes.load(tmp_path, space, BACKENDS)
    assert again.infer(people[0], "soup") == inferrer.infer(people[0], "soup")
    (tmp_path / LENS).write_bytes(b"odd")
    with pytest.raises(DataError, match="not the lens of tastes"):
        Tastes.load(tmp_path, space, BACKENDS)


def test_chance_gives_no_lens() -> None:
    rng = np.random.default_rng(0)
    contexts = [rng.normal(size=(20, 12)) for _ in range(60)]
    parts = [np.eye(2)[rng.integers(0, 2, 20)] for _ in contexts]
    found = fit_lens(contexts, parts, 12)
    assert found is None or found.view.shape[1] <= 2


def test_too_few_people_are_refused(space: PreferenceSpace) -> None:
    with pytest.raises(DataError, match="10 or more"):
        made(space).fit([person(space, TWO)] * 3)


def test_it_is_in_the_table() -> None:
    assert INFERRERS.load("tastes") is Tastes
    assert Tastes.by_prompt


def right(directions: Sequence[int], choice: Choice) -> float:
    """1 where the linear reward of true levels prefers what was chosen, 0.5 on a tie."""
    chosen, rejected = (np.array(one.levels) for one in (choice.chosen, choice.rejected))
    return float((np.sign(np.array(directions) @ (chosen - rejected)) + 1) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plural", "independent"])
def test_two_tastes_beat_one_vector_where_there_are_two_and_lose_nothing_elsewhere(
    space: PreferenceSpace, kind: str
) -> None:
    """Fitted without labels on train people; choices of test people, 16 + 16 items, in pairs by person."""
    people = 280 if kind == "plural" else 80
    world = Simulator(SimulatorConfig.model_validate({"kind": kind, "users": people}), space)
    inferrer = Tastes(TastesConfig(), space, Backends(encoder=MiniLM()))
    inferrer.fit([world.persona(one, "train").with_directions(None) for one in world.users("train")])
    evidence = {one.id: world.persona(one, "test") for one in world.users("test")}
    gains, who = [], []
    for choice in world.choices(8):
        persona = evidence[choice.user.id]
        if choice.post.text in {item.prompt for item in persona.items}:
            continue
        one, two = inferrer.posterior.infer(persona), inferrer.infer(persona, choice.post.text)
        gains.append(right(two.directions, choice) - right(one.directions, choice))
        who.append(choice.user.id)
    found = mean_figure("gain", np.array(gains), who)
    assert found.low > (0 if kind == "plural" else -0.005), found
