"""Network cameras that can be broken at will, and a real worker process that follows them.

The cameras are a real server in a process of its own, behind lines in this process that can freeze, garble or cut what
goes through: nothing of the program under test is replaced but the networks that look at pictures.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.reliability.bench import CannotRun
from tracker.config import BusSettings, LinkSettings
from tracker.core.linker import Linker
from tracker.io import wire
from tracker.io.bus import Hub
from tracker.io.clock import WallClock
from tracker.io.sources import CameraMemory, RtspSource
from tracker.io.store import EventLog, Journal
from tracker.roles.following import Camera, Retry, run_worker
from tracker.roles.linking import LinkerLoop
from tracker.types import CameraStatus, CameraUpdate, Event, Frame, Tracks

FPS = 10.0  # of every camera
APT = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,ugly}"
PATIENCE_S = 60.0  # nobody waits this long unless something is broken


# --- cameras ---


@dataclass
class Line:
    """The way to one camera."""

    name: str
    url: str = ""
    target: int = 0  # the server's port
    mode: str = "open"  # frozen: silent, but connected; garbled: noise in place of all bytes; cut: hung up on
    life_s: float | None = None  # every connection is cut after so long from its first byte of pictures
    jump_ticks: int = 0  # added to RTP time stamps
    accepted_s: list[float] = field(default_factory=list)  # when somebody connected
    passed_s: float = 0.0  # when something last went through


class Lines:
    """All ways to cameras, served by one thread."""

    def __init__(self, lines: Sequence[Line], *, is_rtsp: bool, seed: int) -> None:
        self.lines = {line.name: line for line in lines}
        self._is_rtsp, self._rng = is_rtsp, np.random.default_rng(seed)
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        servers = []
        for line in self.lines.values():
            server = self._loop.run_until_complete(
                asyncio.start_server(partial(self._serve, line), "127.0.0.1", 0)
            )
            servers.append(server)
            port = server.sockets[0].getsockname()[1]
            line.url = f"rtsp://127.0.0.1:{port}/{line.name}" if self._is_rtsp else f"tcp://127.0.0.1:{port}"
        self._up.set()
        self._loop.run_forever()
        for server in servers:
            server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # transports close a round later
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)

    async def _serve(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.accepted_s.append(time.monotonic())
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", line.target)
        except OSError:
            writer.transport.abort()
            return
        ways = [
            asyncio.ensure_future(self._ask(reader, up_writer)),
            asyncio.ensure_future(self._answer(line, up_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, up_writer):
                end.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)

    async def _answer(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first_s, rest, ticks_before = 0.0, b"", line.jump_ticks
        while line.mode != "cut":
            try:
                data = await asyncio.wait_for(reader.read(65536), 0.05)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            if line.mode == "frozen":
                while line.mode == "frozen":
                    await asyncio.sleep(0.05)
                return  # who was left hanging finds nobody there
            now_s = time.monotonic()
            if line.mode == "garbled":
                data = self._rng.bytes(len(data))
            elif line.jump_ticks != ticks_before:
                data, rest = _later(rest + data, line.jump_ticks - ticks_before)
            line.passed_s = now_s
            writer.write(data)
            if len(data) > 1000 or b"$" in data[:1]:
                first_s = first_s or now_s
            if line.life_s is not None and first_s and now_s - first_s > line.life_s:
                return


def _later(data: bytes, ticks: int) -> tuple[bytes, bytes]:
    """RTSP's bytes with the time stamps of interleaved RTP moved, and what is no whole packet yet."""
    out, at = bytearray(), 0
    while len(data) - at >= 4:
        if data[at] == 0x24:
            end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
            if end > len(data):
                break
            packet = bytearray(data[at:end])
            if packet[1] == 0 and len(packet) >= 16:
                stamp = (int.from_bytes(packet[8:12], "big") + ticks) % (1 << 32)
                packet[8:12] = stamp.to_bytes(4, "big")
            out, at = out + packet, end
        else:  # an answer in words, without a body while pictures come
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                break
            out, at = out + data[at : end + 4], end + 4
    return bytes(out), data[at:]


class Servers:
    """Cameras and the lines to them; ``kind`` says what they are, GStreamer's or a stand-in's."""

    def __init__(self, names: Sequence[str], *, stand_in: bool, seed: int = 0) -> None:
        self._names, self._stand_in = list(names), stand_in
        self.kind = "MPEG-TS over TCP by PyAV" if stand_in else "RTSP by GStreamer"
        self._lines = Lines([Line(name) for name in names], is_rtsp=not stand_in, seed=seed)
        self.lines = self._lines.lines
        self._start()

    def _start(self) -> None:
        command = (
            [sys.executable, "-m", "benchmarks.reliability.ts_cameras"]
            if self._stand_in
            else ["/usr/bin/python3", str(Path(__file__).with_name("rtsp_cameras.py"))]
        )
        try:
            self._process = subprocess.Popen(
                command + self._names,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
            )
        except FileNotFoundError as error:
            raise CannotRun(f"GStreamer's RTSP server: apt-get install {APT}") from error
        assert self._process.stdout is not None
        word, *ports = self._process.stdout.readline().split() or [""]
        if word != "ready":
            self._process.wait(PATIENCE_S)
            raise CannotRun(f"GStreamer's RTSP server: apt-get install {APT}")
        for n, line in enumerate(self.lines.values()):
            line.target = int(ports[min(n, len(ports) - 1)])

    def __enter__(self) -> Self:
        self._lines.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._lines.__exit__()

    def kill(self) -> float:
        """SIGKILL to all cameras; when, by the monotonic clock."""
        at_s = time.monotonic()
        self._process.kill()
        self._process.wait(PATIENCE_S)
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.close()
        return at_s

    def restart(self) -> None:
        """After ``kill``."""
        self._start()

    def size(self, name: str, width: int, height: int) -> None:
        """Change a camera's pictures in mid-stream."""
        self._tell(f"size {name} {width} {height}")

    def jump(self, name: str, seconds: int) -> None:
        """Change a stream's time in mid-stream."""
        if self._stand_in:
            self._tell(f"jump {name} {seconds}")
        else:
            self.lines[name].jump_ticks += 90_000 * seconds

    def _tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()


# --- the worker ---


@dataclass(frozen=True)
class Order:
    """What the worker process is to follow."""

    urls: dict[str, str]  # cameras on the network
    made: tuple[str, ...]  # cameras that are made here
    bus: BusSettings
    metrics: Path
    timeout_s: float = 5.0
    stalled_after_s: float = 5.0
    retry: Retry = field(default_factory=Retry)


class Made:
    """A camera without a network: pictures at its rate, for ever."""

    def __init__(self, camera_id: str) -> None:
        self._camera_id, self._closed = camera_id, False

    def __iter__(self) -> Iterator[Frame]:
        image = np.zeros((24, 32, 3), np.uint8)
        clock = WallClock()
        begin_ns = clock.now_ns()
        for seq in range(1 << 40):
            t_ns = begin_ns + round(seq * 1e9 / FPS)
            clock.sleep_until(t_ns)
            if self._closed:
                return
            yield Frame(camera_id=self._camera_id, seq=seq, t_ns=t_ns, image=image)

    def close(self) -> None:
        """Stop."""
        self._closed = True


class Blind:
    """A pipeline that looks at nothing; the picture's size is what it tells, as a box."""

    def __init__(self, camera_id: str, run: int) -> None:
        self._camera_id, self._run = camera_id, run

    def step(self, frame: Frame) -> CameraUpdate:
        """An update for a frame."""
        height, width = frame.image.shape[:2]
        box = np.array([[0, 0, width, height]], np.float32)
        return self._update(frame.seq, frame.t_ns, Tracks.of(np.ones(1, np.int64), box, np.zeros(1)))

    def end(self, seq: int, t_ns: int) -> CameraUpdate:
        """The last."""
        return self._update(seq, t_ns, Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0)))

    def _update(self, seq: int, t_ns: int, tracks: Tracks) -> CameraUpdate:
        return CameraUpdate(
            camera_id=self._camera_id,
            run=self._run,
            seq=seq,
            t_ns=t_ns,
            tracks=tracks,
            tracklets=(),
            detected=True,
        )


def follow(order: Order) -> None:
    """The worker process: the shipped worker over network sources, until SIGTERM."""
    logging.getLogger("tracker").setLevel(logging.CRITICAL)  # trouble is staged a thousand times
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    clock, run = WallClock(), time.time_ns() // 10**6
    cameras = [Camera(name, partial(Made, name), Blind(name, run)) for name in order.made]
    for name, url in order.urls.items():
        cameras.append(
            Camera(
                name,
                partial(RtspSource, name, url, clock=clock, timeout_s=order.timeout_s, memory=CameraMemory()),
                Blind(name, run),
                hung_after_s=3 * order.timeout_s,
            )
        )
    run_worker(
        cameras,
        lambda pipelines, frames, load: [p.step(f) for p, f in zip(pipelines, frames, strict=True)],
        order.bus,
        stop,
        run=run,
        clock=clock,
        stalled_after_s=order.stalled_after_s,
        retry=order.retry,
        metrics=order.metrics,
    )


class Worker:
    """A worker process."""

    def __init__(self, order: Order) -> None:
        self._process = multiprocessing.get_context("spawn").Process(
            target=follow, args=(order,), daemon=True
        )

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(15.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


# --- who listens ---


class _Watching(LinkerLoop):
    """The shipped linker loop; what comes in is noted with its time."""

    def __init__(self, heard: Heard, *given: Any, **named: Any) -> None:
        self._heard_by = heard
        super().__init__(*given, **named)

    def _take(self, message: CameraUpdate | CameraStatus | wire.Repeated) -> None:
        if not isinstance(message, wire.Repeated):
            self._heard_by.note(message)
        super()._take(message)


class Heard:
    """A linker in a thread, what it heard of each camera and when, and the events that came of it."""

    def __init__(self, folder: Path, bus: BusSettings, names: Sequence[str]) -> None:
        self._folder, self._bus, self._names = folder, bus, list(names)
        self.frames: dict[str, list[tuple[float, int, tuple[int, int]]]] = {name: [] for name in names}
        self.words: dict[str, list[tuple[float, str, str]]] = {name: [] for name in names}
        self.events: list[Event] = []
        self._changed = threading.Condition()
        self._up, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="linker", daemon=True)
        self.counters: dict[str, float] = {}

    def note(self, message: CameraUpdate | CameraStatus) -> None:
        """Called by the loop."""
        now_s = time.monotonic()
        with self._changed:
            if isinstance(message, CameraStatus):
                self.words[message.camera_id].append((now_s, message.state, message.reason))
            elif len(message.tracks.boxes):
                width, height = message.tracks.boxes[0, 2:]
                self.frames[message.camera_id].append((now_s, message.t_ns, (int(width), int(height))))
            self._changed.notify_all()

    def wait(self, until: Any, timeout_s: float = PATIENCE_S) -> bool:
        """Until something heard makes ``until()`` true; False when time is over."""
        with self._changed:
            return self._changed.wait_for(until, timeout_s)

    def first_frame(self, name: str, after_s: float) -> tuple[float, int, tuple[int, int]] | None:
        """The first frame heard of after a moment: when, its time, its size."""
        return next((frame for frame in _since(self.frames[name], after_s)), None)

    def first_word(self, name: str, after_s: float) -> tuple[float, str, str] | None:
        """The first bad word about a camera after a moment."""
        return next((word for word in self.words[name] if word[0] >= after_s and word[1] != "up"), None)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._up.wait(PATIENCE_S):
            raise RuntimeError("the linker does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        with (
            EventLog(self._folder / "events.sqlite", started_ns=time.time_ns()) as events,
            Journal(self._folder) as journal,
            Hub(self._bus) as hub,
        ):
            loop = _Watching(
                self,
                Linker(LinkSettings()),
                hub,
                events,
                journal,
                cameras=self._names,
                clock=WallClock(),
            )
            self._up.set()
            while not self._end.is_set():
                loop.round()
            loop.finish()
            self.counters = loop.counters()
            self.events = list(events.read())


def _since(
    frames: list[tuple[float, int, tuple[int, int]]], after_s: float
) -> list[tuple[float, int, tuple[int, int]]]:
    """Those heard after a moment; only the end of the list is looked at."""
    at = len(frames)
    while at and frames[at - 1][0] > after_s:
        at -= 1
    return frames[at:]
