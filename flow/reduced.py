"""Pictures made small once, and the coarse fields found between them. NumPy and OpenCV only."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Reduced:
    """A picture's small copy, made once and used with the picture before and the one after."""

    picture: NDArray[np.uint8]  # (h, w) grey or (h, w, 3) BGR
    size: tuple[int, int]  # width, height of the picture in pixels
    inner: tuple[int, int] | None = (
        None  # width, height of the copy without what was put around it; None: all
    )
    fine: NDArray[np.uint8] | None = None  # (h, w) a larger grey copy, where one is searched besides

    @property
    def scale(self) -> float:
        """Pixels of the picture to one of the copy, at least 1."""
        width, height = self.inner or (self.picture.shape[1], self.picture.shape[0])
        return max(self.size[0] / width, self.size[1] / height)


@dataclass(frozen=True)
class ReducedFlow:
    """A coarse field of displacements, for whoever needs the motion only here and there."""

    field: NDArray[np.float32]  # (h, w, 2) displacement x, y in pixels of the FULL picture
    scale: float  # pixels of the picture to one cell of the field
    trust: NDArray[np.float32] | None = None  # (h, w) in [0, 1]; None: nobody asked, or nobody can say


def size_of(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height of a picture.

    Raises:
        ValueError: It is no picture: not (H, W) or (H, W, 3), not of uint8, or empty.
    """
    grey, colour = image.ndim == 2, image.ndim == 3 and image.shape[2] in (1, 3)
    if not (grey or colour) or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            f"a picture is (H, W) grey or (H, W, 3) BGR of uint8, not {image.shape} of {image.dtype}"
        )
    return image.shape[1], image.shape[0]


def require_same_size(before: Reduced, after: Reduced) -> None:
    """Refuse two pictures of different size.

    Raises:
        ValueError: They differ; the message names both.
    """
    if before.size != after.size:
        one, other = (f"{width}x{height}" for width, height in (before.size, after.size))
        raise ValueError(f"flow needs two pictures of one size, not {one} and {other}")


def grey_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) of a picture, which may be grey already.

    Raises:
        ValueError: See `size_of`.
    """
    size_of(image)
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[..., 0]
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def colour_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) of a picture; a grey one has three equal colours.

    Raises:
        ValueError: See `size_of`.
    """
    size_of(image)
    if image.ndim == 3 and image.shape[2] == 3:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)


def shrink(picture: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A copy whose longer side is at most ``side`` pixels, and the width and height there were."""
    height, width = picture.shape[:2]
    small = min(1.0, side / max(width, height))
    target = max(1, round(width * small)), max(1, round(height * small))
    return resize(picture, target), (width, height)


def resize(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at a smaller (or its own) width and height.

    Halving by averages and one linear step at the end costs a third of an area average over an odd factor.
    """
    while picture.shape[1] >= 2 * size[0] and picture.shape[0] >= 2 * size[1]:
        picture = _halve(picture)
    if (picture.shape[1], picture.shape[0]) != size:
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(picture)


def _halve(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Averages of 2x2 pixels; a last odd row or column is left out."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    even = picture[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
