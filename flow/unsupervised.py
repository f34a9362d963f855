"""What a flow costs where nobody knows the true one: do the pictures agree, and is it smooth?

After Meister et al., "UnFlow" (AAAI 2018): the second picture, warped back, is compared with the first where the flows
there and back agree; elsewhere the point is taken for hidden, and there is nothing to compare. A distance gives a map,
`hidden_by_check` says which places count, `flow.losses.weighted_mean` makes one number of the rest.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from flow.correlation import places, warp
from flow.losses import at_size, end_point_error, weighted_mean
from flow.model import Predictions

GREY = (0.114, 0.587, 0.299)  # of B, G, R: ITU-R BT.601
CHARBONNIER_EPSILON, CHARBONNIER_POWER = 1e-3, 0.45  # UnFlow, sec. 3.2
CENSUS_NOISE, CENSUS_SOFT = (
    0.9,
    0.1,
)  # grey levels that count as no difference; where a differing sign counts half
SMOOTH_CELL = 4  # px of the input to a place where smoothness is asked for, whatever the flow's own size
CHECK_SHARE, CHECK_PX2 = 0.01, 0.5  # Sundaram et al., "Dense point trajectories" (ECCV 2010), eq. 5
SSIM_LIGHT, SSIM_CONTRAST = 0.01**2, 0.03**2  # Wang et al. 2004: constants of its two terms, values in [0, 1]


@dataclass(frozen=True)
class Weights:
    """How much each part counts.

    Attributes:
        census: Of order in the neighbourhood, which light and gain do not change.
        photometric: Of colours.
        ssim: Of structural similarity.
        smooth_first: Of slopes of the flow.
        smooth_second: Of bends of the flow.
        edge: How much less smoothness counts across an edge: exp(-edge * slope of the picture in [0, 1]).
        coarse: Of the coarser flows' distance to the finest.
        anchor: Of the distance to what was known before, where a point is hidden.
        trust: Of the cross-entropy of the trust with the one before.
    """

    census: float = 1.0
    photometric: float = 0.0
    ssim: float = 0.0
    smooth_first: float = 0.0
    smooth_second: float = 0.02
    edge: float = 20.0
    coarse: float = 0.05
    anchor: float = 0.05
    trust: float = 0.3


def charbonnier(x: Tensor) -> Tensor:
    """|x|^0.9, with a finite slope at 0 (UnFlow, sec. 3.2)."""
    return (x * x + CHARBONNIER_EPSILON**2) ** CHARBONNIER_POWER


def photometric_distance(first: Tensor, second: Tensor) -> Tensor:
    """How far colours differ: (N, C, H, W) in [0, 1] twice -> (N, 1, H, W)."""
    return charbonnier(first - second).mean(dim=1, keepdim=True)


def census_distance(first: Tensor, second: Tensor, *, radius: int = 3) -> Tensor:
    """How differently pixels are lighter and darker than their neighbours (ternary census, UnFlow, sec. 3.2).

    A constant added to a picture changes nothing.

    Args:
        first: (N, C, H, W) in [0, 1], C 1 or 3 (BGR).
        second: The same shape.
        radius: Of the neighbourhood, px.

    Returns:
        (N, 1, H, W), in [0, 1) before the Charbonnier function is applied.
    """
    signs = _order(first, radius) - _order(second, radius)
    squared = signs * signs
    return charbonnier((squared / (CENSUS_SOFT + squared)).mean(dim=1, keepdim=True))


def _order(pictures: Tensor, radius: int) -> Tensor:
    """(N, K, H, W): darker (-1) to lighter (1) of each neighbour, soft around no difference."""
    grey = 255.0 * as_grey(pictures)
    height, width = grey.shape[2:]
    padded = F.pad(grey, (radius,) * 4, mode="replicate")
    reach = range(2 * radius + 1)
    neighbours = [padded[:, 0, y : y + height, x : x + width] for y in reach for x in reach]
    difference = torch.stack(neighbours, dim=1) - grey
    return difference / (CENSUS_NOISE**2 + difference * difference).sqrt()


def ssim_distance(first: Tensor, second: Tensor) -> Tensor:
    """Structural dissimilarity over 3x3 pixels (Wang et al. 2004): (N, C, H, W) twice -> (N, 1, H, W) in [0, 1]."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)

    a, b = mean(first), mean(second)
    spread = mean(first * first) - a * a + mean(second * second) - b * b
    shared = mean(first * second) - a * b
    likeness = (2.0 * a * b + SSIM_LIGHT) * (2.0 * shared + SSIM_CONTRAST)
    likeness = likeness / ((a * a + b * b + SSIM_LIGHT) * (spread + SSIM_CONTRAST))
    return ((1.0 - likeness) / 2.0).clamp(0.0, 1.0).mean(dim=1, keepdim=True)


def smoothness(flow: Tensor, pictures: Tensor, *, order: int, edge: float) -> Tensor:
    """How uneven a flow is where the picture is even, one number.

    Args:
        flow: (N, 2, h, w).
        pictures: (N, C, h, w) in [0, 1].
        order: 1: slopes cost, 2: bends cost and an even slope is free.
        edge: See `Weights`.
    """
    if order not in (1, 2):
        raise ValueError(f"smoothness is of order 1 or 2, not {order}")
    total = flow.new_zeros(())
    for axis in (2, 3):
        if flow.shape[axis] <= order:
            continue  # too few places for a slope, or for a bend
        slope, change = flow.diff(dim=axis), pictures.diff(dim=axis).abs().mean(dim=1, keepdim=True)
        if order == 2:
            slope = slope.diff(dim=axis)
            count = change.shape[axis] - 1
            change = torch.maximum(change.narrow(axis, 0, count), change.narrow(axis, 1, count))
        total = total + (charbonnier(slope) * torch.exp(-edge * change)).mean()
    return total / 2.0


def hidden_by_check(forward: Tensor, backward: Tensor, scale: float = 1.0) -> Tensor:
    """Where going there and back does not end where it began, or leads out of the picture.

    Args:
        forward: (N, 2, h, w) in pixels of the input.
        backward: The same of the pictures the other way round.
        scale: Pixels of the input to one place of the flows.

    Returns:
        (N, 1, h, w) bool.
    """
    returned = warp(backward, forward / scale)
    squared = (forward + returned).square().sum(dim=1, keepdim=True)
    lengths = (forward.square() + returned.square()).sum(dim=1, keepdim=True)
    return (squared > CHECK_SHARE * lengths + CHECK_PX2) | leaves(forward, scale)


def leaves(flow: Tensor, scale: float = 1.0) -> Tensor:
    """(N, 1, h, w) bool: where a flow (N, 2, h, w) points out of the picture."""
    height, width = flow.shape[2:]
    x = flow[:, :1] / scale + places(width, flow)
    y = flow[:, 1:] / scale + places(height, flow)[:, None]
    return (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)


def data_distance(before: Tensor, after: Tensor, flow: Tensor, weights: Weights) -> Tensor:
    """How little ``after``, warped back, looks like ``before``: pictures and flow of one size -> (N, 1, H, W)."""
    warped = warp(after, flow)
    total = flow.new_zeros(())
    if weights.census:
        total = total + weights.census * census_distance(before, warped)
    if weights.photometric:
        total = total + weights.photometric * photometric_distance(before, warped)
    if weights.ssim:
        total = total + weights.ssim * ssim_distance(before, warped)
    return total.expand(len(flow), 1, *flow.shape[2:])


def unsupervised_loss(
    predictions: Predictions,
    before: Tensor,
    after: Tensor,
    known: Predictions | None = None,
    weights: Weights | None = None,
) -> dict[str, Tensor]:
    """What flows there and back cost.

    Args:
        predictions: Of 2 N pairs: N from ``before`` to ``after``, then the same N the other way round.
        before: (N, C, H, W) in [0, 1].
        after: The same shape.
        known: What the network said of these 2 N pairs before it was adapted: the truth where a point is hidden.
        weights: Of the parts; None: the usual ones.

    Returns:
        ``loss`` (what to descend); ``data`` (mean distance of visible pixels); ``hidden`` (share of all pixels).
    """
    weights = weights or Weights()
    first, second = torch.cat((before, after)), torch.cat((after, before))
    fine = predictions.flows[-1].float()
    scale = first.shape[3] / fine.shape[3]
    there, back = fine.detach().chunk(2)
    hidden = hidden_by_check(torch.cat((there, back)), torch.cat((back, there)), scale)
    seen = F.interpolate((~hidden).to(fine.dtype), size=first.shape[2:], mode="nearest")
    data = weighted_mean(data_distance(first, second, at_size(fine, first.shape[2:]), weights), seen)
    loss = data + _smoothness(fine, first, weights)
    loss = loss + weights.coarse * sum(_error(flow.float(), fine.detach()) for flow in predictions.flows[:-1])
    if known is not None:
        error = end_point_error(fine, known.flows[-1].float())
        loss = loss + weights.anchor * (error * hidden).mean()
        if predictions.trust is not None and known.trust is not None:
            before_it = known.trust.float().sigmoid()
            entropy = F.binary_cross_entropy_with_logits(predictions.trust.float(), before_it)
            loss = loss + weights.trust * entropy
    return {"loss": loss, "data": data.detach(), "hidden": hidden.float().mean()}


def _smoothness(flow: Tensor, pictures: Tensor, weights: Weights) -> Tensor:
    # The weights are those of cells: from pixel to pixel a slope is a quarter of that, and a bend a sixteenth.
    size = [min(own, max(side // SMOOTH_CELL, 1)) for own, side in zip(flow.shape[2:], pictures.shape[2:])]
    flow, pictures = at_size(flow, size), F.interpolate(pictures, size=size, mode="area")
    total = flow.new_zeros(())
    for order, share in ((1, weights.smooth_first), (2, weights.smooth_second)):
        if share:
            total = total + share * smoothness(flow, pictures, order=order, edge=weights.edge)
    return total


def _error(flow: Tensor, truth: Tensor) -> Tensor:
    return end_point_error(flow, at_size(truth, flow.shape[2:])).mean()


def as_grey(pictures: Tensor) -> Tensor:
    """(N, C, H, W), C 1 or 3 (BGR) -> (N, 1, H, W)."""
    if pictures.shape[1] == 1:
        return pictures
    return (pictures * pictures.new_tensor(GREY)[:, None, None]).sum(dim=1, keepdim=True)
