"""Every event once and in order, whoever is killed and whatever breaks.

Real processes on this machine: one linker (``LinkerLoop`` with its hub, log and journal), workers that send synthetic
tracklets over real uplinks, and subscribers that write down what they hear. They are killed with SIGKILL at random, and
every link between them passes a relay that cuts or silences it at random. Truth is the linker's log, and what the
workers were told is safe.

Who is linked with whom is decided by a stand-in (``Register``), not by the real linker, whose work grows with the
people in a scene and whose answer nobody knows beforehand: the stand-in says ten events about every tracklet, each
once, so a person lost or told twice shows. All else is the shipped program.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench, CannotRun, holdings
from benchmarks.reliability.links import Links
from tracker.config import BusSettings
from tracker.io import wire
from tracker.io.bus import Hub, Uplink, local_endpoints, subscribe
from tracker.io.clock import WallClock
from tracker.io.store import EventLog, Journal
from tracker.roles.housekeeping import MetricsFile, stopped_by_signals
from tracker.roles.linking import LinkerLoop
from tracker.types import (
    Appeared,
    CameraUpdate,
    Checkpoint,
    Command,
    Event,
    Left,
    LinkerInput,
    Sighting,
    TrackKey,
    Tracklet,
    Tracks,
    Updated,
    View,
)

EACH = 10  # events about every tracklet
PEOPLE = 5  # who leave a camera's view with every frame
MOST_IN_FLIGHT = 400  # ended tracklets that a worker lets wait for their acknowledgement before it sends more
HEARD = struct.Struct("<qqI")  # epoch, seq, checksum of the event
SAFE = struct.Struct("<qqq")  # camera, run, number
PATIENCE_S = 120.0  # without any progress for so long, something hangs
WORKERS = 2


# What decides: every tracklet is somebody new


class Marks:
    """Whole numbers that were seen; those up to ``low`` all were."""

    def __init__(self, low: int = 0, above: Sequence[int] = ()) -> None:
        self.low, self.above = low, set(above)

    def add(self, number: int) -> bool:
        """Whether it is new."""
        if number <= self.low or number in self.above:
            return False
        self.above.add(number)
        while self.low + 1 in self.above:
            self.low += 1
            self.above.remove(self.low)
        return True


class Register:
    """Stands where a linker stands: all its state is in its checkpoint, and it hears nothing twice."""

    def __init__(self) -> None:
        self._begun: dict[str, Marks] = {}
        self._ended: dict[str, Marks] = {}

    def step(self, message: LinkerInput) -> list[Event]:
        events: list[Event] = []
        if isinstance(message, CameraUpdate):
            for tracklet in message.tracklets:
                events += self._hear(tracklet)
        return events

    def _hear(self, tracklet: Tracklet) -> list[Event]:
        key, t_ns = tracklet.key, tracklet.t_last_ns
        run, at = f"{key.camera_id}/{key.run}", sighting(key.camera_id, t_ns)
        events: list[Event] = []
        if self._begun.setdefault(run, Marks()).add(key.number):
            events.append(Appeared(t_ns=t_ns, global_id=person(key), track=key, sighting=at))
        if tracklet.ended and self._ended.setdefault(run, Marks()).add(key.number):
            seen = Updated(t_ns=t_ns, global_id=person(key), sightings=(at,), tracks=(key,))
            events += [seen] * (EACH - 2)
            events.append(Left(t_ns=t_ns, global_id=person(key), last=at))
        return events

    def objection(self, command: Command) -> str:
        return ""

    def identity_now(self, key: TrackKey) -> int | None:
        return person(key)

    def start_after(self, global_id: int) -> None:
        pass

    def view(self) -> View:
        return View(epoch=0, seq=0, t_ns=0, identities=())

    def checkpoint(self) -> Checkpoint:
        state = [
            {run: (m.low, sorted(m.above)) for run, m in marks.items()}
            for marks in (self._begun, self._ended)
        ]
        return Checkpoint(schema_version=1, t_ns=0, model_hash="", state=msgspec.msgpack.encode(state))

    def restore(self, checkpoint: Checkpoint) -> None:
        begun, ended = msgspec.msgpack.decode(checkpoint.state)
        self._begun = {run: Marks(*marks) for run, marks in begun.items()}
        self._ended = {run: Marks(*marks) for run, marks in ended.items()}


def person(key: TrackKey) -> int:
    """A global id for every tracklet that there can be."""
    return (int(key.camera_id.removeprefix("c")) * 1000 + key.run) << 32 | key.number


def sighting(camera_id: str, t_ns: int) -> Sighting:
    return Sighting(camera_id=camera_id, t_ns=t_ns, box=(0.0, 0.0, 50.0, 100.0))


# The processes


def serve(folder: Path, bus: BusSettings, cameras: list[str], metrics_s: float = 2.0) -> None:
    """The linker, until it is asked to stop; its counters in ``linker.json`` every ``metrics_s``."""
    quiet()
    with (
        stopped_by_signals(None) as asked,
        EventLog(folder / "events.sqlite", started_ns=time.time_ns()) as events,
        Journal(folder) as journal,
        Hub(bus) as hub,
    ):
        loop = LinkerLoop(
            Register(),
            hub,
            events,
            journal,
            cameras=cameras,
            clock=WallClock(),
            patience_s=0.2,
            checkpoint_s=2.0,
        )
        file = MetricsFile(folder / "linker.json")
        written_s = -math.inf
        while not asked.is_set():
            loop.round()
            if time.monotonic() - written_s >= metrics_s:
                written_s = time.monotonic()
                file.write(loop.counters(), {})
        loop.finish()
        file.write(loop.counters(), {})


def work(bus: BusSettings, cameras: list[str], run: int, share: int, noted: Path) -> None:
    """A worker: so many people pass its cameras, over all its lives, and are safe in the end.

    What the linker said is safe goes to ``noted`` at once.
    """
    quiet()
    in_flight = min(MOST_IN_FLIGHT, share // 20)  # few, so that there is something left to break
    number, waiting = 0, frozenset[TrackKey]()
    with (
        Uplink(bus, cameras, repeat_s=0.5) as uplink,
        open(noted, "ab", buffering=0) as file,
    ):
        while file.tell() < share * SAFE.size:
            while len(waiting) < in_flight and file.tell() + len(waiting) * SAFE.size < share * SAFE.size:
                for camera_id in cameras:
                    update = frame(camera_id, run, number)
                    uplink.send(update, time.monotonic())
                    waiting |= {t.key for t in update.tracklets if t.ended}
                number += 1
            uplink.poll(0.2)
            uplink.repeat(time.monotonic())
            still = uplink.unacknowledged()
            for key in sorted(waiting - still):
                file.write(SAFE.pack(int(key.camera_id.removeprefix("c")), key.run, key.number))
            waiting = still


def frame(camera_id: str, run: int, number: int) -> CameraUpdate:
    """Some people leave the view, of whom the first was told with the frame before; one comes."""
    first, t_ns = number * PEOPLE + 1, time.time_ns()
    leaving = [tracklet(camera_id, run, first + i, t_ns, ended=True) for i in range(PEOPLE)]
    coming = tracklet(camera_id, run, first + PEOPLE, t_ns, ended=False)
    return CameraUpdate(
        camera_id=camera_id,
        run=run,
        seq=number,
        t_ns=t_ns,
        tracks=Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0)),
        tracklets=(*leaving, coming),
        detected=True,
    )


def tracklet(camera_id: str, run: int, number: int, t_ns: int, *, ended: bool) -> Tracklet:
    return Tracklet(
        key=TrackKey(camera_id=camera_id, run=run, number=number),
        revision=1 + ended,
        ended=ended,
        t_first_ns=t_ns,
        t_last_ns=t_ns,
        first_box=_BOX,
        last_box=_BOX,
        velocity_px_s=np.zeros(2, np.float32),
        image_size=(640, 480),
        boxes_seen=5,
        score_mean=0.9,
        prototypes=np.zeros((0, 0), np.float16),
        quality=np.zeros(0, np.float32),
        mean_embedding=np.zeros(0, np.float32),
        embeddings_seen=0,
    )


_BOX = np.array([0, 0, 50, 100], np.float32)


def hear(endpoint: str, replay: str, out: Path, slowness: int, busy: Path, keys: Path | None = None) -> None:
    """A subscriber that writes down what it hears, knows the one event that may come again, and never ends by itself.

    Args:
        slowness: for every second of hearing one of so many - 1 for the event, while there is a file ``busy``.
    """
    quiet()
    written = heard(out)
    last = (int(written["epoch"][-1]), int(written["seq"][-1])) if len(written) else (0, 0)
    with open(out, "ab", buffering=0) as file, open(out.with_suffix(".again"), "ab", buffering=0) as again:
        file.truncate(len(written) * HEARD.size)
        before_s, owed_s = time.monotonic(), 0.0
        for event in subscribe(
            endpoint, replay=replay, since=0, cursor=out.with_suffix(".cursor"), keys=keys
        ):
            if (event.epoch, event.seq) == last:
                again.write(b".")
                continue
            last = event.epoch, event.seq
            file.write(HEARD.pack(*last, zlib.crc32(wire.encode(event))))
            if slowness > 1:
                owed_s += (slowness - 1) * (time.monotonic() - before_s)
                if owed_s > 0.01:
                    if busy.exists():
                        time.sleep(min(owed_s, 1.0))
                    owed_s = 0.0
                before_s = time.monotonic()


def hang(endpoint: str, replay: str, out: Path) -> None:
    """A subscriber that never comes back from its first event."""
    quiet()
    for _ in subscribe(endpoint, replay=replay, since=0):
        out.write_bytes(b".")
        threading.Event().wait()


def quiet() -> None:
    """What a process says of links that break and peers that die is expected here."""
    logging.getLogger("tracker").setLevel(logging.ERROR)


def heard(out: Path) -> np.ndarray:
    """What a subscriber wrote down, whole records only."""
    rows = np.dtype([("epoch", "<i8"), ("seq", "<i8"), ("sum", "<u4")])
    data = out.read_bytes() if out.exists() else b""
    return np.frombuffer(data[: len(data) // rows.itemsize * rows.itemsize], rows)


# The staging


@dataclass
class Cast:
    """All processes of a run, started by name and again when they are killed."""

    context: Any
    running: dict[str, BaseProcess] = field(default_factory=dict)
    killed: set[BaseProcess] = field(default_factory=set)

    def start(self, name: str, target: Any, *arguments: Any) -> None:
        process = self.context.Process(target=target, args=arguments, name=name, daemon=True)
        process.start()
        self.running[name] = process

    def kill(self, name: str) -> None:
        self.killed.add(self.running[name])
        self.running[name].kill()
        self.running[name].join()

    def end(self) -> None:
        for process in self.running.values():
            if process.is_alive():
                process.kill()
            process.join()


def run(bench: Bench) -> Row:
    """Lost, duplicated and out of order: at every subscriber against the log, and of the people who are safe."""
    if not hasattr(os, "fork"):
        raise CannotRun("processes are forked from a small server")
    with bench.folder() as folder:
        begun_s = time.monotonic()
        figures = stage(bench, folder)
        figures["events a second"] = round(figures["events"] / (time.monotonic() - begun_s), 1)
    nothing = dict.fromkeys(
        ("lost", "duplicated", "out of order", "different", "safe people lost", "people told wrongly"),
        most(0),
    )
    return Row(
        "events",
        figures,
        nothing
        | {
            "events": least(bench.of(5_000, 1_000_000)),
            "linker kills": least(bench.of(2, 10)),
            "worker kills": least(bench.of(2, 10)),
            "stuck subscriber grew MiB": most(32),  # 10,000 events and what the system buffers
            "in hand again": most(bench.of(2, 10) + 1),  # one a kill of a subscriber
        },
    )


def stage(bench: Bench, folder: Path) -> dict[str, float]:
    rng = bench.rng()
    kills, people = bench.of(2, 10), bench.of(5_000, 1_000_000) // EACH
    cuts, silences = bench.of(4, 60), bench.of(0, 6)
    absent_s = bench.of(1, 30)
    own = local_endpoints(folder)
    behind = {
        name: Path(getattr(own, name).removeprefix("ipc://"))
        for name in ("ingest", "events", "replay", "boxes")
    }
    cameras = [f"c{n}" for n in range(1, 2 * WORKERS + 1)]
    share = people // WORKERS + 2 * PEOPLE
    busy = folder / "busy"
    busy.touch()
    notes = {f"worker-{n}": folder / f"safe-{n}" for n in range(WORKERS)}
    subscribers = {"steady": 1, "slow": 10, "killed": 1, "absent": 1, "late": 1}
    outs = {name: folder / f"{name}.heard" for name in subscribers}

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    cast = Cast(context)
    with Links(behind) as links, contextlib.ExitStack() as stack:
        stack.callback(cast.end)
        through = BusSettings(**{name: f"tcp://127.0.0.1:{port}" for name, port in links.ports.items()})
        runs = dict.fromkeys(notes, 0)

        def start_linker() -> None:
            cast.start("linker", serve, folder, own, cameras)

        def start_worker(name: str) -> None:
            runs[name] += 1
            n = int(name.removeprefix("worker-"))
            cast.start(name, work, through, cameras[2 * n : 2 * n + 2], runs[name], share, notes[name])

        def start_subscriber(name: str) -> None:
            cast.start(name, hear, through.events, through.replay, outs[name], subscribers[name], busy)

        def safe() -> float:
            """Share of the people who are safe."""
            return sum(size(path) for path in notes.values()) / SAFE.size / (share * WORKERS)

        start_linker()
        for name in notes:
            start_worker(name)
        for name in ("steady", "slow", "killed", "absent"):
            start_subscriber(name)
        cast.start("stuck", hang, through.events, through.replay, folder / "stuck")

        # When what happens, as a share of the people who are safe.
        plan = sorted(
            [(share_, "linker") for share_ in rng.uniform(0.05, 0.95, kills)]
            + [(share_, f"worker-{rng.integers(WORKERS)}") for share_ in rng.uniform(0.05, 0.9, kills)]
            + [(share_, "killed") for share_ in rng.uniform(0.05, 0.95, kills)]
            + [(share_, "cut") for share_ in rng.uniform(0.0, 1.0, cuts)]
            + [(share_, "silence") for share_ in rng.uniform(0.1, 0.8, silences)]
            + [(0.3, "absent"), (0.5, "late")]
        )
        back_s: float | None = None
        stuck_mib: float | None = None
        counts = dict.fromkeys(("linker", "worker", "subscriber"), 0)
        watch = Watch(cast, lambda: sum(map(size, [*notes.values(), *outs.values()])))
        while (
            plan
            or back_s is not None
            or stuck_mib is None
            or any(cast.running[name].is_alive() for name in notes)
        ):
            watch.look()
            if stuck_mib is None and (folder / "stuck").exists():
                stuck_mib = holdings(cast.running["stuck"].pid).rss_mib
            if back_s is not None and time.monotonic() >= back_s:
                start_subscriber("absent")
                back_s = None
            if not plan or safe() < plan[0][0]:
                continue
            _, what = plan.pop(0)
            if what == "linker":
                cast.kill("linker")
                start_linker()
                counts["linker"] += 1
            elif what in notes:
                cast.kill(what)
                start_worker(what)
                counts["worker"] += 1
            elif what == "killed":
                cast.kill(what)
                start_subscriber(what)
                counts["subscriber"] += 1
            elif what == "absent":
                cast.kill(what)
                counts["subscriber"] += 1
                back_s = time.monotonic() + absent_s
            elif what == "late":
                start_subscriber(what)
            else:
                name = str(rng.choice(sorted(links.ports)))
                (links.cut if what == "cut" else links.silence)(name)
        busy.unlink()
        while any(size(path) < logged(folder) * HEARD.size for path in outs.values()):
            watch.look()
        grew_mib = holdings(cast.running["stuck"].pid).rss_mib - stuck_mib
        linker_mib = holdings(cast.running["linker"].pid).rss_mib
        cast.running["linker"].terminate()
        cast.running["linker"].join(30)
        return {
            "linker kills": counts["linker"],
            "worker kills": counts["worker"],
            "subscriber kills": counts["subscriber"],
            "links cut": links.cuts,
            "links silenced": links.silenced,
            **compared(folder / "events.sqlite", list(outs.values()), list(notes.values())),
            "in hand again": sum(size(out.with_suffix(".again")) for out in outs.values()),
            "stuck subscriber grew MiB": round(grew_mib, 1),
            "linker MiB": round(linker_mib, 1),
        }


class Watch:
    """Waits a little; says so when nothing moves any more, or when a process ends that should not."""

    def __init__(self, cast: Cast, progress: Any) -> None:
        self._cast, self._progress = cast, progress
        self._last, self._moved_s = -1, time.monotonic()

    def look(self) -> None:
        running = self._cast.running
        wait(
            [p.sentinel for name, p in running.items() if not name.startswith("worker") and p.is_alive()],
            0.05,
        )
        # A negative code is a signal's: a crash, or too much memory.
        dead = [
            f"{name} ({p.exitcode})"
            for name, p in running.items()
            if not p.is_alive() and p.exitcode and p not in self._cast.killed
        ]
        if dead:
            raise RuntimeError(f"{', '.join(dead)} ended by themselves; see their traceback above, if any")
        now = self._progress()
        if now != self._last:
            self._last, self._moved_s = now, time.monotonic()
        if time.monotonic() - self._moved_s > PATIENCE_S:
            raise RuntimeError(
                f"nothing moved for {PATIENCE_S:.0f} s; running: {[n for n, p in running.items() if p.is_alive()]}"
            )


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def rows_of(folder: Path, query: str) -> Iterator[Any]:
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'events.sqlite'}?mode=ro", uri=True)) as db:
        yield from db.execute(query)


def logged(folder: Path) -> int:
    """Events in the log by now."""
    return int(next(rows_of(folder, "SELECT count(*) FROM events"))[0])


def compared(log: Path, outs: Sequence[Path], notes: Sequence[Path]) -> dict[str, float]:
    """What subscribers heard and what workers were told against the log."""
    truth: list[tuple[int, int]] = []
    told: dict[tuple[int, int], int] = {}
    people: dict[int, list[int]] = {}
    for epoch, seq, kind, global_id, blob in rows_of(
        log.parent, "SELECT epoch, seq, kind, global_id, blob FROM events ORDER BY epoch, seq"
    ):
        truth.append((epoch, seq))
        told[epoch, seq] = zlib.crc32(blob)
        counts = people.setdefault(global_id, [0, 0, 0])
        counts[("appeared", "updated", "left").index(kind)] += 1
    lost = duplicated = out_of_order = different = 0
    for out in outs:
        got = heard(out)
        places = list(zip(got["epoch"].tolist(), got["seq"].tolist(), strict=True))
        unique = set(places)
        lost += len(told.keys() - unique)
        duplicated += len(places) - len(unique)
        out_of_order += sum(b < a for a, b in zip(places, places[1:], strict=False))
        different += sum(told.get(p) != s for p, s in zip(places, got["sum"].tolist(), strict=True))
    safe = [
        person(TrackKey(camera_id=f"c{camera}", run=run, number=number))
        for path in notes
        for camera, run, number in SAFE.iter_unpack(path.read_bytes())
    ]
    wrong = [c for c in people.values() if c not in ([1, EACH - 2, 1], [1, 0, 0])]
    return {
        "events": len(truth),
        "people": len(people),
        "lost": lost,
        "duplicated": duplicated,
        "out of order": out_of_order,
        "different": different,
        "safe people": len(safe),
        "safe people lost": sum(people.get(g, [0, 0, 0])[2] == 0 for g in safe),
        "people told wrongly": len(wrong),
    }
