"""Who comes back after long: the arithmetic of one against all."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scenes import look
from tracker.core.appearance import AppearanceModel
from tracker.core.memory import Memory, People
from tracker.core.returns import (
    AT_ONCE_LLR,
    Asked,
    Rivals,
    at_once_llr,
    known_better,
    recognised,
    times_at_once,
    united,
)

RATE = 0.05
S = 1_000_000_000


def remembering(*rows) -> Memory:
    memory = Memory()
    for n, row in enumerate(rows):
        memory.put(n + 1, row, 12.0, 0, b"")
    return memory


def found(memory: Memory, *rows, times=lambda g: ()) -> list[tuple[int, int]]:
    asked = [Asked(100 + n, row, 12.0) for n, row in enumerate(rows)]
    return [(f.asked, f.known) for f in recognised(asked, memory, AppearanceModel(), times, RATE)]


def test_somebody_is_recognised_among_people_who_look_different():
    memory = remembering(look(0), look(1), look(2))
    assert found(memory, look(1, 0.2)) == [(100, 2)]
    memory.part(2, [1, 3])  # who may be one person would be no rivals
    [one] = recognised([Asked(100, look(1, 0.2), 12.0)], memory, AppearanceModel(), lambda g: (), RATE)
    # One of three or somebody new: a fourth each. Beside it stand two strangers.
    model, n = AppearanceModel(), np.array(12.0)
    odds = [float(model.llr(look(1, 0.2) @ look(k), n, n)) - np.log(4) for k in range(3)]
    # Rivals who are that unlikely are let go.
    assert one.log_odds == pytest.approx(odds[1] - np.log(1 + sum(np.exp(odds[k]) for k in (0, 2))), abs=0.01)


def test_nobody_is_recognised_where_two_who_are_apart_look_the_same():
    memory = remembering(look(0), look(0, 0.1))
    assert found(memory, look(0)) != []  # they may be one person of whom it is not known yet
    memory.part(1, [2])
    assert found(memory, look(0)) == []


def test_of_two_who_could_be_one_only_one_is():
    memory = remembering(look(0))
    assert found(memory, look(0), look(5)) == [(100, 1)]
    assert found(memory, look(0), look(0, 0.05)) == []  # either could be


def test_of_one_walk_looks_are_no_proof_against_having_been_elsewhere_at_the_time():
    memory = remembering(look(0))
    spans = {100: [(0, 10), (50, 60)], 1: [(12, 20), (55, 58)]}
    assert found(memory, look(0), times=lambda g: spans[g]) == []
    spans[1] = [(12, 20), (60, 70)]
    assert found(memory, look(0), times=lambda g: spans[g]) == [(100, 1)]
    memory.part(100, [1])
    assert found(memory, look(0)) == []


def well_seen(spans, parted=False, certain=False) -> list[tuple[int, int]]:
    """Two of the same looks, in as many pictures as make their looks as sure as looks are."""
    memory = Memory()
    memory.put(1, look(0), 360.0, 0, b"")
    if parted:
        memory.part(100, [1], certain=certain)
    asked = [Asked(100, look(0), 360.0)]
    found = recognised(asked, memory, AppearanceModel(common=0.0), lambda g: spans.get(g, ()), RATE)
    return [(f.asked, f.known) for f in found]


def test_being_elsewhere_at_the_time_is_a_proof_where_it_was_often_or_long():
    # Looks say 10; log 2 is taken by somebody new, and log 19 is needed: 6.4 are left for two times of 3.
    spans = {100: [(0, 10 * S), (50 * S, 60 * S), (90 * S, 99 * S)], 1: [(12 * S, 20 * S), (60 * S, 70 * S)]}
    assert well_seen(spans) == [(100, 1)]
    spans[1] = [(5 * S, 20 * S), (55 * S, 70 * S)]
    assert well_seen(spans) == [(100, 1)]
    spans[1].append((90 * S, 97 * S))
    assert well_seen(spans) == []
    assert well_seen({100: [(0, 100 * S)], 1: [(20 * S, 79 * S)]}) == [(100, 1)]
    assert well_seen({100: [(0, 100 * S)], 1: [(20 * S, 81 * S)]}) == []


def test_who_an_operator_parted_is_out_and_whom_one_camera_saw_at_once_once_may_be_a_track_that_hopped():
    assert well_seen({}, parted=True) == [(100, 1)]
    assert well_seen({}, parted=True, certain=True) == []
    memory = Memory()
    memory.part(1, [2])
    at_once = {1: [(0, 9 * S)], 2: [(3 * S, 20 * S)]}
    assert at_once_llr(1, 2, 37, memory, lambda g: ()) == AT_ONCE_LLR
    assert at_once_llr(1, 2, 37, memory, lambda g: at_once[g]) == AT_ONCE_LLR  # that very time
    assert at_once_llr(1, 2, 36, memory, lambda g: at_once[g]) == -np.inf  # of one walk
    assert at_once_llr(1, 3, 36, memory, lambda g: ()) == 0
    memory.part(2, [1], certain=True)
    memory.part(2, [1])
    assert at_once_llr(1, 2, 37, memory, lambda g: ()) == -np.inf


def test_the_more_are_remembered_the_surer_one_must_be():
    some = look(0, 0.3)
    crowd = [look(n % 14 + 2, 0.01 * n) for n in range(200)]
    assert found(remembering(look(0)), some) == [(100, 1)]
    assert found(remembering(look(0), *crowd), some) == []


def test_nothing_is_found_among_nobody():
    assert found(Memory(), look(0)) == []
    assert found(remembering(look(0))) == []
    assert found(remembering(look(0)), np.ones(7)) == []


def test_times_are_joined_and_compared():
    assert united([(20 * S, 30 * S), (0, 10 * S), (12 * S, 14 * S)]) == [
        (0, 14 * S),
        (20 * S, 30 * S),
    ]  # 2 s, 6 s apart
    assert times_at_once([(0, 10 * S)], [(9 * S, 20 * S)]) == 1 / 5
    assert times_at_once([(0, S), (5 * S, 11 * S)], [(2 * S, 3 * S), (5 * S, 30 * S)]) == 1
    assert times_at_once([(0, 90 * S)], [(0, 10 * S), (20 * S, 30 * S), (88 * S, 99 * S)]) == 2.4
    assert times_at_once([(0, 10)], [(10, 20)]) == 0 == times_at_once([], [(0, 1)])


def known(*people: tuple[int, float, float]) -> People:
    """Identities, each with the angle of its looks and its pictures."""
    ids, angles, pictures = zip(*people, strict=True)
    rows = np.array([look(0, angle) for angle in angles])
    return People(np.array(ids), rows, np.array(pictures))


def test_somebody_may_be_whoever_is_known_better_and_looks_like_them():
    model, one = AppearanceModel(), Asked(5, look(0), 6.0)
    people = known((5, 0.0, 6.0), (1, 0.3, 12.0), (2, 0.6, 7.0), (3, 0.0, 5.0), (4, 0.3, 6.0), (6, 0.3, 6.0))
    n = np.array(6.0)
    odds = [
        float(np.exp(model.llr(np.cos(a), n, np.array(p)))) for a, p in ((0.3, 12.0), (0.6, 7.0), (0.3, 6.0))
    ]
    # Not themselves, nor who is known less well; of equals, who came first.
    [found] = known_better([one], people, model, [()], lambda g: ())
    assert found.odds == pytest.approx(sum(odds), rel=1e-4)
    assert (found.likeliest, found.odds_of_likeliest) == (1, pytest.approx(odds[0], rel=1e-4))
    [apart] = known_better([one], people, model, [(1, 4)], lambda g: ())
    assert (apart.odds, apart.likeliest) == (pytest.approx(odds[1], rel=1e-4), 2)


def test_who_was_elsewhere_at_the_time_is_less_likely_them():
    spans = {5: [(0, 10 * S)], 1: [(0, 10 * S)], 2: []}
    people, one = known((1, 0.0, 9.0), (2, 0.0, 9.0)), Asked(5, look(0), 6.0)
    [found] = known_better([one], people, AppearanceModel(), [()], lambda g: spans[g])
    assert found.likeliest == 2
    assert found.odds == pytest.approx(found.odds_of_likeliest * (1 + np.exp(AT_ONCE_LLR)))


def test_nobody_is_known_better_where_nobody_is_known():
    one, model = Asked(5, look(0), 6.0), AppearanceModel()
    assert known_better([one], known((5, 0.0, 6.0)), model, [()], lambda g: ()) == [Rivals(0.0)]
    assert known_better([one], known((1, 0.0, 0.0)), model, [()], lambda g: ()) == [
        Rivals(0.0)
    ]  # of no looks
    other = People(np.array([1]), np.ones((1, 7)), np.array([9.0]))  # of another network
    assert known_better([one], other, model, [()], lambda g: ()) == [Rivals(0.0)]
    assert known_better([], other, model, [], lambda g: ()) == []
