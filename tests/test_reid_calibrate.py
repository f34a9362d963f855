"""Thresholds from error rates, probabilities from distances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.calibrate import Calibration, error_rates, fit_probability, set_pairs, threshold


def test_threshold_of_ten_pairs() -> None:
    different = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4]
    assert threshold(different, 0.2) == 0.6  # accepts .5 and .6: 2 of 10
    assert threshold(different, 0.29) == 0.6  # a third would be 3 of 10
    assert threshold(different, 0.0) < 0.5


def test_ties_never_exceed_the_wanted_rate() -> None:
    # .5 three times: accepting it means 3 of 4, more than one half.
    assert threshold([0.5, 0.5, 0.5, 0.9], 0.5) < 0.5
    assert threshold([0.2, 0.5, 0.5, 0.9], 0.5) == 0.2


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.floats(0.0, 0.99))
@settings(deadline=None)
def test_the_threshold_is_the_largest_that_keeps_the_rate(tenths: list[int], rate: float) -> None:
    different = np.array(tenths) / 10
    tau = threshold(different, rate)
    assert (different <= tau).mean() <= rate + 1e-9
    looser = different[different > tau]
    if len(looser):
        assert (different <= looser.min()).mean() > rate - 1e-9


def test_error_rates_count_both_kinds() -> None:
    # At .5: one of four strangers is let in, two of three pairs of one person are turned away.
    assert error_rates([0.4, 0.6, 0.8], [0.5, 0.7, 0.9, 1.0], 0.5) == pytest.approx((1 / 4, 2 / 3))


def test_log_odds_are_a_line() -> None:
    line = Calibration(offset=4.0, slope=-8.0)
    assert line.log_odds([0.0, 0.5, 1.0]) == pytest.approx([4.0, 0.0, -4.0])
    assert line.probability(0.5) == pytest.approx(0.5)
    assert line.probability(0.25) == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert line.probability([0.0, 1e9, -1e9]) == pytest.approx([1 / (1 + math.exp(-4.0)), 0.0, 1.0])


def test_two_bells_give_the_line_that_theory_says() -> None:
    """Equal normal spreads s about a and b: log odds (a - b) / s^2 * d + (b^2 - a^2) / (2 s^2)."""
    rng = np.random.default_rng(0)
    same, different = rng.normal(0.3, 0.15, 40_000), rng.normal(0.9, 0.15, 4_000)
    fitted = fit_probability(same, different, ridge=0.0)
    assert fitted.slope == pytest.approx((0.3 - 0.9) / 0.15**2, rel=0.05)
    assert -fitted.offset / fitted.slope == pytest.approx(
        0.6, abs=0.01
    )  # half way, though there are ten times more of one


def test_kinds_that_do_not_overlap_still_give_a_finite_line() -> None:
    fitted = fit_probability([0.1, 0.2], [0.8, 0.9])
    assert math.isfinite(fitted.slope) and fitted.slope < 0
    assert fitted.probability(0.1) > 0.95 and fitted.probability(0.9) < 0.05
    assert fitted.probability(0.5) == pytest.approx(0.5, abs=0.01)


def test_single_pairs_are_enough_to_fit() -> None:
    assert fit_probability([0.2], [1.0]).probability(0.6) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("bad", [[], [math.nan], [0.1, math.inf]])
def test_distances_must_be_there_and_finite(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite distances"):
        threshold(bad, 0.1)
    with pytest.raises(ValueError, match="finite distances"):
        fit_probability(bad, [1.0])
    with pytest.raises(ValueError, match="finite distances"):
        fit_probability([0.1], bad)


def test_mistakes_are_said() -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\)"):
        threshold([0.5], 1.0)
    with pytest.raises(ValueError, match="swapped"):
        fit_probability([0.9, 1.0], [0.1, 0.2])


def test_sets_are_compared_between_cameras_only() -> None:
    # Person 0 looks along x in cameras 1 and 2, person 1 along y in camera 1 (twice) and slanted in camera 2.
    x, y, slanted = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
    embeddings = np.array([x, x, y, y, slanted])
    ids, cameras = np.array([0, 0, 1, 1, 1]), np.array([1, 2, 1, 1, 2])
    same, different = set_pairs(
        embeddings, ids, cameras, rows=8, most_different=10, rng=np.random.default_rng(0)
    )
    assert sorted(same) == pytest.approx([0.0, 0.2])  # x to x, and y to slanted: 1 - .8
    assert sorted(different) == pytest.approx([0.4, 1.0])  # x to slanted, and y to x; never within a camera
    fewer = set_pairs(embeddings, ids, cameras, rows=1, most_different=1, rng=np.random.default_rng(0))
    assert [len(kind) for kind in fewer] == [2, 1]
