"""Where in one picture somebody is who stands there in the other."""

from __future__ import annotations

import numpy as np

from tracker.core.meeting import DOUBTS, MAX_LOG_RATIO, PLACES, log_ratio_table, place_of


def test_places_are_cells_row_by_row():
    assert [place_of(*xy) for xy in ((0, 0), (0.99, 0.0), (0.0, 0.99), (1.5, 2.0))] == [0, 7, 56, 63]
    assert place_of(float("nan"), 0.5) == -1


def test_nothing_seen_says_nothing():
    assert np.abs(log_ratio_table(np.zeros((2, PLACES, PLACES)))).max() == 0


def test_who_was_one_person_there_will_be_so_again():
    looks = np.zeros((2, PLACES, PLACES))
    looks[0, 10, 50] = looks[0, 14, 54] = 40  # the same two ways round
    looks[1, 10, 54] = looks[1, 14, 50] = 40
    table = log_ratio_table(looks)
    assert table[10, 50] > 1 and table[14, 54] > 1 and table[10, 54] < -1
    assert np.abs(table).max() <= MAX_LOG_RATIO
    few = log_ratio_table(looks / 80)  # half a look of each kind beside ``DOUBTS``
    assert 0 < few[10, 50] < table[10, 50] / 3 and DOUBTS > 1
