"""Tracks of a recording carried on over weak detections."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.scenes import S, at, person_box
from tracker.core.reach import Weak, reach, unclaimed
from tracker.process import SPOOL, reached

STEP_S = 0.1
SURE = defaultdict(lambda: 0.3)  # mean scores of the tracks: 0.2 is above a third of it


def weak(frame: int, *boxes: NDArray[np.float32]) -> Weak:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return Weak(at(frame * STEP_S), rows, np.full(len(rows), 0.2, np.float32))


def walk(frame: int, *, to: int = 20, x: float = 300.0) -> NDArray[np.float32]:
    """4 px a frame; at ``x`` in frame ``to``."""
    return person_box(x + 4 * (frame - to))


def test_a_track_begins_where_it_was_first_seen_badly():
    frames = {n: weak(n, walk(n)) for n in range(5, 20)}
    frames[20] = weak(20)
    found = reach(frames, {7: (20, walk(20))}, SURE, most_s=10, backward=True)
    assert [frame for frame, *_ in found] == list(range(19, 4, -1))
    assert all(number == 7 and score == np.float32(0.2) for _, number, _, score in found)
    assert reach(frames, {7: (20, walk(20))}, SURE, most_s=10, backward=False) == []


def test_who_is_unseen_for_longer_than_half_a_second_has_not_come_yet():
    frames = {n: weak(n, walk(n)) if n not in (10, 11, 12, 13, 14) else weak(n) for n in range(21)}
    found = reach(frames, {1: (20, walk(20))}, SURE, most_s=10, backward=True)
    assert min(frame for frame, *_ in found) == 15  # from 15 to 9 it is 0.6 s


def test_nothing_is_carried_on_for_longer_than_it_may():
    frames = {n: weak(n, person_box(300)) for n in range(200)}
    found = reach(frames, {1: (100, person_box(300))}, SURE, most_s=3.0, backward=False)
    assert [frame for frame, *_ in found] == list(range(101, 131))


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.4, 0.4, 0.4], 3),  # over the bar of 0.9 / 3 = 0.3 all along
        ([0.4, 0.2, 0.2], 1),  # 0.1, 0.0, -0.1: never again as much as after the first
        ([0.2, 0.2, 0.6], 3),  # -0.1, -0.2, 0.1
        ([0.4, 0.0, 0.4, 0.6], 4),  # a frame that misses it: 0.1, -0.2, -0.1, 0.2
        ([0.4, 0.0, 0.4, 0.4], 1),  # 0.1, -0.2, -0.1, 0.0
        ([0.2, 0.3, 0.3], 0),  # -0.1, and never above 0
    ],
)
def test_a_track_goes_on_as_long_as_it_is_seen_a_third_as_surely_as_itself(scores: list[float], kept: int):
    frames = {0: weak(0)}
    for n, score in enumerate(scores, 1):
        frames[n] = weak(n, person_box(300)) if score else weak(n)
        frames[n].scores[:] = score
    found = reach(frames, {1: (0, person_box(300))}, {1: 0.9}, most_s=10, backward=False)
    assert [frame for frame, *_ in found] == [n for n, score in enumerate(scores[:kept], 1) if score]


def test_each_detection_is_taken_once_and_by_the_nearer():
    frames = {n: weak(n, person_box(300)) for n in range(5)} | {5: weak(5)}
    ends = {1: (5, person_box(305)), 2: (5, person_box(320))}
    found = reach(frames, ends, SURE, most_s=10, backward=True)
    assert [(frame, number) for frame, number, *_ in found] == [(n, 1) for n in (4, 3, 2, 1, 0)]


def test_a_box_of_another_size_is_somebody_else():
    frames = {4: weak(4, person_box(300, height=160)), 5: weak(5)}  # 160 / 200 < 0.85
    assert reach(frames, {1: (5, person_box(300))}, SURE, most_s=10, backward=True) == []


def test_what_lies_on_a_track_is_not_free():
    boxes = np.array([person_box(300), person_box(330), person_box(700)], np.float32)
    free, scores = unclaimed(
        boxes, np.array([0.3, 0.2, 0.1], np.float32), np.array([person_box(300)], np.float32)
    )
    assert free.tolist() == [person_box(700).tolist()] and scores.tolist() == [np.float32(0.1)]


def test_rows_of_a_camera_are_carried_on_both_ways():
    rows = np.zeros(3, SPOOL)
    for n, frame in enumerate((10, 11, 12)):
        rows[n] = (frame, 4, walk(frame), 0.9, at(frame * STEP_S))
    seen = np.zeros(25, SPOOL)
    for frame in range(25):
        seen[frame] = (frame, 0, walk(frame), 0.4, at(frame * STEP_S))
    seen[18]["box"] = 0  # nothing was seen
    more = reached(rows, seen, 10.0)
    assert sorted(more["frame"].tolist()) == [n for n in range(25) if n not in (10, 11, 12, 18)]
    assert set(more["number"].tolist()) == {4}
    assert more["t_ns"].tolist() == [round(f * STEP_S * S) for f in more["frame"].tolist()]
    assert len(reached(rows, seen[:0], 10.0)) == 0
