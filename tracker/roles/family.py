"""Live on one machine: a process for the linker, some for workers, started again when they die."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import msgspec
import zmq

from models import ModelError
from tracker.config import BusSettings, Site
from tracker.errors import UserError
from tracker.roles.following import WARM_UP_S, check_cameras, worker
from tracker.roles.housekeeping import Metrics, stopped_by_signals, write_whole
from tracker.roles.linking import linker
from tracker.types import (
    CameraId,
)

log = logging.getLogger(__name__)

_REPORT_S = 10.0


def live(
    site: Site,
    out: Path | None = None,
    *,
    duration_s: float | None = None,
    stop: threading.Event | None = None,
    report: Callable[[str], None] = log.info,
) -> dict[str, Any]:
    """Everything on this machine: a linker and its workers, until Ctrl-C or until all recordings are over.

    A process that dies is started again: a worker as a new run, the linker from its checkpoint.

    Args:
        out: folder for log, checkpoint, metrics and ``live.json``; None: the site's.
        duration_s: stop after so long; None: when asked to.
        report: is told every ten seconds, and at the end, how it goes.

    Returns:
        What ``live.json`` holds: frames, dropped frames and latency of each camera, CPU seconds of each process.

    Raises:
        UserError: anything that cannot be used, before the first frame.
    """
    out = Path(site.live.out) if out is None else out
    check_cameras(site, list(site.cameras))
    try:
        (out / "metrics").mkdir(parents=True, exist_ok=True)
        for old in (out / "metrics").glob("*.json"):
            old.unlink()
    except OSError as error:
        raise UserError(f"{out}: is no folder that can be written ({error}); give another one") from error
    with (
        tempfile.TemporaryDirectory(prefix="throughline-") as folder,
        stopped_by_signals(stop) as asked,
        _Family(_with_local_ingest(site, Path(folder)), out) as family,
    ):
        began_s = reported_s = time.monotonic()
        while not asked.is_set() and not family.is_over:
            family.look_after(0.2)
            now_s = time.monotonic()
            if now_s - reported_s >= _REPORT_S:
                reported_s = now_s
                report(_told(family.figures(now_s - began_s)))
            if duration_s is not None and now_s - began_s >= duration_s:
                break
        family.stop()
        figures = family.figures(time.monotonic() - began_s)
    write_whole(out / "live.json", json.dumps(figures, indent=1).encode())
    report(_told(figures))
    return figures


def _with_local_ingest(site: Site, folder: Path) -> Site:
    """Workers on this machine reach the linker without a port, unless the site names an endpoint for others."""
    if site.bus.ingest != BusSettings().ingest or not zmq.has("ipc"):
        return site
    bus = site.bus.model_copy(update={"ingest": f"ipc://{folder}/ingest"})
    return site.model_copy(update={"bus": bus})


@dataclass
class _Child:
    """One process, and the pipe on which it says 'ready' or why not, and hears 'begin' and 'stop'."""

    name: str
    camera_ids: list[CameraId] | None  # None: the linker
    process: BaseProcess
    pipe: Connection
    is_ready: bool = False
    is_over: bool = False
    starts: int = 1
    cpu_s: float = 0.0  # of its earlier lives
    earlier: dict[CameraId, dict[str, Any]] = field(default_factory=dict)


class _Family:
    """The processes of ``live``: started together, looked after, stopped in order."""

    def __init__(self, site: Site, out: Path) -> None:
        self._site, self._out = site, out
        self._context = multiprocessing.get_context("spawn")
        self._begin_ns: int | None = None
        self._stopping = False
        names = list(site.cameras)
        count = min(site.live.workers or _cores(), len(names))
        self._linker = self._start("linker", None)
        self._workers = [self._start(f"worker-{n}", names[n::count]) for n in range(count)]

    @property
    def is_over(self) -> bool:
        """Every worker has done all its recordings."""
        return all(child.is_over for child in self._workers)

    def look_after(self, timeout_s: float) -> None:
        """Hear what the processes say; start again what died."""
        children = [child for child in (self._linker, *self._workers) if not child.is_over]
        wait([child.pipe for child in children] + [child.process.sentinel for child in children], timeout_s)
        for child in children:
            while child.pipe.poll():
                try:
                    word, text = child.pipe.recv()
                except (EOFError, OSError):
                    break
                if word == "problem":
                    raise UserError(text)
                child.is_ready |= word == "ready"
                if word == "ready" and child.camera_ids is not None:
                    self._begin(child)
                child.is_over |= word == "over"
            if not child.is_over and not child.process.is_alive() and not self._stopping:
                self._restart(child)
        if all(child.is_ready for child in (self._linker, *self._workers)) and self._begin_ns is None:
            self._begin_ns = time.time_ns() + 10**8
            for child in self._workers:
                self._begin(child)

    def stop(self) -> None:
        """Workers first, so that the linker still hears their last word."""
        self._stopping = True
        for children in (self._workers, [self._linker]):
            for child in children:
                with contextlib.suppress(OSError):
                    child.pipe.send(("stop", None))
            for child in children:
                child.process.join(15.0)
                if child.process.is_alive():
                    log.warning("%s does not stop; killing it", child.name)
                    child.process.kill()
                    child.process.join()
                child.is_over = True

    def figures(self, wall_s: float) -> dict[str, Any]:
        """What all processes have counted, as last written by them."""
        found = {child.name: self._metrics(child) for child in (self._linker, *self._workers)}
        cameras: dict[CameraId, dict[str, Any]] = {}
        for child in self._workers:
            metrics = found[child.name]
            for camera_id in child.camera_ids or ():
                now = metrics.cameras.get(camera_id, {}) if metrics is not None else {}
                counts = _summed(child.earlier.get(camera_id, {}), now)
                cameras[camera_id] = counts
                if counts.get("read_warm"):
                    counts["dropped_share"] = round(counts["dropped_warm"] / counts["read_warm"], 5)
        linker = found[self._linker.name]
        for camera_id, told in (linker.cameras if linker is not None else {}).items():
            cameras.setdefault(camera_id, {}).update(
                {name: value for name, value in told.items() if name.startswith("latency")}
            )
        return {
            "schema_version": 1,
            "wall_s": round(wall_s, 3),
            "cameras": cameras,
            "processes": {
                child.name: {
                    "starts": child.starts,
                    "cpu_s": round(child.cpu_s + (metrics.cpu_s if metrics is not None else 0.0), 2),
                    "counters": metrics.counters if metrics is not None else {},
                }
                for child in (self._linker, *self._workers)
                for metrics in [found[child.name]]
            },
        }

    def _start(self, name: str, camera_ids: list[CameraId] | None) -> _Child:
        ours, theirs = self._context.Pipe()
        level = logging.getLogger().getEffectiveLevel()
        process = self._context.Process(
            target=_run_child, args=(theirs, self._site, self._out, name, camera_ids, level), name=name
        )
        with _one_blas_thread():
            process.start()
        theirs.close()
        return _Child(name, camera_ids, process, ours)

    def _begin(self, child: _Child) -> None:
        if self._begin_ns is not None:
            with contextlib.suppress(OSError):  # it died; it will be started again
                child.pipe.send(("begin", self._begin_ns))

    def _restart(self, child: _Child) -> None:
        log.warning("%s died (exit code %s); starting it again", child.name, child.process.exitcode)
        if not child.is_ready and child.starts > 3:
            raise UserError(f"{child.name} dies whenever it is started; run with --verbose to see why")
        metrics = self._metrics(child)
        if metrics is not None:
            child.cpu_s += metrics.cpu_s
            for camera_id, counts in metrics.cameras.items():
                child.earlier[camera_id] = _summed(child.earlier.get(camera_id, {}), counts)
            self._metrics_path(child).unlink(missing_ok=True)
        child.pipe.close()
        fresh = self._start(child.name, child.camera_ids)
        child.process, child.pipe, child.is_ready = fresh.process, fresh.pipe, False
        child.starts += 1

    def _metrics_path(self, child: _Child) -> Path:
        return self._out / "metrics" / f"{child.name}.json"

    def _metrics(self, child: _Child) -> Metrics | None:
        try:
            return msgspec.json.decode(self._metrics_path(child).read_bytes(), type=Metrics)
        except (OSError, msgspec.MsgspecError):
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for child in (self._linker, *self._workers):
            child.pipe.close()


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """For processes started meanwhile: their small matrices are up to eight times slower on threads that wait for
    a core (NumPy's OpenBLAS, 120 to 240 rows on two busy cores)."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]


def _cores() -> int:
    """Cores that this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _summed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Two lives of one camera's counts."""
    numbers = {
        name: before[name] + now.get(name, 0)
        for name in before
        if isinstance(before[name], int | float) and not name.startswith("clock_")
    }
    return {**before, **now, **numbers}


def _told(figures: Mapping[str, Any]) -> str:
    """The figures as one line a camera and one for the CPU."""
    lines = [f"after {figures['wall_s']:.0f} s:"]
    for camera_id, counts in figures["cameras"].items():
        line = f"  {camera_id}: {counts.get('processed', 0)} frames, {counts.get('dropped', 0)} dropped"
        if "dropped_share" in counts:
            line += f" ({counts['dropped_share']:.1%} after {WARM_UP_S:.0f} s)"
        if "latency_p50_s" in counts:
            p50, p99 = 1000 * counts["latency_p50_s"], 1000 * counts["latency_p99_s"]
            line += f", capture to event {p50:.0f} ms (p99 {p99:.0f} ms)"
        if counts.get("state", "up") != "up":
            line += f", {counts['state']}: {counts.get('reason', '')}"
        lines.append(line)
    wall_s = max(figures["wall_s"], 1e-9)
    shares = (
        f"{name} {process['cpu_s']:.1f} s ({process['cpu_s'] / wall_s:.0%})"
        for name, process in figures["processes"].items()
    )
    lines.append("  CPU: " + ", ".join(shares) + " of one core")
    return "\n".join(lines)


def _run_child(
    pipe: Connection, site: Site, out: Path, name: str, camera_ids: list[CameraId] | None, level: int
) -> None:
    """A process of ``live``: the linker, or a worker. It stops when told to, and when ``live`` is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent stops us in order
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s {name} %(name)s: %(message)s")
    stop, begun = threading.Event(), threading.Event()
    begin_ns = [time.time_ns()]

    def listen() -> None:
        while not stop.is_set():
            try:
                word, value = pipe.recv()
            except (EOFError, OSError):
                word, value = "stop", None
            if word == "begin":
                begin_ns[0] = value
                begun.set()
            else:
                stop.set()
                begun.set()

    def agree() -> int:
        pipe.send(("ready", None))
        begun.wait()
        return begin_ns[0]

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=listen, name="parent", daemon=True).start()
    try:
        if camera_ids is None:
            linker(site, out, stop=stop, ready=lambda: pipe.send(("ready", None)))
        else:
            worker(site, camera_ids, stop=stop, name=name, out=out, begin_ns=agree)
        pipe.send(("over", None))
    except (UserError, ModelError) as error:
        pipe.send(("problem", str(error)))
    except BrokenPipeError:
        return  # live is gone
