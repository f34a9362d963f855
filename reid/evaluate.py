"""Retrieval scores of an embedder: ``python -m reid.evaluate --data DIR --model NAME``.

The protocol is Market-1501's (Zheng et al., ICCV 2015): each query asks the whole gallery; gallery rows of the same
person in the same camera are dropped for it, since finding the neighbouring frame is no achievement.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid import datasets
from reid.datasets import Pictures
from reid.embedder import OnnxEmbedder, load_embedder
from reid.gallery import distances

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetrievalScores:
    """Averages over the queries that have a right answer in the gallery."""

    cmc: NDArray[np.float64]  # (R,) share of queries with a right answer among the first 1, 2, ... R
    mean_ap: float  # mean over queries of the precision at each right answer
    mean_inp: float  # mINP: right answers / rank of the last one found (Ye et al., TPAMI 2021, eq. 4)
    queries: int  # how many counted

    def rank(self, k: int) -> float:
        """Share of queries with a right answer among the first ``k`` (from 1)."""
        return float(self.cmc[min(k, len(self.cmc)) - 1])


def retrieval_scores(
    distance: NDArray[np.floating],
    query_ids: NDArray[np.integer],
    query_cameras: NDArray[np.integer],
    gallery_ids: NDArray[np.integer],
    gallery_cameras: NDArray[np.integer],
    *,
    ranks: int = 50,
) -> RetrievalScores:
    """Score a (Q, G) distance matrix; smaller is closer, ties go to the earlier gallery row.

    Queries without a right answer left in the gallery are not counted.

    Raises:
        ValueError: No query can be counted.
    """
    first_hits, precisions, penalties = [], [], []
    for row, person, camera in zip(distance, query_ids, query_cameras, strict=True):
        kept = (gallery_ids != person) | (gallery_cameras != camera)
        right = gallery_ids[kept] == person
        if not right.any():
            continue
        hits = (
            np.flatnonzero(right[np.argsort(row[kept], kind="stable")]) + 1
        )  # ranks of right answers, from 1
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
    )


def _by_camera(pictures: Pictures, query_camera: int, gallery_camera: int) -> tuple[Pictures, Pictures]:
    return pictures.where(pictures.cameras == query_camera), pictures.where(
        pictures.cameras == gallery_camera
    )


def query_and_gallery(name: str, data: Path) -> tuple[Pictures, Pictures]:
    """The two sides of a test: ``market1501``, ``pku-1-2`` or ``pku-2-1`` (cameras of a site never trained on)."""
    match name:
        case "market1501":
            return datasets.load(data, "market1501_query"), datasets.load(data, "market1501_gallery")
        case "pku-1-2":
            return _by_camera(datasets.load(data, "pku"), 1, 2)
        case "pku-2-1":
            return _by_camera(datasets.load(data, "pku"), 2, 1)
        case _:
            raise ValueError(f"no test is called {name!r}: choose from {', '.join(TESTS)}")


TESTS = ("market1501", "pku-1-2", "pku-2-1")


def score(embedder: OnnxEmbedder, query: Pictures, gallery: Pictures) -> RetrievalScores:
    """Embed both sides and score them."""
    far = distances(embedder.embed(list(query.crops)), embedder.embed(list(gallery.crops)))
    return retrieval_scores(far, query.ids, query.cameras, gallery.ids, gallery.cameras)


def crop_ms(embedder: OnnxEmbedder, batch: int, *, rounds: int = 30) -> float:
    """Milliseconds for one crop of 128x64 at this batch size: the median of ``rounds`` calls."""
    crops = list(np.random.default_rng(0).integers(0, 256, (batch, 128, 64, 3), dtype=np.uint8))
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        embedder.embed(crops)
        spent.append(time.perf_counter() - began)
    return float(np.median(spent)) * 1e3 / batch


def _line(name: str, scores: RetrievalScores) -> Mapping[str, float | int | str]:
    return {
        "test": name,
        "rank1": round(100 * scores.rank(1), 2),
        "rank5": round(100 * scores.rank(5), 2),
        "rank10": round(100 * scores.rank(10), 2),
        "mAP": round(100 * scores.mean_ap, 2),
        "mINP": round(100 * scores.mean_inp, 2),
        "queries": scores.queries,
    }


def main() -> None:
    """The command line: one JSON line a test, and one with the cost."""
    parser = argparse.ArgumentParser(
        prog="python -m reid.evaluate", description="Retrieval scores of an embedder."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with market1501/ and pku/")
    parser.add_argument(
        "--model", default=None, help="name or .onnx path; the default embedder when left out"
    )
    parser.add_argument("--only", choices=TESTS, action="append", help="this test only; may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    embedder = load_embedder(options.model, threads=options.threads)
    LOG.info("%s", json.dumps({"model": embedder.name, "sha256": embedder.model_hash}))
    for name in options.only or TESTS:
        LOG.info("%s", json.dumps(_line(name, score(embedder, *query_and_gallery(name, options.data)))))
    cost = {f"ms_per_crop_at_{batch}": round(crop_ms(embedder, batch), 2) for batch in (1, 8, 16)}
    LOG.info("%s", json.dumps({"threads": options.threads, **cost}))


if __name__ == "__main__":
    main()
