"""How good is an embedder? Does the right person come first, and are two crops of one person told from two persons'?

Retrieval follows Market-1501's protocol (Zheng et al., ICCV 2015): each query asks the whole gallery; gallery rows of
the same person in the same camera are dropped for it, since finding the neighbouring frame is no achievement.
Verification judges every pair of a query and a gallery picture that is left, at one threshold for all queries.

    from reid.embedder import load_embedder
    from reid.evaluate import evaluate

    rows = evaluate(load_embedder(), ["pku-1-2", "my/folder"], data)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

import models
from reid import datasets
from reid.datasets import Pictures
from reid.embedder import OnnxEmbedder
from reid.gallery import unit_rows
from reid.pictures import HEIGHT, WIDTH, to_input
from reid.rerank import Metric, distance_blocks, expand_queries, rerank

TESTS = ("market1501", "pku-1-2", "pku-2-1")
FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
# Fewer false accepts than this say little of their rate: 30 errors are needed to know it to 30 % at 90 % confidence
# (Doddington et al., Speech Communication 2000, the "rule of 30").
ENOUGH_ERRORS = 30
MEAN_RGB = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, in [0, 1]
DEVIATION_RGB = np.array([0.229, 0.224, 0.225], np.float32)

Distances = NDArray[np.floating] | Iterable[NDArray[np.floating]]  # (Q, G), or its rows in blocks, in order


class Embedder(Protocol):
    """What can be measured: `reid.embedder.OnnxEmbedder`, `ForeignEmbedder`, or anything alike."""

    name: str
    model_hash: str

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(N, D) rows for N crops (h, w, 3) uint8 BGR."""


@dataclass(frozen=True)
class RetrievalScores:
    """Averages over the queries that have a right answer in the gallery."""

    cmc: NDArray[np.float64]  # (R,) share of queries with a right answer among the first 1, 2, ... R
    mean_ap: float  # mean over queries of the precision at each right answer
    mean_inp: float  # mINP: right answers / rank of the last one found (Ye et al., TPAMI 2021, section 4.1)
    queries: int  # how many counted
    unmatched: int  # how many did not count: the gallery has no right answer in another camera

    def rank(self, k: int) -> float:
        """Share of queries with a right answer among the first ``k`` (from 1)."""
        return float(self.cmc[min(k, len(self.cmc)) - 1])


def retrieval_scores(
    distance: Distances,
    query_ids: NDArray[np.integer],
    query_cameras: NDArray[np.integer],
    gallery_ids: NDArray[np.integer],
    gallery_cameras: NDArray[np.integer],
    *,
    ranks: int = 50,
) -> RetrievalScores:
    """Score (Q, G) distances; smaller is closer, ties go to the earlier gallery row.

    Args:
        distance: The matrix, or its rows in blocks, so that it need not be held whole.
        query_ids: (Q,) who, and ``query_cameras``, ``gallery_ids``, ``gallery_cameras`` alike.
        ranks: How far the CMC goes.

    Queries without a right answer left in the gallery are counted as ``unmatched`` and nowhere else.

    Raises:
        ValueError: No query can be counted, or a distance of one that can is NaN.
    """
    first_hits, precisions, penalties = [], [], []
    unmatched = 0
    for row, person, camera in zip(_rows(distance), query_ids, query_cameras, strict=True):
        of_person = np.flatnonzero(gallery_ids == person)
        elsewhere = gallery_cameras[of_person] != camera
        if not elsewhere.any():
            unmatched += 1
            continue
        places = _places(row, of_person)
        right, dropped = np.sort(places[elsewhere]), np.sort(places[~elsewhere])
        hits = right + 1 - np.searchsorted(dropped, right)  # ranks of right answers, from 1
        found = np.arange(1, len(hits) + 1)
        first_hits.append(hits[0])
        precisions.append(np.mean(found / hits))
        penalties.append(len(hits) / hits[-1])
    if not first_hits:
        raise ValueError("no query has a right answer in another camera of the gallery: nothing to score")
    reached = np.bincount(np.minimum(first_hits, ranks + 1), minlength=ranks + 2)[1 : ranks + 1]
    return RetrievalScores(
        cmc=np.cumsum(reached) / len(first_hits),
        mean_ap=float(np.mean(precisions)),
        mean_inp=float(np.mean(penalties)),
        queries=len(first_hits),
        unmatched=unmatched,
    )


def _rows(distance: Distances) -> Iterator[NDArray[np.floating]]:
    return (row for block in distance for row in np.atleast_2d(block))


def _places(row: NDArray[np.floating], wanted: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where the ``wanted`` entries of a row stand in its stable order, from 0.

    Sorting values and looking the few up is several times faster than a stable argsort of them all.
    """
    ordered, values = np.sort(row), row[wanted]
    if np.isnan(ordered[-1]):  # sorted last; it is equal to nothing, so that every place would be a guess
        raise ValueError("a distance that is NaN has no rank: are the embeddings numbers?")
    places = np.searchsorted(ordered, values, side="left")
    tied = np.searchsorted(ordered, values, side="right") - places > 1
    for number in np.flatnonzero(tied):
        places[number] += np.count_nonzero(row[: wanted[number]] == values[number])
    return places


@dataclass(frozen=True)
class VerificationScores:
    """One threshold for all pairs: how many of one person are accepted, how many of two by mistake."""

    false_accept_rates: NDArray[np.float64]  # (K,) the ROC, ascending from 0 to 1, thinned
    true_accept_rates: NDArray[np.float64]  # (K,) at no more false accepts than that
    eer: float  # where false accepts and false rejects are equally frequent
    accepted: Mapping[
        float, float
    ]  # wanted false-accept rate -> true-accept rate; NaN: too few pairs to know
    same: int  # how many pairs of one person
    different: int  # how many of two


def verification_scores(
    same: ArrayLike,
    different: NDArray[np.floating] | Iterable[ArrayLike],
    *,
    rates: Sequence[float] = FALSE_ACCEPT_RATES,
    points: int = 100,
) -> VerificationScores:
    """Score pairs of which it is known whether they show one person; ``distance <= tau`` accepts.

    All pairs count, none is sampled. The operating points are exact; the equal error rate lies where the two rates
    cross, on straight lines between operating points.

    Args:
        same: (P,) distances of pairs of one person, P >= 1.
        different: (N,) of two persons, N >= 1; or several such arrays, which are looked at one after the other.
        rates: Wanted false-accept rates. The answer is NaN for a rate at which fewer than `ENOUGH_ERRORS` of the N
            pairs would be accepted: too few to know.
        points: How many points of the ROC are kept, evenly spaced by the logarithm of the false-accept rate.

    Raises:
        ValueError: A kind is empty or holds a NaN.
    """
    # Every true-accept rate is reached at the distance of a pair of one person; so it is enough to know how many of
    # the others are nearer than each of these, and no more has to be held.
    levels, multiple = np.unique(np.ravel(np.asarray(same)), return_counts=True)
    nearer, as_near = (np.zeros(len(levels), np.int64) for _ in range(2))
    total, is_number = 0, not np.isnan(levels).any()
    for piece in [different] if isinstance(different, np.ndarray) else different:
        ordered = np.sort(np.ravel(np.asarray(piece)))
        total += len(ordered)
        is_number &= not (len(ordered) and np.isnan(ordered[-1]))
        nearer += np.searchsorted(ordered, levels, side="left")
        as_near += np.searchsorted(ordered, levels, side="right")
    if not len(levels) or not total or not is_number:
        raise ValueError(
            f"verification needs distances of pairs of one person and of two, none of them NaN: "
            f"{multiple.sum()} and {total} given"
        )
    accepted = (
        np.concatenate([[0], np.cumsum(multiple)]) / multiple.sum()
    )  # (L + 1,) at no level, the first, ...

    def true_accepts(rate: float) -> float:
        return float(accepted[np.searchsorted(as_near, np.floor(rate * total + 1e-9), side="right")])

    grid = np.concatenate([[0.0], np.geomspace(min(1.0 / total, 0.5), 1.0, points - 1)])
    return VerificationScores(
        false_accept_rates=grid,
        true_accept_rates=np.array([true_accepts(rate) for rate in grid]),
        eer=_equal_error(nearer / total, as_near / total, accepted),
        accepted={rate: true_accepts(rate) if rate * total >= ENOUGH_ERRORS else np.nan for rate in rates},
        same=int(multiple.sum()),
        different=total,
    )


def _equal_error(
    nearer: NDArray[np.float64], as_near: NDArray[np.float64], accepted: NDArray[np.float64]
) -> float:
    """Where false accepts meet false rejects, on the line through the operating points of rising threshold.

    Args:
        nearer: (L,) share of pairs of two persons below each level, where the level's own pairs are not yet accepted.
        as_near: (L,) share at or below it.
        accepted: (L + 1,) share of pairs of one person below the first level, and at or below each.
    """
    false_accepts = np.concatenate([[0.0], np.stack([nearer, as_near], axis=1).ravel(), [1.0]])
    false_rejects = 1.0 - np.repeat(accepted, 2)
    gap = false_accepts - false_rejects  # never falls
    after = max(int(np.searchsorted(gap, 0.0, side="left")), 1)
    step = gap[after] - gap[after - 1]
    part = -gap[after - 1] / step if step > 0 else 0.0
    return float(false_accepts[after - 1] + part * (false_accepts[after] - false_accepts[after - 1]))


def verification_pairs(
    distance: Distances,
    query_ids: NDArray[np.integer],
    query_cameras: NDArray[np.integer],
    gallery_ids: NDArray[np.integer],
    gallery_cameras: NDArray[np.integer],
    *,
    is_mutual: bool = False,
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
    """(of one person, of two persons): the distances of the pairs of each block of `retrieval_scores`' distances.

    Pairs of one person in one camera are left out; pairs of two persons in one camera count. A picture of nobody in
    the queries (Market-1501's distractors, id 0) is another person to each of them. With ``is_mutual``, queries are
    the gallery and each pair counts once.
    """
    start = 0
    for piece in distance:
        block = np.atleast_2d(piece)
        rows = np.arange(start, start + len(block))[:, None]
        start += len(block)
        one_person = query_ids[rows] == gallery_ids
        counts = np.arange(block.shape[1]) > rows if is_mutual else np.ones_like(one_person)
        yield (
            block[one_person & (query_cameras[rows] != gallery_cameras) & counts],
            block[~one_person & counts],
        )


def query_and_gallery(
    test: str, data: Path | None, *, size: tuple[int, int] = (HEIGHT, WIDTH), cache: Path | None = None
) -> tuple[Pictures, Pictures]:
    """The two sides of a test.

    Args:
        test: ``market1501``; ``pku-1-2`` or ``pku-2-1`` (from camera to camera of a site never trained on); or the
            path of a folder or zip that `datasets.read` understands, where every picture of a known person asks all
            the others, and both sides are one object.
        data: The folder that holds the named tests' pictures.
        size: (height, width) of the crops; those of the named tests are brought to it from 128x64, as in training.
        cache: See `datasets.read`.

    Raises:
        FileNotFoundError: The data set is not there.
        ValueError: There is no such test, or the pictures show fewer than two people or come from fewer than two
            cameras, or do not say from which.
    """
    if test not in TESTS:
        if not Path(test).exists():
            raise ValueError(
                f"no test is called {test!r}: choose from {', '.join(TESTS)}, or give a folder or zip of pictures"
            )
        everybody = datasets.read(Path(test), size=size, cache=cache)
        datasets.require_people(everybody, 2, test)
        datasets.require_cameras(everybody, 2, test)
        known = everybody.where(np.isin(everybody.ids, everybody.identities()))
        return known, known
    if data is None:
        raise ValueError(f"the test {test} needs the folder of its pictures (--data)")
    if test == "market1501":
        parts = (datasets.load(data, f"market1501_{side}", cache) for side in ("query", "gallery"))
        query, gallery = (_resized(part, size) for part in parts)
        return query, gallery
    pku = _resized(datasets.load(data, "pku", cache), size)
    asking, asked = (1, 2) if test == "pku-1-2" else (2, 1)
    return pku.where(pku.cameras == asking), pku.where(pku.cameras == asked)


def _resized(pictures: Pictures, size: tuple[int, int]) -> Pictures:
    if pictures.crops.shape[1:3] == size:
        return pictures
    return replace(pictures, crops=np.stack([to_input(crop, size) for crop in pictures.crops]))


@dataclass(frozen=True)
class Scores:
    """What one embedder reaches on one test."""

    retrieval: RetrievalScores
    verification: VerificationScores


def score(
    embedder: Embedder,
    query: Pictures,
    gallery: Pictures,
    *,
    distance: Metric = "cosine",
    reranked: bool = False,
    expand: int = 0,
) -> Scores:
    """Embed both sides and score them.

    Args:
        embedder: What to measure.
        query: Pictures that ask.
        gallery: Pictures that are asked; the very same object as ``query``: every picture asks all others.
        distance: Between rows as the embedder gives them; with query expansion, between unit rows.
        reranked: Whether `rerank.rerank` (k1 20, k2 6, lambda 0.3) comes last.
        expand: Over how many neighbours `rerank.expand_queries` (alpha 3) goes first; 0: none.

    Raises:
        ValueError: No query can be counted, or there is no pair of two persons.
    """
    is_mutual = query is gallery
    gallery_rows = embedder.embed(list(gallery.crops))
    query_rows = gallery_rows if is_mutual else embedder.embed(list(query.crops))
    labels = query.ids, query.cameras, gallery.ids, gallery.cameras
    asking = query_rows
    if expand:
        asking, gallery_rows = expand_queries(query_rows, gallery_rows, expand), unit_rows(gallery_rows)
    matrix = None
    if reranked:
        matrix = rerank(asking, None if is_mutual and not expand else gallery_rows, metric=distance)

    def blocks() -> Iterator[NDArray[np.floating]]:
        """The distances, made again each time they are asked for: cheaper than to hold them."""
        if matrix is None:
            yield from distance_blocks(asking, gallery_rows, distance)
        else:
            yield from np.array_split(matrix, len(matrix) // 256 + 1)

    retrieval = retrieval_scores(blocks(), *labels)
    same = [one for one, _ in verification_pairs(blocks(), *labels, is_mutual=is_mutual)]
    different = (two for _, two in verification_pairs(blocks(), *labels, is_mutual=is_mutual))
    return Scores(retrieval, verification_scores(np.concatenate(same), different))


def evaluate(
    embedder: Embedder,
    tests: Sequence[str],
    data: Path | None,
    *,
    distance: Metric = "cosine",
    rerank: bool = False,
    expand: int = 0,
    cache: Path | None = None,
) -> list[dict[str, object]]:
    """A row for each test: `as_row`, the model, how it was compared; see `query_and_gallery` and `score`."""
    said = {"model": embedder.name, "distance": distance, "rerank": rerank, "expand": expand}
    rows = []
    for test in tests:
        # Own pictures may be larger than 128x64; a network that can use that gets them so.
        size = (HEIGHT, WIDTH)
        if isinstance(embedder, ForeignEmbedder | OnnxEmbedder) and test not in TESTS:
            size = embedder.size
        sides = query_and_gallery(test, data, size=size, cache=cache)
        scores = score(embedder, *sides, distance=distance, reranked=rerank, expand=expand)
        rows.append({"test": test} | said | as_row(scores))
    return rows


def as_row(scores: Scores) -> dict[str, object]:
    """Scores as a line of a table: in per cent, with two digits; None where there were too few pairs to know."""

    def percent(share: float) -> float | None:
        return None if np.isnan(share) else round(100 * share, 2)

    retrieval, verification = scores.retrieval, scores.verification
    return {
        **{f"rank{k}": percent(retrieval.rank(k)) for k in (1, 5, 10)},
        "mAP": percent(retrieval.mean_ap),
        "mINP": percent(retrieval.mean_inp),
        "queries": retrieval.queries,
        "unmatched": retrieval.unmatched,
        "EER": percent(verification.eer),
        **{f"TAR@{rate:g}": percent(share) for rate, share in verification.accepted.items()},
        "pairs": [verification.same, verification.different],
    }


class ForeignEmbedder:
    """A network of others, for comparison: one float input (N, 3, H, W), one output (N, D).

    It gets what torchreid's exports expect: RGB, bilinearly resized to the H x W that the graph names, scaled to
    [0, 1], less ImageNet's mean, by its deviation.

    Attributes:
        name: Of the card, or the file.
        model_hash: SHA-256 of the file.
        providers: That the session got, the preferred one first.
        size: (H, W) of its input.
        dim: D; rows are as the network gives them, not of unit length.
    """

    def __init__(self, opened: models.OpenedModel) -> None:
        """Take an opened model.

        Raises:
            ValueError: Its input or output has another type or shape.
        """
        self._session = opened.session
        self.name = opened.name
        self.model_hash = opened.sha256
        self.providers = list(opened.providers)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        taken, given = inputs[0], outputs[0]
        fits = (
            (len(inputs), len(outputs)) == (1, 1)
            and taken.type == given.type == "tensor(float)"
            and len(taken.shape) == 4
            and taken.shape[1] == 3
            and all(isinstance(size, int) for size in taken.shape[2:])
            and len(given.shape) == 2
        )
        if not fits:
            raise ValueError(
                f"the model {opened.path} cannot be compared: it needs one input float (N, 3, H, W) with H and W "
                f"fixed and one output float (N, D), not {taken.type} {taken.shape} and {given.type} {given.shape}"
            )
        self._input = taken.name
        self.size = int(taken.shape[2]), int(taken.shape[3])
        self._batch = int(taken.shape[0]) if isinstance(taken.shape[0], int) else None
        self.dim = int(self._run(np.zeros((1, 3, *self.size), np.float32)).shape[1])

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(N, D) rows for N crops (h, w, 3) uint8 BGR of any size; (0, D) for none.

        Raises:
            ValueError: A crop has no area.
        """
        step = self._batch or 32
        rows = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(crops), step):
            rows.append(self._run(np.stack([self._prepared(crop) for crop in crops[start : start + step]])))
        return np.concatenate(rows)

    def _prepared(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(3, H, W) RGB, normalised; OpenCV's linear sampling of floats is torch's, corners not aligned."""
        if not crop.size:
            raise ValueError(f"a crop of {crop.shape[1]}x{crop.shape[0]} pixels has no area")
        size = self.size[1], self.size[0]
        resized = cv2.resize(crop.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        rgb = np.asarray(resized, np.float32)[:, :, ::-1] / np.float32(255.0)
        return np.asarray(((rgb - MEAN_RGB) / DEVIATION_RGB).transpose(2, 0, 1), np.float32)

    def _run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(planes)
        if self._batch and count < self._batch:
            planes = np.concatenate([planes, np.zeros((self._batch - count, *planes.shape[1:]), np.float32)])
        return np.asarray(self._session.run(None, {self._input: planes})[0], np.float32)[:count]


def load_any_embedder(
    name: str | None = None, *, device: str = "auto", threads: int = 1
) -> OnnxEmbedder | ForeignEmbedder:
    """As `reid.embedder.load_embedder`; a file without an input ``crops`` is opened as a `ForeignEmbedder`.

    Raises:
        models.ModelError: There is no such model, its hash differs, or the device is not to be had.
        ValueError: It is neither.
    """
    opened = models.open_model(name or models.DEFAULT_EMBEDDER, device=device, threads=threads)
    is_ours = any(one.name == "crops" for one in opened.session.get_inputs())
    return OnnxEmbedder(opened) if is_ours else ForeignEmbedder(opened)
