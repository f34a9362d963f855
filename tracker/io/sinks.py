"""Where results go: MOTChallenge text, JSON lines, annotated video.

A disk that is full, or a folder that may not be written, is a `UserError`; what was written before stays readable.
"""

from __future__ import annotations

import colorsys
import contextlib
import errno
import functools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import cv2
import msgspec
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tracker.errors import UserError
from tracker.types import CONFIRMED, LOST, Event

SECOND_NS = 1_000_000_000
GOLDEN_RATIO = 0.618033988749895  # steps of it around the circle never crowd, however many follow
SITE_SHIFT, NUMBER_MASK = 48, (1 << 48) - 1  # of a global id, see tracker.types.global_id_of
TRAIL_S = 2.0
NOBODY_BGR = (170, 170, 170)  # a track whose identity is not known
VIDEO_TICKS = {"libx264": 90_000, "mpeg4": 10_000}  # a second; MPEG-4 Part 2 has 16 bits for them
KEYFRAME_S = 2.0
YEAR_2000_NS = 946_684_800 * SECOND_NS  # times before are seconds of a recording without a start time

MotRow = tuple[int, int, float, float, float, float, float]  # frame (1-based), id, x, y, w, h, score


# --- text ---


def mot_line(row: MotRow) -> str:
    """``frame,id,x,y,w,h,score,-1,-1,-1`` with its line end; digits are fixed, so that bytes repeat."""
    frame, track_id, x, y, w, h, score = row
    return f"{frame:d},{track_id:d},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.4f},-1,-1,-1\n"


class MotWriter:
    """A MOTChallenge file, in a ``with``. It gets its name when it is whole; after an error nothing is left.

    Raises:
        UserError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._part, "w", encoding="ascii", newline="\n")  # noqa: SIM115  # closed by close

    def write(self, row: MotRow) -> None:
        """Add one box."""
        with _told(self._path):
            self._file.write(mot_line(row))

    def close(self) -> None:
        """Finish the file and give it its name."""
        with _told(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            with contextlib.suppress(OSError):  # closing may have to write what the full disk refused
                self._file.close()
            self._part.unlink(missing_ok=True)


def write_mot(path: Path, rows: Iterable[MotRow]) -> None:
    """Write a whole MOTChallenge file; an existing one is replaced only once the new one is whole.

    Raises:
        UserError: It cannot be written.
    """
    with MotWriter(path) as writer:
        for row in rows:
            writer.write(row)


def event_to_json(event: Event) -> bytes:
    """One JSON object without line end: the fields of the record, and its kind as ``type``.

    Ids are integers up to 2^63, beyond what JavaScript's numbers hold exactly; a track key is an object.
    """
    return msgspec.json.encode(event)


class JsonLinesSink:
    """Events as JSON, one a line (`tracker.stages.EventSink`). Each line is handed to the disk whole.

    Args:
        path: The file; its folder is made.
        append: Go on with what is there; a last line that was cut short is taken away.

    Raises:
        UserError: It cannot be written.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self._path = path
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                if append:
                    _drop_cut_line(path)
                else:
                    os.truncate(path, 0)
            # Always at the end of the file, wherever that is after a line was taken back.
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115  # closed by close

    def put(self, event: Event) -> None:
        """Write one event."""
        self.put_line(event_to_json(event))

    def put_line(self, line: bytes) -> None:
        """Write one JSON object that is encoded already, without line end."""
        whole = line + b"\n"
        start = os.fstat(self._file.fileno()).st_size
        with _told(self._path):
            try:
                written = self._file.write(whole)
                if written != len(whole):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with contextlib.suppress(OSError):  # a device cannot be cut
                    os.ftruncate(self._file.fileno(), start)
                raise

    def close(self) -> None:
        """Make sure that it is on the disk."""
        if self._file.closed:
            return
        with _told(self._path):
            try:
                if self._path.is_file():
                    os.fsync(self._file.fileno())
            finally:
                self._file.close()


def _drop_cut_line(path: Path) -> None:
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65_536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)


# --- pictures ---


@functools.lru_cache(maxsize=4096)
def colour_of(global_id: int) -> tuple[int, int, int]:
    """An identity's colour (blue, green, red), the same in every camera and every run; grey below 1."""
    if global_id < 1:
        return NOBODY_BGR
    number = (global_id & NUMBER_MASK) + (global_id >> SITE_SHIFT)
    hue = number * GOLDEN_RATIO % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.9, 0.6)[number % 2], 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def label_of(global_id: int) -> str:
    """What a person reads: the number, with its site where that is not 0; ``?`` below 1."""
    if global_id < 1:
        return "?"
    site, number = global_id >> SITE_SHIFT, global_id & NUMBER_MASK
    return f"{site}:{number}" if site else str(number)


class Overlay:
    """Draws boxes, identities and trails of one camera into its pictures; remembers the last 2 s of foot points.

    Args:
        camera_id: Written in the corner.
    """

    def __init__(self, camera_id: str = "") -> None:
        self._camera_id = camera_id
        self._trails: dict[int, deque[tuple[int, tuple[int, int]]]] = {}

    def draw(
        self,
        image: NDArray[np.uint8],
        boxes: NDArray[np.floating],
        ids: NDArray[np.integer],
        states: NDArray[np.integer],
        *,
        t_ns: int,
    ) -> NDArray[np.uint8]:
        """A copy of a picture (H, W, 3) with its N tracks drawn in.

        Args:
            image: BGR, left as it is.
            boxes: (N, 4) in pixels. A row with a NaN is not drawn.
            ids: (N,) global ids; below 1 where not known.
            states: (N,) see `tracker.types`; only confirmed boxes are drawn thick.
            t_ns: Capture time.
        """
        canvas = image.copy()
        thick = max(1, round(canvas.shape[0] / 360))
        seen = np.isfinite(np.asarray(boxes, np.float64).reshape(-1, 4)).all(axis=1)
        tracks = [
            (tuple(int(v) for v in np.rint(np.clip(box, -1e6, 1e6))), int(i), int(state))
            for box, i, state in zip(
                np.asarray(boxes, np.float64).reshape(-1, 4)[seen], ids[seen], states[seen], strict=True
            )
        ]
        for (x1, _, x2, y2), global_id, state in tracks:
            if global_id >= 1 and state != LOST:
                self._trails.setdefault(global_id, deque()).append((t_ns, ((x1 + x2) // 2, y2)))
        self._forget(t_ns)
        for global_id, trail in self._trails.items():
            _draw_trail(canvas, [point for _, point in trail], colour_of(global_id), thick)
        for (x1, y1, x2, y2), global_id, state in tracks:
            colour = colour_of(global_id)
            width = thick + 1 if state == CONFIRMED else 1
            cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, width)
            if state != LOST:
                _draw_label(canvas, label_of(global_id), (x1, y1), colour, thick)
        corner = f"{self._camera_id}  {time_text(t_ns)}".strip()
        _draw_label(canvas, corner, (0, 0), (235, 235, 235), thick)
        return canvas

    def _forget(self, t_ns: int) -> None:
        oldest_ns = t_ns - round(TRAIL_S * SECOND_NS)
        for global_id in list(self._trails):
            trail = self._trails[global_id]
            while trail and trail[0][0] < oldest_ns:
                trail.popleft()
            if not trail:
                del self._trails[global_id]


class OverlayVideo:
    """An annotated video of one camera, in a ``with`` or closed by hand.

    H.264 where PyAV brings the encoder (``libx264``), else MPEG-4 Part 2; ``codec`` says which. The file is written
    in fragments and can be played up to its last seconds even when nobody closes it.

    Args:
        path: The .mp4; its folder is made.
        size: Width and height of the pictures in pixels; a last odd row or column is left out.
        fps: Nominal frames a second. Frames are shown at their own capture time.
        camera_id: Written in the corner.
        threads: Encoder threads.

    Raises:
        UserError: It cannot be written.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], fps: float, *, camera_id: str = "", threads: int = 1
    ) -> None:
        self._path, self._fps = path, fps
        self._size = size[0] // 2 * 2, size[1] // 2 * 2
        if min(self._size) < 2 or not fps > 0:
            raise UserError(f"{path}: no video of {size[0]}x{size[1]} pixels at {fps} frames/s")
        self._overlay = Overlay(camera_id)
        self.codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._ticks = VIDEO_TICKS[self.codec]
        self._first_ns: int | None = None
        self._last_tick = -1
        self._frames = 0
        self._closed = False
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Fragments while it is written, an ordinary file with an index once it is closed.
            self._container = av.open(
                str(path), "w", format="mp4", container_options={"movflags": "hybrid_fragmented"}
            )
            stream = self._container.add_stream(self.codec, rate=Fraction(fps).limit_denominator(1001))
        assert isinstance(stream, VideoStream)  # both are video codecs
        self._stream = stream
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, self._ticks)
        self._stream.codec_context.gop_size = max(1, round(KEYFRAME_S * fps))
        self._stream.codec_context.thread_count = threads
        if self.codec == "libx264":
            # No B-frames: their delay would shift a file that is written in fragments.
            self._stream.options = {"preset": "veryfast", "crf": "26", "bf": "0"}
        else:
            self._stream.codec_context.bit_rate = round(self._size[0] * self._size[1] * fps * 0.15)

    def write(
        self,
        image: NDArray[np.uint8],
        boxes: NDArray[np.floating],
        ids: NDArray[np.integer],
        states: NDArray[np.integer],
        *,
        t_ns: int | None = None,
    ) -> None:
        """Add one frame; see `Overlay.draw`. Without ``t_ns`` it comes one nominal interval after the last.

        Raises:
            UserError: The disk is full.
        """
        if t_ns is None:
            t_ns = round(self._frames * SECOND_NS / self._fps)
        if self._first_ns is None:
            self._first_ns = t_ns
        drawn = self._overlay.draw(image, boxes, ids, states, t_ns=t_ns)
        width, height = self._size
        if drawn.shape[1] < width or drawn.shape[0] < height:
            raise ValueError(f"a frame of {drawn.shape[1]}x{drawn.shape[0]} in a video of {width}x{height}")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(drawn[:height, :width]), format="bgr24")
        tick = max((t_ns - self._first_ns) * self._ticks // SECOND_NS, self._last_tick + 1)
        frame.pts, frame.time_base = tick, Fraction(1, self._ticks)
        self._last_tick = tick
        self._frames += 1
        with _told(self._path):
            for packet in self._stream.encode(frame):
                self._container.mux(packet)

    def close(self) -> None:
        """Finish the file.

        Raises:
            UserError: The disk is full.
        """
        if self._closed:
            return
        self._closed = True
        with _told(self._path):
            try:
                for packet in self._stream.encode(None) if self._frames else ():
                    self._container.mux(packet)
            finally:
                self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(UserError):  # the first error is the one to tell
            self.close()


def time_text(t_ns: int) -> str:
    """UTC date and time to a tenth of a second; minutes and seconds for times without a date."""
    if t_ns >= YEAR_2000_NS:
        moment = datetime.fromtimestamp(t_ns // SECOND_NS, UTC)
        return f"{moment:%Y-%m-%d %H:%M:%S}.{t_ns // 100_000_000 % 10}"
    tenths = t_ns // 100_000_000
    return f"{tenths // 600:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _draw_trail(
    canvas: NDArray[np.uint8], points: list[tuple[int, int]], colour: tuple[int, int, int], thick: int
) -> None:
    if len(points) > 1:
        line = np.array(points, np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, colour, thick, cv2.LINE_AA)
    if points:
        cv2.circle(canvas, points[-1], thick + 1, colour, cv2.FILLED, cv2.LINE_AA)


def _draw_label(
    canvas: NDArray[np.uint8], text: str, at: tuple[int, int], colour: tuple[int, int, int], thick: int
) -> None:
    """Dark text on a plate of the colour, above ``at`` where there is room, else below; inside the picture."""
    scale = max(0.35, canvas.shape[0] / 1300)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    plate = width + 6, height + below + 4
    x = min(max(at[0], 0), max(0, canvas.shape[1] - plate[0]))
    y = at[1] - plate[1] if at[1] >= plate[1] else max(at[1], 0)
    cv2.rectangle(canvas, (x, y), (x + plate[0], y + plate[1]), colour, cv2.FILLED)
    cv2.putText(
        canvas,
        text,
        (x + 3, y + height + 2),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (20, 20, 20),
        thick,
        cv2.LINE_AA,
    )


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the disk says into one sentence."""
    try:
        yield
    except OSError as error:  # FFmpeg's errors of the disk are among them
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"the disk is full: {path} stops here; make room, or choose another folder"
            ) from error
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
