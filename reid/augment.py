"""What a crop may suffer between two cameras: another box, another light, another lens, something in front.

Every step takes and gives (N, 3, H, W) float32 BGR, 0 to 255, on any device, leaves what it is given unchanged,
treats each picture on its own, and draws from the generator it is given and from nothing else: the same state
of the generator gives the same pictures again. How much it does stands in `Augmentation`.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.114, 0.587, 0.299)  # ITU-R BT.601, in the order blue, green, red


@dataclass(frozen=True)
class Augmentation:
    """How much of everything; a ``..._share`` is the chance of one picture, a pair is (least, most).

    Raises:
        ValueError: A share outside 0..1, or a pair in the wrong order.
    """

    mirror_share: float = 0.5
    scale: tuple[float, float] = (
        0.85,
        1.15,
    )  # the window's width, and on its own its height, against the box
    shift: float = 0.1  # of the window's middle, in shares of half the box, either way
    cut_share: float = 0.125  # boxes that end above the feet
    cut_kept: tuple[float, float] = (0.6, 0.95)  # share of the height that such a box keeps
    brightness: tuple[float, float] = (0.7, 1.3)  # factor
    contrast: tuple[float, float] = (0.75, 1.25)  # factor on the distance from the picture's mean
    saturation: tuple[float, float] = (0.6, 1.25)  # factor on the distance from grey
    cast: tuple[float, float] = (0.88, 1.12)  # white balance: one factor a channel
    hue_degrees: float = 8.0  # rotation about the grey axis, either way
    grey_share: float = 0.05  # pictures of a camera in its night mode: no colour, no cast
    gamma_share: float = 0.5
    gamma: tuple[float, float] = (0.75, 1.33)  # exponent; drawn evenly by its logarithm
    far_share: float = 0.2  # seen from afar, then enlarged
    far_height: tuple[int, int] = (24, 64)  # pixels
    soft_share: float = 0.1  # out of focus, or moved: each axis has its own width
    soft_sigma: tuple[float, float] = (0.2, 1.5)  # pixels
    noise_share: float = 0.2
    noise_sigma: tuple[float, float] = (1.0, 8.0)  # grey levels
    erase_share: float = 0.4
    erase_area: tuple[float, float] = (0.02, 0.3)  # share of the picture

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_share") and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is a chance between 0 and 1, not {value}")
            if isinstance(value, tuple) and not 0.0 <= value[0] <= value[1]:
                raise ValueError(f"{name} is (least, most) of at least 0, not {value}")
        if self.gamma[0] == 0.0 or self.far_height[0] == 0:
            raise ValueError(f"gamma is above 0, not {self.gamma}, and far_height too, not {self.far_height}")


USUAL = Augmentation()


def varied(strength: float) -> Augmentation:
    """The usual boxes and erasing, with light, focus and noise at a share of the usual.

    Less variety suits one site that is known, more suits sites that are not.

    Args:
        strength: 0: light, focus and noise stay as they are; 1: `USUAL`.

    Raises:
        ValueError: A strength outside 0..1.
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"a share of the usual lies between 0 and 1, not at {strength}")
    changed: dict[str, Any] = {
        name: (1.0 - strength * (1.0 - low), 1.0 + strength * (high - 1.0))
        for name in ("brightness", "contrast", "saturation", "cast")
        for low, high in [getattr(USUAL, name)]
    }
    scaled = ("hue_degrees", "grey_share", "gamma_share", "far_share", "soft_share", "noise_share")
    changed |= {name: strength * getattr(USUAL, name) for name in scaled}
    return replace(USUAL, **changed)


def _uniform(shape: int | tuple[int, ...], low: float, high: float, rng: torch.Generator) -> Tensor:
    """Numbers on the generator's device: parameters are few, so they are drawn there and moved."""
    return low + (high - low) * torch.rand(shape, generator=rng, device=rng.device)


def _chosen(pictures: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Row numbers of the pictures that a chance of ``share`` picks, on the generator's device."""
    drawn = torch.rand(len(pictures), generator=rng, device=rng.device) < share
    return drawn.nonzero().squeeze(1)


def reframe(
    pictures: Tensor, rng: torch.Generator, size: tuple[int, int], settings: Augmentation = USUAL
) -> Tensor:
    """Mirror, shift and scale, as a detector's loose or tight box would, and cut some off above the feet, as
    the frame's edge or furniture does. The answer has ``size`` (height, width)."""
    count = len(pictures)
    flips = torch.rand(count, generator=rng, device=rng.device) < settings.mirror_share
    mirror = 1.0 - 2.0 * flips.float()
    width = _uniform(count, *settings.scale, rng)
    height = _uniform(count, *settings.scale, rng)
    x = _uniform(count, -settings.shift, settings.shift, rng)
    y = _uniform(count, -settings.shift, settings.shift, rng)
    kept = _uniform(count, *settings.cut_kept, rng)
    cuts = torch.rand(count, generator=rng, device=rng.device) < settings.cut_share
    kept = torch.where(cuts, kept, torch.ones_like(kept))
    y = y + kept - 1.0  # a shorter window keeps the head where it was
    zero = torch.zeros_like(x)
    window = torch.stack((width * mirror, zero, x, zero, height * kept, y), dim=1).view(count, 2, 3)
    grid = F.affine_grid(window.to(pictures.device), [count, 3, *size], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def relight(pictures: Tensor, rng: torch.Generator, settings: Augmentation = USUAL) -> Tensor:
    """Change brightness, contrast, saturation, white balance, hue and gamma, and make some pictures grey."""
    count, _, height, width = pictures.shape
    matrix, middle = (part.to(pictures.device) for part in _colour_change(count, rng, settings))
    mean = pictures.mean(dim=(1, 2, 3)).view(count, 1, 1)
    changed = torch.baddbmm(middle * mean, matrix, pictures.flatten(2)).clamp_(0.0, 255.0)
    changed = changed.view(count, 3, height, width)
    rows = _chosen(pictures, settings.gamma_share, rng)
    low, high = (math.log(end) for end in settings.gamma)
    exponent = _uniform((len(rows), 1, 1, 1), low, high, rng).exp().to(pictures.device)
    rows = rows.to(pictures.device)
    changed[rows] = changed[rows].div_(255.0).pow_(exponent).mul_(255.0)
    return changed


def _colour_change(count: int, rng: torch.Generator, settings: Augmentation) -> tuple[Tensor, Tensor]:
    """All that is linear in a pixel, as one step: (N, 3, 3) on its colour, (N, 3, 1) on the picture's mean."""
    grey = torch.rand(count, generator=rng, device=rng.device) < settings.grey_share
    saturation = torch.where(grey, 0.0, _uniform(count, *settings.saturation, rng)).view(-1, 1, 1)
    contrast = _uniform(count, *settings.contrast, rng).view(-1, 1, 1)
    gain = _uniform(count, *settings.brightness, rng).view(-1, 1, 1)
    cast = torch.where(grey.view(-1, 1, 1), 1.0, _uniform((count, 3, 1), *settings.cast, rng))
    turn = math.radians(settings.hue_degrees)
    angle = _uniform(count, -turn, turn, rng).view(-1, 1, 1)
    one = torch.eye(3, device=rng.device)
    luma = torch.tensor(LUMA, device=rng.device).expand(3, 3)
    # Rodrigues' rotation about (1, 1, 1) / sqrt(3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=rng.device)
    hue = angle.cos() * one + angle.sin() / math.sqrt(3.0) * cross + (1.0 - angle.cos()) / 3.0
    colour = hue @ (saturation * one + (1.0 - saturation) * luma)
    return gain * cast * contrast * colour, gain * cast * (1.0 - contrast)


def blur(pictures: Tensor, rng: torch.Generator, settings: Augmentation = USUAL) -> Tensor:
    """Lose detail: some pictures as from a far camera, by way of few pixels, and some as out of focus."""
    result = pictures.clone()
    height, width = pictures.shape[2:]
    low, high = settings.far_height
    for row in _chosen(pictures, settings.far_share, rng).tolist():
        small_h = int(torch.randint(low, high + 1, (1,), generator=rng, device=rng.device))
        small = (small_h, max(1, round(small_h * width / height)))
        far = F.interpolate(result[row : row + 1], size=small, mode="bilinear", antialias=True)
        result[row] = F.interpolate(far, size=(height, width), mode="bilinear")[0]
    rows = _chosen(pictures, settings.soft_share, rng)
    sigma = _uniform((len(rows), 2), *settings.soft_sigma, rng).to(pictures.device)
    if len(rows):
        rows = rows.to(pictures.device)
        result[rows] = _soften(result[rows], sigma)
    return result


def _soften(pictures: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of ``sigma`` (N, 2) pixels, down and across, each picture its own; the edge is continued."""
    count, channels, height, width = pictures.shape
    reach = 4
    steps = torch.arange(-reach, reach + 1, device=pictures.device)
    weights = torch.exp(-0.5 * (steps / sigma.clamp(min=1e-3).unsqueeze(2)).square())
    weights = weights / weights.sum(dim=2, keepdim=True)  # (N, 2, 2 reach + 1)
    weights = weights.repeat_interleave(channels, dim=0)
    lines = F.pad(pictures, [reach] * 4, mode="replicate").view(1, count * channels, height + 8, width + 8)
    lines = F.conv2d(lines, weights[:, 0].view(-1, 1, 2 * reach + 1, 1), groups=count * channels)
    lines = F.conv2d(lines, weights[:, 1].view(-1, 1, 1, 2 * reach + 1), groups=count * channels)
    return lines.view(pictures.shape)


def grain(pictures: Tensor, rng: torch.Generator, settings: Augmentation = USUAL) -> Tensor:
    """Sensor noise: normal, of one width a picture, each pixel and channel on its own."""
    rows = _chosen(pictures, settings.noise_share, rng)
    sigma = _uniform((len(rows), 1, 1, 1), *settings.noise_sigma, rng)
    noise = torch.randn((len(rows), *pictures.shape[1:]), generator=rng, device=rng.device).mul_(sigma)
    return pictures.index_add(0, rows.to(pictures.device), noise.to(pictures.device)).clamp_(0.0, 255.0)


def erase(pictures: Tensor, rng: torch.Generator, settings: Augmentation = USUAL) -> Tensor:
    """Random erasing (Zhong et al., AAAI 2020): a box of some pictures becomes one random colour."""
    count, _, height, width = pictures.shape
    area = _uniform(count, *settings.erase_area, rng) * height * width
    aspect = torch.exp(_uniform(count, -1.2, 1.2, rng))
    box_h = (area * aspect).sqrt().clamp(max=height * 0.6)
    box_w = (area / aspect).sqrt().clamp(max=width * 0.9)
    top = _uniform(count, 0.0, 1.0, rng) * (height - box_h)
    left = _uniform(count, 0.0, 1.0, rng) * (width - box_w)
    colour = _uniform((count, 3, 1, 1), 0.0, 255.0, rng)
    result = pictures.clone()
    for row in _chosen(pictures, settings.erase_share, rng).tolist():
        rows = slice(math.ceil(float(top[row])), math.ceil(float(top[row] + box_h[row])))
        columns = slice(math.ceil(float(left[row])), math.ceil(float(left[row] + box_w[row])))
        result[row, :, rows, columns] = colour[row].to(pictures.device)
    return result


def augment(
    pictures: Tensor, rng: torch.Generator, size: tuple[int, int], settings: Augmentation = USUAL
) -> Tensor:
    """All of the above, in the order in which a camera would do it; the answer has ``size`` (height, width)."""
    framed = relight(reframe(pictures, rng, size, settings), rng, settings)
    return erase(grain(blur(framed, rng, settings), rng, settings), rng, settings)
