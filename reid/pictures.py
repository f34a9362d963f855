"""How a crop becomes the network's input: one size, the same in training, measuring and running."""

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 128, 64


def to_input(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize one crop (h, w, 3) uint8 BGR to (128, 64, 3); its aspect ratio is not kept.

    Raises:
        ValueError: The crop is not (h, w, 3) uint8, or has no area.
    """
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8:
        raise ValueError(f"a crop is (h, w, 3) uint8 BGR, not {crop.shape} {crop.dtype}")
    h, w = crop.shape[:2]
    if h == 0 or w == 0:
        raise ValueError(
            f"a crop of {w}x{h} pixels has no area: clip boxes to the picture and drop empty ones"
        )
    if (h, w) == (HEIGHT, WIDTH):
        return crop
    # Averaging when shrinking: linear sampling of a large crop would keep single pixels, and their noise.
    how = cv2.INTER_AREA if h > HEIGHT and w > WIDTH else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (WIDTH, HEIGHT), interpolation=how), np.uint8)
