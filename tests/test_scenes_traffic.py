"""Hours of people as upright posts: where they are, what cameras see of them, who hides whom."""

from __future__ import annotations

import numpy as np
import pytest

from scenes.traffic import UNSEEN, Course, Eye, Habits, Plan, Traffic, Way, Zone, corners, post_boxes

HALL, YARD = Zone("hall", (0, 20), (0, 10)), Zone("yard", (40, 50), (0, 10))
# 1 m above the floor, looking level along x: what is d m ahead and z m up stands at 240 + (1 - z) f / d px.
LEVEL = Eye("hall", (0.0, 5.0, 1.0), (10.0, 5.0), view=90.0, size=(400, 480))
FOCAL_PX = 200.0  # half of 400 px, of half a view of 45 degrees


def plan(*eyes: Eye, pillars: tuple[tuple[float, float], ...] = ()) -> Plan:
    hall = Zone("hall", HALL.x, HALL.y, pillars)
    ways = (Way("hall", (0, 5)), Way("hall", (20, 5), "yard", (40, 5), 22.0))
    return Plan((hall, YARD), ways, {f"c{n}": eye for n, eye in enumerate(eyes)})


def standing(*places: tuple[float, float], zone: int = 0) -> dict[int, Course]:
    """Everybody stands in the hall from 0 s to 10 s and faces along x."""
    return {
        n: Course(
            np.array([0.0, 10.0]), np.array([xy, xy], float), np.array([zone, UNSEEN], np.int32), np.zeros(2)
        )
        for n, xy in enumerate(places, 1)
    }


def traffic(*places: tuple[float, float], **options) -> Traffic:
    people = standing(*places)
    return Traffic(plan(LEVEL, **options), people, dict.fromkeys(people, 2.0))


def test_a_post_stands_where_the_pinhole_says():
    boxes, depth = post_boxes(plan(LEVEL).camera("c0"), np.array([[10.0, 5.0]]), np.array([2.0]), 0.25)
    # Its near side is 9.75 m away, its sides at 10 m: 1 m above and below the camera, 0.25 m right and left of it.
    up, aside = FOCAL_PX / 9.75, 0.25 * FOCAL_PX / 10
    assert boxes[0] == pytest.approx([200 - aside, 240 - up, 200 + aside, 240 + up])
    assert depth[0] == pytest.approx(10)


def test_who_is_behind_the_camera_or_in_another_zone_is_not_seen():
    shown = Traffic(plan(LEVEL), standing((-3.0, 5.0)) | {2: standing((8, 5), zone=1)[1]}, {1: 1.8, 2: 1.8})
    assert len(shown.record("c0", np.array([1.0]))) == 0
    assert len(traffic((8.0, 5.0)).record("c0", np.array([1.0, 11.0]))) == 1  # gone after 10 s


def test_the_nearer_one_hides_as_much_as_their_bodies_share():
    found = traffic((5.0, 5.0), (10.0, 5.0)).record("c0", np.array([1.0]))
    near, far = found.boxes
    assert near[0] < far[0] and near[1] < far[1] and near[3] > far[3]  # all of the far one's body is behind
    assert found.visibility == pytest.approx([1, 0], abs=1e-6)
    assert found.hidden == pytest.approx([0, 1], abs=1e-6) and found.hider.tolist() == [0, 1]


def test_bodies_side_by_side_hide_nothing_although_their_boxes_touch():
    # At 5 m and 6 m, some 0.24 m wide to each side: boxes reach 9.6 px and 8 px from their middles, bodies 70 % of it.
    found = traffic((5.0, 5.0), (6.0, 5.4)).record("c0", np.array([1.0]))
    (_, _, right, _), (left, _, _, _) = sorted(found.boxes.tolist())
    assert right > left
    assert found.visibility == pytest.approx([1, 1])


def test_a_pillar_hides_who_stands_behind_it_but_is_nobody():
    found = traffic((8.0, 5.0), (3.0, 5.0), pillars=((5.0, 5.0),)).record("c0", np.array([1.0]))
    assert found.ids.tolist() == [1, 2]
    assert found.visibility[0] < 0.1 and found.hidden[0] < 0.1  # a thing cuts them off: not the nearer person
    assert found.visibility[1] == pytest.approx(1)


def test_half_out_of_the_picture_is_half_seen():
    # 45 degrees to the side is the picture's edge.
    found = traffic((6.0, 11.0)).record("c0", np.array([1.0]))
    x1, _, x2, _ = found.boxes[0]
    inside = (min(x2, 400) - max(x1, 0)) / (x2 - x1)
    assert 0.3 < inside < 0.7
    assert found.visibility[0] == pytest.approx(inside, abs=1e-5)


def test_the_side_that_is_seen_is_told():
    away = traffic((10.0, 5.0)).record("c0", np.array([1.0]))  # faces along x, away from the camera
    assert abs(away.seen_from_rad[0]) == pytest.approx(np.pi)


def test_courses_keep_to_their_zones_speeds_and_seed():
    people = Traffic.of(plan(LEVEL), 30, 600.0, seed=3)
    again = Traffic.of(plan(LEVEL), 12, 600.0, seed=3)
    zones = (HALL, YARD)
    inside = 0
    for person, course in people.courses.items():
        assert (np.diff(course.t_s) >= 0).all() and course.t_s[0] <= 0 and course.t_s[-1] >= 600
        for k in np.flatnonzero(course.zone != UNSEEN):
            zone = zones[course.zone[k]]
            for x, y in course.xy_m[k : k + 2]:
                assert zone.x[0] <= x <= zone.x[1] and zone.y[0] <= y <= zone.y[1]
            went, took = np.hypot(*(course.xy_m[k + 1] - course.xy_m[k])), course.t_s[k + 1] - course.t_s[k]
            assert went <= 1.61 * took + 0.5  # half a metre: the second of a pair is kept within the walls
            inside += 1
        if person in again.courses:
            assert (again.courses[person].xy_m == course.xy_m).all()
    assert inside > 500
    assert {zone for course in people.courses.values() for zone in course.zone.tolist()} == {0, 1, UNSEEN}


def test_people_come_back_and_the_unseen_walk_takes_its_time():
    [course] = Traffic.of(plan(LEVEL), 1, 3000.0, habits=Habits(lingering=0.0, pairs=0.0)).courses.values()
    seen = course.zone != UNSEEN
    begins = np.flatnonzero(~seen[:-1] & seen[1:])
    assert len(begins) > 5
    for k in begins:
        if course.zone[k + 1] == 1:  # the only way to the yard is 22 m long, with a detour of 15 % or so
            assert 22 / 1.6 / 2 < course.t_s[k + 1] - course.t_s[k] < 22 / 0.8 * 2


def test_cameras_in_corners_overlap():
    eyes = corners(HALL, 2)
    seen = Traffic(plan(*eyes), standing((10.0, 5.0)), {1: 1.7})
    assert all(len(seen.record(name, np.array([0.0]))) == 1 for name in ("c0", "c1"))
