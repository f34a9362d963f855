"""Surfaces cut into facets so small that a distorted edge is as good as straight, and where rays meet them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from scenes.camera import Camera
from scenes.records import Surface

Floats = NDArray[np.float64]
STRAIGHT_PX = 0.15  # how far an edge's middle may lie off the straight line between its ends
ROUNDS = 24  # of halving, at most: from 100 m to a hundredth of a millimetre


def finest_angle(camera: Camera) -> float:
    """The angle (rad) under which an edge may be seen, so that distortion bends it by `STRAIGHT_PX` at most.

    An edge of length L at depth 1 sags by L^2 / 8 times the second derivative of the distorted radius.
    """
    corners = np.array([(x, y) for x in (0, camera.size[0]) for y in (0, camera.size[1])], np.float64)
    reach = float(np.linalg.norm(camera.rays(corners)[:, :2], axis=1).max())
    k1, k2, p1, p2, k3 = np.abs(camera.distortion)
    bend = 6 * k1 * reach + 20 * k2 * reach**3 + 42 * k3 * reach**5 + 6 * (p1 + p2)
    return float(math.sqrt(8 * STRAIGHT_PX / (camera.K[0, 0] * bend))) / (1 + reach**2)


def cut_fine(surface: Surface, eye: Floats, angle: float) -> tuple[Surface, NDArray[np.int32]]:
    """A surface whose edges are seen from a point under ``angle`` rad at most, and (T,) each triangle's old row.

    Edges are halved, each alike in all its triangles, so no gaps come about. Triangles no longer share vertices.
    """
    columns = np.concatenate(
        (
            surface.vertices,
            surface.normals,
            surface.colour,
            surface.colour2,
            surface.gloss[:, None],
            surface.paint,
            surface.mask[:, None],
        ),
        axis=1,
    ).astype(np.float32)
    soup = columns[surface.triangles]  # (T, 3, 17)
    old = np.arange(len(soup), dtype=np.int32)
    done, olds = [], []
    least = math.cos(angle)
    for _ in range(ROUNDS):
        ways = soup[..., :3] - eye
        ways /= np.maximum(np.linalg.norm(ways, axis=2, keepdims=True), 1e-9)
        cosines = np.stack([(ways[:, k] * ways[:, (k + 1) % 3]).sum(axis=1) for k in range(3)], axis=1)
        good = (cosines >= least).all(axis=1)
        done.append(soup[good])
        olds.append(old[good])
        soup, old, worst = soup[~good], old[~good], cosines[~good].argmin(axis=1)
        if not len(soup):
            break
        row = np.arange(len(soup))
        a, b, c = (soup[row, (worst + k) % 3] for k in range(3))
        middle = (a + b) / 2
        soup = np.concatenate((np.stack((a, middle, c), axis=1), np.stack((middle, b, c), axis=1)))
        old = np.concatenate((old, old))
    soup, old = np.concatenate((*done, soup)), np.concatenate((*olds, old))
    points = soup.reshape(-1, columns.shape[1])
    first = np.repeat(surface.triangles[old, 0], 3)
    made = Surface(
        vertices=points[:, 0:3],
        normals=points[:, 3:6],
        triangles=np.arange(len(points), dtype=np.int32).reshape(-1, 3),
        colour=points[:, 6:9],
        colour2=points[:, 9:12],
        pattern=surface.pattern[first],
        frequency=surface.frequency[first],
        gloss=points[:, 12],
        paint=points[:, 13:16],
        mask=points[:, 16],
    )
    return made, old


def cut(eye: Floats, rays: Floats, corners: Floats) -> tuple[Floats, Floats]:
    """Where rays (N, 3) from a point meet the planes of triangles (N, 3, 3): (N,) along them, (N, 3) barycentric.

    Möller & Trumbore 1997, without the test whether the triangle itself is met. Numbers without meaning where a ray
    lies in its plane.
    """
    a = corners[:, 0]
    u, v = corners[:, 1] - a, corners[:, 2] - a
    cross = np.cross(rays, v)
    volume = (u * cross).sum(axis=1)
    scale = 1 / np.where(np.abs(volume) < 1e-15, 1e-15, volume)
    from_a = eye - a
    b = (from_a * cross).sum(axis=1) * scale
    other = np.cross(from_a, u)
    c = (rays * other).sum(axis=1) * scale
    return (v * other).sum(axis=1) * scale, np.stack((1 - b - c, b, c), axis=1)
