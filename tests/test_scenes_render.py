"""Pictures and their truth, of people made of balls in a small yard; and the arithmetic that needs no driver."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from scenes import driver, patterns, settings
from scenes.camera import Camera
from scenes.facets import cut, cut_fine, finest_angle
from scenes.light import FloorShade, Lighting, hang_lamps, nearest_lamps, sunlight
from scenes.posed import Posed, outline
from scenes.records import Figure, Picture, Skeleton, Surface
from scenes.render import Renderer, RenderError

SIZE = (96, 64)
ALL = frozenset({"masks", "depth", "flow"})


# --- what is drawn


def surface(
    vertices: Any,
    triangles: Any,
    colour: tuple[float, float, float],
    pattern: int = patterns.PLAIN,
    mask: Any = None,
    normals: Any = None,
) -> Surface:
    points = np.array(vertices, np.float32)
    count = len(points)
    return Surface(
        vertices=points,
        normals=np.tile(np.float32((0, 0, 1)), (count, 1)) if normals is None else normals,
        triangles=np.array(triangles, np.int32),
        colour=np.tile(np.float32(colour), (count, 1)),
        colour2=np.tile(np.float32(colour) / 2, (count, 1)),
        pattern=np.full(count, pattern, np.int32),
        frequency=np.full(count, 2, np.float32),
        gloss=np.zeros(count, np.float32),
        paint=points,
        mask=np.ones(count, np.float32) if mask is None else np.array(mask, np.float32),
    )


def ball(
    centre: Any, radii: Any, rings: int = 7, around: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, triangles and normals of an ellipsoid."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, around, endpoint=False), np.linspace(0, np.pi, rings))
    unit = np.stack((np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)), -1).reshape(-1, 3)
    a = np.arange(rings - 1)[:, None] * around + np.arange(around)
    b = np.arange(rings - 1)[:, None] * around + (np.arange(around) + 1) % around
    faces = np.concatenate((np.stack((a, a + around, b), -1), np.stack((b, a + around, b + around), -1)))
    return unit * radii + centre, faces.reshape(-1, 3), unit / np.linalg.norm(unit, axis=1, keepdims=True)


def figure(colour: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> Figure:
    """1.7 m: legs and a body, of two bones."""
    legs, body = ball((0, 0.45, 0), (0.16, 0.45, 0.12)), ball((0, 1.25, 0), (0.22, 0.45, 0.14))
    count = len(legs[0])
    bones = np.zeros((2 * count, 8), np.int32)
    bones[count:] = 1
    weights = np.zeros((2 * count, 8), np.float32)
    weights[:, 0] = 1
    return Figure(
        surface=surface(
            np.concatenate((legs[0], body[0])),
            np.concatenate((legs[1], body[1] + count)),
            colour,
            normals=np.concatenate((legs[2], body[2])).astype(np.float32),
        ),
        bones=bones,
        weights=weights,
        skeleton=Skeleton(
            ("root", "chest"),
            np.array([-1, 0], np.int32),
            np.float32([[0, 0.9, 0], [0, 1, 0]]),
            np.float32([[0, 1, 0], [0, 1.7, 0]]),
        ),
        height_m=1.7,
        ball_bones=np.array([0, 1], np.int32),
        ball_centres=np.float32([[0, 0.45, 0], [0, 1.25, 0]]),
        ball_radii=np.float32([0.15, 0.2]),
    )


def standing(x: float, y: float, heading: float = 0.0, lean: float = 0.0) -> np.ndarray:
    """(2, 3, 4) rest -> world; the upper part leans forward by ``lean`` m."""
    c, s = np.cos(heading), np.sin(heading)
    # Left of someone who faces the world's x is its y.
    turn = np.array([[-s, 0, c], [c, 0, s], [0, 1, 0]])
    both = np.tile(np.column_stack((turn, (x, y, 0))), (2, 1, 1))
    both[1, :, 3] += lean * turn[:, 2]
    return both.astype(np.float32)


def yard() -> Surface:
    """A floor from -6 to 6 and a slab that hides what is behind it."""
    floor = [(-6, -6, 0), (6, -6, 0), (6, 6, 0), (-6, 6, 0)]
    slab = [(0.6, 0.3, 0), (1.6, 0.3, 0), (1.6, 0.3, 1.0), (0.6, 0.3, 1.0)]
    return surface(
        floor + slab, [(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)], (0.6, 0.6, 0.58), patterns.PAVING
    )


def camera(**said: Any) -> Camera:
    values = {"at": (0.5, -5, 2.5), "look": (0.5, 0.5, 0.7), "size": SIZE, "view": 50} | said
    return Camera.of("gate", settings.Camera.model_validate(values), np.random.default_rng(3))


BENT = {"distortion": (-0.25, 0.05, 0.001, -0.001, 0)}
SHAKEN = {"motion": {"pan": 15, "period": 6, "shake": 2.0}}


# --- arithmetic


def test_a_ray_meets_a_plane_where_it_should():
    triangle = np.array([[[0.0, 0, 5], [1, 0, 5], [0, 1, 5]]])
    along, share = cut(np.zeros(3), np.array([[0.05, 0.1, 1.0]]), triangle)
    assert along == pytest.approx(5)
    assert_allclose(share, [[0.25, 0.25, 0.5]])  # 0.25 of x = 1, 0.5 of y = 1


def test_a_surface_cut_fine_is_the_same_surface():
    lens = camera(**BENT)
    fine, old = cut_fine(yard(), lens.centre_m, finest_angle(lens))
    corners = yard().vertices.astype(float)[yard().triangles]
    pieces = fine.vertices.astype(float)[fine.triangles]

    def areas(triangles: np.ndarray) -> np.ndarray:
        sides = triangles[:, 1:] - triangles[:, :1]
        return np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2

    assert_allclose(np.bincount(old, areas(pieces)), areas(corners), rtol=1e-5)
    ways = pieces - lens.centre_m
    ways /= np.linalg.norm(ways, axis=2, keepdims=True)
    seen = np.arccos(np.clip((ways * np.roll(ways, 1, axis=1)).sum(axis=2), -1, 1))
    assert seen.max() <= finest_angle(lens) + 1e-4
    # An edge cut alike from both sides leaves no gap: inner edges are there twice, in both directions.
    names = {tuple(point): number for number, point in enumerate(np.unique(fine.vertices, axis=0))}
    number = np.array([names[tuple(point)] for point in fine.vertices])[fine.triangles]
    edges = np.sort(np.stack((number, np.roll(number, -1, axis=1)), -1).reshape(-1, 2), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    rim = sum(1 for count in counts if count == 1)
    assert set(counts) == {1, 2} and rim < len(counts) / 8


def test_an_outline_ends_where_the_mask_does():
    # The mask falls from 1 at y = 0 to -1 at y = 2: the surface ends at y = 1.
    one = surface([(0, 0, 0), (1, 0, 0), (0, 2, 0)], [(0, 1, 2)], (0, 0, 0), mask=[1, 1, -1])
    (first, last), share = outline(one)
    points = one.vertices[first] + (one.vertices[last] - one.vertices[first]) * share
    assert points[:, 1].max() == pytest.approx(1.0)
    assert len(points) == 4  # two corners, two cuts


def test_skin_follows_its_bones_and_the_next_frame_becomes_this_one():
    posed = Posed(figure())
    first, second = standing(1, 2), standing(1.1, 2, lean=0.2)
    posed.pose(first, second)
    top = figure().surface.vertices[:, 1].argmax()
    assert_allclose(posed.skin[top, :3], (1, 2, 1.7), atol=1e-6)
    after = posed.skin_next
    assert_allclose(after[top, :3], (1.3, 2, 1.7), atol=1e-6)
    posed.pose(second, second)
    assert posed.skin is after
    assert_allclose(posed.stand()[0], (1.1, 2), atol=1e-6)
    assert posed.stand()[1] == pytest.approx(0)


def test_who_is_behind_the_camera_has_no_box():
    posed = Posed(figure())
    posed.pose(standing(0, -9), standing(0, -9))
    assert np.isnan(posed.box(camera())[0]).all()


def test_the_sun_sees_a_whole_box():
    low, high = np.array([-3.0, -2, 0]), np.array([4.0, 5, 3])
    light = Lighting.of(settings.Light(azimuth=30, elevation=40), low, high)
    view, depth_m = sunlight(light.sun, low, high)
    corners = np.array([[x, y, z, 1] for x in (-3, 4) for y in (-2, 5) for z in (0, 3)])
    assert np.abs((corners @ view.T)[:, :3]).max() < 1
    # A metre towards the sun is a metre of its depth.
    step = view @ np.append(light.sun, 0)
    assert_allclose(step[:3] * depth_m / 2, (0, 0, -1), atol=1e-12)


def test_dusk_has_a_low_sun_and_indoors_there_is_none():
    low, high = np.zeros(3), np.array([10.0, 8, 3])
    day, dusk, indoor = (
        Lighting.of(settings.Light(kind=kind), low, high) for kind in ("day", "dusk", "indoor")
    )
    assert dusk.sun[2] < 0.3 < day.sun[2]
    assert day.has_sun and dusk.has_sun and not indoor.has_sun
    assert len(indoor.lamps) > len(dusk.lamps) > len(day.lamps) == 0


def test_lamps_hang_within_the_place_and_are_never_too_many():
    low, high = np.array([0.0, 0, 0]), np.array([100.0, 60, 3])
    lamps = hang_lamps(low, high, 3.4, 2.8, 0.3)
    assert len(lamps) <= 64
    assert (lamps[:, :2] > low[:2]).all() and (lamps[:, :2] < high[:2]).all() and (lamps[:, 2] < 3).all()
    near = nearest_lamps(lamps, np.array([20.0, 20.0]))
    away = np.hypot(*(lamps[:, :2] - 20).T)
    assert_allclose(np.hypot(*(near[:8, :2] - 20).T), np.sort(away)[:8])
    assert (near[8:] == 0).all()


@pytest.mark.parametrize("kind", ["day", "indoor"])
def test_the_floor_is_dark_where_somebody_stands_and_nowhere_else(kind: str):
    low, high = np.array([-4.0, -4, 0]), np.array([4.0, 4, 3])
    floor = FloorShade.of(np.zeros((0, 3, 3)), low, high)
    lamps = Lighting.of(settings.Light(kind=kind), low, high).lamps
    feet = (np.array([[1.0, 2.0, 0.1], [1.0, 2.0, 1.0]]), np.array([0.1, 0.2]))
    shade = floor.of_people([feet], lamps)
    scale_x, scale_y, shift_x, shift_y = floor.from_world
    column = int((1.0 * scale_x + shift_x) * shade.shape[1])
    row = int((2.0 * scale_y + shift_y) * shade.shape[0])
    assert shade[row, column] < 200
    assert shade[0, 0] == shade[-1, 0] == 255
    outside = (np.array([[50.0, 50.0, 0.1]]), np.array([0.1]))
    assert (floor.of_people([outside], lamps) == 255).all()


# --- the driver


def test_without_moderngl_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    load = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "moderngl":
            raise ImportError(name)
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RenderError, match=r"\[scenes\]"):
        driver.context()


def test_without_a_driver_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch):
    moderngl = pytest.importorskip("moderngl", reason="needs the extra [scenes]")

    def refuse(**_: Any) -> None:
        raise Exception("libEGL.so: no such file")  # noqa: TRY002  # as moderngl does

    monkeypatch.setattr(moderngl, "create_context", refuse)
    with pytest.raises(RenderError, match="libegl1, libegl-mesa0 and libgl1-mesa-dri"):
        driver.context()


# --- pictures


@pytest.fixture(scope="module")
def drawn() -> Iterator[Renderer]:
    try:
        renderer = Renderer(yard(), settings.Light(azimuth=200), largest=SIZE)
    except RenderError as problem:
        pytest.skip(str(problem))
    with renderer:
        yield renderer


def shot(
    renderer: Renderer, one: Camera, poses: dict[int, tuple[np.ndarray, np.ndarray]], **more: Any
) -> Picture:
    for person in poses:
        renderer.add(person, figure((0.8, 0.1, 0.1) if person == 1 else (0.1, 0.2, 0.8)))
    renderer.pose(poses)
    return renderer.picture(one.at(0.0), one.at(0.1), list(poses), **more)


def traced(
    one: Camera, place: Surface, poses: dict[int, np.ndarray], px: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A slow twin: every ray against every triangle. Who (0 place, -1 sky), depth, triangle, place in it."""
    meshes = [(0, place.vertices.astype(float), place.triangles)]
    for person, matrices in poses.items():
        one_figure = figure()
        turn = matrices[one_figure.bones[:, 0]].astype(float)
        points = np.einsum("vij,vj->vi", turn[:, :, :3], one_figure.surface.vertices) + turn[:, :, 3]
        meshes.append((person, points, one_figure.surface.triangles))
    who, depth = np.full(len(px), -1), np.full(len(px), np.inf)
    which, share = np.zeros(len(px), int), np.zeros((len(px), 3))
    rays = one.rays(px) @ one.R
    for person, points, triangles in meshes:
        for number, corners in enumerate(points[triangles]):
            along, inside = cut(one.centre_m, rays, np.tile(corners, (len(px), 1, 1)))
            nearer = (inside >= 0).all(axis=1) & (along > 0.1) & (along < depth)
            who[nearer], depth[nearer] = person, along[nearer]
            which[nearer], share[nearer] = number, inside[nearer]
    return who, depth, which, share


POSES = {1: (standing(0, 0), standing(0.06, 0.02, lean=0.03)), 2: (standing(1.1, 0.9), standing(1.0, 0.9))}


@pytest.mark.parametrize("said", [{}, BENT, SHAKEN], ids=["straight", "bent", "moving"])
def test_every_pixel_tells_what_its_ray_meets(drawn: Renderer, said: dict[str, Any]):
    one = camera(**said)
    now, after = one.at(0.0), one.at(0.1)
    picture = shot(drawn, one, POSES, want=ALL)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, SIZE[1], 300), rng.integers(0, SIZE[0], 300)
    on = np.argwhere(picture.masks > 0)
    rows = np.concatenate((rows, on[::2, 0]))
    columns = np.concatenate((columns, on[::2, 1]))
    px = np.stack((columns, rows), axis=1) + 0.5
    who, depth, which, share = traced(now, yard(), {p: pair[0] for p, pair in POSES.items()}, px)
    same = np.maximum(who, 0) == picture.masks[rows, columns]
    assert same.mean() > 0.985  # the rest are outlines
    built = same & (who >= 0)
    off = np.abs(picture.depth[rows, columns] - depth)[built]
    assert np.percentile(off, 98) < 1e-4
    # Where each point is at the next frame, from its place in its triangle.
    points = np.zeros((len(px), 3))
    for person, (_, later) in ({0: (None, None)} | POSES).items():
        mine = built & (who == person)
        mesh = yard() if person == 0 else figure().surface
        vertices = mesh.vertices.astype(float)
        if person:
            turn = later[figure().bones[:, 0]].astype(float)
            vertices = np.einsum("vij,vj->vi", turn[:, :, :3], vertices) + turn[:, :, 3]
        points[mine] = (share[mine, :, None] * vertices[mesh.triangles[which[mine]]]).sum(axis=1)
    expected = after.project(points)[0] - px
    wrong = np.linalg.norm(picture.flow[rows, columns] - expected, axis=1)[built]
    assert np.percentile(wrong, 98) < 1e-3
    # And is it seen there? Traced again, at the place where it should be.
    to = (px + expected)[built]
    inside = ((to >= 0) & (to < SIZE)).all(axis=1)
    _, nearest, _, _ = traced(after, yard(), {p: pair[1] for p, pair in POSES.items()}, to)
    deep = after.project(points[built])[1]
    hidden = ~inside | (nearest < deep - 0.01)
    told = picture.hidden_next[rows, columns][built]
    assert (
        hidden == told
    ).mean() > 0.94  # the rest lies within a pixel of an outline, of which this picture is full
    assert hidden.any() and not hidden.all()


@pytest.mark.parametrize("said", [{}, BENT], ids=["straight", "bent"])
def test_boxes_hold_the_masks_closely(drawn: Renderer, said: dict[str, Any]):
    picture = shot(drawn, camera(**said), {1: POSES[1]}, want=ALL)
    rows, columns = np.nonzero(picture.masks == 1)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert_allclose(picture.truth.boxes[0], box, atol=1.0)
    assert picture.truth.ids.tolist() == [1]
    assert picture.truth.visibility[0] == 1


def test_visibility_is_the_share_that_neither_people_nor_walls_hide(drawn: Renderer):
    alone = shot(drawn, camera(), {2: (standing(1.1, -0.5),) * 2}, want=ALL)
    # The slab before her is 1 m high and hides her legs.
    behind = shot(drawn, camera(), {2: (standing(1.1, 0.9),) * 2}, want=ALL)
    seen = np.count_nonzero(behind.masks == 2)
    free = Renderer.picture(drawn, camera(), None, [2], want=ALL)
    assert free.truth.visibility[0] == behind.truth.visibility[0]
    assert alone.truth.visibility[0] == 1
    assert 0.2 < behind.truth.visibility[0] < 0.8
    whole = seen / behind.truth.visibility[0]
    assert whole == pytest.approx(
        np.prod(behind.truth.boxes[0, 2:] - behind.truth.boxes[0, :2]) * 0.7, rel=0.2
    )


def test_what_lies_beyond_the_edge_is_not_seen_but_in_the_box(drawn: Renderer):
    one = camera()
    whole = shot(drawn, one, {1: (standing(0.5, 0),) * 2}, want=ALL)
    x0, y0, x1, y1 = whole.truth.boxes[0]
    middle = int((x0 + x1) / 2)
    half = drawn.picture(one, None, [1], want=ALL, window=(middle, 0, middle + 40, SIZE[1]))
    assert_allclose(half.truth.boxes[0], (x0 - middle, y0, x1 - middle, y1), atol=1e-3)
    share = np.count_nonzero(whole.masks[:, middle:] == 1) / np.count_nonzero(whole.masks == 1)
    assert half.truth.visibility[0] == pytest.approx(share, abs=1e-6)


def test_a_window_is_cut_from_the_picture(drawn: Renderer):
    whole = shot(drawn, camera(**BENT), POSES, want=ALL)
    part = drawn.picture(camera(**BENT), None, [1, 2], want=ALL, window=(20, 10, 60, 50))
    assert_array_equal(part.masks, whole.masks[10:50, 20:60])
    difference = np.abs(part.image.astype(int) - whole.image[10:50, 20:60])
    assert difference.mean() < 1.5


def test_people_darken_the_floor_and_the_nearer_one_is_seen(drawn: Renderer):
    empty = drawn.picture(camera(), None, [])
    picture = shot(drawn, camera(), POSES, want=ALL)
    nobody = picture.masks == 0
    change = picture.image.astype(int).sum(axis=2) - empty.image.astype(int).sum(axis=2)
    assert (change[nobody] < -40).sum() > 20  # shadows
    assert (change[nobody] > 12).mean() < 0.02
    red = picture.image[picture.masks == 1].mean(axis=0)
    assert red[2] > 1.5 * red[0]  # BGR
    front = shot(drawn, camera(), {1: (standing(0.5, 0),) * 2, 2: (standing(0.5, 0.6),) * 2}, want=ALL)
    visible = dict(zip(front.truth.ids.tolist(), front.truth.visibility.tolist()))
    assert visible[1] == 1 and visible[2] < 0.5


def test_the_same_scene_gives_the_same_picture(drawn: Renderer):
    first, second = (shot(drawn, camera(), POSES, want=ALL) for _ in range(2))
    assert_array_equal(first.image, second.image)
    assert_array_equal(first.flow, second.flow)


def test_nobody_is_there(drawn: Renderer):
    picture = drawn.picture(camera(), camera(), [], want=ALL, t_s=2.5)
    assert picture.truth.t_s == 2.5
    assert picture.truth.boxes.shape == (0, 4)
    assert not picture.masks.any() and not picture.flow.any() and not picture.hidden_next.any()
    assert np.isfinite(picture.depth).all()


def test_who_left_the_picture_is_not_in_its_truth(drawn: Renderer):
    picture = shot(drawn, camera(), {1: (standing(0, 0),) * 2, 2: (standing(0, -20),) * 2})
    assert picture.truth.ids.tolist() == [1]
    assert picture.masks is None and picture.depth is None and picture.flow is None


def test_memory_is_bounded(drawn: Renderer, monkeypatch: pytest.MonkeyPatch):
    """Of a camera that moves no more than two backgrounds are kept, of all cameras as many as there is room for."""
    for step in range(30):
        drawn.picture(camera(at=(0.5, -5 - step / 10, 2.5)), None, [])
    assert sum(not one.is_used_again for one in drawn._backgrounds.values()) <= 2
    monkeypatch.setattr("scenes.render.BACKGROUNDS_MB", 0)
    for step in range(10):
        for _ in range(2):
            drawn.picture(camera(at=(0.5, -4, 2 + step / 10)), None, [])
    assert len(drawn._backgrounds) == 4
    drawn.add(9, figure())
    drawn.remove(9)
    drawn.remove(9)
    assert 9 not in drawn._people


def test_cameras_in_turn_have_their_backgrounds_drawn_once(drawn: Renderer, monkeypatch: pytest.MonkeyPatch):
    """Three cameras that stand still pushed each other out: every background was drawn anew for every picture."""
    counted: list[Camera] = []
    draw = Renderer._draw_background

    def counting(self: Renderer, camera: Camera) -> Any:
        counted.append(camera)
        return draw(self, camera)

    monkeypatch.setattr(Renderer, "_draw_background", counting)
    cameras = [camera(at=(0.5, -4, 3 + k / 10)) for k in range(4)]
    for _ in range(4):  # it takes some rounds until all are known to stand still
        for one in cameras:
            drawn.picture(one, None, [])
    counted.clear()
    for one in cameras:
        drawn.picture(one, None, [])
    assert not counted


def test_pictures_larger_than_promised_are_refused(drawn: Renderer):
    with pytest.raises(ValueError, match="larger than the renderer"):
        drawn.picture(camera(size=(200, 64)), None, [])


def test_it_says_who_draws(drawn: Renderer):
    assert drawn.device


@pytest.mark.parametrize("kind", ["dusk", "indoor"])
def test_other_lights_differ(drawn: Renderer, kind: str):
    day = drawn.picture(camera(), None, []).image.mean()
    with Renderer(yard(), settings.Light.model_validate({"kind": kind}), largest=SIZE) as renderer:
        picture = shot(renderer, camera(), POSES)
    assert abs(picture.image.mean() - day) > 3
    assert 30 < picture.image.mean() < 230
