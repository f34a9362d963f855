from functools import lru_cache
from importlib.resources import files

import numpy as np
import pytest

from scenes import crowd, place, settings
from scenes import social_force as forces
from scenes.records import ABSENT, SEATED, STANDING, WALKING

SITES = sorted(entry.name.removesuffix(".yaml") for entry in files("scenes").joinpath("sites").iterdir())
CAMERA = {"one": {"at": (0.5, 0.5, 3), "look": (2, 2, 0)}}
YARD = {"yard": {"x": (0, 12), "y": (0, 10)}}
EXITS = [{"between": ("yard",), "at": (0, 5)}, {"between": ("yard",), "at": (12, 3)}]
NEAREST_M = 0.35  # centres of two people: shoulders may touch, bodies do not share room
FASTEST_M_S = crowd.FASTEST_M_S * crowd.HURRY


@lru_cache
def site(name):
    """A shipped site for at most 10 s: its place, and everybody's columns (T, N, ...)."""
    scene = settings.load(str(files("scenes").joinpath("sites", f"{name}.yaml")))
    return run(scene.model_copy(update={"seconds": min(scene.seconds, 10)}))


def run(scene, seed=0):
    built = place.build(scene, np.random.default_rng(seed))
    told = crowd.simulate(built, scene, np.random.default_rng(seed))
    assert [one.person for one in told] == list(range(1, scene.people.count + 1))
    return built, Table(told)


def people(seconds=20.0, areas=YARD, doors=(), obstacles=(), seed=0, **said):
    scene = settings.Scene(
        name="test", cameras=CAMERA, seconds=seconds, areas=areas, doors=doors, obstacles=obstacles,
        people={"count": 6, "groups": 0.0} | said,
    )  # fmt: skip
    return run(scene, seed)


class Table:
    def __init__(self, told):
        self.t = told[0].t_s if told else np.zeros(0)
        self.xy = np.stack([one.xy_m for one in told], axis=1)
        self.heading = np.stack([one.heading_rad for one in told], axis=1)
        self.activity = np.stack([one.activity for one in told], axis=1)
        self.there = self.activity != ABSENT
        self.both = self.there[1:] & self.there[:-1]
        self.velocity = np.diff(self.xy, axis=0) / crowd.STEP_S

    def gaps(self):
        """(T, N, N) m between people who are present, infinite elsewhere."""
        gap = np.linalg.norm(self.xy[:, :, None] - self.xy[:, None], axis=-1)
        alone = ~(self.there[:, :, None] & self.there[:, None]) | np.eye(self.xy.shape[1], dtype=bool)
        return np.where(alone, np.inf, gap)


@pytest.mark.parametrize("name", SITES)
def test_nobody_is_in_a_wall_or_obstacle(name):
    built, told = site(name)
    assert built.is_free(told.xy[told.there]).all()
    assert built.clearance(told.xy[told.there]).min() > 0.07
    walking = told.xy[told.there & (told.activity == WALKING)]
    assert np.percentile(built.clearance(walking), 1) > 0.2  # nearer only at seats


@pytest.mark.parametrize("name", SITES)
def test_nobody_walks_through_anybody(name):
    assert site(name)[1].gaps().min() > NEAREST_M


@pytest.mark.parametrize("name", SITES)
def test_nobody_runs_or_jumps(name):
    told = site(name)[1]
    speed = np.linalg.norm(told.velocity, axis=-1)
    assert speed[told.both].max() < FASTEST_M_S
    walking = told.both & (told.activity[1:] == WALKING)
    assert 0.8 < speed[walking].mean() < 1.5
    change = np.linalg.norm(np.diff(told.velocity, axis=0), axis=-1) / crowd.STEP_S
    assert change[told.both[1:] & told.both[:-1]].max() < 7  # m/s^2: no jump of the velocity


@pytest.mark.parametrize("name", SITES)
def test_bodies_turn_no_faster_than_people_do_and_look_where_they_walk(name):
    told = site(name)[1]
    turning = np.diff(told.heading, axis=0) / crowd.STEP_S
    assert abs(turning[told.both]).max() <= crowd.TURN_RAD_S + 0.01
    brisk = told.both & (np.linalg.norm(told.velocity, axis=-1) > 0.6)
    way = np.arctan2(told.velocity[..., 1], told.velocity[..., 0])
    off = np.degrees(abs((way - told.heading[1:] + np.pi) % (2 * np.pi) - np.pi))[brisk]
    assert np.percentile(off, 90) < 20 and np.percentile(off, 99) < 50


@pytest.mark.parametrize("name", SITES)
def test_everybody_comes_and_goes_through_a_door(name):
    built, told = site(name)
    come = np.argwhere(~told.there[:-1] & told.there[1:]) + (1, 0)
    gone = np.argwhere(told.there[:-1] & ~told.there[1:])
    exits = [door for door in built.doors if door.is_exit]
    for step, person in np.concatenate([come, gone]):
        x, y = told.xy[step, person]
        depth = [np.dot(np.subtract((x, y), door.at), np.negative(door.inward)) for door in exits]
        beside = [
            abs(np.dot(np.subtract((x, y), door.at), (-door.inward[1], door.inward[0]))) for door in exits
        ]
        assert any(d > 0.7 and b < door.width_m / 2 for d, b, door in zip(depth, beside, exits))


def test_the_same_seed_gives_the_same_walks_and_another_seed_others():
    (_, one), (_, same), (_, other) = (people(seconds=4, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.xy, same.xy) and np.array_equal(one.heading, same.heading)
    assert not np.allclose(one.xy[0], other.xy[0])


def test_without_a_door_outside_everybody_stays():
    built, told = people(seconds=20, count=8)
    assert told.there.all() and built.is_free(told.xy.reshape(-1, 2), 0.15).all()


def test_nobody_is_a_crowd_too():
    scene = settings.Scene(name="test", cameras=CAMERA, areas=YARD, people={"count": 0})
    built = place.build(scene, np.random.default_rng(0))
    assert crowd.simulate(built, scene, np.random.default_rng(0)) == []


def test_trajectories_go_on_a_second_after_the_end_in_even_steps():
    told = people(seconds=1.52, count=1)[1]
    np.testing.assert_allclose(np.diff(told.t), crowd.STEP_S)
    assert told.t[0] == 0 and 1.52 + crowd.AFTER_S <= told.t[-1] < 1.52 + crowd.AFTER_S + 0.051


def test_the_cast_visits_its_goals_in_order_and_leaves_for_good():
    goals = [(9.0, 8.0), (3.0, 8.0), (6.0, 2.0)]
    cast = [{"start": (2, 2), "goals": goals, "speed": 1.5}]
    built, told = people(seconds=40, doors=EXITS, count=1, cast=cast)
    np.testing.assert_allclose(told.xy[0, 0], (2, 2), atol=0.02)
    visits = [np.flatnonzero(np.linalg.norm(told.xy[:, 0] - goal, axis=1) < 0.4) for goal in goals]
    assert all(len(visit) for visit in visits)
    assert visits[0][0] < visits[1][0] < visits[2][0]
    # 9.2 m + 6 m + 6.7 m + at most 7 m to the nearer door, at 1.5 m/s and the turns at the goals
    last = np.flatnonzero(told.there[:, 0])[-1]
    assert 28 / 1.5 < told.t[last] < 32 and not told.there[last + 1 :].any()
    assert told.xy[last, 0, 0] > 12.5  # the door at (12, 3) is the nearer one to (6, 2)


def test_the_cast_enters_when_it_is_told_to():
    built, told = people(
        seconds=8, doors=EXITS, count=1, cast=[{"enters": 3.0, "start": (10, 3), "goals": [(6, 6)]}]
    )
    begin = np.flatnonzero(told.there[:, 0])[0]
    assert told.t[begin] == pytest.approx(3.0, abs=0.3)
    assert told.xy[begin, 0, 0] > 12.5  # by the door next to its start


def test_a_cast_without_a_way_out_stands_at_its_last_goal():
    told = people(seconds=12, count=1, cast=[{"start": (2, 2), "goals": [(6, 6)]}])[1]
    assert told.activity[-1, 0] == STANDING and np.linalg.norm(told.xy[-1, 0] - (6, 6)) < 0.5


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"start": (0.05, 2)}, r"people\.cast\.0\.start: "),
        ({"start": (2, 2), "goals": [(3, 3), (6, 6)]}, r"people\.cast\.0\.goals\.1: "),  # in the box
        ({"enters": 2.0}, r"people\.cast\.0\.enters: no door"),
    ],
)
def test_a_cast_that_cannot_be_is_refused_with_its_place(said, what):
    with pytest.raises(settings.SceneError, match=what):
        people(count=1, cast=[said], obstacles=[{"kind": "box", "at": (6, 6), "size": (1, 1, 1)}])


def test_too_many_people_for_a_closed_yard_are_refused():
    with pytest.raises(settings.SceneError, match="no room for 80 people"):
        people(areas={"yard": {"x": (0, 4), "y": (0, 4)}}, count=80, seconds=1)


def test_so_many_are_inside_at_most_and_the_others_come_when_somebody_left():
    told = people(seconds=80, doors=EXITS, count=7, at_once=4)[1]
    assert told.there.sum(axis=1).max() <= 4
    assert told.there.any(axis=0).sum() >= 6


@pytest.mark.parametrize("seed", range(3))
def test_two_who_belong_together_stay_together_abreast(seed):
    told = people(seconds=30, count=2, groups=1.0, seed=seed)[1]
    gap = np.linalg.norm(told.xy[:, 0] - told.xy[:, 1], axis=1)
    assert gap.max() < 2.5 and 0.5 < np.median(gap) < 1.1
    # Beside each other, not one behind the other: across the way rather than along it.
    way = told.velocity.mean(axis=1)
    fast = np.linalg.norm(way, axis=1) > 0.8
    between = (told.xy[1:, 0] - told.xy[1:, 1])[fast]
    along = abs((between * way[fast]).sum(axis=1)) / np.linalg.norm(way[fast], axis=1)
    assert np.median(along) < 0.3


def test_people_sit_down_on_seats_and_rise_again():
    bench = [{"kind": "bench", "at": (6, 8), "turn": 180}]
    built, told = people(seconds=70, count=2, seated=1.0, obstacles=bench)
    seated = told.activity == SEATED
    assert seated.any() and (np.diff(seated.astype(int), axis=0) < 0).any()
    for xy, heading in zip(told.xy[seated], told.heading[seated]):
        away = np.linalg.norm(built.seats[:, :2] - xy, axis=1)
        assert away.min() < 0.05
        assert np.cos(heading - built.seats[away.argmin(), 2]) > np.cos(0.1)
    # Stands for a moment before and after, so that there is time to sit down and to rise.
    for step, person in np.argwhere(np.diff(seated.astype(int), axis=0) != 0):
        around = told.activity[max(step - 4, 0) : step + 5, person]
        assert WALKING not in around


def test_two_who_meet_pass_each_other_on_the_right():
    cast = [
        {"start": (2, 5), "goals": [(10, 5)], "speed": 1.3},
        {"start": (10, 5.02), "goals": [(2, 5.02)], "speed": 1.3},
    ]
    told = people(seconds=8, count=2, cast=cast)[1]
    assert told.gaps().min() > 0.45
    meet = abs(told.xy[:, 0, 0] - told.xy[:, 1, 0]).argmin()
    assert told.xy[meet, 0, 1] < told.xy[meet, 1, 1]  # who walks to +x has the right hand at -y
    reached = np.linalg.norm(told.xy[:, 0] - (10, 5), axis=1).argmin()
    assert told.t[reached] < 8.0 / 1.3 + 1.5  # little time lost


def test_many_get_through_one_door_without_a_jam():
    # Ten people of one room go to the other by a door of 1 m: each needs less than 1.5 s of it.
    areas = {"a": {"x": (0, 6), "y": (0, 6)}, "b": {"x": (6, 12), "y": (0, 6)}}
    cast = [{"start": (1 + i % 5, 1.5 + 2 * (i // 5)), "goals": [(10 - i % 3, 1 + i % 5)]} for i in range(10)]
    told = people(
        seconds=24,
        areas=areas,
        doors=[{"between": ("a", "b"), "at": (6, 3), "width": 1.0}],
        count=10,
        cast=cast,
    )[1]
    assert (told.xy[-1, :, 0] > 6).all() and told.gaps().min() > NEAREST_M


def test_separation_moves_bodies_apart_and_leaves_those_who_stand():
    built = place.build(settings.Scene(name="test", cameras=CAMERA, areas=YARD), np.random.default_rng(0))
    xy = np.array([(5.0, 5.0), (5.3, 5.0), (8.0, 5.0)])
    bodies = forces.Bodies(
        xy,
        np.zeros((3, 2)),
        np.zeros(3),
        np.arange(3),
        np.array([True, False, False]),
        np.full(3, forces.BODY_M),
    )
    apart = forces.separate(bodies, xy, built)
    np.testing.assert_array_equal(apart[[0, 2]], xy[[0, 2]])
    assert 5.3 < apart[1, 0] <= 5 + forces.GAP_M and apart[1, 1] == 5.0


def test_pairs_are_those_of_a_plain_double_loop():
    xy = np.random.default_rng(0).random((30, 2)) * 3
    i, j = forces.pairs(xy, 0.8)
    slow = [(a, b) for a in range(30) for b in range(a + 1, 30) if np.linalg.norm(xy[a] - xy[b]) <= 0.8]
    assert list(zip(i.tolist(), j.tolist())) == slow
    assert forces.pairs(xy[:1], 1.0)[0].shape == (0,)
