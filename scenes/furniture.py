"""Draws what stands in a place: pillars, benches, planters, tables, shelves, kiosks, cars and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenes import patterns
from scenes.mesh import Mesh, Paint
from scenes.settings import Area, Obstacle

SIZES: dict[str, tuple[float, float, float]] = {  # m along x, along y, height: what is usual
    "pillar": (0.45, 0.45, 3.2),
    "bench": (1.8, 0.5, 0.45),
    "planter": (1.4, 0.7, 0.55),
    "table": (1.6, 0.8, 0.74),
    "shelf": (1.2, 0.4, 1.9),
    "kiosk": (2.4, 2.0, 2.5),
    "car": (4.3, 1.8, 1.46),
    "box": (0.6, 0.5, 0.7),
}
SEAT_WIDTH_M = 0.6
FEET_M = 0.12  # in front of the bench's edge: where somebody seated has the feet

ROW = tuple[float, ...]


@dataclass(frozen=True)
class Stand:
    """The ground that an obstacle takes, the boxes that hide what is behind it, and its seats: rows as of Place."""

    footprint: ROW
    solids: list[ROW]
    seats: list[ROW]


def stand(mesh: Mesh, obstacle: Obstacle, area: Area | None, rng: np.random.Generator) -> Stand:
    """Draw an obstacle. ``area``, where it stands in one, gives pillars their height."""
    size = obstacle.size or SIZES[obstacle.kind]
    if obstacle.kind == "pillar" and obstacle.size is None and area is not None:
        size = (size[0], size[1], area.height)
    turn = float(np.radians(obstacle.turn))
    x, y = obstacle.at
    frame = mesh.at(x, y, turn)
    half = (size[0] / 2, size[1] / 2)
    colour = obstacle.colour
    frame.box(
        (-half[0], -half[1], 0),
        (half[0], half[1], size[2]),
        Paint(colour or (0.5, 0.45, 0.4), None, patterns.MELANGE, 3.0),
    )
    seats: list[ROW] = []
    if obstacle.kind == "bench":
        seats = _seats(x, y, turn, size)
    return Stand(
        footprint=(x, y, *half, turn),
        solids=[(x, y, *half, 0.0, size[2], turn)],
        seats=seats,
    )


def _seats(x: float, y: float, turn: float, size: tuple[float, float, float]) -> list[ROW]:
    """Seats along a bench, looking to its +y side."""
    number = max(1, int(size[0] / SEAT_WIDTH_M))
    cos, sin = np.cos(turn), np.sin(turn)
    rows: list[ROW] = []
    for i in range(number):
        along, across = ((i + 0.5) / number - 0.5) * size[0], size[1] / 2 + FEET_M
        rows.append(
            (x + along * cos - across * sin, y + along * sin + across * cos, turn + np.pi / 2, size[2])
        )
    return rows
