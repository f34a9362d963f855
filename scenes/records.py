"""The records that flow between the parts of a scene.

The world is in metres, z up, the floor at z = 0. A figure at rest stands in its own frame: x to its left, y up, z
forward, the soles at y = 0. All angles are radians, counted from the world's x axis to its y axis. Arrays are
read-only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

WALKING, STANDING, SEATED, ABSENT = range(4)  # what somebody does: `Trajectory.activity`


class _Columns:
    """Makes the arrays of a frozen record read-only."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)


@dataclass(frozen=True)
class Skeleton(_Columns):
    """B bones at rest, every parent before its children."""

    names: tuple[str, ...]
    parents: NDArray[np.int32]  # (B,) row of the parent, -1 for the root
    heads: NDArray[np.float32]  # (B, 3) m, where each bone begins: the joint it turns about
    tails: NDArray[np.float32]  # (B, 3) m, where it ends


@dataclass(frozen=True)
class Surface(_Columns):
    """V painted points and T triangles, of a place or of a dressed figure at rest.

    ``pattern`` says how ``colour`` and ``colour2`` are mixed, at the place ``paint`` (m, not moved by the pose) and
    the density ``frequency`` (1/m). Where ``mask``, interpolated, is negative there is a hole: so a garment ends at a
    smooth line and not at the triangles' edges.
    """

    vertices: NDArray[np.float32]  # (V, 3) m
    normals: NDArray[np.float32]  # (V, 3) unit
    triangles: NDArray[np.int32]  # (T, 3) counter-clockwise from outside
    colour: NDArray[np.float32]  # (V, 3) red, green, blue in [0, 1], as a display shows them (sRGB)
    colour2: NDArray[np.float32]  # (V, 3)
    pattern: NDArray[np.int32]  # (V,) one of scenes.patterns; the same for all corners of a triangle
    frequency: NDArray[np.float32]  # (V,)
    gloss: NDArray[np.float32]  # (V,) in [0, 1]: 0 cloth, 1 polished
    paint: NDArray[np.float32]  # (V, 3) m
    mask: NDArray[np.float32]  # (V,)


@dataclass(frozen=True)
class Figure(_Columns):
    """A dressed person at rest, ready to be posed."""

    surface: Surface
    bones: NDArray[np.int32]  # (V, 8) rows of the skeleton
    weights: NDArray[np.float32]  # (V, 8) >= 0, in sum 1
    skeleton: Skeleton
    height_m: float  # from sole to crown, without shoes and hat
    ball_bones: NDArray[
        np.int32
    ]  # (S,) bones of the S balls that fill figure, clothes and bags: a body without pixels
    ball_centres: NDArray[np.float32]  # (S, 3) m, at rest
    ball_radii: NDArray[np.float32]  # (S,) m


@dataclass(frozen=True)
class Trajectory(_Columns):
    """Where one person is at N evenly spaced times.

    While SEATED the place is that of the feet, just in front of the seat, and the heading looks away from the seat:
    the pelvis is a thigh's length behind. While ABSENT the place is the last or next one and means nothing.
    """

    person: int  # number in the scene, from 1: the id in all truth
    t_s: NDArray[np.float64]  # (N,) since the scene began
    xy_m: NDArray[np.float64]  # (N, 2) on the floor
    heading_rad: NDArray[np.float64]  # (N,) where the body faces, continuous: no jumps by 2 pi
    activity: NDArray[np.int8]  # (N,) WALKING, STANDING, SEATED or ABSENT: not in the scene
    seat_m: float = 0.45  # height of the seat while SEATED


@dataclass(frozen=True)
class Truth(_Columns):
    """What one camera shows at one time: N people, as columns of equal length."""

    t_s: float
    ids: NDArray[np.int32]  # (N,) people, rising
    boxes: NDArray[
        np.float32
    ]  # (N, 4) x1 y1 x2 y2 px of the whole silhouette, also where it leaves the picture
    visibility: NDArray[
        np.float32
    ]  # (N,) share of the silhouette that is seen, in [0, 1]; beyond the edge is not seen
    floor_xy_m: NDArray[np.float64]  # (N, 2)
    heading_rad: NDArray[np.float64]  # (N,)


@dataclass(frozen=True)
class Picture(_Columns):
    """One camera at one time, and what every pixel of it shows."""

    image: NDArray[np.uint8]  # (H, W, 3) BGR
    truth: Truth
    masks: NDArray[np.int32] | None = None  # (H, W) person seen in each pixel, 0 nobody
    depth: NDArray[np.float32] | None = None  # (H, W) m along the optical axis
    flow: NDArray[np.float32] | None = (
        None  # (H, W, 2) px to where the same surface point is at the next frame
    )
    hidden_next: NDArray[np.bool_] | None = None  # (H, W) that point is not seen in the next frame
