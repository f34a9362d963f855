"""Other clocks laid on ours: laws of the line, and what a stream's time goes through."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.core.clocks import SECOND_NS, ClockLine, StreamClock

MS = SECOND_NS // 1000


def heard(points: list[tuple[float, float]]) -> ClockLine:
    """Of (said s, arrived s)."""
    line = ClockLine()
    for said_s, arrived_s in points:
        line.hear(round(said_s * SECOND_NS), round(arrived_s * SECOND_NS))
    return line


def test_a_line_lies_under_the_promptest_arrivals():
    # The other clock is 2 s behind ours and arrivals take 10, 30, 20 ms: 2.010 s is the least.
    line = heard([(0.0, 2.010), (0.1, 2.130), (0.2, 2.220)])
    assert line.offset_ns(round(0.3 * SECOND_NS)) == pytest.approx(2.010 * SECOND_NS, abs=1)
    assert line.drift_ppm == 0  # of three frames nobody can tell


def test_nothing_heard_is_no_offset():
    assert ClockLine().offset_ns(123) == 0


@pytest.mark.parametrize("drift_ppm", [200.0, -200.0, 0.0])
def test_drift_is_found_under_jitter_and_jams(drift_ppm):
    rng = np.random.default_rng(3)
    said_s = np.arange(0, 600, 0.1)
    way_s = 0.02 + rng.exponential(0.02, len(said_s))
    way_s[2000:2300] += 3.0  # half a minute of jam
    arrived_s = 5.0 + said_s * (1 + drift_ppm / 1e6) + way_s
    line = heard(list(zip(said_s.tolist(), arrived_s.tolist(), strict=True)))
    assert line.drift_ppm == pytest.approx(drift_ppm, abs=10)
    # 5 s, the shortest way of 20 ms, and 600 s of drift.
    expected_s = 5.02 + 600 * drift_ppm / 1e6
    assert line.offset_ns(600 * SECOND_NS) / SECOND_NS == pytest.approx(expected_s, abs=0.005)


def test_moving_either_clock_moves_the_offset_by_as_much():
    rng = np.random.default_rng(5)
    said_s = np.arange(0, 100, 0.5)
    arrived_s = said_s + rng.exponential(0.05, len(said_s))
    plain = heard(list(zip(said_s.tolist(), arrived_s.tolist(), strict=True)))
    moved = heard(list(zip((said_s - 7).tolist(), arrived_s.tolist(), strict=True)))
    assert moved.offset_ns(93 * SECOND_NS) - plain.offset_ns(100 * SECOND_NS) == pytest.approx(
        7 * SECOND_NS, abs=1000
    )


def placed(clock: StreamClock, frames: list[tuple[float, float]]) -> list[float]:
    """Of (stream s, arrived s): capture times in s."""
    return [clock.place(round(s * SECOND_NS), round(a * SECOND_NS)) / SECOND_NS for s, a in frames]


def test_a_jam_leaves_capture_times_where_they_were():
    """A stall of 3 s whose frames then came at once used to stamp all of them with their arrival."""
    frames = [(0.1 * n, 10 + 0.1 * n) for n in range(20)]
    frames += [(2 + 0.1 * n, 15.0 + 0.001 * n) for n in range(30)]  # those of 2..5 s, all at 15 s
    frames += [(5 + 0.1 * n, 15.03 + 0.1 * n) for n in range(10)]
    clock = StreamClock()
    assert placed(clock, frames) == pytest.approx([10 + s for s, _ in frames], abs=1e-6)
    assert clock.jumps == 0


def test_time_rises_through_jumps_of_the_stream_and_stays_with_the_arrivals():
    arrived = [100 + 0.1 * n for n in range(400)]
    stream = [0.1 * n + (0, -3600, 50, 0.4)[n // 100] for n in range(400)]
    clock = StreamClock()
    times = placed(clock, list(zip(stream, arrived, strict=True)))
    assert all(b > a for a, b in zip(times, times[1:], strict=False))
    # An hour back; 3,650 s ahead; 49.6 s back: three jumps, and nothing is ever off by more than a frame.
    assert clock.jumps == 3
    assert np.abs(np.array(times) - arrived).max() <= 0.1


def test_a_stream_that_stood_still_for_a_while_is_believed_late_for_five_seconds_only():
    # The camera's own time did not count 3 s that passed: late, as if it were a jam, but it does not end.
    frames = [(0.1 * n, 0.1 * n) for n in range(50)] + [(0.1 * n, 3 + 0.1 * n) for n in range(50, 150)]
    clock = StreamClock()
    times = placed(clock, frames)
    lag = [a - t for (_, a), t in zip(frames, times, strict=True)]
    assert lag[99] == pytest.approx(3.0, abs=1e-6) and clock.jumps == 1
    assert lag[-1] == pytest.approx(0.0, abs=1e-6)


def test_a_camera_whose_wall_clock_can_be_right_says_when():
    # 0.4 s from the lens to us: the camera says so itself.
    clock = StreamClock()
    for n in range(100):
        t_ns = clock.place(n * 100 * MS, (n * 100 + 400) * MS, n * 100 * MS)
    assert t_ns == 99 * 100 * MS and clock.is_believed
    assert clock.camera_offset_ns == -400 * MS


@pytest.mark.parametrize("off_s", [2.5, -3.0, 3600.0])
def test_a_camera_whose_wall_clock_is_off_is_not_believed(off_s):
    clock = StreamClock()
    for n in range(100):  # 10 s; one that is behind is given 5 s to be prompt
        camera_ns = n * 100 * MS + round(off_s * SECOND_NS)
        t_ns = clock.place(n * 100 * MS, n * 100 * MS, camera_ns)
    assert t_ns == 99 * 100 * MS and not clock.is_believed
    assert clock.camera_offset_ns == round(off_s * SECOND_NS)


def test_a_camera_that_begins_to_say_the_time_makes_ours_run_slower_not_back():
    clock = StreamClock()
    times = [
        clock.place(n * 100 * MS, n * 100 * MS + 400 * MS, n * 100 * MS if n >= 5 else None)
        for n in range(60)
    ]
    steps = np.diff(times)
    # 400 ms at a tenth of 100 ms a frame: 40 frames of 90 ms.
    assert steps.min() == 90 * MS and (steps == 90 * MS).sum() == 40 and times[-1] == 59 * 100 * MS


def test_what_waited_for_us_is_not_taken_for_a_clock_that_is_behind():
    # A minute of messages comes at once, then the rest as it happens: they said the truth all along.
    said = [0.1 * n for n in range(700)]
    clock = StreamClock(most_latency_ns=SECOND_NS)
    for s in said:
        ns = round(s * SECOND_NS)
        assert clock.place(ns, max(ns, 60 * SECOND_NS) + n_ms(s), ns) == ns
    assert clock.is_believed and clock.jumps == 0


def n_ms(s: float) -> int:
    """What came at once came a tenth of a millisecond apart, so that arrivals rise."""
    return round(s * MS)
