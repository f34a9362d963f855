"""Miners against their slow and obvious twins."""

import itertools

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
def test_quadruplets_take_the_closest_two_strangers(labels, seed):
    distances, tensor = batch(labels, seed)
    mined = mining.hard_quadruplets(distances, tensor)
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
