"""Where feet stand on the floor, and what two looks at one instant say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tracker.core.feet import (
    FLOOR_M2,
    HIDDEN_S,
    LEAST_M,
    MAX_LOOK_AGAINST_LLR,
    UNHEARD,
    Feet,
    FootErrors,
    alone,
    look_llr,
)

UNKNOWN = (np.nan, np.nan)


def feet(place: tuple[float, float], near: tuple[float, float] = UNKNOWN, sigma_m: float = 0.2) -> Feet:
    return Feet.of(np.array(place), np.array(sigma_m), np.array(near))


def both(a: Feet, b: Feet) -> Feet:
    return Feet(*(np.array(pair) for pair in zip(a, b, strict=True)))


def looked(a: Feet, b: Feet, times: int = 1, every_s: float = 0.5) -> list[float]:
    """What so many looks in a row say, one by one."""
    hidden, said = np.array(UNHEARD), []
    for _ in range(times):
        ratio, hidden = look_llr(both(a, b), hidden, every_s)
        said.append(float(ratio))
    return said


def test_errors_lie_along_the_line_of_sight():
    # The camera stands south of somebody 10 m away: 0.04 of 1.7 m from side to side, the rest of 0.5 m to and fro.
    here = feet((0.0, 10.0), (0.0, 5.0), 0.5)
    across = np.hypot(0.04 * 1.7, LEAST_M)
    along = np.sqrt(0.5**2 - (0.04 * 1.7) ** 2 + LEAST_M**2)
    assert (here.towards_x, here.towards_y) == (0.0, -1.0) and here.reach_m == 5.0
    np.testing.assert_allclose(here.covariance(), (across**2, along**2, 0), atol=1e-12)
    # From the south-west both are as large, and vary together.
    xx, yy, xy = feet((5.0, 5.0), (4.0, 4.0), 0.5).covariance()
    assert xx == pytest.approx(yy) == pytest.approx((across**2 + along**2) / 2)
    assert xy == pytest.approx((along**2 - across**2) / 2)


def test_without_a_line_of_sight_every_direction_is_the_same():
    np.testing.assert_allclose(feet((0.0, 0.0)).covariance(), (0.04 + LEAST_M**2, 0.04 + LEAST_M**2, 0))
    # On the spot: 0.64 of 60 m^2 / (2 pi s^2), s^2 = 2 (0.2^2 + 0.03^2); hidden in either: s^2 + 1.5^2.
    spread = 2 * (0.2**2 + LEAST_M**2)
    one = 0.64 * 60 / (2 * np.pi * spread) + 2 * 0.16 * 60 / (2 * np.pi * (spread + 1.5**2)) + 0.004
    assert looked(feet((0.0, 0.0)), feet((0.0, 0.0)))[0] == pytest.approx(np.log(one))
    assert looked(feet((0.0, 0.0)), feet((50.0, 0.0)))[0] == -MAX_LOOK_AGAINST_LLR


def test_who_seems_farther_off_on_the_same_line_of_sight_may_have_hidden_feet():
    seems = feet((0.0, 10.0), (0.0, 5.0))  # a camera at the south
    from_west = (-10.0, 0.0)
    on_line, beside = (feet(p, (p[0] + from_west[0], p[1])) for p in ((0.0, 7.0), (2.0, 7.0)))
    behind = feet((0.0, 13.0), (-10.0, 13.0))
    assert looked(seems, on_line)[0] > 0 > looked(seems, beside)[0]
    assert looked(seems, behind)[0] == -MAX_LOOK_AGAINST_LLR  # nobody is farther off than he seems
    said = looked(seems, on_line, 4)
    assert said == sorted(said) and said[3] > said[0] + 0.5  # once hidden, hidden for a while


def test_two_whose_feet_are_hidden_from_both_are_not_parted_by_many_looks():
    # Both lines of sight meet at (0, 7), where they are.
    a, b = feet((0.0, 10.0), (0.0, 5.0)), feet((3.0, 7.0), (-2.0, 7.0))
    apart = feet((3.0, 20.0), (-2.0, 20.0))  # this line meets the other's nowhere
    assert sum(looked(a, b, 10)) > sum(looked(a, apart, 10)) / 2
    assert sum(looked(a, apart, 10)) == -10 * MAX_LOOK_AGAINST_LLR


def test_it_does_not_matter_who_is_named_first():
    a, b = feet((0.0, 10.0), (0.0, 5.0)), feet((0.3, 7.0), (-3.0, 7.0))
    one, hidden = look_llr(both(a, b), np.array(UNHEARD), 0.5)
    other, swapped = look_llr(both(b, a), np.array(UNHEARD), 0.5)
    assert one == pytest.approx(other)
    np.testing.assert_allclose(hidden, swapped[[1, 0, 2]])


def test_looks_add_up_as_over_all_that_may_have_been_hidden_when():
    """The slow twin: all 4^3 courses of whose feet were hidden, each state kept for about HIDDEN_S."""
    a = feet((0.0, 10.0), (0.0, 5.0))
    others = [feet((x, y), (x - 5, y)) for x, y in ((0.05, 8.0), (0.1, 9.9), (0.0, 7.0))]
    first = np.array([1 - sum(UNHEARD), *UNHEARD])
    likely = []  # of each look in each state, from a state that is certain
    for other in others:
        states = [np.eye(3)[k] if k >= 0 else np.zeros(3) for k in (-1, 0, 1, 2)]
        likely.append([np.exp(float(look_llr(both(a, other), s, 0.0)[0])) for s in states])
    stays = np.exp(-0.5 / HIDDEN_S)
    total = 0.0
    for course in itertools.product(range(4), repeat=3):
        chance = first[course[0]]
        for before, now in itertools.pairwise(course):
            chance *= stays * (before == now) + (1 - stays) * first[now]
        total += chance * np.prod([likely[k][state] for k, state in enumerate(course)])
    hidden, said = np.array(UNHEARD), 0.0
    for other in others:
        ratio, hidden = look_llr(both(a, other), hidden, 0.5)
        said += float(ratio)
    # A state that is impossible in itself is floored above, so the twin says a little more.
    assert said == pytest.approx(np.log(total), abs=0.1)


def people(rng: np.random.Generator, scale: float) -> tuple[Feet, Feet]:
    """Somebody seen from the south and from the west, every foot ``scale`` times as far off as geometry says."""
    at = rng.uniform(8, 12, (1, 2))
    across, along = 0.04 * 1.7, np.sqrt(0.5**2 - (0.04 * 1.7) ** 2)
    south = at + scale * rng.normal(size=(1, 2)) * (across, along)
    west = at + scale * rng.normal(size=(1, 2)) * (along, across)
    sigma = np.full(1, 0.5)
    return Feet.of(south, sigma, south - (0, 5)), Feet.of(west, sigma, west - (5, 0))


def test_how_exact_a_camera_is_is_learned_from_who_stands_alone():
    rng = np.random.default_rng(0)
    errors = FootErrors()
    for _ in range(1500):
        a, b = people(rng, 0.4)
        scale = errors.scale(["south", "west"])
        a, b = (
            f._replace(along_m=f.along_m * s[0], across_m=f.across_m * s[1])
            for f, s in ((a, scale[0]), (b, scale[1]))
        )
        errors.learn("south", both(a, b), ["west"])
    # Along the line of sight is what most of the error is; across, the other camera's is ten times larger.
    np.testing.assert_allclose(errors.scale(["south", "west"])[:, 0], 0.4, rtol=0.25)


def test_where_several_stand_nobody_is_alone():
    # Cameras 0, 0, 1, 1 saw the columns. Row 0 has two beside it in 0, column 3 has two rows beside it.
    close = np.array([[1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]], bool)
    assert [at.tolist() for at in alone(close, np.array([0, 0, 1, 1]))] == [[0], [2]]
    assert [len(at) for at in alone(close[:, :0], np.zeros(0, np.intp))] == [0, 0]


def test_without_a_line_of_sight_nothing_is_learned():
    errors = FootErrors()
    errors.learn("south", both(*(feet((x, 0.0)) for x in (0.0, 0.1))).at(np.s_[:, None]), ["west"])
    assert errors.log_scales == {}
    assert errors.scale(["south"]).tolist() == [[1.0, 1.0]]


def test_nobody_is_a_look_of_no_one():
    none = Feet.of(np.zeros((2, 0, 2)), np.zeros((2, 0)), np.zeros((2, 0, 2)))
    ratio, hidden = look_llr(none, np.zeros((3, 0)))
    assert ratio.shape == (0,) and hidden.shape == (3, 0) and FLOOR_M2 > 0
