"""Rows for the host: the person in the prompt, by drawn items or by directions."""

import json
from dataclasses import replace
from random import Random

import pytest

from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.vote import VoteConfig, VoteInferrer
from persona_rm.pipeline.members import model_folder
from persona_rm.pipeline.stages.dpo_rows import dpo_rows, draw_items, held_out, profile, write_dpo_rows
from persona_rm.recipe import DpoConfig, Recipe
from persona_rm.types import Example, Pair, Persona, Ugc


def example(space, n=3):
    up = tuple(int(i == 0) for i in range(len(space)))
    ugc = tuple(Ugc(f"post {i}", f"said {i}", up) for i in range(n))
    pairs = tuple(Pair(f"post {i}", f"yes {i}", f"no {i}", up) for i in range(n))
    return Example("e", "what?", "good", "bad", up, Persona("u", ugc, pairs), group="g")


def test_pba_rows_name_the_directions_and_ica_rows_show_the_items(space):
    rows = {
        kind: next(dpo_rows(Recipe(name="a"), DpoConfig(method={"name": kind}, rows=1), [example(space)]))
        for kind in ("pba", "ica")
    }
    assert space.dimensions[0].positive.label in rows["pba"]["prompt"]
    assert "said" in rows["ica"]["prompt"] or "yes" in rows["ica"]["prompt"]
    assert (rows["ica"]["chosen"], rows["ica"]["rejected"]) == ("good", "bad")


def test_there_are_as_many_rows_as_asked_and_the_same_every_time(space):
    config = DpoConfig(method={"name": "ica"}, rows=7)
    rows = list(dpo_rows(Recipe(name="a"), config, [example(space)]))
    assert len(rows) == 7
    assert rows == list(dpo_rows(Recipe(name="a"), config, [example(space)]))
    assert len({row["prompt"] for row in rows}) > 1


def test_rows_that_the_host_would_cut_are_kept_aside_and_counted(space, tmp_path):
    short, recipe = example(space), Recipe(name="a")
    long = replace(short, id="l", chosen="very long " * 400)
    config = DpoConfig(method={"name": "pba"}, rows=4, args={"data.max_len": 256})
    out, base = tmp_path / "rows.jsonl", model_folder(recipe.model)
    assert write_dpo_rows(recipe, config, [short, long], base, out) == (2, 2)
    assert [json.loads(line)["chosen"] for line in out.read_text().splitlines()] == ["good", "good"]
    aside = (tmp_path / "rows_too_long.jsonl").read_text().splitlines()
    assert [json.loads(line)["chosen"] for line in aside] == [long.chosen] * 2
    with pytest.raises(DataError, match=r"each of 4 rows has more than data\.max_len = 256 tokens"):
        write_dpo_rows(recipe, config, [long], base, out)


def test_no_example_is_an_error():
    with pytest.raises(DataError, match="no example to train on"):
        next(dpo_rows(Recipe(name="a"), DpoConfig(method={"name": "pba"}), []))


def test_every_other_mirrored_row_is_for_somebody_of_the_opposite_views(space):
    config = DpoConfig(method={"name": "pba"}, rows=4, mirror=True)
    rows = list(dpo_rows(Recipe(name="a"), config, [example(space)]))
    assert len(rows) == 4
    for row, mirrored in (rows[:2], rows[2:]):
        assert (mirrored["chosen"], mirrored["rejected"]) == (row["rejected"], row["chosen"])
        told, opposite = (
            space.parse(one["prompt"].split("Preferences***")[1].split("***")[0].strip()) for one in (row, mirrored)
        )
        shown = [dim for dim, sign in enumerate(example(space).directions) if sign and told[dim]]
        assert shown
        assert all(opposite[dim] == -told[dim] for dim in shown)
        assert all(opposite[dim] == told[dim] for dim in range(len(space)) if dim not in shown)


def test_rows_that_show_no_directions_are_mirrored_with_items_of_somebody_who_chooses_the_other_response(space):
    config = DpoConfig(method={"name": "ica"}, rows=4, mirror=True)
    alone = replace(example(space), id="alone", group="nobody chose otherwise here")
    other = example(space)
    items = Persona("v", (Ugc("post", "the contrary", tuple(-d for d in other.directions)),))
    other = replace(other, id="o", chosen="bad", rejected="good", persona=items)
    rows = list(dpo_rows(Recipe(name="a"), config, [alone, example(space)], [other]))
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("good", "bad"), ("bad", "good")] * 2
    assert ["the contrary" in row["prompt"] for row in rows] == [False, True] * 2
    for mirrored in ([], [replace(other, group="another post")]):
        with pytest.raises(RecipeError, match=r"mirror.*build\.mirror"):
            list(dpo_rows(Recipe(name="a"), config, [example(space)], mirrored))


def test_a_profile_names_some_of_the_pair_and_what_the_items_say_about_the_rest(space):
    rule = VoteInferrer(VoteConfig(), space)
    pair, items = (1, -1, 1, 0, 0, 0), [(-1, 0, 0, 1, -1, 1), (0, 0, 0, 1, 1, 0), None]
    found = {profile(pair, items, rule, Random(seed)) for seed in range(60)}
    assert {row[3:] for row in found} == {(1, 0, 1)}
    assert {row[:3] for row in found} == {
        (a, b, c) for a in (0, 1) for b in (0, -1) for c in (0, 1) if (a, b, c) != (0, 0, 0)
    }
    assert profile((0, 0), [], rule, Random(0)) == (0, 0)


def test_some_item_is_drawn_where_there_is_one(space):
    persona = example(space).persona
    for seed in range(40):
        drawn = draw_items(persona, 2, Random(seed))
        assert 1 <= drawn.n_items <= 4
        assert set(drawn.ugc) <= set(persona.ugc)


def test_posts_are_held_out_by_post(space):
    rows = [Example(str(i), "p", "a", "b", (), Persona("u"), group=f"g{i // 2}") for i in range(2000)]
    sides = {row.group: held_out(row) for row in rows}
    assert all(held_out(row) == sides[row.group] for row in rows)
    assert 20 < sum(sides.values()) < 90
