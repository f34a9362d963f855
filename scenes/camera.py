"""Cameras: where a point of the world stands in the picture, and what a pixel sees.

Pinhole with Brown-Conrady distortion in OpenCV's order k1 k2 p1 p2 k3 (Brown 1966; OpenCV, *Camera calibration*).
The centre of the first pixel is at (0.5, 0.5); a camera looks along z, x to the right, y down; x_cam = R x_world + t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes import settings

Floats = NDArray[np.float64]
WOBBLE_WAVES = 7  # sinusoids that a shaking mount is made of
WOBBLE_HZ = (0.4, 4.0)  # wind on a mast up to steps beneath a tripod
ROLL_SHARE = 0.3  # how far a shaking mount rolls, against how far it nods


def _none(columns: int) -> Any:
    return field(default_factory=lambda: np.zeros((0, columns)))


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera at one instant. `at` gives the same camera at another one, if it moves."""

    name: str
    size: tuple[int, int]  # width, height px
    K: Floats  # (3, 3) px
    R: Floats  # (3, 3) world -> camera
    t: Floats  # (3,) m
    distortion: Floats = field(default_factory=lambda: np.zeros(5))  # k1 k2 p1 p2 k3
    swings: Floats = _none(5)  # (S, 5) rotations about the world's z axis, as `wobbles`, before them
    wobbles: Floats = _none(5)  # (W, 5) Hz, phase rad, and the rotation vector (3,) rad in the camera's axes

    def __post_init__(self) -> None:
        for name in ("K", "R", "t", "distortion", "swings", "wobbles"):
            value = np.array(getattr(self, name), np.float64)
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, name: str, said: settings.Camera, rng: np.random.Generator) -> Camera:
        """The camera that settings describe, at time 0. Chance draws how its mount shakes and where its pan begins."""
        width, height = said.size
        focal_px = width / 2 / math.tan(math.radians(said.view) / 2)
        K = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])
        R = looking(said.at, said.look)
        pan = [1 / said.motion.period, rng.uniform(0, 2 * math.pi), 0, 0, math.radians(said.motion.pan)]
        wobbles = _wobbles(rng, said.motion.shake / focal_px)
        return cls(
            name,
            said.size,
            K,
            R,
            -R @ np.array(said.at, np.float64),
            np.array(said.distortion),
            np.array([pan]) if said.motion.pan else np.zeros((0, 5)),
            wobbles if said.motion.shake else np.zeros((0, 5)),
        )

    @property
    def centre_m(self) -> Floats:
        """(3,) where it stands."""
        return -self.R.T @ self.t

    @property
    def moves(self) -> bool:
        """Does it pan or shake?"""
        return bool(len(self.swings) or len(self.wobbles))

    @property
    def is_distorted(self) -> bool:
        return bool(self.distortion.any())

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for cameras that see the same."""
        return (
            self.size,
            self.K.tobytes(),
            self.R.tobytes(),
            self.t.tobytes(),
            self.distortion.tobytes(),
        )

    def at(self, t_s: float) -> Camera:
        """The camera as it stands at a time: itself, unless it pans or shakes. Called on the camera of `of` only."""
        if not self.moves:
            return self
        R = _rotation(_sum(self.wobbles, t_s)) @ self.R @ _rotation(-_sum(self.swings, t_s))
        still = np.zeros((0, 5))
        return replace(self, R=R, t=-R @ self.centre_m, swings=still, wobbles=still)

    def window(self, x0: int, y0: int, x1: int, y1: int) -> Camera:
        """A camera that sees a part of the picture: from pixel column x0 to before x1, row y0 to before y1.

        The window may reach beyond the picture.
        """
        K = self.K.copy()
        K[:2, 2] -= (x0, y0)
        return replace(self, size=(x1 - x0, y1 - y0), K=K)

    def scaled(self, factor: float) -> Camera:
        """The same view with ``factor`` times as many pixels across (sizes are rounded)."""
        width, height = (max(1, round(side * factor)) for side in self.size)
        scale = np.diag([width / self.size[0], height / self.size[1], 1.0])
        return replace(self, size=(width, height), K=scale @ self.K)

    def project(self, points: NDArray[np.floating]) -> tuple[Floats, Floats]:
        """Where points (N, 3) m stand: (N, 2) px and (N,) depth m along the optical axis.

        NaN px where a point is not in front of the camera, or so far aside that the distortion folds over.
        """
        return self.project_seen(np.asarray(points, np.float64) @ self.R.T + self.t)

    def project_seen(self, seen: Floats) -> tuple[Floats, Floats]:
        """`project` of points (N, 3) in the camera's axes."""
        depth = seen[:, 2]
        ahead = depth > 1e-6
        flat = seen[:, :2] / np.where(ahead, depth, 1.0)[:, None]
        good = ahead & ((flat * flat).sum(axis=1) < self.reach2)
        bent = distort(flat, self.distortion) if self.is_distorted else flat
        px = bent * self.K[[0, 1], [0, 1]] + self.K[:2, 2]
        return np.where(good[:, None], px, np.nan), depth

    @property
    def reach2(self) -> float:
        """Square of the undistorted radius (at depth 1) up to which the distortion is one to one."""
        return _reach2(tuple(self.distortion.tolist()))

    def rays(self, px: NDArray[np.floating] | None = None) -> Floats:
        """(N, 3) directions, in the camera's axes and with depth 1, that pixels (N, 2) see; all centres': (H, W, 3)."""
        if px is None:
            return _all_rays(self.size, self.K.tobytes(), self.distortion.tobytes())
        flat = (np.asarray(px, np.float64) - self.K[:2, 2]) / self.K[[0, 1], [0, 1]]
        if self.is_distorted:
            flat = undistort(flat, self.distortion)
        return np.concatenate((flat, np.ones((len(flat), 1))), axis=1)

    def maps(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(H, W) columns and rows for cv2.remap: where a picture without distortion holds what each pixel shows.

        Counted as OpenCV does, the centre of the first pixel at 0.
        """
        flat = self.rays()[..., :2] * self.K[[0, 1], [0, 1]] + self.K[:2, 2] - 0.5
        return flat[..., 0].astype(np.float32), flat[..., 1].astype(np.float32)

    def calibration(self) -> dict[str, Any]:
        """What a calibration file says of it."""
        return {
            "camera": self.name,
            "width": self.size[0],
            "height": self.size[1],
            "K": self.K.tolist(),
            "R": self.R.tolist(),
            "t": self.t.tolist(),
            "distortion": self.distortion.tolist(),
            "units": "metres",
            "convention": "x_cam = R x_world + t; x right, y down, z forward; pixel centre of the first pixel at"
            " (0.5, 0.5); ground plane z=0",
            "position": self.centre_m.tolist(),
        }


def looking(at: tuple[float, float, float], to: tuple[float, float, float]) -> Floats:
    """(3, 3) world -> camera of a level camera that stands ``at`` and looks ``to``.

    Raises:
        ValueError: Both are one point.
    """
    ahead = np.subtract(to, at).astype(np.float64)
    if not ahead.any():
        raise ValueError("a camera must look at a point other than where it stands")
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    if np.linalg.norm(right) < 1e-6:  # straight down or up: the picture's top is +y
        right = np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(ahead, right), ahead))


def distort(flat: Floats, distortion: NDArray[np.floating]) -> Floats:
    """Where the lens bends points (..., 2) at depth 1 to."""
    k1, k2, p1, p2, k3 = distortion.tolist()
    x, y = flat[..., 0], flat[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ),
        axis=-1,
    )


def undistort(bent: Floats, distortion: NDArray[np.floating]) -> Floats:
    """The inverse of `distort` within its reach, by Newton's method to rounding."""
    k1, k2, p1, p2, k3 = distortion.tolist()
    flat = bent.copy()
    for _ in range(12):
        x, y = flat[..., 0], flat[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))  # d radial / d r2, twice
        miss = distort(flat, distortion) - bent
        xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
        yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
        xy = slope * x * y + 2 * p1 * x + 2 * p2 * y
        scale = 1 / np.maximum(xx * yy - xy * xy, 1e-3)
        step = np.stack(
            (yy * miss[..., 0] - xy * miss[..., 1], xx * miss[..., 1] - xy * miss[..., 0]), axis=-1
        )
        flat = flat - step * scale[..., None]
        if not len(flat) or np.abs(miss).max() < 1e-13:
            break
    return flat


@lru_cache(maxsize=64)
def _reach2(distortion: tuple[float, ...]) -> float:
    """The square of the radius where distorted radius stops to grow; 1e6 where it never does."""
    k1, k2, _, _, k3 = distortion
    # d/dr of r (1 + k1 r^2 + k2 r^4 + k3 r^6) = 1 + 3 k1 s + 5 k2 s^2 + 7 k3 s^3 with s = r^2
    roots = np.roots([7 * k3, 5 * k2, 3 * k1, 1.0]) if any((k1, k2, k3)) else np.zeros(0)
    real = [float(root.real) for root in roots if abs(root.imag) < 1e-9 and root.real > 0]
    return 0.98 * min(real, default=1e6)


@lru_cache(maxsize=16)
def _all_rays(size: tuple[int, int], K: bytes, distortion: bytes) -> Floats:
    width, height = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    camera = Camera(
        "", size, np.frombuffer(K).reshape(3, 3), np.eye(3), np.zeros(3), np.frombuffer(distortion)
    )
    rays = camera.rays(np.stack((x.ravel(), y.ravel()), axis=1)).reshape(height, width, 3)
    rays.setflags(write=False)
    return rays


def _wobbles(rng: np.random.Generator, rms_rad: float) -> Floats:
    """(WOBBLE_WAVES, 5) sinusoids whose sum nods and turns by ``rms_rad`` root mean square, in both together."""
    hz = np.exp(rng.uniform(math.log(WOBBLE_HZ[0]), math.log(WOBBLE_HZ[1]), WOBBLE_WAVES))
    phase = rng.uniform(0, 2 * math.pi, WOBBLE_WAVES)
    axes = rng.normal(size=(WOBBLE_WAVES, 3)) * (1, 1, ROLL_SHARE) / hz[:, None] ** 0.5
    power = (axes[:, :2] ** 2).sum() / 2  # a sinusoid's mean square is half its amplitude's
    return np.column_stack((hz, phase, axes * rms_rad / math.sqrt(power)))


def _sum(waves: Floats, t_s: float) -> Floats:
    """(3,) rad, the rotation vector at a time."""
    return np.asarray((np.sin(2 * math.pi * waves[:, :1] * t_s + waves[:, 1:2]) * waves[:, 2:]).sum(axis=0))


def _rotation(vector: Floats) -> Floats:
    """(3, 3) of a rotation vector (3,) rad (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)
