"""Puts the layers of one figure together: pieces of the body's mesh and things, each in its paint, on one skeleton."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes import garments as cut
from scenes import props
from scenes.body import CANON_HEIGHT_M, Body, Floats, Shape, body, normals, template
from scenes.garments import Cloth, Line, Paint, cloth
from scenes.records import Figure, Surface


class Tailor:
    """Collects the layers of one figure."""

    def __init__(self, shape: Shape, detail: float) -> None:
        self.detail = detail
        self.mesh = template(detail)
        self.body: Body = body(shape, detail=detail)
        self.scale = shape.height_m / CANON_HEIGHT_M
        self.covers: list[Line] = []  # what hides the skin
        self.outer = np.zeros(
            self.mesh.parts["tights"].count, np.float32
        )  # m off each of its vertices, canonical
        self._normals: dict[str, Floats] = {}
        self._layers: list[dict[str, NDArray[Any]]] = []
        self._vertices = 0
        self._bags: list[tuple[int, Floats]] = []

    def cloth(self, part: str) -> Cloth:
        return cloth(part, self.detail)

    def rest(self, part: str) -> tuple[Floats, Floats]:
        """Vertices and normals of a part."""
        piece = self.mesh.parts[part]
        vertices = self.body.vertices[piece.rows]
        if part not in self._normals:
            self._normals[part] = normals(vertices, piece.triangles)
        return vertices, self._normals[part]

    def wear(
        self,
        line: Line | Floats | None,
        push: NDArray[np.floating] | float,
        paint: Paint,
        *,
        part: str = "tights",
        hidden: Sequence[Line] = (),
        move: Floats | None = None,
        at: Floats | None = None,
        tint: Floats | None = None,
        cover: bool = False,
    ) -> None:
        """Add a piece of a part of the mesh.

        Args:
            line: Signed distance (V,) m, positive where the piece is; None: everywhere.
            push: m along the normals, canonical.
            paint: Its look.
            part: The part of the mesh it is cut from.
            hidden: Lines well inside of which nothing of it is seen.
            move: (V, 3) m further, canonical.
            at: (V, 3) where patterns are painted; None: as the cloth lies with the arms hanging.
            tint: (V,) how much of the second colour is in the first.
            cover: Whether it hides the skin below.
        """
        c = self.cloth(part)
        inside = None if line is None else line(c) if callable(line) else line
        if cover and callable(line):
            self.covers.append(line)
        piece = self.mesh.parts[part]
        triangles = piece.triangles
        if inside is not None:
            triangles = triangles[(inside[triangles] > 0).any(1)]
        for other in hidden:
            triangles = triangles[(other(c)[triangles] < 0.05).any(1)]
        if not len(triangles):
            return
        if part == "tights":
            self.outer = np.maximum(self.outer, np.where(True if inside is None else inside > 0, push, 0))
        vertices, normal = self.rest(part)
        placed = vertices + normal * (np.asarray(push, np.float32).reshape(-1, 1) * np.float32(self.scale))
        if move is not None:
            placed = placed + move * np.float32(self.scale)
        bones, weights = self.mesh.bones[piece.rows], self.mesh.weights[piece.rows]
        if part == "skirt":
            bones, weights = cut.leg_of_skirt(self.mesh, self.detail)
        used, triangles = _compact(triangles, len(vertices))
        self._add(
            placed[used],
            _with_folds(normals(placed, piece.triangles), c, part)[used],
            triangles,
            bones[used],
            weights[used],
            paint,
            (c.paint if at is None else at)[used],
            np.ones(len(used), np.float32) if inside is None else inside[used],
            None if tint is None else tint[used],
        )

    def thickness(self, line: NDArray[np.bool_]) -> float:
        """How thick the clothes are there: m, canonical."""
        return float(self.outer[line].mean()) if line.any() else 0.0

    def add(self, thing: props.Fitted, paint: Paint, *, ball: bool = False) -> None:
        """Add something that is no piece of the body's mesh; ``ball``: it is a bag, filled by balls of its own."""
        placed = thing.place(self.body, self.outer, self.detail)
        if ball:
            self._bags.append((int(thing.bones[0, 0]), placed))
        triangles = thing.mesh.triangles
        self._add(
            placed,
            normals(placed, triangles),
            triangles,
            thing.bones,
            thing.weights,
            paint,
            thing.mesh.vertices,
            np.ones(len(placed), np.float32),
        )

    def _add(
        self,
        vertices: Floats,
        normal: Floats,
        triangles: NDArray[np.int32],
        bones: NDArray[np.int32],
        weights: Floats,
        paint: Paint,
        at: Floats,
        mask: Floats,
        tint: Floats | None = None,
    ) -> None:
        count = len(vertices)
        first = np.tile(np.array(paint.colour, np.float32), (count, 1))
        second = np.array(paint.colour if paint.colour2 is None else paint.colour2, np.float32)
        if tint is not None:
            first += tint[:, None] * (second - first)
        self._layers.append(
            {
                "vertices": vertices.astype(np.float32),
                "normals": normal,
                "triangles": (triangles + self._vertices).astype(np.int32),
                "bones": bones,
                "weights": weights,
                "colour": first,
                "colour2": np.tile(second, (count, 1)),
                "pattern": np.full(count, paint.pattern, np.int32),
                "frequency": np.full(count, paint.frequency, np.float32),
                "gloss": np.full(count, paint.gloss, np.float32),
                "paint": at.astype(np.float32),
                "mask": mask.astype(np.float32),
            }
        )
        self._vertices += count

    def figure(self) -> Figure:
        joined = {name: np.concatenate([layer[name] for layer in self._layers]) for name in self._layers[0]}
        bones, weights = joined.pop("bones"), joined.pop("weights")
        ball_bones, centres, radii = _balls(self.body, joined["vertices"][joined["mask"] > 0], self._bags)
        return Figure(
            surface=Surface(**joined),
            bones=bones,
            weights=weights,
            skeleton=self.body.skeleton,
            height_m=self.body.height_m,
            ball_bones=ball_bones,
            ball_centres=centres,
            ball_radii=radii,
        )


_FOLDS = (  # waves of a cloth's normals: 1/m along x, y, z, phase, height; made up to look right
    (14.0, 46.0, 9.0, 0.3, 0.13),
    (-23.0, 38.0, 15.0, 1.9, 0.11),
    (31.0, 71.0, -24.0, 4.1, 0.09),
    (9.0, -105.0, 38.0, 2.6, 0.07),
)


def _with_folds(normal: Floats, c: Cloth, part: str) -> Floats:
    """Normals (V, 3) of a cloth with folds, which are too fine for its triangles; skin and hair have none."""
    if part not in ("tights", "skirt"):
        return normal
    bent = normal.copy()
    for x, y, z, phase, height in _FOLDS:
        wave = np.array([x, y, z], np.float32)
        bent += (height * np.cos(c.paint @ wave + np.float32(phase)))[:, None] * (wave / np.linalg.norm(wave))
    return np.asarray(bent / np.maximum(np.linalg.norm(bent, axis=1, keepdims=True), 1e-6), np.float32)


def _compact(triangles: NDArray[np.int32], count: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The vertices that triangles use, and the triangles among them."""
    is_used = np.zeros(count, np.bool_)
    is_used[triangles] = True
    number = np.cumsum(is_used, dtype=np.int32) - 1
    return np.flatnonzero(is_used), number[triangles]


_BALLS = (  # bone, share of the way from its head to its tail; more than one column across where given
    *(("head", at, 0.0) for at in (0.15, 0.60)),
    ("neck_01", 0.3, 0.0),
    *(("spine_03", at, side) for at in (0.15, 0.75) for side in (-0.09, 0.09)),
    *(("spine_01", 0.5, side) for side in (-0.08, 0.08)),
    *(("pelvis", 0.1, side) for side in (-0.09, 0.09)),
    *((f"upperarm_{side}", at, 0.0) for side in "lr" for at in (0.1, 0.5, 0.9)),
    *((f"lowerarm_{side}", at, 0.0) for side in "lr" for at in (0.3, 0.8)),
    *((f"hand_{side}", 3.0, 0.0) for side in "lr"),
    *((f"thigh_{side}", at, 0.0) for side in "lr" for at in (0.25, 0.55, 0.85)),
    *((f"calf_{side}", at, 0.0) for side in "lr" for at in (0.15, 0.5, 0.85)),
    *((f"foot_{side}", at, 0.0) for side in "lr" for at in (0.1, 0.9)),
    *((f"ball_{side}", 0.6, 0.0) for side in "lr"),
)


def _balls(
    figure: Body, vertices: Floats, bags: Sequence[tuple[int, Floats]]
) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Balls that fill the clothed figure: each as wide as the vertices around it are away; two for each bag."""
    skeleton = figure.skeleton
    number = np.array([skeleton.names.index(bone) for bone, _, _ in _BALLS], np.int32)
    share = np.array([[at] for _, at, _ in _BALLS], np.float32)
    seeds = skeleton.heads[number] * (1 - share) + skeleton.tails[number] * share
    seeds[:, 0] += np.array([side for _, _, side in _BALLS], np.float32) * figure.height_m / CANON_HEIGHT_M
    for bone, bag in bags:
        quarter = (bag.max(0) - bag.min(0)) / 4
        shift = np.where(quarter == quarter.max(), quarter, 0)
        seeds = np.concatenate([seeds, [bag.mean(0) - shift, bag.mean(0) + shift]]).astype(np.float32)
        number = np.append(number, [bone, bone]).astype(np.int32)
    nearest = ((seeds**2).sum(1)[None] - 2 * vertices @ seeds.T).argmin(1)
    counts = np.bincount(nearest, minlength=len(seeds))
    sums = np.stack([np.bincount(nearest, vertices[:, axis], len(seeds)) for axis in range(3)], 1)
    middles = np.where(counts[:, None] > 3, sums / np.maximum(counts, 1)[:, None], seeds)
    away = np.linalg.norm(vertices - middles[nearest], axis=1)
    radii = np.bincount(nearest, away, len(seeds)) / np.maximum(counts, 1)
    return number, middles.astype(np.float32), np.maximum(radii, 0.02).astype(np.float32)
