"""Thresholds from error rates, probabilities from distances, and how far these can be believed."""

import json
import math
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.calibrate import (
    Calibration,
    PairCalibration,
    calibrate,
    crop_pairs,
    cross_fitted_ece,
    ece_on,
    error_rates,
    fit_pairs,
    fit_probability,
    isotonic,
    reliability,
    set_pairs,
    threshold,
)
from reid.datasets import Pictures


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


# --- single crops


def test_crops_are_compared_between_cameras_only() -> None:
    x, y, slanted = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
    embeddings = np.array([x, slanted, x, y])
    ids, cameras = np.array([0, 0, 0, 1]), np.array([1, 1, 2, 2])
    same, different = crop_pairs(embeddings, ids, cameras)
    assert same == pytest.approx([0.0, 0.4])  # x and slanted to the x of camera 2
    assert different == pytest.approx([1.0, 0.2])  # x and slanted to y; not the two of camera 2
    assert [len(kind) for kind in crop_pairs(embeddings[:0], ids[:0], cameras[:0])] == [0, 0]


def test_pooling_by_hand() -> None:
    # Sorted: same .1, other .2, same .3, other .4. The middle two violate and are pooled: one of each.
    levels, fitted, weight = isotonic([0.1, 0.3], [0.2, 0.4])
    assert levels.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert fitted == pytest.approx([1.0, 0.5, 0.5, 0.0])
    assert weight == pytest.approx([0.25] * 4)
    # Kinds weigh half: one pair of one person at the same distance as one of three others is 1/2 to 1/6.
    assert isotonic([0.5], [0.5, 0.9, 0.9])[1] == pytest.approx([(1 / 2) / (1 / 2 + 1 / 6), 0.0])


def slow_isotonic(share: np.ndarray, weight: np.ndarray) -> list[float]:
    """The falling fit as a minimum of maxima of means (Barlow et al., 1972)."""

    def mean(first: int, last: int) -> float:
        part = slice(first, last + 1)
        return float((share[part] * weight[part]).sum() / weight[part].sum())

    places = range(len(share))
    return [min(max(mean(a, b) for b in places[n:]) for a in places[: n + 1]) for n in places]


@pytest.mark.parametrize("seed", range(6))
def test_isotonic_against_the_slow_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same, different = rng.normal(0.4, 0.3, 12).round(1), rng.normal(0.7, 0.3, 30).round(1)
    levels, fitted, weight = isotonic(same, different)
    of_one = np.array([np.mean(same == level) for level in levels])
    of_two = np.array([np.mean(different == level) for level in levels])
    assert weight == pytest.approx((of_one + of_two) / 2)
    assert fitted == pytest.approx(slow_isotonic(of_one / (of_one + of_two), of_one + of_two))


distances_of_pairs = st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60)


@given(distances_of_pairs, distances_of_pairs, st.integers(2, 24))
@settings(deadline=None)
def test_fitted_curves_fall_and_are_never_certain(
    same: list[float], different: list[float], knots: int
) -> None:
    fitted = fit_pairs(same, different, knots=knots)
    assert 1 <= len(fitted.distances) <= knots
    p = fitted.probability(np.linspace(-1.0, 3.0, 200))
    assert (np.diff(p) <= 0).all()
    assert (p > 0).all() and (p < 1).all()
    assert PairCalibration.from_card(_read(fitted)).card() == fitted.card()


def _read(calibration: PairCalibration) -> dict:
    return tomllib.loads(calibration.card())["details"]["pair_calibration"]


def test_two_bells_give_the_curve_that_theory_says() -> None:
    """Equal normal spreads s about a and b: log odds (a - b) / s^2 * d + (b^2 - a^2) / (2 s^2)."""
    rng = np.random.default_rng(0)
    a, b, s = 0.4, 0.9, 0.15
    fitted = fit_pairs(rng.normal(a, s, 20_000), rng.normal(b, s, 80_000))
    d = np.linspace(0.3, 1.0, 40)
    wanted = 1 / (1 + np.exp(-((a - b) / s**2 * d + (b**2 - a**2) / (2 * s**2))))
    assert np.abs(fitted.probability(d) - wanted).max() < 0.03


def test_another_prior_multiplies_the_odds() -> None:
    flat = PairCalibration(distance=[0.5], probability=[0.8], thresholds={})
    assert flat.probability([0.0, 2.0]) == pytest.approx([0.8, 0.8])
    # Odds 4 to 1, times 1 to 9 beforehand: 4 to 9.
    assert flat.probability(0.5, prior=0.1) == pytest.approx(4 / 13)
    assert flat.probability(0.5, prior=0.0) == 0.0
    with pytest.raises(ValueError, match="beforehand lies in"):
        flat.probability(0.5, prior=1.1)


def test_thresholds_keep_their_rate_on_the_pairs() -> None:
    rng = np.random.default_rng(1)
    same, different = rng.normal(0.4, 0.15, 500), rng.normal(0.9, 0.15, 50_000)
    fitted = fit_pairs(same, different, people=20)
    # 30 of 50,000 are needed: a rate of .0006 and no smaller.
    assert list(fitted.thresholds) == [0.001, 0.005, 0.01, 0.05, 0.1]
    for rate in fitted.thresholds:
        found = np.mean(different <= fitted.threshold(rate))
        assert found <= rate + 1.5 / 50_000  # a threshold has six digits
        assert found == pytest.approx(rate, rel=0.05)
    assert fitted.people == 20


def test_between_two_thresholds_the_logarithm_counts() -> None:
    known = PairCalibration(distance=[0.5], probability=[0.5], thresholds={0.01: 0.6, 0.0001: 0.2})
    assert known.threshold(0.01) == 0.6
    assert known.threshold(0.001) == pytest.approx(0.4)  # half way from 1e-4 to 1e-2
    for rate in (0.1, 0.00001):
        with pytest.raises(ValueError, match=r"measured from 0\.0001 to 0\.01"):
            known.threshold(rate)
    with pytest.raises(ValueError, match="for none"):
        fit_pairs([0.1], [0.9]).threshold(0.01)  # one stranger tells no rate


def test_a_curve_between_knots_is_straight_and_flat_outside() -> None:
    curve = PairCalibration(distance=[0.4, 0.8], probability=[0.9, 0.1], thresholds={})
    assert curve.probability([0.0, 0.4, 0.5, 0.8, 2.0]) == pytest.approx([0.9, 0.9, 0.7, 0.1, 0.1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"distance": [0.5, 0.5]}, "rising distances"),
        ({"distance": [0.5]}, "rising distances"),
        ({"distance": [], "probability": []}, "rising distances"),
        ({"distance": [0.1, math.nan]}, "rising distances"),
        ({"probability": [0.1, 0.9]}, "never rise"),
        ({"probability": [1.1, 0.9]}, r"in \[0, 1\]"),
        ({"thresholds": {"0.01": 0.5, "0.001": 0.6}}, "thresholds rise"),
        ({"thresholds": {"0": 0.5}}, "thresholds rise"),
        ({"thresholds": {"0.01": float("nan")}}, "thresholds rise"),
        ({"thresholds": {"often": 0.5}}, "as reid.calibrate writes them"),
        ({"thresholds": 0.5}, "as reid.calibrate writes them"),
        ({"slope": 3}, "slope"),
        ({"distance": "near"}, "as reid.calibrate writes them"),
    ],
)
def test_a_card_that_makes_no_calibration_is_refused(change: dict, says: str) -> None:
    said = {
        "distance": [0.4, 0.8],
        "probability": [0.9, 0.1],
        "thresholds": {"0.01": 0.5},
        "ece": 0.01,
        "people": 9,
    }
    assert PairCalibration.from_card(said).ece == 0.01
    with pytest.raises(ValueError, match=says):
        PairCalibration.from_card({**said, **change})
    with pytest.raises(ValueError, match="thresholds"):
        PairCalibration.from_card({"distance": [0.4], "probability": [0.5]})


# --- how far probabilities can be believed


def test_expected_calibration_error_by_hand() -> None:
    # .9 for all of which half are true: .9 - .5.
    assert reliability([0.9] * 10, [True, False] * 5).ece == pytest.approx(0.4)
    # Kinds weigh half: the same, though there are nine times as many of one.
    assert reliability([0.9] * 10, [True] + [False] * 9).ece == pytest.approx(0.4)
    # Two steps. .1: weights 1/4 true, 1/2 false; a third is true. .8: weight 1/4, all true.
    found = reliability([0.1, 0.8, 0.1, 0.1], [True, True, False, False], bins=2)
    assert found.weight == pytest.approx([3 / 4, 1 / 4])
    assert found.said == pytest.approx([0.1, 0.8])
    assert found.happened == pytest.approx([1 / 3, 1.0])
    assert found.ece == pytest.approx(3 / 4 * (1 / 3 - 0.1) + 1 / 4 * 0.2)
    assert reliability([0.0, 1.0], [False, True]).ece == 0.0


def test_who_says_the_true_probability_has_no_error() -> None:
    rng = np.random.default_rng(2)
    p = 1 / (1 + np.exp(-rng.normal(0.0, 2.0, 200_000)))
    assert reliability(p, rng.random(len(p)) < p).ece < 0.005


@pytest.mark.parametrize(
    ("p", "same", "says"),
    [
        ([0.5, 1.1], [True, False], r"probabilities in \[0, 1\]"),
        ([0.5, math.nan], [True, False], r"probabilities in \[0, 1\]"),
        ([0.5], [True, False], "for 2 pairs"),
        ([0.5, 0.5], [True, True], "pairs of two"),
        ([], [], "pairs of two"),
    ],
)
def test_reliability_of_nothing_is_refused(p: list[float], same: list[bool], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        reliability(p, same)


# --- a model's calibration


class Recorded:
    """An embedder that answers rows made beforehand, by the number that a crop shows."""

    name, model_hash = "recorded", "f" * 64

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def embed(self, crops) -> np.ndarray:
        return self.rows[[int(crop[0, 0, 0]) + 256 * int(crop[0, 0, 1]) for crop in crops]]


def crowd(people: int, spread: float, seed: int = 0) -> tuple[Recorded, Pictures]:
    """Eight pictures each in two cameras: a person's own direction, and noise."""
    rng = np.random.default_rng(seed)
    ids, cameras = np.repeat(np.arange(people), 8), np.tile([1, 2], 4 * people)
    own = rng.normal(size=(people, 16))
    crops = np.zeros((len(ids), 2, 2, 3), np.uint8)
    crops[:, 0, 0, :2] = np.stack([np.arange(len(ids)) % 256, np.arange(len(ids)) // 256], axis=1)
    return Recorded(own[ids] + spread * rng.normal(size=(len(ids), 16))), Pictures(crops, ids, cameras)


def test_a_model_is_calibrated_on_people_of_two_cameras() -> None:
    embedder, held = crowd(60, 0.6)
    report = calibrate(embedder, held)
    assert (report.model, report.people, report.pictures) == ("recorded", 60, 480)
    # Of each person 4 x 4 pairs across; of two people 4 x 4 twice over.
    assert report.pairs == (60 * 16, 60 * 59 * 16)
    assert report.set_pairs == (60, 60 * 59)
    pairs = report.pair_calibration
    assert 0.0 < pairs.ece < 0.05
    assert report.reliability.ece < 0.02  # on what was fitted
    strangers = crop_pairs(embedder.rows, held.ids, held.cameras)[1]
    assert pairs.thresholds[0.01] == pytest.approx(threshold(strangers, 0.01), abs=1e-6)
    # The lines are TOML, and what is read from them is what was written.
    details = tomllib.loads("[details]\n" + report.card())["details"]
    assert PairCalibration.from_card(details["pair_calibration"]).thresholds == pairs.thresholds
    assert details["calibration"]["slope"] == pytest.approx(report.calibration.slope, abs=1e-4)
    row = json.loads(json.dumps(report.as_row()))
    assert row["pairs"] == [960, 56_640]
    # 30 of 3,540 pairs are 0.0085: a rate of 0.001 cannot be told from them.
    assert row["set_false_rejects"].keys() == row["set_thresholds"].keys() == {"0.05", "0.01"}
    assert calibrate(embedder, held).card() == report.card()  # chance comes from the seed alone


def test_a_curve_holds_for_true_labels_only() -> None:
    """A curve that was fitted to labels holds for these people, and for labels of chance it does not."""
    embedder, held = crowd(40, 0.5)
    ece = cross_fitted_ece(embedder.rows, held.ids, held.cameras, rng=np.random.default_rng(0))
    shuffled = np.random.default_rng(1).permutation(held.ids)
    fitted = fit_pairs(*crop_pairs(embedder.rows, held.ids, held.cameras))
    nonsense = Pictures(held.crops, shuffled, held.cameras)
    assert ece_on(embedder, held, fitted) < ece + 0.02
    assert (
        ece_on(embedder, nonsense, fitted) > 0.3
    )  # labels of chance: about half of all say "surely not" wrongly


def test_another_place_has_its_own_error() -> None:
    embedder, held = crowd(60, 0.6)
    fitted = calibrate(embedder, held).pair_calibration
    assert ece_on(*crowd(60, 0.6, seed=9), fitted) < 0.05
    assert ece_on(*crowd(60, 1.5, seed=9), fitted) > 0.1  # noisier pictures: one person is farther apart


def test_too_little_to_calibrate_with_is_said() -> None:
    embedder, held = crowd(4, 0.5)
    with pytest.raises(ValueError, match="4 are needed"):
        calibrate(embedder, held.where(held.ids < 3))
    with pytest.raises(ValueError, match="2 are needed"):
        calibrate(embedder, held.where(held.cameras == 1))
    alone = held.where(held.cameras == 1 + held.ids % 2)  # everybody in one camera of their own
    with pytest.raises(ValueError, match="nobody in the set to calibrate with is seen by two cameras"):
        calibrate(embedder, alone)
    fitted = calibrate(embedder, held).pair_calibration
    with pytest.raises(ValueError, match="2 are needed"):
        ece_on(embedder, held.where(held.ids == 0), fitted)


def test_pictures_of_nobody_are_no_person() -> None:
    embedder, held = crowd(20, 0.5)
    some = Pictures(held.crops, held.ids, held.cameras, nobody=0)
    assert calibrate(embedder, some).card() == calibrate(embedder, held.where(held.ids != 0)).card()
