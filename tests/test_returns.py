"""Who comes back after long: the arithmetic of one against all."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scenes import look
from tracker.core.appearance import AppearanceModel
from tracker.core.memory import Memory
from tracker.core.returns import Asked, overlap, recognised, united

RATE = 0.05


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
    S = [float(model.llr(look(1, 0.2) @ look(k), n, n)) - np.log(4) for k in range(3)]
    # Rivals who are that unlikely are let go.
    assert one.log_odds == pytest.approx(S[1] - np.log(1 + sum(np.exp(S[k]) for k in (0, 2))), abs=0.01)


def test_nobody_is_recognised_where_two_who_are_apart_look_the_same():
    memory = remembering(look(0), look(0, 0.1))
    assert found(memory, look(0)) != []  # they may be one person of whom it is not known yet
    memory.part(1, [2])
    assert found(memory, look(0)) == []


def test_of_two_who_could_be_one_only_one_is():
    memory = remembering(look(0))
    assert found(memory, look(0), look(5)) == [(100, 1)]
    assert found(memory, look(0), look(0, 0.05)) == []  # either could be


def test_who_was_elsewhere_at_the_time_or_is_known_to_be_another_is_out():
    memory = remembering(look(0))
    spans = {100: [(0, 10), (50, 60)], 1: [(12, 20), (55, 58)]}
    assert found(memory, look(0), times=lambda g: spans[g]) == []
    spans[1] = [(12, 20), (60, 70)]
    assert found(memory, look(0), times=lambda g: spans[g]) == [(100, 1)]
    memory.part(100, [1])
    assert found(memory, look(0)) == []


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
    s = 1_000_000_000
    assert united([(20 * s, 30 * s), (0, 10 * s), (12 * s, 14 * s)]) == [
        (0, 14 * s),
        (20 * s, 30 * s),
    ]  # 2 s, 6 s apart
    assert overlap([(0, 10)], [(9, 20)]) and overlap([(0, 1), (5, 9)], [(2, 3), (8, 12)])
    assert not overlap([(0, 10)], [(10, 20)]) and not overlap([], [(0, 1)])
