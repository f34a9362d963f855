"""The filters: their closed form against a plain matrix Kalman filter, and laws of elapsed time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.core.boxes import center_form, corner_form
from tracker.core.motion import MotionBatch, MotionModel

BOX = np.array([100.0, 100, 180, 300])  # 80 wide, 200 high


def started(box: NDArray = BOX) -> MotionBatch:
    batch = MotionBatch()
    batch.start(box[None])
    return batch


class Plain:
    """One coordinate: state (position, speed), textbook matrices."""

    def __init__(self, z: float, measure_sigma: float, speed_sigma: float) -> None:
        self.x = np.array([z, 0.0])
        self.P = np.diag([measure_sigma**2, speed_sigma**2])

    def predict(self, dt: float, accel_sigma: float) -> None:
        F = np.array([[1, dt], [0, 1]])
        Q = accel_sigma**2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        self.x, self.P = F @ self.x, F @ self.P @ F.T + Q

    def correct(self, z: float, r: float) -> None:
        H = np.array([[1.0, 0.0]])
        K = self.P @ H.T / (H @ self.P @ H.T + r)
        self.x = self.x + (K * (z - self.x[0])).ravel()
        self.P = (np.eye(2) - K @ H) @ self.P


def test_the_closed_form_against_matrices():
    rng = np.random.default_rng(1)
    model = MotionModel()
    batch = started()
    z0 = center_form(BOX)[0]
    plain = [Plain(z0[k], model.measure_sigma[k] * 200, model.start_speed_sigma[k] * 200) for k in range(4)]
    for _ in range(30):
        dt, trust = float(rng.uniform(0.02, 0.4)), float(rng.uniform(0.2, 1.0))
        height = max(
            batch.mean[0, 3], 1.0
        )  # every sigma is a share of the height as estimated before the step
        batch.predict(dt, np.zeros(1))
        for k in range(4):
            plain[k].predict(dt, model.accel_sigma[k] * height)
        z = center_form(BOX)[0] + rng.normal(0, 5, 4)
        height = max(batch.mean[0, 3], 1.0)
        batch.correct(np.array([0]), corner_form(z[None]), np.array([trust]))
        for k in range(4):
            plain[k].correct(z[k], (model.measure_sigma[k] * height / trust) ** 2)
    np.testing.assert_allclose(batch.mean[0], [p.x[0] for p in plain], rtol=1e-9)
    np.testing.assert_allclose(batch.speed[0], [p.x[1] for p in plain], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(batch.p[0], [p.P[0, 0] for p in plain], rtol=1e-9)
    np.testing.assert_allclose(batch.c[0], [p.P[0, 1] for p in plain], rtol=1e-9)
    np.testing.assert_allclose(batch.v[0], [p.P[1, 1] for p in plain], rtol=1e-9)


def walk(fps: int, seconds: float = 3.0, speed: float = 150.0) -> MotionBatch:
    """Somebody goes to the right at a constant speed, seen at ``fps``."""
    batch = started()
    for n in range(1, round(seconds * fps) + 1):
        batch.predict(1 / fps, np.zeros(1))
        batch.correct(np.array([0]), BOX[None] + np.array([1, 0, 1, 0]) * speed * n / fps, np.ones(1))
    return batch


@pytest.mark.parametrize("fps", [5, 10, 15, 30])
def test_a_constant_walk_is_followed_at_any_frame_rate(fps):
    batch = walk(fps)
    assert batch.mean[0, 0] == pytest.approx(140 + 150 * 3, abs=2)
    assert batch.speed[0, 0] == pytest.approx(150, rel=0.05)
    assert batch.speed[0, 1:] == pytest.approx([0, 0, 0], abs=1)


def test_one_long_prediction_is_as_good_as_many_short_ones():
    """Dropped frames change nothing: 1 s in one step is 1 s in ten."""
    once, often = walk(10), walk(10)
    once.predict(1.0, np.zeros(1))
    for _ in range(10):
        often.predict(0.1, np.zeros(1))
    np.testing.assert_allclose(often.mean, once.mean)
    for name in ("p", "c", "v"):
        np.testing.assert_allclose(getattr(often, name), getattr(once, name), rtol=1e-9)


def test_who_is_unseen_slows_down_and_grows_uncertain():
    batch = walk(10)
    speed, variance = batch.speed[0, 0], batch.p[0, 0]
    for _ in range(15):
        batch.predict(0.1, np.array([1.0]))
    assert batch.speed[0, 0] == pytest.approx(speed / 2)  # velocity_fade_s = 1.5 s
    assert batch.p[0, 0] > 10 * variance


def test_a_weak_detection_is_believed_less():
    moved = BOX + np.array([20, 0, 20, 0])
    ends = []
    for trust in (1.0, 0.5):
        batch = started()
        batch.predict(0.1, np.zeros(1))
        batch.correct(np.array([0]), moved[None], np.array([trust]))
        ends.append(batch.mean[0, 0])
    assert 140 < ends[1] < ends[0] < 160


def test_flow_moves_the_box_but_says_nothing_of_its_size():
    batch = started()
    before = batch.boxes()
    batch.predict(0.1, np.zeros(1))
    moved = before + np.array([[30, 10, 60, 10]])  # wider as well, which flow is not believed to know
    model, h = batch.model, 200.0
    p = batch.p[0].copy()
    batch.follow(np.array([0]), moved, before)
    # A measurement of the centre, (45, 10) px from where it was, with sigma_flow^2 + p of variance.
    r = (model.flow_sigma * h) ** 2 + p[:2]
    np.testing.assert_allclose(batch.mean[0, :2] - [140, 200], p[:2] / (p[:2] + r) * [45, 10], rtol=1e-9)
    np.testing.assert_allclose(batch.mean[0, 2:], [80, 200], atol=1e-3)


@pytest.mark.parametrize("trust", [1.0, 0.5, 0.05, 1e-3, 1e-30])
def test_flow_counts_by_its_trust_and_not_at_all_near_zero(trust):
    """What was trusted by less than 0.05 used to count as if it were 0.05: of a wide spread, up to a third."""
    batch = started()
    before = batch.boxes()
    batch.predict(1.0, np.zeros(1))  # long ago: the filter would take nearly anything
    p = batch.p[0].copy()
    batch.follow(np.array([0]), before + 100, before, np.array([trust]))
    # sigma = 0.03 of 200 px / trust, beside the old estimate's own error.
    r = (6 / trust) ** 2 + p[:2]
    np.testing.assert_allclose(
        batch.mean[0, :2] - [140, 200], p[:2] / (p[:2] + r) * 100, rtol=1e-9, atol=1e-9
    )
    assert np.isfinite(batch.p).all()
    if trust <= 1e-3:
        np.testing.assert_allclose(batch.boxes(), before, atol=0.2)
        np.testing.assert_allclose(batch.p[0, :2], p[:2], rtol=2e-3)


def test_a_camera_that_turns_far_moves_and_enlarges_everybody_by_where_they_stand():
    batch = MotionBatch()
    batch.start(np.array([[90.0, 300, 110, 400], [890, 300, 910, 400]]))
    batch.speed[:, 0] = 10
    # u = x / (1 - x / 2000): 100 goes to 100 / 0.95 and 900 to 900 / 0.55. Along x steps grow by 1 / depth^2, across
    # by 1 / depth, sizes by the root of the product.
    batch.warp(np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 2000, 0, 1]]))
    depth = np.array([0.95, 0.55])
    np.testing.assert_allclose(batch.mean[:, 0], [100, 900] / depth)
    np.testing.assert_allclose(batch.mean[:, 1], 350 / depth)
    np.testing.assert_allclose(batch.mean[:, 3], 100 / depth**1.5)
    np.testing.assert_allclose(batch.speed[:, 0], 10 / depth**2)


def test_the_distance_of_a_box_from_its_prediction_is_zero_and_grows_with_the_offset():
    batch = started()
    table = batch.mahalanobis(np.stack((BOX, BOX + 5, BOX + 50)))
    assert table.shape == (1, 3)
    assert table[0, 0] == 0 and 0 < table[0, 1] < table[0, 2]
    assert table[0, 2] / table[0, 1] == pytest.approx(100)  # ten times the offset, squared


def test_a_camera_that_turns_takes_everybody_along():
    batch = walk(10)
    mean, speed = batch.mean.copy(), batch.speed.copy()
    # A quarter turn (x -> y, y -> -x), twice as large, 7 to the right.
    batch.warp(np.array([[0.0, -2.0, 7.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(batch.mean[0], [-2 * mean[0, 1] + 7, 2 * mean[0, 0], *(2 * mean[0, 2:])])
    np.testing.assert_allclose(batch.speed[0, :2], [-2 * speed[0, 1], 2 * speed[0, 0]])


def test_filters_do_not_know_each_other():
    rng = np.random.default_rng(2)
    boxes = np.stack((BOX, BOX + 300, BOX * 2))
    together = MotionBatch()
    together.start(boxes)
    alone = [started(b) for b in boxes]
    for _ in range(10):
        together.predict(0.1, np.zeros(3))
        z = boxes + rng.normal(0, 3, boxes.shape)
        together.correct(np.array([2, 0]), z[[2, 0]], np.ones(2))
        for k, one in enumerate(alone):
            one.predict(0.1, np.zeros(1))
            if k != 1:
                one.correct(np.array([0]), z[k : k + 1], np.ones(1))
    np.testing.assert_allclose(together.boxes(), np.concatenate([a.boxes() for a in alone]))


def test_rows_can_be_dropped_and_copied():
    batch = MotionBatch()
    batch.start(np.stack((BOX, BOX + 100, BOX + 200)))
    batch.keep(np.array([True, False, True]))
    batch.copy(1)
    np.testing.assert_allclose(batch.boxes(), np.stack((BOX, BOX + 200, BOX + 200)))
    batch.correct(np.array([2]), (BOX + 210)[None], np.ones(1))
    assert batch.mean[1, 0] == 340 and batch.mean[2, 0] > 340  # a copy, not another name


def test_nobody_and_no_time():
    empty = MotionBatch()
    empty.predict(0.1, np.zeros(0))
    empty.correct(np.zeros(0, np.intp), np.zeros((0, 4)), np.zeros(0))
    empty.follow(np.zeros(0, np.intp), np.zeros((0, 4)), np.zeros((0, 4)))
    assert len(empty) == 0 and empty.boxes().shape == (0, 4)
    batch = walk(10)
    before = batch.mean.copy()
    batch.predict(0.0, np.zeros(1))
    np.testing.assert_array_equal(batch.mean, before)


def test_a_box_never_shrinks_to_nothing():
    batch = started()
    batch.speed[0] = [0, 0, -500, -500]
    batch.predict(2.0, np.zeros(1))
    assert (batch.mean[0, 2:] >= 1).all()
