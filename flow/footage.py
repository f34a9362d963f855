"""Pairs of frames of somebody's own footage: video files and folders of pictures, without truth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

LOG = logging.getLogger(__name__)
PICTURES = (".bmp", ".jpeg", ".jpg", ".png")
BLACK_GREY_LEVELS = 4.0  # a picture with less contrast shows nothing
CUT_GREY_LEVELS = 35.0  # two thumbnails that differ by more, brightness aside, show two scenes
THUMBNAIL = 32, 18  # px
STILL_SHARE = 0.1  # of the draws that even a pair in which nothing moves gets, against the average one
BLOCK = 24  # frames that are read in a row, at least


class Footage:
    """Clips in memory, from which pairs of frames are drawn; more often such in which something moves.

    Args:
        clips: Frames in their order, each (T, h, w, 3) uint8 BGR with h >= ``height`` and w >= ``width``.
        height: Of the pictures that are drawn, px.
        width: Of the pictures that are drawn, px.
        gaps: Frames from the first picture of a pair to the second.

    Raises:
        ValueError: No two frames make a pair: too few, black, or all of other scenes.
    """

    def __init__(
        self, clips: Sequence[NDArray[np.uint8]], height: int, width: int, *, gaps: Sequence[int] = (1, 2, 5)
    ) -> None:
        if not gaps or min(gaps) < 1:
            raise ValueError("gaps are at least one whole number from 1 up")
        if any(clip.ndim != 4 or clip.shape[1] < height or clip.shape[2] < width for clip in clips):
            raise ValueError(f"clips are (T, h, w, 3), at least {width}x{height}")
        self._clips, self._size = list(clips), (height, width)
        pairs, motion = [], []
        for n, clip in enumerate(clips):
            small = _thumbnails(clip)
            for gap in gaps:
                change = _change(small[:-gap], small[gap:])
                for k in np.flatnonzero(np.isfinite(change)):
                    pairs.append((n, int(k), int(k) + gap))
                    motion.append(change[k])
        if not pairs:
            raise ValueError(
                "no two frames of the footage make a pair: too few, black, or of different scenes"
            )
        chance = np.array(motion) + STILL_SHARE * max(float(np.mean(motion)), 1e-6)
        self._pairs, self._chance = pairs, chance / chance.sum()

    def __len__(self) -> int:
        """Pairs there are."""
        return len(self._pairs)

    @property
    def frames(self) -> int:
        """Frames in memory."""
        return sum(len(clip) for clip in self._clips)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """``count`` pairs, as (N, height, width, 3) twice: cut out at random, half of them mirrored."""
        height, width = self._size
        before, after = np.empty((2, count, height, width, 3), np.uint8)
        for n, row in enumerate(rng.choice(len(self._pairs), count, p=self._chance)):
            clip, first, second = self._pairs[row]
            frames = self._clips[clip]
            y = int(rng.integers(frames.shape[1] - height + 1))
            x = int(rng.integers(frames.shape[2] - width + 1))
            both = frames[[first, second], y : y + height, x : x + width]
            before[n], after[n] = both[:, :, ::-1] if rng.random() < 0.5 else both
        return before, after


def read_footage(
    paths: Sequence[Path], height: int, width: int, *, gaps: Sequence[int] = (1, 2, 5), most: int = 2000
) -> Footage:
    """Read files at a size that just covers ``height`` x ``width``, evenly spread over each if they are long.

    Args:
        paths: Videos, or folders of pictures that follow one another by name.
        height: Of the pictures that are drawn, px.
        width: Of the pictures that are drawn, px.
        gaps: Frames from the first picture of a pair to the second.
        most: Frames kept of all files together.

    Raises:
        FileNotFoundError: A path is not there.
        ValueError: A file cannot be read, or no two frames make a pair.
    """
    if not paths:
        raise ValueError("there is no footage: give video files or folders of pictures")
    block = max(BLOCK, 2 * max(gaps))
    share = max(most // len(paths), block)
    clips = [clip for path in paths for clip in _clips(path, (height, width), share, block)]
    footage = Footage(clips, height, width, gaps=gaps)
    LOG.info("%d frames of %d files, %d pairs", footage.frames, len(paths), len(footage))
    return footage


def _clips(path: Path, size: tuple[int, int], most: int, block: int) -> Iterator[NDArray[np.uint8]]:
    """Runs of frames, about ``most`` frames in all, spread over the file."""
    if not path.exists():
        raise FileNotFoundError(f"no footage at {path}")
    count, frames = _folder(path) if path.is_dir() else _video(path)
    every = max(
        1, -(-count // most)
    )  # of so many blocks one is kept; of a file of unknown length, the beginning
    run: list[NDArray[np.uint8]] = []
    kept = 0
    for number, frame in enumerate(frames):
        if kept >= most:
            break
        wanted = (number // block) % every == 0
        picture = _cover(frame(), size) if wanted else None
        if run and (picture is None or picture.shape != run[-1].shape):
            yield np.stack(run)
            run = []
        if picture is not None:
            run.append(picture)
            kept += 1
    if run:
        yield np.stack(run)
    if not kept:
        raise ValueError(f"{path} holds no frame that can be read")


def _video(path: Path) -> tuple[int, Iterator[Callable[[], NDArray]]]:
    """How many frames a video says to have, and its frames, decoded when called."""
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ValueError(f"{path} is no video that OpenCV can read")

    def frames() -> Iterator[Callable[[], NDArray]]:
        try:
            while capture.grab():
                yield lambda: capture.retrieve()[1]
        finally:
            capture.release()

    return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0), frames()


def _folder(path: Path) -> tuple[int, Iterator[Callable[[], NDArray]]]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
    return len(files), (partial(_picture, file) for file in files)


def _picture(path: Path) -> NDArray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path} is no picture that OpenCV can read")
    return picture


def _cover(frame: NDArray, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame so large that it just covers (height, width), its proportions kept."""
    if frame.ndim == 2:
        frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
    scale = max(size[0] / frame.shape[0], size[1] / frame.shape[1])
    height, width = (max(round(n * scale), least) for n, least in zip(frame.shape[:2], size))
    way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (width, height), interpolation=way), np.uint8)


def _thumbnails(clip: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(T, h, w, 3) -> (T, 18, 32) grey."""
    small = [cv2.resize(frame, THUMBNAIL, interpolation=cv2.INTER_AREA) for frame in clip]
    return np.stack(small).astype(np.float32).mean(axis=3)


def _change(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey levels by which thumbnails (T, h, w) differ, brightness aside (T,); NaN for no pair: black, or a cut."""
    difference = after - before
    difference = difference - difference.mean((1, 2), keepdims=True)
    change = np.abs(difference).mean((1, 2))
    contrast = np.minimum(before.std((1, 2)), after.std((1, 2)))
    return np.where((contrast < BLACK_GREY_LEVELS) | (change > CUT_GREY_LEVELS), np.nan, change)
