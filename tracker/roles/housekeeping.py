"""What every process of a role does: write its figures, stop when asked to."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tracker.types import (
    CameraId,
)

log = logging.getLogger(__name__)

_METRICS_S = 2.0  # how often a process writes its figures


class Metrics(msgspec.Struct, kw_only=True):
    """What one process did, as written to ``<out>/metrics/<name>.json``."""

    name: str
    run: int = 0
    pid: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    counters: dict[str, float] = {}
    cameras: dict[CameraId, dict[str, Any]] = {}


class MetricsFile:
    """Writes a process's metrics now and then, always whole."""

    def __init__(self, path: Path | None, run: int = 0) -> None:
        self._path, self._run = path, run
        self._began_s = self._written_s = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self._written_s >= _METRICS_S

    def write(self, counters: Mapping[str, float], cameras: Mapping[CameraId, dict[str, Any]]) -> None:
        self._written_s = time.monotonic()
        if self._path is None:
            return
        metrics = Metrics(
            name=self._path.stem,
            run=self._run,
            pid=os.getpid(),
            wall_s=self._written_s - self._began_s,
            cpu_s=time.process_time(),
            counters=dict(counters),
            cameras=dict(cameras),
        )
        write_whole(self._path, msgspec.json.encode(metrics))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that nobody ever sees half written. A full disk costs the figures, not the run."""
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        os.replace(fresh, path)
    except OSError as error:
        log.warning("%s: cannot be written (%s)", path, error)


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
