"""When pictures are taken, which arrive, and what the camera's clock says."""

from __future__ import annotations

import numpy as np
import pytest

from scenes.clock import SEGMENT_S, Clock, segments
from scenes.settings import Camera


def clock(seconds: float = 10.0, fps: float = 10.0, seed: int = 0, **said: float) -> Clock:
    camera = Camera(at=(0, 0, 3), look=(1, 0, 1), **said)  # type: ignore[arg-type]
    return Clock("gate", camera, seed=seed, fps=fps, seconds=seconds)


def whole(one: Clock, column: str) -> np.ndarray:
    return np.concatenate([getattr(one.frames(k), column) for k in range(one.segments)])


def test_segments_follow_each_other_without_a_hole():
    one = clock(seconds=6.0)  # 2.5 + 2.5 + 1 s
    assert one.segments == segments(6.0) == 3
    assert [len(one.frames(k).numbers) for k in range(3)] == [25, 25, 10]
    assert whole(one, "numbers").tolist() == list(range(1, 61))
    assert whole(one, "true_s") == pytest.approx(np.arange(60) / 10)
    assert one.count == 60


@pytest.mark.parametrize("fps", [3.0, 7.3, 12.5, 29.97])
def test_any_rate_loses_no_frame_between_segments(fps: float):
    one = clock(seconds=4 * SEGMENT_S, fps=fps)
    assert whole(one, "true_s") == pytest.approx(np.arange(one.count) / fps)
    assert one.count == np.ceil(4 * SEGMENT_S * fps)


def test_a_camera_may_have_a_rate_of_its_own():
    assert clock(fps=10.0).count == 100
    one = Clock("a", Camera(at=(0, 0, 3), look=(1, 0, 1), fps=4), seed=0, fps=10, seconds=10)
    assert one.count == 40


def test_the_stamp_is_ahead_by_the_offset_and_runs_by_the_drift():
    one = clock(clock_offset=0.4, clock_drift=1000.0)  # a thousandth fast
    last = one.frames(3)
    assert last.true_s[-1] == pytest.approx(9.9)
    assert last.stamped_s[-1] == pytest.approx(9.9 * 1.001 + 0.4)


def test_lost_frames_have_no_number_and_the_others_keep_their_time():
    one = clock(seconds=200.0, drops=0.25)
    numbers, true_s = whole(one, "numbers"), whole(one, "true_s")
    assert numbers.tolist() == list(range(1, one.count + 1))
    assert true_s[0] == 0.0  # the first always arrives
    taken = np.round(true_s * 10).astype(int)
    assert true_s == pytest.approx(taken / 10)
    # 2000 pictures, a quarter lost: 1500 arrive, standard deviation sqrt(2000 / 4 * 3 / 4) = 19
    assert abs(one.count - 1500) < 5 * 19
    assert whole(one, "followed").tolist() == [t + 1 in set(taken.tolist()) for t in taken.tolist()]


def test_what_is_lost_depends_on_seed_and_camera_alone():
    assert whole(clock(drops=0.3), "true_s").tolist() == whole(clock(drops=0.3), "true_s").tolist()
    assert whole(clock(drops=0.3), "true_s").tolist() != whole(clock(drops=0.3, seed=1), "true_s").tolist()
    # the beginning of a longer recording is the shorter one
    long, short = whole(clock(20.0, drops=0.3), "true_s"), whole(clock(10.0, drops=0.3), "true_s")
    assert long[: len(short)].tolist() == short.tolist()


def test_all_may_be_lost_but_the_first():
    assert clock(drops=1.0).count == 1
