"""Losses of similarity learning: distance x miner x reduction, each usable alone.

A distance compares two sets of rows and says whether larger is closer; a miner (:mod:`reid.mining`) picks the
tuples; a loss turns their distances into one value per tuple; a reduction makes that one number. A batch without a
tuple costs exactly zero and still has a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid import mining


@dataclass(frozen=True)
class Distance:
    """A comparison of rows. ``matrix`` maps (N, D), (M, D) to (N, M)."""

    name: str
    matrix: Callable[[Tensor, Tensor], Tensor]
    larger_is_closer: bool


def _squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    squares = a.square().sum(1, keepdim=True) + b.square().sum(1).unsqueeze(0) - 2.0 * a @ b.T
    return squares.clamp(min=0.0)


def _euclidean(a: Tensor, b: Tensor) -> Tensor:
    # The root has no slope at zero; a floor far below any real distance keeps the gradient finite.
    return _squared_euclidean(a, b).clamp(min=1e-12).sqrt()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a @ b.T


def _cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    return 1.0 - F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


SQUARED_EUCLIDEAN = Distance("squared euclidean", _squared_euclidean, larger_is_closer=False)
EUCLIDEAN = Distance("euclidean", _euclidean, larger_is_closer=False)
COSINE_DISTANCE = Distance("cosine distance", _cosine_distance, larger_is_closer=False)
DOT = Distance("dot product", _dot, larger_is_closer=True)

Reduction = Callable[[Tensor], Tensor]


def mean(values: Tensor) -> Tensor:
    """The average; zero for no values."""
    return values.sum() / max(len(values), 1)


def total(values: Tensor) -> Tensor:
    """The sum."""
    return values.sum()


def mean_of_active(values: Tensor) -> Tensor:
    """The average of those above zero, so that solved tuples do not thin out the hard ones; zero if none is."""
    return values.sum() / (values > 0).sum().clamp(min=1)


def _farness(distance: Distance, rows: Tensor) -> Tensor:
    """All distances of a batch, turned so that smaller is closer."""
    matrix = distance.matrix(rows, rows)
    return -matrix if distance.larger_is_closer else matrix


class ContrastiveLoss(nn.Module):
    """``y d + (1 - y) max(0, m - d)``: pull pairs of one person, push others only up to the margin.

    Hadsell et al., CVPR 2006. With the squared distance and ``margin = m**2`` this is the form
    ``y d^2 + (1 - y) max(0, m^2 - d^2)``.
    """

    def __init__(
        self,
        *,
        margin: float,
        distance: Distance = SQUARED_EUCLIDEAN,
        miner: mining.PairMiner = mining.all_pairs,
        reduction: Reduction = mean,
    ) -> None:
        super().__init__()
        self.margin, self.distance, self.miner, self.reduction = margin, distance, miner, reduction

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) and ``labels`` (N,)."""
        far = _farness(self.distance, rows)
        pairs = self.miner(far.detach(), labels)
        between = far[pairs.first, pairs.second]
        return self.reduction(torch.where(pairs.same, between, F.relu(self.margin - between)))


class TripletLoss(nn.Module):
    """``max(0, d(A, P) - d(A, N) + m)`` (Schroff et al., FaceNet, CVPR 2015)."""

    def __init__(
        self,
        *,
        margin: float,
        distance: Distance = EUCLIDEAN,
        miner: mining.TripletMiner = mining.batch_hard,
        reduction: Reduction = mean,
    ) -> None:
        super().__init__()
        self.margin, self.distance, self.miner, self.reduction = margin, distance, miner, reduction

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) and ``labels`` (N,)."""
        far = _farness(self.distance, rows)
        chosen = self.miner(far.detach(), labels)
        positive = far[chosen.anchor, chosen.positive]
        negative = far[chosen.anchor, chosen.negative]
        return self.reduction(F.relu(positive - negative + self.margin))


class QuadrupletLoss(nn.Module):
    """The triplet loss plus a weaker push between two persons that are both not the anchor's.

    ``max(0, d(A, P) - d(A, N) + m1) + max(0, d(A, P) - d(N1, N2) + m2)`` with ``m2 < m1`` (Chen et al., CVPR
    2017, eq. 7): smaller spread within a person, larger distance between any two.
    """

    def __init__(
        self,
        *,
        margin: float,
        second_margin: float,
        distance: Distance = SQUARED_EUCLIDEAN,
        miner: mining.QuadrupletMiner = mining.hard_quadruplets,
        reduction: Reduction = mean,
    ) -> None:
        super().__init__()
        if not second_margin < margin:
            raise ValueError(f"the second margin must be the smaller one, got {second_margin} >= {margin}")
        self.margin, self.second_margin = margin, second_margin
        self.distance, self.miner, self.reduction = distance, miner, reduction

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) and ``labels`` (N,)."""
        far = _farness(self.distance, rows)
        chosen = self.miner(far.detach(), labels)
        positive = far[chosen.triplets.anchor, chosen.triplets.positive]
        negative = far[chosen.triplets.anchor, chosen.triplets.negative]
        strangers = far[chosen.other, chosen.another]
        strong = F.relu(positive - negative + self.margin)
        weak = F.relu(positive - strangers + self.second_margin)
        return self.reduction(strong + weak)


class AdaptiveTripletLoss(nn.Module):
    """The triplet loss over all pictures of the batch, hard ones weighing most.

    ``max(0, m + sum_p w_p d(A, p) - sum_n w_n d(A, n))`` with ``w_p = softmax(d)`` over the anchor's own and
    ``w_n = softmax(-d)`` over the others (Ristani & Tomasi, CVPR 2018, eq. 4 and 8). One mislabelled picture
    cannot take the whole anchor, as it can with the hardest. The weights take no gradient.
    """

    def __init__(self, *, margin: float, distance: Distance = EUCLIDEAN, reduction: Reduction = mean) -> None:
        super().__init__()
        self.margin, self.distance, self.reduction = margin, distance, reduction

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) and ``labels`` (N,)."""
        far = _farness(self.distance, rows)
        same, different = mining.same_and_different(labels)
        usable = same.any(1) & different.any(1)
        far, same, different = far[usable], same[usable], different[usable]
        pull = far.detach().masked_fill(~same, -torch.inf).softmax(1)
        push = (-far.detach()).masked_fill(~different, -torch.inf).softmax(1)
        return self.reduction(F.relu(self.margin + ((pull - push) * far).sum(1)))


class IdentityLoss(nn.Module):
    """Cross-entropy over the training identities with label smoothing (Szegedy et al., CVPR 2016).

    The target is ``1 - smoothing`` for the person and ``smoothing / C`` for each of all C persons on top.
    """

    def __init__(self, *, smoothing: float = 0.1, reduction: Reduction = mean) -> None:
        super().__init__()
        self.smoothing, self.reduction = smoothing, reduction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """One number from ``logits`` (N, C) and ``labels`` (N,) in 0 to C - 1."""
        logs = logits.log_softmax(1)
        own = logs.gather(1, labels.unsqueeze(1)).squeeze(1)
        return self.reduction(-(1.0 - self.smoothing) * own - self.smoothing * logs.mean(1))
