"""Charts: what is drawn lies where it should, in SVG that is well formed and says what it shows."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_jax.report.page import parts
from rstar_jax.report.page.axis import Axis, percent, plain, round_ticks, spanning
from rstar_jax.report.page.chart import Bars, Row, Series, bars, lines, stacks
from rstar_jax.report.page.marks import WIDTH

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 6))


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.booleans())
def test_bounds_hold_the_values_and_are_ticks(values, zero):
    low, high = spanning(values, zero=zero)
    slack = 1e-6 * (high - low)
    assert low < high and low - slack <= min(values) and high + slack >= max(values)
    assert not zero or low <= 0 <= high
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 12 and ticks == sorted(set(ticks))


@given(st.floats(1e-3, 1e8), st.floats(1.0, 1e6))
def test_a_logarithmic_axis_has_ticks_in_order(low, factor):
    axis = Axis(low, low * factor * 1.3, 50, 500, log=True)
    places = [axis.at(tick) for tick in axis.ticks()]
    assert places == sorted(places) and all(50 <= place <= 500 for place in places)


def test_places():
    assert [Axis(0, 10, 100, 200).at(v) for v in (0, 5, 10, 99, -3)] == [100, 150, 200, 200, 100]
    assert Axis(1, 100, 0, 100, log=True).at(10) == 50
    assert Axis(0, 1, 200, 0).at(0.25) == 150  # upwards


def test_numbers():
    assert [plain(v) for v in (0, 0.25, 1200, 35000, 2.1e6, 8e-4, -3)] == [
        "0", "0.25", "1,200", "35k", "2.1M", "8e-04", "-3",
    ]  # fmt: skip
    assert percent(0.865) == "86.5"


def svg(figure):
    return ElementTree.fromstring(re.search("<svg.*?</svg>", figure, re.DOTALL)[0])


def test_a_chart_says_what_it_shows():
    drawn = svg(lines("Loss <1>", [Series("a & b", [(0, 1.0), (10, 0.5)])], "step", "loss"))
    named = drawn.attrib["aria-labelledby"].split()
    assert (
        drawn.attrib["role"] == "img"
        and [drawn.find(f"*[@id='{i}']") is not None for i in named] == [True] * 2
    )
    assert drawn[0].text == "Loss <1>"
    assert drawn[1].text == "Line chart of loss by step. a & b: from 1 at 0 to 0.5 at 10."


def test_charts_of_other_contents_have_other_names():
    ids = [
        i
        for figure in (lines("A", [Series("x", [(0, v)])], "x", "y") for v in (1.0, 2.0))
        for i in re.findall('id="([^"]+)"', figure)
    ]
    assert len(set(ids)) == len(ids)


def test_nothing_to_draw_is_no_chart():
    assert lines("A", [Series("x", [])], "x", "y") is None
    assert bars("A", ["g"], [Bars("x", [None])]) is None
    assert stacks("A", [], "s", data=parts.table("", [], [])) is None
    assert parts.charts([None]) is None


def test_values_that_are_no_numbers_are_left_out():
    figure = lines("A", [Series("x", [(0, 1.0), (1, math.nan), (2, 3.0)])], "x", "y")
    assert "nan" not in re.search("<svg.*?</svg>", figure, re.DOTALL)[0].replace("from 1", "")


def test_series_differ_without_colour():
    series = [Series(f"s{i}", [(0, i), (1, i + 1)]) for i in range(6)]
    drawn = svg(lines("A", series, "x", "y"))
    looks = [path.attrib["class"].split()[-1] for path in drawn.iter("path")]
    assert len(set(looks)) == 6
    kinds = {(m.tag, len(m.attrib.get("points", "").split()), m.attrib.get("points", "")[:4]) for m in drawn}
    assert len([k for k in kinds if k[0] in ("circle", "polygon")]) >= 6


def test_what_a_series_stands_beside_has_its_colour_and_dashes():
    pair = [Series("ours", [(0, 1.0), (1, 2.0)]), Series("paper", [(0, 1.5), (1, 1.0)], beside=True)]
    looks = [path.attrib["class"] for path in svg(lines("A", pair, "x", "y")).iter("path")]
    assert looks == ["l1 d1", "l1 d2"]


def test_bars_stand_where_their_values_are():
    figure = bars("A", ["g1", "g2"], [Bars("x", [0.5, None], [(0.4, 0.6), None]), Bars("y", [1.0, 0.25])])
    found = {
        r.attrib["class"]: float(r.attrib["height"]) for r in svg(figure).iter("rect") if r.attrib["class"]
    }
    heights = sorted(float(r.attrib["height"]) for r in svg(figure).iter("rect"))[-3:]
    assert heights[0] * 4 == pytest.approx(heights[2], abs=1) and heights[1] * 2 == pytest.approx(
        heights[2], abs=1
    )
    assert found
    assert "<td>50.0</td>" in figure and "<td>40.0 to 60.0</td>" in figure and "<td>-</td>" in figure


def test_pieces_stand_end_to_end():
    rows = [Row("a", [("x", 10.0), ("y", 20.0)], under=[("z", 5.0)]), Row("b", [("x", 30.0)])]
    drawn = svg(stacks("A", rows, "s", data=parts.table("", [], [])))
    thick = [r for r in drawn.iter("rect") if float(r.attrib["height"]) == 14]
    x, y, b = ((float(r.attrib["x"]), float(r.attrib["width"])) for r in thick)
    assert x[0] + x[1] == pytest.approx(y[0], abs=0.2) and y[1] == pytest.approx(2 * x[1], abs=0.3)
    assert b[1] == pytest.approx(3 * x[1], abs=0.3) and b[0] + b[1] < WIDTH


def test_halves_of_surrogate_pairs_are_shown_by_their_codes():
    assert "\\u{d800}" in bars("Bars", ["\ud800"], [Bars("share", [0.5])])
