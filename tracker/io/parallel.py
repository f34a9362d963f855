"""One network, all cores: pictures of a batch are spread over threads.

A second thread inside one small network gains nothing, two networks side by side scale fully; ONNX Runtime lets go of
Python's lock while it runs. The answers do not depend on how many threads there are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from tracker.stages import Detector, Embedder
from tracker.types import Detections


class Spread:
    """A pool of threads for detectors and embedders, in a ``with``."""

    def __init__(self, threads: int = 0) -> None:
        """``threads``: how many; 0 means one a core."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = threads or cores
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="network")

    def detector(self, detector: Detector) -> Detector:
        """The same detector, a picture a thread."""
        return _SpreadDetector(detector, self._pool)

    def embedder(self, embedder: Embedder) -> Embedder:
        """The same embedder, the crops in as many equal parts as there are threads."""
        return _SpreadEmbedder(embedder, self._pool, self._threads)

    def __enter__(self) -> Spread:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


class _SpreadDetector:
    def __init__(self, detector: Detector, pool: ThreadPoolExecutor) -> None:
        self._detector, self._pool = detector, pool

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        if len(images) < 2:
            return self._detector.detect(images)
        return [found[0] for found in self._pool.map(lambda image: self._detector.detect([image]), images)]


class _SpreadEmbedder:
    def __init__(self, embedder: Embedder, pool: ThreadPoolExecutor, parts: int) -> None:
        self._embedder, self._pool, self._parts = embedder, pool, parts
        self.model_hash = embedder.model_hash

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if len(crops) < 2:
            return self._embedder.embed(crops)
        size = -(-len(crops) // self._parts)
        parts = [crops[start : start + size] for start in range(0, len(crops), size)]
        return np.concatenate(list(self._pool.map(self._embedder.embed, parts)))
