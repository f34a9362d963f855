"""Who is seen beside whom: two in one camera's frame, or two that two cameras see at one instant.

Sums over pairs of tracklets, kept as dense matrices with a row for each tracklet, so that a frame with n people costs a
few operations on arrays and a revision reads what it needs at once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.core.beside import UNKNOWN_S, TimesBeside
from tracker.core.boxes import covered
from tracker.core.feet import (
    ALONE_M,
    MAX_LOOK_AGAINST_LLR,
    UNHEARD,
    Feet,
    FootErrors,
    alone,
    could_be_one,
    distances_m2,
    look_llr,
)
from tracker.core.floor_tracker import FloorTracker
from tracker.types import TrackKey

F = NDArray[np.float64]

SAME_PERSON_COVER = 0.8  # two boxes of one camera, one this far inside the other, may be one person twice
ONE_BODY_SHARE = 0.8  # of the frames that show both: it is one person twice
APART_S = 0.35  # seen at once by one camera for longer than this: two people
FRAME_S = 0.6  # a frame stands for the time since the one before, at most this
LOOK_EVERY_S = 0.2  # places are compared this often; nearer instants err alike
AT_ONCE_S = 0.2  # two cameras' frames this close in time show one instant
FIRST_ROWS = 64
# Seconds, frames, one inside the other; looks and their evidence by the row's frames; sights; hidden feet: own, both.
SUMS = 8
_FIRST = np.array((0, 0, 0, 0, 0, 0, UNHEARD[0], UNHEARD[2]), np.float32)


Note = tuple[TrackKey, TrackKey, float]  # two tracklets, and a log-likelihood ratio


class Beside(NamedTuple):
    """Of N tracklets, each beside each."""

    seconds: F  # (N, N) seen at once by one camera
    is_one_body: NDArray[np.bool_]  # (N, N) two boxes on one person
    looks: F  # (N, N) instants at which two cameras knew both their places
    place: F  # (N, N) mean log-likelihood ratio of one such instant
    sights: F  # (N, N) what was noted of where in two pictures they were


class Company:
    """Remembers every pair of the tracklets that it was told of."""

    def __init__(self) -> None:
        self._row: dict[TrackKey, int] = {}
        self._free: list[int] = []
        self._sums = _nothing(FIRST_ROWS)  # as in `Beside`, with frames
        self._two = np.zeros((FIRST_ROWS, FIRST_ROWS), bool)  # who certainly is
        self._seen_s = np.full(FIRST_ROWS, np.nan)  # when a place was known last
        self._compared_s = np.full(FIRST_ROWS, np.nan)
        self._feet = np.zeros((len(Feet._fields), FIRST_ROWS))
        self._camera = np.full(FIRST_ROWS, -1)
        self._cameras: dict[str, int] = {}
        self._seen_ns: dict[str, int] = {}  # last frame of each camera
        self.foot_errors = FootErrors()
        self.floor: FloorTracker | None = FloorTracker()  # None: looks tell people apart
        self._met = TimesBeside(FIRST_ROWS)  # tracklets may be cut

    def leave_floor(self) -> None:
        """Looks tell people apart from now on."""
        self.floor = None

    def add(self, key: TrackKey) -> None:
        """A new tracklet."""
        if key in self._row:
            return
        if not self._free:
            rows = len(self._camera)
            if len(self._row) == rows:
                self._grow(2 * rows)
            self._free = sorted(set(range(len(self._camera))) - set(self._row.values()), reverse=True)
        self._row[key] = row = self._free.pop()
        self._camera[row] = self._cameras.setdefault(key.camera_id, len(self._cameras))

    def row_of(self, key: TrackKey) -> int:
        """The row in which a tracklet is kept until it is forgotten. Raises KeyError."""
        return self._row[key]

    def forget(self, key: TrackKey, *, stays_on_floor: bool = False) -> None:
        """A tracklet that is dropped; what it saw on the floor may stay as anybody's."""
        row = self._row.pop(key, None)
        if row is not None:
            self._sums[:, row] = self._sums[:, :, row] = _FIRST[:, None]
            self._two[row], self._two[:, row] = False, False
            self._met.forget(row)
            self._seen_s[row] = self._compared_s[row] = np.nan
            self._camera[row] = -1
            self._feet[:, row] = 0.0
            self._free.append(row)
            if self.floor is not None:
                (self.floor.give_up if stays_on_floor else self.floor.forget)(key)

    def join(self, key: TrackKey, earlier: TrackKey) -> None:
        """An earlier tracklet becomes part of another: whoever was beside it was beside that one."""
        i, j = self._row[key], self._row[earlier]
        unheard = self._sums[3, i] + self._sums[3, :, i] == 0
        self._sums[:5, i] += self._sums[:5, j]
        self._sums[:5, :, i] += self._sums[:5, :, j]
        for n in (6, 7):  # what was noted of sights is of the later one alone
            self._sums[n, i, unheard] = self._sums[n, j, unheard]
            self._sums[n, unheard, i] = self._sums[n, unheard, j]
        self._sums[:, i, i] = _FIRST
        self._two[i] |= self._two[j]
        self._two[:, i] |= self._two[:, j]
        self._two[i, i] = False
        self._met.join(i, j)
        if self.floor is not None:
            self.floor.join(key, earlier)
        self.forget(earlier, stays_on_floor=True)

    def cut(self, key: TrackKey, later: TrackKey) -> None:
        """A tracklet is another one from ``later.since_ns`` on; each of the two is beside whomever it was seen with.

        What was heard of where it stood stays with the earlier one.
        """
        self.add(later)
        i, j = self._row[key], self._row[later]
        frame_s, seconds = self._frame_s(i), self._sums[0, i].astype(float)
        two = self._two[i].copy()
        sums = self._sums[:3, i].copy()
        for row, spent_s in zip((i, j), self._met.cut(i, j, later.since_ns / 1e9), strict=True):
            # For less than is needed to be two, on this side of the cut: somebody else took over in between.
            own_s = np.where(spent_s >= 0, np.minimum(spent_s + frame_s, seconds), 0.0)
            self._sums[:3, row] = self._sums[:3, :, row] = sums * (own_s / np.maximum(seconds, 1e-9))
            self._two[row] = self._two[:, row] = two & (own_s > APART_S)
        self._sums[:3, i, j] = self._sums[:3, j, i] = 0  # one after the other, never beside
        self._sums[:, i, i] = self._sums[:, j, j] = _FIRST
        for now in (self._seen_s, self._compared_s):
            now[j], now[i] = now[i], np.nan
        self._feet[:, j] = self._feet[:, i]

    def beside_until(
        self, row: int, others: NDArray[np.intp], until_s: F
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(K, R) who of those in R rows certainly is not who a tracklet was until each of K times, and (K, R) who is
        not who it was after that."""
        until_s = until_s[:, None]
        two, frame_s = self._two[row, others], self._frame_s(row)[others]
        first, last = self._met.of(row, others)
        before = np.where(first <= until_s, np.minimum(last, until_s) - first + frame_s, 0.0)
        after = np.where(last > until_s, last - np.maximum(first, until_s) + frame_s, 0.0)
        return two & (before > APART_S), two & (after > APART_S)

    def take_back(self, key: TrackKey, until_ns: int) -> None:
        """A camera had somebody else for a tracklet after that: beside whom it was since, it was not."""
        i = self._row[key]
        frame_s, seconds = self._frame_s(i), self._sums[0, i].astype(float)
        changed, spent_s = self._met.take_back(i, until_ns / 1e9)
        own_s = np.where(spent_s >= 0, np.minimum(spent_s + frame_s, seconds), 0.0)
        share = np.where(changed, own_s / np.maximum(seconds, 1e-9), 1.0)
        self._sums[:3, i] = self._sums[:3, :, i] = self._sums[:3, i] * share
        self._two[i] = self._two[:, i] = self._two[i] & ~(changed & (own_s <= APART_S))

    def _frame_s(self, row: int) -> F:
        """(R,) for how long a frame stood, of those that showed a row and each other one."""
        seconds, frames = self._sums[:2, row].astype(float)
        return np.asarray(seconds / np.maximum(frames, 1))

    def part(self, a: TrackKey, b: TrackKey) -> None:
        """These two were seen at once before."""
        rows = np.array([self._row[a], self._row[b]])
        for pair in (rows, rows[::-1]):
            self._sums[:3, pair[0], pair[1]] = 2 * APART_S, 1, 0
            self._two[pair[0], pair[1]] = True
        self._met.part(*rows.tolist())

    def watch(
        self,
        camera_id: str,
        t_ns: int,
        keys: Sequence[TrackKey],
        boxes: NDArray[np.floating],
        floor_xy_m: NDArray[np.floating],
        sigma_m: NDArray[np.floating],
        near_xy_m: NDArray[np.floating] | None = None,
    ) -> None:
        """One frame of one camera.

        Args:
            keys: of N tracklets that are seen; those never added are passed over.
            boxes: (N, 4).
            floor_xy_m, sigma_m: (N, 2) and (N,) their places on the floor, NaN where unknown.
            near_xy_m: (N, 2) where they are if their legs are hidden.
        """
        frame_s = min((t_ns - self._seen_ns.get(camera_id, t_ns)) / 1e9, FRAME_S)
        self._seen_ns[camera_id] = t_ns
        told = [n for n, key in enumerate(keys) if key in self._row]
        if not told:
            if self.floor is not None and self.floor.has_heard(camera_id):
                self.floor.watch(camera_id, t_ns / 1e9, [], Feet(*self._feet[:, :0]))
            return
        rows = np.array([self._row[keys[n]] for n in told])
        if len(told) > 1:
            inside = covered(boxes[told], boxes[told])
            within = np.maximum(inside, inside.T) > SAME_PERSON_COVER
            self._see_at_once(rows, frame_s, within)
            self._met.see(rows, t_ns / 1e9)
        known = np.isfinite(floor_xy_m[told]).all(axis=1) & np.isfinite(sigma_m[told])
        if not known.any():
            return
        rows, shown = rows[known], np.array(told)[known]
        near = np.full((len(rows), 2), np.nan) if near_xy_m is None else near_xy_m[shown]
        scale = self.foot_errors.scale([camera_id])
        self._feet[:, rows] = Feet.of(
            floor_xy_m[shown].astype(float), sigma_m[shown].astype(float), near.astype(float), scale
        )
        t_s = t_ns / 1e9
        if self.floor is not None:
            self.floor.watch(camera_id, t_s, [keys[n] for n in shown.tolist()], Feet(*self._feet[:, rows]))
        self._seen_s[rows] = t_s
        since_s = t_s - self._compared_s[rows]
        due = ~(since_s < LOOK_EVERY_S - 1e-6)
        if due.any():
            self._compared_s[rows[due]] = t_s
            self._compare(camera_id, rows[due], t_s, np.where(np.isnan(since_s), np.inf, since_s)[due])

    def _see_at_once(self, rows: NDArray[np.intp], frame_s: float, within: NDArray[np.bool_]) -> None:
        """One frame that shows all of these."""
        pairs = (rows[:, None] * len(self._camera) + rows).ravel()
        sums = self._sums.reshape(SUMS, -1)
        seconds, frames, as_one = told = sums[:3].take(pairs, axis=1)
        seconds += frame_s
        frames += 1.0
        as_one += within.ravel()
        sums[:3, pairs] = told
        self._two.reshape(-1)[pairs] = (seconds > APART_S) & ~_one_body(frames, as_one)
        self._two[rows, rows] = False

    def _compare(self, camera_id: str, rows: NDArray[np.intp], t_s: float, since_s: F) -> None:
        others = np.flatnonzero(
            (np.abs(self._seen_s - t_s) <= AT_ONCE_S) & (self._camera != self._cameras[camera_id])
        )
        if not len(others):
            return
        met = np.zeros(len(self._camera), np.float32)
        met[others] = 1.0
        self._sums[3, rows] += met
        self._sums[4, rows] -= MAX_LOOK_AGAINST_LLR * met
        own, theirs = Feet(*self._feet[:, rows]), Feet(*self._feet[:, others])
        off_m2 = distances_m2(own, theirs)
        near = could_be_one(own, theirs, off_m2)
        mine, other = np.nonzero(near)
        if not len(mine):
            return
        one, another = alone((off_m2 < ALONE_M**2) & near.any(axis=0), self._camera[others])
        if len(one):
            names = list(self._cameras)
            other_ids = [names[n] for n in self._camera[others[another]].tolist()]
            self.foot_errors.learn(camera_id, self._looks(rows[one], others[another]), other_ids)
        i, j = rows[mine], others[other]
        sums = self._sums.reshape(SUMS, -1)
        there, back = i * len(self._camera) + j, j * len(self._camera) + i
        hidden = np.array((sums[6].take(there), sums[6].take(back), sums[7].take(there)), float)
        ratio, now = look_llr(self._looks(i, j), hidden, since_s[mine])
        sums[4, there] += ratio + MAX_LOOK_AGAINST_LLR
        sums[6, there], sums[6, back] = now[:2]
        sums[7, there] = sums[7, back] = now[2]

    def _looks(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> Feet:
        """(2, K) of pairs."""
        return Feet(*self._feet[:, np.array((i, j))])

    def beside(self, keys: Sequence[TrackKey], of: int | None = None) -> Beside:
        """Each of N tracklets beside each, or the first ``of`` beside all."""
        rows = np.array([self._row[k] for k in keys], np.intp)
        return self.beside_of(rows[:of], rows)

    def beside_of(self, some: NDArray[np.intp], rows: NDArray[np.intp]) -> Beside:
        """As `beside`: of tracklets kept in (R,) rows, beside those in (N,) rows."""
        sums = self._sums[:6].take(some, axis=1).take(rows, axis=2)
        back = (
            self._sums[3:5].take(some, axis=2).take(rows, axis=1).transpose(0, 2, 1)
        )  # by the other's frames
        seconds, frames, as_one, looks, place, sights = sums.astype(float)
        looks, place = looks + back[0], place + back[1]
        return Beside(seconds, _one_body(frames, as_one), looks, place / np.maximum(looks, 1), sights)

    def are_two(self, keys: Sequence[TrackKey]) -> NDArray[np.bool_]:
        """(N, N) which of N tracklets are certainly two people."""
        return self.are_two_of(np.array([self._row[k] for k in keys], np.intp))

    def are_two_of(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """As `are_two`, of tracklets kept in (N,) rows."""
        return self._two.take(rows, axis=0).take(rows, axis=1)

    def others_than(self, key: TrackKey) -> NDArray[np.intp]:
        """Rows of the tracklets that are certainly somebody else."""
        return np.flatnonzero(self._two[self._row[key]])

    def still(self, rows: NDArray[np.intp]) -> Company:
        """Of tracklets in (N,) rows who was beside whom as it is now, in rows 0 to N - 1.

        It is to be asked `beside_of` and `are_two_of`; it knows no keys and watches no more.
        """
        one, n = copy.copy(self), len(rows)
        pairs = (rows[:, None] * len(self._camera) + rows).ravel()
        one._row, one._two = {}, self.are_two_of(rows)
        one._sums = self._sums.reshape(SUMS, -1)[:6].take(pairs, axis=1).reshape(6, n, n)
        one.foot_errors = FootErrors(self.foot_errors.log_scales)
        one.leave_floor()
        return one

    def note_sights(self, notes: Iterable[Note]) -> None:
        """What speaks for one person in where two tracklets are in two pictures; it holds until noted anew."""
        for a, b, llr in notes:
            if a in self._row and b in self._row:
                i, j = self._row[a], self._row[b]
                self._sums[5, i, j] = self._sums[5, j, i] = llr

    def seconds(self, a: TrackKey, b: TrackKey) -> float:
        """For how long one camera saw both."""
        return float(self._sums[0, self._row[a], self._row[b]])

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        keys = sorted(self._row)
        rows = np.array([self._row[k] for k in keys], np.intp)
        return {
            "keys": [msgspec.to_builtins(k) for k in keys],
            "sums": [
                [int(i), int(j), *self._sums[:, rows[i], rows[j]].tolist()]
                for i, j in np.argwhere(
                    (self._sums[:, rows[:, None], rows] != _FIRST[:, None, None]).any(axis=0)
                )
            ],
            # Not all that are stand in the sums: who was joined keeps whom it was seen beside.
            "two": np.argwhere(np.triu(self._two[np.ix_(rows, rows)])).tolist(),
            "met_s": self._met.to_state(rows),
            "feet": self._places()[rows].tobytes(),
            "seen_ns": self._seen_ns,
            "foot_errors": self.foot_errors.log_scales,
            "floor": None if self.floor is None else self.floor.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Company:
        """Back from a checkpoint."""
        company = cls()
        rows = []
        places = np.frombuffer(state["feet"]).reshape(len(state["keys"]), company._places().shape[1])
        for plain in state["keys"]:
            key = msgspec.convert(plain, TrackKey)
            company.add(key)
            rows.append(company._row[key])
        company._take_places(rows, places)
        for i, j, *sums in state["sums"]:
            company._sums[:, rows[i], rows[j]] = sums
        for i, j in state["two"]:
            company._two[rows[i], rows[j]] = company._two[rows[j], rows[i]] = True
        company.foot_errors = FootErrors(
            {name: (along, across) for name, (along, across) in state["foot_errors"].items()}
        )
        floor = state.get("floor", {})  # of an older version: begun anew
        if floor is None:
            company.leave_floor()
        else:
            company.floor = FloorTracker.from_state(floor) if floor else FloorTracker()
        at_some_time = [[*pair, *UNKNOWN_S] for pair in state["two"]]  # an older version did not know when
        company._met.take_state(rows, state.get("met_s") or at_some_time)
        company._seen_ns = {str(name): int(t_ns) for name, t_ns in state["seen_ns"].items()}
        return company

    def _places(self) -> F:
        """(R, 9) when and where every row was seen last, and when it was compared."""
        return np.column_stack((self._seen_s, self._compared_s, *self._feet))

    def _take_places(self, rows: Sequence[int] | slice, places: F) -> None:
        self._seen_s[rows], self._compared_s[rows], self._feet[:, rows] = (
            places[:, 0],
            places[:, 1],
            places[:, 2:].T,
        )

    def _grow(self, rows: int) -> None:
        old = len(self._camera)
        sums, two, camera = _nothing(rows), np.zeros((rows, rows), bool), np.full(rows, -1)
        sums[:, :old, :old], two[:old, :old], camera[:old] = self._sums, self._two, self._camera
        self._met.grow(rows)
        places = self._places()
        self._seen_s, self._compared_s = np.full((2, rows), np.nan)
        self._feet = np.zeros((len(self._feet), rows))
        self._take_places(slice(old), places)
        self._sums, self._two, self._camera = sums, two, camera


def _nothing(rows: int) -> NDArray[np.float32]:
    """(SUMS, R, R) of pairs that were never seen at once."""
    return np.tile(_FIRST[:, None, None], (1, rows, rows))


def _one_body(frames: NDArray[np.floating], as_one: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which pairs, of so many frames and so many with one box inside the other, are one person twice."""
    return np.asarray((frames > 0) & (as_one >= ONE_BODY_SHARE * frames))
