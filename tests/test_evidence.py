"""What speaks for one person and what against: signs, monotony and limits of every cue."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scenes import SIZE, person_box
from tracker.core.evidence import (
    MAX_AGAINST_LLR,
    MAX_PLACE_LLR,
    at_border,
    gap_llr,
    head_llr,
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


def test_twenty_looks_say_as_much_as_eight():
    assert meeting_llr(np.array(-3.0), np.array(20.0)) == -3 * 8
    assert meeting_llr(np.array(2.0), np.array(1.0)) == 2 and meeting_llr(np.array(2.0), np.array(3.0)) == 4


def test_a_place_that_is_unknown_says_nothing():
    assert walk_llr(np.nan, 0.2, 3.0) == 0
    assert walk_llr(3.0, np.nan, 3.0) == 0


def test_nobody_walks_faster_than_people_do():
    # 20 m in 2 s are 10 m/s; in 20 s 1 m/s.
    assert walk_llr(20, 0.1, 2) == -MAX_AGAINST_LLR
    assert walk_llr(20, 0.1, 20) > -5
    # The limit is 3 m/s, and three sigma and half a metre for what is not known: 6 + 0.3 + 0.5 m in 2 s.
    assert walk_llr(6.7, 0.1, 2) >= -MAX_PLACE_LLR
    assert walk_llr(6.9, 0.1, 2) == -MAX_AGAINST_LLR
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


def test_a_head_that_goes_on_is_one_person_whatever_stands_before_the_legs():
    whole, cut = np.array([100.0, 100.0, 180.0, 340.0]), np.array([104.0, 101.0, 184.0, 240.0])
    lower, wider = cut + np.array([0, 60, 0, 60]), cut + np.array([-40, 0, 40, 0])
    still = np.zeros(2)
    on = head_llr(whole, still, cut, 0.5)
    assert on > 3 > head_llr(whole, still, lower, 0.5) and on > 3 > head_llr(whole, still, wider, 0.5)
    # 0.7 of 80 px/s for 0.5 s are 28 px: who was heading away would be there.
    ahead = cut + np.array([24, 0, 24, 0])
    assert head_llr(whole, np.array([80.0, 0.0]), ahead, 0.5) == pytest.approx(
        head_llr(whole, still, whole, 0.5), abs=0.01
    )
    assert head_llr(whole, still, cut + 5000, 0.5) == -30 and np.isfinite(
        head_llr(whole, still, np.zeros(4), 0.5)
    )


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
