"""Outlines for drawn pairs: polygons, ellipses, blobs, bars, frames, furniture of plates and tubes, walking people."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.motion import Matrix, about, similarity

Curve = NDArray[np.float64]  # (K, 2) x, y of a closed curve
Outline = tuple[Curve, ...]  # a curve within a curve is a hole
Figure = tuple[Outline, ...]  # everything that any of the outlines covers


def thing(rng: np.random.Generator, centre: NDArray, size: float) -> Figure:
    """Something of about ``size`` px across, turned anyhow."""
    kind = rng.random()
    if kind < 0.3:
        figure: Figure = ((_polygon(rng),),)
    elif kind < 0.45:
        figure = ((_ellipse(rng),),)
    elif kind < 0.65:
        figure = ((_blob(rng),),)
    elif kind < 0.75:
        figure = ((_bar(rng),),)
    elif kind < 0.85:
        rim = _polygon(rng)
        figure = ((rim, rng.uniform(0.4, 0.9) * rim),)
    else:
        figure = furniture(rng)
    stretch = np.diag(np.exp(rng.normal(0, 0.25, 2)))
    turn = rng.uniform(0, 2 * np.pi) if kind < 0.85 else 0.3 * rng.standard_normal()
    return placed(figure, stretch @ similarity(turn, size / 2, np.zeros(2))[:2, :2].T, centre)


def placed(figure: Figure, linear: NDArray, centre: NDArray) -> Figure:
    """The figure turned and stretched by (2, 2), which acts on rows, and moved from the origin to ``centre``."""
    return tuple(tuple(curve @ linear + centre for curve in outline) for outline in figure)


def _angles(count: int) -> NDArray[np.float64]:
    return np.arange(count) * 2 * np.pi / count


def _polar(angles: NDArray, reach: NDArray | float) -> Curve:
    return np.stack([reach * np.cos(angles), reach * np.sin(angles)], -1)


def _polygon(rng: np.random.Generator) -> Curve:
    count = int(rng.integers(3, 9))
    angles = _angles(count) + rng.uniform(-0.8, 0.8, count) * np.pi / count
    return _polar(angles, rng.uniform(0.5, 1.2, count))


def _ellipse(rng: np.random.Generator) -> Curve:
    return _polar(_angles(40), 1.0) * [1.0, rng.uniform(0.3, 1.0)]


def _blob(rng: np.random.Generator) -> Curve:
    """A circle whose radius wavers: a few harmonics, the finer the weaker."""
    angles, reach = _angles(60), np.ones(60)
    for wave in range(2, 7):
        reach += rng.normal(0, 0.5 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    return _polar(angles, np.clip(reach, 0.2, 1.8))


def _bar(rng: np.random.Generator) -> Curve:
    """Long and thin: a post, a rope, a rail."""
    return _tube(np.array([-1.5, 0.0]), np.array([1.5, 0.0]), rng.uniform(0.02, 0.12), rng.normal(0, 0.2))


def _tube(start: NDArray, end: NDArray, thin: float, sag: float = 0.0) -> Curve:
    """A strip from ``start`` to ``end``, ``thin`` to either side, its middle ``sag`` of its length off the line."""
    along = np.linspace(0, 1, 9 if sag else 2)[:, None]
    way = end - start
    aside = np.array([-way[1], way[0]])
    middle = start + along * way + 4 * sag * along * (1 - along) * aside
    reach = thin * aside / max(float(np.hypot(*way)), 1e-9)
    return np.concatenate([middle + reach, (middle - reach)[::-1]])


def furniture(rng: np.random.Generator) -> Figure:
    """A chair, a table, a trolley or a rack, within about (-1, 1): a seat, a back, legs, rails and arms."""
    wide, deep, high = rng.uniform(0.4, 0.9), rng.uniform(0.15, 0.4), rng.uniform(0.4, 1.0)
    skew, thin = rng.normal(0, 0.25), rng.uniform(0.015, 0.08)
    level = rng.uniform(-0.2, 0.4)
    seat = np.array(
        [[-wide, level], [wide, level], [wide + skew, level - deep], [-wide + skew, level - deep]]
    )
    parts: list[Curve] = [seat]
    if rng.random() < 0.8:  # a back, full, or of rails
        top = seat[[3, 2]] - [0.2 * rng.standard_normal(), high]
        if rng.random() < 0.6:
            parts.append(np.concatenate([seat[[3, 2]], top[::-1]]))
        else:
            parts += [
                _tube(seat[3], top[0], thin),
                _tube(seat[2], top[1], thin),
                _tube(top[0], top[1], 2 * thin),
            ]
            parts += [
                _tube(seat[3] + s * (seat[2] - seat[3]), top[0] + s * (top[1] - top[0]), thin)
                for s in (0.3, 0.6)
            ]
    splay = rng.normal(0, 0.15)
    feet = seat + np.array([[-splay, high], [splay, high], [splay, high], [-splay, high]])
    parts += [_tube(corner, foot, thin, rng.normal(0, 0.05)) for corner, foot in zip(seat, feet)]
    if rng.random() < 0.5:  # rails between the legs
        share = rng.uniform(0.4, 0.9)
        rails = seat + share * (feet - seat)
        parts += [_tube(rails[i], rails[(i + 1) % 4], 0.7 * thin) for i in range(4)]
    if rng.random() < 0.5:  # arms
        for near, far in ((0, 3), (1, 2)):
            parts.append(_tube(seat[near], seat[far] - [0, 0.4 * high], thin, rng.choice([-0.4, 0.4])))
    return tuple((part,) for part in parts)


@dataclass(frozen=True)
class Limb:
    """A part of a person and its own turn about its joint, on top of the person's motion."""

    part: str  # skin, hair, shirt, trousers, sleeves or bag
    figure: Figure  # in before
    swing: Matrix  # before the person's own motion


def walker(rng: np.random.Generator, centre: NDArray, tall: float, moved: float = 0.0) -> list[Limb]:
    """A person ``tall`` px high about ``centre`` (2,), the farthest limb first; who ``moved`` more px swings more."""
    x, top = float(centre[0]), float(centre[1]) - tall / 2
    wide = tall * rng.uniform(0.85, 1.3)
    turned = rng.uniform(0.5, 1.0)  # 1 faces the camera, less is seen from the side
    stride, swing = rng.uniform(-0.5, 0.5), rng.normal(0, 0.06 + min(0.4, moved / tall))
    hip, shoulder = top + 0.50 * tall, top + 0.20 * tall
    legs, arms = [], []
    for side in (-1.0, 1.0):
        joint = np.array([x + side * 0.05 * wide * turned, hip])
        legs.append(_limb("trousers", joint, 0.50 * tall, 0.055 * wide, side * stride, side * swing))
        joint = np.array([x + side * 0.11 * wide * turned, shoulder])
        arms.append(_limb("sleeves", joint, 0.34 * tall, 0.032 * wide, -side * stride, -side * swing))
    half = np.array([0.12, 0.10]) * wide * turned  # of the trunk, at shoulders and hips
    long = rng.choice([0.34, 0.34, 0.5])  # a coat reaches the knees
    trunk = np.array([[-half[0], -0.02], [half[0], -0.02], [half[1], long], [-half[1], long]]) * [1, tall]
    head = _polar(_angles(20), 1.0) * [0.048 * tall, 0.065 * tall] + [x, top + 0.07 * tall]
    hair = head[head[:, 1] < top + 0.07 * tall]  # the upper half, or all of it when seen from behind
    still = np.eye(3)
    figure = [arms[0], legs[0], legs[1], Limb("shirt", ((trunk + [x, shoulder],),), still)]
    figure.append(Limb("skin", ((head,),), still))
    figure.append(Limb("hair", ((head if rng.random() < 0.3 else hair,),), still))
    figure.append(arms[1])
    if rng.random() < 0.25:
        at = np.array([x + rng.normal(0, 0.1) * wide, top + rng.uniform(0.25, 0.6) * tall])
        bag = _polygon(rng) * rng.uniform(0.04, 0.12) * tall + at
        figure.insert(int(rng.integers(len(figure))), Limb("bag", ((bag,),), still))
    return figure


def _limb(part: str, joint: NDArray, length: float, thick: float, angle: float, swing: float) -> Limb:
    """A tapered strip with round ends hanging from its joint at ``angle`` radian from straight down."""
    ends = np.concatenate([thick * _UPPER, 0.7 * thick * _LOWER + [0, length - thick]])
    hung = ends @ similarity(angle, 1.0, np.zeros(2))[:2, :2].T + joint
    return Limb(part, ((hung,),), about(similarity(swing, 1.0, np.zeros(2)), joint))


_UPPER = _polar(np.linspace(np.pi, 2 * np.pi, 7), 1.0)
_LOWER = _polar(np.linspace(0, np.pi, 7), 1.0)
