"""Who goes on as whom on the floor: groups of tracklets that stood together are joined one after the other.

Everybody's last and first seconds are a line in time, fitted to all cameras' places of a group. Who follows whom is one
assignment of ends to beginnings, so that no one takes the way that is another's (linear assignment for the least-cost
cover by paths: Zhang, Li & Nevatia, CVPR 2008, for gaps that are not shared).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from tracker.core.feet import FLOOR_M2, Feet
from tracker.core.work import Work, done

F = NDArray[np.float64]

RECENT_S = 2.0  # of a walk says where it leads
SPEED_M_S = 1.0  # standard deviation of each axis of a velocity that nobody knows
TURNS_M_S2, SWERVES_M_S = (
    0.5,
    0.2,
)  # how far a walk departs from a line, growing with time squared and with time
CARRY_S = 2.0  # a velocity leads nowhere after this
WALK_M_S = 1.3
MAX_AGAINST_LLR = 20.0
CROWD = 10  # beginnings from which their number says anything
FIT_WORK = 200  # that fitting to one place counts as
ROUNDS, OFF = 3, 3.0  # of fitting, with less weight for what lies this many standard deviations off


class Walks(NamedTuple):
    """Noted places of N pieces, the first and last of each, as columns of K."""

    piece: NDArray[np.intp]  # (K,) row of the piece
    t_s: F  # (K,)
    feet: Feet  # (K,)


class Ends(NamedTuple):
    """Where G groups are at their beginning or end."""

    t_s: F  # (G,)
    state: F  # (G, 4) place in metres, velocity in metres a second
    covariance: F  # (G, 4, 4)

    def at(self, index: slice) -> Ends:
        """Of some groups."""
        return Ends(*(column[index] for column in self))


def ends_of(walks: Walks, groups: Sequence[Sequence[int]]) -> tuple[Ends, Ends]:
    """`ending`, all at once."""
    return done(ending(walks, groups))


def ending(walks: Walks, groups: Sequence[Sequence[int]]) -> Work[tuple[Ends, Ends]]:
    """Beginnings and ends of groups of pieces; infinite times where no place is known."""
    owner = np.full(1 + max((m for g in groups for m in g), default=0), -1)
    for g, members in enumerate(groups):
        owner[list(members)] = g
    mine = np.flatnonzero(owner[walks.piece] >= 0)
    group, t_s = owner[walks.piece[mine]], walks.t_s[mine]
    feet = walks.feet.at(mine)
    xx, yy, xy = feet.covariance()
    covariance = np.stack((xx, xy, xy, yy), axis=-1).reshape(-1, 2, 2)
    first, last = np.full(len(groups), np.inf), np.full(len(groups), -np.inf)
    np.minimum.at(first, group, t_s)
    np.maximum.at(last, group, t_s)
    yield FIT_WORK * len(mine)
    begins = yield from _fitting(first, group, t_s, feet.place, covariance)
    ends = yield from _fitting(last, group, t_s, feet.place, covariance)
    return begins, ends


def _fitting(at_s: F, group: NDArray[np.intp], t_s: F, place: F, covariance: F) -> Work[Ends]:
    """Lines through the places near ``at_s`` (G,), by weighted least squares with less weight for outliers."""
    near = np.flatnonzero(np.abs(t_s - at_s[group]) <= RECENT_S)
    group, place = group[near], place[near]
    dt = t_s[near] - at_s[group]
    drift_m = TURNS_M_S2 * dt**2 / 2 + SWERVES_M_S * np.abs(dt)
    information = np.linalg.inv(covariance[near] + np.eye(2) * drift_m[:, None, None] ** 2)
    line = np.concatenate((np.tile(np.eye(2), (len(near), 1, 1)), np.eye(2) * dt[:, None, None]), axis=2)
    prior = np.diag([1e-4, 1e-4, SPEED_M_S**-2, SPEED_M_S**-2])
    weight = np.ones(len(near))
    member = csr_array((weight, (group, np.arange(len(near)))), shape=(len(at_s), len(near)))
    for _ in range(ROUNDS):
        pull = line.transpose(0, 2, 1) @ (information * weight[:, None, None])
        known = prior + (member @ (pull @ line).reshape(-1, 16)).reshape(-1, 4, 4)
        seen = member @ (pull @ place[..., None])[..., 0]
        spread = np.linalg.inv(known)
        state = np.einsum("gij,gj->gi", spread, seen)
        off = place - np.einsum("kij,kj->ki", line, state[group])
        surprise = np.einsum("ki,kij,kj->k", off, information, off)
        weight = OFF**2 / np.maximum(surprise, OFF**2)
        yield FIT_WORK * len(near)
    return Ends(at_s, state, spread)


def onward_llr(ends: Ends, begins: Ends, longest_s: float) -> F:
    """(G, H) of walks that end and begin: one person's, against anybody's anywhere and in any direction.

    By place and velocity; -inf where it cannot be.

    Args:
        longest_s: the longest gap.
    """
    gap = begins.t_s[None, :] - ends.t_s[:, None]
    i, j = np.nonzero((gap > 0) & (gap <= longest_s))
    dt = gap[i, j]
    ahead = np.tile(np.eye(4), (len(i), 1, 1))
    ahead[:, 0, 2] = ahead[:, 1, 3] = np.minimum(dt, CARRY_S)
    drift_m = np.minimum(TURNS_M_S2 * dt**2 / 2 + SWERVES_M_S * dt, WALK_M_S * dt)
    turn_m_s = np.minimum(TURNS_M_S2 * dt + SWERVES_M_S, WALK_M_S)
    spread = ahead @ ends.covariance[i] @ ahead.transpose(0, 2, 1) + begins.covariance[j]
    spread[:, (0, 1, 2, 3), (0, 1, 2, 3)] += np.stack((drift_m, drift_m, turn_m_s, turn_m_s), axis=1) ** 2
    one = _log_normal(begins.state[j] - np.einsum("kij,kj->ki", ahead, ends.state[i]), spread)
    velocity = begins.covariance[j][:, 2:, 2:] + np.eye(2) * SPEED_M_S**2
    two = _log_normal(begins.state[j, 2:], velocity) - np.log(FLOOR_M2)
    value = np.full(gap.shape, -np.inf)
    value[i, j] = np.maximum(one - two, -MAX_AGAINST_LLR)
    return value


def _log_normal(off: F, covariance: F) -> F:
    """(K,) logarithms of normal densities at (K, D), around 0."""
    surprise = np.einsum("ki,kij,kj->k", off, np.linalg.inv(covariance), off)
    return np.asarray(-(surprise + np.log(np.linalg.det(covariance)) + off.shape[1] * np.log(2 * np.pi)) / 2)


def crowding_llr(begins: Ends, longest_s: float) -> float:
    """How much oftener, as a logarithm, somebody begins here than once in ``longest_s`` on ``FLOOR_M2``; at least 0.

    In a crowd the one who appears where a walk may have led is more easily another. Half of them go on as somebody.
    """
    known = np.isfinite(begins.t_s)
    if known.sum() < CROWD:
        return 0.0
    time_s = np.ptp(begins.t_s[known])
    area_m2 = 12 * np.sqrt(
        np.linalg.det(np.cov(begins.state[known, :2].T))
    )  # of a rectangle with such a spread
    here = known.sum() / 2 / max(time_s * area_m2, 1.0)
    return float(max(np.log(here * longest_s * FLOOR_M2), 0.0))


def followed(value: F) -> NDArray[np.intp]:
    """(G,) who goes on as whom, -1 for nobody: the assignment of the largest sum of (G, G) values, none below 0."""
    after = np.full(len(value), -1)
    rows, columns = (np.flatnonzero((value > 0).any(axis=axis)) for axis in (1, 0))
    cost = -value[np.ix_(rows, columns)]
    nobody = np.where(np.eye(len(rows), dtype=bool), 0.0, np.inf)
    cost = np.concatenate((np.where(cost < 0, cost, np.inf), nobody), axis=1)
    _, chosen = linear_sum_assignment(np.where(np.isfinite(cost), cost, 1e6))
    is_known = chosen < len(columns)
    after[rows[is_known]] = columns[chosen[is_known]]
    return after
