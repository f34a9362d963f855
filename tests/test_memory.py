"""Who has not been seen for long: what is kept of them, and who is like whom."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scenes import look
from tracker.core.appearance import AppearanceModel
from tracker.core.memory import FIRST_ROWS, Memory


def filled(count: int) -> Memory:
    memory = Memory()
    for n in range(count):
        memory.put(n + 1, look(n % 16, 0.1 * n), 5.0, 10 * n, f"told {n}".encode())
    return memory


def test_who_is_put_away_comes_back_as_they_were():
    memory = filled(3)
    told, looks, pictures = memory.take(2)
    assert (told, pictures) == (b"told 1", 5.0)
    np.testing.assert_array_equal(looks, look(1, 0.1))
    assert 2 not in memory and len(memory) == 2
    with pytest.raises(KeyError):
        memory.take(2)


def test_a_hole_is_filled_by_the_last_and_nobody_is_mixed_up():
    memory = filled(2 * FIRST_ROWS + 3)  # more than it has rows for at first
    rng = np.random.default_rng(0)
    left = list(range(1, 2 * FIRST_ROWS + 4))
    for g in rng.permutation(left)[:100].tolist():
        memory.take(g)
        left.remove(g)
    assert sorted(memory.ids().tolist()) == left
    for g in left:
        told, looks, _ = memory.take(g)
        assert told == f"told {g - 1}".encode()
        np.testing.assert_array_equal(looks, look((g - 1) % 16, 0.1 * (g - 1)))


def test_a_copy_changes_without_the_first():
    memory = filled(3)
    memory.part(1, [2])
    other = memory.copy()
    other.take(2)
    other.put(9, look(0), 1.0, 0, b"")
    other.part(1, [3])
    assert memory.ids().tolist() == [1, 2, 3] and memory.apart(1) == {2}
    assert sorted(other.ids().tolist()) == [1, 3, 9] and other.apart(1) == {2, 3}


def test_what_is_told_may_change():
    memory = filled(2)
    memory.tell(2, b"more")
    assert memory.told(2) == b"more" and memory.take(2)[0] == b"more"
    with pytest.raises(KeyError):
        memory.tell(2, b"")


def test_everybody_remembered_with_what_they_look_like():
    people = filled(3).people()
    assert people.ids.tolist() == [1, 2, 3] and people.pictures.tolist() == [5.0] * 3
    np.testing.assert_array_equal(people.looks, [look(n, 0.1 * n) for n in range(3)])


def test_likeness_is_that_of_the_appearance_model():
    memory, model = filled(4), AppearanceModel()
    memory.put(9, None, 0.0, 0, b"")
    who = np.array([look(1, 0.2), look(9)], float)
    said, distance = memory.likeness(who, np.array([3.0, 0.0]), model)
    assert distance[0, 1] == pytest.approx(
        1 - np.cos(0.1), abs=1e-6
    )  # 0.2 against 0.1 from the same direction
    assert said[0, 1] == pytest.approx(model.llr(np.cos(0.1), np.array(3.0), np.array(5.0)), abs=1e-4)
    assert np.isnan(distance[0, 4]) and said[0, 4] == 0  # of them nothing is known
    assert np.isnan(distance[1]).all() and (said[1] == 0).all()  # nor of the second who is asked about


def test_looks_of_another_length_or_network_say_nothing():
    memory, model = filled(2), AppearanceModel()
    said, distance = memory.likeness(np.ones((1, 7)), np.ones(1), model)
    assert said.shape == (1, 2) and np.isnan(distance).all()
    memory.forget_looks()
    said, distance = memory.likeness(np.array([look(0)], float), np.ones(1), model)
    assert np.isnan(distance).all() and not said.any()
    assert memory.take(1)[1:] == (None, 0.0)


def test_the_longest_unseen_are_named_first():
    memory = filled(5)  # last seen at 0, 10, 20, 30, 40
    assert memory.longest_unseen(2) == [1, 2]
    assert memory.longest_unseen(1, before_ns=25) == [1, 2, 3]
    assert memory.longest_unseen() == []
    assert memory.last_seen(2) == [5, 4] and len(memory.last_seen(9)) == 5


def test_who_is_apart_stays_apart_under_every_number():
    memory = filled(3)
    memory.part(1, [2, 7])  # 7 is here, not remembered
    assert memory.apart(2) == {1} and memory.apart(7) == {1}
    memory.take(2)
    assert memory.apart(1) == {2, 7}
    memory.join(3, 7)  # 7 has become 3
    assert memory.apart(3) == {1} and memory.apart(1) == {2, 3} and memory.apart(7) == frozenset()
    memory.part(1, [3, 5], certain=True)
    memory.part(3, [1])
    assert memory.apart(1, certain=True) == {3, 5}
    memory.join(2, 5)
    assert memory.apart(2, certain=True) == {1} and memory.apart(2) == {1}
    memory.forget(1)
    assert memory.apart(2) == memory.apart(3) == frozenset()
    assert 1 not in memory


def test_a_checkpoint_holds_all_of_it():
    memory = filled(FIRST_ROWS + 5)
    memory.take(3)
    memory.part(1, [5, 99])
    state = memory.to_state()
    again = Memory.from_state(state)
    assert again.to_state() == state
    assert again.ids().tolist() == memory.ids().tolist() and again.apart(99) == {1}
    np.testing.assert_array_equal(again.take(5)[1], memory.take(5)[1])
    assert Memory.from_state(Memory().to_state()).to_state() == Memory().to_state()
