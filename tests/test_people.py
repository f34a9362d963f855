"""What was said of identities, and what is kept of them."""

from __future__ import annotations

import msgspec
import pytest

from tests.scenes import at, look, person_box, tracklet
from tracker.core.grouping import Piece
from tracker.core.people import MOST_SPANS, Person, Remembered
from tracker.types import Sighting, TrackKey


def sighting(camera: str, t_s: float) -> Sighting:
    return Sighting(camera_id=camera, t_ns=at(t_s), box=tuple(person_box(300).tolist()))


def somebody(**more: object) -> Person:
    keys = [TrackKey(camera_id="a", run=0, number=1)]
    return Person(7, keys, sighting("a", 1), sighting("b", 5), **more)  # type: ignore[arg-type]


def test_times_that_touch_are_one_and_of_too_many_the_last_are_kept():
    person = somebody(spans=[(at(0), at(10))])
    person.were_seen([(at(9), at(20)), (at(900), at(901))])
    assert person.spans == [(at(0), at(20)), (at(900), at(901))]
    person.were_seen([(at(1000 * n), at(1000 * n + 1)) for n in range(2, 2 + MOST_SPANS)])
    assert len(person.spans) == MOST_SPANS and person.spans[0] == (at(2000), at(2001))


def test_a_person_is_as_it_was_after_a_checkpoint():
    person = somebody(here=False, unsure=True, has_left=True, is_known=True, name="Ada", spans=[(1, 2)])
    assert Person.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(person.to_state()))) == person


def test_of_a_version_that_knew_no_doubt_nobody_is_unsure():
    state = somebody().to_state()
    del state["unsure"]
    person = Person.from_state(state)
    assert (person.unsure, person.has_left, person.is_known) == (False, True, False)


def test_who_is_remembered_is_nowhere_and_has_no_tracklets():
    piece = Piece(tracklet("a", 1, 1, 5, look(3)))
    kept = Remembered.from_bytes(Remembered.begin(somebody(name="Ada"), piece).to_bytes())
    person = Person.from_state(kept.person)
    assert (person.keys, person.here, person.name) == ([], False, "Ada")
    assert Piece.from_state(kept.piece).key == piece.key
    person.unsure = True
    again = Remembered.from_bytes(kept.with_person(person).to_bytes())
    assert Person.from_state(again.person).unsure and again.piece == kept.piece


@pytest.mark.parametrize("damaged", [b"", b"\x80", msgspec.msgpack.encode({"person": {}})])
def test_what_is_damaged_is_an_error(damaged):
    with pytest.raises((KeyError, msgspec.MsgspecError)):
        Remembered.from_bytes(damaged)
