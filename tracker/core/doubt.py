"""Whether a track of one camera has gone over to somebody else, from its pictures one by one.

One odd picture says little: people turn, and others pass before them. So pictures that may be of another person are
kept apart from the track's own until, together, they show somebody else, or the one who was here again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CUT_AFTER = 3  # clear pictures from which a track is known to have gone over to somebody else
OWN_SHARE, DOUBT_SHARE = 0.25, 0.5  # up to here it is the one who was here; from there on it may be another
STRANGER_SHARE = 0.8  # looks this far on the way to another person's: not the one who was here
CALM_SHARE, RISKY_SHARE = 0.6, 0.5  # such a mean is enough; the lower after a gap or beside others
AGREE_SHARE = 0.65  # pictures of one other person are so much nearer to each other than to the track's
UNSURE_LOOKS, UNSURE_DOUBTS = 2.0, 0.5  # of pictures: how much a mean of few of them is worth
RISKY_S = 0.5  # a gap or somebody beside it counts so shortly before the last clear picture
MOST_DOUBTS = 6  # with so many pictures a doubt ends
DOUBT_S = 10.0  # pictures of longer ago are about another moment


class LookScale:
    """How far apart, by cosine distance, one person's pictures are in this camera, and two people's.

    Learned while tracking, from a prior that weighs as much as 30 pairs: no threshold needs to know the embedder.
    """

    PRIOR_PAIRS = 30.0

    def __init__(self, own: float = 0.10, other: float = 0.42) -> None:
        self._own = [own * self.PRIOR_PAIRS, self.PRIOR_PAIRS]
        self._other = [other * self.PRIOR_PAIRS, self.PRIOR_PAIRS]

    def learn(self, own: float, others: NDArray[np.floating]) -> None:
        """One pair of the same person, and that picture against everybody else's."""
        if np.isfinite(own):
            self._own = [self._own[0] + own, self._own[1] + 1]
        if len(others):
            self._other = [self._other[0] + float(others.mean()), self._other[1] + 1]

    @property
    def own(self) -> float:
        return self._own[0] / self._own[1]

    @property
    def other(self) -> float:
        return max(self._other[0] / self._other[1], self.own + 0.02)

    def between(self, share: float) -> float:
        """The distance ``share`` of the way from one person's pictures to another's."""
        return self.own + share * (self.other - self.own)

    def share(self, distance: float) -> float:
        """How far a distance is on the way from one person's pictures to another's."""
        return (distance - self.own) / (self.other - self.own)


class Picture(NamedTuple):
    """A clear picture that may be of somebody else than its track's person."""

    t_ns: int
    embedding: NDArray[np.float32]  # (D,) unit
    quality: float  # of `picture_quality`
    share: float  # how far on the way to another person's it is


class Doubt:
    """The pictures of one track, in order, since one was not like its person's."""

    def __init__(self, t_ns: int) -> None:
        """``t_ns``: when the track began."""
        self.pictures: list[Picture] = []
        self.is_stranger = False  # they show one other person
        self._t_clear_ns = t_ns  # when the track was last seen clearly with no doubt left
        self._t_risk_ns: int | None = None  # last taken up after a gap, or beside others
        self._t_back_ns = t_ns  # last taken up after a gap

    def __bool__(self) -> bool:
        return bool(self.pictures)

    def risk(self, t_ns: int, *, is_back: bool) -> None:
        """At ``t_ns`` it may well have been somebody else who was taken for the track's person.

        Args:
            is_back: after a gap, not only since others are beside them.
        """
        self._t_risk_ns = t_ns
        if is_back:
            self._t_back_ns = t_ns

    def clear(self, t_ns: int) -> None:
        """A clear picture of the track's own person."""
        self._t_clear_ns = t_ns

    @property
    def is_risky(self) -> bool:
        """May somebody else have been taken for the track's person since it was last seen clearly?"""
        return self._t_risk_ns is not None and self._t_risk_ns >= self._t_clear_ns - RISKY_S * 1e9

    def forget(self, before_ns: int) -> None:
        """Older pictures decide nothing any more."""
        self.pictures = [one for one in self.pictures if one.t_ns >= before_ns]

    def add(self, picture: Picture, known: int, looks: LookScale) -> bool:
        """One more picture; is the doubt over, with nobody else?

        Their own look ends it, or so many pictures that it stays undecided. Somebody else is told by `is_stranger`.

        Args:
            known: of how many pictures the track's look is made.
            looks: how far apart pictures are in this camera.
        """
        if picture.share <= DOUBT_SHARE:  # who comes back looks like them, whoever was there before
            self.forget(self._t_back_ns)
        self.pictures.append(picture)
        self.is_stranger = False
        if picture.share <= OWN_SHARE or self._share() <= DOUBT_SHARE:
            self.clear(picture.t_ns)
            return True
        self.is_stranger = self._shows_another(known, looks)
        return not self.is_stranger and len(self.pictures) >= MOST_DOUBTS

    def settled(self) -> list[Picture]:
        """End it; of the pictures, those that are no stranger's."""
        kept = [one for one in self.pictures if one.share <= STRANGER_SHARE]
        self.pictures, self.is_stranger = [], False
        return kept

    def _share(self) -> float:
        """How far the pictures are on the way to another person's, clear ones above all."""
        weight = sum(one.quality for one in self.pictures)
        return sum(one.quality * one.share for one in self.pictures) / max(weight, 1e-9)

    def _shows_another(self, known: int, looks: LookScale) -> bool:
        if len(self.pictures) < CUT_AFTER:
            return False
        share, clear = self._share(), sum(one.quality for one in self.pictures)
        sureness = known / (known + UNSURE_LOOKS) * clear / (clear + UNSURE_DOUBTS)
        is_far = sureness * share >= (RISKY_SHARE if self.is_risky else CALM_SHARE)
        # So many pictures of a stranger tell even where few are known of who was here.
        is_far |= len(self.pictures) >= MOST_DOUBTS and share > STRANGER_SHARE
        if not is_far:
            return False
        rows = np.stack([one.embedding for one in self.pictures])
        apart = (1 - rows @ rows.T)[np.triu_indices(len(rows), 1)].mean()
        return looks.share(float(apart)) < AGREE_SHARE * share
