"""Which identity somebody is who is followed on the floor."""

from __future__ import annotations

import msgspec

from tracker.core.floor_names import KEPT_NS, FloorNames


def test_boxes_say_who_somebody_is():
    votes = FloorNames().votes([(1, 7, 3), (1, 8, 2), (1, 7, 1), (2, 8, 5)])
    assert votes == {1: {7: 4, 8: 2}, 2: {8: 5}}


def test_what_was_said_counts_where_its_tracklets_are_gone():
    names = FloorNames()
    names.note(1, 7, 40, 0)
    assert names.votes([(1, 8, 2)]) == {1: {8: 2, 7: 40}}
    assert names.votes([(1, 7, 2)]) == {1: {7: 2}}  # those that are known speak for themselves
    names.note(1, 8, 3, 0)
    assert names.votes([]) == {1: {8: 3}}


def test_whoever_is_unseen_for_long_or_forgotten_is_not_kept():
    names = FloorNames()
    for walker, identity, t_ns in ((1, 7, 0), (2, 8, 1), (3, 9, 1)):
        names.note(walker, identity, 5, t_ns)
    names.forget_before(KEPT_NS + 1, {7, 8})
    assert names.votes([]) == {2: {8: 5}}


def test_identities_that_were_one_keep_whom_they_are_and_who_is_forgotten_nobody():
    names = FloorNames()
    names.note(1, 7, 40, 0)
    names.merge(9, 7)
    assert names.votes([]) == {1: {9: 40}}
    names.forget(9)
    assert names.votes([]) == {} and names.to_state() == []


def test_it_goes_on_from_a_checkpoint():
    names = FloorNames()
    names.note(1, 7, 40, 3)
    again = FloorNames.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(names.to_state())))
    assert again.to_state() == names.to_state() and again.votes([]) == names.votes([])
