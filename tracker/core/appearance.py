"""How alike two tracklets look, and what that says of their being one person.

An embedding shows the person, and besides what all pictures of people share and what the camera adds. The latter two
are the mean over people, which is learned from tracklets of which nobody needs to know whose they are, and taken off
(as mean adaptation in speaker verification: Matejka et al., Interspeech 2017). What is left is compared by its angle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.core.work import Work, done

F = NDArray[np.float64]

MANY_PICTURES = 12.0  # more pictures of one tracklet show little new
PIECES = 3.0  # tracklets of one walk in a crowd: they share its light and the side one shows
# Places lay between .48 and .90. Where hardly anybody is seen twice and light differs from camera to camera, or few
# looks recur, what is found may be anything.
LEAST_SAME, MOST_SAME = 0.3, 0.9
MAX_APPEARANCE_LLR = 10.0  # looks are never surer than 22,000 : 1, however many pictures there are
# The mean over so many people weighs as much as the guess before it, which is 0 for all cameras together, and theirs
# for each: the variance between people over that between sites, and over that between cameras. (clothes, person, visit
# and sides) / common = .41 / .14, and / camera = .41 / .07, of `scenes.appearance.UNSEEN_SITE`.
SITE_PEOPLE, CAMERA_PEOPLE = 3.0, 6.0
PART = 64  # rows that are fitted to at once
MOST_PEOPLE = 100.0  # that a camera remembers: light changes


@dataclass(frozen=True)
class CameraShares:
    """What every camera adds to all looks, as sums over people: each person's looks in a camera count once."""

    people: Mapping[str, float] = field(default_factory=dict)
    sums: Mapping[str, F] = field(default_factory=dict)

    def learn(self, cameras: NDArray[np.str_], looks: F, weight: F) -> CameraShares:
        """With N tracklets' mean embeddings (N, D), each of which is a share of a person (N,)."""
        counts = (weight > 0) & np.isfinite(looks).all(axis=1)
        if not counts.any():
            return self
        known = self if self._width in (0, looks.shape[1]) else CameraShares()
        people, sums = dict(known.people), dict(known.sums)
        for name in sorted(set(cameras[counts].tolist())):
            of = counts & (cameras == name)
            n = people.get(name, 0.0) + float(weight[of].sum())
            total = sums.get(name, np.zeros(looks.shape[1])) + weight[of] @ looks[of]
            fade = min(1.0, MOST_PEOPLE / n)
            people[name], sums[name] = n * fade, total * fade
        return CameraShares(people, sums)

    def taken_off(self, looks: F, cameras: NDArray[np.str_]) -> F:
        """(N, D) unit rows of what is the person's own in the looks of N tracklets; zero where there is none."""
        shares = self._shares if self._width == looks.shape[1] else {}
        nothing = shares.get("", np.zeros(looks.shape[1]))
        names, at = np.unique(cameras, return_inverse=True)
        added = np.array([shares.get(name, nothing) for name in names.tolist()]).reshape(
            len(names), looks.shape[1]
        )[at]
        seen = looks.any(axis=1, keepdims=True) & np.isfinite(looks).all(axis=1, keepdims=True)
        return unit(np.where(seen, looks - added, 0.0))

    @property
    def left(self) -> float:
        """Share of what all looks have in common that is still in two of them."""
        return float((SITE_PEOPLE / (SITE_PEOPLE + max(self.people.values(), default=0.0))) ** 2)

    @property
    def _width(self) -> int:
        """D, 0 as long as nothing is known."""
        return next((len(total) for total in self.sums.values()), 0)

    @cached_property
    def _shares(self) -> dict[str, F]:
        """What is taken off in each camera, and in those unknown as yet (by the name "")."""
        if not self.people:
            return {}
        names = sorted(self.people)  # rounding must not tell which camera was learned from first
        # One person in many cameras is one person.
        known, number = max(self.people.values()), sum(self.people[name] for name in names)
        total = np.sum([self.sums[name] for name in names], axis=0)
        site: F = total / number * (known / (known + SITE_PEOPLE))
        return {"": site} | {
            name: (self.sums[name] + CAMERA_PEOPLE * site) / (self.people[name] + CAMERA_PEOPLE)
            for name in self.people
        }


@dataclass
class AppearanceModel:
    """What the cosine between two tracklets' own looks says.

    Of strangers it is around 0, of one person around ``same`` where both are seen long and well; of few pictures less,
    since each shows much that is of its moment alone. Both kinds are normally spread, and equally: what it says is a
    line in the cosine (linear discriminant; Bishop, Pattern Recognition and Machine Learning, eq. 4.65). The figures
    are those of the shipped embedder as `scenes.appearance` simulates it, at places that its training saw and did not.
    """

    same: float = 0.48  # cosine of one person in two cameras
    different_sigma: float = 0.158  # of the cosines of strangers, and of one person's
    common: float = 0.4  # cosine of strangers as long as what all looks share is not taken off
    few_pictures: float = 1.5  # of so many pictures, half is of their moment
    prior_strength: float = 15.0  # the prior weighs as much as this many pairs of strangers
    # ``same`` weighs as much as so many people seen twice. Pairs differ by .15 (standard deviation) and places by .19:
    # less than one person, but few places were measured.
    same_strength: float = 2.0
    cameras: CameraShares = field(default_factory=CameraShares)
    cameras_now: CameraShares = field(default_factory=CameraShares)  # with what is not settled
    _off: float = 0.0  # by how much strangers' cosines differ from what is expected
    _sigma: float = float("nan")
    _same: float = float("nan")

    def own(self, looks: F, cameras: NDArray[np.str_]) -> F:
        """(N, D) unit rows of what is the person's own in N tracklets' mean embeddings; zero where there is none."""
        return self.cameras_now.taken_off(looks, cameras)

    def fit(self, alike: F, pictures: F, two: NDArray[np.bool_], maybe: NDArray[np.bool_]) -> None:
        """`fitting`, all at once."""
        done(self.fitting(alike, pictures, two, maybe))

    def fitting(self, alike: F, pictures: F, two: NDArray[np.bool_], maybe: NDArray[np.bool_]) -> Work[None]:
        """Learn from the cosines of N people's looks, of whom nobody needs to know who is who: one step of EM.

        What is known of strangers comes from who certainly is two, what is known of one person from who may be one, as
        a mixture of both (Brümmer & Garcia-Romero, Odyssey 2014).

        Args:
            alike: (N, N) cosines; symmetric, as all that follows.
            pictures: (N,) of how many pictures each is.
            two: (N, N) who certainly are two people.
            maybe: (N, N) who may be one.
        """
        n = len(alike)
        odds = np.empty_like(alike)
        for start in range(0, n, PART):
            rows = slice(start, start + PART)
            odds[rows] = np.exp(self.llr(alike[rows], pictures[rows, None], pictures))
            yield 20 * len(odds[rows]) * n
        number = two.sum(axis=1).astype(float)
        off = two * (alike - self._expected)
        mean = off.sum(axis=1) / np.maximum(number, 1e-12)
        yield 5 * n * n
        inside = float((two * (alike - self._expected - mean[:, None]) ** 2).sum())
        w = self.prior_strength
        self._off = float(off.sum()) / (w + float(number.sum()))
        self._sigma = float(
            np.sqrt((w * self.different_sigma**2 + inside) / (w + float(np.maximum(number - 1, 0.0).sum())))
        )
        yield 6 * n * n
        one = maybe * odds / (odds + max(n, 1))
        many = np.maximum(one.sum(axis=1), 1.0)  # all that are somebody's say as much as one
        yield 5 * n * n
        one /= np.sqrt(many[:, None] * many)
        yield 4 * n * n
        own = self._own_share(pictures) / self._same_here  # of every unit of ``same``, about where it is now
        expected = (1 - max(self.strangers()[0], 0.0)) * np.sqrt(own[:, None] * own)
        yield 4 * n * n
        found = float((one * expected * (alike - self.strangers()[0])).sum()) / 2
        yield 5 * n * n
        known = self.same_strength + float((one * expected**2).sum()) / 2
        same = (self.same_strength * self.same + found) / known
        self._same = float(np.clip(same, LEAST_SAME, MOST_SAME))

    @property
    def _expected(self) -> float:
        return self.common * self.cameras_now.left

    def strangers(self) -> tuple[float, float]:
        """Mean and standard deviation of the cosines of strangers at this site."""
        return self._expected + self._off, self.different_sigma if np.isnan(self._sigma) else self._sigma

    def llr(self, alike: F, pictures_a: F, pictures_b: F) -> F:
        """Of cosines in [-1, 1], any shape; 0 where a side has no picture."""
        mean, sigma = self.strangers()
        known = (pictures_a > 0) & (pictures_b > 0)
        own = [self._own_share(n) for n in (pictures_a, pictures_b)]
        apart = (1 - max(mean, 0.0)) * np.sqrt(own[0] * own[1])
        ratio = apart * (alike - mean - apart / 2) / sigma**2
        return np.where(known, np.clip(ratio, -MAX_APPEARANCE_LLR, MAX_APPEARANCE_LLR), 0.0)

    @property
    def _same_here(self) -> float:
        return self.same if np.isnan(self._same) else self._same

    def _own_share(self, pictures: F) -> F:
        """The person's own share of the variance of a mean look; what is of one walk and of one moment fades with more
        of them (probabilistic LDA: Ioffe, ECCV 2006)."""
        walk, moment = 1 / self._same_here - 1, self.few_pictures / self._same_here
        few = np.maximum(pictures, 1e-12)
        walks = 1 + np.maximum(few / MANY_PICTURES - 1, 0.0) / PIECES
        return np.asarray(1 / (1 + walk / walks + moment / few))

    def least_alike(self, llr: float) -> float:
        """The cosine below which looks say less than ``llr``, however many pictures there are."""
        mean, sigma = self.strangers()
        # The least over a of mean + a / 2 + llr sigma^2 / a.
        return mean + sigma * float(np.sqrt(2 * llr)) if llr > 0 else -np.inf

    def forget(self) -> None:
        """The embedder has changed: what was learned is of other looks."""
        self.cameras = self.cameras_now = CameraShares()
        self._off, self._sigma, self._same = 0.0, float("nan"), float("nan")

    def to_state(self) -> dict[str, Any]:
        """What was learned of the site, as plain values for a checkpoint; the rest is settings."""
        return {
            "cosines": [self._off, self._sigma, self._same],
            "cameras": [
                {name: [shares.people[name], shares.sums[name].tolist()] for name in sorted(shares.people)}
                for shares in (self.cameras, self.cameras_now)
            ],
        }

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Back from a checkpoint."""
        self._off, self._sigma, self._same = state["cosines"]
        self.cameras, self.cameras_now = (
            CameraShares(
                {name: float(n) for name, (n, _) in shares.items()},
                {name: np.array(total, float) for name, (_, total) in shares.items()},
            )
            for shares in state["cameras"]
        )


def unit(rows: F) -> F:
    """Rows (..., D) brought to length 1; zero stays."""
    length = np.sqrt(np.add.reduce(rows * rows, axis=-1, keepdims=True))
    return np.asarray(rows / np.maximum(length, 1e-12))
