"""Losses of similarity learning: distance x miner x reduction, each usable alone.

A distance compares two sets of rows and says whether larger is closer; a miner (:mod:`reid.mining`) picks the
tuples; a loss turns their distances into one value per tuple; a reduction makes that one number. So that any loss
goes with any distance, a similarity is turned round (its negative is the distance d of the formulas).

What holds for all of them: a batch without a tuple costs exactly zero and still has a gradient. A row that is not
finite makes the loss not finite, mined or not: a diverged network is seen. All is reckoned in float32 or finer,
also inside autocast. Rows that are not (N, D), or labels that do not fit them, are a ValueError.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

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


def _fine(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _euclidean(a: Tensor, b: Tensor) -> Tensor:
    # From differences: |a|^2 + |b|^2 - 2ab leaves noise of .01 between equal rows of length 30, and its root has no
    # slope at zero, where this one has slope 0.
    return torch.cdist(_fine(a), _fine(b), compute_mode="donot_use_mm_for_euclid_dist")


def _squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    return _euclidean(a, b).square()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    with torch.autocast(a.device.type, enabled=False):
        return _fine(a) @ _fine(b).T


def _cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    return 1.0 - _dot(F.normalize(_fine(a), dim=1), F.normalize(_fine(b), dim=1))


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


def _check(rows: Tensor, labels: Tensor) -> None:
    if rows.ndim != 2 or labels.shape != rows.shape[:1]:
        raise ValueError(
            f"a loss takes rows (N, D) and labels (N,), got {tuple(rows.shape)} and {tuple(labels.shape)}"
        )
    if labels.is_floating_point():
        raise ValueError(f"labels are whole numbers, got {labels.dtype}")


def _check_classes(labels: Tensor, classes: int) -> None:
    # Looked up out of range, a label is an obscure error on a CPU and the end of the process on an accelerator.
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels go from 0 to {classes - 1}, got {int(labels.min())} to {int(labels.max())}")


def _farness(distance: Distance, rows: Tensor, labels: Tensor) -> Tensor:
    """All distances of a batch, turned so that smaller is closer."""
    _check(rows, labels)
    matrix = distance.matrix(rows, rows)
    return -matrix if distance.larger_is_closer else matrix


def _reduce(reduction: Reduction, values: Tensor, rows: Tensor) -> Tensor:
    """The reduced values; NaN if any of the rows is not finite, though no tuple holds it."""
    return reduction(values) + 0.0 * _fine(rows).sum()


class ContrastiveLoss(nn.Module):
    """``y d + (1 - y) max(0, m - d)``: pull pairs of one person, push others only up to the margin.

    With the squared Euclidean distance and ``margin=m**2`` this is ``y d^2 + (1 - y) max(0, m^2 - d^2)``. With
    ``squared=True`` and ``EUCLIDEAN`` it is ``y d^2 + (1 - y) max(0, m - d)^2``, twice the form of Hadsell et al.,
    "Dimensionality reduction by learning an invariant mapping", CVPR 2006, eq. 4 (there y = 0 marks the same).
    """

    def __init__(
        self,
        *,
        margin: float,
        squared: bool = False,
        distance: Distance = SQUARED_EUCLIDEAN,
        miner: mining.PairMiner = mining.all_pairs,
        reduction: Reduction = mean,
    ) -> None:
        """
        Args:
            margin: m, in the unit of ``distance``: pairs of two persons farther apart than that cost nothing.
            squared: Square each pair's term, so that the push fades out towards the margin.
        """
        super().__init__()
        self.margin, self.squared = margin, squared
        self.distance, self.miner, self.reduction = distance, miner, reduction

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) and ``labels`` (N,)."""
        far = _farness(self.distance, rows, labels)
        pairs = self.miner(far.detach(), labels)
        between = far[pairs.first, pairs.second]
        values = torch.where(pairs.same, between, F.relu(self.margin - between))
        return _reduce(self.reduction, values.square() if self.squared else values, rows)


class TripletLoss(nn.Module):
    """``max(0, d(A, P) - d(A, N) + m)``: own pictures closer than others' by a margin.

    Schroff et al., "FaceNet", CVPR 2015, eq. 3, is this with ``SQUARED_EUCLIDEAN`` on unit rows, margin 0.2 and
    ``mining.semi_hard``. Hermans et al., "In defense of the triplet loss", 2017, eq. 5, is this with ``EUCLIDEAN``
    and ``mining.batch_hard``, and their soft margin (sec. 2, "softplus") ``log(1 + exp(d(A, P) - d(A, N)))`` is
    ``margin="soft"``: it never stops pulling, and has no margin to choose.
    """

    def __init__(
        self,
        *,
        margin: float | Literal["soft"],
        distance: Distance = EUCLIDEAN,
        miner: mining.TripletMiner = mining.batch_hard,
        reduction: Reduction = mean,
    ) -> None:
        """
        Args:
            margin: m, in the unit of ``distance``, or "soft".

        Raises:
            ValueError: The margin is another word.
        """
        super().__init__()
        if isinstance(margin, str) and margin != "soft":
            raise ValueError(f'the margin is a number or "soft", got {margin!r}')
        self.margin, self.distance, self.miner, self.reduction = margin, distance, miner, reduction

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) and ``labels`` (N,)."""
        far = _farness(self.distance, rows, labels)
        chosen = self.miner(far.detach(), labels)
        wrong = far[chosen.anchor, chosen.positive] - far[chosen.anchor, chosen.negative]
        values = F.softplus(wrong) if self.margin == "soft" else F.relu(wrong + self.margin)
        return _reduce(self.reduction, values, rows)


class QuadrupletLoss(nn.Module):
    """The triplet loss plus a weaker push between two persons that are both not the anchor's.

    ``max(0, d(A, P) - d(A, N) + m1) + max(0, d(A, P) - d(N1, N2) + m2)`` with ``m2 < m1``: smaller spread within a
    person, larger distance between any two. Chen et al., "Beyond triplet loss", CVPR 2017, the quadruplet loss (on
    squared distances). Their online margins follow the batch: ``m1 = mu_n - mu_p`` and ``m2 = (mu_n - mu_p) / 2``
    with the average distance of all pairs of two persons and of one, so that the hinge asks for more as training
    goes; they take no gradient, and are negative while a batch's own pairs are the farther ones, as in the paper.
    """

    def __init__(
        self,
        *,
        margin: float | Literal["online"] = "online",
        second_margin: float | None = None,
        distance: Distance = SQUARED_EUCLIDEAN,
        miner: mining.QuadrupletMiner = mining.hard_quadruplets,
        reduction: Reduction = mean,
    ) -> None:
        """
        Args:
            margin: m1, in the unit of ``distance``, or "online" for both margins from the batch.
            second_margin: m2; None goes with "online" and with nothing else.

        Raises:
            ValueError: The second margin is not the smaller one, is missing, or stands beside "online".
        """
        super().__init__()
        if isinstance(margin, str):
            if margin != "online" or second_margin is not None:
                raise ValueError(
                    f'margins are two numbers or "online" alone, got {margin!r}, {second_margin}'
                )
        elif second_margin is None or not second_margin < margin:
            raise ValueError(
                f"the second margin must be the smaller one, got {second_margin} beside {margin}"
            )
        self.margin, self.second_margin = margin, second_margin
        self.distance, self.miner, self.reduction = distance, miner, reduction

    def margins(self, far: Tensor, labels: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Both margins for a batch with the distances ``far`` (N, N; smaller is closer) and ``labels`` (N,)."""
        if self.second_margin is not None:
            return self.margin, self.second_margin
        same, different = mining.same_and_different(labels)
        mu_p = far.detach().masked_fill(~same, 0.0).sum() / same.sum().clamp(min=1)
        mu_n = far.detach().masked_fill(~different, 0.0).sum() / different.sum().clamp(min=1)
        return mu_n - mu_p, 0.5 * (mu_n - mu_p)

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) and ``labels`` (N,)."""
        far = _farness(self.distance, rows, labels)
        chosen = self.miner(far.detach(), labels)
        first_margin, second_margin = self.margins(far, labels)
        positive = far[chosen.triplets.anchor, chosen.triplets.positive]
        negative = far[chosen.triplets.anchor, chosen.triplets.negative]
        strangers = far[chosen.other, chosen.another]
        strong = F.relu(positive - negative + first_margin)
        weak = F.relu(positive - strangers + second_margin)
        return _reduce(self.reduction, strong + weak, rows)


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
        far = _farness(self.distance, rows, labels)
        same, different = mining.same_and_different(labels)
        usable = same.any(1) & different.any(1)
        far, same, different = far[usable], same[usable], different[usable]
        pull = far.detach().masked_fill(~same, -torch.inf).softmax(1)
        push = (-far.detach()).masked_fill(~different, -torch.inf).softmax(1)
        return _reduce(self.reduction, F.relu(self.margin + ((pull - push) * far).sum(1)), rows)


class CircleLoss(nn.Module):
    """Every pair of an anchor pulled or pushed by how far its similarity is from where it should be.

    ``log(1 + sum_n exp(g a_n (s_n - m)) * sum_p exp(-g a_p (s_p - 1 + m)))`` over the cosine similarities s of the
    anchor to the others and to its own, with ``a_n = max(0, s_n + m)`` and ``a_p = max(0, 1 + m - s_p)`` without
    gradient. Sun et al., "Circle loss", CVPR 2020, eq. 5 and 6 for pair-wise labels, with O_p = 1 + m, O_n = -m,
    delta_p = 1 - m and delta_n = m; the defaults are theirs for persons. One value per anchor that has both kinds;
    all pairs count, since the weights do the mining.
    """

    def __init__(self, *, margin: float = 0.25, scale: float = 128.0, reduction: Reduction = mean) -> None:
        """
        Args:
            margin: m, relaxation of the goal (own at similarity 1, others at 0), as a cosine.
            scale: g (gamma), how sharply the worst pairs rule.
        """
        super().__init__()
        self.margin, self.scale, self.reduction = margin, scale, reduction

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) of any length and ``labels`` (N,)."""
        similar = 1.0 - _farness(COSINE_DISTANCE, rows, labels)
        same, different = mining.same_and_different(labels)
        usable = same.any(1) & different.any(1)
        similar, same, different = similar[usable], same[usable], different[usable]
        own = (1.0 + self.margin - similar.detach()).clamp(min=0.0) * (1.0 - self.margin - similar)
        others = (similar.detach() + self.margin).clamp(min=0.0) * (similar - self.margin)
        pull = (self.scale * own).masked_fill(~same, -torch.inf).logsumexp(1)
        push = (self.scale * others).masked_fill(~different, -torch.inf).logsumexp(1)
        return _reduce(self.reduction, F.softplus(pull + push), rows)


class CentreLoss(nn.Module):
    """``|x - c|^2 / 2`` to the centre of the row's person: a tight cloud for each.

    Wen et al., "A discriminative feature learning approach", ECCV 2016, eq. 2. In training mode each call then
    moves the centres, as batch normalisation moves its averages, by their eq. 4: ``c -= rate * sum(c - x) /
    (1 + n)`` over the n rows of that person. Centres start at the origin and are part of the state. It pulls only:
    use it beside an identity or triplet loss.
    """

    centres: Tensor  # (C, D)

    def __init__(self, *, classes: int, dim: int, rate: float = 0.5, reduction: Reduction = mean) -> None:
        """
        Args:
            classes: C, persons.
            dim: D, numbers in a row.
            rate: Share of the way that a centre moves, in (0, 1].

        Raises:
            ValueError: A rate outside of that.
        """
        super().__init__()
        if not 0.0 < rate <= 1.0:
            raise ValueError(f"centres move by a rate in (0, 1], got {rate}")
        self.rate, self.reduction = rate, reduction
        self.register_buffer("centres", torch.zeros(classes, dim))

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        """One number from ``rows`` (N, D) and ``labels`` (N,) in 0 to C - 1; moves the centres when training."""
        _check(rows, labels)
        _check_classes(labels, len(self.centres))
        away = _fine(rows) - self.centres[labels]
        if self.training:
            self._move(away.detach(), labels)
        return self.reduction(0.5 * away.square().sum(1))

    def _move(self, away: Tensor, labels: Tensor) -> None:
        moves = torch.zeros_like(self.centres).index_add_(0, labels, away.to(self.centres.dtype))
        counts = torch.bincount(labels, minlength=len(self.centres))
        self.centres += self.rate * moves / (1 + counts).unsqueeze(1)


class IdentityLoss(nn.Module):
    """Cross-entropy over the training identities with label smoothing (Szegedy et al., CVPR 2016, sec. 7).

    The target is ``1 - smoothing`` for the person and ``smoothing / C`` for each of all C persons on top.
    """

    def __init__(self, *, smoothing: float = 0.1, reduction: Reduction = mean) -> None:
        """
        Args:
            smoothing: Share of the target that is spread over all, in [0, 1).

        Raises:
            ValueError: A smoothing outside of that.
        """
        super().__init__()
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"the smoothing lies in [0, 1), got {smoothing}")
        self.smoothing, self.reduction = smoothing, reduction

    def forward(self, logits: Tensor, labels: Tensor, allowed: Tensor | None = None) -> Tensor:
        """One number from ``logits`` (N, C) and ``labels`` (N,) in 0 to C - 1.

        Args:
            allowed: (N, C) bool, the classes among which a row's person is sought, its own always one of them; the
                others get neither probability nor gradient, and C is their number. With several data sets these are
                the people of the row's own: nobody knows whether two sets share a person, and telling sites apart
                is no skill to learn. None: all classes.
        """
        _check(logits, labels)
        _check_classes(labels, logits.shape[1])
        logits = _fine(logits)
        if allowed is None:
            logs = logits.log_softmax(1)
            spread = logs.mean(1)
        else:
            self._check_allowed(allowed, logits, labels)
            logs = logits.masked_fill(~allowed, -torch.inf).log_softmax(1)
            spread = logs.masked_fill(~allowed, 0.0).sum(1) / allowed.sum(1)
        own = logs.gather(1, labels.long().unsqueeze(1)).squeeze(1)
        return self.reduction(-(1.0 - self.smoothing) * own - self.smoothing * spread)

    @staticmethod
    def _check_allowed(allowed: Tensor, logits: Tensor, labels: Tensor) -> None:
        if allowed.shape != logits.shape or allowed.dtype != torch.bool:
            raise ValueError(
                f"allowed is a bool for each of {tuple(logits.shape)}, got {allowed.dtype} {tuple(allowed.shape)}"
            )
        if not bool(allowed.gather(1, labels.long().unsqueeze(1)).all()):
            raise ValueError("a row's own person is not among its allowed ones")
