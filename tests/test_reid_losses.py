"""Losses of similarity learning, worked by hand on points of a line."""

import math

import pytest

torch = pytest.importorskip("torch")

from reid import losses, mining  # noqa: E402  # after the check for torch

# Two people on a line: a at 0 and 1, b at 3 and 7.
ROWS = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
LABELS = torch.tensor([0, 0, 1, 1])


def test_distances_say_which_way_is_closer():
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [6.0, 8.0]])
    assert losses.SQUARED_EUCLIDEAN.matrix(a, b).tolist() == [[25.0, 25.0]]
    assert losses.EUCLIDEAN.matrix(a, b) == pytest.approx(torch.tensor([[5.0, 5.0]]))
    assert losses.DOT.matrix(a, b).tolist() == [[0.0, 50.0]]
    # The same direction at another length is at distance 0, a right angle at 1.
    assert losses.COSINE_DISTANCE.matrix(a, torch.tensor([[6.0, 8.0], [-4.0, 3.0]])) == pytest.approx(
        torch.tensor([[0.0, 1.0]]), abs=1e-6
    )
    assert losses.DOT.larger_is_closer
    assert not losses.SQUARED_EUCLIDEAN.larger_is_closer


def test_contrastive_pulls_the_same_and_pushes_others_up_to_the_margin():
    # Squared distances: same 1 (0-1) and 16 (3-7); different 9, 49, 4 and 36, pushed while below 10.
    loss = losses.ContrastiveLoss(margin=10.0, reduction=losses.total)
    assert loss(ROWS, LABELS).item() == pytest.approx(1 + 16 + (10 - 9) + 0 + (10 - 4) + 0)


def test_triplet_with_the_hardest_of_the_batch():
    # (A, farthest P, nearest N): (0: 1, 3), (1: 1, 2), (3: 4, 2), (7: 4, 6); margin 1.5
    # max(0, 1 - 3 + 1.5) = 0, 1 - 2 + 1.5 = .5, 4 - 2 + 1.5 = 3.5, max(0, 4 - 6 + 1.5) = 0
    assert losses.TripletLoss(margin=1.5)(ROWS, LABELS).item() == pytest.approx((0.5 + 3.5) / 4)
    active = losses.TripletLoss(margin=1.5, reduction=losses.mean_of_active)
    assert active(ROWS, LABELS).item() == pytest.approx((0.5 + 3.5) / 2)


def test_triplet_with_every_triplet():
    # d(A,P) - d(A,N) + 1.5 over the 8: from 0: 1-3 -> 0, 1-7 -> 0; from 1: 1-2 -> .5, 1-6 -> 0;
    # from 3: 4-3 -> 2.5, 4-2 -> 3.5; from 7: 4-7 -> 0, 4-6 -> 0
    loss = losses.TripletLoss(margin=1.5, miner=mining.all_triplets, reduction=losses.total)
    assert loss(ROWS, LABELS).item() == pytest.approx(0.5 + 2.5 + 3.5)


def test_a_similarity_is_turned_round():
    """With the dot product larger is closer: unit rows at 0, 90 and 180 degrees."""
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    # Anchor 0: positive 0, negative -1 -> 0 - (-1) turned: 0 - 1 + .5 < 0. Anchor 1: 0 and 0 -> .5.
    loss = losses.TripletLoss(margin=0.5, distance=losses.DOT, reduction=losses.total)
    assert loss(rows, labels).item() == pytest.approx(0.5)


def test_quadruplet_adds_a_push_between_two_strangers():
    rows = torch.tensor([[0.0], [1.0], [3.0], [5.0]])
    labels = torch.tensor([0, 0, 1, 2])
    # Only the two of person 0 have a positive. Squared: d(A,P) = 1, nearest negative 9 (from 0) and 4 (from 1),
    # strangers 3 and 5: 4. With margins 4 and 3.5: (max(0, 1-9+4) + 1-4+3.5) and (1-4+4 + 1-4+3.5).
    loss = losses.QuadrupletLoss(margin=4.0, second_margin=3.5, reduction=losses.total)
    assert loss(rows, labels).item() == pytest.approx((0 + 0.5) + (1 + 0.5))


def test_quadruplet_refuses_a_second_margin_that_is_not_the_smaller():
    with pytest.raises(ValueError, match="second margin"):
        losses.QuadrupletLoss(margin=1.0, second_margin=1.0)


def test_adaptive_weights_favour_the_hard_ones():
    # From 0: one positive at 1; negatives at 3 and 7 weigh e^-3 and e^-7.
    share = math.exp(-3) / (math.exp(-3) + math.exp(-7))
    from_0 = 5 + 1 - (share * 3 + (1 - share) * 7)
    share = math.exp(-2) / (math.exp(-2) + math.exp(-6))
    from_1 = 5 + 1 - (share * 2 + (1 - share) * 6)
    share = math.exp(-2) / (math.exp(-2) + math.exp(-3))
    from_3 = 5 + 4 - (share * 2 + (1 - share) * 3)
    share = math.exp(-6) / (math.exp(-6) + math.exp(-7))
    from_7 = 5 + 4 - (share * 6 + (1 - share) * 7)
    loss = losses.AdaptiveTripletLoss(margin=5.0, reduction=losses.total)
    assert loss(ROWS, LABELS).item() == pytest.approx(from_0 + from_1 + from_3 + from_7)


def test_identity_loss_with_smoothing():
    # Logits ln 6, ln 3, ln 1 are probabilities .6, .3, .1; smoothing .3 spreads .1 to each of the three.
    logits = torch.log(torch.tensor([[6.0, 3.0, 1.0]]))
    expected = -0.7 * math.log(0.6) - 0.1 * (math.log(0.6) + math.log(0.3) + math.log(0.1))
    assert losses.IdentityLoss(smoothing=0.3)(logits, torch.tensor([0])).item() == pytest.approx(expected)
    reference = torch.nn.functional.cross_entropy(logits, torch.tensor([0]), label_smoothing=0.3)
    assert losses.IdentityLoss(smoothing=0.3)(logits, torch.tensor([0])).item() == pytest.approx(
        reference.item()
    )


@pytest.mark.parametrize(
    "loss",
    [
        losses.ContrastiveLoss(margin=1.0),
        losses.TripletLoss(margin=0.3),
        losses.TripletLoss(margin=0.3, miner=mining.semi_hard),
        losses.TripletLoss(margin=0.3, miner=mining.all_triplets, reduction=losses.mean_of_active),
        losses.QuadrupletLoss(margin=1.0, second_margin=0.5),
        losses.AdaptiveTripletLoss(margin=0.3),
    ],
)
@pytest.mark.parametrize("labels", [[], [4], [4, 4], [1, 2], [1, 1, 2, 2]])
def test_any_batch_has_a_finite_loss_and_gradient(loss, labels):
    """Also one without positives or negatives, and one with rows that fall together (no slope of the root)."""
    rows = torch.zeros(len(labels), 3, requires_grad=True)
    value = loss(rows, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    assert torch.isfinite(value)
    assert rows.grad is not None and torch.isfinite(rows.grad).all()


@pytest.mark.parametrize(
    "distance", [losses.EUCLIDEAN, losses.SQUARED_EUCLIDEAN, losses.COSINE_DISTANCE, losses.DOT]
)
def test_a_step_against_the_gradient_brings_the_same_person_closer(distance):
    rows = torch.nn.functional.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(1)), dim=1)
    labels = torch.arange(8) // 2
    before = losses.TripletLoss(margin=1.0, distance=distance)(rows.requires_grad_(), labels)
    before.backward()
    after = losses.TripletLoss(margin=1.0, distance=distance)((rows - 0.05 * rows.grad).detach(), labels)
    assert after < before.detach()
