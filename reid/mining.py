"""Which pairs, triplets and quadruplets of a batch are worth a loss, and when in the training.

A miner looks at the batch's distances (N, N; smaller is closer) and labels (N,) and answers row numbers. Miners
know no loss and losses know no miner: any of one kind goes with any of the other. A batch without a suitable
tuple (one person alone, or nobody twice) gets an empty answer. A NaN distance is the hardest for `batch_hard`, and
nothing to `semi_hard`; the losses see to it that it shows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

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


def pairs_of(miner: TripletMiner) -> PairMiner:
    """The (anchor, positive) and (anchor, negative) of each triplet: as many pairs of one kind as of the other."""

    def mine(distances: Tensor, labels: Tensor) -> Pairs:
        found = miner(distances, labels)
        first = torch.cat((found.anchor, found.anchor))
        second = torch.cat((found.positive, found.negative))
        return Pairs(first, second, labels[first] == labels[second])

    return mine


def all_triplets(distances: Tensor, labels: Tensor) -> Triplets:
    """Every (anchor, positive, negative), N * (K - 1) * (N - K) of them for K pictures a person."""
    same, different = same_and_different(labels)
    found = (same.unsqueeze(2) & different.unsqueeze(1)).nonzero()
    return Triplets(found[:, 0], found[:, 1], found[:, 2])


def _highest_per_anchor(pull: Tensor, push: Tensor, labels: Tensor) -> Triplets:
    """Per anchor that has both, the own row with the highest ``pull`` and the other one with the highest ``push``."""
    same, different = same_and_different(labels)
    anchor = (same.any(1) & different.any(1)).nonzero().squeeze(1)
    if len(anchor) == 0:
        return Triplets(anchor, anchor, anchor)
    positive = pull.masked_fill(~same, -torch.inf).argmax(1)
    negative = push.masked_fill(~different, -torch.inf).argmax(1)
    return Triplets(anchor, positive[anchor], negative[anchor])


def batch_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """Per anchor the farthest row of the same person and the nearest of another (Hermans et al., 2017, eq. 5)."""
    return _highest_per_anchor(distances, -distances, labels)


@dataclass(frozen=True)
class RandomTriplets:
    """Per anchor any row of the same person and any of another, each as likely as the next.

    All chance comes from ``generator``, on whatever device it lives; its state is what a resumed run must restore.
    """

    generator: torch.Generator

    def __call__(self, distances: Tensor, labels: Tensor) -> Triplets:
        """As every :data:`TripletMiner`; the distances do not matter."""
        shape = (2, len(labels), len(labels))
        draw = torch.rand(shape, generator=self.generator, device=self.generator.device).to(labels.device)
        return _highest_per_anchor(draw[0], draw[1], labels)


def semi_hard(distances: Tensor, labels: Tensor, *, margin: float = math.inf) -> Triplets:
    """Per (anchor, positive) the nearest negative beyond the positive: ``d(A, P) < d(A, N) < d(A, P) + margin``.

    FaceNet (Schroff et al., CVPR 2015, eq. 4): hard negatives that do not yet turn the order round, so that training
    does not collapse early. Pairs without such a negative are left out. With the loss's own margin here
    (``functools.partial(semi_hard, margin=...)``) none is left that would cost nothing.
    """
    same, different = same_and_different(labels)
    anchor, positive = same.nonzero(as_tuple=True)
    if len(anchor) == 0:
        return Triplets(anchor, anchor, anchor)
    beyond = distances[anchor] - distances[anchor, positive].unsqueeze(1)
    suitable = different[anchor] & (beyond > 0.0) & (beyond < margin)
    negative = beyond.masked_fill(~suitable, torch.inf).argmin(1)
    there = suitable.any(1)
    return Triplets(anchor[there], positive[there], negative[there])


def quadruplets_of(miner: TripletMiner) -> QuadrupletMiner:
    """Each triplet with the closest pair that two persons other than the anchor form.

    Anchors for which the batch holds no two other persons are left out.
    """

    def mine(distances: Tensor, labels: Tensor) -> Quadruplets:
        triplets = miner(distances, labels)
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

    return mine


def hard_quadruplets(distances: Tensor, labels: Tensor) -> Quadruplets:
    """Batch-hard triplets, each with the closest two strangers (Chen et al., "Beyond triplet loss", CVPR 2017)."""
    return quadruplets_of(batch_hard)(distances, labels)


def look_alikes(prototypes: Tensor, count: int, sites: Tensor | None = None) -> Tensor:
    """(C, H) for each of C persons the ``count`` others with the most similar prototype, H = min(count, C - 1).

    The pool of hard identities of Ristani & Tomasi (CVPR 2018, sec. 4.2), most similar first. ``prototypes`` (C, D)
    may be the rows of the identity classifier; make the pool anew as training goes.

    Args:
        sites: (C,) site of each person; when given, all of the own site come before any of another.

    Raises:
        ValueError: A count below 1, prototypes that are not finite, or sites that do not fit them.
    """
    if count < 1:
        raise ValueError(f"a pool holds at least one look-alike, got {count}")
    if not bool(torch.isfinite(prototypes).all()):
        raise ValueError("prototypes that are not finite resemble nobody: has training diverged?")
    rows = F.normalize(prototypes.float(), dim=1)
    similarity = (rows @ rows.T).fill_diagonal_(-torch.inf)
    if sites is not None:
        if sites.shape != prototypes.shape[:1]:
            raise ValueError(f"{len(prototypes)} prototypes have sites of shape {tuple(sites.shape)}")
        similarity -= 4.0 * (sites.unsqueeze(0) != sites.unsqueeze(1))  # more than two cosines can differ
    return similarity.topk(min(count, len(rows) - 1), dim=1).indices


Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Schedule(Generic[Choice]):
    """What counts at which share of the training, easy first: ``Schedule(((0.0, easy), (0.3, batch_hard)))``.

    Each stage is (from which share, what): a miner, the share of batches with look-alikes, anything. It lasts until
    the next one begins.

    Raises:
        ValueError: The stages do not begin at 0, or not one after the other.
    """

    stages: tuple[tuple[float, Choice], ...]

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.stages]
        rising = all(before < after for before, after in zip(starts, starts[1:], strict=False))
        if not starts or starts[0] != 0.0 or not rising:
            raise ValueError(f"stages begin at 0 and then later and later, got {starts}")

    def at(self, progress: float) -> Choice:
        """The stage at a share of the training, 0 to 1; what is over 1 still has the last stage.

        Raises:
            ValueError: A share below 0, or NaN.
        """
        if not progress >= 0.0:
            raise ValueError(f"the share of the training is at least 0, got {progress}")
        return next(choice for start, choice in reversed(self.stages) if start <= progress)
