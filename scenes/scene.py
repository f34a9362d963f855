"""A scene, staged: its place, its people and where they are, its cameras. Nothing is drawn yet.

People are dressed when somebody first asks for their figure, and of figures and motions, which are large, only the last
used are kept. What grows with the length of a scene are its trajectories, some 2 MB per person and hour.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scenes import crowd, gait, settings, wardrobe
from scenes.camera import Camera
from scenes.chance import stream
from scenes.gait import Arm, Motion, Style
from scenes.place import Place, build
from scenes.records import ABSENT, STANDING, Figure, Trajectory
from scenes.wardrobe import Look

KEPT_FIGURES = 128  # some 2 MB each
DETAILS = ((150.0, 1.0), (70.0, 0.6), (0.0, 0.3))  # from so many pixels of height on, dressed in such detail
IN_HAND = ("handbag", "carrier", "briefcase")
ON_SHOULDER = ("backpack", "messenger", "shoulder bag")
HOLDS_STRAP = 0.25  # share of people with a strap
NEAREST_M = 1.0  # nobody is looked at from nearer, for choosing the detail

T = TypeVar("T")


@dataclass(frozen=True)
class Instant:
    """Who is in the scene at one time, as columns of N people."""

    t_s: float
    ids: NDArray[np.int32]  # (N,) rising
    xy_m: NDArray[np.float64]  # (N, 2)
    heading_rad: NDArray[np.float64]  # (N,)
    activity: NDArray[np.int8]  # (N,) never ABSENT


class Paths:
    """All trajectories as one table, so that an instant is found without a loop over people."""

    def __init__(self, trajectories: list[Trajectory]) -> None:
        told = sorted((one for one in trajectories if len(one.t_s)), key=lambda one: one.person)
        self.ids = np.array([one.person for one in told], np.int32)
        lengths = np.array([len(one.t_s) for one in told], np.int64)
        self._first = np.cumsum(lengths) - lengths
        self._last = lengths - 1
        self._start = np.array([one.t_s[0] for one in told], float)
        self._step = np.array([one.t_s[1] - one.t_s[0] if len(one.t_s) > 1 else 1.0 for one in told], float)
        self._xy = np.concatenate([np.zeros((0, 2)), *(one.xy_m for one in told)])
        self._heading = np.concatenate([np.zeros(0), *(one.heading_rad for one in told)])
        self._activity = np.concatenate([np.zeros(0, np.int8), *(one.activity for one in told)])
        self._visits = {one.person: _visits(one) for one in told}

    def visits(self, person: int) -> NDArray[np.float64]:
        """(N, 2) From when to when somebody is there, N >= 1; once, for the whole time, if they never come."""
        return self._visits[person]

    def at(self, t_s: float) -> Instant:
        """Who is there, where; between two samples on a straight line. Empty before the first and after the last."""
        place = (t_s - self._start) / self._step
        within = (place > -1e-6) & (place < self._last + 1e-6)
        place = np.clip(place, 0, self._last)
        before = np.floor(place + 1e-6).astype(np.int64)
        after = np.minimum(before + 1, self._last)
        share = np.clip(place - before, 0, 1)
        row, next_row = self._first + before, self._first + after
        # Somebody who appears or goes between two samples is not there yet, or still is: positions of the absent
        # mean nothing.
        there = within & (self._activity[row] != ABSENT)
        next_row = np.where(self._activity[next_row] != ABSENT, next_row, row)
        row, next_row, share = row[there], next_row[there], share[there]
        return Instant(
            t_s=t_s,
            ids=self.ids[there],
            xy_m=self._xy[row] + share[:, None] * (self._xy[next_row] - self._xy[row]),
            heading_rad=self._heading[row] + share * (self._heading[next_row] - self._heading[row]),
            activity=self._activity[row],
        )


def _visits(trajectory: Trajectory) -> NDArray[np.float64]:
    inside = trajectory.activity != ABSENT
    if not inside.any():
        inside = np.ones_like(inside)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return np.column_stack((trajectory.t_s[edges[::2]], trajectory.t_s[edges[1::2] - 1]))


@dataclass(frozen=True, eq=False)
class Staged:
    """Everything that a picture of the scene depends on, but the drawing."""

    scene: settings.Scene
    place: Place
    looks: dict[int, Look]  # by person, from 1
    trajectories: dict[int, Trajectory]
    cameras: dict[str, Camera]  # at rest
    paths: Paths
    details: dict[int, float]  # by person: how finely dressed, from how large the cameras see them at most
    _figures: OrderedDict[tuple[int, float], Figure] = field(default_factory=OrderedDict, repr=False)
    _motions: OrderedDict[tuple[int, int], Motion] = field(default_factory=OrderedDict, repr=False)

    @classmethod
    def of(cls, scene: settings.Scene) -> Staged:
        """The scene as its file and seed say: the same every time.

        Raises:
            SceneError: Somebody of the cast cannot be dressed as they are described.
        """
        place = build(scene, stream(scene.seed, "place"))
        told = crowd.simulate(place, scene, stream(scene.seed, "crowd"))
        trajectories = {one.person: one for one in told}
        cameras = {
            name: Camera.of(name, camera, stream(scene.seed, "camera", name))
            for name, camera in scene.cameras.items()
        }
        return cls(
            scene=scene,
            place=place,
            looks={person: drawn_look(scene, person) for person in sorted(trajectories)},
            trajectories=trajectories,
            cameras=cameras,
            paths=Paths(told),
            details={person: _detail(one, list(cameras.values())) for person, one in trajectories.items()},
        )

    def instant(self, t_s: float) -> Instant:
        """Who is in the scene, and where."""
        return self.paths.at(t_s)

    def figure(self, person: int, detail: float | None = None) -> Figure:
        """Somebody dressed, at rest. ``detail`` None: as finely as the scene's cameras can see."""
        chosen = self.details[person] if detail is None else detail
        return _kept(
            self._figures,
            (person, chosen),
            lambda: wardrobe.dress(self.looks[person], detail=chosen),
        )

    def matrices(self, person: int, t_s: float) -> NDArray[np.float32]:
        """(B, 3, 4) Skinning matrices, rest to world. Of somebody absent: of the visit that is or was the last."""
        return self.poses(person, np.array([t_s]))[0]

    def poses(self, person: int, times_s: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, B, 3, 4) `matrices` at N times at once, which is much faster."""
        begins = self.paths.visits(person)[:, 0]
        visits = np.maximum(np.searchsorted(begins, times_s + 1e-6, side="right") - 1, 0)
        parts = []  # times rise or not: each run of one visit by itself
        edges = np.flatnonzero(np.diff(visits, prepend=-1))
        for first, end in zip(edges, [*edges[1:], len(visits)]):
            visit = int(visits[first])
            motion = _kept(self._motions, (person, visit), partial(self._visit, person, visit))
            parts.append(motion.poses(np.asarray(times_s[first:end], float)))
        return np.concatenate(parts)

    def standing(self, person: int, heading_rad: float) -> NDArray[np.float32]:
        """(B, 3, 4) Skinning matrices of somebody who stands at the middle of the world."""
        still = Trajectory(
            person=person,
            t_s=np.array([0.0, 0.5, 1.0, 1.5]),
            xy_m=np.zeros((4, 2)),
            heading_rad=np.full(4, heading_rad),
            activity=np.full(4, STANDING, np.int8),
        )
        return self._move(person, still).matrices(0.75)

    def _visit(self, person: int, visit: int) -> Motion:
        """How somebody moves from entering to leaving."""
        begin_s, end_s = self.paths.visits(person)[visit]
        whole = self.trajectories[person]
        rows = slice(*np.searchsorted(whole.t_s, (begin_s - 1e-6, end_s + 1e-6)))
        part = replace(
            whole,
            t_s=whole.t_s[rows],
            xy_m=whole.xy_m[rows],
            heading_rad=whole.heading_rad[rows],
            activity=whole.activity[rows],
        )
        return self._move(person, part)

    def _move(self, person: int, trajectory: Trajectory) -> Motion:
        surface = self.figure(person).surface
        lowest = surface.vertices[surface.mask >= 0, 1].min(initial=0.0)
        style = drawn_style(self.looks[person], stream(people_seed(self.scene), "style", person))
        return Motion(self.figure(person).skeleton, trajectory, style, sole_m=-float(lowest))


def people_seed(scene: settings.Scene) -> int:
    """What looks and gaits are drawn from."""
    return scene.seed if scene.people.seed is None else scene.people.seed


def drawn_look(scene: settings.Scene, person: int) -> Look:
    """What somebody of the scene looks like: the same person, whoever else is there.

    Raises:
        SceneError: The cast says something of this person that no look can be.
    """
    people = scene.people
    seed = people_seed(scene)
    likeness = scene.difficulty if people.likeness is None else people.likeness
    fixed = people.cast[person - 1].look if person <= len(people.cast) else {}
    return wardrobe.draw_look(
        stream(seed, "look", person),
        likeness=likeness,
        uniform=wardrobe.draw_look(stream(seed, "uniform"), carrying=people.carrying),
        carrying=people.carrying,
        children=people.children,
        **settings.checked_look(fixed, f"people.cast.{person - 1}.look"),
    )


def drawn_style(look: Look, rng: np.random.Generator) -> Style:
    """How somebody moves who looks like that: what is carried hangs from a hand, and some hold their strap."""
    arms: list[Arm] = ["free", "free"]  # left, right
    side = 0 if look.bag_side > 0 else 1
    if look.bag in IN_HAND:
        arms[side] = "load"
    elif look.bag in ON_SHOULDER and rng.random() < HOLDS_STRAP:
        arms[side] = "strap"
    return gait.draw_style(rng, left_arm=arms[0], right_arm=arms[1])


def _detail(trajectory: Trajectory, cameras: list[Camera]) -> float:
    """How finely somebody needs to be dressed, from the largest picture that a camera can take of them."""
    here = trajectory.xy_m[trajectory.activity != ABSENT]
    height_px = 0.0
    for camera in cameras:
        position = -camera.R.T @ camera.t
        away = np.hypot(np.hypot(*(here - position[:2]).T), position[2] - 1.0)
        distance = max(float(away.min(initial=np.inf)), NEAREST_M)
        height_px = max(height_px, 1.75 * float(camera.K[1, 1]) / distance)
    return next(detail for least_px, detail in DETAILS if height_px >= least_px)


Key = TypeVar("Key")


def _kept(cache: OrderedDict[Key, T], key: Key, make: Callable[[], T]) -> T:
    """The value of a key, made where it is missing; the longest unused goes when there are too many."""
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    value = cache[key] = make()
    if len(cache) > KEPT_FIGURES:
        cache.popitem(last=False)
    return value
