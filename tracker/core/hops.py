"""Tracklets that went over to somebody else, found by what is known of everybody who is there.

A camera tracker knows the people of its own picture for as long as it follows them. Whom the two halves of a tracklet
are like, who was seen beside it before and who after, all cameras know together and better. A tracklet shows two people
where two explain it better than one: the likelihood of a change of speaker within a recording, against that of none
(Ajmera, McCowan & Bourlard, IEEE Signal Processing Letters 2004), with the people of the site as the models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.core.appearance import MANY_PICTURES, AppearanceModel, unit
from tracker.core.columns import Columns
from tracker.core.company import Company
from tracker.core.grouping import Piece

F = NDArray[np.float64]

HOP_LOG = -5.0  # odds of a hop just there, before anything is seen
NEAR_S = 3.0  # whoever is taken for another came, went or was seen so shortly before or after
LEAST_PICTURES = 2  # before and after
BEST = 4  # people whom each half is most like
ALIKE_WEIGHT = 0.5  # what halves say of each other is partly said by whom both are like


DEBUG={}


class Hop(NamedTuple):
    """A tracklet that shows two people."""

    piece: Piece
    since_ns: int  # when the second one comes
    log_odds: float


def hops(columns: Columns, of: Sequence[int], company: Company, appearance: AppearanceModel) -> list[Hop]:
    """Which of some of N pieces show two people.

    Args:
        columns: everybody looked at.
        of: rows of the pieces that are asked about.
    """
    ids, owner = np.unique(columns.owner, return_inverse=True)
    member = np.zeros((len(ids), len(owner)))
    member[owner, np.arange(len(owner))] = 1.0
    sums = member @ (columns.pictures[:, None] * columns.looks)
    found = []
    for n in of:
        hop = _hop(columns, n, owner, member, sums, company, appearance)
        if hop is not None:
            found.append(hop)
    return found


def _hop(
    columns: Columns,
    n: int,
    owner: NDArray[np.intp],
    member: F,
    sums: F,
    company: Company,
    appearance: AppearanceModel,
) -> Hop | None:
    piece = columns.pieces[n]
    told = piece.glimpses
    if len(told) < 2:
        return None
    number = np.array([one.pictures for one in told], float)
    total = np.array([one.pictures * one.looks for one in told], float)
    at_ns = np.array([one.seen[0] for one in told])
    before, after = number[:-1], number[-1] - number[:-1]
    may = (before >= LEAST_PICTURES) & (after >= LEAST_PICTURES)
    if not may.any():
        return None
    before, after, since_ns = before[may], after[may], at_ns[:-1][may]
    left, right = total[:-1][may], (total[-1] - total[:-1])[may]
    camera = np.array([piece.key.camera_id] * len(left), np.str_)
    left = appearance.own(left / before[:, None], camera)
    right = appearance.own(right / after[:, None], camera)
    before, after = np.minimum(before, MANY_PICTURES), np.minimum(after, MANY_PICTURES)

    mine = owner[n]
    known = member @ columns.pictures
    known[mine] -= columns.pictures[n]
    looks = sums.copy()
    looks[mine] -= columns.pictures[n] * columns.looks[n]
    looks = unit(looks)
    a = appearance.llr(left @ looks.T, before[:, None], known)
    b = appearance.llr(right @ looks.T, after[:, None], known)
    alike = ALIKE_WEIGHT * appearance.llr((left * right).sum(axis=1), before, after)

    # Who was seen beside it before, and who after.
    others = np.delete(np.arange(len(owner)), n)
    with_before, with_after = company.beside_until(
        int(columns.rows[n]), columns.rows[others], since_ns / 1e9
    )
    of = member[:, others].T
    is_before, is_after = with_before @ of > 0, with_after @ of > 0  # (K, G)
    here = columns.camera[others] == columns.camera[n]
    first, last = columns.first_ns[others], columns.last_ns[others]
    edge = np.minimum(abs(first - since_ns[:, None]), abs(last - since_ns[:, None]))
    near = ((edge <= NEAR_S * 1e9) & here).astype(float) @ of > 0
    number_near = near.sum(axis=1)

    barred = is_before | is_after
    barred[:, mine] = False  # whoever of its own identity was seen beside it may be the one who is wrong there
    one = np.where(barred, -np.inf, a + b)
    one = np.logaddexp(np.logaddexp.reduce(one, axis=1), alike)
    best, value = 0, -np.inf
    apart = appearance.llr(looks @ looks[mine], known, np.full(len(known), known[mine]))
    crowd = np.log(len(known) + 1.0)
    for i in range(len(left)):
        for_left, for_right = np.where(is_before[i], -np.inf, a[i]), np.where(is_after[i], -np.inf, b[i])
        # Of two identities of which one is seen beside a half of this tracklet only, both may be one person.
        more = [
            max(float(np.max(apart, where=some, initial=0.0)) - crowd, 0.0)
            for some in (is_after[i] & ~is_before[i], is_before[i] & ~is_after[i])
        ]
        firsts = [g for g in np.argsort(-for_left)[:BEST].tolist() if np.isfinite(for_left[g])]
        seconds = [g for g in np.argsort(-for_right)[:BEST].tolist() if np.isfinite(for_right[g])]
        two = -np.inf
        for g in [-1, *firsts]:
            for h in [-1, *seconds]:
                if g == h or not ((g >= 0 and near[i, g]) or (h >= 0 and near[i, h]) or mine in (g, h)):
                    continue
                gain = (for_left[g] if g >= 0 else 0.0) + (for_right[h] if h >= 0 else 0.0)
                gain += more[0] * (g == mine) + more[1] * (h == mine)
                if gain > two:
                    two, how = gain, (g, h, round(float(for_left[g]),1) if g>=0 else 0, round(float(for_right[h]),1) if h>=0 else 0, round(more[0] * (g == mine) + more[1] * (h == mine),1), g==mine,h==mine, bool(g>=0 and near[i,g]), bool(h>=0 and near[i,h]))
        two -= np.log(number_near[i] + 1.0)
        if two - one[i] > value:
            best, value = i, float(two - one[i])
            why = (how, 'one', round(float(one[i]),1), 'alike', round(float(alike[i]),1), 'mine', round(float(a[i,mine]),1), round(float(b[i,mine]),1), bool(is_before[i,mine]),bool(is_after[i,mine]), 'n', before[i], after[i], number_near[i])
    if not value + HOP_LOG > 0:
        return None
    DEBUG[piece.key]=why
    return Hop(piece, int(since_ns[best]) + 1, value + HOP_LOG)
