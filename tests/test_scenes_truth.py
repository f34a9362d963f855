"""Truth without pictures: boxes of balls, who hides whom, flow; against slow twins and against dressed figures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scenes import settings
from scenes.camera import Camera, looking
from scenes.records import SEATED, STANDING, WALKING, Trajectory
from scenes.scene import Paths, Staged
from scenes.truth import (
    Dressed,
    Rows,
    Walkers,
    ball_boxes,
    dense_flow,
    record,
    silhouette_shares,
    truth,
    within,
)

F = 400.0
LENS = np.array([-0.25, 0.08, 0.001, -0.0005, 0.0])


def camera(
    at: tuple[float, float, float] = (0.0, -10.0, 1.0),
    to: tuple[float, float, float] = (0.0, 0.0, 1.0),
    *,
    distortion: NDArray[np.float64] | None = None,
    **more: Any,
) -> Camera:
    """640 x 360 px, 10 m south of the world's middle and looking at it, unless told otherwise."""
    K = np.array([[F, 0, 320], [0, F, 180], [0, 0, 1.0]])
    R = looking(at, to)
    bend = np.zeros(5) if distortion is None else distortion
    return Camera("c", (640, 360), K, R, -R @ np.array(at), bend, **more)


def path(
    person: int,
    start: tuple[float, float],
    speed: tuple[float, float] = (0.0, 0.0),
    activity: int | None = None,
    heading: float = 0.0,
) -> Trajectory:
    """Straight on for 4 s."""
    t = np.arange(81) * 0.05
    if activity is None:
        activity = WALKING if any(speed) else STANDING
    heading = np.arctan2(speed[1], speed[0]) if any(speed) else heading
    return Trajectory(
        person,
        t,
        np.array(start) + t[:, None] * np.array(speed),
        np.full(81, heading),
        np.full(81, activity, np.int8),
    )


def staged(
    *paths: Trajectory,
    cameras: Camera | None = None,
    solids: list[list[float]] | None = None,
    height_m: float = 1.75,
) -> Any:
    """What truth needs of a staged scene."""
    view = cameras or camera()
    looks = {one.person: SimpleNamespace(height_m=height_m, weight=0.5, bag="none") for one in paths}
    paths_table = Paths(list(paths))
    return SimpleNamespace(
        place=SimpleNamespace(solids=np.array(solids or [], float).reshape(-1, 7)),
        looks=looks,
        trajectories={one.person: one for one in paths},
        cameras={view.name: view},
        instant=paths_table.at,
    )


# ---- boxes -------------------------------------------------------------------------------------------------------


def test_the_box_of_a_ball_ends_where_tangents_touch_it():
    # A ball of 0.6 m radius, 1 m away: the tangent's slope is r / sqrt(d^2 - r^2) = 0.6 / 0.8.
    box = ball_boxes(camera(), np.array([[[0.0, 0.0, 1.0]]]), np.array([[0.6]]))
    np.testing.assert_allclose(box, [[320 - 300, 180 - 300, 320 + 300, 180 + 300]])


@pytest.mark.parametrize("distortion", [None, LENS])
def test_boxes_are_those_of_many_points_on_the_balls(distortion: NDArray[np.float64] | None):
    rng = np.random.default_rng(0)
    view = camera(distortion=distortion)
    centres = rng.uniform([-2, -1, 5], [2, 1, 9], (10, 4, 3))
    radii = rng.uniform(0.05, 0.4, (10, 4))
    points = rng.normal(size=(5_000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for row, box in enumerate(ball_boxes(view, centres, radii)):
        on_balls = (centres[row, :, None] + radii[row, :, None, None] * points).reshape(-1, 3)
        px, _ = view.project_seen(on_balls)
        np.testing.assert_allclose(box, [*px.min(axis=0), *px.max(axis=0)], atol=0.3)


def test_a_person_is_as_high_as_they_are_and_stands_on_the_floor():
    # 1.75 m, shoes and hair 0.035 m, 10 m away at 400 px: 71.4 px from the floor, which the camera at 1 m sees 40 px
    # below its middle. What is nearer by half a body is some 1.5 % larger.
    [box] = truth(staged(path(1, (0, 0))), "c", 2.0).boxes
    assert box[3] == pytest.approx(180 + 40, abs=1.0)
    assert box[3] - box[1] == pytest.approx(71.4, abs=1.5)
    assert (box[0] + box[2]) / 2 == pytest.approx(320, abs=2)


def test_the_seated_are_lower():
    standing, seated = (
        truth(staged(path(1, (0, 0), activity=a)), "c", 2.0).boxes[0] for a in (STANDING, SEATED)
    )
    assert seated[3] == pytest.approx(standing[3], abs=3)
    assert 0.65 < (seated[3] - seated[1]) / (standing[3] - standing[1]) < 0.85


# ---- who is seen -------------------------------------------------------------------------------------------------


def test_who_stands_in_front_hides_who_stands_behind():
    scene = staged(path(1, (0.0, 3.0)), path(2, (0.0, 0.0)), path(3, (4.0, 0.0)))
    seen = record(scene, "c", [1.0])
    shown = dict(zip(seen.ids.tolist(), seen.visibility.tolist()))
    assert shown[2] == shown[3] == pytest.approx(1.0)
    assert shown.get(1, 0.0) < 0.1  # 10 / 13 as high, in the middle of the other


def test_who_hides_somebody_is_named_with_the_share():
    seen = record(staged(path(1, (0.15, 3.0)), path(2, (0.0, 0.0))), "c", [1.0])
    behind = seen.ids == 1
    assert seen.hider[behind] == [2] and seen.hider[~behind] == [0]
    np.testing.assert_allclose(seen.hidden + seen.visibility, 1, atol=1e-5)
    assert 0.2 < seen.visibility[behind][0] < 0.9


def test_a_wall_hides_what_is_behind_it():
    # A wall of 1 m, 5 m in front of the camera whose eye is at 1 m: it hides all below 1 m, however far.
    wall = [[0.0, -5.0, 3.0, 0.1, 0.0, 1.0, 0.0]]
    seen = record(staged(path(1, (0, 0)), solids=wall), "c", [1.0])
    assert seen.visibility[0] == pytest.approx(
        0.45, abs=0.08
    )  # from 57 % of the height on: trunk, head, upper arms
    assert seen.hidden[0] == 0 and seen.hider[0] == 0
    high = [[0.0, -5.0, 3.0, 0.1, 0, 3.0, 0.0]]
    assert record(staged(path(1, (0, 0)), solids=high), "c", [1.0]).visibility.tolist() == [0.0]
    behind = [[0.0, 5.0, 3.0, 0.1, 0.0, 3.0, 0.0]]
    assert record(staged(path(1, (0, 0)), solids=behind), "c", [1.0]).visibility[0] == pytest.approx(1.0)


def test_a_camera_sees_out_of_the_box_that_it_is_in():
    box = [[0.0, -10.0, 0.3, 0.3, 0.8, 1.2, 0.3]]
    assert within(np.array(box), np.array([0.0, -10.0, 1.0]))[0]
    assert record(staged(path(1, (0, 0)), solids=box), "c", [1.0]).visibility[0] == pytest.approx(1.0)


def test_beyond_the_edge_nobody_is_seen():
    # The left edge sees x = -8 m at 10 m: who stands there is half in the picture.
    scene = staged(path(1, (-8.0, 0.0), heading=np.pi / 2), path(2, (-9.0, 0.0)), path(3, (0.0, -20.0)))
    seen = record(scene, "c", [1.0])
    assert seen.ids.tolist() == [1]
    assert seen.visibility[0] == pytest.approx(0.5, abs=0.1)
    assert seen.boxes[0, 0] < -5  # the box is of all of them


def test_visibility_is_that_of_pixels():
    """Against discs drawn pixel by pixel, nearest last."""
    rng = np.random.default_rng(1)
    paths = [
        path(n, (rng.uniform(-1.5, 1.5), rng.uniform(-3, 3)), tuple(rng.uniform(-1, 1, 2)))
        for n in range(1, 8)
    ]
    scene = staged(*paths, cameras=camera((0.0, -9.0, 3.0)))
    view, walkers = scene.cameras["c"], Walkers(scene)
    seen = record(scene, "c", [1.0, 2.0], walkers)
    for instant, t_s in enumerate((1.0, 2.0)):
        rows = Rows.of(scene, np.array([t_s]))
        centres, radii, _ = walkers.balls(rows)
        ids, alone = np.zeros((720, 1280), int), {}  # half pixels
        for row in np.argsort(-view.project(centres.mean(axis=1))[1]):
            px, depth = view.project(centres[row])
            mine = np.zeros(ids.shape, bool)
            for (u, v), reach in zip(2 * px, 2 * F * radii[row] / depth):
                left, top, size = int(u - reach), int(v - reach), int(2 * reach + 2)
                y, x = np.mgrid[top : top + size, left : left + size]
                mine[top : top + size, left : left + size] |= (x - u) ** 2 + (y - v) ** 2 < reach**2
            ids[mine] = rows.ids[row]
            alone[int(rows.ids[row])] = mine.sum()
        told = dict(zip(seen.at(instant).ids.tolist(), seen.at(instant).visibility.tolist()))
        for person, whole in alone.items():
            assert told.get(person, 0.0) == pytest.approx((ids == person).sum() / whole, abs=0.08)


def test_shares_of_the_silhouette_are_of_its_area():
    # Two discs apart, one of twice the radius: 1 and 4 parts of the area. Twice the same disc: it counts once.
    shares = silhouette_shares(np.array([[0, 0, 0], [9, 9, 9.0]]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(shares, [0.2, 0.8])
    shares = silhouette_shares(np.array([[0, 0, 0], [0, 0, 0], [9, 9, 9.0]]), np.ones(3))
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.5])


# ---- a recording -------------------------------------------------------------------------------------------------


def test_many_times_at_once_are_as_one_by_one():
    scene = staged(
        path(1, (-2, 0), (1, 0)),
        path(2, (2, 1), (-1, 0)),
        cameras=camera(swings=np.array([[0.1, 0, 0, 0, 0.2]])),
    )
    times = np.array([0.5, 1.0, 3.0, 9.0])  # nobody is there at 9 s
    whole = record(scene, "c", times)
    for instant, t_s in enumerate(times.tolist()):
        for name, value in vars(truth(scene, "c", t_s)).items():
            np.testing.assert_allclose(getattr(whole.at(instant), name), value, atol=1e-4, err_msg=name)
    assert not len(whole.at(3).ids)


def test_boxes_move_with_who_walks_and_turns_are_told():
    # 1 m to the right in 1 s at 10 m: 40 px. Walking to the right they turn their right side to the camera.
    scene = staged(path(1, (0, 0), (1.0, 0.0)), path(2, (3.0, 0.0)))
    seen = record(scene, "c", [1.0, 2.0])
    moved = seen.moved(0) - seen.at(0).boxes
    assert moved[0, [0, 2]].mean() == pytest.approx(40, abs=2)
    np.testing.assert_allclose(moved[1], 0, atol=1e-4)
    assert seen.seen_from_rad[0] == pytest.approx(-np.pi / 2, abs=0.2)
    assert np.isnan(record(scene, "c", [3.9, 9.0]).moved(0)).all()


def test_feet_walk_as_far_as_the_body():
    """A foot on the floor stays there, more or less: in a cycle both are taken along by two steps."""
    scene = staged(path(1, (0, 0), (1.3, 0.0)))
    rows = Rows.of(scene, np.arange(1.0, 3.0, 0.02))
    centres, radii, _ = Walkers(scene).balls(rows)
    lowest = (centres[..., 2] - radii).min(axis=1)
    np.testing.assert_allclose(lowest, 0, atol=0.01)
    foot = np.where(centres[..., 2] - radii < 0.02, centres[..., 0], np.nan)
    slip = np.nanmedian(np.abs(np.diff(foot, axis=0))) / 0.02
    assert slip < 0.65  # m/s, half the body's speed: this gait is a simple one


# ---- flow --------------------------------------------------------------------------------------------------------


def test_flow_of_somebody_standing_still_and_of_the_place_is_none():
    dense = dense_flow(staged(path(1, (0, 0))), "c", 1.0, 1.1)
    assert dense.flow.shape == (90, 160, 2) and not dense.flow.any()
    x1, y1, x2, y2 = (truth(staged(path(1, (0, 0))), "c", 1.0).boxes[0] / 4).astype(int)
    assert (
        (dense.ids[y1 : y2 + 1, x1 : x2 + 1] == 1).sum()
        == (dense.ids == 1).sum()
        > 0.3 * (y2 - y1) * (x2 - x1)
    )


def test_flow_of_somebody_walking_is_their_boxes():
    scene = staged(path(1, (0, 0), (1.2, 0.0)))
    dense = dense_flow(scene, "c", 1.0, 1.1)
    # 1.2 m/s for 0.1 s at 10 m: 4.8 px; limbs swing about that.
    assert dense.flow[dense.ids == 1][:, 0].mean() == pytest.approx(4.8, rel=0.15)
    assert not dense.flow[dense.ids == 0].any()


def test_flow_of_a_panning_camera_is_its_turn():
    view = camera(distortion=LENS, swings=np.array([[0.05, 0.0, 0, 0, 0.3]]))
    scene = staged(cameras=view)
    dense = dense_flow(scene, "c", 1.0, 1.1)
    points = np.array([[1.0, 5.0, 2.0], [-3.0, 8.0, 0.0]])
    before, after = (view.at(t).project(points)[0] for t in (1.0, 1.1))
    for px, to in zip(before, after):
        column, row = (px / 4).astype(int)
        np.testing.assert_allclose(dense.flow[row, column], to - px, atol=0.15)


def test_a_wall_hides_people_from_flow():
    scene = staged(path(1, (0, 0), (1.2, 0)), solids=[[0.0, -5.0, 3.0, 0.1, 0, 3.0, 0.0]])
    assert not dense_flow(scene, "c", 1.0, 1.1).ids.any()


# ---- beside dressed figures --------------------------------------------------------------------------------------

SCENE = {
    "name": "yard",
    "seed": 3,
    "seconds": 4,
    "areas": {"yard": {"x": [-5, 5], "y": [-5, 5], "walls": "none"}},
    "people": {"count": 2, "standing": 0},
    "cameras": {"c": {"at": [0, -4.9, 3.0], "look": [0, 1, 1], "view": 75}},
}


def test_walkers_fill_the_boxes_of_dressed_people():
    """Boxes of every skinned vertex, projected: an independent way, and the clothes are in it."""
    scene = Staged.of(settings.Scene.model_validate(SCENE))
    view = scene.cameras["c"]
    rows = Rows.of(scene, np.array([1.0, 1.6, 2.2, 2.8]))
    boxes = {
        bodies: ball_boxes(view, (bodies.balls(rows)[0] - view.centre_m) @ view.R.T, bodies.balls(rows)[1])
        for bodies in (Walkers(scene), Dressed(scene))
    }
    misses: list[list[NDArray[np.float64]]] = [[], []]
    for row in range(len(rows)):
        figure = scene.figure(int(rows.ids[row]))
        surface = figure.surface
        used = np.unique(surface.triangles[(surface.mask[surface.triangles] >= 0).all(axis=1)])
        M = scene.matrices(int(rows.ids[row]), float(rows.t_s[row]))
        mixed = np.einsum("vk,vkij->vij", figure.weights[used], M[figure.bones[used]])
        points = np.einsum("vij,vj->vi", mixed[..., :3], surface.vertices[used]) + mixed[..., 3]
        px, depth = view.project(points)
        if depth.min() < 1.0:
            continue
        box = np.array([*px.min(axis=0), *px.max(axis=0)])
        for miss, found in zip(misses, boxes.values()):
            miss.append((found[row] - box) * 120 / (box[3] - box[1]))
    walkers, dressed = (np.abs(np.array(miss)).mean(axis=0) for miss in misses)
    assert len(misses[0]) >= 5
    # px at a height of 120 px: left and right hang on who swings which arm when.
    assert walkers[[0, 2]].max() < 9 and walkers[[1, 3]].max() < 5
    assert dressed.max() < 4
