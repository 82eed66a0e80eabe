"""Whom the infer stage infers: stores that know them already, files that change, people of several examples."""

import pytest

from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.evidence import Item
from persona_rm.io.alignx_format import write_examples
from persona_rm.pipeline.stages.infer import population
from persona_rm.pipeline.stages.question_desk import interview_of
from persona_rm.profiles import open_store
from persona_rm.types import Example, Persona, Ugc
from tests.pipeline.stages.infer_samples import infer, real, rows_of, users_file


def test_infer_into_a_store_keeps_what_the_person_answered_and_said_elsewhere(tmp_path, space):
    url = f"sqlite:{tmp_path / 'people.sqlite'}"
    desk = interview_of(infer(tmp_path), "ann", url)
    question, _ = desk.interview.question()
    desk.interview.answer(question, 2)
    said = Item("elsewhere", "ugc", (0, -1, *[0] * (len(space) - 2)))
    desk.interview.tally.add([said])
    desk.save()
    run = infer(tmp_path, users=users_file(tmp_path, space, "ann"), store=url)
    with open_store(url) as store:
        kept = store.get(["ann"])["ann"]
    assert set(kept.payload["answers"]) == {question.id}
    assert len(kept.payload["items"]) == 2
    assert "elsewhere" in kept.payload["items"]
    assert kept.version == 2
    assert rows_of(run)[0]["items"] == 3, "the row is of the same evidence as the state"


def test_a_changed_users_file_is_inferred_again(tmp_path, space):
    infer(tmp_path, users=users_file(tmp_path, space, "ann"))
    run = infer(tmp_path, users=users_file(tmp_path, space, "bob"))
    assert [row["user_id"] for row in rows_of(run)] == ["bob"]
    assert "warning: nothing was inferred: 0 directions for 1 users from 1 items" in run.console.file.getvalue()
    same = infer(tmp_path, users=users_file(tmp_path, space, "bob"))
    assert "done before" in same.console.file.getvalue()


def test_a_users_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"infer\.users: there is no file /nowhere"):
        infer(tmp_path, users="/nowhere")


def test_one_erased_person_leaves_the_store_as_it_was(tmp_path, space):
    url = f"sqlite:{tmp_path / 'people.sqlite'}"
    with open_store(url, create=True) as store:
        store.erase(["bob"])
    with pytest.raises(DataError, match=r"user 'bob' was erased"):
        infer(tmp_path, users=users_file(tmp_path, space, "ann", "bob", "cyd"), store=url)
    with open_store(url) as store:
        assert not list(store.ids())


def test_an_inferrer_without_states_refuses_a_store(tmp_path):
    with pytest.raises(RecipeError, match=r"infer\.store: vote keeps no states"):
        infer(tmp_path, inferrer="vote", store=f"sqlite:{tmp_path / 'people.sqlite'}")
    assert not (tmp_path / "people.sqlite").exists()


def test_a_person_of_several_examples_is_one_row(tmp_path, space):
    recipe, up = real(tmp_path, space, lambda i: Persona("x")), (1, *[0] * (len(space) - 1))
    who = Persona("same", (Ugc("p", "c", up),))
    rows = [Example(f"x{i}", f"p{i}", "good", "bad", up, who, group=f"g{i}") for i in range(3)]
    write_examples(tmp_path / "run" / "build" / "data" / "test-00000.parquet", rows, space)
    assert [row["user_id"] for row in rows_of(infer(tmp_path, {**recipe, "build": {}}))] == ["same"]


def bare_train(folder, space):
    up = (1, *[0] * (len(space) - 1))
    rows = [
        Example(f"x{i}", f"p{i}", "good", "bad", up, Persona(f"u{i}", (Ugc("p", f"c{i}"),)), group=f"g{i}")
        for i in range(24)
    ]
    write_examples(folder / "run" / "build" / "data" / "train-00000.parquet", rows, space)


def test_a_population_whose_items_have_no_directions_is_read_by_the_annotator(tmp_path, space):
    recipe = real(tmp_path, space, lambda i: Persona(f"t{i}"))
    bare_train(tmp_path, space)
    run = infer(tmp_path, {**recipe, "build": {}})
    assert all(item.directions is not None for one in population(run) for item in one.items)


def test_without_an_annotator_text_is_not_taken_for_silence(tmp_path, space):
    recipe = real(tmp_path, space, lambda i: Persona(f"t{i}"))
    bare_train(tmp_path, space)
    with pytest.raises(RecipeError, match="evidence without directions needs an annotator"):
        infer(tmp_path, {**recipe, "annotator": {"name": "given"}, "build": {}})
