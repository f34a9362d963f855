"""What a pixel shows, found by cutting its ray with every triangle: the slow, obvious twin of a renderer.

Nothing here is shared with ``scenes``' renderer and cameras: 64-bit arithmetic, lens and pose written out again.
A pixel's centre is taken back through the lens by Newton's method, its ray is cut with all triangles (Möller &
Trumbore, "Fast, minimum storage ray/triangle intersection", 1997), holes are passed through, the nearest cut wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAREST_M = 0.01  # what is closer to the camera than this is not seen
PAIRS_AT_ONCE = 1_000_000  # of a ray and a triangle: bounds the memory


@dataclass(frozen=True)
class View:
    """A camera at one time, as bare numbers: x right, y down, z forward; x_cam = R x_world + t."""

    K: NDArray[np.float64]  # (3, 3) px
    R: NDArray[np.float64]  # (3, 3)
    t: NDArray[np.float64]  # (3,) m
    distortion: NDArray[np.float64]  # (5,) k1 k2 p1 p2 k3, as OpenCV's


@dataclass(frozen=True)
class Mesh:
    """V points now and at the next frame, and T triangles between them, each of a person or of the place."""

    now: NDArray[np.float64]  # (V, 3) m
    after: NDArray[np.float64]  # (V, 3) m
    mask: NDArray[np.float64]  # (V,) a hole where it is negative between the corners
    triangles: NDArray[np.int64]  # (T, 3)
    people: NDArray[np.int64]  # (T,) 0: the place


@dataclass(frozen=True)
class Seen:
    """What P pixels show."""

    people: NDArray[np.int64]  # (P,) 0: the place, or nothing
    depth_m: NDArray[np.float64]  # (P,) along the optical axis; infinite where there is nothing
    flow_px: NDArray[
        np.float64
    ]  # (P, 2) to where the same point is at the next frame; NaN where there is nothing
    margin_m: NDArray[np.float64]  # (P,) depth from the first surface to the second one


# --- the lens


def distorted(ideal: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the lens puts points (N, 2) of the plane z = 1, in that plane (Brown 1971, OpenCV's order)."""
    x, y = ideal[:, 0], ideal[:, 1]
    k1, k2, p1, p2, k3 = k
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ),
        axis=1,
    )


def undistorted(seen: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points (N, 2) that the lens puts there: Newton's method, its derivatives by differences.

    Raises:
        ValueError: No such point was found: this lens shows nothing there.
    """
    ideal = seen.copy()
    step = 1e-6
    for _ in range(30):
        wrong = distorted(ideal, k) - seen
        if np.abs(wrong).max(initial=0) < 1e-12:
            return ideal
        along_x, along_y = (
            (distorted(ideal + move, k) - distorted(ideal - move, k)) / (2 * step)
            for move in (np.array([step, 0]), np.array([0, step]))
        )
        slope = np.stack((along_x, along_y), axis=2)  # (N, 2, 2), d seen / d ideal
        ideal = ideal - np.linalg.solve(slope, wrong[:, :, None])[:, :, 0]
    raise ValueError("no way back through this lens")


def projected(points: NDArray[np.float64], view: View) -> NDArray[np.float64]:
    """Pixels (N, 2) of world points (N, 3) in front of the camera."""
    own = points @ view.R.T + view.t
    return distorted(own[:, :2] / own[:, 2:], view.distortion) @ view.K[:2, :2].T + view.K[:2, 2]


def rays(pixels: NDArray[np.float64], view: View) -> NDArray[np.float64]:
    """Directions (P, 3) of pixels (P, 2) in the camera's own frame; z is 1, so a ray's length is a depth."""
    plane = (pixels - view.K[:2, 2]) @ np.linalg.inv(view.K[:2, :2]).T
    ideal = undistorted(plane, view.distortion)
    return np.column_stack((ideal, np.ones(len(ideal))))


# --- bodies


def posed(
    rest: NDArray[np.floating],
    bones: NDArray[np.integer],
    weights: NDArray[np.floating],
    matrices: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Points (V, 3) at rest moved by their bones: linear blend skinning, bone by bone.

    Args:
        bones: (V, J) rows of ``matrices``.
        weights: (V, J), in sum 1.
        matrices: (B, 3, 4) from rest to the world.
    """
    moved = np.zeros((len(rest), 3))
    for column in range(bones.shape[1]):
        own = matrices[bones[:, column]].astype(np.float64)
        there = np.einsum("vij,vj->vi", own[:, :, :3], rest.astype(np.float64)) + own[:, :, 3]
        moved += weights[:, column : column + 1].astype(np.float64) * there
    return moved


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    start = np.cumsum([0, *(len(mesh.now) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.now for mesh in meshes]),
        np.concatenate([mesh.after for mesh in meshes]),
        np.concatenate([mesh.mask for mesh in meshes]),
        np.concatenate([mesh.triangles + first for mesh, first in zip(meshes, start)]),
        np.concatenate([mesh.people for mesh in meshes]),
    )


# --- rays and triangles


def cut(
    directions: NDArray[np.float64], corners: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where ray n from the origin cuts triangle n, seen from either side.

    Args:
        directions: (N, 3).
        corners: (N, 3 corners, 3).

    Returns:
        Length (N,) along the ray in units of its direction, NaN where it misses; the corners' weights (N, 3).
    """
    origin_from_a = -corners[:, 0]
    ab, ac = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(directions, ac)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / np.einsum("ni,ni->n", ab, across)  # infinite where the ray lies in the triangle's plane
        u = np.einsum("ni,ni->n", origin_from_a, across) * scale
        turned = np.cross(origin_from_a, ab)
        v = np.einsum("ni,ni->n", directions, turned) * scale
        length = np.einsum("ni,ni->n", ac, turned) * scale
        is_cut = (u >= 0) & (v >= 0) & (u + v <= 1) & np.isfinite(length)
        weights = np.stack((1 - u - v, u, v), axis=1)
    return np.where(is_cut, length, np.nan), weights


def _pairs(
    directions: NDArray[np.float64], corners: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rays and triangles that may meet: a ray's x lies between the least and the greatest x of the corners.

    With z = 1 a ray is a point of the plane z = 1, and there a triangle in front of the camera stays one.
    """
    order = np.argsort(directions[:, 0], kind="stable")
    x = directions[order, 0]
    depth = corners[:, :, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = corners[:, :, 0] / depth
    is_before = (depth > NEAREST_M).all(1)
    low = np.where(is_before, np.searchsorted(x, flat.min(1) - 1e-9), 0)
    high = np.where(is_before, np.searchsorted(x, flat.max(1) + 1e-9, side="right"), len(x))
    high = np.where((depth > NEAREST_M).any(1), high, low)  # none of what lies behind the camera
    count = high - low
    first = 0
    while first < len(corners):
        many = np.cumsum(count[first:])
        last = first + max(1, int(np.searchsorted(many, PAIRS_AT_ONCE)))
        own = count[first:last]
        triangle = np.repeat(np.arange(first, last), own)
        place = np.arange(len(triangle)) - np.repeat(np.cumsum(own) - own, own)
        yield order[low[triangle] + place], triangle
        first = last


def look(pixels: NDArray[np.float64], view: View, mesh: Mesh, view_after: View | None = None) -> Seen:
    """What pixels (P, 2) show.

    Args:
        view_after: The camera at the next frame; None: it does not move.
    """
    directions = rays(pixels, view)
    corners = (mesh.now @ view.R.T + view.t)[mesh.triangles]
    best = np.full(len(pixels), np.inf)
    second = np.full(len(pixels), np.inf)
    hit = np.full(len(pixels), -1)
    shares = np.zeros((len(pixels), 3))
    for ray, triangle in _pairs(directions, corners):
        depth, weights = cut(directions[ray], corners[triangle])
        solid = (mesh.mask[mesh.triangles[triangle]] * weights).sum(1) >= 0
        kept = np.flatnonzero((depth > NEAREST_M) & solid)
        kept = kept[np.argsort(depth[kept])]
        ray, triangle, depth, weights = ray[kept], triangle[kept], depth[kept], weights[kept]
        for rows in _first_two(ray):  # the nearest cut of every ray among these, then the next one
            own, at = ray[rows], depth[rows]
            is_nearer = at < best[own]
            second[own] = np.where(is_nearer, best[own], np.minimum(second[own], at))
            best[own] = np.where(is_nearer, at, best[own])
            hit[own] = np.where(is_nearer, triangle[rows], hit[own])
            shares[own] = np.where(is_nearer[:, None], weights[rows], shares[own])
    found = hit >= 0
    flow = np.full((len(pixels), 2), np.nan)
    after = np.einsum("pk,pki->pi", shares[found], mesh.after[mesh.triangles[hit[found]]])
    flow[found] = projected(after, view_after or view) - pixels[found]
    with np.errstate(invalid="ignore"):
        margin = np.where(found, second - best, np.inf)
    return Seen(np.where(found, mesh.people[hit], 0), best, flow, margin)


def _first_two(ray: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows of the first and of the second cut of each ray; cuts come by rising depth."""
    rest = np.arange(len(ray))
    for _ in range(2):
        _, rows = np.unique(ray[rest], return_index=True)
        yield rest[rows]
        rest = np.delete(rest, rows)


def centres(size: tuple[int, int]) -> NDArray[np.float64]:
    """All pixel centres (H W, 2) of a picture of (width, height), row by row."""
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    return np.stack((x.ravel(), y.ravel()), axis=1)


# --- from masks


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """The box (4,) x1 y1 x2 y2 around all pixels of a mask (H, W), None where there are none.

    It passes along the pixels' outer edges, so it is up to half a pixel larger on each side than the silhouette
    whose pixel centres it holds.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def visibilities(
    masks: NDArray[np.integer], alone: Mapping[int, NDArray[np.integer]], pad_px: int
) -> dict[int, float]:
    """Share of each person's silhouette that is seen.

    Args:
        masks: (H, W) who is seen in each pixel.
        alone: Each person's (H + 2 pad, W + 2 pad) mask in an empty scene, in a picture larger by ``pad_px`` on
            every side.
    """
    H, W = masks.shape
    found = {}
    for person, whole in alone.items():
        if whole.shape != (H + 2 * pad_px, W + 2 * pad_px):
            raise ValueError(
                f"a mask of {whole.shape} is not {pad_px} px larger than {masks.shape} all round"
            )
        size = int((whole == person).sum())
        if size:
            found[person] = int((masks == person).sum()) / size
    return found


# --- feet


@dataclass(frozen=True)
class Slips:
    """How feet slide while they touch the floor."""

    planted_m_s: NDArray[np.float64]  # (P,) speed of a foot at each instant well within a contact
    slid_m: NDArray[np.float64]  # (C,) how far it slides in each contact, landing and lifting included


def slips(
    soles: NDArray[np.floating], step_s: float, *, near_m: float = 0.004, edge_s: float = 0.04
) -> Slips:
    """How one sole slides on the floor, z = 0.

    The foot touches where some of its points are within ``near_m`` of the floor at one instant and at the next; its
    speed is the median horizontal speed of these points, so that one which is about to lift does not count for a foot
    that rolls over it. It is planted but for ``edge_s`` at either end of a contact, when it lands and lifts.

    Args:
        soles: (N instants, V, 3) points under one sole, m; z up.
        step_s: Between two instants.
    """
    touches = soles[..., 2] <= near_m
    speeds = np.hypot(*np.moveaxis(np.diff(soles[..., :2], axis=0), -1, 0)) / step_s
    both = touches[:-1] & touches[1:]
    speed = np.array([np.median(own[on]) if on.any() else np.nan for own, on in zip(speeds, both)])
    edge = round(edge_s / step_s)
    planted, slid = [], []
    for contact in np.split(np.arange(len(speed)), np.flatnonzero(np.diff(np.isnan(speed))) + 1):
        if not np.isnan(speed[contact[0]]):
            planted.append(speed[contact[edge : len(contact) - edge]])
            slid.append(speed[contact].sum() * step_s)
    return Slips(np.concatenate(planted) if planted else np.zeros(0), np.array(slid))
