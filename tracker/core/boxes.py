"""Boxes: x1, y1, x2, y2 in pixels. Overlap, formats, foot points, image -> floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]

FOOT_SIGMA = 0.04  # how far a box's lower edge is from the foot, as a share of its height
CUT_FOOT_SIGMA = 0.25  # where the picture's lower edge cuts the legs off


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """(N,) areas in square pixels; 0 for boxes without area."""
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.maximum(b[:, 2] - b[:, 0], 0) * np.maximum(b[:, 3] - b[:, 1], 0)


def intersections(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """(N, M) areas shared by each of N boxes with each of M."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    # Side by side, not as (N, M, 2): a last axis of two is the slowest there is.
    width = np.minimum.outer(a[:, 2], b[:, 2]) - np.maximum.outer(a[:, 0], b[:, 0])
    height = np.minimum.outer(a[:, 3], b[:, 3]) - np.maximum.outer(a[:, 1], b[:, 1])
    return np.asarray(np.maximum(width, 0) * np.maximum(height, 0))


def iou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """(N, M) intersection over union in [0, 1]; 0 where both boxes have no area."""
    shared = intersections(a, b)
    union = areas(a)[:, None] + areas(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def covered(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """(N, M) share of each of N boxes that lies inside each of M; 0 for boxes without area."""
    shared, own = intersections(a, b), areas(a)[:, None]
    return np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)


def buffered(boxes: Boxes, share: float | NDArray[np.floating]) -> NDArray[np.float64]:
    """Boxes grown on every side by ``share`` of their own width and height (C-BIoU, WACV 2023, eq. 1)."""
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    grow = (b[:, 2:] - b[:, :2]) * np.asarray(share, np.float64).reshape(-1, 1)
    return np.concatenate((b[:, :2] - grow, b[:, 2:] + grow), axis=1)


def buffered_iou(a: Boxes, b: Boxes, share: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, M) IoU of N boxes with M when both of a pair are buffered by ``share`` (N,) of row n."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    grown, grow = buffered(a, share), np.asarray(share, np.float64)[:, None]
    size = b[:, 2:] - b[:, :2]
    left, top = b[:, 0] - grow * size[:, 0], b[:, 1] - grow * size[:, 1]
    right, bottom = b[:, 2] + grow * size[:, 0], b[:, 3] + grow * size[:, 1]
    width = np.minimum(grown[:, 2:3], right) - np.maximum(grown[:, 0:1], left)
    height = np.minimum(grown[:, 3:4], bottom) - np.maximum(grown[:, 1:2], top)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    own = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    union = areas(grown)[:, None] + own - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def center_form(boxes: Boxes) -> NDArray[np.float64]:
    """(N, 4) as centre x, centre y, width, height."""
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate(((b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]), axis=1)


def corner_form(boxes: Boxes) -> NDArray[np.float64]:
    """(N, 4) centre x, centre y, width, height as x1, y1, x2, y2."""
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate((b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2), axis=1)


def foot_points(boxes: Boxes) -> NDArray[np.float64]:
    """(N, 2) middle of each box's lower edge."""
    b = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.stack(((b[:, 0] + b[:, 2]) / 2, b[:, 3]), axis=1)


def inside_polygon(points: NDArray[np.floating], polygon: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N,) which points (N, 2) lie inside a polygon (K, 2), by counting crossings; edges belong to either side."""
    p, q = np.asarray(points, np.float64).reshape(-1, 2), np.asarray(polygon, np.float64)
    start, end = q, np.roll(q, -1, axis=0)
    x, y = p[:, :1], p[:, 1:]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    rise = end[:, 1] - start[:, 1]
    crossing = start[:, 0] + (y - start[:, 1]) * (end[:, 0] - start[:, 0]) / np.where(rise == 0, 1.0, rise)
    return np.asarray((spans & (x < crossing)).sum(axis=1) % 2 == 1)


class FloorPlan:
    """One camera's map from picture to floor, with how well it knows the place.

    Made from a homography ``floor_from_image`` (3, 3), or from K (3, 3), distortion (0, 4, 5 or 8, OpenCV's order),
    R (3, 3) and t (3,) metres, world -> camera, floor z = 0: floor_from_image = (K [r1 r2 t])^-1
    (Hartley & Zisserman, Multiple View Geometry, 2nd ed., section 8.1).
    """

    def __init__(
        self,
        floor_from_image: NDArray[np.floating],
        K: NDArray | None = None,
        distortion: NDArray | None = None,
    ) -> None:
        self._floor_from_image = np.asarray(floor_from_image, np.float64)
        self._K = None if K is None else np.asarray(K, np.float64)
        self._distortion = np.zeros(8)
        if distortion is not None and len(distortion):
            self._distortion[: len(distortion)] = distortion

    @classmethod
    def of_camera(cls, K: NDArray, distortion: NDArray, R: NDArray, t: NDArray) -> FloorPlan:
        """From intrinsics and extrinsics."""
        K, R, t = np.asarray(K, np.float64), np.asarray(R, np.float64), np.asarray(t, np.float64)
        image_from_floor = K @ np.stack((R[:, 0], R[:, 1], t), axis=1)
        return cls(np.linalg.inv(image_from_floor), K, np.asarray(distortion, np.float64))

    def locate(self, foot_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 2) metres on the floor of N foot points (N, 2) in pixels; NaN at or above the horizon."""
        p = self._undistorted(np.asarray(foot_px, np.float64).reshape(-1, 2))
        q = np.column_stack((p, np.ones(len(p)))) @ self._floor_from_image.T
        # The lower edge of the picture sees floor; beyond the horizon the last coordinate changes its sign.
        below = self._floor_from_image[2] @ np.array([0.0, 1e7, 1.0])
        ahead = q[:, 2] * np.sign(below) > 1e-9
        with np.errstate(divide="ignore", invalid="ignore"):
            floor = q[:, :2] / q[:, 2:]
        return np.where(ahead[:, None], floor, np.nan)

    def spread(self, foot_px: NDArray[np.floating], sigma_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N,) standard deviation in metres that ``sigma_px`` (N,) in the picture makes on the floor."""
        p = np.asarray(foot_px, np.float64).reshape(-1, 2)
        s = np.asarray(sigma_px, np.float64)[:, None]
        here = self.locate(p)
        moved = [self.locate(p + s * step) for step in (np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))]
        return np.asarray(np.sqrt(sum(((m - here) ** 2).sum(axis=1) for m in moved)))

    def stand(
        self, boxes: Boxes, image_size: tuple[int, int] = (0, 0)
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the feet of boxes (N, 4) are: (N, 2) metres, and (N,) their standard deviation; NaN where unknown.

        Args:
            image_size: width and height, px; a box that reaches the lower edge has its legs cut off. (0, 0): unknown.
        """
        feet, height = foot_points(boxes), center_form(boxes)[:, 3]
        _, h = image_size
        cut = np.asarray(boxes)[:, 3] > h - 2 if h else np.zeros(len(feet), bool)
        place = self.locate(feet)
        sigma = self.spread(feet, np.where(cut, CUT_FOOT_SIGMA, FOOT_SIGMA) * height)
        unknown = ~np.isfinite(place).all(axis=1) | ~np.isfinite(sigma)
        place[unknown], sigma[unknown] = np.nan, np.nan
        return place, sigma

    def nearest(self, boxes: Boxes) -> NDArray[np.float64]:
        """(N, 2) where the feet of boxes (N, 4) are if as much again of a person is hidden below; NaN where unknown."""
        feet = foot_points(boxes)
        feet[:, 1] += center_form(boxes)[:, 3]
        return self.locate(feet)

    def metres_per_px(self, boxes: Boxes) -> NDArray[np.float64]:
        """(N,) metres from side to side that a pixel is at the feet of boxes (N, 4)."""
        feet = foot_points(boxes)
        return np.asarray(
            np.linalg.norm(self.locate(feet + [0.5, 0.0]) - self.locate(feet - [0.5, 0.0]), axis=1)
        )

    def _undistorted(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels without lens distortion (Brown-Conrady; fixed-point iteration as OpenCV does)."""
        if self._K is None or not self._distortion.any():
            return p
        k1, k2, p1, p2, k3, k4, k5, k6 = self._distortion
        K = self._K
        seen = np.stack(((p[:, 0] - K[0, 2]) / K[0, 0], (p[:, 1] - K[1, 2]) / K[1, 1]), axis=1)
        u = seen.copy()
        for _ in range(10):
            x, y = u[:, 0], u[:, 1]
            r2 = x * x + y * y
            radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
            shift = np.stack(
                (2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y), axis=1
            )
            u = (seen - shift) / radial[:, None]
        return np.stack((u[:, 0] * K[0, 0] + K[0, 2], u[:, 1] * K[1, 1] + K[1, 2]), axis=1)
