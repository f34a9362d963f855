"""How likely are two tracklets one person: appearance, time, place.

Every cue is a log-likelihood ratio (natural logarithm): the cue's likelihood if the two are one person over its
likelihood if they are not. Cues are added (naive Bayes), and the prior odds decide what no cue knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

F = NDArray[np.float64]

MAX_APPEARANCE_LLR = 6.0  # an embedder is never surer than 400 : 1
MAX_PLACE_LLR = 8.0
FLOOR_M2 = 60.0  # that two cameras see together, where nobody knows better
HIDDEN_FEET = 0.2  # share of looks in which the feet are elsewhere than they seem
MOST_LOOKS = 6.0


@dataclass
class AppearanceModel:
    """What a cosine distance between two tracklets says, on the scale of this site's own strangers.

    ``1 - mean_a @ mean_b`` of two tracklets' mean embeddings is the mean distance of all pairs of their pictures, so
    its expectation does not depend on how many pictures there are. What is near and what is far differs by network,
    camera and light, so a distance is judged against strangers (score normalisation with a cohort, as in speaker
    verification: Matejka et al., Interspeech 2017): if a and b are one person, everybody seen beside b is a stranger
    to a. People seen at once by one camera give the spread.
    """

    different_mean: float = 0.6  # between strangers, until this site has shown some
    different_sigma: float = 0.09  # of one person's strangers
    separation: float = (
        2.0  # one person's distance lies this many sigma below a stranger's; the embedder's strength
    )
    prior_strength: float = 15.0  # the prior weighs as much as this many pairs of strangers
    cohort_strength: float = 4.0  # and the site as much as this many of a pair's own strangers
    few_pictures: float = 1.0  # variance added, as a share, for 1 / pictures of either side
    _mean: float = field(default=float("nan"))
    _sigma: float = field(default=float("nan"))

    def fit(self, strangers: Sequence[F]) -> None:
        """Learn from the distances of people to who is certainly different: for each person an array (K,)."""
        rows = [row[np.isfinite(row)] for row in strangers]
        number = float(sum(map(len, rows)))
        inside = float(sum(((row - row.mean()) ** 2).sum() for row in rows if len(row)))
        free = number - len([row for row in rows if len(row)])
        w = self.prior_strength
        self._mean = (w * self.different_mean + float(sum(row.sum() for row in rows))) / (w + number)
        self._sigma = float(np.sqrt((w * self.different_sigma**2 + inside) / (w + free)))

    def strangers(self) -> tuple[float, float]:
        """Mean and standard deviation of the distances of strangers at this site."""
        if np.isnan(self._mean):
            return self.different_mean, self.different_sigma
        return self._mean, self._sigma

    def cohort(self, count: F, total: F, squares: F) -> tuple[F, F]:
        """Mean and standard deviation of the distances that a pair of strangers would have, any shape.

        Args:
            count, total, squares: number, sum and sum of squares of the distances to the pair's own strangers.
        """
        mean, sigma = self.strangers()
        w = self.cohort_strength
        own = (w * mean + total) / (w + count)
        inside = np.maximum(squares - total**2 / np.maximum(count, 1), 0.0)
        return np.asarray(own), np.asarray(np.sqrt((w * sigma**2 + inside) / (w + np.maximum(count - 1, 0))))

    def llr(self, distance: F, cohort: tuple[F, F], pictures_a: F, pictures_b: F) -> F:
        """Of distances in [0, 2], any shape; NaN (not embedded) says nothing, which is 0.

        Two normal distributions of equal spread: the ratio is a line in the distance (linear discriminant;
        Bishop, Pattern Recognition and Machine Learning, eq. 4.65).
        """
        mean, sigma = cohort
        few = 1 + self.few_pictures * (1 / np.maximum(pictures_a, 1) + 1 / np.maximum(pictures_b, 1))
        z = (mean - distance) / (sigma * np.sqrt(few))
        apart = self.separation / np.sqrt(few)  # one person's mean stays where it is; the spread grows
        ratio = apart * z - apart**2 / 2
        return np.where(np.isfinite(distance), np.clip(ratio, -MAX_APPEARANCE_LLR, MAX_APPEARANCE_LLR), 0.0)


def gap_llr(gap_s: F, *, typical_s: float, window_s: float) -> F:
    """Of somebody unseen for ``gap_s`` between two places: short gaps speak for one person.

    Gaps of one person fall off as 1 / (1 + gap / typical)^2, which has the long tail that detours need; a stranger
    may come at any time within the window.
    """
    gap = np.maximum(gap_s, 0.0)
    same = 1 / typical_s / (1 + gap / typical_s) ** 2
    ratio = np.log(same * window_s)
    return np.asarray(np.where(gap <= window_s, ratio, -np.inf))


def look_llr(distance_m: F, sigma_m: F) -> F:
    """Of two places, seen at one instant by two calibrated cameras: on one spot, or anywhere on the floor seen.

    Feet are often hidden in one of the views, so that one person's places may lie apart without speaking much
    against it: a mixture of a normal error and of anywhere.

    Args:
        distance_m, sigma_m: any shape; the standard deviation of each axis of the difference.
    """
    sigma = np.maximum(sigma_m, 1e-3)
    # Density on the plane (Rayleigh's over its circumference) if one person, uniform over the floor seen if two.
    near = np.exp(-((distance_m / sigma) ** 2) / 2) / (2 * np.pi * sigma**2) * FLOOR_M2
    return np.asarray(np.log((1 - HIDDEN_FEET) * near + HIDDEN_FEET))


def meeting_llr(mean_look_llr: F, looks: F) -> F:
    """Of two tracklets from the mean of their looks, any shape: neighbouring instants err alike, so that more than a
    few say nothing new."""
    return np.clip(mean_look_llr * np.minimum(looks, MOST_LOOKS) / 2, -MAX_PLACE_LLR, MAX_PLACE_LLR)


def walk_llr(
    distance_m: ArrayLike,
    sigma_m: ArrayLike,
    gap_s: ArrayLike,
    *,
    speed_m_s: float = 1.3,
    top_m_s: float = 3.0,
) -> F:
    """Of walks over ``distance_m`` in ``gap_s``, any shape: impossible when faster than people go; NaN says nothing."""
    distance, sigma, gap = np.broadcast_arrays(distance_m, sigma_m, np.maximum(gap_s, 0.0))
    known = np.isfinite(distance) & np.isfinite(sigma)
    distance, sigma = np.where(known, distance, 0.0), np.where(known, sigma, 1.0)
    too_fast = distance > top_m_s * gap + 3 * sigma + 0.5
    reach = speed_m_s * gap + sigma
    one = -((distance / reach) ** 2) / 2 - np.log(2 * np.pi * reach**2)
    ratio = np.where(too_fast, -MAX_PLACE_LLR, np.clip(one + np.log(FLOOR_M2), -3.0, 3.0))
    return np.asarray(np.where(known, ratio, 0.0))


def stitch_llr(
    end_box: NDArray[np.floating],
    velocity_px_s: NDArray[np.floating],
    start_box: NDArray[np.floating],
    gap_s: ArrayLike,
    *,
    window_s: float,
) -> F:
    """Of one camera's tracks going on as others after ``gap_s``: is the second where the first was heading?

    Args:
        end_box, start_box: (..., 4).
        velocity_px_s: (..., 2) of the centre at the end.
        gap_s: (...).
    """
    end_box, start_box = np.asarray(end_box, float), np.asarray(start_box, float)
    gap = np.maximum(gap_s, 0.0)
    height, other = (np.maximum(box[..., 3] - box[..., 1], 1.0) for box in (end_box, start_box))
    size = np.maximum((end_box[..., 3] - end_box[..., 1] + start_box[..., 3] - start_box[..., 1]) / 2, 1.0)
    end, start = ((box[..., :2] + box[..., 2:]) / 2 for box in (end_box, start_box))
    # How far the heading can be trusted fades: expected is between standing still and walking on.
    carry = np.minimum(gap_s, 1.0)[..., None]
    moved = start - end - np.asarray(velocity_px_s, float) * carry
    off = np.hypot(moved[..., 0], moved[..., 1]) / size
    sigma = 0.25 + 0.6 * gap
    grow = np.abs(np.log(other / height))
    one = -((off / sigma) ** 2) / 2 - np.log(2 * np.pi * sigma**2) - (grow / 0.25) ** 2 / 2
    two = -np.log(40.0)  # a picture is some 40 square heights of people
    return np.clip(one - two + np.maximum(0.0, 1.0 - np.asarray(gap_s) / window_s), -MAX_PLACE_LLR, 5.0)


def at_border(box: NDArray[np.floating], image_size: tuple[int, int], margin: float = 0.02) -> bool:
    """Does the box touch the picture's edge (within ``margin`` of its size): was somebody coming or going there?"""
    w, h = image_size
    if not (w and h):
        return True
    return bool(
        box[0] < margin * w or box[1] < margin * h or box[2] > (1 - margin) * w or box[3] > (1 - margin) * h
    )
