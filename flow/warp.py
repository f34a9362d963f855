"""From a field of displacements to moved boxes and the camera's own motion. NumPy only.

A field is (h, w, 2): the displacement x, y in pixels of the full picture, one cell for ``scale`` x ``scale`` of its
pixels. Its trust (h, w) in [0, 1] says how surely each cell is right; None: nobody can say, all cells count alike.
Boxes (N, 4) are x1, y1, x2, y2 in pixels of the full picture. A transform is a homography (3, 3) of points: the moved
point is ``[u, v] / w`` of ``[u, v, w] = transform @ [x, y, 1]``.
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
LEAST_TRUST = 0.1  # a cell trusted less is as good as unknown
VOTE_TRUST = 0.5  # a cell more often wrong than right has no vote on the camera
PERSPECTIVE_GAIN = 0.9  # of a similarity's residual: a homography is taken where it leaves less
PERSPECTIVE_STRIDE = 3  # of the points that voted, those asked for a homography: a third of the time
MOST_PERSPECTIVE = 2.0  # no camera's step enlarges a corner of the picture by more, or the fit went astray
LEAST_DEPTH = 0.1  # points nearer to a homography's horizon are moved as if they were here
IDENTITY = np.eye(3)


def move_boxes(
    boxes: NDArray[np.floating],
    field: NDArray[np.floating],
    scale: float,
    camera: NDArray[np.floating] | None = None,
    trust: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where boxes are after the step that the field describes.

    A box moves by the median of the field over its inner part and keeps its size: growth read from the field, too,
    fitted the true boxes of five recordings (MOT15, PETS09, UFES) a little worse than none, because limbs move.
    Every cell counts by its trust; one below `LEAST_TRUST` is unknown, so that at a cut no box is moved.

    Args:
        boxes: (N, 4); N may be 0.
        field: (h, w, 2), see above; NaN where unknown.
        scale: Pixels of the picture to one cell.
        camera: The camera's own motion (3, 3), which moves the boxes that the field says nothing about.
        trust: (h, w), see above.

    Returns:
        The moved boxes (N, 4), and whether the field spoke for each (N,). A box without area, with a NaN or mostly
        outside the picture is moved by ``camera`` alone, or stays.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    moved = boxes.copy() if camera is None else apply(camera, boxes).astype(np.float64)
    valid = np.zeros(len(boxes), np.bool_)
    for row, box in enumerate(boxes):
        step = _box_step(box, field, scale, trust)
        if step is not None:
            moved[row], valid[row] = step, True
    return moved.astype(np.float32), valid


def box_trust(boxes: NDArray[np.floating], trust: NDArray[np.floating], scale: float) -> NDArray[np.float32]:
    """(N,) in [0, 1]: how far to trust what `move_boxes` says of boxes (N, 4), by the cells it listened to.

    The mean over a box's inner part, every cell weighed by its own trust, as in the vote; 0 for a box that the
    field says nothing about.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    found = np.zeros(len(boxes), np.float32)
    for row, box in enumerate(boxes):
        cells = _inner_cells(box, trust.shape[:2], scale)
        if cells is not None:
            here = np.asarray(trust[cells], np.float64)
            here = here[here >= LEAST_TRUST]
            found[row] = (here @ here) / here.sum() if len(here) else 0.0
    return found


def camera_motion(
    field: NDArray[np.floating],
    scale: float,
    exclude_boxes: NDArray[np.floating] | None = None,
    trust: NDArray[np.floating] | None = None,
) -> NDArray[np.float64] | None:
    """The camera's own motion (3, 3), exactly `IDENTITY` when it stands still; None where too little is known.

    A similarity (turn, zoom and shift) by iteratively reweighted least squares with Tukey's weights, started from
    medians, so that what moves by itself has no vote as long as it covers less than about a third of the picture;
    then a homography from there, taken where it fits clearly better. Where a camera pans by 2 degrees at a focal
    length of 0.9 widths, a similarity is up to 6.7 px off at boxes of a 1280 x 720 picture, the homography by less
    than 0.01 px; with noise of 1 px a cell 6.7 and 0.2 px, with 30 % of the picture moving otherwise as well
    9.8 and 0.9 px. A camera that stands still costs the same; one that moves, half as much again.

    Args:
        field: (h, w, 2), see above; NaN where unknown.
        scale: Pixels of the picture to one cell.
        exclude_boxes: (N, 4) what is known to move by itself.
        trust: (h, w), see above; cells below `VOTE_TRUST` have no vote.
    """
    grid, steps, votes = _voters(field, scale, exclude_boxes, trust)
    points = grid[votes]
    if len(points) < FEWEST_POINTS:
        return None
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
        weight = _tukey(np.hypot(residual[:, 0], residual[:, 1]))
        before = np.array([*turn_zoom, *shift])
        turn_zoom, shift = _weighted_similarity(p, steps, weight)
        if np.abs(np.array([*turn_zoom, *shift]) - before).max() < 1e-4:
            break
    if np.hypot(*turn_zoom) * np.sqrt(2) + np.hypot(*shift) < STILL_PX:
        return IDENTITY.copy()
    a, b = turn_zoom / spread
    linear = np.array([[a, -b], [b, a]])
    similarity = IDENTITY.copy()
    similarity[:2] = np.column_stack([np.eye(2) + linear, shift - linear @ centre])
    size = np.array([field.shape[1], field.shape[0]]) * scale
    return _with_perspective(similarity, points, points + steps, size)


def move_points(
    transform: NDArray[np.floating], points: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 2) moved by a transform (3, 3), and its slopes (N, 2, 2) there: how small steps are moved."""
    transform = np.asarray(transform, np.float64)
    depth = np.maximum(points @ transform[2, :2] + transform[2, 2], LEAST_DEPTH)[:, None]
    moved = (points @ transform[:2, :2].T + transform[:2, 2]) / depth
    slopes = (transform[:2, :2] - moved[:, :, None] * transform[2, :2]) / depth[:, :, None]
    return moved, slopes


def apply(transform: NDArray[np.floating], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    """Boxes (N, 4) moved by a transform (3, 3): centres go where it says, width and height grow by its zoom there."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    centre, slopes = move_points(transform, (boxes[:, :2] + boxes[:, 2:]) / 2)
    half = np.sqrt(np.abs(np.linalg.det(slopes)))[:, None] * (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def is_still(transform: NDArray[np.floating]) -> bool:
    """Whether a transform of `camera_motion` is that of a camera that stands still."""
    return bool(np.allclose(transform, IDENTITY, rtol=0, atol=1e-9))


def _inner_cells(
    box: NDArray[np.float64], shape: tuple[int, ...], scale: float
) -> tuple[slice, slice] | None:
    """Rows and columns of a field of ``shape`` (h, w) to look at for one box (4,); None where too little is in it."""
    size = box[2:] - box[:2]
    if not (np.isfinite(box).all() and (size > 0).all()) or 0 in shape:
        return None
    inner_low = box[:2] + size * (INNER_X[0], INNER_Y[0])
    inner_high = box[:2] + size * (INNER_X[1], INNER_Y[1])
    cells = np.array([shape[1], shape[0]])
    seen = np.minimum(inner_high, cells * scale) - np.maximum(inner_low, 0)
    if (seen <= 0).any() or seen.prod() < VISIBLE_SHARE * (inner_high - inner_low).prod():
        return None
    low = np.clip(np.floor(inner_low / scale), 0, cells - 1).astype(int)
    high = np.clip(np.ceil(inner_high / scale), low + 1, cells).astype(int)
    stride = max(1, int(np.sqrt((high - low).prod() / MOST_CELLS)))
    return slice(low[1], high[1], stride), slice(low[0], high[0], stride)


def _box_step(
    box: NDArray[np.float64],
    field: NDArray[np.floating],
    scale: float,
    trust: NDArray[np.floating] | None,
) -> NDArray[np.float64] | None:
    """One box (4,) after the step, or None where the field does not say."""
    cells = _inner_cells(box, field.shape[:2], scale)
    if cells is None:
        return None
    steps = np.asarray(field[cells], np.float64)
    known = np.isfinite(steps).all(axis=2)
    if trust is not None:
        known &= trust[cells] >= LEAST_TRUST
    if known.mean() < 0.5:
        return None
    if trust is None:
        return box + np.tile(np.median(steps[known], axis=0), 2)
    return box + np.tile(_weighted_median(steps[known], trust[cells][known].astype(np.float64)), 2)


def _weighted_median(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) of values (K, D): half of the weight (K,) lies on either side. With equal weights the usual median."""
    order = np.argsort(values, axis=0)
    below = np.cumsum(weight[order], axis=0)
    half = below[-1] / 2
    columns = np.arange(values.shape[1])
    low = order[(below < half).sum(axis=0), columns]
    high = order[np.minimum((below <= half).sum(axis=0), len(values) - 1), columns]
    return np.asarray((values[low, columns] + values[high, columns]) / 2)


def _voters(
    field: NDArray[np.floating],
    scale: float,
    exclude_boxes: NDArray[np.floating] | None,
    trust: NDArray[np.floating] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Points of a regular grid in pixels (R, C, 2), their displacements (R, C, 2), and which have a vote (R, C)."""
    height, width = field.shape[:2]
    stride = max(1, int(np.sqrt(height * width / CAMERA_POINTS)))
    half = stride // 2
    steps = np.asarray(field[half::stride, half::stride], np.float64)
    x = (np.arange(half, width, stride) + 0.5) * scale
    y = (np.arange(half, height, stride) + 0.5) * scale
    votes = np.asarray(np.isfinite(steps).all(axis=2), np.bool_)
    if trust is not None:
        votes &= trust[half::stride, half::stride] >= VOTE_TRUST
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


def _tukey(length: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (K,) in [0, 1] of residuals (K,) in pixels: none for what is far off, by the spread of all."""
    sigma = max(MAD_TO_SIGMA * float(np.median(length)), NOISE_PX)
    return np.asarray(np.maximum(1 - (length / (TUKEY * sigma)) ** 2, 0) ** 2)


def _with_perspective(
    similarity: NDArray[np.float64],
    points: NDArray[np.float64],
    moved: NDArray[np.float64],
    size: NDArray[np.floating],
) -> NDArray[np.float64]:
    """The homography (3, 3) that takes ``points`` to ``moved`` (K, 2) clearly better than ``similarity``, or that one.

    Args:
        size: Width and height of the picture in pixels.
    """
    points, moved = points[::PERSPECTIVE_STRIDE], moved[::PERSPECTIVE_STRIDE]
    centre = points.mean(axis=0)
    spread = max(float(np.abs(points - centre).max()), 1.0)
    unit = np.array([[1 / spread, 0, -centre[0] / spread], [0, 1 / spread, -centre[1] / spread], [0, 0, 1]])
    p, q = (points - centre) / spread, (moved - centre) / spread
    # With h the first 8 of a homography's 9 numbers less the identity's, `q (h6 x + h7 y + 1) = p + ...` is linear in
    # h (Hartley & Zisserman, *Multiple View Geometry*, 2004: section 4.1.2, inhomogeneous).
    one, zero = np.ones(len(p)), np.zeros(len(p))
    x, y = p.T
    for_u = np.stack([x, y, one, zero, zero, zero, -q[:, 0] * x, -q[:, 0] * y])
    for_v = np.stack([zero, zero, zero, x, y, one, -q[:, 1] * x, -q[:, 1] * y])
    inverse_unit = np.linalg.inv(unit)
    found = unit @ similarity @ inverse_unit
    blunt = length = np.hypot(*(move_points(found, p)[0] - q).T) * spread
    for _ in range(IRLS_STEPS):
        weight = _tukey(length)
        normal = (for_u * weight) @ for_u.T + (for_v * weight) @ for_v.T
        wanted = (for_u * weight) @ (q[:, 0] - x) + (for_v * weight) @ (q[:, 1] - y)
        if np.linalg.cond(normal) > 1e12:  # all points on a line, or nearly
            return similarity
        before, found = found, np.append(np.linalg.solve(normal, wanted), 0.0).reshape(3, 3) + np.eye(3)
        length = np.hypot(*(move_points(found, p)[0] - q).T) * spread
        if np.abs(found - before).max() < 1e-6:
            break
    found = inverse_unit @ found @ unit
    found /= found[2, 2]
    corners = np.array([[0, 0], [size[0], 0], [0, size[1]], size])
    depth = corners @ found[2, :2] + 1
    left = max(float(np.median(length)), NOISE_PX)
    is_better = left < PERSPECTIVE_GAIN * max(float(np.median(blunt)), NOISE_PX)
    is_sound = depth.min() > 1 / MOST_PERSPECTIVE and depth.max() < MOST_PERSPECTIVE
    return found if is_better and is_sound else similarity
