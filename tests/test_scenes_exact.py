"""The pictures' truth against independent means: rays cut with triangles, masks of people drawn alone, sole points."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from benchmarks import ray_truth
from benchmarks.ray_truth import Mesh, View
from benchmarks.scenes import Shot, compare, shoot
from scenes import settings
from scenes.scene import Staged

# --- the twin itself


def view(distortion=(0.0, 0.0, 0.0, 0.0, 0.0)) -> View:
    """Looks along the world's y from the origin, 100 px a unit slope, 40x30 px."""
    K = np.array([[100.0, 0, 20], [0, 100, 15], [0, 0, 1]])
    R = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # camera y down is world -z, camera z is world y
    return View(K, R, np.zeros(3), np.array(distortion))


def square(y: float, person: int, *, half: float = 0.5, shift: float = 0.0) -> Mesh:
    """A square across the optical axis at depth y, that moves by ``shift`` along x."""
    now = np.array([[-half, y, -half], [half, y, -half], [half, y, half], [-half, y, half]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(now, now + [shift, 0, 0], np.ones(4), triangles, np.full(2, person))


def test_a_square_covers_what_it_should():
    # 1 m wide at 10 m: 100 px * 0.5 / 10 = 5 px to each side of (20, 15).
    seen = ray_truth.look(ray_truth.centres((40, 30)), view(), square(10, 1, shift=0.1))
    mask = seen.people.reshape(30, 40) == 1
    assert ray_truth.box_of(mask).tolist() == [15, 10, 25, 20] and mask.sum() == 10 * 10
    assert seen.depth_m[mask.ravel()] == pytest.approx(10)
    assert seen.flow_px[mask.ravel()] == pytest.approx(np.tile([1.0, 0.0], (100, 1)))  # 100 px * 0.1 / 10
    assert np.isinf(seen.depth_m[~mask.ravel()]).all()


def test_the_nearer_one_is_seen_and_the_second_surface_is_known():
    both = ray_truth.joined([square(10, 1), square(8, 2, half=0.2), square(9, 3, half=0.1)])
    seen = ray_truth.look(np.array([[20.5, 15.5], [24.5, 15.5], [1.5, 1.5]]), view(), both)
    assert seen.people.tolist() == [2, 1, 0]
    assert seen.margin_m[0] == pytest.approx(1) and np.isinf(seen.margin_m[1:]).all()


def test_a_hole_is_looked_through():
    # The mask falls from 1 at the left corners to -1 at the right ones: nothing is left of the right half.
    front = square(5, 1)
    front = Mesh(front.now, front.after, np.array([1.0, -1, -1, 1]), front.triangles, front.people)
    seen = ray_truth.look(
        np.array([[19.5, 15.5], [20.5, 15.5]]), view(), ray_truth.joined([front, square(6, 2)])
    )
    assert seen.people.tolist() == [1, 2]


def test_what_reaches_behind_the_camera_is_seen_before_it():
    floor = np.array([[-9.0, -9, -1], [9, -9, -1], [9, 90, -1], [-9, 90, -1]])
    mesh = Mesh(floor, floor, np.ones(4), np.array([[0, 1, 2], [0, 2, 3]]), np.zeros(2, int))
    seen = ray_truth.look(np.array([[20.5, 25.5], [20.5, 5.5]]), view(), mesh)
    assert seen.depth_m[0] == pytest.approx(100 / 10.5)  # 1 m below, 10.5 px under the middle
    assert np.isinf(seen.depth_m[1])  # above the horizon


def test_many_small_triangles_are_as_one(monkeypatch):
    """However the work is cut into portions."""
    rng = np.random.default_rng(0)
    corners = rng.uniform((-1, 4, -1), (1, 8, 1), (60, 1, 3)) + rng.normal(0, 0.3, (60, 3, 3))
    points = corners.reshape(-1, 3)
    mesh = Mesh(points, points, np.ones(180), np.arange(180).reshape(60, 3), np.arange(60) + 1)
    pixels = ray_truth.centres((40, 30))[::13]
    whole = ray_truth.look(pixels, view(), mesh)
    monkeypatch.setattr(ray_truth, "PAIRS_AT_ONCE", 50)
    parts = ray_truth.look(pixels, view(), mesh)
    assert (whole.people == parts.people).all() and (whole.margin_m == parts.margin_m).all()
    one_by_one = [
        min(
            (depth[0], person)
            for person, triangle in enumerate(points.reshape(60, 3, 3) @ view().R.T, 1)
            if not math.isnan((depth := ray_truth.cut(ray[None], triangle[None])[0])[0])
        )[1]
        if person_seen
        else 0
        for ray, person_seen in zip(ray_truth.rays(pixels, view()), whole.people)
    ]
    assert one_by_one == whole.people.tolist()


def test_the_lens_is_opencvs_and_the_way_back_is_its_inverse():
    k = np.array([-0.28, 0.09, 0.002, -0.001, -0.01])
    points = np.random.default_rng(1).uniform(-0.6, 0.6, (50, 2))
    theirs = cv2.projectPoints(
        np.column_stack((points, np.ones(50))), np.zeros(3), np.zeros(3), np.eye(3), k
    )[0]
    assert ray_truth.distorted(points, k) == pytest.approx(theirs[:, 0], abs=1e-12)
    assert ray_truth.undistorted(ray_truth.distorted(points, k), k) == pytest.approx(points, abs=1e-10)


def test_a_ray_goes_through_the_pixel_that_it_came_from():
    lens = view((-0.2, 0.05, 0.001, 0.001, 0.0))
    pixels = ray_truth.centres((40, 30))
    points = ray_truth.rays(pixels, lens) * 7.0 @ lens.R  # the inverse of a rotation is its transpose
    assert ray_truth.projected(points, lens) == pytest.approx(pixels, abs=1e-9)


def test_skinning_mixes_the_bones():
    # Half moved by (2, 0, 0), half turned by a quarter about z: (1, 0, 0) -> (3, 0, 0) / 2 + (0, 1, 0) / 2.
    matrices = np.array(
        [[[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 0]], [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]], np.float32
    )
    moved = ray_truth.posed(np.array([[1.0, 0, 0]]), np.array([[0, 1]]), np.array([[0.5, 0.5]]), matrices)
    assert moved == pytest.approx(np.array([[1.5, 0.5, 0]]))


def test_the_share_that_is_seen_counts_what_lies_beyond_the_edge():
    alone = np.zeros((6, 6), int)
    alone[1:5, 0:3] = 7  # 12 px in all, one column of 4 beyond the left edge
    masks = alone[1:5, 1:5].copy()
    masks[0, 0] = 3  # and one hidden by another
    assert ray_truth.visibilities(masks, {7: alone, 8: alone * 0}, 1) == {7: pytest.approx(7 / 12)}
    with pytest.raises(ValueError, match="all round"):
        ray_truth.visibilities(masks, {7: masks}, 1)


def test_a_planted_foot_slides_as_fast_as_its_points():
    # Six instants, 0.1 s apart: the whole foot slides 1 cm, then 1 cm, stands, slides 3 cm on its toe, and is gone.
    along = np.array([0, 0.01, 0.02, 0.02, 0.05, 0.5])
    heel_up = np.array([0, 0, 0, 0.02, 0.05, 0.2])
    toe_up = np.array([0, 0, 0, 0, 0.001, 0.1])
    none = np.zeros(6)
    soles = np.stack((np.stack((along, none, heel_up), 1), np.stack((along + 0.2, none, toe_up), 1)), axis=1)
    found = ray_truth.slips(soles, 0.1, edge_s=0.1)
    assert found.planted_m_s == pytest.approx(
        [0.1, 0.0]
    )  # without the first and the last of 0.1, 0.1, 0, 0.3
    assert found.slid_m == pytest.approx([0.05])
    in_the_air = ray_truth.slips(soles + [0, 0, 0.1], 0.1)
    assert len(in_the_air.planted_m_s) == len(in_the_air.slid_m) == 0


# --- pictures


SMALL = {
    "name": "small",
    "seed": 5,
    "seconds": 6,
    "areas": {"yard": {"x": [-3, 3], "y": [-3, 3]}},
    "obstacles": [{"kind": "pillar", "at": [0.0, 0.6]}],
    "people": {"count": 4},
    "cameras": {
        "lens": {
            "at": [-2.6, -2.5, 2.5],
            "look": [0, 0, 0.9],
            "size": [160, 90],
            "distortion": [-0.18, 0.04, 0.001, -0.001, 0],
        },
        "moving": {
            "at": [2.6, -2.6, 2.4],
            "look": [0, 0, 0.9],
            "size": [160, 90],
            "motion": {"pan": 10, "period": 12, "shake": 1.0},
        },
    },
}


@pytest.fixture(scope="module")
def shots() -> dict[str, Shot]:
    """One instant of a small scene, by camera."""
    moderngl = pytest.importorskip("moderngl", reason="needs the extra [scenes]")
    try:
        moderngl.create_context(standalone=True, backend="egl").release()
    except Exception as problem:  # noqa: BLE001  (whatever the driver says, there is no OpenGL here)
        pytest.skip(f"no OpenGL over EGL: {problem}")
    staged = Staged.of(settings.from_values(SMALL))
    return {name: shoot(staged, name, 3.0, 0.1, pad_px=40) for name in staged.cameras}


@pytest.mark.parametrize("camera", ["lens", "moving"])
def test_pixels_show_what_their_rays_meet(shots: dict[str, Shot], camera: str):
    found = compare(shots[camera], np.random.default_rng(0), on_people=250, elsewhere=100)
    assert found.same.mean() > 0.97  # the rest: outlines that pass through a pixel's very centre
    assert len(found.flow_px) > 0.7 * found.pixels
    assert np.percentile(found.flow_px, 99) < 1e-3
    assert np.percentile(found.depth_m, 99) < 1e-3


@pytest.mark.parametrize("camera", ["lens", "moving"])
def test_boxes_and_visibility_are_those_of_masks(shots: dict[str, Shot], camera: str):
    found = compare(shots[camera], np.random.default_rng(0), on_people=0, elsewhere=10)
    assert len(found.boxes_px) >= 1
    assert np.abs(found.boxes_px).max() < 1.5
    assert np.abs(found.visibility).max() < 0.06
