"""Tracks of a recording, carried on over weak detections before their start and after their end.

A tracker that goes forward starts a track when a detection is sure of itself, and lets it go when none is left. Of a
recording it is known what came after: the weak detections that lead up to a track's first box, or on from its last,
and that nobody else has, are the same person seen badly (ByteTrack's second association, run backwards too).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker.core.assign import assign
from tracker.core.boxes import covered, iou

F32 = NDArray[np.float32]

MIN_IOU = 0.5  # with the box before: a detection that is hardly seen must at least stay where it was
MISSED_S = 0.5  # unseen for longer: the track has begun, or ended
FREE_IOU, FREE_COVER = 0.2, 0.4  # a box that overlaps another track's by more is that one's
ALIKE = 0.85  # of two boxes one after the other, the lower over the higher


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


def reach(
    frames: Mapping[int, Weak],
    ends: Mapping[int, tuple[int, F32]],
    *,
    most_s: float,
    backward: bool,
) -> list[tuple[int, int, F32, float]]:
    """Rows that lead on from each track's end: (frame, track, box, score). Each detection is taken once.

    Args:
        frames: what nobody had, by frame; frames that are not there were not looked at.
        ends: track -> frame and box of its first box (``backward``) or of its last.
        most_s: no track is carried on for longer.
    """
    starts: dict[int, list[int]] = {}
    for number, (frame, _) in sorted(ends.items()):
        starts.setdefault(frame, []).append(number)
    moving: dict[int, tuple[F32, int, int]] = {}  # box, when seen, since when
    found = []
    for frame in sorted({*frames, *starts}, reverse=backward):
        weak = frames.get(frame)
        if weak is not None:
            moving = {
                n: (box, seen_ns, since_ns)
                for n, (box, seen_ns, since_ns) in moving.items()
                if abs(weak.t_ns - seen_ns) <= MISSED_S * 1e9 and abs(weak.t_ns - since_ns) <= most_s * 1e9
            }
            numbers = sorted(moving)
            if numbers and len(weak.boxes):
                last = np.stack([moving[n][0] for n in numbers])
                cost = 1 - iou(last, weak.boxes)
                height, other = last[:, 3] - last[:, 1], weak.boxes[:, 3] - weak.boxes[:, 1]
                lower, higher = np.minimum(height[:, None], other), np.maximum(height[:, None], other)
                matched = assign(np.where(lower >= ALIKE * higher, cost, np.inf), 1 - MIN_IOU)
                for k, row in zip(matched.rows, matched.columns, strict=True):
                    box = weak.boxes[row]
                    found.append((frame, numbers[k], box, float(weak.scores[row])))
                    moving[numbers[k]] = (box, weak.t_ns, moving[numbers[k]][2])
            for number in starts.get(frame, []):
                moving[number] = (ends[number][1], weak.t_ns, weak.t_ns)
    return found
