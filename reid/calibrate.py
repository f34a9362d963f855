"""From distances to decisions: a threshold for a wanted error rate, and a probability for each distance.

A threshold is never typed in. It follows from pairs of which it is known whether they show one person, made by
the very model and the very kind of pair (crop to crop, set to set) that will be judged.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def threshold(different: ArrayLike, false_accept_rate: float) -> float:
    """The largest tau at which ``distance <= tau`` accepts at most this share of pairs of two persons.

    Args:
        different: (N,) distances of pairs that show two persons.
        false_accept_rate: Wanted share, in [0, 1).

    Returns:
        One of the distances, or the number just below the smallest one when N pairs are too few to allow even one
        false accept at this rate.

    Raises:
        ValueError: There are no distances, one is not finite, or the rate is outside [0, 1).
    """
    values = np.sort(_finite(different, "pairs of two persons"))
    if not 0.0 <= false_accept_rate < 1.0:
        raise ValueError(f"a false accept rate lies in [0, 1), not at {false_accept_rate}")
    allowed = math.floor(false_accept_rate * len(values) + 1e-9)
    first_refused = values[allowed]
    below = values[values < first_refused]
    return float(below[-1]) if len(below) else float(np.nextafter(first_refused, -np.inf))


def error_rates(same: ArrayLike, different: ArrayLike, tau: float) -> tuple[float, float]:
    """(false accepts, false rejects) as shares of the pairs of two persons and of one, at ``distance <= tau``."""
    accepted = _finite(different, "pairs of two persons") <= tau
    refused = _finite(same, "pairs of one person") > tau
    return float(accepted.mean()), float(refused.mean())


@dataclass(frozen=True)
class Calibration:
    """Distance to probability: ``1 / (1 + exp(-(offset + slope * distance)))``, slope negative."""

    offset: float
    slope: float

    def log_odds(self, distance: ArrayLike) -> NDArray[np.float64]:
        """Natural log of P(one person) / P(two persons), where both are as likely beforehand."""
        return self.offset + self.slope * np.asarray(distance, np.float64)

    def probability(self, distance: ArrayLike) -> NDArray[np.float64]:
        """How likely a pair at this distance shows one person, where both are as likely beforehand."""
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * self.log_odds(distance))))


def fit_probability(
    same: ArrayLike, different: ArrayLike, *, ridge: float = 1e-3, steps: int = 100
) -> Calibration:
    """Logistic regression of "one person" on the distance (Platt, 1999), by Newton's method.

    Both kinds weigh half, however many pairs there are of each, so the prior is for the user to add as log-odds.

    Args:
        same: (N,) distances of pairs of one person, N >= 1.
        different: (M,) distances of pairs of two persons, M >= 1.
        ridge: Penalty on the squared slope: keeps it finite where the two kinds do not overlap.
        steps: Most Newton steps; a handful is usual.

    Raises:
        ValueError: A kind is empty or holds a number that is not finite, or ``same`` is on average not the nearer
            kind, which says that the distances or their labels are wrong.
    """
    near, far = _finite(same, "pairs of one person"), _finite(different, "pairs of two persons")
    if near.mean() >= far.mean():
        raise ValueError(
            f"pairs of one person are farther apart (mean {near.mean():.3f}) than pairs of two "
            f"({far.mean():.3f}): the distances cannot tell people apart, or the labels are swapped"
        )
    x = np.concatenate([near, far])
    y = np.concatenate([np.ones(len(near)), np.zeros(len(far))])
    weight = np.where(y > 0, 0.5 / len(near), 0.5 / len(far))
    centre, spread = float(weight @ x), max(float(np.sqrt(weight @ (x - weight @ x) ** 2)), 1e-9)
    A = np.stack([np.ones_like(x), (x - centre) / spread], axis=1)
    penalty = np.array([0.0, ridge])
    theta = np.zeros(2)
    loss = _logistic_loss(A, y, weight, theta, penalty)
    for _ in range(steps):
        p = 0.5 * (1.0 + np.tanh(0.5 * (A @ theta)))
        gradient = A.T @ (weight * (p - y)) + penalty * theta
        hessian = (A * (weight * p * (1.0 - p))[:, None]).T @ A + np.diag(penalty + 1e-12)
        move = np.linalg.solve(hessian, gradient)
        step = 1.0
        # A full Newton step overshoots where the curve is flat; half of it, or half of that, does not.
        while (new := _logistic_loss(A, y, weight, theta - step * move, penalty)) > loss and step > 1e-6:
            step /= 2.0
        theta = theta - step * move
        if loss - new < 1e-12:
            break
        loss = new
    slope = float(theta[1]) / spread
    return Calibration(offset=float(theta[0]) - slope * centre, slope=slope)


def _logistic_loss(
    A: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    theta: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> float:
    logits = A @ theta
    return float(weight @ (np.logaddexp(0.0, logits) - y * logits) + 0.5 * penalty @ theta**2)


def _finite(distances: ArrayLike, what: str) -> NDArray[np.float64]:
    values = np.asarray(distances, np.float64).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a calibration needs finite distances of {what}: {len(values)} given")
    return values
