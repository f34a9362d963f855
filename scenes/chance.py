"""One seed, many independent streams of chance: what one part of a scene draws moves nothing of another."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *words: str | int) -> np.random.Generator:
    """Chance for one purpose.

    Args:
        seed: The scene's.
        words: What the numbers are for, as ``"drops", "gate", 3``; other words, independent numbers.
    """
    return np.random.default_rng([seed, *(zlib.crc32(str(word).encode()) for word in words)])
