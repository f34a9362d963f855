"""Is an exported network still the network it was made from?

What goes wrong in exports is told apart here: other numbers (a layer translated wrongly, pixels scaled twice or not
at all), rows that depend on their company in the batch, rows that are not of unit length, and worse retrieval.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.datasets import Pictures
from reid.evaluate import retrieval_scores
from reid.gallery import distances

Rows = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # crops (N, H, W, 3) -> unit rows (N, D)
BATCHES = (1, 2, 7, 32)


@dataclass(frozen=True)
class Limits:
    """What an export may differ by. Differences are of single numbers of unit rows."""

    rows: float | None  # between the two, at any of the `BATCHES`; None: retrieval alone decides
    company: float  # between a row of a batch and the same crop's row alone
    length: float  # between a row's length and 1
    points: float  # of mAP lost on the test, in points of 100


# Eight bits move every number of a row a little, so of them only what counts is asked: retrieval, which must be given.
LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "fp32": Limits(rows=1e-4, company=1e-4, length=1e-4, points=0.1),
        "fp16": Limits(rows=1e-2, company=1e-2, length=1e-3, points=0.1),
        "int8": Limits(rows=None, company=1e-2, length=1e-4, points=1.0),
    }
)


@dataclass(frozen=True)
class ParityReport:
    """What was measured, and which of it is over its limit."""

    precision: str
    differences: Mapping[int, float]  # by batch size: largest difference of a number between the two
    cosine: float  # the smallest between a row and the row it should be
    company: float
    length: float
    resized: float  # smallest cosine between a crop's row resized by the graph and resized beforehand
    scores: tuple[float, float] | None = (
        None  # rank-1 and mAP of the network on the test, 0 to 100; None: no test
    )
    exported_scores: tuple[float, float] | None = None  # of the export

    @property
    def failures(self) -> tuple[str, ...]:
        """One sentence for each limit that is passed; none for a faithful export."""
        limits, found = LIMITS[self.precision], []
        for batch, difference in self.differences.items():
            if limits.rows is not None and not difference <= limits.rows:
                found.append(f"at batch {batch} rows differ by {difference:.2g}, over {limits.rows:g}")
        if not self.company <= limits.company:
            found.append(
                f"rows depend on their company in the batch by {self.company:.2g}, over {limits.company:g}"
            )
        if not self.length <= limits.length:
            found.append(f"rows miss unit length by {self.length:.2g}, over {limits.length:g}")
        if self.scores is not None and self.exported_scores is not None:
            before, after = self.scores[1], self.exported_scores[1]
            if not before - after <= limits.points:
                found.append(f"mAP falls from {before:.2f} to {after:.2f}, over {limits.points:g} points")
        elif limits.rows is None:
            found.append(f"{self.precision} is judged by a test, and none was given")
        return tuple(found)

    def __str__(self) -> str:
        batches = ", ".join(f"{batch}: {value:.1e}" for batch, value in self.differences.items())
        lines = [
            f"{self.precision}: largest difference by batch {{{batches}}}, smallest cosine {self.cosine:.6f}",
            f"batch against alone {self.company:.1e}, length against 1 {self.length:.1e}, "
            f"resized in the graph against beforehand: cosine {self.resized:.4f}",
        ]
        if self.scores is not None and self.exported_scores is not None:
            (r, m), (er, em) = self.scores, self.exported_scores
            lines.append(f"rank-1 {r:.2f} -> {er:.2f}, mAP {m:.2f} -> {em:.2f}")
        return "\n".join((*lines, *self.failures))


class ParityError(RuntimeError):
    """An export is not the network it was made from; nothing was written. ``report`` says by how much."""

    def __init__(self, report: ParityReport) -> None:
        super().__init__("the export was refused: " + "; ".join(report.failures))
        self.report = report


def check(
    network: Rows,
    exported: Rows,
    crops: NDArray[np.uint8],
    *,
    precision: str,
    test: tuple[Pictures, Pictures] | None = None,
) -> ParityReport:
    """Compare a network with its export.

    Args:
        network: The rows that are right, for crops of the network's own input size.
        exported: The rows of the export, for crops of one size, whatever it is.
        crops: (N, H, W, 3) uint8 BGR of the network's input size, N at least 32; real ones, since noise excites a
            network in ways that pictures do not.
        precision: A key of `LIMITS`.
        test: Query and gallery, to compare rank-1 and mAP by the Market-1501 protocol.

    Raises:
        ValueError: There are too few crops.
    """
    if len(crops) < max(BATCHES):
        raise ValueError(f"parity is checked on at least {max(BATCHES)} crops, not {len(crops)}")
    crops = crops[: max(BATCHES)]
    right = network(crops)
    by_batch = {batch: exported(crops[:batch]) for batch in BATCHES}
    together = by_batch[max(BATCHES)]
    alone = np.concatenate([exported(crops[i : i + 1]) for i in range(len(crops))])
    height, width = crops.shape[1] * 7 // 4, crops.shape[2] * 7 // 4
    large = [np.asarray(cv2.resize(crop, (width, height)), np.uint8) for crop in crops]
    small = [
        cv2.resize(crop, (crops.shape[2], crops.shape[1]), interpolation=cv2.INTER_AREA) for crop in large
    ]
    resized = _cosines(exported(np.stack(large)), exported(np.stack(small).astype(np.uint8)))
    return ParityReport(
        precision=precision,
        differences={batch: _largest(rows - right[:batch]) for batch, rows in by_batch.items()},
        cosine=float(_cosines(together, right).min()),
        company=_largest(np.concatenate([rows - alone[: len(rows)] for rows in by_batch.values()])),
        length=_largest(np.linalg.norm(together, axis=1) - 1.0),
        resized=float(resized.min()),
        scores=None if test is None else _scores(network, *test),
        exported_scores=None if test is None else _scores(exported, *test),
    )


def _largest(differences: NDArray[np.floating]) -> float:
    """The largest absolute value; NaN where there is one, which is under no limit."""
    return float(np.abs(differences).max())


def _cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    return (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


def _scores(rows: Rows, query: Pictures, gallery: Pictures) -> tuple[float, float]:
    """Rank-1 and mAP, 0 to 100."""
    asked, known = (
        np.concatenate([rows(side.crops[i : i + 32]) for i in range(0, len(side), 32)])
        for side in (query, gallery)
    )
    scored = retrieval_scores(distances(asked, known), query.ids, query.cameras, gallery.ids, gallery.cameras)
    return 100.0 * scored.rank(1), 100.0 * scored.mean_ap
