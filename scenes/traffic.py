"""Hours of people in a large place, seen by many cameras: light where `scenes.crowd` and `scenes.truth` are exact.

The place is a plan of zones, rectangles of floor whose walls nothing is seen through, and of ways between their doors
that no camera sees. People come by a gate, walk straight from errand to errand within a zone, stop here and there, go
on to other zones, leave, and come back after a while; some walk in pairs. They do not step aside for each other. To a
camera each is an upright post of their own height: its box is exact for the post, and of it hidden is what narrower
boxes of nearer people and pillars cover. An hour of twenty people takes a tenth of a second, each of its pictures some
hundredths of a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes import settings
from scenes.camera import Camera
from scenes.chance import stream
from scenes.crowd import FASTEST_M_S, SLOWEST_M_S, SPEED_M_S, STAND_S
from scenes.truth import Recording, overlapping

F = NDArray[np.float64]
Point = tuple[float, float]

HEIGHT_M = (1.71, 0.09)  # of adults: mean, standard deviation
RADIUS_M = 0.24  # of a post: shoulders and swinging arms, in the mean of all sides
BODY_SHARE = 0.7  # of a box's width that a body fills; the rest hides nothing
NEAR_M = 0.6  # nobody is seen nearer to a camera than this
PILLAR_M = (0.25, 3.5)  # half a width, height
BESIDE_M = 0.7  # between two who walk together
DETOUR = 0.15  # standard deviation of the logarithm of an unseen walk's time
WARM_S = 900.0  # so long before time 0 people begin, so that they are spread over the place at it
UNSEEN = -1  # the zone of who is on a way or outside


@dataclass(frozen=True)
class Zone:
    """A rectangle of floor within walls."""

    name: str
    x: tuple[float, float]  # m, from, to
    y: tuple[float, float]
    pillars: tuple[Point, ...] = ()

    def draw(self, rng: np.random.Generator, margin_m: float = 0.5) -> Point:
        """A point of it, anywhere."""
        return (
            float(rng.uniform(self.x[0] + margin_m, self.x[1] - margin_m)),
            float(rng.uniform(self.y[0] + margin_m, self.y[1] - margin_m)),
        )


@dataclass(frozen=True)
class Way:
    """From a door of one zone to a door of another, unseen; walked both ways. Without a second zone: a gate."""

    zone: str
    door: Point
    to: str = ""
    to_door: Point = (0.0, 0.0)
    length_m: float = 0.0


@dataclass(frozen=True)
class Eye:
    """A camera of one zone."""

    zone: str
    at: tuple[float, float, float]
    look: Point  # on the floor, in the middle of the picture
    view: float = 75.0  # degrees across
    size: tuple[int, int] = (1280, 720)


@dataclass(frozen=True)
class Habits:
    """What people do: means and shares."""

    errands: float = 2.0  # in a zone before going on, beyond the first
    zones: float = 2.0  # visited before leaving, beyond the first
    standing: float = 0.3  # share of errands where somebody stands for a while
    lingering: float = 0.1  # share of unseen walks that are interrupted
    linger_s: float = 20.0  # for so long in the mean
    away_s: tuple[float, float] = (20.0, 240.0)  # outside, from, to
    pairs: float = 0.2  # share of people who walk with somebody


@dataclass(frozen=True)
class Plan:
    """A place with its cameras."""

    zones: tuple[Zone, ...]
    ways: tuple[Way, ...]
    eyes: Mapping[str, Eye]  # by camera's name

    def zone_of(self, camera: str) -> int:
        """The number of the zone that a camera watches."""
        return [zone.name for zone in self.zones].index(self.eyes[camera].zone)

    def camera(self, name: str) -> Camera:
        """A camera as it stands."""
        eye = self.eyes[name]
        said = settings.Camera(at=eye.at, look=(*eye.look, 1.0), view=eye.view, size=eye.size)
        return Camera.of(name, said, stream(0, "camera", name))


@dataclass(frozen=True)
class Course:
    """Where one person is: K knots, between which they walk straight or stand."""

    t_s: F  # (K,) rising
    xy_m: F  # (K, 2)
    zone: NDArray[np.int32]  # (K,) where they are from this knot to the next, or UNSEEN
    heading_rad: F  # (K,) where they face until the next


@dataclass(frozen=True)
class Traffic:
    """Everybody of a place."""

    plan: Plan
    courses: Mapping[int, Course]  # by person, from 1
    heights_m: Mapping[int, float]

    @classmethod
    def of(
        cls, plan: Plan, people: int, seconds: float, *, seed: int = 0, habits: Habits | None = None
    ) -> Traffic:
        """So many people from time 0 until ``seconds``, by chance; each has the same course whoever else is there."""
        habits = habits or Habits()
        courses: dict[int, Course] = {}
        for person in range(1, people + 1):
            rng = stream(seed, "person", person)
            is_second = person % 2 == 0 and rng.random() < habits.pairs
            courses[person] = (
                _beside(courses[person - 1], plan, rng) if is_second else _walk(plan, habits, seconds, rng)
            )
        tall = {p: float(stream(seed, "height", p).normal(*HEIGHT_M)) for p in courses}
        return cls(plan, courses, tall)

    def record(self, camera: str, t_s: F) -> Recording:
        """What a camera shows at T times, rising."""
        view, zone = self.plan.camera(camera), self.plan.zone_of(camera)
        rows = [_rows(person, course, zone, t_s) for person, course in self.courses.items()]
        instant: NDArray[np.int32] = np.concatenate([row[0] for row in rows])
        ids: NDArray[np.int32] = np.concatenate([row[1] for row in rows])
        place = np.concatenate([row[2] for row in rows])  # x, y, heading
        tall = np.array([self.heights_m[person] for person in ids.tolist()])
        boxes, depth = post_boxes(view, place[:, :2], tall)
        w, h = view.size
        with np.errstate(invalid="ignore"):
            shown = (boxes[:, 0] < w) & (boxes[:, 1] < h) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        kept = np.lexsort((ids, instant))
        kept = kept[shown[kept]]
        instant, ids, boxes, depth = instant[kept], ids[kept], boxes[kept], depth[kept]
        xy, heading = place[kept, :2], place[kept, 2]
        inside = np.clip(boxes, 0, [w, h, w, h])
        seen = (inside[:, 2:] - inside[:, :2]).prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        hidden, hider = _hidden(boxes, depth, instant, ids)
        blocked = self._behind_pillars(view, zone, boxes, depth)
        off = view.centre_m[:2] - xy
        return Recording(
            camera=camera,
            size=view.size,
            t_s=np.asarray(t_s, float),
            instant=instant,
            ids=ids,
            boxes=boxes.astype(np.float32),
            visibility=(seen * (1 - hidden) * (1 - blocked)).astype(np.float32),
            floor_xy_m=xy,
            heading_rad=heading,
            seen_from_rad=np.arctan2(off[:, 1], off[:, 0]) - heading,
            hider=hider,
            hidden=(seen * hidden * (1 - blocked)).astype(np.float32),
        )

    def _behind_pillars(self, view: Camera, zone: int, boxes: F, depth: F) -> F:
        """(R,) share of each box that pillars cover."""
        free = np.ones(len(boxes))
        for pillar in self.plan.zones[zone].pillars:
            half_m, tall_m = PILLAR_M
            box, away = post_boxes(view, np.array([pillar]), np.array([tall_m]), half_m)
            if np.isfinite(box).all():
                covered = _covered(_narrow(boxes), np.broadcast_to(box, boxes.shape))
                free *= np.where(away < depth, 1 - covered, 1.0)
        return 1 - free


def post_boxes(view: Camera, xy_m: F, height_m: F, radius_m: float = RADIUS_M) -> tuple[F, F]:
    """Boxes (N, 4) px around upright posts at (N, 2), and their depth (N,) m; NaN where not before it."""
    around = radius_m * np.array([(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)])
    flat = xy_m[:, None] + around
    points = np.concatenate(
        [
            np.concatenate([flat, np.zeros((*flat.shape[:2], 1))], axis=2),
            np.concatenate([flat, np.broadcast_to(height_m[:, None, None], (*flat.shape[:2], 1))], axis=2),
        ],
        axis=1,
    )
    px, depth = view.project(points.reshape(-1, 3))
    px, depth = px.reshape(len(xy_m), 8, 2), depth.reshape(len(xy_m), 8)
    boxes = np.concatenate([px.min(axis=1), px.max(axis=1)], axis=1)  # NaN where one point is behind
    boxes[depth.min(axis=1) < NEAR_M] = np.nan
    return boxes, depth.mean(axis=1)


def _rows(person: int, course: Course, zone: int, t_s: F) -> tuple[NDArray[np.int32], NDArray[np.int32], F]:
    """When (R,) of the T times, as whom (R,), and x m, y m, heading rad (R, 3) of somebody in a zone."""
    at = np.searchsorted(course.t_s, t_s, side="right") - 1
    here = (at >= 0) & (at < len(course.t_s) - 1)
    instant = np.flatnonzero(here & (course.zone[np.maximum(at, 0)] == zone)).astype(np.int32)
    at = at[instant]
    begin, end = course.t_s[at], course.t_s[at + 1]
    share = ((t_s[instant] - begin) / np.maximum(end - begin, 1e-9))[:, None]
    xy = course.xy_m[at] + share * (course.xy_m[at + 1] - course.xy_m[at])
    return instant, np.full(len(instant), person, np.int32), np.column_stack([xy, course.heading_rad[at]])


def _hidden(boxes: F, depth: F, instant: NDArray, ids: NDArray) -> tuple[F, NDArray[np.int32]]:
    """Share (R,) of each box that nearer people cover, and who (R,) covers most of it, 0 nobody."""
    free, hider, most = np.ones(len(boxes)), np.zeros(len(boxes), np.int32), np.zeros(len(boxes))
    behind, before = overlapping(boxes, depth, instant)
    share = _covered(_narrow(boxes[behind]), _narrow(boxes[before]))
    np.multiply.at(free, behind, 1 - share)
    order = np.argsort(share, kind="stable")  # the largest share is written last
    hider[behind[order]], most[behind[order]] = ids[before[order]], share[order]
    hider[most <= 0] = 0
    return 1 - free, hider


def _narrow(boxes: F) -> F:
    """Boxes (N, 4) as wide as bodies are."""
    middle, half = (boxes[:, 0] + boxes[:, 2]) / 2, BODY_SHARE * (boxes[:, 2] - boxes[:, 0]) / 2
    return np.stack([middle - half, boxes[:, 1], middle + half, boxes[:, 3]], axis=1)


def _covered(boxes: F, others: F) -> F:
    """(N,) share of each box (N, 4) that lies in the other (N, 4)."""
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


# ---- who goes where ----------------------------------------------------------------------------------------------


class _Walk:
    """Knots of a course, one after the other."""

    def __init__(self, t_s: float) -> None:
        self.t_s, self.at = t_s, (0.0, 0.0)
        self.knots: list[tuple[float, float, float, int, float]] = []

    def go(self, to: Point, zone: int, speed_m_s: float) -> None:
        """Straight on within a zone."""
        dx, dy = to[0] - self.at[0], to[1] - self.at[1]
        self._knot(zone, float(np.arctan2(dy, dx)))
        self.t_s += float(np.hypot(dx, dy)) / speed_m_s
        self.at = to

    def stay(self, seconds: float, zone: int, heading_rad: float) -> None:
        """Stand; on a way or outside, be unseen for a while."""
        self._knot(zone, heading_rad)
        self.t_s += seconds

    def _knot(self, zone: int, heading_rad: float) -> None:
        self.knots.append((self.t_s, *self.at, zone, heading_rad))

    def course(self) -> Course:
        self._knot(UNSEEN, 0.0)
        t, x, y, zone, heading = np.array(self.knots).T
        return Course(t, np.stack([x, y], axis=1), zone.astype(np.int32), heading)


def _walk(plan: Plan, habits: Habits, seconds: float, rng: np.random.Generator) -> Course:
    """Somebody's whole time: away, a visit of some zones, away again."""
    number = {zone.name: n for n, zone in enumerate(plan.zones)}
    gates = [way for way in plan.ways if not way.to]
    doors: dict[int, list[tuple[Point, int, Point, float]]] = {n: [] for n in number.values()}
    for way in plan.ways:
        if way.to:
            a, b = number[way.zone], number[way.to]
            doors[a].append((way.door, b, way.to_door, way.length_m))
            doors[b].append((way.to_door, a, way.door, way.length_m))
    speed = float(np.clip(rng.normal(*SPEED_M_S), SLOWEST_M_S, FASTEST_M_S))
    walk = _Walk(-WARM_S * float(rng.random()))
    while walk.t_s < seconds:
        gate = gates[rng.integers(len(gates))]
        zone, walk.at = number[gate.zone], gate.door
        left = 1 + int(rng.poisson(habits.zones))
        while True:
            for _ in range(1 + int(rng.poisson(habits.errands))):
                walk.go(plan.zones[zone].draw(rng), zone, speed)
                if rng.random() < habits.standing:
                    walk.stay(float(rng.uniform(*STAND_S)), zone, float(rng.uniform(-np.pi, np.pi)))
            left -= 1
            out = [gate.door for gate in gates if number[gate.zone] == zone]
            if out and (left <= 0 or not doors[zone]):
                walk.go(out[rng.integers(len(out))], zone, speed)
                walk.stay(float(rng.uniform(*habits.away_s)), UNSEEN, 0.0)
                break
            door, zone_next, far_door, length_m = doors[zone][rng.integers(len(doors[zone]))]
            walk.go(door, zone, speed)
            pause = float(rng.exponential(habits.linger_s)) if rng.random() < habits.lingering else 0.0
            walk.stay(pause + length_m / speed * float(np.exp(rng.normal(0, DETOUR))), UNSEEN, 0.0)
            zone, walk.at = zone_next, far_door
    return walk.course()


def _beside(leader: Course, plan: Plan, rng: np.random.Generator) -> Course:
    """Somebody who goes wherever another goes, a step beside and a moment later."""
    turn = rng.uniform(0, 2 * np.pi)
    xy = leader.xy_m + BESIDE_M * np.array([np.cos(turn), np.sin(turn)])
    for n, zone in enumerate(plan.zones):
        here = (leader.zone == n) | (np.roll(leader.zone, 1) == n)  # a segment ends where the next knot is
        xy[here] = np.clip(xy[here], [zone.x[0], zone.y[0]], [zone.x[1], zone.y[1]])
    return Course(leader.t_s + rng.uniform(0.1, 0.6), xy, leader.zone, leader.heading_rad)


def corners(zone: Zone, count: int, height_m: float = 3.0, view: float = 80.0) -> Sequence[Eye]:
    """Up to four cameras of a zone, each in a corner, looking at its middle: their views overlap."""
    (x0, x1), (y0, y1) = zone.x, zone.y
    spots = [(x0 + 0.2, y0 + 0.2), (x1 - 0.2, y1 - 0.2), (x0 + 0.2, y1 - 0.2), (x1 - 0.2, y0 + 0.2)]
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    return [Eye(zone.name, (x, y, height_m), middle, view) for x, y in spots[:count]]
