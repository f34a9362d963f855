"""How alike is each place of one feature map to the places of another? Plain torch, plain ONNX operators."""

import torch
from torch import Tensor
from torch.nn import functional as F

SLICED_RADIUS = 2  # up to here 9 or 25 shifted products are faster than bands of matrix products


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Mean product of each place of ``first`` with the places of ``second`` around it.

    The correlation layer of Fischer et al., "FlowNet" (ICCV 2015), eq. 1 with patches of one place, divided by the
    number of channels; outside of ``second`` all is 0.

    Args:
        first: (N, C, H, W).
        second: (N, C, H, W).
        radius: Farthest displacement r along each axis, in places.

    Returns:
        (N, (2r + 1)^2, H, W); channel ``(dy + r) (2r + 1) + (dx + r)`` looks at displacement (dx, dy).
    """
    way = _sliced if radius <= SLICED_RADIUS else _banded
    return way(first, second, radius) / first.shape[1]


def strided_correlation(first: Tensor, second: Tensor, radius: int, stride: int) -> Tensor:
    """`local_correlation` of every ``stride``-th displacement only: FlowNetC looks 20 places far in steps of two.

    Places that lie a multiple of the stride apart make a map of their own; each of these maps is compared with its
    like, ``radius // stride`` far.

    Args:
        first: (N, C, H, W), H and W multiples of the stride.
        second: (N, C, H, W).
        radius: Farthest displacement along each axis, in places; a multiple of the stride.
        stride: From one displacement to the next, in places.

    Returns:
        (N, (2 radius // stride + 1)^2, H, W), displacements in the order of `local_correlation`.
    """
    batch, channels, height, width = first.shape
    rows, columns = height // stride, width // stride

    def apart(maps: Tensor) -> Tensor:
        maps = maps.reshape(batch, channels, rows, stride, columns, stride).permute(0, 3, 5, 1, 2, 4)
        return maps.reshape(batch * stride * stride, channels, rows, columns)

    found = local_correlation(apart(first), apart(second), radius // stride)
    found = found.reshape(batch, stride, stride, found.shape[1], rows, columns).permute(0, 3, 4, 1, 5, 2)
    return found.reshape(batch, found.shape[1], height, width)


def _sliced(first: Tensor, second: Tensor, radius: int) -> Tensor:
    height, width = first.shape[2:]
    padded = F.pad(second, (radius,) * 4)
    reach = range(2 * radius + 1)
    shifted = [(first * padded[:, :, y : y + height, x : x + width]).sum(dim=1) for y in reach for x in reach]
    return torch.stack(shifted, dim=1)


def _banded(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """By products of whole rows, of which a band around the diagonal is kept.

    A row of W places against a padded row of W + 2r is a matrix (W, W + 2r); place x wants its columns x .. x + 2r.
    Written out flat with W more values behind it and read again as (W, W + 2r + 1), row x starts at column x.
    """
    batch, _, height, width = first.shape
    reach, span = 2 * radius + 1, width + 2 * radius
    padded = F.pad(second, (radius,) * 4).permute(0, 2, 3, 1)
    rows = first.permute(0, 2, 3, 1)
    bands = []
    for y in range(reach):
        products = rows @ padded[:, y : y + height].transpose(2, 3)  # N, H, W, W + 2r
        flat = F.pad(products.reshape(batch, height, width * span), (0, width))
        bands.append(flat.reshape(batch, height, width, span + 1)[..., :reach])
    return torch.stack(bands, dim=1).permute(0, 1, 4, 2, 3).reshape(batch, reach * reach, height, width)


def warp(features: Tensor, flow: Tensor) -> Tensor:
    """``features`` (N, C, H, W) as they are seen from where they came: at each place x, ``features`` at x + flow.

    Args:
        features: Of the second picture.
        flow: (N, 2, H, W) in places of the feature map.

    Returns:
        (N, C, H, W), bilinear between places, 0 outside.
    """
    height, width = features.shape[2:]
    x = (flow[:, 0] + places(width, flow)[None, None, :] + 0.5) * 2.0 / width - 1.0
    y = (flow[:, 1] + places(height, flow)[None, :, None] + 0.5) * 2.0 / height - 1.0
    grid = torch.stack((x, y), dim=3)
    return F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def places(count: int, like: Tensor) -> Tensor:
    """0, 1 .. count - 1 in the kind of ``like``."""
    return torch.arange(count, device=like.device).to(like.dtype)
