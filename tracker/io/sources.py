"""Where frames come from: video files, folders of pictures, RTSP cameras and webcams.

Recordings are iterated from their beginning each time; a live source connects when it is iterated, and iterating it
again connects anew (the numbers of its frames go on). Frames get their capture time here and nowhere else.
"""

from __future__ import annotations

import bisect
import configparser
import functools
import glob
import heapq
import itertools
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tracker.errors import UserError, mask_url
from tracker.stages import Clock, FrameSource
from tracker.types import CameraId, Frame

log = logging.getLogger(__name__)

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VIDEOS = frozenset(
    {".mp4", ".m4v", ".mkv", ".avi", ".mov", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".webm", ".flv", ".wmv"}
    | {".h264", ".264", ".h265", ".hevc", ".asf", ".3gp", ".mjpeg", ".mjpg", ".y4m", ".dav"}
)
LIVE_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://", "srt://")
FALLBACK_FPS = 25.0  # where a container states none
SECOND_NS = 1_000_000_000
MOST_ERRORS_IN_A_ROW = 100  # damaged reads after which a file is taken to be over
SEEK_BACK_S = 0, 2, 10  # how far before a key frame to aim, tried in turn
MOST_DRIFT_NS = SECOND_NS  # between a live stream's own time and the wall
# FFmpeg by default looks at a stream for seconds before it gives the first frame. Not "nobuffer": it throws away what
# was looked at, the first key frame with it.
LIVE_OPTIONS = {"analyzeduration": "500000", "probesize": "1000000", "flags": "low_delay"}
# 2024-05-01_12-00-00, 20240501T120000, 2024-05-01 12.00.00.250
NAME_TIME = re.compile(
    r"(?<!\d)(20\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[T_\- ]?(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)(?:[.,](\d{1,3}))?(?!\d)"
)


# What reading a damaged file raises. IndexError: PyAV's, of a packet whose stream was not there at the start.
DAMAGED = (av.error.FFmpegError, OSError, IndexError)


class SourceLost(UserError):
    """A live camera stopped sending or never answered; iterate the source again to reconnect."""


@dataclass(frozen=True)
class SourceInfo:
    """What a location holds, as far as can be known without decoding it."""

    size: tuple[int, int]  # width, height in pixels, rotation applied
    fps: float | None
    frames: int | None
    duration_s: float | None
    created_ns: int | None  # since the Unix epoch: the name's time stamp, else the container's creation time
    codec: str


class Recording(FrameSource, Protocol):
    """What files and folders of pictures have in common."""

    camera_id: CameraId
    start_ns: int  # the time of the recording's frame 0, also where only a part of it is read
    fps: float | None  # nominal
    size: tuple[int, int]  # width, height in pixels
    length: int | None  # frames to expect
    corrupt: int  # frames that could not be decoded, so far
    repaired: int  # frames whose time did not rise, so far


# --- where is it? ---


def is_live(location: str) -> bool:
    """Whether a location is a camera (a stream's URL or a webcam's number), not a recording."""
    return location.isdecimal() or location.lower().startswith(LIVE_SCHEMES)


def locate(location: str) -> list[Path]:
    """The files of a recording in natural order: a file, a folder of segments or of pictures, or a glob.

    A folder that holds videos means its videos, else its pictures; a folder with ``img1`` in it (MOTChallenge) means
    that one.

    Raises:
        UserError: There is nothing, or nothing of a kind that we read.
    """
    path = Path(location).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        try:
            found = _readable_kind(list(path.iterdir())) or _readable_kind(list(path.glob("img1/*")))
        except OSError as error:
            raise UserError(f"cannot read the folder {location}: {error.strerror or error}") from error
        if not found:
            raise UserError(f"no video and no picture in the folder {location}")
        return found
    if any(sign in location for sign in "*?["):
        found = _readable_kind([Path(name) for name in glob.glob(str(path), recursive=True)])
        if not found:
            raise UserError(f"no video and no picture matches {location}")
        return found
    raise UserError(f"no such file or folder: {location}")


def open_recording(
    camera_id: CameraId,
    location: str,
    *,
    start_ns: int,
    fps: float | None = None,
    from_s: float = 0.0,
    to_s: float | None = None,
    threads: int = 1,
) -> VideoSource | ImageFolderSource:
    """The source for whatever `locate` finds. ``fps`` overrides what the container or folder says.

    Raises:
        UserError: Nothing is there, it cannot be read, or pictures come without a rate.
    """
    paths = locate(location)
    if paths[0].suffix.lower() not in PICTURES:
        return VideoSource(
            camera_id, paths, start_ns=start_ns, fps=fps, from_s=from_s, to_s=to_s, threads=threads
        )
    rate = fps or _sequence_fps(paths[0].parent)
    if rate is None:
        raise UserError(f"{camera_id}: the pictures in {location} have no frame rate; give fps")
    return ImageFolderSource(camera_id, paths, start_ns=start_ns, fps=rate, from_s=from_s, to_s=to_s)


def probe(location: str) -> SourceInfo:
    """What a recording, a stream or a webcam holds, without decoding it (a webcam and a picture: one frame).

    Raises:
        UserError: It is not there or cannot be read. `SourceLost` where it is live.
    """
    if location.isdecimal():
        return _probe_webcam(int(location))
    if is_live(location):
        with _open_stream("probe", location, timeout_s=5.0) as container:
            return _info_of(container, None, turned=False)
    paths = locate(location)
    if paths[0].suffix.lower() in PICTURES:
        return _probe_pictures(paths)
    segments = _open_segments(paths)
    info = segments[0].info
    frames = [segment.info.frames for segment in segments]
    durations = [segment.info.duration_s for segment in segments]
    return SourceInfo(
        size=info.size,
        fps=info.fps,
        frames=None if None in frames else sum(n for n in frames if n),
        duration_s=None if None in durations else sum(s for s in durations if s),
        created_ns=info.created_ns,
        codec=info.codec,
    )


def name_time_ns(path: Path) -> int | None:
    """The time stamp in a file's name (2024-05-01_12-00-00.mp4, 20240501T120000.mkv) read as UTC, or None."""
    match = NAME_TIME.search(path.stem)
    if match is None:
        return None
    *whole, fraction = match.groups()
    try:
        moment = datetime(*(int(part) for part in whole), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    milliseconds = int((fraction or "0").ljust(3, "0"))
    return int(moment.timestamp()) * SECOND_NS + milliseconds * 1_000_000


# --- recordings ---


class VideoSource:
    """One camera's video file, or its files one after the other.

    ``Frame.seq`` is the frame's number in the whole recording, also when reading starts later; damaged frames have a
    number, too. Files whose names all carry a time stamp start at that time, others where the one before ended.

    Args:
        camera_id: Name of the camera.
        paths: Its files in order, at least one.
        start_ns: Time of the first frame.
        fps: Frames come at this rate, whatever the container says of their times.
        from_s: First moment to read, in seconds of the recording.
        to_s: Where to stop (exclusive); None: at the end.
        threads: Decoder threads.

    Raises:
        UserError: A file is missing or is no video. Of several files, unreadable ones are left out with a warning.
    """

    def __init__(
        self,
        camera_id: CameraId,
        paths: Sequence[Path],
        *,
        start_ns: int,
        fps: float | None = None,
        from_s: float = 0.0,
        to_s: float | None = None,
        threads: int = 1,
    ) -> None:
        _check_span(camera_id, from_s, to_s)
        self.camera_id, self.start_ns = camera_id, start_ns
        self.corrupt = self.repaired = 0
        self._segments = _open_segments(paths)
        self.skipped_files = len(paths) - len(self._segments)
        info = self._segments[0].info
        self.size = info.size
        self.fps = fps or info.fps
        self._given_fps = fps
        self._period_ns = round(SECOND_NS / (self.fps or FALLBACK_FPS))
        self._from_ns, self._to_ns = _span_ns(from_s, to_s)
        self._threads = threads
        self._closed = False
        self.length = self._expected_frames()

    def __iter__(self) -> Iterator[Frame]:
        """The frames from ``from_s`` to ``to_s`` in time order."""
        self._closed = False
        self.corrupt = self.repaired = 0
        first_ns = self._segments[0].name_ns
        by_name = first_ns is not None and all(segment.name_ns is not None for segment in self._segments)
        at_ns, seq, last_ns = 0, 0, -1  # of the recording
        for segment in self._segments:
            if by_name and segment.name_ns is not None and first_ns is not None:
                at_ns = segment.name_ns - first_ns
            if self._to_ns is not None and at_ns >= self._to_ns:
                return
            index = None
            if self._from_ns > at_ns:
                index = _index(segment.path)
                end_ns = at_ns + self._segment_ns(index)
                if end_ns <= self._from_ns:
                    at_ns, seq = end_ns, seq + len(index.times)
                    continue
            reader = _Reader(segment.path, threads=self._threads)
            try:
                if index is not None and self._given_fps is None:
                    reader.seek(index, self._from_ns - at_ns)
                for number, in_segment_ns, decoded in reader:
                    if self._given_fps is not None:
                        in_segment_ns = round(number * SECOND_NS / self._given_fps)
                    t_ns = at_ns + in_segment_ns
                    if t_ns <= last_ns:
                        self.repaired += 1
                        if last_ns - t_ns < self._period_ns:  # a frame said twice
                            t_ns = last_ns + max(1, self._period_ns // 2)
                        else:  # time was set back: go on from here
                            at_ns += last_ns + self._period_ns - t_ns
                            t_ns = last_ns + self._period_ns
                    last_ns = t_ns
                    if self._to_ns is not None and t_ns >= self._to_ns:
                        return
                    if t_ns >= self._from_ns:
                        yield Frame(
                            camera_id=self.camera_id,
                            seq=seq + number,
                            t_ns=self.start_ns + t_ns,
                            image=_to_bgr(decoded, self.size, self._threads),
                        )
                    if self._closed:
                        return
            finally:
                reader.close()
                self.corrupt += reader.corrupt
            seq += reader.packets
            at_ns = (
                at_ns + round(reader.packets * SECOND_NS / self._given_fps)
                if self._given_fps is not None
                else max(at_ns + reader.end_ns, last_ns) + self._period_ns
            )

    def close(self) -> None:
        """Stop after the frame that is being read."""
        self._closed = True

    def _segment_ns(self, index: _Index) -> int:
        if self._given_fps is not None:
            return round(len(index.times) * SECOND_NS / self._given_fps)
        return index.end_ns + self._period_ns

    def _expected_frames(self) -> int | None:
        """From what the containers say; None where they say nothing."""
        counts = [segment.info.frames for segment in self._segments]
        if any(count is None for count in counts):
            return None
        total = sum(count for count in counts if count is not None)
        if self.fps is None or (self._from_ns == 0 and self._to_ns is None):
            return total
        first = round(self._from_ns * self.fps / SECOND_NS)
        last = total if self._to_ns is None else min(total, round(self._to_ns * self.fps / SECOND_NS))
        return max(0, last - first)


class ImageFolderSource:
    """Pictures in natural order as one camera.

    Args:
        camera_id: Name of the camera.
        folder: Where they lie, or the pictures themselves in order.
        start_ns: Time of the first picture.
        fps: Pictures a second.
        from_s: First moment to read, in seconds of the recording.
        to_s: Where to stop (exclusive); None: at the end.

    Raises:
        UserError: There are no pictures or none can be read.
    """

    def __init__(
        self,
        camera_id: CameraId,
        folder: Path | Sequence[Path],
        *,
        start_ns: int,
        fps: float,
        from_s: float = 0.0,
        to_s: float | None = None,
    ) -> None:
        _check_span(camera_id, from_s, to_s)
        if not fps > 0:
            raise UserError(f"{camera_id}: pictures need a rate above 0 frames a second, not {fps}")
        paths = locate(str(folder)) if isinstance(folder, Path) else list(folder)
        if not paths or any(path.suffix.lower() not in PICTURES for path in paths):
            raise UserError(f"{camera_id}: no pictures in {folder}")
        self.camera_id, self.start_ns = camera_id, start_ns
        self.corrupt = self.repaired = 0
        self.fps: float | None = fps
        self.size = _probe_pictures(paths).size
        from_ns, to_ns = _span_ns(from_s, to_s)
        times = [round(i * SECOND_NS / fps) for i in range(len(paths))]
        self._numbered = [
            (i, start_ns + t, path)
            for i, (t, path) in enumerate(zip(times, paths, strict=True))
            if t >= from_ns and (to_ns is None or t < to_ns)
        ]
        self.length: int | None = len(self._numbered)
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        """The pictures that can be read, in order."""
        self._closed = False
        self.corrupt = 0
        for seq, t_ns, path in self._numbered:
            image = _read_picture(path)
            if image is None:
                self.corrupt += 1
                log.warning("%s: cannot read the picture %s", self.camera_id, path)
                continue
            if (image.shape[1], image.shape[0]) != self.size:
                image = np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA), np.uint8)
            yield Frame(camera_id=self.camera_id, seq=seq, t_ns=t_ns, image=image)
            if self._closed:
                return

    def close(self) -> None:
        """Stop after the picture that is being read."""
        self._closed = True


class PacedSource:
    """A recording played as if it were live: each frame is released when its time has come.

    Args:
        source: The recording.
        clock: Whose time rules.
        begin_ns: The moment of the clock at which the recording's frame 0 happens; None: the first frame is due when
            iteration starts. Cameras that belong together are given the same moment.
    """

    def __init__(self, source: Recording, clock: Clock, *, begin_ns: int | None = None) -> None:
        self._source, self._clock, self._begin_ns = source, clock, begin_ns
        self.camera_id, self.fps, self.size, self.length = (
            source.camera_id,
            source.fps,
            source.size,
            source.length,
        )
        self.start_ns = source.start_ns if begin_ns is None else begin_ns

    @property
    def corrupt(self) -> int:
        """Frames that could not be decoded, so far."""
        return self._source.corrupt

    @property
    def repaired(self) -> int:
        """Frames whose time did not rise, so far."""
        return self._source.repaired

    def __iter__(self) -> Iterator[Frame]:
        """The frames, stamped with the clock's time."""
        shift_ns = None if self._begin_ns is None else self._begin_ns - self._source.start_ns
        for frame in self._source:
            if shift_ns is None:
                shift_ns = self._clock.now_ns() - frame.t_ns
                self.start_ns = self._source.start_ns + shift_ns
            t_ns = frame.t_ns + shift_ns
            self._clock.sleep_until(t_ns)
            yield Frame(camera_id=frame.camera_id, seq=frame.seq, t_ns=t_ns, image=frame.image)

    def close(self) -> None:
        """Close the recording."""
        self._source.close()


# --- live ---


class RtspSource:
    """A camera on the network, by URL. Iterating connects; a lost connection raises `SourceLost`.

    Capture time is the stream's own time laid on the wall clock at the first frame, and laid anew when the two drift
    more than a second apart (counted in ``reanchored``).

    Args:
        camera_id: Name of the camera.
        url: rtsp://... or another stream that FFmpeg reads; its credentials are never printed.
        clock: The wall's time.
        timeout_s: A camera silent for this long is lost.
        threads: Decoder threads.
    """

    def __init__(
        self, camera_id: CameraId, url: str, *, clock: Clock, timeout_s: float = 5.0, threads: int = 1
    ) -> None:
        self.camera_id, self._url, self._clock = camera_id, url, clock
        self._timeout_s, self._threads = timeout_s, threads
        self.fps: float | None = None  # known once connected
        self.size: tuple[int, int] | None = None  # known once connected
        self.length: int | None = None
        self.start_ns = 0  # the first frame's time, known once connected
        self.corrupt = self.repaired = self.reanchored = 0
        self._next_seq, self._last_ns = 0, 0
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        """Frames as they come, until `close`.

        Raises:
            SourceLost: The camera does not answer, or stopped sending.
        """
        self._closed = False
        container = _open_stream(self.camera_id, self._url, timeout_s=self._timeout_s)
        with container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = self._threads
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else None
            period_ns = round(SECOND_NS / (self.fps or FALLBACK_FPS))
            anchor: tuple[int, int] | None = None  # ns of the stream, ns of the wall
            for decoded in self._decode(container, stream):
                arrived_ns = self._clock.now_ns()
                stream_ns = _frame_ns(decoded)
                if stream_ns is None:  # FFmpeg does not know the time of an RTP stream's first frame
                    t_ns = arrived_ns if anchor is None else self._last_ns + period_ns
                else:
                    if anchor is None:
                        anchor = stream_ns, max(arrived_ns, self._last_ns + period_ns)
                    t_ns = anchor[1] + stream_ns - anchor[0]
                    if abs(arrived_ns - t_ns) > MOST_DRIFT_NS:
                        self.reanchored += 1
                        anchor = stream_ns, arrived_ns
                        t_ns = arrived_ns
                if t_ns <= self._last_ns:
                    self.repaired += 1
                    t_ns = self._last_ns + 1_000_000
                self._last_ns = t_ns
                if self.size is None:
                    self.size, self.start_ns = _upright_size(decoded), t_ns
                image = _to_bgr(decoded, self.size, self._threads)
                yield Frame(camera_id=self.camera_id, seq=self._next_seq, t_ns=t_ns, image=image)
                self._next_seq += 1
                if self._closed:
                    return

    def close(self) -> None:
        """Stop after the frame that is being read."""
        self._closed = True

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Frames until the stream ends, which for a camera is always a loss."""
        packets = container.demux(stream)
        while True:
            # A read that timed out also comes as "invalid data", so only bytes that did arrive count as damaged.
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                raise self._lost(f"stopped sending ({_reason(error)})") from None
            except OSError as error:
                raise self._lost(f"stopped sending ({error.strerror})") from None
            if packet is None or (packet.dts is None and packet.size == 0):
                raise self._lost("closed the connection")
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.corrupt += 1
                continue
            for frame in frames:
                if not isinstance(frame, VideoFrame):
                    continue
                if frame.is_corrupt:
                    self.corrupt += 1
                else:
                    yield frame

    def _lost(self, what: str) -> SourceLost:
        return SourceLost(f"camera {self.camera_id} at {mask_url(self._url)} {what}")


class WebcamSource:
    """A camera on this machine, by its number. Iterating opens it; a lost one raises `SourceLost`."""

    def __init__(self, camera_id: CameraId, index: int, *, clock: Clock) -> None:
        self.camera_id, self._index, self._clock = camera_id, index, clock
        self.fps: float | None = None  # known once opened
        self.size: tuple[int, int] | None = None  # known once opened
        self.length: int | None = None
        self.start_ns = 0  # the first frame's time, known once opened
        self.corrupt = self.repaired = 0
        self._next_seq, self._last_ns = 0, 0
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        """Frames as they come, until `close`.

        Raises:
            SourceLost: There is no such webcam, or it stopped sending.
        """
        self._closed = False
        capture = _open_webcam(self.camera_id, self._index)
        try:
            self.fps = float(capture.get(cv2.CAP_PROP_FPS)) or None
            while not self._closed:
                arrived, image = capture.read()
                if not arrived:
                    raise SourceLost(f"camera {self.camera_id}: webcam {self._index} stopped sending")
                t_ns = max(self._clock.now_ns(), self._last_ns + 1)
                if self.size is None:
                    self.size, self.start_ns = (image.shape[1], image.shape[0]), t_ns
                self._last_ns = t_ns
                yield Frame(
                    camera_id=self.camera_id, seq=self._next_seq, t_ns=t_ns, image=np.asarray(image, np.uint8)
                )
                self._next_seq += 1
        finally:
            capture.release()

    def close(self) -> None:
        """Stop after the frame that is being read."""
        self._closed = True


# --- inside ---


@dataclass(frozen=True)
class _Segment:
    path: Path
    info: SourceInfo
    name_ns: int | None


@dataclass(frozen=True)
class _Index:
    """When the frames of one file are, read from its packets without decoding."""

    times: list[int]  # pts in the stream's time base, sorted
    keys: list[int]  # those of the key frames, sorted
    first: int  # pts of the recording's zero
    time_base: Fraction

    @property
    def end_ns(self) -> int:
        return _to_ns(self.times[-1] - self.first, self.time_base) if self.times else 0


class _Reader:
    """Decodes one file: iterate for (number of the frame in the file, ns since its first frame, frame).

    A frame's number is the rank of its time among the packets read so far, so damaged packets have one as well, and
    a reader that started in the middle agrees with one that did not.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        self._path, self._threads = path, threads
        self._open()
        self._time_base = self._stream.time_base or Fraction(1, 90_000)
        self._first = self._stream.start_time
        self._index: _Index | None = None
        self._from_pts: int | None = None
        self._waiting: list[int] = []  # pts of packets whose frame has not come out yet
        self._ranked = 0  # packets whose frame came out or never will
        self.corrupt = 0
        self.packets = 0  # frames in the file, as far as read
        self.end_ns = 0  # time of the last frame, as far as read

    def _open(self) -> None:
        self._container = _open_file(self._path)
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = self._threads
        self._packets: Iterator[Packet] = self._container.demux(self._stream)

    def seek(self, index: _Index, t_ns: int) -> None:
        """Go on from the key frame at or before ``t_ns`` of the file; frames before ``t_ns`` are left out."""
        self._index, self._first = index, index.first
        self._from_pts = index.first + int(Fraction(t_ns, SECOND_NS) / self._time_base)
        key = max((pts for pts in index.keys if pts <= self._from_pts), default=None)
        if key is None:
            return
        # Some containers land behind the key frame that they were sent to, or cannot be sought in at all.
        for back_s in SEEK_BACK_S:
            try:
                self._container.seek(
                    max(index.first, key - int(back_s / self._time_base)), stream=self._stream, backward=True
                )
            except av.error.FFmpegError:
                break
            self._packets = self._container.demux(self._stream)
            for packet in self._packets:
                if packet.pts == key and packet.is_keyframe:
                    self._packets = itertools.chain([packet], self._packets)
                    return
                if packet.dts is None or packet.dts > key:
                    break
        log.info("%s: cannot seek; reading from the start", self._path)
        self._container.close()
        self._open()

    def __iter__(self) -> Iterator[tuple[int, int, VideoFrame]]:
        for frame in self._decode():
            pts = frame.pts if frame.pts is not None else frame.dts
            if self._from_pts is not None and pts is not None and pts < self._from_pts:
                continue
            if self._first is None:
                self._first = pts
            number = self._rank(pts)
            since = 0 if pts is None or self._first is None else pts - self._first
            self.end_ns = max(self.end_ns, _to_ns(since, self._time_base))
            if frame.is_corrupt:
                self.corrupt += 1
                continue
            yield number, _to_ns(since, self._time_base), frame
        self.corrupt += len(self._waiting)
        self.packets = self._ranked + len(self._waiting)
        if self._waiting and self._first is not None:
            self.end_ns = max(self.end_ns, _to_ns(max(self._waiting) - self._first, self._time_base))

    def close(self) -> None:
        self._container.close()

    def _rank(self, pts: int | None) -> int:
        if pts is None:
            self._ranked += 1
            return self._ranked - 1
        if self._index is not None:  # the first frame after a seek: all before it count as read
            before = bisect.bisect_left(self._index.times, pts)
            self._waiting = [time for time in self._waiting if time >= pts]
            heapq.heapify(self._waiting)
            self._ranked, self._index = before, None
        while self._waiting and self._waiting[0] < pts:
            heapq.heappop(self._waiting)
            self._ranked += 1
            self.corrupt += 1
        if self._waiting and self._waiting[0] == pts:
            heapq.heappop(self._waiting)
        self._ranked += 1
        return self._ranked - 1

    def _decode(self) -> Iterator[VideoFrame]:
        errors = 0
        while errors < MOST_ERRORS_IN_A_ROW:
            try:
                packet = next(self._packets, None)
            except av.error.EOFError:
                return
            except DAMAGED:
                errors += 1
                self._packets = self._container.demux(self._stream)
                continue
            if packet is None:
                return
            if _holds_frame(packet) and packet.pts is not None:
                heapq.heappush(self._waiting, packet.pts)
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                # Its time stays among the waiting ones, where the next good frame finds it and counts it.
                errors += 1
                if packet.pts is None:
                    self.corrupt += 1
                continue
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    errors = 0
                    yield frame
        log.warning("%s: too many damaged frames in a row; the rest is left out", self._path)


def _holds_frame(packet: Packet) -> bool:
    return packet.size > 0 and not packet.is_discard


def _index(path: Path) -> _Index:
    stat = path.stat()
    return _index_of(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=16)  # whoever looks up single moments of a recording reads it through once
def _index_of(path: Path, size: int, changed_ns: int) -> _Index:
    with _open_file(path) as container:
        stream = container.streams.video[0]
        time_base = stream.time_base or Fraction(1, 90_000)
        times: list[int] = []
        keys: list[int] = []
        try:
            for packet in container.demux(stream):
                if _holds_frame(packet) and packet.pts is not None:
                    times.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        except DAMAGED:
            log.info("%s: damaged; its index may be short", path)
        times.sort()
        keys.sort()
        first = stream.start_time if stream.start_time is not None else (times[0] if times else 0)
        return _Index(times, keys, first, time_base)


def _open_segments(paths: Sequence[Path]) -> list[_Segment]:
    if not paths:
        raise UserError("a video source needs at least one file")
    found: list[_Segment] = []
    problems: list[UserError] = []
    for path in paths:
        try:
            with _open_file(path) as container:
                # Whether they are turned is asked of the first only, since a frame has to be decoded for it.
                info = _info_of(container, path, turned=not found and _is_sideways(container))
                found.append(_Segment(path, info, name_time_ns(path)))
        except UserError as error:
            problems.append(error)
    if not found:
        raise problems[0]
    for problem in problems:
        log.warning("left out: %s", problem)
    return found


def _open_file(path: Path) -> InputContainer:
    try:
        container = av.open(str(path), "r", metadata_errors="replace")
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except PermissionError:
        raise UserError(f"not allowed to read {path}") from None
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path} is not a video that can be read ({_reason(error)})") from None
    # A stream of a codec that FFmpeg does not know has no context at all.
    if not any(getattr(stream.codec_context, "width", 0) for stream in container.streams.video[:1]):
        container.close()
        raise UserError(f"{path} holds no video that can be read")
    return container


def _open_stream(camera_id: CameraId, url: str, *, timeout_s: float) -> InputContainer:
    options = dict(LIVE_OPTIONS)
    if url.lower().startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    masked = mask_url(url)
    try:
        container = av.open(url, "r", options=options, timeout=(timeout_s, timeout_s))
    except (av.error.FFmpegError, OSError) as error:
        raise SourceLost(f"camera {camera_id} at {masked} does not answer ({_reason(error)})") from None
    if not container.streams.video:
        container.close()
        raise SourceLost(f"camera {camera_id} at {masked} sends no video")
    return container


def _open_webcam(camera_id: CameraId, index: int) -> cv2.VideoCapture:
    # Asked first, because OpenCV complains to the terminal by itself.
    if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
        raise SourceLost(f"camera {camera_id}: there is no webcam {index} (/dev/video{index} does not exist)")
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        raise SourceLost(f"camera {camera_id}: webcam {index} cannot be opened; is another program using it?")
    return capture


def _reason(error: Exception) -> str:
    """Why, without the location: FFmpeg puts the whole URL into its messages, password and all."""
    return getattr(error, "strerror", None) or type(error).__name__


def _info_of(container: InputContainer, path: Path | None, *, turned: bool) -> SourceInfo:
    stream = container.streams.video[0]
    rate = stream.average_rate or stream.guessed_rate
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / av.time_base
    frames = stream.frames or (round(duration_s * float(rate)) if duration_s and rate else None)
    context = stream.codec_context
    return SourceInfo(
        size=(context.height, context.width) if turned else (context.width, context.height),
        fps=float(rate) if rate else None,
        frames=frames,
        duration_s=duration_s,
        created_ns=(name_time_ns(path) if path is not None else None) or _creation_ns(container),
        codec=context.name,
    )


def _is_sideways(container: InputContainer) -> bool:
    """Whether a file's frames are to be turned by a quarter; only a decoded frame says so."""
    try:
        frame = next(container.decode(video=0), None)
    except DAMAGED:
        return False
    return frame is not None and round(frame.rotation / 90) % 2 == 1


def _creation_ns(container: InputContainer) -> int | None:
    text = container.metadata.get("creation_time") or container.streams.video[0].metadata.get("creation_time")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # Recorders without a clock write 1904 or 1970.
    return round(moment.timestamp() * 1e6) * 1000 if moment.year > 1990 else None


def _probe_pictures(paths: Sequence[Path]) -> SourceInfo:
    for path in paths:
        image = _read_picture(path)
        if image is not None:
            fps = _sequence_fps(path.parent)
            return SourceInfo(
                size=(image.shape[1], image.shape[0]),
                fps=fps,
                frames=len(paths),
                duration_s=len(paths) / fps if fps else None,
                created_ns=None,
                codec=path.suffix.lower().lstrip("."),
            )
    raise UserError(f"none of the {len(paths)} pictures in {paths[0].parent} can be read")


def _probe_webcam(index: int) -> SourceInfo:
    capture = _open_webcam("probe", index)
    try:
        size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        return SourceInfo(size, float(capture.get(cv2.CAP_PROP_FPS)) or None, None, None, None, "webcam")
    finally:
        capture.release()


def _read_picture(path: Path) -> NDArray[np.uint8] | None:
    """(H, W, 3) BGR, or None where it cannot be read."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    if len(data) == 0:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def _sequence_fps(folder: Path) -> float | None:
    """The frame rate in a MOTChallenge sequence's seqinfo.ini, beside the pictures or one folder up."""
    for candidate in (folder / "seqinfo.ini", folder.parent / "seqinfo.ini"):
        parser = configparser.ConfigParser()
        try:
            parser.read(candidate)
            return parser.getfloat("Sequence", "frameRate")
        except (configparser.Error, ValueError, UnicodeDecodeError):
            continue
    return None


def _readable_kind(paths: Sequence[Path]) -> list[Path]:
    """The videos among some paths, else the pictures, in natural order."""
    files = sorted((path for path in paths if path.is_file()), key=_natural)
    for kind in (VIDEOS, PICTURES):
        if found := [p for p in files if p.suffix.lower() in kind and not p.name.startswith(".")]:
            return found
    return []


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """frame2 before frame10."""
    return [
        (0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", str(path))
    ]


def _check_span(camera_id: CameraId, from_s: float, to_s: float | None) -> None:
    """A span that ends before it begins is empty: so it is for a camera that starts after the others ended."""
    if from_s < 0 or (to_s is not None and to_s < 0):
        raise UserError(
            f"{camera_id}: nothing was recorded before 0 s; from and to are seconds from the start"
        )


def _span_ns(from_s: float, to_s: float | None) -> tuple[int, int | None]:
    return round(from_s * SECOND_NS), None if to_s is None else round(to_s * SECOND_NS)


def _to_ns(ticks: int, time_base: Fraction) -> int:
    return round(ticks * time_base * SECOND_NS)


def _frame_ns(frame: VideoFrame) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return _to_ns(frame.pts, frame.time_base)


def _upright_size(frame: VideoFrame) -> tuple[int, int]:
    sideways = round(frame.rotation / 90) % 2 == 1
    return (frame.height, frame.width) if sideways else (frame.width, frame.height)


def _to_bgr(frame: VideoFrame, size: tuple[int, int], threads: int) -> NDArray[np.uint8]:
    """(H, W, 3) BGR, upright, of the camera's size (a stream that changes its size midway is scaled back)."""
    turns = round(frame.rotation / 90) % 4
    width, height = (size[1], size[0]) if turns % 2 else size
    image = np.asarray(
        frame.to_ndarray(
            format="bgr24", width=width, height=height, threads=threads, interpolation="FAST_BILINEAR"
        ),
        np.uint8,
    )
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
