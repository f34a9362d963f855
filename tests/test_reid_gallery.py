"""Distances, prototype sets, the choice of diverse rows, and the gallery's bounds and search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.gallery import Gallery, distances, select_diverse, set_distance

X, Y, Z = np.eye(3, dtype=np.float32)


def rows(seed: int, count: int, dim: int = 8) -> NDArray[np.float32]:
    """Unit rows in random directions."""
    drawn = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_distance_is_one_minus_cosine() -> None:
    slanted = np.array(
        [[3.0, 4.0, 0.0]], np.float32
    )  # cosine .6 with X, .8 with Y; its length does not count
    assert distances(slanted, np.stack([X, Y, Z, -X])) == pytest.approx(np.array([[0.4, 0.2, 1.0, 1.6]]))


def test_distances_of_nothing_have_the_right_shape() -> None:
    none = np.zeros((0, 3), np.float32)
    assert distances(none, np.stack([X, Y])).shape == (0, 2)
    assert distances(np.stack([X, Y]), none).shape == (2, 0)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_a_direction_says_nothing(bad: float) -> None:
    odd = np.array([[bad, 0.0, 0.0]], np.float32)
    assert distances(odd, np.stack([X, Y])) == pytest.approx(np.ones((1, 2)))
    assert set_distance(odd, X[None]) == pytest.approx(1.0)


def test_prototypes_in_half_precision_are_compared_in_single() -> None:
    a, b = rows(0, 5), rows(1, 4)
    assert distances(a.astype(np.float16), b.astype(np.float16)) == pytest.approx(distances(a, b), abs=2e-3)
    assert distances(a.astype(np.float16), b).dtype == np.float32


def test_rows_of_two_models_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="rows of 3 numbers"):
        distances(X[None], rows(0, 2, dim=4))


def test_set_distance_of_single_rows_is_their_distance() -> None:
    assert set_distance(X[None], np.array([[3.0, 4.0, 0.0]], np.float32)) == pytest.approx(0.4)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_laws_of_the_set_distance(seed: int, k: int, l: int) -> None:  # noqa: E741  (K and L rows)
    a, b = rows(seed, k), rows(seed + 1, l)
    there = set_distance(a, b)
    pairs = distances(a, b)
    assert pairs.min() - 1e-6 <= there <= pairs.max() + 1e-6
    assert there == pytest.approx(set_distance(b, a), abs=1e-6)
    assert there == pytest.approx(set_distance(a[::-1], b[::-1]), abs=1e-6)


def test_one_bad_prototype_does_not_make_two_people_one() -> None:
    """A crop that shows the neighbour: the nearest pair alone would say that both sets are one person."""
    mine = np.stack([X, X, X, X, X, X, X, Y])
    neighbour = np.stack([Y] * 8)
    assert distances(mine, neighbour).min() == pytest.approx(0.0)
    assert set_distance(mine, neighbour) == pytest.approx(1.0)  # 8 of 64 pairs are near: less than a quarter


def test_one_matching_side_of_two_is_enough() -> None:
    """Seen from the front and the back by one camera, from the front by the other: 1 of 2 pairs is near."""
    assert set_distance(np.stack([X, Y]), X[None]) == pytest.approx(0.0)
    # Of 2 x 3 pairs the second smallest counts: ceil(6 / 4) = 2.
    slanted = np.array([0.6, 0.8, 0.0], np.float32)
    assert set_distance(np.stack([X, Z]), np.stack([slanted, X, Y])) == pytest.approx(0.4)


def test_nobody_is_at_one() -> None:
    assert set_distance(np.zeros((0, 3), np.float32), X[None]) == 1.0


def test_select_diverse_starts_with_the_best_and_leaves_copies_out() -> None:
    near_x = np.array([0.9, np.sqrt(1 - 0.81), 0.0], np.float32)
    chosen = select_diverse(np.stack([X, X, near_x, Y, Z]), [0.9, 1.0, 0.9, 0.5, 0.4], 5)
    # Row 1 is best. Then .5 * 1 (Y) > .4 * 1 (Z) > .9 * .1 (near X). Near Y now has min(.1, 1 - .436) = .1 left.
    assert chosen.tolist() == [1, 3, 4, 2]  # row 0 is a copy of row 1


def test_select_diverse_weighs_quality_against_difference() -> None:
    slanted = np.array([0.6, 0.8, 0.0], np.float32)  # at .4 from X
    assert select_diverse(np.stack([X, slanted, Z]), [1.0, 0.9, 0.3], 2).tolist() == [0, 1]  # .36 > .30
    assert select_diverse(np.stack([X, slanted, Z]), [1.0, 0.7, 0.3], 2).tolist() == [0, 2]  # .28 < .30


def test_select_diverse_never_takes_worthless_rows() -> None:
    odd = np.full(3, np.nan, np.float32)
    assert select_diverse(np.stack([X, Y, odd, Z]), [0.0, np.nan, 1.0, 0.1], 4).tolist() == [3]
    assert select_diverse(np.zeros((0, 3), np.float32), [], 4).tolist() == []
    assert select_diverse(np.stack([X]), [1.0], 0).tolist() == []
    with pytest.raises(ValueError, match="2 embeddings, but 1 qualities"):
        select_diverse(np.stack([X, Y]), [1.0], 2)


def filled(**bounds: int) -> Gallery:
    gallery = Gallery(**bounds)
    gallery.add(7, np.stack([X, X]), t_ns=10, model_hash="m")
    gallery.add(3, Y[None], t_ns=20, model_hash="m")
    gallery.add(5, Z[None], t_ns=30, model_hash="m")
    return gallery


def test_search_names_the_nearest_owners_first() -> None:
    owners, far = filled().search(np.array([[0.6, 0.8, 0.0]], np.float32), 2, model_hash="m")
    assert owners.tolist() == [3, 7]
    assert far == pytest.approx([0.2, 0.4])


def test_search_among_nobody() -> None:
    for gallery, model in ((Gallery(), "m"), (filled(), "another model")):
        owners, far = gallery.search(X[None], 3, model_hash=model)
        assert owners.shape == far.shape == (0,)
    assert filled().search(np.zeros((0, 3), np.float32), 3, model_hash="m")[0].shape == (0,)


@given(st.integers(0, 10_000), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_search_equals_comparing_with_everybody(seed: int, top_k: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = Gallery(rows_per_owner=6)
    people = {owner: rows(seed + owner, int(rng.integers(1, 6))) for owner in range(10)}
    for owner in rng.permutation(10):
        gallery.add(int(owner), people[int(owner)], t_ns=0, model_hash="m")
    query = rows(seed + 99, int(rng.integers(1, 4)))
    slow = sorted((set_distance(query, people[owner]), owner) for owner in people)[:top_k]
    owners, far = gallery.search(query, top_k, model_hash="m")
    assert far == pytest.approx([d for d, _ in slow], abs=1e-5)
    assert owners.tolist() == [o for _, o in slow]


def test_an_owner_keeps_the_newest_rows_whatever_order_they_came_in() -> None:
    gallery = Gallery(rows_per_owner=2)
    for t_ns, row in ((30, Z), (10, X), (20, Y)):
        gallery.add(1, row[None], t_ns=t_ns, model_hash="m")
    kept = gallery.remembered(1)
    assert kept.t_ns.tolist() == [20, 30]
    assert kept.embeddings == pytest.approx(np.stack([Y, Z]))
    assert gallery.rows == 2


def test_the_owner_unseen_for_longest_makes_room() -> None:
    gallery = filled(max_owners=3)
    gallery.add(
        7, X[None], t_ns=40, model_hash="m"
    )  # 7 was seen again, so 3 is now the one unseen for longest
    gallery.add(9, Y[None], t_ns=50, model_hash="m")
    assert gallery.owners() == [5, 7, 9]
    assert len(gallery) == 3 and 3 not in gallery


def test_what_is_forgotten_is_not_found_and_its_room_is_used_again() -> None:
    gallery = filled()
    gallery.forget(7)
    gallery.forget(7)
    assert gallery.search(X[None], 5, model_hash="m")[0].tolist() == [3, 5]
    assert gallery.remembered(7).embeddings.shape[0] == 0
    assert not (gallery._embeddings @ X > 0.5).any()  # gone from memory, not only from the index
    gallery.add(8, X[None], t_ns=60, model_hash="m")
    assert gallery.search(X[None], 1, model_hash="m")[0].tolist() == [8]


def test_a_thousand_owners_fit_and_are_found() -> None:
    gallery = Gallery(rows_per_owner=2)
    everybody = rows(4, 1000, dim=32)
    for owner, row in enumerate(everybody):
        gallery.add(owner, row[None], t_ns=owner, model_hash="m")
    for owner in (0, 63, 64, 999):
        found, far = gallery.search(everybody[owner][None], 1, model_hash="m")
        assert found.tolist() == [owner] and far[0] == pytest.approx(0.0, abs=1e-5)


def test_merging_gives_all_rows_to_the_kept_owner_within_the_bound() -> None:
    gallery = filled(rows_per_owner=2)
    gallery.merge(7, 3)
    assert gallery.owners() == [5, 7]
    kept = gallery.remembered(7)
    assert kept.t_ns.tolist() == [10, 20]
    assert kept.embeddings == pytest.approx(np.stack([X, Y]))
    assert gallery.search(Y[None], 1, model_hash="m")[0].tolist() == [7]
    before = gallery.rows
    gallery.merge(7, 7)
    gallery.merge(7, 12345)
    assert gallery.rows == before
    gallery.merge(100, 5)  # into a number that had no rows yet
    assert gallery.owners() == [7, 100]


def test_rows_of_another_model_are_kept_apart_and_counted() -> None:
    gallery = filled()
    gallery.add(7, Y[None], t_ns=40, model_hash="new")
    assert gallery.models() == {"m": 4, "new": 1}
    assert gallery.search(Y[None], 5, model_hash="new")[0].tolist() == [7]
    assert gallery.search(Y[None], 1, model_hash="m")[0].tolist() == [3]
    assert gallery.remembered(7).model_hashes == ["m", "m", "new"]


def test_a_gallery_refuses_rows_of_another_length_and_ignores_empty_ones() -> None:
    gallery = filled()
    with pytest.raises(ValueError, match="rows of 3 numbers"):
        gallery.add(1, rows(0, 1, dim=4), t_ns=0, model_hash="m")
    gallery.add(1, np.zeros((2, 3), np.float32), t_ns=0, model_hash="m")
    gallery.add(1, np.zeros((0, 3), np.float32), t_ns=0, model_hash="m")
    assert 1 not in gallery
    with pytest.raises(ValueError, match="at least 1 row"):
        Gallery(rows_per_owner=0)
