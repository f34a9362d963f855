"""How likely somebody who left here enters there after so long: a kernel estimate over a site's passages.

Places are not cut into zones: a passage speaks for all that left and entered near it, less the farther away
(Nadaraya-Watson; Silverman, Density estimation, 1986), so that somebody who goes out at the far end of a border is
expected at the far end of the next picture's. What few passages nearby say is mixed with what all passages between the
two cameras say, and that with a default that knows no site. `topology.py` keeps the sums.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker.core.zones import (
    ARRIVAL_STRENGTH,
    ARRIVALS_PER_S,
    BINS,
    BORROWED,
    CELLS,
    EARLIEST_S,
    GOES_ON,
    GRID,
    KNEE_S,
    MAX_LOG_RATIO,
    NEW,
    SHARE_STRENGTH,
    STARTS,
    TIME_STRENGTH,
    UNUSUAL,
    WINDOW_S,
    bin_of,
    default_density,
    smoothing_of,
)

F = NDArray[np.float64]
Whole = NDArray[np.int64]

NEAR = 0.12  # of the picture: places this far apart are still much the same door
EVENLY = 2.0  # starts that the prior, anywhere in the picture, counts as

_Y, _X = np.divmod(np.arange(CELLS), GRID)
_CENTRE = (np.stack([_X, _Y], axis=1) + 0.5) / GRID
_NEARNESS = np.exp(
    -((_CENTRE[:, None] - _CENTRE) ** 2).sum(-1) / (2 * NEAR**2)
)  # (CELLS, CELLS), 1 at the same cell
_SPREAD = _NEARNESS / _NEARNESS.mean(axis=0)  # a density over the picture of what was seen in one cell


class Entries:
    """Where people enter one camera's view, and how many of them are new."""

    def __init__(self, counts: F, watched_s: float) -> None:
        """
        Args:
            counts: (4, CELLS) STARTS, NEW, ENDS, GONE; zero for a camera that nobody knows.
            watched_s: how long it took to see them.
        """
        starts = counts[STARTS]
        self.density = (_SPREAD @ starts + EVENLY) / (starts.sum() + EVENLY)  # (CELLS,), 1 in the mean
        new = _SPREAD @ counts[NEW] + ARRIVAL_STRENGTH * self.density
        self.new_per_s = new / (
            watched_s + ARRIVAL_STRENGTH / ARRIVALS_PER_S
        )  # (CELLS,) were it so everywhere


class Passing:
    """From one camera to one other."""

    def __init__(self, left: F, keys: Whole, weights: F, entries: Entries, *, since: float = 1.0) -> None:
        """
        Args:
            left: (CELLS,) how many tracklets ended where, in the camera that is left.
            keys, weights: (K,) passages, ``(cell left * CELLS + cell entered) * BINS + bin``, and their weights.
            entries: of the camera that is entered.
            since: share of the time of ``left`` that the other camera has been known for.
        """
        cells, at = np.divmod(keys, BINS)
        self._left, self._entered = np.divmod(cells, CELLS)
        self._entries, self._weights = entries, weights
        number = float(weights.sum())
        self._near = _NEARNESS[:, self._left] * weights  # (CELLS, K)
        self._ended = np.maximum(_NEARNESS @ left * since, self._near.sum(axis=1))  # (CELLS,)
        could = max(float(left.sum()) * since, number)
        self._share = (number + SHARE_STRENGTH * GOES_ON) / (could + SHARE_STRENGTH)
        spread = _SPREAD[:, self._entered]  # (CELLS, K)
        self._spread = spread
        self._enters = (spread @ weights + SHARE_STRENGTH * entries.density) / (number + SHARE_STRENGTH)
        self._times = smoothing_of(number)[:, at]  # (BINS, K) density per bin of a passage seen in one
        borrowed = weights * (BORROWED / max(number, BORROWED))
        self._known = float(borrowed.sum())
        self._usual = self._times @ borrowed  # (BINS,)
        self._tables: dict[int, F] = {}

    def log_ratio(self, o: Whole, d: Whole, gap_s: F) -> F:
        """(N, M) for (N,) cells left, (M,) cells entered and gaps (N, M); see `SiteModel.log_ratio`."""
        usable = gap_s <= WINDOW_S
        gap_s = np.where(usable, np.maximum(gap_s, EARLIEST_S), WINDOW_S)
        at = np.minimum(bin_of(gap_s).astype(np.int64), BINS - 1)
        per_s = 1 / np.sqrt(gap_s**2 + KNEE_S**2)  # a bin is even in asinh of the gap
        default = default_density(gap_s)
        usual = (self._usual[at] * per_s + TIME_STRENGTH * default) / (self._known + TIME_STRENGTH)
        expected = self._share * self._enters[d] * usual
        here = np.zeros_like(gap_s)
        if len(self._weights):
            for cell in np.unique(o).tolist():
                from_here = o == cell
                here[from_here] = self._seen(cell)[d, at[from_here]]
            here *= per_s
        enters = (here + SHARE_STRENGTH * expected) / (self._ended[o][:, None] + SHARE_STRENGTH)
        anyhow = UNUSUAL * GOES_ON * self._entries.density[d] * default
        ratio = ((1 - UNUSUAL) * enters + anyhow) / self._entries.new_per_s[d]
        return np.where(usable, np.clip(np.log(ratio), -MAX_LOG_RATIO, MAX_LOG_RATIO), -MAX_LOG_RATIO)

    def _seen(self, cell: int) -> F:
        """(CELLS, BINS) passages by cell entered and time, of those that left near one cell; worked out once."""
        if cell not in self._tables:
            near = np.flatnonzero(self._near[cell] > 1e-4)
            self._tables[cell] = (self._spread[:, near] * self._near[cell, near]) @ self._times[:, near].T
        return self._tables[cell]
