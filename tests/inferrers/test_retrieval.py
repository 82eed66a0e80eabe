"""Episodic memory: which items a prompt recalls, and that only they speak."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from persona_rm.backends.base import Backends, Vectors
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.evidence import bare_item
from persona_rm.inferrers.retrieval import Retrieval, RetrievalConfig, recall
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Persona, Ugc


class Words:
    """An encoder: one axis for every word of a short list."""

    axes = ("soup", "office", "tent")

    def encode(self, texts: Sequence[str]) -> Vectors:
        found = np.array([[word in text for word in self.axes] for text in texts], np.float32)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


BACKENDS = Backends(encoder=Words())


def ann(space: PreferenceSpace) -> Persona:
    """Old words about soup, positive on dimension 0; new pairs about the office, negative on it."""
    yes, no = ((way, *space.neutral[1:]) for way in (1, -1))
    ugc = tuple(Ugc("my soup", f"tasty {i}", yes, f"2024-01-0{i + 1}") for i in range(3))
    pairs = tuple(Pair("the office", f"a{i}", "b", no, f"2024-06-0{i + 1}") for i in range(3))
    return Persona("ann", ugc, pairs)


def member(space: PreferenceSpace, backends: Backends = BACKENDS, **config: object) -> Retrieval:
    return Retrieval(RetrievalConfig.model_validate({"items": 3, **config}), space, backends)


@pytest.mark.parametrize(("prompt", "expected"), [("what soup", 1), ("which office", -1), ("", -1)])
def test_the_prompt_decides_who_speaks(space: PreferenceSpace, prompt: str, expected: int) -> None:
    found = member(space, similarity=1.0, recency=0.1).infer(ann(space), prompt)
    assert found.directions[0] == expected
    assert found.n_items == 3


@pytest.mark.parametrize("prompt", ["what soup", "which office", ""])
def test_recency_alone_needs_no_encoder(space: PreferenceSpace, prompt: str) -> None:
    assert member(space, Backends(), similarity=0.0).infer(ann(space), prompt).directions[0] == -1


def test_the_ids_behind_a_direction_are_recalled_items(space: PreferenceSpace) -> None:
    found = member(space, similarity=1.0, recency=0.1).infer(ann(space), "what soup")
    newest_first = [bare_item(item).id for item in ann(space).ugc][::-1]
    assert found.evidence == {0: tuple(newest_first)}


def test_likeness_and_recency_are_weighed(space: PreferenceSpace) -> None:
    """Half a year at a half-life of 30 days is 0.97 of recency: likeness wins above that share, loses below."""
    for similarity, expected in ((0.6, 1), (0.4, -1)):
        made = member(space, similarity=similarity, recency=0.5, half_life=30.0)
        assert made.infer(ann(space), "what soup").directions[0] == expected


def test_undated_items_are_the_oldest(space: PreferenceSpace) -> None:
    undated = Ugc("my soup", "no date", (0, 1, *space.neutral[2:]))
    persona = Persona("ann", (undated, *ann(space).ugc))
    for n, expected in ((3, 0), (4, 1)):
        assert member(space, items=n, rule={"name": "vote"}).infer(persona).directions[1] == expected


def test_without_any_date_ties_go_by_id_whatever_the_order(space: PreferenceSpace) -> None:
    items = [Ugc("my soup", str(i), tuple(int(d == i) for d in range(len(space)))) for i in range(9)]
    found = [member(space).infer(Persona("ann", tuple(row)), "what soup") for row in (items, items[::-1])]
    assert found[0] == found[1]
    assert sum(found[0].directions) == 3
    first = sorted(bare_item(item).id for item in items)[:3]
    assert {ids[0] for ids in found[0].evidence.values()} == set(first)


def test_a_repeated_item_is_recalled_once(space: PreferenceSpace) -> None:
    persona = Persona("ann", ann(space).ugc[:1] * 5)
    assert member(space).infer(persona, "what soup").n_items == 1


def test_what_the_person_wrote_counts_where_asked_for(space: PreferenceSpace) -> None:
    yes, no = ((way, *space.neutral[1:]) for way in (1, -1))
    persona = Persona("ann", (Ugc("look", "a tent", yes), Ugc("see", "that", no), Ugc("hm", "this", no)))
    found = {
        ugc: member(space, items=1, ugc=ugc).infer(persona, "a tent?").directions[0] for ugc in ("prompt", "reply")
    }
    lowest = min(persona.ugc, key=lambda item: bare_item(item).id)
    assert found == {"reply": 1, "prompt": (lowest.directions or (0,))[0]}


@pytest.mark.parametrize("rule", ["vote", "posterior"])
def test_no_evidence_and_one_item(space: PreferenceSpace, rule: str) -> None:
    made = member(space, rule={"name": rule})
    nobody = made.infer(Persona("ann"), "what soup")
    assert nobody.cold
    assert nobody.directions == space.neutral
    assert made.infer(Persona("ann", ann(space).ugc[:1]), "").n_items == 1


def test_a_missing_encoder_is_said(space: PreferenceSpace) -> None:
    with pytest.raises(RecipeError, match="retrieval needs a text encoder"):
        member(space, Backends()).infer(ann(space), "what soup")
    with pytest.raises(RecipeError, match="set similarity to 0"):
        recall(ann(space), "what soup", RetrievalConfig())


def test_an_item_without_directions_is_named(space: PreferenceSpace) -> None:
    with pytest.raises(DataError, match=r"ugc\[0\] carries no directions"):
        member(space).infer(Persona("ann", (Ugc("p", "c"),)), "what soup")


@pytest.mark.parametrize("wrong", [{"items": 0}, {"recency": 0, "similarity": 0}, {"rule": {"name": "golden"}}])
def test_config_is_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetrievalConfig.model_validate(wrong)


@pytest.mark.parametrize("rule", [{"name": "vote", "positive": 0.9}, {"name": "posterior", "gain": 3.0}])
def test_it_is_saved_with_its_rule(space: PreferenceSpace, tmp_path: Path, rule: dict[str, object]) -> None:
    made = member(space, rule=rule)
    made.save(tmp_path)
    again = Retrieval.load(tmp_path, space, BACKENDS)
    assert again.config == made.config
    assert again.rule.config == made.rule.config
    assert again.infer(ann(space), "what soup") == made.infer(ann(space), "what soup")


def test_recall_gives_texts_in_order_of_time(space: PreferenceSpace) -> None:
    persona = ann(space)
    mixed = Persona("ann", persona.ugc[::-1], persona.pairs[::-1], "a demo")
    config = RetrievalConfig(items=4, similarity=1.0, recency=0.1)
    found = recall(mixed, "what soup", config, Words())
    assert found.ugc == persona.ugc
    assert found.pairs == persona.pairs[2:]
    assert (found.user_id, found.demo) == ("ann", "a demo")
    assert recall(mixed, "", config, Words()).pairs == persona.pairs


def test_recall_asks_for_no_annotation() -> None:
    bare = Persona("ann", (Ugc("my soup", "x"), Ugc("the office", "y")))
    assert recall(bare, "soup?", RetrievalConfig(items=1), Words()).ugc == bare.ugc[:1]
    assert recall(Persona("ann"), "soup?", RetrievalConfig(), Words()) == Persona("ann")


def test_it_is_in_the_table() -> None:
    assert INFERRERS.load("retrieval") is Retrieval
    assert Retrieval.by_prompt
