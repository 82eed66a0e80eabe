"""Responses ranked for a user, and said aloud if the prior answered."""

from pathlib import Path

import pytest

from persona_rm.bundle import User, write_bundle
from persona_rm.errors import RecipeError
from persona_rm.serving.ranking import rank_responses
from persona_rm.space import PreferenceSpace
from persona_rm.types import Persona

LIKED, DISLIKED = "i read physics journals.", "what a silly day."


@pytest.fixture
def folder(tmp_path: Path, space: PreferenceSpace) -> Path:
    people = [User(Persona("ann", directions=space.parse("Likes Science"))), User(Persona("eve"))]
    keys = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}, "inferrer": {"name": "vote"}}
    return write_bundle(tmp_path / "bundle", people, **keys)


def test_the_best_comes_first_beside_the_prior(folder: Path) -> None:
    ranking = rank_responses(folder, "ann", "How was it?", [DISLIKED, LIKED])
    assert [(row.response, row.reward, row.prior) for row in ranking.rows] == [(LIKED, 1.0, 0.0), (DISLIKED, 0.0, 0.0)]
    assert ranking.warning == ""
    first = ranking.to_dict()["responses"][0]
    assert (first["response"], first["reward"], first["unknown_user"], first["status"]) == (LIKED, 1.0, 0.0, "ok")


@pytest.mark.parametrize(
    ("user", "warning"),
    [("nowhere", "user 'nowhere' is not in this bundle"), ("eve", "nothing is known about user 'eve'")],
)
def test_the_prior_is_never_silent(folder: Path, user: str, warning: str) -> None:
    ranking = rank_responses(folder, user, "How was it?", [LIKED])
    assert ranking.warning.startswith(warning)
    assert "rewards of the population prior" in ranking.warning
    assert ranking.rows[0].reward == ranking.rows[0].prior
    assert rank_responses(folder, None, "How was it?", [LIKED]).warning == ""


def test_a_method_that_only_compares_has_no_ranking(folder: Path) -> None:
    path = folder / "bundle.yaml"
    path.write_text(path.read_text() + "groups: {size: 2, listwise: true, wait: 5, fallback: fail}\n")
    with pytest.raises(RecipeError, match="comparing those of a group"):
        rank_responses(folder, "ann", "How was it?", [LIKED])
