"""Dense inverse search on grey pictures: what is there without learning, and what a network mends. OpenCV only."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_SIDE = 32  # pixels; four patches of 8
# OpenCV's own, and two of ours, which end at half of the size as medium does: fine has patches as far apart as fast's,
# fewer descents and one step of smoothing, quick still fewer patches and no smoothing (docs/flow.md).
PRESETS: Mapping[str, int] = MappingProxyType(
    {
        "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
        "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
        "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
        "quick": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
        "fine": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    }
)
OURS: Mapping[str, tuple[int, int, int]] = (
    MappingProxyType(  # pixels from patch to patch, descents, smoothing
        {"quick": (5, 8, 0), "fine": (4, 12, 1)}
    )
)
Grey = NDArray[np.uint8]  # (H, W)


def dense_search(preset: str) -> Callable[[Grey, Grey], NDArray[np.float32]]:
    """A search of two grey pictures (H, W) of one size for the displacements (H, W, 2) in pixels.

    Kroeger et al. 2016, *Fast Optical Flow using Dense Inverse Search*. Pictures smaller than the search's patches over
    its pyramid do not move: OpenCV gives an error or noise there.

    Args:
        preset: One of `PRESETS`.

    Raises:
        ValueError: There is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"dense inverse search has no preset {preset!r}; choose {', '.join(PRESETS)}")
    dis = cv2.DISOpticalFlow.create(PRESETS[preset])
    if preset in OURS:
        stride, descents, smoothing = OURS[preset]
        dis.setPatchStride(stride)
        dis.setGradientDescentIterations(descents)
        dis.setVariationalRefinementIterations(smoothing)

    def search(before: Grey, after: Grey) -> NDArray[np.float32]:
        if min(before.shape) < SMALLEST_SIDE:
            return np.zeros((*before.shape, 2), np.float32)
        return np.asarray(dis.calc(before, after, None), np.float32)  # type: ignore[call-overload]  # the stub omits None

    return search
