"""The space as data: order, poles, labels; describing and parsing; spaces that a team brings."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from persona_rm.errors import DataError, UnknownName
from persona_rm.space import PreferenceSpace, load_space, table

POLE = {"answer": "a", "label": "L", "wording": "w", "descriptions": ["x", "y", "z"]}
FUNNY = """
name: team
extends: alignx90
dimensions:
  - {id: humor_style, name: Humor, template: value, topic: humor,
     positive: {wording: values humor, descriptions: [Make me laugh., That was funny., I joke a lot.]},
     negative: {wording: does not value humor, descriptions: [No jokes., Be serious., Not funny.]}}
  - {id: pragmatism, name: Pragmatism, template: value, topic: pragmatism,
     positive: {wording: values what works, descriptions: [Be practical., Just fix it., Use what works.]},
     negative: {wording: does not value what works, descriptions: [Theory first., Ideals matter., Keep it pure.]}}
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_paper_s_order_and_sources(space: PreferenceSpace) -> None:
    assert len(space) == len(set(space.ids)) == 90
    assert [dimension.source for dimension in space.dimensions] == (
        ["psychology"] * 40 + ["alignment"] * 7 + ["interest"] * 43
    )
    assert space.ids[:7] == (
        *("age", "gender", "neuroticism", "extraversion", "openness"),
        *("agreeableness", "conscientiousness"),
    )
    assert space.ids[39:48] == (
        *("need_play", "harmlessness", "instruction_following", "honesty", "truthfulness", "helpfulness"),
        *("coherence", "complexity", "likes_science"),
    )
    assert space.ids[-1] == "likes_fashion"
    assert all(space.index(id_) == place for place, id_ in enumerate(space.ids))


@pytest.mark.parametrize(
    ("id_", "positive", "negative"),
    [
        ("age", "Young", "Older"),
        ("gender", "Female", "Male"),
        ("communication_style", "Concise communication style", "Detailed communication style"),
        ("work_environment", "Strong need for a certain work environment", "Indifferent to work environment needs"),
        ("need_order", "Strong need for Order (neatness, organization, avoiding chaos)", "Indifferent to orderliness"),
        ("likes_stationery_and_planners", "Likes stationery and planners", "Dislikes stationery and planners"),
    ],
)
def test_poles_have_the_published_labels(space: PreferenceSpace, id_: str, positive: str, negative: str) -> None:
    dimension = space.dimensions[space.index(id_)]
    assert (dimension.positive.label, dimension.negative.label) == (positive, negative)
    assert (dimension.pole(1), dimension.pole(-1), dimension.pole(0)) == (dimension.positive, dimension.negative, None)


def test_questions_are_the_paper_s(space: PreferenceSpace) -> None:
    assert space.dimensions[space.index("neuroticism")].question == (
        "What does this comment suggest about the commenter's Neuroticism in the Big Five personality traits? "
        "(1) High Neuroticism (2) Low Neuroticism (3) Comments alone cannot reflect"
    )
    assert space.dimensions[space.index("likes_painting")].question == (
        'Does this comment indicate that the commenter likes or dislikes "painting"? '
        "(1) Likes (2) Dislikes (3) Comments alone cannot reflect"
    )
    for dimension in space.dimensions:
        answers = f"(1) {dimension.positive.answer}", f"(2) {dimension.negative.answer}"
        if dimension.name.startswith("Degree of") and dimension.source == "psychology":
            answers = f"(1) {dimension.positive.label}", f"(2) {dimension.negative.label}"
        assert f"? {answers[0]} {answers[1]} (3) Comments alone cannot reflect" in dimension.question


def test_every_description_is_a_first_person_sentence_and_occurs_once(space: PreferenceSpace) -> None:
    poles = [pole for dimension in space.dimensions for pole in (dimension.positive, dimension.negative)]
    counts = Counter(text for pole in poles for text in pole.descriptions)
    assert all(len(pole.descriptions) >= 3 for pole in poles)
    assert [text for text, count in counts.items() if count > 1] == []
    assert [text for text in counts if "{" in text or len(text) < 10] == []


def test_describe_and_parse_are_inverse(space: PreferenceSpace) -> None:
    for shift in range(3):
        directions = tuple((place + shift) % 3 - 1 for place in range(90))
        assert space.parse(space.describe(directions)) == directions
        assert space.from_file(space.to_file(directions)) == directions
    assert space.describe(space.neutral) == ""
    assert space.parse("  ") == space.neutral


def test_parse_takes_any_order_case_and_alias(space: PreferenceSpace) -> None:
    text = "likes sports, PREFERS AVOIDANCE, MEDIATION, COMPROMISE TO HANDLE CONFLICT , high neuroticism"
    assert space.describe(space.parse(text)) == (
        "High Neuroticism, Prefers avoidance, mediation, compromise to handle conflict, Likes sports"
    )
    aliases = (
        "Strong need for Order, Indifferent to Infaivoidance, Strong need for Nurture, Strong need for Contrarianism"
    )
    found = space.parse(aliases)
    places = ("need_order", "need_infavoidance", "need_nurturance", "need_contrariance")
    assert [found[space.index(id_)] for id_ in places] == [1, -1, 1, 1]
    assert sum(map(abs, found)) == 4


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Likes sports, Likes sportsball", "'Likes sportsball'"),
        ("Likes sports, High Sarcasm, Young", "'High Sarcasm'"),
        ("Likes sports, Dislikes sports", "'Dislikes sports' comes after its opposite"),
        ("Young, Young", "'Young' comes twice"),
        ("Young,, Male", "''"),
    ],
)
def test_parse_names_the_offending_part(space: PreferenceSpace, text: str, part: str) -> None:
    with pytest.raises(DataError, match="space alignx90") as caught:
        space.parse(text)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5] * 89, "90 directions, found 89 values"),
        ([0.5] * 10 + [0.7] + [0.5] * 79, r"direction 11 \(investment\) is 0.7"),
        ([True] + [0.5] * 89, r"direction 1 \(age\) is True"),
        (["1"] + [0.5] * 89, r"direction 1 \(age\) is '1'"),
        ("1", "found '1'"),
    ],
)
def test_file_directions_are_checked(space: PreferenceSpace, values: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        space.from_file(values)


def test_directions_are_checked(space: PreferenceSpace) -> None:
    with pytest.raises(DataError, match="needs 90 directions, found 2"):
        space.describe((1, 0))
    with pytest.raises(DataError, match=r"is -1, 0 or 1, found 0\.5"):
        space.to_file((0.5,) * 90)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no dimension 'ages' in space alignx90; there is: age, gender"):
        space.index("ages")


def test_a_team_adds_dimensions(tmp_path: Path, space: PreferenceSpace) -> None:
    team = load_space(write(tmp_path / "team.yaml", FUNNY))
    assert (team.name, len(team)) == ("team", 92)
    assert team.ids == (*space.ids, "humor_style", "pragmatism")
    directions = (*space.neutral[:-1], 1, -1, 1)
    assert team.describe(directions) == "Likes fashion, Indifferent about humor, Concerned about pragmatism"
    assert team.parse(team.describe(directions)) == directions
    assert "the commenter's Humor? (1) Strong (2) Indifferent" in team.dimensions[90].question


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "own.yaml", json.dumps({"name": "own", "dimensions": [own_dimension("a")]}))
    first = load_space(path)
    assert load_space(path) is first
    write(path, json.dumps({"name": "own", "dimensions": [own_dimension("a"), own_dimension("b")]}))
    assert load_space(path).ids == ("a", "b")


def own_dimension(id_: str, **changes: object) -> dict[str, object]:
    poles = {"positive": POLE | {"label": f"High {id_}"}, "negative": POLE | {"label": f"Low {id_}"}}
    return {"id": id_, "name": id_, "source": "own", "question": "?", **poles, **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "x", "dimension": []}, "key 'dimension'"),
        ({"name": "x", "dimensions": [own_dimension("a", lable="L")]}, "key 'dimensions.0.lable'"),
        ({"name": "x", "dimensions": [own_dimension("a"), own_dimension("a")]}, "'id a' is already used by a"),
        (
            {"name": "x", "dimensions": [own_dimension("a", positive=POLE | {"label": "Low a"})]},
            "'Low a' is already used",
        ),
        ({"name": "x", "dimensions": [own_dimension("a", positive=POLE | {"descriptions": ["x"]})]}, "1 descriptions"),
        ({"name": "x", "dimensions": [own_dimension("a", question="")]}, "key 'a.question': missing"),
        ({"name": "x", "dimensions": [own_dimension("a", template="t")]}, "no template 't'; there is: none"),
        (
            {
                "name": "x",
                "templates": {"t": {"question": "{nmae}?"}},
                "dimensions": [{"id": "a", "name": "a", "template": "t"}],
            },
            "key 'templates.t': the template names {nmae}",
        ),
        ({"name": "x", "dimensions": []}, "no dimensions"),
        ({"name": "x", "extends": "bad.yaml"}, "extends itself"),
        ({"dimensions": []}, "key 'name'"),
        (["a"], "found list"),
    ],
)
def test_a_faulty_space_names_file_and_key(tmp_path: Path, content: object, message: str) -> None:
    path = write(tmp_path / "bad.yaml", json.dumps(content))
    with pytest.raises(DataError, match=r"bad\.yaml") as caught:
        load_space(path)
    assert message in str(caught.value)


def test_no_yaml_and_no_such_space(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not YAML"):
        load_space(write(tmp_path / "bad.yaml", "a: [1"))
    with pytest.raises(UnknownName, match=r"no preference space 'alignx91'.*alignx90"):
        load_space("alignx91")


def test_the_table_is_one_row_per_dimension(space: PreferenceSpace) -> None:
    rows = table(space)
    assert len(rows) == 90
    assert rows[2] == {
        "number": "3",
        "id": "neuroticism",
        "name": "Degree of Neuroticism in the Big Five personality traits",
        "source": "psychology",
        "positive": "High Neuroticism",
        "negative": "Low Neuroticism",
    }


def test_published_profiles_print_again_to_the_same_text(space: PreferenceSpace, shared_data: Path) -> None:
    with gzip.open(shared_data / "benchmarks" / "psoups_friendly_unfriendly.json.gz") as stream:
        profiles = [row["profile"] for row in json.load(stream)]
    assert len(profiles) == 600
    assert [text for text in profiles if space.describe(space.parse(text)) != text] == []
