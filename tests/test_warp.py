"""Boxes follow the field, and the camera's own motion is told from what moves by itself."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from flow.warp import IDENTITY, apply, camera_motion, is_still, move_boxes

BOXES = np.array([[40, 40, 80, 160], [200, 20, 260, 200]], np.float32)


def constant(dx: float, dy: float, shape: tuple[int, int] = (90, 160)) -> np.ndarray:
    return np.tile(np.array([dx, dy], np.float32), (*shape, 1))


def field_of(transform: np.ndarray, scale: float, shape: tuple[int, int] = (90, 160)) -> np.ndarray:
    """The field that a camera motion makes: A @ [x, y, 1] - [x, y] at the middle of each cell."""
    x, y = np.meshgrid((np.arange(shape[1]) + 0.5) * scale, (np.arange(shape[0]) + 0.5) * scale)
    points = np.stack([x, y], axis=2)
    return points @ transform[:, :2].T + transform[:, 2] - points


def similarity(turn: float, zoom: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.35])
def test_a_constant_field_moves_boxes_by_exactly_that(scale):
    moved, valid = move_boxes(BOXES, constant(3.5, -2.25, (400, 400)), scale)
    assert_array_equal(moved, BOXES + np.array([3.5, -2.25, 3.5, -2.25], np.float32))
    assert valid.all()


def test_a_box_follows_its_middle_and_not_the_background_around_it():
    field = constant(0, 0)
    field[20:80, 25:35] = (4, 1)  # cells of 2 px: the person covers x 50..70, the box x 40..80
    moved, _ = move_boxes(BOXES[:1], field, 2.0)
    assert_allclose(moved[0], BOXES[0] + [4, 1, 4, 1])


def test_a_third_of_outliers_inside_a_box_does_not_move_it():
    field = constant(2, 0)
    field[::3] = 50
    moved, _ = move_boxes(BOXES[:1], field, 2.0)
    assert_allclose(moved[0], BOXES[0] + [2, 0, 2, 0])


def test_a_zoom_inside_a_box_moves_its_middle_and_keeps_its_size():
    # Everything moves away from (100, 100) by 4 %: the box's centre (60, 100) goes to (58.4, 100).
    zoom = np.array([[1.04, 0, -0.04 * 100], [0, 1.04, -0.04 * 100]])
    moved, _ = move_boxes(BOXES[:1], field_of(zoom, 1.0, (200, 300)), 1.0)
    assert_allclose(moved[0], [58.4 - 20, 100 - 60, 58.4 + 20, 100 + 60], atol=0.1)


def test_what_the_field_cannot_say_is_said_to_be_invalid_and_left_or_moved_by_the_camera():
    shaken = constant(7, 7)
    shaken[:20, :20] = np.nan
    unknown = np.array(
        [[500, 500, 520, 560], [50, 50, 50, 90], [2, 2, 30, 30], [-90, 10, 10, 80]],
        float,
    )
    moved, valid = move_boxes(unknown, shaken, 2.0)
    assert not valid.any()
    assert_allclose(moved, unknown)
    moved, valid = move_boxes(unknown, shaken, 2.0, similarity(0, 1, (5, -1)))
    assert not valid.any()
    assert_allclose(moved, unknown + [5, -1, 5, -1])


def test_a_nan_in_one_box_does_not_touch_the_others():
    boxes = np.vstack([BOXES, [np.nan, 0, 10, 10]])
    moved, valid = move_boxes(boxes, constant(1, 2), 2.0)
    assert_array_equal(valid, [True, True, False])
    assert_allclose(moved[:2], BOXES + [1, 2, 1, 2])


def test_no_boxes_and_no_field():
    moved, valid = move_boxes(np.zeros((0, 4)), constant(1, 1), 2.0)
    assert moved.shape == (0, 4) and valid.shape == (0,)
    moved, valid = move_boxes(BOXES, np.zeros((0, 0, 2)), 2.0)
    assert_array_equal(moved, BOXES)
    assert not valid.any()
    assert is_still(camera_motion(np.zeros((0, 0, 2)), 1.0))
    assert is_still(camera_motion(np.full((90, 160, 2), np.nan), 1.0))


@pytest.mark.parametrize(
    "true",
    [
        similarity(0, 1, (6.0, -3.0)),
        similarity(0.01, 1, (0, 0)),
        similarity(0, 1.02, (-4, -3)),
        similarity(-0.02, 0.99, (8, 2)),
    ],
    ids=["pan", "roll", "zoom", "all"],
)
def test_camera_shake_is_recovered_although_boxes_with_30_percent_of_the_picture_move_otherwise(true):
    rng = np.random.default_rng(5)
    field = field_of(true, 4.0) + rng.normal(0, 0.1, (90, 160, 2))
    field[10:75, 10:77] = (-15, 12)  # 65 x 67 of 90 x 160 cells: 30 %, not told to anybody
    found = camera_motion(field, 4.0)
    corners = np.array([[0, 0, 1], [640, 0, 1], [0, 360, 1], [640, 360, 1]], float)
    assert_allclose(corners @ found.T, corners @ true.T, atol=0.3)
    assert not is_still(found)


def test_a_crowd_that_fills_most_of_the_picture_has_no_vote_when_its_boxes_are_known():
    true = similarity(0, 1, (5, 0))
    field = field_of(true, 4.0)
    field[:, :110] = (-9, 3)  # 69 % of the picture
    found = camera_motion(field, 4.0, np.array([[0, 0, 440, 360]]))
    assert_allclose(found, true, atol=0.05)


def test_people_walking_before_a_still_camera_leave_it_still():
    field = np.random.default_rng(1).normal(0, 0.05, (90, 160, 2))
    field[30:80, 20:40] = (6, 0)
    assert_array_equal(camera_motion(field, 4.0), IDENTITY)
    assert is_still(IDENTITY)
    assert not is_still(similarity(0, 1, (0.5, 0)))


def test_a_zoom_about_the_middle_is_no_still_camera():
    """Its middle hardly moves, its corners do: 2 % of (320, 180)."""
    true = np.array([[1.02, 0, -0.02 * 320], [0, 1.02, -0.02 * 180]])
    assert_allclose(camera_motion(field_of(true, 4.0), 4.0), true, atol=1e-3)


def test_a_transform_moves_centres_and_scales_sizes():
    # The centre (60, 100) goes to (2 * 60 + 1, 2 * 100 - 1) = (121, 199); 40 x 120 becomes 80 x 240.
    moved = apply(similarity(0, 2, (1, -1)), BOXES[:1])
    assert_allclose(moved, [[121 - 40, 199 - 120, 121 + 40, 199 + 120]])
    assert_allclose(apply(IDENTITY, BOXES), BOXES)
    assert apply(IDENTITY, np.zeros((0, 4))).shape == (0, 4)


def test_moving_by_the_camera_agrees_with_moving_by_its_field():
    shift = similarity(0, 1, (3, 4))
    moved, _ = move_boxes(BOXES, field_of(shift, 2.0, (120, 160)), 2.0)
    assert_allclose(moved, apply(shift, BOXES), atol=1e-4)
