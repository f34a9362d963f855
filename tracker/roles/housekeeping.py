"""What every process of a role does: write its figures, keep its files to itself, stop when asked to."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tracker.types import (
    CameraId,
)

log = logging.getLogger(__name__)

_METRICS_S = 2.0  # how often a process writes its figures
_unwritten: set[Path] = set()  # files of this process that could not be written when last tried
_RATE_OF = 5  # times that it has written them: frames a second are those of the last ten seconds


class Metrics(msgspec.Struct, kw_only=True):
    """What one process did, as written to ``<out>/metrics/<name>.json``."""

    name: str
    run: int = 0
    pid: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    rss_bytes: int = 0  # memory that it holds; 0 where the system does not say
    counters: dict[str, float] = {}
    cameras: dict[CameraId, dict[str, Any]] = {}


_report: Callable[[Metrics], None] = lambda metrics: None  # noqa: E731  (see report_to)


def report_to(tell: Callable[[Metrics], None]) -> None:
    """From here on ``tell`` hears all figures of this process: those in files only say that there is a disk."""
    global _report
    _report = tell


class MetricsFile:
    """Writes a process's metrics now and then, always whole."""

    def __init__(
        self, path: Path | None, run: int = 0, *, tell: Callable[[Metrics], None] = lambda metrics: None
    ) -> None:
        """``path``: None writes nothing. ``tell`` hears the same figures, and so does whom ``report_to`` named."""
        self._path, self._run, self._tell = path, run, tell
        self._began_s = self._written_s = time.monotonic()
        self._processed: deque[tuple[float, dict[CameraId, int]]] = deque(maxlen=_RATE_OF + 1)

    def is_due(self) -> bool:
        return time.monotonic() - self._written_s >= _METRICS_S

    def write(self, counters: Mapping[str, float], cameras: Mapping[CameraId, dict[str, Any]]) -> None:
        self._written_s = time.monotonic()
        metrics = Metrics(
            name=self._path.stem if self._path is not None else "",
            run=self._run,
            pid=os.getpid(),
            wall_s=self._written_s - self._began_s,
            cpu_s=time.process_time(),
            rss_bytes=resident_bytes(),
            counters=dict(counters),
            cameras=self._with_rates(cameras),
        )
        self._tell(metrics)
        _report(metrics)
        if self._path is not None:
            write_whole(self._path, msgspec.json.encode(metrics))

    def _with_rates(self, cameras: Mapping[CameraId, dict[str, Any]]) -> dict[CameraId, dict[str, Any]]:
        """The same with frames processed a second, where frames are counted."""
        now = {c: counts["processed"] for c, counts in cameras.items() if "processed" in counts}
        self._processed.append((self._written_s, now))
        since_s, before = self._processed[0]
        span_s = self._written_s - since_s
        rates = {c: {"fps": round((n - before.get(c, 0)) / span_s, 2)} for c, n in now.items() if span_s > 0}
        return {c: dict(counts) | rates.get(c, {}) for c, counts in cameras.items()}


def resident_bytes() -> int:
    """Memory that this process holds; 0 on systems without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def private_folder(path: Path) -> Path:
    """A folder; it and those above it that have to be made only their owner can enter. Raises OSError."""
    for folder in reversed([one for one in (path, *path.parents) if not one.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that nobody ever sees half written. A full disk costs the figures, not the run.

    That it cannot be written is said once, and once that it can be again.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        private_folder(path.parent)
        fresh.unlink(missing_ok=True)  # an old one could have another mode
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        if path not in _unwritten:
            _unwritten.add(path)
            log.warning("%s: cannot be written (%s); trying on", path, error)
    else:
        if path in _unwritten:
            _unwritten.remove(path)
            log.warning("%s: can be written again", path)


def tell_systemd(state: str) -> None:
    """Say ``READY=1``, ``WATCHDOG=1`` or ``STOPPING=1`` to the service manager that started us, if one did."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(state.encode(), address.replace("@", "\0", 1))


@contextlib.contextmanager
def stopped_by_signals(given: threading.Event | None) -> Iterator[threading.Event]:
    """An event that Ctrl-C and a polite kill set; a second Ctrl-C ends at once. Whoever gave one sets it himself."""
    stop = given or threading.Event()
    if given is not None or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, _: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
