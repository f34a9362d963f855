"""Boxes carried from one picture to a later one by a small network that looks at each box alone.

After GOTURN (Held, Thrun, Savarese, *Learning to track at 100 FPS with deep regression networks*, ECCV 2016): of each
box two crops are made, twice the box's size and at the same place, one from either picture; the network says where in
the later crop the thing in the middle of the earlier one is. Its cost follows the number of boxes and not the size of
the picture. NumPy and ONNX Runtime; the network itself is in `flow.boxhead`.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

import models
from flow.reduced import size_of

SIDE = 64  # px of a crop, both ways: a person's box of 32x32 in its middle, whatever its shape was
CONTEXT = 2.0  # a crop's sides to those of its box (GOTURN, section 3.2)
HOME = np.array([0.25, 0.25, 0.75, 0.75])  # where the box itself lies in its crop, in shares of the crop
SMALLEST_SIDE_PX = 4.0  # a box with a shorter side shows nothing
LEAST_SEEN = 0.25  # share of a box that must lie in the picture
MOST_AT_ONCE = 64  # boxes in one run of the network, which bounds its memory

Images = NDArray[np.uint8]


class BoxCarrier(Protocol):
    """What `load_carrier` gives. One object serves one thread."""

    def carry(
        self,
        before: Images,
        after: Images,
        boxes: NDArray[np.floating],
        expected: NDArray[np.floating] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where the things in ``boxes`` are in ``after``.

        Args:
            before: (H, W) or (H, W, 1) grey or (H, W, 3) BGR, what the boxes were found in.
            after: A later picture of the same size.
            boxes: (N, 4) x1, y1, x2, y2 in pixels; N may be 0.
            expected: (N, 4) around which to look in ``after``, as a motion model says; where they were by default.

        Returns:
            The moved boxes (N, 4), and how far to trust each (N,) in [0, 1]: the overlap (IoU) with the truth that is
            to be expected. A box with a NaN, hardly any area or mostly outside the picture is given back as expected,
            with trust 0; so is one that was expected there, or of which the network says what is no number.

        Raises:
            ValueError: The sizes differ, or something is not a picture, or there are not as many boxes expected.
        """
        ...


def load_carrier(name: str = "boxhead", *, device: str = "cpu", threads: int = 1) -> OnnxBoxCarrier:
    """A carrier by its card's name or the path of an .onnx file.

    Args:
        name: See `models.open_model`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads for one run.

    Raises:
        models.ModelError: There is no such model, its hash differs, or the device is not to be had.
        ValueError: The model carries no boxes.
    """
    return OnnxBoxCarrier(models.open_model(name, device=device, threads=threads))


class OnnxBoxCarrier:
    """The network of `flow.boxhead` with its crops made here; see `BoxCarrier`."""

    def __init__(self, opened: models.OpenedModel) -> None:
        """Take an opened model.

        Raises:
            ValueError: Its inputs and outputs are not those of a box head.
        """
        self._session = opened.session
        self.name = opened.name
        self.model_hash = opened.sha256
        inputs = {one.name: list(one.shape)[1:] for one in self._session.get_inputs()}
        outputs = {one.name for one in self._session.get_outputs()}
        wanted = [SIDE, SIDE, 3]
        if inputs != {"targets": wanted, "searches": wanted} or not {"boxes", "trust"} <= outputs:
            raise ValueError(
                f"the model {opened.path} carries no boxes: it needs the inputs targets and searches uint8 "
                f"(N, {SIDE}, {SIDE}, 3) and the outputs boxes (N, 4) and trust (N,)"
            )

    def carry(
        self,
        before: Images,
        after: Images,
        boxes: NDArray[np.floating],
        expected: NDArray[np.floating] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `BoxCarrier.carry`."""
        _check_pictures(before, after)
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        start = boxes if expected is None else np.asarray(expected, np.float64).reshape(-1, 4)
        if len(start) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes cannot be expected at {len(start)} places")
        size = size_of(before)
        with np.errstate(over="ignore"):
            moved, trust = start.astype(np.float32), np.zeros(len(boxes), np.float32)
        rows = np.flatnonzero(is_carried(boxes, size) & is_carried(start, size))
        for first in range(0, len(rows), MOST_AT_ONCE):
            some = rows[first : first + MOST_AT_ONCE]
            areas = crop_areas(start[some])
            found, sure = self._session.run(
                ["boxes", "trust"],
                {"targets": crops(before, crop_areas(boxes[some])), "searches": crops(after, areas)},
            )
            sound = np.isfinite(found).all(axis=1) & np.isfinite(sure)
            some = some[sound]
            moved[some], trust[some] = to_picture(found[sound], start[some], areas[sound]), sure[sound]
        return moved, trust


def is_carried(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) which boxes have something to look at, in a picture of ``size`` (width, height)."""
    with np.errstate(invalid="ignore", over="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2]
        seen = np.clip(boxes[:, 2:], 0, size) - np.clip(boxes[:, :2], 0, size)
        is_large = (sides >= SMALLEST_SIDE_PX).all(axis=1)
        is_seen = seen.prod(axis=1) >= LEAST_SEEN * sides.prod(axis=1)
    return np.asarray(np.isfinite(boxes).all(axis=1) & is_large & is_seen, np.bool_)


def crop_areas(boxes: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N, 4) whole pixels x1, y1, x2, y2 around each box, `CONTEXT` times its size; may leave the picture."""
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, CONTEXT * (boxes[:, 2:] - boxes[:, :2])
    low = np.floor(centres - sides / 2 + 0.5)
    return np.concatenate([low, low + np.maximum(np.round(sides), 1)], axis=1).astype(np.int64)


def crops(image: Images, areas: NDArray[np.int64], side: int = SIDE) -> Images:
    """(N, side, side, 3) what lies in each area, sides scaled alike or not; black outside the picture.

    Args:
        image: (H, W) or (H, W, 1) grey or (H, W, 3) BGR.
        areas: (N, 4) whole pixels, of some area.
        side: Of the crops in pixels.
    """
    cut = np.zeros((len(areas), side, side, 3), np.uint8)
    size = np.array([image.shape[1], image.shape[0]])
    for crop, area in zip(cut, areas, strict=True):
        low, high = np.clip(area[:2], 0, size), np.clip(area[2:], 0, size)
        scale = side / (area[2:] - area[:2])
        to_low = np.round((low - area[:2]) * scale).astype(int)
        to_high = np.round((high - area[:2]) * scale).astype(int)
        if (high <= low).any() or (to_high <= to_low).any():
            continue
        seen = image[low[1] : high[1], low[0] : high[0]]
        width, height = (int(length) for length in to_high - to_low)
        # An average where the crop shrinks, so that fine texture does not turn into noise.
        kind = cv2.INTER_AREA if (scale < 1).all() else cv2.INTER_LINEAR
        part = np.asarray(cv2.resize(seen, (width, height), interpolation=kind), np.uint8)
        crop[to_low[1] : to_high[1], to_low[0] : to_high[0]] = part[..., None] if part.ndim == 2 else part
    return cut


def to_picture(
    found: NDArray[np.floating], boxes: NDArray[np.floating], areas: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Boxes in shares of their crops -> (N, 4) in pixels of the picture.

    What counts is the difference to `HOME`: an area is of whole pixels and its box is not, so that reading positions
    alone would move a box that stands still.

    Args:
        found: (N, 4) x1, y1, x2, y2 in shares of the later crop.
        boxes: (N, 4) around which the later crops were made.
        areas: (N, 4) of `crop_areas`.
    """
    found = np.asarray(found, np.float64)
    shift = ((found[:, :2] + found[:, 2:]) / 2 - 0.5) * (areas[:, 2:] - areas[:, :2])
    growth = CONTEXT * np.maximum(found[:, 2:] - found[:, :2], 0)
    centres, half = (boxes[:, :2] + boxes[:, 2:]) / 2 + shift, growth * (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def to_crop(
    after: NDArray[np.floating], boxes: NDArray[np.floating], areas: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The inverse of `to_picture`: (N, 4) pixels -> shares of the crops made around ``boxes``."""
    shift = (
        ((after[:, :2] + after[:, 2:]) - (boxes[:, :2] + boxes[:, 2:])) / 2 / (areas[:, 2:] - areas[:, :2])
    )
    half = (after[:, 2:] - after[:, :2]) / (boxes[:, 2:] - boxes[:, :2]) / CONTEXT / 2
    return np.concatenate([0.5 + shift - half, 0.5 + shift + half], axis=1).astype(np.float32)


def _check_pictures(before: Images, after: Images) -> None:
    one, other = size_of(before), size_of(after)
    if one != other:
        raise ValueError(
            f"boxes are carried between two pictures of one size, not {one[0]}x{one[1]} and {other[0]}x{other[1]}"
        )
