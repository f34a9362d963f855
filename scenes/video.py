"""H.264 in pieces that can be joined without encoding anew."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from numpy.typing import NDArray

TICKS = 90_000  # of a second: the time base of the videos


class Video:
    """H.264 of one segment. Key frame first, none between, no frames that look ahead: packets are in order of time.

    So segments can be joined without encoding anew. Its times are frame numbers; `join_videos` stamps.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float, quality: int, frames: int) -> None:
        self._path = path
        self._container = av.open(str(path), "w")
        rate = Fraction(fps).limit_denominator(1001)
        stream = self._container.add_stream("libx264", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {
            "crf": str(quality),
            "preset": "medium",
            "threads": "1",
            "bf": "0",
            "g": str(max(1, frames)),
            "sc_threshold": "0",
        }
        self._stream, self._period = stream, 1 / rate
        self._count = 0

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._count:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def put(self, image: NDArray[np.uint8]) -> None:
        """The next frame, (H, W, 3) BGR."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
        frame.pts = self._count
        frame.time_base = self._period
        self._count += 1
        self._container.mux(self._stream.encode(frame))


def join_videos(parts: Sequence[Path], out: Path, stamps_s: NDArray[np.float64], fps: float) -> None:
    """One video of segments that follow each other.

    Args:
        parts: Files that `Video` made.
        stamps_s: (N,) When each frame of all of them shall be shown; the first at the file's beginning.
    """
    ticks = np.round((stamps_s - stamps_s[0]) * TICKS).astype(np.int64)
    number = 0
    with av.open(
        str(out), "w", options={"movflags": "+faststart", "video_track_timescale": str(TICKS)}
    ) as joined:
        stream = None
        for part in parts:
            with av.open(str(part)) as container:
                if stream is None:
                    stream = joined.add_stream_from_template(container.streams.video[0])
                    stream.time_base = Fraction(1, TICKS)
                for packet in container.demux(video=0):
                    if packet.size == 0:  # the flush at the end
                        continue
                    packet.stream = stream
                    packet.time_base = Fraction(1, TICKS)
                    packet.pts = packet.dts = int(ticks[number])
                    after = (
                        ticks[number + 1] if number + 1 < len(ticks) else ticks[number] + round(TICKS / fps)
                    )
                    packet.duration = int(after - ticks[number])
                    number += 1
                    joined.mux(packet)
