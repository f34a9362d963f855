"""Who goes on as whom on the floor."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from tracker.core.feet import Feet
from tracker.core.walking import Walks, crowding_llr, ends_of, followed, onward_llr

Place = tuple[float, float]


def walks(*pieces: Sequence[tuple[float, Place]]) -> Walks:
    """Pieces, each as times and places known to 5 cm."""
    rows = [(n, t_s, *place) for n, noted in enumerate(pieces) for t_s, place in noted]
    table = np.array(rows, float).reshape(-1, 4)
    feet = Feet.of(table[:, 2:], np.full(len(table), 0.05), np.full((len(table), 2), np.nan))
    return Walks(table[:, 0].astype(np.intp), table[:, 1], feet)


def line(t_s: float, start: Place, speed: Place, steps: int = 5) -> list[tuple[float, Place]]:
    """Somebody who is noted every 0.4 s."""
    return [
        (t_s + 0.4 * n, (start[0] + speed[0] * 0.4 * n, start[1] + speed[1] * 0.4 * n)) for n in range(steps)
    ]


def test_the_end_of_a_walk_is_where_all_cameras_saw_it_lead():
    # 1 m/s to the east from (0, 0) in one camera, and 2 cm to its north in another.
    seen = walks(line(0, (0, 0), (1, 0)), line(0, (0, 0.02), (1, 0)))
    begins, ends = ends_of(seen, [[0, 1]])
    assert begins.t_s.tolist() == [0.0] and ends.t_s.tolist() == [1.6]
    np.testing.assert_allclose(ends.state[0], [1.6, 0.01, 1.0, 0.0], atol=0.05)
    np.testing.assert_allclose(begins.state[0], [0.0, 0.01, 1.0, 0.0], atol=0.05)


def test_one_foot_in_the_wrong_place_moves_it_little():
    stray = [(1.6, (6.0, 5.0))]
    _, ends = ends_of(walks(line(0, (0, 0), (1, 0)), line(0, (0, 0), (1, 0)), stray), [[0, 1, 2]])
    assert np.linalg.norm(ends.state[0, :2] - (1.6, 0)) < 0.5


def test_who_has_no_place_ends_nowhere():
    begins, ends = ends_of(walks(line(0, (0, 0), (1, 0))), [[0], [1]])
    assert begins.t_s[1] == np.inf and ends.t_s[1] == -np.inf
    assert np.isneginf(onward_llr(ends, begins, 60.0)).all()


def test_a_walk_goes_on_where_it_was_heading():
    seen = walks(
        line(0, (0, 0), (1, 0)),  # at 1.6 s at (1.6, 0)
        line(2.4, (2.4, 0), (1, 0)),  # goes on
        line(2.4, (0.8, 0), (-1, 0)),  # as near, but behind
        line(2.4, (9.0, 0), (1, 0)),  # 7.4 m in 0.8 s
    )
    begins, ends = ends_of(seen, [[0], [1], [2], [3]])
    value = onward_llr(ends, begins, 60.0)
    assert value[0, 1] > 2 > value[0, 2] > value[0, 3] == -20
    assert np.isneginf(value[1, 0]) and np.isneginf(np.diag(value)).all()  # nobody goes on into the past
    assert np.isneginf(onward_llr(ends, begins, 0.5)).all()  # all gaps are of 0.8 s


@pytest.mark.parametrize("seed", range(5))
def test_everybody_goes_on_as_one_at_most_so_that_all_fits_best(seed: int):
    value = np.random.default_rng(seed).normal(0, 2, (4, 4))
    after = followed(value)

    def worth(choice: Sequence[int]) -> float:
        return sum(value[a, b] for a, b in enumerate(choice) if b >= 0)

    # All ways to give 4 ends each another beginning or none.
    ways = (
        way
        for way in itertools.product(range(-1, 4), repeat=4)
        if len({b for b in way if b >= 0}) == sum(b >= 0 for b in way)
    )
    assert worth(after.tolist()) == pytest.approx(max(map(worth, ways)))
    assert (value[np.flatnonzero(after >= 0), after[after >= 0]] > 0).all()


def test_in_a_crowd_a_beginning_says_less():
    rng = np.random.default_rng(0)
    places, times = rng.uniform(0, 10, (400, 2)), np.linspace(0, 20, 400)
    begins, _ = ends_of(
        walks(*([(t, tuple(p))] for t, p in zip(times, places, strict=True))), [[n] for n in range(400)]
    )
    # 200 new people on 100 m^2 in 20 s, against one on 60 m^2 in 120 s.
    assert crowding_llr(begins, 120.0) == pytest.approx(np.log(200 / 100 / 20 * 60 * 120), abs=0.1)
    few, _ = ends_of(walks(line(0, (0, 0), (1, 0)), line(9, (3, 3), (1, 0))), [[0], [1]])
    assert crowding_llr(few, 120.0) == 0.0
