"""From distances to decisions: a threshold for a wanted error rate, and a probability for each distance.

A threshold is never typed in. It follows from pairs of which it is known whether they show one person, made by
the very model and the very kind of pair (crop to crop, set to set) that will be judged.

    python -m reid.calibrate --data DIR --model NAME

measures it on 100 people of Market-1501's training part, with sets of pictures as a tracker collects them. Test
people are left alone. A training with the same ``--hold-out`` and ``--seed`` did not see these 100; of people that
it did see, the false rejects come out flattering; the false accepts hold for others in the same cameras as well, and
are more at a new site.
"""

import argparse
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid.gallery import set_distance

LOG = logging.getLogger(__name__)


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


def set_pairs(
    embeddings: NDArray[np.floating],
    ids: NDArray[np.integer],
    cameras: NDArray[np.integer],
    *,
    rows: int,
    most_different: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances between sets of pictures from two different cameras.

    Args:
        embeddings: (N, D).
        ids: (N,) who each row shows.
        cameras: (N,) which camera saw it.
        rows: A set holds this many rows of one person in one camera, or all where there are fewer.
        most_different: How many pairs of two persons at most; chosen by ``rng``, as the rows of a set are.

    Returns:
        (pairs of one person, pairs of two persons), as `reid.gallery.set_distance`.
    """
    seen = np.unique(np.stack([ids, cameras], axis=1), axis=0)
    sets = [
        embeddings[rng.permutation(np.flatnonzero((ids == person) & (cameras == camera)))[:rows]]
        for person, camera in seen
    ]
    first, second = np.triu_indices(len(seen), 1)
    elsewhere = seen[first, 1] != seen[second, 1]
    first, second = first[elsewhere], second[elsewhere]
    one_person = seen[first, 0] == seen[second, 0]
    strangers = rng.permutation(np.flatnonzero(~one_person))[:most_different]
    same, different = (
        np.array([set_distance(sets[first[pair]], sets[second[pair]]) for pair in pairs])
        for pairs in (np.flatnonzero(one_person), strangers)
    )
    return same, different


def main() -> None:
    """The command line: one JSON line with the fitted line, thresholds and what they cost."""
    from reid import datasets  # these two here, because the functions above need neither pictures nor models
    from reid.embedder import load_embedder

    parser = argparse.ArgumentParser(
        prog="python -m reid.calibrate", description="Distance to probability for an embedder."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with market1501/")
    parser.add_argument(
        "--model", default=None, help="name or .onnx path; the default embedder when left out"
    )
    parser.add_argument(
        "--people", type=int, default=100, help="how many; as training's --hold-out, if it had one"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="as the training's, so that the same people are drawn"
    )
    parser.add_argument("--rows", type=int, default=8, help="pictures in a set at most")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    everybody = datasets.load(options.data, "market1501_train")
    _, held = datasets.hold_out(everybody, options.people, np.random.default_rng(options.seed))
    embedder = load_embedder(options.model)
    same, different = set_pairs(
        embedder.embed(list(held.crops)),
        held.ids,
        held.cameras,
        rows=options.rows,
        most_different=50_000,
        rng=np.random.default_rng(options.seed),
    )
    line = fit_probability(same, different)
    at = {rate: threshold(different, rate) for rate in (0.001, 0.01, 0.05)}
    said = {
        "model": embedder.name,
        "sha256": embedder.model_hash,
        "pairs": [len(same), len(different)],
        "offset": round(line.offset, 4),
        "slope": round(line.slope, 4),
        "threshold": {str(rate): round(tau, 4) for rate, tau in at.items()},
        "false_rejects": {
            str(rate): round(error_rates(same, different, tau)[1], 4) for rate, tau in at.items()
        },
    }
    LOG.info("%s", json.dumps(said))


if __name__ == "__main__":
    main()
