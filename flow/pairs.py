"""Pairs of pictures with their exact flow, drawn on the fly from random numbers.

After FlyingChairs (Dosovitskiy, Fischer et al. 2015, "FlowNet", sec. 4.2): textured things fly over a textured
background, each by a motion of its own on top of the background's. A share of the pairs looks as a surveillance camera
does instead: a still or shaking background and people, their limbs swinging, who move a few pixels.

Every thing is an outline, a surface and a homography from ``before`` to ``after``; outline and surface are drawn anew
in each picture, so the flow and what is hidden follow from the homographies and are not estimated from pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.exposure import photograph
from flow.figures import Matrix, Outline, about, similarity, thing, walker
from flow.textures import Image, TextureBank

REFERENCE_WIDTH = (
    512.0  # displacements are those of FlyingChairs for a picture this wide, others scale with the width
)


@dataclass(frozen=True)
class Pair:
    """Two pictures of one scene and how the first became the second."""

    before: Image  # (H, W, 3) BGR
    after: Image  # (H, W, 3) BGR
    flow: NDArray[np.float32]  # (H, W, 2) x, y in pixels from before to after, at pixels of before
    hidden: NDArray[np.bool_]  # (H, W) True where that point of before is covered or outside in after
    people: NDArray[np.uint8]  # (H, W) 0 background or thing, else a person's number in before
    gap: int = 1  # frames from before to after


@dataclass(frozen=True)
class Layer:
    """One thing of the scene, over all layers before it."""

    outline: Outline | None  # in before; None covers everything
    surface: Image
    surface_from_before: Matrix
    after_from_before: Matrix
    tint: Matrix  # (3, 4) colour of the surface to colour of the picture
    person: int = 0


class Drawer:
    """Draws pairs without end; the same generator state gives the same pairs.

    Args:
        rng: Where every choice comes from.
        surveillance: Share of the pairs that look as a surveillance camera does, in [0, 1].
        textures: Surfaces kept in the bank.
    """

    def __init__(self, rng: np.random.Generator, *, surveillance: float = 0.35, textures: int = 64) -> None:
        self._rng = rng
        self._surveillance = surveillance
        self._bank = TextureBank(rng, textures)

    def draw(self, height: int, width: int) -> Pair:
        """A new pair of pictures of ``height`` x ``width`` pixels."""
        rng = self._rng
        if rng.random() < 0.25:
            self._bank.renew()
        if rng.random() < self._surveillance:
            layers = self._street(height, width)
        else:
            layers = self._chairs(height, width)
        pair = compose(layers, height, width)
        if rng.random() < 0.1:
            self._bank.keep(pair.before)
        before, after = photograph(rng, pair.before, pair.after)
        return replace(pair, before=before, after=after)

    # What there is to see

    def _chairs(self, height: int, width: int) -> list[Layer]:
        """Things of every shape and size flying over a moving background."""
        rng, unit = self._rng, width / REFERENCE_WIDTH
        middle = np.array([width / 2, height / 2])
        camera = np.eye(3)
        if rng.random() < 0.8:
            camera = homography(rng, middle, width, shift=_long_tail(rng, 6.0 * unit), turn=0.02, zoom=0.03)
        layers = [self._layer(None, camera, width)]
        for _ in range(int(rng.integers(4, 20))):
            centre = rng.uniform(-0.05, 1.05, 2) * [width, height]
            size = width * float(np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
            shift = _long_tail(rng, 9.0 * unit)
            own = homography(rng, centre, 2 * size, shift=shift, turn=0.08, zoom=0.06)
            if rng.random() < 0.15:
                layers += self._person(centre, 3 * size, camera @ own, width, person=next_person(layers))
            else:
                layers.append(self._layer(thing(rng, centre, size), camera @ own, width))
        return layers

    def _street(self, height: int, width: int) -> list[Layer]:
        """People and a few things over a background that stays, or shakes with the camera."""
        rng, unit = self._rng, width / REFERENCE_WIDTH
        middle = np.array([width / 2, height / 2])
        camera = np.eye(3)
        if rng.random() < 0.4:
            camera = homography(rng, middle, width, shift=_long_tail(rng, 5.0 * unit), turn=0.006, zoom=0.006)
        layers = [self._layer(None, camera, width)]
        for _ in range(int(rng.integers(0, 8))):  # furniture, cars, walls: parts of the background
            centre, size = rng.uniform(0, 1, 2) * [width, height], width * rng.uniform(0.03, 0.25)
            layers.append(self._layer(thing(rng, centre, size), camera, width))
        tall = float(np.exp(rng.uniform(np.log(0.12), np.log(0.75)))) * height
        feet = np.sort(rng.uniform(0.3, 1.15, int(rng.integers(2, 13)))) * height  # the nearest is drawn last
        for foot in feet:
            size = tall * (0.4 + 0.6 * foot / height) * rng.uniform(0.85, 1.15)
            centre = np.array([rng.uniform(0, 1) * width, foot - size / 2])
            speed = float(np.exp(rng.uniform(np.log(1.0), np.log(32.0)))) * unit * (rng.random() < 0.9)
            heading = rng.uniform(0, 2 * np.pi)
            step = speed * np.array([np.cos(heading), 0.4 * np.sin(heading)])
            own = homography(rng, centre, size, shift=step, turn=0.01, zoom=0.015)
            layers += self._person(centre, size, camera @ own, width, person=next_person(layers))
            if rng.random() < 0.1:  # a post, a table: what people walk behind
                spot = rng.uniform(0, 1, 2) * [width, height]
                layers.append(self._layer(thing(rng, spot, width * rng.uniform(0.03, 0.12)), camera, width))
        return layers

    def _layer(self, outline: Outline | None, motion: Matrix, width: int, person: int = 0) -> Layer:
        rng = self._rng
        zoom, turn = float(np.exp(rng.uniform(np.log(0.5), np.log(1.6)))), rng.uniform(0, 2 * np.pi)
        zoom *= 320.0 / width if outline is None else 1.0
        placed = similarity(turn, zoom, rng.uniform(0, 1000, 2))
        return Layer(outline, self._bank.any(), placed, motion, tint(rng), person)

    def _person(self, centre: NDArray, tall: float, motion: Matrix, width: int, person: int) -> list[Layer]:
        """A walker, each limb turning about its joint while the whole of it moves."""
        rng = self._rng
        looks = {part: self._layer(None, motion, width) for part in ("skin", "shirt", "trousers", "sleeves")}
        if rng.random() < 0.6:
            looks["sleeves"] = looks["shirt"]
        return [
            replace(
                looks[limb.part],
                outline=(limb.outline,),
                after_from_before=motion @ limb.swing,
                person=person,
            )
            for limb in walker(rng, centre, tall)
        ]


def draw_pair(rng: np.random.Generator, height: int, width: int) -> Pair:
    """One pair; who wants many keeps a ``Drawer``, whose surfaces serve for all of them."""
    return Drawer(rng, textures=12).draw(height, width)


# Motion


def homography(
    rng: np.random.Generator, centre: NDArray, size: float, *, shift: NDArray, turn: float, zoom: float
) -> Matrix:
    """A motion about ``centre``: mostly a similarity, sometimes sheared, sometimes of a plane in depth.

    Args:
        size: How far across the moving thing is, in px; bounds the perspective.
        shift: (2,) displacement of the centre in px.
        turn: Scale of the angle, radian.
        zoom: Scale of the logarithm of the zoom.
    """
    angle, scale = turn * rng.standard_t(3), np.exp(np.clip(zoom * rng.standard_t(3), -0.5, 0.5))
    own = similarity(float(np.clip(angle, -1, 1)), float(scale), np.zeros(2))
    kind = rng.random()
    if kind < 0.25:
        own[:2, :2] += rng.normal(0, zoom, (2, 2))
    elif kind < 0.4:
        own[2, :2] = np.clip(rng.normal(0, 0.5 * zoom, 2), -0.3, 0.3) / size
    moved = about(own, centre)
    return similarity(0.0, 1.0, shift) @ moved


def _long_tail(rng: np.random.Generator, scale: float) -> NDArray[np.float64]:
    """A displacement of any direction, its length of median about ``scale`` / 2 and with rare very long ones."""
    length = scale * min(float(rng.gamma(0.7)) * np.exp(0.5 * rng.standard_normal()), 14.0)
    angle = rng.uniform(0, 2 * np.pi)
    return length * np.array([np.cos(angle), np.sin(angle)])


def tint(rng: np.random.Generator) -> Matrix:
    """A change of colours: (3, 4), channels swapped and mixed, lifted or lowered."""
    mix = np.eye(3)[rng.permutation(3)] * rng.uniform(0.4, 1.3, (3, 1))
    mix = mix + rng.normal(0, 0.08, (3, 3))
    if rng.random() < 0.15:
        mix = np.full((3, 3), 1 / 3) * rng.uniform(0.5, 1.2)
    return np.hstack([mix, rng.uniform(-40, 40, (3, 1))])


def next_person(layers: Sequence[Layer]) -> int:
    """The first number that no layer's person has yet."""
    return 1 + max((layer.person for layer in layers), default=0)


# Pictures from layers


def compose(layers: Sequence[Layer], height: int, width: int) -> Pair:
    """The scene before and after, and the flow and hiding that follow from the layers' motions."""
    before, top_before = _paint(layers, height, width, moved=False)
    after, top_after = _paint(layers, height, width, moved=True)
    flow = _flow(layers, top_before)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    there = cv2.remap(
        top_after,
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=255,
    )
    people = np.array([layer.person for layer in layers], np.uint8)[top_before]
    return Pair(before, after, flow, np.asarray(there != top_before), people)


def _paint(
    layers: Sequence[Layer], height: int, width: int, *, moved: bool
) -> tuple[Image, NDArray[np.uint8]]:
    """One of the two pictures (H, W, 3), and which layer is on top at each of its pixels (H, W)."""
    picture = np.zeros((height, width, 3), np.uint8)
    top = np.zeros((height, width), np.uint8)
    for number, layer in enumerate(layers):
        here_from_before = layer.after_from_before if moved else np.eye(3)
        if layer.outline is None:
            picture[:] = _surface(layer, here_from_before, 0, 0, width, height)
            continue
        curves = [apply(here_from_before, curve) for curve in layer.outline]
        left, upper, right, lower = _box(curves, height, width)
        if right <= left or lower <= upper:
            continue
        alpha = _cover(curves, left, upper, right - left, lower - upper)
        surface = _surface(layer, here_from_before, left, upper, right - left, lower - upper)
        region = picture[upper:lower, left:right]
        weight = alpha.astype(np.float32) / 255.0
        region[:] = cv2.blendLinear(surface, region, weight, 1.0 - weight)
        top[upper:lower, left:right][alpha > 127] = number
    return picture, top


def _box(curves: Sequence[NDArray], height: int, width: int) -> tuple[int, int, int, int]:
    """The pixels a thing can touch: left, upper and, exclusive, right, lower."""
    points = np.concatenate(list(curves))
    left, upper = np.maximum(np.floor(points.min(0)) - 1, 0).astype(int)
    right, lower = np.minimum(np.ceil(points.max(0)) + 2, [width, height]).astype(int)
    return int(left), int(upper), int(right), int(lower)


def _cover(curves: Sequence[NDArray], left: int, upper: int, wide: int, high: int) -> NDArray[np.uint8]:
    """How much of each pixel lies within the curves: (high, wide) in [0, 255]."""
    alpha = np.zeros((high, wide), np.uint8)
    fixed = [np.rint((curve - [left, upper]) * 16).astype(np.int32) for curve in curves]
    cv2.fillPoly(alpha, fixed, 255, cv2.LINE_AA, 4)
    return alpha


def _surface(layer: Layer, here_from_before: Matrix, left: int, upper: int, wide: int, high: int) -> Image:
    """The layer's surface as this picture shows it within a box: (high, wide, 3)."""
    corner = similarity(0.0, 1.0, np.array([left, upper], float))
    surface_from_here = layer.surface_from_before @ np.linalg.inv(here_from_before) @ corner
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpPerspective(
        layer.surface, surface_from_here, (wide, high), flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(cv2.transform(seen, layer.tint), np.uint8)


def _flow(layers: Sequence[Layer], top: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Displacement of what is on top at each pixel: (H, W, 2)."""
    height, width = top.shape
    matrices = np.stack([layer.after_from_before for layer in layers]).astype(np.float32)
    flow = np.empty((height, width, 2), np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    own = matrices[top]  # (H, W, 3, 3)
    w = own[..., 2, 0] * x + own[..., 2, 1] * y + own[..., 2, 2]
    flow[..., 0] = (own[..., 0, 0] * x + own[..., 0, 1] * y + own[..., 0, 2]) / w - x
    flow[..., 1] = (own[..., 1, 0] * x + own[..., 1, 1] * y + own[..., 1, 2]) / w - y
    return flow


def apply(matrix: Matrix, points: NDArray) -> NDArray[np.float64]:
    """Points (K, 2) moved by a homography."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:])
