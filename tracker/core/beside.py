"""When one camera first and last saw two tracklets at once, so that a tracklet can be cut between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEVER_S = np.array((np.inf, -np.inf))
UNKNOWN_S = NEVER_S[::-1]  # at some time


class TimesBeside:
    """Of R rows each beside each; capture times in seconds."""

    def __init__(self, rows: int) -> None:
        self._met_s = np.tile(NEVER_S[:, None, None], (1, rows, rows))  # first, last

    def grow(self, rows: int) -> None:
        """To so many rows."""
        old, self._met_s = self._met_s, np.tile(NEVER_S[:, None, None], (1, rows, rows))
        self._met_s[:, : old.shape[1], : old.shape[1]] = old

    def see(self, rows: NDArray[np.intp], t_s: float) -> None:
        """One frame that shows all of these."""
        pairs = slice(None), rows[:, None], rows
        first, last = self._met_s[pairs]
        self._met_s[pairs] = np.minimum(first, t_s), np.maximum(last, t_s)

    def part(self, i: int, j: int) -> None:
        """These were seen at once, and nobody knows when."""
        self._met_s[:, (i, j), (j, i)] = UNKNOWN_S[:, None]

    def forget(self, row: int) -> None:
        """A row begins anew."""
        self._put(row, np.tile(NEVER_S[:, None], (1, self._met_s.shape[1])))

    def join(self, row: int, earlier: int) -> None:
        """Whoever was beside an earlier one was beside this one."""
        both = self._met_s[:, (row, earlier)]
        self._put(row, np.stack((both[0].min(axis=0), both[1].max(axis=0))))

    def cut(self, row: int, later: int, since_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A row is another one, ``later``, since then: (R,) for how long others were beside it before, and after;
        below 0 where they were not."""
        first, last = self._met_s[:, row].copy()
        before, after = first < since_s, last >= since_s
        seconds = np.where(before, np.minimum(last, since_s) - first, -1.0)
        seconds_after = np.where(after, last - np.maximum(first, since_s), -1.0)
        until_s = np.nextafter(since_s, -np.inf)
        self._put(later, np.where(after, (np.maximum(first, since_s), last), NEVER_S[:, None]))
        self._put(row, np.where(before, (first, np.minimum(last, until_s)), NEVER_S[:, None]))
        self._met_s[:, (row, later), (later, row)] = NEVER_S[:, None]
        return seconds, seconds_after

    def of(self, row: int, others: NDArray[np.intp]) -> NDArray[np.float64]:
        """(2, R) when others were first and last beside a row."""
        return self._met_s[:, row, others]

    def take_back(self, row: int, since_s: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """From then on, a row was beside nobody: (R,) who was beside it later, and for how long they were before, below
        0 where they were not. What is not known by when stays."""
        first, last = self._met_s[:, row].copy()
        changed = (last > since_s) & np.isfinite(first) & np.isfinite(last)
        was = first <= since_s
        until = np.where(was, (first, np.minimum(last, since_s)), NEVER_S[:, None])
        self._put(row, np.where(changed, until, (first, last)))
        return changed, np.where(was, since_s - first, -1.0)

    def _put(self, row: int, met_s: NDArray[np.float64]) -> None:
        self._met_s[:, row] = self._met_s[:, :, row] = met_s

    def to_state(self, rows: NDArray[np.intp]) -> list[Any]:
        """Plain values for a checkpoint, of these rows (N,): pairs of places among them, and their times."""
        first = self._met_s[0][np.ix_(rows, rows)]
        return [
            [int(i), int(j), *self._met_s[:, rows[i], rows[j]].tolist()]
            for i, j in np.argwhere(np.triu(first < np.inf, 1))
        ]

    def take_state(self, rows: Sequence[int], state: Iterable[Sequence[float]]) -> None:
        """Back from a checkpoint."""
        for i, j, *met_s in state:
            a, b = rows[int(i)], rows[int(j)]
            self._met_s[:, a, b] = self._met_s[:, b, a] = met_s
