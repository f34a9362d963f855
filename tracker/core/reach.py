"""Tracks of a recording, carried on over weak detections before their start and after their end.

A tracker that goes forward starts a track when a detection is sure of itself, and lets it go when none is left. Of a
recording it is known what came after: the weak detections that lead up to a track's first box, or on from its last,
and that nobody else has, are the same person seen badly (ByteTrack's second association, run backwards too). How badly
is judged by the track itself: what a detector is hardly sure of beside somebody of whom it is sure, is a thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tracker.core.assign import assign
from tracker.core.boxes import covered, iou

F32 = NDArray[np.float32]

MIN_IOU = 0.5  # with the box before: a detection that is hardly seen must at least stay where it was
MISSED_S = 0.5  # unseen for longer: the track has begun, or ended
FREE_IOU, FREE_COVER = 0.2, 0.4  # a box that overlaps another track's by more is that one's
ALIKE = 0.85  # of two boxes one after the other, the lower over the higher
BAR_SHARE = 1 / 3  # of a track's own mean score: less sure than that (a missed frame is 0), it is nobody


@dataclass(frozen=True)
class Weak:
    """What nobody had of one frame: N boxes."""

    t_ns: int
    boxes: F32  # (N, 4)
    scores: F32  # (N,)


def unclaimed(boxes: F32, scores: F32, tracks: F32) -> tuple[F32, F32]:
    """The detections (N, 4), (N,) that lie on none of the tracks' boxes (M, 4)."""
    if not (len(boxes) and len(tracks)):
        return boxes, scores
    free = (iou(boxes, tracks).max(axis=1) < FREE_IOU) & (covered(boxes, tracks).max(axis=1) < FREE_COVER)
    return boxes[free], scores[free]


@dataclass
class _Way:
    """A track that is being carried on."""

    box: F32
    seen_ns: int
    since_ns: int
    bar: float
    found: list[tuple[int, F32, float]] = field(default_factory=list)  # frame, box, score
    above: float = 0.0  # sum of the scores over the bar so far
    best: float = 0.0  # the most that it has been,
    kept: int = 0  # and how many were found then

    def look(self, score: float) -> None:
        """One more frame was looked at; 0: nothing was found."""
        self.above += score - self.bar
        if self.above > self.best:
            self.best, self.kept = self.above, len(self.found)


def reach(
    frames: Mapping[int, Weak],
    ends: Mapping[int, tuple[int, F32]],
    scores: Mapping[int, float],
    *,
    most_s: float,
    backward: bool,
) -> list[tuple[int, int, F32, float]]:
    """Rows that lead on from each track's end: (frame, track, box, score). Each detection is taken once.

    A track goes on for as long as the sum of the scores over its bar still rises to a new height.

    Args:
        frames: what nobody had, by frame; frames that are not there were not looked at.
        ends: track -> frame and box of its first box (``backward``) or of its last.
        scores: track -> the mean score of its boxes.
        most_s: no track is carried on for longer.
    """
    starts: dict[int, list[int]] = {}
    for number, (frame, _) in sorted(ends.items()):
        starts.setdefault(frame, []).append(number)
    ways: dict[int, _Way] = {}
    moving: list[int] = []
    for frame in sorted({*frames, *starts}, reverse=backward):
        weak = frames.get(frame)
        if weak is None:
            continue
        moving = [
            n
            for n in moving
            if abs(weak.t_ns - ways[n].seen_ns) <= MISSED_S * 1e9
            and abs(weak.t_ns - ways[n].since_ns) <= most_s * 1e9
        ]
        numbers = sorted(moving)
        rows = _matched(np.array([ways[n].box for n in numbers], np.float32).reshape(-1, 4), weak.boxes)
        for number, row in zip(numbers, rows, strict=True):
            way, score = ways[number], 0.0
            if row >= 0:
                way.box, way.seen_ns, score = weak.boxes[row], weak.t_ns, float(weak.scores[row])
                way.found.append((frame, way.box, score))
            way.look(score)
        for number in starts.get(frame, []):
            ways[number] = _Way(ends[number][1], weak.t_ns, weak.t_ns, BAR_SHARE * scores[number])
            moving.append(number)
    return [
        (frame, number, box, score)
        for number, way in sorted(ways.items())
        for frame, box, score in way.found[: way.kept]
    ]


def _matched(last: F32, boxes: F32) -> NDArray[np.intp]:
    """(N,) which of the M boxes each of the N last ones went on to; -1: none."""
    chosen = np.full(len(last), -1, np.intp)
    if len(last) and len(boxes):
        height, other = last[:, 3] - last[:, 1], boxes[:, 3] - boxes[:, 1]
        lower, higher = np.minimum(height[:, None], other), np.maximum(height[:, None], other)
        matched = assign(np.where(lower >= ALIKE * higher, 1 - iou(last, boxes), np.inf), 1 - MIN_IOU)
        chosen[matched.rows] = matched.columns
    return chosen
