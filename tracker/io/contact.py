"""Contact sheets: people cut out of recordings, side by side, for somebody to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.io.sources import SECOND_NS, open_recording
from tracker.types import CameraId

MARGIN = 0.1  # of a box's sides that is shown around it
CAPTION_PX, GAP_PX = 24, 6
PAPER, INK = 32, 230  # grey levels
QUALITY = 90  # of the JPEG

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Footage:
    """Where a camera's recording lies, and its place in time."""

    camera_id: CameraId
    location: str
    start_ns: int  # the time of its frame 1
    fps: float | None  # where it overrules what the recording says

    def frames(self, numbers: Sequence[int], from_ns: int) -> dict[int, Image]:
        """Some frames by their numbers from 1, read from ``from_ns`` on; those that cannot be read are left out."""
        found: dict[int, Image] = {}
        source = open_recording(
            self.camera_id,
            self.location,
            start_ns=self.start_ns,
            fps=self.fps,
            from_s=max(from_ns - self.start_ns, 0) / SECOND_NS,
            threads=0,  # as many as FFmpeg likes: somebody waits
        )
        for frame in source:
            if frame.seq + 1 in numbers:
                found[frame.seq + 1] = frame.image
            if frame.seq + 1 >= max(numbers):
                break
        source.close()
        return found


@dataclass(frozen=True)
class Block:
    """Some pictures under a line of text."""

    text: str
    pictures: Sequence[Image]


def cut_out(image: Image, box: Sequence[float]) -> Image:
    """A box (left, top, width, height in px) with a margin, as far as it lies in the picture; at least a pixel."""
    left, top, width, height = box
    sides = (
        (top - MARGIN * height, top + (1 + MARGIN) * height, image.shape[0]),
        (left - MARGIN * width, left + (1 + MARGIN) * width, image.shape[1]),
    )
    inside = []
    for low, high, size in sides:
        start = int(np.clip(low, 0, size - 1))
        inside.append(slice(start, int(np.clip(np.ceil(high), start + 1, size))))
    return image[inside[0], inside[1]]


def sheet(lines: Sequence[Sequence[Block]], height_px: Sequence[int]) -> bytes:
    """A JPEG of lines of blocks, the pictures of a line ``height_px`` high or smaller."""
    drawn = []
    for line, high in zip(lines, height_px, strict=True):
        blocks = [_drawn(block, high) for block in line]
        drawn.append(np.hstack(blocks))
    wide = max(line.shape[1] for line in drawn)
    whole = np.vstack([_padded(line, line.shape[0], wide) for line in drawn])
    return cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _drawn(block: Block, high: int) -> Image:
    fitted = []
    for picture in block.pictures:
        # Nobody is wider than high: what is (a bicycle, two people) is made smaller.
        scale = high / max(picture.shape[:2])
        size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        resized = np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)
        fitted.append(_padded(resized, high + GAP_PX, size[0] + GAP_PX))
    text = block.text if fitted else f"{block.text} (no picture)"
    font = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1
    (text_px, _), _ = cv2.getTextSize(text, *font)
    row = np.hstack(fitted) if fitted else _padded(np.zeros((0, 0, 3), np.uint8), high + GAP_PX, 1)
    caption = np.full((CAPTION_PX, max(row.shape[1], text_px + 2 * GAP_PX), 3), PAPER, np.uint8)
    cv2.putText(caption, text, (2, CAPTION_PX - 8), font[0], font[1], (INK,) * 3, font[2], cv2.LINE_AA)
    return np.vstack([caption, _padded(row, row.shape[0], caption.shape[1])])


def _padded(image: Image, high: int, wide: int) -> Image:
    whole = np.full((high, wide, 3), PAPER, np.uint8)
    whole[: image.shape[0], : image.shape[1]] = image
    return whole
