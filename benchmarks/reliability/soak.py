"""Hours of it: sixteen cameras through real worker and linker processes, and whether they grow or get slower.

Cameras and networks are stand-ins: people walk from camera to camera and are drawn as rectangles, the detector reads
their boxes out of the picture's first row, the embedder their looks out of its colours. All between is the program's.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench, holdings
from tracker import config, roles
from tracker.build import build_pipeline
from tracker.config import Site
from tracker.core.pipeline import step_batch
from tracker.errors import UserError
from tracker.io.bus import local_endpoints, subscribe
from tracker.io.clock import WallClock
from tracker.roles.following import Camera, run_worker
from tracker.roles.housekeeping import stopped_by_signals
from tracker.stages import Clock
from tracker.types import Appeared, Detections, Event, Frame, HandedOver, Updated

CAMERAS, FPS = 16, 2.0
WALKERS, VISIT_S, SEEN_S = (
    32,
    12.0,
    8.0,
)  # each is 8 s in one camera, 4 s later in the next; then somebody else
HEIGHT, WIDTH = 136, 240  # below 256, so that a coordinate is a byte
DIMENSIONS = 256
# What a linker remembers grows until its windows are full: short ones, full before the warm-up is over.
WINDOW_S = 30.0
WARM_UP = 0.3  # of the run: 180 s of ten minutes
PATIENCE_S = 60.0


def run(bench: Bench) -> Row:
    """Ten minutes; memory and latency after the warm-up."""
    span_s, workers = (
        bench.of(4, 600, 7200),
        bench.of(1, 2),
    )  # a process takes seconds to start on a busy machine
    with bench.folder() as folder:
        soak = _Soak(folder, span_s, workers)
        figures = soak.run()
    due = CAMERAS * FPS * span_s  # a share of few frames says nothing
    wanted = {"processes died": most(0), "frames": least(0.95 * due), "frames processed, share": least(0.95)}
    if bench.effort == "quick":
        # Too short for slopes: that the figures come, that most frames go through on a busy machine, that events flow.
        wanted |= {"frames": least(0.5 * due), "frames processed, share": least(0.5), "events": least(10)}
    else:
        names = ("linker", *(f"worker-{n}" for n in range(workers)))
        wanted |= {f"{name} rss growth, %": most(2.0) for name in names}
        wanted |= {"latency, last tenth to first": most(1.1), "events": least(5 * span_s)}
    return Row("soak", figures, wanted)


class _Soak:
    """One run: processes, what they hold over time, and how late events come."""

    def __init__(self, folder: Path, span_s: float, workers: int) -> None:
        self._folder, self._span_s, self._workers = folder, span_s, workers
        self._rss: dict[str, list[tuple[float, float]]] = {}
        self._late: list[tuple[float, float]] = []  # monotonic clock, seconds from capture to here
        self._spawn = multiprocessing.get_context("spawn")

    def run(self) -> dict[str, float]:
        site = site_of(self._folder)
        linker = self._spawn.Process(target=_linker, args=(site,), name="linker")
        names = list(site.cameras)
        begin_ns = time.time_ns() + 10**9
        workers = [
            self._spawn.Process(
                target=_worker,
                args=(site, names[n :: self._workers], f"worker-{n}", begin_ns),
                name=f"worker-{n}",
            )
            for n in range(self._workers)
        ]
        processes = [linker, *workers]
        listening = threading.Thread(target=self._listen, args=(site.bus.events,), daemon=True)
        try:
            for process in processes:
                process.start()
            listening.start()
            died = self._watch(processes)
        finally:
            for process in reversed(processes):  # workers first, so that the linker hears their last word
                process.terminate()
                process.join(PATIENCE_S)
        return self._figures(site, died)

    def _listen(self, endpoint: str) -> None:
        try:
            for event in subscribe(endpoint, since=0, timeout_s=PATIENCE_S):
                t_ns = capture_ns(event)
                if t_ns is not None:
                    self._late.append((time.monotonic(), (time.time_ns() - t_ns) / 1e9))
        except UserError as error:
            logging.getLogger(__name__).warning("%s", error)

    def _watch(self, processes: Sequence[SpawnProcess]) -> int:
        """Until the time is over; how many died meanwhile."""
        begin_s = time.monotonic()
        while (
            not self._late
            and time.monotonic() - begin_s < PATIENCE_S
            and all(p.is_alive() for p in processes)
        ):
            processes[0].join(0.1)
        began_s = time.monotonic()
        while (now_s := time.monotonic()) - began_s < self._span_s and all(p.is_alive() for p in processes):
            for process in processes:
                held = holdings(process.pid).rss_mib
                self._rss.setdefault(process.name, []).append((now_s - began_s, held))
            processes[0].join(min(1.0, self._span_s / 20))
        self._began_s, self._ended_s = began_s, time.monotonic()
        return sum(not process.is_alive() for process in processes)

    def _figures(self, site: Site, died: int) -> dict[str, float]:
        warm_s = WARM_UP * self._span_s
        figures: dict[str, float] = {"cameras": float(CAMERAS), "processes died": float(died)}
        for name, samples in self._rss.items():
            t, mib = np.array([s for s in samples if s[0] >= warm_s] or [(0.0, np.nan)]).T
            slope = np.polyfit(t, mib, 1)[0] if len(t) > 2 else np.nan
            figures[f"{name} rss, MiB"] = round(float(mib[-1]), 1)
            figures[f"{name} rss growth, %"] = round(float(100 * slope * (t[-1] - t[0]) / mib.mean()), 2)
        late = np.array(
            [s for t, s in self._late if self._began_s + warm_s <= t <= self._ended_s] or [np.nan], float
        )
        tenth = max(len(late) // 10, 1)
        first, last = np.median(late[:tenth]), np.median(late[-tenth:])
        figures |= {
            "events": float(len(self._late)),
            "latency p50, ms": round(1000 * float(np.median(late)), 1),
            "latency p99, ms": round(1000 * float(np.percentile(late, 99)), 1),
            "latency, last tenth to first": round(float(last / first), 3),
        }
        counts = [counts for n in range(self._workers) for counts in metrics_of(site, f"worker-{n}").values()]
        read, done, dropped = (
            sum(float(c[what]) for c in counts) for what in ("read", "processed", "dropped")
        )
        share = round(done / read, 3) if read else 0.0
        return figures | {"frames": read, "frames processed, share": share, "frames dropped": dropped}


def metrics_of(site: Site, name: str) -> dict[str, dict[str, float]]:
    """A worker's counts of its cameras, as last written."""
    import msgspec

    from tracker.roles.housekeeping import Metrics

    path = Path(site.live.out) / "metrics" / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Metrics).cameras if path.exists() else {}


def capture_ns(event: Event) -> int | None:
    """When the frame was taken that an event tells of."""
    match event:
        case Appeared() | HandedOver():
            return event.t_ns
        case Updated(sightings=sightings) if sightings:
            return max(s.t_ns for s in sightings)
        case _:
            return None


def site_of(folder: Path) -> Site:
    """Sixteen cameras, endpoints in a folder, and windows that fill soon."""
    bus = local_endpoints(folder)
    return config.from_values(
        {
            "cameras": {f"cam{n:02d}": f"synthetic/{n}" for n in range(CAMERAS)},
            "link": {"revise_s": WINDOW_S, "max_gap_s": WINDOW_S, "remember_s": 2 * WINDOW_S},
            "bus": bus.model_dump(),
            "live": {"out": str(folder / "out"), "http": None},
            "flow": {"kind": "none"},
        },
        source="soak",
    )


def _linker(site: Site) -> None:
    logging.basicConfig(level=logging.ERROR)
    roles.linker(site)


def _worker(site: Site, camera_ids: list[str], name: str, begin_ns: int) -> None:
    logging.basicConfig(level=logging.ERROR)
    run, clock = time.time_ns() // 10**6, WallClock()
    networks = Networks()
    pipelines = {c: build_pipeline(c, site, run, networks.model_hash) for c in camera_ids}
    every = list(site.cameras)

    def step(pipelines: Sequence[object], frames: Sequence[Frame], load: float) -> list:  # type: ignore[type-arg]
        return step_batch(pipelines, frames, detector=networks, embedder=networks, load=load)  # type: ignore[arg-type]

    cameras = [
        Camera(c, lambda c=c: Street(c, every.index(c), clock, begin_ns), pipelines[c])  # type: ignore[misc]
        for c in camera_ids
    ]
    with stopped_by_signals(None) as asked:
        run_worker(
            cameras,
            step,
            site.bus,
            asked,
            run=run,
            clock=clock,
            metrics=Path(site.live.out) / "metrics" / f"{name}.json",
        )


class Street:
    """A camera that draws whoever walks by, twice a second."""

    def __init__(self, camera_id: str, number: int, clock: Clock, begin_ns: int) -> None:
        self._camera_id, self._number, self._clock, self._begin_ns = camera_id, number, clock, begin_ns
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        phase_s = self._number / CAMERAS / FPS  # cameras are not in step
        seq = max(0, int((self._clock.now_ns() - self._begin_ns) / 1e9 * FPS))
        while not self._closed:
            seq += 1
            since_s = seq / FPS + phase_s
            t_ns = self._begin_ns + int(1e9 * since_s)
            self._clock.sleep_until(t_ns)
            yield Frame(camera_id=self._camera_id, seq=seq, t_ns=t_ns, image=drawn(self._number, since_s))

    def close(self) -> None:
        self._closed = True


def drawn(camera: int, since_s: float) -> NDArray[np.uint8]:
    """What one camera shows: how many there are and their boxes in the first row, and they themselves."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    boxes = []
    life_s = CAMERAS * VISIT_S
    for walker in range(WALKERS):
        lived_s = since_s + walker * life_s / WALKERS
        life, at_s = divmod(lived_s, life_s)
        visit, inside_s = divmod(at_s, VISIT_S)
        if (int(visit) + walker) % CAMERAS != camera or inside_s >= SEEN_S:
            continue
        person = walker + WALKERS * int(life)
        x, y = 5 + int(200 * inside_s / SEEN_S), 20 + 50 * (walker % 2)
        boxes.append((x, y, x + 24, y + 60))
        image[y : y + 60, x : x + 24] = (person % 256, person // 256 % 256, 255)
    told = np.array([len(boxes), *(value for box in boxes for value in box)], np.uint8)
    image[0].reshape(-1)[: len(told)] = told
    return image


class Networks:
    """Stand-ins for both: they read what was drawn."""

    model_hash = "50a4" * 16

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        found = []
        for image in images:
            row = image[0].reshape(-1)
            boxes = row[1 : 1 + 4 * int(row[0])].reshape(-1, 4).astype(np.float32)
            found.append(Detections.of(boxes, np.full(len(boxes), 0.9)))
        return found

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        rows = [
            looks(int(b) + 256 * int(g)) for b, g, _ in (c[c.shape[0] // 2, c.shape[1] // 2] for c in crops)
        ]
        return np.array(rows, np.float32).reshape(len(crops), DIMENSIONS)


@lru_cache(maxsize=256)
def looks(person: int) -> NDArray[np.float32]:
    """A unit row for each person."""
    row = np.random.default_rng(person).normal(size=DIMENSIONS)
    return (row / np.linalg.norm(row)).astype(np.float32)
