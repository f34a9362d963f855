"""Draws what is built: floors, walls with windows and doorways, ceilings, and what stands around an open place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scenes import patterns
from scenes.mesh import Colour, Mesh, Paint
from scenes.plan import WALL_M, Doorway, Plan, Side
from scenes.settings import Area, Scene

SOLID = tuple[float, float, float, float, float, float, float]

FLOORS: dict[str, tuple[int, float, tuple[Colour, ...]]] = {  # pattern, 1/m, usual colours
    "paving": (patterns.PAVING, 1.7, ((0.66, 0.64, 0.60), (0.58, 0.57, 0.55), (0.68, 0.62, 0.54))),
    "tiles": (patterns.TILES, 2.2, ((0.72, 0.71, 0.68), (0.60, 0.61, 0.62), (0.70, 0.64, 0.56))),
    "parquet": (patterns.PARQUET, 1.6, ((0.58, 0.42, 0.26), (0.66, 0.50, 0.33), (0.46, 0.32, 0.20))),
    "carpet": (patterns.CARPET, 2.0, ((0.36, 0.38, 0.42), (0.30, 0.34, 0.44), (0.42, 0.38, 0.34))),
    "asphalt": (patterns.ASPHALT, 1.0, ((0.34, 0.34, 0.35), (0.30, 0.30, 0.31), (0.40, 0.39, 0.38))),
    "grass": (patterns.GRASS, 1.0, ((0.33, 0.44, 0.20), (0.38, 0.46, 0.24), (0.30, 0.40, 0.20))),
}
GLOSS = {"tiles": 0.35, "parquet": 0.3}
PLASTERS: tuple[Colour, ...] = (
    (0.80, 0.77, 0.70), (0.74, 0.72, 0.68), (0.78, 0.70, 0.58), (0.66, 0.68, 0.70), (0.72, 0.62, 0.54),
    (0.62, 0.66, 0.60), (0.84, 0.82, 0.78),
)  # fmt: skip
INDOORS: tuple[Colour, ...] = (
    (0.86, 0.85, 0.82), (0.82, 0.83, 0.80), (0.78, 0.82, 0.86), (0.86, 0.80, 0.70), (0.76, 0.78, 0.74)
)  # fmt: skip
BRICKS: tuple[Colour, ...] = ((0.55, 0.31, 0.23), (0.48, 0.28, 0.22), (0.62, 0.45, 0.33), (0.44, 0.36, 0.32))
FRAMES: tuple[Colour, ...] = ((0.88, 0.88, 0.86), (0.30, 0.28, 0.26), (0.38, 0.26, 0.17), (0.22, 0.30, 0.28))
LEAVES: tuple[Colour, ...] = ((0.33, 0.22, 0.14), (0.20, 0.30, 0.34), (0.55, 0.54, 0.50), (0.30, 0.14, 0.12))
POSTERS: tuple[Colour, ...] = (
    (0.72, 0.20, 0.16), (0.16, 0.32, 0.58), (0.86, 0.74, 0.24), (0.18, 0.46, 0.34), (0.90, 0.90, 0.88)
)  # fmt: skip
DARK = Paint((0.07, 0.07, 0.08))
GLASS = Paint((0.24, 0.30, 0.36), (0.13, 0.16, 0.20), patterns.WINDOW, 1.0, 0.9)
STONE = Paint((0.62, 0.60, 0.57), None, patterns.PLASTER, 2.0)
STOREY_M = 3.1
APRON_M = 16.0  # how far the ground of an open place goes on behind its edge


@dataclass(frozen=True)
class _Style:
    """How an area's walls look."""

    wall: Paint
    base: Paint
    base_m: float  # height of the skirting or plinth
    frame: Paint
    leaf: Paint
    indoor: bool


def draw(mesh: Mesh, plan: Plan, scene: Scene, rng: np.random.Generator) -> list[SOLID]:
    """Draw floors, walls, doorways and surroundings. Returns the boxes of walls that hide people."""
    styles = {name: _style(area, rng) for name, area in plan.areas.items()}
    solids: list[SOLID] = []
    for name, area in plan.areas.items():
        x0, y0, x1, y1 = plan.inner(name)
        ground = _floor(area, rng)
        mesh.quad((x0, y0, 0), (x1 - x0, 0, 0), (0, y1 - y0, 0), ground)
        if styles[name].indoor:
            _ceiling(mesh, plan.inner(name), area.height)
        for side in (side for side in plan.sides if side.area == name and area.walls != "none"):
            solids += _wall(mesh, plan, side, area, styles[name], rng)
    for door in plan.doors:
        solids += _doorway(mesh, door, plan.areas[door.areas[0]], styles[door.areas[0]], rng)
    if any(area.walls == "none" for area in plan.areas.values()):
        _surroundings(mesh, plan, rng)
    return solids


def _style(area: Area, rng: np.random.Generator) -> _Style:
    indoor = area.kind in ("room", "corridor")
    brick = area.walls == "brick"
    usual = BRICKS if brick else INDOORS if indoor else PLASTERS
    colour = area.wall_colour or _tinted(usual, rng)
    wall = Paint(
        colour, (0.66, 0.63, 0.58) if brick else None, patterns.BRICK if brick else patterns.PLASTER, 4.0
    )
    frame = Paint(FRAMES[0] if indoor else FRAMES[int(rng.integers(len(FRAMES)))], gloss=0.3)
    leaf = Paint(_tinted(LEAVES, rng), gloss=0.2)
    dark = tuple(0.55 * part for part in colour)
    base = replace(
        STONE, colour=(0.30, 0.29, 0.28) if indoor else (dark[0] + 0.1, dark[1] + 0.1, dark[2] + 0.1)
    )
    return _Style(wall, base, 0.1 if indoor else 0.5, frame, leaf, indoor)


def _tinted(usual: Sequence[Colour], rng: np.random.Generator) -> Colour:
    red, green, blue = np.clip(
        np.array(usual[int(rng.integers(len(usual)))]) + rng.normal(0, 0.025, 3), 0.02, 0.98
    )
    return float(red), float(green), float(blue)


def _floor(area: Area, rng: np.random.Generator) -> Paint:
    pattern, frequency, usual = FLOORS[area.floor]
    return Paint(
        area.floor_colour or _tinted(usual, rng), None, pattern, frequency, GLOSS.get(area.floor, 0.05)
    )


def _ceiling(mesh: Mesh, inner: tuple[float, float, float, float], height: float) -> None:
    """A ceiling with rows of lamps."""
    x0, y0, x1, y1 = inner
    mesh.quad(
        (x0, y0, height),
        (0, y1 - y0, 0),
        (x1 - x0, 0, 0),
        Paint((0.86, 0.86, 0.85), None, patterns.TILES, 1.6),
    )
    lamp = Paint((1.0, 1.0, 0.97))
    for x in np.arange(x0 + 1.2, x1 - 0.6, 2.6):
        for y in np.arange(y0 + 1.2, y1 - 0.6, 2.6):
            mesh.quad((x - 0.6, y - 0.15, height - 0.02), (0, 0.3, 0), (1.2, 0, 0), lamp)


def _wall(
    mesh: Mesh, plan: Plan, side: Side, area: Area, style: _Style, rng: np.random.Generator
) -> list[SOLID]:
    """One side's wall in the frame of `_facing`: x along the wall, y into the wall's thickness."""
    face = _facing(mesh, side)
    height = area.height
    solids = []
    for first, last in plan.closed(side):
        begin, end = side.length_m - last, side.length_m - first
        _panel(face, begin, end, style.base_m, height, style.wall)
        _panel(face, begin, end, 0, style.base_m, style.base)
        face.box((begin, -0.02, 0), (end, 0, style.base_m), style.base, without=("-z", "+y"))
        solids.append(_solid(side, first, last, 0, height))
        _furnish(face, begin, end, area, style, rng)
    for opening in plan.openings[side]:
        begin, end = side.length_m - opening.end_m, side.length_m - opening.begin_m
        _panel(face, begin, end, opening.height_m, height, style.wall)
        solids.append(_solid(side, opening.begin_m, opening.end_m, opening.height_m, height))
    if not style.indoor:
        face.box(
            (-WALL_M, -0.04, height - 0.02), (side.length_m + WALL_M, 0.2, height + 0.08), STONE, without=()
        )
    return solids


def _facing(mesh: Mesh, side: Side) -> Mesh:
    """A frame on a side: x back along it from its end, y into the wall, z up; the wall's face looks to -y."""
    (x, y), (ax, ay) = side.end, side.along
    return mesh.at(x, y, float(np.arctan2(-ay, -ax)))


def _panel(face: Mesh, begin: float, end: float, bottom: float, top: float, paint: Paint) -> None:
    if top - bottom > 1e-6:
        face.quad((begin, 0, bottom), (end - begin, 0, 0), (0, 0, top - bottom), paint)


def _solid(side: Side, begin: float, end: float, bottom: float, top: float) -> SOLID:
    x, y = side.point((begin + end) / 2, -WALL_M / 2)
    return x, y, (end - begin) / 2, WALL_M / 2, bottom, top, float(np.arctan2(side.along[1], side.along[0]))


def _furnish(
    face: Mesh, begin: float, end: float, area: Area, style: _Style, rng: np.random.Generator
) -> None:
    """Windows, and on the stretches between them now and then a poster."""
    width = float(rng.uniform(1.2, 1.8))
    pitch = width / max(area.windows, 0.05)
    room = end - begin - 0.8
    number = int(room / max(pitch, width + 0.5)) if area.windows > 0 else 0
    for storey in range(max(1, int(area.height / STOREY_M))):
        sill = 0.95 + storey * STOREY_M
        top = min(sill + 1.4, area.height - 0.25)
        if top - sill < 0.7:
            break
        for i in range(number):
            middle = begin + 0.4 + room * (i + 0.5) / number
            _window(face, middle - width / 2, sill, middle + width / 2, top, style)


def _window(face: Mesh, left: float, bottom: float, right: float, top: float, style: _Style) -> None:
    face.quad((left, -0.015, bottom), (right - left, 0, 0), (0, 0, top - bottom), GLASS, fade=(0.75, 1.25))
    bars = [
        (left - 0.06, left + 0.02),
        (right - 0.02, right + 0.06),
        ((left + right) / 2 - 0.03, (left + right) / 2 + 0.03),
    ]
    for x0, x1 in bars:
        face.box((x0, -0.05, bottom), (x1, -0.01, top), style.frame, without=("+y",))
    face.box(
        (left - 0.06, -0.05, top - 0.02), (right + 0.06, -0.01, top + 0.06), style.frame, without=("+y",)
    )
    face.box((left - 0.1, -0.12, bottom - 0.06), (right + 0.1, -0.01, bottom), STONE, without=("+y",))


def _doorway(mesh: Mesh, door: Doorway, area: Area, style: _Style, rng: np.random.Generator) -> list[SOLID]:
    """In the frame of the doorway: x to the left as seen from inside, y through the door."""
    (x, y), (dx, dy) = door.at, door.inward
    frame = mesh.at(x, y, float(np.arctan2(-dy, -dx) - np.pi / 2))
    half, depth, height = door.width_m / 2, door.depth_m, door.height_m
    lining = DARK if door.is_exit else style.wall
    frame.quad(
        (-half, 0, 0), (2 * half, 0, 0), (0, depth, 0), STONE, fade=(1.0, 0.15 if door.is_exit else 1.0)
    )
    frame.quad((-half, 0, 0), (0, depth, 0), (0, 0, height), lining)
    frame.quad((half, depth, 0), (0, -depth, 0), (0, 0, height), lining)
    frame.quad((-half, depth, height), (2 * half, 0, 0), (0, -depth, 0), lining)
    for x0, x1 in ((-half - 0.09, -half), (half, half + 0.09)):
        frame.box((x0, -0.04, 0), (x1, 0.03, height + 0.09), style.frame)
    frame.box((-half, -0.04, height), (half, 0.03, height + 0.09), style.frame, without=())
    if not door.is_exit:
        return []
    frame.quad((-half, depth, 0), (2 * half, 0, 0), (0, 0, height), DARK)
    if area.walls == "none":
        _gatehouse(frame, half, depth, height)
    return []


def _gatehouse(frame: Mesh, half: float, depth: float, height: float) -> None:
    """Around the way out of a place without walls: a small pavilion, as of an underground station."""
    wall = Paint((0.58, 0.58, 0.57), None, patterns.PLASTER, 2.0)
    for x0, x1 in ((-half - 0.3, -half), (half, half + 0.3)):
        frame.box((x0, 0, 0), (x1, depth + 0.2, height), wall)
    frame.box((-half - 0.3, depth + 0.01, 0), (half + 0.3, depth + 0.2, height), wall)
    frame.box(
        (-half - 0.5, -0.35, height),
        (half + 0.5, depth + 0.4, height + 0.35),
        Paint((0.25, 0.32, 0.40)),
        without=(),
    )


def _surroundings(mesh: Mesh, plan: Plan, rng: np.random.Generator) -> None:
    """Ground that goes on behind an open place's edge, and house fronts around it."""
    corners = np.array([plan.inner(name) for name in plan.areas])
    x0, y0 = corners[:, :2].min(axis=0) - APRON_M
    x1, y1 = corners[:, 2:].max(axis=0) + APRON_M
    mesh.quad(
        (x0, y0, -0.03),
        (x1 - x0, 0, 0),
        (0, y1 - y0, 0),
        Paint((0.42, 0.42, 0.42), None, patterns.ASPHALT, 1.0),
    )
    for start, end in (
        ((x0, y0), (x1, y0)),
        ((x1, y0), (x1, y1)),
        ((x1, y1), (x0, y1)),
        ((x0, y1), (x0, y0)),
    ):
        side = Side("", start, end)
        face = _facing(mesh, side)
        at = 0.0
        while at < side.length_m - 1:
            width = min(float(rng.uniform(7, 14)), side.length_m - at)
            area = Area(x=(0, 1), y=(0, 1), height=float(rng.uniform(7, 13)), windows=0.45)
            style = _style(area, rng)
            _panel(face, at, at + width, 0, area.height, style.wall)
            _furnish(face, at, at + width, area, style, rng)
            at += width
