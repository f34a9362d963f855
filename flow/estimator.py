"""Dense motion between two pictures, estimated on small grey copies of them."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.reduced import Reduced, ReducedFlow, grey_of, require_same_size, shrink, size_of
from flow.search import dense_search

# Longest side of the grey copies. FlyingChairs (3 pairs, 512x384): EPE 2.6 px at 384 and 1.3 ms on one thread;
# 3.1 px at 256 (0.5 ms), 2.5 px at 512 (2.1 ms).
WORKING_SIDE = 384
RESIDUAL_GREY_LEVELS = (
    12.0  # a difference this large between a pixel and where it went halves our trust, about
)
LEARNED = ("tiny", "base")
TEXTURE_GREY_LEVELS = 4.0  # a local contrast this small leaves the motion half open
UNKNOWN_ESTIMATOR = (
    "there is no flow estimator named {!r}; choose tiny, base, dis or none, or give an .onnx file"
)


class Estimator(Protocol):
    """What `load_estimator` gives. One object serves one thread."""

    def estimate(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 2) displacement in pixels (x, y) from ``before`` to ``after``, at the pictures' own size.

        Args:
            before: (H, W) grey or (H, W, 3) BGR.
            after: Of the same size.

        Raises:
            ValueError: The sizes differ, or something is not a picture.
        """
        ...

    def estimate_checked(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same, and a confidence (H, W) in [0, 1]: low where the pictures disagree or have no texture."""
        ...

    def estimate_small(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], float]:
        """The field (h, w, 2) in pixels of its own small size, and how many pixels of the picture one is."""
        ...

    def reduce(self, image: NDArray[np.uint8]) -> Reduced:
        """A picture's small copy, for `between`."""
        ...

    def between(self, before: Reduced, after: Reduced) -> ReducedFlow | None:
        """The coarse field between two reduced pictures of one size; None where nothing is estimated."""
        ...


def load_estimator(name: str | None = None, *, device: str = "auto", threads: int = 1) -> Estimator:
    """An estimator by name, or by the path of a network that ``python -m flow export`` wrote.

    Args:
        name: ``tiny`` (learned, for a processor), ``base`` (learned, finer), ``dis`` (the default: dense inverse
            search, the cheapest) or ``none`` (nothing moves), or a path that ends in .onnx.
        device: Of a network: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads for one run of a network.

    Raises:
        ValueError: There is no estimator of that name, or the file is not a network for flow.
        models.ModelError: The model cannot be opened, or not on the device that was asked for.
    """
    match name:
        case None | "dis":
            return DisEstimator()
        case "none":
            return NoFlow()
        case _ if name in LEARNED or name.endswith(".onnx"):
            from flow.learned import load_learned  # ONNX Runtime only where a network is asked for

            return load_learned(name, device=device, threads=threads)
        case _:
            raise ValueError(UNKNOWN_ESTIMATOR.format(name))


class DisEstimator:
    """Dense inverse search at reduced size (Kroeger et al. 2016, *Fast Optical Flow using Dense Inverse Search*).

    Results depend on OpenCV's number of threads, because its search is cut into one stripe a thread; a program that
    wants the same bytes everywhere sets ``cv2.setNumThreads(1)``.

    Args:
        side: Longest side of the grey copies in pixels; larger is finer and slower.
    """

    def __init__(self, *, side: int = WORKING_SIDE) -> None:
        self._side = side
        self._dense = dense_search("fast")

    def estimate(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Estimator.estimate`."""
        first, second = self._pair(before, after)
        return _enlarge(_in_full_pixels(self._search(first, second), first), first.size)

    def estimate_checked(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Estimator.estimate_checked`."""
        first, second = self._pair(before, after)
        small = self._search(first, second)
        trust = confidence(first.picture, second.picture, small)
        return _enlarge(_in_full_pixels(small, first), first.size), _enlarge(trust, first.size)

    def estimate_small(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], float]:
        """See `Estimator.estimate_small`."""
        first, second = self._pair(before, after)
        return self._search(first, second), first.scale

    def reduce(self, image: NDArray[np.uint8]) -> Reduced:
        """See `Estimator.reduce`."""
        return Reduced(*shrink(grey_of(image), self._side))

    def between(self, before: Reduced, after: Reduced) -> ReducedFlow:
        """See `Estimator.between`."""
        require_same_size(before, after)
        return ReducedFlow(_in_full_pixels(self._search(before, after), before), before.scale)

    def _pair(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[Reduced, Reduced]:
        first, second = self.reduce(before), self.reduce(after)
        require_same_size(first, second)
        return first, second

    def _search(self, before: Reduced, after: Reduced) -> NDArray[np.float32]:
        return self._dense(before.picture, after.picture)


class NoFlow:
    """Estimates nothing: no pixel moves, and nobody can be sure of that."""

    def estimate(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Zeros (H, W, 2)."""
        return self.estimate_checked(before, after)[0]

    def estimate_checked(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Zeros (H, W, 2), and a confidence (H, W) of 0."""
        first, second = self.reduce(before), self.reduce(after)
        require_same_size(first, second)
        width, height = first.size
        return np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.float32)

    def estimate_small(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], float]:
        """Zeros (H, W, 2), scale 1."""
        return self.estimate(before, after), 1.0

    def reduce(self, image: NDArray[np.uint8]) -> Reduced:
        """An empty copy: nobody will look at it."""
        return Reduced(np.zeros((1, 1), np.uint8), size_of(image))

    def between(self, before: Reduced, after: Reduced) -> None:
        """None: nothing is known of the motion."""
        require_same_size(before, after)


def confidence(
    before: NDArray[np.uint8], after: NDArray[np.uint8], field: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How far to trust a field, per pixel in [0, 1]: does the picture agree after the move, and is there texture?

    Args:
        before: (h, w) grey.
        after: (h, w) grey.
        field: (h, w, 2) displacement from ``before`` to ``after`` in their pixels.
    """
    height, width = before.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x += field[..., 0]
    y += field[..., 1]
    came_from = cv2.remap(after, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    residual = cv2.blur(cv2.absdiff(before, came_from).astype(np.float32), (5, 5))
    grey = before.astype(np.float32)
    mean = cv2.blur(grey, (7, 7))
    contrast = np.sqrt(np.maximum(cv2.blur(grey * grey, (7, 7)) - mean * mean, 0))
    agrees = 1 / (1 + (residual / RESIDUAL_GREY_LEVELS) ** 2)
    left_the_picture = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
    agrees[left_the_picture] = 0
    return np.asarray(agrees * contrast / (contrast + TEXTURE_GREY_LEVELS), np.float32)


def _in_full_pixels(small: NDArray[np.float32], reduced: Reduced) -> NDArray[np.float32]:
    height, width = reduced.picture.shape
    return small * np.array([reduced.size[0] / width, reduced.size[1] / height], np.float32)


def _enlarge(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if (values.shape[1], values.shape[0]) == size:
        return values
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)
