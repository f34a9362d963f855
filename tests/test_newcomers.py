"""How many of those who come are new: learned from how likely that is of each."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.core.newcomers import BEFOREHAND, BEFOREHAND_SHARE, MOST, Newcomers

NOBODY = -np.inf


def test_as_long_as_nobody_came_it_is_the_share_known_beforehand():
    assert Newcomers().share == pytest.approx(BEFOREHAND_SHARE)


def test_whoever_comes_counts_as_far_as_they_are_likely_to_be_new():
    found = Newcomers()
    # Of odds 1 for somebody new, 1 and 2 for two who were away: new with 1/4, known with 3/4.
    found.learn(np.log([[1.0, 2.0]]), np.array([[True, True]]))
    assert (found.new, found.known) == pytest.approx((0.25, 0.75))
    assert found.share == pytest.approx((0.25 + BEFOREHAND_SHARE * BEFOREHAND) / (1 + BEFOREHAND))


def test_those_who_came_long_ago_fade():
    found = Newcomers()
    for _ in range(3):
        found.count(MOST, 0.0)
    found.count(0.0, MOST)
    assert (found.new, found.known) == pytest.approx((MOST / 2, MOST / 2))


def test_who_goes_on_in_sight_says_nothing_of_those_who_come():
    found = Newcomers()
    found.learn(np.array([[3.0, NOBODY]]), np.array([[False, True]]))
    assert (found.new, found.known) == (0, 0)
    # Odds 8 for somebody in sight, 1 for one who was away, 1 for somebody new.
    found.learn(np.log([[8.0, 1.0]]), np.array([[False, True]]))
    assert (found.new, found.known) == pytest.approx((0.1, 0.1))
    found.learn(np.zeros((2, 0)), np.zeros((2, 0), bool))
    assert (found.new, found.known) == pytest.approx((0.1, 0.1))


def test_what_is_no_number_tells_nothing():
    """One NaN used to make the share NaN for ever: then nobody who had been away was known again."""
    found = Newcomers()
    # Of the second alone it is known what they may be: odds 1 for somebody new, 3 for one who was away.
    log_odds = np.array([[np.nan, 0.0], [NOBODY, np.log(3)]])
    found.learn(log_odds, np.array([[False, True], [False, True]]))
    assert (found.new, found.known) == pytest.approx((0.25, 0.75))


@pytest.mark.parametrize("true_share", [0.05, 0.5, 0.9])
def test_an_office_and_a_square_are_told_apart(true_share):
    """100 people might come back, whose looks say 4.5 +- 3 of themselves and -4.5 +- 3 of others (log-odds)."""
    rng, found, people = np.random.default_rng(1), Newcomers(), 100
    for _ in range(2000):
        log_odds = rng.normal(-4.5, 3, people)
        if rng.random() > true_share:
            log_odds[0] += 9
        prior = np.log(people * found.share / (1 - found.share))
        found.learn(log_odds[None] - prior, np.ones((1, people), bool))
    assert found.share == pytest.approx(true_share, abs=0.12)


def test_what_was_long_ago_is_forgotten():
    found = Newcomers()
    for _ in range(1000):
        found.learn(np.array([[-50.0]]), np.array([[True]]))
    assert found.new + found.known == pytest.approx(MOST)
    for _ in range(1000):
        found.learn(np.array([[50.0]]), np.array([[True]]))
    assert found.share < 0.02
