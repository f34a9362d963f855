"""The worker: frames in, updates out.

Per camera a capture thread -> ``Inbox`` (the newest frames wait) -> one inference loop -> ``Outbox`` -> one network
thread with the sockets. One camera's failure is said, counted, and ends there.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np

from tracker.config import BusSettings, Site
from tracker.errors import UserError
from tracker.io.bus import Uplink
from tracker.io.clock import WallClock
from tracker.roles.health import serving
from tracker.roles.housekeeping import Metrics, MetricsFile, stopped_by_signals
from tracker.stages import Clock, FrameSource
from tracker.types import (
    CameraId,
    CameraStatus,
    CameraUpdate,
    Frame,
)

log = logging.getLogger(__name__)

MOST_HUNG = 3  # threads of one camera that never came back; each keeps a decoder's memory
_ROUND_S = 0.2  # how often a worker looks after its cameras, at least
WARM_UP_S = 5.0  # from here on dropped frames are counted apart: models are warm, decoders have caught up
_CATCH_UP_S = 5.0  # a recording opened later than this goes on from where the others are
_FLUSH_S = 3.0  # a worker that stops waits this long for the linker to take what it has


@dataclass(frozen=True)
class Retry:
    """When to connect again to a camera that failed; for ever, since nobody may be there to ask for it."""

    first_s: float = 0.5  # doubled with every failure
    most_s: float = 10.0
    jitter: float = 0.2  # share of the pause, up or down: cameras behind one switch must not come back as one
    outages: int = 5  # whoever came and went so often,
    within_s: float = 60.0  # in so long,
    rest_s: float = 60.0  # is left alone for so long


@dataclass
class Camera:
    """One camera of a worker, with the parts that serve it."""

    camera_id: CameraId
    open_source: Callable[[], FrameSource]
    pipeline: Pipeline
    ends: bool = False  # a recording: its end is no failure
    hung_after_s: float | None = None  # in the source's hands for so long, a thread is given up; None: never
    lossless: bool = False  # every frame waits for its turn; else a newer one replaces the waiting one


class Pipeline(Protocol):
    """What the worker needs of a ``CameraPipeline``."""

    def end(self, seq: int, t_ns: int) -> CameraUpdate: ...


@runtime_checkable
class Live(Protocol):
    """What a source on a network knows of its camera; ``RtspSource`` says what each is."""

    clock_offset_s: float | None
    clock_drift_ppm: float
    clock_jumps: int
    resized: int
    decoder: str


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
    hung: int = 0  # threads that never came back from their decoder
    resized: int = 0  # how often its pictures became of another size
    clock_jumps: int = 0  # of the stream's time, in this connection
    clock_offset_s: float | None = (
        None  # the camera's wall clock less ours, with the way here; None: it says none
    )
    clock_drift_ppm: float = 0.0  # how much faster our clock runs than the stream's
    decoder: str = ""  # hardware or software
    state: str = "opening"
    reason: str = ""


class Inbox:
    """Between capture and inference: per camera a few waiting frames, and what is to be said after them.

    A stall shorter than the frames that may wait costs latency; a longer one costs the oldest of them.
    """

    WAITING = 3

    def __init__(self, cameras: Sequence[Camera]) -> None:
        self._lossless = {camera.camera_id for camera in cameras if camera.lossless}
        self._frames: dict[CameraId, deque[Frame]] = {camera.camera_id: deque() for camera in cameras}
        self._words: dict[CameraId, deque[CameraStatus]] = {camera.camera_id: deque() for camera in cameras}
        self._newest_ns = dict.fromkeys(self._frames, -1)
        self._changed = threading.Condition()
        self._closed = False
        self._first_s: float | None = None
        self.counts = {camera.camera_id: CameraCount() for camera in cameras}

    def put(self, frame: Frame) -> None:
        """Leave a frame; where too many wait the oldest goes, or this one waits where no frame may be lost.

        One that is not later than the newest is counted and left out.
        """
        camera_id, count = frame.camera_id, self.counts[frame.camera_id]
        with self._changed:
            if frame.t_ns <= self._newest_ns[camera_id]:
                count.disordered += 1
                return
            self._newest_ns[camera_id] = frame.t_ns
            waiting = self._frames[camera_id]
            while camera_id in self._lossless and len(waiting) >= self.WAITING and not self._closed:
                self._changed.wait()
            self._first_s = self._first_s or time.monotonic()
            is_warm = time.monotonic() - self._first_s >= WARM_UP_S
            count.read += 1
            count.read_warm += is_warm
            if len(waiting) >= self.WAITING:
                waiting.popleft()
                count.dropped += 1
                count.dropped_warm += is_warm
            waiting.append(frame)
            self._changed.notify_all()

    def say(self, status: CameraStatus) -> None:
        """Leave a word; it is taken after the frames that wait now."""
        with self._changed:
            self._words[status.camera_id].append(status)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> tuple[list[Frame], list[CameraStatus]]:
        """The oldest frame of every camera, and the words of the cameras without one. Empty when time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_something(), timeout_s)
            frames: list[Frame] = []
            words: list[CameraStatus] = []
            for camera_id, waiting in self._frames.items():
                if waiting:
                    frames.append(waiting.popleft())
                else:
                    words += self._words[camera_id]
                    self._words[camera_id].clear()
            self._changed.notify_all()
            return frames, words

    def leave_out_until(self, camera_id: CameraId, t_ns: int) -> None:
        """What was taken before, comes no more: a decoder's leftovers would tell one outage as two."""
        with self._changed:
            self._newest_ns[camera_id] = max(self._newest_ns[camera_id], t_ns)

    def newest_ns(self, camera_id: CameraId) -> int:
        """Time of a camera's newest frame or silence; -1 before the first."""
        with self._changed:
            return self._newest_ns[camera_id]

    def waiting(self, camera_id: CameraId) -> int:
        """How many frames of a camera wait for their turn."""
        return len(self._frames[camera_id])

    def close(self) -> None:
        """Wake everybody; nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_something(self) -> bool:
        return any(self._frames.values()) or any(self._words.values())


class Capture:
    """Keeps one camera connected, in a thread of its own, and leaves its frames in the inbox.

    A camera is *opening* until its first frame, *up* while frames come, *stalled* when they do not, *gone* from a lost
    connection until the next frame, and *ended* when it was a recording. A thread that neither decoder nor driver gives
    back is left to itself, and another one connects; nothing that the first may still say counts.
    """

    def __init__(
        self,
        camera: Camera,
        inbox: Inbox,
        stop: threading.Event,
        clock: Clock,
        run: int,
        *,
        retry: Retry | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._camera, self._inbox, self._stop, self._clock, self._run = camera, inbox, stop, clock, run
        self._retry = Retry() if retry is None else retry
        self._rng = np.random.default_rng() if rng is None else rng
        self._count = inbox.counts[camera.camera_id]
        self._leave = threading.Event()  # the thread that reads now is to end
        self._threads: list[threading.Thread] = []
        self._reading_since_s: float | None = None  # in the source's hands
        self._outages_s: deque[float] = deque(maxlen=self._retry.outages)
        self._failures = 0  # in a row

    def start(self) -> None:
        """Read in a thread of its own."""
        self._leave = threading.Event()
        thread = threading.Thread(
            target=self.follow,
            args=(self._leave,),
            name=self._camera.camera_id,
            daemon=True,  # a driver that never returns must not keep the program alive
        )
        self._threads.append(thread)
        thread.start()

    def look_after(self) -> None:
        """Leave a thread that hangs to itself, and connect anew; at most so many of one camera."""
        since_s, after_s = self._reading_since_s, self._camera.hung_after_s
        if since_s is None or after_s is None or time.monotonic() - since_s < after_s:
            return
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) > MOST_HUNG:
            return
        self._leave.set()
        self._reading_since_s = None
        self._count.lost += 1
        self._count.hung += 1
        reason = f"its connection hangs for {after_s:g} s and is left to itself"
        if len(self._threads) == MOST_HUNG:
            reason += f"; after {MOST_HUNG} of them this is the last try until one returns"
        log.warning("%s: %s", self._camera.camera_id, reason)
        self._say("gone", reason)
        self.start()

    def wake(self) -> None:
        """Wait no longer for the next connection: all is to stop."""
        self._leave.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread that was asked to end; those that hang are not waited for."""
        if self._threads:
            self._threads[-1].join(timeout_s)

    def follow(self, leave: threading.Event) -> None:
        """Read until ``leave``, or until the recording is over; connect again and again when it fails."""
        camera_id = self._camera.camera_id

        def is_over() -> bool:
            return leave.is_set() or self._stop.is_set()

        while not is_over():
            try:
                self._reading_since_s = time.monotonic()
                with closing(self._camera.open_source()) as source:
                    for frame in source:
                        if is_over():
                            return
                        self._reading_since_s = None  # the inbox may keep us waiting
                        self._failures = 0
                        self._inbox.put(frame)
                        self._note(source)
                        self._reading_since_s = time.monotonic()
                if self._camera.ends:
                    self._say("ended", "the recording is over")
                    return
                reason = "the stream ended"
            except UserError as error:
                reason = str(error)
            except Exception as error:
                if is_over():
                    return
                # Whatever a decoder or driver raises ends this camera's connection, not the other cameras.
                log.exception("%s: the source failed", camera_id)
                reason = f"{type(error).__name__}: {error}"
            if is_over():
                return
            self._reading_since_s = None
            self._count.lost += 1
            pause_s, why = self._pause()
            log.warning("%s: %s; trying again in %.1f s%s", camera_id, reason, pause_s, why)
            self._say("gone", reason + why)
            leave.wait(pause_s)

    def _pause(self) -> tuple[float, str]:
        """How long to wait after a failure, and why for longer than usual."""
        retry, now_s = self._retry, time.monotonic()
        was_up, self._failures = self._failures == 0, self._failures + 1
        if was_up:
            self._outages_s.append(now_s)
            if len(self._outages_s) == retry.outages and now_s - self._outages_s[0] <= retry.within_s:
                self._outages_s.clear()
                return (
                    retry.rest_s,
                    f"; it came and went {retry.outages} times within {retry.within_s:g} s, so it is left alone for "
                    f"{retry.rest_s:g} s",
                )
        pause_s = min(retry.first_s * 2.0 ** min(self._failures - 1, 20), retry.most_s)
        return pause_s * float(self._rng.uniform(1 - retry.jitter, 1 + retry.jitter)), ""

    def _note(self, source: FrameSource) -> None:
        """What a live source knows of its camera, for the metrics."""
        if isinstance(source, Live):
            count = self._count
            count.clock_offset_s, count.clock_drift_ppm = source.clock_offset_s, source.clock_drift_ppm
            count.clock_jumps, count.resized, count.decoder = (
                source.clock_jumps,
                source.resized,
                source.decoder,
            )

    def _say(self, state: str, reason: str) -> None:
        camera_id = self._camera.camera_id
        t_ns = max(self._clock.now_ns(), self._inbox.newest_ns(camera_id) + 2)
        self._inbox.say(
            CameraStatus(camera_id=camera_id, run=self._run, t_ns=t_ns, state=state, reason=reason)  # type: ignore[arg-type]
        )


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
        self.is_shut_out = False  # the network's word: the linker refuses this worker's key

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

    def __len__(self) -> int:
        """How many messages wait to be sent."""
        return len(self._messages)

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
        # A round earlier, so that it is said by then and not a round later.
        silent_s = max(self._stalled_after_s - _ROUND_S, self._stalled_after_s / 2)
        for camera_id, heard_s in self._heard_s.items():
            count = self._inbox.counts[camera_id]
            if count.state in ("up", "opening") and now_s - heard_s > silent_s:
                reason = f"no frame for {self._stalled_after_s:g} s"
                log.warning("%s: %s", camera_id, reason)
                _, last_ns = self._last.get(camera_id, (0, 0))
                t_ns = max(self._clock.now_ns(), last_ns + 1)
                if not self._cameras[camera_id].ends:
                    self._inbox.leave_out_until(camera_id, t_ns)
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
        outbox.is_shut_out = uplink.is_shut_out
        if was_done and not messages:
            last_s = last_s or now_s + flush_s
            if not uplink.pending or now_s >= last_s:
                if uplink.pending:
                    log.warning(
                        "the linker has not acknowledged %d ended tracklets, or refuses this worker's key",
                        uplink.pending,
                    )
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
    retry: Retry | None = None,
    metrics: Path | None = None,
    tell: Callable[[Metrics], None] = lambda metrics: None,
) -> Metrics:
    """Follow cameras until ``stop``, or until every one was a recording that is over.

    Args:
        metrics: file of the figures, written now and then; ``tell`` hears them as well.

    Raises:
        UserError: a bad endpoint or key. Whatever else ends the network thread is raised, too.
    """
    inbox, outbox = Inbox(cameras), Outbox()
    inference = Inference(
        cameras, step, inbox, outbox.put, run=run, clock=clock, stalled_after_s=stalled_after_s
    )
    done = threading.Event()
    problems: list[Exception] = []
    counters: dict[str, float] = {}

    def network() -> None:
        try:
            with Uplink(bus, list(inbox.counts)) as uplink:
                _send_all(uplink, outbox, done)
                counters.update(msgspec.structs.asdict(uplink.counters))
        except Exception as error:  # noqa: BLE001  (raised below: whoever sends nothing must not go on)
            problems.append(error)
            stop.set()

    def figures() -> dict[CameraId, dict[str, Any]]:
        return {c: vars(count) | {"waiting": inbox.waiting(c)} for c, count in inbox.counts.items()}

    def queues() -> dict[str, float]:
        return {
            "outbox_unsent": outbox.unsent,
            "outbox_waiting": len(outbox),
            "rounds": inference.rounds,
            "shut_out": int(outbox.is_shut_out),
        }

    captures = [
        Capture(camera, inbox, stop, clock, run, retry=retry, rng=rng)
        for camera, rng in zip(cameras, np.random.default_rng(run).spawn(len(cameras)), strict=True)
    ]
    sender = threading.Thread(target=network, name="network")
    sender.start()
    file = MetricsFile(metrics, run, tell=tell)
    try:
        for capture in captures:
            capture.start()
        while not stop.is_set() and not inference.is_over:
            inference.round(_ROUND_S)
            for capture in captures:
                capture.look_after()
            if file.is_due():
                file.write(queues(), figures())
        inference.finish()
    finally:
        stop.set()
        for capture in captures:
            capture.wake()
        inbox.close()
        done.set()
        sender.join()
        patience_s = time.monotonic() + 2.0
        for capture in captures:
            capture.join(max(patience_s - time.monotonic(), 0.0))
        outbox.close()
        counters |= queues()
        file.write(counters, figures())
    if problems:
        raise problems[0]
    return Metrics(name="worker", run=run, counters=counters, cameras=figures())


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

    from tracker.build import build_detector, build_embedder, build_flows, build_pipeline
    from tracker.core.pipeline import step_batch

    cv2.setNumThreads(1)  # cameras and workers already fill the cores
    run = time.time_ns() // 10**6 if run is None else run
    out = Path(site.live.out) if out is None else out
    detector, embedder = build_detector(site.detector), build_embedder(site.embedder)
    motion = build_flows(site, camera_ids)
    check_cameras(site, camera_ids)
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
            # Connecting and looking at the stream may take its time-out twice, and a slow machine a little more.
            hung_after_s=None if c in offsets_ns else 3 * site.cameras[c].timeout_s,
        )
        for c in camera_ids
    ]
    with stopped_by_signals(stop) as asked, serving(site.live) as health:
        return run_worker(
            cameras,
            step,
            site.bus,
            asked,
            run=run,
            clock=clock,
            stalled_after_s=site.live.stalled_after_s,
            metrics=out / "metrics" / f"{name}.json",
            tell=health.alone("worker"),
        )


def check_cameras(site: Site, camera_ids: Sequence[CameraId]) -> None:
    """Every mistake that can be known before a frame is read."""
    from tracker.config import RecordedDetectorSettings
    from tracker.io.sources import is_live, locate

    if isinstance(site.detector, RecordedDetectorSettings):
        raise UserError("detector: kind is recorded, but cameras bring no detections; name a network")
    for camera_id in camera_ids:
        camera = site.cameras[camera_id]
        if camera.brings_detections:
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
    from tracker.io.sources import (
        CameraMemory,
        PacedSource,
        RtspSource,
        WebcamSource,
        is_live,
        open_recording,
    )

    camera, memory = site.cameras[camera_id], CameraMemory()

    def open_source() -> FrameSource:
        if not is_live(camera.url):
            late_s = (clock.now_ns() - begin_ns) / 1e9
            if late_s < _CATCH_UP_S:
                late_s = 0.0
            recording = open_recording(camera_id, camera.url, start_ns=0, fps=camera.fps, from_s=late_s)
            return PacedSource(recording, clock, begin_ns=begin_ns)
        if camera.url.isdecimal():
            return WebcamSource(camera_id, int(camera.url), clock=clock, memory=memory)
        return RtspSource(
            camera_id,
            camera.url,
            clock=clock,
            timeout_s=camera.timeout_s,
            hardware=site.live.hardware_decode == "auto",
            memory=memory,
        )

    return open_source
