"""Workers, linker and subscribers over real loopback sockets, with stand-ins for cameras and networks."""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import run_tracker
from tracker import roles
from tracker.config import BusSettings, LinkSettings, from_values
from tracker.core.linker import Linker
from tracker.errors import StorageError, UserError
from tracker.io import store, wire
from tracker.io.bus import Hub, Operator, Uplink, local_endpoints, replay_endpoint, subscribe
from tracker.io.clock import ReplayClock, WallClock
from tracker.io.store import EventLog, Journal
from tracker.io.tape import TapeReader, TapeWriter
from tracker.roles import family, following, linking
from tracker.roles.following import Camera, Capture, Inbox, Inference, Outbox, Retry, run_worker
from tracker.roles.housekeeping import Metrics
from tracker.roles.linking import LinkerLoop
from tracker.types import (
    CONFIRMED,
    Advance,
    Appeared,
    CameraBack,
    CameraLost,
    CameraStatus,
    CameraUpdate,
    Checkpoint,
    Command,
    Event,
    Frame,
    HandedOver,
    Identity,
    LinkerInput,
    Merged,
    Sighting,
    Split,
    TrackKey,
    Tracklet,
    Tracks,
    Updated,
    View,
)

PATIENCE_S = 20.0  # nobody waits this long unless something is broken
DIMENSIONS = 16
ANY = "tcp://127.0.0.1:0"


def frame(camera_id: str, seq: int, t_ns: int) -> Frame:
    return Frame(camera_id=camera_id, seq=seq, t_ns=t_ns, image=np.zeros((8, 8, 3), np.uint8))


def looks(person: int) -> np.ndarray:
    """A unit row for each person, the same in every camera."""
    row = np.random.default_rng(person).normal(size=DIMENSIONS)
    return (row / np.linalg.norm(row)).astype(np.float32)


def tracklet(camera_id: str, run: int, number: int, t_ns: int, *, ended: bool = False) -> Tracklet:
    box = np.array([10, 10, 50, 110], np.float32)
    return Tracklet(
        key=TrackKey(camera_id=camera_id, run=run, number=number),
        revision=1 + ended,
        ended=ended,
        t_first_ns=t_ns,
        t_last_ns=t_ns,
        first_box=box,
        last_box=box,
        velocity_px_s=np.zeros(2, np.float32),
        image_size=(640, 480),
        boxes_seen=5,
        score_mean=0.9,
        prototypes=looks(number)[None].astype(np.float16),
        quality=np.ones(1, np.float32),
        mean_embedding=looks(number),
        embeddings_seen=3,
    )


def update(camera_id: str, run: int, seq: int, t_ns: int, *tracklets: Tracklet) -> CameraUpdate:
    ids = np.array([t.key.number for t in tracklets], np.int64)
    n = len(ids)
    tracks = Tracks.of(
        ids,
        np.tile(np.array([10, 10, 50, 110], np.float32), (n, 1)),
        np.full(n, CONFIRMED),
        detections=np.arange(n),
    )
    return CameraUpdate(
        camera_id=camera_id, run=run, seq=seq, t_ns=t_ns, tracks=tracks, tracklets=tracklets, detected=True
    )


class Walk:
    """A camera's pipeline: one new person every ``every`` frames, who is gone with the next."""

    def __init__(self, camera_id: str, run: int, every: int = 5) -> None:
        self.camera_id, self.run, self._every = camera_id, run, every
        self._open: Tracklet | None = None
        self.frames = 0

    def step(self, frame: Frame) -> CameraUpdate:
        changed = self._close()
        if frame.seq % self._every == 0:
            number = frame.seq // self._every + 1 + 1000 * (ord(self.camera_id[0]) - 96)
            self._open = tracklet(self.camera_id, self.run, number, frame.t_ns)
            changed.append(self._open)
        self.frames += 1
        return update(self.camera_id, self.run, frame.seq, frame.t_ns, *changed)

    def end(self, seq: int, t_ns: int) -> CameraUpdate:
        return update(self.camera_id, self.run, seq, t_ns, *self._close())

    def _close(self) -> list[Tracklet]:
        known, self._open = self._open, None
        return [] if known is None else [msgspec.structs.replace(known, revision=2, ended=True)]


def step_all(pipelines: Sequence[Any], frames: Sequence[Frame], load: float) -> list[CameraUpdate]:
    return [pipeline.step(frame) for pipeline, frame in zip(pipelines, frames, strict=True)]


class Feed:
    """A camera that gives what the test puts in; None ends it, an exception is raised."""

    def __init__(self) -> None:
        self.frames: queue.Queue[Frame | Exception | None] = queue.Queue()
        self.opened = 0

    def __call__(self) -> Feed:
        self.opened += 1
        return self

    def __iter__(self) -> Iterator[Frame]:
        while (item := self.frames.get(timeout=PATIENCE_S)) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        pass


class Plain:
    """A linker that makes everybody an identity of its own; all its state is in its checkpoint."""

    def __init__(self) -> None:
        self.owners: dict[str, int] = {}

    def step(self, message: LinkerInput) -> list[Event]:
        events: list[Event] = []
        if isinstance(message, CameraUpdate):
            for t in message.tracklets:
                if str(t.key) not in self.owners:
                    self.owners[str(t.key)] = len(self.owners) + 1
                    events.append(
                        Appeared(
                            t_ns=message.t_ns,
                            global_id=self.owners[str(t.key)],
                            track=t.key,
                            sighting=Sighting(
                                camera_id=t.key.camera_id, t_ns=message.t_ns, box=(0.0, 0.0, 1.0, 1.0)
                            ),
                        )
                    )
        elif isinstance(message, CameraStatus) and message.state in ("stalled", "gone"):
            events.append(CameraLost(t_ns=message.t_ns, camera_id=message.camera_id, reason=message.reason))
        return events

    def objection(self, command: Command) -> str:
        return ""

    def identity_now(self, key: TrackKey) -> int | None:
        return self.owners.get(str(key))

    def start_after(self, global_id: int) -> None:
        pass

    def view(self) -> View:
        at = Sighting(camera_id="a", t_ns=0, box=(0.0, 0.0, 1.0, 1.0))
        people = [
            Identity(global_id=i, tracks=(), first=at, last=at, here=True) for i in self.owners.values()
        ]
        return View(epoch=0, seq=0, t_ns=0, identities=tuple(people))

    def checkpoint(self) -> Checkpoint:
        state = msgspec.msgpack.encode(self.owners)
        return Checkpoint(schema_version=1, t_ns=0, model_hash="", state=state)

    def restore(self, checkpoint: Checkpoint) -> None:
        self.owners = msgspec.msgpack.decode(checkpoint.state)


class Running:
    """A linker in a thread; ``crash`` ends it as a kill would: nothing is saved, nothing said."""

    def __init__(
        self, folder: Path, linker: Any = None, cameras: Sequence[str] = ("a", "b"), **how: Any
    ) -> None:
        self._keep_tapes = how.pop("keep_tapes", False)
        self._folder, self._cameras, self._how = folder, cameras, {"patience_s": 0.2} | how
        self._linker = linker or Plain()
        self._up, self._end, self._crash = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="linker")
        self.bus = local_endpoints(folder)
        self.loop: LinkerLoop
        self.problem: BaseException | None = None

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                events = stack.enter_context(
                    EventLog(self._folder / "events.sqlite", started_ns=time.time_ns())
                )
                journal = stack.enter_context(Journal(self._folder, keep_tapes=self._keep_tapes))
                hub = stack.enter_context(Hub(self.bus))
                self.loop = LinkerLoop(
                    self._linker,
                    hub,
                    events,
                    journal,
                    cameras=self._cameras,
                    clock=WallClock(),
                    **self._how,
                )
                self._up.set()
                while not self._end.is_set():
                    self.loop.round(0.02)
                if not self._crash.is_set():
                    self.loop.finish()
        except BaseException as error:  # noqa: BLE001  (shown by the test's thread)
            self.problem = error
            self._up.set()

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._up.wait(PATIENCE_S)
        if self.problem:
            raise self.problem
        return self

    def crash(self) -> None:
        self._crash.set()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self.problem:
            raise self.problem


class Work:
    """A worker in a thread over feeds that the test fills."""

    def __init__(
        self, bus: BusSettings, *names: str, run: int = 1, step: Callable[..., Any] = step_all, **how: Any
    ) -> None:
        self.feeds = {name: Feed() for name in names}
        self.pipelines = {name: Walk(name, run) for name in names}
        kinds = {"ends": how.pop("ends", True), "lossless": how.pop("lossless", True)}
        cameras = [Camera(name, self.feeds[name], self.pipelines[name], **kinds) for name in names]
        self.stop = threading.Event()
        self.metrics: Metrics | None = None

        def work() -> None:
            self.metrics = run_worker(
                cameras, step, bus, self.stop, run=run, clock=WallClock(), retry=Retry(first_s=0.01), **how
            )

        self.thread = threading.Thread(target=work, name="worker")

    def play(self, name: str, seqs: Sequence[int], begin_ns: int) -> None:
        for seq in seqs:
            self.feeds[name].frames.put(frame(name, seq, begin_ns + seq * 10**6))

    def join(self) -> Metrics:
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive() and self.metrics is not None
        return self.metrics

    def __enter__(self) -> Work:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for feed in self.feeds.values():
            feed.frames.put(None)
        self.thread.join(PATIENCE_S)


def listen(bus: BusSettings, **how: Any) -> Iterator[Event]:
    return subscribe(bus.events, **({"since": 0, "timeout_s": PATIENCE_S} | how))


def take(events: Iterator[Event], n: int) -> list[Event]:
    return list(itertools.islice(events, n))


def tracks_of(events: Sequence[Event]) -> list[str]:
    return sorted(str(event.track) for event in events if isinstance(event, Appeared))


def walkers(name: str, frames: int, run: int = 1) -> list[str]:
    first = 1000 * (ord(name) - 96)
    return [f"{name}/{run}/{first + 1 + n}" for n in range(-(-frames // 5))]


# End to end


def test_from_frames_to_events(tmp_path: Path) -> None:
    with Running(tmp_path) as running, Work(running.bus, "a", "b") as work:
        begin_ns = time.time_ns()
        for name in ("a", "b"):
            work.play(name, range(50), begin_ns)
            work.feeds[name].frames.put(None)
        events = take(listen(running.bus), 20)  # 50 frames, somebody new every 5, two cameras
        metrics = work.join()
    assert tracks_of(events) == sorted(walkers("a", 50) + walkers("b", 50))
    assert [e.seq for e in events] == list(range(1, 21))
    for name in ("a", "b"):
        counts = metrics.cameras[name]
        assert (counts["read"], counts["processed"], counts["dropped"]) == (50, 50, 0)
        assert counts["state"] == "ended"
    assert metrics.counters["given_up"] == 0


def test_nothing_is_lost_when_the_linker_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Crash in the middle: the journal gives back who is who, workers repeat what was on the way."""
    with ExitStack() as stack:
        running = Running(tmp_path)
        stack.enter_context(running)
        work = stack.enter_context(Work(running.bus, "a", "b"))
        begin_ns = time.time_ns()
        events = listen(running.bus)
        for name in ("a", "b"):
            work.play(name, range(30), begin_ns)
        first = take(events, 8)
        running.crash()
        running.__exit__()
        for name in ("a", "b"):  # meanwhile
            work.play(name, range(30, 60), begin_ns)
            work.feeds[name].frames.put(None)
        with Running(tmp_path) as again:
            rest = take(events, 24 - 8)
            work.join()
            assert again.loop.counters()["failed"] == 0
    told = [e for e in first + rest if isinstance(e, Appeared)]
    # 60 frames, somebody every 5: 12 people a camera, each told once, none under two ids, no id twice.
    assert tracks_of(told) == sorted(walkers("a", 60) + walkers("b", 60))
    assert len({e.global_id for e in told}) == 24
    epochs = [e.epoch for e in told]
    assert epochs == sorted(epochs) and len(set(epochs)) == 2


def test_events_that_a_crash_kept_from_being_said_are_said_in_the_next_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between journal and log: the same input gives the same events, and only the unsaid are added."""
    bus = local_endpoints(tmp_path)
    with Hub(bus) as hub:
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
            loop = LinkerLoop(Plain(), hub, log, journal, cameras=[], clock=WallClock())
            said = [
                update("a", 1, 1, 10, tracklet("a", 1, 1, 10)),
                update("a", 1, 2, 20, tracklet("a", 1, 2, 20)),
            ]
            for message in said:
                loop._take(message)
            loop.commit()
            assert log.place == (log.epoch, 2)
            loop._take(update("a", 1, 3, 30, tracklet("a", 1, 3, 30)))
            # Killed here: the journal has the message, the log has no event.
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
            loop = LinkerLoop(Plain(), hub, log, journal, cameras=[], clock=WallClock())
            loop._take(update("a", 1, 4, 40, tracklet("a", 1, 4, 40)))
            loop.commit()
            told = [(e.epoch, e.seq, e.global_id) for e in log.read() if isinstance(e, Appeared)]
    assert told == [(1, 1, 1), (1, 2, 2), (2, 1, 3), (2, 2, 4)]


class Disk:
    """Everything that a linker writes, and whether there is space for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        monkeypatch.setattr(linking, "_RETRY_S", 0.02)
        for owner, name in (
            (EventLog, "append"),
            (store, "save_checkpoint"),
            (store.TapeWriter, "flush"),
            (EventLog, "prune"),
        ):
            monkeypatch.setattr(owner, name, self._if_there_is_space(getattr(owner, name)))

    def refuse(self) -> Any:
        raise StorageError("the disk is full")

    def _if_there_is_space(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def tried(*what: Any, **how: Any) -> Any:
            return self.refuse() if self.is_full else write(*what, **how)

        return tried


def until(happens: Callable[[], bool], do: Callable[[], Any]) -> None:
    """Do something again and again until it has had its effect."""
    end_s = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < end_s
        do()


def test_a_full_disk_stops_nothing_but_what_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_ns, disk = time.time_ns(), Disk(monkeypatch)
    with (
        Running(tmp_path, cameras=[], checkpoint_s=0.05) as running,
        Uplink(running.bus, ["a"], repeat_s=0.01) as uplink,
        Operator(running.bus.replay, timeout_s=PATIENCE_S) as operator,
    ):
        loop = running.loop

        def see(number: int) -> None:
            one = tracklet("a", 1, number, now_ns + number, ended=True)
            uplink.send(update("a", 1, number, now_ns + number, one), now_s=time.monotonic())

        def repeat() -> None:
            uplink.repeat(time.monotonic())
            uplink.poll(0.01)

        events = listen(running.bus)
        see(1)
        assert tracks_of(take(events, 1)) == ["a/1/1"]
        until(lambda: uplink.pending == 0, repeat)
        disk.is_full = True
        see(2)
        until(lambda: loop.repeated > 3 and loop.storage_errors > 3, repeat)
        assert uplink.pending == 1  # nobody has told the worker that it is safe
        assert [p.global_id for p in operator.view().identities] == [1]  # nor anybody who 2 is
        with pytest.raises(UserError, match="nothing can be put on disk now"):
            operator.command("name", 1, name="Ada")
        counters = loop.counters()
        assert counters["unsaid"] == 1 and counters["unstored_s"] > 0 and counters["updates"] == 2
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
            assert tracks_of(log.read()) == ["a/1/1"]
        disk.is_full = False
        assert tracks_of(take(events, 1)) == ["a/1/2"]
        until(lambda: uplink.pending == 0, repeat)
        assert operator.command("name", 1, name="Ada").obeyed
        assert loop.counters()["unsaid"] == loop.counters()["unstored_s"] == 0
    told = [r.getMessage() for r in caplog.records]
    # Whether a checkpoint failed before is chance.
    assert (
        sum(
            t == "the disk is full. Tracking goes on; events wait until they can be put on disk" for t in told
        )
        == 1
    )
    assert sum("there is space again" in t for t in told) == 1


def test_what_waits_for_a_full_disk_is_bounded_and_where_somebody_was_once_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    monkeypatch.setattr(linking, "_MOST_UNSAID", 3)
    with (
        Hub(local_endpoints(tmp_path)) as hub,
        EventLog(tmp_path / "events.sqlite", started_ns=1) as log,
        Journal(tmp_path) as journal,
    ):
        loop = LinkerLoop(Plain(), hub, log, journal, cameras=[], clock=WallClock())
        at = Sighting(camera_id="a", t_ns=1, box=(0.0, 0.0, 1.0, 1.0))
        came = [
            Appeared(t_ns=n, global_id=n, track=TrackKey(camera_id="a", run=1, number=n), sighting=at)
            for n in range(4)
        ]
        there = [Updated(t_ns=n, global_id=n, sightings=(at,), tracks=()) for n in range(2)]
        disk.is_full = True
        loop._waiting = [came[0], there[0], came[1], there[1]]
        loop.commit()
        assert loop._waiting == [came[0], came[1], there[1]]
        loop._waiting += came[2:]
        loop._retry_s = 0.0
        loop.commit()
        assert loop._waiting == came[1:] and loop.counters()["unsaid_dropped"] == 3
        disk.is_full, loop._retry_s = False, 0.0
        loop.commit()
        assert [e.global_id for e in log.read() if isinstance(e, Appeared)] == [1, 2, 3]


@pytest.mark.parametrize("half", [False, True])
def test_killed_while_the_disk_is_full_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    """``half``: there was space for the checkpoint, but not for the events that it knows of."""
    disk, bus = Disk(monkeypatch), local_endpoints(tmp_path)
    said = [update("a", 1, n, 10 * n, tracklet("a", 1, n, 10 * n)) for n in range(1, 5)]

    def life(messages: Sequence[CameraUpdate]) -> Iterator[LinkerLoop]:
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
            loop = LinkerLoop(Plain(), hub, log, journal, cameras=[], clock=WallClock())
            for message in messages:
                loop._take(message)
                loop.commit()
            yield loop

    with Hub(bus) as hub:
        for _ in life(said[:1]):
            pass
        for loop in life(said[1:2]):
            disk.is_full = True
            loop._take(said[2])
            loop.commit()
            assert loop.counters()["unsaid"] == 1
            if half:
                disk.is_full, loop._retry_s = False, 0.0
                with monkeypatch.context() as patch:
                    patch.setattr(EventLog, "append", lambda *_: disk.refuse())
                    loop.commit()
                assert loop.counters()["unsaid"] == 1
        disk.is_full = False
        for _ in life(said[2:]):  # workers say again what nobody acknowledged
            pass
    with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
        told = [(str(e.track), e.global_id) for e in log.read() if isinstance(e, Appeared)]
    assert told == [(f"a/1/{n}", n) for n in range(1, 5)]


def test_what_is_acknowledged_outlives_a_checkpoint_that_was_not_for_sure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that could not be put on disk after the rename left a checkpoint that read nothing of what came next."""

    def broken(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    people = [update("a", 1, n, 10 * n, tracklet("a", 1, n, 10 * n, ended=True)) for n in (1, 2)]
    monkeypatch.setattr(linking, "_RETRY_S", 0.0)
    with Hub(local_endpoints(tmp_path)) as hub:
        safe: list[TrackKey] = []
        monkeypatch.setattr(hub, "acknowledge", safe.extend)
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
            loop = LinkerLoop(Plain(), hub, log, journal, cameras=[], clock=WallClock())
            loop._take(people[0])
            with monkeypatch.context() as patch:
                patch.setattr(store, "sync_folder", broken)
                loop.save()
                loop._take(people[1])
                loop.commit()
                assert [key.number for key in safe] == [1] and loop.counters()["storage_errors"] == 2
            loop.commit()
            assert [key.number for key in safe] == [1, 2] and loop.counters()["unstored_s"] == 0
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
            loop = LinkerLoop(Plain(), hub, log, journal, cameras=[], clock=WallClock())
            assert all(loop._linker.identity_now(key) for key in safe)
            assert [str(e.track) for e in log.read() if isinstance(e, Appeared)] == ["a/1/1", "a/1/2"]


def test_whose_acknowledgement_went_missing_is_told_once_however_many_lives_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracklet that a worker repeats after its linker had been killed used to be somebody new, who had let it go."""
    clock, safe, brief = ReplayClock(10**9), list[TrackKey](), LinkSettings(max_gap_s=5, revise_s=5)
    ended = tracklet("a", 1, 1, 10**9, ended=True)
    again = wire.Repeated(camera_id="a", run=1, tracklets=(ended,))
    with Hub(local_endpoints(tmp_path)) as hub:
        monkeypatch.setattr(hub, "acknowledge", safe.extend)
        for life in range(4):
            with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
                loop = LinkerLoop(Linker(brief), hub, log, journal, cameras=[], clock=clock)
                loop._take(again)
                loop.commit()
                if life == 1:
                    for _ in range(10):  # nobody looks at them any more
                        clock.sleep_until(clock.now_ns() + 10**9)
                        loop._take(update("a", 1, 2 + clock.now_ns() // 10**9, clock.now_ns()))
                    assert loop._linker.identity_now(ended.key) is None
                if life > 0:
                    loop.save()
                assert tracks_of(log.read()) == ["a/1/1"]
                # Killed here.
    assert safe == [ended.key] * 4


def test_whose_end_comes_after_the_linker_has_let_them_go_is_told_once(tmp_path: Path) -> None:
    """The end was lost with a link, and by the time it was said again they were somebody new."""
    clock, brief = ReplayClock(10**9), LinkSettings(max_gap_s=5, revise_s=5)
    ended = tracklet("a", 1, 1, 10**9, ended=True)
    with Hub(local_endpoints(tmp_path)) as hub:
        for life in range(3):
            with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
                loop = LinkerLoop(Linker(brief), hub, log, journal, cameras=[], clock=clock)
                if life == 0:
                    loop._take(update("a", 1, 1, 10**9, tracklet("a", 1, 1, 10**9)))
                    for _ in range(10):  # nobody looks at them any more
                        clock.sleep_until(clock.now_ns() + 10**9)
                        loop._take(update("a", 1, 2 + clock.now_ns() // 10**9, clock.now_ns()))
                else:
                    loop._take(wire.Repeated(camera_id="a", run=1, tracklets=(ended,)))
                loop.save()
                assert loop._linker.identity_now(ended.key) is None
                assert tracks_of(log.read()) == ["a/1/1"]
                saved = journal.saved
                assert saved is not None
                assert (wire.digest(ended.key) in saved.told, wire.digest(ended.key) in saved.ended) == (
                    life == 0,
                    life > 0,
                )


def test_whoever_was_forgotten_is_not_brought_back_by_a_worker_that_says_them_again(tmp_path: Path) -> None:
    clock, number = ReplayClock(10**9), 0x71717171
    ended = tracklet("a", 1, number, 10**9, ended=True)
    again = wire.Repeated(camera_id="a", run=1, tracklets=(ended,))
    with Hub(local_endpoints(tmp_path)) as hub:
        for life in range(2):
            with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
                loop = LinkerLoop(Linker(), hub, log, journal, cameras=[], clock=clock)
                loop._take(again)
                loop.commit()
                if life == 0:
                    assert tracks_of(log.read()) == [f"a/1/{number}"]
                    loop._obey(Command(id="x", t_ns=10**9, verb="forget", global_ids=(1,)))
                assert log.read() == [] == list(loop._linker.view().identities)
                saved = wire.encode(journal.saved)  # type: ignore[arg-type]
                assert wire.digest(ended.key) in saved and number.to_bytes(4) not in saved


def test_what_waits_for_its_turn_when_a_checkpoint_is_made_is_heard_in_the_next_life(tmp_path: Path) -> None:
    ended = tracklet("a", 1, 1, 10**9, ended=True)
    with Hub(local_endpoints(tmp_path)) as hub:
        for message in (
            update("a", 1, 1, 10**9, ended),  # held back: nothing has been heard of b
            wire.Repeated(camera_id="a", run=1, tracklets=(ended,)),
        ):
            with EventLog(tmp_path / "events.sqlite", started_ns=1) as log, Journal(tmp_path) as journal:
                loop = LinkerLoop(Plain(), hub, log, journal, cameras=["a", "b"], clock=ReplayClock(10**9))
                assert log.read() == []
                loop._take(message)
                loop.save()
                told = tracks_of(log.read())
    assert told == ["a/1/1"]


def test_one_failing_camera_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Running(tmp_path) as running, Work(running.bus, "a", "b", ends=False, lossless=False) as work:
        begin_ns = time.time_ns()
        events = listen(running.bus)
        work.feeds["a"].frames.put(UserError("hall at rtsp://hall does not answer"))
        lost = next(events)
        assert isinstance(lost, CameraLost) and lost.reason == "hall at rtsp://hall does not answer"
        work.feeds["a"].frames.put(ZeroDivisionError("a driver's bug"))
        work.play("b", [0], begin_ns)
        assert tracks_of(take(events, 1)) == ["b/1/2001"]
        work.play("a", [5], begin_ns)  # the third connection works
        while not tracks_of([event := next(events)]):
            assert isinstance(event, CameraLost | CameraBack)
        assert tracks_of([event]) == ["a/1/1002"]
        assert work.feeds["a"].opened == 3 and work.feeds["b"].opened == 1
    assert any("a driver's bug" in str(r.exc_info) for r in caplog.records)
    metrics = work.join()
    assert metrics.cameras["a"]["lost"] == 2


def test_a_camera_whose_frames_break_the_step_stops_nobody(tmp_path: Path) -> None:
    def step(pipelines: Sequence[Any], frames: Sequence[Frame], load: float) -> list[CameraUpdate]:
        if any(frame.camera_id == "a" for frame in frames):
            raise FloatingPointError("a's lens is from another world")
        return step_all(pipelines, frames, load)

    with Running(tmp_path) as running, Work(running.bus, "a", "b", step=step) as work:
        begin_ns = time.time_ns()
        for name in ("a", "b"):
            work.play(name, range(50), begin_ns)
            work.feeds[name].frames.put(None)
        metrics = work.join()
        told = tracks_of(list(listen(running.bus, timeout_s=0.5)))
    assert metrics.cameras["a"]["failed"] == 50 and metrics.cameras["a"]["processed"] == 0
    # At most the batches that failed together are lost, which is one.
    assert metrics.cameras["b"]["failed"] <= 1 and metrics.cameras["b"]["processed"] >= 49
    assert set(told) <= set(walkers("b", 50)) and len(told) >= 9


def test_a_worker_that_dies_is_noticed_and_its_next_run_is_heard(tmp_path: Path) -> None:
    with Running(tmp_path, cameras=["a"], stalled_after_s=0.1) as running:
        events = listen(running.bus)
        begin_ns = time.time_ns()
        with Uplink(running.bus, ["a"]) as uplink:
            uplink.send(update("a", 1, 0, begin_ns, tracklet("a", 1, 7, begin_ns)), now_s=0)
            assert tracks_of(take(events, 1)) == ["a/1/7"]
        lost = next(events)  # the uplink is gone without a word
        assert isinstance(lost, CameraLost) and "nothing heard of it" in lost.reason
        with Uplink(running.bus, ["a"]) as uplink:
            now_ns = time.time_ns()
            uplink.send(update("a", 2, 0, now_ns, tracklet("a", 2, 7, now_ns)), now_s=0)
            while not tracks_of([event := next(events)]):
                pass
            assert tracks_of([event]) == ["a/2/7"]


def test_a_linker_that_fails_on_a_message_goes_on(tmp_path: Path) -> None:
    class Fragile(Plain):
        def step(self, message: LinkerInput) -> list[Event]:
            if isinstance(message, Command):
                raise KeyError("never heard of it")
            return super().step(message)

    with Running(tmp_path, Fragile(), cameras=[]) as running:
        events = listen(running.bus)
        with Uplink(running.bus, ["a"]) as uplink, Operator(running.bus.replay) as operator:
            told = operator.command("name", 5, name="Ada")
            assert not told.obeyed and "failed" in told.reason
            uplink.send(update("a", 1, 0, 10, tracklet("a", 1, 1, 10)), now_s=0)
            assert tracks_of(take(events, 1)) == ["a/1/1"]
        running.crash()
    assert running.loop.failed == 1
    with Running(tmp_path, Fragile(), cameras=[]) as again:  # the message is in the journal
        assert again.loop.failed == 1


def test_who_is_forgotten_is_gone_from_log_and_journal(tmp_path: Path) -> None:
    now_ns = time.time_ns()
    with Running(tmp_path, cameras=[]) as running:
        events = listen(running.bus)
        with Uplink(running.bus, ["a"]) as uplink:
            uplink.send(update("a", 1, 0, now_ns + 10, tracklet("a", 1, 1, now_ns)), now_s=0)
            uplink.send(update("a", 1, 1, now_ns + 20, tracklet("a", 1, 2, now_ns)), now_s=0)
            assert len(take(events, 2)) == 2
            with Operator(running.bus.replay) as operator:
                assert operator.command("forget", 1).obeyed
            uplink.send(update("a", 1, 2, now_ns + 40, tracklet("a", 1, 3, now_ns)), now_s=0)
            assert len(take(events, 1)) == 1
    # The checkpoint of this stand-in still names the track; log and tape must not show what it looked like.
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert looks(1).tobytes() not in left
    with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
        assert [e.global_id for e in log.read() if isinstance(e, Appeared)] == [2, 3]


def test_a_clock_that_is_ahead_makes_nobody_else_late(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hour_ns = 3600 * 10**9
    with Running(tmp_path) as running, Uplink(running.bus, ["a"]) as uplink:
        events = listen(running.bus)
        for seq in range(3):
            now_ns = time.time_ns()
            uplink.send(
                update("a", 1, seq, now_ns + hour_ns, tracklet("a", 1, seq, now_ns + hour_ns)), now_s=0
            )
            uplink.send(update("b", 1, seq, now_ns, tracklet("b", 1, seq, now_ns)), now_s=0)
        told = take(events, 6)
        end_ns = time.time_ns()
        counters = running.loop.counters()
    assert all(event.t_ns <= end_ns for event in told)
    assert counters["clocks_off"] == 1 and counters["late"] <= 1
    assert sum("a: its clock is 3600.0 s ahead" in record.getMessage() for record in caplog.records) == 1


def test_a_clock_that_is_behind_is_found_and_taken_off_once_no_message_was_prompt(tmp_path: Path) -> None:
    """Machines 3 s apart used to leave everything of the later one late for ever."""
    clock = ReplayClock(1000 * 10**9)
    noted: list[LinkerInput] = []

    class Noting(Plain):
        def step(self, message: LinkerInput) -> list[Event]:
            noted.append(message)
            return []

    with Hub(local_endpoints(tmp_path)) as hub, Journal(tmp_path) as journal:
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
            loop = LinkerLoop(Noting(), hub, log, journal, cameras=["a"], clock=clock, patience_s=1.0)
            for n in range(100):  # 10 s of it; 0.1 s from there to here
                clock.sleep_until(1000 * 10**9 + (n + 1) * 10**8)
                loop._take(update("a", 1, n, clock.now_ns() - 31 * 10**8))
            figures = loop.cameras()["a"]
            assert loop.counters()["clocks_off"] == 1
    times = [message.t_ns for message in noted]
    assert times == sorted(set(times))
    # As said for 5 s, then as it arrived: 3 s and the way of 0.1 s, which nobody can tell apart.
    assert times[0] == 1000 * 10**9 + 10**8 - 31 * 10**8
    assert times[-1] == clock.now_ns() and figures["worker_clock_offset_s"] == pytest.approx(-3.1)


def test_clocks_that_are_off_are_those_of_cameras_now(tmp_path: Path) -> None:
    """Each run of a worker whose clock was off used to count once more, and for ever."""
    clock, hour_ns = ReplayClock(1000 * 10**9), 3600 * 10**9
    with Hub(local_endpoints(tmp_path)) as hub, Journal(tmp_path) as journal:
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
            loop = LinkerLoop(Plain(), hub, log, journal, cameras=["a", "b"], clock=clock)
            off = []
            # a: ahead in two runs; b: ahead, then set right in the same run; a: right in a third run.
            for n, (camera, run, ahead_ns) in enumerate(
                (("a", 1, hour_ns), ("a", 2, hour_ns), ("b", 1, hour_ns), ("b", 1, 0), ("a", 3, 0))
            ):
                clock.sleep_until((1001 + n) * 10**9)
                loop._take(update(camera, run, n, clock.now_ns() + ahead_ns))
                off.append(loop.counters()["clocks_off"])
            assert off == [1, 1, 2, 1, 0]
            assert {camera_id for camera_id, _ in loop._off_ns} == {"b"}


def test_a_camera_that_is_none_of_the_sites_is_refused(tmp_path: Path) -> None:
    with Running(tmp_path, cameras=["a"]) as running, Uplink(running.bus, ["a"]) as uplink:
        now_ns = time.time_ns()
        uplink.send(update("zoo", 1, 0, now_ns, tracklet("zoo", 1, 1, now_ns)), now_s=0)
        uplink.send(update("a", 1, 0, now_ns, tracklet("a", 1, 1, now_ns)), now_s=0)
        assert tracks_of(take(listen(running.bus), 1)) == ["a/1/1"]
        assert running.loop.counters()["unknown"] == 1


def test_a_changed_embedder_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Running(tmp_path, cameras=[]) as running:
        events = listen(running.bus)
        with Uplink(running.bus, ["a"]) as uplink:
            for seq, model in enumerate(("aaaa", "bbbb")):
                one = msgspec.structs.replace(tracklet("a", 1, seq, 10 + seq), model_hash=model)
                uplink.send(update("a", 1, seq, 10 + seq, one), now_s=0)
            take(events, 2)
    assert (
        sum("the embedder changed (model bbbb, before aaaa)" in r.getMessage() for r in caplog.records) == 1
    )


def test_two_embedders_at_once_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Workers with different models used to give a line for every message."""
    with (
        Hub(local_endpoints(tmp_path)) as hub,
        EventLog(tmp_path / "events.sqlite", started_ns=1) as log,
        Journal(tmp_path) as journal,
    ):
        loop = LinkerLoop(Plain(), hub, log, journal, cameras=[], clock=WallClock())
        for seq, model in enumerate(("aaaa", "bbbb", "aaaa", "bbbb", "cccc", "bbbb")):
            one = msgspec.structs.replace(tracklet("a", 1, seq, 10 + seq), model_hash=model)
            loop._take(update("a", 1, seq, 10 + seq, one))
    told = [r.getMessage() for r in caplog.records if "the embedder changed" in r.getMessage()]
    assert [t.split("(model ")[1][:17] for t in told] == ["bbbb, before aaaa", "cccc, before bbbb"]


def test_boxes_carry_identities(tmp_path: Path) -> None:
    import zmq

    with zmq.Context() as context, Running(tmp_path, cameras=[]) as running, context.socket(zmq.SUB) as boxes:
        boxes.connect(running.bus.boxes)
        boxes.subscribe(b"boxes/a/")
        with Uplink(running.bus, ["a"]) as uplink:
            for seq in range(1000):  # until the subscription has arrived
                uplink.send(update("a", 1, seq, 10 + seq, tracklet("a", 1, 5, 10)), now_s=0)
                if boxes.poll(20):
                    got = wire.decode(boxes.recv_multipart()[1])
                    if got.global_ids.any():  # until then its number was not on disk
                        break
        assert isinstance(got, wire.Boxes)
        assert (got.camera_id, got.numbers.tolist(), got.global_ids.tolist()) == ("a", [5], [1])


# The real linker


def scene() -> list[LinkerInput]:
    """Two cameras, people who walk from one to the other, for a minute."""
    messages: list[LinkerInput] = []
    for seq in range(600):
        t_ns = 10**9 + seq * 10**8
        for camera_id, shift in (("a", 0), ("b", 25)):
            number = (seq - shift) // 40 + 1
            age = (seq - shift) % 40
            tracklets: tuple[Tracklet, ...] = ()
            if seq >= shift and age < 20:
                one = tracklet(camera_id, 0, number, t_ns - age * 10**8, ended=age == 19)
                tracklets = (msgspec.structs.replace(one, revision=age + 1, t_last_ns=t_ns),)
            messages.append(update(camera_id, 0, seq, t_ns, *tracklets))
    return [*messages, Advance(t_ns=messages[-1].t_ns, final=True)]


@pytest.mark.parametrize("cut", [1, 100, 555, 1000])
def test_the_linker_goes_on_from_a_checkpoint_as_if_nothing_had_happened(cut: int) -> None:
    whole = Linker()
    straight = [event for message in scene() for event in whole.step(message)]
    before = Linker()
    broken = [event for message in scene()[:cut] for event in before.step(message)]
    after = Linker()
    saved = wire.decode(wire.encode(before.checkpoint()))
    assert isinstance(saved, Checkpoint)
    after.restore(saved)
    broken += [event for message in scene()[cut:] for event in after.step(message)]
    assert [wire.encode(e) for e in broken] == [wire.encode(e) for e in straight]
    assert len(straight) > 30


def test_identities_are_not_used_again_when_the_checkpoint_is_gone(tmp_path: Path) -> None:
    def life(number: int) -> list[int]:
        with Running(tmp_path, Linker(), cameras=[]) as running, Uplink(running.bus, ["a"]) as uplink:
            now_ns = time.time_ns()
            message = update("a", number, 0, now_ns, tracklet("a", number, number, now_ns))
            events = listen(running.bus, kinds="appeared")
            uplink.send(message, now_s=0)
            return [e.global_id for e in take(events, number) if isinstance(e, Appeared)]

    assert life(1) == [1]
    (tmp_path / "checkpoint").unlink()
    assert life(2) == [1, 2]  # the first of them from the log


# Operators


# Rows at distance 1 from each other: nobody resembles anybody.
FACES = np.linalg.qr(np.random.default_rng(0).normal(size=(DIMENSIONS, DIMENSIONS)))[0].astype(np.float32)


class Watched:
    """A real linker in a thread, three people who were seen one after the other, and an operator."""

    def __init__(self, folder: Path, *, seen: bool = True, **how: Any) -> None:
        self.running = Running(folder, Linker(), cameras=[], **how)
        self._seen = seen
        self.bus = self.running.bus

    def __enter__(self) -> Watched:
        with ExitStack() as stack:
            stack.enter_context(self.running)
            self.uplink = stack.enter_context(Uplink(self.bus, ["a"]))
            self.operator = stack.enter_context(Operator(self.bus.replay, timeout_s=PATIENCE_S))
            self.events = listen(self.bus, kinds=["appeared", "merged", "split"])
            if self._seen:
                for number in (1, 2, 3):
                    self.see(number)
                assert tracks_of(take(self.events, 3)) == ["a/1/1", "a/1/2", "a/1/3"]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def see(self, number: int) -> None:
        """Somebody whom nobody resembles, at a place of their own, for one frame."""
        now_ns = time.time_ns()
        left = 10 + 100 * number
        box = np.array([left, 10, left + 40, 110], np.float32)
        one = tracklet("a", 1, number, now_ns)
        one = msgspec.structs.replace(one, first_box=box, last_box=box, mean_embedding=FACES[number])
        message = msgspec.structs.replace(update("a", 1, number, now_ns), tracklets=(one,))
        self.uplink.send(message, now_s=0)

    def people(self) -> dict[int, tuple[str, list[str]]]:
        return {p.global_id: (p.name, list(map(str, p.tracks))) for p in self.operator.view().identities}


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def test_an_operators_words_are_obeyed_answered_and_published(tmp_path: Path) -> None:
    with Watched(tmp_path) as site:
        begin_ns = time.time_ns()
        merged = site.operator.command("merge", 1, 2)
        named = site.operator.command("name", 1, name="Ada")
        split = site.operator.command("split", 1, track_keys=[TrackKey(camera_id="a", run=1, number=2)])
        end_ns = time.time_ns()
        assert merged.obeyed and named.obeyed and split.obeyed and named.events == ()
        published = take(site.events, 2)
        assert [*merged.events, *split.events] == published
        (join,), (part,) = merged.events, split.events
        assert isinstance(join, Merged) and (join.kept, join.absorbed) == (1, 2)
        assert isinstance(part, Split) and (part.global_id, part.to, list(map(str, part.tracks))) == (
            1,
            4,
            ["a/1/2"],
        )
        assert begin_ns <= join.t_ns <= part.t_ns <= end_ns  # the linker's own time
        assert site.people() == {1: ("Ada", ["a/1/1"]), 3: ("", ["a/1/3"]), 4: ("", ["a/1/2"])}
        audit = list(site.operator.audit())
    assert [(o.number, o.verb, o.global_ids, o.by, o.obeyed) for o in audit] == [
        (1, "merge", (1, 2), "", True),
        (2, "name", (1,), "", True),
        (3, "split", (1,), "", True),
    ]
    assert [o.id for o in audit] == [merged.id, named.id, split.id]
    # In the order in which they were obeyed, with the time at which they were.
    commands = [m for _, path in store.tapes_in(tmp_path) for m in TapeReader(path) if isinstance(m, Command)]
    assert commands == []  # the last checkpoint holds them


def test_what_is_refused_is_said_why_and_changes_nothing(tmp_path: Path) -> None:
    with Watched(tmp_path) as site:
        site.operator.command("merge", 1, 2)
        before = site.people()
        told = [
            site.operator.command("merge", 1, 77),
            site.operator.command("merge", 3, 2),
            site.operator.command("split", 3, track_keys=[TrackKey(camera_id="a", run=1, number=3)]),
            site.operator.command("forget", 77),
            site.operator.command("split", 3, track_keys=[TrackKey(camera_id="\x1b[2J", run=1, number=3)]),
        ]
        assert [o.reason for o in told] == [
            "no identity 77 is known now",
            "no identity 2 is known now: 2 was merged into 1",
            "nothing would be left of 3",
            "no identity 77 is known now",
            "?[2J/1/3: no tracklet of 3",
        ]
        assert not any(o.obeyed or o.events for o in told)
        assert site.people() == before
        assert [o.reason for o in site.operator.audit()] == ["", *(o.reason for o in told)]


@pytest.mark.parametrize("kind", [StorageError, UserError])  # the disk is busy, or the file is damaged
def test_a_log_that_cannot_be_read_ends_no_linker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[UserError]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise kind("the event log cannot be read (disk I/O error)")

    command = Command(t_ns=0, verb="merge", global_ids=(1, 2), id="once")
    with Watched(tmp_path) as site:
        loop = site.running.loop
        for name, ask in (
            ("outcome", lambda: site.operator.send(command)),
            ("absorbed_by", lambda: site.operator.send(command)),
            ("audit", lambda: list(site.operator.audit())),
            ("lost_since", lambda: next(listen(site.bus))),
        ):
            errors = loop.storage_errors
            with monkeypatch.context() as patch, pytest.raises(UserError, match="log cannot be read now"):
                patch.setattr(EventLog, name, broken)
                ask()
            assert loop.storage_errors == errors + 1
        with monkeypatch.context() as patch:
            patch.setattr(EventLog, "prune", broken)
            loop._tidied_s = -float("inf")
            until(lambda: loop.storage_errors == 5, lambda: site.operator.view())
        assert site.operator.send(command).obeyed
        assert tracks_of(take(listen(site.bus), 3)) == ["a/1/1", "a/1/2", "a/1/3"]


def test_a_command_is_done_once_however_often_it_is_said(tmp_path: Path) -> None:
    command = Command(t_ns=0, verb="merge", global_ids=(1, 2), id="once")
    with Watched(tmp_path) as site:
        first = site.operator.send(command)
        assert site.operator.send(command) == msgspec.structs.replace(first, number=1)
        for wrong in (
            msgspec.structs.replace(command, global_ids=(1, 3)),
            msgspec.structs.replace(command, id=""),
            msgspec.structs.replace(command, id="x" * 65),
        ):
            with pytest.raises(UserError, match="the id once was that of another|has an id of its own"):
                site.operator.send(wrong)
        assert len(take(site.events, 1)) == 1
        site.running.crash()
    with Watched(tmp_path, seen=False) as site:  # and in the next life
        assert site.operator.send(command).events == first.events
        assert len(list(site.operator.audit())) == 1 and len(site.people()) == 2


def test_what_operators_said_outlives_a_crash(tmp_path: Path) -> None:
    with Watched(tmp_path) as site:
        site.operator.command("merge", 1, 2)
        site.operator.command("name", 1, name="Ada")
        site.operator.command("split", 1, track_keys=[TrackKey(camera_id="a", run=1, number=2)])
        before = site.people()
        site.running.crash()
    with Watched(tmp_path, seen=False) as site:
        assert site.people() == before
        rulings = msgspec.msgpack.decode(site.running._linker.checkpoint().state)["rulings"]
        assert len(rulings["parted"]) == 1 and rulings["joined"] == []


@pytest.mark.parametrize("verb", ["merge", "forget"])
def test_a_command_that_a_crash_kept_from_the_audit_gets_there_in_the_next_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Any
) -> None:
    """Killed between journal and log: it was obeyed, though nobody was told yet."""
    command = Command(t_ns=0, verb=verb, global_ids=(2, 3) if verb == "merge" else (2,), id="once")

    def killed(*_: Any) -> None:
        raise UserError("killed")

    with pytest.raises(UserError, match="killed"), Watched(tmp_path) as site:
        monkeypatch.setattr(EventLog, "append", killed)
        site.operator._timeout_s = 0.5
        with pytest.raises(UserError, match="no linker answered"):
            site.operator.send(command)
    monkeypatch.undo()
    with Watched(tmp_path, seen=False) as site:
        told = site.operator.send(command)
        assert told.obeyed and [type(e) for e in told.events] == ([Merged] if verb == "merge" else [])
        assert len(list(site.operator.audit())) == 1
        assert sorted(site.people()) == ([1, 2] if verb == "merge" else [1, 3])
    if verb == "forget":
        assert FACES[2].tobytes() not in bytes_in(tmp_path)
        with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
            assert not log.speaks_of(2)


def test_nothing_is_left_of_who_is_forgotten_but_a_number_and_a_time(tmp_path: Path) -> None:
    with Watched(tmp_path) as site:
        site.operator.command("name", 2, name="Bob-of-the-yard")
        site.operator.command("merge", 1, 2)
        site.operator.command("name", 3, name="Cy")
        stale = site.operator.view()
        assert [p.name for p in stale.identities] == ["Bob-of-the-yard", "Cy"]
        told = site.operator.command("forget", 1)
        assert told.obeyed and told.events == ()
        # It is gone when the answer comes, not a while after.
        left = bytes_in(tmp_path)
        assert [n for n in (1, 2, 3) if FACES[n].tobytes() in left] == [3]
        assert b"Bob-of-the-yard" not in left and b"Cy" in left
        page = wire.Ask(what="view", epoch=stale.epoch, seq=stale.seq, page=1)  # of the view of before
        assert site.operator._questions.ask(page, wire.Page).page == 0  # it is not kept any more
        assert [p.name for p in site.operator.view().identities] == ["Cy"]
        audit = list(site.operator.audit())
    assert [(o.verb, o.global_ids) for o in audit] == [
        ("name", (2,)),
        ("merge", (1, 2)),
        ("name", (3,)),
        ("forget", (1,)),
    ]
    with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
        assert {e.global_id for e in log.read() if isinstance(e, Appeared | HandedOver)} == {3}


def test_whom_the_linker_no_longer_knows_the_log_forgets(tmp_path: Path) -> None:
    with Watched(tmp_path) as site:
        site.running._linker._drop(2)  # as age would
        assert 2 not in site.people()
        assert site.operator.command("forget", 2).obeyed
        assert not site.operator.command("forget", 2).obeyed  # now nobody knows of them
    with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
        assert not log.speaks_of(2) and log.speaks_of(1)


def test_a_tape_with_an_operators_commands_gives_the_same_events_byte_for_byte(tmp_path: Path) -> None:
    """The tape of a live linker, through a fresh one."""
    with Watched(tmp_path, keep_tapes=True) as site:
        site.operator.command("merge", 1, 2)
        site.see(4)
        take(site.events, 2)
        site.operator.command("merge", 1, 77)  # refused: on no tape
        site.operator.command("split", 1, track_keys=[TrackKey(camera_id="a", run=1, number=1)])
        site.operator.command("name", 5, name="Ada")
        site.see(5)
        take(site.events, 2)
    taped = [m for _, path in store.tapes_in(tmp_path) for m in TapeReader(path) if isinstance(m, Command)]
    assert [c.verb for c in taped] == ["merge", "split", "name"]
    with EventLog(tmp_path / "events.sqlite", started_ns=1) as log:
        live = log.read()
    values = {"cameras": {"a": "0"}, "embedder": {"kind": "none"}}
    again = roles.replay(from_values(values, source="test"), tmp_path, tmp_path / "again")
    assert [wire.encode(msgspec.structs.replace(e, epoch=0)) for e in live] == [wire.encode(e) for e in again]
    assert any(isinstance(e, Split) for e in again)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_tracker.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_operator_at_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Watched(tmp_path) as site:

        def identity(*words: str) -> str:
            code, out, error = said(
                capsys, "identity", *words, "--linker", site.bus.replay, "--timeout", "20"
            )
            assert (code, error) == (0, "")
            return out

        assert identity("merge", "1", "2", "3") == "2 is now 1\n3 is now 1\n"
        assert identity("name", "1", "Ada Lovelace") == "1 is now called Ada Lovelace\n"
        head, columns, *tracks = identity("show", "1").splitlines()
        assert head == "1 Ada Lovelace" and columns.split() == ["tracklet", "from", "to"]
        assert [line.split()[0] for line in tracks] == ["a/1/1", "a/1/2", "a/1/3"]
        assert identity("split", "1", "--tracks", "a/1/2", "a/1/3") == "a/1/2, a/1/3: no longer 1, now 4\n"
        rows = [line.split() for line in identity("list").splitlines()]
        assert rows[0][:3] == ["id", "name", "here"]
        assert {row[0]: row[-1] for row in rows[1:]} == {"1": "1", "4": "2"}
        told = [json.loads(line) for line in identity("list", "--json").splitlines()]
        assert {one["global_id"]: one["name"] for one in told} == {1: "Ada Lovelace", 4: ""}
        assert identity("name", "1", "") == "1 has no name now\n"
        assert json.loads(identity("name", "4", "Bob", "--json"))["obeyed"] is True
        assert identity("forget", "4") == "4 is forgotten\n"
        code, out, error = said(capsys, "identity", "merge", "1", "4", "--linker", site.bus.replay)
        assert (code, out, error) == (2, "", "throughline: refused: no identity 4 is known now\n")
        code, out, error = said(capsys, "identity", "show", "4", "--linker", site.bus.replay)
        assert code == 2 and "no identity 4 is known now; 'identity list' shows who is" in error
        lines = identity("log").splitlines()
        assert [line.split()[3:5] for line in lines[1:3]] == [["merge", "1"], ["name", "1"]]
        assert [line.rsplit("  ", 1)[-1] for line in lines[1:]] == [
            *["done"] * 6,
            "refused: no identity 4 is known now",
        ]
        assert len(identity("log", "--json").splitlines()) == 7


# Parts


def test_of_too_many_waiting_frames_the_oldest_go_and_are_counted() -> None:
    camera = Camera("a", Feed(), Walk("a", 1))
    inbox = Inbox([camera])
    for seq in range(5):
        inbox.put(frame("a", seq, seq))
    inbox.say(CameraStatus(camera_id="a", run=1, t_ns=9, state="gone"))
    # Three may wait: 0 and 1 are gone, and the word comes after the last frame.
    told = [inbox.take(0) for _ in range(4)]
    assert [[f.seq for f in frames] for frames, _ in told] == [[2], [3], [4], []]
    assert [[w.state for w in words] for _, words in told] == [[], [], [], ["gone"]]
    assert inbox.take(0) == ([], [])
    count = inbox.counts["a"]
    assert (count.read, count.dropped) == (5, 2)


def test_where_nothing_may_be_lost_the_camera_waits() -> None:
    inbox = Inbox([Camera("a", Feed(), Walk("a", 1), lossless=True)])

    def put_all() -> None:
        for seq in range(20):
            inbox.put(frame("a", seq, seq))

    putting = threading.Thread(target=put_all)
    putting.start()
    seen = [f.seq for _ in range(20) for f in inbox.take(PATIENCE_S)[0]]
    putting.join(PATIENCE_S)
    assert seen == list(range(20)) and inbox.counts["a"].dropped == 0


def test_what_a_decoder_still_held_when_a_silent_stream_ended_does_not_bring_a_camera_back() -> None:
    """The last frames came with the end of the stream: one outage was told as lost, back, lost."""
    camera = Camera("a", Feed(), Walk("a", 1))
    inbox = Inbox([camera])
    sent: list[CameraUpdate | CameraStatus] = []
    inference = Inference(
        [camera], step_all, inbox, sent.append, run=1, clock=WallClock(), stalled_after_s=0.05
    )
    taken_ns = time.time_ns()
    inbox.put(frame("a", 0, taken_ns))
    inference.round(0)
    while len(sent) < 3:
        inference.round(0.02)
    inbox.put(frame("a", 1, taken_ns + 1))  # of before the silence
    inbox.put(frame("a", 2, time.time_ns()))
    inference.round(0)
    told = [m.state if isinstance(m, CameraStatus) else f"frame {m.seq}" for m in sent]
    assert told == ["up", "frame 0", "stalled", "up", "frame 2"]
    assert inbox.counts["a"].disordered == 1


def test_frames_that_do_not_rise_in_time_are_left_out() -> None:
    feed = Feed()
    camera = Camera("a", feed, Walk("a", 1), ends=True, lossless=False)
    inbox = Inbox([camera])
    for seq, t_ns in enumerate((10, 20, 20, 15, 30)):
        feed.frames.put(frame("a", seq, t_ns))
    feed.frames.put(None)
    Capture(camera, inbox, threading.Event(), WallClock(), run=1).follow(threading.Event())
    assert (inbox.counts["a"].read, inbox.counts["a"].disordered) == (3, 2)
    assert [f.t_ns for _ in range(3) for f in inbox.take(0)[0]] == [10, 20, 30]
    assert [w.state for w in inbox.take(0)[1]] == ["ended"]


def test_pauses_double_up_to_ten_seconds_and_whoever_flaps_rests() -> None:
    def pauses(*frames: int) -> list[tuple[float, str]]:
        """After connections with so many frames each, no jitter."""
        camera = Camera("a", Feed(), Walk("a", 1))
        capture = Capture(
            camera, Inbox([camera]), threading.Event(), WallClock(), run=1, retry=Retry(jitter=0.0)
        )
        told = []
        for count in frames:
            if count:
                capture._failures = 0
            told.append(capture._pause())
        return told

    # Half a second doubled, and ten at most.
    assert [p for p, _ in pauses(1, 0, 0, 0, 0, 0, 0)] == [0.5, 1, 2, 4, 8, 10, 10]
    flapping = pauses(1, 1, 1, 1, 1, 1)
    assert [p for p, _ in flapping] == [0.5, 0.5, 0.5, 0.5, 60, 0.5]
    assert "came and went 5 times within 60 s" in flapping[4][1] and not flapping[5][1]


def test_jitter_comes_from_the_generator_that_is_given() -> None:
    camera = Camera("a", Feed(), Walk("a", 1))

    def pause(seed: int) -> float:
        rng = np.random.default_rng(seed)
        return Capture(camera, Inbox([camera]), threading.Event(), WallClock(), run=1, rng=rng)._pause()[0]

    assert pause(1) == pause(1) != pause(2)
    assert all(0.4 <= pause(seed) <= 0.6 for seed in range(20))


def test_a_connection_that_never_returns_stops_neither_the_others_nor_the_end(tmp_path: Path) -> None:
    """A decoder that hung in a call kept its camera dark for ever."""
    released, opened = threading.Event(), []

    class Hanging:
        """The first connection hangs after a frame; the second works."""

        def __init__(self) -> None:
            opened.append(self)

        def __iter__(self) -> Iterator[Frame]:
            first = 10 * (len(opened) - 1)
            yield frame("a", first, time.time_ns())
            if len(opened) == 1:
                released.wait(PATIENCE_S)
            for seq in itertools.count(first + 1):
                if seq == first + 4:
                    released.wait(PATIENCE_S)
                yield frame("a", seq, time.time_ns())

        def close(self) -> None:
            pass

    hanging = Camera("a", Hanging, Walk("a", 1), hung_after_s=0.05, lossless=True)
    feed = Feed()
    stop = threading.Event()
    with Running(tmp_path) as running:
        events = listen(running.bus)
        told: list[Metrics] = []
        cameras = [hanging, Camera("b", feed, Walk("b", 1))]
        worker = threading.Thread(
            target=lambda: told.append(
                run_worker(cameras, step_all, running.bus, stop, run=1, clock=WallClock())
            ),
            daemon=True,
        )
        worker.start()
        feed.frames.put(frame("b", 0, time.time_ns()))
        seen: list[Event] = []
        while not any(isinstance(event, CameraLost) for event in seen):
            seen.append(next(events))
        while {"a/1/1001", "a/1/1003", "b/1/2001"} - set(tracks_of(seen)):
            seen.append(next(events))
        stop.set()
        worker.join(PATIENCE_S)
        assert not worker.is_alive()
        released.set()
        feed.frames.put(None)
    lost = next(event for event in seen if isinstance(event, CameraLost))
    assert lost.camera_id == "a" and "hangs for 0.05 s" in lost.reason
    assert told[0].cameras["a"]["hung"] >= 1 and told[0].cameras["b"]["lost"] == 0


def test_a_network_thread_that_fails_ends_its_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker went on reading, said that its cameras are up, and sent nothing."""

    class Broken(Uplink):
        def repeat(self, now_s: float) -> None:
            raise RuntimeError("a bug")

    class UntilStopped(Feed):
        def __iter__(self) -> Iterator[Frame]:
            yield frame("a", 0, time.time_ns())
            stop.wait(PATIENCE_S)

    monkeypatch.setattr(following, "Uplink", Broken)
    stop = threading.Event()
    cameras = [Camera("a", UntilStopped(), Walk("a", 1), ends=True)]
    with pytest.raises(RuntimeError, match="a bug"):
        run_worker(cameras, step_all, local_endpoints(tmp_path), stop, run=1, clock=WallClock())
    assert stop.is_set()


def test_a_camera_says_up_before_its_first_frame_stalled_when_silent_and_up_again() -> None:
    camera = Camera("a", Feed(), Walk("a", 1))
    inbox = Inbox([camera])
    sent: list[CameraUpdate | CameraStatus] = []
    inference = Inference(
        [camera], step_all, inbox, sent.append, run=1, clock=WallClock(), stalled_after_s=0.05
    )
    inbox.put(frame("a", 0, 100))
    inference.round(0)
    while len(sent) < 3:
        inference.round(0.02)
    inbox.put(frame("a", 1, time.time_ns()))
    inference.round(0)
    inference.finish()
    told = [m.state if isinstance(m, CameraStatus) else f"frame {m.seq}" for m in sent]
    assert told == ["up", "frame 0", "stalled", "up", "frame 1", "frame 2"]
    times = [m.t_ns for m in sent]
    assert times == sorted(set(times))  # strictly rising, statuses included
    assert isinstance(sent[-1], CameraUpdate)


def test_the_outbox_is_bounded_and_keeps_what_has_ended() -> None:
    outbox = Outbox(bound=2)
    try:
        outbox.put(update("a", 1, 0, 0))
        outbox.put(update("a", 1, 1, 1))
        outbox.put(update("a", 1, 2, 2, tracklet("a", 1, 5, 2, ended=True)))
        outbox.put(update("a", 1, 3, 3, tracklet("a", 1, 6, 3)))
        outbox.put(CameraStatus(camera_id="a", run=1, t_ns=4, state="gone"))  # statuses always fit
        messages, ended = outbox.take()
        assert [m.t_ns for m in messages] == [0, 1, 4] and outbox.unsent == 2
        assert [[t.key.number for t in u.tracklets] for u in ended] == [[5]]
        assert outbox.take() == ([], [])
    finally:
        outbox.close()


def test_metrics_are_written_whole(tmp_path: Path) -> None:
    with (
        Running(tmp_path) as running,
        Work(running.bus, "a", metrics=tmp_path / "m" / "worker-0.json") as work,
    ):
        work.play("a", range(3), time.time_ns())
        work.feeds["a"].frames.put(None)
        work.join()
    metrics = msgspec.json.decode((tmp_path / "m" / "worker-0.json").read_bytes(), type=Metrics)
    assert metrics.name == "worker-0" and metrics.cameras["a"]["processed"] == 3
    assert metrics.cpu_s > 0


def test_replay_endpoints_of_local_sockets(tmp_path: Path) -> None:
    bus = local_endpoints(tmp_path)
    assert replay_endpoint(bus.events) == bus.replay


# Processes


def recording(path: Path, frames: int) -> str:
    """A small grey video at 10 frames a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for n in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), n, np.uint8), format="bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_live_restarts_what_dies_and_ends_with_its_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """Real processes: the first worker and the linker are killed while they play; all goes on, and is counted.

    A polite kill that did not come from ``live`` was taken for the end of all recordings.
    """
    monkeypatch.setattr(family, "_REPORT_S", 0.05)
    site = from_values(
        {
            "cameras": {name: recording(tmp_path / f"{name}.mp4", 60) for name in ("a", "b")},
            "embedder": {"kind": "none"},
            "flow": {"kind": "none"},
            "bus": dict.fromkeys(("events", "replay", "boxes"), ANY) | {"boxes": f"ipc://{tmp_path}/boxes"},
            "live": {"workers": 2},
        },
        source="test",
    )
    out = tmp_path / "out"
    killed: set[str] = set()

    def kill_each_once(told: str) -> None:
        for name in {"linker", "worker-0"} - killed:
            path = out / "metrics" / f"{name}.json"
            if path.exists():
                killed.add(name)
                os.kill(msgspec.json.decode(path.read_bytes(), type=Metrics).pid, how)

    figures = roles.live(site, out, report=kill_each_once, stop=threading.Event())
    assert killed == {"linker", "worker-0"}
    assert {name: process["starts"] for name, process in figures["processes"].items()} == {
        **{"linker": 2, "worker-0": 2, "worker-1": 1}
    }
    assert {name: counts["state"] for name, counts in figures["cameras"].items()} == {
        "a": "ended",
        "b": "ended",
    }
    assert figures["cameras"]["b"]["read"] == 60
    assert json.loads((out / "live.json").read_text()) == figures
    with EventLog(out / "events.sqlite", started_ns=0) as log:
        epochs = log._db.execute("SELECT count(*) FROM epochs").fetchone()[0]
    assert epochs == 3  # two lives of the linker, and this look


def test_what_the_processes_count_is_known_where_no_figures_can_be_written(tmp_path: Path) -> None:
    """As on a full disk: ``live`` knew nothing of its processes then, and ended them."""
    site = from_values(
        {
            "cameras": {"a": recording(tmp_path / "a.mp4", 20)},
            "embedder": {"kind": "none"},
            "flow": {"kind": "none"},
            "bus": dict.fromkeys(("events", "replay"), ANY) | {"boxes": f"ipc://{tmp_path}/boxes"},
            "live": {"http": None},
        },
        source="test",
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics").write_text("no folder")
    figures = roles.live(site, out, stop=threading.Event())
    assert (figures["cameras"]["a"]["read"], figures["cameras"]["a"]["state"]) == (20, "ended")
    assert figures["processes"]["linker"]["counters"]["updates"] > 0
    assert {name: process["starts"] for name, process in figures["processes"].items()} == {
        "linker": 1,
        "worker-0": 1,
    }


def test_live_is_over_so_long_after_it_serves_and_says_whether_nothing_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The time used to run from the start of the program, which was over before a network was loaded."""
    said: list[str] = []
    monkeypatch.setattr(family, "tell_systemd", said.append)
    site = from_values(
        {
            "cameras": {"a": recording(tmp_path / "a.mp4", 60)},
            "embedder": {"kind": "none"},
            "flow": {"kind": "none"},
            "bus": dict.fromkeys(("events", "replay"), ANY) | {"boxes": f"ipc://{tmp_path}/boxes"},
            "live": {"http": None},
        },
        source="test",
    )
    figures = roles.live(site, tmp_path / "out", duration_s=0.0, stop=threading.Event())
    assert "READY=1" in said and said[-1] == "STOPPING=1"
    was_seen = figures["cameras"]["a"].get("processed", 0) > 0  # that is chance
    assert ("nothing was seen" in caplog.text) is not was_seen


def test_live_says_in_one_sentence_what_cannot_be_used(tmp_path: Path) -> None:
    video = recording(tmp_path / "a.mp4", 2)
    site = from_values({"cameras": {"a": str(tmp_path / "nothing.mp4")}}, source="test")
    with pytest.raises(UserError, match="no such file or folder: .*nothing.mp4"):
        roles.live(site, tmp_path / "out", stop=threading.Event())
    (tmp_path / "file").write_text("")
    values: dict[str, Any] = {
        "cameras": {"a": video},
        "bus": dict.fromkeys(("events", "replay", "boxes"), ANY),
    }
    with pytest.raises(UserError, match="is no folder that can be written"):
        roles.live(from_values(values, source="test"), tmp_path / "file", stop=threading.Event())
    site = from_values(values | {"detector": {"model": "no_such_model"}}, source="test")
    with pytest.raises(UserError, match="no_such_model"):  # a worker process finds out
        roles.live(site, tmp_path / "out", stop=threading.Event())


def test_replaying_a_tape_gives_the_same_events_byte_for_byte(tmp_path: Path) -> None:
    site = from_values({"cameras": {"a": "0", "b": "1"}, "embedder": {"kind": "none"}}, source="test")
    with TapeWriter(tmp_path / "journal-000001.tape") as tape:
        for message in scene()[:700]:
            tape.write(message)
    with TapeWriter(tmp_path / "journal-000002.tape") as tape:
        for message in scene()[700:]:
            tape.write(message)
    linker = Linker()
    expected = [event for message in scene() for event in linker.step(message)]
    events = roles.replay(site, tmp_path, tmp_path / "out")
    assert [msgspec.structs.replace(event, seq=0) for event in events] == expected
    assert [event.seq for event in events] == list(range(1, len(expected) + 1))
    lines = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        json.loads(json.dumps(wire.to_builtins(e))) for e in events
    ]
    again = roles.replay(site, tmp_path, tmp_path / "again")
    assert [wire.encode(e) for e in again] == [wire.encode(e) for e in events]
    with pytest.raises(UserError, match="holds no tape"):
        roles.replay(site, tmp_path / "out", tmp_path / "out")
