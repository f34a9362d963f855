"""Bodies: from a shape (gender, age, build, height) to vertices, skeleton and weights.

All bodies share one topology, so whatever depends on it (triangles of a level of detail, weights, where on the body a
vertex lies) is computed once and cached. The data are MakeHuman's (CC0), baked by `scenes.bake`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.bake import coarser
from scenes.records import Skeleton

CANON_HEIGHT_M = 1.70  # of the body that garments are cut for
_ADULT, _CHILD, _OLD = 25.0, 10.0, 90.0  # years: the ages of MakeHuman's young, child and old targets

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """What a body looks like without clothes. All of ``build`` in [-1, 1]."""

    height_m: float = 1.70
    gender: float = 0.5  # 0 woman, 1 man
    age_years: float = 30.0
    muscle: float = 0.5  # [0, 1]
    weight: float = 0.5  # [0, 1]
    ancestry: tuple[float, float, float] = (1.0, 1.0, 1.0)  # shares: African, Asian, Caucasian
    legs: float = 0.0  # short to long for the height
    build: dict[str, float] = field(default_factory=dict)  # other targets, such as "stomach/stomach-tone"


@dataclass(frozen=True)
class Part:
    """Rows of a template that belong together, and the triangles among them, counted from the part's first row."""

    first: int
    count: int
    triangles: NDArray[np.int32]  # (T, 3)

    @property
    def rows(self) -> slice:
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True, eq=False)
class Template:
    """The mesh that all bodies share at one level of detail."""

    parts: dict[str, Part]
    base: Floats  # (N + 2 B, 3) m: vertices, then heads and tails of the bones
    targets: Floats  # (K, (N + 2 B) * 3) m
    numbers: dict[str, int]  # row of each target
    bones: NDArray[np.int32]  # (N, 8)
    weights: Floats  # (N, 8)
    names: tuple[str, ...]  # of the B bones
    parents: NDArray[np.int32]  # (B,)

    @property
    def count(self) -> int:
        return len(self.bones)

    def weight_of(self, *names: str) -> Floats:
        """The weight (N,) that bones whose names begin so have together."""
        chosen = np.array([name.startswith(names) for name in self.names])
        return np.asarray((self.weights * chosen[self.bones]).sum(1), np.float32)


@dataclass(frozen=True)
class Body:
    """One body at rest."""

    vertices: Floats  # (N, 3) m, soles at y = 0
    skeleton: Skeleton
    height_m: float


@lru_cache(1)
def _baked() -> dict[str, NDArray[Any]]:
    with as_file(files("scenes") / "assets" / "mpfb2.npz") as path, np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


@lru_cache(8)
def template(detail: float = 1.0) -> Template:
    """The mesh with about ``detail`` (0, 1] of its vertices."""
    if not 0 < detail <= 1:
        raise ValueError(f"detail {detail} is not in (0, 1]")
    baked = _baked()
    parts: dict[str, Part] = {}
    rows: list[NDArray[np.intp]] = []
    first = offset = 0
    for name, count in zip(baked["parts"].tolist(), baked["counts"].tolist(), strict=True):
        falls = baked[f"{name}_falls"]
        least = int((falls == np.arange(count)).sum())
        kept = max(int(round(count * detail)), least)
        parts[name] = Part(first, kept, coarser(baked[f"{name}_triangles"], falls, kept))
        rows.append(offset + np.arange(kept))
        first += kept
        offset += count
    at = np.concatenate(rows)
    joints = np.arange(offset, len(baked["points"]))
    both = np.concatenate([at, joints])
    targets = baked["targets"][:, both] * baked["target_scales"][:, None, None]
    return Template(
        parts=parts,
        base=baked["points"][both],
        targets=targets.reshape(len(targets), -1).astype(np.float32),
        numbers={name: number for number, name in enumerate(baked["target_names"].tolist())},
        bones=baked["weight_bones"][at].astype(np.int32),
        weights=_unit_sum(baked["weights"][at]),
        names=tuple(baked["bone_names"].tolist()),
        parents=baked["bone_parents"],
    )


def _unit_sum(weights: NDArray[np.uint16]) -> Floats:
    shares = weights.astype(np.float32)
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)


@lru_cache(8)
def canon(detail: float = 1.0) -> Body:
    """The body that garments are cut for: between man and woman, 25 years, 1.70 m."""
    return body(Shape(height_m=CANON_HEIGHT_M, gender=0.5, age_years=_ADULT), detail=detail)


def body(shape: Shape, *, detail: float = 1.0) -> Body:
    """The vertices and the skeleton of a shape: its skin's vertices are ``height_m`` from lowest to highest."""
    mesh = template(detail)
    shares = np.zeros(len(mesh.targets), np.float32)
    for name, share in _shares(shape).items():
        if name in mesh.numbers:
            shares[mesh.numbers[name]] += share
    points = mesh.base + (shares @ mesh.targets).reshape(-1, 3)
    skin = points[mesh.parts["body"].rows, 1]
    lowest, highest = float(skin.min()), float(skin.max())
    points = (points - np.array([0, lowest, 0], np.float32)) * np.float32(shape.height_m / (highest - lowest))
    heads, tails = points[mesh.count :].reshape(2, len(mesh.names), 3)
    return Body(points[: mesh.count], Skeleton(mesh.names, mesh.parents, heads, tails), shape.height_m)


def _ends(share: float, low: str, high: str, middle: str = "average") -> list[tuple[str, float]]:
    """[0, 1] as a mixture of two neighbours among low, average and high."""
    share = min(max(share, 0.0), 1.0)
    return [(low, max(0.0, 1 - 2 * share)), (middle, 1 - abs(2 * share - 1)), (high, max(0.0, 2 * share - 1))]


def _ages(years: float) -> list[tuple[str, float]]:
    if years < _ADULT:
        adult = min(max((years - _CHILD) / (_ADULT - _CHILD), 0.0), 1.0)
        return [("child", 1 - adult), ("young", adult)]
    old = min((years - _ADULT) / (_OLD - _ADULT), 1.0)
    return [("young", 1 - old), ("old", old)]


def _shares(shape: Shape) -> dict[str, float]:
    """How much of each target makes the shape."""
    shares: dict[str, float] = {"hands/curl": 1.0}
    total = sum(shape.ancestry) or 1.0
    bust = shape.build.get("bust", 0.0)
    for gender, of_gender in (("female", 1 - shape.gender), ("male", shape.gender)):
        for age, of_age in _ages(shape.age_years):
            whole = of_gender * of_age
            for people, of_people in zip(("african", "asian", "caucasian"), shape.ancestry, strict=True):
                shares[f"macrodetails/{people}-{gender}-{age}"] = whole * of_people / total
            for muscle, of_muscle in _ends(shape.muscle, "min", "max"):
                for weight, of_weight in _ends(shape.weight, "min", "max"):
                    name = f"macrodetails/universal-{gender}-{age}-{muscle}muscle-{weight}weight"
                    shares[name] = whole * of_muscle * of_weight
            tall = "max" if shape.legs > 0 else "min"
            name = f"macrodetails/height/{gender}-{age}-averagemuscle-averageweight-{tall}height"
            shares[name] = whole * 0.5 * abs(shape.legs)
            if gender == "female":
                cup = "max" if bust > 0 else "min"
                shares[f"breast/female-{age}-averagemuscle-averageweight-{cup}cup-averagefirmness"] = (
                    whole * abs(bust)
                )
    for name, value in shape.build.items():
        shares[f"{name}-{'incr' if value > 0 else 'decr'}"] = abs(value)
    return shares


def normals(vertices: Floats, triangles: NDArray[np.int32]) -> Floats:
    """Unit normals (V, 3) of a mesh, each the mean of the triangles around it by area; zero where there are none."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    corners = triangles.T.ravel()
    summed = np.stack(
        [np.bincount(corners, np.tile(faces[:, axis], 3), len(vertices)) for axis in range(3)], axis=1
    )
    return np.asarray(summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12), np.float32)
