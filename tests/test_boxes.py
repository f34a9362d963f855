"""Boxes: overlaps worked by hand, polygons, and the floor against OpenCV's own projection."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.core.boxes import (
    FloorPlan,
    areas,
    buffered,
    buffered_iou,
    center_form,
    corner_form,
    covered,
    foot_points,
    inside_polygon,
    intersections,
    iou,
)


def test_overlap_of_two_boxes():
    a, b = np.array([[0, 0, 10, 10]]), np.array([[5, 0, 15, 10]])
    assert intersections(a, b)[0, 0] == 5 * 10
    assert iou(a, b)[0, 0] == pytest.approx(50 / (100 + 100 - 50))
    assert covered(a, b)[0, 0] == pytest.approx(50 / 100)


def test_a_small_box_inside_a_large_one():
    small, large = np.array([[2, 2, 4, 4]]), np.array([[0, 0, 10, 10]])
    assert iou(small, large)[0, 0] == pytest.approx(4 / 100)
    assert covered(small, large)[0, 0] == 1.0
    assert covered(large, small)[0, 0] == pytest.approx(4 / 100)


def test_boxes_that_only_touch_share_nothing():
    assert iou([[0, 0, 1, 1]], [[1, 0, 2, 1], [0, 1, 1, 2], [5, 5, 6, 6]]).tolist() == [[0, 0, 0]]


def test_boxes_without_area_overlap_with_nothing_not_even_themselves():
    flat = np.array([[3, 3, 3, 9], [9, 9, 3, 3]])  # a line, and one turned inside out
    assert areas(flat).tolist() == [0, 0]
    assert iou(flat, flat).tolist() == [[0, 0], [0, 0]]
    assert covered(flat, np.array([[0, 0, 10, 10]])).tolist() == [[0], [0]]


@pytest.mark.parametrize("function", [iou, covered, intersections])
def test_no_boxes_give_an_empty_table(function):
    none, two = np.zeros((0, 4)), np.array([[0, 0, 1, 1], [0, 0, 2, 2]])
    assert function(none, two).shape == (0, 2)
    assert function(two, none).shape == (2, 0)


def test_iou_is_symmetric_and_does_not_depend_on_place_or_size():
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 50, (12, 2))
    boxes = np.concatenate((low, low + rng.uniform(1, 40, (12, 2))), axis=1)
    table = iou(boxes, boxes)
    np.testing.assert_allclose(table, table.T)
    np.testing.assert_allclose(np.diag(table), 1.0)
    np.testing.assert_allclose(iou(boxes * 3 + 17, boxes * 3 + 17), table, atol=1e-12)


def test_iou_against_counting_pixels():
    rng = np.random.default_rng(2)
    low = rng.integers(0, 20, (8, 2))
    boxes = np.concatenate((low, low + rng.integers(1, 12, (8, 2))), axis=1)
    y, x = np.mgrid[:40, :40]
    masks = [(x >= b[0]) & (x < b[2]) & (y >= b[1]) & (y < b[3]) for b in boxes]
    slow = [[(p & q).sum() / (p | q).sum() for q in masks] for p in masks]
    np.testing.assert_allclose(iou(boxes, boxes), slow)


def test_the_two_forms_of_a_box():
    box = np.array([[10, 20, 30, 80]])
    assert center_form(box).tolist() == [[20, 50, 20, 60]]
    assert corner_form(center_form(box)).tolist() == box.tolist()
    assert foot_points(box).tolist() == [[20, 80]]


def test_a_buffer_grows_every_side_by_a_share_of_its_length():
    assert buffered([[10, 20, 30, 80]], 0.5).tolist() == [[0, -10, 40, 110]]
    by_row = buffered([[0, 0, 10, 10], [0, 0, 10, 10]], np.array([0.0, 0.1]))
    assert by_row.tolist() == [[0, 0, 10, 10], [-1, -1, 11, 11]]


def test_points_in_a_polygon_that_is_not_convex():
    u = np.array([[0, 0], [9, 0], [9, 9], [6, 9], [6, 3], [3, 3], [3, 9], [0, 9]])  # a U standing on its head
    points = np.array([[1, 5], [8, 5], [4.5, 1], [4.5, 6], [-1, 5], [10, 5], [4.5, 20]])
    assert inside_polygon(points, u).tolist() == [True, True, True, False, False, False, False]
    assert inside_polygon(points, u[::-1]).tolist() == inside_polygon(points, u).tolist()
    assert inside_polygon(np.zeros((0, 2)), u).shape == (0,)


def test_polygons_against_opencv():
    rng = np.random.default_rng(3)
    for _ in range(20):
        # Corners in the order of their angle around a middle, so that no edges cross.
        angles, radii = np.sort(rng.uniform(0, 2 * np.pi, 7)), rng.uniform(10, 60, 7)
        polygon = (50 + radii[:, None] * np.column_stack((np.cos(angles), np.sin(angles)))).astype(np.float32)
        points = rng.uniform(-10, 110, (60, 2))
        theirs = [cv2.pointPolygonTest(polygon[:, None], (float(x), float(y)), False) > 0 for x, y in points]
        assert inside_polygon(points, polygon).tolist() == theirs
        assert any(theirs) and not all(theirs)


# ---- the floor -----------------------------------------------------------------------------------------------


def camera() -> tuple[NDArray, NDArray, NDArray]:
    """K, R, t of a camera 4 m above (0, -6), looking 30 degrees down along y."""
    K = np.array([[800.0, 0, 640], [0, 820.0, 360], [0, 0, 1]])
    down = np.radians(30)
    # Rows: the camera's right, down and forward axes in world coordinates (z up).
    R = np.array([[1, 0, 0], [0, -np.sin(down), -np.cos(down)], [0, np.cos(down), -np.sin(down)]])
    return K, R, -R @ np.array([0.0, -6.0, 4.0])


DISTORTIONS = {
    "none": [],
    "four": [-0.12, 0.03, 0.001, -0.002],
    "five": [-0.12, 0.03, 0.001, -0.002, 0.005],
    "eight": [-0.08, 0.02, 0.001, -0.001, 0.004, 0.05, 0.01, 0.002],
}


@pytest.mark.parametrize("name", list(DISTORTIONS))
def test_floor_points_are_found_again_in_the_picture_that_opencv_makes_of_them(name):
    K, R, t = camera()
    distortion = np.array(DISTORTIONS[name])
    rng = np.random.default_rng(4)
    floor = np.column_stack((rng.uniform(-3, 3, 50), rng.uniform(-2, 8, 50)))
    world = np.column_stack((floor, np.zeros(50)))
    pixels = cv2.projectPoints(world, cv2.Rodrigues(R)[0], t, K, distortion if len(distortion) else None)[0]
    plan = FloorPlan.of_camera(K, distortion, R, t)
    np.testing.assert_allclose(plan.locate(pixels.reshape(-1, 2)), floor, atol=2e-3)  # 2 mm


def test_undistortion_against_opencv():
    """A pixel is where OpenCV's undistortPoints puts it, seen through the same homography."""
    K, R, t = camera()
    distortion = np.array(DISTORTIONS["five"])
    pixels = np.array([[100.0, 500], [640, 360], [1200, 700], [300, 650]])
    straight = cv2.undistortPoints(pixels[:, None], K, distortion, P=K).reshape(-1, 2)
    bent, plain = FloorPlan.of_camera(K, distortion, R, t), FloorPlan.of_camera(K, np.zeros(0), R, t)
    np.testing.assert_allclose(bent.locate(pixels), plain.locate(straight), atol=1e-3)


def test_at_and_above_the_horizon_there_is_no_floor():
    K, R, t = camera()
    plan = FloorPlan.of_camera(K, np.zeros(0), R, t)
    # Looking 30 degrees down, the horizon is 820 * tan(30 deg) = 473.4 px above the middle, at y = -113.4.
    horizon = 360 - 820 * np.tan(np.radians(30))
    place = plan.locate(np.array([[640, horizon + 1], [640, horizon - 1], [640, horizon - 500]]))
    assert np.isfinite(place[0]).all() and place[0, 1] > 500  # just below it: very far away
    assert np.isnan(place[1:]).all()


def test_a_homography_is_used_as_it_is():
    # 100 px are 1 m, the picture's left upper corner is at (2, -1) m.
    plan = FloorPlan(np.array([[0.01, 0, 2], [0, 0.01, -1], [0, 0, 1]]))
    np.testing.assert_allclose(plan.locate([[0, 0], [300, 50]]), [[2, -1], [5, -0.5]])
    np.testing.assert_allclose(plan.spread([[300, 50]], [10.0]), [np.hypot(0.1, 0.1)])


def test_a_homography_may_have_any_factor_even_a_negative_one():
    K, R, t = camera()
    H = np.linalg.inv(K @ np.stack((R[:, 0], R[:, 1], t), axis=1))
    pixels = np.array([[640.0, 500], [200, 700], [640, -400]])
    wanted = FloorPlan(H).locate(pixels)
    assert np.isfinite(wanted[:2]).all() and np.isnan(wanted[2]).all()
    np.testing.assert_allclose(FloorPlan(-3 * H).locate(pixels), wanted, atol=1e-9)


def test_the_same_pixels_are_more_metres_further_away():
    K, R, t = camera()
    plan = FloorPlan.of_camera(K, np.zeros(0), R, t)
    near, far = plan.spread(np.array([[640, 700], [640, 200]]), np.array([5.0, 5.0]))
    assert 0 < near < far
    assert np.isnan(plan.spread([[640, -500]], [5.0]))[0]


def test_no_points_and_points_that_are_no_numbers():
    plan = FloorPlan(np.eye(3))
    assert plan.locate(np.zeros((0, 2))).shape == (0, 2)
    assert np.isnan(plan.locate([[np.nan, 5.0]])).all()


def test_buffered_iou_is_the_iou_of_both_boxes_buffered():
    rng = np.random.default_rng(3)
    a, b = (np.sort(rng.uniform(0, 100, (n, 2, 2)), axis=1).reshape(n, 4) for n in (6, 9))
    share = rng.uniform(0, 0.5, 6)
    slow = [iou(buffered(a[n : n + 1], share[n]), buffered(b, share[n]))[0] for n in range(6)]
    np.testing.assert_allclose(buffered_iou(a, b, share), slow, atol=1e-12)
    assert buffered_iou(a, b[:0], share).shape == (6, 0) and buffered_iou(a[:0], b, share[:0]).shape == (0, 9)
