"""Who is who by where they stand, for a calibrated camera that looks rarely.

From one look to the next a walker goes further than they are wide once the looks are some 0.35 s apart. Then the
overlap with a predicted box says little; where the feet stand on the floor, and where they would be by now, says more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracker.core.boxes import FloorPlan, center_form
from tracker.core.motion import FloorBatch

F = NDArray[np.float64]

NEW_PER_M2 = 0.002  # people that come, or are found again, on a square metre from one look to the next
MISSED_LOG = 0.7  # a track is half as likely to be the one with every look that missed it
MAX_SURPRISE = 13.8  # squared Mahalanobis distance: 99.9 % of chi^2 with 2 degrees
MEDIAN_SURPRISE = 1.386  # half of chi^2 with 2 degrees lies below
LEARNED = 0.05  # of its logarithm, by each of them
SCALES = (0.1, 3.0)
APART_SIGMAS = 2.0
APART_M = 0.3  # nobody stands in somebody else
ALIKE_HEIGHT = 0.75  # of two people on the floor; a box that shows the upper half only looks lower


class Footing:
    """The floor under one camera's tracks. Row n is track n's."""

    def __init__(self, plan: FloorPlan) -> None:
        self._plan = plan
        self._batch = FloorBatch()
        self._log_scale = 0.0  # how exact feet are here, against what is usual

    @property
    def scale(self) -> float:
        """How far feet are off here, as a share of what is usual."""
        return float(np.exp(self._log_scale))

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) who has stood on the floor."""
        return np.asarray(np.isfinite(self._batch.mean).all(axis=1))

    def predict(self, dt_s: float) -> None:
        """Everybody walks on for ``dt_s`` seconds."""
        self._batch.predict(dt_s)

    def start(self, boxes: NDArray[np.floating], image_size: tuple[int, int]) -> None:
        """Append tracks that begin with boxes (K, 4)."""
        self._batch.start(*self._stand(boxes, image_size))

    def copy(self, row: int) -> None:
        """Append a track that goes on like the one of ``row``."""
        self._batch.copy(row)

    def restart(self, row: int, box: NDArray[np.floating], image_size: tuple[int, int]) -> None:
        """Where a track walked unseen is unknown: it begins again with a box (4,)."""
        fresh = FloorBatch(self._batch.model)
        fresh.start(*self._stand(box[None], image_size))
        self._batch.put(row, fresh)

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Drop the tracks whose mask is False."""
        self._batch.keep(mask)

    def correct(
        self, rows: NDArray[np.intp], boxes: NDArray[np.floating], image_size: tuple[int, int]
    ) -> None:
        """The tracks ``rows`` (K,) are these boxes (K, 4) now."""
        self._batch.correct(rows, *self._stand(boxes, image_size))

    def gain(
        self, tracks: NDArray[np.intp], boxes: NDArray[np.floating], image_size: tuple[int, int], missed: F
    ) -> F:
        """(N, M) log-odds of a track being a box, against somebody new; -inf where it cannot be.

        Args:
            missed: (N,) looks that each track was not found in since it was seen.
        """
        density, surprise = (
            found[tracks] for found in self._batch.log_density(*self._stand(boxes, image_size))
        )
        gain = density - np.log(NEW_PER_M2) - MISSED_LOG * missed[:, None]
        return np.where(surprise <= MAX_SURPRISE, gain, -np.inf)

    def learn(self, rows: NDArray[np.intp], boxes: NDArray[np.floating], image_size: tuple[int, int]) -> None:
        """Certain pairs, before they are corrected: half of them should be nearer than the median surprise."""
        _, surprise = self._batch.log_density(*self._stand(boxes, image_size))
        own = surprise[rows, np.arange(len(rows))]
        step = LEARNED * float(np.sign(own[np.isfinite(own)] - MEDIAN_SURPRISE).sum())
        self._log_scale = float(np.clip(self._log_scale + step, *np.log(SCALES)))

    def apart(self, boxes: NDArray[np.floating], image_size: tuple[int, int]) -> NDArray[np.bool_]:
        """(N, N) which of N boxes are two people, however much they overlap: equally tall, and at two places."""
        place, sigma = self._plan.stand(boxes, image_size)
        away = np.linalg.norm(place[:, None] - place[None], axis=2)
        tall = center_form(boxes)[:, 3] * self._plan.metres_per_px(boxes)
        alike = np.minimum.outer(tall, tall) >= ALIKE_HEIGHT * np.maximum.outer(tall, tall)
        clear = np.maximum(APART_M, APART_SIGMAS * self.scale * np.hypot.outer(sigma, sigma))
        return np.asarray(alike & (away > clear))

    def _stand(self, boxes: NDArray[np.floating], image_size: tuple[int, int]) -> tuple[F, F]:
        place, sigma = self._plan.stand(boxes, image_size)
        return place, sigma * self.scale
