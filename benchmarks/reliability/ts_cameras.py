"""Network cameras where GStreamer is missing: MPEG-2 in a transport stream, tcp://127.0.0.1:PORT, one port a camera.

    python -m benchmarks.reliability.ts_cameras NAME ...

Prints "ready PORT ...", then obeys lines: "size NAME WIDTH HEIGHT" and "jump NAME SECONDS" change what a camera sends
in mid-stream.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

FPS = 10
TICKS = 90_000
ZERO_S = 5000.0  # where a stream's time begins, so that it can jump back


@dataclass
class Camera:
    """What one of them sends."""

    size: tuple[int, int] = (320, 240)
    jump_s: float = 0.0
    server: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))


class Pipe:
    """A connection as a file that is written."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> int:
        """All of it."""
        self._connection.sendall(data)
        return len(data)


def accept(camera: Camera) -> None:
    """Serve each that comes in a thread."""
    while True:
        connection, _ = camera.server.accept()
        threading.Thread(target=send, args=(camera, connection), daemon=True).start()


def send(camera: Camera, connection: socket.socket) -> None:
    """Pictures until the other side has gone."""
    began_s, n = time.monotonic(), 0
    with connection:
        try:
            while True:
                size, jump_s = camera.size, camera.jump_s
                options = {"flush_packets": "1", "muxdelay": "0", "muxpreload": "0"}
                with av.open(Pipe(connection), "w", format="mpegts", options=options) as container:
                    stream = container.add_stream("mpeg2video", rate=FPS, options={"g": "5", "bf": "0"})
                    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
                    stream.codec_context.time_base = Fraction(1, FPS)
                    while (camera.size, camera.jump_s) == (size, jump_s):
                        image = np.full((size[1], size[0], 3), 40, np.uint8)
                        image[:, (10 * n) % size[0] :][:, :20] = 220
                        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                        frame.pts, frame.time_base = (
                            round((ZERO_S + n / FPS + jump_s) * FPS),
                            Fraction(1, FPS),
                        )
                        for packet in stream.encode(frame):
                            container.mux(packet)
                        n += 1
                        time.sleep(max(began_s + n / FPS - time.monotonic(), 0.0))
        except (OSError, av.error.FFmpegError):
            return


def main(names: list[str]) -> None:
    cameras = {name: Camera() for name in names}
    for camera in cameras.values():
        threading.Thread(target=accept, args=(camera,), daemon=True).start()
    print("ready", *(camera.server.getsockname()[1] for camera in cameras.values()), flush=True)
    for line in sys.stdin:
        match line.split():
            case ["size", name, width, height]:
                cameras[name].size = int(width), int(height)
            case ["jump", name, seconds]:
                cameras[name].jump_s += float(seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
