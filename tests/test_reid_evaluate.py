"""Retrieval and verification scores: worked by hand, and against slow obvious twins; tests of pictures made here."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import models
from reid import evaluate as module
from reid.datasets import Pictures
from reid.evaluate import (
    ForeignEmbedder,
    as_row,
    evaluate,
    load_any_embedder,
    query_and_gallery,
    retrieval_scores,
    score,
    verification_pairs,
    verification_scores,
)


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
    assert (scores.queries, scores.unmatched) == (1, 1)  # person 1 is in the gallery in camera 1 only
    assert scores.rank(1) == 1.0 - 1.0  # and the query of person 2 finds person 1 first


def test_nothing_to_score_is_said():
    with pytest.raises(ValueError, match="nothing to score"):
        retrieval_scores(np.zeros((1, 1)), np.array([1]), np.array([1]), np.array([2]), np.array([2]))


def test_distances_that_are_no_numbers_are_refused():
    """All distances of a diverged network are NaN, and each right answer came first: rank-1 was 100 %, mAP 200 %."""
    ids, cameras = np.zeros(4, int), np.arange(4)
    with pytest.raises(ValueError, match="a distance that is NaN has no rank"):
        retrieval_scores(np.full((4, 4), np.nan), ids, cameras, ids, cameras)


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
    assert (scores.queries, scores.unmatched) == (len(hits), 20 - len(hits))
    blocks = (part for part in np.array_split(distance, 7))
    again = retrieval_scores(blocks, ids[0], cameras[0], ids[1], cameras[1], ranks=10)
    assert again.mean_ap == scores.mean_ap
    assert again.cmc.tolist() == scores.cmc.tolist()


def test_a_perfect_embedding_scores_one():
    ids, cameras = np.arange(6) // 2, np.arange(6) % 2
    distance = (ids[:, None] != ids[None, :]).astype(float)
    scores = retrieval_scores(distance, ids, cameras, ids, cameras)
    assert (scores.rank(1), scores.mean_ap, scores.mean_inp) == (1.0, 1.0, 1.0)


# --- verification


def test_verification_by_hand() -> None:
    # Accepting up to .3 lets in no stranger and 2 of 4; up to .5 one of 5 (.4) and 3 of 4; up to .8 three and all.
    scores = verification_scores([0.1, 0.3, 0.5, 0.8], [0.4, 0.6, 0.7, 0.9, 1.0], rates=(0.2,))
    assert (scores.same, scores.different) == (4, 5)
    # At .5: false accepts .2, false rejects .25. Just below .8 false accepts are .6, false rejects still .25:
    # between the two, false accepts pass .25.
    assert scores.eer == pytest.approx(0.25)
    roc = dict(zip(scores.false_accept_rates, scores.true_accept_rates))
    assert roc[0.0] == 2 / 4
    assert roc[1.0] == 1.0
    assert np.isnan(scores.accepted[0.2])  # one of five: nobody knows a rate from one error


def test_true_accepts_at_a_rate_of_false_accepts() -> None:
    different = np.arange(1, 101) / 100  # .01, .02, ... 1
    same = np.array([0.005, 0.305, 0.305, 0.405])
    scores = verification_scores(same, different, rates=(0.3, 0.39, 0.4, 0.299))
    # .305 lets in 30 of 100, .405 lets in 40.
    assert scores.accepted[0.3] == scores.accepted[0.39] == 3 / 4
    assert scores.accepted[0.4] == 1.0
    assert np.isnan(scores.accepted[0.299])  # 29.9 errors of 100 pairs are fewer than 30


def slow_rates(same, different, tau):
    return np.mean([d <= tau for d in different]), np.mean([d > tau for d in same])


def slow_equal_error(same, different):
    points = [(0.0, 1.0)]
    for tau in sorted({*same, *different}):
        points.append(slow_rates(same, different, tau))
    for (fa0, fr0), (fa1, fr1) in zip(points, points[1:]):
        if fa1 >= fr1:  # crossed on this line: fa0 + t (fa1 - fa0) = fr0 + t (fr1 - fr0)
            t = (fr0 - fa0) / (fa1 - fa0 - fr1 + fr0)
            return fa0 + t * (fa1 - fa0)
    return None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [False, True])
def test_verification_against_the_slow_twin(seed: int, ties: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH_ERRORS", 0)
    rng = np.random.default_rng(seed)
    same, different = rng.normal(0.4, 0.2, rng.integers(1, 40)), rng.normal(0.7, 0.2, rng.integers(1, 90))
    if ties:
        same, different = same.round(1), different.round(1)
    scores = verification_scores(same, different, rates=(0.01, 0.1, 0.5), points=20)
    assert scores.eer == pytest.approx(slow_equal_error(same, different), abs=1e-12)
    operating = [slow_rates(same, different, tau) for tau in [-9.0, *same, *different]]
    wanted = {rate: max(1 - fr for fa, fr in operating if fa <= rate + 1e-12) for rate in (0.01, 0.1, 0.5)}
    assert scores.accepted == pytest.approx(wanted)
    assert (np.diff(scores.true_accept_rates) >= 0).all()
    assert (np.diff(scores.false_accept_rates) > 0).all()
    pieces = verification_scores(same, np.array_split(different, 5), rates=(0.01, 0.1, 0.5), points=20)
    assert (pieces.eer, pieces.accepted) == (scores.eer, scores.accepted)


def test_verification_of_kinds_apart_swapped_and_alike() -> None:
    assert verification_scores([0.1, 0.2], [0.8, 0.9]).eer == 0.0
    assert verification_scores([0.8, 0.9], [0.1, 0.2]).eer == 1.0
    assert verification_scores([0.5], [0.5]).eer == pytest.approx(0.5)  # a toss-up


@pytest.mark.parametrize(
    ("same", "different"), [([], [0.5]), ([0.5], []), ([np.nan], [0.5]), ([0.5], [np.nan])]
)
def test_verification_without_pairs_is_refused(same: list[float], different: list[float]) -> None:
    with pytest.raises(ValueError, match="of one person and of two, none of them NaN"):
        verification_scores(same, different)


def test_pairs_leave_one_camera_of_one_person_out() -> None:
    distance = np.array([[0.1, 0.2, 0.3, 0.4]])
    pairs = list(
        verification_pairs(
            distance, np.array([1]), np.array([1]), np.array([1, 1, 2, 0]), np.array([1, 2, 1, 3])
        )
    )
    # Row 0: the same person in the same camera. Row 2 is another one in the query's camera, row 3 a distractor.
    assert [part.tolist() for part in pairs[0]] == [[0.2], [0.3, 0.4]]


def test_when_the_queries_are_the_gallery_each_pair_counts_once() -> None:
    rng = np.random.default_rng(0)
    ids, cameras = rng.integers(0, 3, 12), rng.integers(0, 2, 12)
    distance = rng.random((12, 12))
    blocks = np.array_split(distance, 5)
    found = list(verification_pairs(blocks, ids, cameras, ids, cameras, is_mutual=True))
    same = [
        distance[a, b]
        for a in range(12)
        for b in range(a + 1, 12)
        if ids[a] == ids[b] and cameras[a] != cameras[b]
    ]
    different = [distance[a, b] for a in range(12) for b in range(a + 1, 12) if ids[a] != ids[b]]
    assert np.concatenate([one for one, _ in found]).tolist() == same
    assert np.concatenate([two for _, two in found]).tolist() == different


# --- tests of pictures


class ByColour:
    """An embedder that sees the mean colour of a crop and nothing else."""

    name, model_hash = "colour", "0" * 64

    def embed(self, crops) -> np.ndarray:
        return np.array([crop.reshape(-1, 3).mean(axis=0) for crop in crops], np.float32).reshape(-1, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three people of plain colours in two cameras, one in one camera only."""
    colours = {"ann": (250, 10, 10), "bob": (10, 250, 10), "cy": (10, 10, 250), "dee": (120, 120, 120)}
    for person, colour in colours.items():
        (tmp_path / person).mkdir()
        for camera in ("hall", "yard") if person != "dee" else ("hall",):
            for number in range(2):
                picture = np.full((160, 60, 3), colour, np.uint8) + np.uint8(number)
                assert cv2.imwrite(str(tmp_path / person / f"{camera}_{number}.png"), picture)
    return tmp_path


@pytest.mark.parametrize("settings", [{}, {"rerank": True}, {"expand": 2}, {"rerank": True, "expand": 1}])
def test_a_folder_where_all_ask_all(folder: Path, settings: dict) -> None:
    (row,) = evaluate(ByColour(), [str(folder)], None, distance="euclidean", **settings)
    assert (row["rank1"], row["mAP"], row["mINP"], row["EER"]) == (100.0, 100.0, 100.0, 0.0)
    assert (row["queries"], row["unmatched"]) == (12, 2)  # dee is seen by one camera
    assert row["TAR@0.01"] is None
    # Three people with 2 x 2 pairs across cameras; 14 pictures make 91 pairs, 3 x 6 + 1 of them of one person.
    assert row["pairs"] == [3 * 4, 91 - 19]
    assert (row["model"], row["distance"]) == ("colour", "euclidean")
    assert row["rerank"] is settings.get("rerank", False)


def test_own_pictures_come_at_the_size_of_the_network(folder: Path, tmp_path: Path) -> None:
    """One of ours for pictures of 320x20 was given those shrunk to 128x64."""
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    nodes = [
        h.make_node("Cast", ["crops"], ["f"], to=onnx.TensorProto.FLOAT),
        h.make_node("ReduceMean", ["f"], ["embeddings"], axes=[1, 2], keepdims=0),
    ]
    graph = h.make_graph(
        nodes,
        "mean",
        [h.make_tensor_value_info("crops", onnx.TensorProto.UINT8, ["N", 320, 20, 3])],
        [h.make_tensor_value_info("embeddings", onnx.TensorProto.FLOAT, ["N", 3])],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "tall.onnx"))
    tall, asked = load_any_embedder(str(tmp_path / "tall.onnx"), device="cpu"), []
    embed = tall.embed
    tall.embed = lambda crops: asked.extend(crop.shape for crop in crops) or embed(crops)  # type: ignore[method-assign,func-returns-value]
    (row,) = evaluate(tall, [str(folder)], None)
    assert set(asked) == {(320, 20, 3)}
    assert row["rank1"] == 100.0


def test_pictures_that_cannot_be_scored_are_said(folder: Path, tmp_path: Path) -> None:
    for person in ("bob", "cy", "dee"):
        for picture in (folder / person).iterdir():
            picture.unlink()
    with pytest.raises(ValueError, match="known people.*ann"):
        evaluate(ByColour(), [str(folder)], None)
    assert cv2.imwrite(str(folder / "bob" / "hall_0.png"), np.zeros((9, 9, 3), np.uint8))
    for camera in (1, 0):
        (folder / "ann" / f"yard_{camera}.png").unlink()
    with pytest.raises(ValueError, match="cameras.*2 are needed"):
        evaluate(ByColour(), [str(folder)], None)
    assert cv2.imwrite(str(folder / "bob" / "0.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ValueError, match="no camera"):
        evaluate(ByColour(), [str(folder)], None)
    with pytest.raises(ValueError, match="no test is called 'marked'"):
        evaluate(ByColour(), ["marked"], None)
    with pytest.raises(ValueError, match="needs the folder of its pictures"):
        evaluate(ByColour(), ["market1501"], None)
    with pytest.raises(FileNotFoundError, match="no data set"):
        evaluate(ByColour(), ["pku-1-2"], tmp_path / "nowhere")


def test_the_named_tests_take_their_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(folder: Path, part: str, cache: Path | None) -> Pictures:
        crops = np.full((3, 128, 64, 3), 7, np.uint8)
        return Pictures(crops, np.array([len(part), 1, 2]), np.array([1, 2, 2]))

    monkeypatch.setattr(module.datasets, "load", load)
    query, gallery = query_and_gallery("market1501", Path())
    assert (query.ids[0], gallery.ids[0]) == (len("market1501_query"), len("market1501_gallery"))
    assert [side.cameras.tolist() for side in query_and_gallery("pku-1-2", Path())] == [[1], [2, 2]]
    assert [side.cameras.tolist() for side in query_and_gallery("pku-2-1", Path())] == [[2, 2], [1]]
    for test in module.TESTS:
        for side in query_and_gallery(test, Path(), size=(160, 80)):
            assert side.crops.shape[1:] == (160, 80, 3)
            assert (side.crops == 7).all()


def test_two_sides_are_scored_whatever_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    crops = rng.integers(0, 256, (60, 2, 2, 3), dtype=np.uint8)
    pictures = Pictures(crops, rng.integers(0, 6, 60), rng.integers(0, 3, 60))
    query, gallery = pictures.where(np.arange(20)), pictures.where(np.arange(20, 60))
    whole = as_row(score(ByColour(), query, gallery))
    monkeypatch.setattr("reid.rerank.PAIRS_AT_ONCE", 90)
    assert as_row(score(ByColour(), query, gallery)) == whole


# --- networks of others


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """A graph that answers the mean of each plane."""
    onnx = pytest.importorskip("onnx")
    yield _write_means(onnx, tmp_path / "means.onnx", ["batch", 3, 8, 4])


def _write_means(onnx, path: Path, shape: list) -> Path:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    pool = helper.make_node("GlobalAveragePool", ["input"], ["pooled"])
    flat = helper.make_node("Flatten", ["pooled"], ["output"], axis=1)
    graph = helper.make_graph(
        [pool, flat],
        "means",
        [helper.make_tensor_value_info("input", kind, shape)],
        [helper.make_tensor_value_info("output", kind, [shape[0], 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_foreign_network_gets_rgb_normalised_as_imagenet(foreign: Path) -> None:
    embedder = load_any_embedder(str(foreign), device="cpu")
    assert isinstance(embedder, ForeignEmbedder)
    assert (embedder.name, embedder.size, embedder.dim) == ("means", (8, 4), 3)
    assert embedder.model_hash == models.sha256_of(foreign)
    bgr = np.full((20, 10, 3), (0, 51, 255), np.uint8)
    wanted = [(1.0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.0 - 0.406) / 0.225]
    assert embedder.embed([bgr] * 40)[39] == pytest.approx(wanted, rel=1e-5)
    assert embedder.embed([]).shape == (0, 3)
    with pytest.raises(ValueError, match="has no area"):
        embedder.embed([np.zeros((0, 5, 3), np.uint8)])


def test_a_foreign_network_of_one_batch_size_is_fed_that(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    embedder = load_any_embedder(str(_write_means(onnx, tmp_path / "four.onnx", [4, 3, 8, 4])), device="cpu")
    crops = [np.full((8, 4, 3), value, np.uint8) for value in range(6)]
    rows = embedder.embed(crops)
    assert rows.shape == (6, 3)
    assert rows[:, 0] == pytest.approx((np.arange(6) / 255 - 0.485) / 0.229, rel=1e-5)


def test_a_foreign_networks_resizing_is_linear_between_pixel_centres(foreign: Path) -> None:
    """As torch's bilinear without aligned corners: 4 columns from 2 lie at -1/4, 1/4, 3/4 and 5/4 of the two."""
    embedder = load_any_embedder(str(foreign), device="cpu")
    assert isinstance(embedder, ForeignEmbedder)
    crop = np.zeros((8, 2, 3), np.uint8)
    crop[:, 1] = 200
    rows = embedder._prepared(crop)[0] * module.DEVIATION_RGB[0] + module.MEAN_RGB[0]
    assert rows[0] * 255 == pytest.approx([0.0, 50.0, 150.0, 200.0], abs=1e-3)


def test_what_is_no_embedder_at_all_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = _write_means(onnx, tmp_path / "free.onnx", [1, 3, "h", "w"])
    with pytest.raises(ValueError, match="H and W fixed"):
        load_any_embedder(str(path), device="cpu")


def test_the_shipped_embedder_is_opened_as_ours() -> None:
    assert not isinstance(load_any_embedder(device="cpu"), ForeignEmbedder)
