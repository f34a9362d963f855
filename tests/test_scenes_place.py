import re
from functools import lru_cache
from importlib.resources import files

import numpy as np
import pytest

from scenes import patterns, place, settings
from scenes.mesh import CELL_M, Mesh, Paint

SITES = sorted(entry.name.removesuffix(".yaml") for entry in files("scenes").joinpath("sites").iterdir())
CAMERA = {"one": {"at": (0.5, 0.5, 3), "look": (2, 2, 0)}}


def load(name):
    return settings.load(str(files("scenes").joinpath("sites", f"{name}.yaml")))


@lru_cache
def site(name, seed=0):
    return place.build(load(name), np.random.default_rng(seed))


def built(seed=0, **said):
    return place.build(settings.Scene(name="test", cameras=CAMERA, **said), np.random.default_rng(seed))


def two_rooms(**said):
    """Rooms x 0..4 and 4..8, y 0..4, with a door of 1 m in the middle of the wall between."""
    areas = {"left": {"x": (0, 4), "y": (0, 4)}, "right": {"x": (4, 8), "y": (0, 4)}}
    doors = [{"between": ("left", "right"), "at": (4, 2), "width": 1.0}]
    return built(areas=areas, doors=doors, **said)


@pytest.mark.parametrize("name", SITES)
def test_every_site_is_built_and_joined_up(name):
    ours = site(name)
    points = ours.draw_points(np.random.default_rng(1), 12)
    assert len(points) == 12 and ours.is_free(points, 0.5).all()
    assert all(len(ours.route(points[0], point)) >= 2 for point in points)
    assert all(len(ours.route(points[0], door.outside)) >= 2 for door in ours.doors if door.is_exit)
    assert ours.is_free(ours.seats[:, :2], 0.1).all()


@pytest.mark.parametrize("name", SITES)
def test_the_surface_is_sound(name):
    surface = site(name).surface
    corners = surface.vertices[surface.triangles]
    edges = np.roll(corners, -1, axis=1) - corners
    assert np.linalg.norm(edges, axis=2).max() <= CELL_M * np.sqrt(2) + 1e-3  # a cell's diagonal
    across = np.cross(edges[:, 0], edges[:, 1])
    assert (np.linalg.norm(across, axis=1) > 1e-9).all()
    # Counter-clockwise from outside: a triangle's normal points where its corners' normals do.
    assert ((across * surface.normals[surface.triangles].mean(axis=1)).sum(axis=1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=1), 1, atol=1e-5)
    for colour in (surface.colour, surface.colour2):
        assert ((colour >= 0) & (colour <= 1)).all()
    assert set(np.unique(surface.pattern)) <= set(range(patterns.FACE + 1))
    assert (surface.pattern[surface.triangles] == surface.pattern[surface.triangles[:, :1]]).all()


def test_a_seed_makes_one_place_and_another_seed_another():
    one, other = site("courtyard", 0), site("courtyard", 1)
    same = place.build(load("courtyard"), np.random.default_rng(0))
    assert np.array_equal(one.surface.colour, same.surface.colour)
    assert not np.array_equal(one.surface.colour[:50], other.surface.colour[:50])
    assert np.array_equal(one.segments, other.segments)  # chance paints; it moves no wall


def test_free_floor_is_within_the_walls_and_off_the_obstacles():
    # Walls stand 0.1 m inside the areas' rectangles; the box takes x 0.5..1.5, y 2.75..3.25.
    ours = two_rooms(obstacles=[{"kind": "box", "at": (1, 3), "size": (1, 0.5, 1)}])
    asked = {
        (2, 2): True,
        (0.2, 2): False,
        (1, 3): False,
        (1.8, 3): True,
        (1.7, 3): False,
        (4, 2): True,
        (4, 3): False,
    }
    assert dict(zip(asked, ours.is_free(list(asked), 0.25))) == asked
    assert ours.is_free([(0.11, 2), (0.09, 2), (-1, 2)]).tolist() == [True, False, False]
    assert ours.is_free(np.zeros((0, 2))).shape == (0,)


def test_clearance_is_the_distance_to_the_nearest_wall():
    ours = built(areas={"only": {"x": (0, 4), "y": (0, 6)}})
    np.testing.assert_allclose(ours.clearance([(1, 3), (2, 5.5)]), [0.9, 0.4])  # walls' faces at 0.1 and 5.9


def test_lines_and_segments_are_as_far_apart_as_their_nearest_points():
    rng = np.random.default_rng(0)
    start, end, segments = rng.random((20, 2)), rng.random((20, 2)), rng.random((15, 4))
    told = place.lines_to_segments(start, end, segments)
    share = np.linspace(0, 1, 201)[:, None]
    for i in range(20):
        line = start[i] + share * (end[i] - start[i])
        for j in range(15):
            wall = segments[j, :2] + share * (segments[j, 2:] - segments[j, :2])
            nearest = np.linalg.norm(line[:, None] - wall[None], axis=2).min()
            # 201 points on at most 1.4 m: none of the truth is further than 0.007 m from one of them, on each line.
            assert told[i, j] - 1e-9 <= nearest <= told[i, j] + 0.0075


def test_a_way_leads_through_the_door_and_keeps_off_its_jambs():
    ours = two_rooms()
    way = ours.route((1, 0.5), (7, 0.5))
    np.testing.assert_array_equal(way[[0, -1]], [(1, 0.5), (7, 0.5)])
    straight = np.hypot(3, 1.5) * 2  # by the door's middle at (4, 2)
    assert 6 < np.linalg.norm(np.diff(way, axis=0), axis=1).sum() < 1.05 * straight
    assert ours.sees(way[:-1], way[1:], place.MARGIN_M - 1e-9).all()
    assert len(ours.route((1, 0.5), (3, 3))) == 2  # in sight


def test_a_way_round_an_obstacle_is_no_longer_than_it_must():
    # A wall of boxes from y 0.1 to 3 in a room that is 4 deep: the way over its top corners, 0.36 off.
    ours = built(
        areas={"only": {"x": (0, 8), "y": (0, 4)}},
        obstacles=[{"kind": "box", "at": (4, 1.5), "size": (1, 3, 1)}],
    )
    length = np.linalg.norm(np.diff(ours.route((1, 1), (7, 1)), axis=0), axis=1).sum()
    edge = place.CORNER_M
    over = 2 * np.hypot(2.5 - edge, 2 + edge) + 1 + 2 * edge
    assert length == pytest.approx(over, abs=0.01)


def test_there_is_no_way_between_areas_without_a_door():
    ours = built(areas={"a": {"x": (0, 4), "y": (0, 4)}, "b": {"x": (4, 8), "y": (0, 4)}})
    assert ours.route((1, 1), (6, 1)).shape == (0, 2)


def test_areas_a_little_apart_are_joined_by_a_deeper_door():
    areas = {"a": {"x": (0, 4), "y": (0, 4)}, "b": {"x": (4.4, 8), "y": (0, 4)}}
    ours = built(areas=areas, doors=[{"between": ("a", "b"), "at": (4.2, 2)}])
    assert ours.doors[0].depth_m == pytest.approx(0.4 + 2 * 0.1)
    assert len(ours.route((1, 1), (6, 1))) > 2


def test_a_door_that_leads_outside_has_an_inside_and_an_outside():
    ours = built(areas={"a": {"x": (0, 4), "y": (0, 4)}}, doors=[{"between": ("a",), "at": (4, 1)}])
    door = ours.doors[0]
    np.testing.assert_allclose(door.inside, (3.9 - 0.7, 1))
    assert door.is_exit and door.outside[0] > 4.5 and door.outside[1] == pytest.approx(1)
    assert ours.is_free([door.inside, door.outside], 0.3).all()


def test_doors_that_fit_no_wall_are_named_all_at_once():
    doors = [
        {"between": ("a",), "at": (2, 2)},  # in the middle of the floor
        {"between": ("a",), "at": (4, 1)},
        {"between": ("a",), "at": (4, 3.9), "width": 1.0},  # sticks out of the wall
    ]
    with pytest.raises(settings.SceneError, match=re.compile(r"doors\.0: .*\ndoors\.2: ")):
        built(areas={"a": {"x": (0, 4), "y": (0, 4)}}, doors=doors)


def test_seats_stand_before_the_bench_and_look_away_from_it():
    # Turned by 90 degrees the bench's front, its +y side, looks to -x.
    ours = built(
        areas={"a": {"x": (0, 9), "y": (0, 9)}},
        obstacles=[{"kind": "bench", "at": (5, 5), "size": (1.2, 0.5, 0.44), "turn": 90}],
    )
    np.testing.assert_allclose(ours.seats[:, 0], 5 - 0.25 - 0.12)
    np.testing.assert_allclose(sorted(ours.seats[:, 1]), [4.7, 5.3])  # two of 0.6 m
    np.testing.assert_allclose(np.cos(ours.seats[:, 2]), -1)
    np.testing.assert_allclose(ours.seats[:, 3], 0.44)


def test_walls_hide_but_doorways_do_not():
    ours = two_rooms()
    x, y, along, across, bottom, top, turn = ours.solids.T

    def hides(point):
        cos, sin = np.cos(turn), np.sin(turn)
        u, v = (point[0] - x) * cos + (point[1] - y) * sin, (point[1] - y) * cos - (point[0] - x) * sin
        return ((abs(u) < along) & (abs(v) < across) & (bottom < point[2]) & (point[2] < top)).any()

    assert hides((3.95, 1, 1.5)) and hides((4.05, 3, 1.5)) and hides((3.95, 2, 3.0))  # 3.0: above the door
    assert not hides((3.95, 2, 1.5)) and not hides((2, 2, 1.0))


@pytest.mark.parametrize("kind", ["pillar", "bench", "planter", "table", "shelf", "kiosk", "car", "box"])
def test_an_obstacle_is_drawn_about_its_ground(kind):
    ours = built(
        areas={"a": {"x": (0, 20), "y": (0, 20), "walls": "none"}}, obstacles=[{"kind": kind, "at": (9, 11)}]
    )
    x, y, along, across, _ = ours.obstacles[0]
    near = (abs(ours.surface.vertices[:, :2] - (x, y)) < (along + 0.35, across + 0.35)).all(axis=1)
    drawn = ours.surface.vertices[near & (ours.surface.vertices[:, 2] > 0.02)]
    assert len(drawn) > 20
    assert drawn[:, 2].min() >= 0 and np.ptp(drawn[:, 0]) > 1.5 * along and np.ptp(drawn[:, 1]) > 1.2 * across
    assert ours.solids[-1, 5] <= drawn[:, 2].max() + 0.3


def test_an_empty_mesh_is_an_empty_surface():
    surface = Mesh().surface()
    assert surface.vertices.shape == (0, 3) and surface.triangles.shape == (0, 3)


def test_a_quad_is_cut_into_cells_of_one_plane():
    mesh = Mesh()
    mesh.at(1, 2, np.pi / 2).quad((0, 0, 0), (5, 0, 0), (0, 0, 3), Paint((0.5, 0.5, 0.5)))
    surface = mesh.surface()
    assert len(surface.triangles) == 2 * 3 * 2  # 5 m in 3 cells, 3 m in 2, two triangles each
    np.testing.assert_allclose(surface.vertices[:, 0], 1, atol=1e-6)  # x turned to y
    np.testing.assert_allclose(surface.normals, np.broadcast_to((1, 0, 0), (12, 3)), atol=1e-6)
    corners = surface.vertices[surface.triangles].astype(float)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    assert areas.sum() == pytest.approx(5 * 3)
