"""What is put on a body and is no piece of its mesh: long hair, hats' brims, glasses, bags and their straps.

Made on the canonical body and carried to each figure: straps and hair move with the nearest places of its skin, stiff
things with one anchor, hats with the box around the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scenes.body import CANON_HEIGHT_M, Body, Floats, canon, normals, template
from scenes.garments import step

_NEIGHBOURS = 6  # places of the skin that carry one point


@dataclass(frozen=True, eq=False)
class Mesh:
    """A thing in canonical coordinates (m)."""

    vertices: Floats  # (V, 3)
    triangles: NDArray[np.int32]  # (T, 3)
    outwards: Floats  # (V, 3) how it moves when the clothes below are 1 m thick
    bones: dict[str, Floats]  # weight (V,) by bone; empty: those of the skin below


def join(*meshes: Mesh) -> Mesh:
    """One thing out of several that name the same bones."""
    firsts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate(
            [mesh.triangles + first for mesh, first in zip(meshes, firsts[:-1], strict=True)]
        ).astype(np.int32),
        np.concatenate([mesh.outwards for mesh in meshes]),
        {name: np.concatenate([mesh.bones[name] for mesh in meshes]) for name in meshes[0].bones},
    )


def sheet(points: NDArray[np.floating], *, closed: bool = False) -> tuple[Floats, NDArray[np.int32]]:
    """A grid of points (R, C, 3) as vertices and triangles; ``closed`` joins the last column to the first."""
    rows, columns = points.shape[:2]
    number = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(number, -1, 1) if closed else number[:, 1:]
    left = number if closed else number[:, :-1]
    a, b, c, d = (corner.ravel() for corner in (left[:-1], right[:-1], right[1:], left[1:]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return points.reshape(-1, 3).astype(np.float32), triangles.astype(np.int32)


def blob(
    centre: Sequence[float],
    radii: Sequence[float],
    bone: str,
    *,
    boxiness: float = 0.0,
    taper: float = 0.0,
    frame: NDArray[np.float64] | None = None,
    outwards: Sequence[float] = (0.0, 0.0, 0.0),
    steps: tuple[int, int] = (10, 14),
) -> Mesh:
    """An ellipsoid, towards a box with rounded edges; ``taper`` narrows its upper end, rows of ``frame`` turn it."""
    v, u = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, steps[0]),
        np.arange(steps[1]) / steps[1] * 2 * np.pi,
        indexing="ij",
    )
    power = 1 - 0.72 * boxiness

    def bent(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sign(value) * np.abs(value) ** power)

    ring = bent(np.cos(v))
    local = np.stack([ring * bent(np.sin(u)), bent(np.sin(v)), ring * bent(np.cos(u))], -1)
    local[..., [0, 2]] *= 1 - taper * (local[..., 1:2] + 1) / 2
    local = local * np.asarray(radii)
    if frame is not None:
        local = local @ frame
    vertices, triangles = sheet(local + np.asarray(centre), closed=True)
    return Mesh(
        vertices,
        triangles,
        np.tile(np.array(outwards, np.float32), (len(vertices), 1)),
        {bone: np.ones(len(vertices), np.float32)},
    )


def tube(path: Floats, radii: Floats, bones: dict[str, Floats], *, sides: int = 7) -> Mesh:
    """A round thing along a path (P, 3) with radii (P,) or (P, 2); its bones' weights (P,) by point of the path."""
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    first = np.cross(along, np.eye(3)[np.abs(along).sum(0).argmin()])  # the axis that the path follows least
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(along, first)
    angle = np.arange(sides) / sides * 2 * np.pi
    thick = np.broadcast_to(np.asarray(radii).reshape(len(path), -1), (len(path), 2))
    ring = (
        np.cos(angle)[None, :, None] * (first * thick[:, :1])[:, None]
        + np.sin(angle)[None, :, None] * (second * thick[:, 1:])[:, None]
    )
    vertices, triangles = sheet(path[:, None] + ring, closed=True)
    return Mesh(
        vertices,
        triangles[:, ::-1],
        np.zeros_like(vertices),
        {name: np.repeat(weight, sides).astype(np.float32) for name, weight in bones.items()},
    )


# ---- carrying to a figure ----


@lru_cache(16)
def _surface(part: str, detail: float) -> tuple[cKDTree, Floats, Floats]:
    """A part of the canonical body: its tree, vertices and normals."""
    piece = template(detail).parts[part]
    vertices = canon(detail).vertices[piece.rows]
    return cKDTree(vertices), vertices, normals(vertices, piece.triangles)


@dataclass(frozen=True, eq=False)
class Binding:
    """Where points lie beside a part of the body."""

    part: str
    rows: NDArray[np.intp]  # (V, 6) of the part
    shares: Floats  # (V, 6)
    offset: Floats  # (V, 3) m from the shared place, on the canonical body

    def place(self, vertices: Floats, scale: float) -> Floats:
        """The points (V, 3) beside another body, of which these are the part's vertices."""
        return np.asarray(
            (vertices[self.rows] * self.shares[..., None]).sum(1) + self.offset * scale, np.float32
        )


def bind(points: Floats, detail: float, part: str = "body") -> Binding:
    tree, vertices, _ = _surface(part, detail)
    distance, rows = tree.query(points, k=_NEIGHBOURS)
    near = 1 / np.maximum(distance, 0.02) ** 2
    shares = (near / near.sum(1, keepdims=True)).astype(np.float32)
    return Binding(
        part,
        np.asarray(rows),
        shares,
        np.asarray(points - (vertices[rows] * shares[..., None]).sum(1), np.float32),
    )


@dataclass(frozen=True, eq=False)
class Anchor:
    """How a stiff thing follows: by a box around some places of the skin, whose size it takes on or not."""

    rows: NDArray[np.intp]
    stretches: bool

    def place(self, points: Floats, skin: Floats, canon_skin: Floats, scale: float) -> Floats:
        old, new = canon_skin[self.rows], skin[self.rows]
        low, high, low2, high2 = old.min(0), old.max(0), new.min(0), new.max(0)
        size = (high2 - low2) / (high - low) if self.stretches else np.full(3, scale)
        return np.asarray((points - (low + high) / 2) * size + (low2 + high2) / 2, np.float32)


@lru_cache(16)
def anchor(name: str, detail: float) -> Anchor:
    """``head``: the head without its ears; ``back``, ``hip_l``, ``hand_l``...: places that carry stiff things."""
    mesh = template(detail)
    at = canon(detail).vertices[mesh.parts["body"].rows]
    x, y, z = at.T
    if name == "head":
        head = mesh.weight_of("head")[mesh.parts["body"].rows] > 0.7
        return Anchor(np.flatnonzero(head & (np.abs(x) < 0.068)), True)
    if name == "back":
        return Anchor(np.flatnonzero((np.abs(x) < 0.13) & (z < -0.03) & (y > 1.08) & (y < 1.36)), False)
    side = 1 if name.endswith("_l") else -1
    if name.startswith("hip"):
        return Anchor(
            np.flatnonzero((x * side > 0.12) & (x * side < 0.24) & (y > 0.84) & (y < 1.0) & (z < 0.10)), False
        )
    hand = mesh.weight_of(f"hand_{name[-1]}")[mesh.parts["body"].rows] > 0.8
    return Anchor(np.flatnonzero(hand), False)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A thing and how it is carried; made once for all figures."""

    mesh: Mesh
    binding: Binding | None
    anchor: Anchor | None
    clothes: NDArray[np.intp]  # (V, 4) rows of the tights next to it
    bones: NDArray[np.int32]  # (V, 8)
    weights: Floats  # (V, 8)

    def place(self, figure: Body, outer: Floats, detail: float) -> Floats:
        """Its vertices (V, 3) m on a figure whose clothes lie ``outer`` m (canonical) off the tights' vertices."""
        parts = template(detail).parts
        scale = figure.height_m / CANON_HEIGHT_M
        lift = outer[self.clothes].max(1, keepdims=True)
        if self.anchor is not None:
            skin = figure.vertices[parts["body"].rows]
            placed = self.anchor.place(self.mesh.vertices, skin, _surface("body", detail)[1], scale)
            lift = np.quantile(lift, 0.7)  # a stiff thing stays stiff
        else:
            assert self.binding is not None
            placed = self.binding.place(figure.vertices[parts[self.binding.part].rows], scale)
        return np.asarray(placed + self.mesh.outwards * lift * scale, np.float32)


def fitted(mesh: Mesh, detail: float, *, to: str = "", part: str = "body") -> Fitted:
    """A thing bound to an anchor or, without one, to what is next to it of a part of the body."""
    names = template(detail).names
    bones = np.zeros((len(mesh.vertices), 8), np.int32)
    weights = np.zeros((len(mesh.vertices), 8), np.float32)
    for column, (name, share) in enumerate(mesh.bones.items()):
        bones[:, column], weights[:, column] = names.index(name), share
    binding = None if to else bind(mesh.vertices, detail, part)
    if not mesh.bones and binding is not None:
        bones, weights = _bones_of(binding, detail)
    _, near = _surface("tights", detail)[0].query(mesh.vertices, k=4)
    return Fitted(mesh, binding, anchor(to, detail) if to else None, np.asarray(near), bones, weights)


def _bones_of(binding: Binding, detail: float) -> tuple[NDArray[np.int32], Floats]:
    """The eight strongest bones of what is beneath each point."""
    mesh = template(detail)
    rows = mesh.parts[binding.part].first + binding.rows
    dense = np.zeros((len(rows), len(mesh.names)), np.float32)
    for k in range(rows.shape[1]):
        for j in range(8):
            np.add.at(
                dense,
                (np.arange(len(rows)), mesh.bones[rows[:, k], j]),
                binding.shares[:, k] * mesh.weights[rows[:, k], j],
            )
    best = np.argsort(-dense, axis=1, kind="stable")[:, :8].astype(np.int32)
    weights = np.take_along_axis(dense, best, 1)
    return best, np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


# ---- straps ----


def strap(
    path: Sequence[tuple[float, float, float]], detail: float, *, width: float = 0.05, lift: float = 0.006
) -> Mesh:
    """A ribbon over the body along a rough path (m), laid onto the tights."""
    points = _dense(np.asarray(path, np.float32), 0.03 if detail > 0.5 else 0.06)
    tree, vertices, normal = _surface("tights", detail)
    distance, rows = tree.query(points, k=8)
    share = 1 / np.maximum(distance, 0.01) ** 2
    share = (share / share.sum(1, keepdims=True))[..., None]
    place, up = (vertices[rows] * share).sum(1), _smooth((normal[rows] * share).sum(1))
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-9)
    middle = points - ((points - place) * up).sum(1, keepdims=True) * up + up * lift
    middle = _smooth(middle)
    along = np.gradient(middle, axis=0)
    side = np.cross(along, up)
    side *= width / 2 / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    grid = np.stack([middle - side, middle + up * 0.004, middle + side], 1)
    ribbon, triangles = sheet(grid)
    return Mesh(ribbon, triangles, np.repeat(up, 3, 0).astype(np.float32), {})


def _dense(path: Floats, spacing: float) -> Floats:
    lengths = np.append(0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1)))
    wanted = np.linspace(0, lengths[-1], max(3, int(lengths[-1] / spacing)))
    return np.stack([np.interp(wanted, lengths, path[:, axis]) for axis in range(3)], 1).astype(np.float32)


def _smooth(rows: Floats) -> Floats:
    for _ in range(2):
        padded = np.concatenate([rows[:1], rows, rows[-1:]])
        rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return rows


# ---- the things ----


@lru_cache(64)
def backpack(detail: float, size: float) -> Fitted:
    """The bag itself, on the back."""
    deep = 0.075 * size
    centre = (0.0, 1.20 - 0.06 * (size - 1), -0.125 - deep)
    bag = blob(
        centre, (0.145 * size, 0.215 * size, deep), "spine_03", boxiness=0.75, outwards=(0, 0, -1), taper=0.12
    )
    pocket = blob(
        (0.0, centre[1] - 0.07 * size, centre[2] - deep * 0.85),
        (0.11 * size, 0.11 * size, deep * 0.5),
        "spine_03",
        boxiness=0.8,
        outwards=(0, 0, -1),
        steps=(7, 10),
    )
    return fitted(join(bag, pocket), detail, to="back")


@lru_cache(8)
def backpack_straps(detail: float) -> Fitted:
    side = (
        (0.085, 1.30, -0.12),
        (0.085, 1.39, -0.06),
        (0.088, 1.42, 0.00),
        (0.090, 1.38, 0.08),
        (0.095, 1.30, 0.12),
        (0.110, 1.20, 0.12),
        (0.145, 1.12, 0.06),
        (0.150, 1.09, -0.02),
        (0.11, 1.07, -0.09),
    )
    mirrored = tuple((-x, y, z) for x, y, z in side)
    return fitted(join(strap(side, detail), strap(mirrored, detail)), detail, part="tights")


@lru_cache(64)
def front_strip(detail: float, width: float, low: float, high: float) -> Fitted:
    """A zip or a row of buttons."""
    path = [(0.0, y, 0.15) for y in np.linspace(high, low, 8)]
    return fitted(strap(path, detail, width=width, lift=0.004), detail, part="tights")


@lru_cache(16)
def messenger(detail: float, size: float, side: int) -> tuple[Fitted, Fitted]:
    """A bag at the hip and its strap over the other shoulder; ``side`` 1 left hip, -1 right."""
    hip = "hip_l" if side > 0 else "hip_r"
    bag = blob(
        (side * 0.205, 0.93, -0.045),
        (0.042 * size, 0.125 * size, 0.165 * size),
        "pelvis",
        boxiness=0.8,
        outwards=(side, 0, 0),
    )
    path = [
        (0.20, 0.99, 0.05),
        (0.13, 1.09, 0.12),
        (0.03, 1.24, 0.14),
        (-0.06, 1.37, 0.08),
        (-0.09, 1.42, 0.00),
        (-0.06, 1.37, -0.09),
        (0.03, 1.22, -0.11),
        (0.13, 1.07, -0.08),
        (0.20, 0.99, -0.03),
    ]
    return fitted(bag, detail, to=hip), fitted(
        strap([(side * x, y, z) for x, y, z in path], detail, width=0.035), detail, part="tights"
    )


@lru_cache(16)
def shoulder_bag(detail: float, size: float, side: int) -> tuple[Fitted, Fitted]:
    """A bag under the arm, on two handles over the shoulder of the same side."""
    bag = blob(
        (side * 0.195, 1.03, -0.06),
        (0.05 * size, 0.12 * size, 0.15 * size),
        "spine_02",
        boxiness=0.65,
        taper=0.15,
        outwards=(side, 0, 0),
    )
    path = [
        (0.19, 1.10, 0.05),
        (0.165, 1.24, 0.085),
        (0.13, 1.36, 0.05),
        (0.125, 1.40, 0.0),
        (0.13, 1.34, -0.06),
        (0.165, 1.22, -0.07),
        (0.19, 1.10, -0.06),
    ]
    return fitted(bag, detail, to="hip_l" if side > 0 else "hip_r"), fitted(
        strap([(side * x, y, z) for x, y, z in path], detail, width=0.025), detail, part="tights"
    )


@lru_cache(32)
def hand_bag(detail: float, kind: str, size: float, side: int) -> tuple[Fitted, Fitted]:
    """A bag that hangs from the hand, along the forearm, and its handles."""
    letter = "l" if side > 0 else "r"
    skeleton = canon(detail).skeleton
    elbow, wrist = (skeleton.heads[skeleton.names.index(f"{bone}_{letter}")] for bone in ("lowerarm", "hand"))
    down = (wrist - elbow) / np.linalg.norm(wrist - elbow)
    hip = np.array([1.0, 0.0, 0.0]) - down * down[0]  # towards the side: the bag's thin axis
    hip /= np.linalg.norm(hip)
    frame = np.stack([hip, -down, np.cross(hip, -down)])
    grip = wrist + down * 0.085
    wide, tall, thin = {
        "handbag": (0.15, 0.10, 0.05),
        "carrier": (0.16, 0.19, 0.055),
        "briefcase": (0.20, 0.14, 0.045),
    }[kind]
    drop = 0.14 if kind == "handbag" else 0.09
    top = grip + down * drop
    hand = f"hand_{letter}"
    bag = blob(
        top + down * tall * size + hip * side * 0.03,
        (thin * size, tall * size, wide * size),
        hand,
        boxiness=0.85 if kind != "handbag" else 0.6,
        taper=0.2 if kind == "handbag" else 0.0,
        frame=frame,
    )
    arc = np.linspace(-1, 1, 7)[:, None]
    handles = []
    for shift in (-0.5, 0.5):
        path = (
            grip
            + down * drop * np.abs(arc) ** 1.5
            + frame[2] * arc * wide * 0.5 * size
            + frame[0] * shift * thin
        )
        handles.append(
            tube(
                path.astype(np.float32),
                np.full(7, 0.006, np.float32),
                {hand: np.ones(7, np.float32)},
                sides=4,
            )
        )
    anchored = f"hand_{letter}"
    return fitted(bag, detail, to=anchored), fitted(join(*handles), detail, to=anchored)


@lru_cache(64)
def long_hair(detail: float, length_m: float, width: float) -> Fitted:
    """Hair that falls from the ears' height behind the shoulders, ``length_m`` below the crown."""
    end = 1.70 - length_m
    rows = np.linspace(1.640, end, max(5, int(round((1.64 - end) / (0.035 if detail > 0.5 else 0.07)))))
    half = np.radians(118)
    angle = np.linspace(-half, half, 19 if detail > 0.5 else 11)
    height = rows[:, None] + np.zeros_like(angle)[None]
    spread = 1 + 0.10 * np.sin(np.clip((1.64 - rows) / 0.16, 0, 1) * np.pi / 2)[:, None]
    x = 0.083 * np.sin(angle)[None] * spread
    z = 0.030 - 0.118 * np.cos(angle)[None] * (1 + 0 * spread)
    fall = step(height, 1.50, 1.41)  # from the round of the head to a sheet on the back
    flat_x = width * 0.115 * (angle / half)[None] + np.zeros_like(height)
    x = x * (1 - fall) + flat_x * fall
    z = z * (1 - fall) + (-0.108 + 0.045 * (flat_x / 0.115) ** 2 - 0.02 * step(height, 1.46, 1.36)) * fall
    height = height - 0.03 * np.cos(angle)[None] * (rows == rows[-1])[:, None]  # the lower edge is round
    vertices, triangles = sheet(np.stack([x, height, z], -1))
    flat = height.ravel().astype(np.float32)
    head = step(flat, 1.38, 1.53)
    behind = np.zeros_like(vertices)
    behind[:, 2] = -fall.ravel()
    return fitted(Mesh(vertices, triangles, behind, {"head": head, "spine_03": 1 - head}), detail)


@lru_cache(32)
def bob(detail: float, length_m: float, volume: float) -> Fitted:
    """Hair to the chin or the neck, all around but the face."""
    end = 1.70 - length_m
    rows = np.linspace(1.645, end, 7 if detail > 0.5 else 4)
    half = np.radians(128)
    angle = np.linspace(-half, half, 19 if detail > 0.5 else 11)
    low = np.clip((1.645 - rows) / (1.645 - end), 0, 1)[:, None]
    wide = volume * (1 + 0.16 * np.sin(low * np.pi * 0.75))
    x = 0.083 * np.sin(angle)[None] * wide
    z = 0.032 - 0.118 * np.cos(angle)[None] * (1 + (wide - 1) * 0.5 - 0.22 * low**2)
    vertices, triangles = sheet(np.stack([x, rows[:, None] + np.zeros_like(x), z], -1))
    weight = np.ones(len(vertices), np.float32)
    return fitted(Mesh(vertices, triangles, np.zeros_like(vertices), {"head": weight}), detail, to="head")


@lru_cache(16)
def pony_tail(detail: float, length_m: float) -> Fitted:
    """A tail that hangs from the back of the head, and its knot."""
    t = np.linspace(0, 1, 8)
    path = np.stack(
        [
            0 * t,
            1.645 - length_m * t - 0.02 * (1 - t),
            -0.080 - 0.055 * np.sin(np.minimum(t * 3, 1) * np.pi / 2) + 0.02 * t,
        ],
        1,
    )
    thick = 0.032 * np.sqrt(np.clip(t * 5 + 0.25, 0, 1)) * (1 - 0.65 * t**2)
    head = step(path[:, 1].astype(np.float32), 1.25, 1.50)
    tail = tube(path.astype(np.float32), thick.astype(np.float32), {"head": head, "spine_03": 1 - head})
    return fitted(replace(tail, outwards=np.zeros_like(tail.vertices)), detail, to="head")


@lru_cache(8)
def bun(detail: float, high: bool) -> Fitted:
    centre = (0.0, 1.70, -0.055) if high else (0.0, 1.620, -0.090)
    return fitted(blob(centre, (0.046, 0.042, 0.042), "head", steps=(7, 10)), detail, to="head")


@lru_cache(8)
def visor(detail: float) -> Fitted:
    """The peak of a cap."""
    angle = np.radians(np.linspace(-72, 72, 9))
    rows = []
    for out in np.linspace(0, 1, 4):
        forward = 0.115 + out * 0.085 * np.cos(angle) ** 0.7
        rows.append(
            np.stack(
                [
                    0.083 * np.sin(angle) * (1 - 0.05 * out),
                    1.660 - 0.030 * out - 0.02 * np.sin(angle) ** 2,
                    0.03 + forward * np.cos(angle) ** 0.9,
                ],
                1,
            )
        )
    vertices, triangles = sheet(np.stack(rows))
    return fitted(
        Mesh(vertices, triangles, np.zeros_like(vertices), {"head": np.ones(len(vertices), np.float32)}),
        detail,
        to="head",
    )


@lru_cache(8)
def brim(detail: float, width: float) -> Fitted:
    """The brim of a hat, all around."""
    angle = np.arange(20) / 20 * 2 * np.pi
    rows = [
        np.stack(
            [
                (0.082 + out * width) * np.sin(angle),
                1.662 - 0.012 * np.sin(out * np.pi / 2) + 0.012 * out * np.sin(angle) ** 2,
                0.032 + (0.112 + out * width) * np.cos(angle),
            ],
            1,
        )
        for out in (0.0, 0.5, 1.0)
    ]
    vertices, triangles = sheet(np.stack(rows), closed=True)
    return fitted(
        Mesh(vertices, triangles, np.zeros_like(vertices), {"head": np.ones(len(vertices), np.float32)}),
        detail,
        to="head",
    )


@lru_cache(8)
def glasses(detail: float) -> Fitted:
    """Two lenses, a bridge and the sides, as one flat ribbon around the face."""
    xs = np.array(
        [
            -0.078,
            -0.072,
            -0.060,
            -0.050,
            -0.030,
            -0.012,
            -0.006,
            0.006,
            0.012,
            0.030,
            0.050,
            0.060,
            0.072,
            0.078,
        ]
    )
    half = np.array(
        [0.003, 0.004, 0.010, 0.018, 0.020, 0.014, 0.003, 0.003, 0.014, 0.020, 0.018, 0.010, 0.004, 0.003]
    )
    zs = np.array(
        [0.055, 0.100, 0.128, 0.138, 0.150, 0.157, 0.158, 0.158, 0.157, 0.150, 0.138, 0.128, 0.100, 0.055]
    )
    middle = (
        np.array([0.008, 0.008, 0.003, 0.0, -0.001, 0.0, 0.004, 0.004, 0.0, -0.001, 0.0, 0.003, 0.008, 0.008])
        + 1.591
    )
    grid = np.stack([np.stack([xs, middle + half, zs], 1), np.stack([xs, middle - half, zs], 1)])
    vertices, triangles = sheet(grid)
    return fitted(
        Mesh(vertices, triangles, np.zeros_like(vertices), {"head": np.ones(len(vertices), np.float32)}),
        detail,
        to="head",
    )


@lru_cache(8)
def hood(detail: float) -> Fitted:
    """A hood that lies on the shoulders behind the neck."""
    angle = np.radians(np.linspace(-112, 112, 13))  # from behind
    ends = step(np.abs(angle), 1.0, 1.9)
    path = np.stack(
        [0.086 * np.sin(angle) * (1 - 0.12 * ends), 1.428 - 0.01 * ends, -0.004 - 0.078 * np.cos(angle)], 1
    )
    thick = np.stack([0.040 - 0.028 * ends, 0.034 - 0.024 * ends], 1)
    roll = tube(
        path.astype(np.float32), thick.astype(np.float32), {"spine_03": np.ones(13, np.float32)}, sides=8
    )
    out = roll.vertices - np.array([0, 1.42, 0.01], np.float32)
    out[:, 1] = np.abs(out[:, 1])
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return fitted(replace(roll, outwards=out), detail)
