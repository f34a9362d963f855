"""From sums to zones, shares and travel times: what a site's traffic says of going from here to there.

A picture's zones are where tracklets start and end, clustered; every pair of zones has a share of people who go that
way, a density of travel times and a rate of new people. Each is shrunk towards what the other zones of the same two
cameras say, and that towards a default that knows no site. `topology.py` keeps the sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

F = NDArray[np.float64]
Whole = NDArray[np.int64]

# The default, for a site of which nothing is known; the same curve as `gap_llr` of evidence.py.
TYPICAL_S = 4.0
WINDOW_S = 120.0  # whoever is unseen for longer counts as gone
EARLIEST_S = -5.0  # already in the next view this long before leaving the last one, or longer
GOES_ON = 0.5  # share who go to a camera of which nothing is known; of each camera, since views may overlap
ARRIVALS_PER_S = GOES_ON / WINDOW_S  # of new people: makes the default ratio WINDOW_S times the density
MAX_LOG_RATIO = 8.0  # time and place are never surer than 3000 : 1

# How many observations each prior weighs as much as.
SHARE_STRENGTH = (
    1.0  # people; with GOES_ON it is Jeffreys' prior, half of one who went and half of one who did not
)
TIME_STRENGTH = 2.0  # passages; a wrong one or two move little
ARRIVAL_STRENGTH = 1.0  # new people
BORROWED = 4.0  # passages that other zones of two cameras count as at most: their ways are of another length
UNUSUAL = 0.02  # share of people who do what nobody did before: stop for a talk, turn round, take a new door

GRID = 8  # cells along each side of a picture
CELLS = GRID * GRID
STARTS, NEW, ENDS, GONE = range(4)  # what is counted in a cell
MOST_ZONES = 8  # in a picture, besides everything else
ENOUGH = 5.0  # points that make a zone
NEAR_BORDER = 0.25  # of the picture: feet of people who leave by a side are not at its very edge

BINS = 64  # of travel time
KNEE_S = 2.0  # bins are even in asinh(gap / KNEE_S): in the gap itself below it, in its logarithm above
_LEAST, _MOST = float(np.arcsinh(EARLIEST_S / KNEE_S)), float(np.arcsinh(WINDOW_S / KNEE_S))
_BIN = (_MOST - _LEAST) / BINS
_EDGES = _LEAST + _BIN * np.arange(BINS + 1)
EDGES_S = tuple(round(float(edge), 3) for edge in KNEE_S * np.sinh(_EDGES))

# Kernels over travel times, as shares of the time itself: the fewer passages, the less exactly each is taken.
_WIDTHS = 0.5 * 2.0 ** (-np.arange(6) / 2)
_KERNELS = np.exp(-0.5 * ((np.arange(BINS)[:, None] - np.arange(BINS)) * _BIN / _WIDTHS[:, None, None]) ** 2)
_KERNELS /= _KERNELS.sum(axis=2, keepdims=True)


class Zones:
    """Where people come and go in each picture: Z zones of all cameras, the last one for cameras nobody knows."""

    def __init__(self, names: list[str], counts: F, watched_s: F) -> None:
        """
        Args:
            names: of C cameras, rising.
            counts: (C, 4, CELLS) STARTS of tracklets, of these NEW people, ENDS, of these people GONE for good.
            watched_s: (C,) how long it took to see them.
        """
        labels = [zones_of(one[STARTS] + one[ENDS]) for one in counts]
        sizes = np.array([label.max() + 1 for label in labels], np.int64)
        first = np.cumsum(sizes) - sizes
        self.unknown = int(sizes.sum())
        self.names = np.array(names, np.str_)
        self.camera = np.repeat(np.arange(len(names) + 1), [*sizes, 1])  # (Z,)
        # A row a camera, the last one for cameras nobody knows; the last column for a place nobody knows.
        self.table = np.full((len(names) + 1, CELLS + 1), self.unknown)
        for n, label in enumerate(labels):
            self.table[n] = first[n] + np.append(label, 0)
        self.cells = self.table[:-1, :CELLS].ravel()
        self.counts = np.stack([_summed(self.cells, counts[:, n].ravel(), len(self)) for n in range(4)])
        self.watched_s = np.append(watched_s, 0.0)  # (C + 1,)
        self._used = (counts[:, STARTS] + counts[:, ENDS]).ravel()

    def __len__(self) -> int:
        return self.unknown + 1

    def at(self, camera: ArrayLike, xy: ArrayLike) -> Whole:
        """(N,) zones of places (N, 2) in cameras (N,)."""
        camera, xy = np.asarray(camera, np.str_), np.asarray(xy, float).reshape(-1, 2)
        known = len(self.names)
        row = np.searchsorted(self.names, camera)
        if known:
            row = np.where(self.names[np.minimum(row, known - 1)] == camera, row, known)
        return self.table[row, np.where(np.isfinite(xy).all(axis=1), cell_of(np.nan_to_num(xy)), CELLS)]

    def of_camera(self, values: F) -> F:
        """(Z,) sums of (Z,) values over all zones of a zone's camera."""
        return _summed(self.camera, values, len(self.names) + 1)[self.camera]

    @cached_property
    def xy(self) -> list[tuple[float, float]]:
        """The middle of each zone, in shares of the picture."""
        y, x = np.divmod(np.tile(np.arange(CELLS), len(self.names)), GRID)
        weight = self._used + 1e-9  # of a zone without points, the middle of its cells
        total = np.maximum(_summed(self.cells, weight, len(self)), 1e-12)
        middle = [_summed(self.cells, weight * (v + 0.5) / GRID, len(self)) / total for v in (x, y)]
        return list(zip(*(m.tolist() for m in middle), strict=True))

    @cached_property
    def titles(self) -> list[str]:
        """What to call each zone, no two of a camera alike."""
        found: list[str] = []
        for z, (x, y) in enumerate(self.xy):
            is_rest = z == 0 or self.camera[z - 1] != self.camera[z]
            is_only = is_rest and (z == self.unknown or self.camera[z + 1] != self.camera[z])
            found.append("anywhere" if is_only else "elsewhere" if is_rest else side_of(x, y))
        told = list(zip(self.camera.tolist(), found, strict=True))
        return [
            title if told.count((n, title)) == 1 else f"{title} at {100 * x:.0f}, {100 * y:.0f} %"
            for (n, title), (x, y) in zip(told, self.xy, strict=True)
        ]


class Flows:
    """From zone to zone, for reading: who went, and how long it took them."""

    def __init__(self, zones: Zones, o: Whole, d: Whole, at: Whole, weight: F) -> None:
        """
        Args:
            o, d, at, weight: (K,) zone left, zone entered, bin of the travel time and weight of passages.
        """
        Z, C = len(zones), len(zones.names) + 1
        camera, watched_s = zones.camera, zones.watched_s
        N_to = _by_camera(
            _summed(o * Z + d, weight, Z * Z).reshape(Z, Z).T, camera, C
        ).T  # (Z, C) to a camera
        # Of those who left by a zone, only who left since the other camera is known could have gone there.
        since = np.minimum(1.0, (watched_s + 1.0)[None, :] / (watched_s + 1.0)[:, None])
        since[:, -1] = 0.0
        self.left = np.maximum(zones.counts[ENDS][:, None] * since[camera], N_to)  # (Z, C)
        self.routes, route_of = np.unique(o * Z + d, return_inverse=True)
        self.of_routes = _histograms(route_of, at, weight, len(self.routes))
        self._zones = Z

    def histograms(self) -> Iterator[tuple[int, int, F]]:
        """Every pair of zones that somebody passed between, with (BINS,) travel times."""
        for route, histogram in zip(self.routes.tolist(), self.of_routes, strict=True):
            yield *divmod(route, self._zones), histogram


def default_density(gap_s: F) -> F:
    """Per second, of entering somewhere after a gap, where nothing is known; gaps below 0 as 0."""
    return 1 / TYPICAL_S / (1 + np.maximum(gap_s, 0.0) / TYPICAL_S) ** 2


def share(did: F, could: F, prior: F | float) -> F:
    """How many of those who could do something will, from how many did (any shape)."""
    return (did + SHARE_STRENGTH * prior) / (np.maximum(could, did) + SHARE_STRENGTH)


def quantiles_s(histogram: F) -> tuple[float, float, float]:
    """Travel times that a tenth, half and nine tenths of (BINS,) passages take at most."""
    total = np.concatenate(([0.0], np.cumsum(histogram))) / histogram.sum()
    tenth, half, most = KNEE_S * np.sinh(np.interp((0.1, 0.5, 0.9), total, _EDGES))
    return float(tenth), float(half), float(most)


def zones_of(points: F) -> Whole:
    """Parts of a picture between which fewer people come and go: (CELLS,) labels, 0 for everything else.

    Persistence-based clustering (ToMATo: Chazal, Guibas, Oudot & Skraba, JACM 2013): from the most used cell down
    each cell joins its most used neighbour's zone; where two zones meet, they are one unless both rise
    clearly above where they meet.

    Args:
        points: (CELLS,) how many starts and ends of tracklets each cell saw.
    """
    padded = np.pad(points.reshape(GRID, GRID), 1)
    rows = padded[:-2] / 2 + padded[1:-1] + padded[2:] / 2
    height = (rows[:, :-2] / 2 + rows[:, 1:-1] + rows[:, 2:] / 2).ravel()
    root = np.full(CELLS, -1)
    for cell in np.argsort(-height, kind="stable"):
        if height[cell] <= 0:
            break
        near = [n for n in _NEIGHBOURS[cell] if root[n] >= 0]
        root[cell] = root[min(near, key=lambda n: (-height[n], n))] if near else cell
        for other in sorted({int(root[n]) for n in near}):
            low, high = sorted((other, int(root[cell])), key=lambda peak: (height[peak], -peak))
            # Clearly: by two standard deviations of a count, and by two fifths.
            clear = max(2 * np.sqrt(height[low]), 0.4 * height[low])
            if low != high and height[low] - height[cell] < clear:
                root[root == low] = high
    mass = _summed(root[root >= 0], points[root >= 0], CELLS)
    peaks = [peak for peak in np.argsort(-mass, kind="stable") if mass[peak] >= ENOUGH][:MOST_ZONES]
    label = np.zeros(CELLS, np.int64)
    for n, peak in enumerate(peaks):
        label[root == peak] = n + 1
    return label


def _neighbours(cell: int) -> list[int]:
    y, x = divmod(cell, GRID)
    block = [
        j * GRID + i for j in (y - 1, y, y + 1) for i in (x - 1, x, x + 1) if 0 <= j < GRID and 0 <= i < GRID
    ]
    return [other for other in block if other != cell]


_NEIGHBOURS = [_neighbours(cell) for cell in range(CELLS)]


def side_of(x: float, y: float) -> str:
    """In which part of a picture a place lies: the border that is near, or the middle."""
    near, side = min((x, "left border"), (1 - x, "right border"), (y, "top border"), (1 - y, "bottom border"))
    return side if near < NEAR_BORDER else "middle"


def cell_of(xy: F) -> Whole:
    """(N,) cells of (N, 2) places; what lies outside the picture belongs to its edge."""
    place = np.minimum(np.clip(xy, 0, 1) * GRID, GRID - 1).astype(np.int64)
    return place[:, 1] * GRID + place[:, 0]


def cells_of(xy: ArrayLike) -> Whole:
    """(N,) cells of (N, 2) places; a place that nobody knows counts as the middle of the picture."""
    return cell_of(np.nan_to_num(np.asarray(xy, float).reshape(-1, 2), nan=0.5))


def bin_of(gap_s: F) -> F:
    """Where a travel time falls, in bins and parts of one, in [0, BINS]."""
    return (np.arcsinh(np.clip(gap_s, EARLIEST_S, WINDOW_S) / KNEE_S) - _LEAST) / _BIN


def smoothing_of(number: float) -> F:
    """(BINS, BINS) density per unit of asinh, a column for a passage seen in each bin, where so many were seen."""
    step = int(np.clip(np.round(np.log2(max(number, 1.0))), 0, len(_WIDTHS) - 1))
    return np.asarray(_KERNELS[step].T / _BIN)


def _summed(at: Whole, weight: F, number: int) -> F:
    """(number,) sums of the weights that fall to each."""
    return np.asarray(np.bincount(at, weight, number), float)


def _histograms(of: Whole, at: Whole, weight: F, number: int) -> F:
    """(number, BINS) of passages that belong to so many routes."""
    return _summed(of * BINS + at, weight, number * BINS).reshape(number, BINS)


def _by_camera(values: F, camera: Whole, cameras: int) -> F:
    """(C, K) sums of the rows of (Z, K) that belong to each camera."""
    out = np.zeros((cameras, values.shape[1]))
    np.add.at(out, camera, values)
    return out
