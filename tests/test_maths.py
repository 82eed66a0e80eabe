import math

from hypothesis import given
from hypothesis import strategies as st

from persona_rm.maths import sigmoid


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_sigmoid_is_between_0_and_1_and_symmetric(x):
    assert 0 <= sigmoid(x) <= 1
    assert math.isclose(sigmoid(x) + sigmoid(-x), 1)
