"""A plain chart of lines as a picture, drawn with OpenCV: for benchmarks, which need no plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = (760, 460)  # width, height px
MARGINS = (78, 46, 24, 56)  # left, top, right, bottom px
INK, GRID = (40, 40, 40), (225, 225, 225)
COLOURS = ((180, 105, 30), (40, 110, 220), (70, 150, 60), (150, 60, 150), (110, 110, 110))  # BGR
FONT = cv2.FONT_HERSHEY_SIMPLEX
TICKS = 5  # about as many on each axis

Lines = Mapping[str, Sequence[tuple[float, float]]]  # by name, points from left to right


def draw(path: Path, lines: Lines, *, title: str, across: str, up: str, diagonal: bool = False) -> None:
    """Write a picture of some lines.

    Args:
        lines: By name; axes begin at 0 and end at the largest value.
        across: What the horizontal axis counts.
        up: What the vertical one counts.
        diagonal: Draw the line where both are equal.
    """
    picture = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    points = [point for line in lines.values() for point in line]
    steps = [tick_step(max((point[axis] for point in points), default=1.0)) for axis in (0, 1)]
    ends = [
        step * np.ceil(max((point[axis] for point in points), default=1.0) / step - 1e-9)
        for axis, step in enumerate(steps)
    ]
    left, top, right, bottom = MARGINS
    span = np.array([SIZE[0] - left - right, SIZE[1] - top - bottom])

    def at(x: float, y: float) -> tuple[int, int]:
        share = np.array([x / max(ends[0], 1e-12), y / max(ends[1], 1e-12)])
        return int(left + span[0] * share[0]), int(SIZE[1] - bottom - span[1] * share[1])

    for axis, (step, end) in enumerate(zip(steps, ends, strict=True)):
        for value in np.arange(0, end + step / 2, step):
            one, other = (
                (at(value, 0), at(value, ends[1])) if axis == 0 else (at(0, value), at(ends[0], value))
            )
            cv2.line(picture, one, other, GRID, 1, cv2.LINE_AA)
            place = (one[0] - 12, one[1] + 18) if axis == 0 else (10, one[1] + 4)
            _write(picture, f"{value:g}", place)
    if diagonal:
        far = min(ends)
        cv2.line(picture, at(0, 0), at(far, far), INK, 1, cv2.LINE_AA)
    for n, (name, line) in enumerate(lines.items()):
        colour = COLOURS[n % len(COLOURS)]
        places = [at(x, y) for x, y in line]
        for one, other in zip(places, places[1:]):
            cv2.line(picture, one, other, colour, 2, cv2.LINE_AA)
        for place in places:
            cv2.circle(picture, place, 3, colour, -1, cv2.LINE_AA)
        _write(picture, name, (left + 12, top + 16 + 17 * n), colour)
    _write(picture, title, (left, 24), scale=0.55)
    _write(picture, across, (left, SIZE[1] - 14))
    _write(picture, up, (10, 40))
    cv2.imwrite(str(path), picture)


def tick_step(most: float) -> float:
    """The step, 1, 2 or 5 times a power of ten, of about `TICKS` ticks from 0 to ``most``; 1 for nothing.

    >>> tick_step(20_000), tick_step(1.0), tick_step(37.0)
    (5000.0, 0.2, 10.0)
    """
    if not most > 0:
        return 1.0
    rough = most / TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    return float(next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough - 1e-12))


def _write(
    picture: NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    colour: tuple[int, int, int] = INK,
    scale: float = 0.42,
) -> None:
    cv2.putText(picture, text, place, FONT, scale, colour, 1, cv2.LINE_AA)
