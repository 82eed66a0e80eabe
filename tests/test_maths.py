import math

import numpy as np
import pytest

from persona_rm.maths import sigmoid, sigmoids


@pytest.mark.parametrize(("x", "expected"), [(0.0, 0.5), (-1e308, 0.0), (1e308, 1.0), (2.0, 1 / (1 + math.exp(-2)))])
def test_the_sigmoid_never_overflows(x, expected):
    assert sigmoid(x) == pytest.approx(expected)
    assert sigmoid(-x) == pytest.approx(1 - expected)


def test_an_array_has_the_sigmoid_of_each_number():
    x = np.array([[-1e308, -3.5, 0.0], [1e-9, 7.25, 1e308]])
    with np.errstate(all="raise", under="ignore"):
        result = sigmoids(x)
    np.testing.assert_allclose(result, [[sigmoid(value) for value in row] for row in x], rtol=1e-12, atol=1e-300)
