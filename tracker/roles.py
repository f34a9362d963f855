"""The loops: worker, linker, live and replay; the one place with threads and processes.

    worker   per camera a capture thread -> ``Inbox`` (the newest frame waits) -> one inference loop
             -> ``Outbox`` -> one network thread with the sockets
    linker   one thread: sockets -> TimeOrder -> Linker.step -> journal -> event log -> publication
    live     one process for the linker, some for workers; restarts what dies

Every queue has a bound and a counter. Errors of one camera are said, counted and end there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import numpy as np
import zmq

from models import ModelError
from tracker.config import BusSettings, Site
from tracker.core.order import Released, TimeOrder
from tracker.errors import UserError
from tracker.io import wire
from tracker.io.bus import HEARTBEAT_S, Answers, Hub, Uplink
from tracker.io.clock import WallClock
from tracker.io.store import EventLog, Journal, Place, tapes_in
from tracker.io.tape import TapeReader
from tracker.stages import Clock, FrameSource, IdentityLinker
from tracker.types import (
    Advance,
    Appeared,
    CameraId,
    CameraStatus,
    CameraUpdate,
    Command,
    Event,
    Frame,
    HandedOver,
    LinkerInput,
    TrackKey,
    Tracklet,
    Tracks,
    Updated,
)

log = logging.getLogger(__name__)

GROUP_S = 0.05  # events of this long are put on disk together
WARM_UP_S = (
    5.0  # dropped frames are counted apart from here on: models have warmed up, decoders have caught up
)
_REPORT_S = 10.0
_METRICS_S = 2.0
_FLUSH_S = 3.0  # a worker that stops waits this long for the linker to take what it has
_CLOCK_AHEAD_NS = 2 * 10**9  # machines kept in time by NTP are far closer
_KEYS_KEPT = 100_000  # ended tracklets remembered, so that a repeated one is known


class Metrics(msgspec.Struct, kw_only=True):
    """What one process did, as written to ``<out>/metrics/<name>.json``."""

    name: str
    run: int = 0
    pid: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    counters: dict[str, float] = {}
    cameras: dict[CameraId, dict[str, Any]] = {}


class _MetricsFile:
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
        _replace(self._path, msgspec.json.encode(metrics))


def _replace(path: Path, data: bytes) -> None:
    """Write a file that nobody ever sees half written. A full disk costs the figures, not the run."""
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        os.replace(fresh, path)
    except OSError as error:
        log.warning("%s: cannot be written (%s)", path, error)


# --- worker: capture


@dataclass
class Camera:
    """One camera of a worker, with the parts that serve it."""

    camera_id: CameraId
    open_source: Callable[[], FrameSource]
    pipeline: Pipeline
    ends: bool = False  # a recording: its end is no failure
    lossless: bool = False  # every frame waits for its turn; else a newer one replaces the waiting one


class Pipeline(Protocol):
    """What the worker needs of a ``CameraPipeline``."""

    def end(self, seq: int, t_ns: int) -> CameraUpdate: ...


Step = Callable[[Sequence[Any], Sequence[Frame], float], list[CameraUpdate]]  # pipelines, frames, load


@dataclass
class CameraCount:
    """What happened to one camera's frames."""

    read: int = 0
    processed: int = 0
    dropped: int = 0  # a newer frame came before this one's turn
    disordered: int = 0  # not later than the frame before it
    failed: int = 0  # the step raised
    lost: int = 0  # how often the source failed
    read_warm: int = 0  # of ``read`` and ``dropped``: after the warm-up
    dropped_warm: int = 0
    state: str = "opening"
    reason: str = ""


class Inbox:
    """Between capture and inference: per camera one waiting frame, and what is to be said after it."""

    def __init__(self, cameras: Sequence[Camera]) -> None:
        self._lossless = {camera.camera_id for camera in cameras if camera.lossless}
        self._frames: dict[CameraId, Frame | None] = {camera.camera_id: None for camera in cameras}
        self._words: dict[CameraId, deque[CameraStatus]] = {camera.camera_id: deque() for camera in cameras}
        self._changed = threading.Condition()
        self._closed = False
        self._first_s: float | None = None
        self.counts = {camera.camera_id: CameraCount() for camera in cameras}

    def put(self, frame: Frame) -> None:
        """Leave a frame; it replaces a waiting one, or waits for it where no frame may be lost."""
        camera_id, count = frame.camera_id, self.counts[frame.camera_id]
        with self._changed:
            while camera_id in self._lossless and self._frames[camera_id] is not None and not self._closed:
                self._changed.wait()
            self._first_s = self._first_s or time.monotonic()
            is_warm = time.monotonic() - self._first_s >= WARM_UP_S
            count.read += 1
            count.read_warm += is_warm
            if self._frames[camera_id] is not None:
                count.dropped += 1
                count.dropped_warm += is_warm
            self._frames[camera_id] = frame
            self._changed.notify_all()

    def say(self, status: CameraStatus) -> None:
        """Leave a word; it is taken after the frame that waits now."""
        with self._changed:
            self._words[status.camera_id].append(status)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> tuple[list[Frame], list[CameraStatus]]:
        """All waiting frames, one a camera, and the words of the cameras without one. Empty when time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_something(), timeout_s)
            frames: list[Frame] = []
            words: list[CameraStatus] = []
            for camera_id, frame in self._frames.items():
                if frame is not None:
                    frames.append(frame)
                    self._frames[camera_id] = None
                else:
                    words += self._words[camera_id]
                    self._words[camera_id].clear()
            self._changed.notify_all()
            return frames, words

    def close(self) -> None:
        """Wake everybody; nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_something(self) -> bool:
        return any(frame is not None for frame in self._frames.values()) or any(self._words.values())


def capture(
    camera: Camera, inbox: Inbox, stop: threading.Event, clock: Clock, run: int, *, backoff_s: float = 0.5
) -> None:
    """Read one camera until ``stop``, or until its recording is over; connect again and again when it fails."""
    count = inbox.counts[camera.camera_id]
    last_ns, failures = -1, 0

    def say(state: str, reason: str) -> None:
        t_ns = max(clock.now_ns(), last_ns + 2)
        inbox.say(
            CameraStatus(camera_id=camera.camera_id, run=run, t_ns=t_ns, state=state, reason=reason)  # type: ignore[arg-type]
        )

    while not stop.is_set():
        try:
            with closing(camera.open_source()) as source:
                for frame in source:
                    if stop.is_set():
                        return
                    if frame.t_ns <= last_ns:
                        count.disordered += 1
                        continue
                    last_ns, failures = frame.t_ns, 0
                    inbox.put(frame)
            if camera.ends:
                say("ended", "the recording is over")
                return
            reason = "the stream ended"
        except UserError as error:
            reason = str(error)
        except Exception as error:
            # Whatever a decoder or driver raises ends this camera's connection, not the other cameras.
            log.exception("%s: the source failed", camera.camera_id)
            reason = f"{type(error).__name__}: {error}"
        if stop.is_set():
            return
        count.lost += 1
        failures += 1
        pause_s = min(backoff_s * 2 ** (failures - 1), 30.0)
        log.warning("%s: %s; trying again in %.1f s", camera.camera_id, reason, pause_s)
        say("gone", reason)
        stop.wait(pause_s)


# --- worker: inference


class Outbox:
    """Between inference and network: bounded, and able to wake a thread that waits for sockets."""

    def __init__(self, bound: int = 1000) -> None:
        self._bound = bound
        self._messages: deque[CameraUpdate | CameraStatus] = deque()
        self._ended: list[CameraUpdate] = []
        self._lock = threading.Lock()
        self._ring, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._ring.setblocking(False)
        self.unsent = 0

    def put(self, message: CameraUpdate | CameraStatus) -> None:
        """Leave a message. When full, an update is counted and only its ended tracklets are kept."""
        with self._lock:
            if len(self._messages) >= self._bound and isinstance(message, CameraUpdate):
                self.unsent += 1
                if any(tracklet.ended for tracklet in message.tracklets):
                    self._ended.append(message)
            else:
                self._messages.append(message)
        with contextlib.suppress(BlockingIOError):  # it rings already
            self._ring.send(b"!")

    def take(self) -> tuple[list[CameraUpdate | CameraStatus], list[CameraUpdate]]:
        """All messages, and the updates that did not fit but had ended tracklets."""
        with contextlib.suppress(BlockingIOError):
            while self._bell.recv(4096):
                pass
        with self._lock:
            messages, ended = list(self._messages), self._ended
            self._messages.clear()
            self._ended = []
            return messages, ended

    def fileno(self) -> int:
        """Readable when there is a message."""
        return self._bell.fileno()

    def close(self) -> None:
        """Give the sockets back."""
        self._ring.close()
        self._bell.close()


class Inference:
    """One worker's inference loop: takes what waits, steps all its cameras in one batch, says who came and went."""

    def __init__(
        self,
        cameras: Sequence[Camera],
        step: Step,
        inbox: Inbox,
        send: Callable[[CameraUpdate | CameraStatus], None],
        *,
        run: int,
        clock: Clock,
        stalled_after_s: float,
    ) -> None:
        self._cameras = {camera.camera_id: camera for camera in cameras}
        self._step, self._inbox, self._send = step, inbox, send
        self._run, self._clock, self._stalled_after_s = run, clock, stalled_after_s
        began_s = time.monotonic()
        self._heard_s = dict.fromkeys(self._cameras, began_s)
        self._last: dict[CameraId, tuple[int, int]] = {}  # seq and t_ns of the newest frame
        self._alone_rounds = 0  # after a failure cameras are stepped one by one, so that only one can fail
        self._busy_s = self._load = 0.0
        self.rounds = 0

    @property
    def is_over(self) -> bool:
        """Every camera was a recording, and has ended."""
        return all(count.state == "ended" for count in self._inbox.counts.values())

    def round(self, timeout_s: float) -> None:
        """Wait for frames and do them."""
        began_s = time.monotonic()
        frames, words = self._inbox.take(timeout_s)
        woke_s = time.monotonic()
        for status in words:
            self._pass_on(status)
        if frames:
            self.rounds += 1
            for frame in frames:
                self._hear(frame)
            for update in self._stepped(frames):
                self._inbox.counts[update.camera_id].processed += 1
                self._send(update)
        self._watch()
        self._measure_load(began_s, woke_s, time.monotonic())

    def finish(self) -> None:
        """Close every track: nothing more will come."""
        for camera_id, camera in self._cameras.items():
            if self._inbox.counts[camera_id].state != "ended":
                self._end(camera)

    def _stepped(self, frames: list[Frame]) -> list[CameraUpdate]:
        if self._alone_rounds == 0:
            try:
                return self._step([self._cameras[f.camera_id].pipeline for f in frames], frames, self._load)
            except Exception:
                # One camera's frame must not stop the others: from here on each is stepped on its own for a while.
                log.exception("a batch of %s failed", ", ".join(f.camera_id for f in frames))
                for frame in frames:
                    self._inbox.counts[frame.camera_id].failed += 1
                self._alone_rounds = 100
                return []
        self._alone_rounds -= 1
        updates = []
        for frame in frames:
            try:
                updates += self._step([self._cameras[frame.camera_id].pipeline], [frame], self._load)
            except Exception:
                count = self._inbox.counts[frame.camera_id]
                if count.failed <= 1:
                    log.exception("%s: a frame failed (further ones are only counted)", frame.camera_id)
                count.failed += 1
                self._alone_rounds = 100
        return updates

    def _hear(self, frame: Frame) -> None:
        self._last[frame.camera_id] = (frame.seq, frame.t_ns)
        self._heard_s[frame.camera_id] = time.monotonic()
        count = self._inbox.counts[frame.camera_id]
        if count.state != "up":
            count.state, count.reason = "up", ""
            # Just before the frame, so that a camera's messages rise strictly in time.
            self._send(
                CameraStatus(camera_id=frame.camera_id, run=self._run, t_ns=frame.t_ns - 1, state="up")
            )

    def _pass_on(self, status: CameraStatus) -> None:
        count = self._inbox.counts[status.camera_id]
        if status.state == "ended":
            self._end(self._cameras[status.camera_id])
        is_news = count.state != status.state
        count.state, count.reason = status.state, status.reason
        if is_news:
            self._send(status)

    def _end(self, camera: Camera) -> None:
        if camera.camera_id in self._last:
            seq, t_ns = self._last[camera.camera_id]
            self._send(camera.pipeline.end(seq + 1, t_ns + 1))

    def _watch(self) -> None:
        now_s = time.monotonic()
        for camera_id, heard_s in self._heard_s.items():
            count = self._inbox.counts[camera_id]
            if count.state in ("up", "opening") and now_s - heard_s > self._stalled_after_s:
                reason = f"no frame for {self._stalled_after_s:g} s"
                log.warning("%s: %s", camera_id, reason)
                _, last_ns = self._last.get(camera_id, (0, 0))
                t_ns = max(self._clock.now_ns(), last_ns + 1)
                self._pass_on(
                    CameraStatus(
                        camera_id=camera_id, run=self._run, t_ns=t_ns, state="stalled", reason=reason
                    )
                )

    def _measure_load(self, began_s: float, woke_s: float, done_s: float) -> None:
        """Share of the time that inference is busy, over about the last second; 1.0 = always."""
        whole_s = done_s - began_s
        if whole_s > 0:
            weight = min(whole_s, 1.0)
            self._load += weight * ((done_s - woke_s) / whole_s - self._load)


def _send_all(uplink: Uplink, outbox: Outbox, done: threading.Event, *, flush_s: float = _FLUSH_S) -> None:
    """The network thread: send what is in the outbox, repeat what nobody acknowledged, until ``done`` and empty."""
    last_s: float | None = None
    while True:
        was_done = done.is_set()
        uplink.poll(0.05 if was_done else 0.2, wake=outbox.fileno())
        now_s = time.monotonic()
        messages, unsent = outbox.take()
        for message in messages:
            uplink.send(message, now_s)
        for update in unsent:
            uplink.remember(update, now_s)
        uplink.repeat(now_s)
        if was_done and not messages:
            last_s = last_s or now_s + flush_s
            if not uplink.pending or now_s >= last_s:
                if uplink.pending:
                    log.warning("the linker has not acknowledged %d ended tracklets", uplink.pending)
                return


def run_worker(
    cameras: Sequence[Camera],
    step: Step,
    bus: BusSettings,
    stop: threading.Event,
    *,
    run: int,
    clock: Clock,
    stalled_after_s: float = 5.0,
    backoff_s: float = 0.5,
    metrics: Path | None = None,
) -> Metrics:
    """Follow cameras until ``stop``, or until every one was a recording that is over.

    Raises:
        UserError: a bad endpoint or key.
    """
    inbox, outbox = Inbox(cameras), Outbox()
    inference = Inference(
        cameras, step, inbox, outbox.put, run=run, clock=clock, stalled_after_s=stalled_after_s
    )
    done = threading.Event()
    problems: list[UserError] = []
    counters: dict[str, float] = {}

    def network() -> None:
        try:
            with Uplink(bus, list(inbox.counts)) as uplink:
                _send_all(uplink, outbox, done)
                counters.update(msgspec.structs.asdict(uplink.counters))
        except UserError as error:
            problems.append(error)
            stop.set()

    def figures() -> dict[CameraId, dict[str, Any]]:
        return {camera_id: dict(vars(count)) for camera_id, count in inbox.counts.items()}

    threads = [
        threading.Thread(
            target=capture,
            args=(camera, inbox, stop, clock, run),
            kwargs={"backoff_s": backoff_s},
            name=camera.camera_id,
            daemon=True,  # a driver that never returns must not keep the program alive
        )
        for camera in cameras
    ]
    sender = threading.Thread(target=network, name="network")
    sender.start()
    file = _MetricsFile(metrics, run)
    try:
        for thread in threads:
            thread.start()
        while not stop.is_set() and not inference.is_over:
            inference.round(0.2)
            if file.is_due():
                file.write({"outbox_unsent": outbox.unsent, "rounds": inference.rounds}, figures())
        inference.finish()
    finally:
        stop.set()
        inbox.close()
        done.set()
        sender.join()
        patience_s = time.monotonic() + 2.0
        for thread in threads:
            thread.join(max(patience_s - time.monotonic(), 0.0))
        outbox.close()
        counters |= {"outbox_unsent": outbox.unsent, "rounds": inference.rounds}
        file.write(counters, figures())
    if problems:
        raise problems[0]
    return Metrics(name="worker", run=run, counters=counters, cameras=figures())


# --- linker


class Linking(IdentityLinker, Protocol):
    """A linker that also says whose a tracklet is now, and leaves out identities that are used up."""

    def identity_of(self, key: TrackKey) -> int | None: ...
    def start_after(self, global_id: int) -> None: ...


class LinkerLoop:
    """Sockets in, order, link, journal, log, sockets out. One thread; ``round`` does what there is to do."""

    def __init__(
        self,
        linker: Linking,
        hub: Hub,
        events: EventLog,
        journal: Journal,
        *,
        cameras: Sequence[CameraId],
        clock: Clock,
        patience_s: float = 1.0,
        stalled_after_s: float = 5.0,
        checkpoint_s: float = 10.0,
        keep_s: float = 30 * 86400.0,
    ) -> None:
        """Restores the linker from the journal, and publishes what the last life had not got to say.

        ``cameras``: those of the site; messages of others are refused. Empty: all are taken.
        """
        self._linker, self._hub, self._events, self._journal = linker, hub, events, journal
        self._clock, self._stalled_after_s = clock, stalled_after_s
        self._checkpoint_s, self._keep_s = checkpoint_s, keep_s
        self._order = TimeOrder(patience_s, cameras)
        self._known = frozenset(cameras)
        self._ahead_ns: dict[tuple[CameraId, int], int] = {}  # camera and run -> what its clock is ahead
        self._answers = Answers(events, linker.view)
        now_s = time.monotonic()
        self._heard_s = dict.fromkeys(cameras, now_s)
        self._states: dict[CameraId, str] = dict.fromkeys(cameras, "opening")
        self._runs: dict[CameraId, int] = dict.fromkeys(cameras, 0)
        self._ended: OrderedDict[TrackKey, bool] = OrderedDict()  # ended tracklets, and whether they are safe
        self._model_hash = ""
        self._waiting: list[Event] = []
        self._to_acknowledge: list[TrackKey] = []
        self._forgotten: list[int] = []
        self._latency_s: dict[CameraId, deque[float]] = {}
        self._beat_s = self._advanced_s = self._committed_s = self._saved_s = now_s
        self._pruned_s = -float("inf")
        self.failed = self.repeated = self.updates = self.unknown = self.checkpoints = 0
        self._recover()

    # What happens in one round

    def round(self, timeout_s: float = GROUP_S) -> None:
        """Wait for messages at most ``timeout_s``; take them in, order, link, log, publish, answer."""
        if self._waiting or self._to_acknowledge:
            timeout_s = min(timeout_s, max(self._committed_s + GROUP_S - time.monotonic(), 0.0))
        self._hub.poll(timeout_s)
        for message in self._hub.receive():
            self._take(message)
        now_ns, now_s = self._clock.now_ns(), time.monotonic()
        self._apply_all(self._order.advance(now_ns))
        if now_s - self._advanced_s >= 1.0:
            self._advanced_s = now_s
            self._watch(now_ns, now_s)
            self._apply_all(self._order.put(Advance(t_ns=now_ns)))
        if now_s - self._committed_s >= GROUP_S:
            self.commit()
        for address, question in self._hub.questions():
            self.commit()  # a view must not know more than the log
            self._hub.answer(address, self._answers.to(question))
        if now_s - self._beat_s >= HEARTBEAT_S:
            self._beat_s = now_s
            self._hub.heartbeat(self._events.place, now_ns)
        if now_s - self._saved_s >= self._checkpoint_s or self._forgotten:
            self.save()
        if now_s - self._pruned_s >= 3600:
            self._pruned_s = now_s
            self._events.prune(now_ns - int(self._keep_s * 1e9))

    def commit(self) -> None:
        """Journal, then log, then publication: what a subscriber hears survives any crash."""
        self._committed_s = time.monotonic()
        self._journal.flush(sync=bool(self._waiting or self._to_acknowledge))
        if self._waiting:
            numbered = self._events.append(self._waiting)
            self._waiting = []
            self._hub.publish(numbered)
            self._time(numbered)
        if self._to_acknowledge:
            for key in self._to_acknowledge:
                self._remember(key, safe=True)
            self._hub.acknowledge(self._to_acknowledge)
            self._to_acknowledge = []

    def save(self) -> None:
        """Write a checkpoint, and really delete who is to be forgotten."""
        self.commit()
        self._saved_s = time.monotonic()
        self._journal.begin(self._linker.checkpoint(), self._events.place)
        self.checkpoints += 1
        for global_id in self._forgotten:
            self._events.forget(global_id)
        self._forgotten = []

    def finish(self) -> None:
        """Everything that is held or queued, applied and saved: the end of a clean life."""
        for message in self._hub.receive():
            self._take(message)
        self._apply_all(self._order.flush())
        self.save()
        self._hub.heartbeat(self._events.place, self._clock.now_ns())

    # Messages

    def _take(self, message: CameraUpdate | CameraStatus | Command | wire.Repeated) -> None:
        if not isinstance(message, Command) and self._known and message.camera_id not in self._known:
            self.unknown += 1
            if self.unknown == 1:
                log.warning("%s: no camera of this site (further messages are counted)", message.camera_id)
            return
        if isinstance(message, wire.Repeated):
            self._take_repeated(message)
            return
        if isinstance(message, CameraUpdate | CameraStatus):
            message = self._on_our_clock(message)
        if isinstance(message, CameraUpdate | CameraStatus):
            self._heard_s[message.camera_id] = time.monotonic()
            self._runs[message.camera_id] = message.run
            self._states[message.camera_id] = message.state if isinstance(message, CameraStatus) else "up"
        if isinstance(message, CameraUpdate):
            self.updates += 1
            for tracklet in message.tracklets:
                if tracklet.ended:
                    self._remember(tracklet.key, safe=False)
        self._apply_all(self._order.put(message))

    def _on_our_clock(self, message: CameraUpdate | CameraStatus) -> CameraUpdate | CameraStatus:
        """A camera whose clock is ahead would make everybody else late: what it is ahead is taken off."""
        source = (message.camera_id, message.run)
        ahead_ns = message.t_ns - self._clock.now_ns()
        if ahead_ns > max(_CLOCK_AHEAD_NS, self._ahead_ns.get(source, 0)):
            if source not in self._ahead_ns:
                log.warning(
                    "%s: its clock is %.1f s ahead; set its machine's time", source[0], ahead_ns / 1e9
                )
            self._ahead_ns[source] = ahead_ns
        offset_ns = self._ahead_ns.get(source, 0)
        if not offset_ns:
            return message
        moved = msgspec.structs.replace(message, t_ns=message.t_ns - offset_ns)
        if isinstance(moved, CameraUpdate):
            moved = msgspec.structs.replace(moved, tracklets=_earlier(moved.tracklets, offset_ns))
        return moved

    def _take_repeated(self, message: wire.Repeated) -> None:
        """Ended tracklets whose acknowledgement, or which themselves, went missing."""
        self.repeated += len(message.tracklets)
        self._to_acknowledge += [t.key for t in message.tracklets if self._ended.get(t.key)]
        unknown = tuple(t for t in message.tracklets if t.key not in self._ended)
        if unknown:
            unknown = _earlier(unknown, self._ahead_ns.get((message.camera_id, message.run), 0))
            carrier = CameraUpdate(
                camera_id=message.camera_id,
                run=message.run,
                seq=0,
                t_ns=max(t.t_last_ns for t in unknown),
                tracks=Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0)),
                tracklets=unknown,
                detected=False,
            )
            for tracklet in unknown:
                self._remember(tracklet.key, safe=False)
            self._apply_all([Released(message=carrier, late=True)])

    def _remember(self, key: TrackKey, *, safe: bool) -> None:
        self._ended[key] = safe or self._ended.get(key, False)
        self._ended.move_to_end(key)
        while len(self._ended) > _KEYS_KEPT:
            self._ended.popitem(last=False)

    def _apply_all(self, released: Sequence[Released]) -> None:
        for one in released:
            self._journal.write(one.message)
            self._waiting += self._step(one.message)
            if isinstance(one.message, CameraUpdate):
                self._to_acknowledge += [t.key for t in one.message.tracklets if t.ended]
                self._publish_boxes(one.message)
            if isinstance(one.message, Command) and one.message.verb == "forget":
                self._forgotten += one.message.global_ids

    def _step(self, message: LinkerInput) -> list[Event]:
        if isinstance(message, CameraUpdate):
            for tracklet in message.tracklets:
                self._notice_model(tracklet.model_hash)
        try:
            events = self._linker.step(message)
            for event in events:
                wire.check(event)  # what nobody could read must not get into the log
            return events
        except Exception:
            # A journal with this message in it would bring the linker down again at every start.
            self.failed += 1
            if self.failed == 1:
                log.exception("the linker failed on a %s (further ones are counted)", wire.kind_of(message))
            return []

    def _notice_model(self, model_hash: str) -> None:
        if not model_hash or model_hash == self._model_hash:
            return
        if self._model_hash:
            log.warning(
                "the embedder changed (model %.12s, before %.12s): looks remembered from before cannot be compared, "
                "so nobody from before is recognised by looks",
                model_hash,
                self._model_hash,
            )
        self._model_hash = model_hash

    def _publish_boxes(self, update: CameraUpdate) -> None:
        tracks = update.tracks
        keys = [TrackKey(camera_id=update.camera_id, run=update.run, number=int(n)) for n in tracks.ids]
        self._hub.publish_boxes(
            wire.Boxes(
                camera_id=update.camera_id,
                run=update.run,
                seq=update.seq,
                t_ns=update.t_ns,
                numbers=tracks.ids,
                global_ids=np.array([self._linker.identity_of(key) or 0 for key in keys], np.int64),
                boxes=tracks.boxes,
                states=tracks.states,
            )
        )

    def _watch(self, now_ns: int, now_s: float) -> None:
        """A worker that died cannot say so."""
        for camera_id, heard_s in self._heard_s.items():
            silent_s = now_s - heard_s
            if self._states[camera_id] in ("up", "opening") and silent_s > self._stalled_after_s + 1:
                self._states[camera_id] = "stalled"
                reason = f"nothing heard of it for {silent_s:.0f} s"
                log.warning("%s: %s", camera_id, reason)
                status = CameraStatus(
                    camera_id=camera_id,
                    run=self._runs[camera_id],
                    t_ns=now_ns,
                    state="stalled",
                    reason=reason,
                )
                self._apply_all(self._order.put(status))

    # A new life

    def _recover(self) -> None:
        """Same identities as before: the last checkpoint, then all that was heard after it.

        The same input gives the same events. Those that the log has were published; the rest is said now.
        """
        saved = self._journal.saved
        since: Place = (0, 0)
        if saved is not None:
            since = (saved.epoch, saved.seq)
            self._model_hash = saved.checkpoint.model_hash
            try:
                self._linker.restore(saved.checkpoint)
            except ValueError as error:
                raise UserError(
                    f"the linker cannot go on from its checkpoint ({error}); move the file 'checkpoint' away to "
                    "start with no memory of earlier people"
                ) from error
        said = _Said(self._events, since)
        messages = 0
        for message in self._journal.messages():
            messages += 1
            self._waiting += said.without_known(self._step(message))
            if isinstance(message, CameraUpdate):
                for tracklet in message.tracklets:
                    if tracklet.ended:
                        self._remember(tracklet.key, safe=True)
        self._linker.start_after(self._events.largest_id())
        if saved is not None:
            log.info("going on from the checkpoint and %d messages after it", messages)
        if self._journal.damaged:
            log.warning("%d messages of the journal could not be read", self._journal.damaged)
        if said.differs:
            log.warning("the linker now reads the past in another way; what it says next mends what was said")
        numbered = self._events.append(self._waiting)
        self._waiting = []
        self._journal.begin(self._linker.checkpoint(), self._events.place)
        self._hub.publish(numbered)

    # Figures

    def _time(self, events: Sequence[Event]) -> None:
        now_ns = self._clock.now_ns()
        for event in events:
            match event:
                case Appeared(track=key) | HandedOver(track=key):
                    camera_id = key.camera_id
                case Updated(sightings=sightings) if sightings:
                    camera_id = sightings[0].camera_id
                case _:
                    continue
            times = self._latency_s.setdefault(camera_id, deque(maxlen=2000))
            times.append((now_ns - event.t_ns) / 1e9)

    def counters(self) -> dict[str, float]:
        """Everything that has a bound, and what went over it."""
        return {
            "updates": self.updates,
            "events": self._events.seq,
            "late": self._order.late,
            "impatient": self._order.impatient,
            "held_overflow": self._order.overflowed,
            "held": len(self._order),
            "repeated": self.repeated,
            "failed": self.failed,
            "unknown": self.unknown,
            "clocks_ahead": len(self._ahead_ns),
            "checkpoints": self.checkpoints,
            "refused": self._hub.counters.refused,
        }

    def cameras(self) -> dict[CameraId, dict[str, Any]]:
        """State and capture-to-event latency in seconds of each camera."""
        return {
            camera_id: {"state": state} | _percentiles(self._latency_s.get(camera_id, ()))
            for camera_id, state in self._states.items()
        }


def _earlier(tracklets: tuple[Tracklet, ...], by_ns: int) -> tuple[Tracklet, ...]:
    if not by_ns:
        return tracklets
    return tuple(
        msgspec.structs.replace(t, t_first_ns=t.t_first_ns - by_ns, t_last_ns=t.t_last_ns - by_ns)
        for t in tracklets
    )


def _percentiles(seconds: Sequence[float] | deque[float]) -> dict[str, float]:
    if not seconds:
        return {}
    p50, p99 = np.percentile(np.array(seconds), [50, 99])
    return {"latency_p50_s": round(float(p50), 4), "latency_p99_s": round(float(p99), 4)}


class _Said:
    """The events of the log after a place, to be told from those that are new."""

    def __init__(self, events: EventLog, since: Place) -> None:
        self._events, self._place = events, since
        self._known: deque[Event] = deque()
        self._over = False
        self.differs = False

    def without_known(self, events: list[Event]) -> list[Event]:
        """Those that the log does not have; it has them in the same order, from the start."""
        fresh = []
        for event in events:
            known = self._next()
            if known is None or self.differs:
                fresh.append(event)
            elif msgspec.structs.replace(known, epoch=0, seq=0) != event:
                self.differs = True
                fresh.append(event)
        return fresh

    def _next(self) -> Event | None:
        if not self._known and not self._over:
            self._known.extend(self._events.read(self._place))
            self._over = not self._known
            if self._known:
                self._place = (self._known[-1].epoch, self._known[-1].seq)
        return self._known.popleft() if self._known else None


# --- the roles of a site


def worker(
    site: Site,
    camera_ids: Sequence[CameraId],
    run: int | None = None,
    *,
    stop: threading.Event | None = None,
    name: str = "worker",
    out: Path | None = None,
    begin_ns: Callable[[], int] | None = None,
) -> Metrics:
    """Follow some of a site's cameras until Ctrl-C, or until every one was a recording that is over.

    Args:
        run: names this start, never used before; None: the wall clock in milliseconds.
        out: folder for metrics; None: the site's.
        begin_ns: asked once the models are loaded: the moment at which recordings begin to play.

    Raises:
        UserError: a model, a recording or an endpoint cannot be used.
    """
    import cv2

    from tracker.build import build_detector, build_embedder, build_flow, build_pipeline
    from tracker.core.pipeline import step_batch

    cv2.setNumThreads(1)  # cameras and workers already fill the cores
    run = time.time_ns() // 10**6 if run is None else run
    out = Path(site.live.out) if out is None else out
    detector, embedder = build_detector(site.detector), build_embedder(site.embedder)
    motion = build_flow(site.flow)
    _check_cameras(site, camera_ids)
    offsets_ns = _offsets_ns(site)
    model_hash = embedder.model_hash if embedder is not None else ""
    pipelines = {c: build_pipeline(c, site, run, model_hash) for c in camera_ids}
    clock = WallClock()
    start_ns = begin_ns() if begin_ns is not None else clock.now_ns()

    def step(pipelines: Sequence[Any], frames: Sequence[Frame], load: float) -> list[CameraUpdate]:
        return step_batch(pipelines, frames, detector=detector, embedder=embedder, motion=motion, load=load)

    cameras = [
        Camera(
            c,
            _source_of(site, c, clock, start_ns + offsets_ns.get(c, 0)),
            pipelines[c],
            ends=c in offsets_ns,
        )
        for c in camera_ids
    ]
    with _stopped_by_signals(stop) as asked:
        return run_worker(
            cameras,
            step,
            site.bus,
            asked,
            run=run,
            clock=clock,
            stalled_after_s=site.live.stalled_after_s,
            metrics=out / "metrics" / f"{name}.json",
        )


def linker(
    site: Site,
    out: Path | None = None,
    *,
    stop: threading.Event | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Link what workers send into identities, log and publish events, until Ctrl-C.

    Args:
        out: folder for log, checkpoint and metrics; None: the site's.
        ready: called when the sockets are open.

    Raises:
        UserError: an endpoint is taken, the log or the checkpoint cannot be used, or the disk is full.
    """
    from tracker.build import build_linker

    out = Path(site.live.out) if out is None else out
    clock = WallClock()
    file = _MetricsFile(out / "metrics" / "linker.json")
    with (
        _stopped_by_signals(stop) as asked,
        EventLog(out / "events.sqlite", started_ns=clock.now_ns()) as events,
        Journal(out, keep_tapes=site.store.keep_tapes) as journal,
        Hub(site.bus) as hub,
    ):
        loop = LinkerLoop(
            build_linker(site),
            hub,
            events,
            journal,
            cameras=list(site.cameras),
            clock=clock,
            patience_s=site.live.patience_s,
            stalled_after_s=site.live.stalled_after_s,
            checkpoint_s=site.store.checkpoint_s,
            keep_s=site.store.keep_days * 86400,
        )
        log.info("events at %s, replays at %s", hub.endpoints.events, hub.endpoints.replay)
        if ready is not None:
            ready()
        while not asked.is_set():
            loop.round()
            if file.is_due():
                file.write(loop.counters(), loop.cameras())
        loop.finish()
        file.write(loop.counters(), loop.cameras())


def replay(site: Site, tape: Path, out: Path) -> list[Event]:
    """A tape, or a folder of a journal's tapes, through a fresh linker: the same events, byte for byte.

    They are written to ``out/events.jsonl`` and returned, numbered in epoch 0.

    Raises:
        UserError: there is no tape, or ``out`` cannot be written.
    """
    from tracker.build import build_linker

    tapes = [path for _, path in tapes_in(tape)] if tape.is_dir() else [tape]
    if not tapes:
        raise UserError(f"{tape}: holds no tape; give the folder of a linker whose store.keep_tapes is on")
    fresh = build_linker(site)
    events: list[Event] = []
    for path in tapes:
        reader = TapeReader(path)
        for message in reader:
            for event in fresh.step(message):
                events.append(msgspec.structs.replace(event, seq=len(events) + 1))
        if reader.damaged or reader.torn_bytes:
            log.warning(
                "%s: %d damaged messages, %d bytes after the last whole one",
                path,
                reader.damaged,
                reader.torn_bytes,
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "events.jsonl").open("w", encoding="utf-8") as file:
            for event in events:
                file.write(json.dumps(wire.to_builtins(event), allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(
            f"{out}: the events cannot be written there ({error}); give another folder"
        ) from error
    return events


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
    _check_cameras(site, list(site.cameras))
    try:
        (out / "metrics").mkdir(parents=True, exist_ok=True)
        for old in (out / "metrics").glob("*.json"):
            old.unlink()
    except OSError as error:
        raise UserError(f"{out}: is no folder that can be written ({error}); give another one") from error
    with (
        tempfile.TemporaryDirectory(prefix="throughline-") as folder,
        _stopped_by_signals(stop) as asked,
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
    _replace(out / "live.json", json.dumps(figures, indent=1).encode())
    report(_told(figures))
    return figures


def _with_local_ingest(site: Site, folder: Path) -> Site:
    """Workers on this machine reach the linker without a port, unless the site names an endpoint for others."""
    if site.bus.ingest != BusSettings().ingest or not zmq.has("ipc"):
        return site
    bus = site.bus.model_copy(update={"ingest": f"ipc://{folder}/ingest"})
    return site.model_copy(update={"bus": bus})


def _check_cameras(site: Site, camera_ids: Sequence[CameraId]) -> None:
    """Every mistake that can be known before a frame is read."""
    from tracker.io.sources import is_live, locate
    from tracker.process import is_recorded

    for camera_id in camera_ids:
        camera = site.cameras[camera_id]
        if camera.detections is not None or is_recorded(camera.url):
            raise UserError(
                f"cameras.{camera_id}: recorded detections are no camera; use the command process"
            )
        if not is_live(camera.url):
            locate(camera.url)


def _offsets_ns(site: Site) -> dict[CameraId, int]:
    """How long after the earliest of them each recording begins."""
    from tracker.io.sources import is_live
    from tracker.process import start_times

    recordings = {c: camera for c, camera in site.cameras.items() if not is_live(camera.url)}
    if not recordings:
        return {}
    starts, _ = start_times(site.model_copy(update={"cameras": recordings}))
    return {c: start - min(starts.values()) for c, start in starts.items()}


def _source_of(site: Site, camera_id: CameraId, clock: Clock, begin_ns: int) -> Callable[[], FrameSource]:
    """How to open a camera, again and again; recordings are played as if they were live."""
    from tracker.io.sources import PacedSource, RtspSource, WebcamSource, is_live, open_recording

    camera = site.cameras[camera_id]

    def open_source() -> FrameSource:
        if not is_live(camera.url):
            late_s = max(clock.now_ns() - begin_ns, 0) / 1e9
            recording = open_recording(camera_id, camera.url, start_ns=0, fps=camera.fps, from_s=late_s)
            return PacedSource(recording, clock, begin_ns=begin_ns)
        if camera.url.isdecimal():
            return WebcamSource(camera_id, int(camera.url), clock=clock)
        return RtspSource(camera_id, camera.url, clock=clock, timeout_s=camera.timeout_s)

    return open_source


@contextlib.contextmanager
def _stopped_by_signals(given: threading.Event | None) -> Iterator[threading.Event]:
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


# --- live: processes


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


def _cores() -> int:
    """Cores that this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _summed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Two lives of one camera's counts."""
    numbers = {
        name: before[name] + now.get(name, 0) for name in before if isinstance(before[name], int | float)
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
