"""Drawn pairs: their flow and hiding are exact, their displacements those of FlyingChairs, and a seed repeats them."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flow.exposure import Exposure, expose
from flow.figures import Figure, furniture, thing, walker
from flow.motion import Motion, apply, bent, homography, similarity
from flow.pairs import Drawer, Layer, Pair, _receding, compose
from flow.textures import SIDE, draw_texture

SAME_COLOURS = np.eye(3, 4)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    drawer = Drawer(np.random.default_rng(3), surveillance=0.0, textures=8)
    return [drawer.draw(96, 160) for _ in range(40)]


def layer(figure: Figure | None, motion: NDArray | Motion, seed: int = 0) -> Layer:
    """A thing of fine noise, seen pixel by pixel."""
    surface = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    moved = motion if isinstance(motion, Motion) else Motion(motion)
    return Layer(figure, surface, np.eye(3), moved, SAME_COLOURS)


def square(left: float, upper: float, right: float, lower: float) -> Figure:
    """All of the pixels from ``left`` to ``right`` and ``upper`` to ``lower``; their centres are whole numbers."""
    left, upper, right, lower = left - 0.5, upper - 0.5, right + 0.5, lower + 0.5
    return ((np.array([[left, upper], [right, upper], [right, lower], [left, lower]]),),)


def shift(x: float, y: float) -> NDArray:
    return similarity(0.0, 1.0, np.array([x, y]))


def test_a_square_moves_over_a_still_ground():
    # The square covers columns 5..8 and rows 4..7 of before, and 7..10 and 3..6 of after.
    pair = compose([layer(None, np.eye(3)), layer(square(5, 4, 8, 7), shift(2, -1), seed=1)], 12, 16)
    inside = np.zeros((12, 16), bool)
    inside[4:8, 5:9] = True
    assert (pair.flow[inside] == [2, -1]).all() and not pair.flow[~inside].any()
    covered = np.zeros((12, 16), bool)
    covered[3:7, 7:11] = True
    assert (pair.hidden == (covered & ~inside)).all()


def test_what_is_seen_in_both_has_the_same_colour():
    pair = compose([layer(None, shift(-3, 0)), layer(square(5, 4, 8, 7), shift(2, -1), seed=1)], 12, 16)
    rows, columns = np.nonzero(~pair.hidden)
    x, y = np.rint(pair.flow[rows, columns]).astype(int).T
    rim = np.zeros((12, 16), bool)  # a contour's pixels are partly ground, which moves otherwise
    rim[3:9, 4:10] = True
    rim[5:7, 6:8] = False
    inner = ~rim[rows, columns]
    for row, column, dx, dy in zip(rows[inner], columns[inner], x[inner], y[inner]):
        if (pair.before[row, column] != pair.after[row + dy, column + dx]).any():
            # Only where the square's own antialiased contour lies in after.
            assert 6 <= column + dx <= 11 and 2 <= row + dy <= 7


def test_what_leaves_the_picture_is_hidden():
    pair = compose([layer(None, shift(3, 0))], 6, 10)
    assert pair.hidden[:, 7:].all() and not pair.hidden[:, :7].any()


def test_the_upper_of_two_things_hides_the_lower():
    low, high = layer(square(2, 2, 5, 5), shift(4, 0), 1), layer(square(8, 2, 12, 8), np.eye(3), 2)
    pair = compose([layer(None, np.eye(3)), low, high], 12, 16)
    # The lower square arrives at columns 6..9, of which 8 and 9 lie under the upper one: 4 and 5 of before.
    assert pair.hidden[2:6, 4:6].all() and not pair.hidden[2:6, 2:4].any()
    assert not pair.hidden[2:9, 8:13].any()


def test_a_curve_within_a_curve_is_a_hole_through_which_the_ground_is_seen():
    frame = (square(3, 3, 12, 12)[0][0], square(6, 6, 9, 9)[0][0])
    pair = compose([layer(None, np.eye(3)), layer((frame,), shift(1, 0), 1)], 16, 16)
    assert pair.flow[4, 8, 0] == 1 and pair.flow[7, 7, 0] == 0


def test_a_shadow_darkens_and_does_not_move_anything():
    ground, cast = layer(None, np.eye(3)), layer(square(4, 4, 11, 11), shift(3, 0), 1)
    pair = compose([ground, replace(cast, shade=0.5)], 16, 16)
    bare = compose([ground], 16, 16)
    assert not pair.flow.any() and not pair.hidden.any()
    assert np.abs(pair.before[8, 8] - bare.before[8, 8] * 0.5).max() <= 1
    assert (pair.before[0] == bare.before[0]).all()


def test_flow_and_hiding_as_each_point_in_turn_has_them():
    """The slow twin: every point follows its thing's motion, and is hidden where a later thing's figure lies on it."""
    rng, (height, width) = np.random.default_rng(11), (40, 56)
    layers = [
        layer(None, homography(rng, np.array([28.0, 20.0]), width, shift=np.ones(2), turn=0.02, zoom=0.02))
    ]
    for number in range(5):
        centre, size = rng.uniform(0, 1, 2) * [width, height], rng.uniform(10, 25)
        matrix = homography(rng, centre, size, shift=rng.normal(0, 4, 2), turn=0.1, zoom=0.1)
        moves = bent(rng, matrix, size) if number % 2 else Motion(matrix)
        layers.append(layer(thing(rng, centre, size), moves, number))
    pair = compose(layers, height, width)

    def covers(figure: Figure | None, point: NDArray, motion: Motion | None) -> bool:
        if figure is None:
            return True
        inside = False
        for outline in figure:
            moved = [motion.forward(curve) if motion else curve for curve in outline]
            crossings = [
                cv2.pointPolygonTest(curve.astype(np.float32), (float(point[0]), float(point[1])), False) >= 0
                for curve in moved
            ]
            inside = inside or sum(crossings) % 2 == 1  # even-odd: within a hole a point has crossed twice
        return inside

    wrong_flow = wrong_hiding = 0
    for row in range(height):
        for column in range(width):
            here = np.array([column, row], float)
            own = max(n for n, each in enumerate(layers) if covers(each.figure, here, None))
            there = layers[own].motion.forward(here[None])[0]
            outside = not (-0.5 < there[0] < width - 0.5 and -0.5 < there[1] < height - 0.5)
            hidden = outside or any(covers(each.figure, there, each.motion) for each in layers[own + 1 :])
            wrong_flow += bool(np.abs(there - here - pair.flow[row, column]).max() > 0.01)
            wrong_hiding += bool(hidden != pair.hidden[row, column])
    # The fast one decides by the nearest pixel, half a pixel off at most: it may differ along contours alone.
    assert wrong_flow <= 0.03 * height * width
    assert wrong_hiding <= 0.06 * height * width
    assert 0.05 < pair.hidden.mean() < 0.6


def test_a_bending_motion_goes_back_where_it_came_from():
    rng = np.random.default_rng(5)
    points = rng.uniform(0, 100, (200, 2))
    for _ in range(20):
        motion = bent(
            rng, homography(rng, np.full(2, 50.0), 100, shift=rng.normal(0, 9, 2), turn=0.1, zoom=0.1), 100
        )
        assert np.abs(motion.forward(points) - apply(motion.matrix, points)).max() > 0.1  # it does bend
        assert np.abs(motion.backward(motion.forward(points)) - points).max() < 0.03


def test_one_motion_after_another():
    first, second = Motion(similarity(0.3, 1.2, np.array([4.0, -2.0]))), Motion(shift(1, 2))
    points = np.array([[0.0, 0.0], [10.0, 5.0]])
    assert second.after(first).forward(points) == pytest.approx(second.forward(first.forward(points)))


def test_a_floor_is_as_dense_as_said():
    # With depth 1: one px at the lower edge is one of the floor, at the upper edge (1 + 1)^2 = 4.
    rows = np.array([[0.0, 0.0], [0.0, 0.01], [0.0, 99.99], [0.0, 100.0]])
    floor = apply(_receding(100, 1.0), rows)[:, 1]
    assert (floor[1] - floor[0]) / 0.01 == pytest.approx(4.0, rel=1e-3)
    assert (floor[3] - floor[2]) / 0.01 == pytest.approx(1.0, rel=1e-3)


def test_after_warped_back_is_before_where_it_is_seen(pairs):
    """Light, blur and noise differ between the pictures, so the grey levels are compared after their lines are fit."""
    errors, still = [], []
    for pair in pairs:
        height, width = pair.hidden.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        back = cv2.remap(pair.after, x + pair.flow[..., 0], y + pair.flow[..., 1], cv2.INTER_LINEAR)
        seen = ~cv2.dilate(pair.hidden.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        errors.append(_unlike(back[seen], pair.before[seen]))
        still.append(_unlike(pair.after[seen], pair.before[seen]))
    assert np.median(errors) < 0.05 and 3 * np.median(errors) < np.median(still)


def _unlike(first: NDArray, second: NDArray) -> float:
    """1 less the correlation of the grey levels."""
    return 1 - float(np.corrcoef(first.mean(-1), second.mean(-1))[0, 1])


def test_displacements_are_those_of_flying_chairs(pairs):
    # FlyingChairs at 512 px: 8.8 px on average over twelve of its pairs, half of all below about 5, some above 100.
    length = np.concatenate([np.hypot(*np.moveaxis(pair.flow, -1, 0)).ravel() for pair in pairs]) * 512 / 160
    assert 6 < length.mean() < 14
    assert 3 < np.median(length) < 9
    assert 40 < np.percentile(length, 99.5) < 160
    assert 0.03 < np.mean([pair.hidden.mean() for pair in pairs]) < 0.2


def test_under_surveillance_the_ground_mostly_stays_and_people_move():
    drawer = Drawer(np.random.default_rng(4), surveillance=1.0, textures=4)
    seen = [drawer.draw(64, 128) for _ in range(30)]
    still = [np.median(np.abs(pair.flow[pair.people == 0])) < 1e-4 for pair in seen]
    assert 0.4 < np.mean(still) < 0.85
    moved = np.concatenate([np.hypot(*pair.flow[pair.people > 0].T) for pair in seen])
    assert 1 < np.median(moved) < 8  # px of 128: 4 to 32 of 512
    assert np.mean([pair.people.max() > 1 for pair in seen]) > 0.8


def test_a_seed_repeats_the_pairs_and_another_does_not():
    first, again, other = (Drawer(np.random.default_rng(seed), textures=3) for seed in (1, 1, 2))
    for _ in range(3):
        one, two, three = first.draw(48, 64), again.draw(48, 64), other.draw(48, 64)
        for column in fields(Pair):
            assert np.array_equal(getattr(one, column.name), getattr(two, column.name))
        assert not np.array_equal(one.before, three.before)


def test_shapes_and_types_at_any_size():
    drawer = Drawer(np.random.default_rng(0), textures=2)
    for height, width in ((1, 1), (7, 33), (64, 48)):
        pair = drawer.draw(height, width)
        assert pair.before.shape == pair.after.shape == (height, width, 3)
        assert pair.before.dtype == pair.after.dtype == pair.people.dtype == np.uint8
        assert pair.flow.shape == (height, width, 2) and pair.flow.dtype == np.float32
        assert pair.hidden.shape == pair.people.shape == (height, width) and pair.hidden.dtype == bool
        assert np.isfinite(pair.flow).all()


def test_figures_lie_about_their_centre():
    rng = np.random.default_rng(2)
    for _ in range(50):
        points = np.concatenate(
            [curve for outline in thing(rng, np.array([100.0, 50.0]), 20.0) for curve in outline]
        )
        assert np.abs(np.median(points, 0) - [100, 50]).max() < 30
    assert len(furniture(rng)) >= 5  # a seat and four legs
    top, foot = 0.0, 100.0
    limbs = walker(rng, np.array([0.0, 50.0]), 100.0)
    rows = np.concatenate([curve[:, 1] for limb in limbs for outline in limb.figure for curve in outline])
    assert top <= rows.min() < 5 and 85 < rows.max() < foot + 5


def test_limbs_swing_about_their_joints():
    for limb in walker(np.random.default_rng(2), np.array([0.0, 50.0]), 100.0, moved=30.0):
        if limb.part == "trousers":  # hips at half the height
            assert apply(limb.swing, np.array([[0.0, 50.0]])) == pytest.approx(
                np.array([[0.0, 50.0]]), abs=8.0
            )


def test_every_surface_is_a_picture():
    rng = np.random.default_rng(1)
    surfaces = [draw_texture(rng, 64) for _ in range(60)]
    assert all(surface.shape == (64, 64, 3) and surface.dtype == np.uint8 for surface in surfaces)
    assert np.median([surface.std() for surface in surfaces]) > 15


def test_no_exposure_changes_nothing():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(expose(np.random.default_rng(0), picture, Exposure()), picture)


@pytest.mark.parametrize(
    "exposure",
    [
        Exposure(noise=20),
        Exposure(quality=25),
        Exposure(smear=(7.0, -3.0)),
        Exposure(blur=3.0),
        Exposure(gain=5.0),
    ],
)
def test_an_exposure_keeps_things_in_their_place(exposure):
    # A bright spot's centre of mass, after each of them: blur and smear spread it evenly to all sides.
    picture = np.zeros((41, 61, 3), np.uint8)
    picture[18:23, 27:34] = 200
    seen = expose(np.random.default_rng(0), picture, exposure).astype(float).sum(-1)
    seen *= seen > 150
    rows, columns = np.nonzero(seen)
    weight = seen[rows, columns]
    assert (np.average(columns, weights=weight), np.average(rows, weights=weight)) == pytest.approx(
        (30, 20), abs=0.4
    )


def test_exposures_add_up():
    total = Exposure(gain=0.1, blur=3.0, noise=4.0, quality=50) + Exposure(gain=0.2, blur=4.0, noise=3.0)
    assert total.gain == pytest.approx(0.3)
    assert total.blur == 5.0 and total.noise == 5.0  # deviations of independent things: 3, 4, 5
    assert total.quality == 50
