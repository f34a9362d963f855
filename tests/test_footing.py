"""Who is who by where they stand: filters on the floor, how sure a pair is, how exact feet are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scenes import SIZE, person_box
from tracker.core.boxes import FOOT_SIGMA, FloorPlan
from tracker.core.footing import MISSED_LOG, NEW_PER_M2, Footing
from tracker.core.motion import FloorBatch, FloorModel

PLAN = FloorPlan(np.diag([0.01, 0.01, 1.0]))  # seen from above: 100 px are a metre


def standing(*places_m: tuple[float, float]) -> np.ndarray:
    """(N, 4) boxes, 1 m high, of people at these places."""
    return np.stack([person_box(100 * x, 100 * y, 100.0) for x, y in places_m])


# ---- filters -------------------------------------------------------------------------------------------------


def test_a_floor_filter_is_a_kalman_filter():
    """Against the textbook's matrices, along one axis."""
    model = FloorModel(accel_sigma_m=0.5, start_speed_sigma_m_s=1.0)
    batch = FloorBatch(model)
    batch.start(np.array([[1.0, 2.0]]), np.array([0.2]))
    x, P = np.array([1.0, 0.0]), np.diag([0.04, 1.0])
    for dt, z in ((0.5, 1.7), (1.0, 2.9), (0.25, 3.0)):
        F = np.array([[1, dt], [0, 1]])
        Q = 0.25 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        x, P = F @ x, F @ P @ F.T + Q
        K = P[:, 0] / (P[0, 0] + 0.3**2)
        x, P = x + K * (z - x[0]), P - np.outer(K, P[0])
        batch.predict(dt)
        batch.correct(np.array([0]), np.array([[z, 2.0]]), np.array([0.3]))
        assert [batch.mean[0, 0], batch.speed[0, 0]] == pytest.approx(x)
        assert [batch.p[0], batch.c[0], batch.v[0]] == pytest.approx([P[0, 0], P[0, 1], P[1, 1]])
    assert batch.mean[0, 1] == pytest.approx(2.0) and batch.speed[0, 1] == pytest.approx(0.0)


def test_who_was_nowhere_starts_where_they_are_first_seen_and_nowhere_changes_nothing():
    batch = FloorBatch()
    batch.start(np.array([[np.nan, np.nan], [1.0, 1.0]]), np.array([np.nan, 0.2]))
    batch.predict(0.5)
    before = batch.p[1]
    batch.correct(np.array([0, 1]), np.array([[3.0, 4.0], [np.nan, np.nan]]), np.array([0.2, np.nan]))
    assert batch.mean.tolist() == [[3, 4], [1, 1]] and batch.p[1] == before
    assert batch.p[0] == pytest.approx(0.04) and batch.v[0] == 1


def test_how_densely_somebody_is_expected():
    batch = FloorBatch()
    batch.start(np.array([[0.0, 0.0]]), np.array([0.3]))
    density, surprise = batch.log_density(np.array([[0.3, 0.4], [np.nan, 0.0]]), np.array([0.4, 0.4]))
    # s = .09 + .16 = .25; d^2 = (.09 + .16) / .25 = 1; exp(-1/2) / (2 pi .25)
    assert surprise[0, 0] == pytest.approx(1) and density[0, 0] == pytest.approx(-0.5 - np.log(np.pi / 2))
    assert np.isnan(surprise[0, 1])


# ---- pairs ---------------------------------------------------------------------------------------------------


def test_what_speaks_for_a_pair():
    feet = Footing(PLAN)
    feet.start(standing((3, 3)), SIZE)
    gain = feet.gain(np.array([0]), standing((3, 3), (3, 5)), SIZE, np.array([2.0]))
    sigma_m = 0.01 * FOOT_SIGMA * 100 * np.sqrt(2)  # 4 px to either side: 0.057 m
    assert gain[0, 0] == pytest.approx(
        -np.log(2 * np.pi * 2 * sigma_m**2) - np.log(NEW_PER_M2) - 2 * MISSED_LOG
    )
    assert gain[0, 1] == -np.inf  # 2 m away without a moment to walk


@pytest.mark.parametrize(("error_m", "least", "most"), [(0.005, 0.1, 0.5), (0.1, 1.2, 2.5)])
def test_how_exact_feet_are_is_learned(error_m: float, least: float, most: float):
    rng = np.random.default_rng(0)
    feet = Footing(PLAN)
    feet.start(standing((3, 3)), SIZE)
    row = np.array([0])
    for _ in range(400):
        feet.predict(0.5)
        boxes = standing(tuple(3 + rng.normal(0, error_m, 2)))
        feet.learn(row, boxes, SIZE)
        feet.correct(row, boxes, SIZE)
    assert least <= feet.scale <= most


def test_two_boxes_are_two_people_where_they_stand_apart_and_are_equally_tall():
    feet = Footing(PLAN)
    whole, behind = standing((3, 3), (3.1, 2.6))
    half = whole.copy()
    half[3] = (
        260  # the same body down to the waist: its lower edge is as far away as the feet of the one behind
    )
    assert feet.apart(np.stack([whole, behind, half]), SIZE).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]
