"""Which way leads from which camera to which, and how long it takes: learned from a site's own unlabelled traffic.

Entry and exit zones of every picture are found where tracklets start and end (Makris, Ellis & Black, Bridging the gaps
between cameras, CVPR 2004); every pair of zones has a histogram of travel times and a share of people who go that way,
fed by passages that are only probable (Tieu, Dalley & Grimson, Inference of non-overlapping camera network topology by
measuring statistical dependence, ICCV 2005; Javed, Shafique, Rasheed & Shah, Modeling inter-camera space-time and
appearance relationships, CVIU 2008). Few passages change little of a default that knows no site.

All that is remembered is sums: of points per cell of a fixed grid over each picture, of passages per pair of cells and
per bin of travel time. Zones are read off the sums (`zones.py`), so learning in two parts equals learning in one. Sums
of how far apart people look between two cameras, and of how often two see somebody at once, are kept beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.core.meeting import PLACES, log_ratio_table
from tracker.core.passing import Entries, Passing
from tracker.core.zones import (
    BINS,
    CELLS,
    EDGES_S,
    ENDS,
    GOES_ON,
    GONE,
    GRID,
    WINDOW_S,
    Flows,
    Zones,
    bin_of,
    cell_of,
    cells_of,
    quantiles_s,
    share,
)
from tracker.types import Record

F = NDArray[np.float64]
Whole = NDArray[np.int64]
Names = NDArray[np.str_]
Pair = tuple[str, str]

SCHEMA_VERSION = 1
DAY_NS = 86_400_000_000_000
QUIET_S = 600.0  # of longer times without anybody only this much counts: nights say nothing about days
MOST_WAYS = 2000  # cells and bins remembered for a pair of cameras; of more, the lightest are forgotten
PAIR_DISTANCES = 15.0  # the site's distances weigh as much as this many of a pair of cameras
SITE_DISTANCES = 15.0  # and the prior as much as this many of the site's


class Passages(Record, frozen=True, kw_only=True):
    """People who left one camera's view and were seen entering another's, or the same again: N, as columns.

    Foot points are shares of the picture, in [0, 1]. Where views overlap, somebody may come in before going out.
    """

    from_camera: Names  # (N,)
    from_xy: F  # (N, 2) of the last box
    t_out_ns: Whole  # (N,)
    to_camera: Names  # (N,)
    to_xy: F  # (N, 2) of the first box
    t_in_ns: Whole  # (N,)
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
        left, came = Crossings.none(), Crossings.none()
        return cls(
            from_camera=left.camera,
            from_xy=left.xy,
            t_out_ns=left.t_ns,
            to_camera=came.camera,
            to_xy=came.xy,
            t_in_ns=came.t_ns,
            weight=came.weight,
        )


class Crossings(Record, frozen=True, kw_only=True):
    """Where and when tracklets started, or where and when they ended: N, as columns."""

    camera: Names  # (N,)
    xy: F  # (N, 2) foot point, in shares of the picture
    t_ns: Whole  # (N,)
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
    """What looks say between two cameras: distances of one person's tracklets and of strangers'."""

    mean_same: float
    sigma_same: float
    mean_different: float
    sigma_different: float
    n_same: float = 0.0  # how many of these two cameras it was learned from, weighed by age
    n_different: float = 0.0


class Route(NamedTuple):
    """One way that people go, for reading. Places are shares of the picture."""

    from_camera: str
    from_zone: str
    from_xy: tuple[float, float]
    to_camera: str
    to_zone: str
    to_xy: tuple[float, float]
    passages: float  # weighed by probability and age
    gaps_s: tuple[float, float, float]  # that a tenth, half and nine tenths of them take at most
    share: float  # of those who leave there


class Doorway(NamedTuple):
    """Where people come and go in one picture, for reading."""

    camera: str
    zone: str
    xy: tuple[float, float]  # shares of the picture
    starts: float  # tracklets, weighed by age
    ends: float
    new_per_hour: float  # people seen nowhere before
    gone: float  # share of those who leave there that is not seen again


@dataclass(frozen=True)
class _Picture:
    """What happened in one camera's view."""

    counts: F  # (4, CELLS) STARTS, NEW, ENDS, GONE of zones.py
    watched_s: float  # since its first tracklet, without long quiet times


@dataclass(frozen=True)
class _Ways:
    """Passages of an ordered pair of cameras: K combinations of cell, cell and bin that occurred."""

    keys: Whole  # (K,) rising; (from cell * CELLS + to cell) * BINS + bin
    weights: F  # (K,)

    def plus(self, keys: Whole, weights: F) -> _Ways:
        every, at = np.unique(np.concatenate((self.keys, keys)), return_inverse=True)
        total = np.zeros(len(every))
        np.add.at(total, at, np.concatenate((self.weights, weights)))
        if len(every) > MOST_WAYS:
            heaviest = np.sort(np.argsort(-total, kind="stable")[:MOST_WAYS])
            every, total = every[heaviest], total[heaviest]
        return _Ways(every, total)


_EMPTY = _Picture(np.zeros((4, CELLS)), 0.0)
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
    overlaps: Mapping[Pair, tuple[float, float]] = field(default_factory=dict)  # found, could have been
    meetings: Mapping[Pair, F] = field(
        default_factory=dict
    )  # names rising; (2, PLACES, PLACES) of meeting.py

    # ---- learning --------------------------------------------------------------------------------------------

    def learn(self, passages: Passages, entries: Crossings, exits: Crossings, *, now_ns: int) -> SiteModel:
        """What was known, faded to ``now_ns``, and this.

        Args:
            passages: probable ones; those of no weight and those longer than WINDOW_S teach nothing.
            entries: every start of a tracklet since the last time, weighed with being somebody new.
            exits: every end of one, weighed with not being seen again within WINDOW_S.
            now_ns: capture time. A time before the last one counts as the last one.
        """
        now_ns = max(now_ns, self.t_ns)
        known = self._faded(now_ns)
        pictures = dict(known.pictures)
        for camera in sorted({*entries.camera.tolist(), *exits.camera.tolist()}):
            old = pictures.get(camera, _EMPTY)
            counts = [*known._points(entries, camera, now_ns), *known._points(exits, camera, now_ns)]
            pictures[camera] = replace(old, counts=old.counts + counts)
        watched_s, t_seen_ns = known._watched(entries, exits, now_ns)
        for camera, more_s in watched_s.items():
            pictures[camera] = replace(pictures[camera], watched_s=pictures[camera].watched_s + more_s)
        return replace(known, pictures=pictures, ways=known._ways_with(passages, now_ns), t_seen_ns=t_seen_ns)

    def learn_distances(
        self, camera_a: str, camera_b: str, same: ArrayLike, different: ArrayLike
    ) -> SiteModel:
        """Distances of looks between tracklets of two cameras, as of ``t_ns``. NaN teaches nothing.

        Args:
            same: (N,) of tracklets that are one person.
            different: (M,) of tracklets that are two.
        """
        old = self.distances.get((camera_a, camera_b), _NO_SUMS)
        new = old + np.stack([_sums(same), _sums(different)])
        return replace(self, distances={**self.distances, (camera_a, camera_b): new})

    def learn_overlaps(self, counts: Mapping[Pair, tuple[float, float]]) -> SiteModel:
        """Of each pair of cameras a, b: how many were ``found`` in b at the same instant, of those who ``could`` have
        been, since they were seen in a while b saw somebody."""
        overlaps = dict(self.overlaps)
        for pair, (found, could) in counts.items():
            did, might = overlaps.get(pair, (0.0, 0.0))
            overlaps[pair] = did + found, might + could
        return replace(self, overlaps=overlaps)

    def learn_meetings(
        self, camera_a: str, camera_b: str, place_a: ArrayLike, place_b: ArrayLike, weight: ArrayLike
    ) -> SiteModel:
        """Who was where in two pictures at one instant, as of ``t_ns``.

        Args:
            camera_a, camera_b: names, rising.
            place_a, place_b: (N,) cells of `meeting.place_of`.
            weight: (N,) probability that the two are one person.
        """
        looks = np.array(self.meetings.get((camera_a, camera_b), np.zeros((2, PLACES, PLACES))))
        weight = np.asarray(weight, float)
        for a, b, w in zip(np.asarray(place_a), np.asarray(place_b), weight, strict=True):
            looks[:, a, b] += w, 1 - w
        return replace(self, meetings={**self.meetings, (camera_a, camera_b): looks})

    def meeting_table(self, camera_a: str, camera_b: str) -> F | None:
        """(PLACES, PLACES) natural-log ratio of one person at two places at once over two; None: nothing is known."""
        pair = min(camera_a, camera_b), max(camera_a, camera_b)
        if pair not in self.meetings:
            return None
        if pair not in self._tables:
            self._tables[pair] = log_ratio_table(self.meetings[pair])
        table = self._tables[pair]
        return table if pair == (camera_a, camera_b) else table.T

    @cached_property
    def _tables(self) -> dict[Pair, F]:
        return {}

    def _faded(self, now_ns: int) -> SiteModel:
        by = float(self._freshness(np.array(self.t_ns), now_ns))
        return replace(
            self,
            t_ns=now_ns,
            pictures={
                name: _Picture(one.counts * by, one.watched_s * by) for name, one in self.pictures.items()
            },
            ways={pair: _Ways(one.keys, one.weights * by) for pair, one in self.ways.items()},
            distances={pair: sums * by for pair, sums in self.distances.items()},
            overlaps={pair: (found * by, could * by) for pair, (found, could) in self.overlaps.items()},
            meetings={pair: looks * by for pair, looks in self.meetings.items()},
        )

    def _freshness(self, t_ns: NDArray, now_ns: int) -> F:
        """What an observation of then is worth now."""
        return np.exp2((t_ns - now_ns) / (self.half_life_days * DAY_NS))

    def _points(self, crossings: Crossings, camera: str, now_ns: int) -> tuple[F, F]:
        """(CELLS,) how many crossings of a camera, and their weight."""
        here = (crossings.camera == camera) & np.isfinite(crossings.xy).all(axis=1)
        fresh = self._freshness(crossings.t_ns[here], now_ns)
        counts = np.zeros((2, CELLS))
        np.add.at(
            counts.T, cell_of(crossings.xy[here]), np.column_stack([fresh, fresh * crossings.weight[here]])
        )
        return counts[0], counts[1]

    def _watched(
        self, entries: Crossings, exits: Crossings, now_ns: int
    ) -> tuple[dict[str, float], int | None]:
        """For how long each camera has watched since the last time, and when somebody came or went last."""
        camera, t_ns = np.append(entries.camera, exits.camera), np.append(entries.t_ns, exits.t_ns)
        if not len(t_ns):
            return {}, self.t_seen_ns
        order = np.lexsort((camera, t_ns))
        camera, t_ns = camera[order], t_ns[order]
        since = int(t_ns[0]) if self.t_seen_ns is None else self.t_seen_ns
        t_ns = np.maximum(t_ns, since)  # what comes late adds no time
        passed_s = np.minimum(np.diff(t_ns, prepend=since) / 1e9, QUIET_S) * self._freshness(t_ns, now_ns)
        total_s = np.cumsum(passed_s)
        before_s = {
            name: 0.0 if name in self.pictures else float(total_s[np.argmax(camera == name)])
            for name in sorted({*self.pictures, *camera.tolist()})
        }
        return {name: float(total_s[-1]) - s for name, s in before_s.items()}, int(t_ns[-1])

    def _ways_with(self, passages: Passages, now_ns: int) -> dict[Pair, _Ways]:
        gap_s = (passages.t_in_ns - passages.t_out_ns) / 1e9
        use = (passages.weight > 0) & (gap_s <= WINDOW_S)
        use &= np.isfinite(passages.from_xy).all(axis=1) & np.isfinite(passages.to_xy).all(axis=1)
        cells = cell_of(passages.from_xy[use]) * CELLS + cell_of(passages.to_xy[use])
        keys = cells * BINS + np.minimum(bin_of(gap_s[use]).astype(np.int64), BINS - 1)
        weights = passages.weight[use] * self._freshness(passages.t_in_ns[use], now_ns)
        start, to = passages.from_camera[use], passages.to_camera[use]
        ways = dict(self.ways)
        for a, b in sorted(set(zip(start.tolist(), to.tolist(), strict=True))):
            here = (start == a) & (to == b)
            ways[a, b] = ways.get((a, b), _NO_WAYS).plus(keys[here], weights[here])
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
        """(N, M) natural logarithm of the density of somebody who left there entering here after exactly this gap,
        over that of anybody new entering here.

        Args:
            from_camera, from_xy: (N,) and (N, 2), where N people were seen last, in shares of the picture.
            to_camera, to_xy: (M,) and (M, 2), where M people were seen first.
            gap_s: (N, M); below EARLIEST_S as at EARLIEST_S, above WINDOW_S (or NaN) as unlikely as anything.
        """
        start, to = (
            np.atleast_1d(np.asarray(from_camera, np.str_)),
            np.atleast_1d(np.asarray(to_camera, np.str_)),
        )
        left, entered = cells_of(from_xy), cells_of(to_xy)
        gap_s = np.broadcast_to(np.asarray(gap_s, float), (len(start), len(to)))
        out = np.zeros(gap_s.shape)
        leaving, entering = _rows_of(start), _rows_of(to)
        for a, o in leaving:
            for b, d in entering:
                here = np.ix_(o, d)
                out[here] = self._passing(a, b).log_ratio(left[o], entered[d], gap_s[here])
        return out

    def _passing(self, a: str, b: str) -> Passing:
        """The way from one camera to another, worked out once."""
        if (a, b) not in self._passings:
            ways, counts = self.ways.get((a, b), _NO_WAYS), self.pictures.get(a, _EMPTY).counts
            there_s, here_s = (self.pictures.get(name, _EMPTY).watched_s for name in (b, a))
            since = min(1.0, (there_s + 1.0) / (here_s + 1.0)) if b in self.pictures else 0.0
            if b not in self._entries:
                there = self.pictures.get(b, _EMPTY)
                self._entries[b] = Entries(there.counts, there.watched_s)
            self._passings[a, b] = Passing(
                counts[ENDS], ways.keys, ways.weights, self._entries[b], since=since
            )
        return self._passings[a, b]

    @cached_property
    def _passings(self) -> dict[Pair, Passing]:
        return {}

    @cached_property
    def _entries(self) -> dict[str, Entries]:
        return {}

    def leaves(self, camera: ArrayLike, xy: ArrayLike) -> F:
        """(N,) probability that who vanishes in (N,) cameras at (N, 2) is not seen again within WINDOW_S."""
        zones = self._zones
        ends, gone = zones.counts[ENDS], zones.counts[GONE]
        rest = share(zones.of_camera(gone) - gone, zones.of_camera(ends) - ends, 1 - GOES_ON)
        return share(gone, ends, rest)[zones.at(camera, xy)]

    def distance_model(self, camera_a: str, camera_b: str, prior: Distances) -> Distances:
        """How far one person's looks and strangers' lie apart between two cameras.

        What few distances of these two say is shrunk towards the site's of all, and that towards ``prior``.
        """
        own = self.distances.get((camera_a, camera_b), _NO_SUMS)
        every = [self.distances[pair] for pair in sorted(self.distances)]

        def shrunk(row: int, mean: float, sigma: float) -> tuple[float, float]:
            number, total = (float(sum(sums[row, n] for sums in every)) for n in range(2))
            inside = sum(_inside(sums[row]) for sums in every)
            site = _shrunk(number, total, inside, mean, sigma, SITE_DISTANCES)
            return _shrunk(own[row, 0], own[row, 1], _inside(own[row]), *site, PAIR_DISTANCES)

        same = shrunk(0, prior.mean_same, prior.sigma_same)
        different = shrunk(1, prior.mean_different, prior.sigma_different)
        return Distances(*same, *different, float(own[0, 0]), float(own[1, 0]))

    def overlap_share(
        self, camera_a: str, camera_b: str, *, prior: float = 0.5, prior_people: float = 3.0
    ) -> float:
        """Share of those seen in a who are seen in b at the same instant; the prior weighs ``prior_people``."""
        found, could = self.overlaps.get((camera_a, camera_b), (0.0, 0.0))
        return (found + prior * prior_people) / (could + prior_people)

    def overlap_shares(self, cameras: Sequence[str]) -> F:
        """(N, N) `overlap_share` of each of N cameras with each; worked out once."""
        names = tuple(cameras)
        if names not in self._shares_of:
            table = np.array([[self.overlap_share(a, b) for b in names] for a in names])
            self._shares_of[names] = table.reshape(len(names), len(names))
        return self._shares_of[names]

    @cached_property
    def _shares_of(self) -> dict[tuple[str, ...], F]:
        return {}

    def routes(self, *, least: float = 1.0, least_share: float = 0.0) -> list[Route]:
        """Ways that at least so many took, and that share of those who leave there, the most used first."""
        zones, left = self._zones, self._flows.left
        found = [
            Route(
                from_camera=str(zones.names[zones.camera[o]]),
                from_zone=zones.titles[o],
                from_xy=zones.xy[o],
                to_camera=str(zones.names[zones.camera[d]]),
                to_zone=zones.titles[d],
                to_xy=zones.xy[d],
                passages=float(histogram.sum()),
                gaps_s=quantiles_s(histogram),
                share=float(histogram.sum() / left[o, zones.camera[d]]),
            )
            for o, d, histogram in self._flows.histograms()
            if histogram.sum() >= least
        ]
        kept = [route for route in found if route.share >= least_share]
        return sorted(kept, key=lambda route: (-route.passages, route))

    def doorways(self) -> list[Doorway]:
        """Where people come and go, camera after camera, the most used place first."""
        zones = self._zones
        watched_s = np.maximum(zones.watched_s[zones.camera], 1.0)
        found = [
            Doorway(
                camera=str(zones.names[zones.camera[z]]),
                zone=zones.titles[z],
                xy=zones.xy[z],
                starts=float(starts),
                ends=float(ends),
                new_per_hour=float(3600 * new / watched_s[z]),
                gone=float(gone / ends) if ends else 0.0,
            )
            for z, (starts, new, ends, gone) in enumerate(zones.counts.T)
            if starts + ends > 0
        ]
        return sorted(found, key=lambda door: (door.camera, -door.starts - door.ends, door.zone))

    @cached_property
    def _zones(self) -> Zones:
        names = sorted({*self.pictures, *(name for pair in self.ways for name in pair)})
        pictures = [self.pictures.get(name, _EMPTY) for name in names]
        counts = np.array([one.counts for one in pictures]).reshape(len(names), 4, CELLS)
        return Zones(names, counts, np.array([one.watched_s for one in pictures]))

    @cached_property
    def _flows(self) -> Flows:
        place = {name: n for n, name in enumerate(self._zones.names.tolist())}
        table = self._zones.table
        routes, weights = [np.zeros((3, 0), np.int64)], [np.zeros(0)]
        for (a, b), ways in sorted(self.ways.items()):
            cells, at = np.divmod(ways.keys, BINS)
            routes.append(np.stack([table[place[a], cells // CELLS], table[place[b], cells % CELLS], at]))
            weights.append(ways.weights)
        o, d, at = np.concatenate(routes, axis=1)
        return Flows(self._zones, o, d, at, np.concatenate(weights))

    # ---- its file --------------------------------------------------------------------------------------------

    def to_file_text(self) -> str:
        """JSON, a line a camera and a line a pair of cameras, of which `from_text` makes an equal model."""
        cameras = {
            name: {
                "watched_s": one.watched_s,
                "cells": [
                    [int(n), *one.counts[:, n].tolist()] for n in np.flatnonzero(one.counts.any(axis=0))
                ],
            }
            for name, one in sorted(self.pictures.items())
        }
        values = {
            "schema_version": SCHEMA_VERSION,
            "grid": GRID,
            "edges_s": EDGES_S,
            "half_life_days": self.half_life_days,
            "t_ns": self.t_ns,
            "t_seen_ns": self.t_seen_ns,
            "cameras": cameras,
            "ways": [
                {"from": a, "to": b, "passages": _rows(ways)} for (a, b), ways in sorted(self.ways.items())
            ],
            "distances": [
                {"from": a, "to": b, "same": same, "different": different}
                for (a, b), (same, different) in sorted((p, s.tolist()) for p, s in self.distances.items())
            ],
            "overlaps": [
                {"from": a, "to": b, "found": found, "could": could}
                for (a, b), (found, could) in sorted(self.overlaps.items())
            ],
            "meetings": [
                {
                    "from": a,
                    "to": b,
                    "looks": [
                        [int(n), int(m), *looks[:, n, m].tolist()] for n, m in np.argwhere(looks.any(axis=0))
                    ],
                }
                for (a, b), looks in sorted(self.meetings.items(), key=lambda item: item[0])
            ],
        }
        lines = [f" {json.dumps(name)}: {_lines(value)}" for name, value in values.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_text(cls, text: str | bytes) -> SiteModel:
        """Back from a file. Raises ValueError, in one sentence, where it is damaged or of another version."""
        try:
            version = msgspec.json.decode(text, type=_Version).schema_version
            if version != SCHEMA_VERSION:
                raise ValueError(
                    f"a site model of version {version}; this program reads version {SCHEMA_VERSION}"
                )
            file = msgspec.json.decode(text, type=_File)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(f"no site model, or a damaged one: {error}") from error
        if file.grid != GRID or file.edges_s != EDGES_S:
            raise ValueError(
                "a site model with another grid or other bins of travel time than this program's"
            )
        pictures = {}
        for name, one in file.cameras.items():
            counts = np.zeros((4, CELLS))
            for cell, *values in one.cells:
                counts[:, cell] = values
            pictures[name] = _Picture(counts, one.watched_s)
        ways = {}
        for way in file.ways:
            keys = np.array([(start * CELLS + to) * BINS + at for start, to, at, _ in way.passages], np.int64)
            ways[way.start, way.to] = _NO_WAYS.plus(keys, np.array([w for *_, w in way.passages], float))
        return cls(
            half_life_days=file.half_life_days,
            t_ns=file.t_ns,
            t_seen_ns=file.t_seen_ns,
            pictures=pictures,
            ways=ways,
            distances={(d.start, d.to): np.array([d.same, d.different], float) for d in file.distances},
            overlaps={(o.start, o.to): (o.found, o.could) for o in file.overlaps},
            meetings={(m.start, m.to): _looks(m) for m in file.meetings},
        )


_Cell = Annotated[int, msgspec.Meta(ge=0, lt=CELLS)]
_Place = Annotated[int, msgspec.Meta(ge=0, lt=PLACES)]
_Bin = Annotated[int, msgspec.Meta(ge=0, lt=BINS)]
_Sum = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Time = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]


class _Version(msgspec.Struct):
    schema_version: int


class _CameraInFile(msgspec.Struct):
    watched_s: _Sum
    cells: list[tuple[_Cell, _Sum, _Sum, _Sum, _Sum]]


class _PairInFile(msgspec.Struct):
    start: str = msgspec.field(name="from")
    to: str


class _WaysInFile(_PairInFile):
    passages: list[tuple[_Cell, _Cell, _Bin, _Sum]]


class _DistancesInFile(_PairInFile):
    same: tuple[_Sum, _Sum, _Sum]
    different: tuple[_Sum, _Sum, _Sum]


class _OverlapInFile(_PairInFile):
    found: _Sum
    could: _Sum


class _MeetingInFile(_PairInFile):
    looks: list[tuple[_Place, _Place, _Sum, _Sum]]


class _File(_Version):
    grid: int
    edges_s: tuple[float, ...]
    half_life_days: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    t_ns: _Time
    t_seen_ns: _Time | None
    cameras: dict[str, _CameraInFile]
    ways: list[_WaysInFile]
    distances: list[_DistancesInFile]
    overlaps: list[_OverlapInFile]
    meetings: list[_MeetingInFile]


def _rows_of(cameras: Names) -> list[tuple[str, Whole]]:
    """Each camera's rows."""
    names, at = np.unique(cameras, return_inverse=True)
    return [(name, np.flatnonzero(at == n)) for n, name in enumerate(names.tolist())]


def _looks(meeting: _MeetingInFile) -> F:
    looks = np.zeros((2, PLACES, PLACES))
    for n, m, one, two in meeting.looks:
        looks[:, n, m] = one, two
    return looks


def _rows(ways: _Ways) -> list[list[Any]]:
    """Cell left, cell entered, bin of the travel time and weight of each."""
    cells, at = np.divmod(ways.keys, BINS)
    columns = (cells // CELLS, cells % CELLS, at, ways.weights)
    return [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _lines(value: Any) -> str:
    """JSON with a line for each entry of a mapping or of a list of mappings."""
    if isinstance(value, dict) and value:
        return "{\n  " + ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()) + "\n }"
    if isinstance(value, list) and value:
        return "[\n  " + ",\n  ".join(json.dumps(one) for one in value) + "\n ]"
    return json.dumps(value)


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
    return float((strength * mean + total) / weight), float(np.sqrt((strength * sigma**2 + inside) / weight))
