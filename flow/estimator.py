"""Dense motion between two pictures, estimated on small grey copies of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

# Longest side of the grey copies. FlyingChairs (3 pairs, 512x384): EPE 2.6 px at 384 and 1.3 ms on one thread;
# 3.1 px at 256 (0.5 ms), 2.5 px at 512 (2.1 ms).
WORKING_SIDE = 384
RESIDUAL_GREY_LEVELS = (
    12.0  # a difference this large between a pixel and where it went halves our trust, about
)
TEXTURE_GREY_LEVELS = 4.0  # a local contrast this small leaves the motion half open
UNKNOWN_ESTIMATOR = "there is no flow estimator named {!r}; choose dis or none"


@dataclass(frozen=True)
class Reduced:
    """A picture's small grey copy, made once and used with the picture before and the one after."""

    grey: NDArray[np.uint8]  # (h, w)
    size: tuple[int, int]  # width, height of the picture in pixels

    @property
    def scale(self) -> float:
        """Pixels of the picture to one of the copy, at least 1."""
        return max(self.size[0] / self.grey.shape[1], self.size[1] / self.grey.shape[0])


@dataclass(frozen=True)
class ReducedFlow:
    """A coarse field of displacements, for whoever needs the motion only here and there."""

    field: NDArray[np.float32]  # (h, w, 2) displacement x, y in pixels of the FULL picture
    scale: float  # pixels of the picture to one cell of the field


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
        """A picture's small grey copy, for `between`."""
        ...

    def between(self, before: Reduced, after: Reduced) -> ReducedFlow | None:
        """The coarse field between two reduced pictures of one size; None where nothing is estimated."""
        ...


def load_estimator(name: str | None = None) -> Estimator:
    """An estimator by name: ``dis`` (the default, dense inverse search) or ``none`` (nothing moves).

    Raises:
        ValueError: There is no estimator of that name.
    """
    match name:
        case None | "dis":
            return DisEstimator()
        case "none":
            return NoFlow()
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
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

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
        trust = confidence(first.grey, second.grey, small)
        return _enlarge(_in_full_pixels(small, first), first.size), _enlarge(trust, first.size)

    def estimate_small(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], float]:
        """See `Estimator.estimate_small`."""
        first, second = self._pair(before, after)
        return self._search(first, second), first.scale

    def reduce(self, image: NDArray[np.uint8]) -> Reduced:
        """See `Estimator.reduce`."""
        return _reduce(image, self._side)

    def between(self, before: Reduced, after: Reduced) -> ReducedFlow:
        """See `Estimator.between`."""
        _same_size(before, after)
        return ReducedFlow(_in_full_pixels(self._search(before, after), before), before.scale)

    def _pair(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[Reduced, Reduced]:
        first, second = self.reduce(before), self.reduce(after)
        _same_size(first, second)
        return first, second

    def _search(self, before: Reduced, after: Reduced) -> NDArray[np.float32]:
        height, width = before.grey.shape
        # Smaller than the search's patches over its pyramid, OpenCV gives an error or noise; nothing to see there.
        if min(height, width) < SMALLEST_SIDE:
            return np.zeros((height, width, 2), np.float32)
        field = self._dis.calc(before.grey, after.grey, None)  # type: ignore[call-overload]  # the stub omits None
        return np.asarray(field, np.float32)


class NoFlow:
    """Estimates nothing: no pixel moves, and nobody can be sure of that."""

    def estimate(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Zeros (H, W, 2)."""
        return self.estimate_checked(before, after)[0]

    def estimate_checked(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Zeros (H, W, 2), and a confidence (H, W) of 0."""
        (width, height), other = _size_of(before), _size_of(after)
        if (width, height) != other:
            raise ValueError(_sizes_differ((width, height), other))
        return np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.float32)

    def estimate_small(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], float]:
        """Zeros (H, W, 2), scale 1."""
        return self.estimate(before, after), 1.0

    def reduce(self, image: NDArray[np.uint8]) -> Reduced:
        """An empty copy: nobody will look at it."""
        return Reduced(np.zeros((1, 1), np.uint8), _size_of(image))

    def between(self, before: Reduced, after: Reduced) -> None:
        """None: nothing is known of the motion."""
        _same_size(before, after)


SMALLEST_SIDE = 32  # pixels; four patches of 8


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


def _reduce(image: NDArray[np.uint8], side: int) -> Reduced:
    width, height = size = _size_of(image)
    grey = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    small = min(1.0, side / max(width, height))
    target = max(1, round(width * small)), max(1, round(height * small))
    # Halving by averages and one linear step at the end costs a third of an area average over an odd factor.
    while grey.shape[1] >= 2 * target[0] and grey.shape[0] >= 2 * target[1]:
        grey = _halve(grey)
    if (grey.shape[1], grey.shape[0]) != target:
        grey = np.asarray(cv2.resize(grey, target, interpolation=cv2.INTER_LINEAR), np.uint8)
    return Reduced(np.ascontiguousarray(grey), size)


def _halve(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Averages of 2x2 pixels; a last odd row or column is left out."""
    height, width = grey.shape[0] // 2, grey.shape[1] // 2
    even = grey[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _in_full_pixels(small: NDArray[np.float32], reduced: Reduced) -> NDArray[np.float32]:
    height, width = reduced.grey.shape
    return small * np.array([reduced.size[0] / width, reduced.size[1] / height], np.float32)


def _enlarge(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if (values.shape[1], values.shape[0]) == size:
        return values
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _size_of(image: NDArray[np.uint8]) -> tuple[int, int]:
    grey, colour = image.ndim == 2, image.ndim == 3 and image.shape[2] == 3
    if not (grey or colour) or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            f"a picture is (H, W) grey or (H, W, 3) BGR of uint8, not {image.shape} of {image.dtype}"
        )
    return image.shape[1], image.shape[0]


def _same_size(before: Reduced, after: Reduced) -> None:
    if before.size != after.size:
        raise ValueError(_sizes_differ(before.size, after.size))


def _sizes_differ(before: tuple[int, int], after: tuple[int, int]) -> str:
    return f"flow needs two pictures of one size, not {before[0]}x{before[1]} and {after[0]}x{after[1]}"
