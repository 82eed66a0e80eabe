"""The leaderboard of a small users file: every method on the same users, in three forms."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_rm.cli import app
from persona_rm.errors import RecipeError
from persona_rm.recipe import load_recipe

RECIPE = """
name: small
bench:
  sets: {ours: {name: users_file, path: users.jsonl}}
  methods:
    pooled: {name: bradley_terry, features: [surface]}
    centroid: {name: centroid, features: [surface], l2: 0.01}
  reference: pooled
  protocol: {ks: [0, 4], draws: 1, fewest_held: 2}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Half of the users prefer long answers, half short ones."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for user in range(12):
        for ask in range(9):
            long, short = f"It is a long story, number {ask}, with many words!", f"No {ask}."
            chosen, rejected = (long, short) if user % 2 else (short, long)
            rows.append({"user": f"u{user}", "prompt": f"ask {ask}", "chosen": chosen, "rejected": rejected})
    Path("users.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def test_the_board_is_written_in_three_forms(recipe: Path) -> None:
    result = CliRunner().invoke(app, ["bench", str(recipe), "--out", "board"])
    assert result.exit_code == 0, result.output
    board = json.loads(Path("board/bench.json").read_text())
    by_method = {(row["method"], row["k"]): row for row in board["ours"]}
    assert set(by_method) == {(name, k) for name in ("pooled", "centroid") for k in (0, 4, "seen")}
    assert by_method["pooled", 4]["figures"]["gain"]["value"] == 0
    assert by_method["centroid", 4]["figures"]["gain"]["low"] > 0.2
    assert by_method["centroid", 0]["figures"]["gain"]["value"] == 0
    table = Path("board/bench.md").read_text()
    assert "12 new users; 95 % intervals: bootstrap by user." in table
    assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1
    assert ET.parse("board/bench.svg").getroot().tag.endswith("svg")
    assert "Written: board/bench.md" in result.output


def test_what_a_section_may_name(recipe: Path) -> None:
    for change, said in (
        ("bench.reference=other", "'other' is no method of this section; there is: pooled, centroid"),
        ("bench.methods.centroid=centroids", "did you mean 'centroid'"),
        ("bench.sets.ours.pth=x", "there is no such key"),
        ("bench=null", "no section `bench`"),
    ):
        result = CliRunner().invoke(app, ["bench", str(recipe), change])
        assert result.exit_code == 1, change
        assert said in " ".join(result.output.split()), result.output


def test_members_are_checked_when_the_recipe_is_read(recipe: Path) -> None:
    with pytest.raises(RecipeError, match=r"bench\.methods\.centroid"):
        load_recipe(recipe, ["bench.methods.centroid={name: centroid, scal: 1}"])
