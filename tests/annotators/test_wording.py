"""The prompts: what they share, what they hold, and what they do with a user's braces and length."""

import pytest
import yaml

from persona_rm.annotators.wording import PACKAGED, asker, read_wording, schema
from persona_rm.errors import DataError
from persona_rm.space import Dimension, Pole, PreferenceSpace

FILE = read_wording(PACKAGED)
FORMS = ("questions", "json", "compact")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", [0, 1])
def test_a_wording_covers_the_space_and_its_codes_are_one_to_one(space, form, variant):
    way = asker(FILE, form, space, variant, examples=True)
    prompts = way.prompts("the post", "the comment")
    assert len(prompts) == (90 if form == "questions" else 1)
    assert len({*prompts}) == len(prompts)
    codes = way.wording.codes
    assert sorted(codes.values()) == ([1, 2, 3] if form == "questions" else [1, 3])


@pytest.mark.parametrize("form", FORMS)
def test_the_two_variants_map_the_same_code_to_different_levels(form):
    first, second = {"questions": FILE.questions, "json": FILE.json_, "compact": FILE.compact}[form]
    assert [first.codes[code] for code in first.codes] != [second.codes[code] for code in first.codes]


def test_the_question_is_the_papers_with_its_options(space):
    way = asker(FILE, "questions", space, 0, examples=False)
    prompt = way.prompts("P?", "C.")[space.index("neuroticism")]
    assert prompt.endswith(
        "Query:\n\nP?\n\nComment:\n\nC.\n\nTask:\n\nWhat does this comment suggest about the commenter's "
        "Neuroticism in the Big Five personality traits? (1) High Neuroticism (2) Low Neuroticism "
        "(3) Comments alone cannot reflect\n\nResponse:\n\n"
    )


def test_the_prompts_of_a_comment_are_one_text_up_to_the_task(space):
    way = asker(FILE, "questions", space, 0, examples=True)
    prompts = way.prompts("the post", "the comment")
    common = way.opening + "Query:\n\nthe post\n\nComment:\n\nthe comment\n\n"
    assert all(prompt.startswith(common + "Task:") for prompt in prompts)


@pytest.mark.parametrize("form", ["json", "compact"])
def test_the_list_of_dimensions_stands_before_the_text_and_is_the_same_for_all(space, form):
    way = asker(FILE, form, space, 0, examples=True)
    (one,), (other,) = way.prompts("post A", "comment A"), way.prompts("post B", "comment B")
    assert one.startswith(way.opening)
    assert other.startswith(way.opening)
    assert all(dimension.positive.label in way.opening for dimension in space.dimensions)
    assert "\n90. " in way.opening


def test_examples_say_what_their_levels_are(space):
    number = space.index("likes_music") + 1
    listed = asker(FILE, "json", space, 0, examples=True).opening
    assert f'"{number}":3' in listed
    assert f'"{number}":1' in listed
    assert f",{number}]" in (compact := asker(FILE, "compact", space, 0, examples=True).opening)
    assert f"-{number}]" in compact
    assert f",-{number}]" in asker(FILE, "compact", space, 1, examples=True).opening
    asked = asker(FILE, "questions", space, 0, examples=True).opening
    assert asked.count("Response:\n\n3\n") == 2
    assert "Example 1:" in asked
    assert "Example" not in asker(FILE, "questions", space, 0, examples=False).opening


def test_every_example_is_about_dimensions_of_the_packaged_space(space):
    assert {id for example in FILE.examples for id in example.levels} <= {*space.ids}


def test_a_space_without_numbered_options_gets_them_and_no_example_of_another():
    pole = {"wording": "w", "descriptions": ("a", "b", "c")}
    own = Dimension(
        "chess", "chess", "x", "Chess?", Pole("Yes", "Plays chess", **pole), Pole("No", "No chess", **pole)
    )
    way = asker(FILE, "questions", PreferenceSpace("own", (own,)), 0, examples=True)
    assert way.tasks == ("Task:\n\nChess? (1) Yes (2) No (3) Comments alone cannot reflect\n\nResponse:\n\n",)
    assert "Example" not in way.opening


def test_a_brace_of_a_user_stays_a_brace(space):
    (prompt,) = asker(FILE, "json", space, 0, examples=False).prompts("{comment} {dimensions} {x}", "{post}")
    assert "{comment} {dimensions} {x}" in prompt
    assert "\n\n{post}\n\n" in prompt


def test_a_schema_allows_exactly_what_parses():
    found = schema("json", ["3", "1"], 2)
    assert found["properties"] == {str(n): {"type": "integer", "enum": [1, 3]} for n in (1, 2)}
    assert found["additionalProperties"] is False
    assert schema("compact", ["+", "-"], 2)["items"]["enum"] == [1, 2, -1, -2]


def test_a_wording_of_ones_own(tmp_path):
    data = yaml.safe_load(PACKAGED.read_text())
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(data))
    assert read_wording(tmp_path / "w.yaml") == FILE
    data["questions"][0]["codes"]["1"] = 4
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(DataError, match="no wording of annotation prompts"):
        read_wording(tmp_path / "w.yaml")
    with pytest.raises(DataError, match="no wording here"):
        read_wording(tmp_path / "none.yaml")
