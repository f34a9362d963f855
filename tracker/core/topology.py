"""Which way leads from which camera to which, and how long it takes: learned from a site's own unlabelled traffic.

Entry and exit zones of every picture are found where tracklets start and end (Makris, Ellis & Black, Bridging the gaps
between cameras, CVPR 2004); every pair of zones has a histogram of travel times and a share of people who go that way,
fed by passages that are only probable (Tieu, Dalley & Grimson, Inference of non-overlapping camera network topology by
measuring statistical dependence, ICCV 2005; Javed, Shafique, Rasheed & Shah, Modeling inter-camera space-time and
appearance relationships, CVIU 2008). What few passages say is mixed with what the pair of cameras says, and that
with a default that knows no site, so that nothing learned is no evidence more than the default.

All that is remembered is sums: of points per cell of a fixed grid over each picture, of passages per pair of cells and
per bin of travel time. Zones are read off the sums, so learning in two parts equals learning in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.types import Record

F = NDArray[np.float64]
I = NDArray[np.int64]  # noqa: E741
Names = NDArray[np.str_]
Pair = tuple[str, str]

# The default, for a site of which nothing is known: as `gap_llr` of evidence.py.
TYPICAL_S = 4.0
WINDOW_S = 120.0  # whoever is unseen for longer counts as gone
EARLIEST_S = -5.0  # already in the next view this long before leaving the last one, or longer
GOES_ON = 0.5  # share who go to a camera of which nothing is known; of each, since views may overlap
ARRIVALS_PER_S = (
    GOES_ON / WINDOW_S
)  # of new people; so that the default ratio is WINDOW_S times the default density
MAX_LOG_RATIO = 8.0  # time and place are never surer than 3000 : 1

# How many observations each prior weighs as much as.
SHARE_STRENGTH = 2.0  # with GOES_ON: Laplace's rule, one who went and one who did not
TIME_STRENGTH = 5.0  # so that a wrong passage or two move little
ARRIVAL_STRENGTH = 1.0
UNUSUAL = 0.02  # share of people who do what nobody did before: stop for a talk, turn round, take a new door

GRID = 8  # cells along each side of a picture
CELLS = GRID * GRID
MOST_ZONES = 8  # in a picture, besides everything else
ENOUGH = 5.0  # points that make a zone
BINS = 64  # of travel time
KNEE_S = 2.0  # bins are even in asinh(gap / KNEE_S): even in the gap below it, in its logarithm above
WIDEST = 0.4  # kernel over travel times, as a share of the time itself, for a single passage
QUIET_S = 600.0  # of longer times without anybody only this much counts: nights say nothing about days
MOST_WAYS = (
    2000  # cells and bins remembered for an ordered pair of cameras; of more, the lightest are forgotten
)
DAY_NS = 86_400_000_000_000

_U0, _U1 = float(np.arcsinh(EARLIEST_S / KNEE_S)), float(np.arcsinh(WINDOW_S / KNEE_S))
_BIN = (_U1 - _U0) / BINS


class Passages(Record, frozen=True, kw_only=True):
    """People who left one camera's view and were seen entering another's (or the same again): N, as columns.

    Foot points are shares of the picture, x and y in [0, 1]; ``t_in_ns`` may lie before ``t_out_ns`` where views overlap.
    """

    from_camera: Names  # (N,)
    from_xy: F  # (N, 2) of the last box
    t_out_ns: I  # (N,)
    to_camera: Names  # (N,)
    to_xy: F  # (N, 2) of the first box
    t_in_ns: I  # (N,)
    weight: F  # (N,) probability that the two are one person

    def __post_init__(self) -> None:
        n = len(self.from_camera)
        for name in ("from_camera", "t_out_ns", "to_camera", "t_in_ns", "weight"):
            self._column(name, (n,))
        self._column("from_xy", (n, 2))
        self._column("to_xy", (n, 2))

    @classmethod
    def none(cls) -> Passages:
        """Nobody passed."""
        no, name, xy = np.zeros(0, np.int64), np.zeros(0, np.str_), np.zeros((0, 2))
        return cls(
            from_camera=name,
            from_xy=xy,
            t_out_ns=no,
            to_camera=name.copy(),
            to_xy=xy.copy(),
            t_in_ns=no.copy(),
            weight=np.zeros(0),
        )


class Crossings(Record, frozen=True, kw_only=True):
    """Where and when tracklets started, or where and when they ended: N, as columns."""

    camera: Names  # (N,)
    xy: F  # (N, 2) foot point, shares of the picture
    t_ns: I  # (N,)
    weight: F  # (N,) probability of having been seen nowhere before, or of never being seen again

    def __post_init__(self) -> None:
        n = len(self.camera)
        for name in ("camera", "t_ns", "weight"):
            self._column(name, (n,))
        self._column("xy", (n, 2))

    @classmethod
    def none(cls) -> Crossings:
        """Nobody came, nobody went."""
        return cls(
            camera=np.zeros(0, np.str_), xy=np.zeros((0, 2)), t_ns=np.zeros(0, np.int64), weight=np.zeros(0)
        )


class Distances(NamedTuple):
    """What looks say about two cameras: distances of one person's tracklets and of strangers'."""

    mean_same: float
    sigma_same: float
    mean_different: float
    sigma_different: float
    n_same: float = 0.0  # how many of this pair of cameras it was learned from, weighed by age
    n_different: float = 0.0


@dataclass(frozen=True)
class _Picture:
    """What happened in one camera's view, per cell of its grid."""

    starts: F  # (CELLS,) tracklets that started
    new: F  # (CELLS,) of these, people seen nowhere before
    ends: F  # (CELLS,) tracklets that ended
    gone: F  # (CELLS,) of these, people never seen again
    watched_s: float  # since its first tracklet, without long quiet times

    @classmethod
    def empty(cls) -> _Picture:
        return cls(*(np.zeros(CELLS) for _ in range(4)), 0.0)

    def scaled(self, by: float) -> _Picture:
        return _Picture(self.starts * by, self.new * by, self.ends * by, self.gone * by, self.watched_s * by)


@dataclass(frozen=True)
class _Ways:
    """Passages of an ordered pair of cameras: K combinations of cell, cell and bin that occurred."""

    keys: I  # (K,) rising; (from cell * CELLS + to cell) * BINS + bin
    weights: F  # (K,)

    def plus(self, keys: I, weights: F) -> _Ways:
        every, at = np.unique(np.concatenate((self.keys, keys)), return_inverse=True)
        total = np.bincount(at, np.concatenate((self.weights, weights)), len(every))
        if len(every) > MOST_WAYS:
            heaviest = np.sort(np.argsort(-total, kind="stable")[:MOST_WAYS])
            every, total = every[heaviest], total[heaviest]
        return _Ways(every, total)


_NO_WAYS = _Ways(np.zeros(0, np.int64), np.zeros(0))
_NO_SUMS = np.zeros((2, 3))


@dataclass(frozen=True)
class SiteModel:
    """What a site's traffic has taught so far. A value: learning gives a new one.

    Everything fades with age, by half in ``half_life_days``; ``t_ns`` is the time as of which it is weighed.
    """

    half_life_days: float = 14.0  # a camera that was turned is learned anew within weeks
    t_ns: int = 0
    t_seen_ns: int | None = None  # of the last start or end of a tracklet
    pictures: Mapping[str, _Picture] = field(default_factory=dict)
    ways: Mapping[Pair, _Ways] = field(default_factory=dict)
    distances: Mapping[Pair, F] = field(default_factory=dict)  # (2, 3): same, different; number, sum, squares
    overlaps: Mapping[Pair, tuple[float, float]] = field(default_factory=dict)  # found there, could have been

    # ---- learning --------------------------------------------------------------------------------------------

    def learn(self, passages: Passages, entries: Crossings, exits: Crossings, *, now_ns: int) -> SiteModel:
        """What was known, faded to ``now_ns``, and this.

        Args:
            passages: probable passages; those longer than WINDOW_S and those of no weight teach nothing.
            entries: every start of a tracklet since the last time, weighed with being somebody new.
            exits: every end, weighed with never being seen again within WINDOW_S.
            now_ns: capture time. A time before the last one counts as the last one.
        """
        now_ns = max(now_ns, self.t_ns)
        known = self._faded(now_ns)
        pictures = dict(known.pictures)
        for camera in sorted({*entries.camera.tolist(), *exits.camera.tolist()}):
            old = pictures.get(camera, _Picture.empty())
            starts, new = known._points(entries, camera, now_ns)
            ends, gone = known._points(exits, camera, now_ns)
            pictures[camera] = _Picture(
                old.starts + starts, old.new + new, old.ends + ends, old.gone + gone, old.watched_s
            )
        watched, t_seen_ns = known._watched(entries, exits, now_ns)
        pictures = {
            name: replace(one, watched_s=one.watched_s + watched[name]) for name, one in pictures.items()
        }
        return replace(known, pictures=pictures, ways=known._ways_with(passages, now_ns), t_seen_ns=t_seen_ns)

    def learn_distances(
        self, camera_a: str, camera_b: str, same: ArrayLike, different: ArrayLike
    ) -> SiteModel:
        """Appearance distances between tracklets of ``camera_a`` and ``camera_b``, as of ``t_ns``; NaN teaches nothing.

        Args:
            same: (N,) of tracklets that are one person.
            different: (M,) of tracklets of two people.
        """
        old = self.distances.get((camera_a, camera_b), _NO_SUMS)
        new = old + np.stack([_sums(same), _sums(different)])
        return replace(self, distances={**self.distances, (camera_a, camera_b): new})

    def learn_overlap(self, camera_a: str, camera_b: str, found: float, could: float) -> SiteModel:
        """Of ``could`` people seen in a, while b saw somebody too, ``found`` were seen in b at the same instant."""
        did, might = self.overlaps.get((camera_a, camera_b), (0.0, 0.0))
        return replace(self, overlaps={**self.overlaps, (camera_a, camera_b): (did + found, might + could)})

    def _faded(self, now_ns: int) -> SiteModel:
        by = float(self._freshness(np.array(self.t_ns), now_ns))
        return replace(
            self,
            t_ns=now_ns,
            pictures={name: one.scaled(by) for name, one in self.pictures.items()},
            ways={pair: _Ways(one.keys, one.weights * by) for pair, one in self.ways.items()},
            distances={pair: sums * by for pair, sums in self.distances.items()},
            overlaps={pair: (did * by, could * by) for pair, (did, could) in self.overlaps.items()},
        )

    def _freshness(self, t_ns: NDArray, now_ns: int) -> F:
        """What an observation of then is worth now."""
        return np.exp2((t_ns - now_ns) / (self.half_life_days * DAY_NS))

    def _points(self, crossings: Crossings, camera: str, now_ns: int) -> tuple[F, F]:
        """(CELLS,) how many, and of what weight."""
        here = crossings.camera == camera
        here &= np.isfinite(crossings.xy).all(axis=1)
        cell, fresh = _cell(crossings.xy[here]), self._freshness(crossings.t_ns[here], now_ns)
        return (
            np.bincount(cell, fresh, CELLS),
            np.bincount(cell, fresh * np.clip(crossings.weight[here], 0, 1), CELLS),
        )

    def _watched(
        self, entries: Crossings, exits: Crossings, now_ns: int
    ) -> tuple[dict[str, float], int | None]:
        """Time that each camera has watched since the last time, and when somebody came or went last."""
        camera = np.concatenate((entries.camera, exits.camera))
        t_ns = np.concatenate((entries.t_ns, exits.t_ns))
        if not len(t_ns):
            return dict.fromkeys(self.pictures, 0.0), self.t_seen_ns
        order = np.lexsort((camera, t_ns))
        camera, t_ns = camera[order], t_ns[order]
        since = int(t_ns[0]) if self.t_seen_ns is None else self.t_seen_ns
        t_ns = np.maximum(t_ns, since)  # what comes late adds no time
        passed_s = np.minimum(np.diff(t_ns, prepend=since) / 1e9, QUIET_S) * self._freshness(t_ns, now_ns)
        total = np.cumsum(passed_s)
        watched = {}
        for name in sorted({*self.pictures, *camera.tolist()}):
            first = 0.0 if name in self.pictures else float(total[np.argmax(camera == name)])
            watched[name] = float(total[-1]) - first
        return watched, int(t_ns[-1])

    def _ways_with(self, passages: Passages, now_ns: int) -> dict[Pair, _Ways]:
        gap_s = (passages.t_in_ns - passages.t_out_ns) / 1e9
        use = (passages.weight > 0) & (gap_s <= WINDOW_S)
        use &= np.isfinite(passages.from_xy).all(axis=1) & np.isfinite(passages.to_xy).all(axis=1)
        keys = _cell(passages.from_xy[use]) * CELLS + _cell(passages.to_xy[use])
        keys = keys * BINS + np.floor(_bin(gap_s[use])).astype(np.int64).clip(0, BINS - 1)
        weights = np.minimum(passages.weight[use], 1) * self._freshness(passages.t_in_ns[use], now_ns)
        start, end = passages.from_camera[use], passages.to_camera[use]
        ways = dict(self.ways)
        for pair in sorted(set(zip(start.tolist(), end.tolist(), strict=True))):
            here = (start == pair[0]) & (end == pair[1])
            ways[pair] = ways.get(pair, _NO_WAYS).plus(keys[here], weights[here])
        return ways

    # ---- what it says ----------------------------------------------------------------------------------------

    def log_ratio(
        self,
        from_camera: ArrayLike,
        from_xy: ArrayLike,
        to_camera: ArrayLike,
        to_xy: ArrayLike,
        gap_s: ArrayLike,
    ) -> F:
        """(N, M) natural logarithm of two densities: of somebody who left there entering here after exactly this
        gap, over anybody new entering here.

        Args:
            from_camera, from_xy: (N,) and (N, 2), where N people were seen last.
            to_camera, to_xy: (M,) and (M, 2), where M people were seen first.
            gap_s: (N, M); below EARLIEST_S as at EARLIEST_S, above WINDOW_S (or NaN) as unlikely as anything.
        """
        o, d = self._zones.at(from_camera, from_xy), self._zones.at(to_camera, to_xy)
        return self._flows.log_ratio(o, d, np.asarray(gap_s, float))

    def leaves(self, camera: ArrayLike, xy: ArrayLike) -> F:
        """(N,) probability that who vanishes at (N,) cameras and (N, 2) places is not seen again within WINDOW_S."""
        zones = self._zones
        ends, gone = zones.per_camera(zones.ends), zones.per_camera(zones.gone)
        rest_ends, rest_gone = ends[zones.camera] - zones.ends, gone[zones.camera] - zones.gone
        rest = _share(rest_gone, rest_ends, GOES_ON)
        return _share(zones.gone, zones.ends, rest)[zones.at(camera, xy)]

    def distance_model(self, camera_a: str, camera_b: str, prior: Distances) -> Distances:
        """How far one person's looks and strangers' lie apart between two cameras.

        What few distances of this pair say is shrunk towards the site's over all pairs, and that towards ``prior``.
        """
        own = self.distances.get((camera_a, camera_b), _NO_SUMS)
        every = [self.distances[pair] for pair in sorted(self.distances)]
        found = []
        for row, (mean, sigma) in enumerate(((prior[0], prior[1]), (prior[2], prior[3]))):
            number, total = sum(s[row, 0] for s in every), sum(s[row, 1] for s in every)
            inside = sum(_inside(s[row]) for s in every)
            site = _shrunk(number, total, inside, mean, sigma, SITE_DISTANCES)
            found += _shrunk(own[row, 0], own[row, 1], _inside(own[row]), *site, PAIR_DISTANCES)
        return Distances(*found, float(own[0, 0]), float(own[1, 0]))

    def overlap_share(
        self, camera_a: str, camera_b: str, *, prior: float = 0.5, prior_people: float = 3.0
    ) -> float:
        """Share of those seen in a who are seen in b at the same instant; the prior weighs ``prior_people``."""
        found, could = self.overlaps.get((camera_a, camera_b), (0.0, 0.0))
        return (found + prior * prior_people) / (could + prior_people)

    @cached_property
    def _zones(self) -> _Zones:
        return _Zones(self.pictures, sorted({*self.pictures, *(name for pair in self.ways for name in pair)}))

    @cached_property
    def _flows(self) -> _Flows:
        return _Flows(self._zones, self.ways)


PAIR_DISTANCES = 15.0  # the site's distances weigh as much as this many of a pair of cameras
SITE_DISTANCES = 15.0  # and the prior as much as this many of the site


class _Zones:
    """Where people come and go in each picture: Z zones of all cameras, the last one for cameras nobody knows."""

    def __init__(self, pictures: Mapping[str, _Picture], cameras: list[str]) -> None:
        self.names = np.array(cameras, np.str_)
        grids = [pictures.get(name, _Picture.empty()) for name in cameras]
        labels = [zones_of(one.starts + one.ends) for one in grids]
        numbers = np.array([label.max() + 1 for label in labels], np.int64)
        offsets = np.concatenate(([0], np.cumsum(numbers)))
        self.unknown = int(offsets[-1])
        # A row a camera, the last one for cameras nobody knows; the last column for a place nobody knows.
        self.table = np.full((len(cameras) + 1, CELLS + 1), self.unknown)
        for n, label in enumerate(labels):
            self.table[n, :CELLS], self.table[n, CELLS] = offsets[n] + label, offsets[n]
        self.camera = np.repeat(np.arange(len(cameras) + 1), [*numbers, 1])  # (Z,)
        self.starts, self.new, self.ends, self.gone = (
            self._summed([getattr(one, name) for one in grids]) for name in ("starts", "new", "ends", "gone")
        )
        self.watched_s = np.array([*(one.watched_s for one in grids), 0.0])  # (C + 1,)

    def __len__(self) -> int:
        return self.unknown + 1

    def at(self, camera: ArrayLike, xy: ArrayLike) -> I:
        """(N,) zones of places (N, 2) in cameras (N,)."""
        camera, xy = np.asarray(camera, np.str_), np.asarray(xy, float).reshape(-1, 2)
        unknown = len(self.names)
        row = np.searchsorted(self.names, camera)
        if unknown:
            row = np.where(self.names[np.minimum(row, unknown - 1)] == camera, row, unknown)
        return self.table[row, np.where(np.isfinite(xy).all(axis=1), _cell(np.nan_to_num(xy)), CELLS)]

    def per_camera(self, values: F) -> F:
        """(C + 1,) sums of (Z,) values."""
        return np.bincount(self.camera, values, len(self.names) + 1)

    def _summed(self, grids: list[F]) -> F:
        cells = np.concatenate(grids) if grids else np.zeros(0)
        return np.bincount(self.table[:-1, :CELLS].ravel(), cells, len(self))


class _Flows:
    """From zone to zone: the ratio is A f0(gap) + B f(gap), f0 the default density and f a table of what was seen."""

    def __init__(self, zones: _Zones, ways: Mapping[Pair, _Ways]) -> None:
        Z, C = len(zones), len(zones.names) + 1
        o, d, at, weight = _flat(zones, ways)
        N = np.bincount(o * Z + d, weight, Z * Z).reshape(Z, Z)  # passages
        N_cameras = _by_camera(_by_camera(N, zones.camera, C).T, zones.camera, C).T  # (C, C)
        N_to = _by_camera(N.T, zones.camera, C).T  # (Z, C) of a zone, to a camera
        here, there = np.ix_(zones.camera, zones.camera)

        # Of those who left by a zone, only who left since the other camera is known could have gone there.
        watched_s = zones.watched_s
        since = np.minimum(1.0, watched_s[None, :] / np.maximum(watched_s[:, None], 1e-9))
        left = np.maximum(zones.ends[:, None] * since[zones.camera], N_to)  # (Z, C)
        left_cameras = _by_camera(left, zones.camera, C)  # (C, C)

        # Share who go: what other zones of the camera say is a zone's prior, spread as that camera's entries are.
        rest = _share(N_cameras[zones.camera] - N_to, left_cameras[zones.camera] - left, GOES_ON)
        starts = zones.per_camera(zones.starts)[zones.camera]
        entry = (zones.starts + 0.5) / (starts + 0.5 * np.bincount(zones.camera)[zones.camera])
        to = rest[:, zones.camera] * entry
        share = _share(N, left[:, zones.camera], to)
        new = (zones.new + ARRIVAL_STRENGTH * entry) / (
            watched_s[zones.camera] + ARRIVAL_STRENGTH / ARRIVALS_PER_S
        )

        # Travel times: again what other zones of the pair of cameras say is the prior, and the default is theirs.
        pair = here * C + there
        pairs, pair_of = np.unique(zones.camera[o] * C + zones.camera[d], return_inverse=True)
        routes, route_of = np.unique(o * Z + d, return_inverse=True)
        of_pairs = _histograms(pair_of, at, weight, len(pairs))
        of_routes = _histograms(route_of, at, weight, len(routes))
        pair_of_route = np.searchsorted(pairs, pair.ravel()[routes])
        nothing = np.zeros((1, BINS)), np.ones(1)
        whole = _mixed(of_pairs, np.zeros_like(of_pairs), np.ones(len(pairs)))
        others = of_pairs[pair_of_route] - of_routes
        others = _mixed(others, np.zeros_like(others), np.ones(len(routes)))
        own = _mixed(of_routes, *others)
        self.density = np.concatenate((nothing[0], whole[0], own[0])).astype(np.float32)
        default = np.concatenate((nothing[1], whole[1], own[1]))
        row = np.zeros(C * C, np.int64)
        row[pairs] = 1 + np.arange(len(pairs))
        self.row = row[pair]
        self.row.ravel()[routes] = 1 + len(pairs) + np.arange(len(routes))

        self.B = (1 - UNUSUAL) * share / new
        self.A = self.B * default[self.row] + UNUSUAL * GOES_ON * entry / new

    def log_ratio(self, o: I, d: I, gap_s: F) -> F:
        """(N, M) for (N,) exits and (M,) entries."""
        usable = gap_s <= WINDOW_S
        gap_s = np.where(usable, np.maximum(gap_s, EARLIEST_S), WINDOW_S)
        route = np.ix_(o, d)
        place = np.clip(_bin(gap_s) - 0.5, 0, BINS - 1.001)
        low = place.astype(np.int64)
        part = place - low
        flat = self.row[route] * BINS + low
        seen = self.density.ravel()
        density = (seen[flat] * (1 - part) + seen[flat + 1] * part) / np.sqrt(gap_s**2 + KNEE_S**2)
        ratio = self.A[route] * default_density(gap_s) + self.B[route] * density
        return np.where(usable, np.clip(np.log(ratio), -MAX_LOG_RATIO, MAX_LOG_RATIO), -MAX_LOG_RATIO)


def default_density(gap_s: F) -> F:
    """Per second, of entering somewhere after a gap, where nothing is known; gaps below 0 as 0."""
    return 1 / TYPICAL_S / (1 + np.maximum(gap_s, 0.0) / TYPICAL_S) ** 2


def zones_of(points: F) -> I:
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
        for other in {int(root[n]) for n in near}:
            low, high = sorted((other, int(root[cell])), key=lambda peak: (height[peak], -peak))
            # As clearly as two standard deviations of a count, and by half.
            clear = max(2 * np.sqrt(height[low]), height[low] / 2)
            if low != high and height[low] - height[cell] < clear:
                root[root == low] = high
    mass = np.bincount(root[root >= 0], points[root >= 0], CELLS)
    peaks = [p for p in np.argsort(-mass, kind="stable") if mass[p] >= ENOUGH][:MOST_ZONES]
    label = np.zeros(CELLS, np.int64)
    for n, peak in enumerate(peaks):
        label[root == peak] = n + 1
    return label


def _neighbours(cell: int) -> list[int]:
    y, x = divmod(cell, GRID)
    return [
        j * GRID + i
        for j in range(max(y - 1, 0), min(y + 2, GRID))
        for i in range(max(x - 1, 0), min(x + 2, GRID))
        if (j, i) != (y, x)
    ]


_NEIGHBOURS = [_neighbours(cell) for cell in range(CELLS)]


def _cell(xy: F) -> I:
    """(N,) cells of (N, 2) places; what lies outside the picture belongs to its edge."""
    place = np.clip(np.floor(xy * GRID), 0, GRID - 1).astype(np.int64)
    return place[:, 1] * GRID + place[:, 0]


def _bin(gap_s: F) -> F:
    """Where a travel time falls, in bins."""
    return (np.arcsinh(np.clip(gap_s, EARLIEST_S, WINDOW_S) / KNEE_S) - _U0) / _BIN


def _share(did: F, could: F, prior: F | float) -> F:
    return (did + SHARE_STRENGTH * prior) / (np.maximum(could, did) + SHARE_STRENGTH)


def _by_camera(values: F, camera: I, cameras: int) -> F:
    """(C, K) sums of the rows of (Z, K) that belong to each camera."""
    out = np.zeros((cameras, values.shape[1]))
    np.add.at(out, camera, values)
    return out


def _flat(zones: _Zones, ways: Mapping[Pair, _Ways]) -> tuple[I, I, I, F]:
    """All passages as columns: zone left, zone entered, bin of the travel time, weight."""
    columns = []
    for pair in sorted(ways):
        n, m = np.searchsorted(zones.names, np.array(pair, np.str_))
        cells, at = np.divmod(ways[pair].keys, BINS)
        columns.append(
            (zones.table[n, cells // CELLS], zones.table[m, cells % CELLS], at, ways[pair].weights)
        )
    if not columns:
        none = np.zeros(0, np.int64)
        return none, none, none, np.zeros(0)
    o, d, at, weight = (np.concatenate(column) for column in zip(*columns, strict=True))
    return o, d, at, weight


def _histograms(of: I, at: I, weight: F, number: int) -> F:
    """(K, BINS) of passages that belong to K routes."""
    return np.bincount(of * BINS + at, weight, number * BINS).reshape(number, BINS)


# Kernels from wide to narrow: the fewer passages, the less exactly each is taken.
_WIDTHS = WIDEST * 2.0 ** (-np.arange(5) / 2)
_APART = (np.arange(BINS)[:, None] - np.arange(BINS)) * _BIN
_KERNELS = np.exp(-0.5 * (_APART / _WIDTHS[:, None, None]) ** 2)
_KERNELS /= _KERNELS.sum(axis=2, keepdims=True)


def _mixed(passages: F, density: F, default: F) -> tuple[F, F]:
    """Travel times of K routes and what is the prior of each, mixed: (K, BINS) per unit of asinh, (K,) of the default.

    Args:
        passages: (K, BINS) histograms.
        density, default: the prior, a mixture itself.
    """
    number = np.maximum(passages.sum(axis=1), 0.0)
    # The width falls as the cube root of the number, half an octave a step.
    step = np.clip(np.round(2 / 3 * np.log2(np.maximum(number, 1.0))), 0, len(_WIDTHS) - 1).astype(np.int64)
    smooth = np.zeros_like(passages)
    for n in np.unique(step):
        smooth[step == n] = passages[step == n] @ _KERNELS[n] / _BIN
    weight = number + TIME_STRENGTH
    return (smooth + TIME_STRENGTH * density) / weight[:, None], TIME_STRENGTH * default / weight


def _sums(values: ArrayLike) -> F:
    """(3,) number, sum and sum of squares of the finite ones."""
    v = np.asarray(values, float).ravel()
    v = v[np.isfinite(v)]
    return np.array([len(v), v.sum(), (v**2).sum()])


def _inside(sums: F) -> float:
    """Sum of squares about the mean."""
    return max(float(sums[2] - sums[1] ** 2 / sums[0]), 0.0) if sums[0] > 0 else 0.0


def _shrunk(
    number: float, total: float, inside: float, mean: float, sigma: float, strength: float
) -> tuple[float, float]:
    """Mean and standard deviation, the prior weighing as much as ``strength`` observations."""
    weight = strength + number
    return (strength * mean + total) / weight, float(np.sqrt((strength * sigma**2 + inside) / weight))
