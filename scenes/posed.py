"""A figure posed in the world: skin, outline, balls. Arithmetic alone, nothing is drawn."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from scenes.camera import Camera
from scenes.records import Figure, Surface

Floats = NDArray[np.float64]
Matrices = NDArray[np.floating]  # (B, 3, 4) rest -> world


class Posed:
    """Somebody at one instant, and at the next frame.

    The next frame's skin is worked out when somebody first asks for it.
    """

    def __init__(self, figure: Figure) -> None:
        surface = figure.surface
        points, each = figure.bones.shape
        rows = np.repeat(np.arange(points), each)
        self.figure = figure
        self._weights = csr_matrix(
            (figure.weights.ravel().astype(np.float32), (rows, figure.bones.ravel())),
            shape=(points, len(figure.skeleton.names)),
        )
        self._outline, self._share = outline(surface)
        self._root = int(np.flatnonzero(figure.skeleton.parents < 0)[0])
        self._now: NDArray[np.float32] = np.zeros((0, 3, 4), np.float32)
        self._after = self._now
        self._skin: NDArray[np.float32] | None = None
        self._skin_next: NDArray[np.float32] | None = None

    def pose(self, now: Matrices, after: Matrices) -> None:
        """Where the bones are now, and at the next frame."""
        was_next, skin_next = self._after, self._skin_next
        self._now, self._after = np.asarray(now, np.float32), np.asarray(after, np.float32)
        self._skin = skin_next if skin_next is not None and np.array_equal(self._now, was_next) else None
        self._skin_next = None

    @property
    def skin(self) -> NDArray[np.float32]:
        """(V, 6) points m and normals (about unit) in the world."""
        if self._skin is None:
            self._skin = self._skinned(self._now)
        return self._skin

    @property
    def skin_next(self) -> NDArray[np.float32]:
        """`skin` at the next frame."""
        if self._skin_next is None:
            self._skin_next = self._skinned(self._after)
        return self._skin_next

    def _skinned(self, matrices: NDArray[np.float32]) -> NDArray[np.float32]:
        mixed = self._weights @ matrices.reshape(-1, 12)  # linear blend skinning
        surface = self.figure.surface
        x, y, z = (surface.vertices[:, k, None] for k in range(3))
        nx, ny, nz = (surface.normals[:, k, None] for k in range(3))
        skin = np.empty((len(mixed), 6), np.float32)
        skin[:, :3] = mixed[:, 0::4] * x + mixed[:, 1::4] * y + mixed[:, 2::4] * z + mixed[:, 3::4]
        skin[:, 3:] = mixed[:, 0::4] * nx + mixed[:, 1::4] * ny + mixed[:, 2::4] * nz
        return skin

    def corners(self, triangles: NDArray[np.integer], *, after: bool = False) -> Floats:
        """(N, 3, 3) m of the corners of triangles (N,)."""
        points = (self.skin_next if after else self.skin)[:, :3]
        return points[self.figure.surface.triangles[triangles]].astype(np.float64)

    def box(self, camera: Camera, *, after: bool = False) -> tuple[Floats, float]:
        """(4,) px around the whole silhouette, and the depth (m) of its farthest point.

        NaN where nothing of it is in front of the camera.
        """
        points = (self.skin_next if after else self.skin)[:, :3]
        ends = points[self._outline[0]]
        edge = ends + (points[self._outline[1]] - ends) * self._share
        px, depth = camera.project(edge)
        good = depth > 0.1
        if not good.all():
            px = px[good]
        if not len(px) or np.isnan(px).all():
            return np.full(4, np.nan), math.nan
        x, y = np.ascontiguousarray(px[:, 0]), np.ascontiguousarray(px[:, 1])
        return np.array((np.nanmin(x), np.nanmin(y), np.nanmax(x), np.nanmax(y))), float(depth.max())

    def balls(self) -> tuple[Floats, Floats]:
        """Centres (S, 3) m and radii (S,) m of the balls that fill the figure."""
        one = self.figure
        turn = self._now[one.ball_bones].astype(np.float64)
        centres = np.einsum("sij,sj->si", turn[:, :, :3], one.ball_centres) + turn[:, :, 3]
        return centres, one.ball_radii.astype(np.float64)

    def stand(self) -> tuple[Floats, float]:
        """Where the root is above the floor (2,) m, and where it faces (rad)."""
        turn = self._now[self._root].astype(np.float64)
        at = turn[:, :3] @ self.figure.skeleton.heads[self._root] + turn[:, 3]
        ahead = turn[:, 2]  # where z of the rest frame points to
        return at[:2], math.atan2(ahead[1], ahead[0])


def outline(
    surface: Surface,
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]:
    """Points that a silhouette reaches to: two vertices each (P,), and where between them (P, 1).

    The vertices that are shown, and where the mask cuts an edge.
    """
    mask, triangles = surface.mask, surface.triangles
    shown = np.unique(triangles[(mask[triangles] >= 0).any(axis=1)])
    alone = shown[mask[shown] >= 0]
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[(mask[edges] >= 0).sum(axis=1) == 1]
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    first, last = mask[edges[:, 0]], mask[edges[:, 1]]
    share = np.concatenate((np.zeros(len(alone)), first / (first - last)))
    ends = np.concatenate((alone, edges[:, 0])), np.concatenate((alone, edges[:, 1]))
    return (ends[0].astype(np.int64), ends[1].astype(np.int64)), share[:, None].astype(np.float32)


def openness(figure: Figure) -> NDArray[np.float32]:
    """(V,) share of the sky's light that reaches each point past the figure's own balls, at rest."""
    surface = figure.surface
    to = figure.ball_centres[:, None] - surface.vertices  # (S, V, 3)
    distance = np.maximum(np.linalg.norm(to, axis=2), 1e-3)
    facing = (to * surface.normals).sum(axis=2) / distance
    radius = figure.ball_radii[:, None]
    taken = (np.maximum(facing - 0.1, 0) * np.minimum(radius / np.maximum(distance, radius), 1) ** 2).sum(
        axis=0
    )
    return np.clip(1.0 - 0.75 * taken, 0.3, 1).astype(np.float32)
