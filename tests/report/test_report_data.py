import json
import re

import pytest

from persona_rm.errors import DataError
from persona_rm.report import collect, render


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


STAT = {"mean": 1.0, "se": 0.25, "n": 100}


def test_an_empty_run_folder_is_an_empty_report(tmp_path):
    data = collect(tmp_path)
    assert (data.figures, data.ppo, data.two_users, data.card) == ((), (), None, None)
    assert "Not run" in render(data)


def test_no_run_folder_is_an_error_that_says_what_makes_one(tmp_path):
    with pytest.raises(DataError, match="persona-rm run"):
        collect(tmp_path / "nowhere")


def test_a_run_is_read_whole(tmp_path):
    put(tmp_path, "metrics.json", [{"name": "ica", "value": 0.7, "low": 0.6, "high": 0.8, "n": 9}])
    put(tmp_path, "run.json", {"title": "T", "seed": 3, "notes": {"ica": "n"}, "shortfalls": ["s"]})
    put(tmp_path, "recipe.yaml", "dpo:\n  beta: 0.1\n")
    rows = [{"step": s, "group": g, "reward_mean": s + 0.5, "n": 4} for s in (1, 0) for g in "ab"]
    put(tmp_path, "ppo/matched/curve.jsonl", "\n".join(map(json.dumps, rows)))
    put(tmp_path, "ppo/shuffled/utility.json", {"before": STAT, "after": STAT, "difference": STAT})
    data = collect(tmp_path)
    assert data.figures[0].value == 0.7
    assert (data.title, data.notes, data.problems) == ("T", {"ica": "n"}, ("s",))
    matched, shuffled = data.ppo
    assert matched.curves == {"a": ((0.0, 0.5), (1.0, 1.5)), "b": ((0.0, 0.5), (1.0, 1.5))}
    assert (matched.control, matched.gain) == (False, None)
    assert (shuffled.control, shuffled.gain) == (True, 4.0)
    assert "dpo.beta" in render(data)


@pytest.mark.parametrize("bad", ['{"step": 1, "rew', '{"step": 1}', '{"step": 1, "reward_mean": NaN}', "[]"])
def test_a_curve_line_that_cannot_be_read_is_counted_and_shown(tmp_path, bad):
    put(tmp_path, "ppo/matched/curve.jsonl", f'{{"step": 0, "group": "a", "reward_mean": 1}}\n{bad}\n')
    data = collect(tmp_path)
    assert len(data.problems) == 1
    assert "row 2" in data.problems[0]
    assert "could not be read" in render(data)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("metrics.json", "[{", "metrics"),
        ("stages.json", {}, "list"),
        ("run.json", "{", "run the stage"),
        ("recipe.yaml", "a: [", "YAML"),
        ("recipe.yaml", "- a", "mapping"),
        ("ppo/x/utility.json", {"before": STAT}, "'after'"),
        ("users.json", {"dimensions": ["a"], "users": [{"directions": [1, 0]}]}, "'directions'"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, name, content, match):
    put(tmp_path, name, content)
    with pytest.raises(DataError, match=match) as caught:
        collect(tmp_path)
    assert name.split("/")[-1] in str(caught.value)


def inferred_row(space, user, items, **directions):
    """A line of directions.jsonl: `directions` are those that are not neutral."""
    row = [directions.get(id_, 0) for id_ in space.ids]
    probabilities = [[0.95, 0.04, 0.01] if d < 0 else [0.01, 0.04, 0.95] if d else [0.0, 1.0, 0.0] for d in row]
    evidence = {id_: ["0123456789abcdef", "fedcba9876543210"] for id_ in directions}
    return {"user_id": user, "items": items, "directions": row, "probabilities": probabilities, "evidence": evidence}


def inferred_run(folder, rows, **recipe):
    (folder / "infer").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(json.dumps({"name": "i", "space": "alignx90", **recipe}))
    (folder / "infer" / "directions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_run_that_only_inferred_shows_its_users_in_words(tmp_path, space):
    rows = [inferred_row(space, "<u1>", 12, likes_travel=1, age=-1), inferred_row(space, "u2", 0)]
    rows += [inferred_row(space, f"v{i}", 3, likes_travel=1) for i in range(40)]
    data = collect(inferred_run(tmp_path, rows))
    assert [user.user_id for user in data.inferred_users[:2]] == ["<u1>", "u2"]
    page = render(data)
    text = " ".join(re.sub(r"<[^>]*>", " ", page[page.index('<section id="users">') :]).split())
    assert "42 users were inferred" in text
    assert "1 of them had no evidence and got the population prior." in text
    assert "Likes travel 41 98%" in text
    assert "&lt;u1&gt;, 12 items: Older (0.95), Likes travel (0.95)" in text
    assert "Older negative Age group 0.95 2" in text
    assert "u2, 0 items: no direction is probable enough" in text
    assert "The first 20 users; all of them are in infer/directions.jsonl." in text
    assert "The preference directions of 42 users were inferred; nothing was evaluated." in page


def test_inferred_users_of_a_run_whose_space_is_gone_are_a_problem_and_no_error(tmp_path, space):
    data = collect(inferred_run(tmp_path, [inferred_row(space, "u", 1)], space="/gone/space.yaml"))
    assert data.inferred_users == ()
    assert "no preference space '/gone/space.yaml'" in data.problems[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"directions": [0]}, "1 directions; the space alignx90 has 90"),
        ({"directions": [2] * 90}, "a direction is -1, 0 or 1, found 2"),
        ({"evidence": []}, "key 'evidence': must be an object"),
    ],
)
def test_a_bad_row_of_directions_is_named(tmp_path, space, change, said):
    folder = inferred_run(tmp_path, [inferred_row(space, "u", 1) | change])
    with pytest.raises(DataError, match=r"directions\.jsonl, row 1") as caught:
        collect(folder)
    assert said in str(caught.value)
