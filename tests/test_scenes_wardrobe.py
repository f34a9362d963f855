"""Looks and figures: what is drawn is what is worn, and nothing tears."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from scenes import patterns
from scenes.body import body
from scenes.records import Figure
from scenes.wardrobe import CHOICES, UNIFORM, Look, draw_look, dress, shape_of


def look(seed: int, **fixed) -> Look:
    return draw_look(np.random.default_rng(seed), **fixed)


@pytest.fixture(scope="module")
def figures() -> list[Figure]:
    return [dress(look(seed)) for seed in range(10)]


def walked(figure: Figure, degrees: float) -> np.ndarray:
    """Vertices with the left leg swung forward and the right one back, and the arms the other way."""
    names, parents = figure.skeleton.names, figure.skeleton.parents
    turn = np.tile(np.eye(4), (len(names), 1, 1))
    swing = {
        "thigh_l": -degrees,
        "thigh_r": degrees,
        "upperarm_l": degrees,
        "upperarm_r": -degrees,
        "calf_r": degrees,
    }
    for bone, name in enumerate(names):
        local = np.eye(4)
        angle = np.radians(swing.get(name, 0.0))
        local[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        local[:3, 3] = figure.skeleton.heads[bone] - local[:3, :3] @ figure.skeleton.heads[bone]
        turn[bone] = (turn[parents[bone]] if bone else np.eye(4)) @ local
    blended = np.einsum("vk,vkij->vij", figure.weights, turn[figure.bones])
    return np.einsum("vij,vj->vi", blended[:, :3, :3], figure.surface.vertices) + blended[:, :3, 3]


def test_the_same_seed_dresses_the_same_person() -> None:
    first, second = dress(look(5)), dress(look(5))
    assert look(5) == look(5)
    for field in dataclasses.fields(first.surface):
        np.testing.assert_array_equal(getattr(first.surface, field.name), getattr(second.surface, field.name))


def test_the_body_is_as_tall_as_the_look_says() -> None:
    for height in (1.15, 1.52, 1.71, 2.01):
        drawn = look(3, height_m=height)
        vertices = body(shape_of(drawn)).vertices
        assert dress(drawn).height_m == height
        assert float(np.ptp(vertices[:3000, 1])) <= height + 1e-3


def test_figures_are_well_formed(figures: list[Figure]) -> None:
    for figure in figures:
        surface = figure.surface
        count = len(surface.vertices)
        assert surface.triangles.min() >= 0 and surface.triangles.max() < count
        assert np.isfinite(surface.vertices).all() and np.isfinite(surface.normals).all()
        assert (surface.pattern[surface.triangles] == surface.pattern[surface.triangles[:, :1]]).all()
        assert surface.colour.min() >= 0 and surface.colour.max() <= 1
        assert figure.bones.shape == figure.weights.shape == (count, 8)
        np.testing.assert_allclose(figure.weights.sum(1), 1.0, atol=1e-4)
        assert not surface.vertices.flags.writeable


def test_shoes_are_the_lowest_and_at_most_three_centimetres_thick(figures: list[Figure]) -> None:
    for figure in figures:
        assert -0.03 < figure.surface.vertices[figure.surface.mask > 0, 1].min() < 0.0


def test_triangles_by_detail(figures: list[Figure]) -> None:
    full = [len(figure.surface.triangles) for figure in figures]
    coarse = [len(dress(look(seed), detail=0.3).surface.triangles) for seed in range(10)]
    assert 6_000 < np.mean(full) < 9_500
    assert 2_000 < np.mean(coarse) < 3_500


def test_nothing_tears_in_mid_stride(figures: list[Figure]) -> None:
    for figure in figures:
        triangles = figure.surface.triangles[(figure.surface.mask[figure.surface.triangles] > 0).all(1)]
        for vertices in (figure.surface.vertices, walked(figure, 28.0)):
            edges = np.linalg.norm(vertices[triangles] - vertices[np.roll(triangles, 1, 1)], axis=2)
            assert (
                edges.max() < 0.33 * figure.height_m
            )  # the longest is the hem of a wide skirt between the legs
            assert np.quantile(edges, 0.99) < 0.10


def test_balls_fill_the_figure(figures: list[Figure]) -> None:
    for figure in figures:
        assert 25 <= len(figure.ball_radii) <= 45
        vertices = figure.surface.vertices[figure.surface.mask > 0]
        radius = figure.ball_radii[:, None]
        low, high = (figure.ball_centres - radius).min(0), (figure.ball_centres + radius).max(0)
        np.testing.assert_allclose(low[1], vertices[:, 1].min(), atol=0.03)
        np.testing.assert_allclose(high[1], vertices[:, 1].max(), atol=0.05)
        away = np.linalg.norm(vertices[:, None] - figure.ball_centres[None], axis=2) - figure.ball_radii
        assert np.quantile(away.min(1), 0.95) < 0.05


def test_likeness_one_puts_everybody_into_the_same_clothes() -> None:
    worn = [look(seed, likeness=1.0) for seed in range(20)]
    for name in ("top", "top_colour", "bottom", "bottom_colour", "coat", "shoes", "shoe_colour", "hat"):
        assert {getattr(one, name) for one in worn} == {getattr(UNIFORM, name)}
    assert len({one.height_m for one in worn}) == 20
    assert len({one.skin for one in worn}) == 20


def test_a_uniform_of_ones_own() -> None:
    red = dataclasses.replace(UNIFORM, top="hoodie", top_colour=(0.8, 0.1, 0.1))
    assert look(1, likeness=1.0, uniform=red).top_colour == (0.8, 0.1, 0.1)
    assert look(1, likeness=1.0, uniform=red, top_colour=(0.0, 0.0, 1.0)).top_colour == (0.0, 0.0, 1.0)


def test_what_is_given_shifts_no_other_draw() -> None:
    free, given = look(7), look(7, top_colour=(0.9, 0.1, 0.1))
    assert given == dataclasses.replace(free, top_colour=(0.9, 0.1, 0.1))


def test_shares_of_bags_and_children() -> None:
    carrying = [look(seed, carrying=1.0, children=1.0) for seed in range(30)]
    assert all(one.bag != "none" and one.age_years <= 13 and one.height_m < 1.75 for one in carrying)
    assert all(look(seed, carrying=0.0).bag == "none" for seed in range(30))


@pytest.mark.parametrize(
    "said",
    [
        {"hair": "blue"},
        {"top_colour": (2.0, 0.0, 0.0)},
        {"height_m": 17.0},
        {"skin": None},
        {"bag": 3},
        {"weight": "heavy"},
        {"legs": 2.0},
        {"ancestry": (0, 0, 0)},
        {"bag_side": 0},
    ],
)
def test_an_impossible_look_is_refused(said) -> None:
    with pytest.raises(ValueError, match=next(iter(said))):
        look(0, **said)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="trousres"):
        look(0, trousres="red")


def test_a_colour_may_be_a_list_as_yaml_gives_it() -> None:
    assert look(0, top_colour=[1, 0, 0]).top_colour == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["hair", "beard", "glasses", "top", "bottom", "coat", "shoes", "hat", "bag"])
def test_everything_can_be_worn(name: str) -> None:
    for kind in CHOICES[name]:
        figure = dress(look(2, **{name: kind}), detail=0.3)
        assert np.isfinite(figure.surface.vertices).all()
        size = np.ptp(figure.surface.vertices, axis=0)
        assert size[1] < figure.height_m + 0.15  # a bun and shoes on top of the height
        assert size[2] < 1.0


def test_a_closed_coat_hides_the_shirt_and_an_open_one_does_not() -> None:
    def of_shirt(gap: float) -> int:
        worn = look(
            4,
            coat="coat",
            coat_gap=gap,
            coat_colour=(0, 0, 1),
            top="shirt",
            top_colour=(1, 0, 0),
            top_pattern="plain",
        )
        surface = dress(worn).surface
        return int((surface.colour[surface.triangles[:, 0]] == (1, 0, 0)).all(1).sum())

    assert of_shirt(1.0) > 4 * of_shirt(0.0)


def test_faces_are_painted_where_the_eyes_are() -> None:
    surface = dress(look(6, glasses="none")).surface
    at = surface.paint[(surface.pattern == patterns.FACE) & (np.abs(surface.paint[:, 1]) < 0.005)]
    assert (np.abs(np.abs(at[:, 0]) - 0.030) < 0.008).any()


def test_shoes_are_mostly_dark_and_skin_of_all_tones() -> None:
    people = [look(seed) for seed in range(300)]
    bright = np.mean([min(one.shoe_colour) > 0.6 for one in people])
    assert 0.01 < bright < 0.15
    tones = np.array([np.mean(one.skin) for one in people])
    assert tones.min() < 0.33 and tones.max() > 0.72 and 0.12 < (tones < 0.45).mean() < 0.5


def test_five_thousand_people_can_be_told_apart() -> None:
    """Two people look alike if head, trunk, legs and feet have the same colours, outline and height to the eye.

    Colours are the same within 0.10 in each channel, heights within 5 cm; outlines by hair, hat, coat, skirt, bag and
    the pattern on the trunk. Of the 1,124,250 pairs among 1,500 people at most 4 are alike, so a pair is alike with
    less than 9.2 / 1,124,250 = 8.2e-6 (95 % limit of Poisson's law for 4). Among 5,200 people then at most
    5,200^2 / 2 x 8.2e-6 = 111 have a double, and more than 5,000 have none.
    """
    people = [look(seed) for seed in range(1500)]
    colours = np.array([_zones(one) for one in people], np.float32)
    height = np.array([one.height_m for one in people])
    outlines = [_outline(one) for one in people]
    alike = 0
    for row in range(len(people)):
        close = np.abs(colours[row + 1 :] - colours[row]).max(1, initial=0) < 0.10
        close &= np.abs(height[row + 1 :] - height[row]) < 0.05
        alike += sum(outlines[row + 1 + other] == outlines[row] for other in np.flatnonzero(close))
    assert len(people) * (len(people) - 1) // 2 == 1_124_250
    assert alike <= 4


def _outline(one: Look) -> tuple[str | bool, ...]:
    pattern = (
        one.coat_pattern
        if one.coat != "none"
        else one.bottom_pattern
        if one.bottom == "dress"
        else one.top_pattern
    )
    return one.hair, one.hat, one.coat, one.bottom in ("skirt", "dress"), one.bag, pattern


def _zones(one: Look) -> tuple[float, ...]:
    head = one.hat_colour if one.hat != "none" else one.skin if one.hair == "bald" else one.hair_colour
    trunk = (
        one.coat_colour
        if one.coat != "none"
        else one.bottom_colour
        if one.bottom == "dress"
        else one.top_colour
    )
    return (*head, *one.skin, *trunk, *one.bottom_colour, *one.shoe_colour)
