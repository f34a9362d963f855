"""Surfaces for drawn pairs: a bank of small pictures, made from random numbers alone.

What a surface must offer a flow network is structure on every scale and in every arrangement that cameras see: clutter
with the 1/f spectrum of photographs, leaves falling on leaves (Lee, Mumford and Huang 2001, "Occlusion models for
natural images": power-law discs give the statistics of real pictures), walls, floors, stripes, checks, writing, and
surfaces with almost nothing to see.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
SIDE = 384  # pixels of a surface, each way


class TextureBank:
    """Surfaces drawn once, one of them drawn anew now and then.

    Args:
        rng: Where every choice comes from.
        count: Surfaces kept, at 0.44 MB each.
    """

    def __init__(self, rng: np.random.Generator, count: int = 64) -> None:
        self._rng = rng
        self._surfaces = [draw_texture(rng) for _ in range(count)]
        for number in range(count // 6):
            self._surfaces[number] = self._collage()

    def any(self) -> Image:
        """One of the surfaces: (SIDE, SIDE, 3) BGR, not to be written to."""
        return self._surfaces[int(self._rng.integers(len(self._surfaces)))]

    def renew(self) -> None:
        """One surface gives way to a new one."""
        new = self._collage() if self._rng.random() < 0.25 else draw_texture(self._rng)
        self._surfaces[int(self._rng.integers(len(self._surfaces)))] = new

    def keep(self, picture: Image) -> None:
        """A finished picture becomes a surface, so that clutter is made of clutter."""
        self._surfaces[int(self._rng.integers(len(self._surfaces)))] = np.asarray(
            cv2.resize(picture, (SIDE, SIDE)), np.uint8
        )

    def _collage(self) -> Image:
        """Pieces of surfaces upon a surface, as a photograph is made of things."""
        rng, picture = self._rng, self.any().copy()
        for size in np.sort(rng.uniform(15, SIDE / 3, int(rng.integers(8, 30))))[::-1]:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 12))))
            reach = size * rng.uniform(0.5, 1.0, len(angles))
            corners = rng.uniform(0, SIDE, 2) + reach[:, None] * np.stack(
                [np.cos(angles), np.sin(angles)], -1
            )
            mask = np.zeros((SIDE, SIDE), np.uint8)
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
            piece = np.roll(self.any(), tuple(rng.integers(0, SIDE, 2)), (0, 1))
            cv2.copyTo(piece, mask, picture)
        return picture


def draw_texture(rng: np.random.Generator, side: int = SIDE) -> Image:
    """A new surface: (side, side, 3) BGR."""
    kinds: list[tuple[Callable[[np.random.Generator, int], Image], float]] = [
        (_clutter, 3.0),
        (_leaves, 4.0),
        (_polygons, 2.0),
        (_stripes, 1.0),
        (_checks, 1.0),
        (_bricks, 1.0),
        (_gradient, 0.7),
        (_writing, 1.0),
        (_grain, 0.7),
        (_facade, 1.5),
        (_skyline, 2.0),
        (_lights, 0.7),
        (_twigs, 1.0),
    ]
    weights = np.array([weight for _, weight in kinds])
    picture = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))][0](rng, side)
    if rng.random() < 0.6:  # dirt and light: nothing real is one flat colour
        picture = _blend(picture, _clutter(rng, side), float(rng.uniform(0.08, 0.35)))
    return picture


def colour(rng: np.random.Generator) -> NDArray[np.float64]:
    """A colour: (3,) BGR in [0, 255]; most are dull, as the colours of things are."""
    grey = rng.uniform(10, 245)
    vivid = rng.beta(1.0, 2.5)
    return np.clip(grey + vivid * rng.uniform(-160, 160, 3), 0, 255)


def _blend(first: Image, second: Image, share: float) -> Image:
    return np.asarray(cv2.addWeighted(first, 1 - share, second, share, 0.0), np.uint8)


def octaves(rng: np.random.Generator, side: int, roughness: float, coarsest: int = 6) -> NDArray[np.float32]:
    """Noise of many sizes: (side, side), mean 0, deviation 1; each finer octave has ``roughness`` of the last's."""
    total = rng.standard_normal((coarsest, coarsest), dtype=np.float32)
    cells, strength = coarsest, 1.0
    while cells < side:
        cells, strength = min(2 * cells, side), strength * roughness
        total = np.asarray(cv2.resize(total, (cells, cells), interpolation=cv2.INTER_CUBIC), np.float32)
        total += strength * rng.standard_normal((cells, cells), dtype=np.float32)
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def _two_colours(rng: np.random.Generator, value: NDArray[np.floating]) -> Image:
    """A value in [0, 1] everywhere becomes a mix of two colours."""
    first, second = colour(rng), colour(rng)
    return (first + value[..., None] * (second - first)).astype(np.uint8)


def _clutter(rng: np.random.Generator, side: int) -> Image:
    """Photograph-like 1/f noise, its channels partly of one mind."""
    roughness, contrast = rng.uniform(0.45, 0.9), rng.uniform(20, 60)
    shared = octaves(rng, side, roughness)
    own = rng.uniform(0.0, 0.5)
    planes = [shared + own * octaves(rng, side, roughness) for _ in range(3)]
    return np.clip(colour(rng) + contrast * np.stack(planes, -1), 0, 255).astype(np.uint8)


def _leaves(rng: np.random.Generator, side: int) -> Image:
    """Discs, boxes and slivers over one another, radii after a power law."""
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = colour(rng).astype(np.uint8)
    count = int(rng.integers(150, 900))
    smallest, largest = float(rng.uniform(3, 7)), side / float(rng.uniform(3, 8))
    # Radii with density r^-3 between the bounds, the largest painted first so that the small ones are seen.
    chance = rng.random(count)
    radii = np.sort((smallest**-2 - chance * (smallest**-2 - largest**-2)) ** -0.5)[::-1]
    kind = int(rng.integers(3))
    for radius in radii:
        centre, tint = rng.uniform(0, side, 2), tuple(float(c) for c in colour(rng))
        axes = radius * (np.ones(2) if kind == 0 else rng.uniform(0.3, 1.5, 2))
        if kind < 2:
            at, half = (centre * 16).astype(int), np.maximum(axes * 16, 8).astype(int)
            cv2.ellipse(
                picture, at.tolist(), half.tolist(), rng.uniform(0, 180), 0, 360, tint, -1, cv2.LINE_AA, 4
            )
        else:
            corners = cv2.boxPoints((centre.tolist(), (2 * axes).tolist(), rng.uniform(0, 180)))
            _fill(picture, np.asarray(corners), tint)
    return picture


def _fill(picture: Image, corners: NDArray, tint: tuple[float, ...]) -> None:
    cv2.fillPoly(picture, [np.rint(np.asarray(corners) * 16).astype(np.int32)], tint, cv2.LINE_AA, 4)


def _polygons(rng: np.random.Generator, side: int) -> Image:
    picture = _clutter(rng, side)
    for size in np.sort(rng.uniform(6, side / 3, int(rng.integers(20, 90))))[::-1]:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        reach = size * rng.uniform(0.4, 1.0, len(angles))
        corners = rng.uniform(0, side, 2) + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
        _fill(picture, corners, tuple(float(c) for c in colour(rng)))
    return picture


def _across(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Distance along a random direction at every pixel: (side, side)."""
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    return np.asarray(np.cos(angle) * x + np.sin(angle) * y, np.float32)


def _stripes(rng: np.random.Generator, side: int) -> Image:
    period = np.exp(rng.uniform(np.log(6), np.log(80)))
    wave = np.sin(2 * np.pi * _across(rng, side) / period + rng.uniform(0, 0.6) * octaves(rng, side, 0.4))
    return _two_colours(rng, np.clip(0.5 + rng.uniform(0.5, 4.0) * wave, 0, 1))


def _checks(rng: np.random.Generator, side: int) -> Image:
    period = np.exp(rng.uniform(np.log(10), np.log(90)))
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    wave = np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / (period * rng.uniform(0.6, 1.7)))
    return _two_colours(rng, np.clip(0.5 + rng.uniform(1, 8) * wave, 0, 1))


def _bricks(rng: np.random.Generator, side: int) -> Image:
    """A wall or floor of stones, each a little different."""
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = colour(rng).astype(np.uint8)
    high = float(rng.uniform(8, 50))
    wide, gap, shift = (
        high * rng.uniform(1, 3.5),
        max(1.0, high * rng.uniform(0.03, 0.15)),
        rng.choice([0.0, 0.5]),
    )
    stone, spread = colour(rng), rng.uniform(2, 30)
    for row in range(int(side / high) + 1):
        for column in range(-1, int(side / wide) + 1):
            left, top = (column + shift * (row % 2)) * wide, row * high
            tint = np.clip(stone + rng.normal(0, spread), 0, 255).tolist()
            corners = [[left, top], [left + wide - gap, top], [left + wide - gap, top + high - gap]]
            _fill(picture, np.array([*corners, [left, top + high - gap]]), tuple(tint))
    return picture


def _gradient(rng: np.random.Generator, side: int) -> Image:
    """Nearly nothing to see: one colour passing into another."""
    along = _across(rng, side)
    return _two_colours(rng, (along - along.min()) / max(float(np.ptp(along)), 1.0))


def _writing(rng: np.random.Generator, side: int) -> Image:
    """Lines of strokes, as print, signs and plates have."""
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = colour(rng).astype(np.uint8)
    high = float(np.exp(rng.uniform(np.log(8), np.log(60))))
    tint, thick = tuple(float(c) for c in colour(rng)), max(1, int(high * rng.uniform(0.06, 0.2)))
    for top in np.arange(0.0, side, high * 1.5):
        left = float(rng.uniform(0, high))
        while left < side:
            joints = np.array([left, top]) + rng.random((int(rng.integers(2, 5)), 2)) * [high * 0.6, high]
            cv2.polylines(
                picture, [np.rint(joints * 16).astype(np.int32)], False, tint, thick, cv2.LINE_AA, 4
            )
            left += high * (0.8 if rng.random() < 0.85 else 1.6)
    return picture


def _grain(rng: np.random.Generator, side: int) -> Image:
    """Asphalt, cloth, gravel: fine noise, softened a little."""
    noise = rng.standard_normal((side, side), dtype=np.float32)
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(0.6, 2.5))), np.float32)
    value = rng.uniform(8, 45) * noise / noise.std()
    return np.clip(colour(rng) + value[..., None], 0, 255).astype(np.uint8)


def _grid(
    rng: np.random.Generator, picture: Image, box: tuple[float, float, float, float], step: float
) -> None:
    """Windows in rows over a box (left, upper, right, lower) of the picture, some lit."""
    left, upper, right, lower = box
    wide, high = step * rng.uniform(0.3, 0.8), step * rng.uniform(0.4, 0.85)
    row_height = step * rng.uniform(1.0, 1.6)
    lit, dark, share = colour(rng) * 0.5 + 120, colour(rng) * 0.4, rng.uniform(0.1, 1.0)
    for top in np.arange(upper + 0.3 * step, lower - high, row_height):
        for start in np.arange(left + 0.3 * step, right - wide, step):
            tint = lit * rng.uniform(0.5, 1.0) if rng.random() < share else dark
            corner, end = (int(start), int(top)), (int(start + wide), int(top + high))
            cv2.rectangle(picture, corner, end, np.clip(tint, 0, 255).tolist(), -1)


def _facade(rng: np.random.Generator, side: int) -> Image:
    """Windows all over, of a house by day or by night."""
    picture = _clutter(rng, side) if rng.random() < 0.5 else _gradient(rng, side)
    picture = (picture * rng.choice([0.25, 1.0])).astype(np.uint8)
    _grid(rng, picture, (0, 0, side, side), float(np.exp(rng.uniform(np.log(8), np.log(60)))))
    return picture


def _skyline(rng: np.random.Generator, side: int) -> Image:
    """Houses before houses under a sky, the nearest lowest; half of them by night."""
    night = rng.random() < 0.5
    fade = np.linspace(0, 1, side)[:, None, None]
    sky = (colour(rng) + fade * (colour(rng) - 128)) * (0.3 if night else 1.0)
    picture = np.ascontiguousarray(np.clip(np.broadcast_to(sky, (side, side, 3)), 0, 255).astype(np.uint8))
    for top in np.sort(rng.uniform(0.1, 0.95, int(rng.integers(6, 20)))) * side:
        left, wide = rng.uniform(-0.2, 1.0) * side, rng.uniform(0.08, 0.4) * side
        front = colour(rng) * (0.2 if night else 0.8)
        cv2.rectangle(picture, (int(left), int(top)), (int(left + wide), side), front.tolist(), -1)
        if rng.random() < 0.8:
            _grid(rng, picture, (max(left, 0), top, min(left + wide, side), side), float(rng.uniform(6, 25)))
    return picture


def _lights(rng: np.random.Generator, side: int) -> Image:
    """Lamps in the dark: points of all brightness, the brightest with a glow."""
    picture = np.zeros((side, side, 3), np.float32)
    count = int(rng.integers(100, 1500))
    column, row = rng.integers(0, side, (2, count))
    picture[row, column] = np.clip(colour(rng) + rng.normal(0, 40, (count, 3)), 0, 255) * rng.uniform(
        0.3, 6, (count, 1)
    )
    near, far = cv2.GaussianBlur(picture, (0, 0), 0.8), cv2.GaussianBlur(picture, (0, 0), 5.0)
    return np.clip(1.5 * near + 3.0 * far + colour(rng) * 0.12, 0, 255).astype(np.uint8)


def _twigs(rng: np.random.Generator, side: int) -> Image:
    """Grass, branches, wires, rubble: short strokes in every direction or nearly one."""
    picture = _clutter(rng, side)
    count, long = int(rng.integers(150, 700)), float(np.exp(rng.uniform(np.log(6), np.log(60))))
    main, spread = rng.uniform(0, np.pi), rng.choice([0.2, 3.0])
    base, own = colour(rng), rng.uniform(10, 60)
    angles = main + spread * rng.standard_normal(count)
    ends = rng.uniform(0, side, (count, 1, 2)) + (
        np.array([-0.5, 0.5])[:, None] * (long * np.stack([np.cos(angles), np.sin(angles)], -1))[:, None]
    )
    tints = np.clip(base + own * rng.standard_normal((count, 3)), 0, 255)
    for stroke, tint in zip(np.rint(ends * 16).astype(np.int32), tints):
        cv2.line(
            picture, stroke[0].tolist(), stroke[1].tolist(), tint.tolist(), 1 + int(long > 20), cv2.LINE_AA, 4
        )
    return picture
