"""A place: what is built there, where people can walk, and the way from here to there.

The plan (`Plan`) is worked out first, from the scene's areas, doors and obstacles; `scenes.masonry` and
`scenes.furniture` draw it. Each area's walls stand inside its rectangle, `WALL_M` thick, so that two areas may share an
edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import shortest_path

from scenes import furniture, masonry
from scenes.mesh import Mesh
from scenes.plan import Doorway, Plan
from scenes.records import Surface
from scenes.settings import Scene

MARGIN_M = 0.32  # ways keep as far from walls and obstacles: half a person and a little more
CORNER_M = (
    0.36  # way-points stand off corners as far, along and across: from one the next is seen with the margin
)
CHUNK = 200_000  # pairs of a line and a wall looked at in one go: some 50 MB


@dataclass(frozen=True, eq=False)
class Place:
    """Floors, walls and what stands on them."""

    surface: Surface  # all that is seen of it
    floors: NDArray[np.float64]  # (R, 4) m, rectangles x0 y0 x1 y1 of floor within walls, doorways included
    segments: NDArray[np.float64]  # (S, 4) m, x0 y0 x1 y1: what nobody walks through
    obstacles: NDArray[np.float64]  # (O, 5) m, rad: middle x y, half length, half width, turn
    solids: NDArray[
        np.float64
    ]  # (N, 7) m, rad: boxes that hide: x y, half length, half width, bottom, top, turn
    seats: NDArray[np.float64]  # (M, 4) feet's place x y m, heading rad, height m
    doors: tuple[Doorway, ...]
    areas: dict[str, tuple[float, float, float, float]]  # x0 y0 x1 y1 within the walls

    def is_free(self, xy_m: ArrayLike, radius_m: float = 0.0) -> NDArray[np.bool_]:
        """(N,) Whether a disc around each of (N, 2) points is on floor and touches no wall and no obstacle."""
        points = np.asarray(xy_m, float).reshape(-1, 2)
        x, y = points[:, :1], points[:, 1:]
        x0, y0, x1, y1 = self.floors.T
        free = ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).any(axis=1)
        free &= ~self._within_obstacle(points)
        if radius_m > 0 and len(self.segments):
            free &= self.clearance(points) >= radius_m
        return free

    def clearance(self, xy_m: ArrayLike) -> NDArray[np.float64]:
        """(N,) m from each of (N, 2) points to the nearest wall or obstacle; infinite where there is none."""
        points = np.asarray(xy_m, float).reshape(-1, 2)
        away = point_to_segments(points, self.segments)
        return np.hypot(away[..., 0], away[..., 1]).min(axis=1, initial=np.inf)

    def sees(self, start_m: ArrayLike, end_m: ArrayLike, margin_m: float = MARGIN_M) -> NDArray[np.bool_]:
        """(N,) Whether somebody can walk straight from (N, 2) to (N, 2) and stay ``margin_m`` off everything."""
        start, end = np.broadcast_arrays(
            np.asarray(start_m, float).reshape(-1, 2), np.asarray(end_m, float).reshape(-1, 2)
        )
        if not len(self.segments):
            return np.ones(len(start), bool)
        rows = max(1, CHUNK // len(self.segments))
        parts = [
            lines_to_segments(start[i : i + rows], end[i : i + rows], self.segments).min(axis=1) >= margin_m
            for i in range(0, len(start), rows)
        ]
        return np.concatenate([np.zeros(0, bool), *parts])

    def route(self, start_m: ArrayLike, goal_m: ArrayLike) -> NDArray[np.float64]:
        """The shortest way as (K, 2) points to walk to in straight lines, start and goal included.

        Near a wall the way begins or ends nearer to it than `MARGIN_M`. Empty (0, 2) where there is no way.
        """
        start, goal = np.asarray(start_m, float), np.asarray(goal_m, float)
        leave, arrive = self._margin(start), self._margin(goal)
        if self.sees(start, goal, min(leave, arrive))[0]:
            return np.stack([start, goal])
        corners, length, before = self._graph
        out = np.hypot(*(corners - start).T)
        home = np.hypot(*(corners - goal).T)
        out[~self.sees(start, corners, leave)] = np.inf
        home[~self.sees(corners, goal, arrive)] = np.inf
        total = out[:, None] + length + home
        if not np.isfinite(total).any():
            return np.zeros((0, 2))
        first, last = np.unravel_index(np.argmin(total), total.shape)
        way = [int(last)]
        while way[-1] != first:
            way.append(int(before[first, way[-1]]))
        return np.concatenate([start[None], corners[way[::-1]], goal[None]])

    def draw_points(
        self, rng: np.random.Generator, number: int, clearance_m: float = 0.5, area: str | None = None
    ) -> NDArray[np.float64]:
        """Up to ``number`` free points (N, 2) of the areas, evenly spread; fewer where there is hardly any room."""
        chosen = np.array([self.areas[area]] if area else list(self.areas.values()))
        size = np.maximum(chosen[:, 2:] - chosen[:, :2], 0)
        share = size.prod(axis=1) / size.prod(axis=1).sum()
        found = np.zeros((0, 2))
        for _ in range(20):
            which = rng.choice(len(chosen), size=4 * number + 8, p=share)
            points = chosen[which, :2] + rng.random((len(which), 2)) * size[which]
            found = np.concatenate([found, points[self.is_free(points, clearance_m)]])
            if len(found) >= number:
                break
        return found[:number]

    def _margin(self, point: NDArray[np.float64]) -> float:
        return float(min(MARGIN_M, 0.9 * self.clearance(point)[0]))

    def _within_obstacle(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        along, across = _in_frame(points, self.obstacles)
        half = self.obstacles[:, 2:4]
        inside = (abs(along) < half[:, 0]) & (abs(across) < half[:, 1])
        return np.asarray(inside.any(axis=1))

    @cached_property
    def _graph(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
        """Way-points (K, 2), the lengths (K, K) of the shortest ways between them, and each way's last point but one.

        The areas are rectangles, so a shortest way bends only at doors' jambs and at obstacles' corners.
        """
        corners = np.concatenate([_door_points(self.doors), _corner_points(self.obstacles)])
        corners = corners[self.is_free(corners, MARGIN_M)]
        i, j = np.triu_indices(len(corners), 1)
        length = np.hypot(*(corners[i] - corners[j]).T)
        table = np.full((len(corners), len(corners)), np.inf)
        seen = self.sees(corners[i], corners[j])
        table[i[seen], j[seen]] = table[j[seen], i[seen]] = length[seen]
        if not len(corners):
            return corners, table, np.zeros((0, 0), np.int32)
        shortest, before = shortest_path(table, directed=False, return_predecessors=True)
        return corners, shortest, before


def build(scene: Scene, rng: np.random.Generator) -> Place:
    """The place of a scene. Colours, windows and other details that the settings leave open are drawn.

    Raises:
        SceneError: A door is in no wall, or does not fit into it.
    """
    plan = Plan.of(scene)
    mesh = Mesh()
    solids = masonry.draw(mesh, plan, scene, rng)
    stands = [furniture.stand(mesh, obstacle, plan.base(obstacle), rng) for obstacle in scene.obstacles]
    obstacles = _rows([stand.footprint for stand in stands], 5)
    return Place(
        surface=mesh.surface(),
        floors=plan.floors(),
        segments=np.concatenate([plan.segments(), _outlines(obstacles)]),
        obstacles=obstacles,
        solids=_rows([*solids, *(box for stand in stands for box in stand.solids)], 7),
        seats=_rows([seat for stand in stands for seat in stand.seats], 4),
        doors=plan.doors,
        areas={side.area: plan.inner(side.area) for side in plan.sides},
    )


def point_to_segments(points: NDArray[np.float64], segments: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, S, 2) m, from the nearest point of each of (S, 4) segments to each of (N, 2) points."""
    start, along = segments[:, :2], segments[:, 2:] - segments[:, :2]
    offset = points[:, None] - start
    share = np.clip((offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12), 0, 1)
    nearest: NDArray[np.float64] = offset - share[..., None] * along
    return nearest


def lines_to_segments(
    start: NDArray[np.float64], end: NDArray[np.float64], segments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, S) m between the straight lines from (N, 2) to (N, 2) and each of (S, 4) segments; 0 where they cross."""
    one, two = segments[:, :2], segments[:, 2:]
    sides = [
        _cross(end[:, None] - start[:, None], one - start[:, None])
        * _cross(end[:, None] - start[:, None], two - start[:, None]),
        _cross(two - one, start[:, None] - one) * _cross(two - one, end[:, None] - one),
    ]
    # Two lines that do not cross are nearest at an end of one of them.
    lines = np.concatenate([start, end], axis=1)
    gaps = [
        np.hypot(*np.moveaxis(point_to_segments(start, segments), -1, 0)),
        np.hypot(*np.moveaxis(point_to_segments(end, segments), -1, 0)),
        np.hypot(*np.moveaxis(point_to_segments(one, lines), -1, 0)).T,
        np.hypot(*np.moveaxis(point_to_segments(two, lines), -1, 0)).T,
    ]
    return np.where((sides[0] < 0) & (sides[1] < 0), 0.0, np.minimum.reduce(gaps))


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return area


def _in_frame(
    points: NDArray[np.float64], obstacles: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    offset = points[:, None] - obstacles[:, :2]
    cos, sin = np.cos(obstacles[:, 4]), np.sin(obstacles[:, 4])
    return offset[..., 0] * cos + offset[..., 1] * sin, offset[..., 1] * cos - offset[..., 0] * sin


def _rectangles(obstacles: NDArray[np.float64], grow_m: float = 0.0) -> NDArray[np.float64]:
    """(O, 4, 2) corners, counter-clockwise."""
    cos, sin = np.cos(obstacles[:, 4, None]), np.sin(obstacles[:, 4, None])
    along = (obstacles[:, 2, None] + grow_m) * np.array([-1, 1, 1, -1])
    across = (obstacles[:, 3, None] + grow_m) * np.array([-1, -1, 1, 1])
    turned = np.stack([along * cos - across * sin, along * sin + across * cos], axis=-1)
    return obstacles[:, None, :2] + turned


def _outlines(obstacles: NDArray[np.float64]) -> NDArray[np.float64]:
    corners = _rectangles(obstacles)
    return np.concatenate([corners, np.roll(corners, -1, axis=1)], axis=-1).reshape(-1, 4)


def _corner_points(obstacles: NDArray[np.float64]) -> NDArray[np.float64]:
    return _rectangles(obstacles, CORNER_M).reshape(-1, 2)


def _door_points(doors: Sequence[Doorway]) -> NDArray[np.float64]:
    points = []
    for door in doors:
        lateral = max(door.width_m / 2 - CORNER_M, 0.0)
        for along in dict.fromkeys((-lateral, 0.0, lateral)):
            for across in (-CORNER_M, door.depth_m / 2, door.depth_m + CORNER_M):
                points.append(door.point(across, along))
    return _rows(points, 2)


def _rows(rows: Sequence[ArrayLike], columns: int) -> NDArray[np.float64]:
    return np.array(rows, float).reshape(-1, columns)
