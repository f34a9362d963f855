"""What a prediction of flow costs: end-point error at every scale, and whether the network knew how sure it may be."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from flow.model import CLEAR_ERROR_PX, CLEAR_ERROR_SHARE, Predictions

# Fischer et al., "FlowNet" (ICCV 2015): its published training files weigh sums over all places of 1/64, 1/32 .. 1/4
# by 0.32, 0.08, 0.02, 0.01 and 0.005. Each finer scale has four times the places, so these are the weights of means.
FLOWNET_WEIGHTS = (0.25, 0.25, 0.25, 0.5, 1.0)
FINER = 0.6  # each coarser flow counts this much of the next finer one
TRUST_WEIGHT = 0.3  # of the trust's cross-entropy, px
MATCHING_WEIGHT = 0.5  # of the matching's cross-entropy, px


def end_point_error(flow: Tensor, truth: Tensor) -> Tensor:
    """(N, 2, H, W) twice -> (N, 1, H, W), in pixels; its slope is finite where the error is 0."""
    return ((flow - truth).square().sum(dim=1, keepdim=True) + 1e-6).sqrt()


def at_size(flow: Tensor, size: Sequence[int]) -> Tensor:
    """Flow (N, 2, h, w) at another (height, width): values stay pixels of the input, only their places change."""
    if tuple(flow.shape[2:]) == tuple(size):
        return flow
    if flow.shape[2] > size[0]:
        return F.interpolate(flow, size=tuple(size), mode="area")
    return F.interpolate(flow, size=tuple(size), mode="bilinear")


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of (N, 1, H, W) under weights of the same shape; 0 where nothing has weight."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def flow_loss(
    predictions: Predictions, truth: Tensor, weight: Tensor, *, weights: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The sum over scales of the mean end-point error, and the trust's cross-entropy.

    Args:
        predictions: K flows, coarse to fine. The finest is compared at the size of the truth, the others at their own.
        truth: (N, 2, H, W) in pixels of the input.
        weight: (N, 1, H, W), how much each pixel counts; 0 where there is no motion to find.
        weights: Of the K scales; by default 1 for the finest and `FINER` times less for each coarser one.

    Returns:
        ``loss`` (what to descend), ``epe`` (of the finest flow, px, all that count alike), ``epe0`` and on (of the
        coarser ones) and, where the network says them, ``trust`` and ``matching``.
    """
    count = len(predictions.flows)
    if weights is None:
        weights = [FINER ** (count - 1 - n) for n in range(count)]
    loss, said = truth.new_zeros(()), dict[str, Tensor]()
    for n, (flow, share) in enumerate(zip(predictions.flows, weights, strict=True)):
        if n < count - 1:
            size = flow.shape[2:]
            error = end_point_error(flow.float(), at_size(truth, size))
            said[f"epe{n}"] = error.detach().mean()
            loss = loss + share * weighted_mean(error, F.interpolate(weight, size=size, mode="area"))
    error = end_point_error(at_size(predictions.flows[-1].float(), truth.shape[2:]), truth)
    loss = loss + weights[-1] * weighted_mean(error, weight)
    said["epe"] = weighted_mean(error.detach(), (weight > 0).to(error.dtype))
    if predictions.trust is not None:
        said["trust"] = trust_loss(predictions.trust, error.detach(), truth, weight)
        loss = loss + TRUST_WEIGHT * said["trust"]
    if predictions.scores is not None:
        said["matching"] = matching_loss(predictions.scores, truth, weight, predictions.flows[0].shape[2:])
        loss = loss + MATCHING_WEIGHT * said["matching"]
    return {"loss": loss, **said}


def matching_loss(scores: Tensor, truth: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
    """Cross-entropy of matching with where each place really went: between four places, as its bilinear shares say.

    An expected place is off by little where two places are equally likely, left and right of it; this asks for one.

    Args:
        scores: (N, h w, h w) logits.
        truth: (N, 2, H, W) in pixels of the input.
        weight: (N, 1, H, W); what left the picture does not count, either.
        size: (h, w) of the map that is matched.
    """
    height, width = size
    batch = len(scores)
    went = F.interpolate(truth, size=(height, width), mode="area") * (width / truth.shape[3])
    count = F.interpolate(weight, size=(height, width), mode="area").flatten(1)  # N, hw
    x = (went[:, 0] + torch.arange(width, device=truth.device)[None, None, :]).reshape(batch, -1)
    y = (went[:, 1] + torch.arange(height, device=truth.device)[None, :, None]).reshape(batch, -1)
    left, top = x.floor(), y.floor()
    total, counted = scores.new_zeros(()), scores.new_zeros(())
    norm = scores.logsumexp(dim=2)
    for column, share_x in ((left, 1.0 - (x - left)), (left + 1.0, x - left)):
        for row, share_y in ((top, 1.0 - (y - top)), (top + 1.0, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            where = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            chance = scores.gather(2, where[..., None])[..., 0] - norm  # its logarithm
            share = share_x * share_y * inside * count
            total, counted = total - (share * chance).sum(), counted + share.sum()
    return total / counted.clamp(min=1e-6)


def is_clear(error: Tensor, truth: Tensor) -> Tensor:
    """Whether an end-point error (N, 1, H, W) is small enough to be trusted; 0 or 1."""
    length = truth.square().sum(dim=1, keepdim=True).sqrt()
    return (error <= CLEAR_ERROR_PX + CLEAR_ERROR_SHARE * length).to(error.dtype)


def trust_loss(trust: Tensor, error: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of trust (N, 1, h, w) logits with the share of each place's pixels that are right.

    Where ``weight`` is 0 there is no motion to find (a cut, a black picture), and nothing is right.
    """
    clear = is_clear(error, truth) * (weight > 0).to(error.dtype)
    share = F.interpolate(clear, size=trust.shape[2:], mode="area")
    return F.binary_cross_entropy_with_logits(trust.float(), share)
