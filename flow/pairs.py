"""Pairs of pictures with their exact flow, drawn on the fly from random numbers.

After FlyingChairs (Dosovitskiy, Fischer et al. 2015, "FlowNet", sec. 4.2): textured things fly over a textured
background, each by a motion of its own on top of the background's. A share of the pairs looks as a surveillance camera
does instead: a still or shaking background and people, their limbs swinging, who move a few pixels.

Every thing is a figure, a surface and a motion from ``before`` to ``after``; figure and surface are drawn anew in each
picture, so the flow and what is hidden follow from the motions and are not estimated from pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from flow.exposure import photograph
from flow.figures import Figure, placed, thing, walker
from flow.motion import Matrix, Motion, apply, bent, homography, long_tail, similarity
from flow.textures import Image, TextureBank

REFERENCE_WIDTH = (
    512.0  # displacements are those of FlyingChairs for a picture this wide, others scale with the width
)
MOST_LAYERS = 255  # their numbers fit into a byte, and one is left for what lies outside
FINE_BELOW = 4096  # px; the rims of larger things are cut from fewer samples a pixel, which would be dear


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

    figure: Figure | None  # in before; None covers everything
    surface: Image
    surface_from_before: Matrix
    motion: Motion
    tint: Matrix  # (3, 4) colour of the surface to colour of the picture
    person: int = 0
    shade: float = 0.0  # above 0 it is no thing but a shadow that takes this share of the light below it


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
        if rng.random() < 0.1:
            self._bank.renew()
        if rng.random() < self._surveillance:
            layers = self._street(height, width)
        else:
            layers = self._chairs(height, width)
        pair = compose(layers[:MOST_LAYERS], height, width)
        if rng.random() < 0.2:
            self._bank.keep(pair.before)
        before, after = photograph(rng, pair.before, pair.after)
        return replace(pair, before=before, after=after)

    def _chairs(self, height: int, width: int) -> list[Layer]:
        """Things of every shape and size flying over a moving background."""
        rng, unit = self._rng, width / REFERENCE_WIDTH
        camera = self._camera(height, width, 0.85, 6.0 * unit, turn=0.02, zoom=0.025)
        bending = rng.random() < 0.1
        layers = [self._layer(None, bent(rng, camera.matrix, 0.5 * width) if bending else camera)]
        for _ in range(int(rng.integers(4, 20))):
            centre = rng.uniform(-0.05, 1.05, 2) * [width, height]
            size = width * float(np.exp(rng.uniform(np.log(0.03), np.log(0.45))))
            shift = long_tail(rng, 15.0 * unit)
            own = homography(rng, centre, 2 * size, shift=shift, turn=0.08, zoom=0.06)
            if rng.random() < 0.15:
                layers += self._person(
                    centre, min(2 * size, 1.2 * height), shift, camera.after(Motion(own)), layers
                )
                continue
            still = Motion(own) if rng.random() < 0.88 else bent(rng, own, size)
            layers += self._thing(centre, size, camera.after(still), shadow=0.15)
        return layers

    def _street(self, height: int, width: int) -> list[Layer]:
        """People and a few things over a background that stays, or shakes with the camera."""
        rng, unit = self._rng, width / REFERENCE_WIDTH
        camera = self._camera(height, width, 0.4, 6.0 * unit, turn=0.006, zoom=0.006)
        layers = self._room(height, width, camera)
        tall = float(np.exp(rng.uniform(np.log(0.12), np.log(0.8)))) * height
        feet = np.sort(rng.uniform(0.3, 1.15, int(rng.integers(2, 13)))) * height  # the nearest is drawn last
        for foot in feet:
            size = tall * (0.4 + 0.6 * foot / height) * rng.uniform(0.85, 1.15)
            centre = np.array([rng.uniform(0, 1) * width, foot - size / 2])
            speed = float(np.exp(rng.uniform(np.log(1.5), np.log(48.0)))) * unit * (rng.random() < 0.9)
            heading = rng.uniform(0, 2 * np.pi)
            step = speed * np.array([np.cos(heading), 0.4 * np.sin(heading)])
            own = homography(rng, centre, size, shift=step, turn=0.01, zoom=0.015)
            layers += self._person(centre, size, step, camera.after(Motion(own)), layers)
            if rng.random() < 0.15:  # a post, a table: what people walk behind
                spot = rng.uniform(0, 1, 2) * [width, height]
                layers += self._thing(spot, width * rng.uniform(0.03, 0.15), camera, shadow=0.0)
        return layers

    def _camera(
        self, height: int, width: int, share: float, shift: float, *, turn: float, zoom: float
    ) -> Motion:
        """What the whole picture does: nothing, but for ``share`` of the pairs."""
        if self._rng.random() >= share:
            return Motion(np.eye(3))
        middle, step = np.array([width / 2, height / 2]), long_tail(self._rng, shift)
        return Motion(homography(self._rng, middle, width, shift=step, turn=turn, zoom=zoom))

    def _room(self, height: int, width: int, camera: Motion) -> list[Layer]:
        """A floor running away, walls, and things that stand about."""
        rng = self._rng
        floor = self._layer(None, camera)
        if rng.random() < 0.6:
            floor = replace(
                floor, surface_from_before=floor.surface_from_before @ _receding(height, rng.uniform(0, 1))
            )
        layers = [floor]
        for _ in range(int(rng.integers(0, 4))):
            left, right = np.sort(rng.uniform(-0.3, 1.3, 2)) * width
            foot = rng.uniform(0.1, 0.5, 2) * height
            wall = np.array(
                [[left, -0.1 * height], [right, -0.1 * height], [right, foot[0]], [left, foot[1]]]
            )
            layers.append(self._layer(((wall,),), camera))
        for _ in range(int(rng.integers(0, 9))):
            centre, size = rng.uniform(0, 1, 2) * [width, height], width * rng.uniform(0.03, 0.25)
            layers += self._thing(centre, size, camera, shadow=0.3)
        return layers

    def _layer(self, figure: Figure | None, motion: Motion, person: int = 0) -> Layer:
        rng = self._rng
        zoom, turn = float(np.exp(rng.uniform(np.log(0.6), np.log(1.8)))), rng.uniform(0, 2 * np.pi)
        if figure is None and rng.random() < 0.7:
            turn = 0.05 * rng.standard_normal()  # a background is mostly upright
        surface_from_before = similarity(turn, zoom, rng.uniform(0, 1000, 2))
        return Layer(figure, self._bank.any(), surface_from_before, motion, tint(rng), person)

    def _thing(self, centre: NDArray, size: float, motion: Motion, *, shadow: float) -> list[Layer]:
        """A thing, with chance ``shadow`` after the shadow that moves with it."""
        layer = self._layer(thing(self._rng, centre, size), motion)
        if self._rng.random() >= shadow or layer.figure is None:
            return [layer]
        aside = self._rng.normal(0, 0.15 * size, 2)
        figure = placed(layer.figure, np.eye(2), aside)
        return [replace(layer, figure=figure, shade=float(self._rng.uniform(0.15, 0.6))), layer]

    def _person(
        self, centre: NDArray, tall: float, step: NDArray, motion: Motion, others: list[Layer]
    ) -> list[Layer]:
        """A walker, each limb turning about its joint while the whole of it moves, some with a shadow."""
        rng, number = self._rng, 1 + max((layer.person for layer in others), default=0)
        looks = {
            part: self._layer(None, motion)
            for part in ("skin", "hair", "shirt", "trousers", "sleeves", "bag")
        }
        if rng.random() < 0.6:
            looks["sleeves"] = looks["shirt"]
        limbs = walker(rng, centre, tall, float(np.hypot(*step)))
        layers = [
            replace(
                looks[limb.part], figure=limb.figure, motion=Motion(motion.matrix @ limb.swing), person=number
            )
            for limb in limbs
        ]
        if rng.random() < 0.5:
            fall = np.array([[1.0, rng.normal(0, 0.7)], [0.0, rng.uniform(-0.3, 0.5)]])  # flat onto the floor
            foot = centre + [0.0, tall / 2]
            upright = tuple(outline for limb in limbs for outline in limb.figure)
            laid = placed(placed(upright, np.eye(2), -foot), fall.T, foot)
            shadow = replace(
                layers[0], figure=laid, motion=motion, shade=float(rng.uniform(0.15, 0.6)), person=0
            )
            layers.insert(0, shadow)
        return layers


def draw_pair(rng: np.random.Generator, height: int, width: int) -> Pair:
    """One pair; who wants many keeps a ``Drawer``, whose surfaces serve for all of them."""
    return Drawer(rng, textures=12).draw(height, width)


def _receding(height: int, depth: float) -> Matrix:
    """From the picture to a floor, in near pixels: at the upper edge it is (1 + ``depth``) squared times as dense."""
    slope = depth / height
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -float(height)], [0.0, slope, 1.0]])
    matrix[2] /= 1.0 + depth  # 1 at the lower edge, 1 / (1 + depth) at the upper one
    return matrix


def tint(rng: np.random.Generator) -> Matrix:
    """A change of colours: (3, 4), channels swapped and mixed, brightened or darkened."""
    mix = np.eye(3)[rng.permutation(3)] * rng.uniform(0.7, 1.2, (3, 1))
    mix = (mix + rng.normal(0, 0.06, (3, 3))) * rng.choice([1.0, rng.uniform(0.2, 1.2)])
    if rng.random() < 0.15:
        mix = np.full((3, 3), 1 / 3) * rng.uniform(0.3, 1.2)
    return np.hstack([mix, rng.uniform(-30, 30, (3, 1)) + rng.uniform(-20, 20)])


# Pictures from layers


def compose(layers: Sequence[Layer], height: int, width: int) -> Pair:
    """The scene before and after, and the flow and hiding that follow from the layers' motions.

    Args:
        layers: 1 to ``MOST_LAYERS`` of them, the first covering everything.
        height: Of the pictures, px.
        width: Of the pictures, px.
    """
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
        if layer.figure is None:
            picture[:] = _surface(layer, moved, 0, 0, width, height)
            continue
        curves = [
            layer.motion.forward(curve) if moved else curve for outline in layer.figure for curve in outline
        ]
        left, upper, right, lower = _box(curves, height, width)
        if right <= left or lower <= upper:
            continue
        holes = [len(outline) for outline in layer.figure]
        alpha = _cover(curves, holes, left, upper, right - left, lower - upper)
        region = picture[upper:lower, left:right]
        if layer.shade > 0:
            dark = 1.0 - layer.shade / 255.0 * cv2.blur(alpha, (5, 5))
            region[:] = (region * dark[..., None]).astype(np.uint8)
            continue
        surface = _surface(layer, moved, left, upper, right - left, lower - upper)
        weight = alpha.astype(np.float32) / 255.0
        region[:] = cv2.blendLinear(surface, region, weight, 1.0 - weight)
        top[upper:lower, left:right][alpha > 127] = number
    return picture, top


def _box(curves: Sequence[NDArray], height: int, width: int) -> tuple[int, int, int, int]:
    """The pixels a thing can touch: left, upper and, exclusive, right, lower."""
    points = curves[0] if len(curves) == 1 else np.concatenate(list(curves))
    (left, upper), (right, lower) = points.min(0), points.max(0)
    return (
        max(int(left) - 1, 0),
        max(int(upper) - 1, 0),
        min(int(right) + 3, width),
        min(int(lower) + 3, height),
    )


def _cover(
    curves: Sequence[NDArray], holes: Sequence[int], left: int, upper: int, wide: int, high: int
) -> NDArray[np.uint8]:
    """How much of each pixel lies within: (high, wide) in [0, 255].

    Args:
        curves: Of all outlines, one after another.
        holes: How many of them each outline has.
        left: Of the box, px.
        upper: Of the box, px.
        wide: Of the box, px.
        high: Of the box, px.
    """
    fine = 4 if wide * high < FINE_BELOW else 2  # samples a pixel, each way
    samples = np.zeros((high * fine, wide * fine), np.uint8)
    # A pixel reaches half a pixel to each side of its centre, which is a whole number; so does a sample.
    corner = np.array([left - 0.5, upper - 0.5])
    fixed = [np.rint(((curve - corner) * fine - 0.5) * 16).astype(np.int32) for curve in curves]
    start = 0
    for count in holes:
        cv2.fillPoly(samples, fixed[start : start + count], 255, cv2.LINE_8, 4)
        start += count
    return np.asarray(cv2.resize(samples, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)


def _surface(layer: Layer, moved: bool, left: int, upper: int, wide: int, high: int) -> Image:
    """The layer's surface as one of the pictures shows it within a box: (high, wide, 3)."""
    if moved and len(layer.motion.waves):
        x, y = np.meshgrid(np.arange(left, left + wide), np.arange(upper, upper + high))
        before = layer.motion.backward(np.stack([x, y], -1).astype(np.float64))
        at = apply(layer.surface_from_before, before).astype(np.float32)
        seen = cv2.remap(
            layer.surface, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
    else:
        surface_from_here = layer.surface_from_before @ (
            np.linalg.inv(layer.motion.matrix) if moved else np.eye(3)
        )
        surface_from_here[:, 2] += surface_from_here[:, :2] @ [left, upper]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (wide, high)
        seen = cv2.warpPerspective(
            layer.surface, surface_from_here, size, flags=flags, borderMode=cv2.BORDER_REFLECT
        )
    return np.asarray(cv2.transform(seen, layer.tint), np.uint8)


def _flow(layers: Sequence[Layer], top: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Displacement of what is on top at each pixel: (H, W, 2)."""
    height, width = top.shape
    matrices = np.stack([layer.motion.matrix for layer in layers]).astype(np.float32)
    flow = np.empty((height, width, 2), np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    own = matrices[top]  # (H, W, 3, 3)
    w = own[..., 2, 0] * x + own[..., 2, 1] * y + own[..., 2, 2]
    flow[..., 0] = (own[..., 0, 0] * x + own[..., 0, 1] * y + own[..., 0, 2]) / w - x
    flow[..., 1] = (own[..., 1, 0] * x + own[..., 1, 1] * y + own[..., 1, 2]) / w - y
    for number, layer in enumerate(layers):
        if len(layer.motion.waves):
            row, column = np.nonzero(top == number)
            points = np.stack([column, row], -1).astype(np.float64)
            flow[row, column] = layer.motion.forward(points) - points
    return flow
