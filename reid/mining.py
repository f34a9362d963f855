"""Which pairs, triplets and quadruplets of a batch are worth a loss.

A miner looks at the batch's distances (N, N; smaller is closer) and labels (N,) and answers row numbers. Miners
know no loss and losses know no miner: any of one kind goes with any of the other. A batch without a suitable
tuple gets an empty answer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Pairs:
    """P pairs of rows; ``same`` says whether both show one person."""

    first: Tensor  # (P,) int64
    second: Tensor  # (P,) int64
    same: Tensor  # (P,) bool


@dataclass(frozen=True)
class Triplets:
    """T anchors, each with a row of the same person and a row of another one."""

    anchor: Tensor  # (T,) int64
    positive: Tensor  # (T,) int64
    negative: Tensor  # (T,) int64


@dataclass(frozen=True)
class Quadruplets:
    """Triplets with, for each, two rows of two further persons: neither the anchor's nor each other's."""

    triplets: Triplets
    other: Tensor  # (T,) int64
    another: Tensor  # (T,) int64


PairMiner = Callable[[Tensor, Tensor], Pairs]
TripletMiner = Callable[[Tensor, Tensor], Triplets]
QuadrupletMiner = Callable[[Tensor, Tensor], Quadruplets]


def same_and_different(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Two (N, N) masks: pairs of one person without the diagonal, and pairs of two persons."""
    equal = labels.unsqueeze(0) == labels.unsqueeze(1)
    oneself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return equal & ~oneself, ~equal


def all_pairs(distances: Tensor, labels: Tensor) -> Pairs:
    """Every unordered pair of rows once."""
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    return Pairs(first, second, labels[first] == labels[second])


def all_triplets(distances: Tensor, labels: Tensor) -> Triplets:
    """Every (anchor, positive, negative), N * (K - 1) * (N - K) of them for K pictures a person."""
    same, different = same_and_different(labels)
    found = (same.unsqueeze(2) & different.unsqueeze(1)).nonzero()
    return Triplets(found[:, 0], found[:, 1], found[:, 2])


def batch_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """Per anchor the farthest row of the same person and the nearest of another (Hermans et al., 2017, eq. 5)."""
    same, different = same_and_different(labels)
    anchor = (same.any(1) & different.any(1)).nonzero().squeeze(1)
    if len(anchor) == 0:
        return Triplets(anchor, anchor, anchor)
    positive = distances.masked_fill(~same, -torch.inf).argmax(1)
    negative = distances.masked_fill(~different, torch.inf).argmin(1)
    return Triplets(anchor, positive[anchor], negative[anchor])


def semi_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """Per (anchor, positive) the nearest negative beyond the positive; pairs without one are left out (FaceNet)."""
    same, different = same_and_different(labels)
    anchor, positive = same.nonzero(as_tuple=True)
    if len(anchor) == 0:
        return Triplets(anchor, anchor, anchor)
    beyond = different[anchor] & (distances[anchor] > distances[anchor, positive].unsqueeze(1))
    negative = distances[anchor].masked_fill(~beyond, torch.inf).argmin(1)
    there = beyond.any(1)
    return Triplets(anchor[there], positive[there], negative[there])


def hard_quadruplets(distances: Tensor, labels: Tensor) -> Quadruplets:
    """Batch-hard triplets, each with the closest pair that two persons other than the anchor form.

    Chen et al., "Beyond triplet loss", CVPR 2017. Anchors for which the batch holds no two other persons are
    left out.
    """
    triplets = batch_hard(distances, labels)
    if len(triplets.anchor) == 0:
        return Quadruplets(triplets, triplets.anchor, triplets.anchor)
    count = len(labels)
    strangers = labels.unsqueeze(0) != labels[triplets.anchor].unsqueeze(1)  # (T, N)
    apart = same_and_different(labels)[1]
    allowed = apart.unsqueeze(0) & strangers.unsqueeze(1) & strangers.unsqueeze(2)  # (T, N, N)
    closest = distances.unsqueeze(0).masked_fill(~allowed, torch.inf).flatten(1).argmin(1)
    there = allowed.flatten(1).any(1)
    kept = Triplets(triplets.anchor[there], triplets.positive[there], triplets.negative[there])
    return Quadruplets(kept, closest[there] // count, closest[there] % count)


def look_alikes(prototypes: Tensor, count: int) -> Tensor:
    """(C, H) for each of C persons the ``count`` others with the most similar prototype, H = min(count, C - 1).

    The pool of hard identities of Ristani & Tomasi (CVPR 2018, sec. 4.2). ``prototypes`` (C, D) may be the
    rows of the identity classifier.
    """
    rows = F.normalize(prototypes, dim=1)
    similarity = (rows @ rows.T).fill_diagonal_(-torch.inf)
    return similarity.topk(min(count, len(rows) - 1), dim=1).indices
