"""What a camera shows, without a picture: boxes, visibility and flow of people made of balls.

For truth alone nobody need be dressed: `Walkers` are balls in a person's proportions, swung by a simple gait (one
second of a camera with eight people at ten pictures a second takes some 5 ms). `Dressed` people are the balls of their
figures, moved as the renderer moves them: slower, and nearer to the picture. Boxes are exact for the balls (tangents
to spheres); visibility counts sample points that neither the place nor anybody else hides and that are inside the
picture.

Beside the renderer, on 275 sightings in the courtyard (boxes of people at least 60 % visible, scaled to a height of
120 px, mean absolute error left, top, right, bottom; visibility of those hidden in part):

    Walkers  boxes 4.0  1.3  4.2  2.3 px, IoU .83 (arms and legs swing at other moments); visibility .06
    Dressed  boxes 0.9  2.0  1.0  0.6 px, IoU .95; visibility .04
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scenes.camera import Camera, distort
from scenes.records import ABSENT, SEATED, Trajectory, Truth

if TYPE_CHECKING:
    from scenes.scene import Staged

F = NDArray[np.float64]
I32 = NDArray[np.int32]

NEAR_M = 0.1  # nothing is seen nearer to a camera than this
SAMPLES = ((-0.5, 0.0), (0.5, 0.0))  # of a ball, in its radii right of and below its centre


# ---- people as balls ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """R sightings: who is in the scene at which instant, rising by instant, then by id."""

    instant: I32  # (R,) of the T times asked for
    t_s: F  # (R,)
    ids: I32  # (R,)
    xy_m: F  # (R, 2)
    heading_rad: F  # (R,)

    @classmethod
    def of(cls, staged: Staged, t_s: F) -> Rows:
        """Everybody who is present at each of T times."""
        there = [staged.instant(float(t)) for t in t_s]
        count = [len(one.ids) for one in there]
        instant = np.repeat(np.arange(len(t_s), dtype=np.int32), count)
        return cls(
            instant=instant,
            t_s=t_s[instant],
            ids=np.concatenate([np.zeros(0, np.int32), *(one.ids for one in there)]),
            xy_m=np.concatenate([np.zeros((0, 2)), *(one.xy_m for one in there)]),
            heading_rad=np.concatenate([np.zeros(0), *(one.heading_rad for one in there)]),
        )

    def __len__(self) -> int:
        return len(self.ids)


class Bodies(Protocol):
    """People as balls."""

    def balls(self, rows: Rows) -> tuple[F, F, F]:
        """Centres (R, S, 3) m in the world, radii (R, S) m, and the share (R, S) of the silhouette each stands for."""


# A person of height 1, in the frame forward, left, up. Each chain of balls begins at a joint and follows a limb.
(TRUNK, HEAD, ARM_L, ARM_R, FOREARM_L, FOREARM_R, THIGH_L, THIGH_R, SHIN_L, SHIN_R, FOOT_L, FOOT_R, BACK) = (
    range(13)
)
HIP_UP, HIP_LEFT, SHOULDER_UP, SHOULDER_LEFT = 0.52, 0.058, 0.81, 0.118  # Drillis & Contini (1966)
UPPER_ARM, FOREARM, THIGH, SHIN, HEEL = 0.186, 0.146, 0.237, 0.24, 0.02


def _pair(left_chain: int, rows: Sequence[tuple[float, float]]) -> list[tuple[int, float, float, float]]:
    """The same (along, radius) of a left limb and of the right one, whose chain's number follows."""
    return [(left_chain + side, along, 0.0, radius) for side in (0, 1) for along, radius in rows]


# chain, along it, to the left of it, radius: in heights
BALLS = np.array(
    [
        (HEAD, 0.105, 0.0, 0.053), (HEAD, 0.085, 0.0, 0.05), (HEAD, 0.055, 0.0, 0.046), (HEAD, 0.01, 0.0, 0.04),
        (TRUNK, 0.30, 0.045, 0.045), (TRUNK, 0.30, -0.045, 0.045),
        (TRUNK, 0.27, 0.085, 0.055), (TRUNK, 0.27, -0.085, 0.055), (TRUNK, 0.26, 0.0, 0.07),
        (TRUNK, 0.21, 0.055, 0.064), (TRUNK, 0.21, -0.055, 0.064),
        (TRUNK, 0.15, 0.045, 0.062), (TRUNK, 0.15, -0.045, 0.062),
        (TRUNK, 0.09, 0.042, 0.062), (TRUNK, 0.09, -0.042, 0.062),
        (TRUNK, 0.03, 0.047, 0.066), (TRUNK, 0.03, -0.047, 0.066), (TRUNK, -0.02, 0.0, 0.06),
        *_pair(ARM_L, [(0.01, 0.038), (0.06, 0.035), (0.11, 0.032), (0.16, 0.03)]),
        *_pair(FOREARM_L, [(0.0, 0.029), (0.05, 0.028), (0.1, 0.024), (0.15, 0.023), (0.19, 0.024), (0.215, 0.02)]),
        *_pair(THIGH_L, [(0.02, 0.056), (0.07, 0.054), (0.12, 0.05), (0.17, 0.045), (0.22, 0.04)]),
        *_pair(SHIN_L, [(0.02, 0.038), (0.07, 0.038), (0.12, 0.036), (0.17, 0.031), (0.22, 0.028)]),
        *_pair(FOOT_L, [(-0.035, 0.03), (0.015, 0.03), (0.065, 0.03), (0.1, 0.026)]),
        (BACK, 0.0, 0.035, 0.065), (BACK, 0.0, -0.035, 0.065),
        (BACK, -0.09, 0.035, 0.065), (BACK, -0.09, -0.035, 0.065),
    ]
)  # fmt: skip
_CHAIN = BALLS[:, 0].astype(np.intp)

# Degrees over a cycle that begins as the heel meets the floor; typical curves of level walking (as in Winter, 1991).
_CYCLE = np.arange(11) / 10
_HIP = np.array([30, 26, 17, 6, -6, -14, -8, 10, 27, 33, 30.0])
_KNEE = np.array([6, 16, 17, 11, 7, 11, 33, 60, 52, 20, 6.0])
_ANKLE = np.array([0, -4, 2, 6, 9, 5, -15, -9, 0, 2, 0.0])
_ARM_SWING, _ARM_BACK, _ELBOW = 20.0, 2.0, 16.0
ARM_OUT = 0.115  # rad that upper arms stand off
_SEATED = {"thigh": 84.0, "knee": 88.0, "lean": 2.0}
STEP = 0.41  # heights, at the speed of 1.35 m/s; grows with its square root (Grieve & Gear, 1966)
STEP_SPEED_M_S = 1.35
SETTLE_S = 0.7  # sitting down, starting to walk
CLOTHED_M = 0.05  # shoes and hair add to a height, and this gait bends knees more than people do


@dataclass(frozen=True)
class _Course:
    """How one person moves along their trajectory, at its N times."""

    t_s: F
    phase: F  # cycles walked so far
    stride: F  # 1 for the step of `STEP`, 0 standing
    seated: F  # 0 to 1

    @classmethod
    def of(cls, trajectory: Trajectory, height_m: float) -> _Course:
        t = trajectory.t_s
        step_s = float(t[1] - t[0]) if len(t) > 1 else 1.0
        moved = np.hypot(*np.diff(trajectory.xy_m, axis=0, prepend=trajectory.xy_m[:1]).T)
        moved[trajectory.activity == ABSENT] = 0.0
        speed = _smooth(moved / step_s, round(SETTLE_S / step_s))
        stride = np.minimum(np.sqrt(speed / STEP_SPEED_M_S), 1.3)
        phase = np.cumsum(moved / np.maximum(2 * STEP * height_m * stride, 0.3)) + 0.37 * trajectory.person
        seated = _smooth((trajectory.activity == SEATED).astype(float), round(SETTLE_S / step_s))
        return cls(t, phase, np.where(speed > 0.1, stride, stride * speed / 0.1), seated)


def _smooth(values: F, width: int) -> F:
    """Mean over about ``width`` neighbours, ends held."""
    if width < 2 or not len(values):
        return values
    held = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    total = np.cumsum(np.concatenate([[0.0], held]))
    return np.asarray((total[width:] - total[:-width]) / width)


class Walkers:
    """Everybody of a scene in their height and build, walking by a simple gait; nobody need be dressed."""

    def __init__(self, staged: Staged) -> None:
        self._height = {p: float(look.height_m) for p, look in staged.looks.items()}
        self._stout = {
            p: 1.0 + 0.35 * (float(getattr(look, "weight", 0.5)) - 0.5) for p, look in staged.looks.items()
        }
        self._pack = {p: float(getattr(look, "bag", "") == "backpack") for p, look in staged.looks.items()}
        self._course = {p: _Course.of(one, self._height[p]) for p, one in staged.trajectories.items()}

    def balls(self, rows: Rows) -> tuple[F, F, F]:
        phase, stride, seated, height, stout, pack = np.zeros((6, len(rows)))
        order = np.argsort(rows.ids, kind="stable")
        first = np.flatnonzero(np.diff(rows.ids[order], prepend=-1))
        for these in np.split(order, first[1:]):
            if not len(these):
                continue
            person = int(rows.ids[these[0]])
            course, t = self._course[person], rows.t_s[these]
            phase[these], stride[these], seated[these] = (
                np.interp(t, course.t_s, values) for values in (course.phase, course.stride, course.seated)
            )
            height[these], stout[these] = self._height[person], self._stout[person]
            pack[these] = self._pack[person]
        centres, radii = posed(phase, stride, seated, stout, pack)
        centres = _grounded(centres, radii, phase) * height[:, None, None]
        cos, sin = np.cos(rows.heading_rad)[:, None], np.sin(rows.heading_rad)[:, None]
        world = np.empty_like(centres)
        world[..., 0] = rows.xy_m[:, :1] + cos * centres[..., 0] - sin * centres[..., 1]
        world[..., 1] = rows.xy_m[:, 1:] + sin * centres[..., 0] + cos * centres[..., 1]
        world[..., 2] = centres[..., 2] * (height + CLOTHED_M)[:, None] / height[:, None]
        return world, radii * height[:, None], _WEIGHTS[pack.astype(np.intp)]


def posed(phase: F, stride: F, seated: F, stout: F, pack: F) -> tuple[F, F]:
    """Balls of R people of height 1: centres (R, S, 3) forward, left, up of the hips, and radii (R, S).

    Args:
        phase: (R,) cycles of the gait, the left heel meets the floor at whole numbers.
        stride: (R,) 0 standing, 1 walking.
        seated: (R,) 0 standing, 1 seated.
        stout: (R,) girth, 1 usual.
        pack: (R,) 1 with a backpack, 0 without: its balls have no radius then.
    """
    start, along = _chains(phase, stride, seated)
    wide = np.where(_CHAIN == TRUNK, stout[:, None], 1.0)
    centres = start[:, _CHAIN] + along[:, _CHAIN] * BALLS[:, 1, None]
    centres[..., 1] += BALLS[:, 2] * wide
    girth = np.sqrt(np.where(_CHAIN == HEAD, 1.0, stout[:, None]))
    return centres, BALLS[:, 3] * np.where(_CHAIN == BACK, pack[:, None], girth)


def _chains(phase: F, stride: F, seated: F) -> tuple[F, F]:
    """Where (R, 13, 3) each chain begins and which way (R, 13, 3) it goes."""
    up = seated < 0.5
    walk = stride * (1 - seated)
    lean = np.radians(3.0 * walk + _SEATED["lean"] * seated)
    angles = np.zeros((len(phase), 13))  # from straight down, forward positive
    angles[:, TRUNK] = angles[:, BACK] = np.pi - lean
    angles[:, HEAD] = np.pi - 0.5 * lean
    for side in (0, 1):
        cycle = (phase + 0.5 * side) % 1.0
        hip, knee, ankle = (np.interp(cycle, _CYCLE, curve) * walk for curve in (_HIP, _KNEE, _ANKLE))
        thigh = hip + _SEATED["thigh"] * seated
        shin = thigh - knee - _SEATED["knee"] * seated
        swing = -_ARM_SWING * walk * np.cos(2 * np.pi * cycle) - _ARM_BACK * up + 25.0 * seated
        angles[:, THIGH_L + side], angles[:, SHIN_L + side] = np.radians(thigh), np.radians(shin)
        angles[:, FOOT_L + side] = np.radians(90.0 + shin * (1 - seated) + ankle)
        angles[:, ARM_L + side] = np.radians(swing)
        angles[:, FOREARM_L + side] = np.radians(swing + _ELBOW * (0.7 + walk) + 40.0 * seated)
    along = np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], axis=-1)
    for side, sign in ((0, 1.0), (1, -1.0)):
        along[:, ARM_L + side, 1], along[:, FOREARM_L + side, 1] = sign * ARM_OUT, sign * ARM_OUT / 2
    start = np.zeros_like(along)
    start[:, TRUNK, 2] = HIP_UP
    start[:, TRUNK, 0] = -0.03 - THIGH * np.sin(np.radians(_SEATED["thigh"] * seated)) * seated
    start[:, BACK] = start[:, TRUNK] + along[:, TRUNK] * 0.24 - (0.12, 0, 0)
    start[:, HEAD] = start[:, TRUNK] + along[:, TRUNK] * (0.84 - HIP_UP)
    for side, sign in ((0, 1.0), (1, -1.0)):
        start[:, THIGH_L + side] = start[:, TRUNK] + (0, sign * HIP_LEFT, 0)
        start[:, ARM_L + side] = start[:, TRUNK] + along[:, TRUNK] * (SHOULDER_UP - HIP_UP)
        start[:, ARM_L + side, 1] += sign * SHOULDER_LEFT
        for limb, length, following in (
            (THIGH_L, THIGH, SHIN_L), (SHIN_L, SHIN, FOOT_L), (ARM_L, UPPER_ARM, FOREARM_L),
        ):  # fmt: skip
            start[:, following + side] = start[:, limb + side] + along[:, limb + side] * length
    return start, along


def _grounded(centres: F, radii: F, phase: F) -> F:
    """Moved up or down so that the foot that carries stands on the floor; what would be below it is lifted onto it."""
    bottom = centres[..., 2] - radii
    left, right = (bottom[:, np.isin(_CHAIN, [FOOT_L + side, SHIN_L + side])].min(axis=1) for side in (0, 1))
    on_left = np.clip(0.5 + 2.5 * np.sin(2 * np.pi * phase), 0, 1)
    floor = on_left * left + (1 - on_left) * right
    out = centres.copy()
    out[..., 2] = np.maximum(centres[..., 2] - floor[:, None], radii)
    return out


def silhouette_shares(centres: F, radii: F) -> F:
    """(S,) which share of the silhouette each of S balls stands for, seen from the front and from the side.

    A ball's share is its disc's area, each point of it divided by the number of discs there: in sum, their union.
    """
    turns = np.arange(24) * 2.399963  # the golden angle spreads points evenly over a disc
    disc = np.sqrt((np.arange(24) + 0.5) / 24)[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    total = np.zeros(len(radii))
    for axis in (0, 1):
        flat = centres[:, [axis, 2]]
        points = flat[:, None] + disc * radii[:, None, None]
        covered = ((points[:, :, None] - flat) ** 2).sum(-1) <= radii**2 + 1e-12
        total += radii**2 * (1 / np.maximum(covered.sum(-1), 1)).mean(-1)
    return np.asarray(total / max(total.sum(), 1e-12))


_WEIGHTS = np.stack(  # without and with a backpack
    [
        silhouette_shares(*(part[0] for part in posed(*np.array([[0.1], [0.7], [0.0], [1.0], [pack]]))))
        for pack in (0.0, 1.0)
    ]
)


class Dressed:
    """The balls of everybody's figure, moved by their own gait: as the renderer sees them."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged

    def balls(self, rows: Rows) -> tuple[F, F, F]:
        people = np.unique(rows.ids).tolist()
        figures = {person: self._staged.figure(person) for person in people}
        most = max((len(figure.ball_radii) for figure in figures.values()), default=1)
        centres = np.zeros((len(rows), most, 3))
        radii, shares = np.zeros((2, len(rows), most))
        for person, figure in figures.items():
            these = np.flatnonzero(rows.ids == person)
            count = len(figure.ball_radii)
            M = self._staged.poses(person, rows.t_s[these])[:, figure.ball_bones].astype(np.float64)
            at = np.einsum("nsij,sj->nsi", M[..., :3], figure.ball_centres) + M[..., 3]
            centres[these, :count], centres[these, count:] = at, at[:, :1]
            radii[these, :count] = figure.ball_radii
            shares[these, :count] = silhouette_shares(
                figure.ball_centres[:, [2, 0, 1]].astype(float), figure.ball_radii.astype(float)
            )
        return centres, radii, shares


# ---- what a camera sees of them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recording:
    """What one camera shows at T times: R rows, rising by time, then by id: of everybody whose box
    reaches into the picture, hidden or not."""

    camera: str
    size: tuple[int, int]  # width, height px
    t_s: F  # (T,)
    instant: I32  # (R,) of the T times
    ids: I32  # (R,)
    boxes: NDArray[np.float32]  # (R, 4) x1 y1 x2 y2 px of the whole silhouette
    visibility: NDArray[np.float32]  # (R,) share of the silhouette that is seen
    floor_xy_m: F  # (R, 2)
    heading_rad: F  # (R,)
    seen_from_rad: F  # (R,) between where the body faces and where the camera is: 0 from the front
    hider: I32  # (R,) who hides most of them, 0 nobody
    hidden: NDArray[np.float32]  # (R,) share of the silhouette that other people hide

    def __len__(self) -> int:
        return len(self.ids)

    def rows_at(self, instant: int) -> NDArray[np.intp]:
        """The rows of one of the T times."""
        return np.arange(*np.searchsorted(self.instant, [instant, instant + 1]), dtype=np.intp)

    def at(self, instant: int) -> Truth:
        """One of the T times, as the renderer gives it."""
        rows = self.rows_at(instant)
        return Truth(
            t_s=float(self.t_s[instant]),
            ids=self.ids[rows],
            boxes=self.boxes[rows],
            visibility=self.visibility[rows],
            floor_xy_m=self.floor_xy_m[rows],
            heading_rad=self.heading_rad[rows],
        )

    def moved(self, instant: int) -> NDArray[np.float32]:
        """(N, 4) where the boxes of one time are at the next, NaN rows for who is not seen then: flow of boxes."""
        now, then = self.rows_at(instant), self.rows_at(instant + 1)
        out = np.full((len(now), 4), np.nan, np.float32)
        _, here, there = np.intersect1d(self.ids[now], self.ids[then], return_indices=True)
        out[here] = self.boxes[then[there]]
        return out


def record(staged: Staged, camera: str, t_s: ArrayLike, bodies: Bodies | None = None) -> Recording:
    """All that one camera sees at (T,) times, rising.

    Args:
        staged: The scene.
        camera: One of its cameras' names.
        t_s: When, in the scene's seconds.
        bodies: `Walkers` of the scene where None. Made once for several cameras, they save time.
    """
    times = np.asarray(t_s, float).reshape(-1)
    rows = Rows.of(staged, times)
    return seen(staged, staged.cameras[camera], times, rows, *(bodies or Walkers(staged)).balls(rows))


def truth(staged: Staged, camera: str, t_s: float, bodies: Bodies | None = None) -> Truth:
    """What one camera shows at one time; see `record`."""
    return record(staged, camera, [t_s], bodies).at(0)


def seen(staged: Staged, camera: Camera, t_s: F, rows: Rows, centres: F, radii: F, shares: F) -> Recording:
    """What a camera shows of people made of balls."""
    views = [camera.at(float(t)) for t in t_s] if camera.moves else [camera]
    which = rows.instant if camera.moves else np.zeros(len(rows), np.intp)
    R = np.stack([view.R for view in views])[which]
    local = (centres - camera.centre_m) @ R.transpose(0, 2, 1)
    boxes = ball_boxes(camera, local, radii)
    inside = _in_picture(camera, boxes)
    view = _View(camera, local, radii, shares, boxes)
    kept = np.flatnonzero(inside)
    points, weights = view.samples(kept)
    shown = view.shown(points)
    hidden, hider = _hidden_by_people(view, rows, kept, points, weights)
    blocked = _hidden_by_solids(
        staged.place.solids, camera.centre_m, centres[kept], R[kept], points, view.depth(kept)
    )
    visibility = (weights * (shown & ~hidden & ~blocked)).sum(axis=1)
    off = camera.centre_m[:2] - rows.xy_m[kept]
    return Recording(
        camera=camera.name,
        size=camera.size,
        t_s=t_s,
        instant=rows.instant[kept],
        ids=rows.ids[kept],
        boxes=boxes[kept].astype(np.float32),
        visibility=visibility.clip(0, 1).astype(np.float32),
        floor_xy_m=rows.xy_m[kept],
        heading_rad=rows.heading_rad[kept],
        seen_from_rad=np.arctan2(off[:, 1], off[:, 0]) - rows.heading_rad[kept],
        hider=hider,
        hidden=(weights * hidden).sum(axis=1).astype(np.float32),
    )


def ball_boxes(camera: Camera, local: F, radii: F) -> F:
    """(R, 4) px around the pictures of balls (R, S, 3) in the camera's axes; NaN where none is in front of it.

    A sphere's picture ends where planes through the camera's centre touch it: at the angle of its centre, plus and
    minus asin(r / distance), within the plane of two axes.
    """
    x, y, z = np.moveaxis(local, -1, 0)
    ahead = (z > radii + NEAR_M) & (radii > 0)
    sides = []
    for value in (x, y):
        angle = np.arctan2(value, z)
        reach = np.arcsin(np.clip(radii / np.maximum(np.hypot(value, z), 1e-9), 0, 1))
        sides += [np.tan(np.clip(angle - reach, -1.57, 1.57)), np.tan(np.clip(angle + reach, -1.57, 1.57))]
    extremes = [
        np.where(ahead, side, np.inf).argmin(axis=1) if low else np.where(ahead, side, -np.inf).argmax(axis=1)
        for side, low in zip(sides, (True, False, True, False))
    ]
    row = np.arange(len(local))
    box = np.empty((len(local), 4))
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = np.stack([x / z, y / z], axis=-1)
    for n, (side, ball) in enumerate(zip(sides, extremes)):
        axis = n // 2
        point = flat[row, ball]
        point[:, axis] = side[row, ball]
        bent = distort(point, camera.distortion) if camera.is_distorted else point
        box[:, 2 * (n % 2) + axis] = bent[:, axis] * camera.K[axis, axis] + camera.K[axis, 2]
    box[~ahead.any(axis=1)] = np.nan
    return box


def _in_picture(camera: Camera, boxes: F) -> NDArray[np.bool_]:
    w, h = camera.size
    with np.errstate(invalid="ignore"):
        return np.asarray(
            (boxes[:, 0] < w) & (boxes[:, 1] < h) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
            & (boxes[:, 2] > boxes[:, 0])
        )  # fmt: skip


@dataclass(frozen=True)
class _View:
    """Balls in a camera's axes."""

    camera: Camera
    local: F  # (R, S, 3)
    radii: F  # (R, S)
    shares: F  # (R, S)
    boxes: F  # (R, 4)

    def depth(self, rows: NDArray[np.intp]) -> F:
        """(N, S) m."""
        return np.asarray(self.local[rows, :, 2])

    def discs(self, rows: NDArray[np.intp]) -> tuple[F, F]:
        """Middles (N, S, 2) and radii (N, S) at depth 1; radius 0 behind the camera."""
        z = self.local[rows, :, 2]
        ahead = z > NEAR_M
        near = np.where(ahead, z, 1.0)
        return self.local[rows, :, :2] / near[..., None], np.where(ahead, self.radii[rows] / near, 0.0)

    def samples(self, rows: NDArray[np.intp]) -> tuple[F, F]:
        """Points (N, K, 2) of the silhouettes at depth 1, and their weights (N, K), in sum 1."""
        middle, radius = self.discs(rows)
        points = middle[:, :, None] + radius[:, :, None, None] * np.array(SAMPLES)
        weights = np.repeat(self.shares[rows] / len(SAMPLES), len(SAMPLES), axis=1)
        seen = np.repeat(radius > 0, len(SAMPLES), axis=1)
        return points.reshape(len(rows), weights.shape[1], 2), np.where(seen, weights, 0.0)

    def shown(self, points: F) -> NDArray[np.bool_]:
        """(N, K) which points are inside the picture."""
        bent = distort(points, self.camera.distortion) if self.camera.is_distorted else points
        K = self.camera.K
        px, py = bent[..., 0] * K[0, 0] + K[0, 2], bent[..., 1] * K[1, 1] + K[1, 2]
        w, h = self.camera.size
        near = (points**2).sum(-1) < self.camera.reach2
        return np.asarray(near & (px >= 0) & (px < w) & (py >= 0) & (py < h))


def _hidden_by_people(
    view: _View, rows: Rows, kept: NDArray[np.intp], points: F, weights: F
) -> tuple[NDArray[np.bool_], I32]:
    """Which points (N, K) of the kept rows are behind somebody else, and who (N,) hides most of each."""
    hidden = np.zeros(points.shape[:2], bool)
    hider, most = np.zeros(len(kept), np.int32), np.zeros(len(kept))
    depth = np.median(view.depth(kept), axis=1)
    behind, before = overlapping(view.boxes[kept], depth, rows.instant[kept])
    middle, radius = view.discs(kept)
    for a, b in zip(_chunks(behind), _chunks(before)):
        hit = _in_discs(points[a], middle[b], radius[b])
        np.logical_or.at(hidden, a, hit)
        share = (hit * weights[a]).sum(axis=1)
        for row, other, value in zip(a.tolist(), b.tolist(), share.tolist()):
            if value > most[row]:
                most[row], hider[row] = value, rows.ids[kept[other]]
    return hidden, hider


def _in_discs(points: F, middle: F, radius: F) -> NDArray[np.bool_]:
    """(N, K) which of points (N, K, 2) lie in one of discs (N, S, 2) of radius (N, S), row by row."""
    # |p - m| < r is 2 p m - m m + r r > p p: a matrix product, in the coordinates of a point nearby for its rounding.
    near = points[:, :1]
    p, m = points - near, middle - near
    power = np.where(radius > 0, radius**2 - (m**2).sum(-1), -np.inf).astype(np.float32)
    reach = (2 * p.astype(np.float32)) @ m.astype(np.float32).transpose(0, 2, 1) + power[:, None]
    return np.asarray(reach.max(axis=2) > (p**2).sum(-1))


def _chunks(rows: NDArray[np.intp], size: int = 256) -> list[NDArray[np.intp]]:
    return np.split(rows, range(size, len(rows), size))


def overlapping(boxes: F, depth: F, instant: I32) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs (behind, before) of R rows, rising by instant, whose boxes (R, 4) overlap at the same instant."""
    pairs: list[NDArray[np.intp]] = [np.zeros((2, 0), np.intp)]
    step = 1
    while True:  # rows rise by instant: those of one instant are neighbours
        first = (
            np.flatnonzero(instant[:-step] == instant[step:]) if step < len(instant) else np.zeros(0, np.intp)
        )
        if not len(first):
            break
        a, b = boxes[first], boxes[first + step]
        meets = ((a[:, :2] < b[:, 2:]) & (b[:, :2] < a[:, 2:])).all(axis=1)
        one, two = first[meets], first[meets] + step
        nearer = depth[one] < depth[two]
        pairs.append(np.stack([np.where(nearer, two, one), np.where(nearer, one, two)]))
        step += 1
    behind, before = np.concatenate(pairs, axis=1)
    return behind, before


def _hidden_by_solids(solids: F, eye_m: F, centres: F, R: F, points: F, depth: F) -> NDArray[np.bool_]:
    """Which points (N, K) the place hides from the camera at ``eye_m``.

    Args:
        solids: (M, 7) as `Place.solids`.
        centres: (N, S, 3) m of the balls in the world.
        R: (N, 3, 3) world -> camera.
        points: (N, K, 2) at depth 1.
        depth: (N, S) m of the balls.
    """
    hidden = np.zeros(points.shape[:2], bool)
    if not len(solids) or not len(points):
        return hidden
    solids = solids[~within(solids, eye_m)]  # a camera sees out of what it is built into
    middle = (centres.max(axis=1) + centres.min(axis=1)) / 2
    size = np.linalg.norm(centres - middle[:, None], axis=-1).max(axis=1) + 0.1
    row, solid = np.nonzero(_crosses(solids, eye_m, middle[:, None], size[:, None]))
    ball = np.repeat(np.arange(depth.shape[1]), points.shape[1] // depth.shape[1])
    for these, of in zip(_chunks(row, 512), _chunks(solid, 512)):
        rays = np.concatenate([points[these], np.ones((*points[these].shape[:2], 1))], axis=-1)
        ends = eye_m + (rays * depth[these][:, ball, None]) @ R[these]
        hit = _crosses(solids[of][:, None], eye_m, ends)
        np.logical_or.at(hidden, these, hit)
    return hidden


# ---- dense flow --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dense:
    """What every pixel of a small picture shows, and where that is a moment later."""

    flow: NDArray[np.float32]  # (h, w, 2) px of the full picture, to where the same point is then
    ids: I32  # (h, w) person, 0 the place


def dense_flow(
    staged: Staged,
    camera: str,
    t_s: float,
    next_t_s: float,
    *,
    scale: float = 0.25,
    bodies: Bodies | None = None,
) -> Dense:
    """Flow of the whole picture from geometry: people as balls, each moving without turning; the place at rest.

    Args:
        staged: The scene.
        camera: One of its cameras' names. It may move; it stays where it stands.
        t_s: When the picture is taken.
        next_t_s: When the next one is.
        scale: Size of the answer against the picture's.
        bodies: `Walkers` of the scene where None.
    """
    bodies = bodies or Walkers(staged)
    now, then = (staged.cameras[camera].at(t) for t in (t_s, next_t_s))
    width, height = (max(1, round(side * scale)) for side in now.size)
    x, y = np.meshgrid(
        (np.arange(width) + 0.5) * now.size[0] / width, (np.arange(height) + 0.5) * now.size[1] / height
    )
    px = np.stack([x.ravel(), y.ravel()], axis=1)
    rays = now.rays(px) @ now.R  # in the world, depth 1
    far = np.full(len(px), np.inf)
    for solid in staged.place.solids[~within(staged.place.solids, now.centre_m)]:
        far = np.minimum(far, _enters(solid, now.centre_m, rays))
    # A camera that turns about its own centre sees the place move by its rays' directions alone.
    landed = then.project(rays + then.centre_m)[0] if staged.cameras[camera].moves else px.copy()
    ids = np.zeros(len(px), np.int32)
    rows, later = (Rows.of(staged, np.array([t])) for t in (t_s, next_t_s))
    _, here, there = np.intersect1d(rows.ids, later.ids, return_indices=True)
    centres, radii, _ = bodies.balls(rows)
    moved = np.zeros_like(centres)
    moved[here] = bodies.balls(later)[0][there] - centres[here]
    boxes = ball_boxes(now, (centres - now.centre_m) @ now.R.T, radii)
    for row in range(len(rows)):
        x1, y1, x2, y2 = boxes[row]
        pixels = np.flatnonzero((px[:, 0] > x1) & (px[:, 0] < x2) & (px[:, 1] > y1) & (px[:, 1] < y2))
        depth, ball = _first_ball(centres[row] - now.centre_m, radii[row], rays[pixels])
        nearer = depth < far[pixels]
        pixels, depth, ball = pixels[nearer], depth[nearer], ball[nearer]
        far[pixels], ids[pixels] = depth, rows.ids[row]
        points = now.centre_m + rays[pixels] * depth[:, None] + moved[row, ball]
        landed[pixels] = then.project(points)[0]
    flow = np.nan_to_num(landed - px).astype(np.float32)
    return Dense(flow.reshape(height, width, 2), ids.reshape(height, width))


def _first_ball(centres: F, radii: F, rays: F) -> tuple[F, NDArray[np.intp]]:
    """Depth (N,) where rays (N, 3) from the origin first meet balls (S, 3), infinite where they miss; and which."""
    a = (rays**2).sum(-1, keepdims=True)
    b = rays @ centres.T
    inside = b**2 - a * ((centres**2).sum(-1) - radii**2)
    depth = np.where((inside > 0) & (b > 0) & (radii > 0), (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
    first = depth.argmin(axis=1)
    return depth[np.arange(len(rays)), first], first


def _enters(solid: F, eye_m: F, rays: F) -> F:
    """Depth (N,) at which rays (N, 3) from the eye enter one solid (7,); infinite where they miss it."""
    enter, leave = np.zeros(len(rays)), np.full(len(rays), np.inf)
    ends = eye_m + rays
    for start, end, half in zip(_in_solid(solid, eye_m), _in_solid(solid, ends), _halves(solid)):
        way = end - start
        way = 1 / np.where(np.abs(way) < 1e-12, 1e-12, way)
        reach, middle = half * np.abs(way), -start * way
        enter, leave = np.maximum(enter, middle - reach), np.minimum(leave, middle + reach)
    return np.where(enter < leave, enter, np.inf)


def within(solids: F, point_m: F) -> NDArray[np.bool_]:
    """(M,) whether a point is inside each solid."""
    inside = [np.abs(at) < half for at, half in zip(_in_solid(solids, point_m), _halves(solids))]
    return np.asarray(inside[0] & inside[1] & inside[2])


def _in_solid(solids: F, points: F) -> tuple[F, F, F]:
    """Points (..., 3) in the axes of solids (..., 7), from their middles; shapes broadcast."""
    x, y = points[..., 0] - solids[..., 0], points[..., 1] - solids[..., 1]
    cos, sin = np.cos(solids[..., 6]), np.sin(solids[..., 6])
    return x * cos + y * sin, y * cos - x * sin, points[..., 2] - (solids[..., 4] + solids[..., 5]) / 2


def _halves(solids: F) -> tuple[F, F, F]:
    return solids[..., 2], solids[..., 3], (solids[..., 5] - solids[..., 4]) / 2


def _crosses(solids: F, eye_m: F, ends: F, grow_m: F | float = 0.0) -> NDArray[np.bool_]:
    """Whether the lines from the eye to ``ends`` (..., 3) pass through solids (..., 7) grown by so much: slabs."""
    enter, leave = np.zeros(1), np.ones(1)
    for start, end, half in zip(_in_solid(solids, eye_m), _in_solid(solids, ends), _halves(solids)):
        way = end - start
        way = 1 / np.where(np.abs(way) < 1e-12, 1e-12, way)
        reach = (half + grow_m) * np.abs(way)
        middle = -start * way
        enter, leave = np.maximum(enter, middle - reach), np.minimum(leave, middle + reach)
    return np.asarray(enter < leave)
