"""Where people on a floor are and walk, in the information form in which many cameras' looks add up.

A person is a place and a velocity that changes a little all the time (Bar-Shalom, Li & Kirubarajan, Estimation with
Applications to Tracking and Navigation, 2001, 6.2.2: white noise acceleration). Information is an inverse covariance
``L`` with ``L @ mean``: what one more look tells is added to it (7.2.3), and so is what the future tells (8.6).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from tracker.core.feet import Feet

F = NDArray[np.float64]

ACCELERATION = 0.25  # m/s in a second: what walks change by
SPEED_M_S = 0.8  # standard deviation of each axis of a velocity that nobody knows
ANYWHERE_M = 1000.0  # of a place that nobody knows
FLOORS_M = 0.12  # two cameras' floors differ by so much, whatever their boxes are like
LEAST_REACH_M = 0.3
NOWHERE = -50.0  # log density of a line of sight that is not known


class Information(NamedTuple):
    """Of N people, ``size`` numbers of each: 2 for a place, 4 with the velocity."""

    L: F  # (N, size, size)
    v: F  # (N, size): L @ mean

    @classmethod
    def none(cls, count: int, size: int = 4) -> Information:
        """Of people of whom nothing is known."""
        return cls(np.zeros((count, size, size)), np.zeros((count, size)))

    @classmethod
    def of(cls, mean: F, covariance: F) -> Information:
        """From (N, size) and (N, size, size)."""
        L = np.asarray(np.linalg.inv(covariance), np.float64)
        return cls(L, np.einsum("nij,nj->ni", L, mean))

    def moments(self) -> tuple[F, F]:
        """(N, size) means and (N, size, size) covariances."""
        covariance = np.asarray(np.linalg.inv(self.L), np.float64)
        return np.einsum("nij,nj->ni", covariance, self.v), covariance

    def at(self, index: NDArray) -> Information:
        """Of some."""
        return Information(self.L[index], self.v[index])

    def and_places(self, owner: NDArray[np.intp], places: Information) -> Information:
        """With K places (size 2) of the people in rows ``owner`` (K,)."""
        L, v = self.L.copy(), self.v.copy()
        np.add.at(L[:, :2, :2], owner, places.L)
        np.add.at(v[:, :2], owner, places.v)
        return Information(L, v)

    def before(self, dt_s: float) -> Information:
        """What is known of where they are later says of where they are ``dt_s`` before."""
        step, noise = motion(dt_s)
        kept = np.linalg.inv(np.eye(4) + self.L @ noise)
        L = step.T @ (kept @ self.L) @ step
        return Information((L + L.transpose(0, 2, 1)) / 2, np.einsum("nij,nj->ni", kept, self.v) @ step)


def unknown(count: int) -> tuple[F, F]:
    """Means and covariances of people who may be anywhere."""
    return np.zeros((count, 4)), np.tile(np.diag([ANYWHERE_M**2] * 2 + [SPEED_M_S**2] * 2), (count, 1, 1))


def motion(dt_s: float) -> tuple[F, F]:
    """(4, 4) what a walk becomes after ``dt_s``, and the covariance of what it departs by."""
    step, noise = np.eye(4), np.eye(4) * 1e-6
    step[0, 2] = step[1, 3] = dt_s
    q, two = ACCELERATION**2, np.eye(2)
    noise[:2, :2] += q * dt_s**3 / 3 * two
    noise[2:, 2:] += q * dt_s * two
    noise[:2, 2:] = noise[2:, :2] = q * dt_s**2 / 2 * two
    return step, noise


def log_evidence(past: Information, future: Information) -> F:
    """(K,) log densities of what was seen of K people later, if they are those of whom the past is known, one by one.

    Up to a number that depends on the future alone: the integral of ``past`` times ``exp(-x L x / 2 + v x)``.
    """
    L, v = past.L + future.L, past.v + future.v
    own = np.einsum("ki,ki->k", past.v, np.linalg.solve(past.L, past.v[..., None])[..., 0])
    both = np.einsum("ki,ki->k", v, np.linalg.solve(L, v[..., None])[..., 0])
    return np.asarray((both - own + np.linalg.slogdet(past.L)[1] - np.linalg.slogdet(L)[1]) / 2)


class Looks(NamedTuple):
    """B feet at one instant, as a filter takes them: where they seem, or on the line of sight if they are hidden."""

    place: F  # (B, 2)
    covariance: F  # (B, 2, 2)
    sight: F  # (B, 2) unit vectors towards the camera, 0 where that is not known
    reach_m: F  # (B,) how much nearer they may be
    seen: Information  # size 2, if the feet are seen
    hidden: Information  # if they are hidden

    @classmethod
    def of(cls, feet: Feet) -> Looks:
        """From (B,) feet."""
        xx, yy, xy = feet.covariance()
        covariance = np.stack((xx + FLOORS_M**2, xy, xy, yy + FLOORS_M**2), axis=-1).reshape(-1, 2, 2)
        sight = np.stack(feet.sight, axis=1)
        reach = np.maximum(np.where(feet.is_lined, feet.reach_m, 1.0), LEAST_REACH_M)
        aside = np.stack((-sight[:, 1], sight[:, 0]), axis=1)
        across = np.einsum("bi,bij,bj->b", aside, covariance, aside)
        across = np.where(across > 0, across, covariance[:, 0, 0])
        # Anywhere on the line up to the reach: as a normal density, of the same variance.
        L = aside[:, :, None] * aside[:, None] / across[:, None, None]
        L += sight[:, :, None] * sight[:, None] / (reach**2 / 12 + across)[:, None, None]
        middle = feet.place + sight * reach[:, None] / 2
        hidden = Information(L, np.einsum("bij,bj->bi", L, middle))
        return cls(feet.place, covariance, sight, reach, Information.of(feet.place, covariance), hidden)

    def at(self, index: NDArray) -> Looks:
        """Of some."""
        place, covariance, sight, reach, seen, hidden = self
        return Looks(
            place[index], covariance[index], sight[index], reach[index], seen.at(index), hidden.at(index)
        )

    def told(self, is_hidden: NDArray[np.bool_]) -> Information:
        """(B,) of size 2: what they say, where it is known whether the feet are hidden."""
        return Information(
            np.where(is_hidden[:, None, None], self.hidden.L, self.seen.L),
            np.where(is_hidden[:, None], self.hidden.v, self.seen.v),
        )

    def log_density(self, mean: F, covariance: F, hidden: F) -> tuple[F, F]:
        """(N, B) log densities per square metre of each look if it is at one of N people, and how likely its feet are
        hidden then.

        Args:
            mean, covariance: (N, 2) and (N, 2, 2) where they are.
            hidden: (N, 1) or (N, B) chance that their feet are, before the look.
        """
        S = covariance[:, None] + self.covariance
        xx, yy, xy = S[..., 0, 0], S[..., 1, 1], S[..., 0, 1]
        x, y = (self.place[:, axis] - mean[:, axis, None] for axis in (0, 1))
        det = xx * yy - xy * xy
        seen = -(yy * x * x - 2 * xy * x * y + xx * y * y) / det / 2 - np.log(det) / 2 - np.log(2 * np.pi)
        to_x, to_y = self.sight.T
        ahead, aside = -(x * to_x + y * to_y), y * to_x - x * to_y
        along_m = np.sqrt(xx * to_x**2 + yy * to_y**2 + 2 * xy * to_x * to_y + 1e-9)
        across_m = np.sqrt(xx * to_y**2 + yy * to_x**2 - 2 * xy * to_x * to_y + 1e-9)
        # Along the line, given how far aside.
        leans = (to_x * to_y * (xx - yy) - (to_x**2 - to_y**2) * xy) / across_m**2
        ahead = ahead - leans * aside
        along_m = np.sqrt(np.maximum(along_m**2 - (leans * across_m) ** 2, 1e-9))
        within = np.maximum(ndtr(ahead / along_m) - ndtr((ahead - self.reach_m) / along_m), 1e-12)
        line = (
            np.log(within / self.reach_m)
            - (aside / across_m) ** 2 / 2
            - np.log(across_m * np.sqrt(2 * np.pi))
        )
        line = np.where(self.sight.any(axis=1), line, NOWHERE)
        seen, line = np.log1p(-hidden) + seen, np.log(hidden) + line
        total = np.logaddexp(seen, line)
        return np.asarray(total), np.asarray(np.exp(line - total))
