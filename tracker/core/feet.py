"""Where feet stand, how exactly each camera knows it, and what two cameras' looks at one instant say.

A box's lower edge is far less certain along the line of sight than across it, and where legs are hidden it stands
metres behind the person, on the same line. How exact a camera is, is learned from people who stand alone.
"""

from __future__ import annotations

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
SCALES = (0.1, 3.0)


class Feet(NamedTuple):
    """Places on the floor with their errors; any shape, the last axis of places and directions is x, y."""

    place: F  # (..., 2) metres
    along: F  # (..., 2) unit vector towards the camera; NaN where the line of sight is not known
    reach_m: F  # (...) how much nearer the feet may be if they are hidden
    along_m: F  # (...) standard deviation along the line of sight
    across_m: F  # (...)

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
            place,
            np.where(known[..., None], away / reach[..., None], np.nan),
            reach,
            np.hypot(along * scale[..., 0], LEAST_M),
            np.hypot(across * scale[..., 1], LEAST_M),
        )

    def at(self, index: Any) -> Feet:
        """Some of them, or with new axes; the last axis of places stays."""
        return Feet(*(column[index] for column in self))

    @property
    def sight(self) -> tuple[F, F]:
        """(...) x and y of `along`; 0 where it is not known."""
        known = np.isfinite(self.along)
        along = np.where(known, self.along, 0.0)
        return along[..., 0], along[..., 1]

    def covariance(self) -> tuple[F, F, F]:
        """(...) of x, of y, and of both."""
        x, y = self.sight
        across = self.across_m**2
        more = self.along_m**2 - across
        # Without a line of sight both are the same, and so is every direction.
        return across + more * x**2, across + more * y**2, more * x * y


def look_llr(a: Feet, b: Feet, hidden: F, since_s: F | float = np.inf) -> tuple[F, F]:
    """Of two looks at one instant, broadcast: at one person, or at two anywhere on the floor that both see.

    Whose feet are hidden stays so for a while, so a look is judged by what those before it said (the forward pass of a
    hidden Markov model: Rabiner, Proc. IEEE 1989, III.A). Uniform over ``FLOOR_M2`` if two people.

    Args:
        hidden: (3, ...) what earlier looks say, if it is one person, of the feet of ``a``, of ``b`` and of both being
            hidden; `UNHEARD` before the first look.
        since_s: time since the look before.

    Returns:
        Log-likelihood ratios, and ``hidden`` with this look.
    """
    off = b.place - a.place
    x, y = off[..., 0], off[..., 1]
    xx, yy, xy = (one + other for one, other in zip(a.covariance(), b.covariance(), strict=True))
    det = xx * yy - xy**2
    surprise = (yy * x**2 - 2 * xy * x * y + xx * y**2) / det
    seen = np.exp(-surprise / 2) / (2 * np.pi * np.sqrt(det))
    densities = np.array(
        (_hidden(a, x, y, xx, yy, xy), _hidden(b, -x, -y, xx, yy, xy), _both_hidden(a, b, x, y))
    )
    fresh = np.exp(-np.asarray(since_s) / HIDDEN_S)
    unheard = np.reshape(UNHEARD, (3,) + (1,) * (hidden.ndim - 1))
    before = unheard + fresh * (hidden - unheard)
    shares = before * (FLOOR_M2 * densities + STRAY)
    total = shares.sum(axis=0) + (1 - before.sum(axis=0)) * (FLOOR_M2 * seen + STRAY)
    return np.maximum(np.log(total), -MAX_LOOK_AGAINST_LLR), shares / total


def out_of_sight(a: Feet, b: Feet) -> NDArray[np.bool_]:
    """Of two looks, broadcast: so far apart that they are of two people, wherever the feet of either are hidden."""
    x, y = (b.place[..., axis] - a.place[..., axis] for axis in (0, 1))
    far_m = a.reach_m + FAR_SIGMA * a.along_m + (b.reach_m + FAR_SIGMA * b.along_m)
    return np.asarray(x**2 + y**2 > far_m**2)


def _hidden(feet: Feet, off_x: F, off_y: F, xx: F, yy: F, xy: F) -> F:
    """Density per square metre of somebody so far off from feet that are hidden: on the line of sight, nearer."""
    x, y = feet.sight
    along_m = np.sqrt(xx * x**2 + yy * y**2 + 2 * xy * x * y) + 1e-9
    across_m = np.sqrt(xx * y**2 + yy * x**2 - 2 * xy * x * y) + 1e-9
    ahead, aside = off_x * x + off_y * y, off_y * x - off_x * y
    on_line = np.exp(-((aside / across_m) ** 2) / 2) / (np.sqrt(2 * np.pi) * across_m)
    within = ndtr(ahead / along_m) - ndtr((ahead - feet.reach_m) / along_m)
    wide = (xx + yy) / 2 + HIDDEN_M**2
    anywhere = np.exp(-(off_x**2 + off_y**2) / wide / 2) / (2 * np.pi * wide)
    return np.where(np.isfinite(feet.along[..., 0]), on_line * within / feet.reach_m, anywhere)


def _both_hidden(a: Feet, b: Feet, off_x: F, off_y: F) -> F:
    """Density per square metre of one person's feet seeming so far off: uniform where both lines of sight meet."""
    (ax, ay), (bx, by) = a.sight, b.sight
    ax, ay, bx, by = a.reach_m * ax, a.reach_m * ay, b.reach_m * bx, b.reach_m * by
    area = ax * by - ay * bx
    area = np.where(np.abs(area) < 1e-3, 1e-3, area)
    known = np.isfinite(a.along[..., 0]) & np.isfinite(b.along[..., 0])
    from_a = (off_x * by - off_y * bx) / area
    from_b = (off_x * ay - off_y * ax) / area
    meet = known & (np.abs(from_a - 0.5) < 0.5 + SLACK) & (np.abs(from_b - 0.5) < 0.5 + SLACK)
    return np.asarray(
        meet / np.maximum(np.abs(area), 1.0)
    )  # almost one line: no more than for a square metre


class FootErrors:
    """How far every camera's feet are off, along and across its line of sight, as a share of what geometry says."""

    def __init__(self, log_scales: dict[str, tuple[float, float]] | None = None) -> None:
        self.log_scales = dict(log_scales or {})

    def scale(self, camera_ids: Sequence[str]) -> F:
        """(N, 2) of N cameras, along and across."""
        return np.exp([self.log_scales.get(camera_id, (0.0, 0.0)) for camera_id in camera_ids]).reshape(-1, 2)

    def learn(self, camera_id: str, feet: Feet, others: Feet, other_ids: NDArray[np.str_]) -> None:
        """From one camera's (R,) people and all that other cameras see at that instant, (N,) of cameras (N,).

        Half of those who stand alone in both views should be nearer than the median surprise.
        """
        off_x, off_y = (others.place[:, axis] - feet.place[:, None, axis] for axis in (0, 1))
        i, j = np.nonzero(off_x**2 + off_y**2 < ALONE_M**2)
        if not len(i):
            return
        names, camera = np.unique(other_ids[j], return_inverse=True)
        beside = i * len(names) + camera
        alone = (np.bincount(beside)[beside] == 1) & (np.bincount(j)[j] == 1)
        alone &= np.isfinite(feet.along[i, 0]) & np.isfinite(others.along[j, 0])
        if not alone.any():
            return
        i, j, camera = i[alone], j[alone], camera[alone]
        a, b, x, y = feet.at(i), others.at(j), off_x[i, j], off_y[i, j]
        xx, yy, xy = (one + other for one, other in zip(a.covariance(), b.covariance(), strict=True))
        (ax, ay), (bx, by) = a.along.T, b.along.T
        u, v = np.array((ax, -ay, bx, -by)), np.array((ay, ax, by, bx))  # along and across, of either
        own_m = np.array((a.along_m, a.across_m, b.along_m, b.across_m))
        variance = xx * u**2 + yy * v**2 + 2 * xy * u * v
        surprise = (x * u + y * v) ** 2 / variance
        # Of what both are off, each answers for its share.
        step = np.sign(surprise - MEDIAN_SURPRISE) * own_m**2 / variance
        theirs = [np.bincount(camera, one, len(names)) for one in step[2:]]
        taught = [*names.tolist(), camera_id]
        known = np.array([self.log_scales.get(name, (0.0, 0.0)) for name in taught])
        steps = np.concatenate((np.transpose(theirs), step[None, :2].sum(axis=2)))
        scales = np.clip(known + LEARNED * steps, *np.log(SCALES)).tolist()
        self.log_scales.update(
            {name: (along, across) for name, (along, across) in zip(taught, scales, strict=True)}
        )
