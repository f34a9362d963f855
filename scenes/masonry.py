"""Draws what is built: floors, walls with windows and doorways, ceilings, and what stands around an open place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scenes import patterns
from scenes.mesh import Colour, Mesh, Paint
from scenes.plan import WALL_M, Doorway, Plan, Side
from scenes.settings import Area, Scene

Floats = NDArray[np.float64]
Solid = tuple[float, float, float, float, float, float, float]

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
GLASS = Paint((0.24, 0.30, 0.36), (0.13, 0.16, 0.20), patterns.WINDOW, 0.2, 0.9)
DAYLIGHT = Paint((0.84, 0.89, 0.94))  # a window seen from within
BLINDS = Paint((0.82, 0.82, 0.80), (0.66, 0.66, 0.65), patterns.STRIPES, 14.0)
RADIATOR = Paint((0.88, 0.88, 0.86), None, patterns.METAL, 1.0, 0.2)
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
    blinds: float  # share of the windows' height


def draw(mesh: Mesh, plan: Plan, scene: Scene, rng: np.random.Generator) -> list[Solid]:
    """Draw floors, walls, doorways and surroundings. Returns the boxes of walls that hide people, as of Place."""
    styles = {name: _style(area, rng) for name, area in plan.areas.items()}
    eyes = np.array([camera.at for camera in scene.cameras.values()], float)
    solids: list[Solid] = []
    for name, area in plan.areas.items():
        _floor(mesh, plan.inner(name), area, rng)
        if styles[name].indoor:
            _ceiling(mesh, plan.inner(name), area.height)
        for side in (side for side in plan.sides if side.area == name and area.walls != "none"):
            solids += _wall(mesh, plan, side, area, styles[name], eyes, rng)
    for door in plan.doors:
        _doorway(mesh, door, plan.areas[door.areas[0]], styles[door.areas[0]])
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
    blinds = float(rng.choice([0.0, 0.25, 0.6])) if indoor else 0.0
    return _Style(wall, base, 0.1 if indoor else 0.5, frame, leaf, indoor, blinds)


def _tinted(usual: Sequence[Colour], rng: np.random.Generator) -> Colour:
    colour = np.array(usual[int(rng.integers(len(usual)))])
    red, green, blue = np.clip(colour * rng.normal(1, 0.05) + rng.normal(0, 0.008, 3), 0.02, 0.96)
    return float(red), float(green), float(blue)


def _floor(
    mesh: Mesh, inner: tuple[float, float, float, float], area: Area, rng: np.random.Generator
) -> None:
    x0, y0, x1, y1 = inner
    pattern, frequency, usual = FLOORS[area.floor]
    paint = Paint(
        area.floor_colour or _tinted(usual, rng), None, pattern, frequency, GLOSS.get(area.floor, 0.05)
    )
    if area.kind != "street":
        mesh.quad((x0, y0, 0), (x1 - x0, 0, 0), (0, y1 - y0, 0), paint)
        if area.kind == "courtyard":
            _drain(mesh, float(rng.uniform(x0 + 1, x1 - 1)), float(rng.uniform(y0 + 1, y1 - 1)))
        return
    # A street runs along its longer side, with pavements and a dashed line.
    length, width = max(x1 - x0, y1 - y0), min(x1 - x0, y1 - y0)
    street = mesh.at(x0, y0) if x1 - x0 >= y1 - y0 else mesh.at(x1, y0, np.pi / 2)
    path = min(2.2, width / 4)
    paving = Paint(_tinted(FLOORS["paving"][2], rng), None, patterns.PAVING, 2.0)
    kerb = Paint((0.66, 0.65, 0.62), None, patterns.PAVING, 1.0)
    for begin, end, strip in (
        (0, path, paving), (path, path + 0.16, kerb), (path + 0.16, width - path - 0.16, paint),
        (width - path - 0.16, width - path, kerb), (width - path, width, paving),
    ):  # fmt: skip
        street.quad((0, begin, 0), (length, 0, 0), (0, end - begin, 0), strip)
    for x in np.arange(1.0, length - 2.0, 4.0):
        street.quad((x, width / 2 - 0.06, 0.004), (1.8, 0, 0), (0, 0.12, 0), Paint((0.74, 0.74, 0.70)))
    _drain(mesh, (x0 + x1) / 2 + 1.0, (y0 + y1) / 2 + 0.8)


def _drain(mesh: Mesh, x: float, y: float) -> None:
    mesh.quad(
        (x - 0.3, y - 0.3, 0.004), (0.6, 0, 0), (0, 0.6, 0), Paint((0.30, 0.30, 0.30), None, patterns.METAL)
    )
    for i in range(4):
        mesh.quad((x - 0.22, y - 0.22 + 0.13 * i, 0.007), (0.44, 0, 0), (0, 0.05, 0), DARK)


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
    mesh: Mesh, plan: Plan, side: Side, area: Area, style: _Style, eyes: Floats, rng: np.random.Generator
) -> list[Solid]:
    """One side's wall in the frame of `_facing`. ``eyes`` (C, 3) m: no window so near to a camera."""
    face = _facing(mesh, side)
    height, length = area.height, side.length_m
    solids = []
    for first, last in plan.closed(side):
        begin, end = length - last, length - first
        # At a corner the walls go on behind each other, so that no light comes through.
        left, right = begin - WALL_M * (begin < 1e-6), end + WALL_M * (end > length - 1e-6)
        _panel(face, left, right, style.base_m, height, style.wall)
        _panel(face, left, right, 0, style.base_m, style.base)
        face.box((begin, -0.02, 0), (end, 0, style.base_m), style.base, without=("-z", "+y"))
        face.quad((right, WALL_M, 0), (left - right, 0, 0), (0, 0, height), style.wall)  # its back
        solids.append(_solid(side, first, last, 0, height))
        _furnish(face, _Stretch(begin, end, height), area, style, _beside(side, eyes), rng)
    for opening in plan.openings[side]:
        begin, end = length - opening.end_m, length - opening.begin_m
        _panel(face, begin, end, opening.height_m, height, style.wall)
        over = height - opening.height_m
        face.quad((end, WALL_M, opening.height_m), (begin - end, 0, 0), (0, 0, over), style.wall)
        solids.append(_solid(side, opening.begin_m, opening.end_m, opening.height_m, height))
    if not style.indoor:
        face.box((-WALL_M, -0.04, height - 0.02), (length + WALL_M, 0.2, height + 0.08), STONE, without=())
    return solids


def _beside(side: Side, eyes: Floats) -> Floats:
    """Where along a wall (in its face's frame) cameras hang close to it."""
    near = [side.measure((x, y)) for x, y, _ in eyes]
    return np.array([side.length_m - along for along, inward in near if -0.5 < inward < 1.2], float)


def _facing(mesh: Mesh, side: Side) -> Mesh:
    """A frame on a side: x back along it from its end, y into the wall, z up; the wall's face looks to -y."""
    (x, y), (ax, ay) = side.end, side.along
    return mesh.at(x, y, float(np.arctan2(-ay, -ax)))


def _panel(face: Mesh, begin: float, end: float, bottom: float, top: float, paint: Paint) -> None:
    if top - bottom > 1e-6:
        face.quad((begin, 0, bottom), (end - begin, 0, 0), (0, 0, top - bottom), paint)


def _solid(side: Side, begin: float, end: float, bottom: float, top: float) -> Solid:
    x, y = side.point((begin + end) / 2, -WALL_M / 2)
    return x, y, (end - begin) / 2, WALL_M / 2, bottom, top, float(np.arctan2(side.along[1], side.along[0]))


@dataclass(frozen=True)
class _Stretch:
    """A piece of wall without a doorway, in the frame of its face."""

    begin: float
    end: float
    height: float


def _furnish(
    face: Mesh, wall: _Stretch, area: Area, style: _Style, eyes: Floats, rng: np.random.Generator
) -> None:
    """Windows storey by storey, and what else hangs on walls in the gaps between them."""
    width = float(rng.uniform(1.2, 1.8))
    room = wall.end - wall.begin - 0.8
    number = int(room / max(width / max(area.windows, 0.05), width + 0.5)) if area.windows > 0 else 0
    middles = wall.begin + 0.4 + room * (np.arange(number) + 0.5) / max(number, 1)
    middles = np.array([x for x in middles if not (abs(x - eyes) < 2.4).any()])
    for storey in range(max(1, int(wall.height / STOREY_M))):
        sill = 0.95 + storey * STOREY_M
        top = min(sill + 1.4, wall.height - 0.25)
        for middle in middles if top - sill > 0.7 else ():
            _window(face, middle - width / 2, sill, middle + width / 2, top, style)
            if style.indoor and storey == 0:
                face.box((middle - 0.5, -0.1, 0.15), (middle + 0.5, 0, 0.75), RADIATOR, without=("+y",))
    if not style.indoor and wall.end - wall.begin > 3:
        _drainpipe(face, wall.begin + 0.25, wall.height)
    for x in np.arange(wall.begin + 0.8, wall.end - 0.7, 1.0):
        clear = (abs(x - middles) > width / 2 + 0.75).all() and (abs(x - eyes) > 1.6).all()
        if clear and rng.random() < 0.35:
            HANGINGS[int(rng.integers(len(HANGINGS)))](face, float(x), wall, style, rng)


def _window(face: Mesh, left: float, bottom: float, right: float, top: float, style: _Style) -> None:
    # The pattern's bars would lie anywhere: its cells are made so large that no bar falls into the pane.
    glass = replace(DAYLIGHT if style.indoor else GLASS, origin=(left - 2.5, -2.5, bottom - 2.5))
    face.quad((left, -0.015, bottom), (right - left, 0, 0), (0, 0, top - bottom), glass, fade=(0.8, 1.2))
    middle = (left + right) / 2
    for x0, x1 in ((left - 0.06, left + 0.02), (right - 0.02, right + 0.06), (middle - 0.03, middle + 0.03)):
        face.box((x0, -0.05, bottom), (x1, -0.01, top), style.frame, without=("+y",))
    face.box(
        (left - 0.06, -0.05, top - 0.02), (right + 0.06, -0.01, top + 0.06), style.frame, without=("+y",)
    )
    face.box((left - 0.1, -0.12, bottom - 0.06), (right + 0.1, -0.01, bottom), STONE, without=("+y",))
    if style.blinds:
        drawn = style.blinds * (top - bottom)
        face.quad((left, -0.02, top - drawn), (right - left, 0, 0), (0, 0, drawn), BLINDS)


def _poster(face: Mesh, x: float, wall: _Stretch, style: _Style, rng: np.random.Generator) -> None:
    paint = Paint(POSTERS[int(rng.integers(len(POSTERS)))], gloss=0.2)
    wide, tall = (0.5, 0.7) if rng.random() < 0.5 else (0.35, 0.5)
    top = min(2.0, wall.height - 0.3)
    face.box(
        (x - wide / 2, -0.02, top - tall), (x + wide / 2, 0, top), Paint((0.86, 0.86, 0.84)), without=("+y",)
    )
    middle = Paint(_tinted(POSTERS, rng))
    face.quad((x - 0.44 * wide, -0.025, top - 0.55 * tall), (0.88 * wide, 0, 0), (0, 0, 0.5 * tall), paint)
    face.quad((x - 0.3 * wide, -0.025, top - 0.85 * tall), (0.6 * wide, 0, 0), (0, 0, 0.15 * tall), middle)


def _board(face: Mesh, x: float, wall: _Stretch, style: _Style, rng: np.random.Generator) -> None:
    """A notice board outdoors, a white board or a picture indoors."""
    back = Paint((0.93, 0.93, 0.92), gloss=0.4) if style.indoor else Paint((0.36, 0.26, 0.18))
    face.box((x - 0.5, -0.03, 1.1), (x + 0.5, 0, 1.85), Paint((0.40, 0.40, 0.40)), without=("+y",))
    face.quad((x - 0.46, -0.035, 1.14), (0.92, 0, 0), (0, 0, 0.67), back)
    for _ in range(int(rng.integers(2, 6))):
        u, v = rng.uniform(-0.4, 0.2), rng.uniform(1.2, 1.5)
        sheet = Paint((0.9, 0.9, 0.86) if not style.indoor else (0.55, 0.60, 0.70))
        face.quad(
            (x + u, -0.04, v),
            (0.2 if not style.indoor else 0.3, 0, 0),
            (0, 0, 0.27 if not style.indoor else 0.02),
            sheet,
        )


def _closed_door(face: Mesh, x: float, wall: _Stretch, style: _Style, rng: np.random.Generator) -> None:
    top = min(2.08, wall.height - 0.2)
    if x - 0.55 < wall.begin or x + 0.55 > wall.end:
        return
    face.box((x - 0.52, -0.045, 0), (x + 0.52, 0, top + 0.07), style.frame, without=("-z", "+y"))
    face.box((x - 0.44, -0.055, 0.01), (x + 0.44, -0.02, top), style.leaf, without=("-z", "+y"))
    for z0, z1 in ((0.25, 0.95), (1.15, 1.9)):
        dent = replace(style.leaf, colour=_scaled(style.leaf.colour, 0.82))
        face.quad((x - 0.3, -0.058, z0), (0.6, 0, 0), (0, 0, z1 - z0), dent)
    face.box((x + 0.32, -0.1, 1.02), (x + 0.4, -0.055, 1.06), Paint((0.7, 0.7, 0.68), gloss=0.6), without=())


def _cabinet(face: Mesh, x: float, wall: _Stretch, style: _Style, rng: np.random.Generator) -> None:
    """A fuse box or an air conditioner high on the wall, flat enough to walk past."""
    z = float(rng.uniform(1.2, 1.5)) if style.indoor else float(rng.uniform(2.3, 2.6))
    if z + 0.6 < wall.height:
        grey = Paint((0.76, 0.76, 0.74), None, patterns.METAL, 1.0, 0.2)
        face.box((x - 0.3, -0.18, z), (x + 0.3, 0, z + 0.5), grey, without=("+y",))
        face.quad((x - 0.2, -0.185, z + 0.08), (0.4, 0, 0), (0, 0, 0.34), Paint((0.35, 0.35, 0.35)))


def _wall_lamp(face: Mesh, x: float, wall: _Stretch, style: _Style, rng: np.random.Generator) -> None:
    z = min(2.5, wall.height - 0.4)
    face.box((x - 0.04, -0.2, z), (x + 0.04, 0, z + 0.05), Paint((0.15, 0.15, 0.15)), without=("+y",))
    face.box(
        (x - 0.1, -0.28, z - 0.22), (x + 0.1, -0.12, z), Paint((0.96, 0.92, 0.80), gloss=0.5), without=()
    )


HANGINGS: tuple[Callable[[Mesh, float, _Stretch, _Style, np.random.Generator], None], ...] = (
    _poster, _poster, _board, _closed_door, _closed_door, _cabinet, _wall_lamp,
)  # fmt: skip


def _drainpipe(face: Mesh, x: float, height: float) -> None:
    pipe = Paint((0.40, 0.38, 0.36), None, patterns.METAL, 1.0, 0.2)
    face.cylinder((x, -0.07, 0.05), (x, -0.07, height), 0.05, pipe, sides=8)
    for z in np.arange(0.6, height, 1.4):
        face.box((x - 0.07, -0.13, z), (x + 0.07, 0, z + 0.04), pipe, without=("+y",))


def _doorway(mesh: Mesh, door: Doorway, area: Area, style: _Style) -> None:
    """In the frame of the doorway: x to the right as seen from inside, y through the door."""
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
    for face in (-0.04, depth - 0.03)[: 1 if door.is_exit else 2]:
        for x0, x1 in ((-half - 0.09, -half + 0.01), (half - 0.01, half + 0.09)):
            frame.box((x0, face, 0), (x1, face + 0.07, height + 0.09), style.frame)
        frame.box((-half, face, height - 0.01), (half, face + 0.07, height + 0.09), style.frame, without=())
    if not door.is_exit:
        return
    frame.quad((-half, depth, 0), (2 * half, 0, 0), (0, 0, height), DARK)
    if area.walls == "none":
        _gatehouse(frame, half, depth, height)


def _gatehouse(frame: Mesh, half: float, depth: float, height: float) -> None:
    """Around the way out of a place without walls: a small pavilion, as of an underground station."""
    wall = Paint((0.58, 0.58, 0.57), None, patterns.PLASTER, 2.0)
    for x0, x1, inside in ((-half - 0.3, -half, "+x"), (half, half + 0.3, "-x")):
        frame.box((x0, 0.02, 0), (x1, depth + 0.2, height), wall, without=("-z", "+z", inside))
    frame.box(
        (-half, depth + 0.02, 0), (half, depth + 0.2, height), wall, without=("-z", "+z", "-y", "-x", "+x")
    )
    roof = Paint((0.25, 0.32, 0.40), gloss=0.3)
    frame.box((-half - 0.5, -0.35, height + 0.02), (half + 0.5, depth + 0.4, height + 0.35), roof, without=())
    sign = Paint((0.85, 0.85, 0.82))
    frame.quad((-0.9 * half, -0.36, height + 0.08), (1.8 * half, 0, 0), (0, 0, 0.2), sign)


def _surroundings(mesh: Mesh, plan: Plan, rng: np.random.Generator) -> None:
    """Around an open place: ground that goes on behind its edge, trees on it, and house fronts."""
    corners = np.array([plan.inner(name) for name in plan.areas])
    low, high = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    (x0, y0), (x1, y1) = (low - APRON_M).tolist(), (high + APRON_M).tolist()
    asphalt = Paint((0.42, 0.42, 0.42), None, patterns.ASPHALT, 1.0)
    mesh.quad((x0, y0, -0.03), (x1 - x0, 0, 0), (0, y1 - y0, 0), asphalt)
    for start, end in (
        ((x0, y0), (x1, y0)),
        ((x1, y0), (x1, y1)),
        ((x1, y1), (x0, y1)),
        ((x0, y1), (x0, y0)),
    ):
        side = Side("", start, end)
        _street_front(_facing(mesh, side), side.length_m, rng)
        for along in np.arange(4.0, side.length_m - 4, 7.5):
            spot = side.point(float(along + rng.uniform(-1.5, 1.5)), APRON_M - 5.0)
            if rng.random() < 0.6 and not _near_door(plan, spot):
                _tree(mesh.at(*spot), rng)


def _street_front(face: Mesh, length: float, rng: np.random.Generator) -> None:
    """Houses of different widths, heights and colours in a row."""
    at = 0.0
    while at < length - 1:
        width = min(float(rng.uniform(7, 14)), length - at)
        height = float(rng.uniform(8, 14))
        area = Area(x=(0, 1), y=(0, 1), height=height, windows=0.45)
        style = _style(area, rng)
        _panel(face, at, at + width, 0.6, height, style.wall)
        _panel(face, at, at + width, 0, 0.6, style.base)
        face.box((at, -0.15, height - 0.15), (at + width, 0.5, height + 0.2), STONE, without=())
        _furnish(face, _Stretch(at, at + width, height), area, style, np.zeros(0), rng)
        at += width
    face.box((0, -2.5, -0.03), (length, 0, 0.1), Paint((0.60, 0.59, 0.56), None, patterns.PAVING, 1.5))


def _near_door(plan: Plan, spot: tuple[float, float]) -> bool:
    return any(
        np.hypot(spot[0] - x, spot[1] - y) < 4 for x, y in (door.at for door in plan.doors if door.is_exit)
    )


def _tree(mesh: Mesh, rng: np.random.Generator) -> None:
    height = float(rng.uniform(2.2, 3.2))
    bark = Paint((0.30, 0.24, 0.18), (0.22, 0.18, 0.14), patterns.MELANGE, 4.0)
    mesh.cylinder((0, 0, -0.03), (0, 0, height + 0.8), 0.16, bark, sides=8, end_radius=0.09)
    green = (0.20 + 0.12 * rng.random(), 0.34 + 0.12 * rng.random(), 0.12 + 0.06 * rng.random())
    leaves = Paint(green, _scaled(green, 0.6), patterns.GRASS, 2.0)
    for _ in range(4):
        u, v, w = rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7), rng.uniform(0.3, 1.9)
        mesh.bush((u, v, height + w), (1.2, 1.2, 0.95), leaves, rng)


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(1.0, factor * part) for part in colour)
    return red, green, blue
