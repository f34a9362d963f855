"""What speaks for two tracklets being one person."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scenes import at, look, person_box, tracklet
from tracker.config import LinkSettings
from tracker.core.appearance import AppearanceModel
from tracker.core.columns import Columns
from tracker.core.company import Company
from tracker.core.cues import RETURN_S, score_pieces
from tracker.core.grouping import Piece
from tracker.core.topology import SiteModel


@pytest.mark.parametrize("gap_s", [10.0, 60.0])
def test_coming_back_into_the_view_one_left_by_its_edge_counts_in_full_and_less_with_time(gap_s):
    """It was weighed down with the other times once, and a single camera's people were taken for each other."""
    company, at_edge = Company(), person_box(40)
    gone = Piece(tracklet("a", 1, 0, 5, look(0), first_box=person_box(300), last_box=at_edge))
    back = Piece(tracklet("a", 2, 5 + gap_s, 8 + gap_s, look(0), first_box=at_edge))
    for piece in (gone, back):
        company.add(piece.key)
    link = [
        score_pieces(
            Columns.of([gone, back], company, AppearanceModel()),
            LinkSettings(return_log_odds=odds),
            AppearanceModel(),
            company,
            SiteModel(),
            SiteModel(),
            at(8 + gap_s),
        ).link[0, 1]
        for odds in (-8.0, 0.0)
    ]
    # -8 at once, -8 / 2 after a minute.
    assert np.diff(link)[0] == pytest.approx(8 / (1 + gap_s / RETURN_S))
