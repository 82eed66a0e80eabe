"""Golden directions are taken as they are, or refused."""

import pytest

from persona_rm.errors import DataError
from persona_rm.inferrers.golden import Golden
from persona_rm.space import PreferenceSpace
from persona_rm.types import Persona


def test_as_they_are(space: PreferenceSpace) -> None:
    directions = (1, -1, *space.neutral[2:])
    found = Golden(Golden.Config(), space).infer(Persona("ann", directions=directions))
    assert found.directions == directions
    assert found.probabilities[:3] == ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@pytest.mark.parametrize("directions", [None, (1, 0)])
def test_none_or_another_space_is_refused(space: PreferenceSpace, directions: tuple[int, ...] | None) -> None:
    with pytest.raises(DataError, match="'ann'"):
        Golden(Golden.Config(), space).infer(Persona("ann", directions=directions))
