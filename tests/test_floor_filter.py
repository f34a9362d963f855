"""Where people on a floor are and walk, in the information form."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.core.feet import LEAST_M, Feet
from tracker.core.floor_filter import (
    ACCELERATION,
    FLOORS_M,
    Information,
    Looks,
    log_evidence,
    motion,
    unknown,
)


def feet(*places: tuple[float, float], sigma_m: float = 0.1, near: tuple[float, float] | None = None) -> Feet:
    """Of the same error everywhere; ``near``: where all of them are if they are hidden."""
    nearest = np.full((len(places), 2), np.nan) if near is None else np.tile(near, (len(places), 1))
    return Feet.of(np.array(places, float).reshape(-1, 2), np.full(len(places), sigma_m), nearest)


def normal(off: np.ndarray, covariance: np.ndarray) -> float:
    """Log density."""
    return float(-(off @ np.linalg.solve(covariance, off) + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2)


def some_covariance(rng: np.random.Generator, size: int) -> np.ndarray:
    root = rng.normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size)


def test_what_looks_tell_adds_up_as_least_squares_does():
    # Prior 0 +- 3 m, looks at 1 m and 2 m, each +- sqrt(.1^2 + .03^2 + FLOORS_M^2).
    variance = 0.1**2 + LEAST_M**2 + FLOORS_M**2
    mean, covariance = unknown(1)
    covariance[:, (0, 1), (0, 1)] = 9.0
    looks = Looks.of(feet((1.0, 0.0), (2.0, 0.0)))
    known = Information.of(mean, covariance).and_places(
        np.array([0, 0]), looks.told(np.array([False, False]))
    )
    mean, covariance = known.moments()
    assert covariance[0, 0, 0] == pytest.approx(1 / (1 / 9 + 2 / variance))
    assert mean[0, 0] == pytest.approx(3 / variance / (1 / 9 + 2 / variance)) and mean[0, 1] == pytest.approx(
        0
    )


def test_a_walk_departs_by_white_noise_acceleration():
    step, noise = motion(0.5)
    assert (step @ [1.0, 2.0, 3.0, 4.0]).tolist() == [2.5, 4.0, 3.0, 4.0]
    assert noise[0, 0] == pytest.approx(ACCELERATION**2 * 0.5**3 / 3, abs=2e-6)
    assert noise[2, 2] == pytest.approx(ACCELERATION**2 * 0.5, abs=2e-6)
    assert noise[0, 2] == noise[2, 0] == pytest.approx(ACCELERATION**2 * 0.5**2 / 2)


def test_what_the_future_says_of_now_is_what_marginalising_the_walk_leaves():
    rng = np.random.default_rng(0)
    mean, later = rng.normal(size=4), some_covariance(rng, 4)
    step, noise = motion(0.7)
    before = Information.of(mean[None], later[None]).before(0.7)
    through = np.linalg.inv(later + noise)
    assert before.L[0] == pytest.approx(step.T @ through @ step)
    assert before.v[0] == pytest.approx(step.T @ through @ mean)
    # A place alone leaves the velocity unknown: no inverse is needed.
    place = Information.none(1).and_places(np.array([0]), Looks.of(feet((1, 2))).seen)
    assert np.isfinite(place.before(0.7).L).all()


def test_evidence_is_how_densely_the_future_was_expected():
    rng = np.random.default_rng(1)
    means, covariances = rng.normal(size=(2, 4)), np.stack([some_covariance(rng, 4) for _ in range(2)])
    mean, covariance = rng.normal(size=4), some_covariance(rng, 4)
    future = Information.of(np.tile(mean, (2, 1)), np.tile(covariance, (2, 1, 1)))
    found = log_evidence(Information.of(means, covariances), future)
    one, other = (normal(mean - m, C + covariance) for m, C in zip(means, covariances, strict=True))
    assert found[0] - found[1] == pytest.approx(one - other)


def test_a_look_that_is_seen_is_normal_around_the_person():
    looks = Looks.of(feet((1.0, 0.5), sigma_m=0.2))
    mean, covariance = np.array([[0.8, 0.7]]), np.array([[[0.04, 0.01], [0.01, 0.09]]])
    found, hidden = looks.log_density(mean, covariance, np.array([[1e-12]]))
    assert found[0, 0] == pytest.approx(normal(np.array([0.2, -0.2]), covariance[0] + looks.covariance[0]))
    assert hidden[0, 0] < 1e-9


def test_hidden_feet_are_anywhere_on_the_line_of_sight_up_to_their_reach():
    # Feet seem at (4, 0); the camera is towards -x, and 2 m nearer they would be at (2, 0).
    looks = Looks.of(feet((4.0, 0.0), near=(2.0, 0.0)))
    one, other = np.array([[[0.02, 0.0], [0.0, 0.05]]]), np.array([[[0.2, 0.1], [0.1, 0.1]]])
    for covariance, x, y in (
        (one, 3.0, 0.1),
        (one, 2.0, 0.0),
        (one, 3.9, -0.3),
        (other, 3.0, 0.3),
        (other, 4.0, -0.5),
    ):
        found, hidden = looks.log_density(np.array([[x, y]]), covariance, np.array([[1 - 1e-12]]))
        # The mean of normal densities of a look that is pushed away by 0 to 2 m.
        pushed = np.linspace(0, 2, 2001)
        S = covariance[0] + looks.covariance[0]
        along = [normal(np.array([4.0 - push - x, -y]), S) for push in pushed]
        assert found[0, 0] == pytest.approx(np.log(np.mean(np.exp(along))), abs=0.01)
        assert hidden[0, 0] == pytest.approx(1, abs=1e-9)
    told = looks.told(np.array([True])).moments()
    assert told[0][0] == pytest.approx([3, 0])  # in the middle of the line
    assert told[1][0, 0, 0] == pytest.approx(2**2 / 12, abs=0.1) and told[1][0, 1, 1] < 0.05


def test_without_a_line_of_sight_nothing_is_hidden():
    looks = Looks.of(feet((1.0, 0.0)))
    _, hidden = looks.log_density(np.array([[1.0, 0.0]]), np.eye(2)[None] * 0.01, np.array([[0.3]]))
    assert hidden[0, 0] < 1e-6
    assert np.isfinite(looks.hidden.L).all()


def test_of_nobody_nothing_is_known():
    looks = Looks.of(feet())
    found, hidden = looks.log_density(np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros((0, 1)))
    assert found.shape == hidden.shape == (0, 0)
    assert log_evidence(Information.of(*unknown(0)), Information.none(0)).shape == (0,)
