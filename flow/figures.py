"""Outlines for drawn pairs: polygons, ellipses, blobs, bars, frames with holes, and walking people."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Outline = tuple[NDArray[np.float64], ...]  # closed curves, each (K, 2) x, y; a curve within a curve is a hole
Matrix = NDArray[np.float64]  # (3, 3), acts on (x, y, 1) as columns


def similarity(turn: float, zoom: float, shift: NDArray) -> Matrix:
    """Turned by ``turn`` radian and zoomed about the origin, then shifted by (2,) px."""
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [0.0, 0.0, 1.0]])


def about(matrix: Matrix, centre: NDArray) -> Matrix:
    """The same motion with ``centre`` (2,) as its origin."""
    return similarity(0.0, 1.0, centre) @ matrix @ similarity(0.0, 1.0, -np.asarray(centre, float))


def thing(rng: np.random.Generator, centre: NDArray, size: float) -> Outline:
    """Something of about ``size`` px across: a polygon, an ellipse, a blob, a bar or a frame, turned anyhow."""
    kind = rng.choice(5, p=[0.3, 0.2, 0.25, 0.15, 0.1])
    curves = [_polygon, _ellipse, _blob, _bar, _polygon][int(kind)](rng)
    outline = [curves, 0.6 * curves] if kind == 4 else [curves]
    stretch = np.diag(np.exp(rng.normal(0, 0.25, 2)))
    turn = similarity(rng.uniform(0, 2 * np.pi), size / 2, np.zeros(2))[:2, :2]
    return tuple(curve @ stretch @ turn.T + centre for curve in outline)


def _angles(count: int) -> NDArray[np.float64]:
    return np.arange(count) * 2 * np.pi / count


def _polar(angles: NDArray, reach: NDArray | float) -> NDArray[np.float64]:
    return np.stack([reach * np.cos(angles), reach * np.sin(angles)], -1)


def _polygon(rng: np.random.Generator) -> NDArray[np.float64]:
    count = int(rng.integers(3, 9))
    angles = _angles(count) + rng.uniform(-0.8, 0.8, count) * np.pi / count
    return _polar(angles, rng.uniform(0.5, 1.2, count))


def _ellipse(rng: np.random.Generator) -> NDArray[np.float64]:
    return _polar(_angles(40), 1.0) * [1.0, rng.uniform(0.3, 1.0)]


def _blob(rng: np.random.Generator) -> NDArray[np.float64]:
    """A circle whose radius wavers: a few harmonics, the finer the weaker."""
    angles, reach = _angles(60), np.ones(60)
    for wave in range(2, 7):
        reach += rng.normal(0, 0.5 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    return _polar(angles, np.clip(reach, 0.2, 1.8))


def _bar(rng: np.random.Generator) -> NDArray[np.float64]:
    """Long and thin: a post, a rope, a rail."""
    thin = rng.uniform(0.03, 0.12)
    return np.array([[-1.5, -thin], [1.5, -thin], [1.5, thin], [-1.5, thin]])


@dataclass(frozen=True)
class Limb:
    """A part of a person and its own turn about its joint, on top of the person's motion."""

    part: str  # skin, shirt, trousers or sleeves
    outline: NDArray[np.float64]  # (K, 2) in before
    swing: Matrix  # before the person's own motion


def walker(rng: np.random.Generator, centre: NDArray, tall: float) -> list[Limb]:
    """A person ``tall`` px high about ``centre``, the farthest limb first."""
    x, top = float(centre[0]), float(centre[1]) - tall / 2
    wide = tall * rng.uniform(0.85, 1.25)
    turned = rng.uniform(0.5, 1.0)  # 1 faces the camera, less is seen from the side
    stride, swing = rng.uniform(-0.5, 0.5), rng.normal(0, 0.15)
    hip, shoulder = top + 0.50 * tall, top + 0.20 * tall
    legs, arms = [], []
    for side in (-1.0, 1.0):
        joint = np.array([x + side * 0.05 * wide * turned, hip])
        legs.append(_limb("trousers", joint, 0.50 * tall, 0.055 * wide, side * stride, side * swing))
        joint = np.array([x + side * 0.11 * wide * turned, shoulder])
        arms.append(_limb("sleeves", joint, 0.34 * tall, 0.032 * wide, -side * stride, -side * swing))
    half = np.array([0.12, 0.10]) * wide * turned  # of the trunk, at shoulders and hips
    trunk = np.array([[-half[0], -0.02], [half[0], -0.02], [half[1], 0.34], [-half[1], 0.34]]) * [1, tall]
    head = _polar(_angles(20), 1.0) * [0.048 * tall, 0.065 * tall]
    still = np.eye(3)
    return [
        arms[0],
        legs[0],
        legs[1],
        Limb("shirt", trunk + [x, shoulder], still),
        Limb("skin", head + [x, top + 0.07 * tall], still),
        arms[1],
    ]


def _limb(part: str, joint: NDArray, length: float, thick: float, angle: float, swing: float) -> Limb:
    """A tapered strip with round ends hanging from its joint at ``angle`` radian from straight down."""
    upper, lower = np.linspace(np.pi, 2 * np.pi, 7), np.linspace(0, np.pi, 7)
    ends = np.concatenate([_polar(upper, thick), _polar(lower, 0.7 * thick) + [0, length - thick]])
    hung = ends @ similarity(angle, 1.0, np.zeros(2))[:2, :2].T + joint
    return Limb(part, hung, about(similarity(swing, 1.0, np.zeros(2)), joint))
