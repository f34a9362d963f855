"""From distances to decisions: a threshold for a wanted error rate, and a probability for each distance.

A threshold is never typed in. It follows from pairs of which it is known whether they show one person, made by
the very model and the very kind of pair (crop to crop, set to set) that will be judged. `calibrate` measures both
kinds on people that the training never saw, and answers the lines that go into the model's card.

Of people that the training did see, the false rejects come out flattering; the false accepts hold for others in the
same cameras as well, and are more at a new site.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid.gallery import set_distance
from reid.rerank import distance_blocks

if TYPE_CHECKING:
    from reid.datasets import Pictures
    from reid.evaluate import Embedder

RATES = (0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001, 0.00005)  # of false accepts, for single crops
SET_RATES = (0.05, 0.01, 0.001)  # and for sets, of which there are fewer
# Fewer pairs than this beyond a threshold do not tell it (Doddington et al., 2000: 30 errors for 30 % precision).
ENOUGH_ERRORS = 30


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


# --- single crops


def crop_pairs(
    embeddings: NDArray[np.floating], ids: NDArray[np.integer], cameras: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Distances of all pairs of pictures from two different cameras.

    Args:
        embeddings: (N, D).
        ids: (N,) who.
        cameras: (N,) seen by which camera.

    Returns:
        (P,) distances of the pairs of one person, and (M,) of those of two persons; each pair once.
    """
    same, different = [], []
    start = 0
    for block in distance_blocks(embeddings, embeddings):
        rows = np.arange(start, start + len(block))[:, None]
        start += len(block)
        counts = (np.arange(len(ids)) > rows) & (cameras[rows] != cameras)
        one_person = ids[rows] == ids
        same.append(block[counts & one_person])
        different.append(block[counts & ~one_person])
    nothing = [np.empty(0, np.float32)]
    return np.concatenate(same or nothing), np.concatenate(different or nothing)


@dataclass(frozen=True, init=False)
class PairCalibration:
    """What the distance of two single crops says: a falling curve through knots, flat beyond the outer ones.

    Probabilities hold where "one person" and "two persons" are equally likely beforehand. The names of the
    constructor's arguments are those of the card's table ``[details.pair_calibration]``.
    """

    distances: tuple[float, ...]  # (K,) of the knots, 1 - cosine, rising
    probabilities: tuple[float, ...]  # (K,) of one person, never rising
    thresholds: Mapping[float, float]  # false-accept rate -> the largest distance that is accepted at it
    ece: float  # expected calibration error, of people that were not fitted to; NaN where not measured
    people: int  # how many it was fitted to

    def __init__(
        self,
        *,
        distance: ArrayLike,
        probability: ArrayLike,
        thresholds: Mapping[float, float],
        ece: float = math.nan,
        people: int = 0,
    ) -> None:
        """Take knots and thresholds.

        Raises:
            ValueError: There is no knot, the distances do not rise, the probabilities rise or leave [0, 1], a
                threshold's rate is outside (0, 1), or the threshold of a larger rate is smaller.
        """
        x, p = (np.asarray(values, np.float64) for values in (distance, probability))
        if (
            x.ndim != 1
            or x.shape != p.shape
            or not len(x)
            or not np.isfinite(x).all()
            or (np.diff(x) <= 0).any()
        ):
            raise ValueError(
                f"knots need rising distances with a probability each, not {distance!r}, {probability!r}"
            )
        if not ((p >= 0) & (p <= 1)).all() or (np.diff(p) > 0).any():
            raise ValueError(f"probabilities of knots lie in [0, 1] and never rise, not {probability!r}")
        rates = sorted(thresholds)
        taus = [float(thresholds[rate]) for rate in rates]
        if (
            not all(0.0 < rate < 1.0 for rate in rates)
            or not (np.diff(taus) >= 0).all()
            or np.isnan(taus).any()
        ):
            raise ValueError(f"thresholds rise with false-accept rates in (0, 1), not {dict(thresholds)}")
        for name, value in (
            ("distances", tuple(x.tolist())),
            ("probabilities", tuple(p.tolist())),
            ("thresholds", MappingProxyType(dict(zip(rates, taus)))),
            ("ece", float(ece)),
            ("people", int(people)),
        ):
            object.__setattr__(self, name, value)

    def probability(self, distance: ArrayLike, prior: float = 0.5) -> NDArray[np.float64]:
        """How likely pairs at these distances show one person.

        Args:
            distance: Of any shape.
            prior: How likely that is before looking, in [0, 1]; its odds multiply the curve's.
        """
        if not 0.0 <= prior <= 1.0:
            raise ValueError(f"a probability beforehand lies in [0, 1], not at {prior}")
        p = np.interp(np.asarray(distance, np.float64), self.distances, self.probabilities)
        return np.asarray(p if prior == 0.5 else p * prior / (p * prior + (1.0 - p) * (1.0 - prior)))

    def threshold(self, rate: float) -> float:
        """The largest distance that is accepted at this false-accept rate.

        Between two measured rates, on a straight line over the rate's logarithm.

        Raises:
            ValueError: The rate is smaller or larger than all that were measured.
        """
        rates = list(self.thresholds)
        if not rates or not rates[0] <= rate <= rates[-1]:
            known = f"from {rates[0]:g} to {rates[-1]:g}" if rates else "for none"
            raise ValueError(
                f"no threshold is known at a false-accept rate of {rate:g}: they were measured {known}"
            )
        return float(np.interp(math.log(rate), np.log(rates), list(self.thresholds.values())))

    def card(self) -> str:
        """The table for a model's card, as TOML."""
        taus = ", ".join(f'"{rate:g}" = {tau:.6g}' for rate, tau in self.thresholds.items())
        return "\n".join(
            [
                "[details.pair_calibration]",
                f"distance = [{', '.join(f'{x:.6g}' for x in self.distances)}]",
                f"probability = [{', '.join(f'{p:.9g}' for p in self.probabilities)}]",
                f"ece = {self.ece:.4g}",
                f"people = {self.people}",
                f"thresholds = {{ {taus} }}",
            ]
        )

    @classmethod
    def from_card(cls, said: Mapping[str, Any]) -> "PairCalibration":
        """What `card` wrote.

        Raises:
            ValueError: An entry is missing, unknown or of another kind, or makes no calibration.
        """
        try:
            rates = {float(rate): float(tau) for rate, tau in said["thresholds"].items()}
            return cls(**{**said, "thresholds": rates})
        except (TypeError, KeyError, AttributeError, ValueError) as problem:
            raise ValueError(
                "pair_calibration needs distance, probability, thresholds, ece and people, as reid.calibrate "
                f"writes them ({problem})"
            ) from problem


def isotonic(same: ArrayLike, different: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """The falling step function nearest to "one person" in squares, by pooling adjacent violators (Ayer et al., 1955).

    Both kinds weigh half, however many pairs there are of each.

    Args:
        same: (P,) distances of pairs of one person, P >= 1.
        different: (M,) of two persons, M >= 1.

    Returns:
        (L,) distances, each once, rising; (L,) probability of one person at each; (L,) weight of each, in sum 1.

    Raises:
        ValueError: A kind is empty or holds a number that is not finite.
    """
    from scipy.optimize import isotonic_regression

    near, far = _finite(same, "pairs of one person"), _finite(different, "pairs of two persons")
    levels, where = np.unique(np.concatenate([near, far]), return_inverse=True)
    of_one = np.bincount(where[: len(near)], minlength=len(levels)) * (0.5 / len(near))
    of_two = np.bincount(where[len(near) :], minlength=len(levels)) * (0.5 / len(far))
    weight = of_one + of_two
    fitted = isotonic_regression(of_one / weight, weights=weight, increasing=False).x
    return levels, np.asarray(fitted, np.float64), weight


def fit_pairs(
    same: ArrayLike, different: ArrayLike, *, ece: float = math.nan, people: int = 0, knots: int = 24
) -> PairCalibration:
    """Fit a falling curve of few knots, and thresholds for the `RATES` that the pairs are enough for.

    Each knot is the mean of a stretch of the `isotonic` fit. Stretches are cut so that each has the same share of
    pairs and of the curve's fall, half and half: knots stand where pairs are and where the curve bends. Means of a
    falling function fall. No probability is nearer to 0 or 1 than half a pair among all of its kind.

    Args:
        same: (P,) distances of pairs of one person.
        different: (M,) of two persons.
        ece: To be remembered, as is ``people``.
        people: See ``ece``.
        knots: At most so many, at least 2.

    Raises:
        ValueError: A kind is empty or holds a number that is not finite.
    """
    levels, fitted, weight = isotonic(same, different)
    passed = np.cumsum(weight) - 0.5 * weight
    fallen = (fitted[0] - fitted) / max(fitted[0] - fitted[-1], 1e-12)
    stretch = np.minimum((0.5 * (passed + fallen) * knots).astype(np.int64), knots - 1)
    held = np.bincount(stretch, weight, knots)
    filled = held > 0
    x = (np.bincount(stretch, weight * levels, knots)[filled] / held[filled]).round(6)
    p = np.bincount(stretch, weight * fitted, knots)[filled] / held[filled]
    p = np.minimum.accumulate(p.clip(0.5 / np.size(same), 1.0 - 0.5 / np.size(different)))
    p = np.array([float(f"{value:.9g}") for value in p])
    needed = np.diff(x, prepend=-np.inf) > 0  # rounding may have made two into one
    needed[1:-1] &= (p[1:-1] < p[:-2]) | (
        p[2:] < p[1:-1]
    )  # nor does the inside of a flat stretch say anything
    strangers = np.asarray(different, np.float64).ravel()
    return PairCalibration(
        distance=x[needed],
        probability=p[needed],
        thresholds={
            rate: float(f"{threshold(strangers, rate):.6g}")
            for rate in RATES
            if rate * len(strangers) >= ENOUGH_ERRORS
        },
        ece=ece,
        people=people,
    )


# --- how far probabilities can be believed


@dataclass(frozen=True)
class Reliability:
    """What was said and what happened, by equal steps of the probability said (Guo et al., ICML 2017, section 2).

    Steps that hold no pair are left out.
    """

    weight: NDArray[np.float64]  # (B,) share of all pairs, in sum 1
    said: NDArray[np.float64]  # (B,) mean probability of one person
    happened: NDArray[np.float64]  # (B,) share of pairs of one person

    @property
    def ece(self) -> float:
        """Expected calibration error (eq. 3): the mean of what both differ by, in [0, 1]."""
        return float(self.weight @ np.abs(self.said - self.happened))


def reliability(probability: ArrayLike, same: ArrayLike, bins: int = 15, *, even: bool = True) -> Reliability:
    """Compare probabilities with what was the case.

    Args:
        probability: (N,) in [0, 1], that each pair shows one person.
        same: (N,) whether it does; if even, both must occur.
        bins: How many steps.
        even: Both kinds of pairs weigh half, as where the prior odds are even; else every pair weighs the same.

    Raises:
        ValueError: A probability is outside [0, 1] or NaN, the lengths differ, or one kind does not occur.
    """
    p, is_same = np.asarray(probability, np.float64).ravel(), np.asarray(same, np.bool_).ravel()
    if len(p) != len(is_same) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"{len(p)} probabilities in [0, 1] were expected for {len(is_same)} pairs")
    if even and (is_same.all() or not is_same.any()):
        raise ValueError("reliability needs pairs of one person and pairs of two")
    weight = (
        np.where(is_same, 0.5 / is_same.sum(), 0.5 / (~is_same).sum())
        if even
        else np.full(len(p), 1 / len(p))
    )
    step = np.minimum((p * bins).astype(np.int64), bins - 1)
    held, said, happened = (
        np.bincount(step, weight * values, bins).astype(np.float64)
        for values in (np.ones(len(p)), p, is_same)
    )
    filled = held > 0
    return Reliability(held[filled], said[filled] / held[filled], happened[filled] / held[filled])


def _reliability_of(
    calibration: PairCalibration, same: NDArray[np.floating], different: NDArray[np.floating]
) -> Reliability:
    probability = calibration.probability(np.concatenate([same, different]))
    return reliability(probability, np.arange(len(probability)) < len(same))


def cross_fitted_ece(
    embeddings: NDArray[np.floating],
    ids: NDArray[np.integer],
    cameras: NDArray[np.integer],
    *,
    rng: np.random.Generator,
) -> float:
    """The error on people that were not fitted to: fit to one half of them, measure on the other, both ways; the mean.

    Args:
        embeddings: (N, D).
        ids: (N,) who; at least 4 people.
        cameras: (N,) seen by which camera.
        rng: Draws the halves.

    Raises:
        ValueError: A half has no pair of one person across cameras, or none of two.
    """
    people = rng.permutation(np.unique(ids))
    in_first = np.isin(ids, people[: len(people) // 2])
    halves = [crop_pairs(embeddings[half], ids[half], cameras[half]) for half in (in_first, ~in_first)]
    return float(np.mean([_reliability_of(fit_pairs(*halves[k]), *halves[1 - k]).ece for k in range(2)]))


def ece_on(embedder: "Embedder", pictures: "Pictures", calibration: PairCalibration) -> float:
    """The error of a calibration on pictures of another place, of pairs across their cameras.

    Raises:
        ValueError: Nobody is seen by two cameras, or there is one person only.
    """
    _, _, pairs = _rows_and_pairs(embedder, pictures, least=2)
    return _reliability_of(calibration, *pairs).ece


# --- a model's calibration


@dataclass(frozen=True)
class CalibrationReport:
    """What distances of a model mean, measured on held-out people."""

    model: str
    sha256: str
    people: int
    pictures: int
    pairs: tuple[int, int]  # single crops across cameras: of one person, of two persons
    pair_calibration: PairCalibration
    reliability: (
        Reliability  # on the very pairs it was fitted to; its ece is flattering, that of the card is not
    )
    set_pairs: tuple[int, int]  # sets across cameras, as a tracker collects them
    calibration: Calibration  # of the distance of sets
    set_thresholds: Mapping[
        float, tuple[float, float]
    ]  # false accepts -> largest distance, false rejects at it

    def card(self) -> str:
        """Lines of TOML for the ``[details]`` of the model's card."""
        line = self.calibration
        return (
            f"calibration = {{ offset = {line.offset:.4f}, slope = {line.slope:.4f} }}\n\n"
            f"{self.pair_calibration.card()}\n"
        )

    def as_row(self) -> dict[str, object]:
        """All but the knots, ready for JSON."""
        return {
            "model": self.model,
            "sha256": self.sha256,
            "people": self.people,
            "pictures": self.pictures,
            "pairs": list(self.pairs),
            "ece": round(self.pair_calibration.ece, 4),
            "thresholds": {f"{rate:g}": tau for rate, tau in self.pair_calibration.thresholds.items()},
            "set_pairs": list(self.set_pairs),
            "offset": round(self.calibration.offset, 4),
            "slope": round(self.calibration.slope, 4),
            "set_thresholds": {f"{rate:g}": round(tau, 4) for rate, (tau, _) in self.set_thresholds.items()},
            "set_false_rejects": {
                f"{rate:g}": round(lost, 4) for rate, (_, lost) in self.set_thresholds.items()
            },
        }


def calibrate(embedder: "Embedder", held: "Pictures", *, seed: int = 0, rows: int = 8) -> CalibrationReport:
    """Measure what a model's distances mean.

    Args:
        embedder: The model.
        held: Pictures of people that its training did not see, at least 4, seen by two cameras or more. All pairs
            across cameras count, so cameras of different places should not be mixed: strangers from two places are
            easily told apart.
        seed: Draws the halves of `cross_fitted_ece` and the sets.
        rows: Pictures in a set at most.

    Raises:
        ValueError: There are too few people or cameras, or the distances tell nobody apart.
    """
    known, embeddings, (same, different) = _rows_and_pairs(embedder, held, least=4)
    rng = np.random.default_rng(seed)
    people = len(known.identities())
    ece = cross_fitted_ece(embeddings, known.ids, known.cameras, rng=rng)
    pair_calibration = fit_pairs(same, different, ece=ece, people=people)
    near, far = set_pairs(embeddings, known.ids, known.cameras, rows=rows, most_different=50_000, rng=rng)
    taus = {rate: threshold(far, rate) for rate in SET_RATES if rate * len(far) >= ENOUGH_ERRORS}
    return CalibrationReport(
        model=embedder.name,
        sha256=embedder.model_hash,
        people=people,
        pictures=len(known),
        pairs=(len(same), len(different)),
        pair_calibration=pair_calibration,
        reliability=_reliability_of(pair_calibration, same, different),
        set_pairs=(len(near), len(far)),
        calibration=fit_probability(near, far),
        set_thresholds={rate: (tau, error_rates(near, far, tau)[1]) for rate, tau in taus.items()},
    )


def _rows_and_pairs(
    embedder: "Embedder", pictures: "Pictures", least: int
) -> tuple["Pictures", NDArray[np.float32], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The pictures of known people, at least so many, their rows, and the distances of their `crop_pairs`."""
    from reid.datasets import require_cameras, require_people

    name = "the set to calibrate with"
    require_people(pictures, least, name)
    require_cameras(pictures, 2, name)
    known = pictures.where(np.isin(pictures.ids, pictures.identities()))
    embeddings = embedder.embed(list(known.crops))
    pairs = crop_pairs(embeddings, known.ids, known.cameras)
    if not len(pairs[0]):
        raise ValueError(f"nobody in {name} is seen by two cameras: there is no pair of one person")
    return known, embeddings, pairs
