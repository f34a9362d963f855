"""How people who walk keep clear of each other and of walls: a small social-force model.

Our own, and small, so that its results stay ours to reproduce: the well-kept simulator of our language is LGPL with a
compiled core whose versions differ in their results. The equations are those of D. Helbing and P. Molnar, "Social
force model for pedestrian dynamics", Phys. Rev. E 51 (1995) 4282, with the relative velocity in the ellipses of A.
Johansson, D. Helbing and P. Shukla, Adv. Complex Systems 10 (2007) 271. Forces alone do not promise any distance, so
`separate` does: it moves bodies apart, as position-based dynamics does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scenes.place import Place, point_to_segments

RELAX_S = 0.5  # Helbing and Molnar: the time to take up the wished velocity
PUSH_M_S2 = 4.0  # strength and range of the force between two people
REACH_M = 0.32
LOOK_AHEAD_S = 0.9  # how far ahead others' relative motion counts
BEHIND = 0.25  # weight of what happens behind one's back
KEEP_RIGHT = 0.35  # share of the force that turns aside, to the right, from somebody who comes up to us
WALL_M_S2 = 4.0  # strength and range of the walls' force, at a shoulder's distance from them: so short that
WALL_REACH_M = 0.1  # somebody gets through a gap of 0.7 m
SHOULDER_M = 0.25
SIGHT_M = 3.0  # people further apart do not mind each other
HARDEST_M_S2 = 3.0  # nobody brakes or swerves harder

GAP_M = 0.46  # centres of two people are kept so far apart while they walk
BODY_M = 0.24  # and so far from walls


@dataclass(frozen=True)
class Bodies:
    """N people at one instant of a simulation."""

    xy_m: NDArray[np.float64]  # (N, 2)
    velocity_m_s: NDArray[np.float64]  # (N, 2)
    heading_rad: NDArray[np.float64]  # (N,)
    party: NDArray[np.int64]  # (N,) those of one party do not shun each other
    is_fixed: NDArray[np.bool_]  # (N,) stands or sits: others give way
    body_m: NDArray[np.float64]  # (N,) how far from walls and obstacles


def accelerations(bodies: Bodies, wish_m_s: NDArray[np.float64], place: Place) -> NDArray[np.float64]:
    """(N, 2) m/s^2: towards the wished velocity (N, 2), away from people ahead and from walls; at most HARDEST."""
    total = (wish_m_s - bodies.velocity_m_s) / RELAX_S + _from_walls(bodies, place)
    i, j = pairs(bodies.xy_m, SIGHT_M)
    strangers = bodies.party[i] != bodies.party[j]
    i, j = i[strangers], j[strangers]
    np.add.at(total, i, _from_people(bodies, i, j))
    np.add.at(total, j, _from_people(bodies, j, i))
    size = np.hypot(total[:, 0], total[:, 1])
    return total * np.minimum(1, HARDEST_M_S2 / np.maximum(size, 1e-9))[:, None]


def separate(
    bodies: Bodies, moved_m: NDArray[np.float64], place: Place, gap_m: float = GAP_M
) -> NDArray[np.float64]:
    """(N, 2) Places like ``moved_m``, but nobody in a wall and no two nearer than ``gap_m`` where there is room.

    A step that would end within a wall is not taken at all.
    """
    xy = moved_m.copy()
    i, j = pairs(xy, gap_m + 0.3)
    loose = ~bodies.is_fixed
    together = np.maximum(loose[i].astype(int) + loose[j], 1)
    share_i, share_j = (loose[i] / together)[:, None], (loose[j] / together)[:, None]
    for _ in range(4):
        offset = xy[i] - xy[j]
        apart = _length(offset)
        push = 0.7 * offset * (np.maximum(gap_m - apart, 0) / apart)[:, None]
        if push.any():
            np.add.at(xy, i, push * share_i)
            np.add.at(xy, j, -push * share_j)
        out = _out_of_walls(xy, bodies.body_m, place) * loose[:, None]
        xy += out
        if not push.any() and not out.any():
            break
    # From a hand's breadth before a wall, no step of less than twice that can cross it.
    step = xy - bodies.xy_m
    xy = bodies.xy_m + step * np.minimum(1, 0.18 / _length(step))[:, None]
    close = np.flatnonzero(place.clearance(xy) < 0.1)
    stays = close[place.clearance(xy[close]) < np.minimum(0.1, place.clearance(bodies.xy_m[close]))]
    xy[stays] = bodies.xy_m[stays]
    xy[bodies.is_fixed] = bodies.xy_m[bodies.is_fixed]
    return xy


def pairs(xy_m: NDArray[np.float64], within_m: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows i < j, rising, of people at most so far apart."""
    if len(xy_m) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    found = cKDTree(xy_m).query_pairs(within_m, output_type="ndarray").astype(np.int64)
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    return found[:, 0], found[:, 1]


def _from_people(bodies: Bodies, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """(P, 2) What each of ``i`` feels of ``j``: eq. (3) and (4) of Helbing and Molnar, with relative velocity."""
    offset = bodies.xy_m[i] - bodies.xy_m[j]
    step = (bodies.velocity_m_s[j] - bodies.velocity_m_s[i]) * LOOK_AHEAD_S
    ahead = offset - step
    near, far = _length(offset), _length(ahead)
    ellipse = (
        np.sqrt(np.maximum((near + far) ** 2 - (step**2).sum(axis=1), 1e-6)) / 2
    )  # its smaller half axis
    size = PUSH_M_S2 * np.exp(-np.maximum(ellipse - GAP_M / 2, 0) / REACH_M) * (near + far) / (2 * ellipse)
    away = (offset / near[:, None] + ahead / far[:, None]) / 2
    facing = np.stack([np.cos(bodies.heading_rad[i]), np.sin(bodies.heading_rad[i])], axis=1)
    view = (facing * -offset).sum(axis=1) / near
    size = np.minimum(size, PUSH_M_S2) * (BEHIND + (1 - BEHIND) * (1 + view) / 2)
    right = np.stack([facing[:, 1], -facing[:, 0]], axis=1)
    meets = np.clip(-(bodies.velocity_m_s[i] * bodies.velocity_m_s[j]).sum(axis=1), 0, 1) * np.maximum(
        view, 0
    )
    return size[:, None] * (away + KEEP_RIGHT * meets[:, None] * right)


def _from_walls(bodies: Bodies, place: Place) -> NDArray[np.float64]:
    away = point_to_segments(bodies.xy_m, place.segments)
    distance = np.maximum(np.hypot(away[..., 0], away[..., 1]), 1e-6)
    shoulder = np.where(bodies.body_m < BODY_M, 0.0, SHOULDER_M)
    size = WALL_M_S2 * np.exp(-np.maximum(distance - shoulder[:, None], 0) / WALL_REACH_M)
    return np.asarray((away * (size / distance)[..., None]).sum(axis=1))


def _out_of_walls(xy: NDArray[np.float64], body_m: NDArray[np.float64], place: Place) -> NDArray[np.float64]:
    """(N, 2) The step that takes each body out of the wall it is deepest in."""
    if not len(place.segments):
        return np.zeros_like(xy)
    away = point_to_segments(xy, place.segments)
    distance = np.hypot(away[..., 0], away[..., 1])
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(xy))
    least = np.maximum(distance[rows, nearest], 1e-6)
    return np.asarray(away[rows, nearest] * (np.maximum(body_m - least, 0) / least)[:, None])


def _length(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(np.hypot(vectors[:, 0], vectors[:, 1]), 1e-6)
