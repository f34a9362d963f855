"""What speaks for one person and what against: signs, monotony and limits of every cue."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scenes import SIZE, person_box
from tracker.core.evidence import (
    MAX_PLACE_LLR,
    at_border,
    gap_llr,
    look_llr,
    meeting_llr,
    stitch_llr,
    walk_llr,
)

# ---- time ----------------------------------------------------------------------------------------------------


def test_short_gaps_speak_for_one_person_and_the_window_ends_it():
    cue = gap_llr(np.array([0.0, 2, 10, 60, 120, 120.1, -5]), typical_s=4.0, window_s=120.0)
    # Density 1 / 4 at no gap against 1 / 120 for a stranger: log(120 / 4) = log 30.
    assert cue[0] == pytest.approx(np.log(30)) == cue[6]
    assert cue[1] == pytest.approx(np.log(30 / 1.5**2))
    assert (np.diff(cue[:5]) < 0).all() and np.isfinite(cue[:5]).all()
    assert cue[5] == -np.inf


# ---- place ---------------------------------------------------------------------------------------------------


def met(distances_m: np.ndarray, sigma_m: float = 0.2) -> float:
    """Two tracklets seen at once, their places so far apart."""
    looks = look_llr(distances_m, np.full(len(distances_m), sigma_m))
    return float(meeting_llr(looks.mean(), np.array(float(len(looks)))))


def test_standing_on_one_spot_in_two_views_is_one_person():
    here, near, far = (met(np.full(20, d)) for d in (0.05, 0.4, 3.0))
    assert here > near > 3 > 0 > far
    # One look on the spot: eight tenths of 60 m^2 / (2 pi 0.2^2), two of 60 m^2 / (2 pi (0.2^2 + 1.5^2)).
    one = 0.8 * 60 / (2 * np.pi * 0.04) + 0.2 * 60 / (2 * np.pi * 2.29)
    assert met(np.zeros(1)) == pytest.approx(np.log(one))
    assert met(np.full(20, 50.0)) == pytest.approx(-3 * 8)  # 20 looks say as much as 8


def test_hidden_feet_now_and_then_do_not_part_one_person():
    assert met(np.where(np.arange(20) % 3 == 0, 2.0, 0.1)) > 3  # a third of the time the feet were hidden


def test_a_place_that_is_unknown_says_nothing():
    assert walk_llr(np.nan, 0.2, 3.0) == 0
    assert walk_llr(3.0, np.nan, 3.0) == 0


def test_nobody_walks_faster_than_people_do():
    # 20 m in 2 s are 10 m/s; in 20 s 1 m/s.
    assert walk_llr(20, 0.1, 2) == -MAX_PLACE_LLR
    assert walk_llr(20, 0.1, 20) > -5
    # The limit is 3 m/s, and three sigma and half a metre for what is not known: 6 + 0.3 + 0.5 m in 2 s.
    assert walk_llr(6.7, 0.1, 2) > -MAX_PLACE_LLR
    assert walk_llr(6.9, 0.1, 2) == -MAX_PLACE_LLR
    assert walk_llr(20, 5.0, 2) > -MAX_PLACE_LLR  # a place that is hardly known rules nothing out


def test_a_short_walk_for_a_short_time_speaks_for_one_person():
    assert walk_llr(1.0, 0.2, 1.0) > walk_llr(3.0, 0.2, 1.0)
    assert walk_llr(0.3, 0.2, 0.5) > 1


def test_a_track_that_goes_on_where_it_was_heading_is_one_person():
    end, velocity = person_box(300), np.array([200.0, 0.0])
    ahead = stitch_llr(end, velocity, person_box(400), 0.5, window_s=3.0)
    aside = stitch_llr(end, velocity, person_box(900), 0.5, window_s=3.0)
    back = stitch_llr(end, velocity, person_box(100), 0.5, window_s=3.0)
    other_size = stitch_llr(end, velocity, person_box(400, height=100), 0.5, window_s=3.0)
    assert ahead > 1 > 0 > aside and ahead > back and ahead > other_size
    assert aside >= -MAX_PLACE_LLR


def test_a_later_start_is_less_certainly_the_same_track():
    standing = [
        stitch_llr(person_box(300), np.zeros(2), person_box(300), g, window_s=3.0) for g in (0.1, 0.5, 1.5, 3)
    ]
    assert (np.diff(standing) < 0).all()


def test_boxes_without_area_stop_nothing():
    assert np.isfinite(stitch_llr(np.zeros(4), np.zeros(2), np.zeros(4), 0.0, window_s=3.0))


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        (person_box(500), False),
        (np.array([0, 200, 80, 400]), True),
        (np.array([920, 200, 999, 400]), True),
        (np.array([500, 5, 580, 200]), True),
        (np.array([500, 400, 580, 599]), True),
        (np.array([30, 200, 110, 400]), False),  # 0.02 of 1000 px are 20
    ],
)
def test_who_touches_the_pictures_edge(box, touches):
    assert bool(at_border(box, SIZE)) is touches
    assert bool(at_border(box, (0, 0)))  # a picture of unknown size
