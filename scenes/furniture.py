"""Draws what stands in a place: pillars, benches, planters, tables, shelves, kiosks, cars and boxes.

Each is drawn in its own frame: x along its first size, y along its second, z up, the middle of its ground at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from scenes import patterns
from scenes.mesh import Colour, Mesh, Paint
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
USUAL: dict[str, tuple[Colour, ...]] = {
    "pillar": ((0.62, 0.61, 0.58), (0.70, 0.67, 0.60), (0.52, 0.52, 0.52), (0.66, 0.58, 0.50)),
    "bench": ((0.50, 0.34, 0.20), (0.42, 0.29, 0.19), (0.58, 0.44, 0.30), (0.34, 0.36, 0.36)),
    "planter": ((0.55, 0.53, 0.50), (0.58, 0.40, 0.30), (0.40, 0.41, 0.42)),
    "table": ((0.68, 0.55, 0.40), (0.80, 0.79, 0.76), (0.46, 0.34, 0.24)),
    "shelf": ((0.56, 0.42, 0.28), (0.78, 0.77, 0.74), (0.34, 0.35, 0.37)),
    "kiosk": ((0.24, 0.40, 0.32), (0.52, 0.18, 0.15), (0.22, 0.32, 0.46), (0.70, 0.66, 0.56)),
    "car": (
        (0.10, 0.10, 0.11), (0.78, 0.78, 0.78), (0.55, 0.57, 0.60), (0.16, 0.22, 0.36), (0.50, 0.10, 0.10),
        (0.30, 0.31, 0.33), (0.86, 0.86, 0.84), (0.22, 0.32, 0.26),
    ),
    "box": ((0.62, 0.48, 0.32), (0.30, 0.36, 0.44), (0.52, 0.46, 0.22), (0.22, 0.40, 0.26), (0.48, 0.48, 0.48)),
}  # fmt: skip
THINGS: tuple[Colour, ...] = (  # books, folders, goods
    (0.62, 0.16, 0.14), (0.14, 0.28, 0.52), (0.80, 0.70, 0.28), (0.20, 0.44, 0.30), (0.86, 0.84, 0.78),
    (0.30, 0.22, 0.34), (0.16, 0.16, 0.17), (0.72, 0.44, 0.20),
)  # fmt: skip
STEEL = Paint((0.42, 0.43, 0.45), None, patterns.METAL, 1.0, 0.4)
BLACK = Paint((0.09, 0.09, 0.10), gloss=0.3)
SOIL = Paint((0.20, 0.15, 0.11))
CARD = Paint((0.72, 0.64, 0.50))
SEAT_WIDTH_M = 0.6
FEET_M = 0.12  # in front of the bench's edge: where somebody seated has the feet

Row = tuple[float, ...]
Size = tuple[float, float, float]
Block = tuple[float, float, float, float, float, float]  # x0 y0 z0 x1 y1 z1 in the obstacle's frame


@dataclass(frozen=True)
class Stand:
    """The ground that an obstacle takes, the boxes that hide what is behind it, and its seats: rows as of Place."""

    footprint: Row
    solids: list[Row]
    seats: list[Row]


def stand(mesh: Mesh, obstacle: Obstacle, area: Area | None, rng: np.random.Generator) -> Stand:
    """Draw an obstacle. ``area``, where it stands in one, gives pillars their height."""
    size = obstacle.size or SIZES[obstacle.kind]
    if obstacle.kind == "pillar" and obstacle.size is None and area is not None:
        size = (size[0], size[1], area.height)
    turn = float(np.radians(obstacle.turn))
    x, y = obstacle.at
    usual = USUAL[obstacle.kind]
    colour = obstacle.colour or usual[int(rng.integers(len(usual)))]
    blocks = DRAW[obstacle.kind](mesh.at(x, y, turn), size, colour, rng)
    return Stand(
        footprint=(x, y, size[0] / 2, size[1] / 2, turn),
        solids=[_solid(block, x, y, turn) for block in blocks],
        seats=_seats(x, y, turn, size) if obstacle.kind == "bench" else [],
    )


def _pillar(mesh: Mesh, size: Size, colour: Colour, rng: np.random.Generator) -> list[Block]:
    a, b, height = size[0] / 2, size[1] / 2, size[2]
    if size[0] < 0.25:  # a lamp post or a pole of a sign
        mesh.box((-a, -b, 0), (a, b, 0.5), replace(STEEL, colour=(0.24, 0.26, 0.25)))
        mesh.cylinder((0, 0, 0.5), (0, 0, height), 0.7 * a, replace(STEEL, colour=(0.26, 0.28, 0.27)))
        mesh.box((-0.08, -0.08, height), (0.7, 0.08, height + 0.1), BLACK, without=())
        return [(-a, -b, 0, a, b, height)]
    paint = Paint(colour, None, patterns.PLASTER, 2.0)
    mesh.box((-a, -b, 0), (a, b, 0.25), replace(paint, colour=_darker(colour, 0.7)))
    mesh.box((-a + 0.03, -b + 0.03, 0.25), (a - 0.03, b - 0.03, height - 0.2), paint, without=("-z", "+z"))
    mesh.box((-a, -b, height - 0.2), (a, b, height), paint, without=())
    if rng.random() < 0.5:  # a notice on one side
        things = THINGS[int(rng.integers(len(THINGS)))]
        mesh.box(
            (-0.6 * a, -b + 0.01, 1.3),
            (0.6 * a, -b + 0.03, 1.3 + 1.6 * a),
            Paint(things, gloss=0.3),
            without=(),
        )
    return [(-a, -b, 0, a, b, height)]


def _bench(mesh: Mesh, size: Size, colour: Colour, rng: np.random.Generator) -> list[Block]:
    a, b, height = size[0] / 2, size[1] / 2, size[2]
    wood = Paint(colour, _darker(colour, 0.75), patterns.MELANGE, 3.0)
    for x in (-a + 0.12, a - 0.12):
        mesh.box((x - 0.035, -b + 0.03, 0), (x + 0.035, -b + 0.09, height + 0.36), STEEL)
        mesh.box((x - 0.035, b - 0.09, 0), (x + 0.035, b - 0.03, height - 0.04), STEEL)
        mesh.box(
            (x - 0.035, -b + 0.06, height - 0.1), (x + 0.035, b - 0.03, height - 0.04), STEEL, without=()
        )
    slats = 4
    for i in range(slats):
        y = -b + (i + 0.5) * size[1] / slats
        mesh.box((-a, y - 0.05, height - 0.04), (a, y + 0.05, height), wood, without=())
    for z in (height + 0.14, height + 0.28):
        mesh.box((-a, -b, z), (a, -b + 0.035, z + 0.1), wood, without=())
    return [(-a, -b, height - 0.06, a, b, height), (-a, -b, height + 0.12, a, -b + 0.04, height + 0.38)]


def _planter(mesh: Mesh, size: Size, colour: Colour, rng: np.random.Generator) -> list[Block]:
    a, b, height = size[0] / 2, size[1] / 2, size[2]
    tub = Paint(colour, None, patterns.PLASTER, 2.0)
    mesh.taper((-a * 0.92, -b * 0.92, a * 0.92, b * 0.92), (-a, -b, a, b), (0, height - 0.06), tub)
    mesh.box((-a, -b, height - 0.06), (a, b, height), replace(tub, colour=_darker(colour, 1.12)))
    mesh.box((-a + 0.06, -b + 0.06, height), (a - 0.06, b - 0.06, height + 0.01), SOIL)
    number = max(1, round(size[0] / 0.55))
    tall = float(rng.uniform(0.22, 0.42))
    for i in range(number):
        green = (0.16 + 0.14 * rng.random(), 0.28 + 0.16 * rng.random(), 0.10 + 0.08 * rng.random())
        leaves = Paint(green, _darker(green, 0.55), patterns.GRASS, 2.0)
        x = (i + 0.5) / number * size[0] - a
        radii = (0.6 * size[0] / number, 0.95 * b, tall * rng.uniform(0.8, 1.2))
        mesh.bush((x, 0, height + 0.5 * tall), radii, leaves, rng)
    return [(-a, -b, 0, a, b, height), (-a * 0.9, -b * 0.8, height, a * 0.9, b * 0.8, height + 1.2 * tall)]


def _table(mesh: Mesh, size: Size, colour: Colour, rng: np.random.Generator) -> list[Block]:
    a, b, height = size[0] / 2, size[1] / 2, size[2]
    top = Paint(colour, _darker(colour, 0.85), patterns.MELANGE, 2.0, 0.2)
    mesh.box((-a, -b, height - 0.04), (a, b, height), top, without=())
    for x in (-a + 0.06, a - 0.06):
        for y in (-b + 0.06, b - 0.06):
            mesh.box((x - 0.03, y - 0.03, 0), (x + 0.03, y + 0.03, height - 0.04), STEEL)
    blocks: list[Block] = [(-a, -b, height - 0.05, a, b, height)]
    for x in np.arange(-a + 0.8, a, 1.6):  # screens, keyboards, papers
        if rng.random() < 0.7:
            mesh.box((x - 0.28, -0.12, height + 0.1), (x + 0.28, -0.09, height + 0.44), BLACK, without=())
            mesh.box((x - 0.04, -0.12, height), (x + 0.04, -0.08, height + 0.12), BLACK)
            mesh.box((x - 0.12, -0.2, height), (x + 0.12, -0.04, height + 0.015), BLACK)
            mesh.box((x - 0.2, 0.1, height), (x + 0.2, 0.24, height + 0.02), STEEL)
            blocks.append((x - 0.28, -0.12, height + 0.1, x + 0.28, -0.09, height + 0.44))
        else:
            mesh.box((x - 0.15, -0.1, height), (x + 0.06, 0.2, height + 0.04), Paint((0.9, 0.9, 0.88)))
    return blocks


def _shelf(mesh: Mesh, size: Size, colour: Colour, rng: np.random.Generator) -> list[Block]:
    a, b, height = size[0] / 2, size[1] / 2, size[2]
    wood = Paint(colour, _darker(colour, 0.8), patterns.MELANGE, 2.0)
    for x0, x1 in ((-a, -a + 0.03), (a - 0.03, a)):
        mesh.box((x0, -b, 0), (x1, b, height), wood)
    mesh.box((-a + 0.03, -0.01, 0), (a - 0.03, 0.01, height), replace(wood, colour=_darker(colour, 0.8)))
    boards = max(2, round(height / 0.38))
    for i in range(boards + 1):
        z = 0.06 + (height - 0.09) * i / boards
        mesh.box((-a + 0.03, -b, z), (a - 0.03, b, z + 0.03), wood, without=("-x", "+x"))
        if i < boards:
            for y0, y1 in ((-b + 0.04, -0.02), (0.02, b - 0.04)):
                _goods(mesh, (-a + 0.05, a - 0.05), (y0, y1), z + 0.03, (height - 0.09) / boards - 0.06, rng)
    return [(-a, -b, 0, a, b, height)]


def _goods(
    mesh: Mesh,
    x: tuple[float, float],
    y: tuple[float, float],
    z: float,
    room: float,
    rng: np.random.Generator,
) -> None:
    """A row of folders and boxes of many colours on a board."""
    at = x[0]
    while at < x[1] - 0.08:
        width = min(float(rng.uniform(0.08, 0.4)), x[1] - at)
        if rng.random() < 0.85:
            paint = Paint(THINGS[int(rng.integers(len(THINGS)))])
            mesh.box((at, y[0], z), (at + width - 0.015, y[1], z + room * rng.uniform(0.55, 0.98)), paint)
        at += width


def _kiosk(mesh: Mesh, size: Size, colour: Colour, rng: np.random.Generator) -> list[Block]:
    a, b, height = size[0] / 2, size[1] / 2, size[2]
    body = Paint(colour, _darker(colour, 0.8), patterns.METAL, 1.0, 0.2)
    if height < 1.6:  # a counter
        mesh.box((-a + 0.04, -b + 0.04, 0), (a - 0.04, b - 0.04, height - 0.05), body)
        mesh.box((-a, -b, height - 0.05), (a, b, height), Paint((0.80, 0.78, 0.74), gloss=0.3), without=())
        return [(-a, -b, 0, a, b, height)]
    light = Paint(_darker(colour, 1.35), gloss=0.2)
    mesh.box((-a, -b, 0), (a, b, 0.12), Paint((0.25, 0.25, 0.25)))
    mesh.box((-a + 0.03, -b + 0.03, 0.12), (a - 0.03, b - 0.03, height - 0.3), body)
    for y, out in ((-b, -1), (b, 1)):  # the open front and back: dark, with goods and a counter
        y0, y1 = sorted((y, y + 0.02 * out))
        mesh.box(
            (-a + 0.2, y0, 1.05), (a - 0.2, y1 + 0.005, height - 0.55), Paint((0.12, 0.11, 0.10)), without=()
        )
        y0, y1 = sorted((y + 0.02 * out, y + 0.05 * out))
        _goods(mesh, (-a + 0.25, a - 0.25), (y0, y1), 1.08, 0.45, rng)
        y0, y1 = sorted((y, y + 0.25 * out))
        mesh.box((-a + 0.1, y0, 0.98), (a - 0.1, y1, 1.04), light, without=())
    for x, out in ((-a, -1), (a, 1)):  # posters
        x0, x1 = sorted((x, x + 0.03 * out))
        mesh.box(
            (x0, -0.5, 0.8),
            (x1, 0.5, 2.0),
            Paint(THINGS[int(rng.integers(len(THINGS)))], gloss=0.4),
            without=(),
        )
    mesh.box((-a - 0.3, -b - 0.3, height - 0.3), (a + 0.3, b + 0.3, height - 0.1), light, without=())
    mesh.box((-a - 0.15, -b - 0.15, height - 0.1), (a + 0.15, b + 0.15, height), body)
    return [(-a, -b, 0, a, b, height - 0.3), (-a - 0.3, -b - 0.3, height - 0.3, a + 0.3, b + 0.3, height)]


def _car(mesh: Mesh, size: Size, colour: Colour, rng: np.random.Generator) -> list[Block]:
    a, b, height = size[0] / 2, size[1] / 2, size[2]
    paint, glass = Paint(colour, gloss=0.9), Paint((0.10, 0.12, 0.14), gloss=1.0)
    low, waist, roof = 0.22, 0.60 * height, height
    mesh.box((-a + 0.15, -b + 0.12, 0.16), (a - 0.15, b - 0.12, low), BLACK, without=())
    mesh.box((-a, -b + 0.05, low), (a, b - 0.05, 0.42 * height), paint, without=())
    mesh.taper(
        (-a, -b + 0.05, a, b - 0.05),
        (-a + 0.08, -b + 0.14, a - 0.28, b - 0.14),
        (0.42 * height, waist),
        paint,
    )
    cabin = (-a + 0.12, -b + 0.15, a - 1.15, b - 0.15)
    ceiling = (-a + 0.55, -b + 0.32, a - 1.95, b - 0.32)
    mesh.taper(cabin, ceiling, (waist, roof - 0.04), glass, top=paint)
    mesh.box(
        (ceiling[0] - 0.05, ceiling[1] - 0.05, roof - 0.05),
        (ceiling[2] + 0.05, ceiling[3] + 0.05, roof),
        paint,
    )
    middle = (ceiling[0] + ceiling[2]) / 2 - 0.05
    for y, up in ((cabin[1], ceiling[1]), (cabin[3], ceiling[3])):  # the posts between the doors
        mesh.cylinder((middle, y, waist), (middle, up, roof - 0.03), 0.045, paint, sides=5)
    for x in (-a + 0.8, a - 0.85):
        for y0, y1 in ((-b + 0.02, -b + 0.22), (b - 0.22, b - 0.02)):
            mesh.cylinder((x, y0, 0.32), (x, y1, 0.32), 0.32, BLACK, sides=16)
            hub = (y0 - 0.01, y0) if y0 < 0 else (y1, y1 + 0.01)
            mesh.cylinder(
                (x, hub[0], 0.32),
                (x, hub[1], 0.32),
                0.19,
                replace(STEEL, colour=(0.62, 0.63, 0.65)),
                sides=12,
            )
    for y in (-b + 0.32, b - 0.32):
        mesh.box(
            (a - 0.02, y - 0.17, 0.5),
            (a + 0.015, y + 0.17, 0.64),
            Paint((0.90, 0.90, 0.86), gloss=1),
            without=(),
        )
        mesh.box(
            (-a - 0.015, y - 0.17, 0.52),
            (-a + 0.02, y + 0.17, 0.66),
            Paint((0.55, 0.05, 0.05), gloss=1),
            without=(),
        )
    for x0, x1 in ((-a - 0.02, -a), (a, a + 0.02)):
        mesh.box((x0, -0.26, 0.38), (x1, 0.26, 0.49), Paint((0.86, 0.86, 0.80)), without=())
    return [(-a, -b + 0.05, low, a, b - 0.05, waist), (*cabin[:2], waist, *cabin[2:], height)]


def _box(mesh: Mesh, size: Size, colour: Colour, rng: np.random.Generator) -> list[Block]:
    a, b, height = size[0] / 2, size[1] / 2, size[2]
    block: Block = (-a, -b, 0, a, b, height)
    paint = Paint(colour, _darker(colour, 0.85), patterns.MELANGE, 2.0)
    if height > 1.5:  # a vending machine or a cupboard of doors
        mesh.box(block[:3], block[3:], replace(paint, pattern=patterns.METAL, gloss=0.3))
        mesh.box(
            (-a + 0.06, b, 0.75), (a - 0.2, b + 0.012, height - 0.15), Paint((0.14, 0.16, 0.18), gloss=0.8)
        )
        for z in np.arange(0.82, height - 0.3, 0.24):
            _goods(mesh, (-a + 0.09, a - 0.23), (b + 0.012, b + 0.02), float(z), 0.17, rng)
        mesh.box((a - 0.16, b, 1.0), (a - 0.05, b + 0.02, 1.5), STEEL)
        mesh.box((-a + 0.1, b, 0.3), (a - 0.25, b + 0.015, 0.5), BLACK)
    elif height > 0.8 and size[0] < 0.8:  # a bin
        mesh.taper(
            (-a * 0.85, -b * 0.85, a * 0.85, b * 0.85),
            (-a, -b, a, b),
            (0.03, height - 0.1),
            replace(paint, gloss=0.3),
        )
        mesh.box((-a, -b, height - 0.1), (a, b, height), Paint(_darker(colour, 0.7), gloss=0.3), without=())
        mesh.box(
            (-a * 0.6, b, height - 0.35),
            (a * 0.6, b + 0.01, height - 0.2),
            Paint((0.85, 0.84, 0.78)),
            without=(),
        )
    else:  # cartons, one on the other
        mesh.box(block[:3], (a, b, height * 0.55), paint)
        mesh.box(
            (-a * 0.96, -b * 0.9, height * 0.55),
            (a * 0.8, b * 0.95, height),
            replace(paint, colour=_darker(colour, 1.12)),
        )
        mesh.box((-a * 0.96, -0.03, height), (a * 0.8, 0.03, height + 0.004), CARD)
        mesh.box(
            (-0.1, b, height * 0.2), (0.12, b + 0.004, height * 0.4), Paint((0.9, 0.9, 0.88)), without=()
        )
    return [block]


DRAW: dict[str, Callable[[Mesh, Size, Colour, np.random.Generator], list[Block]]] = {
    "pillar": _pillar,
    "bench": _bench,
    "planter": _planter,
    "table": _table,
    "shelf": _shelf,
    "kiosk": _kiosk,
    "car": _car,
    "box": _box,
}


def _darker(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(1.0, factor * part) for part in colour)
    return red, green, blue


def _solid(block: Block, x: float, y: float, turn: float) -> Row:
    x0, y0, z0, x1, y1, z1 = block
    cos, sin = np.cos(turn), np.sin(turn)
    u, v = (x0 + x1) / 2, (y0 + y1) / 2
    return (
        float(x + u * cos - v * sin),
        float(y + u * sin + v * cos),
        (x1 - x0) / 2,
        (y1 - y0) / 2,
        z0,
        z1,
        turn,
    )


def _seats(x: float, y: float, turn: float, size: Size) -> list[Row]:
    """Seats along a bench, looking to its +y side."""
    number = max(1, int(size[0] / SEAT_WIDTH_M))
    cos, sin = np.cos(turn), np.sin(turn)
    rows: list[Row] = []
    for i in range(number):
        along, across = ((i + 0.5) / number - 0.5) * size[0], size[1] / 2 + FEET_M
        rows.append(
            (x + along * cos - across * sin, y + along * sin + across * cos, turn + np.pi / 2, size[2])
        )
    return rows
