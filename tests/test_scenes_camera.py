"""Cameras: projection, distortion and its inverse, windows, motion."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose

from scenes import settings
from scenes.camera import Camera, distort, looking, undistort
from tracker.config import Calibration

BARREL = (-0.3, 0.1, 0.001, -0.002, -0.01)


def made(seed: int = 0, **said: object) -> Camera:
    values = {"at": (0, 0, 3), "look": (5, 5, 1)} | said
    return Camera.of("gate", settings.Camera.model_validate(values), np.random.default_rng(seed))


def test_the_point_it_looks_at_is_in_the_middle_and_up_is_up():
    camera = made(size=(640, 360))
    px, depth = camera.project(np.array([[5.0, 5.0, 1.0], [5.0, 5.0, 1.5]]))
    assert_allclose(px[0], (320, 180), atol=1e-9)
    assert depth[0] == pytest.approx(math.sqrt(25 + 25 + 4))
    assert px[1, 0] == pytest.approx(320) and px[1, 1] < 180


def test_the_view_reaches_from_the_left_edge_to_the_right_one():
    # 90 degrees wide: the edges are seen 45 degrees off the axis, at x = +-depth.
    camera = made(at=(0, 0, 1), look=(4, 0, 1), view=90)
    px, _ = camera.project(np.array([[2.0, 2.0, 1.0], [2.0, -2.0, 1.0]]))
    assert_allclose(px, [(0, 180), (640, 180)], atol=1e-9)


def test_points_behind_a_camera_have_no_place_in_its_picture():
    camera = made(at=(0, 0, 1), look=(4, 0, 1))
    px, depth = camera.project(np.array([[-1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    assert np.isnan(px).all()
    assert (depth <= 0).all()


def test_projection_agrees_with_opencv_where_the_lens_bends():
    camera = made(distortion=BARREL)
    points = np.random.default_rng(0).normal(size=(60, 3)) * (1.5, 1.5, 0.5) + (5, 5, 1)
    expected = cv2.projectPoints(points, cv2.Rodrigues(camera.R)[0], camera.t, camera.K, camera.distortion)[0]
    assert_allclose(camera.project(points)[0], expected[:, 0], atol=1e-9)


def test_rays_lead_back_to_the_pixels_they_come_from():
    camera = made(distortion=BARREL, size=(64, 36))
    rays = camera.rays()
    px, _ = camera.project_seen(7.0 * rays.reshape(-1, 3))
    x, y = np.meshgrid(np.arange(64) + 0.5, np.arange(36) + 0.5)
    assert_allclose(px.reshape(36, 64, 2), np.stack((x, y), axis=-1), atol=1e-9)
    assert_allclose(camera.rays(np.array([[0.5, 0.5]]))[0], rays[0, 0])


def test_undistorting_is_the_inverse_of_distorting():
    flat = np.random.default_rng(1).uniform(-0.8, 0.8, (100, 2))
    assert_allclose(undistort(distort(flat, np.array(BARREL)), np.array(BARREL)), flat, atol=1e-12)


def test_where_the_distortion_folds_over_nothing_is_seen():
    # r (1 - 0.3 r^2) grows until 1 = 0.9 r^2, r = 1.054; behind that, points would come back into the picture.
    camera = made(at=(0, 0, 1), look=(4, 0, 1), distortion=(-0.3, 0, 0, 0, 0))
    assert camera.reach2 == pytest.approx(0.98 / 0.9)
    px, _ = camera.project(np.array([[1.0, 0.9, 1.0], [1.0, 1.1, 1.0]]))
    assert np.isfinite(px[0]).all() and np.isnan(px[1]).all()


def test_maps_take_a_straight_picture_to_the_bent_one():
    camera = made(distortion=BARREL, size=(64, 36))
    columns, rows = camera.maps()
    # The centre of each pixel, undistorted by OpenCV, counted from the first pixel's centre.
    x, y = np.meshgrid(np.arange(64) + 0.5, np.arange(36) + 0.5)
    bent = np.stack((x, y), axis=-1).reshape(-1, 1, 2)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    straight = cv2.undistortPoints(bent, camera.K, camera.distortion, P=camera.K, criteria=criteria)
    assert_allclose(np.stack((columns, rows), -1), straight.reshape(36, 64, 2) - 0.5, atol=1e-3)


def test_a_window_sees_a_part_of_the_same_picture():
    camera = made(distortion=BARREL)
    part = camera.window(100, 50, 164, 178)
    points = np.random.default_rng(2).normal(size=(20, 3)) * 0.5 + (5, 5, 1)
    assert part.size == (64, 128)
    assert_allclose(part.project(points)[0], camera.project(points)[0] - (100, 50))
    assert_allclose(part.rays(), camera.rays()[50:178, 100:164])


def test_a_scaled_camera_sees_the_same_with_other_pixels():
    camera = made(size=(640, 360))
    points = np.array([[5.0, 4.0, 1.0], [4.0, 5.0, 0.0]])
    assert_allclose(camera.scaled(0.25).project(points)[0], camera.project(points)[0] / 4)


def test_a_camera_that_stands_still_is_itself_at_all_times():
    camera = made()
    assert not camera.moves
    assert camera.at(12.5) is camera


def test_a_panning_camera_turns_level_as_far_as_it_is_told():
    camera = made(motion={"pan": 20, "period": 10})
    turns = []
    for t_s in np.arange(0, 10, 0.05):
        now = camera.at(t_s)
        assert_allclose(now.centre_m, camera.centre_m, atol=1e-12)
        assert now.R[0, 2] == pytest.approx(0, abs=1e-12)  # its x axis stays level
        turns.append(math.degrees(math.atan2(now.R[2, 1], now.R[2, 0])))
    assert max(turns) == pytest.approx(45 + 20, abs=0.1)
    assert min(turns) == pytest.approx(45 - 20, abs=0.1)
    assert_allclose(camera.at(1.0).R, camera.at(11.0).R, atol=1e-9)


def test_a_shaking_camera_moves_the_picture_by_so_many_pixels():
    camera = made(motion={"shake": 3.0})
    middle = np.array([[5.0, 5.0, 1.0]])
    off = [camera.at(t_s).project(middle)[0][0] - (320, 180) for t_s in np.arange(0, 300, 0.07)]
    assert np.sqrt(np.mean(np.sum(np.square(off), axis=1))) == pytest.approx(3.0, rel=0.1)


def test_the_same_seed_gives_the_same_camera():
    motion = {"shake": 3.0, "pan": 5}
    first, second, other = (made(seed, motion=motion).at(3.3) for seed in (4, 4, 5))
    assert first.key == second.key != other.key


def test_a_camera_may_look_straight_down():
    R = looking((1, 2, 5), (1, 2, 0))
    assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    assert_allclose(R[1], (0, -1, 0), atol=1e-12)  # y points down in the picture: its top is +y
    with pytest.raises(ValueError, match="other than where it stands"):
        looking((1, 2, 5), (1, 2, 5))


def test_its_calibration_is_one_that_the_tracker_reads():
    camera = made(distortion=BARREL)
    said = json.loads(json.dumps(camera.calibration()))
    read = Calibration.model_validate({name: said[name] for name in ("K", "R", "t", "distortion")})
    assert_allclose(np.array(read.R) @ camera.centre_m + np.array(read.t), 0, atol=1e-12)
    assert_allclose(said["position"], (0, 0, 3), atol=1e-12)
