"""The network that carries a box from one picture to a later one, and what it is trained on to say.

The frame is GOTURN's (Held et al., ECCV 2016): two crops at one place, a tower of convolutions that both pass, and
layers that give the box. Between the towers stands one thing more, because 300 thousand weights cannot learn to
compare by fully connected layers alone: every cell of the earlier crop is matched with all of the later one (global
matching after GMFlow, Xu et al., CVPR 2022), and the cells vote on where the box went.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flow.boxcarry import SIDE

WIDTHS = 16, 32, 48  # channels of the tower at 1/2 and twice at 1/4
CELLS = SIDE // 4  # of the towers' last layer, each way
DESCRIPTION = 48  # numbers by which two cells are compared
HEAD = 64, 96  # channels at 1/8 and 1/16
HIDDEN = 128
SHIFT_WEIGHT = 10.0  # GOTURN scales its boxes by 10, so that the loss is of the order of 1
NEAR_CELLS = 5.0  # standard deviation of what is held likely before anything was learned


class BoxHead(nn.Module):
    """``forward(targets, searches)`` -> boxes, trust; see `BoxHead.forward`."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.tower = nn.Sequential(
            *_block(3, first, stride=2),
            *_block(first, second, stride=2),
            *_block(second, third),
            nn.Conv2d(third, DESCRIPTION, 3, padding=1),
        )
        self.matching = Matching()
        evidence = 2 * DESCRIPTION + 3
        self.vote = nn.Sequential(nn.Conv2d(evidence, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1))
        self.head = nn.Sequential(*_block(evidence, HEAD[0], stride=2), *_block(HEAD[0], HEAD[1], stride=2))
        self.hidden = nn.Linear(HEAD[1] * (CELLS // 4) ** 2 + 2, HIDDEN)
        self.last = nn.Linear(HIDDEN, 5)
        nn.init.normal_(self.last.weight, std=1e-3)
        nn.init.zeros_(self.last.bias)

    def forward(self, targets: Tensor, searches: Tensor) -> tuple[Tensor, Tensor]:
        """Where the things in the middle of ``targets`` are in ``searches``.

        Args:
            targets: (N, 3, 64, 64) crops of the earlier picture, floats in [0, 1].
            searches: The same of the later one.

        Returns:
            (N, 4) x1, y1, x2, y2 in shares of the crop, and (N,) the logit of the overlap to be expected.
        """
        # Through the tower together: one pass over twice the batch.
        both = self.tower(torch.cat([targets, searches]) * 2 - 1)
        before, after = both.chunk(2)
        shifts, peak = self.matching(before, after)
        evidence = torch.cat([F.relu(before), F.relu(after), 4 * shifts, peak], dim=1)
        shares = self.vote(evidence).flatten(2).softmax(dim=2)
        voted = (shares * shifts.flatten(2)).sum(dim=2)
        found = self.last(F.relu(self.hidden(torch.cat([self.head(evidence).flatten(1), 4 * voted], dim=1))))
        centre = 0.5 + voted + found[:, :2]
        half = 0.25 * torch.exp(found[:, 2:4].clamp(-1, 1))
        return torch.cat([centre - half, centre + half], dim=1), found[:, 4]


class Matching(nn.Module):
    """Every cell of one map against all of another: where it is, in the mean over a soft choice."""

    def __init__(self) -> None:
        super().__init__()
        steps = torch.arange(1 - CELLS, CELLS, dtype=torch.float32)
        distance2 = steps[:, None] ** 2 + steps[None, :] ** 2
        # What is likely before looking, by the step alone: learned, at first near.
        self.prior = nn.Parameter(-distance2 / (2 * NEAR_CELLS**2))
        self.sharpness = nn.Parameter(torch.tensor(2.5))  # logarithm
        rows, columns = (grid.flatten() for grid in torch.meshgrid(*2 * [torch.arange(CELLS)], indexing="ij"))
        step_y, step_x = rows[None, :] - rows[:, None], columns[None, :] - columns[:, None]
        self.register_buffer("steps", (step_y + CELLS - 1) * (2 * CELLS - 1) + step_x + CELLS - 1)
        places = (torch.stack([columns, rows]).float() + 0.5) / CELLS
        self.register_buffer("places", places)  # (2, cells) x, y in shares of the crop

    def forward(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, cells, cells) each -> displacements (N, 2, ...) in shares of the crop, largest share (N, 1, ...)."""
        # Young features point nearly one way: about their mean, matching begins at once. After 95 batches of 96 the
        # overlap was 0.75 so and 0.70 without, standing still 0.68.
        mean = (before.mean(dim=(2, 3), keepdim=True) + after.mean(dim=(2, 3), keepdim=True)) / 2
        first, second = (F.normalize((one - mean).flatten(2), dim=1) for one in (before, after))
        likeness = (first * self.sharpness.exp()).transpose(1, 2) @ second
        shares = (likeness + self.prior.flatten()[self.steps]).softmax(dim=2)
        reached = shares @ self.places.T  # (N, cells, 2)
        shifts = reached.transpose(1, 2) - self.places
        peak = shares.amax(dim=2)
        return shifts.reshape(-1, 2, CELLS, CELLS), peak.reshape(-1, 1, CELLS, CELLS)


def _block(inputs: int, outputs: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """(N,) intersection over union, row by row; boxes of some area."""
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    return shared / (area(boxes) + area(others) - shared)


def area(boxes: Tensor) -> Tensor:
    """(N,) of boxes (N, 4)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)


def box_loss(boxes: Tensor, trust: Tensor, truth: Tensor, present: Tensor) -> Tensor:
    """How wrong a batch is: L1 of the corners (GOTURN, section 3.3), and the trust against the overlap reached.

    Args:
        boxes: (N, 4) of the network.
        trust: (N,) logits.
        truth: (N, 4) in shares of the crop; anything where ``present`` is False.
        present: (N,) bool, whether the later crop shows the thing at all; where not, only the trust counts.
    """
    off = (boxes - truth).abs().sum(dim=1) * SHIFT_WEIGHT
    where = torch.where(present, off, torch.zeros_like(off)).sum() / present.sum().clamp(min=1)
    reached = torch.where(present, overlaps(boxes.detach(), truth), torch.zeros_like(off))
    return where + F.binary_cross_entropy_with_logits(trust, reached)
