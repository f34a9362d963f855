"""Draw the README's picture: one instant of the demo's annotated videos, side by side.

python -m benchmarks.demo_picture DEMO_OUT PICTURE [--second 11.6]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = (480, 270)  # width, height of each camera's part
QUALITY = 88


def frame_at(video: Path, second: float) -> NDArray[np.uint8]:
    """The frame (H, W, 3) BGR shown at a second of a video."""
    opened = cv2.VideoCapture(str(video))
    try:
        opened.set(cv2.CAP_PROP_POS_MSEC, 1000 * second)
        is_read, picture = opened.read()
    finally:
        opened.release()
    if not is_read:
        raise OSError(f"{video}: no frame at {second:g} s")
    return cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("out", type=Path, help="the demo's output folder")
    options.add_argument("picture", type=Path)
    options.add_argument("--second", type=float, default=11.6)
    given = options.parse_args()
    parts = [frame_at(video, given.second) for video in sorted((given.out / "video").glob("*.mp4"))]
    cv2.imwrite(str(given.picture), np.hstack(parts), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return 0


if __name__ == "__main__":
    sys.exit(main())
