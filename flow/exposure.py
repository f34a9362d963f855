"""How a camera sees a scene: light, lens, sensor and coding, the same for a pair or differing between its pictures."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Exposure:
    """What a camera does to a picture; those of the scene and of the moment add up."""

    gain: float = 0.0  # of log brightness
    gamma: float = 0.0  # of log exponent
    lift: float = 0.0  # grey levels
    balance: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of log brightness of each channel
    blur: float = 0.0  # px, deviation
    smear: tuple[float, float] = (0.0, 0.0)  # px the camera moved while the shutter was open
    noise: float = 0.0  # grey levels, deviation
    quality: int = 100  # of JPEG; 100 is not coded

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float) -> "Exposure":
        """A camera in some light; ``strength`` 1 spans those of different cameras, less is one camera's wavering."""
        gain, gamma, lift = strength * rng.normal(0, [0.2, 0.25, 8.0])
        blue, green, red = strength * rng.normal(0, 0.08, 3)
        smeared = strength * rng.normal(0, 2.0, 2) if rng.random() < 0.1 else np.zeros(2)
        return cls(
            gain=float(gain),
            gamma=float(gamma),
            lift=float(lift),
            balance=(float(blue), float(green), float(red)),
            blur=float(strength * rng.exponential(0.8)) if rng.random() < 0.35 else 0.0,
            smear=(float(smeared[0]), float(smeared[1])),
            noise=float(strength * rng.exponential(5.0)) if rng.random() < 0.5 else 0.0,
            quality=int(rng.integers(25, 95)) if rng.random() < 0.25 else 100,
        )

    def __add__(self, other: "Exposure") -> "Exposure":
        """Both, one after the other."""
        blue, green, red = np.add(self.balance, other.balance).tolist()
        return Exposure(
            self.gain + other.gain,
            self.gamma + other.gamma,
            self.lift + other.lift,
            (blue, green, red),
            float(np.hypot(self.blur, other.blur)),
            (self.smear[0] + other.smear[0], self.smear[1] + other.smear[1]),
            float(np.hypot(self.noise, other.noise)),
            min(self.quality, other.quality),
        )


def photograph(rng: np.random.Generator, before: Image, after: Image) -> tuple[Image, Image]:
    """Both pictures through one camera, in most pairs with a change of its light, focus or noise between them."""
    camera = Exposure.draw(rng, 1.0)
    changes = rng.random() < 0.7
    moments = [Exposure.draw(rng, 0.35) if changes else Exposure() for _ in range(2)]
    first, second = (expose(rng, picture, camera + own) for picture, own in zip((before, after), moments))
    return first, second


def expose(rng: np.random.Generator, picture: Image, exposure: Exposure) -> Image:
    """The picture (H, W, 3) as the camera hands it over; its size and the place of things stay."""
    if exposure.blur > 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), exposure.blur), np.uint8)
    if np.hypot(*exposure.smear) > 1.0:
        picture = np.asarray(cv2.filter2D(picture, -1, _smear(exposure.smear)), np.uint8)
    picture = np.asarray(cv2.LUT(picture, _curve(exposure)), np.uint8)
    if exposure.noise > 0.5:
        picture = _noisy(rng, picture, exposure.noise)
    if exposure.quality < 100:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, exposure.quality])[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return picture


def _curve(exposure: Exposure) -> Image:
    """Grey level in to grey level out: (256, 1, 3)."""
    level = (np.arange(256) / 255.0) ** np.exp(exposure.gamma)
    bright = np.exp(exposure.gain + np.array(exposure.balance))
    return np.clip(255 * level[:, None, None] * bright + exposure.lift, 0, 255).astype(np.uint8)


def _smear(way: tuple[float, float]) -> NDArray[np.float32]:
    """The kernel of a straight movement, its middle where the thing is taken to be."""
    half = int(np.ceil(max(np.abs(way)) / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    ends = np.rint((half + np.array([-0.5, 0.5])[:, None] * np.array(way)) * 16).astype(int)
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_AA, 4)
    kernel += kernel[::-1, ::-1]  # the middle of mass exactly in the middle
    return np.asarray(kernel / kernel.sum(), np.float32)


@cache
def _grain() -> NDArray[np.float32]:
    """A million normal numbers, which pictures take a stretch of: drawing them anew would cost more than the rest."""
    return np.random.default_rng(0).standard_normal(1 << 20, dtype=np.float32)


def _noisy(rng: np.random.Generator, picture: Image, noise: float) -> Image:
    grain = _grain()
    start = int(rng.integers(max(grain.size - picture.size, grain.size // 2)))
    stretch = np.resize(grain[start:], picture.shape) if start + picture.size > grain.size else grain[start:]
    stretch = stretch.ravel()[: picture.size].reshape(picture.shape)
    return np.asarray(np.clip(picture + noise * stretch, 0, 255), np.uint8)
