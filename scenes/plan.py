"""The plan of a place: the sides of its areas, with the doorways in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.settings import Area, Obstacle, Scene, SceneError

WALL_M = 0.1  # thickness of an area's wall, inside the area's rectangle
REACH_M = 0.7  # a door belongs to a wall that is as near
VESTIBULE_M = 1.7  # depth of the dark space behind a door that leads out of the scene


@dataclass(frozen=True)
class Doorway:
    """A passage of ``depth_m`` through the walls between two areas, or into a dark vestibule and out of the scene."""

    at: tuple[float, float]  # m, middle of the opening in the first area's wall
    inward: tuple[float, float]  # unit, into the first area
    width_m: float
    depth_m: float  # from the first area's wall face to the second's, or to the vestibule's end
    height_m: float
    areas: tuple[str, ...]  # one: leads outside

    @property
    def is_exit(self) -> bool:
        """Whether it leads out of the scene."""
        return len(self.areas) == 1

    def point(self, depth_m: float, along_m: float = 0.0) -> tuple[float, float]:
        """So far through the doorway (negative: in the first area) and to the left of its middle, looking in."""
        (x, y), (dx, dy) = self.at, self.inward
        return x - dx * depth_m - dy * along_m, y - dy * depth_m + dx * along_m

    @property
    def inside(self) -> tuple[float, float]:
        """A point of the first area in front of the door."""
        return self.point(-0.7)

    @property
    def outside(self) -> tuple[float, float]:
        """Where people who leave are gone and from where they come: in the vestibule."""
        return self.point(self.depth_m - 0.45)


@dataclass(frozen=True)
class Side:
    """One side of an area: the inner face of its wall, from ``start`` to ``end`` with the area on the left."""

    area: str
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def length_m(self) -> float:
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))

    @property
    def along(self) -> tuple[float, float]:
        return (self.end[0] - self.start[0]) / self.length_m, (self.end[1] - self.start[1]) / self.length_m

    @property
    def inward(self) -> tuple[float, float]:
        return -self.along[1], self.along[0]

    def measure(self, point: tuple[float, float]) -> tuple[float, float]:
        """How far along the side a point is, and how far inward of it."""
        offset = np.subtract(point, self.start)
        return float(offset @ self.along), float(offset @ self.inward)

    def point(self, along_m: float, inward_m: float = 0.0) -> tuple[float, float]:
        (x, y), (ax, ay), (nx, ny) = self.start, self.along, self.inward
        return x + ax * along_m + nx * inward_m, y + ay * along_m + ny * inward_m


@dataclass(frozen=True)
class Opening:
    """Where a doorway passes a side."""

    begin_m: float  # along the side
    end_m: float
    height_m: float


@dataclass(frozen=True, eq=False)
class Plan:
    """All sides of all areas, and the doorways."""

    areas: dict[str, Area]
    sides: tuple[Side, ...]
    openings: dict[Side, tuple[Opening, ...]]  # of every side, rising
    doors: tuple[Doorway, ...]

    @classmethod
    def of(cls, scene: Scene) -> Plan:
        """Raises SceneError, naming every door that does not fit."""
        sides = tuple(side for name, area in scene.areas.items() for side in _sides(name, area))
        openings: dict[Side, list[Opening]] = {side: [] for side in sides}
        doors, mistakes = [], []
        for number, door in enumerate(scene.doors):
            walls = [_wall(sides, name, door.at, door.width) for name in door.between]
            if None in walls:
                name = door.between[walls.index(None)]
                mistakes.append(
                    f"doors.{number}: no wall of {name} is there, or it is too short for {door.width} m"
                )
                continue
            found = [wall for wall in walls if wall is not None]
            height = _door_height(door.width, [scene.areas[name] for name in door.between])
            doors.append(_doorway(found, door.at, door.width, height, tuple(door.between)))
            for side in found:
                middle = side.measure(door.at)[0]
                openings[side].append(Opening(middle - door.width / 2, middle + door.width / 2, height))
        if mistakes:
            raise SceneError("\n".join(mistakes))
        rising = {side: tuple(sorted(there, key=lambda o: o.begin_m)) for side, there in openings.items()}
        return cls(areas=dict(scene.areas), sides=sides, openings=rising, doors=tuple(doors))

    def inner(self, area: str) -> tuple[float, float, float, float]:
        """x0 y0 x1 y1 of an area's floor within its walls."""
        return inner(self.areas[area])

    def floors(self) -> NDArray[np.float64]:
        """(R, 4) Rectangles of floor: the areas' and the doorways'."""
        return np.array(
            [self.inner(name) for name in self.areas] + [_passage(door) for door in self.doors], float
        )

    def segments(self) -> NDArray[np.float64]:
        """(S, 4) The walls' inner faces and the doorways' sides."""
        walls = [
            (*side.point(begin), *side.point(end)) for side in self.sides for begin, end in self.closed(side)
        ]
        for door in self.doors:
            half = door.width_m / 2
            ends = [(door.point(0, along), door.point(door.depth_m, along)) for along in (-half, half)]
            walls += [(*near, *far) for near, far in ends]
            if door.is_exit:
                walls.append((*ends[0][1], *ends[1][1]))
        return np.array(walls, float).reshape(-1, 4)

    def closed(self, side: Side) -> list[tuple[float, float]]:
        """The stretches of a side, from and to in metres along it, that no doorway opens."""
        marks = [0.0]
        for opening in self.openings[side]:
            marks += [opening.begin_m, opening.end_m]
        marks.append(side.length_m)
        return [(begin, end) for begin, end in zip(marks[::2], marks[1::2]) if end - begin > 1e-6]

    def base(self, obstacle: Obstacle) -> Area | None:
        """The area that an obstacle stands in."""
        for area in self.areas.values():
            if area.x[0] <= obstacle.at[0] <= area.x[1] and area.y[0] <= obstacle.at[1] <= area.y[1]:
                return area
        return None


def inner(area: Area) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 of an area's floor within its walls."""
    return area.x[0] + WALL_M, area.y[0] + WALL_M, area.x[1] - WALL_M, area.y[1] - WALL_M


def _sides(name: str, area: Area) -> list[Side]:
    x0, y0, x1, y1 = inner(area)
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return [Side(name, start, end) for start, end in zip(corners, corners[1:] + corners[:1])]


def _wall(sides: tuple[Side, ...], area: str, at: tuple[float, float], width: float) -> Side | None:
    """The side of the area that a door is in."""
    near = []
    for side in sides:
        along, inward = side.measure(at)
        fits = width / 2 <= along + 1e-6 and along - 1e-6 <= side.length_m - width / 2
        if side.area == area and abs(inward) <= REACH_M and fits:
            near.append((abs(inward), side))
    return min(near, key=lambda pair: pair[0])[1] if near else None


def _doorway(
    walls: list[Side], at: tuple[float, float], width: float, height: float, areas: tuple[str, ...]
) -> Doorway:
    side = walls[0]
    along = side.measure(at)[0]
    middle = side.point(along)
    depth = -side.measure(walls[1].point(walls[1].measure(at)[0]))[1] if len(walls) == 2 else VESTIBULE_M
    return Doorway(middle, side.inward, width, depth, height, areas)


def _door_height(width: float, areas: list[Area]) -> float:
    usual = 2.15 if any(area.kind in ("room", "corridor") for area in areas) else 2.45
    usual = 2.9 if width > 2.2 else usual
    return min(usual, *(area.height - 0.15 for area in areas))


def _passage(door: Doorway) -> tuple[float, float, float, float]:
    half = door.width_m / 2
    (ax, ay), (bx, by) = door.point(0, -half), door.point(door.depth_m, half)
    return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)
