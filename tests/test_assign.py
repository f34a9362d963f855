"""Matching against slow twins that try everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tracker.core.assign import assign, assign_or_new, margins

COSTS = st.one_of(st.floats(0, 2), st.sampled_from([np.nan, np.inf, 0.0, 0.5, 1.0]))


@st.composite
def tables(draw: st.DrawFn, largest: int = 4) -> NDArray[np.float64]:
    n, m = draw(st.integers(0, largest)), draw(st.integers(0, largest))
    return np.array([[draw(COSTS) for _ in range(m)] for _ in range(n)], float).reshape(n, m)


def best_by_trying(cost: NDArray[np.float64], gate: float) -> tuple[int, float]:
    """Most pairs within the gate, then least cost, over every way to pair."""
    n, m = cost.shape
    best = (0, 0.0)
    for k in range(1, min(n, m) + 1):
        for rows in itertools.combinations(range(n), k):
            for columns in itertools.permutations(range(m), k):
                pairs = [cost[i, j] for i, j in zip(rows, columns, strict=True)]
                if all(c <= gate for c in pairs):
                    best = min(best, (-k, sum(pairs)))
    return -best[0], best[1]


@given(tables(), st.floats(0, 2))
@settings(max_examples=150, deadline=None)
def test_as_many_pairs_as_the_gate_allows_then_the_cheapest(cost: NDArray[np.float64], gate: float) -> None:
    found = assign(cost, gate)
    pairs = cost[found.rows, found.columns]
    assert (pairs <= gate).all()
    assert len(set(found.rows)) == len(set(found.columns)) == len(found.rows)
    count, total = best_by_trying(cost, gate)
    assert len(pairs) == count
    assert pairs.sum() == pytest.approx(total, abs=1e-9)
    # Whoever is not in a pair is free, once, in rising order.
    assert sorted([*found.rows, *found.free_rows]) == list(range(cost.shape[0]))
    assert sorted([*found.columns, *found.free_columns]) == list(range(cost.shape[1]))
    assert (np.diff(found.rows) > 0).all() and (np.diff(found.free_columns) > 0).all()


def test_two_pairs_beat_one_cheap_one():
    # Row 0 with column 0 alone costs 0.1, but then row 1 is left over: 0.6 + 0.7 is taken.
    found = assign(np.array([[0.1, 0.6], [0.7, np.inf]]), 1.0)
    assert list(zip(found.rows, found.columns, strict=True)) == [(0, 1), (1, 0)]


def test_the_gate_itself_is_still_allowed():
    assert len(assign(np.array([[1.0]]), 1.0).rows) == 1
    assert len(assign(np.array([[1.0 + 1e-9]]), 1.0).rows) == 0


def test_impossible_pairs_stay_alone():
    found = assign(np.full((2, 3), np.nan), 5.0)
    assert (
        len(found.rows) == 0
        and found.free_rows.tolist() == [0, 1]
        and found.free_columns.tolist() == [0, 1, 2]
    )


@pytest.mark.parametrize("gate", [np.nan, np.inf, -0.1])
def test_a_gate_must_be_a_number_of_at_least_zero(gate):
    with pytest.raises(ValueError, match="gate"):
        assign(np.zeros((1, 1)), gate)


def new_by_trying(cost: NDArray[np.float64], new_cost: NDArray[np.float64]) -> float:
    """Least total over every way to give each row a column of its own or -1."""
    n, m = cost.shape
    best = np.inf
    for choice in itertools.product(range(-1, m), repeat=n):
        taken = [c for c in choice if c >= 0]
        if len(set(taken)) < len(taken):
            continue
        total = sum(new_cost[i] if c < 0 else cost[i, c] for i, c in enumerate(choice))
        if np.isfinite(total):
            best = min(best, total)
    return best


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_new_or_known_at_least_total_cost(data: st.DataObject) -> None:
    cost = data.draw(tables()) - 1.0  # rewards too
    new_cost = np.array([data.draw(st.floats(-2, 2)) for _ in range(len(cost))], float)
    chosen = assign_or_new(cost, new_cost)
    taken = chosen[chosen >= 0]
    assert len(chosen) == len(cost) and len(set(taken)) == len(taken)
    total = sum(new_cost[i] if c < 0 else cost[i, c] for i, c in enumerate(chosen))
    if len(cost):
        assert total == pytest.approx(new_by_trying(cost, new_cost), abs=1e-9)


def test_one_place_and_two_who_want_it():
    # Both would rather be column 0 (-5, -4) than new (-1): the one who gains more gets it.
    assert assign_or_new(np.array([[-5.0], [-4.0]]), np.array([-1.0, -1.0])).tolist() == [0, -1]
    assert assign_or_new(np.array([[-4.0], [-5.0]]), np.array([-1.0, -1.0])).tolist() == [-1, 0]


def test_without_columns_everybody_is_new():
    assert assign_or_new(np.zeros((2, 0)), np.zeros(2)).tolist() == [-1, -1]
    assert assign_or_new(np.array([[-np.inf, np.inf, np.nan]]), np.zeros(1)).tolist() == [-1]


def test_margins_are_what_a_pair_is_worth_to_the_whole():
    # Best: 0 with 0 and 1 with 1, together -9. Without (0, 0): 0 with 1, 1 new: -4; or 1 with 1, 0 new: -5.
    # Without (1, 1): 0 with 0, 1 new: -4. The third row is new.
    cost = np.array([[-4.0, -4.0], [np.inf, -5.0], [np.inf, np.inf]])
    new = np.zeros(3)
    columns = assign_or_new(cost, new)
    assert columns.tolist() == [0, 1, -1]
    assert margins(cost, new, columns).tolist() == [4, 5, np.inf]


def test_margins_against_all_assignments():
    """Its slow twin: every way to give rows columns, with and without the pair."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        cost = rng.normal(0, 2, (3, 3))
        cost[rng.random((3, 3)) < 0.3] = np.inf
        new = rng.normal(0, 1, 3)
        columns = assign_or_new(cost, new)

        def best(row: int, barred: int, cost: np.ndarray = cost, new: np.ndarray = new) -> float:
            ways = []
            for way in itertools.product((-1, 0, 1, 2), repeat=3):
                used = [c for c in way if c >= 0]
                if len(set(used)) == len(used) and way[row] != barred:
                    ways.append(sum(new[n] if c < 0 else cost[n, c] for n, c in enumerate(way)))
            return min(ways)

        for row, margin in enumerate(margins(cost, new, columns)):
            if columns[row] >= 0:
                assert margin == pytest.approx(best(row, int(columns[row])) - best(row, 9))
            else:
                assert margin == np.inf
