"""Pictures of one track, until they show somebody else or the one who was here again."""

from __future__ import annotations

import pytest

from tests.scenes import at, look
from tracker.core.doubt import MOST_DOUBTS, Doubt, LookScale, Picture

LOOKS = LookScale()
KNOWN = 1000  # pictures: of these a track's look is certain


def picture(t_s: float, share: float, person: int = 1, quality: float = 1.0) -> Picture:
    return Picture(at(t_s), look(person), quality, share)


def added(doubt: Doubt, shares: list[float], known: int = KNOWN, start_s: float = 1.0) -> list[bool]:
    """A picture of one other person every 0.1 s; after each, whether the doubt is over with nobody else."""
    return [doubt.add(picture(start_s + n / 10, share), known, LOOKS) for n, share in enumerate(shares)]


def test_three_pictures_of_somebody_else_are_enough_and_two_are_not():
    doubt = Doubt(at(0))
    assert added(doubt, [1.0, 1.0]) == [False, False] and not doubt.is_stranger
    assert not doubt.add(picture(1.2, 1.0), KNOWN, LOOKS) and doubt.is_stranger


def test_pictures_of_several_others_are_nobody():
    doubt = Doubt(at(0))
    for n in range(MOST_DOUBTS):
        over = doubt.add(picture(1 + n / 10, 1.0, person=1 + n), KNOWN, LOOKS)
        assert not doubt.is_stranger
        assert over == (n == MOST_DOUBTS - 1)


def test_one_s_own_look_ends_it_whatever_came_before():
    doubt = Doubt(at(0))
    assert added(doubt, [0.9, 0.9, 0.2], known=3) == [False, False, True]
    assert not doubt.is_stranger


def test_what_is_no_stranger_s_is_settled_as_the_track_s_own():
    doubt = Doubt(at(0))
    added(doubt, [0.6, 0.9, 0.7])
    assert [one.share for one in doubt.settled()] == [0.6, 0.7]
    assert not doubt and not doubt.settled()


def test_so_many_pictures_of_a_stranger_tell_even_where_few_are_known_of_who_was_here():
    few = 3  # of 5: a mean of .9 counts as .54 at most, less than .6
    doubt = Doubt(at(0))
    assert not any(added(doubt, [0.9] * (MOST_DOUBTS - 1), few)) and not doubt.is_stranger
    assert not doubt.add(picture(2.0, 0.9), few, LOOKS) and doubt.is_stranger
    middling = Doubt(at(0))
    assert added(middling, [0.75] * MOST_DOUBTS, few)[-1] and not middling.is_stranger


@pytest.mark.parametrize(
    ("clear_s", "risk_s", "is_stranger"),
    [
        (0.0, None, False),  # in sight all the time
        (0.0, 0.0, True),
        (0.4, 0.0, True),  # the risk was half a second before the last clear picture at most
        (0.6, 0.0, False),
        (0.0, 0.9, True),
    ],
)
def test_less_is_enough_where_somebody_else_may_have_been_taken_for_them(clear_s, risk_s, is_stranger):
    doubt = Doubt(at(0))
    doubt.clear(at(clear_s))
    if risk_s is not None:
        doubt.risk(at(risk_s), is_back=False)
    added(doubt, [0.65] * 3)  # counts as .65 x 3 / 3.5 = .56: between .5 and .6
    assert doubt.is_stranger == is_stranger


def test_a_doubt_that_ends_undecided_is_no_clear_sight():
    """The gap before it is still the last that is known; one's own look makes it a thing of the past."""
    for last, is_stranger in ((0.3, True), (0.2, False)):
        doubt = Doubt(at(0))
        doubt.risk(at(0.9), is_back=True)
        shares = [
            *[0.55] * (MOST_DOUBTS - 1),
            last,
        ]  # not far enough for anything, more than half in the mean
        assert added(doubt, shares)[-1]
        doubt.settled()
        added(doubt, [0.65] * 3, start_s=3.0)
        assert doubt.is_stranger == is_stranger


def test_pictures_of_long_ago_are_forgotten_and_those_since_count():
    doubt = Doubt(at(0))
    added(doubt, [0.9, 0.9, 0.6], known=3)
    doubt.forget(at(1.1))
    assert [one.t_ns for one in doubt.pictures] == [at(1.1), at(1.2)]
    doubt.forget(at(9.0))
    assert not doubt


def test_clear_pictures_count_most():
    """.9 from two poor pictures and .55 from a good one are .63, counted as .63 x 1.3 / 1.8 = .46, not as .78 x .72."""
    doubt = Doubt(at(0))
    doubt.risk(at(0), is_back=False)
    for n, (share, quality) in enumerate(((0.9, 0.15), (0.9, 0.15), (0.55, 1.0))):
        doubt.add(picture(1 + n / 10, share, quality=quality), KNOWN, LOOKS)
    assert not doubt.is_stranger
    alike = Doubt(at(0))
    alike.risk(at(0), is_back=False)
    added(alike, [0.9, 0.9, 0.55])
    assert alike.is_stranger


def test_nothing_is_left_of_a_doubt_that_is_over():
    doubt = Doubt(at(0))
    added(doubt, [1.0, 1.0, 1.0])
    assert doubt.is_stranger
    doubt.settled()
    assert not doubt.is_stranger and not doubt
    added(doubt, [1.0, 1.0, 1.0])
    assert doubt.add(picture(2.0, 0.1), KNOWN, LOOKS) and not doubt.is_stranger


@pytest.mark.parametrize(
    ("is_back", "share", "is_over"), [(True, 0.4, True), (False, 0.4, False), (True, 0.6, False)]
)
def test_who_comes_back_and_looks_like_them_is_not_in_doubt_for_what_was_before(is_back, share, is_over):
    doubt = Doubt(at(0))
    added(doubt, [0.9, 0.9], known=3)
    doubt.risk(at(3.0), is_back=is_back)
    assert doubt.add(picture(3.0, share), 3, LOOKS) == is_over
    assert [one.share for one in doubt.settled()] == [share]  # neither of the two before is theirs
    assert doubt.is_risky
