"""Who is seen beside whom: two in one camera's frame, or two that two cameras see at one instant.

Sums over pairs of tracklets, kept as dense matrices with a row for each tracklet, so that a frame with n people costs a
few operations on arrays and a revision reads what it needs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.core.boxes import covered
from tracker.core.feet import MAX_LOOK_AGAINST_LLR, UNHEARD, Feet, FootErrors, look_llr, out_of_sight
from tracker.types import TrackKey

F = NDArray[np.float64]

SAME_PERSON_COVER = 0.8  # two boxes of one camera, one this far inside the other, may be one person twice
ONE_BODY_SHARE = 0.8  # of the frames that show both: it is one person twice
APART_S = 0.35  # seen at once by one camera for longer than this: two people
FRAME_S = 0.6  # a frame stands for the time since the one before, at most this
LOOK_EVERY_S = 0.2  # places are compared this often; nearer instants err alike
AT_ONCE_S = 0.2  # two cameras' frames this close in time show one instant
FIRST_ROWS = 64
SUMS = 9  # seconds, frames, one inside the other; looks, their evidence, sights; hidden feet: own, the other's, both


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
        self._sums = np.zeros((SUMS, FIRST_ROWS, FIRST_ROWS), np.float32)  # as in `Beside`, with frames
        self._two = np.zeros((FIRST_ROWS, FIRST_ROWS), bool)  # who certainly is
        self._where = np.full((FIRST_ROWS, 7), np.nan)  # t_s, x_m, y_m, sigma_m, compared, nearest
        self._camera = np.full(FIRST_ROWS, -1)
        self._cameras: dict[str, int] = {}
        self._seen_ns: dict[str, int] = {}  # last frame of each camera
        self.foot_errors = FootErrors()

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

    def forget(self, key: TrackKey) -> None:
        """A tracklet that is dropped."""
        row = self._row.pop(key, None)
        if row is not None:
            self._sums[:, row], self._sums[:, :, row] = 0.0, 0.0
            self._two[row], self._two[:, row] = False, False
            self._where[row], self._camera[row] = np.nan, -1
            self._free.append(row)

    def join(self, key: TrackKey, earlier: TrackKey) -> None:
        """An earlier tracklet becomes part of another: whoever was beside it was beside that one."""
        i, j = self._row[key], self._row[earlier]
        unheard = self._sums[3, i] == 0
        for n in range(SUMS):
            if n < 5:
                self._sums[n, i] += self._sums[n, j]
                self._sums[n, :, i] += self._sums[n, :, j]
            elif n > 5:  # what was noted of sights is of the later one alone
                self._sums[n, i, unheard] = self._sums[n, j, unheard]
                self._sums[n, unheard, i] = self._sums[n, unheard, j]
        self._sums[:, i, i] = 0.0
        self._two[i] |= self._two[j]
        self._two[:, i] |= self._two[:, j]
        self._two[i, i] = False
        self.forget(earlier)

    def part(self, a: TrackKey, b: TrackKey) -> None:
        """These two were seen at once before."""
        rows = np.array([self._row[a], self._row[b]])
        for pair in (rows, rows[::-1]):
            self._sums[:3, pair[0], pair[1]] = 2 * APART_S, 1, 0
        self._tell_two(rows)

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
            return
        rows = np.array([self._row[keys[n]] for n in told])
        if len(told) > 1:
            inside = covered(boxes[told], boxes[told])
            here = np.ix_(rows, rows)
            self._sums[0][here] += np.float32(frame_s)
            self._sums[1][here] += 1
            self._sums[2][here] += np.maximum(inside, inside.T) > SAME_PERSON_COVER
            self._tell_two(rows)
        known = np.isfinite(floor_xy_m[told]).all(axis=1) & np.isfinite(sigma_m[told])
        rows = rows[known]
        t_s = t_ns / 1e9
        self._where[rows, 0] = t_s
        self._where[rows, 1:3] = floor_xy_m[told][known]
        self._where[rows, 3] = sigma_m[told][known]
        self._where[rows, 5:] = np.nan if near_xy_m is None else near_xy_m[told][known]
        last_s = self._where[rows, 4]
        due = rows[~(t_s - last_s < LOOK_EVERY_S - 1e-6)]
        if len(due):
            self._where[due, 4] = t_s
            self._compare(due, t_s, np.nan_to_num(t_s - last_s[np.isin(rows, due)], nan=np.inf))

    def _tell_two(self, rows: NDArray[np.intp]) -> None:
        here = np.ix_(rows, rows)
        seconds, frames, as_one = (self._sums[n][here] for n in range(3))
        self._two[here] = (seconds > APART_S) & ~_one_body(frames, as_one)
        self._two[rows, rows] = False

    def _compare(self, rows: NDArray[np.intp], t_s: float, since_s: F) -> None:
        others = np.flatnonzero(
            (np.abs(self._where[:, 0] - t_s) <= AT_ONCE_S) & (self._camera != self._camera[rows[0]])
        )
        if not len(others):
            return
        own, theirs = self._feet(rows), self._feet(others)
        names = np.array(list(self._cameras))
        self.foot_errors.learn(str(names[self._camera[rows[0]]]), own, theirs, names[self._camera[others]])
        here, there = np.ix_(rows, others), np.ix_(others, rows)
        unheard = self._sums[3][here] == 0
        hidden = [np.where(unheard, first, self._sums[6 + k][here]) for k, first in enumerate(UNHEARD)]
        now = np.array(hidden)
        ratio = np.full(now.shape[1:], -MAX_LOOK_AGAINST_LLR)
        i, j = np.nonzero(~out_of_sight(own.at(np.s_[:, None]), theirs.at(None)))
        if len(i):
            ratio[i, j], now[:, i, j] = look_llr(own.at(i), theirs.at(j), now[:, i, j], since_s[i])
        self._sums[3][here] += 1.0
        self._sums[4][here] += ratio
        for n in (3, 4):
            self._sums[n][there] = self._sums[n][here].T
        for n, to_me, to_other in ((6, 0, 1), (7, 1, 0), (8, 2, 2)):
            self._sums[n][here], self._sums[n][there] = now[to_me], now[to_other].T

    def _feet(self, rows: NDArray[np.intp]) -> Feet:
        where = self._where[rows]
        scale = self.foot_errors.scale(list(self._cameras))[self._camera[rows]]
        return Feet.of(where[:, 1:3], where[:, 3], where[:, 5:], scale)

    def beside(self, keys: Sequence[TrackKey], of: int | None = None) -> Beside:
        """Each of N tracklets beside each, or the first ``of`` beside all."""
        rows = np.array([self._row[k] for k in keys], np.intp)
        seconds, frames, as_one, looks, place, sights = self._sums[:6, rows[:of, None], rows].astype(
            np.float64
        )
        return Beside(seconds, _one_body(frames, as_one), looks, place / np.maximum(looks, 1), sights)

    def are_two(self, keys: Sequence[TrackKey]) -> NDArray[np.bool_]:
        """(N, N) which of N tracklets are certainly two people."""
        rows = np.array([self._row[k] for k in keys], np.intp)
        return self._two[rows[:, None], rows]

    def note_sights(self, a: TrackKey, b: TrackKey, llr: float) -> None:
        """What speaks for one person in where two tracklets are in two pictures; it holds until noted anew."""
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
                for i, j in np.argwhere(self._sums[:, rows[:, None], rows].any(axis=0))
            ],
            "where": [[None if np.isnan(v) else v for v in self._where[row].tolist()] for row in rows],
            "seen_ns": self._seen_ns,
            "foot_errors": self.foot_errors.log_scales,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Company:
        """Back from a checkpoint."""
        company = cls()
        rows = []
        for plain, where in zip(state["keys"], state["where"], strict=True):
            key = msgspec.convert(plain, TrackKey)
            company.add(key)
            rows.append(company._row[key])
            company._where[rows[-1]] = [np.nan if v is None else v for v in where]
        for i, j, *sums in state["sums"]:
            company._sums[:, rows[i], rows[j]] = sums
        company._tell_two(np.array(rows, np.intp))
        company.foot_errors = FootErrors(
            {name: (along, across) for name, (along, across) in state["foot_errors"].items()}
        )
        company._seen_ns = {str(name): int(t_ns) for name, t_ns in state["seen_ns"].items()}
        return company

    def _grow(self, rows: int) -> None:
        old = len(self._camera)
        sums = np.zeros((SUMS, rows, rows), np.float32)
        sums[:, :old, :old] = self._sums
        two = np.zeros((rows, rows), bool)
        two[:old, :old] = self._two
        where, camera = np.full((rows, 7), np.nan), np.full(rows, -1)
        where[:old], camera[:old] = self._where, self._camera
        self._sums, self._two, self._where, self._camera = sums, two, where, camera


def _one_body(frames: NDArray[np.floating], as_one: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which pairs, of so many frames and so many with one box inside the other, are one person twice."""
    return np.asarray((frames > 0) & (as_one >= ONE_BODY_SHARE * frames))
