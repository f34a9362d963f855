"""Laws of the sampler: who meets in a batch."""

import numpy as np
import pytest

from reid.sampling import IdentitySampler

# Person 0 with 6 pictures, 1 and 2 with 3 each, 3 with one; 0 and 1 of site 0, 2 and 3 of site 7.
LABELS = np.array([2, 0, 0, 1, 0, 3, 2, 0, 1, 0, 2, 0, 1])
SITES = np.where(LABELS < 2, 0, 7)


CAMERAS = np.array(
    [1, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 3, 1]
)  # person 0: 1, 1, 1, 1, 2, 3; 1: 1 alone; 2: 1, 2, 2


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


def test_the_state_of_chance_is_the_state_of_the_sampler():
    one, two = sampler(1), sampler(5)
    for _ in range(3):
        one.batch()
    state = one._rng.bit_generator.state
    expected = [one.batch().tolist() for _ in range(5)]
    two._rng.bit_generator.state = state
    assert [two.batch().tolist() for _ in range(5)] == expected


def test_a_person_is_seen_by_as_many_cameras_as_possible():
    drawn = sampler(people=4, pictures=3, cameras=CAMERAS)
    for _ in range(50):
        rows = drawn.batch().reshape(4, 3)
        for person, pictures in zip(LABELS[rows[:, 0]], rows, strict=True):
            assert (LABELS[pictures] == person).all()
            assert len(set(CAMERAS[pictures])) == min(3, len(set(CAMERAS[person == LABELS])))
            assert len(set(pictures)) == min(3, (person == LABELS).sum())


def test_cameras_and_their_pictures_are_equally_likely():
    # Person 0 alone, two pictures: of two of its three cameras, so each camera comes in 2/3 of the batches, and each
    # of the four pictures of camera 1 in a quarter of those.
    own = LABELS == 0
    drawn = IdentitySampler(
        LABELS[own],
        SITES[own],
        people=1,
        pictures=2,
        cameras=CAMERAS[own],
        rng=np.random.default_rng(0),
    )
    counts = np.bincount(np.concatenate([drawn.batch() for _ in range(3000)]), minlength=6) / 3000
    expected = np.where(CAMERAS[own] == 1, 2 / 3 / 4, 2 / 3)
    assert counts == pytest.approx(expected, abs=0.04)  # four standard errors


def test_a_person_with_few_pictures_brings_all_before_any_comes_again():
    drawn = sampler(people=4, pictures=7, cameras=CAMERAS)
    for _ in range(20):
        for rows in drawn.batch().reshape(4, 7):
            times = np.bincount(rows, minlength=len(LABELS))[LABELS[rows[0]] == LABELS]
            assert times.max() - times.min() <= 1


def test_a_batch_may_be_of_one_site():
    drawn = sampler(people=2, single_site=True, site_shares={0: 1.0, 7: 3.0})
    sites = np.array([SITES[drawn.batch()] for _ in range(2000)])
    assert (sites == sites[:, :1]).all()
    assert (sites[:, 0] == 7).mean() == pytest.approx(0.75, abs=0.04)


def test_look_alikes_of_another_site_stay_away_from_a_batch_of_one_site():
    drawn = sampler(people=2, single_site=True)
    for _ in range(50):
        assert len(set(SITES[drawn.batch(np.array([[3, 2], [2, 3], [1, 0], [0, 1]]))])) == 1
        assert len(set(SITES[drawn.batch(np.array([[3, 1], [2, 0], [1, 3], [0, 2]]))])) == 1


def test_nobody_comes_from_a_site_without_a_share():
    drawn = sampler(people=2, site_shares={0: 0.0, 7: 1.0})
    for _ in range(20):
        assert (SITES[drawn.batch()] == 7).all()
        assert (SITES[drawn.batch(np.array([[3], [2], [1], [0]]))] == 7).all()


def test_one_identity_alone_still_makes_a_batch():
    """Of one person, which no loss can learn from but the centre's; what two people would need is refused."""
    settings = {"pictures": 4, "rng": np.random.default_rng(0)}
    one = IdentitySampler(np.zeros(2, int), np.zeros(2, int), people=1, **settings)
    assert sorted(one.batch()) == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="batch of 2 people cannot be drawn from 1"):
        IdentitySampler(np.zeros(2, int), np.zeros(2, int), people=2, **settings)


@pytest.mark.parametrize(
    ("labels", "sites", "changes", "message"),
    [
        ([], [], {}, "no row to draw"),
        ([0, 2], [0, 0], {}, "2 people are not numbered from 0 without gaps"),
        ([-1, 0], [0, 0], {}, "not numbered from 0"),
        ([0, 1], [0], {}, "columns of equal length"),
        ([0, 1], [0, 0], {"cameras": np.array([1])}, "columns of equal length"),
        ([0, 0, 1], [0, 1, 1], {}, "somebody is in two"),
        ([0, 1], [0, 0], {"people": 0}, "at least 1 person"),
        ([0, 1], [0, 0], {"pictures": 0}, "at least 1 person and 1 picture"),
        (
            [0, 1],
            [0, 1],
            {"site_shares": {0: 1.0}},
            r"shares are for the sites \[0\], the rows of the sites \[0, 1\]",
        ),
        ([0, 1], [0, 1], {"site_shares": {0: 1.0, 1: -1.0}}, "shares are at least 0"),
        ([0, 1], [0, 1], {"site_shares": {0: 0.0, 1: 0.0}}, "one of them more"),
        ([0, 1], [0, 1], {"site_shares": {0: 1.0, 1: float("nan")}}, "shares are at least 0"),
        ([0, 1], [0, 1], {"site_shares": {0: 1.0, 1: 0.0}}, "batch of 2 people cannot be drawn from 1"),
        ([0, 1], [0, 1], {"single_site": True}, "cannot be drawn from one site of 1"),
    ],
)
def test_what_does_not_fit_is_refused(labels, sites, changes, message):
    settings = {"people": 2, "pictures": 2, "rng": np.random.default_rng(0)} | changes
    with pytest.raises(ValueError, match=message):
        IdentitySampler(np.array(labels, np.int64), np.array(sites, np.int64), **settings)


def test_look_alikes_of_other_people_are_refused():
    with pytest.raises(ValueError, match=r"look-alikes of 4 people are wanted, got \(3, 1\)"):
        sampler().batch(np.array([[1], [0], [1]]))


def test_too_few_people_are_refused():
    with pytest.raises(ValueError, match="batch of 5 people cannot be drawn from 4"):
        sampler(people=5)
