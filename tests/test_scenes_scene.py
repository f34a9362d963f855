"""A staged scene: who is where, and what depends on what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scenes import scene as scenes_scene
from scenes.chance import stream
from scenes.records import ABSENT, STANDING, WALKING, Trajectory
from scenes.scene import Paths, Staged, drawn_look
from scenes.settings import SceneError, from_values


def walk(person: int, activity: list[int], *, start_s: float = 0.0, step_s: float = 0.5) -> Trajectory:
    """Somebody who goes 1 m along x each sample, turning by 0.1 rad, at y = their number."""
    count = len(activity)
    return Trajectory(
        person=person,
        t_s=start_s + step_s * np.arange(count),
        xy_m=np.column_stack((np.arange(count, dtype=float), np.full(count, float(person)))),
        heading_rad=0.1 * np.arange(count),
        activity=np.array(activity, np.int8),
    )


def test_between_two_samples_people_are_on_a_straight_line():
    here = Paths([walk(1, [WALKING] * 3)]).at(0.75)  # halfway from sample 1 to sample 2
    assert here.ids.tolist() == [1]
    assert here.xy_m.tolist() == [[1.5, 1.0]]
    assert here.heading_rad == pytest.approx([0.15])
    assert here.activity.tolist() == [WALKING]


def test_people_come_by_number_however_they_are_told():
    here = Paths([walk(3, [WALKING] * 2), walk(1, [STANDING] * 2)]).at(0.0)
    assert here.ids.tolist() == [1, 3]
    assert here.activity.tolist() == [STANDING, WALKING]


def test_nobody_is_there_before_after_or_while_absent():
    paths = Paths([walk(1, [ABSENT, WALKING, WALKING, ABSENT], start_s=10.0)])
    there = [t for t in np.arange(9.5, 12.5, 0.25) if len(paths.at(float(t)).ids)]
    assert there == [
        10.5,
        10.75,
        11.0,
        11.25,
    ]  # samples at 10.5 and 11.0; until the sample at 11.5 says absent
    # Where an absent sample says somebody is means nothing: they stay at the last place where they were.
    assert paths.at(11.25).xy_m.tolist() == [[2.0, 1.0]]


def test_a_scene_without_people_is_empty():
    here = Paths([]).at(3.0)
    assert len(here.ids) == len(here.xy_m) == 0


def test_streams_of_chance_are_independent_and_the_same_every_time():
    assert stream(1, "a", 2).random() == stream(1, "a", 2).random()
    numbers = [stream(*words).random() for words in ((1, "a", 2), (1, "a", 3), (1, "b", 2), (2, "a", 2))]
    assert len(set(numbers)) == 4


# --- a real one

SMALL: dict[str, Any] = {
    "name": "small",
    "seconds": 6,
    "areas": {"yard": {"x": [0, 12], "y": [0, 8]}},
    "doors": [{"between": ["yard"], "at": [12, 4]}],
    "people": {"count": 3, "cast": [{"look": {"height_m": 1.91}}]},
    "cameras": {
        "near": {"at": [0.3, 0.3, 3], "look": [6, 4, 1]},
        "far": {"at": [0.3, 0.3, 3], "look": [6, 4, 1], "view": 20},
    },
}


@pytest.fixture(scope="module")
def small() -> Staged:
    return Staged.of(from_values(SMALL))


def test_the_same_seed_stages_the_same_scene(small: Staged):
    again = Staged.of(from_values(SMALL))
    assert again.looks == small.looks
    for t_s in (0.0, 2.35, 6.0):
        assert again.instant(t_s).xy_m.tolist() == small.instant(t_s).xy_m.tolist()


def test_another_seed_stages_another_one(small: Staged):
    other = Staged.of(from_values(SMALL | {"seed": 1}))
    assert other.looks[2] != small.looks[2]


def test_the_cast_looks_as_it_is_told(small: Staged):
    assert small.looks[1].height_m == 1.91
    assert small.figure(1).height_m == pytest.approx(1.91, abs=1e-3)


def test_people_of_one_seed_are_the_same_people_in_another_scene(small: Staged):
    people = {"count": 5, "seed": 0, "cast": [{"look": {"height_m": 1.91}}]}
    other = from_values(SMALL | {"seed": 9, "people": people})
    assert [drawn_look(other, person) for person in (1, 2, 3)] == [small.looks[k] for k in (1, 2, 3)]


def test_somebody_who_cannot_be_dressed_is_refused_with_the_place():
    scene = from_values(SMALL)
    cast = (scene.people.cast[0].model_copy(update={"look": {"shoe": "big"}}),)
    wrong = scene.model_copy(update={"people": scene.people.model_copy(update={"cast": cast})})
    with pytest.raises(SceneError, match=r"people\.cast\.0\.look\.shoe: unknown name"):
        drawn_look(wrong, 1)


def test_people_are_dressed_once_and_few_are_kept(small: Staged, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scenes_scene, "KEPT_FIGURES", 2)
    first = small.figure(1, 0.3)
    assert small.figure(1, 0.3) is first
    small.figure(2, 0.3)
    assert small.figure(1, 0.3) is first  # used since: stays
    small.figure(3, 0.3)
    assert small.figure(1, 0.3) is first
    assert len(small._figures) <= 4  # what was kept before the limit was lowered goes one by one


def test_who_is_seen_from_nearer_is_dressed_more_finely(small: Staged):
    # view 20 deg, 640 px: focal length 320 / tan 10 deg = 1815 px. 1.75 m at 14.4 m, the far corner: 220 px.
    assert set(small.details.values()) == {1.0}


def test_feet_are_where_the_trajectory_is(small: Staged):
    here = small.instant(3.0)
    person = int(here.ids[0])
    figure = small.figure(person)
    rest = figure.surface.vertices
    matrices = small.matrices(person, 3.0)
    moved = np.einsum(
        "vk,vkij,vj->vi", figure.weights, matrices[figure.bones], np.c_[rest, np.ones(len(rest))]
    )
    assert moved[:, :2].mean(axis=0) == pytest.approx(here.xy_m[0], abs=0.35)
    assert moved[:, 2].min() == pytest.approx(0.0, abs=0.05)
    assert figure.height_m - 0.25 < moved[:, 2].max() < figure.height_m + 0.25


def test_many_poses_at_once_are_the_same_poses(small: Staged):
    person = int(small.instant(0.0).ids[0])
    times_s = np.array([0.0, 1.3, 5.9, 0.7])
    together = small.poses(person, times_s)
    assert together.shape == (4, len(small.figure(person).skeleton.names), 3, 4)
    for t_s, pose in zip(times_s, together):
        assert pose == pytest.approx(small.matrices(person, float(t_s)), abs=1e-5)
