"""Asking again, better: query expansion and k-reciprocal re-ranking. No label is used, and nothing is learned.

Both look at the neighbours that a first search finds, so both cost a search more. NumPy only, float32, and never a
matrix over all pictures at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reid.gallery import FloatRows, distances, unit_rows

Metric = Literal["cosine", "euclidean"]
PAIRS_AT_ONCE = 1 << 23  # distances in a block: 32 MiB


def measure(query: FloatRows, gallery: FloatRows, metric: Metric = "cosine") -> NDArray[np.float32]:
    """(N, M) distances of (N, D) rows to (M, D) rows: ``1 - cosine``, or Euclidean between the rows as they are.

    Raises:
        ValueError: The metric has another name, or the rows differ in length.
    """
    if metric == "cosine":
        return distances(query, gallery)
    if metric != "euclidean":
        raise ValueError(f"no distance is called {metric!r}: choose cosine or euclidean")
    a, b = np.asarray(query, np.float32), np.asarray(gallery, np.float32)
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :]
    return np.asarray(np.sqrt(np.maximum(squares - 2.0 * (a @ b.T), 0.0)), np.float32)


def distance_blocks(
    query: FloatRows, gallery: FloatRows, metric: Metric = "cosine"
) -> Iterator[NDArray[np.float32]]:
    """The rows of `measure`, in order, as many at a time as keep a block small."""
    step = max(1, PAIRS_AT_ONCE // max(1, len(gallery)))
    for start in range(0, len(query), step):
        yield measure(query[start : start + step], gallery, metric)


def expand_queries(
    query: FloatRows, gallery: FloatRows, count: int, *, alpha: float = 3.0
) -> NDArray[np.float32]:
    """Each query together with its nearest gallery rows, as one row: what they share speaks louder.

    ``q + sum over the count nearest g of max(cosine(q, g), 0)^alpha * g``, of unit rows, to unit length (Radenovic
    et al., TPAMI 2019, section 3.2). ``alpha`` 0 weighs all alike: average query expansion (Chum et al., ICCV 2007).

    Args:
        query: (N, D).
        gallery: (M, D); fewer than ``count`` rows are all taken.
        count: How many neighbours; 0 leaves the queries as they are, of unit length.
        alpha: At least 0; the larger, the less a doubtful neighbour counts.

    Returns:
        (N, D) unit rows; a row without a direction stays zero.

    Raises:
        ValueError: ``count`` or ``alpha`` is negative.
    """
    if count < 0 or alpha < 0:
        raise ValueError(f"expansion takes at least 0 neighbours and alpha at least 0, not {count}, {alpha}")
    asked, remembered = unit_rows(query), unit_rows(gallery)
    count = min(count, len(remembered))
    if not count or not len(asked):
        return asked
    expanded = []
    for start, block in _numbered(distance_blocks(asked, remembered)):
        near = _nearest(block, count)
        likeness = np.maximum(1.0 - np.take_along_axis(block, near, axis=1), 0.0)
        rows = remembered[near]  # (B, count, D)
        expanded.append(asked[start : start + len(block)] + ((likeness**alpha)[:, None, :] @ rows)[:, 0])
    return unit_rows(np.concatenate(expanded))


def rerank(
    query: FloatRows,
    gallery: FloatRows | None,
    *,
    metric: Metric = "cosine",
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> NDArray[np.float32]:
    """Distances after k-reciprocal re-ranking (Zhong et al., CVPR 2017, eq. 12): smaller is closer.

    ``(1 - weight) * Jaccard + weight * distance``, where the Jaccard distance compares whom two pictures are near to
    and who is near to them in turn. Distances are divided by the largest of all first, so that the weights
    ``exp(-distance)`` (eq. 7) do not depend on the scale of the rows. Neighbours are sought among queries and gallery
    together, as in the paper. Where no two pictures share a neighbour, Jaccard is 1.

    Args:
        query: (N, D).
        gallery: (M, D); None: the queries are the gallery as well.
        metric: See `measure`.
        k1: Size of the neighbourhoods that are compared, at least 1.
        k2: Over how many nearest, itself among them, a neighbourhood is averaged (eq. 11), at least 1.
        weight: The paper's lambda, in [0, 1]; 1 leaves the order as it was.

    Returns:
        (N, M), or (N, N) without a gallery. It takes 4 bytes a pair; what is needed besides grows with N + M only.

    Raises:
        ValueError: k1, k2 or weight is out of its range.
    """
    if k1 < 1 or k2 < 1 or not 0.0 <= weight <= 1.0:
        raise ValueError(
            f"re-ranking takes k1 and k2 of at least 1 and a weight in [0, 1], not {k1}, {k2}, {weight}"
        )
    everybody = np.asarray(query if gallery is None else np.concatenate([query, gallery]), np.float32)
    first = 0 if gallery is None else len(query)
    if not len(query) or first == len(everybody):
        return np.zeros((len(query), len(everybody) - first), np.float32)
    near, largest = _neighbours(everybody, max(k1 + 1, k2), metric)
    sets = _reciprocal_sets(near, k1)
    sets = _averaged(_weighted(sets, everybody, metric, largest), near[:, :k2])
    result = np.empty((len(query), len(everybody) - first), np.float32)
    start = 0
    for block in distance_blocks(query, everybody[first:], metric):
        np.multiply(block, weight / largest, out=result[start : start + len(block)])
        start += len(block)
    index, sums = sets.transposed(len(everybody)), sets.sums()
    for number, row in enumerate(result):
        row += (1.0 - weight) * _jaccard(sets, index, sums, number)[first:]
    return result


@dataclass(frozen=True)
class _Sparse:
    """N rows of few numbers each: row n holds ``values[starts[n] : starts[n + 1]]`` in those ``columns``."""

    starts: NDArray[np.int64]  # (N + 1,)
    columns: NDArray[np.int32]
    values: NDArray[np.float32]

    def row_of_each(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def entries(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Where the numbers of these rows stand, one row after the other."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        skipped = np.cumsum(lengths) - lengths
        return np.arange(lengths.sum()) + np.repeat(self.starts[rows] - skipped, lengths)

    def sums(self) -> NDArray[np.float64]:
        return np.asarray(np.bincount(self.row_of_each(), self.values, len(self.starts) - 1), np.float64)

    def transposed(self, width: int) -> "_Sparse":
        order = np.argsort(self.columns, kind="stable")
        counts = np.bincount(self.columns, minlength=width)
        rows = self.row_of_each()[order].astype(np.int32)
        return _Sparse(np.concatenate([[0], np.cumsum(counts)]), rows, self.values[order])


def _numbered(blocks: Iterator[NDArray[np.float32]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Each block with the number of its first row."""
    start = 0
    for block in blocks:
        yield start, block
        start += len(block)


def _nearest(block: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(B, count) columns of the smallest numbers of each row, the smallest first."""
    if count < block.shape[1]:
        few = np.argpartition(block, count - 1, axis=1)[:, :count]
        few.sort(axis=1)  # so that ties go to the earlier column
    else:
        few = np.broadcast_to(np.arange(block.shape[1]), block.shape)
    order = np.argsort(np.take_along_axis(block, few, axis=1), axis=1, kind="stable")
    return np.take_along_axis(few, order, axis=1)


def _neighbours(rows: NDArray[np.float32], count: int, metric: Metric) -> tuple[NDArray[np.int32], float]:
    """(N, count) nearest rows of each, itself first, and the largest distance of all (1 where all are 0)."""
    near, largest = [], 0.0
    for start, block in _numbered(distance_blocks(rows, rows, metric)):
        largest = max(largest, float(block.max()))
        own = np.arange(len(block))
        block[own, start + own] = -1.0  # itself first, even where a copy of it is as near
        near.append(_nearest(block, min(count, len(rows))).astype(np.int32))
    return np.concatenate(near), largest if largest > 1e-6 else 1.0  # below: copies, and rounding


def _mutual(near: NDArray[np.int32], k: int) -> NDArray[np.bool_]:
    """(N, k + 1): which of the k nearest, itself included, have the row among their own k nearest (eq. 3)."""
    among = near[:, : k + 1]
    answer = np.empty(among.shape, np.bool_)
    for start in range(0, len(near), 4096):
        part = among[start : start + 4096]
        rows = np.arange(start, start + len(part))
        answer[start : start + 4096] = (among[part] == rows[:, None, None]).any(axis=2)
    return answer


def _reciprocal_sets(near: NDArray[np.int32], k1: int) -> _Sparse:
    """R*(p, k1) of every row (eq. 4): the mutual neighbours, and theirs where two thirds of them are ours as well."""
    half = round(k1 / 2)
    ours = np.where(_mutual(near, k1), near[:, : k1 + 1], -1)
    theirs = np.where(_mutual(near, half), near[:, : half + 1], -2)  # -1 and -2: nobody, and never equal
    counts, columns = [], []
    for start in range(0, len(near), 512):
        own = ours[start : start + 512]  # (B, k1 + 1)
        others = theirs[own]  # (B, k1 + 1, half + 1); what -1 picks is left out below
        shared = (others[:, :, :, None] == own[:, None, None, :]).any(axis=3).sum(axis=2)
        enough = (own >= 0) & (3 * shared >= 2 * (others >= 0).sum(axis=2))
        joined = np.where(enough[:, :, None], others, -1).reshape(len(own), -1)
        members = np.sort(np.concatenate([own, joined], axis=1), axis=1)
        kept = members >= 0
        kept[:, 1:] &= members[:, 1:] != members[:, :-1]
        counts.append(kept.sum(axis=1))
        columns.append(members[kept])
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    found = np.concatenate(columns)
    return _Sparse(starts, found, np.ones(len(found), np.float32))


def _weighted(sets: _Sparse, rows: NDArray[np.float32], metric: Metric, largest: float) -> _Sparse:
    """Neighbours weighed by ``exp(-distance / largest)`` (eq. 7)."""
    values = np.empty(len(sets.columns), np.float32)
    for number in range(len(rows)):
        part = slice(sets.starts[number], sets.starts[number + 1])
        values[part] = measure(rows[number : number + 1], rows[sets.columns[part]], metric)[0]
    return _Sparse(sets.starts, sets.columns, np.exp(-values / largest))


def _averaged(sets: _Sparse, near: NDArray[np.int32]) -> _Sparse:
    """Every row as the mean of the rows of its nearest, (N, k2) (eq. 11)."""
    size, k2 = near.shape
    step = max(1, PAIRS_AT_ONCE // size)
    counts, columns, values = [], [], []
    for start in range(0, size, step):
        part = near[start : start + step]
        rows = part.ravel()
        lengths = sets.starts[rows + 1] - sets.starts[rows]
        entries = sets.entries(rows)
        owner = np.repeat(np.repeat(np.arange(len(part)), k2), lengths)
        dense = np.bincount(owner * size + sets.columns[entries], sets.values[entries] / k2, len(part) * size)
        found = np.flatnonzero(dense)
        counts.append(np.bincount(found // size, minlength=len(part)))
        columns.append((found % size).astype(np.int32))
        values.append(dense[found].astype(np.float32))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return _Sparse(starts, np.concatenate(columns), np.concatenate(values))


def _jaccard(sets: _Sparse, index: _Sparse, sums: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """(N,) of row ``number`` to every row: 1 - sum of minima / sum of maxima (eq. 10).

    ``index`` is ``sets`` transposed: only rows that share a neighbour are looked at. ``sums`` are those of the rows;
    the maxima are both sums less the minima.
    """
    own = slice(sets.starts[number], sets.starts[number + 1])
    neighbours = sets.columns[own]
    entries = index.entries(neighbours)
    lengths = index.starts[neighbours + 1] - index.starts[neighbours]
    minima = np.minimum(index.values[entries], np.repeat(sets.values[own], lengths))
    shared = np.bincount(index.columns[entries], minima, minlength=len(sums))
    return np.asarray(1.0 - shared / (sums[number] + sums - shared))
