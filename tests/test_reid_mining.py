"""Miners against their slow and obvious twins."""

import functools
import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from reid import mining  # noqa: E402  # after the check for torch

BATCHES = [
    ([0, 0, 0, 1, 1, 2, 2, 2], 0),
    ([5, 3, 5, 3, 9, 9, 5], 1),
    ([0, 0, 0], 2),  # nobody else
    ([0, 1, 2], 3),  # no second picture of anybody
    ([0, 0, 1], 4),
    ([], 5),
]


def batch(labels, seed):
    count = len(labels)
    distances = torch.rand(count, count, generator=torch.Generator().manual_seed(seed))
    return (distances + distances.T).fill_diagonal_(0.0), torch.tensor(labels, dtype=torch.int64)


def rows(*columns):
    return list(zip(*(column.tolist() for column in columns), strict=True))


def brute_triplets(labels):
    for a, p, n in itertools.product(range(len(labels)), repeat=3):
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]:
            yield a, p, n


@pytest.mark.parametrize(("labels", "seed"), BATCHES)
def test_all_pairs_and_all_triplets(labels, seed):
    distances, tensor = batch(labels, seed)
    pairs = mining.all_pairs(distances, tensor)
    expected = [(i, j, labels[i] == labels[j]) for i, j in itertools.combinations(range(len(labels)), 2)]
    assert rows(pairs.first, pairs.second, pairs.same) == expected
    triplets = mining.all_triplets(distances, tensor)
    assert rows(triplets.anchor, triplets.positive, triplets.negative) == list(brute_triplets(labels))


@pytest.mark.parametrize(("labels", "seed"), BATCHES)
def test_batch_hard_takes_the_worst_of_each_kind(labels, seed):
    distances, tensor = batch(labels, seed)
    expected = {}
    for a, p, n in brute_triplets(labels):
        worst = expected.get(a, (p, n))
        expected[a] = (
            max(worst[0], p, key=lambda k: distances[a, k]),
            min(worst[1], n, key=lambda k: distances[a, k]),
        )
    mined = mining.batch_hard(distances, tensor)
    assert rows(mined.anchor, mined.positive, mined.negative) == [
        (a, *pn) for a, pn in sorted(expected.items())
    ]


@pytest.mark.parametrize(("labels", "seed"), BATCHES)
def test_semi_hard_takes_the_nearest_negative_beyond_the_positive(labels, seed):
    distances, tensor = batch(labels, seed)
    expected = {}
    for a, p, n in brute_triplets(labels):
        if distances[a, n] > distances[a, p]:
            expected[a, p] = min(expected.get((a, p), n), n, key=lambda k: distances[a, k])
    mined = mining.semi_hard(distances, tensor)
    assert rows(mined.anchor, mined.positive, mined.negative) == [
        (*ap, n) for ap, n in sorted(expected.items())
    ]


@pytest.mark.parametrize(("labels", "seed"), BATCHES)
def test_semi_hard_within_a_margin(labels, seed):
    distances, tensor = batch(labels, seed)
    expected = {}
    for a, p, n in brute_triplets(labels):
        if 0.0 < distances[a, n] - distances[a, p] < 0.2:
            expected[a, p] = min(expected.get((a, p), n), n, key=lambda k: distances[a, k])
    mined = functools.partial(mining.semi_hard, margin=0.2)(distances, tensor)
    assert rows(mined.anchor, mined.positive, mined.negative) == [
        (*ap, n) for ap, n in sorted(expected.items())
    ]


def test_semi_hard_and_batch_hard_agree_with_pytorch_metric_learning():
    """Its semi-hard triplets are all within the margin; ours are, for each pair, the nearest of them."""
    miners = pytest.importorskip("pytorch_metric_learning.miners", reason="comes with the dev extra")
    distances = pytest.importorskip("pytorch_metric_learning.distances").LpDistance(
        normalize_embeddings=False
    )
    embeddings = torch.randn(12, 3, generator=torch.Generator().manual_seed(4))
    labels = torch.arange(12) // 3
    far = torch.cdist(embeddings, embeddings)
    theirs = rows(
        *miners.TripletMarginMiner(1.0, type_of_triplets="semihard", distance=distances)(embeddings, labels)
    )
    nearest = {}
    for a, p, n in theirs:
        nearest[a, p] = min(nearest.get((a, p), n), n, key=lambda k: far[a, k])
    ours = mining.semi_hard(far, labels, margin=1.0)
    assert len(nearest) > 3
    assert rows(ours.anchor, ours.positive, ours.negative) == sorted((*ap, n) for ap, n in nearest.items())
    ours = mining.batch_hard(far, labels)
    hard = rows(*miners.BatchHardMiner(distance=distances)(embeddings, labels))
    assert rows(ours.anchor, ours.positive, ours.negative) == hard


@pytest.mark.parametrize(("labels", "seed"), BATCHES)
def test_random_triplets_have_one_for_each_anchor(labels, seed):
    distances, tensor = batch(labels, seed)
    mined = mining.RandomTriplets(torch.Generator().manual_seed(seed))(distances, tensor)
    possible = set(brute_triplets(labels))
    assert set(rows(mined.anchor, mined.positive, mined.negative)) <= possible
    assert mined.anchor.tolist() == sorted({a for a, _, _ in possible})


def test_random_triplets_are_equally_likely_and_repeat_from_a_state():
    # Anchor 0 has 2 own and 3 others: 6 triplets, each with chance 1/6; standard error of 3000 draws .007.
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    miner = mining.RandomTriplets(torch.Generator().manual_seed(0))
    drawn = []
    for number in range(3000):
        if number == 1500:
            state = miner.generator.get_state()
        mined = miner(torch.zeros(6, 6), labels)
        drawn.append((int(mined.positive[0]), int(mined.negative[0])))
    for pair in itertools.product((1, 2), (3, 4, 5)):
        assert drawn.count(pair) / 3000 == pytest.approx(1 / 6, abs=0.03)
    miner.generator.set_state(state)
    again = miner(torch.zeros(6, 6), labels)
    assert (int(again.positive[0]), int(again.negative[0])) == drawn[1500]


@pytest.mark.parametrize(("labels", "seed"), BATCHES)
def test_pairs_of_triplets_are_half_and_half(labels, seed):
    distances, tensor = batch(labels, seed)
    triplets = mining.batch_hard(distances, tensor)
    pairs = mining.pairs_of(mining.batch_hard)(distances, tensor)
    expected = [(a, p, True) for a, p in rows(triplets.anchor, triplets.positive)]
    expected += [(a, n, False) for a, n in rows(triplets.anchor, triplets.negative)]
    assert rows(pairs.first, pairs.second, pairs.same) == expected


@pytest.mark.parametrize(("labels", "seed"), BATCHES)
def test_quadruplets_take_the_closest_two_strangers(labels, seed):
    distances, tensor = batch(labels, seed)
    for miner in (
        mining.hard_quadruplets,
        mining.quadruplets_of(mining.RandomTriplets(torch.Generator().manual_seed(seed))),
    ):
        check_quadruplets(miner(distances, tensor), distances, tensor, labels)


def check_quadruplets(mined, distances, tensor, labels):
    anchors = mined.triplets.anchor.tolist()
    for anchor, one, two in zip(anchors, mined.other.tolist(), mined.another.tolist(), strict=True):
        strangers = [
            (i, j)
            for i, j in itertools.permutations(range(len(labels)), 2)
            if len({labels[anchor], labels[i], labels[j]}) == 3
        ]
        assert distances[one, two] == min(distances[i, j] for i, j in strangers)
        assert (one, two) in strangers
    hard = mining.batch_hard(distances, tensor).anchor.tolist()
    assert anchors == (hard if len(set(labels)) >= 3 else [])


def test_look_alikes_are_the_nearest_by_angle():
    # At 0, 10, 100 and 190 degrees, of any length.
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 100.0, 190.0]))
    prototypes = torch.stack((angles.cos(), angles.sin()), dim=1) * torch.tensor([[1.0], [5.0], [2.0], [3.0]])
    assert mining.look_alikes(prototypes, 1).squeeze(1).tolist() == [1, 0, 1, 2]
    assert mining.look_alikes(prototypes, 10).shape == (4, 3)  # never oneself
    assert mining.look_alikes(prototypes, 10)[0].tolist() == [1, 2, 3]


def test_look_alikes_of_the_own_site_come_first():
    # At 0, 10, 100 and 190 degrees; 0 and 100 of one site, 10 and 190 of another.
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 100.0, 190.0]))
    prototypes = torch.stack((angles.cos(), angles.sin()), dim=1)
    sites = torch.tensor([0, 1, 0, 1])
    assert mining.look_alikes(prototypes, 3, sites).tolist() == [[2, 1, 3], [3, 0, 2], [0, 1, 3], [1, 2, 0]]


def test_look_alikes_of_one_person_are_none():
    assert mining.look_alikes(torch.ones(1, 2), 5).shape == (1, 0)


def test_look_alikes_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one look-alike, got 0"):
        mining.look_alikes(torch.ones(3, 2), 0)
    with pytest.raises(ValueError, match="not finite"):
        mining.look_alikes(torch.tensor([[1.0], [math.nan]]), 1)
    with pytest.raises(ValueError, match="3 prototypes have sites"):
        mining.look_alikes(torch.ones(3, 2), 1, torch.tensor([0, 1]))


def test_a_schedule_begins_easy():
    easy = mining.RandomTriplets(torch.Generator())
    schedule = mining.Schedule(((0.0, easy), (0.1, mining.semi_hard), (0.3, mining.batch_hard)))
    assert [schedule.at(share) for share in (0.0, 0.05, 0.1, 0.29, 0.3, 1.0, 1.01)] == [
        easy,
        easy,
        mining.semi_hard,
        mining.semi_hard,
        mining.batch_hard,
        mining.batch_hard,
        mining.batch_hard,
    ]
    assert mining.Schedule(((0.0, 0.0), (0.3, 0.5))).at(0.4) == 0.5  # as well a share of batches


@pytest.mark.parametrize("starts", [[], [0.1], [0.0, 0.3, 0.3], [0.0, 0.5, 0.2], [math.nan], [0.0, math.nan]])
def test_a_schedule_out_of_order_is_refused(starts):
    with pytest.raises(ValueError, match="stages begin at 0"):
        mining.Schedule(tuple((start, None) for start in starts))


@pytest.mark.parametrize("progress", [-0.1, math.nan])
def test_a_schedule_has_no_stage_before_the_training(progress):
    with pytest.raises(ValueError, match="at least 0"):
        mining.Schedule(((0.0, None),)).at(progress)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no accelerator")
@pytest.mark.parametrize(("labels", "seed"), BATCHES)
def test_miners_answer_the_same_on_an_accelerator(labels, seed):
    distances, tensor = batch(labels, seed)
    for miner in (
        mining.batch_hard,
        mining.semi_hard,
        mining.all_triplets,
        lambda d, y: mining.RandomTriplets(torch.Generator().manual_seed(seed))(d, y),
        lambda d, y: mining.hard_quadruplets(d, y).triplets,
    ):
        here, there = miner(distances, tensor), miner(distances.cuda(), tensor.cuda())
        assert there.anchor.is_cuda
        assert rows(here.anchor, here.positive, here.negative) == rows(
            there.anchor, there.positive, there.negative
        )
    assert mining.pairs_of(mining.batch_hard)(distances.cuda(), tensor.cuda()).same.is_cuda
    assert mining.all_pairs(distances.cuda(), tensor.cuda()).same.is_cuda
