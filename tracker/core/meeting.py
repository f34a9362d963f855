"""Where in one picture somebody is who stands there in the other, for two cameras that see one place.

The image-zone form of a ground plane, for cameras without a calibration: a table of which cells of two pictures were
occupied at one instant by one person, over which were by two people. What was seen speaks for the cells around it
(kernel smoothing), and little of it changes little.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]
Whole = NDArray[np.int64]

SIDE = 8  # cells along each side of a picture
PLACES = SIDE * SIDE
NEAR = 0.1  # of the picture: how far one look speaks for its neighbourhood
DOUBTS = 30.0  # looks that "anywhere" counts as
MAX_LOG_RATIO = 3.0  # of one instant

_Y, _X = np.divmod(np.arange(PLACES), SIDE)
_CENTRE = (np.stack([_X, _Y], axis=1) + 0.5) / SIDE
_SMOOTH = np.exp(-((_CENTRE[:, None] - _CENTRE) ** 2).sum(-1) / (2 * NEAR**2))
_SMOOTH /= _SMOOTH.sum(axis=0)  # of one look, columns sum to 1


def place_of(x: float, y: float) -> int:
    """The cell of a place in shares of the picture; -1 for one that nobody knows."""
    if not (isfinite(x) and isfinite(y)):
        return -1
    column, row = (int(min(max(v, 0.0), 1.0) * SIDE) for v in (x, y))
    return min(row, SIDE - 1) * SIDE + min(column, SIDE - 1)


def log_ratio_table(looks: F) -> F:
    """(PLACES, PLACES) natural logarithm of how much likelier one person is at two places at once than two people.

    Args:
        looks: (2, PLACES, PLACES) how often one person, and how often two, were at a place of the first and a place
            of the second picture at one instant.
    """
    total = looks.sum(axis=0)
    here, there = _SMOOTH @ (total.sum(axis=1) + 1 / PLACES), _SMOOTH @ (total.sum(axis=0) + 1 / PLACES)
    anywhere = np.outer(here, there) / (here.sum() * there.sum())
    one, two = ((_SMOOTH @ kind @ _SMOOTH.T + DOUBTS * anywhere) / (kind.sum() + DOUBTS) for kind in looks)
    return np.asarray(np.clip(np.log(one / two), -MAX_LOG_RATIO, MAX_LOG_RATIO))
