"""A linker as a process of its own, people for it to link, and what must be true of what it wrote."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.config import Site, from_values
from tracker.core.linker import Linker
from tracker.errors import UserError
from tracker.io import wire
from tracker.io.bus import Operator, Uplink, local_endpoints, subscribe
from tracker.io.store import EventLog, Journal, identities_of
from tracker.roles.linking import linker
from tracker.types import (
    CONFIRMED,
    Advance,
    Appeared,
    CameraUpdate,
    Event,
    HandedOver,
    Merged,
    Split,
    TrackKey,
    Tracklet,
    Tracks,
    View,
)

PATIENCE_S = 60.0  # nobody waits this long unless something is broken
DIMENSIONS = 512
CAMERAS = ("a", "b")
DAY_NS = 20 * 3600 * 10**9  # a little less, so that nobody is forgotten for their age meanwhile


def looks(person: int) -> NDArray[np.float32]:
    """(D,) unit row, the same wherever somebody is seen; of two people nearly at right angles."""
    row = np.random.default_rng(person).normal(size=DIMENSIONS)
    return (row / np.linalg.norm(row)).astype(np.float32)


def tracklet(
    person: int, t_ns: int, *, camera: str = "a", run: int = 1, ended: bool = False, model: str = ""
) -> Tracklet:
    """Somebody with a place of their own in the picture, seen for half a second so far."""
    left = 40 + 97 * (person % 12)
    box = np.array([left, 100, left + 60, 300], np.float32)
    return Tracklet(
        key=TrackKey(camera_id=camera, run=run, number=person),
        revision=1 + ended,
        ended=ended,
        t_first_ns=t_ns - 500_000_000,
        t_last_ns=t_ns,
        first_box=box,
        last_box=box,
        velocity_px_s=np.zeros(2, np.float32),
        image_size=(1280, 720),
        boxes_seen=10,
        score_mean=0.9,
        prototypes=looks(person)[None].astype(np.float16),
        quality=np.ones(1, np.float32),
        mean_embedding=looks(person),
        embeddings_seen=8,
        model_hash=model,
    )


def update(
    seq: int, t_ns: int, tracklets: Iterable[Tracklet], *, camera: str = "a", run: int = 1
) -> CameraUpdate:
    """One frame of a camera in which these are seen."""
    tracklets = tuple(tracklets)
    tracks = Tracks.of(
        np.array([t.key.number for t in tracklets], np.int64),
        np.array([t.last_box for t in tracklets], np.float32).reshape(-1, 4),
        np.full(len(tracklets), CONFIRMED),
        detections=np.arange(len(tracklets)),
    )
    return CameraUpdate(
        camera_id=camera, run=run, seq=seq, t_ns=t_ns, tracks=tracks, tracklets=tracklets, detected=True
    )


def site_values(folder: Path, **sections: Any) -> dict[str, Any]:
    """A site whose sockets and files are in ``folder``."""
    bus = local_endpoints(folder)
    values = {
        "cameras": dict.fromkeys(CAMERAS, "0"),
        "embedder": {"kind": "none"},
        "bus": bus.model_dump(mode="json"),
        "live": {"out": str(folder / "out"), "patience_s": 0.1},
    }
    return values | sections


def _serve(values: dict[str, Any], say: Path | None = None) -> None:
    if say is not None:
        logging.basicConfig(filename=say, level=logging.INFO)
    site = from_values(values, source="the bench")
    linker(site, Path(site.live.out))


_BY_FORK = multiprocessing.get_context("forkserver")


@dataclass
class Place:
    """A linker process that can be killed and started again, with its folder and its sockets."""

    folder: Path
    values: dict[str, Any]
    process: BaseProcess | subprocess.Popen[bytes] | None = None
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = from_values(self.values, source="the bench")
        self.out = Path(self.site.live.out)

    def start(self, *, say: Path | None = None) -> None:
        """The linker as it is, in a process that is forked from one that has loaded the program; ``say``: its log."""
        _BY_FORK.set_forkserver_preload([__name__])
        process = _BY_FORK.Process(target=_serve, args=(self.values, say), daemon=True)
        process.start()
        self.process = process

    def start_from_shell(self) -> list[str]:
        """The command as a user gives it."""
        file = self.folder / "site.yaml"
        file.write_text(json.dumps(self.values), encoding="utf-8")  # JSON is YAML
        command = [sys.executable, "-m", "run_tracker", "linker", str(file)]
        root = Path(__file__).parent.parent.parent
        with (self.folder / "stderr").open("ab") as said:
            self.process = subprocess.Popen(command, cwd=root, stderr=said)
        return command

    @property
    def pid(self) -> int:
        assert self.process is not None and self.process.pid is not None
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """As a polite administrator does."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        if isinstance(self.process, subprocess.Popen):
            self.process.wait(PATIENCE_S)
        else:
            self.process.join(PATIENCE_S)
        self.process = None

    def view(self) -> View:
        """Whom it knows; waits until it serves."""
        with Operator(self.site.bus.replay, timeout_s=PATIENCE_S) as operator:
            return operator.view()

    def uplink(self, *, repeat_s: float = 1.0) -> Uplink:
        return Uplink(self.site.bus, CAMERAS, repeat_s=repeat_s)

    def logged(self) -> list[Event]:
        """The whole event log; of a linker that does not run."""
        with EventLog(self.out / "events.sqlite", started_ns=0) as log:
            return list(all_of(log))


@contextmanager
def a_linker(folder: Path, **sections: Any) -> Iterator[Place]:
    """A site in ``folder``, whose linker has not been started; none is left running."""
    site = Place(folder, site_values(folder, **sections))
    try:
        yield site
    finally:
        site.kill()


def all_of(log: EventLog) -> Iterator[Event]:
    """Every event of a log, in order."""
    place = (0, 0)
    while events := log.read(place):
        yield from events
        place = (events[-1].epoch, events[-1].seq)


class Ear:
    """A subscriber in a thread that hears everything from the beginning of the log."""

    def __init__(self, site: Place) -> None:
        self.heard: list[Event] = []
        self._stop = threading.Event()
        self._site = site
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        place = (0, 0)
        while not self._stop.is_set():
            with contextlib.suppress(UserError):  # no linker answers for a while
                for event in subscribe(self._site.site.bus.events, since=place, timeout_s=0.5):
                    self.heard.append(event)
                    place = (event.epoch, event.seq)

    def __enter__(self) -> Ear:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)


def wait_for(happens: Callable[[], bool], do: Callable[[], object]) -> bool:
    """Do something until it has had its effect; whether it did within patience."""
    end_s = time.monotonic() + PATIENCE_S
    while not happens():
        if time.monotonic() > end_s:
            return False
        do()
    return True


def taken_in(uplink: Uplink) -> bool:
    """Whether the linker acknowledges all that has ended, however often it must be said."""

    def repeat() -> None:
        uplink.repeat(time.monotonic())
        uplink.poll(0.02)

    return wait_for(lambda: uplink.pending == 0, repeat)


@dataclass
class Told:
    """What a log says of tracklets: whose each is in the end, and how often it was said to be new."""

    identity: dict[TrackKey, int] = field(default_factory=dict)
    times: dict[TrackKey, int] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)

    @staticmethod
    def about(event: Event) -> set[int]:
        """Whom an event speaks of."""
        return {g for g in identities_of(event) if g is not None}

    @classmethod
    def by(cls, events: Iterable[Event]) -> Told:
        told = cls()
        for event in events:
            match event:
                case Appeared(track=key, global_id=g) | HandedOver(track=key, global_id=g):
                    told.identity[key] = g
                    told.times[key] = told.times.get(key, 0) + 1
                    told.used.add(g)
                case Merged(kept=g, tracks=keys) | Split(to=g, tracks=keys):
                    told.used.add(g)
                    told.identity |= dict.fromkeys(keys, g)
        return told


def remembered(
    count: int, now_ns: int, *, model: str = "", site: int = 0, first: int = 1
) -> tuple[Linker, list[Event]]:
    """A linker that has seen so many people in the last day, ten at a time, and what it said of them."""
    linker, events = Linker(site=site), []
    groups = -(-count // 10)
    step_ns = DAY_NS // groups
    for n in range(groups):
        t_ns = now_ns - (groups - n) * step_ns
        people = range(first + 10 * n, first + min(10 * n + 10, count))
        seen = [tracklet(person, t_ns, ended=True, model=model) for person in people]
        events += linker.step(update(n, t_ns, seen))
        # The last of them have left; whoever came before is out of sight.
        events += linker.step(Advance(t_ns=t_ns + 10 * 10**9))
    return linker, events


def lay_down(place: Place, linker: Linker, events: Sequence[Event]) -> None:
    """The files of a linker that ended here."""
    with (
        EventLog(place.out / "events.sqlite", started_ns=time.time_ns()) as log,
        Journal(place.out) as journal,
    ):
        log.append(events)
        journal.begin(
            linker.checkpoint(), log.place, ended=b"".join(map(wire.digest, Told.by(events).identity))
        )
