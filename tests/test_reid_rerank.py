"""Query expansion and re-ranking: worked by hand, and against slow obvious twins."""

import numpy as np
import pytest

from reid import rerank as module
from reid.rerank import distance_blocks, expand_queries, measure, rerank


def test_distances_by_hand() -> None:
    a, b = np.array([[3.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]])
    assert measure(a, b, "euclidean")[0] == pytest.approx([4.0, 3.0])
    assert measure(a, b, "cosine")[0] == pytest.approx([1 - 3 / 5, 1.0])  # a row without a direction is at 1
    with pytest.raises(ValueError, match="no distance is called 'manhattan'"):
        measure(a, b, "manhattan")  # type: ignore[arg-type]


def test_blocks_are_the_rows_of_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 11)  # two rows of 5
    blocks = list(distance_blocks(a, b))
    assert [len(block) for block in blocks] == [2, 2, 2, 1]
    assert np.concatenate(blocks) == pytest.approx(measure(a, b), abs=1e-6)
    assert list(distance_blocks(a[:0], b)) == []


# --- query expansion


def test_an_expanded_query_by_hand() -> None:
    query, gallery = np.array([[2.0, 0.0]]), np.array([[0.6, 0.8], [0.0, 5.0], [-1.0, 0.0]])
    # The nearest: (.6, .8) at cosine .6. With alpha 1: (1, 0) + .6 (.6, .8) = (1.36, .48).
    wanted = np.array([1.36, 0.48]) / np.hypot(1.36, 0.48)
    assert expand_queries(query, gallery, 1, alpha=1.0)[0] == pytest.approx(wanted)
    # All alike, two neighbours: (1, 0) + (.6, .8) + (0, 1) = (1.6, 1.8).
    assert expand_queries(query, gallery, 2, alpha=0.0)[0] == pytest.approx([1.6 / 5.8**0.5, 1.8 / 5.8**0.5])
    # Weighed, who is orthogonal or opposite adds nothing, though there are more places than rows.
    assert expand_queries(query, gallery, 9, alpha=1.0)[0] == pytest.approx(wanted)
    assert expand_queries(query, gallery, 0)[0] == pytest.approx([1.0, 0.0])


def test_expansion_of_nothing_and_of_a_row_without_direction() -> None:
    rows = np.array([[1.0, 0.0]])
    assert expand_queries(rows[:0], rows, 3).shape == (0, 2)
    assert expand_queries(rows, rows[:0], 3).tolist() == [[1.0, 0.0]]
    assert expand_queries(0 * rows, rows, 3).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="at least 0 neighbours"):
        expand_queries(rows, rows, -1)


def test_expansion_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(9, 4)), rng.normal(size=(12, 4))
    whole = expand_queries(a, b, 3)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 25)
    assert expand_queries(a, b, 3) == pytest.approx(whole, abs=1e-6)


# --- re-ranking


def slow_rerank(rows, first, k1, k2, weight):
    """Zhong et al. set by set and pair by pair; cosine only."""
    size = len(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    far = np.clip(1 - unit @ unit.T, 0, 2)
    far = far / far.max()
    order = [sorted(range(size), key=lambda g: (g != p, far[p, g], g)) for p in range(size)]

    def near(p, k):
        return set(order[p][: k + 1])  # itself and k others

    def mutual(p, k):
        return {g for g in near(p, k) if p in near(g, k)}

    V = np.zeros((size, size))
    for p in range(size):
        ours = mutual(p, k1)
        grown = set(ours)
        for q in ours:
            theirs = mutual(q, round(k1 / 2))
            if len(ours & theirs) >= 2 / 3 * len(theirs) - 1e-9:
                grown |= theirs
        for g in grown:
            V[p, g] = np.exp(-far[p, g])
    V = np.array([np.mean([V[g] for g in order[p][:k2]], axis=0) for p in range(size)])
    jaccard = np.array([[1 - np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in V] for a in V])
    both = (1 - weight) * jaccard + weight * far
    return both[:first, first:] if first else both


@pytest.mark.parametrize(
    ("k1", "k2", "weight"), [(6, 3, 0.3), (1, 1, 0.0), (5, 1, 0.5), (20, 6, 0.3), (99, 99, 0.1)]
)
def test_against_the_slow_twin(k1: int, k2: int, weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(k1)
    centres = rng.normal(size=(8, 6))
    rows = centres[rng.integers(0, 8, 60)] + 0.4 * rng.normal(size=(60, 6))
    query, gallery = rows[:20], rows[20:]
    wanted = slow_rerank(rows, 20, k1, k2, weight)
    assert rerank(query, gallery, k1=k1, k2=k2, weight=weight) == pytest.approx(wanted, abs=1e-5)
    wanted = slow_rerank(rows, 0, k1, k2, weight)
    assert rerank(rows, None, k1=k1, k2=k2, weight=weight) == pytest.approx(wanted, abs=1e-5)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 130)  # two rows of 60 at a time
    assert rerank(rows, None, k1=k1, k2=k2, weight=weight) == pytest.approx(wanted, abs=1e-5)


def test_who_shares_the_neighbours_comes_before_who_is_merely_near() -> None:
    # Along a line: the query at 0, a chain of its person up to 3, and one outsider on the other side at -1.9, whose
    # own neighbours are elsewhere. Plainly, the outsider is nearer than the end of the chain.
    place = np.array([0.0, 1.0, 1.5, 2.0, -1.9, -2.1, -2.3, -2.5])
    rows = np.stack([np.full(8, 10.0), place], axis=1)
    plain = measure(rows[:1], rows[1:], "euclidean")[0]
    again = rerank(rows[:1], rows[1:], metric="euclidean", k1=3, k2=1, weight=0.1)[0]
    assert plain[3] < plain[2]  # the outsider (-1.9) before the chain's end (2.0)
    assert again[2] < again[3]


def test_with_all_weight_on_the_distance_the_order_stays() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(6, 4)), rng.normal(size=(15, 4))
    again, plain = rerank(a, b, weight=1.0), measure(a, b)
    assert (np.argsort(again) == np.argsort(plain)).all()


def test_the_scale_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(6, 4)), rng.normal(size=(15, 4))
    once, tenfold = (rerank(f * a, f * b, metric="euclidean", k1=4, k2=2) for f in (1.0, 10.0))
    assert once == pytest.approx(tenfold, abs=1e-5)


def test_nothing_copies_and_mistakes() -> None:
    rows = np.ones((3, 2))
    assert rerank(rows[:0], rows).shape == (0, 3)
    assert rerank(rows, rows[:0]).shape == (3, 0)
    assert rerank(rows, None) == pytest.approx(np.zeros((3, 3)), abs=1e-6)  # copies are at 0, and not NaN
    with pytest.raises(ValueError, match="k1 and k2 of at least 1"):
        rerank(rows, rows, k1=0)
    with pytest.raises(ValueError, match=r"weight in \[0, 1\]"):
        rerank(rows, rows, weight=1.5)
