"""Live on one machine: a process for the linker, some for workers, started again when they die."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import zmq

from models import ModelError
from tracker.config import BusSettings, Site
from tracker.errors import UserError, mask_url
from tracker.logs import LogSettings, set_up
from tracker.roles.following import WARM_UP_S, check_cameras, worker
from tracker.roles.health import Health, Process, serving
from tracker.roles.housekeeping import (
    Metrics,
    private_folder,
    report_to,
    resident_bytes,
    stopped_by_signals,
    tell_systemd,
    write_whole,
)
from tracker.roles.linking import linker
from tracker.types import (
    CameraId,
)

log = logging.getLogger(__name__)

_REPORT_S = 10.0
_LOOK_S = 1.0  # how often the children's figures are told on; they come every two seconds
# Who dies again and again is started again after 0, 1, 2, 4, ... 60 s, forgiven after a life of a minute.
_MOST_PAUSE_S = 60.0
_SOUND_LIFE_S = 60.0
_TRIES = 3  # starts that come to nothing, while nothing runs yet: then it is a mistake to be told
_HUNG_S = (
    60.0  # without figures, twice what /healthz allows: a process whose loop does not come round is ended
)
_STOP_S = 15.0  # for all workers, then for the linker: less together than a service manager waits
_AWAY_S = (
    5.0  # between two looks: it was this process that stood still, and the others with it (a paused machine)
)
_COUNTERS = (
    "read",
    "processed",
    "dropped",
    "disordered",
    "failed",
    "lost",
    "read_warm",
    "dropped_warm",
    "hung",
    "resized",
)  # of a camera: added up over its worker's lives; of all else the newest counts


def live(
    site: Site,
    out: Path | None = None,
    *,
    duration_s: float | None = None,
    stop: threading.Event | None = None,
    report: Callable[[str], None] = log.info,
    logs: LogSettings | None = None,
) -> dict[str, Any]:
    """Everything on this machine: a linker and its workers, until Ctrl-C or until all recordings are over.

    A process that dies is started again: a worker as a new run, the linker from its checkpoint.

    Args:
        out: folder for log, checkpoint, metrics and ``live.json``; None: the site's.
        duration_s: stop after so long from when it serves; None: when asked to.
        report: is told every ten seconds, and at the end, how it goes.
        logs: how the processes say what happens; None: as much as this one.

    Returns:
        What ``live.json`` holds: frames, dropped frames and latency of each camera, CPU seconds of each process.

    Raises:
        UserError: anything that cannot be used, before the first frame.
    """
    out = Path(site.live.out) if out is None else out
    check_cameras(site, list(site.cameras))
    try:
        private_folder(out / "metrics")
        for old in (out / "metrics").glob("*.json"):
            old.unlink()
    except OSError as error:
        raise UserError(f"{out}: is no folder that can be written ({error}); give another one") from error
    with (
        tempfile.TemporaryDirectory(prefix="throughline-") as folder,
        stopped_by_signals(stop) as asked,
        serving(site.live) as health,
        _Family(
            _for_children(site, Path(folder)),
            out,
            logs or LogSettings(logging.getLogger().getEffectiveLevel()),
        ) as family,
    ):
        began_s = reported_s = looked_s = time.monotonic()
        serving_s: float | None = None  # since when
        while not asked.is_set() and not family.is_over:
            family.look_after(0.2)
            now_s = time.monotonic()
            if now_s - looked_s >= _LOOK_S:
                looked_s = now_s
                family.tell(health, now_s)
                if not health.problems:
                    tell_systemd("WATCHDOG=1")
            if serving_s is None and family.is_serving:
                serving_s = now_s
                tell_systemd("READY=1")
            if now_s - reported_s >= _REPORT_S:
                reported_s = now_s
                report(_told(family.figures(now_s - began_s)))
            if duration_s is not None and serving_s is not None and now_s - serving_s >= duration_s:
                break
        tell_systemd("STOPPING=1")
        family.stop()
        figures = family.figures(time.monotonic() - began_s)
    if not any(counts.get("processed") for counts in figures["cameras"].values()):
        log.warning("nothing was seen: no camera gave a frame before the end")
    write_whole(out / "live.json", json.dumps(figures, indent=1).encode())
    report(_told(figures))
    return figures


def _for_children(site: Site, folder: Path) -> Site:
    """Workers on this machine reach the linker without a port, unless the site names an endpoint for others.

    Who watches asks ``live`` itself, for all of them.
    """
    site = site.model_copy(update={"live": site.live.model_copy(update={"http": None})})
    if site.bus.ingest != BusSettings().ingest or not zmq.has("ipc"):
        return site
    bus = site.bus.model_copy(update={"ingest": f"ipc://{folder}/ingest"})
    return site.model_copy(update={"bus": bus})


@dataclass
class _Child:
    """One process, and the pipe on which it says 'ready' or why not and how it does, and hears 'begin' and 'stop'."""

    name: str
    camera_ids: list[CameraId] | None  # None: the linker
    process: BaseProcess
    pipe: Connection
    is_ready: bool = False
    is_over: bool = False
    starts: int = 1
    began_s: float = 0.0  # monotonic clock: its last start
    deaths: int = 0  # one soon after the other
    again_s: float | None = None  # dead: when it is started again
    problem: str = ""  # what it said that it cannot use, before it ended
    heard_s: float = 0.0  # when its figures last came
    figures: Metrics | None = None  # of this life, as last heard
    is_news: bool = False  # they have come since the last look
    cpu_s: float = 0.0  # of its earlier lives
    earlier: dict[CameraId, dict[str, Any]] = field(default_factory=dict)

    @property
    def is_down(self) -> bool:
        """Dead, and waiting for its next start."""
        return self.again_s is not None

    @property
    def is_serving(self) -> bool:
        return self.is_ready and not self.is_down


class _Family:
    """The processes of ``live``: started together, looked after, stopped in order."""

    def __init__(self, site: Site, out: Path, logs: LogSettings) -> None:
        self._site, self._out, self._logs = site, out, logs
        self._context = multiprocessing.get_context("spawn")
        self._begin_ns: int | None = None
        self._stopping = False
        self._told_s = time.monotonic()
        names = list(site.cameras)
        count = min(site.live.workers or _cores(), len(names))
        self._linker = self._start("linker", None)
        self._workers = [self._start(f"worker-{n}", names[n::count]) for n in range(count)]
        self._all = (self._linker, *self._workers)

    @property
    def is_over(self) -> bool:
        """Every worker has done all its recordings."""
        return all(child.is_over for child in self._workers)

    @property
    def is_serving(self) -> bool:
        """The linker and a worker at least are past their start."""
        return self._linker.is_serving and any(child.is_serving for child in self._workers)

    def look_after(self, timeout_s: float) -> None:
        """Hear what the processes say; start again what died, after a pause where it dies again and again.

        Raises:
            UserError: something cannot be used, before anything ran; later that is one process's trouble.
        """
        children = [child for child in self._all if not child.is_over]
        living = [child for child in children if not child.is_down]
        wait([child.pipe for child in living] + [child.process.sentinel for child in living], timeout_s)
        for child in children:
            if child.is_down:
                self._start_again(child)
                continue
            is_alive = child.process.is_alive()
            self._hear(child)  # its last words, too
            if not is_alive and not child.is_over and not self._stopping:
                self._bury(child)
        is_due = all(child.is_ready or child.deaths for child in self._workers)
        is_due &= self._linker.is_ready and any(child.is_ready for child in self._workers)
        if is_due and self._begin_ns is None:
            self._begin_ns = time.time_ns() + 10**8
            for child in self._workers:
                self._begin(child)

    def tell(self, health: Health, now_s: float) -> None:
        """How all are doing, by their own figures. Whose loop hangs is ended, and started again like the dead."""
        away_s = now_s - self._told_s if now_s - self._told_s > _AWAY_S else 0.0
        self._told_s = now_s
        own = Metrics(name="live", pid=os.getpid(), cpu_s=time.process_time(), rss_bytes=resident_bytes())
        told = [Process("live", "live", own, now_s)]
        for child in self._all:
            child.heard_s += away_s
            metrics = child.figures
            if child.is_news:
                child.is_news, child.heard_s = False, now_s
            if child.is_over or self._begin_ns is None:  # nothing to tell any more, or yet
                child.heard_s = now_s
            if child.is_serving and now_s - child.heard_s > _HUNG_S:
                log.warning(
                    "%s: nothing heard of it for %.0f s; ending it", child.name, now_s - child.heard_s
                )
                child.process.kill()
                child.heard_s = now_s
            if metrics is not None:
                cameras = {c: _summed(child.earlier.get(c, {}), now) for c, now in metrics.cameras.items()}
                cpu_s = child.cpu_s + metrics.cpu_s
                metrics = msgspec.structs.replace(metrics, cameras=cameras, cpu_s=cpu_s)
            role: Literal["linker", "worker"] = "linker" if child.camera_ids is None else "worker"
            told.append(Process(child.name, role, metrics, child.heard_s, child.starts, child.is_serving))
        health.tell(*told)

    def stop(self) -> None:
        """Workers first, so that the linker still hears their last word."""
        self._stopping = True
        for children in (self._workers, [self._linker]):
            for child in children:
                with contextlib.suppress(OSError):
                    child.pipe.send(("stop", None))
            over_s = time.monotonic() + _STOP_S
            while living := [child for child in children if child.process.is_alive()]:
                left_s = over_s - time.monotonic()
                if left_s <= 0:
                    break
                wait([child.process.sentinel for child in living], min(left_s, 0.2))
                for child in living:
                    self._hear(child)  # nobody may wait to be heard
            for child in living:
                log.warning("%s does not stop; killing it", child.name)
                child.process.kill()
            for child in children:
                child.process.join()
                self._hear(child)
                child.is_over = True

    def figures(self, wall_s: float) -> dict[str, Any]:
        """What all processes have counted, as last heard from them."""
        found = {child.name: child.figures for child in self._all}
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
                for child in self._all
                for metrics in [found[child.name]]
            },
        }

    def _start(self, name: str, camera_ids: list[CameraId] | None) -> _Child:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_run_child, args=(theirs, self._site, self._out, name, camera_ids, self._logs), name=name
        )
        with _one_blas_thread():
            process.start()
        theirs.close()
        now_s = time.monotonic()
        return _Child(name, camera_ids, process, ours, began_s=now_s, heard_s=now_s)

    def _begin(self, child: _Child) -> None:
        if self._begin_ns is not None:
            with contextlib.suppress(OSError):  # it died; it will be started again
                child.pipe.send(("begin", self._begin_ns))

    def _hear(self, child: _Child) -> None:
        while True:
            try:
                if not child.pipe.poll():
                    return
                word, told = child.pipe.recv()
            except (EOFError, OSError):
                return
            if word == "figures":
                child.figures, child.is_news = told, True
            if word == "problem":
                if self._begin_ns is None and not self._stopping:
                    raise UserError(told)
                child.problem = told
            if word == "ready":
                child.is_ready, child.heard_s = True, time.monotonic()
                if child.camera_ids is not None:
                    self._begin(child)
            child.is_over |= word == "over"

    def _bury(self, child: _Child) -> None:
        """Keep a dead child's counts, and say when it comes back."""
        now_s = time.monotonic()
        if child.is_ready and now_s - child.began_s >= _SOUND_LIFE_S:
            child.deaths = 0
        child.deaths += 1
        if self._begin_ns is None and child.deaths >= _TRIES:
            hopeless = [self._linker] if child is self._linker else self._workers
            if all(one.deaths >= _TRIES and not one.is_ready for one in hopeless):
                raise UserError(f"{child.name} dies whenever it is started; run with --verbose to see why")
        pause_s = pause_after(child.deaths)
        child.again_s = now_s + pause_s
        log.warning(
            "%s died (%s); starting it again%s",
            child.name,
            mask_url(child.problem) or f"exit code {child.process.exitcode}",
            f" in {pause_s:.0f} s" if pause_s else "",
        )
        if child.figures is not None:
            child.cpu_s += child.figures.cpu_s
            for camera_id, counts in child.figures.cameras.items():
                child.earlier[camera_id] = _summed(child.earlier.get(camera_id, {}), counts)
            child.figures, child.is_news = None, False
        with contextlib.suppress(OSError):  # for readers: these figures are nobody's any more
            (self._out / "metrics" / f"{child.name}.json").unlink()
        child.pipe.close()
        child.is_ready, child.problem = False, ""

    def _start_again(self, child: _Child) -> None:
        if self._stopping or child.again_s is None or time.monotonic() < child.again_s:
            return
        fresh = self._start(child.name, child.camera_ids)
        child.process, child.pipe, child.began_s, child.heard_s = (
            fresh.process,
            fresh.pipe,
            fresh.began_s,
            fresh.heard_s,
        )
        child.again_s = None
        child.starts += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for child in self._all:
            child.pipe.close()


def pause_after(deaths: int) -> float:
    """Seconds until somebody is started again who has died so often, one time soon after the other."""
    return min(2.0 ** min(deaths - 2, 10), _MOST_PAUSE_S) if deaths > 1 else 0.0


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
    counts = {name: before[name] + now.get(name, 0) for name in _COUNTERS if name in before}
    return {**before, **now, **counts}


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
    pipe: Connection, site: Site, out: Path, name: str, camera_ids: list[CameraId] | None, logs: LogSettings
) -> None:
    """A process of ``live``: the linker, or a worker. It stops when told to, and when ``live`` is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent stops us in order
    set_up(logs, name, site.cameras)
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

    def tell(metrics: Metrics) -> None:
        # Not where nobody listens: a parent that stands still holds no child up.
        with contextlib.suppress(OSError):  # live is gone; listen() hears of it
            if os.name != "posix" or select.select([], [pipe], [], 0)[1]:
                pipe.send(("figures", metrics))

    report_to(tell)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=listen, name="parent", daemon=True).start()
    try:
        if camera_ids is None:
            linker(site, out, stop=stop, ready=lambda: pipe.send(("ready", None)))
        else:
            metrics = worker(site, camera_ids, stop=stop, name=name, out=out, begin_ns=agree)
            # Whoever ends for another reason, a signal from outside, say, is missed and started again.
            if all(counts["state"] == "ended" for counts in metrics.cameras.values()):
                pipe.send(("over", None))
    except (UserError, ModelError) as error:
        pipe.send(("problem", str(error)))
    except BrokenPipeError:
        return  # live is gone
    except Exception:
        # Told here and not by multiprocessing, whose way of telling knows no secrets.
        log.exception("%s ends", name)
        sys.exit(1)
