"""Pictures are PNG files of a size that fits what they show."""

import struct
import sys

import numpy as np
import pytest

from persona_rm.construct.card import pictures
from persona_rm.errors import MissingExtra
from tests.construct.card.test_data_card import example_card

GROUPS = ["psychology"] * 2 + ["interest"] * 3


def size(path):
    """(width, height) of a PNG."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


@pytest.fixture
def matrix():
    found = np.corrcoef(np.random.default_rng(0).normal(size=(5, 40)))
    found[2], found[:, 2] = np.nan, np.nan
    return found


def test_the_heat_map_with_a_constant_dimension(tmp_path, matrix):
    width, height = size(pictures.correlation(tmp_path / "figures" / "r.png", matrix, GROUPS, 40))
    assert 700 < width < 1400
    assert 600 < height < 1200


def test_bars_grow_with_the_dimensions(tmp_path):
    counts = np.array([[1, 0, 2, 0, 0], [5, 6, 3, 0, 6], [0, 0, 1, 0, 0]])
    small = size(pictures.levels(tmp_path / "l.png", counts, "abcde", GROUPS))
    large = size(pictures.levels(tmp_path / "m.png", np.tile(counts, 6), ["name"] * 30, ["x"] * 30))
    assert small[1] < 400
    assert small[1] + 250 < large[1] < 1000
    ways = size(pictures.directions(tmp_path / "d.png", np.zeros((2, 5), int), "abcde", GROUPS, 0))
    assert 100 < ways[1] < 400


def test_personas_and_rows(tmp_path):
    sizes = {"UGC items": {0: 3, 16: 90}, "PAIR items": {}}
    assert size(pictures.personas(tmp_path / "p.png", sizes, {"UGC": 90, "UGC + PAIR": 3}))[0] > 800
    assert size(pictures.rows(tmp_path / "r.png", [("posts in", 9, 1), ("nothing", 0, 0)]))[0] > 800


def test_groups_are_runs():
    assert pictures._borders(GROUPS) == [(0, 2), (2, 5)]


@pytest.mark.slow
def test_every_picture_of_a_card(space, tmp_path):
    made = example_card(space)
    found = pictures.draw(tmp_path, made, np.eye(len(space)))
    assert set(found) == {"rows", "levels", "correlation", "directions", "personas"}
    assert all(size(tmp_path / file)[0] > 600 for file in found.values())
    assert found["rows"] == "figures/rows.png"


def test_a_card_without_figures_has_no_pictures(space, tmp_path):
    made = example_card(space, levels=None, examples=None, flows=())
    assert pictures.draw(tmp_path, made) == {}


def test_without_matplotlib_the_pip_command_is_said(space, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"pip install persona_rm\[report\]"):
        pictures.draw(tmp_path, example_card(space))
    assert list(tmp_path.iterdir()) == []
