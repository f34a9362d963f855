"""How a place is lit: the sun, the sky, lamps, and how open each spot of the floor is to them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes import settings

Floats = NDArray[np.float64]
LAMPS = 64  # as many as the shader's array holds
LAMP_SPACING_M = 3.4
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
                )
            case "dusk":
                return cls(
                    sun,
                    colour(0.62, 0.36, 0.17),
                    colour(0.33, 0.36, 0.47),
                    colour(0.16, 0.15, 0.15),
                    colour(0.78, 0.55, 0.42),
                    colour(0.22, 0.28, 0.48),
                    none,
                    dark,
                    1.35,
                )
            case "indoor":
                lamps = hang_lamps(low, high)
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


def hang_lamps(low: Floats, high: Floats) -> Floats:
    """(L, 4) ceiling lamps in a grid just below ``high``, fewer and brighter in a large place."""
    sides = high[:2] - low[:2]
    spacing = LAMP_SPACING_M
    while np.prod(np.maximum(1, np.round(sides / spacing))) > LAMPS:
        spacing *= 1.1
    across = [
        lower + (np.arange(count) + 0.5) * side / count
        for lower, side, count in zip(low, sides, np.maximum(1, np.round(sides / spacing)).astype(int))
    ]
    x, y = np.meshgrid(*across)
    height = max(2.4, high[2]) - 0.15
    # As bright beneath as elsewhere: light falls with the square of the height (softened as in the shader) and rises
    # with the number of lamps on an area.
    brightness = 0.30 * (spacing**2 + 0.0) * (height / 3.0)
    return np.column_stack((x.ravel(), y.ravel(), np.full(x.size, height), np.full(x.size, brightness)))


def shade_of_feet(
    balls: list[tuple[Floats, Floats]], low: Floats, cell_m: float, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """(rows, columns) how open the floor is to the sky, 255 where nobody stands near.

    What balls over a floor take of the light that falls on it: r^2 h / d^3 of each (form factor of a sphere).

    Args:
        balls: Of each person, centres (S, 3) m and radii (S,) m.
        low: (2,) m world corner of the grid.
        cell_m: Side of a cell.
        shape: Rows (along y) and columns (along x).
    """
    open_ = np.ones(shape, np.float32)
    for centres, radii in balls:
        if not len(centres):
            continue
        middle = (centres[:, :2].mean(axis=0) - low) / cell_m
        reach = int(1.1 / cell_m)
        x0, y0 = (int(value) - reach for value in middle)
        x1, y1 = x0 + 2 * reach, y0 + 2 * reach
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, shape[1]), min(y1, shape[0])
        if x0 >= x1 or y0 >= y1:
            continue
        x = ((np.arange(x0, x1) + 0.5) * cell_m + low[0]).astype(np.float32)
        y = ((np.arange(y0, y1) + 0.5) * cell_m + low[1]).astype(np.float32)
        near = centres[:, 2] < 1.2
        c, r = centres[near].astype(np.float32), radii[near].astype(np.float32)
        height = np.maximum(c[:, 2], 0.5 * r)
        d2 = (
            (x[None, None, :] - c[:, 0, None, None]) ** 2
            + (y[None, :, None] - c[:, 1, None, None]) ** 2
            + (height**2)[:, None, None]
        )
        taken = ((r * r * height)[:, None, None] / (d2 * np.sqrt(d2))).sum(axis=0)
        open_[y0:y1, x0:x1] *= np.exp(-1.1 * np.minimum(taken, 1.2))
    return (open_ * 255).astype(np.uint8)
