"""The linker's tracklets as columns."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scenes import at, look, person_box, tracklet, update
from tests.test_linker import eventful
from tracker.config import LinkSettings
from tracker.core import work
from tracker.core.appearance import AppearanceModel, unit
from tracker.core.columns import Columns, Table
from tracker.core.grouping import Piece
from tracker.core.linker import Linker


def assert_same(kept: Columns, asked: Columns) -> None:
    assert kept.cameras.tolist() == asked.cameras.tolist()
    for name in ("rows", "first_ns", "last_ns", "size", "first_box", "last_box", "velocity_px_s"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(asked, name), err_msg=name)
    for name in ("walk", "began", "pictures", "looks"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(asked, name), err_msg=name)


@pytest.mark.parametrize("most_s", [1000, 5])
def test_what_is_kept_is_what_the_pieces_tell_whatever_happens(monkeypatch, most_s):
    """With 5 s people are let go, joined to others for good and recalled."""
    monkeypatch.setattr(work, "WORK_AT_ONCE", 300)
    monkeypatch.setattr(work, "WORK_PER_S", 1)
    linker = Linker(LinkSettings(max_gap_s=most_s, revise_s=most_s, leave_s=1.0))
    compared = 0
    for message in eventful(0):
        linker.step(message)
        rows, _ = linker._table.recent(0)
        kept = linker._table.at(rows, linker.appearance)
        assert [p.key for p in kept.pieces] == sorted(linker._pieces)
        assert all(linker._pieces[p.key] is p for p in kept.pieces)
        assert [linker._owner[p.key] for p in kept.pieces] == kept.owner.tolist()
        assert_same(kept, Columns.of(kept.pieces, linker._company, linker.appearance))
        assert linker._table._seen[rows].tolist() == [p.pictures for p in kept.pieces]
        compared += len(rows)
    assert compared > 1000


def test_rows_come_in_the_order_of_keys_and_are_used_again():
    table, pieces = Table(), [Piece(tracklet(c, n, 0, n, look(n))) for c, n in (("b", 1), ("a", 2), ("a", 1))]
    for row, piece in enumerate(pieces):
        table.put(row, piece)
        table.give(row, 7)
    rows, seen_ns = table.recent(0)
    assert rows.tolist() == [2, 1, 0] and seen_ns.tolist() == [at(1), at(2), at(1)]
    assert table.recent(at(1.5))[0].tolist() == [1]
    assert table.at(rows, AppearanceModel()).looks.any()
    table.drop(1)
    assert not table._looks[1].any() and not table._numbers[1].any()
    table.put(1, Piece(tracklet("c", 1, 0, 3)))
    rows, _ = table.recent(0, besides=[2])
    assert table.at(rows, AppearanceModel()).cameras.tolist() == ["b", "c"]
    assert table.at(rows, AppearanceModel()).owner.tolist() == [7, -1]  # nothing is left of whoever was there


def test_a_copy_stands_for_what_a_revision_looks_at():
    piece = Piece(tracklet("a", 1, 0, 5, look(0), first_box=person_box(300)))
    piece.is_shown = True
    other = piece.copy()
    other.see(at(6), person_box(400), np.array([1.0, 2.0]), 0.1)
    assert piece.t_last_ns == at(5) and piece.place is None and not piece.steps
    assert other.t_last_ns == at(6) and other.place == (1.0, 2.0) and not other.is_shown
    assert other.looks_as(piece)
    other.hold(Piece(tracklet("a", 2, 0, 1, look(1))), look(1), 3.0)
    assert not other.looks_as(piece) and piece.held_looks is None and piece.holds == []


def test_pictures_of_another_network_are_counted_no_more():
    """People of whom nothing could be compared used to be looked up in place of those who could, until a restart."""
    linker = Linker()
    for n in range(3):
        linker.step(update("a", n, [tracklet("a", n, n, n, look(n), model_hash="one")]))
    linker.step(update("b", 9, [tracklet("b", 1, 9, 9, look(3), model_hash="two")]))
    assert linker._table.pictures()[1].sum() == 12
    again = Linker()
    again.restore(linker.checkpoint())
    assert again._table.pictures()[1].sum() == 12


def test_people_look_like_the_mean_of_all_their_pictures():
    table, model = Table(), AppearanceModel()
    given = [
        ("a", 1, 7, look(0), 12),
        ("b", 1, 7, look(1), 4),
        ("a", 2, 3, look(2), 2),
        ("c", 1, -1, look(3), 9),
    ]
    for row, (camera, number, owner, looks, pictures) in enumerate(given):
        table.put(row, Piece(tracklet(camera, number, 0, 1, looks, pictures=pictures)))
        table.give(row, owner)
    people = table.people(model)
    assert people.ids.tolist() == [3, 7]  # not of whoever is nobody's yet
    assert people.pictures.tolist() == [2.0, 16.0]
    np.testing.assert_allclose(people.looks, unit(np.array([look(2), 12 * look(0) + 4 * look(1)])), atol=1e-6)
    table.put(4, Piece(tracklet("c", 2, 0, 1)))
    table.give(4, 9)  # never embedded
    assert table.people(model).ids.tolist() == [3, 7, 9] and not table.people(model).looks[2].any()
