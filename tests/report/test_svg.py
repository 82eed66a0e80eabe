from itertools import pairwise
from xml.etree import ElementTree

import pytest

from persona_rm.report import svg

NASTY = '<script>alert("x")</script> & co'


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.4, 1.0, [0.4, 0.6, 0.8, 1.0]), (-3, 7, [-2, 0, 2, 4, 6]), (5, 5, [5])],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert svg.ticks(low, high) == pytest.approx(expected)


def test_padded_is_never_empty():
    assert svg.padded([2.0, 2.0]) == pytest.approx((1.88, 2.12))
    assert svg.padded([0.0]) == (-0.5, 0.5)


def circles(picture: str) -> list[float]:
    return [float(c.get("cx")) for c in ElementTree.fromstring(picture).iter("circle")]


def test_a_dot_stands_where_its_value_is():
    rows = [svg.Dot("a", 0.5, 0.4, 0.6), svg.Dot("heading"), svg.Dot("b", 1.0, 0.9, 1.0), svg.Dot("c", 0.0, 0, 0.1)]
    middle, right, left = circles(svg.dot_chart(rows, (0, 1)))
    assert left == svg.GUTTER
    assert right == svg.WIDTH - svg.RIGHT
    assert middle == pytest.approx((left + right) / 2)


def test_log_axis_spaces_doublings_evenly():
    line = svg.Line("x", [2, 4, 8, 16], [0.5, 0.6, 0.7, 0.8])
    chart = svg.line_chart([line], x_name="n", y_name="y", y_span=(0, 1), log_x=True)
    xs = circles(chart)
    assert [b - a for a, b in pairwise(xs)] == pytest.approx([xs[1] - xs[0]] * 3, abs=0.11)


def test_a_line_of_one_point_is_drawn():
    chart = svg.line_chart([svg.Line("x", [3], [0.5])], x_name="n", y_name="y", y_span=(0, 1))
    assert len(circles(chart)) == 1


def test_bars_grow_with_their_counts():
    root = ElementTree.fromstring(svg.bars([("a", 10), ("b", 5)], "t"))
    widths = [float(r.get("width")) for r in root.iter("rect")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)
    assert "10  (66.7%)" in [t.text for t in root.iter("text")]


def test_heat_map_has_a_cell_per_value_and_tells_the_signs_apart():
    root = ElementTree.fromstring(svg.heat_map([("d", [1, 0.4, 0, -1.0])], ["p", "r"] * 2, ["A", "B"], "t"))
    kinds = [r.get("class") for r in root.iter("rect")]
    assert (kinds.count("blank"), kinds.count("pos"), kinds.count("neg")) == (4, 2, 2)
    assert [t.text for t in root.iter("text")][-4:] == ["+", "+0.40", "·", "\N{MINUS SIGN}1.00"]


@pytest.mark.parametrize(
    "picture",
    [
        svg.dot_chart([svg.Dot(NASTY, 0.5, 0.4, 0.6, note=NASTY)], (0, 1), [(0.5, NASTY)], NASTY),
        svg.line_chart([svg.Line(NASTY, [1, 2], [0, 1], [0, 0], [1, 1])], x_name=NASTY, y_name=NASTY, y_span=(0, 1)),
        svg.heat_map([(NASTY, [0.5])], [NASTY], [NASTY], NASTY),
        svg.bars([(NASTY, 3)], NASTY),
    ],
)
def test_pictures_are_valid_xml_whatever_they_are_called(picture):
    assert "<script" not in picture
    assert ElementTree.fromstring(picture).tag == "svg"
