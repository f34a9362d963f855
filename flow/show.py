"""Flow as pictures: the colour wheel, arrows, how far it is trusted, how far it is off."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

# The colours of Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011: red to the right,
# then yellow downwards, green, cyan to the left, blue, magenta; steps as wide as the eye tells apart.
HUES_RGB = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
STEPS = (0, 15, 21, 25, 36, 49, 55)
TOO_LONG = 0.75  # brightness of what moves further than the longest that is shown
LONGEST_QUANTILE = 0.99  # of the displacements fits into the wheel where nobody says how far it goes
STILL_PX = 0.5  # shorter, an arrow is a dot
FAINTEST = 0.3  # brightness of an arrow that nobody trusts
CAPTION_HEIGHT = 22
GAP = 4  # pixels between two panels
ERROR_SHOWN_PX = 5.0  # white in a picture of errors


def longest_of(flow: NDArray[np.floating]) -> float:
    """How long the wheel's radius should be in pixels for a field (H, W, 2), at least 1."""
    length = np.hypot(flow[..., 0], flow[..., 1])
    length = length[np.isfinite(length)]
    return max(1.0, float(np.quantile(length, LONGEST_QUANTILE))) if length.size else 1.0


def colours(flow: NDArray[np.floating], longest_px: float | None = None) -> Image:
    """A field (H, W, 2) as a picture (H, W, 3) BGR: hue tells where to, saturation how far; black where it is NaN.

    Args:
        flow: Displacements x, y in pixels.
        longest_px: Full saturation; further is darker. Left out, it follows from the field (`longest_of`).
    """
    field = np.asarray(flow, np.float64)
    known = np.asarray(np.isfinite(field).all(axis=2), np.bool_)[..., None]
    field = np.where(known, field, 0) / (longest_of(flow) if longest_px is None else longest_px)
    radius = np.hypot(field[..., 0], field[..., 1])
    turn = np.arctan2(field[..., 1], field[..., 0]) / (2 * np.pi) % 1 * STEPS[-1]
    hue = np.stack([np.interp(turn, STEPS, values) / 255 for values in zip(*HUES_RGB, strict=True)], axis=2)
    inside = 1 - radius[..., None] * (1 - hue)
    rgb = np.where(radius[..., None] <= 1, inside, TOO_LONG * hue) * known
    return np.asarray(np.round(255 * rgb[..., ::-1]), np.uint8)


def wheel(side: int) -> Image:
    """The key to `colours`: a disc on grey, (side, side, 3) BGR, each place in the colour of moving there."""
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    picture = colours(np.stack([x, y], axis=2), 1.0)
    picture[np.hypot(x, y) > 1] = 128
    return picture


def arrows(
    image: Image, flow: NDArray[np.floating], *, step: int = 16, trust: NDArray[np.floating] | None = None
) -> Image:
    """The picture in dark grey (H, W, 3) with an arrow every ``step`` pixels, as long as the displacement is.

    Args:
        image: (H, W) grey or (H, W, 3) BGR.
        flow: (H, W, 2) pixels; no arrow where it is NaN.
        step: Pixels between two arrows.
        trust: (H, W) in [0, 1]; arrows are as bright as they are trusted.
    """
    canvas = _bgr(np.asarray(_grey(image) * 0.5, np.uint8))
    height, width = flow.shape[:2]
    ys, xs = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
    colour = colours(flow, longest_of(flow) / 2)  # strong ones: on a picture white says nothing
    for y in ys:
        for x in xs:
            if not np.isfinite(flow[y, x]).all():
                continue
            bright = 1.0 if trust is None else float(np.clip(trust[y, x], FAINTEST, 1))
            paint = tuple(float(value) * bright for value in colour[y, x])
            tip = round(x + float(flow[y, x, 0])), round(y + float(flow[y, x, 1]))
            if np.hypot(*flow[y, x]) < STILL_PX:
                cv2.circle(canvas, (int(x), int(y)), 1, paint, -1, cv2.LINE_AA)
            else:
                cv2.arrowedLine(canvas, (int(x), int(y)), tip, paint, 1, cv2.LINE_AA, tipLength=0.3)
    return canvas


def trust_overlay(image: Image, trust: NDArray[np.floating]) -> Image:
    """The picture in grey, red where the flow is not trusted; (H, W, 3) BGR."""
    grey = _grey(image)[..., None].astype(np.float64)
    doubt = (1 - np.clip(np.nan_to_num(trust), 0, 1))[..., None]
    red = np.array([40.0, 40.0, 230.0])
    return np.asarray(np.round(grey * (1 - 0.7 * doubt) + red * 0.7 * doubt), np.uint8)


def leftover(before: Image, after: Image, flow: NDArray[np.floating]) -> Image:
    """What the flow does not explain: how ``before`` differs from ``after`` moved back along it, (H, W, 3) BGR.

    Black is explained. Where the flow leads out of the picture or is NaN, it is black as well: nobody can say.
    """
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    to_x, to_y = x + np.asarray(flow[..., 0], np.float32), y + np.asarray(flow[..., 1], np.float32)
    inside = (to_x >= 0) & (to_y >= 0) & (to_x <= width - 1) & (to_y <= height - 1)  # False for NaN, too
    moved = cv2.remap(_bgr(after), np.where(inside, to_x, 0), np.where(inside, to_y, 0), cv2.INTER_LINEAR)
    return np.asarray(cv2.absdiff(_bgr(before), moved) * inside[..., None], np.uint8)


def error_map(flow: NDArray[np.floating], truth: NDArray[np.floating]) -> Image:
    """The end-point error in grey (H, W, 3): black is right, white is off by `ERROR_SHOWN_PX` or more."""
    off = np.nan_to_num(np.asarray(flow, np.float64) - truth)
    grey = np.clip(np.hypot(off[..., 0], off[..., 1]) / ERROR_SHOWN_PX, 0, 1)
    return np.asarray(np.repeat(np.round(255 * grey)[..., None], 3, axis=2), np.uint8)


def sheet(panels: Sequence[tuple[str, Image]], *, columns: int = 2) -> Image:
    """Pictures of one size with their captions, side by side, as one picture."""
    height, width = panels[0][1].shape[:2]
    rows = -(-len(panels) // columns)
    tall, wide = height + CAPTION_HEIGHT + GAP, width + GAP
    canvas = np.full((rows * tall + GAP, columns * wide + GAP, 3), 255, np.uint8)
    for number, (caption, picture) in enumerate(panels):
        top, left = GAP + number // columns * tall, GAP + number % columns * wide
        cv2.putText(
            canvas,
            caption,
            (left + 2, top + 16),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.45,
            (30, 30, 30),
            1,
            cv2.LINE_AA,
        )
        top += CAPTION_HEIGHT
        canvas[top : top + height, left : left + width] = _bgr(picture)
    return canvas


def overview(
    before: Image,
    after: Image,
    flow: NDArray[np.floating],
    trust: NDArray[np.floating] | None = None,
    truth: NDArray[np.floating] | None = None,
    *,
    longest_px: float | None = None,
) -> Image:
    """All there is to see of one pair on one sheet.

    Args:
        before: (H, W) or (H, W, 3), as ``after``.
        after: The second picture.
        flow: (H, W, 2) as estimated, in pixels.
        trust: (H, W) in [0, 1], where the estimator says it.
        truth: (H, W, 2), where it is known; the wheel's radius then is the truth's.
        longest_px: The wheel's radius.
    """
    radius = longest_px or longest_of(flow if truth is None else truth)
    key = f"flow; the wheel ends at {radius:.1f} px"
    panels = [("before", before), ("after", after), (key, with_wheel(colours(flow, radius)))]
    if truth is not None:
        off = np.asarray(flow, np.float64) - truth
        error = float(np.nanmean(np.hypot(off[..., 0], off[..., 1])))
        panels += [
            ("true flow", colours(truth, radius)),
            (
                f"off by {error:.2f} px on the mean; white: {ERROR_SHOWN_PX:g} px and more",
                error_map(flow, truth),
            ),
        ]
    panels += [
        ("what the flow leaves unexplained", leftover(before, after, flow)),
        ("where it goes", arrows(before, flow, trust=trust)),
    ]
    if trust is not None:
        panels.append(("red: not trusted", trust_overlay(before, trust)))
    return sheet(panels)


def with_wheel(picture: Image) -> Image:
    """The picture with the key to its colours in its lower right corner, where it is large enough."""
    side = min(picture.shape[:2]) // 5
    if side < 16:
        return picture
    key, (y, x) = wheel(side), np.mgrid[:side, :side] / (side - 1) * 2 - 1
    canvas = picture.copy()
    corner = canvas[-side:, -side:]
    disc = np.hypot(x, y) <= 1
    corner[disc] = key[disc]
    rim = np.abs(np.hypot(x, y) - 1) < 2 / side
    corner[rim] = 60
    return canvas


def _bgr(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image, np.uint8)


def _grey(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image, np.uint8)
