"""When a camera takes its pictures, which of them arrive, and what its own clock says of them.

Picture n is taken at n / fps seconds of the scene. Time is cut into segments of equal length, so that any part of a
recording is known without those before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from scenes import settings
from scenes.chance import stream

SEGMENT_S = 2.5  # also the distance between key frames
CLOSE = 1e-9  # times that differ by less than rounding are one


def segments(seconds: float) -> int:
    """In how many segments a recording is cut; the last may be shorter."""
    return math.ceil(seconds / SEGMENT_S - CLOSE)


@dataclass(frozen=True)
class Frames:
    """The frames of one segment that arrived, as columns of N."""

    numbers: NDArray[np.int64]  # (N,) in the file, from 1
    true_s: NDArray[np.float64]  # (N,) of the scene
    stamped_s: NDArray[np.float64]  # (N,) by the camera's clock
    followed: NDArray[np.bool_]  # (N,) the picture after it arrived as well


class Clock:
    """One camera's frames over the first ``seconds`` of a scene.

    Args:
        seed: The scene's, for the frames that get lost.
        fps: The scene's rate, for a camera that says none.
    """

    def __init__(self, name: str, camera: settings.Camera, *, seed: int, fps: float, seconds: float) -> None:
        self.fps = camera.fps or fps
        self._name, self._camera, self._seed = name, camera, seed
        self._taken = math.ceil(seconds * self.fps - CLOSE)
        self.segments = segments(seconds)
        counts = (len(self._arrived(segment)) for segment in range(self.segments if camera.drops else 0))
        self._before = [0, *accumulate(counts)]

    @property
    def period_s(self) -> float:
        """From one picture to the next."""
        return 1.0 / self.fps

    @property
    def count(self) -> int:
        """Frames in the file."""
        return self._frames_before(self.segments)

    def frames(self, segment: int) -> Frames:
        """Those of segment ``segment``, from 0. N may be 0."""
        arrived = self._arrived(segment)
        later = self._arrived(segment + 1)
        true_s = arrived / self.fps
        camera = self._camera
        return Frames(
            numbers=self._frames_before(segment) + 1 + np.arange(len(arrived)),
            true_s=true_s,
            stamped_s=true_s * (1 + 1e-6 * camera.clock_drift) + camera.clock_offset,
            followed=np.isin(arrived + 1, np.concatenate([arrived, later])),
        )

    def _arrived(self, segment: int) -> NDArray[np.int64]:
        """(N,) The pictures taken in a segment, from 0, that were not lost. The very first one always arrives."""
        first, end = (self._first_of(segment + k) for k in (0, 1))
        taken = np.arange(first, end)
        if not self._camera.drops:
            return taken
        chance = stream(self._seed, "drops", self._name, segment).random(len(taken))
        return taken[(chance >= self._camera.drops) | (taken == 0)]

    def _first_of(self, segment: int) -> int:
        return min(self._taken, math.ceil(segment * SEGMENT_S * self.fps - CLOSE))

    def _frames_before(self, segment: int) -> int:
        if not self._camera.drops:
            return self._first_of(segment)
        return self._before[segment]
