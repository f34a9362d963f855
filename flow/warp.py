"""From a field of displacements to moved boxes and the camera's own motion. NumPy only.

A field is (h, w, 2): the displacement x, y in pixels of the full picture, one cell for ``scale`` x ``scale`` of its
pixels. Boxes (N, 4) are x1, y1, x2, y2 in pixels of the full picture. A transform is 2x3: ``moved = A @ [x, y, 1]``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

INNER_X = 0.25, 0.75  # of a box's width: a person fills the middle, the background its edges
INNER_Y = 0.15, 0.85  # of its height
VISIBLE_SHARE = 0.25  # of the inner part must lie in the picture
CAMERA_POINTS = 2000  # points of the field that vote on the camera's motion
FEWEST_POINTS = 12
IRLS_STEPS = 12
TUKEY = 4.685  # residual in standard deviations from which a point has no vote (95 % efficiency)
MAD_TO_SIGMA = 1.4826
NOISE_PX = 0.05  # finer than this no field is
STILL_PX = 0.25  # a camera that moves its picture's corners by less stands still
STILL_SHARE = 0.75  # of the picture that stays where it was settles it at once
MOST_CELLS = 400  # of a box's inner part that are looked at
IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def move_boxes(
    boxes: NDArray[np.floating],
    field: NDArray[np.floating],
    scale: float,
    camera: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where boxes are after the step that the field describes.

    A box moves by the median of the field over its inner part and keeps its size: growth read from the field, too,
    fitted the true boxes of five recordings (MOT15, PETS09, UFES) a little worse than none, because limbs move.

    Args:
        boxes: (N, 4); N may be 0.
        field: (h, w, 2), see above; NaN where unknown.
        scale: Pixels of the picture to one cell.
        camera: The camera's own motion (2x3), which moves the boxes that the field says nothing about.

    Returns:
        The moved boxes (N, 4), and whether the field spoke for each (N,). A box without area, with a NaN or mostly
        outside the picture is moved by ``camera`` alone, or stays.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    moved = boxes.copy() if camera is None else apply(camera, boxes).astype(np.float64)
    valid = np.zeros(len(boxes), np.bool_)
    for row, box in enumerate(boxes):
        step = _box_step(box, field, scale)
        if step is not None:
            moved[row], valid[row] = step, True
    return moved.astype(np.float32), valid


def camera_motion(
    field: NDArray[np.floating], scale: float, exclude_boxes: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """The camera's own motion as a similarity (2x3, turn, zoom and shift), exactly `IDENTITY` when it stands still.

    Iteratively reweighted least squares with Tukey's weights, started from medians, so that what moves by itself has
    no vote as long as it covers less than about a third of the picture.

    Args:
        field: (h, w, 2), see above; NaN where unknown.
        scale: Pixels of the picture to one cell.
        exclude_boxes: (N, 4) what is known to move by itself.
    """
    grid, steps, votes = _voters(field, scale, exclude_boxes)
    points = grid[votes]
    if len(points) < FEWEST_POINTS:
        return IDENTITY.copy()
    if (np.abs(steps[votes]).max(axis=1) < STILL_PX / 2).mean() > STILL_SHARE:
        return IDENTITY.copy()
    centre = points.mean(axis=0)
    spread = max(float(np.abs(points - centre).max()), 1.0)
    p = (points - centre) / spread
    turn_zoom = _local_slopes(grid, steps, votes) * spread  # a, b of  step = [[a, -b], [b, a]] p + shift
    steps = steps[votes]
    a, b = turn_zoom
    shift = np.median(
        steps - np.stack([a * p[:, 0] - b * p[:, 1], b * p[:, 0] + a * p[:, 1]], axis=1), axis=0
    )
    for _ in range(IRLS_STEPS):
        a, b = turn_zoom
        residual = steps - shift - np.stack([a * p[:, 0] - b * p[:, 1], b * p[:, 0] + a * p[:, 1]], axis=1)
        length = np.hypot(residual[:, 0], residual[:, 1])
        sigma = max(MAD_TO_SIGMA * float(np.median(length)), NOISE_PX)
        weight = np.maximum(1 - (length / (TUKEY * sigma)) ** 2, 0) ** 2
        before = np.array([*turn_zoom, *shift])
        turn_zoom, shift = _weighted_similarity(p, steps, weight)
        if np.abs(np.array([*turn_zoom, *shift]) - before).max() < 1e-4:
            break
    if np.hypot(*turn_zoom) * np.sqrt(2) + np.hypot(*shift) < STILL_PX:
        return IDENTITY.copy()
    a, b = turn_zoom / spread
    linear = np.array([[a, -b], [b, a]])
    return np.column_stack([np.eye(2) + linear, shift - linear @ centre])


def apply(transform: NDArray[np.floating], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    """Boxes (N, 4) moved by a 2x3 transform: the centre goes where it says, width and height grow by its zoom."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    transform = np.asarray(transform, np.float64)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 @ transform[:, :2].T + transform[:, 2]
    zoom = np.sqrt(abs(np.linalg.det(transform[:, :2])))
    half = zoom * (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def is_still(transform: NDArray[np.floating]) -> bool:
    """Whether a transform of `camera_motion` is that of a camera that stands still."""
    return bool(np.allclose(transform, IDENTITY, rtol=0, atol=1e-9))


def _box_step(
    box: NDArray[np.float64], field: NDArray[np.floating], scale: float
) -> NDArray[np.float64] | None:
    """One box (4,) after the step, or None where the field does not say."""
    size = box[2:] - box[:2]
    if not (np.isfinite(box).all() and (size > 0).all()) or 0 in field.shape:
        return None
    inner_low = box[:2] + size * (INNER_X[0], INNER_Y[0])
    inner_high = box[:2] + size * (INNER_X[1], INNER_Y[1])
    shape = np.array([field.shape[1], field.shape[0]])
    seen = np.minimum(inner_high, shape * scale) - np.maximum(inner_low, 0)
    if (seen <= 0).any() or seen.prod() < VISIBLE_SHARE * (inner_high - inner_low).prod():
        return None
    low = np.clip(np.floor(inner_low / scale), 0, shape - 1).astype(int)
    high = np.clip(np.ceil(inner_high / scale), low + 1, shape).astype(int)
    stride = max(1, int(np.sqrt((high - low).prod() / MOST_CELLS)))
    steps = np.asarray(field[low[1] : high[1] : stride, low[0] : high[0] : stride], np.float64)
    known = np.isfinite(steps).all(axis=2)
    if known.mean() < 0.5:
        return None
    return box + np.tile(np.median(steps[known], axis=0), 2)


def _voters(
    field: NDArray[np.floating], scale: float, exclude_boxes: NDArray[np.floating] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Points of a regular grid in pixels (R, C, 2), their displacements (R, C, 2), and which have a vote (R, C)."""
    height, width = field.shape[:2]
    stride = max(1, int(np.sqrt(height * width / CAMERA_POINTS)))
    half = stride // 2
    steps = np.asarray(field[half::stride, half::stride], np.float64)
    x = (np.arange(half, width, stride) + 0.5) * scale
    y = (np.arange(half, height, stride) + 0.5) * scale
    votes = np.asarray(np.isfinite(steps).all(axis=2), np.bool_)
    for x1, y1, x2, y2 in np.zeros((0, 4)) if exclude_boxes is None else np.reshape(exclude_boxes, (-1, 4)):
        votes[np.ix_((y >= y1) & (y <= y2), (x >= x1) & (x <= x2))] = False
    return np.stack(np.meshgrid(x, y), axis=2), steps, votes


def _local_slopes(
    grid: NDArray[np.float64], steps: NDArray[np.float64], votes: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Medians of zoom and turn a pixel (2,), from pairs so close together that both mostly lie on one thing."""
    zoom, turn = [np.zeros(0)], [np.zeros(0)]
    rows, columns = votes.shape
    if (k := columns // 6) > 0:
        both = votes[:, k:] & votes[:, :-k]
        slope = (steps[:, k:] - steps[:, :-k])[both] / (grid[:, k:, :1] - grid[:, :-k, :1])[both]
        zoom.append(slope[:, 0])
        turn.append(slope[:, 1])
    if (k := rows // 6) > 0:
        both = votes[k:] & votes[:-k]
        slope = (steps[k:] - steps[:-k])[both] / (grid[k:, :, 1:] - grid[:-k, :, 1:])[both]
        zoom.append(slope[:, 1])
        turn.append(-slope[:, 0])
    zooms, turns = np.concatenate(zoom), np.concatenate(turn)
    return np.array([np.median(zooms), np.median(turns)]) if len(zooms) else np.zeros(2)


def _weighted_similarity(
    p: NDArray[np.float64], steps: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares for ``step = [[a, -b], [b, a]] p + shift``: (a, b) and the shift."""
    total = weight.sum()
    if total <= 0:
        return np.zeros(2), np.median(steps, axis=0)
    p_mean, step_mean = weight @ p / total, weight @ steps / total
    q, d = p - p_mean, steps - step_mean
    variance = weight @ (q * q).sum(axis=1)
    if variance <= 0:
        return np.zeros(2), step_mean
    a = weight @ (q * d).sum(axis=1) / variance
    b = weight @ (q[:, 0] * d[:, 1] - q[:, 1] * d[:, 0]) / variance
    return np.array([a, b]), step_mean - np.array([[a, -b], [b, a]]) @ p_mean
