"""What one camera makes of a clean picture: colours, contrast, blur, noise. Distortion is not here but in `camera`.

What settings leave open is drawn, as far from neutral as the scene's difficulty says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenes import settings

Image = NDArray[np.uint8]
NOISE_SIDE = 1024  # the noise is cut from one square of it, at another place and turned otherwise each time
MOST_NOISE = 24.0  # grey levels: so much is still counted in 16 bits
BLUR_STEPS = 7  # pictures that a motion blur is the mean of


@dataclass(frozen=True, eq=False)
class CameraLook:
    """One camera's look; the same picture and the same chance give the same result."""

    gain: tuple[float, float, float]  # red, green, blue
    gamma: float  # above 1: brighter
    saturation: float  # 1 as it is, 0 grey
    contrast: float  # 1 as it is
    noise: float  # grey levels, standard deviation in the middle greys
    blur_px: float  # standard deviation of the lens
    sharpening: float  # of what camera makers add: 0 none
    vignette: float  # share of light that the corners lose
    shutter_s: float  # how long the shutter is open
    _tables: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, said: settings.Camera, difficulty: float, rng: np.random.Generator) -> CameraLook:
        """The look that settings describe; chance draws the rest, always equally many numbers of it."""
        spread = 0.03 + 0.14 * difficulty
        brightness, warmth, tint = np.exp(rng.normal(0, (spread, spread, spread / 3)))
        gamma = float(np.exp(rng.normal(0, 0.05 + 0.16 * difficulty)))
        saturation = float(np.clip(rng.normal(0.95 - 0.15 * difficulty, 0.05 + 0.2 * difficulty), 0.3, 1.5))
        contrast = float(np.clip(rng.normal(1.0, 0.04 + 0.12 * difficulty), 0.7, 1.3))
        noise = float(rng.gamma(4, (0.6 + 5 * difficulty) / 4))
        blur_px = float(rng.gamma(4, (0.25 + 0.7 * difficulty) / 4))
        sharpening = float(rng.uniform(0, 0.8))
        vignette = float(rng.uniform(0, 0.08 + 0.2 * difficulty))
        drawn = (
            float(brightness * warmth),
            float(brightness * tint),
            float(brightness / warmth),
        )
        return cls(
            gain=drawn if said.gain is None else said.gain,
            gamma=gamma if said.gamma is None else said.gamma,
            saturation=saturation,
            contrast=contrast,
            noise=min(noise, MOST_NOISE) if said.noise is None else said.noise,
            blur_px=blur_px if said.blur is None else said.blur,
            sharpening=sharpening,
            vignette=vignette,
            shutter_s=said.shutter,
        )

    def apply(
        self,
        image: Image,
        rng: np.random.Generator,
        flow: NDArray[np.floating] | None = None,
        frame_s: float = 0.1,
    ) -> Image:
        """The picture as this camera gives it.

        Args:
            image: (H, W, 3) BGR, clean.
            rng: Of its noise.
            flow: (H, W, 2) px to the next frame; without it nothing is blurred by motion.
            frame_s: How long it takes until then.
        """
        if flow is not None and self.shutter_s > 0:
            image = smear(image, flow, self.shutter_s / frame_s)
        if self.blur_px > 0.2:
            image = _image(cv2.GaussianBlur(image, (0, 0), self.blur_px))
        if self.vignette > 0.02:
            image = _image(cv2.multiply(image, self._corners(image.shape[:2]), scale=1 / 255))
        image = _image(cv2.LUT(_image(cv2.transform(image, self._mixing())), self._curves()))
        if self.sharpening > 0.05:
            soft = cv2.GaussianBlur(image, (0, 0), 1.0)
            image = _image(cv2.addWeighted(image, 1 + self.sharpening, soft, -self.sharpening, 0))
        return self._grain(image, rng) if self.noise > 0 else np.ascontiguousarray(image)

    def _mixing(self) -> NDArray[np.float32]:
        """(3, 3) BGR -> BGR: less or more colour around the grey of the same brightness (BT.601)."""
        if "mixing" not in self._tables:
            grey = np.tile((0.114, 0.587, 0.299), (3, 1))
            mixing = self.saturation * np.eye(3) + (1 - self.saturation) * grey
            self._tables["mixing"] = mixing.astype(np.float32)
        mixing_matrix: NDArray[np.float32] = self._tables["mixing"]
        return mixing_matrix

    def _curves(self) -> Image:
        """(1, 256, 3) what each channel makes of a value."""
        if "curves" not in self._tables:
            value = np.linspace(0, 1, 256)[:, None] ** 2.2 * np.array(self.gain[::-1])
            shown = np.clip(value, 0, None) ** (1 / (2.2 * self.gamma))
            shown = (shown - 0.45) * self.contrast + 0.45
            shown = np.where(
                shown > 0.85, 0.85 + 0.15 * np.tanh((shown - 0.85) / 0.15), shown
            )  # no hard clipping
            self._tables["curves"] = np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)[None]
        curves: Image = self._tables["curves"]
        return curves

    def _corners(self, shape: tuple[int, int]) -> Image:
        """(H, W, 3) share of the light that arrives, 255 all."""
        if shape not in self._tables:
            y, x = (np.linspace(-1, 1, side) ** 2 for side in shape)
            kept = 1 - self.vignette * (y[:, None] + x[None]) / 2
            self._tables[shape] = np.repeat(np.rint(255 * kept).astype(np.uint8)[..., None], 3, axis=2)
        corners: Image = self._tables[shape]
        return corners

    def _grain(self, image: Image, rng: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        bank = _noise()
        if height > NOISE_SIDE or width > NOISE_SIDE:
            bank = np.tile(bank, (-(-height // NOISE_SIDE), -(-width // NOISE_SIDE), 1))
        top, left = rng.integers(0, (bank.shape[0] - height + 1, bank.shape[1] - width + 1))
        noise = bank[top : top + height, left : left + width]
        noise = noise[:: 1 - 2 * int(rng.integers(2)), :: 1 - 2 * int(rng.integers(2))]
        # The bank's deviation is 32, and 128 makes the shift round to the nearest.
        # Dark parts are lifted by the curve and noisier than bright ones.
        weight = np.int16(np.rint(self.noise * 256 / 32))
        wide = image.astype(np.int16)
        return np.clip(wide + ((noise * weight + 128) >> 8), 0, 255).astype(np.uint8)


def smear(image: Image, flow: NDArray[np.floating], share: float) -> Image:
    """A picture as of an open shutter: the mean along each pixel's way.

    Each pixel takes what its own surface passes over, and what a faster neighbour brings over it: the flow is widened
    around what moves, so that edges are blurred on both sides.

    Args:
        image: (H, W, 3).
        flow: (H, W, 2) px to the next frame.
        share: Of the time to the next frame in which the shutter is open.
    """
    way = np.asarray(flow, np.float32) * np.float32(share)
    speed = np.linalg.norm(way, axis=2)
    if not (speed > 0.3).any():
        return image
    reach = int(min(np.ceil(speed.max() / 2), 15))
    soft = cv2.blur(way * (speed > 0.3)[..., None], (2 * reach + 1, 2 * reach + 1))
    share_moving = cv2.blur((speed > 0.3).astype(np.float32), (2 * reach + 1, 2 * reach + 1))
    near = soft / np.maximum(share_moving, 1e-3)[..., None]
    way = np.where((speed > 0.3)[..., None], way, near * (share_moving > 0)[..., None])
    y, x = np.indices(speed.shape, np.float32)
    total = np.zeros(image.shape, np.float32)
    for step in np.linspace(-0.5, 0.5, BLUR_STEPS):
        moved = cv2.remap(
            image,
            x - np.float32(step) * way[..., 0],
            y - np.float32(step) * way[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        total += moved
    return np.rint(total / BLUR_STEPS).astype(np.uint8)


@lru_cache(maxsize=1)
def _noise() -> NDArray[np.int16]:
    """(NOISE_SIDE, NOISE_SIDE, 3) of deviation 32: brightness at the pixel, colour in blobs, as after demosaicing."""
    rng = np.random.default_rng(20)
    grey = cv2.GaussianBlur(rng.normal(size=(NOISE_SIDE, NOISE_SIDE)).astype(np.float32), (0, 0), 0.5)
    tint = cv2.GaussianBlur(rng.normal(size=(NOISE_SIDE, NOISE_SIDE, 3)).astype(np.float32), (0, 0), 1.3)
    noise = grey[..., None] / grey.std() + 0.45 * tint / tint.std()
    made = np.rint(32 * noise / noise.std()).astype(np.int16)
    made.setflags(write=False)
    return made


def _image(made: Any) -> Image:
    return np.asarray(made, np.uint8)
