"""Groups of tracklets made better one tracklet at a time: whoever all cues together say is somebody else, goes there.

Joining mutually best groups never takes a tracklet back. Whoever went along early, with whom he walked beside or after
whom he came, may turn out to be like somebody else by all that is known in the end. To move single vertices to the
cluster that gains most by it mends what greedy correlation clustering leaves (Elsner & Schudy, ILP for NLP 2009,
section 4: best one-element moves).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracker.core.appearance import unit
from tracker.core.grouping import MAX_MEETING_LLR, NEVER, Scores
from tracker.core.work import Work

F = NDArray[np.float64]

LEAST_BETTER = 3.0  # log-odds by which another group must be likelier
WEIGHING = 60_000  # that to begin with some groups counts as
SOME = 16  # groups weighed at once
GLIMPSE_S = 1e9  # beyond all gaps


def searching(
    groups: Sequence[Sequence[int]], scores: Scores, said: Sequence[int], stays: NDArray[np.bool_]
) -> Work[list[list[int]]]:
    """Groups after moves of single pieces, each to whom it is likeliest of while all others stay where they are.

    Only pieces with looks move, to groups with looks or to nobody; the most wrong one first, each at most once.

    Args:
        said: (N,) the identity each has now.
        stays: (N,) who has been moved to and fro enough: they only go where they are said to be.
    """
    may = (scores.pictures > 0) & ~scores.forced.any(axis=1)
    if not may.any():
        return sorted(list(members) for members in groups)
    reading = _Reading(groups, scores)
    yield from reading.know()
    names = np.array([Counter(said[m] for m in members).most_common(1)[0][0] for members in groups])
    where = np.ones(reading.value.shape, bool)
    where[stays, :-1] = names == np.array(said)[stays, None]
    where[stays, -1] = ~np.isin(np.array(said)[stays], names)  # then it would be by itself again
    while True:
        i, to, better = reading.best(may, where)
        yield 4 * reading.value.size
        if not better > LEAST_BETTER:
            return reading.groups()
        may[i] = False
        yield from reading.move(i, to)


class _Reading:
    """Who is of which of G groups, the last of which is nobody yet, and how likely each would be of each."""

    def __init__(self, groups: Sequence[Sequence[int]], scores: Scores) -> None:
        self.scores, n = scores, len(scores)
        self.owner = np.zeros(n, np.intp)
        for g, members in enumerate(groups):
            self.owner[list(members)] = g
        self.value = np.full((n, len(groups) + 1), -np.inf)  # log-odds

    def know(self) -> Work[None]:
        """Weigh everybody against every group."""
        s, n = self.scores, len(self.owner)
        self._gap, self._after = s.gap_s.copy(), s.after
        np.fill_diagonal(self._gap, np.inf)
        self._guessed, self._placed = s.met & ~s.placed, s.met & s.placed
        self._barred = s.conflict.copy()
        np.fill_diagonal(self._barred, False)
        yield 10 * n * n
        self.value[:, -1] = 0.0
        every = np.arange(self.value.shape[1] - 1)
        for start in range(0, len(every), SOME):
            yield self._weigh(every[start : start + SOME])

    def _weigh(self, groups: NDArray[np.intp]) -> int:
        """Everybody against some groups; how much work that was."""
        rows = np.argsort(self.owner, kind="stable")
        rows = rows[np.isin(self.owner[rows], groups)]
        known, starts, of = np.unique(self.owner[rows], return_index=True, return_inverse=True)
        self.value[:, groups] = 0.0  # of nobody: somebody new
        if not len(rows):
            return 0
        s = self.scores
        weighed = s.pictures[rows, None] * s.looks[rows]
        total, pictures = np.add.reduceat(weighed, starts), np.add.reduceat(s.pictures[rows], starts)
        value = s.appearance.llr(unit(total) @ s.looks.T, pictures[:, None], s.pictures)
        # Each of them against the others.
        left = pictures[of] - s.pictures[rows]
        left[left < 1e-6] = 0.0
        alike = (unit(total[of] - weighed) * s.looks[rows]).sum(axis=1)
        value[of, rows] = s.appearance.llr(alike, s.pictures[rows], left)

        meeting, guessed = s.meeting[rows], self._guessed[rows]
        place = np.add.reduceat(np.where(guessed, meeting, 0.0), starts)
        place /= np.maximum(np.add.reduceat(guessed, starts, dtype=float), 1)
        place += np.add.reduceat(np.where(self._placed[rows], meeting, 0.0), starts)
        # Those nearest in time tell of the way; glimpses only where there is nothing else.
        gap_s = self._gap[rows] + GLIMPSE_S * ~s.core[rows, None]
        is_nearest = gap_s == np.minimum.reduceat(gap_s, starts)[of]
        time = np.maximum.reduceat(np.where(is_nearest, self._after[rows], -np.inf), starts)
        met = np.logical_or.reduceat(s.met[rows], starts)
        value += np.where(met, np.clip(place, -MAX_MEETING_LLR, MAX_MEETING_LLR) - s.new, time)
        value[np.logical_or.reduceat(self._barred[rows], starts) | ~met & (time <= NEVER / 2)] = -np.inf
        value[pictures == 0] = -np.inf
        alone = np.bincount(of)[of] == 1
        value[of[alone], rows[alone]] = 0.0
        self.value[:, known] = value.T
        return WEIGHING + 30 * len(self.owner) * len(rows)

    def best(self, may: NDArray[np.bool_], where: NDArray[np.bool_]) -> tuple[int, int, float]:
        """Which move is the best, of those who ``may`` (N,) to ``where`` (N, G) they may, and how much better it is."""
        every, of = np.arange(len(self.owner)), self.owner
        better = self.value - np.maximum(self.value[every, of], NEVER)[:, None]
        better[every, of] = better[~may] = -np.inf
        better[:, : where.shape[1]][~where] = -np.inf
        better[:, where.shape[1] :][~where[:, -1]] = -np.inf  # nobody, since some who were are somebody
        i, to = (int(v) for v in np.unravel_index(int(better.argmax()), better.shape))
        return i, to, float(better[i, to])

    def move(self, i: int, to: int) -> Work[None]:
        """A piece goes to another group."""
        source, self.owner[i] = int(self.owner[i]), to
        yield self._weigh(np.array([source, to]))
        if to == self.value.shape[1] - 1:
            self.value = np.hstack((self.value, np.zeros((len(self.owner), 1))))

    def groups(self) -> list[list[int]]:
        """Those that have anybody, ordered by their first row."""
        found = [np.flatnonzero(self.owner == g).tolist() for g in range(self.value.shape[1])]
        return sorted(members for members in found if members)
