"""Losses of similarity learning: worked by hand on points of a line, against slow twins in plain loops, and against
pytorch-metric-learning where it has the same loss."""

import functools
import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from reid import losses, mining  # noqa: E402  # after the check for torch

# Two people on a line: a at 0 and 1, b at 3 and 7.
ROWS = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
LABELS = torch.tensor([0, 0, 1, 1])

ALL_DISTANCES = [losses.EUCLIDEAN, losses.SQUARED_EUCLIDEAN, losses.COSINE_DISTANCE, losses.DOT]
# Each loss that takes rows and labels, as a training would make it.
ALL_LOSSES = {
    "contrastive": functools.partial(losses.ContrastiveLoss, margin=1.0),
    "contrastive, squared": functools.partial(
        losses.ContrastiveLoss, margin=1.0, squared=True, distance=losses.EUCLIDEAN
    ),
    "contrastive, hard pairs": functools.partial(
        losses.ContrastiveLoss, margin=1.0, miner=mining.pairs_of(mining.batch_hard)
    ),
    "triplet": functools.partial(losses.TripletLoss, margin=0.3),
    "triplet, soft": functools.partial(losses.TripletLoss, margin="soft"),
    "triplet, semi-hard": functools.partial(losses.TripletLoss, margin=0.3, miner=mining.semi_hard),
    "triplet, all": functools.partial(
        losses.TripletLoss, margin=0.3, miner=mining.all_triplets, reduction=losses.mean_of_active
    ),
    "quadruplet": functools.partial(losses.QuadrupletLoss, margin=1.0, second_margin=0.5),
    "quadruplet, online": losses.QuadrupletLoss,
    "adaptive": functools.partial(losses.AdaptiveTripletLoss, margin=0.3),
    "circle": losses.CircleLoss,
    "centre": functools.partial(losses.CentreLoss, classes=10, dim=3),
}


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


def test_contrastive_on_the_distance_itself():
    # Distances: same 1 and 4; different 3, 7, 2 and 6, pushed while below 2.5: only that of 2, by .5.
    loss = losses.ContrastiveLoss(margin=2.5, distance=losses.EUCLIDEAN, reduction=losses.total)
    assert loss(ROWS, LABELS).item() == pytest.approx(1 + 4 + 0.5)
    loss = losses.ContrastiveLoss(margin=2.5, squared=True, distance=losses.EUCLIDEAN, reduction=losses.total)
    assert loss(ROWS, LABELS).item() == pytest.approx(1**2 + 4**2 + 0.5**2)


def test_soft_margin_never_stops():
    # d(A,P) - d(A,N) of the hardest: -2, -1, 2 and -2, each through log(1 + e^x).
    expected = sum(math.log(1 + math.exp(x)) for x in (-2, -1, 2, -2)) / 4
    assert losses.TripletLoss(margin="soft")(ROWS, LABELS).item() == pytest.approx(expected)


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


def test_online_margins_are_the_gap_between_the_averages():
    rows = torch.tensor([[0.0], [1.0], [3.0], [5.0]])
    labels = torch.tensor([0, 0, 1, 2])
    # Squared: own 1; others 9, 25, 4, 16 and 4, on average 58 / 5 = 11.6: margins 10.6 and 5.3. With the hardest as
    # above: (1 - 9 + 10.6) + (1 - 4 + 5.3) from 0 and (1 - 4 + 10.6) + (1 - 4 + 5.3) from 1.
    loss = losses.QuadrupletLoss(reduction=losses.total)
    assert loss(rows, labels).item() == pytest.approx((2.6 + 2.3) + (7.6 + 2.3))


def test_online_margins_take_no_gradient():
    rows = torch.tensor([[0.0], [1.0], [3.0], [5.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 2])
    losses.QuadrupletLoss()(rows, labels).backward()
    online = rows.grad.clone()
    rows.grad = None
    losses.QuadrupletLoss(margin=10.6, second_margin=5.3)(rows, labels).backward()
    assert online.flatten().tolist() == pytest.approx(rows.grad.flatten().tolist())


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


def test_each_row_is_sought_among_its_allowed_persons_alone():
    # Persons 0 and 1 of one site, 2 to 4 of another. Row 0 (site 1): .6 and .3 of .9, that is 2/3 and 1/3; row 1
    # (site 2): 2, 1 and 1 of 4. Smoothing .2 spreads over two and over three.
    logits = torch.log(torch.tensor([[6.0, 3.0, 9.0, 9.0, 9.0], [50.0, 70.0, 2.0, 1.0, 1.0]]))
    labels = torch.tensor([0, 3])
    site_of_person = torch.tensor([0, 0, 1, 1, 1])
    allowed = site_of_person[labels].unsqueeze(1) == site_of_person
    row_0 = -0.8 * math.log(2 / 3) - 0.1 * (math.log(2 / 3) + math.log(1 / 3))
    row_1 = -0.8 * math.log(1 / 4) - 0.2 / 3 * (math.log(2 / 4) + 2 * math.log(1 / 4))
    loss = losses.IdentityLoss(smoothing=0.2)
    logits.requires_grad_()
    value = loss(logits, labels, allowed)
    assert value.item() == pytest.approx((row_0 + row_1) / 2)
    value.backward()
    assert (logits.grad[~allowed] == 0).all()
    assert (logits.grad[allowed] != 0).any()
    everybody = torch.ones_like(allowed)
    assert loss(logits, labels, everybody).item() == pytest.approx(loss(logits, labels).item())


def test_centres_follow_their_persons():
    loss = losses.CentreLoss(classes=3, dim=1, rate=0.5, reduction=losses.total)
    rows, labels = torch.tensor([[3.0], [6.0], [4.0]], requires_grad=True), torch.tensor([0, 0, 2])
    # From the origin: (9 + 36 + 16) / 2, each row pulled by its distance.
    value = loss(rows, labels)
    value.backward()
    assert value.item() == pytest.approx(30.5)
    assert rows.grad.flatten().tolist() == [3.0, 6.0, 4.0]
    # Eq. 4: .5 * (3 + 6) / (1 + 2) = 1.5, nobody came for person 1, .5 * 4 / (1 + 1) = 1.
    assert loss.centres.flatten().tolist() == pytest.approx([1.5, 0.0, 1.0])
    assert loss.state_dict()["centres"].flatten().tolist() == pytest.approx([1.5, 0.0, 1.0])
    # Out of training they stay: (1.5^2 + 4.5^2 + 3^2) / 2 = (2.25 + 20.25 + 9) / 2.
    loss.eval()
    assert loss(rows, labels).item() == loss(rows, labels).item() == pytest.approx(15.75)


def far_apart(distance, a, b):
    """The plain distance of two lists of numbers; of a similarity its negative."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return {
        "squared euclidean": math.dist(a, b) ** 2,
        "euclidean": math.dist(a, b),
        "cosine distance": 1 - dot / (math.hypot(*a) * math.hypot(*b)),
        "dot product": -dot,
    }[distance.name]


class Twin:
    """A batch in plain Python: distances, and who is whose."""

    def __init__(self, rows, labels, distance):
        n = range(len(labels))
        self.d = [[far_apart(distance, a, b) for b in rows] for a in rows]
        self.own = {a: [p for p in n if p != a and labels[p] == labels[a]] for a in n}
        self.others = {a: [k for k in n if labels[k] != labels[a]] for a in n}
        self.anchors = [a for a in n if self.own[a] and self.others[a]]
        self.pairs = [(i, j, labels[i] == labels[j]) for i, j in itertools.combinations(n, 2)]
        self.strangers = {
            a: [(i, j) for i in self.others[a] for j in self.others[a] if labels[i] != labels[j]] for a in n
        }

    def hardest(self, a):
        return max(self.d[a][p] for p in self.own[a]), min(self.d[a][k] for k in self.others[a])

    def contrastive(self, margin, squared=False):
        power = 2 if squared else 1
        return [
            (self.d[i][j] if same else max(0.0, margin - self.d[i][j])) ** power for i, j, same in self.pairs
        ]

    def triplet(self, margin):
        gaps = [p - n for p, n in map(self.hardest, self.anchors)]
        return [math.log(1 + math.exp(g)) if margin == "soft" else max(0.0, g + margin) for g in gaps]

    def quadruplet(self, margin="online", second_margin=None):
        if margin == "online":
            own = [self.d[i][j] for i, j, same in self.pairs if same]
            others = [self.d[i][j] for i, j, same in self.pairs if not same]
            margin = sum(others) / len(others) - sum(own) / len(own)
            second_margin = margin / 2
        values = []
        for a in self.anchors:
            if self.strangers[a]:
                p, n = self.hardest(a)
                between = min(self.d[i][j] for i, j in self.strangers[a])
                values.append(max(0.0, p - n + margin) + max(0.0, p - between + second_margin))
        return values

    def adaptive(self, margin):
        values = []
        for a in self.anchors:
            pull = sum(math.exp(self.d[a][p]) for p in self.own[a])
            push = sum(math.exp(-self.d[a][k]) for k in self.others[a])
            value = margin
            value += sum(math.exp(self.d[a][p]) / pull * self.d[a][p] for p in self.own[a])
            value -= sum(math.exp(-self.d[a][k]) / push * self.d[a][k] for k in self.others[a])
            values.append(max(0.0, value))
        return values

    def circle(self, margin, scale):
        values = []
        for a in self.anchors:
            own = [1 - self.d[a][p] for p in self.own[a]]
            others = [1 - self.d[a][k] for k in self.others[a]]
            pull = sum(math.exp(-scale * max(0, 1 + margin - s) * (s - (1 - margin))) for s in own)
            push = sum(math.exp(scale * max(0, s + margin) * (s - margin)) for s in others)
            values.append(math.log(1 + pull * push))
        return values


def random_batch(seed, labels=(5, 3, 5, 3, 9, 9, 5, 2)):
    rows = torch.randn(len(labels), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return rows, torch.tensor(labels)


@pytest.mark.parametrize("distance", ALL_DISTANCES, ids=lambda distance: distance.name)
@pytest.mark.parametrize("seed", range(3))
def test_losses_equal_their_slow_twins(distance, seed):
    rows, labels = random_batch(seed)
    twin = Twin(rows.tolist(), labels.tolist(), distance)
    settings = {"distance": distance, "reduction": losses.total}
    for loss, values in [
        (losses.ContrastiveLoss(margin=1.5, **settings), twin.contrastive(1.5)),
        (losses.ContrastiveLoss(margin=1.5, squared=True, **settings), twin.contrastive(1.5, squared=True)),
        (losses.TripletLoss(margin=0.5, **settings), twin.triplet(0.5)),
        (losses.TripletLoss(margin="soft", **settings), twin.triplet("soft")),
        (losses.QuadrupletLoss(margin=2.0, second_margin=1.0, **settings), twin.quadruplet(2.0, 1.0)),
        (losses.QuadrupletLoss(**settings), twin.quadruplet()),
        (losses.AdaptiveTripletLoss(margin=0.5, **settings), twin.adaptive(0.5)),
    ]:
        assert any(values)
        assert loss(rows, labels).item() == pytest.approx(sum(values), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_circle_loss_equals_its_slow_twin(seed):
    rows, labels = random_batch(seed)
    values = Twin(rows.tolist(), labels.tolist(), losses.COSINE_DISTANCE).circle(0.25, 4.0)
    loss = losses.CircleLoss(margin=0.25, scale=4.0, reduction=losses.total)
    assert loss(rows, labels).item() == pytest.approx(sum(values), rel=1e-9)


@pytest.fixture
def reference():
    """pytorch-metric-learning's modules, as (losses, distances, miners, reducers)."""
    reason = "comes with the dev extra"
    return [
        pytest.importorskip(f"pytorch_metric_learning.{part}", reason=reason)
        for part in ("losses", "distances", "miners", "reducers")
    ]


def assert_the_same(ours, theirs, rows, labels, times=1.0):
    """Equal value and gradient; ``times``: how often theirs counts what ours counts once."""
    mine, other = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    value, expected = ours(mine, labels) * times, theirs(other, labels)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    assert value.item() > 0
    assert mine.grad == pytest.approx(other.grad, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_contrastive_is_that_of_pytorch_metric_learning(reference, seed):
    """Theirs counts each pair from both sides."""
    their_losses, distances, _, reducers = reference
    for distance, power in ((losses.EUCLIDEAN, 1), (losses.SQUARED_EUCLIDEAN, 2)):
        theirs = their_losses.ContrastiveLoss(
            neg_margin=1.5,
            distance=distances.LpDistance(normalize_embeddings=False, p=2, power=power),
            reducer=reducers.SumReducer(),
        )
        ours = losses.ContrastiveLoss(margin=1.5, distance=distance, reduction=losses.total)
        assert_the_same(ours, theirs, *random_batch(seed), times=2)


@pytest.mark.parametrize("seed", range(3))
def test_triplet_is_that_of_pytorch_metric_learning(reference, seed):
    their_losses, distances, miners, reducers = reference
    plain = distances.LpDistance(normalize_embeddings=False)
    hard = miners.BatchHardMiner(distance=plain)
    for distance, theirs_distance in [
        (losses.EUCLIDEAN, plain),
        (losses.SQUARED_EUCLIDEAN, distances.LpDistance(normalize_embeddings=False, power=2)),
        (losses.DOT, distances.DotProductSimilarity(normalize_embeddings=False)),
    ]:
        settings = {"distance": distance, "miner": mining.all_triplets, "reduction": losses.total}
        for margin, smooth in ((0.5, False), (0.0, True)):
            theirs = their_losses.TripletMarginLoss(
                margin=margin, smooth_loss=smooth, distance=theirs_distance, reducer=reducers.SumReducer()
            )
            ours = losses.TripletLoss(margin="soft" if smooth else margin, **settings)
            assert_the_same(ours, theirs, *random_batch(seed))
    theirs = their_losses.TripletMarginLoss(margin=0.5, distance=plain, reducer=reducers.MeanReducer())
    rows, labels = random_batch(seed, labels=(5, 3, 5, 3, 9, 9, 5, 9))
    assert_the_same(
        losses.TripletLoss(margin=0.5), lambda x, y: theirs(x, y, hard(x.detach(), y)), rows, labels
    )


@pytest.mark.parametrize("seed", range(3))
def test_circle_loss_is_that_of_pytorch_metric_learning(reference, seed):
    theirs = reference[0].CircleLoss(m=0.25, gamma=128, reducer=reference[3].SumReducer())
    assert_the_same(losses.CircleLoss(reduction=losses.total), theirs, *random_batch(seed))


def test_rows_that_are_nearly_equal_keep_their_small_distance():
    """|a|^2 + |b|^2 - 2ab in float32 used to answer 0 or .01 for rows of length 30 that are .001 apart."""
    a = torch.full((1, 900), 1.0)
    b = a.clone()
    b[0, 0] += 0.001
    assert losses.EUCLIDEAN.matrix(a, b).item() == pytest.approx(0.001, rel=1e-3)


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ALL_LOSSES)
@pytest.mark.parametrize("labels", [[], [4], [4, 4], [1, 2], [1, 1, 2, 2], [1, 1, 2, 2, 3]])
def test_any_batch_has_a_finite_loss_and_gradient(name, labels, device):
    """Also one without positives or negatives, and one with rows that fall together (no slope of the root)."""
    rows = torch.zeros(len(labels), 3, requires_grad=True, device=device)
    value = ALL_LOSSES[name]().to(device)(rows, torch.tensor(labels, dtype=torch.int64, device=device))
    value.backward()
    assert torch.isfinite(value)
    assert rows.grad is not None and torch.isfinite(rows.grad).all()
    if len(set(labels)) < 2:  # nobody to push away, and equal rows are as near as they can be
        assert value == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ALL_LOSSES)
@pytest.mark.parametrize("labels", [[1, 1, 2, 2, 3], [7, 8]])
def test_a_row_that_is_not_finite_shows(name, labels, bad):
    """Also where no miner would take it: nothing may go on with a gradient of NaN under a finite loss."""
    rows = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(1))
    rows[-1, 0] = bad
    value = ALL_LOSSES[name]()(rows, torch.tensor(labels))
    assert not torch.isfinite(value)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ALL_LOSSES)
def test_autocast_costs_no_precision(name, device):
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).to(device)
    labels = torch.tensor([5, 3, 5, 3, 9, 9, 5, 2], device=device)
    plain = ALL_LOSSES[name]().to(device)(rows, labels)
    with torch.autocast(device, torch.bfloat16):
        mixed = ALL_LOSSES[name]().to(device)(rows, labels)
        half = ALL_LOSSES[name]().to(device)(rows.bfloat16(), labels)
    assert mixed.dtype == half.dtype == torch.float32
    assert mixed.item() == pytest.approx(plain.item(), rel=1e-6)
    assert half.item() == pytest.approx(plain.item(), rel=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_identity_loss_of_half_precision_logits_is_reckoned_in_single(device):
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).to(device).bfloat16()
    labels = torch.tensor([0, 5, 2, 2], device=device)
    with torch.autocast(device, torch.bfloat16):
        value = losses.IdentityLoss()(logits, labels, torch.ones(4, 6, dtype=torch.bool, device=device))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(losses.IdentityLoss()(logits.float(), labels).item(), rel=1e-6)


def test_no_picture_costs_nothing():
    assert losses.IdentityLoss()(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).item() == 0


@pytest.mark.parametrize("name", ALL_LOSSES)
def test_rows_and_labels_that_do_not_fit_are_refused(name):
    loss = ALL_LOSSES[name]()
    with pytest.raises(ValueError, match=r"rows \(N, D\) and labels \(N,\)"):
        loss(torch.zeros(3, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"rows \(N, D\) and labels \(N,\)"):
        loss(torch.zeros(3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="whole numbers"):
        loss(torch.zeros(3, 3), torch.zeros(3))


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_labels_beyond_the_classes_are_refused(labels):
    for loss in (losses.IdentityLoss(), losses.CentreLoss(classes=3, dim=3)):
        with pytest.raises(ValueError, match=f"from 0 to 2, got {labels[0]} to {labels[1]}"):
            loss(torch.zeros(2, 3), torch.tensor(labels))


def test_allowed_classes_that_do_not_fit_are_refused():
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="own person is not among"):
        losses.IdentityLoss()(logits, labels, torch.tensor([[True, True, True], [True, False, True]]))
    with pytest.raises(ValueError, match=r"bool for each of \(2, 3\)"):
        losses.IdentityLoss()(logits, labels, torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.QuadrupletLoss(margin=1.0, second_margin=1.0), "second margin must be the smaller"),
        (lambda: losses.QuadrupletLoss(margin=1.0), "second margin must be the smaller"),
        (lambda: losses.QuadrupletLoss(margin="online", second_margin=0.5), "two numbers or"),
        (lambda: losses.QuadrupletLoss(margin="soft"), "two numbers or"),
        (lambda: losses.TripletLoss(margin="hard"), 'a number or "soft"'),
        (lambda: losses.IdentityLoss(smoothing=1.0), "smoothing"),
        (lambda: losses.CentreLoss(classes=2, dim=2, rate=0.0), "rate"),
    ],
)
def test_settings_that_say_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("distance", ALL_DISTANCES, ids=lambda distance: distance.name)
def test_a_step_against_the_gradient_brings_the_same_person_closer(distance):
    rows = torch.nn.functional.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(1)), dim=1)
    labels = torch.arange(8) // 2
    before = losses.TripletLoss(margin=1.0, distance=distance)(rows.requires_grad_(), labels)
    before.backward()
    after = losses.TripletLoss(margin=1.0, distance=distance)((rows - 0.05 * rows.grad).detach(), labels)
    assert after < before.detach()
