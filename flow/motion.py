"""Motions of things in the picture plane: a homography, and for things that bend a few waves before it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]  # (3, 3), acts on (x, y, 1) as columns


@dataclass(frozen=True)
class Motion:
    """Where the points of ``before`` are in ``after``: first bent, then moved by a homography.

    The waves are kept so weak that bending has an inverse: the sum of their amplitudes times their wave numbers, the
    steepest the bend can be, stays below 1.
    """

    matrix: Matrix
    waves: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros((0, 5))
    )  # (K, 5) kx, ky rad/px, phase, ax, ay px

    def forward(self, points: NDArray) -> NDArray[np.float64]:
        """Points of before (K, 2) as they lie in after."""
        return apply(self.matrix, points + self._bend(points) if len(self.waves) else points)

    def backward(self, points: NDArray) -> NDArray[np.float64]:
        """Points of after (K, 2) as they lay in before.

        Where the motion bends, a fixed point of p = unmoved - bend(p): each step shrinks the error by the steepness,
        at most a quarter for what ``bent`` makes, so that under 0.01 px of 10 are left after five.
        """
        unmoved = apply(np.asarray(np.linalg.inv(self.matrix)), points)
        found = unmoved
        for _ in range(5 if len(self.waves) else 0):
            found = unmoved - self._bend(found)
        return found

    def after(self, earlier: "Motion") -> "Motion":
        """``earlier`` and then this one, which must not bend."""
        assert not len(self.waves)
        return Motion(self.matrix @ earlier.matrix, earlier.waves)

    def _bend(self, points: NDArray) -> NDArray[np.float64]:
        bend = np.zeros(points.shape)
        for kx, ky, phase, ax, ay in self.waves:
            wave = np.sin(kx * points[..., 0] + ky * points[..., 1] + phase)
            bend[..., 0] += ax * wave
            bend[..., 1] += ay * wave
        return bend


def similarity(turn: float, zoom: float, shift: NDArray) -> Matrix:
    """Turned by ``turn`` radian and zoomed about the origin, then shifted by (2,) px."""
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [0.0, 0.0, 1.0]])


def about(matrix: Matrix, centre: NDArray) -> Matrix:
    """The same motion with ``centre`` (2,) as its origin."""
    return similarity(0.0, 1.0, centre) @ matrix @ similarity(0.0, 1.0, -np.asarray(centre, float))


def apply(matrix: Matrix, points: NDArray) -> NDArray[np.float64]:
    """Points (..., 2) moved by a homography."""
    moved = points @ matrix[:2, :2].T + matrix[:2, 2]
    if matrix[2, 0] == 0 and matrix[2, 1] == 0:
        return np.asarray(moved / matrix[2, 2])
    return np.asarray(moved / (points @ matrix[2, :2] + matrix[2, 2])[..., None])


def homography(
    rng: np.random.Generator, centre: NDArray, size: float, *, shift: NDArray, turn: float, zoom: float
) -> Matrix:
    """A motion about ``centre``: mostly a similarity, sometimes sheared, sometimes of a plane in depth.

    Args:
        rng: Where every choice comes from.
        centre: (2,) its fixed point, but for the shift.
        size: How far across the moving thing is, in px; bounds the perspective.
        shift: (2,) displacement of the centre in px.
        turn: Scale of the angle, radian.
        zoom: Scale of the logarithm of the zoom.
    """
    angle, scale = turn * rng.standard_t(3), np.exp(np.clip(zoom * rng.standard_t(3), -0.5, 0.5))
    own = similarity(float(np.clip(angle, -1, 1)), float(scale), np.zeros(2))
    kind = rng.random()
    if kind < 0.25:
        own[:2, :2] += rng.normal(0, zoom, (2, 2)).clip(-0.2, 0.2)
    elif kind < 0.4:
        own[2, :2] = np.clip(rng.normal(0, 0.5 * zoom, 2), -0.3, 0.3) / size
    return similarity(0.0, 1.0, shift) @ about(own, centre)


def bent(rng: np.random.Generator, matrix: Matrix, size: float) -> Motion:
    """A homography of something about ``size`` px across that bends as well, as cloth and rubber do."""
    count = int(rng.integers(1, 4))
    length = size * np.exp(rng.uniform(np.log(0.6), np.log(3.0), count))  # of a wave, px
    heading, way = rng.uniform(0, 2 * np.pi, (2, count))
    number = 2 * np.pi / length
    amplitude = rng.uniform(0.03, 0.25, count) / count / number
    waves = [number * np.cos(heading), number * np.sin(heading), rng.uniform(0, 2 * np.pi, count)]
    return Motion(matrix, np.stack([*waves, amplitude * np.cos(way), amplitude * np.sin(way)], -1))


def long_tail(rng: np.random.Generator, scale: float) -> NDArray[np.float64]:
    """A displacement of any direction; half of them are shorter than about 0.4 ``scale``, a few very much longer."""
    length = scale * min(float(rng.gamma(0.7)) * np.exp(0.5 * rng.standard_normal()), 12.0)
    angle = rng.uniform(0, 2 * np.pi)
    return length * np.array([np.cos(angle), np.sin(angle)])
