"""What a site teaches about its ways: the default, what traffic changes of it, and laws of its memory."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.core.evidence import gap_llr
from tracker.core.topology import (
    GRID,
    MAX_LOG_RATIO,
    Crossings,
    Distances,
    Passages,
    SiteModel,
    default_density,
    zones_of,
)

S = 1_000_000_000
GAPS = np.array([[0.0, 4.0, 12.0, 60.0, 119.0]])


def ratio(model: SiteModel, gaps_s=GAPS, *, a=("hall", (0.93, 0.6)), b=("yard", (0.07, 0.6))):
    """What the model says of leaving at a and entering at b, for each of several gaps."""
    gaps_s = np.atleast_2d(np.asarray(gaps_s, float))
    k = gaps_s.shape[1]
    return model.log_ratio([a[0]], [a[1]], [b[0]] * k, [b[1]] * k, gaps_s)[0]


def test_nothing_learned_is_the_default():
    expected = gap_llr(GAPS, typical_s=4.0, window_s=120.0)[0]
    assert ratio(SiteModel()) == pytest.approx(expected)
    assert ratio(SiteModel(), [12.0])[0] == pytest.approx(np.log(120 / 4 / (1 + 12 / 4) ** 2))
