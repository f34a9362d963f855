"""What speaks for two tracklets being one person."""

from __future__ import annotations

import msgspec
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


def test_a_piece_from_a_checkpoint_was_where_it_was():
    """Its first places used to count twice: a step with an unknown place of hidden legs, a NaN, equals only itself."""
    company, pieces = Company(), []
    for camera, start in (("a", 0.0), ("b", 2.0)):
        piece = Piece(tracklet(camera, 1, start, start + 1, look(0)))
        for t in (start, start + 0.5, start + 1):
            piece.see(at(t), person_box(300), np.array([t, 0.0]), 0.1)
        company.add(piece.key)
        pieces.append(piece)
    again = [Piece.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(p.to_state()))) for p in pieces]
    for these in (pieces, again):
        walks = score_pieces(
            Columns.of(these, company, AppearanceModel()),
            LinkSettings(),
            AppearanceModel(),
            company,
            SiteModel(),
            SiteModel(),
            at(3),
        ).walks
        assert walks is not None
        assert walks.t_s.tolist() == [0, 0.5, 1, 2, 2.5, 3]
