"""Work in parts, and how much of it a step may do."""

from __future__ import annotations

import pytest

from tracker.core.work import SPARED, WORK_AT_ONCE, WORK_PER_S, Job, Pace, Work, done, played


def counting(parts: list[int]) -> Work[int]:
    yield from parts
    return sum(parts)


def test_what_is_done_ahead_is_told_in_the_same_parts():
    job = Job(counting([3, 0, 5]))
    assert job.go_on() == 3 and job.result is None
    parts, found = job.ahead()
    assert (parts, found) == ([0, 5], 8)
    again = Job(played(parts, found))
    # A part that was nothing counts as one, for 0 tells that all is done.
    assert [(job.go_on(), again.go_on()) for _ in range(3)] == [(1, 1), (5, 5), (0, 0)]
    assert job.result == again.result == done(counting([3, 0, 5])) == 8


def test_work_is_spread_over_as_many_steps_as_came_before():
    pace = Pace()
    for _ in range(100):
        pace.begin_step()
    pace.restart(1.0)
    pace.earn()
    pace.spend(WORK_PER_S // 100 - WORK_PER_S // 100 // SPARED - 1)
    assert pace.has_time
    pace.spend(1)
    assert not pace.has_time  # a hundredth of a second's work, but for what is spared


def test_few_steps_may_do_much_and_many_at_least_so_much():
    for steps, a_step in ((1, WORK_PER_S), (10**9, WORK_AT_ONCE)):
        pace = Pace(steps=steps)
        pace.restart(1.0)
        assert pace.to_state() == [0, a_step, 0]


def test_what_was_too_much_is_made_up_for_and_little_is_saved():
    pace = Pace(a_step=900)
    for _ in range(5):
        pace.earn()
    assert pace.to_state()[0] == 900 + 300  # a third of a step's, however long nothing was done
    pace.spend(2000)
    pace.earn()
    assert not pace.has_time  # -800 + 900
    pace.earn()
    assert pace.has_time


def test_where_every_step_has_other_things_to_do_some_time_is_left():
    pace, worked = Pace(a_step=800), 0
    for _ in range(64):
        pace.spend_most()
        pace.earn()
        while pace.has_time:
            pace.spend(50)
            worked += 50
    assert worked == pytest.approx(64 * 100, abs=300)  # an eighth of each


def test_a_pace_goes_on_as_it_was():
    pace = Pace(left=7, a_step=11, steps=13)
    assert Pace(*pace.to_state()).to_state() == pace.to_state() == [7, 11, 13]
