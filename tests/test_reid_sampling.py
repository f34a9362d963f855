"""Laws of the sampler: who meets in a batch."""

import numpy as np
import pytest

from reid.sampling import IdentitySampler

# Person 0 with 6 pictures, 1 and 2 with 3 each, 3 with one; 0 and 1 of site 0, 2 and 3 of site 7.
LABELS = np.array([2, 0, 0, 1, 0, 3, 2, 0, 1, 0, 2, 0, 1])
SITES = np.where(LABELS < 2, 0, 7)


def sampler(seed=0, **changes):
    settings = {"people": 3, "pictures": 3, "rng": np.random.default_rng(seed)} | changes
    return IdentitySampler(LABELS, SITES, **settings)


def test_a_batch_holds_different_people_with_their_own_pictures():
    drawn = sampler()
    for _ in range(50):
        rows = drawn.batch().reshape(3, 3)
        people = LABELS[rows]
        assert (people == people[:, :1]).all()
        assert len(set(people[:, 0])) == 3
        for person, pictures in zip(people[:, 0], rows, strict=True):
            assert len(set(pictures)) == min(3, (person == LABELS).sum())


def test_by_default_every_person_comes_as_often_as_the_site_has_pictures():
    drawn = sampler(people=1)
    counts = np.bincount([LABELS[drawn.batch()[0]] for _ in range(4000)], minlength=4) / 4000
    # Site 0 has 9 of 13 pictures and two people, site 7 has 4 and two people. Standard error below .008.
    assert counts == pytest.approx([9 / 26, 9 / 26, 4 / 26, 4 / 26], abs=0.03)


def test_shares_by_site_are_kept():
    drawn = sampler(people=1, site_shares={0: 1.0, 7: 3.0})
    counts = np.bincount([LABELS[drawn.batch()[0]] for _ in range(4000)], minlength=4) / 4000
    assert counts == pytest.approx([1 / 8, 1 / 8, 3 / 8, 3 / 8], abs=0.03)


def test_look_alikes_come_together():
    drawn = sampler(people=2)
    alike = np.array([[3], [2], [1], [0]])
    for _ in range(50):
        first, second = LABELS[drawn.batch(alike).reshape(2, 3)[:, 0]]
        assert alike[first, 0] == second


def test_a_look_alike_that_is_already_there_is_replaced_by_somebody_else():
    drawn = sampler(people=4)
    for _ in range(20):
        assert sorted(LABELS[drawn.batch(np.array([[1], [0], [1], [0]])).reshape(4, 3)[:, 0]]) == [0, 1, 2, 3]


def test_one_seed_gives_one_sequence():
    one, two, three = sampler(1), sampler(1), sampler(2)
    first = [one.batch().tolist() for _ in range(5)]
    assert first == [two.batch().tolist() for _ in range(5)]
    assert first != [three.batch().tolist() for _ in range(5)]


def test_too_few_people_are_refused():
    with pytest.raises(ValueError, match="batch of 5 people cannot be drawn from 4"):
        sampler(people=5)
