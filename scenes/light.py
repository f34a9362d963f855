"""How a place is lit: the sun, the sky, lamps, and how open each spot of the floor is to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenes import settings

Floats = NDArray[np.float64]
LAMPS = 64  # as many as the shader's array holds
LAMP_SPACING_M = 3.4  # indoors
DUSK_SPACING_M, DUSK_HEIGHT_M = 9.0, 4.6  # lamps on posts and walls
LAMP_NEAR = 8  # lamps that light one person
LAMP_SHADOWS = 4  # of which so many cast shadows
FLOOR_CELL_M = 0.06
FLOOR_CELLS = 1024  # along one side, at most
FEET_M = 1.1  # how far around somebody the floor is darker
DUSK_ELEVATION = 14.0  # degrees, at most


@dataclass(frozen=True)
class Lighting:
    """Linear light, 1 about a white sheet's at noon."""

    sun: Floats  # (3,) unit, towards it
    sun_colour: Floats  # (3,) 0 where no sun shines
    sky: Floats  # (3,) from above
    ground: Floats  # (3,) from below
    horizon: Floats  # (3,) what the sky looks like, low and high
    zenith: Floats
    lamps: Floats  # (L, 4) m, and how bright
    lamp_colour: Floats
    exposure: float
    azimuth: float = 0.0  # rad, of the sun

    @property
    def side(self) -> Floats:
        """(2,) unit, where more of the sky's or the windows' light comes from: near the sun, but not from it."""
        return np.array((math.cos(self.azimuth + 0.9), math.sin(self.azimuth + 0.9)))

    @property
    def has_sun(self) -> bool:
        return bool(self.sun_colour.any())

    @classmethod
    def of(cls, light: settings.Light, low: Floats, high: Floats) -> Lighting:
        """The light that settings name, over a place from corner ``low`` to ``high`` (3,) m."""
        elevation = math.radians(
            min(light.elevation, DUSK_ELEVATION) if light.kind == "dusk" else light.elevation
        )
        azimuth = math.radians(light.azimuth)
        sun = np.array(
            (
                math.cos(elevation) * math.cos(azimuth),
                math.cos(elevation) * math.sin(azimuth),
                math.sin(elevation),
            )
        )

        def colour(*rgb: float) -> Floats:
            return np.array(rgb) * light.strength

        none, dark = np.zeros((0, 4)), np.zeros(3)
        match light.kind:
            case "day":
                return cls(
                    sun,
                    colour(1.30, 1.19, 1.02),
                    colour(0.58, 0.66, 0.78),
                    colour(0.34, 0.32, 0.29),
                    colour(0.80, 0.88, 0.98),
                    colour(0.30, 0.48, 0.85),
                    none,
                    dark,
                    1.0,
                    azimuth,
                )
            case "dusk":
                return cls(
                    sun,
                    colour(0.62, 0.36, 0.17),
                    colour(0.33, 0.36, 0.47),
                    colour(0.16, 0.15, 0.15),
                    colour(0.78, 0.55, 0.42),
                    colour(0.22, 0.28, 0.48),
                    hang_lamps(low, high, DUSK_SPACING_M, DUSK_HEIGHT_M, 0.15),
                    colour(1.0, 0.74, 0.45),
                    1.35,
                    azimuth,
                )
            case "indoor":
                ceiling_m = max(2.4, float(high[2])) - 0.15
                lamps = hang_lamps(low, high, LAMP_SPACING_M, ceiling_m, 0.30 * ceiling_m / 3)
                return cls(
                    np.array((0.0, 0.0, 1.0)),
                    dark,
                    colour(0.42, 0.42, 0.42),
                    colour(0.34, 0.32, 0.30),
                    colour(0.75, 0.80, 0.86),
                    colour(0.60, 0.66, 0.75),
                    lamps,
                    colour(1.0, 0.96, 0.88),
                    1.0,
                )


def hang_lamps(low: Floats, high: Floats, spacing_m: float, height_m: float, brightness: float) -> Floats:
    """(L, 4) lamps in a grid at a height, fewer in a large place; each as bright as its area needs."""
    sides = high[:2] - low[:2]
    spacing = spacing_m
    while np.prod(np.maximum(1, np.round(sides / spacing))) > LAMPS:
        spacing *= 1.1
    counts = np.maximum(1, np.round(sides / spacing)).astype(int)
    x, y = np.meshgrid(
        *(lower + (np.arange(count) + 0.5) * side / count for lower, side, count in zip(low, sides, counts))
    )
    each = np.full(x.size, brightness * min(spacing, 2 * spacing_m) ** 2)
    return np.column_stack((x.ravel(), y.ravel(), np.full(x.size, height_m), each))


def nearest_lamps(lamps: Floats, xy_m: Floats) -> Floats:
    """(LAMPS, 4) the `LAMP_NEAR` lamps nearest to a spot of the floor, the rest dark."""
    order = np.argsort(((lamps[:, :2] - xy_m) ** 2).sum(axis=1))[:LAMP_NEAR]
    near = np.zeros((LAMPS, 4))
    near[: len(order)] = lamps[order]
    return near


def sunlight(sun: Floats, low: Floats, high: Floats) -> tuple[Floats, float]:
    """(4, 4) world -> the sun's view of a box from corner ``low`` to ``high``, in [-1, 1]; and its depth in m."""
    ahead = -sun
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right) if np.linalg.norm(right) > 1e-6 else np.array([1.0, 0.0, 0.0])
    turn = np.stack((right, np.cross(ahead, right), ahead))
    ends = np.stack((low, high))
    corners = np.array([[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    seen = corners @ turn.T
    first, last = seen.min(axis=0) - 0.15, seen.max(axis=0) + 0.15
    view = np.eye(4)
    view[:3, :3] = turn * (2 / (last - first))[:, None]
    view[:3, 3] = -(first + last) / (last - first)
    return view, float(last[2] - first[2])


@dataclass(frozen=True, eq=False)
class FloorShade:
    """How open each cell of the floor is to light: beside walls, and where people stand."""

    low: Floats  # (2,) m corner of the grid
    cell_m: float
    open: NDArray[np.uint8]  # (rows, columns) past walls and what stands there, 255 wholly

    @property
    def from_world(self) -> tuple[float, float, float, float]:
        """Scale and shift of x and y that give texture coordinates."""
        scale = 1 / (self.cell_m * np.array(self.open.shape[::-1]))
        shift = -self.low * scale
        return float(scale[0]), float(scale[1]), float(shift[0]), float(shift[1])

    @classmethod
    def of(cls, corners: Floats, low: Floats, high: Floats) -> FloorShade:
        """Of a place: triangles (T, 3, 3) m between two corners (3,)."""
        sides = high[:2] - low[:2]
        cell = max(FLOOR_CELL_M, float(sides.max()) / FLOOR_CELLS)
        columns, rows = np.maximum(1, np.ceil(sides / cell)).astype(int).tolist()
        stands = np.zeros((rows, columns), np.uint8)
        tops, bottoms = corners[..., 2].max(axis=1), corners[..., 2].min(axis=1)
        for triangle in corners[(tops > 0.15) & (bottoms < 0.6)]:
            px = np.rint((triangle[:, :2] - low[:2]) / cell - 0.5).astype(np.int32)
            cv2.fillConvexPoly(stands, px, 255)
        near = cv2.GaussianBlur(stands, (0, 0), 0.10 / cell).astype(np.float32)
        far = cv2.GaussianBlur(stands, (0, 0), 0.45 / cell).astype(np.float32)
        dark = np.clip(0.30 * near / 128 + 0.40 * far / 100, 0, 0.5)
        return cls(low[:2].copy(), cell, np.rint(255 * (1 - dark)).astype(np.uint8))

    def of_people(self, balls: list[tuple[Floats, Floats]], lamps: Floats) -> NDArray[np.uint8]:
        """(rows, columns) what people leave of the floor's light, 255 all.

        Args:
            balls: Of each person, centres (S, 3) m and radii (S,) m.
            lamps: (L, 4) that cast soft shadows.
        """
        left = np.full(self.open.shape, 255, np.uint8)
        for centres, radii in balls:
            if not len(centres):
                continue
            reach = 2 * FEET_M if len(lamps) else FEET_M
            part, x, y = self._around(centres[:, :2].mean(axis=0), reach)
            if not x.size or not y.size:
                continue
            kept = _open_beneath(centres, radii, x, y)
            if len(lamps):
                kept *= self._lamp_shadows(centres, radii, x, y, lamps)
            left[part] = (left[part] * kept).astype(np.uint8)
        return left

    def _around(self, middle: Floats, reach_m: float) -> tuple[Any, NDArray[np.float32], NDArray[np.float32]]:
        """The cells around a spot: a slice of the grid, and the x and y of their middles."""
        first = np.floor((middle - reach_m - self.low) / self.cell_m).astype(int)
        last = first + int(2 * reach_m / self.cell_m)
        rows, columns = self.open.shape
        x0, y0 = (int(value) for value in np.clip(first, 0, (columns, rows)))
        x1, y1 = (int(value) for value in np.clip(last, 0, (columns, rows)))
        x = ((np.arange(x0, x1) + 0.5) * self.cell_m + self.low[0]).astype(np.float32)
        y = ((np.arange(y0, y1) + 0.5) * self.cell_m + self.low[1]).astype(np.float32)
        return (slice(y0, y1), slice(x0, x1)), x, y

    def _lamp_shadows(
        self, centres: Floats, radii: Floats, x: NDArray[np.float32], y: NDArray[np.float32], lamps: Floats
    ) -> NDArray[np.float32]:
        """(rows, columns) what is left of the light around one person: each ball darkens a disc, softer from above."""
        away = ((lamps[:, :2] - centres[:, :2].mean(axis=0)) ** 2).sum(axis=1)
        shares = lamps[:, 3] / (away + lamps[:, 2] ** 2 + 2)
        left = np.ones((len(y), len(x)), np.float32)
        order = np.argsort(-shares)[:LAMP_SHADOWS]
        for lamp, share in zip(lamps[order], shares[order] / (shares.sum() + 0.25)):
            grows = lamp[2] / np.maximum(lamp[2] - centres[:, 2], 0.3)
            at = lamp[:2] + (centres[:, :2] - lamp[:2]) * grows[:, None]
            px = np.rint(16 * ((at - (x[0], y[0])) / self.cell_m)).astype(int)
            wide = np.maximum(np.rint(16 * radii * grows / self.cell_m), 1).astype(int)
            dark = np.zeros(left.shape, np.float32)
            for low, high, blur_m in ((-1.0, 0.5, 0.06), (0.5, 1.1, 0.14), (1.1, 3.0, 0.24)):
                layer = np.zeros(left.shape, np.uint8)
                for k in np.flatnonzero((centres[:, 2] >= low) & (centres[:, 2] < high)):
                    cv2.circle(layer, (int(px[k, 0]), int(px[k, 1])), int(wide[k]), 255, -1, cv2.LINE_8, 4)
                dark = np.maximum(
                    dark, cv2.GaussianBlur(layer, (0, 0), blur_m / self.cell_m) / np.float32(255)
                )
            left *= 1 - np.float32(share) * dark
        return left


def _open_beneath(
    centres: Floats, radii: Floats, x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(len(y), len(x)) what balls leave of the sky's light on the floor.

    A ball takes r^2 h / d^3 of it (form factor of a sphere over a plane).
    """
    low = centres[:, 2] < 1.2
    c, r = centres[low].astype(np.float32), radii[low].astype(np.float32)
    height = np.maximum(c[:, 2], 0.5 * r)
    d2 = ((x - c[:, :1]) ** 2)[:, None, :] + ((y - c[:, 1:2]) ** 2 + (height**2)[:, None])[:, :, None]
    taken = np.einsum("s,sij->ij", r * r * height, d2**-1.5)
    return np.exp(np.float32(-0.75) * np.minimum(taken, 1.0)).astype(np.float32)
