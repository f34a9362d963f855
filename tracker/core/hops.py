"""Tracklets that went over to somebody else, found by what is known of everybody who is there.

A camera tracker knows the people of its own picture, for as long as it follows them. Whom the halves of a tracklet are
like, who was seen beside it before and who after, all cameras together know better. A tracklet shows two people where
two explain its pictures better than one does: the likelihood ratio of a change of speaker (Ajmera, McCowan & Bourlard,
IEEE Signal Processing Letters 2004, eq. 3), with the people of the site in the place of models trained on each half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.core.appearance import MANY_PICTURES, AppearanceModel, unit
from tracker.core.columns import Columns
from tracker.core.company import Company
from tracker.core.grouping import Piece
from tracker.types import Evidence, TrackKey

F = NDArray[np.float64]
B = NDArray[np.bool_]

HOP_LOG = -5.0  # odds of a hop at one place of a tracklet, before anything is seen
NEAR_S = 3.0  # who is taken for somebody came or went so shortly before or after
LEAST_PICTURES = 2  # before and after
MOST_ALIKE = 4  # people who may be each half's
ALIKE_WEIGHT = 0.5  # what halves say of each other is partly said by whom both are like
SURELY_ALIKE = 4.0  # weighted log-odds of both halves being one: nothing more is asked. Hops were up to 3.5
MOST_SURE = 0.93  # as of all that is said
NOBODY = -1


class Hop(NamedTuple):
    """A tracklet that shows two people."""

    piece: Piece
    since_ns: int  # when the second comes
    log_odds: float


class Halves(NamedTuple):
    """A tracklet at K places at which it may have gone over, each half against G people."""

    left: F  # (K, G) log-odds of the pictures before being of each
    right: F  # (K, G) and of those after
    alike: F  # (K,) of both being of one
    beside_left: B  # (K, G) who was seen beside the half before
    beside_right: B
    near: B  # (K, G) who came or went in its camera about then
    twins: F  # (G,) log-odds of each being the tracklet's own identity's person, however they are called


class Places(NamedTuple):
    """K places at which a tracklet may have gone over."""

    since_ns: NDArray[np.int64]
    left: F  # (K, D) unit rows of what is the person's own in the pictures before
    right: F
    before: F  # (K,) of how many pictures, as they count
    after: F
    alike: F  # (K,) log-odds of both halves being of one


def places(piece: Piece, appearance: AppearanceModel) -> Places | None:
    """Where a piece may have gone over to somebody else; None where both halves are surely alike at every place."""
    told = [one for one in piece.glimpses if len(one.pictures.mean) == len(piece.glimpses[-1].pictures.mean)]
    if len(told) < 2:
        return None
    number = np.array([one.pictures.number for one in told], float)
    sums = number[:, None] * np.array([one.pictures.mean for one in told], float)
    before, after = number[:-1], number[-1] - number[:-1]
    may = (before >= LEAST_PICTURES) & (after >= LEAST_PICTURES)
    if not may.any():
        return None
    before, after, since_ns = before[may], after[may], np.array([one.t_ns for one in told[:-1]])[may]
    halves = np.vstack((sums[:-1][may] / before[:, None], (sums[-1] - sums[:-1])[may] / after[:, None]))
    left, right = np.split(appearance.own(halves, np.full(len(halves), piece.key.camera_id)), 2)
    before, after = np.minimum(before, MANY_PICTURES), np.minimum(after, MANY_PICTURES)
    alike = ALIKE_WEIGHT * appearance.llr((left * right).sum(axis=1), before, after)
    may = alike < SURELY_ALIKE
    if not may.any():
        return None
    return Places(since_ns[may], left[may], right[may], before[may], after[may], alike[may])


def hops(
    columns: Columns,
    asked: Mapping[TrackKey, Places],
    company: Company,
    appearance: AppearanceModel,
) -> list[Hop]:
    """Which tracklets show two people.

    Args:
        columns: everybody looked at; of others nothing can be said.
        asked: some tracklets, and where they may have gone over.
    """
    people, found = _People(columns), list[Hop]()
    for key, of in asked.items():
        at = np.flatnonzero(columns.rows == company.row_of(key))
        # Rows of another length cannot be compared.
        if not len(at) or of.left.shape[1] != columns.looks.shape[1]:
            continue
        n = int(at[0])
        odds = two_or_one(_halves(columns, n, people, of, company, appearance), int(people.of[n])) + HOP_LOG
        best = int(odds.argmax())
        if odds[best] > 0:
            found.append(Hop(columns.pieces[n], int(of.since_ns[best]) + 1, float(odds[best])))
    return found


def hop_evidence(log_odds: float, source: int) -> Evidence:
    """How surely the later half of a tracklet is not its identity ``source``'s."""
    probability = MOST_SURE / (1 + float(np.exp(-log_odds)))
    return Evidence(
        probability=probability,
        runner_up=source,
        runner_up_probability=1 - probability,
        cues={"appearance": -round(log_odds, 3)},
    )


class _People:
    """Everybody looked at, by identity: G of them."""

    def __init__(self, columns: Columns) -> None:
        ids, self.of = np.unique(columns.owner, return_inverse=True)
        self._order = np.argsort(self.of, kind="stable")
        self._starts = np.searchsorted(self.of[self._order], np.arange(len(ids)))
        self.pictures = np.add.reduceat(columns.pictures[self._order], self._starts)
        weighed = (columns.pictures[:, None] * columns.looks)[self._order]
        self.sums = np.add.reduceat(weighed, self._starts, axis=0)

    def any_of(self, flags: B) -> B:
        """(K, G) whether anybody's of (K, N) is set."""
        return np.logical_or.reduceat(flags[:, self._order], self._starts, axis=1)

    def without(self, n: int, columns: Columns) -> tuple[F, F]:
        """(G, D) unit rows of what everybody looks like if piece ``n`` is nobody's, and (G,) of how many pictures."""
        sums, pictures = self.sums.copy(), self.pictures.copy()
        sums[self.of[n]] -= columns.pictures[n] * columns.looks[n]
        pictures[self.of[n]] -= columns.pictures[n]
        return unit(sums), np.where(pictures < 1e-6, 0.0, pictures)


def _halves(
    columns: Columns, n: int, people: _People, of: Places, company: Company, appearance: AppearanceModel
) -> Halves:
    looks, known = people.without(n, columns)
    beside = company.beside_until(int(columns.rows[n]), columns.rows, of.since_ns / 1e9)
    off_ns = np.minimum(
        abs(columns.first_ns - of.since_ns[:, None]), abs(columns.last_ns - of.since_ns[:, None])
    )
    near = (off_ns <= NEAR_S * 1e9) & (columns.camera == columns.camera[n])
    for flags in (*beside, near):
        flags[:, n] = False  # it is not beside itself
    mine = people.of[n]
    twins = appearance.llr(looks @ looks[mine], known, np.full(len(known), known[mine]))
    return Halves(
        left=appearance.llr(of.left @ looks.T, of.before[:, None], known),
        right=appearance.llr(of.right @ looks.T, of.after[:, None], known),
        alike=of.alike,
        beside_left=people.any_of(beside[0]),
        beside_right=people.any_of(beside[1]),
        near=people.any_of(near),
        twins=twins - np.log(len(known) + 1.0),
    )


def two_or_one(halves: Halves, mine: int) -> F:
    """(K,) log-odds of two people against one, at each place.

    One may be anybody who was beside neither half, or somebody new; of its own identity, whoever was beside it may be
    the one who is wrong there. Of two, one is of its own identity or somebody who came or went about then, each as
    likely. Where somebody beside one half only looks like the tracklet's own identity, two explain that as well.

    Args:
        mine: the tracklet's own identity among the G people.
    """
    left, right, near = halves.left, halves.right, halves.near
    barred = halves.beside_left | halves.beside_right
    barred[:, mine] = False
    one = np.logaddexp(np.logaddexp.reduce(np.where(barred, -np.inf, left + right), axis=1), halves.alike)

    only_right = halves.beside_right & ~halves.beside_left
    only_left = halves.beside_left & ~halves.beside_right
    # Where the other half is like its own identity as well, all of them are alike.
    unlike = [1 / (1 + np.exp(np.clip(half[:, mine], -50, 50))) for half in (right, left)]
    twins = [
        np.where(some, halves.twins, 0.0).max(axis=1, initial=0.0) * share
        for some, share in zip((only_right, only_left), unlike, strict=True)
    ]
    firsts, first_gain = _likeliest(np.where(halves.beside_left, -np.inf, left), mine, twins[0])
    seconds, second_gain = _likeliest(np.where(halves.beside_right, -np.inf, right), mine, twins[1])
    rows = np.arange(len(near))[:, None]
    may = [(of == mine) | near[rows, of] & (of != NOBODY) for of in (firsts, seconds)]
    differ = firsts[:, :, None] != seconds[:, None, :]
    allowed = differ & (may[0][:, :, None] | may[1][:, None, :])
    two = np.where(allowed, first_gain[:, :, None] + second_gain[:, None, :], -np.inf).max(axis=(1, 2))
    return np.asarray(two - np.log(near.sum(axis=1) + 1.0) - one)


def _likeliest(gain: F, mine: int, twins: F) -> tuple[NDArray[np.intp], F]:
    """(K, P) who a half most likely is, somebody new first, and (K, P) the log-odds of that; of its own identity it is
    likelier by ``twins`` (K,)."""
    some = np.argsort(-gain, axis=1, kind="stable")[:, :MOST_ALIKE]
    value = np.take_along_axis(gain, some, axis=1) + twins[:, None] * (some == mine)
    new = np.zeros((len(gain), 1))
    return np.hstack((new.astype(np.intp) + NOBODY, some)), np.hstack((new, value))
