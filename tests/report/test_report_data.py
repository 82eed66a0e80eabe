import json

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
    assert (data.figures, data.ppo, data.people, data.card) == ((), (), None, None)
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
