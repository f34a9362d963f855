"""What a reading of who is who says of a site: who passed where, who came new, who went for good, who was seen twice
at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracker.core.grouping import KNOWN_PICTURES, Piece, Scores, sights_at_once
from tracker.core.topology import Crossings, Passages, SiteModel

GONE_AFTER_S = 3.0  # unseen for this long: a tracklet has ended, whatever its camera says
OVERLAP_S = 2.0  # in the next view this long before leaving the last one: still a way between the two
DOUBT = 2.0  # log-odds taken off: what is learned must stand on more than what decided


def taught(
    site: SiteModel,
    pieces: Sequence[Piece],
    groups: Sequence[Sequence[int]],
    scores: Scores,
    now_ns: int,
    counts: NDArray[np.bool_] | None = None,
) -> SiteModel:
    """The site model with what N pieces in groups say.

    Args:
        groups: rows of the pieces of each person.
        scores: of the same pieces.
        now_ns: who was seen a moment ago has not gone yet.
        counts: (N,) whose entries and exits count; of the others it is known already. None: all.
    """
    counts = np.ones(len(pieces), bool) if counts is None else counts
    site = site.learn(*traffic(pieces, groups, scores, now_ns, counts), now_ns=now_ns)
    return seen_at_once(site, pieces, groups, scores, counts, with_places=True)


def traffic(
    pieces: Sequence[Piece],
    groups: Sequence[Sequence[int]],
    scores: Scores,
    now_ns: int,
    counts: NDArray[np.bool_],
) -> tuple[Passages, Crossings, Crossings]:
    """Passages, entries and exits; pieces that were never embedded say nothing. See `taught`."""
    passed: list[tuple[Piece, Piece, float]] = []
    came: list[tuple[Piece, float]] = []
    went: list[tuple[Piece, float]] = []
    for members in groups:
        rows = sorted(
            (m for m in members if pieces[m].pictures), key=lambda m: (pieces[m].tracklet.t_first_ns, m)
        )
        for n, row in enumerate(rows):
            piece = pieces[row]
            if not counts[row]:
                continue
            came.append((piece, float(n == 0)))
            if now_ns - piece.t_last_ns > GONE_AFTER_S * 1e9:
                went.append((piece, float(n == len(rows) - 1)))
            until_ns = piece.tracklet.t_first_ns + OVERLAP_S * 1e9
            before = [r for r in rows[:n] if pieces[r].t_last_ns <= until_ns]
            if before:
                last = max(before, key=lambda r: (pieces[r].t_last_ns, r))
                if pieces[last].key.camera_id != piece.key.camera_id:
                    passed.append((pieces[last], piece, _belief(scores, row, last)))
    return _passages(passed), _crossings(came, is_entry=True), _crossings(went, is_entry=False)


def seen_at_once(
    site: SiteModel,
    pieces: Sequence[Piece],
    groups: Sequence[Sequence[int]],
    scores: Scores,
    counts: NDArray[np.bool_],
    *,
    with_places: bool = False,
) -> SiteModel:
    """The site model with who is found in two views at once and, if asked, where in both; see `taught`."""
    person = np.zeros(len(pieces), int)
    for n, members in enumerate(groups):
        person[list(members)] = n
    known = np.array([p.walked and p.pictures >= KNOWN_PICTURES for p in pieces], bool)
    cameras = np.array([p.key.camera_id for p in pieces])
    met = scores.met & known[:, None] & known
    together = met & (person[:, None] == person)
    names, at = np.unique(cameras, return_inverse=True)
    camera = np.eye(len(names))[at]  # (N, C)
    # Of each camera's pieces that count, how many were found in each other camera, and how many could have been.
    found, could = (camera[counts].T @ (m[counts] @ camera > 0) for m in (together, met))
    pairs = [(int(a), int(b)) for a, b in np.argwhere(could) if a != b]
    site = site.learn_overlaps(
        {(str(names[a]), str(names[b])): (float(found[a, b]), float(could[a, b])) for a, b in pairs}
    )
    for a, b in pairs if with_places else ():
        if a < b and found[a, b]:
            rows, columns = np.flatnonzero(at == a), np.flatnonzero(at == b)
            site = _with_places(site, rows, columns, pieces, scores, met, together, counts)
    return site


def _with_places(
    site: SiteModel,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    pieces: Sequence[Piece],
    scores: Scores,
    met: NDArray[np.bool_],
    together: NDArray[np.bool_],
    counts: NDArray[np.bool_],
) -> SiteModel:
    here: list[NDArray[np.int64]] = []
    there: list[NDArray[np.int64]] = []
    weight: list[float] = []
    new = met[np.ix_(rows, columns)] & (counts[rows, None] | counts[columns])
    for i, j in zip(
        *(at.tolist() for at in (rows[np.nonzero(new)[0]], columns[np.nonzero(new)[1]])), strict=True
    ):
        at_a, at_b = sights_at_once(pieces[i], pieces[j])
        here.append(at_a)
        there.append(at_b)
        weight += [_belief(scores, i, j) if together[i, j] else 0.0] * len(at_a)
    if not weight:
        return site
    a, b = (pieces[some[0]].key.camera_id for some in (rows, columns))
    return site.learn_meetings(a, b, np.concatenate(here), np.concatenate(there), np.array(weight))


def _belief(scores: Scores, row: int, other: int) -> float:
    """The probability that two pieces of one group are one person, taken with caution."""
    score = float(np.clip(scores.to_group(row, [other]) - DOUBT, -50, 50))
    return float(1 / (1 + np.exp(-score)))


def _passages(found: Sequence[tuple[Piece, Piece, float]]) -> Passages:
    if not found:
        return Passages.none()
    return Passages(
        from_camera=np.array([a.key.camera_id for a, _, _ in found]),
        from_xy=np.array([a.went_xy for a, _, _ in found]),
        t_out_ns=np.array([a.t_last_ns for a, _, _ in found], np.int64),
        to_camera=np.array([b.key.camera_id for _, b, _ in found]),
        to_xy=np.array([b.came_xy for _, b, _ in found]),
        t_in_ns=np.array([b.tracklet.t_first_ns for _, b, _ in found], np.int64),
        weight=np.array([weight for _, _, weight in found]),
    )


def _crossings(found: Sequence[tuple[Piece, float]], *, is_entry: bool) -> Crossings:
    if not found:
        return Crossings.none()
    return Crossings(
        camera=np.array([p.key.camera_id for p, _ in found]),
        xy=np.array([p.came_xy if is_entry else p.went_xy for p, _ in found]),
        t_ns=np.array([p.tracklet.t_first_ns if is_entry else p.t_last_ns for p, _ in found], np.int64),
        weight=np.array([weight for _, weight in found]),
    )
