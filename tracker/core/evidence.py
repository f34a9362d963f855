"""How likely are two tracklets one person: appearance, time, place.

Every cue is a log-likelihood ratio (natural logarithm): the cue's likelihood if the two are one person over its
likelihood if they are not. Cues are added (naive Bayes), and the prior odds decide what no cue knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

MAX_APPEARANCE_LLR = 6.0  # an embedder is never surer than 400 : 1
MAX_PLACE_LLR = 8.0


@dataclass
class AppearanceModel:
    """Mean cosine distances between pictures of one person and of two, learned from the site itself.

    ``1 - mean_a @ mean_b`` of two tracklets' mean embeddings is the mean distance of all pairs of their pictures, so
    its expectation does not depend on how many pictures there are; only its spread does. People seen at once by one
    camera are different for sure: their distances move the prior to where this site's are, and the distance of one
    person moves along.
    """

    same_mean: float = 0.32  # between cameras, per pair of pictures; the embedder's card says it
    different_mean: float = 0.75
    sigma: float = 0.10  # of well-seen tracklets
    crop_sigma: float = 0.15  # added in squares for 1 / pictures of either side
    prior_strength: float = 15.0  # the prior weighs as much as this many pairs of strangers
    _count: float = field(default=0.0)
    _sum: float = field(default=0.0)

    def fit(self, strangers: F) -> None:
        """Learn from the distances (N,) between people who are certainly different."""
        known = strangers[np.isfinite(strangers)]
        self._count, self._sum = float(len(known)), float(known.sum())

    @property
    def learned(self) -> tuple[float, float]:
        """What ``fit`` has made of this site, for a checkpoint."""
        return self._count, self._sum

    @learned.setter
    def learned(self, learned: tuple[float, float]) -> None:
        self._count, self._sum = learned

    def means(self) -> tuple[float, float]:
        """Expected distance of one person and of two, at this site."""
        weight = self.prior_strength
        different = (weight * self.different_mean + self._sum) / (weight + self._count)
        return self.same_mean * different / self.different_mean, different

    def llr(self, distance: F, pictures_a: F, pictures_b: F) -> F:
        """Of distances in [0, 2], any shape; NaN (not embedded) says nothing, which is 0.

        Two normal distributions of equal spread: the ratio is a line in the distance (linear discriminant;
        Bishop, Pattern Recognition and Machine Learning, eq. 4.65).
        """
        same, different = self.means()
        spread = self.sigma**2 + self.crop_sigma**2 * (
            1 / np.maximum(pictures_a, 1) + 1 / np.maximum(pictures_b, 1)
        )
        ratio = (different - same) / spread * ((same + different) / 2 - distance)
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


def meeting_llr(distances_m: F, sigmas_m: F, *, area_m2: float = 60.0) -> float:
    """Of two tracks seen at the same instants by two calibrated cameras, (N,) metres apart with (N,) uncertainties.

    The lower quartile is used, since feet are often hidden in one of the views, which only ever adds distance.
    """
    known = np.isfinite(distances_m) & np.isfinite(sigmas_m)
    d, s = distances_m[known], np.maximum(sigmas_m[known], 1e-3)
    if not len(d):
        return 0.0
    near = d <= np.quantile(d, 0.5)
    z2 = float(np.mean((d[near] / s[near]) ** 2))
    sigma2 = float(np.mean(s[near] ** 2))
    # Rayleigh density of the distance if one person, uniform over the floor seen if two.
    one = -z2 / 2 - np.log(2 * np.pi * sigma2)
    two = -np.log(area_m2)
    looks = min(len(d), 4)  # neighbouring instants err alike: more than a few say nothing new
    return float(np.clip((one - two) * looks / 2, -MAX_PLACE_LLR, MAX_PLACE_LLR))


def walk_llr(
    distance_m: float, sigma_m: float, gap_s: float, *, speed_m_s: float = 1.3, top_m_s: float = 3.0
) -> float:
    """Of a walk over ``distance_m`` in ``gap_s``: impossible when faster than people go."""
    if not (np.isfinite(distance_m) and np.isfinite(sigma_m)):
        return 0.0
    slack = 3 * sigma_m + 0.5
    if distance_m > top_m_s * max(gap_s, 0) + slack:
        return -MAX_PLACE_LLR
    reach = speed_m_s * max(gap_s, 0) + sigma_m
    one = -((distance_m / reach) ** 2) / 2 - np.log(2 * np.pi * reach**2)
    return float(np.clip(one + np.log(60.0), -3.0, 3.0))


def stitch_llr(end_box: F, velocity_px_s: F, start_box: F, gap_s: float, *, window_s: float) -> float:
    """Of one camera's track going on as another after ``gap_s``: is the second where the first was heading?"""
    size = max((end_box[3] - end_box[1] + start_box[3] - start_box[1]) / 2, 1.0)
    end = np.array([(end_box[0] + end_box[2]) / 2, (end_box[1] + end_box[3]) / 2])
    start = np.array([(start_box[0] + start_box[2]) / 2, (start_box[1] + start_box[3]) / 2])
    # How far the heading can be trusted fades: expected is between standing still and walking on.
    carry = min(gap_s, 1.0)
    off = float(np.linalg.norm(start - end - velocity_px_s * carry)) / size
    sigma = 0.25 + 0.6 * max(gap_s, 0.0)
    grow = abs(np.log(max(start_box[3] - start_box[1], 1.0) / max(end_box[3] - end_box[1], 1.0)))
    one = -((off / sigma) ** 2) / 2 - np.log(2 * np.pi * sigma**2) - (grow / 0.25) ** 2 / 2
    two = -np.log(40.0)  # a picture is some 40 square heights of people
    return float(np.clip(one - two + max(0.0, 1.0 - gap_s / window_s), -MAX_PLACE_LLR, 5.0))


def at_border(box: F, image_size: tuple[int, int], margin: float = 0.02) -> bool:
    """Does the box touch the picture's edge (within ``margin`` of its size): was somebody coming or going there?"""
    w, h = image_size
    if not (w and h):
        return True
    return bool(
        box[0] < margin * w or box[1] < margin * h or box[2] > (1 - margin) * w or box[3] > (1 - margin) * h
    )
