"""What a reading of who is who says of a site's traffic: who passed where, who came new, who went for good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracker.core.grouping import Piece, Scores
from tracker.core.topology import Crossings, Passages

GONE_AFTER_S = 3.0  # unseen for this long: a tracklet has ended, whatever its camera says
OVERLAP_S = 2.0  # in the next view this long before leaving the last one: still a way between the two
DOUBT = 2.0  # log-odds taken off: what is learned must stand on more than what decided


def traffic(
    pieces: Sequence[Piece], groups: Sequence[Sequence[int]], scores: Scores, now_ns: int
) -> tuple[Passages, Crossings, Crossings]:
    """Passages, entries and exits of N pieces in groups; those never embedded say nothing.

    Args:
        groups: rows of the pieces of each person.
        scores: of the same pieces.
        now_ns: who was seen a moment ago has not gone yet.
    """
    passed: list[tuple[Piece, Piece, float]] = []
    came: list[tuple[Piece, float]] = []
    went: list[tuple[Piece, float]] = []
    for members in groups:
        rows = sorted(
            (m for m in members if pieces[m].pictures), key=lambda m: (pieces[m].tracklet.t_first_ns, m)
        )
        for n, row in enumerate(rows):
            piece = pieces[row]
            came.append((piece, float(n == 0)))
            if now_ns - piece.t_last_ns > GONE_AFTER_S * 1e9:
                went.append((piece, float(n == len(rows) - 1)))
            until_ns = piece.tracklet.t_first_ns + OVERLAP_S * 1e9
            before = [r for r in rows[:n] if pieces[r].t_last_ns <= until_ns]
            if before:
                last = max(before, key=lambda r: (pieces[r].t_last_ns, r))
                if pieces[last].key.camera_id != piece.key.camera_id:
                    score = float(np.clip(scores.to_group(row, [last]) - DOUBT, -50, 50))
                    passed.append((pieces[last], piece, 1 / (1 + np.exp(-score))))
    return _passages(passed), _crossings(came, is_entry=True), _crossings(went, is_entry=False)


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
