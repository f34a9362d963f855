"""Boxes follow the field, and the camera's own motion is told from what moves by itself."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from flow.warp import IDENTITY, apply, box_trust, camera_motion, is_still, move_boxes, move_points

BOXES = np.array([[40, 40, 80, 160], [200, 20, 260, 200]], np.float32)


def constant(dx: float, dy: float, shape: tuple[int, int] = (90, 160)) -> np.ndarray:
    return np.tile(np.array([dx, dy], np.float32), (*shape, 1))


def field_of(transform: np.ndarray, scale: float, shape: tuple[int, int] = (90, 160)) -> np.ndarray:
    """The field that a camera motion makes: A @ [x, y, 1] - [x, y] at the middle of each cell."""
    x, y = np.meshgrid((np.arange(shape[1]) + 0.5) * scale, (np.arange(shape[0]) + 0.5) * scale)
    points = np.stack([x, y], axis=2)
    moved, _ = move_points(transform, points.reshape(-1, 2))
    return moved.reshape(points.shape) - points


def similarity(turn: float, zoom: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]])


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
    zoom = np.array([[1.04, 0, -0.04 * 100], [0, 1.04, -0.04 * 100], [0, 0, 1]])
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
    assert camera_motion(np.zeros((0, 0, 2)), 1.0) is None  # which is not to say that it stood still
    assert camera_motion(np.full((90, 160, 2), np.nan), 1.0) is None


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
    corners = np.array([[0, 0], [640, 0], [0, 360], [640, 360]], float)
    assert found is not None
    assert_allclose(move_points(found, corners)[0], move_points(true, corners)[0], atol=0.3)
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
    true = np.array([[1.02, 0, -0.02 * 320], [0, 1.02, -0.02 * 180], [0, 0, 1]])
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


# ---- trust ---------------------------------------------------------------------------------------------------


def test_full_trust_is_as_none_was_asked_for():
    rng = np.random.default_rng(2)
    field = rng.normal(0, 3, (90, 160, 2)).astype(np.float32)
    for box in (BOXES[:1], BOXES, np.array([[2.0, 2, 9, 9]])):  # an odd and an even number of cells
        plain = move_boxes(box, field, 2.0)
        trusted = move_boxes(box, field, 2.0, trust=np.ones((90, 160), np.float32))
        assert_array_equal(plain[0], trusted[0])
        assert_array_equal(plain[1], trusted[1])


def test_a_box_follows_the_cells_that_are_trusted():
    """Cells of 2 px; the inner part of the box is 10 columns wide. Seven of them are wrong, and known to be."""
    field, trust = constant(4, 1), np.full((90, 160), 0.9, np.float32)
    field[:, 27:34], trust[:, 27:34] = (50, 50), 0.2
    moved, valid = move_boxes(BOXES[:1], field, 2.0, trust=trust)
    # Columns 25 to 34: 3 of 10 weigh 2.7 in all, the 7 wrong ones 1.4.
    assert_array_equal(moved[0], BOXES[0] + [4, 1, 4, 1])
    assert valid.all()
    assert_array_equal(move_boxes(BOXES[:1], field, 2.0)[0][0], BOXES[0] + [50, 50, 50, 50])


def test_how_far_a_box_is_trusted_is_the_trust_of_those_who_voted():
    trust = np.full((90, 160), 0.9, np.float32)
    trust[:, 30:35] = 0.3
    # Half of the first box's inner cells are trusted by 0.9, half by 0.3: (0.81 + 0.09) / (0.9 + 0.3).
    assert_allclose(box_trust(BOXES, trust, 2.0), [0.75, 0.9], rtol=1e-6)
    trust[:, 30:35] = 0.01  # as good as unknown: no vote, no word
    assert_allclose(box_trust(BOXES, trust, 2.0), [0.9, 0.9], rtol=1e-6)
    odd = np.array([[500, 500, 520, 560], [50, 50, 50, 90], [np.nan, 0, 10, 10]])
    assert_array_equal(box_trust(odd, trust, 2.0), [0, 0, 0])
    assert_array_equal(box_trust(BOXES, np.full((90, 160), np.nan), 2.0), [0, 0])
    assert box_trust(np.zeros((0, 4)), trust, 2.0).shape == (0,)


@pytest.mark.parametrize("trust", [0.0, 0.05, np.nan], ids=["none", "nearly none", "no number"])
def test_at_a_cut_no_box_is_moved_and_nothing_is_known_of_the_camera(trust):
    rubbish = np.random.default_rng(3).normal(0, 40, (90, 160, 2))
    nowhere = np.full((90, 160), trust)
    moved, valid = move_boxes(BOXES, rubbish, 2.0, trust=nowhere)
    assert not valid.any()
    assert_array_equal(moved, BOXES)
    assert_array_equal(box_trust(BOXES, nowhere, 2.0), [0, 0])
    assert camera_motion(rubbish, 2.0, BOXES, nowhere) is None


def test_a_box_that_is_mostly_hidden_is_not_moved_by_the_rest():
    trust = np.full((90, 160), 0.9)
    trust[:, 29:35] = 0.02  # 6 of the 10 inner columns of the first box
    _, valid = move_boxes(BOXES, constant(3, 0), 2.0, trust=trust)
    assert_array_equal(valid, [False, True])


def test_cells_that_are_rather_wrong_than_right_have_no_vote_on_the_camera():
    true = similarity(0, 1, (5, 0))
    field, trust = field_of(true, 4.0), np.full((90, 160), 0.8)
    field[:, :110], trust[:, :110] = (-9, 3), 0.4  # 69 % of the picture
    assert_allclose(camera_motion(field, 4.0, trust=trust), true, atol=0.05)
    assert_allclose(camera_motion(field, 4.0), similarity(0, 1, (-9, 3)), atol=0.05)


# ---- perspective ---------------------------------------------------------------------------------------------

WIDTH, HEIGHT, CELL = 1280, 720, 8.0
MIDDLES = np.array([[100, 360], [300, 500], [640, 360], [980, 300], [1180, 400], [1180, 650]], float)


def turned(pan: float, tilt: float = 0.0) -> np.ndarray:
    """The homography of a camera that turns by ``pan`` and ``tilt`` degrees, at a focal length of 0.9 widths."""
    f = 0.9 * WIDTH
    K = np.array([[f, 0, WIDTH / 2], [0, f, HEIGHT / 2], [0, 0, 1]])
    (sp, st), (cp, ct) = np.sin(np.radians([pan, tilt])), np.cos(np.radians([pan, tilt]))
    R = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]) @ np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
    H = K @ R @ np.linalg.inv(K)
    return H / H[2, 2]


def worst_px(found: np.ndarray | None, true: np.ndarray) -> float:
    """The largest error at the middles of boxes all over the picture."""
    assert found is not None
    off = move_points(found, MIDDLES)[0] - move_points(true, MIDDLES)[0]
    return float(np.hypot(*off.T).max())


def perspective_field(true: np.ndarray, noise: float, moving: bool, rng: np.random.Generator) -> np.ndarray:
    """The field of ``true`` with noise, and with people all over 30 % of the picture, each going their own way."""
    shape = int(HEIGHT / CELL), int(WIDTH / CELL)
    clean = field_of(true, CELL, shape)
    field, taken = clean.copy(), np.zeros(shape, bool)
    while moving and taken.mean() < 0.3:
        y, x = int(rng.integers(0, 60)), int(rng.integers(0, 150))
        person = slice(y, y + 30), slice(x, x + 10)
        taken[person], field[person] = True, clean[person] + rng.uniform(-20, 20, 2)
    return field + rng.normal(0, noise, field.shape)


@pytest.mark.parametrize(
    ("noise", "moving", "at_most"),
    [(0.0, False, 0.01), (0.0, True, 0.01), (0.3, True, 0.2), (1.0, True, 1.0)],
)
@pytest.mark.parametrize("turn", [(2.0, 0.0), (0.0, 2.0), (-1.0, 0.5)], ids=["pan", "tilt", "both"])
def test_a_camera_that_turns_is_followed_at_the_edges_too(turn, noise, moving, at_most):
    """A similarity was all there was: 6.7 px off at boxes near the edge of a pan by 2 degrees."""
    true, rng = turned(*turn), np.random.default_rng(7)
    for _ in range(3):
        assert worst_px(camera_motion(perspective_field(true, noise, moving, rng), CELL), true) < at_most


def test_no_similarity_would_do():
    """The best one for the very boxes, by least squares: it is still off by more than a pixel."""
    true = turned(2.0)
    x, y = MIDDLES.T
    one, zero = np.ones(6), np.zeros(6)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, right, down = np.linalg.lstsq(rows, move_points(true, MIDDLES)[0].T.ravel(), rcond=None)[0]
    assert worst_px(np.array([[a, -b, right], [b, a, down], [0, 0, 1]]), true) > 2


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("moving", [False, True])
def test_a_similarity_stays_one(noise, moving):
    """The two numbers of perspective are not fitted to noise, nor to people."""
    true, rng = similarity(0.005, 1.01, (6, -3)), np.random.default_rng(8)
    for _ in range(5):
        found = camera_motion(perspective_field(true, noise, moving, rng), CELL)
        assert_array_equal(found[2], [0, 0, 1])
        assert worst_px(found, true) < 0.05 + 0.7 * noise


def test_points_on_a_line_say_nothing_of_perspective():
    field = np.full((90, 160, 2), np.nan)
    field[41] = field_of(turned(2.0), CELL)[41]  # a row that votes: every second does
    found = camera_motion(field, CELL)
    assert found is not None
    assert_array_equal(found[2], [0, 0, 1])


def test_a_box_grows_by_the_perspective_where_it_is():
    true = turned(4.0)
    boxes = np.array([[90, 300, 110, 420], [1170, 300, 1190, 420]], float)
    sizes = np.diff(apply(true, boxes).reshape(2, 2, 2), axis=1)[:, 0]
    # A pan enlarges what it brings nearer to the edge, by (cos before / cos after)^2 along and cos / cos across; the
    # zoom is the root of their product.  At x: tan = (x - 640) / 1152.
    before = np.arctan((np.array([100, 1180]) - 640) / 1152)
    zoom = (np.cos(before) / np.cos(before + np.radians(4))) ** 1.5
    assert zoom[0] < 1 < zoom[1]
    assert_allclose(sizes, zoom[:, None] * [20, 120], rtol=1e-3)


def test_points_on_and_beyond_the_horizon_stay_on_their_side():
    # u = x / (1 - x / 2000), and nobody is nearer to the horizon at x = 2000 than a depth of 0.1.
    far = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 2000, 0, 1]])
    moved, slopes = move_points(far, np.array([[1000.0, 50], [2000, 50], [3000, 50]]))
    assert_allclose(moved, [[2000, 100], [20000, 500], [30000, 500]])
    assert np.isfinite(slopes).all()
    assert np.isfinite(apply(far, np.array([[1990, 0, 2010, 60]]))).all()
