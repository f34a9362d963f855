"""Single tracklets go where all cues together say; nobody else does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.scenes import look
from tests.test_grouping import scores
from tracker.core import local_search
from tracker.core.grouping import NEVER, Scores
from tracker.core.local_search import LEAST_BETTER, searching
from tracker.core.work import done

HER, HIM, THEM = 0, 1, 2


def found(
    given: Scores, *groups: list[int], said: Sequence[int] | None = None, stay: Sequence[int] = ()
) -> list[list[int]]:
    stays = np.isin(np.arange(len(given)), stay)
    return done(searching(groups, given, list(range(len(given))) if said is None else said, stays))


def test_nobody_moves_where_everybody_is_right():
    given = scores([look(HER), look(HIM), look(HER, 0.2), look(HIM, 0.2)])
    assert found(given, [0, 2], [1, 3]) == [[0, 2], [1, 3]]
    assert found(scores([])) == []


def test_who_looks_like_somebody_else_goes_there():
    """A tracklet that followed on another's heels used to stay with him however unlike, for nothing was taken back."""
    given = scores([look(HER), look(HER, 0.1), look(HIM), look(HIM, 0.1), look(HER, 0.2)])
    given.link[4, 2:4] = given.link[2:4, 4] = 4.0
    assert found(given, [0, 1], [2, 3, 4]) == [[0, 1, 4], [2, 3]]


def test_who_is_like_nobody_is_somebody_new():
    given = scores([look(HER), look(HER, 0.1), look(HIM), look(HIM, 0.1), look(THEM)])
    assert found(given, [0, 1, 4], [2, 3]) == [[0, 1], [2, 3], [4]]


def test_nobody_goes_where_one_camera_saw_them_beside_somebody():
    given = scores([look(HER), look(HIM), look(HER, 0.1)], apart=[(0, 2)])
    assert found(given, [0], [1, 2]) == [[0], [1], [2]]


def test_nobody_goes_where_they_would_have_to_fly():
    given = scores([look(HER), look(HIM), look(HER, 0.1)])
    given.link[0, 2] = given.link[2, 0] = NEVER
    assert found(given, [0], [1, 2]) == [[0], [1], [2]]


def test_who_was_moved_to_and_fro_only_goes_back_to_whom_they_are_said_to_be():
    """What is joined depends on what is said, and where the search then moves it on that: it could swing for ever."""
    given = scores([look(HER), look(HIM), look(HIM, 0.1), look(HER, 0.1)])
    groups = [0], [1, 2, 3]
    assert found(given, *groups, said=[5, 6, 6, 6], stay=[3]) == [[0], [1, 2, 3]]
    assert found(given, *groups, said=[5, 6, 6, 5], stay=[3]) == [[0, 3], [1, 2]]
    assert found(given, *groups, said=[5, 6, 6, 6], stay=[0, 1, 2]) == [[0, 3], [1, 2]]
    given = scores([look(HIM), look(HIM, 0.1), look(HER, 0.1)])
    assert found(given, [0, 1, 2], said=[6, 6, 6], stay=[2]) == [[0, 1, 2]]  # nor to nobody
    assert found(given, [0, 1, 2], said=[6, 6, 6]) == [[0, 1], [2]]
    assert found(given, [0, 1, 2], said=[6, 6, 7], stay=[2]) == [[0, 1], [2]]  # where they were by themselves


def test_what_an_operator_said_stays():
    given = scores([look(HER), look(HIM), look(HIM, 0.1), look(HER, 0.1)])
    given.force(1, 3)
    assert found(given, [0], [1, 2, 3]) == [[0], [1, 2, 3]]


def test_those_without_looks_stay_and_nobody_goes_to_them():
    given = scores([None, None, look(HER), look(HIM)], link=9.0)
    assert found(given, [0, 2], [1, 3]) == [[0, 2], [1, 3]]
    given = scores([None, look(HER), look(HIM)], link=2.0)
    given.link[0] = given.link[:, 0] = 50.0
    assert found(given, [0], [1, 2]) == [[0], [1], [2]]
    assert found(scores([None, None]), [0], [1]) == [[0], [1]]


@pytest.mark.parametrize(("more", "goes"), [(0.1, True), (-0.1, False)])
def test_a_little_better_is_not_better(more, goes):
    given = scores([look(HER), look(HIM), look(THEM)], link=5.0)
    reading = local_search._Reading([[0], [1, 2]], given)
    done(reading.know())
    now, other = float(reading.value[2, 1]), float(reading.value[2, 0])
    given.link[0, 2] = given.link[2, 0] = 5.0 + now - other + LEAST_BETTER + more
    assert (found(given, [0], [1, 2]) == [[0, 2], [1]]) is goes


def test_the_way_is_that_from_those_nearest_in_time_and_glimpses_come_last():
    given = scores([look(HER), look(HER, 0.1), look(HIM), look(HER, 0.2)])
    given.gap_s[3, :2] = given.gap_s[:2, 3] = 5.0, 1.0
    given.link[3, :2] = given.link[:2, 3] = NEVER, 2.0
    assert found(given, [0, 1], [2, 3]) == [[0, 1, 3], [2]]
    given.core[1] = False  # by the other, it is too far
    assert found(given, [0, 1], [2, 3]) == [[0, 1], [2], [3]]


def test_how_likely_everybody_is_of_every_other_group_is_what_it_is_for_newcomers():
    rng = np.random.default_rng(3)
    given = scores([look(n % 5, float(rng.uniform(0, 0.4))) for n in range(20)], meeting=1.5)
    for table in (given.link, given.gap_s):
        values = rng.normal(size=(20, 20))
        table[:] = np.triu(values, 1) + np.triu(values, 1).T
    met = np.triu(rng.random((20, 20)) < 0.1, 1)
    given.met[:] = met | met.T
    given.placed[:] = given.met & (np.add.outer(np.arange(20), np.arange(20)) % 2 == 0)
    groups = [[n for n in range(20) if n % 4 == g] for g in range(4)]
    reading = local_search._Reading(groups, given)
    done(reading.know())
    for i in range(20):
        owner = np.arange(20) % 4
        owner[i] = -1  # against its own group as against others
        assert reading.value[i, :4] == pytest.approx(given.to_groups([[i]], owner, 4)[0], abs=1e-5)
        assert reading.value[i, 4] == 0.0
