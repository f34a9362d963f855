"""Constant-velocity Kalman filters over elapsed seconds, one per track, all in one batch.

Centre x, centre y, width and height move independently of each other, each with a position and a velocity, so that a
track's covariance is four 2 x 2 blocks and every step has a closed form (Bar-Shalom, Li & Kirubarajan, *Estimation
with Applications to Tracking and Navigation*, 2001: section 6.2.2, white-noise acceleration). All standard deviations
are shares of the box height, as people near the camera move by more pixels than far ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.warp import move_points
from tracker.core.boxes import center_form, corner_form

F = NDArray[np.float64]

UNKNOWN_SIGMA_M = 1e3  # of who is nowhere: no place speaks for or against it


@dataclass(frozen=True)
class MotionModel:
    """How people and detectors behave; every sigma is a share of the box height."""

    accel_sigma: tuple[float, float, float, float] = (0.8, 0.35, 0.25, 0.25)  # per s^1.5, of cx, cy, w, h
    measure_sigma: tuple[float, float, float, float] = (0.04, 0.04, 0.06, 0.06)
    start_speed_sigma: tuple[float, float, float, float] = (
        0.8,
        0.4,
        0.1,
        0.1,
    )  # per s, before anything is known
    velocity_fade_s: float = 1.5  # an unseen target's velocity halves over this time: people stop and turn
    flow_sigma: float = 0.03  # how far a displacement read from optical flow is off


@dataclass(frozen=True)
class FloorModel:
    """How people walk on the floor, the same in every direction."""

    accel_sigma_m: float = (
        0.25  # per s^1.5: between walkers who cross a square (0.18) and who turn in a room (0.26)
    )
    start_speed_sigma_m_s: float = 1.0  # before anything is known
    least_sigma_m: float = 0.05  # nobody's foot is known better


class FloorBatch:
    """Where N tracks of one camera stand on the floor; NaN where a foot was never on it. Row n is track n's."""

    def __init__(self, model: FloorModel | None = None) -> None:
        self.model = model or FloorModel()
        self.mean = np.zeros((0, 2))  # metres
        self.speed = np.zeros((0, 2))  # per second
        self.p = np.zeros(0)  # variance of mean, covariance of mean and speed, variance of speed
        self.c = np.zeros(0)
        self.v = np.zeros(0)

    def __len__(self) -> int:
        return len(self.mean)

    def start(self, places_m: F, sigmas_m: F) -> None:
        """Append filters at rest for places (K, 2), NaN where unknown, with their uncertainty (K,)."""
        rest = np.full(len(places_m), self.model.start_speed_sigma_m_s**2)
        rows = (places_m, np.zeros_like(places_m), self._variance(sigmas_m), np.zeros(len(places_m)), rest)
        self._set(np.concatenate((old, new)) for old, new in zip(self._columns(), rows, strict=True))

    def copy(self, row: int) -> None:
        """Append a filter like the one of ``row``."""
        self._set(np.concatenate((column, column[row : row + 1])) for column in self._columns())

    def put(self, row: int, other: FloorBatch) -> None:
        """Replace the filter of ``row`` by the first one of ``other``."""
        for column, new in zip(self._columns(), other._columns(), strict=True):
            column[row] = new[0]

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Drop the filters whose mask is False."""
        self._set(column[mask] for column in self._columns())

    def predict(self, dt_s: float) -> None:
        """Move every filter on by ``dt_s`` seconds."""
        if dt_s <= 0:
            return
        q = self.model.accel_sigma_m**2
        self.mean = self.mean + self.speed * dt_s
        self.p = self.p + 2 * dt_s * self.c + dt_s**2 * self.v + q * dt_s**3 / 3
        self.c = self.c + dt_s * self.v + q * dt_s**2 / 2
        self.v = self.v + q * dt_s

    def log_density(self, places_m: F, sigmas_m: F) -> tuple[F, F]:
        """(N, M) natural logarithm of how densely N people are expected at M places, per square metre; and d^2.

        Both are NaN where a place or a filter's is unknown. d^2 is the squared Mahalanobis distance, chi^2 with 2
        degrees.
        """
        s = self.p[:, None] + self._variance(sigmas_m)[None, :]
        d2 = ((self.mean[:, None] - places_m[None]) ** 2).sum(axis=2) / s
        return np.asarray(-d2 / 2 - np.log(2 * np.pi * s)), np.asarray(d2)

    def correct(self, rows: NDArray[np.intp], places_m: F, sigmas_m: F) -> None:
        """Take in places (K, 2) of the filters ``rows`` (K,): who was nowhere starts there; NaN changes nothing."""
        known = np.isfinite(places_m).all(axis=1)
        rows, places_m, r = rows[known], places_m[known], self._variance(sigmas_m[known])
        new = np.asarray(np.isnan(self.mean[rows]).any(axis=1))
        p, c, v = self.p[rows], self.c[rows], self.v[rows]
        Kp, Kv = p / (p + r), c / (p + r)
        off = np.where(new[:, None], 0.0, places_m - self.mean[rows])
        self.mean[rows] = np.where(new[:, None], places_m, self.mean[rows] + Kp[:, None] * off)
        self.speed[rows] = np.where(new[:, None], 0.0, self.speed[rows] + Kv[:, None] * off)
        self.p[rows] = np.where(new, r, (1 - Kp) * p)
        self.c[rows] = np.where(new, 0.0, (1 - Kp) * c)
        self.v[rows] = np.where(new, self.model.start_speed_sigma_m_s**2, v - Kv * c)

    def _variance(self, sigmas_m: F) -> F:
        return np.maximum(np.nan_to_num(sigmas_m, nan=UNKNOWN_SIGMA_M), self.model.least_sigma_m) ** 2

    def _columns(self) -> tuple[F, F, F, F, F]:
        return self.mean, self.speed, self.p, self.c, self.v

    def _set(self, columns: Iterable[F]) -> None:
        self.mean, self.speed, self.p, self.c, self.v = columns


class MotionBatch:
    """The filters of N tracks of one camera. Row n belongs to track n of the owner's list."""

    def __init__(self, model: MotionModel | None = None) -> None:
        self.model = model or MotionModel()
        self.mean = np.zeros((0, 4))  # cx, cy, w, h in pixels
        self.speed = np.zeros((0, 4))  # per second
        self.p = np.zeros((0, 4))  # variance of mean
        self.c = np.zeros((0, 4))  # covariance of mean and speed
        self.v = np.zeros((0, 4))  # variance of speed

    def __len__(self) -> int:
        return len(self.mean)

    def boxes(self) -> F:
        """(N, 4) x1, y1, x2, y2 as estimated now."""
        return corner_form(self.mean)

    def start(self, boxes: NDArray[np.floating]) -> None:
        """Append filters at rest for boxes (K, 4)."""
        z = center_form(boxes)
        h = np.maximum(z[:, 3:], 1.0)
        m = self.model
        rows = (z, np.zeros_like(z), (np.array(m.measure_sigma) * h) ** 2, np.zeros_like(z),
                (np.array(m.start_speed_sigma) * h) ** 2)  # fmt: skip
        self.mean, self.speed, self.p, self.c, self.v = (
            np.concatenate((old, new)) for old, new in zip(self._columns(), rows, strict=True)
        )

    def copy(self, row: int) -> None:
        """Append a filter like the one of ``row``."""
        self.mean, self.speed, self.p, self.c, self.v = (
            np.concatenate((column, column[row : row + 1])) for column in self._columns()
        )

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Drop the filters whose mask is False."""
        self.mean, self.speed, self.p, self.c, self.v = (column[mask] for column in self._columns())

    def predict(self, dt_s: float, unseen_s: F) -> None:
        """Move every filter on by ``dt_s`` seconds. ``unseen_s`` (N,): how long each was not detected."""
        if dt_s <= 0 or not len(self):
            return
        h = np.maximum(self.mean[:, 3:], 1.0)
        q = (np.array(self.model.accel_sigma) * h) ** 2
        fade = 0.5 ** (dt_s * (unseen_s > 0) / self.model.velocity_fade_s)[:, None]
        self.mean = self.mean + self.speed * dt_s
        self.mean[:, 2:] = np.maximum(self.mean[:, 2:], 1.0)
        self.p = self.p + 2 * dt_s * self.c + dt_s**2 * self.v + q * dt_s**3 / 3
        self.c = self.c + dt_s * self.v + q * dt_s**2 / 2
        self.v = self.v + q * dt_s
        self.speed = self.speed * fade

    def correct(self, rows: NDArray[np.intp], boxes: NDArray[np.floating], trust: F) -> None:
        """Take in detections: ``boxes`` (K, 4) for filters ``rows`` (K,), ``trust`` (K,) in (0, 1].

        A weak detection is believed less: R / trust^2 (after NSA Kalman: Du et al., ICCVW 2021, eq. 4).
        """
        if not len(rows):
            return
        z = center_form(boxes)
        h = np.maximum(self.mean[rows, 3:], 1.0)
        r = (np.array(self.model.measure_sigma) * h / np.maximum(trust, 0.1)[:, None]) ** 2
        self._update(rows, z - self.mean[rows], r)

    def follow(
        self,
        rows: NDArray[np.intp],
        moved: NDArray[np.floating],
        before: NDArray[np.floating],
        trust: F | None = None,
    ) -> None:
        """Take in optical flow: it says that box ``before`` (K, 4) is now ``moved`` (K, 4).

        ``trust`` (K,) in (0, 1] is how far to believe it, 1 where it is None; its standard deviation grows as the
        inverse, so that what is hardly trusted changes nothing.
        """
        if not len(rows):
            return
        doubt = 1.0 if trust is None else 1 / trust[:, None]
        z = center_form(before) + (center_form(moved) - center_form(before)) * np.array([1.0, 1.0, 0.0, 0.0])
        h = np.maximum(self.mean[rows, 3:], 1.0)
        # Flow says where the old estimate went: it adds its own error to the old one's, and says nothing of size.
        r = np.concatenate((np.repeat((self.model.flow_sigma * h * doubt) ** 2, 2, axis=1) + self.p[rows, :2],
                            np.full((len(rows), 2), 1e12)), axis=1)  # fmt: skip
        self._update(rows, z - self.mean[rows], r)

    def mahalanobis(self, boxes: NDArray[np.floating]) -> F:
        """(N, M) squared distance of centre and height of M boxes from each prediction, chi^2 with 3 degrees."""
        z = center_form(boxes)
        use = [0, 1, 3]
        h = np.maximum(self.mean[:, 3:], 1.0)
        s = self.p[:, use] + (np.array(self.model.measure_sigma)[use] * h) ** 2
        d = z[None, :, use] - self.mean[:, None, use]
        return np.asarray((d**2 / s[:, None, :]).sum(axis=2))

    def spread(self) -> F:
        """(N,) standard deviation of each centre as a share of its box's width."""
        return np.asarray(np.sqrt(self.p[:, :2].max(axis=1)) / np.maximum(self.mean[:, 2], 1.0))

    def warp(self, transform: NDArray[np.floating]) -> None:
        """The camera moved: every position and velocity goes through ``transform`` (3, 3), see `flow.warp`."""
        self.mean[:, :2], slopes = move_points(transform, self.mean[:, :2])
        scale = np.sqrt(np.maximum(np.linalg.det(slopes), 1e-6))[:, None]
        self.speed[:, :2] = (slopes @ self.speed[:, :2, None])[:, :, 0]
        self.mean[:, 2:] *= scale
        self.speed[:, 2:] *= scale

    def _update(self, rows: NDArray[np.intp], innovation: F, r: F) -> None:
        p, c, v = self.p[rows], self.c[rows], self.v[rows]
        s = p + r
        Kp, Kv = p / s, c / s
        self.mean[rows] += Kp * innovation
        self.speed[rows] += Kv * innovation
        self.p[rows], self.c[rows], self.v[rows] = (1 - Kp) * p, (1 - Kp) * c, v - Kv * c
        self.mean[rows, 2:] = np.maximum(self.mean[rows, 2:], 1.0)

    def _columns(self) -> tuple[F, F, F, F, F]:
        return self.mean, self.speed, self.p, self.c, self.v
