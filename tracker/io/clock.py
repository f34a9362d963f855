"""The wall's time and a recording's time (`tracker.stages.Clock`)."""

from __future__ import annotations

import threading
import time

LONGEST_NAP_S = 0.2  # so that a clock set anew by NTP is noticed


class WallClock:
    """The machine's own time."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.time_ns()

    def sleep_until(self, t_ns: int) -> None:
        """Return once it is ``t_ns``; at once where that is past."""
        while (left_ns := t_ns - time.time_ns()) > 0:
            time.sleep(min(left_ns / 1e9, LONGEST_NAP_S))


class ReplayClock:
    """A clock that stands still until it is told to go on, and sleeps by going on. Safe to share by threads."""

    def __init__(self, t_ns: int = 0) -> None:
        self._t_ns = t_ns
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """The time it was last brought to."""
        return self._t_ns

    def sleep_until(self, t_ns: int) -> None:
        """Bring it forward to ``t_ns``; it never goes back."""
        with self._lock:
            self._t_ns = max(self._t_ns, t_ns)
