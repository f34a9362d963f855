"""Every replaceable stage, one Protocol each. Implementations inherit nothing; tracker/build.py names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracker.types import Checkpoint, Detections, Event, Frame, LinkerInput, Tracklet, Tracks, View


class FrameSource(Protocol):
    """A camera: iterate to get its frames in time order."""

    def __iter__(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


class Detector(Protocol):
    """Finds people in pictures."""

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """One ``Detections`` per picture (H, W, 3) BGR; an empty list for no pictures."""
        ...


class Embedder(Protocol):
    """Says what a person looks like."""

    @property
    def model_hash(self) -> str: ...

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(N, D) unit rows for N crops (h, w, 3) BGR of any size; (0, D) for none."""
        ...


class FlowEstimator(Protocol):
    """Says how pixels moved."""

    def estimate(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 2) displacement in pixels (x, y) from ``before`` to ``after``, at the pictures' own size."""
        ...

    def estimate_checked(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same, and a confidence (H, W) in [0, 1]."""
        ...


class Tracker(Protocol):
    """Follows the targets of one camera."""

    def step(
        self,
        t_ns: int,
        detections: Detections | None,
        flow: NDArray[np.float32] | None = None,
        trust: NDArray[np.float32] | None = None,
    ) -> tuple[Tracks, list[Tracklet]]:
        """Tracks now, and the tracklets that changed.

        None: the detector rested, which ages no track. ``flow`` (N, 4): where optical flow says that the boxes of the
        last ``Tracks`` are now, NaN rows where it says nothing; ``trust`` (N,) in [0, 1]: how surely.
        """
        ...


class IdentityLinker(Protocol):
    """Links the tracklets of all cameras."""

    def step(self, message: LinkerInput) -> list[Event]: ...
    def view(self) -> View: ...
    def checkpoint(self) -> Checkpoint: ...
    def restore(self, checkpoint: Checkpoint) -> None: ...


class EventSink(Protocol):
    """Takes events somewhere."""

    def put(self, event: Event) -> None: ...
    def close(self) -> None: ...


class Clock(Protocol):
    """Wall time or a recording's time."""

    def now_ns(self) -> int: ...
    def sleep_until(self, t_ns: int) -> None: ...
