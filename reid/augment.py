"""What a crop may suffer between two cameras: another box, another light, another lens, something in front.

Every step takes and gives (N, 3, H, W) float32 BGR, 0 to 255, treats each picture on its own and draws from the
generator it is given.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def _uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=rng)


def reframe(pictures: Tensor, rng: torch.Generator, size: tuple[int, int]) -> Tensor:
    """Mirror half of the pictures and shift and scale all, as a detector's loose or tight box would.

    The answer has ``size`` (height, width). One in eight loses up to 40 % at the foot, as a box cut off by
    the frame or by furniture does.
    """
    count = len(pictures)
    mirror = torch.where(torch.rand(count, generator=rng) < 0.5, -1.0, 1.0)
    width = _uniform(count, 0.85, 1.15, rng)
    height = _uniform(count, 0.87, 1.13, rng)
    x = _uniform(count, -0.1, 0.1, rng)
    y = _uniform(count, -0.08, 0.08, rng)
    cut = torch.where(
        torch.rand(count, generator=rng) < 0.125, _uniform(count, 0.6, 0.95, rng), torch.ones(count)
    )
    y = y + cut - 1.0  # a shorter window keeps the head where it was
    zero = torch.zeros(count)
    window = torch.stack(
        (torch.stack((width * mirror, zero, x), 1), torch.stack((zero, height * cut, y), 1)), dim=1
    )
    grid = F.affine_grid(window, [count, 3, *size], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def relight(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Change brightness, contrast, colour cast and saturation a little."""
    count = len(pictures)
    shape = (count, 1, 1, 1)
    gain = _uniform(count, 0.75, 1.25, rng).view(shape)
    cast = _uniform(count * 3, 0.92, 1.08, rng).view(count, 3, 1, 1)
    saturation = _uniform(count, 0.75, 1.2, rng).view(shape)
    contrast = _uniform(count, 0.8, 1.2, rng).view(shape)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    grey = pictures.mean(dim=1, keepdim=True)
    changed = grey + (pictures - grey) * saturation
    changed = (mean + (changed - mean) * contrast) * gain * cast
    return changed.clamp(0.0, 255.0)


def blur(pictures: Tensor, rng: torch.Generator, *, share: float = 0.2) -> Tensor:
    """Send ``share`` of the pictures, drawn at random, through 24 to 64 pixels of height and back."""
    count = len(pictures)
    chosen = torch.randperm(count, generator=rng)[: int(count * share)]
    if len(chosen) == 0:
        return pictures
    height = int(torch.randint(24, 65, (1,), generator=rng))
    small = F.interpolate(pictures[chosen], size=(height, height // 2), mode="bilinear", antialias=True)
    result = pictures.clone()
    result[chosen] = F.interpolate(small, size=pictures.shape[2:], mode="bilinear")
    return result


def erase(pictures: Tensor, rng: torch.Generator, *, chance: float = 0.4) -> Tensor:
    """Random erasing (Zhong et al., AAAI 2020): a box of 2 to 30 % of some pictures becomes one random colour."""
    count, _, height, width = pictures.shape
    area = _uniform(count, 0.02, 0.3, rng) * height * width
    aspect = torch.exp(_uniform(count, -1.2, 1.2, rng))
    box_h = (area * aspect).sqrt().clamp(max=height * 0.6)
    box_w = (area / aspect).sqrt().clamp(max=width * 0.9)
    top = torch.rand(count, generator=rng) * (height - box_h)
    left = torch.rand(count, generator=rng) * (width - box_w)
    rows = torch.arange(height).view(1, height, 1)
    columns = torch.arange(width).view(1, 1, width)
    inside = (rows >= top.view(-1, 1, 1)) & (rows < (top + box_h).view(-1, 1, 1))
    inside = inside & (columns >= left.view(-1, 1, 1)) & (columns < (left + box_w).view(-1, 1, 1))
    inside &= (torch.rand(count, generator=rng) < chance).view(-1, 1, 1)
    colour = _uniform(count * 3, 0.0, 255.0, rng).view(count, 3, 1, 1)
    return torch.where(inside.unsqueeze(1), colour, pictures)


def augment(pictures: Tensor, rng: torch.Generator, size: tuple[int, int]) -> Tensor:
    """All of the above, in the order in which a camera would do it; the answer has ``size`` (height, width)."""
    return erase(relight(blur(reframe(pictures, rng, size), rng), rng), rng)
