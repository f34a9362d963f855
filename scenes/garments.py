"""Garments: pieces of the body's own mesh, pushed out along its normals and cut along smooth lines.

All cutting is done on the canonical body (`body.canon`, 1.70 m), where a collar, a knee or a hem lies at fixed
coordinates; as all bodies share one topology, the cut fits everybody. Coordinates are metres there: x left, y up, z
forward. A line of a cut is a signed distance: positive inside the garment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scenes import patterns
from scenes.body import Floats, Template, canon, template

Colour = tuple[float, float, float]

NECK_Y, SHOULDER_Y, BUST_Y, WAIST_Y, HIP_Y, CROTCH_Y, KNEE_Y, ANKLE_Y = (
    1.455,
    1.36,
    1.23,
    1.02,
    0.90,
    0.80,
    0.486,
    0.071,
)
EYES_Y, EAR, MOUTH_Y, CHIN_Y = 1.591, (0.078, 1.590, 0.042), 1.523, 1.482
ELBOW, WRIST = 1.0, 2.0  # along the arm, from 0 at the shoulder
UPPER_ARM_M = 0.248
INSIDE = 1.0  # a signed distance that no line of a cut reaches


@dataclass(frozen=True, eq=False)
class Cloth:
    """Where the vertices of one part lie on the canonical body: what lines of a cut are drawn on."""

    x: Floats  # (V,) m
    y: Floats
    z: Floats
    paint: Floats  # (V, 3) m, with the arms hanging: so stripes go round the sleeves
    arm: Floats  # (V,) weight of the arm's bones
    head: Floats
    along_arm: Floats  # (V,) 0 shoulder, 1 elbow, 2 wrist
    hang: Floats  # (V,) m that a cloth which falls from shoulders, chest and seat is away from the skin
    front: Floats  # (V,) 1 in front, 0 behind, smooth over the sides


@dataclass(frozen=True)
class Paint:
    """What a garment looks like."""

    colour: Colour
    colour2: Colour | None = None  # None: as `colour`
    pattern: int = patterns.PLAIN
    frequency: float = 1.0  # 1/m
    gloss: float = 0.05


Line = Callable[[Cloth], Floats]


@lru_cache(32)
def cloth(part: str, detail: float) -> Cloth:
    """The cloth that garments are cut from, of one part of the mesh at one level of detail."""
    mesh, rows = template(detail), template(detail).parts[part].rows
    at = canon(detail).vertices[rows]
    arm = mesh.weight_of("upperarm", "lowerarm", "hand")[rows]
    along = _along_arm(detail, at)
    return Cloth(
        x=at[:, 0],
        y=at[:, 1],
        z=at[:, 2],
        paint=_with_hanging_arms(detail, at, arm),
        arm=arm,
        head=mesh.weight_of("head")[rows],
        along_arm=along,
        hang=_smooth(_hang(at, arm), template(detail).parts[part].triangles),
        front=step(at[:, 2], -0.03, 0.06),
    )


def step(value: NDArray[np.floating], low: float, high: float) -> Floats:
    """Smooth from 0 at ``low`` to 1 at ``high``; ``low`` may be the larger one."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _joints(detail: float, side: str) -> list[Floats]:
    skeleton = canon(detail).skeleton
    return [
        skeleton.heads[skeleton.names.index(f"{bone}_{side}")] for bone in ("upperarm", "lowerarm", "hand")
    ]


def _along_arm(detail: float, at: Floats) -> Floats:
    along = np.zeros(len(at), np.float32)
    for side, mine in (("l", at[:, 0] > 0), ("r", at[:, 0] <= 0)):
        shoulder, elbow, wrist = _joints(detail, side)
        upper, lower = elbow - shoulder, wrist - elbow
        first = (at - shoulder) @ upper / (upper @ upper)
        second = (at - elbow) @ lower / (lower @ lower)
        # The bend's bisecting plane parts the two: what is past it counts along the lower arm.
        past = (at - elbow) @ (upper / np.linalg.norm(upper) + lower / np.linalg.norm(lower)) > 0
        along[mine] = np.where(past, 1 + np.maximum(second, 0), np.minimum(first, 1))[mine]
    return along


def _with_hanging_arms(detail: float, at: Floats, arm: Floats) -> Floats:
    hanging = at.copy()
    for side, mine, sign in (("l", at[:, 0] > 0, 1.0), ("r", at[:, 0] <= 0, -1.0)):
        shoulder, elbow, _ = _joints(detail, side)
        along = elbow - shoulder
        angle = -sign * np.arctan2(abs(along[0]), -along[1])
        c, s = np.cos(angle), np.sin(angle)
        turned = (at - shoulder) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + shoulder
        hanging[mine] += (arm[:, None] * (turned - at))[mine]
    return np.asarray(hanging, np.float32)


def _hang(at: Floats, arm: Floats) -> Floats:
    """The gap between the trunk and a curtain that hangs from the widest places above, by direction from the axis."""
    x, y, z = at[:, 0], at[:, 1], at[:, 2] - 0.01
    radius = np.hypot(x, z)
    sector = (np.floor((np.arctan2(z, x) + np.pi) / (2 * np.pi) * 24).astype(int)) % 24
    trunk = (arm < 0.3) & (y > CROTCH_Y) & (y < 1.32)
    gap = np.zeros(len(at), np.float32)
    for number in range(24):
        near = np.flatnonzero(trunk & ((sector - number + 1) % 24 <= 2))
        mine = np.flatnonzero(trunk & (sector == number))
        if len(near) and len(mine):
            above = y[near][None, :] >= y[mine][:, None] - 0.01
            widest = np.where(above, radius[near][None, :], 0).max(1)
            gap[mine] = np.clip(widest - radius[mine], 0, 0.06)
    return gap


def _smooth(values: Floats, triangles: NDArray[np.int32]) -> Floats:
    """Mean with the neighbours, four times."""
    start, end = triangles.ravel(), np.roll(triangles, 1, 1).ravel()
    count = np.maximum(np.bincount(start, minlength=len(values)), 1)
    smooth = values.astype(np.float64)
    for _ in range(4):
        smooth = 0.5 * smooth + 0.5 * np.bincount(start, smooth[end], len(smooth)) / count
    return smooth.astype(np.float32)


# ---- lines of a cut ----


def sleeves(length: float) -> Line:
    """Everything but the arms, and these down to ``length``: 0 shoulder, 1 elbow, 2 wrist."""
    return lambda c: np.where(c.arm > 0.4, (length - c.along_arm) * UPPER_ARM_M, INSIDE).astype(np.float32)


def neckline(depth: float = 0.045, vee: float = 0.0, high: float = 0.0, width: float = 1.0) -> Line:
    """Below the neck: ``depth`` lower in front than behind, with a V of that depth, ``high`` above the usual.

    More than ``width`` from the middle it is as high in front as behind.
    """

    def line(c: Cloth) -> Floats:
        scoop = step(np.abs(c.x), width + 0.03, width)
        edge = NECK_Y + 0.01 + high - depth * scoop * step(c.z, -0.01, 0.09)
        if vee:
            edge = edge - np.maximum(0, vee - 1.5 * np.abs(c.x)) * step(c.z, 0.03, 0.06)
        return np.where(c.arm > 0.4, INSIDE, edge - c.y).astype(np.float32)

    return line


def above(height: float) -> Line:
    return lambda c: np.where(c.arm > 0.4, INSIDE, c.y - height).astype(np.float32)


def below(height: float) -> Line:
    """The lower body: what lies below ``height``, without arms."""
    return lambda c: np.where(c.arm > 0.4, -INSIDE, height - c.y).astype(np.float32)


def open_front(gap: float, flare: float, from_y: float = 1.44) -> Line:
    """Not where a coat is open: half a ``gap`` at the collar, wider by ``flare`` per metre of fall."""

    def line(c: Cloth) -> Floats:
        edge = np.abs(c.x) - gap - flare * np.maximum(0, from_y - c.y)
        return np.where((c.z > 0.02) & (c.arm < 0.4), edge, INSIDE).astype(np.float32)

    return line


def legs(height: float) -> Line:
    """Trousers down to ``height``, which at the ankle leave the instep free."""
    return lambda c: (c.y - height - np.maximum(0, c.z - 0.075) * (c.y < 0.2)).astype(np.float32)


def collar(low: float, high: float, gap: float) -> Line:
    """A ring around the neck, open by ``gap`` to each side in front."""

    def line(c: Cloth) -> Floats:
        lower = low - 0.03 * step(c.z, 0.0, 0.09)
        ring = np.minimum(c.y - lower, high - 0.045 * step(c.z, -0.01, 0.09) - c.y)
        opening = np.where(c.z > 0.04, np.abs(c.x) - gap, INSIDE)
        return np.where(np.abs(c.x) < 0.12, np.minimum(ring, opening), -INSIDE).astype(np.float32)

    return line


def shoes(height: float) -> Line:
    return lambda c: np.where(c.y < 0.6, height - c.y, -INSIDE).astype(np.float32)


def flats(c: Cloth) -> Floats:
    """Shoes that leave the instep bare."""
    instep = np.hypot(np.abs(c.x) - 0.188, (c.z - 0.10) * 0.8) - 0.034
    return np.where(c.y < 0.6, np.minimum(0.055 - c.y, np.where(c.y > 0.02, instep, INSIDE)), -INSIDE).astype(
        np.float32
    )


def skull(c: Cloth, line_y: float = 1.655, sideburns: float = 0.0) -> Floats:
    """The hairy part of the head, with the hairline at ``line_y`` in front."""
    at_z = (-0.09, -0.02, 0.02, 0.045, 0.065, 0.09, 0.12, 0.17)
    edge = np.interp(
        c.z, at_z, (1.520, 1.530, 1.555, 1.585 - sideburns, 1.600 - sideburns, line_y - 0.018, line_y, line_y)
    )
    around_ear = np.hypot(c.y - EAR[1] + 0.004, c.z - EAR[2] + 0.008) - 0.034
    around_ear = np.where((np.abs(c.x) > 0.060) & (c.y < 1.628), around_ear, INSIDE)
    return np.where(c.head > 0.35, np.minimum(c.y - edge, around_ear), -INSIDE).astype(np.float32)


def jaw(c: Cloth) -> Floats:
    """Where a full beard grows."""
    cheek = 1.545 - 0.20 * np.maximum(0, 0.115 - c.z) * (c.z > 0.05) - c.y
    mouth = np.hypot(c.x / 1.35, c.y - (MOUTH_Y - 0.001)) - 0.0115
    nose = np.where((np.abs(c.x) < 0.022) & (c.y > 1.540), -INSIDE, INSIDE)
    under = c.y - 1.462
    return np.minimum.reduce([cheek, mouth, nose, under, c.z - 0.048, c.head - 0.2]).astype(np.float32)


def moustache(c: Cloth) -> Floats:
    inside = np.minimum(0.0065 - np.abs(c.y - 1.537 + 0.25 * np.abs(c.x) * 0.5), 0.030 - np.abs(c.x))
    return np.where((c.head > 0.3) & (c.z > 0.1), inside, -INSIDE).astype(np.float32)


def meet(*lines: Line) -> Line:
    """Inside all of the lines."""
    return lambda c: np.minimum.reduce([line(c) for line in lines])


def leg_of_skirt(mesh: Template, detail: float) -> tuple[NDArray[np.int32], Floats]:
    """Bones and weights (V, 8) of a skirt: at the hip the pelvis', further down the thighs', one into the other."""
    c = cloth("skirt", detail)
    number = mesh.names.index
    free = step(c.y, 0.96, 0.74) * 0.96
    left = step(c.x, -0.13, 0.13)
    low = step(c.y, KNEE_Y + 0.05, 0.25) * 0.8
    shares = (
        ("pelvis", 1 - free),
        ("thigh_l", free * left * (1 - low)),
        ("thigh_r", free * (1 - left) * (1 - low)),
        ("calf_l", free * left * low),
        ("calf_r", free * (1 - left) * low),
    )
    bones = np.zeros((len(c.x), 8), np.int32)
    weights = np.zeros((len(c.x), 8), np.float32)
    for column, (name, share) in enumerate(shares):
        bones[:, column], weights[:, column] = number(name), share
    return bones, weights
