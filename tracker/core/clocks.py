"""Times that another clock said, laid on ours.

A camera's stream, or another machine, says when something was; it arrives at a time of our clock. The way there takes
long, or longer, but never less than no time. So what lies lowest of (arrival - said) is the clocks' difference with the
shortest way, and all above it is what jammed on the way.
"""

from __future__ import annotations

from collections import deque

SECOND_NS = 1_000_000_000
WINDOW = 300  # seconds of the other clock that are looked at: 1 ms of jitter over them is 3 ppm
FIRST_DRIFT_S = 60  # before that a slope is jitter: 20 ms over 10 s would be 2,000 ppm
MOST_DRIFT = 500e-6  # quartz is good to 100 ppm, a cheap one to a few times that; what is more is no drift
MOST_OFF_NS = SECOND_NS  # a stream this far from where its line says has jumped
MOST_LATE_S = 5.0  # or else is jammed, which ends; a stream that stood still meanwhile stays late
MOST_LATENCY_NS = 2 * SECOND_NS  # from lens to us; a clock that says more is behind, not its picture late
CLOSE_NS = SECOND_NS // 20  # clocks kept by NTP may put an arrival this long before its capture
SLEW = 0.1  # corrections make time run so much faster or slower, never jump back


class ClockLine:
    """The highest straight line under all points (said, arrival - said): another clock's offset and drift.

    Of all lines below the points it is the one nearest to them: the edge of their lower convex hull at their mean time
    (Moon, Skelly and Towsley, "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999).
    Delays of any size and number do not move it, as long as some arrivals are prompt.
    """

    def __init__(self) -> None:
        self._zero_ns: tuple[int, int] | None = None  # the first point; all others are seconds from it
        self._lowest: deque[tuple[float, float]] = deque(maxlen=WINDOW)  # of each second
        self._slope = self._height_s = 0.0

    @property
    def is_empty(self) -> bool:
        """Nothing has been heard."""
        return self._zero_ns is None

    @property
    def drift_ppm(self) -> float:
        """How much faster our clock runs than the other, in millionths; 0 within the first minute."""
        return self._slope * 1e6

    def offset_ns(self, said_ns: int) -> int:
        """What to add to a time of the other clock for the time at which it arrives, had nothing jammed."""
        if self._zero_ns is None:
            return 0
        since_s = (said_ns - self._zero_ns[0]) / SECOND_NS
        return self._zero_ns[1] + round((self._height_s + self._slope * since_s) * SECOND_NS)

    def hear(self, said_ns: int, arrived_ns: int) -> None:
        """Something of this time has arrived. Times are expected to rise; an earlier one counts as well."""
        if self._zero_ns is None:
            self._zero_ns = said_ns, arrived_ns - said_ns
        point = (
            (said_ns - self._zero_ns[0]) / SECOND_NS,
            (arrived_ns - said_ns - self._zero_ns[1]) / SECOND_NS,
        )
        if self._lowest and point[0] // 1.0 <= self._lowest[-1][0] // 1.0:
            self._lowest[-1] = min(self._lowest[-1], point, key=lambda p: p[1])
            self._height_s = min(self._height_s, point[1] - self._slope * point[0])
            return
        self._lowest.append(point)
        self._slope = self._drift()
        self._height_s = min(y - self._slope * x for x, y in self._lowest)

    def _drift(self) -> float:
        if self._lowest[-1][0] - self._lowest[0][0] < FIRST_DRIFT_S:
            return 0.0
        middle_s = sum(x for x, _ in self._lowest) / len(self._lowest)
        hull: list[tuple[float, float]] = []
        for point in self._lowest:
            while len(hull) > 1 and _is_above(hull[-1], hull[-2], point):
                hull.pop()
            hull.append(point)
        (x0, y0), (x1, y1) = next((a, b) for a, b in zip(hull, hull[1:], strict=False) if b[0] >= middle_s)
        return max(-MOST_DRIFT, min((y1 - y0) / (x1 - x0), MOST_DRIFT))


def _is_above(point: tuple[float, float], left: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether a point is on or above the straight line from its left to its right neighbour."""
    slope_right = (right[1] - left[1]) * (point[0] - left[0])
    return (point[1] - left[1]) * (right[0] - left[0]) >= slope_right


class StreamClock:
    """When the frames of one live stream were taken, by our clock.

    What the camera itself says counts where it can be: where it lies between 50 ms after and ``most_latency_ns`` before
    the arrival of a prompt frame; that none is prompt is known after 5 s. Else it is the arrival without what jammed,
    but with the shortest way: nothing says how long that is. The time rises from frame to frame; a correction makes it
    run a tenth faster or slower.
    """

    def __init__(self, most_latency_ns: int = MOST_LATENCY_NS) -> None:
        self._most_latency_ns = most_latency_ns
        self._line = ClockLine()
        self._first_ns: int | None = None  # arrival of the first frame
        self._last: tuple[int, int] | None = None  # of the last frame: stream, capture
        self._late_since_ns: int | None = None
        self.camera_offset_ns: int | None = (
            None  # its wall clock less ours, the shortest way included; None: says none
        )
        self.jumps = 0

    @property
    def drift_ppm(self) -> float:
        """How much faster our clock runs than the stream's, in millionths."""
        return self._line.drift_ppm

    @property
    def is_believed(self) -> bool:
        """Whether capture times are the camera's own."""
        return self._is_believed

    def place(self, stream_ns: int, arrived_ns: int, camera_ns: int | None = None) -> int:
        """The capture time of the next frame; at least 1 ms after the one before.

        Args:
            stream_ns: the frame's time in the stream, from whatever zero.
            arrived_ns: when it came, by our clock.
            camera_ns: when it was taken by the camera's wall clock, where the camera says so.
        """
        self._first_ns = arrived_ns if self._first_ns is None else self._first_ns
        if self._has_jumped(stream_ns, arrived_ns):
            self.jumps += 1
            self._line, self._late_since_ns = ClockLine(), None
            before = None
        else:
            before = self._last
        self._line.hear(stream_ns, arrived_ns)
        t_ns = stream_ns + self._line.offset_ns(stream_ns)
        self.camera_offset_ns, self._is_believed = None, False
        if camera_ns is not None:
            offset_ns = self.camera_offset_ns = camera_ns - t_ns
            is_behind = (
                offset_ns < -self._most_latency_ns and arrived_ns - self._first_ns > MOST_LATE_S * SECOND_NS
            )
            self._is_believed = offset_ns <= CLOSE_NS and not is_behind
            if self._is_believed:
                t_ns = min(camera_ns, arrived_ns)
        if before is not None:
            passed_ns = stream_ns - before[0]
            slowest_ns, fastest_ns = (before[1] + round(passed_ns * (1 + way)) for way in (-SLEW, SLEW))
            # A gap does no harm, so whoever is far behind need not creep; backwards there is no other way.
            t_ns = (
                max(t_ns, slowest_ns)
                if t_ns - fastest_ns > MOST_OFF_NS
                else _between(slowest_ns, t_ns, fastest_ns)
            )
            t_ns = min(
                t_ns, arrived_ns + MOST_OFF_NS
            )  # what was kept for us while we connected comes all at once
        if self._last is not None:
            t_ns = max(t_ns, self._last[1] + SECOND_NS // 1000)
        self._last = stream_ns, t_ns
        return t_ns

    def go_on_from(self, stream_ns: int, t_ns: int) -> None:
        """Before the first frame: there was one that could not say its own time, which is taken to have been this."""
        self._last = stream_ns, t_ns

    def _has_jumped(self, stream_ns: int, arrived_ns: int) -> bool:
        if self._last is None or self._line.is_empty:
            return False
        late_ns = arrived_ns - stream_ns - self._line.offset_ns(stream_ns)
        if late_ns <= MOST_OFF_NS:
            self._late_since_ns = None
        elif self._late_since_ns is None:
            self._late_since_ns = arrived_ns
        jammed_ns = 0 if self._late_since_ns is None else arrived_ns - self._late_since_ns
        return stream_ns < self._last[0] or late_ns < -MOST_OFF_NS or jammed_ns > MOST_LATE_S * SECOND_NS


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))
