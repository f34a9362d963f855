"""How people move: footsteps planned along a trajectory, and the pose of every bone at any time.

First the footsteps are planned: when and where each foot comes down, so that the body is above it half-way through its
stance. Everything else follows from them: a standing foot is fixed on the floor and rolls from heel to ball, a swinging
one flies from one footprint to the next, the pelvis is as high as both legs reach, legs bend by inverse kinematics of
two bones, and arms and trunk swing against the legs. What changes slowly is kept as uniform cubic B-splines, so that
all motion has continuous accelerations.

Body axes: x left, y up, z forward. A turn about x with a positive angle tips forward what stands up, about y turns to
the left, and about z tips to the right what stands up.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, minimum_filter1d
from scipy.signal.windows import gaussian
from scipy.spatial.transform import Rotation

from scenes.records import ABSENT, SEATED, Skeleton, Trajectory

Floats = NDArray[np.float64]
Arm = Literal[
    "free", "phone", "strap", "load"
]  # swings; a phone when standing; holds a strap; hangs with a weight

TABLE_S = 0.02  # step of the tables
LEAD_S = 1.2  # somebody who enters has walked so long already
ADULT_LEG_M = 0.86  # hip to ankle, of what adult measures below are for
# Step length / cadence is the same at all comfortable speeds, about 0.0065 m min for adults: Sekiya & Nagasaki 1998.
WALK_RATIO_M_MIN = 0.0065
REACH = 0.996  # share of a leg's length at which its knee is as straight as it gets
SLOWEST_STEPS_MIN = 78.0
SHORTEST_STEP_S = 0.34
FARTHEST_LEGS = 0.62  # a standing foot is left behind by the body at most, in lengths of a leg
WAIT_S = 0.06  # between looks whether who stands has to step
MID_STANCE = 0.32  # share of the stance at which the body is above the foot

SPEED_UP, SLOW_DOWN = 0.27, 0.25  # shares of a swing in which the foot gains and loses its speed


@dataclass(frozen=True)
class Style:
    """How somebody moves: what makes two walks differ. Factors are about 1."""

    cadence: float = 1.0  # more, shorter steps
    width: float = 1.0  # distance between the feet
    arm_swing: float = 1.0
    arm_out_rad: float = 0.14  # upper arms from the vertical
    elbow_rad: float = 0.25
    lean_rad: float = 0.04  # of the trunk, forward
    sway: float = 1.0  # of the pelvis
    twist: float = 1.0  # of pelvis and shoulders
    toe_out_rad: float = 0.1
    roll: float = 1.0  # of the feet
    restless: float = 1.0  # looking around and shifting weight
    left_arm: Arm = "free"
    right_arm: Arm = "free"
    phases: tuple[float, ...] = (0.1, 0.7, 0.3, 0.9, 0.5, 0.2)  # turns: where slow movements begin


def draw_style(rng: np.random.Generator, *, left_arm: Arm = "free", right_arm: Arm = "free") -> Style:
    """A walk of a person taken at random; some look at a phone in a free right hand."""

    def around(mean: float, deviation: float, least: float, most: float) -> float:
        return min(max(float(rng.normal(mean, deviation)), least), most)

    if right_arm == "free" and rng.random() < 0.2:
        right_arm = "phone"
    return Style(
        cadence=around(1, 0.04, 0.9, 1.1),
        width=around(1, 0.15, 0.7, 1.4),
        arm_swing=around(1, 0.3, 0.3, 1.7),
        arm_out_rad=around(0.14, 0.03, 0.08, 0.22),
        elbow_rad=around(0.25, 0.08, 0.08, 0.5),
        lean_rad=around(0.04, 0.025, -0.02, 0.12),
        sway=around(1, 0.25, 0.5, 1.6),
        twist=around(1, 0.3, 0.4, 1.8),
        toe_out_rad=around(0.11, 0.06, -0.02, 0.28),
        roll=around(1, 0.12, 0.7, 1.3),
        restless=float(rng.gamma(4, 0.25)),
        left_arm=left_arm,
        right_arm=right_arm,
        phases=tuple(float(phase) for phase in rng.random(6)),
    )


# --- curves -----------------------------------------------------------------------------------------------------------


def ease(share: Floats) -> Floats:
    """From 0 to 1 as share does, with no speed and no acceleration at either end; 0 before and 1 after."""
    s = np.clip(share, 0.0, 1.0)
    return s * s * s * (10.0 + s * (6.0 * s - 15.0))


def _swing(share: Floats) -> Floats:
    """From 0 to 1 at even speed, but for the smooth beginning and end."""

    def gained(part: Floats) -> Floats:  # the integral of 3 p^2 - 2 p^3
        p = np.clip(part, 0.0, 1.0)
        return p**3 - p**4 / 2

    even = np.clip(share - SPEED_UP, 0.0, 1.0 - SPEED_UP - SLOW_DOWN)
    end = 0.5 - gained((1.0 - share) / SLOW_DOWN)
    way = SPEED_UP * gained(share / SPEED_UP) + even + SLOW_DOWN * end
    return way / (1.0 - (SPEED_UP + SLOW_DOWN) / 2)


def _hop(share: Floats) -> Floats:
    """From 0 up to 1 and back to 0, smooth at both ends, highest at 3/7."""
    s = np.clip(share, 0.0, 1.0)
    return s**3 * (1.0 - s) ** 4 * (7.0**7 / (3.0**3 * 4.0**4))


def _smooth(values: Floats, sigma_s: float) -> Floats:
    """Gaussian mean along the first axis, steps of TABLE_S; the ends go on as they are."""
    reach = max(1, round(3 * sigma_s / TABLE_S))
    kernel = gaussian(2 * reach + 1, sigma_s / TABLE_S)
    return np.asarray(convolve1d(values, kernel / kernel.sum(), axis=0, mode="nearest"))


@dataclass(frozen=True)
class _Table:
    """Columns that change slowly, sampled every TABLE_S, read as a uniform cubic B-spline."""

    begin_s: float
    values: Floats  # (K, C)

    def at(self, t_s: Floats) -> Floats:
        """(N,) -> (N, C)."""
        place = np.clip((t_s - self.begin_s) / TABLE_S, 1.0, len(self.values) - 3.001)
        row = place.astype(np.int64)
        u = place - row
        v = 1.0 - u
        weights = np.stack(
            [v**3, 3 * u**3 - 6 * u**2 + 4, 3 * v**3 - 6 * v**2 + 4, u**3],
            axis=-1,
        )
        return np.einsum("nk,nkc->nc", weights / 6.0, self.values[row[:, None] + np.arange(-1, 3)])


# --- turns ------------------------------------------------------------------------------------------------------------


def _turn(x: Floats, y: Floats, z: Floats) -> Floats:
    """Turns about y, then z, then x: (...) each -> (..., 3, 3) = X Z Y."""
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    turn = np.empty((*np.shape(cx), 3, 3))
    turn[..., 0, 0] = cz * cy
    turn[..., 0, 1] = -sz
    turn[..., 0, 2] = cz * sy
    turn[..., 1, 0] = cx * sz * cy + sx * sy
    turn[..., 1, 1] = cx * cz
    turn[..., 1, 2] = cx * sz * sy - sx * cy
    turn[..., 2, 0] = sx * sz * cy - cx * sy
    turn[..., 2, 1] = sx * cz
    turn[..., 2, 2] = sx * sz * sy + cx * cy
    return turn


def _facing(heading_rad: Floats) -> Floats:
    """Body axes to world axes: (N,) -> (N, 3, 3), its columns left, up and forward in the world."""
    c, s = np.cos(heading_rad), np.sin(heading_rad)
    turn = np.zeros((*c.shape, 3, 3))
    turn[..., 0, 0], turn[..., 1, 0] = -s, c
    turn[..., 2, 1] = 1.0
    turn[..., 0, 2], turn[..., 1, 2] = c, s
    return turn


def _frame(along: Floats, side: Floats) -> Floats:
    """Axes (..., 3, 3) as columns: towards the side, along, and what is square to both."""
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    side = side - (side * along).sum(-1, keepdims=True) * along
    side = side / np.linalg.norm(side, axis=-1, keepdims=True)
    return np.stack([side, along, np.cross(side, along)], axis=-1)


def _about(point: Floats, rotation: Floats) -> Floats:
    """(4, 4): a turn about a point (3,) by a rotation vector (3,)."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(rotation).as_matrix()
    turn[:3, 3] = point - turn[:3, :3] @ point
    return turn


# --- the body's measures ----------------------------------------------------------------------------------------------


class _Leg:
    """Measures of one leg at rest, in body axes."""

    def __init__(self, bones: Skeleton, side: Literal["l", "r"], sole_m: float) -> None:
        row = bones.names.index
        hip, knee, ankle, ball = (
            bones.heads[row(f"{name}_{side}")].astype(np.float64)
            for name in ("thigh", "calf", "foot", "ball")
        )
        self.sign = 1.0 if side == "l" else -1.0
        self.hip = hip
        self.thigh_m, self.calf_m = float(np.linalg.norm(knee - hip)), float(np.linalg.norm(ankle - knee))
        self.length_m = self.thigh_m + self.calf_m
        x = np.array([1.0, 0.0, 0.0])
        self.thigh_from_rest = _frame(knee - hip, x).T
        self.calf_from_rest = _frame(ankle - knee, x).T
        foot_m = ball[2] - ankle[2]
        # The footprint's origin: on the floor, under the instep.
        self.anchor = np.array([ankle[0], -sole_m, ankle[2] + 0.35 * foot_m])
        self.ankle = ankle - self.anchor
        self.ball = ball - self.anchor
        # Nearly on the floor: what turns about a point above it slips below it.
        self.pivot = self.ball * [1.0, 0.1, 1.0] + [0.0, 0.0, 0.1 * foot_m + 0.3 * sole_m]
        self.heel = np.array([0.0, 0.0, ankle[2] - 0.28 * foot_m + 0.15 * sole_m]) - [
            0.0,
            0.0,
            self.anchor[2],
        ]
        toes = bones.tails[row(f"ball_{side}")].astype(np.float64)
        self.tip = np.array([0.0, 0.0, ball[2] + 0.9 * (toes[2] - ball[2]) - self.anchor[2]])
        self.rest = np.stack([ankle, ball])
        self.rows = [row(f"{name}_{side}") for name in ("thigh", "calf", "foot", "ball")]


# --- footsteps --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Steps:
    """K stances of one foot. Between stance k and k + 1 it swings."""

    land_s: Floats  # (K,) when it comes down; the first -inf
    lift_s: Floats  # (K,) when it leaves; the last inf
    xy_m: Floats  # (K, 2) of the footprint
    yaw_rad: Floats  # (K,)
    heel: Floats  # (K,) share of the full roll with which the heel comes down
    toe: Floats  # (K,) share of the full roll with which the toes push off
    flat_s: Floats  # (K,) from landing till the foot is flat
    rise_s: Floats  # (K,) from when the heel rises till the foot leaves


@dataclass(frozen=True)
class _Path:
    """Where the body is to be, sampled every TABLE_S."""

    begin_s: float
    xy_m: Floats  # (K, 2)
    heading_rad: Floats  # (K,)
    seated: Floats  # (K,) in [0, 1]

    def row(self, t_s: float) -> int:
        return min(max(int((t_s - self.begin_s) / TABLE_S + 0.5), 0), len(self.xy_m) - 1)

    def times(self) -> Floats:
        return self.begin_s + TABLE_S * np.arange(len(self.xy_m), dtype=np.float64)


class _Planner:
    """Plans footsteps one after the other, each where the body will be above it half-way through its stance."""

    def __init__(self, path: _Path, legs: tuple[_Leg, _Leg], style: Style) -> None:
        self.path, self.legs, self.style = path, legs, style
        self.leg_m = (legs[0].length_m + legs[1].length_m) / 2
        self.scale = self.leg_m / ADULT_LEG_M
        hip_m = abs(legs[0].hip[0])
        self.stand_m, self.walk_m = 1.0 * hip_m * style.width, 0.62 * hip_m * style.width
        self.xy, self.heading = path.xy_m.tolist(), path.heading_rad.tolist()
        steps_m = np.linalg.norm(np.diff(path.xy_m, axis=0, prepend=path.xy_m[:1]), axis=1)
        self.along = np.cumsum(steps_m).tolist()  # m gone
        self.made: tuple[list[list[float]], list[list[float]]] = ([], [])

    def run(self) -> tuple[_Steps, _Steps]:
        now = self.path.begin_s
        end = now + TABLE_S * len(self.xy)
        for foot in (0, 1):
            x, y, yaw = self._print(foot, now, 0.0)
            self.made[foot].append([-np.inf, np.inf, x, y, yaw, 0.0, 0.0, 0.2, 0.2])
        foot, last_land = 0, now - 1.0
        while now < end:
            step_s, speed = self._pace(now)
            wanted, lift, land, step_s = self._timed(foot, now, last_land, step_s, speed)
            if not wanted:
                foot = 1 - foot
                wanted, lift, land, step_s = self._timed(foot, now, last_land, step_s, speed)
                if not wanted:
                    now += WAIT_S
                    continue
            self._step(foot, lift, land, step_s, speed)
            now = last_land = land
            foot = 1 - foot
        return self._steps(0), self._steps(1)

    def _timed(
        self, foot: int, now: float, last_land: float, step_s: float, speed: float
    ) -> tuple[bool, float, float, float]:
        """Whether a foot has to step, when it lifts and lands, and the step's time: shorter in a hurry."""
        other = self.made[1 - foot][-1]
        usual_m = 0.95 * step_s * speed * self.scale**0.5
        farthest_m = max(FARTHEST_LEGS * self.leg_m, usual_m)
        while True:
            both_s = step_s * (0.1 + 0.17 / (0.6 + speed))
            lift = max(now, last_land + both_s)
            land = lift + step_s - both_s
            # The other foot stays behind till a little after that.
            x, y = self.xy[self.path.row(land + 0.25 * step_s)]
            if math.hypot(x - other[2], y - other[3]) < farthest_m or step_s < SHORTEST_STEP_S:
                return self._wants(foot, land, speed), lift, land, step_s
            step_s *= 0.85

    def _pace(self, now: float) -> tuple[float, float]:
        """Seconds a step takes, and the speed in m/s as of an adult."""
        look = 0.6 * self.scale**0.5
        row = self.path.row(now)
        (x0, y0), (x1, y1) = self.xy[row], self.xy[self.path.row(now + look)]
        way = math.hypot(x1 - x0, y1 - y0)
        speed = way / look / self.scale**0.5
        cadence = max((60.0 * speed / WALK_RATIO_M_MIN) ** 0.5, SLOWEST_STEPS_MIN) * self.style.cadence
        if way > 0.05:  # steps aside and backwards are short
            ahead = ((x1 - x0) * math.cos(self.heading[row]) + (y1 - y0) * math.sin(self.heading[row])) / way
            cadence *= 1.0 + 0.5 * min(1.0 - ahead, 1.0)
        turn_rad = abs(self.heading[self.path.row(now + look)] - self.heading[row])
        cadence *= 1.0 + 0.45 * min(max(turn_rad - 0.4, 0.0), 1.2)  # and so are those in a sharp turn
        return 60.0 / cadence * self.scale**0.5, speed

    def _print(self, foot: int, t_s: float, speed: float) -> tuple[float, float, float]:
        """Footprint x, y, yaw for a body that is above it at t_s."""
        row = self.path.row(t_s)
        (x, y), heading = self.xy[row], self.heading[row]
        sign = self.legs[foot].sign
        walk = min(speed / 0.8, 1.0)
        side = sign * (self.stand_m + (self.walk_m - self.stand_m) * walk)
        ahead = self.legs[foot].anchor[2]
        c, s = np.cos(heading), np.sin(heading)
        return (
            x + ahead * c - side * s,
            y + ahead * s + side * c,
            heading + sign * self.style.toe_out_rad * (1.0 - 0.4 * walk),
        )

    def _wanted(self, foot: int, land: float, step_s: float, speed: float) -> tuple[float, float, float]:
        """The same for a foot that comes down at ``land``, on its own side of the other foot."""
        share = MID_STANCE + 0.05 * min(max(speed - 1.2, 0.0), 1.0)
        x, y, yaw = self._print(foot, self._after(land, 1.25 * step_s, share), speed)
        _, _, other_x, other_y, other_yaw, *_ = self.made[1 - foot][-1]
        yaw = other_yaw + min(max(yaw - other_yaw, -1.1), 1.1)
        sign = self.legs[foot].sign
        heading = (yaw + other_yaw) / 2
        left_x, left_y = -np.sin(heading), np.cos(heading)
        apart = sign * ((x - other_x) * left_x + (y - other_y) * left_y)
        push = sign * max(0.0, 1.1 * self.walk_m - apart)
        return x + push * left_x, y + push * left_y, yaw

    def _after(self, begin: float, duration: float, share: float) -> float:
        """When the body has gone a share of the way that it goes from a time on, in a duration."""
        first, last = self.path.row(begin), self.path.row(begin + duration)
        way = self.along[last] - self.along[first]
        if way < 0.02:
            return begin + share * duration
        return self.path.begin_s + TABLE_S * bisect.bisect(self.along, self.along[first] + share * way)

    def _wants(self, foot: int, land: float, speed: float) -> bool:
        """Whether a foot will be out of place when it could have come down elsewhere."""
        x, y, yaw = self._print(foot, land, speed)
        _, _, old_x, old_y, old_yaw, *_ = self.made[foot][-1]
        return bool(np.hypot(x - old_x, y - old_y) > 0.09 * self.scale or abs(yaw - old_yaw) > 0.4)

    def _step(self, foot: int, lift: float, land: float, step_s: float, speed: float) -> None:
        x, y, yaw = self._wanted(foot, land, step_s, speed)
        old = self.made[foot][-1]
        ahead = (x - old[2]) * math.cos(yaw) + (y - old[3]) * math.sin(yaw)
        long = min(max(ahead / (1.4 * self.leg_m), 0.0), 1.2)
        old[1] = lift
        old[6] = 0.2 + 0.8 * long
        old[8] = min(0.55 * step_s, 0.7 * (lift - old[0])) if np.isfinite(old[0]) else 0.5 * step_s
        self.made[foot].append([land, np.inf, x, y, yaw, long, 0.0, 0.36 * step_s, 0.2])

    def _steps(self, foot: int) -> _Steps:
        columns = np.array(self.made[foot]).T
        return _Steps(columns[0], columns[1], columns[2:4].T, *columns[4:])


@dataclass(frozen=True)
class _Feet:
    """One foot at N times."""

    ankle: Floats  # (N, 3) m in the world
    ball: Floats  # (N, 3)
    turn: Floats  # (N, 3, 3) body axes at rest to the world, of the foot
    toe_turn: Floats  # (N, 3, 3) of the toes
    yaw: Floats  # (N,)
    base: Floats  # (N, 2) m, the footprint's place, moving while it swings
    planted: Floats  # (N,) 1 on the floor, 0 in swing


def _place_feet(steps: _Steps, leg: _Leg, style: Style, t_s: Floats, raise_m: Floats) -> _Feet:
    """One foot at times (N,), raised by (N,)."""
    k = np.searchsorted(steps.land_s, t_s, side="right") - 1
    after = np.minimum(k + 1, len(steps.land_s) - 1)
    lift, land = steps.lift_s[k], steps.land_s[after]
    swing_s = np.where(np.isfinite(lift), land - lift, 1.0)
    since_lift = np.where(np.isfinite(lift), t_s - lift, -np.inf)
    u = np.clip(since_lift / swing_s, 0.0, 1.0)
    s = _swing(u)
    base = steps.xy_m[k] + (steps.xy_m[after] - steps.xy_m[k]) * s[:, None]
    yaw = steps.yaw_rad[k] + (steps.yaw_rad[after] - steps.yaw_rad[k]) * s
    size = leg.length_m / ADULT_LEG_M
    lifted = (0.03 + 0.02 * steps.toe[k]) * size * _hop(u) + raise_m
    # The heel rises while the foot stands on its ball, last the foot turns about the tip of its toes; in the air it
    # goes on for a little while.
    beyond = since_lift - 0.12 * swing_s
    settle = 1.0 - ease(beyond / (0.6 * swing_s))
    toe = steps.toe[k] * style.roll * settle
    bend = 0.7 * toe * ease(1.0 + beyond / (steps.rise_s[k] + 0.12 * swing_s))
    tip = 0.3 * toe * ease(1.0 + beyond / (0.6 * steps.rise_s[k] + 0.12 * swing_s))
    lifted = lifted - leg.anchor[1] * np.sin(tip)  # a shoe's nose reaches beyond the toes
    straighten = 1.0 - ease(since_lift / (0.3 * swing_s))  # the toes' bend against the foot
    # The heel touches first, then the foot comes down.
    strike = np.where(
        since_lift > 0,
        steps.heel[after] * ease((u - 0.55) / 0.45),
        steps.heel[k] * (1 - ease((t_s - steps.land_s[k]) / steps.flat_s[k])),
    )
    raised = 0.34 * style.roll * strike
    ankle = _roll(_roll(_roll(leg.ankle, leg.pivot, bend), leg.tip, tip), leg.heel, -raised)
    ball = _roll(_roll(leg.ball, leg.tip, tip), leg.heel, -raised)
    facing = _facing(yaw)
    floor = np.concatenate([base, lifted[:, None]], axis=1)
    zero = np.zeros_like(bend)
    return _Feet(
        ankle=floor + np.einsum("nij,nj->ni", facing, ankle),
        ball=floor + np.einsum("nij,nj->ni", facing, ball),
        turn=facing @ _turn(bend + tip - raised, zero, zero),
        toe_turn=facing @ _turn(bend * (1.0 - straighten) + tip - raised, zero, zero),
        yaw=yaw,
        base=base,
        planted=1.0 - np.sin(np.pi * s),
    )


def _roll(point: Floats, pivot: Floats, angle: Floats) -> Floats:
    """A point (3,) or (N, 3) turned about x through a pivot by (N,)."""
    c, s = np.cos(angle), np.sin(angle)
    x, y, z = np.broadcast_to(point - pivot, (len(angle), 3)).T
    return np.stack([x, c * y - s * z, s * y + c * z], axis=1) + pivot


# --- motion -----------------------------------------------------------------------------------------------------------

_LEGS = ("thigh_l", "calf_l", "foot_l", "ball_l", "thigh_r", "calf_r", "foot_r", "ball_r")
# Columns of the table of slow movements.
_CHANNELS = (
    "x", "y", "z", "heading", "raise",
    "twist", "list", "tilt", "lean", "stride_l", "stride_r", "elbow_l", "elbow_r",
    "walk", "stand", "seat", "look", "nod", "turn", "one",
)  # fmt: skip
FINGERS = ("index", "middle", "ring", "pinky")
PRONATION_RAD = 0.4  # of hanging forearms: the palms look a little backwards
FINGER_BEND_RAD = {"01": 0.45, "02": 0.6, "03": 0.4}
_POSE = 5  # the first column that bends joints


class _Walk:
    """The motion of one stay in the scene."""

    def __init__(self, legs: tuple[_Leg, _Leg], path: _Path, style: Style, seat_m: float) -> None:
        self.legs, self.style = legs, style
        self.steps = _Planner(path, legs, style).run()
        self.table = _Table(path.begin_s, self._channels(path, seat_m))

    def _channels(self, path: _Path, seat_m: float) -> Floats:
        t = path.times()
        nothing = np.zeros_like(t)
        feet = [
            _place_feet(s, leg, self.style, t, nothing) for s, leg in zip(self.steps, self.legs, strict=True)
        ]
        leg_m = (self.legs[0].length_m + self.legs[1].length_m) / 2
        size = leg_m / ADULT_LEG_M
        facing = _facing(path.heading_rad)
        left, forward = facing[:, :2, 0], facing[:, :2, 2]
        seated = path.seated
        between = feet[0].base - feet[1].base
        stride = _smooth((between * forward).sum(1) / leg_m, 0.07)
        speed = np.linalg.norm(np.gradient(path.xy_m, TABLE_S, axis=0), axis=1) / size**0.5
        walk = ease(speed / 0.9)
        resting = minimum_filter1d((speed < 0.1).astype(np.float64), 25, mode="nearest")
        stand = _smooth(resting, 0.25) * (1 - seated)
        idle = _idle(t, self.style)
        # The pelvis leans over the foot that carries it, and stands between the feet.
        weight = np.stack([foot.planted for foot in feet], 1)
        carried = (
            sum(foot.base * w[:, None] for foot, w in zip(feet, weight.T, strict=True))
            / weight.sum(1)[:, None]
        )
        ahead = (self.legs[0].anchor[2] + self.legs[1].anchor[2]) / 2
        off = _smooth(carried - forward * ahead - path.xy_m, 0.12)
        aside = 0.33 * self.style.sway * (off * left).sum(1) * (1 - seated)
        middle = (feet[0].base + feet[1].base) / 2 - forward * ahead - path.xy_m
        fore = 0.8 * stand * (_smooth(middle, 0.12) * forward).sum(1)
        shift = stand * idle["shift"]
        xy = path.xy_m + left * (aside + 0.03 * size * shift)[:, None] + forward * fore[:, None]
        thigh_m = self.legs[0].thigh_m
        xy = xy - forward * (seated * (0.95 * thigh_m))[:, None]
        planted_l, planted_r = (_smooth(foot.planted, 0.06) for foot in feet)
        channel = dict.fromkeys(_CHANNELS, nothing)
        channel |= {
            "x": xy[:, 0], "y": xy[:, 1], "heading": path.heading_rad,
            "twist": -0.13 * self.style.twist * stride,
            "list": 0.05 * self.style.sway * (planted_l - planted_r) * (0.3 + 0.7 * walk) + 0.06 * shift,
            "tilt": 0.04 * walk - 0.25 * seated,
            "lean": self.style.lean_rad * (0.4 + 0.6 * walk) + 0.6 * 4 * seated * (1 - seated) + 0.1 * seated,
            "stride_l": -stride, "stride_r": stride,
            "walk": walk, "stand": stand, "seat": seated,
            "look": idle["look"] * (0.15 + 0.85 * np.maximum(stand, seated)),
            "nod": idle["nod"], "turn": idle["turn"] * stand, "one": nothing + 1.0,
        }  # fmt: skip
        for side in "lr":
            channel[f"elbow_{side}"] = np.maximum(channel[f"stride_{side}"], 0) * walk
        seat_hip_m = seat_m + 0.1 * size
        # Thighs slope down a little; where they would have to more, the feet hang above the floor.
        hang = seat_hip_m - 0.34 * thigh_m - 0.98 * self.legs[0].calf_m - self.legs[0].ankle[1]
        channel["raise"] = seated * max(0.0, hang)
        channel["z"] = self._height(feet, channel, xy, path.heading_rad) * (1 - seated) + seated * seat_hip_m
        return np.stack([channel[name] for name in _CHANNELS], axis=1)

    def _height(self, feet: list[_Feet], channel: dict[str, Floats], xy: Floats, heading: Floats) -> Floats:
        """(K,) m of the hips' middle: as high as both legs reach."""
        turn = _facing(heading) @ _turn(channel["tilt"], channel["twist"], channel["list"])
        middle = (self.legs[0].hip + self.legs[1].hip) / 2
        limits = []
        for foot, leg in zip(feet, self.legs, strict=True):
            hip = turn @ (leg.hip - middle)
            away = np.linalg.norm(xy + hip[:, :2] - foot.ankle[:, :2], axis=1)
            reach = REACH * leg.length_m
            limits.append(
                foot.ankle[:, 2] + np.sqrt(np.maximum(reach**2 - away**2, (0.5 * reach) ** 2)) - hip[:, 2]
            )
        limit = np.minimum(*limits)
        # Taking the least first keeps the smooth curve below the limit.
        return _smooth(minimum_filter1d(limit, 11, mode="nearest"), 0.035)


def _idle(t: Floats, style: Style) -> dict[str, Floats]:
    """Slow movements of somebody who stands or sits, each about in [-1, 1] times restlessness."""

    def drift(period_s: float, first: int) -> Floats:
        a, b, c = (style.phases[(first + n) % len(style.phases)] for n in range(3))
        turns = t / period_s
        waves = np.sin(2 * np.pi * (turns + a)) + np.sin(2 * np.pi * (turns * 0.618 + b))
        return np.tanh(1.2 * (waves + 0.7 * np.sin(2 * np.pi * (turns * 1.83 + c))))

    return {
        "look": 0.55 * min(style.restless, 1.6) * drift(6.0, 0),
        "nod": 0.1 * drift(5.0, 2),
        "shift": min(style.restless, 1.5) * drift(9.0, 4),
        "turn": 0.12 * min(style.restless, 1.6) * drift(7.0, 1),
    }


def _bends(style: Style) -> dict[str, dict[str, tuple[float, float, float]]]:
    """How far each channel turns each bone: about x, y, z."""
    bends: dict[str, dict[str, tuple[float, float, float]]] = {
        "pelvis": {"tilt": (1, 0, 0), "twist": (0, 1, 0), "list": (0, 0, 1)},
        "spine_01": {"lean": (0.4, 0, 0), "twist": (0, -0.6, 0), "list": (0, 0, -0.5), "turn": (0, 0.3, 0)},
        "spine_02": {"lean": (0.3, 0, 0), "twist": (0, -0.7, 0), "list": (0, 0, -0.6), "turn": (0, 0.3, 0)},
        "spine_03": {"lean": (0.3, 0, 0), "twist": (0, -0.7, 0), "turn": (0, 0.4, 0), "seat": (0.1, 0, 0)},
        "neck_01": {"twist": (0, 0.6, 0), "look": (0, 0.6, 0), "turn": (0, -0.5, 0), "lean": (-0.4, 0, 0)},
        "head": {"twist": (0, 0.4, 0), "look": (0, 0.4, 0), "turn": (0, -0.5, 0), "lean": (-0.5, 0, 0)},
    }  # fmt: skip
    bends["head"]["nod"] = (1.0, 0.0, 0.0)
    for side, sign, kind in (("l", 1.0, style.left_arm), ("r", -1.0, style.right_arm)):
        out = sign * style.arm_out_rad
        upper = {
            f"stride_{side}": (-0.38 * style.arm_swing, 0.0, 0.0),
            "one": (0.03, 0.0, out),
            "seat": (-0.45, 0.0, 0.02 * sign),
        }
        lower = {
            f"elbow_{side}": (-0.3 * style.arm_swing, 0.0, 0.0),
            "one": (-style.elbow_rad, 0.0, 0.0),
            "walk": (-0.05 * style.arm_swing, 0.0, 0.0),
            "seat": (-0.4, 0.0, 0.0),
        }
        if kind == "load":
            upper[f"stride_{side}"] = (-0.12 * style.arm_swing, 0.0, 0.0)
            lower = {"one": (-0.12, 0.0, 0.0), "seat": (-0.9, 0.0, 0.0)}
        if kind == "strap":
            upper = {"one": (-0.2, -0.5 * sign, out), f"stride_{side}": (-0.06, 0.0, 0.0)}
            lower = {"one": (-2.05, 0.0, 0.0)}
        if kind == "phone":
            upper["stand"] = (-0.35, -0.45 * sign, -0.04 * sign)
            lower["stand"] = (-1.45, 0.0, 0.0)
            upper["seat"], lower["seat"] = (-0.5, -0.4 * sign, 0.0), (-1.3, 0.0, 0.0)
            bends["head"] |= {"stand": (0.3, 0.0, 0.0), "seat": (0.35, 0.0, 0.0)}
        bends[f"upperarm_{side}"], bends[f"lowerarm_{side}"] = upper, lower
    return bends


class Motion:
    """Moves one figure along its trajectory.

    Args:
        figure_skeleton: Bones named as those of MakeHuman's game engine rig.
        trajectory: Where the body goes.
        style: How it moves.
        sole_m: How far the soles of the shoes are below the bare feet's.
    """

    def __init__(
        self, figure_skeleton: Skeleton, trajectory: Trajectory, style: Style, *, sole_m: float = 0.0
    ) -> None:
        self.bones, self.style = figure_skeleton, style
        row = {name: number for number, name in enumerate(figure_skeleton.names)}
        self._heads = figure_skeleton.heads.astype(np.float64)
        self._legs = (_Leg(figure_skeleton, "l", sole_m), _Leg(figure_skeleton, "r", sole_m))
        self._pelvis = row["pelvis"]
        self._middle = (self._legs[0].hip + self._legs[1].hip) / 2
        self._arm_rest()
        self._bend_map(_bends(style))
        self._order()
        self._grip = self._curl_fingers()
        stays = _stays(trajectory)
        self._walks = [_Walk(self._legs, path, style, trajectory.seat_m) for path in stays]
        self._begins = np.array([path.begin_s for path in stays]) + LEAD_S

    def matrices(self, t_s: float) -> NDArray[np.float32]:
        """(B, 3, 4): each bone's points at rest -> the world in m, at one time."""
        return self.poses(np.array([t_s]))[0]

    def poses(self, t_s: Floats) -> NDArray[np.float32]:
        """(N, B, 3, 4): the same at N times."""
        t_s = np.asarray(t_s, dtype=np.float64)
        stay = np.maximum(np.searchsorted(self._begins, t_s, side="right") - 1, 0)
        if len(t_s) == 1 or (stay == stay[0]).all():
            return self._poses(self._walks[stay[0]], t_s)
        found = np.empty((len(t_s), len(self.bones.names), 3, 4), np.float32)
        for number in np.unique(stay):
            here = stay == number
            found[here] = self._poses(self._walks[number], t_s[here])
        return found

    # What follows is set up once.

    def _arm_rest(self) -> None:
        """How arms hang: turns that bring the upper arms of the resting figure down, and unbend its elbows."""
        row = self.bones.names.index
        self._hang: dict[str, Floats] = {}
        self._unbend: dict[str, float] = {}
        self._pronation: dict[str, Floats] = {}
        for side, sign in (("l", 1.0), ("r", -1.0)):
            upper = self._heads[row(f"lowerarm_{side}")] - self._heads[row(f"upperarm_{side}")]
            lower = self._heads[row(f"hand_{side}")] - self._heads[row(f"lowerarm_{side}")]
            down = np.arctan2(abs(upper[0]), -upper[1])
            self._hang[side] = _turn(np.array(0.0), np.array(0.0), np.array(-sign * down))
            inward = -sign * PRONATION_RAD * lower / np.linalg.norm(lower)
            self._pronation[side] = Rotation.from_rotvec(inward).as_matrix()
            self._unbend[side] = float(np.arctan2(lower[2], np.hypot(lower[0], lower[1])))

    def _bend_map(self, bends: dict[str, dict[str, tuple[float, float, float]]]) -> None:
        names = self.bones.names
        self._bent = [names.index(name) for name in bends]
        by_channel = np.zeros((len(_CHANNELS) - _POSE, len(bends), 3))
        self._before = np.tile(np.eye(3), (len(bends), 1, 1))
        self._after = np.tile(np.eye(3), (len(bends), 1, 1))
        for number, (name, by) in enumerate(bends.items()):
            for channel, angles in by.items():
                by_channel[_CHANNELS.index(channel) - _POSE, number] = angles
            kind, side = name[:-2], name[-1]
            if kind == "upperarm":
                self._after[number] = self._hang[side]
            elif kind == "lowerarm":
                self._before[number], self._after[number] = (
                    self._hang[side].T,
                    self._hang[side] @ self._pronation[side],
                )
                by_channel[_CHANNELS.index("one") - _POSE, number, 0] += self._unbend[side]
        self._map = by_channel.reshape(len(by_channel), -1)

    def _order(self) -> None:
        """Bones that bend or carry bending ones, parents first; all others ride on one of them."""
        names, parents = self.bones.names, self.bones.parents
        legs = {names.index(name) for name in _LEGS}
        moves = set(self._bent) | legs
        self._chain: list[tuple[int, int]] = []  # bone, its place among the bent ones
        self._rides = np.arange(len(names))
        for bone, parent in enumerate(parents):
            if bone in moves:
                if bone not in legs and bone != self._pelvis:
                    self._chain.append((bone, self._bent.index(bone)))
            else:
                self._rides[bone] = self._rides[parent] if parent >= 0 else self._pelvis
        self._carrier = {bone: int(self._rides[parents[bone]]) for bone, _ in self._chain}

    def _curl_fingers(self) -> Floats:
        """(B, 4, 4): bent fingers, in body axes before the hand moves them; the identity for all other bones."""
        names, parents, heads = self.bones.names, self.bones.parents, self._heads
        grip = np.tile(np.eye(4), (len(names), 1, 1))
        along = (self.bones.tails - self.bones.heads).astype(np.float64)
        for side in (
            "lr" if "index_01_l" in names else ""
        ):  # a skeleton without fingers has curled hands at rest
            fingers = [(f"{finger}_01_{side}", f"{finger}_03_{side}") for finger in FINGERS]
            # A resting hand is a little bent already: that shows the hinges.
            hinge = sum(np.cross(along[names.index(a)], along[names.index(b)]) for a, b in fingers)
            hinge = np.asarray(hinge) / np.linalg.norm(hinge)
            for joint, angle in FINGER_BEND_RAD.items():
                for finger in FINGERS:
                    bone = names.index(f"{finger}_{joint}_{side}")
                    grip[bone] = grip[parents[bone]] @ _about(heads[bone], hinge * angle)
        return grip

    def _poses(self, walk: _Walk, t_s: Floats) -> NDArray[np.float32]:
        count = len(t_s)
        slow = walk.table.at(t_s)
        angles = (slow[:, _POSE:] @ self._map).reshape(count, -1, 3)
        local = self._before @ _turn(angles[..., 0], angles[..., 1], angles[..., 2]) @ self._after
        turns = np.zeros((count, len(self.bones.names), 3, 3))
        places = np.zeros((count, len(self.bones.names), 3))  # where the rest frame's origin goes
        facing = _facing(slow[:, 3])
        turns[:, self._pelvis] = pelvis = facing @ local[:, self._bent.index(self._pelvis)]
        places[:, self._pelvis] = slow[:, :3] - pelvis @ self._middle
        for bone, number in self._chain:
            carrier, head = self._carrier[bone], self._heads[bone]
            turns[:, bone] = turn = turns[:, carrier] @ local[:, number]
            places[:, bone] = places[:, carrier] + turns[:, carrier] @ head - turn @ head
        for leg, steps in zip(self._legs, walk.steps, strict=True):
            foot = _place_feet(steps, leg, self.style, t_s, slow[:, 4])
            self._leg(leg, foot, pelvis, places[:, self._pelvis] + pelvis @ leg.hip, facing, turns, places)
        carried = np.concatenate([turns, places[..., None]], axis=3)[:, self._rides]
        matrices = carried[..., :3] @ self._grip[:, :3]
        matrices[..., 3] += carried[..., 3]
        return matrices.astype(np.float32)

    @staticmethod
    def _leg(
        leg: _Leg, foot: _Feet, pelvis: Floats, hip: Floats, facing: Floats, turns: Floats, places: Floats
    ) -> None:
        """Thigh, calf, foot and toes from hip and foot: inverse kinematics of two bones, the knee forward."""
        ahead = pelvis[:, :, 2] + _facing(foot.yaw)[:, :, 2]
        down = foot.ankle - hip
        long = np.linalg.norm(down, axis=1)
        down = down / long[:, None]
        thigh_m, calf_m = leg.thigh_m, leg.calf_m
        long = np.minimum(long, 0.9999 * leg.length_m)
        along = (thigh_m**2 - calf_m**2 + long**2) / (2 * long)
        across = np.sqrt(np.maximum(thigh_m**2 - along**2, 0.0))
        bow = ahead - (ahead * down).sum(1, keepdims=True) * down
        bow = bow / np.linalg.norm(bow, axis=1, keepdims=True)
        knee = hip + along[:, None] * down + across[:, None] * bow
        hinge = np.cross(bow, down)
        thigh, calf, sole, toes = leg.rows
        turns[:, thigh] = _frame(knee - hip, hinge) @ leg.thigh_from_rest
        turns[:, calf] = _frame(foot.ankle - knee, hinge) @ leg.calf_from_rest
        turns[:, sole], turns[:, toes] = foot.turn, foot.toe_turn
        rest_knee = leg.hip + (leg.thigh_from_rest.T @ np.array([0.0, leg.thigh_m, 0.0]))
        for bone, at, rest in (
            (thigh, hip, leg.hip),
            (calf, knee, rest_knee),
            (sole, foot.ankle, leg.rest[0]),
            (toes, foot.ball, leg.rest[1]),
        ):
            places[:, bone] = at - turns[:, bone] @ rest


# --- from the trajectory ----------------------------------------------------------------------------------------------

SIT_S = 1.3  # to sit down or get up


def _stays(trajectory: Trajectory) -> list[_Path]:
    """One path for each time that somebody is in the scene; one of the whole trajectory if they never are."""
    inside = trajectory.activity != ABSENT
    if not inside.any():
        inside = np.ones_like(inside)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return [_path(trajectory, first, last) for first, last in edges.reshape(-1, 2)]


def _path(trajectory: Trajectory, first: int, last: int) -> _Path:
    """The rows first..last - 1, smoothed, going on before and after as they begin and end."""
    t = trajectory.t_s[first:last]
    begin, end = float(t[0]) - LEAD_S, float(t[-1]) + LEAD_S
    times = begin + TABLE_S * np.arange(round((end - begin) / TABLE_S) + 3, dtype=np.float64)
    xy = np.stack([np.interp(times, t, trajectory.xy_m[first:last, axis]) for axis in (0, 1)], axis=1)
    heading = np.interp(times, t, trajectory.heading_rad[first:last])
    if len(t) > 1:
        before, after = np.minimum(times - t[0], 0.0), np.maximum(times - t[-1], 0.0)
        lead = (trajectory.xy_m[first + 1] - trajectory.xy_m[first]) / (t[1] - t[0])
        tail = (trajectory.xy_m[last - 1] - trajectory.xy_m[last - 2]) / (t[-1] - t[-2])
        xy += before[:, None] * lead + after[:, None] * tail
    activity = trajectory.activity[first:last]
    near = np.clip(np.searchsorted(t, times, side="right") - 1, 0, len(t) - 1)
    return _Path(
        begin_s=begin,
        xy_m=_smooth(_smooth(xy, 0.12), 0.05),
        heading_rad=_smooth(heading, 0.2),
        seated=_sitting(times, activity[near] == SEATED),
    )


def _sitting(times: Floats, seated: NDArray[np.bool_]) -> Floats:
    """(K,) from 0 standing to 1 sitting; sitting down and getting up both lie within the time of being seated."""
    share = np.zeros(len(times))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seated, [False]]).astype(np.int8)))
    for first, last in edges.reshape(-1, 2):
        since, left = times - times[first], times[last - 1] - times
        if first == 0:
            since = np.full_like(times, np.inf)
        if last == len(times):
            left = np.full_like(times, np.inf)
        takes = min(SIT_S, (times[last - 1] - times[first]) / 2 + 1e-6)
        share = np.maximum(share, np.minimum(ease(since / takes), ease(left / takes)))
    return share
