"""Where feet stand, how exactly each camera knows it, and what two cameras' looks at one instant say.

A box's lower edge is far less certain along the line of sight than across it, and where legs are hidden it stands
metres behind the person, on the same line. How exact a camera is, is learned from people who stand alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tracker.core.boxes import FOOT_SIGMA

F = NDArray[np.float64]

PERSON_M = 1.7
FLOOR_M2 = 60.0  # that two cameras see together, where nobody knows better
HIDDEN_FEET = 0.2  # share of looks in which the feet are hidden
HIDDEN_S = 3.0  # for about so long, what stands before them
HIDDEN_M = 1.5  # how far off they seem then, where the line of sight is not known
UNHEARD = (HIDDEN_FEET * (1 - HIDDEN_FEET), HIDDEN_FEET * (1 - HIDDEN_FEET), HIDDEN_FEET**2)
STRAY = 0.004  # a look may be at something else, and then lies anywhere
SLACK = 0.05  # of a reach, beyond its ends
LEAST_M = 0.03  # nobody stands on a point
MAX_LOOK_AGAINST_LLR = 3.0  # one look that speaks against it may be of something else
ALONE_M = 2.0  # who is the only one around, in both of two views, is one person
FAR_SIGMA = 6.0  # beyond, nothing is left of a normal density
MEDIAN_SURPRISE = 0.4549  # half of chi^2 with 1 degree lies below
LEARNED = 0.02  # of its logarithm, by each pair
LOG_SCALES = np.log((0.1, 3.0))


class Feet(NamedTuple):
    """Places on the floor with their errors; any shape."""

    x_m: F
    y_m: F
    towards_x: F  # unit vector towards the camera; NaN where the line of sight is not known
    towards_y: F
    reach_m: F  # how much nearer the feet may be if they are hidden
    along_m: F  # standard deviation along the line of sight
    across_m: F

    @classmethod
    def of(cls, place: F, sigma_m: F, near: F, scale: F | float = 1.0) -> Feet:
        """From the columns of `Tracks`: (..., 2), (...) and (..., 2).

        Args:
            scale: (..., 2) how far this camera is off along and across, as a share of what geometry says.
        """
        scale = np.broadcast_to(scale, place.shape)
        away = near - place
        reach = np.hypot(away[..., 0], away[..., 1])
        known = np.isfinite(reach) & (reach > 0)
        reach = np.where(known, reach, 1.0)
        across = np.where(known, FOOT_SIGMA * PERSON_M, sigma_m)
        along = np.where(known, np.sqrt(np.maximum(sigma_m**2 - across**2, across**2)), sigma_m)
        return cls(
            place[..., 0],
            place[..., 1],
            np.where(known, away[..., 0] / reach, np.nan),
            np.where(known, away[..., 1] / reach, np.nan),
            reach,
            np.hypot(along * scale[..., 0], LEAST_M),
            np.hypot(across * scale[..., 1], LEAST_M),
        )

    def at(self, index: Any) -> Feet:
        """Some of them, or with new axes."""
        return Feet(*(column[index] for column in self))

    @property
    def place(self) -> F:
        """(..., 2)"""
        return np.stack((self.x_m, self.y_m), axis=-1)

    @property
    def is_lined(self) -> NDArray[np.bool_]:
        """Whose line of sight is known."""
        return np.isfinite(self.towards_x)

    @property
    def sight(self) -> tuple[F, F]:
        """x and y of the unit vector towards the camera; 0 where it is not known."""
        known = self.is_lined
        return np.where(known, self.towards_x, 0.0), np.where(known, self.towards_y, 0.0)

    def covariance(self) -> tuple[F, F, F]:
        """Of x, of y, and of both."""
        x, y = self.sight
        across = self.across_m * self.across_m
        more = self.along_m * self.along_m - across
        # Without a line of sight both are the same, and so is every direction.
        return across + more * (x * x), across + more * (y * y), more * x * y


def look_llr(both: Feet, hidden: F, since_s: F | float = np.inf) -> tuple[F, F]:
    """Of two looks at one instant: at one person, or at two anywhere on the floor that both see.

    Whose feet are hidden stays so for a while, so a look is judged by what those before it said (the forward pass of a
    hidden Markov model: Rabiner, Proc. IEEE 1989, III.A). Uniform over ``FLOOR_M2`` if two people.

    Args:
        both: (2, ...) looks.
        hidden: (3, ...) what earlier looks say, if it is one person, of the feet of the first, of the second and of
            both being hidden; `UNHEARD` before the first look.
        since_s: time since the look before.

    Returns:
        Log-likelihood ratios, and ``hidden`` with this look.
    """
    off_x, off_y = both.x_m[1] - both.x_m[0], both.y_m[1] - both.y_m[0]
    xx, yy, xy = (one + other for one, other in both.covariance())
    det = xx * yy - xy * xy
    surprise = (yy * (off_x * off_x) - 2 * xy * off_x * off_y + xx * (off_y * off_y)) / det
    seen = np.exp(-surprise / 2) / (2 * np.pi * np.sqrt(det))
    densities = np.empty((3, *seen.shape))
    densities[:2] = _hidden(both, np.array((off_x, -off_x)), np.array((off_y, -off_y)), xx, yy, xy)
    densities[2] = _both_hidden(both, off_x, off_y)
    fresh = np.exp(-np.asarray(since_s) / HIDDEN_S)
    unheard = np.reshape(UNHEARD, (3,) + (1,) * (hidden.ndim - 1))
    before = unheard + fresh * (hidden - unheard)
    shares = before * (FLOOR_M2 * densities + STRAY)
    total = shares.sum(axis=0) + (1 - before.sum(axis=0)) * (FLOOR_M2 * seen + STRAY)
    return np.maximum(np.log(total), -MAX_LOOK_AGAINST_LLR), shares / total


def distances_m2(a: Feet, b: Feet) -> F:
    """(R, N) squares of how far R places are from N."""
    x, y = b.x_m - a.x_m[:, None], b.y_m - a.y_m[:, None]
    return np.asarray(x * x + y * y)


def could_be_one(a: Feet, b: Feet, off_m2: F) -> NDArray[np.bool_]:
    """(R, N) which of R looks and N, so far from each other, are not of two people wherever the feet are hidden."""
    far_m = (a.reach_m + FAR_SIGMA * a.along_m)[:, None] + (b.reach_m + FAR_SIGMA * b.along_m)
    return np.asarray(off_m2 <= far_m * far_m)


def _hidden(both: Feet, off_x: F, off_y: F, xx: F, yy: F, xy: F) -> F:
    """(2, ...) density per square metre of the other so far off from feet that are hidden: on the line of sight,
    nearer."""
    x, y = both.sight
    along_2, across_2, turned = xx * (x * x) + yy * (y * y), xx * (y * y) + yy * (x * x), 2 * xy * x * y
    along_m, across_m = np.sqrt(along_2 + turned) + 1e-9, np.sqrt(across_2 - turned) + 1e-9
    ahead, aside = off_x * x + off_y * y, off_y * x - off_x * y
    aside /= across_m
    on_line = np.exp(-(aside * aside) / 2) / (np.sqrt(2 * np.pi) * across_m)
    within = ndtr(ahead / along_m) - ndtr((ahead - both.reach_m) / along_m)
    wide = (xx + yy) / 2 + HIDDEN_M**2
    anywhere = np.exp(-(off_x[0] * off_x[0] + off_y[0] * off_y[0]) / wide / 2) / (2 * np.pi * wide)
    return np.where(both.is_lined, on_line * within / both.reach_m, anywhere)


def _both_hidden(both: Feet, off_x: F, off_y: F) -> F:
    """Density per square metre of one person's feet seeming so far off: uniform where both lines of sight meet."""
    x, y = both.sight
    (ax, bx), (ay, by) = both.reach_m * x, both.reach_m * y
    area = ax * by - ay * bx
    size = np.abs(area)
    area = np.where(size < 1e-3, 1e-3, area)
    from_a = (off_x * by - off_y * bx) / area
    from_b = (off_x * ay - off_y * ax) / area
    meet = both.is_lined.all(axis=0)
    meet = meet & (np.abs(from_a - 0.5) < 0.5 + SLACK) & (np.abs(from_b - 0.5) < 0.5 + SLACK)
    return np.asarray(meet / np.maximum(size, 1.0))  # almost one line: no more than for a square metre


def alone(close: NDArray[np.bool_], camera: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(K,) rows and columns of pairs who stand alone in two views.

    Args:
        close: (R, N) who of one camera stands within `ALONE_M` of whom.
        camera: (N,) numbers of the others' cameras.
    """
    i, j = np.nonzero(close)
    if len(i):
        beside = i * (int(camera.max()) + 1) + camera[j]
        is_alone = (np.bincount(beside)[beside] == 1) & (np.bincount(j)[j] == 1)
        i, j = i[is_alone], j[is_alone]
    return i, j


class FootErrors:
    """How far every camera's feet are off, along and across its line of sight, as a share of what geometry says."""

    def __init__(self, log_scales: dict[str, tuple[float, float]] | None = None) -> None:
        self.log_scales = dict(log_scales or {})

    def scale(self, camera_ids: Sequence[str]) -> F:
        """(N, 2) of N cameras, along and across."""
        return np.exp([self.log_scales.get(camera_id, (0.0, 0.0)) for camera_id in camera_ids]).reshape(-1, 2)

    def learn(self, camera_id: str, both: Feet, other_ids: Sequence[str]) -> None:
        """From (2, K) looks of one camera and, at that instant, of K others at people who stand alone in both views.

        Half of them should be nearer than the median surprise.
        """
        lined = both.is_lined.all(axis=0)
        if not lined.any():
            return
        names: dict[str, int] = {}
        camera = [
            names.setdefault(name, len(names)) for name in itertools.compress(other_ids, np.asarray(lined))
        ]
        both = both.at(np.s_[:, lined])
        off_x, off_y = both.x_m[1] - both.x_m[0], both.y_m[1] - both.y_m[0]
        xx, yy, xy = (one + other for one, other in both.covariance())
        # Along and across, of either.
        u = np.array((both.towards_x, -both.towards_y)).swapaxes(0, 1)
        v = np.array((both.towards_y, both.towards_x)).swapaxes(0, 1)
        own_m = np.array((both.along_m, both.across_m)).swapaxes(0, 1)
        variance = xx * (u * u) + yy * (v * v) + 2 * xy * u * v
        off = off_x * u + off_y * v
        # Of what both are off, each answers for its share.
        own, theirs = np.sign(off * off / variance - MEDIAN_SURPRISE) * (own_m * own_m) / variance
        taught = [*names, camera_id]
        known = np.array([self.log_scales.get(name, (0.0, 0.0)) for name in taught])
        by_camera = [np.bincount(camera, one, len(names)) for one in theirs]
        steps = np.concatenate((np.transpose(by_camera), own.sum(axis=1)[None]))
        scales = np.clip(known + LEARNED * steps, *LOG_SCALES).tolist()
        self.log_scales.update(
            {name: (along, across) for name, (along, across) in zip(taught, scales, strict=True)}
        )
