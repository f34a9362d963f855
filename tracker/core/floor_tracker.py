"""Everybody on the floor that calibrated cameras see, followed by all cameras at once; for people without looks.

One filter a person, and at every instant one assignment of all cameras' feet to them: camera by camera by Hungarian
matching against what the filter and the other cameras say, round after round until nothing changes (coordinate descent
over the cameras of a multi-sensor assignment: Bar-Shalom & Li, Multitarget-Multisensor Tracking, 1995, 2.6). In a crowd
a whole instant tells people apart where two tracklets alone, compared place by place, are as well one person as two.

Once a while the last seconds are looked at again, when what came after is known: who goes on as whom is assigned anew
at every instant, by all that is known before and after it, and so is each look (fixed-interval smoothing: Fraser &
Potter, IEEE Trans. Automatic Control 1969).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tracker.core.feet import Feet
from tracker.core.floor_filter import ANYWHERE_M, Information, Looks, log_evidence, motion, unknown
from tracker.types import TrackKey

F = NDArray[np.float64]
Whole = NDArray[np.int64]

INSTANT_S = 0.4  # from one to the next
AT_ONCE_S = 0.2  # frames this close in time show one
WINDOW_S, AGAIN_S = 12.0, 2.0  # what is looked at again, and how often
UNSEEN_S = 1.2  # after this nobody knows where somebody may have gone
NEW_PER_M2 = 0.002  # people that come on a square metre from one instant to the next
FOUND_AGAIN, FOUND_ANEW = 0.8, 0.4  # chance of a camera finding somebody whom it found lately, or did not
FORGETS, FORGETS_UNSEEN = 0.6, 0.7  # what is left, after an instant, of which cameras found somebody
STAYS_LOG = 1.0  # a track that was on somebody is still on them
STAYS_AFTERWARDS_LOG = 0.5  # when it is known what came after
HIDDEN, HIDDEN_STAYS = 0.3, 0.6  # share of looks in which the feet are hidden, and how much of that lasts
ROUNDS = 3
BORN_M = 3.0  # who was not there before is about here
BORN_TOGETHER = 0.003  # per square metre: looks of two cameras are at one who was not there before
# Share of people who are elsewhere than where they walked, how far, and how much faster or slower they may go then.
STRAYS, STRAYS_M, TURNS_M_S = 0.1, 0.5, 1.0
STRAYS_AFTERWARDS = 0.05
# A picture that is shown twice stands still, and the next one is two instants further.
PACES, PACED, PACE_LOG = (0.0, 2.0), 4, 8.0  # of so many people at least, by so much better
MOST_AGAINST_LOG = 20.0  # of one who goes on
LEAST_GAIN = 1.0  # log-odds by which going on otherwise must be better
NEAR_M, FASTEST_M_S = 3.0, 3.0  # nobody goes on further off than this and so much more a second
MOST_AGAIN = 60  # walkers whose last seconds are looked at again; of more, nobody's: it is done in one step
MOST_WALKERS = 8  # that are kept of one tracklet
CUT_LOOKS = 2  # one after the other at somebody else, or the last one: the tracklet has gone over
NOBODY = TrackKey(camera_id="", run=0, number=0)  # of looks that nobody asks about any more
VAGUE_M, FAR_M = 20.0, 1000.0  # feet that are less exact, or further off, say nothing
LATE_S = 10.0  # time has been set back, if it is before the last instant by more


@dataclass(frozen=True)
class Walkers:
    """N people of one floor, as columns; C cameras."""

    ids: Whole  # (N,) from 1
    mean: F  # (N, 4) metres, metres a second
    covariance: F  # (N, 4, 4)
    last_s: F  # (N,) seen last
    hidden: F  # (N, C) how likely their feet are hidden from each camera
    found: F  # (N, C) how constantly each camera finds them

    @classmethod
    def nobody(cls, cameras: int = 0) -> Walkers:
        mean, covariance = unknown(0)
        none = np.zeros((0, cameras))
        return cls(np.zeros(0, np.int64), mean, covariance, np.zeros(0), none, none)

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, keep: NDArray) -> Walkers:
        """The rows chosen by a mask or an index array."""
        return Walkers(*(column[keep] for column in self.columns()))

    def columns(self) -> tuple[NDArray, ...]:
        """All of them, in the order of the fields."""
        return self.ids, self.mean, self.covariance, self.last_s, self.hidden, self.found

    def seen_by(self, cameras: int) -> Walkers:
        """With columns for so many cameras."""
        more = ((0, 0), (0, cameras - self.hidden.shape[1]))
        hidden = np.pad(self.hidden, more, constant_values=HIDDEN)
        return replace(self, hidden=hidden, found=np.pad(self.found, more))

    def after(self, dt_s: float, now_s: float) -> Walkers:
        """Where they are ``dt_s`` later, without those unseen for long."""
        fresh = self.where(now_s - self.last_s <= UNSEEN_S)
        step, noise = motion(dt_s)
        return replace(
            fresh,
            mean=fresh.mean @ step.T,
            covariance=step @ fresh.covariance @ step.T + noise,
            hidden=HIDDEN + HIDDEN_STAYS * (fresh.hidden - HIDDEN),
        )

    def strayed(self, rows: NDArray[np.intp]) -> Walkers:
        """Some are not where they were heading."""
        covariance = self.covariance.copy()
        covariance[rows] += _STRAYING
        return replace(self, covariance=covariance)

    def places(self) -> Information:
        """Of size 2."""
        return Information.of(self.mean[:, :2], self.covariance[:, :2, :2])

    def born(self, ids: Whole, places: F, now_s: float) -> Walkers:
        """With K more of whom nothing is known but about where they are (K, 2)."""
        mean, covariance = unknown(len(ids))
        mean[:, :2] = places
        covariance[:, (0, 1), (0, 1)] = BORN_M**2
        cameras = self.hidden.shape[1]
        hidden, found = np.full((len(ids), cameras), HIDDEN), np.zeros((len(ids), cameras))
        fresh = ids, mean, covariance, np.full(len(ids), now_s), hidden, found
        return Walkers(*(np.concatenate(both) for both in zip(self.columns(), fresh, strict=True)))

    def seen(self, owner: NDArray[np.intp], instant: Instant) -> Walkers:
        """After an instant whose looks are at the people in rows ``owner`` (B,), -1 at nobody."""
        at = np.flatnonzero(owner >= 0)
        whose, camera = owner[at], instant.camera[at]
        told = instant.looks.at(at).told(instant.hidden[at] > 0.5)
        mean, covariance = Information.of(self.mean, self.covariance).and_places(whose, told).moments()
        now, hidden, last_s = np.zeros_like(self.found), self.hidden.copy(), self.last_s.copy()
        now[whose, camera], hidden[whose, camera], last_s[whose] = 1.0, instant.hidden[at], instant.t_s
        was_seen = np.isin(np.arange(len(self)), whose)[:, None]
        found = np.where(was_seen, FORGETS * self.found + (1 - FORGETS) * now, FORGETS_UNSEEN * self.found)
        shown = np.isin(np.arange(found.shape[1]), instant.shown)
        found = np.where(shown, found, self.found)
        return Walkers(self.ids, mean, covariance, last_s, hidden, found)

    def log_odds_found(self) -> F:
        """(N, C) of each camera finding each of them."""
        share = FOUND_ANEW + (FOUND_AGAIN - FOUND_ANEW) * self.found
        return np.asarray(np.log(share / (1 - share)))


_STRAYING = np.diag([STRAYS_M**2] * 2 + [TURNS_M_S**2] * 2)


class Standing(NamedTuple):
    """Rows of tracklets by the person that they were on."""

    groups: list[list[int]]  # of all, ordered by their first row; whoever is not known is alone
    known: list[int]  # rows of those who are


class Frame(NamedTuple):
    """What one camera shows at an instant."""

    keys: list[TrackKey]
    feet: Feet


@dataclass
class Instant:
    """B feet of all cameras, and whose they are."""

    t_s: float
    dt_s: float  # since the one before, as people walked
    shown: NDArray[np.intp]  # cameras that show it
    keys: list[TrackKey]
    camera: NDArray[np.intp]  # (B,)
    feet: Feet
    looks: Looks
    walker: Whole  # (B,) 0: nobody's
    hidden: F  # (B,) how likely these feet are hidden

    @classmethod
    def of(cls, t_s: float, frames: Sequence[tuple[int, Frame]]) -> Instant:
        """From cameras' numbers and frames."""
        keys = [key for _, frame in frames for key in frame.keys]
        camera = np.repeat([n for n, _ in frames], [len(frame.keys) for _, frame in frames])
        feet = Feet(
            *(np.concatenate(column) for column in zip(*(frame.feet for _, frame in frames), strict=True))
        )
        nobody, shown = np.zeros(len(keys), np.int64), np.zeros(len(keys))
        cameras = np.array([n for n, _ in frames], np.intp)
        return cls(t_s, 0.0, cameras, keys, camera.astype(np.intp), feet, Looks.of(feet), nobody, shown)

    def without(self, key: TrackKey) -> Instant:
        """Nothing of a tracklet."""
        keep = np.array([k != key for k in self.keys], bool)
        feet = self.feet.at(keep)
        keys = [k for k in self.keys if k != key]
        looks, walker, hidden = self.looks.at(keep), self.walker[keep], self.hidden[keep]
        return Instant(self.t_s, self.dt_s, self.shown, keys, self.camera[keep], feet, looks, walker, hidden)


class FloorTracker:
    """Follows everybody on one floor, and tells whom every tracklet was on."""

    def __init__(self) -> None:
        self._names: list[str] = []  # of cameras
        self._walkers = Walkers.nobody()  # now
        self._before = Walkers.nobody()  # before the instants that are looked at again
        self._instants: list[Instant] = []
        self._waiting: dict[str, Frame] = {}  # of the instant that has begun
        self._begun_s = self._solved_s = self._again_s = -np.inf
        self._heard_s: dict[str, float] = {}  # when each camera was
        self._origin: tuple[float, float] | None = None  # places are kept from here, in metres
        # How many instants each tracklet was on each walker, before these; and on whom it was last.
        self._settled: dict[TrackKey, dict[int, int]] = {}
        self._on: dict[TrackKey, int] = {}
        # What tracklets that have gone over to somebody are called since, until the linker calls them so as well.
        self._later: dict[TrackKey, TrackKey] = {}
        self._next = 1

    # ---- what is heard ---------------------------------------------------------------------------------------

    def watch(self, camera_id: str, t_s: float, keys: Sequence[TrackKey], feet: Feet) -> None:
        """One frame of one camera: N tracklets and where they stand. It counts once its instant is over."""
        if self._begun_s - t_s > LATE_S:
            self._set_back()
        if t_s < self._begun_s or t_s - self._heard_s.get(camera_id, -np.inf) < INSTANT_S - 1e-6:
            return
        if t_s - self._begun_s > AT_ONCE_S:
            self.finish()
            self._begun_s = t_s
        self._heard_s[camera_id] = t_s
        if self._origin is None and len(keys):
            self._origin = (round(float(feet.x_m[0]), -1), round(float(feet.y_m[0]), -1))
        x, y = self._origin or (0.0, 0.0)
        feet = feet._replace(x_m=feet.x_m - x, y_m=feet.y_m - y)
        is_exact = (np.hypot(feet.x_m, feet.y_m) < FAR_M) & (
            np.maximum(feet.along_m, feet.across_m) < VAGUE_M
        )
        exact = np.flatnonzero(is_exact)
        self._waiting[camera_id] = Frame([self._now(keys[n]) for n in exact.tolist()], feet.at(exact))

    def has_heard(self, camera_id: str) -> bool:
        """Whether it is a camera that sees the floor."""
        return camera_id in self._heard_s

    def finish(self) -> None:
        """The instant that has begun is over."""
        waiting, self._waiting = self._waiting, {}
        for camera_id in sorted(waiting):
            if camera_id not in self._names:
                self._names.append(camera_id)
        frames = [(self._names.index(camera_id), waiting[camera_id]) for camera_id in sorted(waiting)]
        if any(frame.keys for _, frame in frames):
            self._solve(Instant.of(self._begun_s, frames))
            if self._begun_s - self._again_s >= AGAIN_S:
                self.look_again()
        elif frames:
            self._walkers = self._walkers.where(self._begun_s - self._walkers.last_s <= UNSEEN_S)
        if frames:
            self._settle(self._begun_s - WINDOW_S)

    def close(self) -> None:
        """Nothing more will come: all is as it is read now."""
        self.finish()
        self.look_again()
        self._settle(np.inf)

    def _set_back(self) -> None:
        """Time begins anew: whom tracklets were on stays known, and nobody is followed on."""
        self.finish()
        for instant in self._instants:
            _count(instant, self._settled)
        self._instants, self._heard_s, self._on = [], {}, {}
        self._walkers = self._before = Walkers.nobody()
        self._begun_s = self._solved_s = self._again_s = -np.inf

    def forget(self, key: TrackKey) -> None:
        """Nothing is kept of a tracklet, nor of where its person was, but what others saw."""
        if key in self._later:
            self.forget(self._later.pop(key))
        self._settled.pop(key, None)
        self._on.pop(key, None)
        for camera_id, frame in self._waiting.items():
            if key in frame.keys:
                keep = np.array([k != key for k in frame.keys], bool)
                self._waiting[camera_id] = Frame([k for k in frame.keys if k != key], frame.feet.at(keep))
        if not any(key in instant.keys for instant in self._instants):
            return
        self._instants = [instant.without(key) for instant in self._instants]
        seen = np.concatenate([instant.walker for instant in self._instants])
        self._walkers, self._before = (
            walkers.where(np.isin(walkers.ids, seen)) for walkers in (self._walkers, self._before)
        )

    def give_up(self, key: TrackKey) -> None:
        """Nobody will ask about a tracklet; somebody was seen all the same."""
        if key in self._later:
            self.give_up(self._later.pop(key))
        self._settled.pop(key, None)
        self._on.pop(key, None)
        self._rename(key, NOBODY)

    def join(self, key: TrackKey, earlier: TrackKey) -> None:
        """An earlier tracklet becomes part of another."""
        if earlier in self._later:
            self.join(key, self._later.pop(earlier))
        own = self._settled.setdefault(key, {})
        for walker, count in self._settled.pop(earlier, {}).items():
            own[walker] = own.get(walker, 0) + count
        self._on.pop(earlier, None)
        self._rename(earlier, key)

    def take_back(self, key: TrackKey, later: TrackKey) -> None:
        """A tracklet is not cut after all, and goes on as whom it is on now."""
        on = self._on.get(later)
        self.join(key, later)
        if on is not None:
            self._on[key] = on

    def _rename(self, key: TrackKey, name: TrackKey) -> None:
        for instant in self._instants:
            if key in instant.keys:
                instant.keys = [name if k == key else k for k in instant.keys]
        for camera_id, frame in self._waiting.items():
            if key in frame.keys:
                self._waiting[camera_id] = frame._replace(keys=[name if k == key else k for k in frame.keys])

    # ---- tracklets that go over to somebody else -------------------------------------------------------------

    def parted(self) -> list[tuple[TrackKey, TrackKey]]:
        """Tracklets that have gone over to somebody else, and what they are called from then on; told once.

        Whoever is asked about from now on is called so; `take_back` undoes one.
        """
        told = sorted(self._later.items())
        self._later = {}
        return told

    def _now(self, key: TrackKey) -> TrackKey:
        while key in self._later:
            key = self._later[key]
        return key

    def _part(self, oldest: Instant) -> None:
        """Tracklets that are on somebody else from this instant on, the next that is settled."""
        # Nobody knows when between two instants; 0 would be the whole tracklet.
        before_ns = round((oldest.t_s - INSTANT_S / 2) * 1e9) or 1
        for key, walker in zip(list(oldest.keys), oldest.walker.tolist(), strict=True):
            if not walker or key == NOBODY or self._on.setdefault(key, walker) == walker:
                continue
            if set(self._soon(key, CUT_LOOKS - 1)) <= {walker}:
                later = msgspec.structs.replace(key, since_ns=before_ns)
                oldest.keys = [later if k == key else k for k in oldest.keys]
                self._rename(key, later)
                self._later[key] = later
                self._on[later] = walker

    def _soon(self, key: TrackKey, count: int) -> list[int]:
        """On whom a tracklet is in its next looks that are at anybody."""
        on: list[int] = []
        for instant in self._instants:
            if len(on) == count:
                break
            if key in instant.keys:
                walker = int(instant.walker[instant.keys.index(key)])
                on += [walker] if walker else []
        return on

    # ---- what is told ----------------------------------------------------------------------------------------

    def groups(
        self, keys: Sequence[TrackKey], conflict: NDArray[np.bool_], people: Sequence[set[int]] = ()
    ) -> Standing:
        """N tracklets by the person that they were mostly on.

        Args:
            conflict: (N, N) cannot be one person: the one seen longer stays, the other is whom it was on otherwise.
            people: rows that are one person, whatever the floor says.
        """
        counts, bound = self._counts(keys), set().union(*people)
        units = [*map(sorted, people), *([n] for n in range(len(keys)) if n not in bound)]
        told: list[tuple[int, list[int], dict[int, int]]] = []
        members: dict[int, list[int]] = {}
        alone: list[list[int]] = []
        for rows in units:
            of: dict[int, int] = {}
            for n in rows:
                for walker, count in counts.get(keys[n], {}).items():
                    of[walker] = of.get(walker, 0) + count
            if of:
                told.append((-max(of.values()), rows, of))
            else:
                alone.append(rows)
        for _, rows, of in sorted(told, key=lambda one: one[:2]):
            for walker in sorted(of, key=lambda walker: (-of[walker], walker)):
                if not conflict[np.ix_(rows, members.get(walker, []))].any():
                    members.setdefault(walker, []).extend(rows)
                    break
            else:
                alone.append(rows)
        known = sorted(n for _, rows, _ in told for n in rows)
        return Standing(sorted([*map(sorted, members.values()), *alone]), known)

    def mainly_on(self, keys: Sequence[TrackKey]) -> dict[TrackKey, int]:
        """Whom each tracklet was mostly on; of those that were on any."""
        return {
            key: max(of, key=lambda walker: (of[walker], -walker)) for key, of in self._counts(keys).items()
        }

    def guess(self, camera_id: str) -> dict[TrackKey, dict[TrackKey, int]]:
        """Of the tracklets of a camera's newest frame those that may be on somebody who is followed: with whom, the
        tracklets on the same person lately, and for how many instants."""
        frame = self._waiting.get(camera_id)
        if frame is None or not frame.keys or camera_id not in self._names:
            return {}
        instant = Instant.of(self._begun_s, [(self._names.index(camera_id), frame)])
        walkers = self._walkers.seen_by(len(self._names))
        if len(walkers):
            walkers = walkers.after(max(instant.t_s - self._solved_s, 0.0), instant.t_s)
        stays = STAYS_LOG * (walkers.ids[:, None] == self._last_walkers(instant.keys))
        found = _Assigning(instant, walkers, walkers.places(), stays)
        found.again()
        lately: dict[TrackKey, dict[int, int]] = {}
        for one in self._instants:
            _count(one, lately)
        with_whom: dict[int, dict[TrackKey, int]] = {}
        for key, counts in lately.items():
            for walker, count in counts.items():
                with_whom.setdefault(walker, {})[key] = count
        return {
            key: with_whom.get(int(walkers.ids[row]), {})
            for key, row in zip(instant.keys, found.owner.tolist(), strict=True)
            if row >= 0
        }

    def _counts(self, keys: Sequence[TrackKey]) -> dict[TrackKey, dict[int, int]]:
        """Instants of each tracklet on each walker; of those that were on any."""
        counts = {key: dict(self._settled[key]) for key in keys if self._settled.get(key)}
        asked = set(keys)
        for instant in self._instants:
            _count(instant, counts, asked)
        return counts

    # ---- one instant -----------------------------------------------------------------------------------------

    def _solve(self, instant: Instant) -> None:
        """Whose every look is, and who is new."""
        walkers = self._walkers.seen_by(len(self._names))
        passed_s = max(instant.t_s - self._solved_s, 0.0) if len(walkers) else 0.0
        instant.dt_s = passed_s * self._pace(walkers, instant, passed_s)
        walkers = walkers.after(instant.dt_s, instant.t_s)
        stays = STAYS_LOG * (walkers.ids[:, None] == self._last_walkers(instant.keys))
        found = _Assigning(instant, walkers, walkers.places(), stays)
        found.again()
        idle = np.setdiff1d(np.arange(len(walkers)), found.owner)
        if len(idle) and (found.owner < 0).any():
            walkers = walkers.strayed(idle)
            found.stray(idle, walkers.places())
            found.again()
        for _ in range(ROUNDS):
            found.beget()
            if not found.again():
                break
        born = np.unique(found.owner[found.owner >= len(walkers)])
        first = np.array([found.begun[n - len(walkers)] for n in born], np.intp)
        row = np.concatenate((np.arange(len(walkers)), np.full(len(found.begun), -1), [-1]))
        row[born] = len(walkers) + np.arange(len(born))  # some who were begun have nobody
        owner = row[found.owner]
        ids, left = self._named(owner, walkers, len(born), instant.keys)
        walkers = replace(walkers, ids=np.where(left, 0, walkers.ids)).born(
            ids, instant.looks.place[first], instant.t_s
        )
        instant.hidden = found.hidden
        instant.walker = np.where(owner >= 0, walkers.ids[owner] if len(walkers) else 0, 0)
        walkers = walkers.seen(owner, instant)
        self._walkers = walkers.where(walkers.ids > 0)
        self._instants.append(instant)
        self._solved_s = instant.t_s

    def _named(
        self, owner: NDArray[np.intp], walkers: Walkers, born: int, keys: Sequence[TrackKey]
    ) -> tuple[Whole, NDArray[np.bool_]]:
        """What those are called who begin, in rows after the ``walkers``: as whoever their tracklets were on lately, if
        nobody is that now. And (N,) whose name has gone."""
        ids, left = np.zeros(born, np.int64), np.zeros(len(walkers), bool)
        taken = set(walkers.ids[np.unique(owner[(owner >= 0) & (owner < len(walkers))])].tolist())
        last = self._last_walkers(keys)
        for n in range(born):
            lately, counts = np.unique(last[(owner == len(walkers) + n) & (last > 0)], return_counts=True)
            free = [
                (-count, w)
                for w, count in zip(lately.tolist(), counts.tolist(), strict=True)
                if w not in taken
            ]
            if free:
                ids[n] = min(free)[1]
                taken.add(ids[n])
                left |= walkers.ids == ids[n]
            else:
                ids[n] = self._next
                self._next += 1
        return ids, left

    def _last_walkers(self, keys: Sequence[TrackKey]) -> Whole:
        """(B,) on whom each tracklet was last; 0 where it was on nobody."""
        last: dict[TrackKey, int] = {}
        for instant in self._instants:
            last.update((k, w) for k, w in zip(instant.keys, instant.walker.tolist(), strict=True) if w)
        last.pop(NOBODY, None)  # who is nobody's tracklet was not on anybody before
        return np.array([last.get(key, 0) for key in keys], np.int64)

    def _pace(self, walkers: Walkers, instant: Instant, passed_s: float) -> float:
        """How much further than usual everybody has come: pictures are shown twice, and then are late."""
        if (instant.t_s - walkers.last_s <= UNSEEN_S).sum() < PACED:
            return 1.0
        best, chosen = -np.inf, 1.0
        for pace in (1.0, *PACES):
            there = walkers.after(passed_s * pace, instant.t_s)
            total = 0.0 if pace == 1.0 else -PACE_LOG
            mean, covariance = there.mean[:, :2], there.covariance[:, :2, :2]
            for own in _by_camera(instant.camera):
                value, _ = instant.looks.at(own).log_density(
                    mean, covariance, np.full((len(there), 1), HIDDEN)
                )
                gain = np.maximum(value - np.log(NEW_PER_M2), 0.0)
                total += float(gain[linear_sum_assignment(-gain)].sum())
            if total > best:
                best, chosen = total, pace
        return chosen

    # ---- looking again ---------------------------------------------------------------------------------------

    def look_again(self) -> None:
        """Whose the last seconds' looks are, now that it is known what came after."""
        self._again_s = self._solved_s
        if len(self._instants) < 2 or len(self._walkers) > MOST_AGAIN:
            return
        self._before = self._before.seen_by(len(self._names))
        self._relink()
        self._reassign()
        self._relink()

    def _settle(self, until_s: float) -> None:
        """What is too long ago to be looked at again stays as it is."""
        while self._instants and self._instants[0].t_s < until_s:
            oldest = self._instants.pop(0)
            self._part(oldest)
            _count(oldest, self._settled)
            for key in oldest.keys:
                of = self._settled.get(key, {})
                for walker in sorted(of, key=lambda walker: (-of[walker], walker))[MOST_WALKERS:]:
                    del of[walker]
            self._before = self._passed(self._before.seen_by(len(self._names)), oldest)
        if not self._instants:
            self._before = self._before.where(self._begun_s - self._before.last_s <= UNSEEN_S)

    def _passed(self, walkers: Walkers, instant: Instant, strayed: NDArray[np.intp] | None = None) -> Walkers:
        """Walkers before an instant, after it, as it is read now."""
        walkers = walkers.after(instant.dt_s, instant.t_s)
        if strayed is not None:
            walkers = walkers.strayed(strayed)
        born = np.setdiff1d(instant.walker[instant.walker > 0], walkers.ids)
        first = np.array([np.flatnonzero(instant.walker == walker)[0] for walker in born], np.intp)
        walkers = walkers.born(born, instant.looks.place[first], instant.t_s)
        return walkers.seen(_rows_of(walkers.ids, instant.walker), instant)

    def _futures(self) -> tuple[Whole, list[Information], F]:
        """Who is in these instants (W,), what is known of where they are at each from those after it, and (T, 4, W)
        when and where each is seen next, from each on, and how much further off that may be."""
        ids = np.unique(np.concatenate([instant.walker for instant in self._instants]))
        ids = ids[ids > 0]
        known, ahead = Information.none(len(ids)), []
        seen, seen_next = np.full((4, len(ids)), np.inf), []
        for n in range(len(self._instants) - 1, -1, -1):
            instant = self._instants[n]
            ahead.append(known)
            row = _rows_of(ids, instant.walker)
            seen, at = seen.copy(), row >= 0
            hidden_m = np.where(instant.hidden > 0.5, instant.looks.reach_m, 0.0)[at]
            seen[0, row[at]], seen[1:3, row[at]], seen[3, row[at]] = (
                instant.t_s,
                instant.looks.place[at].T,
                hidden_m,
            )
            seen_next.append(seen)
            known = _with(known, row, instant).before(instant.dt_s)
        return ids, ahead[::-1], np.array(seen_next[::-1])

    def _relink(self) -> None:
        """Who goes on as whom, at every instant anew."""
        ids, ahead, seen_next = self._futures()
        label = ids.copy()  # whom each is called by now
        walkers = self._before
        for n, instant in enumerate(self._instants):
            row = _rows_of(ids, instant.walker)
            wait_s = seen_next[n, 0] - instant.t_s
            soon = np.flatnonzero(wait_s <= UNSEEN_S)
            there = walkers.after(instant.dt_s, instant.t_s)
            off_m = np.hypot(*(there.mean[:, axis, None] - seen_next[n, 1 + axis, soon] for axis in (0, 1)))
            near = off_m <= NEAR_M + FASTEST_M_S * wait_s[soon] + seen_next[n, 3, soon]
            future = _with(ahead[n], row, instant).at(soon)
            label[soon], strayed = self._gone_on(there, future, near, label[soon])
            # Whoever comes later must not be called as somebody is by now.
            later = np.flatnonzero((wait_s > UNSEEN_S) & np.isfinite(wait_s) & np.isin(label, label[soon]))
            label[later] = self._next + np.arange(len(later))
            self._next += len(later)
            instant.walker = np.where(row >= 0, label[row] if len(label) else 0, 0)
            walkers = self._passed(walkers, instant, strayed)
        self._walkers = walkers

    def _gone_on(
        self, past: Walkers, future: Information, near: NDArray[np.bool_], label: Whole
    ) -> tuple[Whole, NDArray[np.intp]]:
        """Of M people who are seen from now on, whom of N they are: ids, as ``label`` says unless there is better; and
        rows of those of the past who are not where they were heading.

        Args:
            near: (N, M) who may be whom at all.
        """
        none = np.zeros(0, np.intp)
        if not near.any():
            return label, none
        i, j = np.nonzero(near)
        nobody, straight, wide = (np.full(near.shape, -np.inf) for _ in range(3))
        before = Information.of(past.mean, past.covariance).at(i)
        astray = Information.of(past.mean, past.covariance + _STRAYING).at(i)
        straight[i, j] = np.log1p(-STRAYS_AFTERWARDS) + log_evidence(before, future.at(j))
        wide[i, j] = np.log(STRAYS_AFTERWARDS) + log_evidence(astray, future.at(j))
        anybody = log_evidence(Information.of(*unknown(1)), future) + np.log(
            2 * np.pi * ANYWHERE_M**2 * NEW_PER_M2
        )
        same = past.ids[:, None] == label
        gain = np.logaddexp(straight, wide) - anybody + STAYS_AFTERWARDS_LOG * same
        gain = np.where(near, gain, nobody)
        i, j = linear_sum_assignment(-np.maximum(gain, 0.0))
        right = gain[i, j] > 0
        i, j = i[right], j[right]
        if gain[i, j].sum() - np.maximum(gain[same], -MOST_AGAINST_LOG).sum() > LEAST_GAIN:
            found = np.zeros(len(label), np.int64)
            found[j] = past.ids[i]
            # Whoever is nobody of the past keeps their name, unless somebody else has it now.
            fresh = np.flatnonzero((found == 0) & np.isin(label, found))
            found = np.where(found == 0, label, found)
            found[fresh] = self._next + np.arange(len(fresh))
            self._next += len(fresh)
            label = found
        i, j = np.nonzero(past.ids[:, None] == label)
        return label, i[~(straight[i, j] > wide[i, j])]

    def _reassign(self) -> None:
        """Whose each look is, by all that is known before and after it."""
        ids, ahead, seen_next = self._futures()
        walkers = self._before
        for n, instant in enumerate(self._instants):
            there = walkers.after(instant.dt_s, instant.t_s)
            # Who will only be seen later may be seen here as well.
            to_come = np.setdiff1d(ids[seen_next[n, 0] - instant.t_s <= UNSEEN_S], there.ids)
            mean, covariance = unknown(len(to_come))
            known = Information.of(
                np.concatenate((there.mean, mean)), np.concatenate((there.covariance, covariance))
            )
            everybody = there.born(to_come, np.zeros((len(to_come), 2)), instant.t_s)
            row = _rows_of(ids, everybody.ids)
            later = ahead[n].at(row) if len(ids) else Information.none(len(row))
            later = Information(later.L * (row >= 0)[:, None, None], later.v * (row >= 0)[:, None])
            mean, covariance = Information(known.L + later.L, known.v + later.v).moments()
            places = Information.of(mean[:, :2], covariance[:, :2, :2])
            found = _Assigning(instant, everybody, places, np.zeros((len(everybody), len(instant.keys))))
            found.owner = _rows_of(everybody.ids, instant.walker)
            found.hidden = instant.hidden.copy()
            for _ in range(2):
                if not found.again():
                    break
            instant.hidden = found.hidden
            instant.walker = np.where(
                found.owner >= 0, everybody.ids[found.owner] if len(everybody) else 0, 0
            )
            walkers = self._passed(walkers, instant)
        self._walkers = walkers

    # ---- checkpoints -----------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "names": self._names,
            "walkers": [_walkers_state(walkers) for walkers in (self._walkers, self._before)],
            "instants": [
                [
                    instant.t_s,
                    instant.dt_s,
                    instant.shown.tolist(),
                    *_frame_state(Frame(instant.keys, instant.feet)),
                    instant.camera.tolist(),
                    instant.walker.tolist(),
                    instant.hidden.tobytes(),
                ]
                for instant in self._instants
            ],
            "waiting": [
                [camera_id, *_frame_state(frame)] for camera_id, frame in sorted(self._waiting.items())
            ],
            "times_s": np.array((self._begun_s, self._solved_s, self._again_s)).tobytes(),
            "heard_s": sorted(self._heard_s.items()),
            "origin_m": self._origin,
            "settled": [
                [msgspec.to_builtins(key), sorted(counts.items())]
                for key, counts in sorted(self._settled.items())
            ],
            "on": [[msgspec.to_builtins(key), walker] for key, walker in sorted(self._on.items())],
            "later": [
                [msgspec.to_builtins(key), msgspec.to_builtins(later)]
                for key, later in sorted(self._later.items())
            ],
            "next": self._next,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> FloorTracker:
        """Back from a checkpoint."""
        floor = cls()
        floor._names = [str(name) for name in state["names"]]
        floor._walkers, floor._before = (_walkers_of(plain) for plain in state["walkers"])
        for t_s, dt_s, shown, keys, feet, camera, walker, hidden in state["instants"]:
            frame = _frame_of(keys, feet)
            floor._instants.append(
                Instant(
                    float(t_s),
                    float(dt_s),
                    np.array(shown, np.intp),
                    frame.keys,
                    np.array(camera, np.intp),
                    frame.feet,
                    Looks.of(frame.feet),
                    np.array(walker, np.int64),
                    np.frombuffer(hidden).copy(),
                )
            )
        floor._waiting = {str(camera_id): _frame_of(keys, feet) for camera_id, keys, feet in state["waiting"]}
        floor._heard_s = {str(camera_id): float(t_s) for camera_id, t_s in state["heard_s"]}
        origin = state["origin_m"]
        floor._origin = None if origin is None else (float(origin[0]), float(origin[1]))
        floor._begun_s, floor._solved_s, floor._again_s = np.frombuffer(state["times_s"]).tolist()
        floor._settled = {
            msgspec.convert(key, TrackKey): {int(walker): int(count) for walker, count in counts}
            for key, counts in state["settled"]
        }
        # Of an older version: not known.
        floor._on = {msgspec.convert(key, TrackKey): int(walker) for key, walker in state.get("on", ())}
        floor._later = {
            msgspec.convert(key, TrackKey): msgspec.convert(later, TrackKey)
            for key, later in state.get("later", ())
        }
        floor._next = int(state["next"])
        return floor


class _Assigning:
    """Whose an instant's looks are, while that is worked out: rows of people, -1 nobody's."""

    def __init__(self, instant: Instant, walkers: Walkers, places: Information, more: F) -> None:
        """
        Args:
            places: (N,) of size 2, where they are, by all but this instant.
            more: (N, B) log-odds for each of them being each look's.
        """
        self._instant, self._places, self._more = instant, places, more
        self._hidden, self._found = walkers.hidden, walkers.log_odds_found()
        self._cameras = _by_camera(instant.camera)
        self.owner = np.full(len(instant.keys), -1)
        self.hidden = np.zeros(len(instant.keys))
        self.begun: list[int] = []  # looks with which people began

    def again(self) -> bool:
        """Camera by camera, by what the others say; whether anything has changed."""
        looks, camera, was = self._instant.looks, self._instant.camera, self.owner.copy()
        if not len(self._places.L):
            return False
        for own in self._cameras:
            n = int(camera[own[0]])
            others = np.flatnonzero((self.owner >= 0) & (camera != n))
            told = looks.at(others).told(self.hidden[others] > 0.5)
            mean, covariance = self._places.and_places(self.owner[others], told).moments()
            density, hidden = looks.at(own).log_density(mean, covariance, self._hidden[:, n, None])
            gain = density - np.log(NEW_PER_M2) + self._found[:, n, None] + self._more[:, own]
            i, j = linear_sum_assignment(-np.maximum(gain, 0.0))
            right = gain[i, j] > 0
            i, j = i[right], j[right]
            self.owner[own], self.hidden[own] = -1, 0.0
            self.owner[own[j]], self.hidden[own[j]] = i, hidden[i, j]
        return bool((self.owner != was).any())

    def stray(self, rows: NDArray[np.intp], places: Information) -> None:
        """Those in ``rows`` may be further off, with what that costs."""
        self._places = places
        self._more[rows] += np.log(STRAYS)

    def beget(self) -> None:
        """Looks that are nobody's are at people who were not there before; those nearest to a camera are most exact,
        and go first."""
        looks, camera = self._instant.looks, self._instant.camera
        free = np.flatnonzero(self.owner < 0)
        spread = np.trace(looks.covariance[free], axis1=1, axis2=2)
        for first in free[np.argsort(spread, kind="stable")].tolist():
            if self.owner[first] >= 0:
                continue
            row = len(self._places.L)
            self.begun.append(first)
            self.owner[first], self.hidden[first] = row, 0.0
            known = looks.seen.at(np.array([first]))
            for own in self._cameras:
                rest = own[self.owner[own] < 0]
                if camera[own[0]] == camera[first] or not len(rest):
                    continue
                density, hidden = looks.at(rest).log_density(*known.moments(), np.array([[HIDDEN]]))
                best = int(density[0].argmax())
                if density[0, best] > np.log(BORN_TOGETHER):
                    at = rest[[best]]
                    self.owner[at], self.hidden[at] = row, hidden[0, best]
                    known = known.and_places(np.zeros(1, np.intp), looks.at(at).told(self.hidden[at] > 0.5))
            here = np.eye(2)[None] / BORN_M**2
            self._places = Information(
                np.concatenate((self._places.L, here)),
                np.concatenate((self._places.v, looks.place[[first]] / BORN_M**2)),
            )
            cameras = self._hidden.shape[1]
            log_odds = np.log(FOUND_ANEW / (1 - FOUND_ANEW))
            self._hidden = np.concatenate((self._hidden, np.full((1, cameras), HIDDEN)))
            self._found = np.concatenate((self._found, np.full((1, cameras), log_odds)))
            self._more = np.concatenate((self._more, np.zeros((1, len(self.owner)))))


def _by_camera(camera: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Rows of each camera's looks."""
    return [np.flatnonzero(camera == n) for n in np.unique(camera)]


def _rows_of(ids: Whole, walkers: Whole) -> NDArray[np.intp]:
    """(B,) the row of each of B walkers among ``ids`` (N,); -1 where it is not there."""
    if not len(ids):
        return np.full(len(walkers), -1)
    order = np.argsort(ids)
    at = order[np.minimum(np.searchsorted(ids, walkers, sorter=order), len(ids) - 1)]
    return np.where(ids[at] == walkers, at, -1)


def _with(known: Information, row: NDArray[np.intp], instant: Instant) -> Information:
    """With what an instant tells of the people in these rows (B,)."""
    at = np.flatnonzero(row >= 0)
    return known.and_places(row[at], instant.looks.at(at).told(instant.hidden[at] > 0.5))


def _count(
    instant: Instant, counts: dict[TrackKey, dict[int, int]], asked: set[TrackKey] | None = None
) -> None:
    """Add whom every tracklet, or those asked for, is on."""
    for key, walker in zip(instant.keys, instant.walker.tolist(), strict=True):
        if walker and key != NOBODY and (asked is None or key in asked):
            own = counts.setdefault(key, {})
            own[walker] = own.get(walker, 0) + 1


def _walkers_state(walkers: Walkers) -> list[Any]:
    return [len(walkers), walkers.hidden.shape[1], *(column.tobytes() for column in walkers.columns())]


def _walkers_of(plain: Sequence[Any]) -> Walkers:
    n, cameras, ids, *columns = plain
    shapes = (n, 4), (n, 4, 4), (n,), (n, cameras), (n, cameras)
    found = [np.frombuffer(column).reshape(shape) for column, shape in zip(columns, shapes, strict=True)]
    return Walkers(np.frombuffer(ids, np.int64), *found)


def _frame_state(frame: Frame) -> list[Any]:
    return [[msgspec.to_builtins(key) for key in frame.keys], np.array(frame.feet).tobytes()]


def _frame_of(keys: Sequence[Any], feet: bytes) -> Frame:
    columns = np.frombuffer(feet).reshape(len(Feet._fields), len(keys))
    return Frame([msgspec.convert(key, TrackKey) for key in keys], Feet(*columns.copy()))
