"""Painted triangles of places: quads, boxes, cylinders and bushes, put together into one `records.Surface`.

Lengths in metres. Every shape is given in the frame of its mesh (`Mesh.at`): x along, y across, z up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scenes.patterns import PLAIN
from scenes.records import Surface

Colour = tuple[float, float, float]
CELL_M = (
    2.0  # no edge of a triangle is longer, so that light and lens distortion can be worked out at corners
)

# The six faces of a box: corner, first edge, second edge, in units of its size; outside is first x second.
_FACES = {
    "-z": ((0, 0, 0), (0, 1, 0), (1, 0, 0)),
    "+z": ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
    "-y": ((0, 0, 0), (1, 0, 0), (0, 0, 1)),
    "+y": ((1, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (0, -1, 0), (0, 0, 1)),
    "+x": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}


@dataclass(frozen=True)
class Paint:
    """How a shape is painted: `records.Surface` says what the fields mean."""

    colour: Colour
    colour2: Colour | None = None  # None: a little darker than colour
    pattern: int = PLAIN
    frequency: float = 1.0
    gloss: float = 0.0
    origin: tuple[float, float, float] | None = (
        None  # of the pattern, in the frame drawn in; None: the world's
    )

    def second(self) -> Colour:
        red, green, blue = self.colour if self.colour2 is None else self.colour2
        dark = 0.82 if self.colour2 is None else 1.0
        return red * dark, green * dark, blue * dark


@dataclass(frozen=True)
class _Part:
    vertices: NDArray[np.float64]  # (V, 3)
    normals: NDArray[np.float64]  # (V, 3)
    triangles: NDArray[np.int64]  # (T, 3)
    paint: Paint
    origin: NDArray[np.float64]  # (3,) of the pattern, in the world
    shade: NDArray[np.float64]  # (V,) factor of both colours


class Mesh:
    """Collects painted shapes. ``at`` gives the same mesh with another frame to draw in."""

    def __init__(
        self, parts: list[_Part] | None = None, shift: ArrayLike = (0, 0, 0), turn: float = 0.0
    ) -> None:
        self._parts: list[_Part] = [] if parts is None else parts
        self._shift = np.asarray(shift, float)
        self._turn = np.array(
            [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]], float
        )

    def at(self, x: float, y: float, turn_rad: float = 0.0, z: float = 0.0) -> Mesh:
        """The same mesh, drawn in from a frame at this place of the world."""
        return Mesh(self._parts, (x, y, z), turn_rad)

    def quad(
        self,
        corner: ArrayLike,
        u: ArrayLike,
        v: ArrayLike,
        paint: Paint,
        *,
        fade: tuple[float, float] = (1, 1),
    ) -> None:
        """A parallelogram in cells of at most `CELL_M`, seen from where ``u`` x ``v`` points to.

        Args:
            corner, u, v: (3,) m, one corner and both edges.
            fade: Brightness where ``v`` begins and where it ends.
        """
        corner, u, v = (np.asarray(a, float) for a in (corner, u, v))
        columns, rows = (max(1, math.ceil(math.sqrt(edge @ edge) / CELL_M - 1e-9)) for edge in (u, v))
        if columns == rows == 1:  # most are: no grid to make
            vertices, up = (
                np.array([corner, corner + u, corner + v, corner + u + v]),
                np.array([0.0, 0, 1, 1]),
            )
            triangles = np.array([[0, 1, 3], [0, 3, 2]])
        else:
            shares = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
            across, up = shares[0].reshape(-1), shares[1].reshape(-1)
            vertices = corner + across[:, None] * u + up[:, None] * v
            lower = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1, 1)
            triangles = np.concatenate([lower + [0, 1, columns + 2], lower + [0, columns + 2, columns + 1]])
        normal = np.array([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]])
        normals = np.tile(normal / math.sqrt(normal @ normal), (len(vertices), 1))
        self._add(vertices, normals, triangles, paint, fade[0] + (fade[1] - fade[0]) * up)

    def polygon(self, corners: ArrayLike, paint: Paint) -> None:
        """A convex flat polygon of (K, 3) corners, counter-clockwise as seen from its outside."""
        points = np.asarray(corners, float)
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        fan = np.arange(1, len(points) - 1)
        triangles = np.column_stack([np.zeros_like(fan), fan, fan + 1])
        self._add(points, np.broadcast_to(normal / np.linalg.norm(normal), points.shape), triangles, paint)

    def box(
        self, lower: ArrayLike, upper: ArrayLike, paint: Paint, *, without: Sequence[str] = ("-z",)
    ) -> None:
        """A box between two corners; ``without`` names faces that nobody can see, as "-z"."""
        lower, upper = np.asarray(lower, float), np.asarray(upper, float)
        size = upper - lower
        for name, (corner, u, v) in _FACES.items():
            if name not in without:
                self.quad(lower + size * corner, size * u, size * v, paint)

    def taper(
        self, lower: tuple[float, float, float, float], upper: tuple[float, float, float, float],
        z: tuple[float, float], paint: Paint, *, top: Paint | None = None,
    ) -> None:  # fmt: skip
        """A frustum from the rectangle ``lower`` (x0, y0, x1, y1) at z[0] to ``upper`` at z[1], with a top."""
        low, high = (
            [(r[0], r[1], h), (r[2], r[1], h), (r[2], r[3], h), (r[0], r[3], h)]
            for r, h in zip((lower, upper), z)
        )
        for i in range(4):
            j = (i + 1) % 4
            self._patch(low[i], low[j], high[j], high[i], paint)
        self._patch(high[0], high[1], high[2], high[3], top or paint)

    def _patch(self, a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike, paint: Paint) -> None:
        """A flat four-sided face, cut along a -> b and d -> c."""
        one, two, three, four = (np.asarray(corner, float) for corner in (a, b, c, d))
        pieces = max(
            1, math.ceil(max(np.linalg.norm(two - one), np.linalg.norm(three - four)) / CELL_M - 1e-9)
        )
        marks = [i / pieces for i in range(pieces + 1)]
        for begin, end in zip(marks, marks[1:]):
            along, above = two - one, three - four
            self.polygon(
                [one + begin * along, one + end * along, four + end * above, four + begin * above], paint
            )

    def cylinder(
        self, start: ArrayLike, end: ArrayLike, radius: float, paint: Paint, *, sides: int = 12,
        end_radius: float | None = None, cap: Paint | None = None,
    ) -> None:  # fmt: skip
        """A round rod or, with another ``end_radius``, a cone between two points, capped at both ends."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        axis = (end - start) / np.linalg.norm(end - start)
        side = np.cross(axis, (1, 0, 0) if abs(axis[0]) < 0.7 else (0, 1, 0))
        side /= np.linalg.norm(side)
        angle = np.arange(sides + 1) * (2 * np.pi / sides)
        ring = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(axis, side)
        far = radius if end_radius is None else end_radius
        pieces = max(1, int(np.ceil(np.linalg.norm(end - start) / CELL_M - 1e-9)))
        share = np.linspace(0, 1, pieces + 1)[:, None, None]
        vertices = start + share * (end - start) + (radius + share * (far - radius)) * ring
        lower = (np.arange(pieces)[:, None] * (sides + 1) + np.arange(sides)).reshape(-1, 1)
        triangles = np.concatenate([lower + [0, 1, sides + 2], lower + [0, sides + 2, sides + 1]])
        normals = np.broadcast_to(ring, vertices.shape)
        self._add(vertices.reshape(-1, 3), normals.reshape(-1, 3), triangles, paint)
        self.polygon(end + far * ring[:-1], cap or paint)
        self.polygon(start + radius * ring[-2::-1], cap or paint)

    def bush(self, centre: ArrayLike, radii: ArrayLike, paint: Paint, rng: np.random.Generator) -> None:
        """A knobbly ellipsoid with leaves' lights and shades: a bush, or a tree's crown."""
        rows, columns = 7, 11
        latitude = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
        longitude = np.arange(columns) * (2 * np.pi / columns)
        unit = np.stack(
            [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude),
             np.broadcast_to(np.sin(latitude), (rows, columns))], axis=-1
        )  # fmt: skip
        lump = 1 + 0.16 * rng.standard_normal((rows, columns, 1))
        lump[[0, -1]] = lump[[0, -1], :1]
        vertices = (np.asarray(centre, float) + unit * lump * np.asarray(radii, float)).reshape(-1, 3)
        i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
        a, b = i * columns + j, i * columns + (j + 1) % columns
        # At the poles a ring is one point, and half of the triangles would have no area.
        halves = [np.stack([a, b, b + columns], -1)[1:], np.stack([a, b + columns, a + columns], -1)[:-1]]
        triangles = np.concatenate([half.reshape(-1, 3) for half in halves])
        shade = 0.55 + 0.3 * (unit[..., 2].reshape(-1) + 1) / 2 + 0.2 * rng.random(rows * columns)
        self._add(vertices, unit.reshape(-1, 3), triangles, paint, shade)

    def _add(
        self, vertices: NDArray[np.float64], normals: NDArray[np.float64], triangles: NDArray[np.int64],
        paint: Paint, shade: NDArray[np.float64] | None = None,
    ) -> None:  # fmt: skip
        world = vertices @ self._turn.T + self._shift
        origin = np.zeros(3) if paint.origin is None else self._turn @ paint.origin + self._shift
        shade = np.ones(len(world)) if shade is None else shade
        self._parts.append(_Part(world, normals @ self._turn.T, triangles, paint, origin, shade))

    def surface(self) -> Surface:
        """Everything drawn so far; of an empty mesh no vertex and no triangle."""
        parts = self._parts
        counts = [len(part.vertices) for part in parts]
        begins = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        vertices = _stack([part.vertices for part in parts])

        def each(values: Sequence[float | int]) -> NDArray[np.float64]:
            return np.repeat(np.asarray(values, float), counts)

        def colours(values: Sequence[Colour]) -> NDArray[np.float32]:
            flat = np.repeat(np.asarray(values, float).reshape(-1, 3), counts, axis=0)
            shade = np.concatenate([np.zeros(0), *(part.shade for part in parts)])
            return np.clip(flat * shade[:, None], 0, 1).astype(np.float32)

        return Surface(
            vertices=vertices,
            normals=_stack([part.normals for part in parts]),
            triangles=np.concatenate(
                [np.zeros((0, 3), np.int64), *(part.triangles + begin for part, begin in zip(parts, begins))]
            ).astype(np.int32),
            colour=colours([part.paint.colour for part in parts]),
            colour2=colours([part.paint.second() for part in parts]),
            pattern=each([part.paint.pattern for part in parts]).astype(np.int32),
            frequency=each([part.paint.frequency for part in parts]).astype(np.float32),
            gloss=each([part.paint.gloss for part in parts]).astype(np.float32),
            paint=_stack([part.vertices - part.origin for part in parts]),
            mask=np.ones(len(vertices), np.float32),
        )


def _stack(rows: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, 3)), *rows]).astype(np.float32)
