"""Retrieval scores: worked by hand, and against a slow obvious twin."""

import numpy as np
import pytest

from reid.evaluate import retrieval_scores


def test_scores_of_one_query_by_hand():
    # Sorted gallery: wrong, right, (right in the query's own camera: dropped), wrong, right.
    distance = np.array([[0.1, 0.2, 0.25, 0.3, 0.4]])
    scores = retrieval_scores(
        distance, np.array([7]), np.array([1]), np.array([3, 7, 7, 5, 7]), np.array([1, 2, 1, 2, 3])
    )
    # Right answers at ranks 2 and 4 of the four that are left.
    assert scores.rank(1) == 0.0
    assert scores.rank(2) == 1.0
    assert scores.mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert scores.mean_inp == pytest.approx(2 / 4)
    assert scores.queries == 1


def test_a_query_without_a_right_answer_elsewhere_does_not_count():
    distance = np.array([[0.1, 0.9], [0.1, 0.9]])
    scores = retrieval_scores(
        distance, np.array([1, 2]), np.array([1, 1]), np.array([1, 2]), np.array([1, 2])
    )
    assert scores.queries == 1  # person 1 is in the gallery in camera 1 only
    assert scores.rank(1) == 1.0 - 1.0  # and the query of person 2 finds person 1 first


def test_nothing_to_score_is_said():
    with pytest.raises(ValueError, match="nothing to score"):
        retrieval_scores(np.zeros((1, 1)), np.array([1]), np.array([1]), np.array([2]), np.array([2]))


def test_somebody_of_the_same_camera_who_is_another_stays_in_the_gallery():
    scores = retrieval_scores(
        np.array([[0.1, 0.2]]), np.array([1]), np.array([1]), np.array([2, 1]), np.array([1, 2])
    )
    assert scores.rank(1) == 0.0


def slow_twin(distance, query_ids, query_cameras, gallery_ids, gallery_cameras):
    hits, precisions, penalties = [], [], []
    for q in range(len(distance)):
        ranked, first, found, sums = 0, None, 0, 0.0
        for g in sorted(range(distance.shape[1]), key=lambda g: (distance[q, g], g)):
            if gallery_ids[g] == query_ids[q] and gallery_cameras[g] == query_cameras[q]:
                continue
            ranked += 1
            if gallery_ids[g] == query_ids[q]:
                found += 1
                sums += found / ranked
                first = first or ranked
                last = ranked
        if found:
            hits.append(first)
            precisions.append(sums / found)
            penalties.append(found / last)
    return hits, np.mean(precisions), np.mean(penalties)


@pytest.mark.parametrize("seed", range(5))
def test_against_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    distance = rng.integers(0, 12, (20, 40)) / 4.0  # with ties
    ids = rng.integers(0, 6, 20), rng.integers(0, 8, 40)
    cameras = rng.integers(0, 3, 20), rng.integers(0, 3, 40)
    scores = retrieval_scores(distance, ids[0], cameras[0], ids[1], cameras[1], ranks=10)
    hits, mean_ap, mean_inp = slow_twin(distance, ids[0], cameras[0], ids[1], cameras[1])
    for k in range(1, 11):
        assert scores.rank(k) == pytest.approx(np.mean(np.array(hits) <= k))
    assert scores.mean_ap == pytest.approx(mean_ap)
    assert scores.mean_inp == pytest.approx(mean_inp)
    assert scores.queries == len(hits)


def test_a_perfect_embedding_scores_one():
    ids, cameras = np.arange(6) // 2, np.arange(6) % 2
    distance = (ids[:, None] != ids[None, :]).astype(float)
    scores = retrieval_scores(distance, ids, cameras, ids, cameras)
    assert (scores.rank(1), scores.mean_ap, scores.mean_inp) == (1.0, 1.0, 1.0)
