"""Tracklets that were cut: what a camera's tracklet is since."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tests.scenes import at, person_box, tracklet
from tracker.core.parts import NO_PICTURES, Parts, Pictures, pictures_of, whole_of
from tracker.types import TrackKey, Tracklet

WHOLE = TrackKey(camera_id="a", run=3, number=7)
SECOND, THIRD = (msgspec.structs.replace(WHOLE, since_ns=at(s)) for s in (5, 8))


def told(boxes: int, last_s: float) -> Tracklet:
    one = tracklet("a", 7, 0, last_s, run=3, last_box=person_box(500), model_hash="")
    return msgspec.structs.replace(one, boxes_seen=boxes)


def twice() -> Parts:
    parts = Parts()
    parts.cut(SECOND, 10)
    parts.cut(THIRD, 4)
    return parts


def test_what_was_never_cut_is_itself():
    parts, one = Parts(), told(9, 4)
    assert parts.of(WHOLE) == WHOLE and parts.newest(one, None) is one


def test_the_last_part_is_what_the_tracklet_is():
    assert twice().of(WHOLE) == THIRD and whole_of(THIRD) == WHOLE
    assert twice().of(msgspec.structs.replace(WHOLE, number=8)).since_ns == 0


def test_the_last_part_counts_its_own_boxes_and_begins_where_it_did():
    known = msgspec.structs.replace(told(3, 9), key=THIRD, t_first_ns=at(8.2), first_box=person_box(111))
    part = twice().newest(told(20, 10), known)
    assert (part.key, part.boxes_seen, part.t_first_ns, part.t_last_ns) == (THIRD, 6, at(8.2), at(10))
    assert np.array_equal(part.first_box, person_box(111))
    assert twice().newest(told(12, 10), known).boxes_seen == 1  # never none


def test_one_that_is_not_known_any_more_begins_anew():
    part = twice().newest(told(20, 10), None)
    assert (part.t_first_ns, part.first_box[0]) == (at(8), person_box(500)[0])


def test_those_of_long_ago_are_forgotten_unless_they_are_known():
    for known, is_there in (([], False), ([[THIRD]], True)):
        parts = twice()
        parts.forget_before(at(9), at(99), known)
        assert (parts.of(WHOLE) == THIRD) == is_there
    parts = twice()
    parts.forget_before(at(8), at(99), [])
    assert parts.of(WHOLE) == THIRD


def test_one_that_is_heard_of_again_and_again_stays_cut():
    parts = twice()
    parts.newest(told(30, 50), None)
    parts.forget_before(at(50), at(99), [])
    assert parts.of(WHOLE) == THIRD


@pytest.mark.parametrize(
    "ended, heard_s, is_there", [(True, 8, False), (False, 85, False), (False, 95, True)]
)
def test_somebody_forgotten_is_known_only_if_the_camera_goes_on_with_them(ended, heard_s, is_there):
    parts = twice()
    parts.newest(told(30, heard_s), None)
    parts.forget(SECOND, ended=True)  # an earlier part: the last one is not theirs
    assert parts.of(WHOLE) == THIRD
    parts.forget(THIRD, ended=ended)
    parts.forget_before(at(1), at(99), [])
    assert (parts.of(WHOLE) == THIRD) == is_there


def test_they_go_on_from_a_checkpoint():
    again = Parts.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(twice().to_state())))
    assert again.of(WHOLE) == THIRD and again.to_state() == twice().to_state()


@pytest.mark.parametrize("since_ns, text", [(0, "a/3/7"), (at(5), "a/3/7@5000000000")])
def test_a_key_says_since_when(since_ns, text):
    assert str(msgspec.structs.replace(WHOLE, since_ns=since_ns)) == text


def test_a_whole_tracklet_is_written_as_it_was_before_there_were_parts():
    assert msgspec.json.encode(WHOLE) == b'{"camera_id":"a","run":3,"number":7}'
    assert msgspec.json.decode(msgspec.json.encode(SECOND), type=TrackKey) == SECOND


# ---- of what pictures ------------------------------------------------------------------------------------------

ROWS = np.eye(4, 8, dtype=np.float32)


def pictures(*rows: int) -> Pictures:
    return Pictures(len(rows), ROWS[list(rows)].mean(axis=0)) if rows else NO_PICTURES


def shown(*rows: int) -> Tracklet:
    seen = pictures(*rows)
    return msgspec.structs.replace(told(9, 9), embeddings_seen=seen.number, mean_embedding=seen.mean)


def same(one: Pictures, other: Pictures) -> bool:
    return one.number == other.number and np.allclose(one.mean, other.mean, atol=1e-6)


def test_pictures_can_be_taken_off_and_put_together():
    assert same(pictures(0, 0, 1, 2).without(pictures(0, 0)), pictures(1, 2))
    assert same(pictures(0, 0).and_then(pictures(1, 2)), pictures(0, 0, 1, 2))
    assert same(NO_PICTURES.and_then(pictures(1)), pictures(1)) and same(
        pictures(1).and_then(NO_PICTURES), pictures(1)
    )
    assert same(pictures(1).without(NO_PICTURES), pictures(1))
    assert pictures(1).without(pictures(1)) is NO_PICTURES
    assert pictures(1, 2).without(Pictures(1, np.ones(3, np.float32))) is NO_PICTURES  # of another network


def test_the_last_part_is_of_its_own_pictures():
    parts = Parts()
    parts.cut(SECOND, 10, pictures(0, 0))
    assert same(pictures_of(parts.newest(shown(0, 0, 1), None)), pictures(1))
    parts.cut(THIRD, 4, pictures(1, 1))
    assert same(pictures_of(parts.newest(shown(0, 0, 1, 1, 2, 3), None)), pictures(2, 3))
    assert pictures_of(parts.newest(shown(0, 0, 1, 1), None)).number == 0
    again = Parts.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(parts.to_state())))
    assert again.to_state() == parts.to_state()
    assert same(pictures_of(again.newest(shown(0, 0, 1, 1, 2), None)), pictures(2))


def test_after_an_earlier_part_is_forgotten_nothing_is_known_of_its_pictures():
    parts = Parts()
    parts.cut(SECOND, 10, pictures(0, 0))
    parts.forget(WHOLE, ended=True)
    assert b"\x80\x3f" not in msgspec.msgpack.encode(parts.to_state())  # no 1.0 of a row
    assert pictures_of(parts.newest(shown(0, 0, 1), None)).number == 0
    known = msgspec.structs.replace(shown(1), key=SECOND)
    assert same(pictures_of(parts.newest(shown(0, 0, 1, 1), known)), pictures(1))  # what was known stays
    parts.cut(THIRD, 4, pictures(1))
    assert pictures_of(parts.newest(shown(0, 0, 1, 2), None)).number == 0
    again = Parts.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(parts.to_state())))
    assert again.to_state() == parts.to_state()


def test_another_embedder_begins_anew():
    parts = Parts()
    parts.cut(SECOND, 10, pictures(0, 0))
    parts.forget_looks()
    assert same(pictures_of(parts.newest(shown(2), None)), pictures(2))


def test_parts_of_an_older_version_had_no_pictures():
    parts = Parts()
    parts.cut(SECOND, 10, pictures(0, 0))
    old = [part[:4] for part in parts.to_state()]
    assert same(pictures_of(Parts.from_state(old).newest(shown(2, 3), None)), pictures(2, 3))


def test_a_cut_before_another_one_leaves_the_last_part_as_it_is():
    parts = Parts()
    parts.cut(THIRD, 14, pictures(0, 0, 1))
    parts.cut(SECOND, 10, pictures(0, 0))
    part = parts.newest(shown(0, 0, 1, 2), None)
    assert (parts.of(WHOLE), part.key) == (THIRD, THIRD) and same(pictures_of(part), pictures(2))


def test_single_rows_are_nobody_s_once_a_tracklet_is_cut():
    parts, whole = Parts(), tracklet("a", 7, 0, 9, ROWS[0], run=3)
    assert len(parts.newest(whole, None).prototypes)
    parts.cut(SECOND, 10, pictures(0, 0))
    part = parts.newest(whole, None)
    assert not part.prototypes.size and not part.quality.size


def test_what_an_earlier_part_looked_like_goes_with_it():
    for is_last in (False, True):
        parts = Parts()
        parts.cut(SECOND, 10, pictures(0, 0))
        parts.let_go(SECOND if is_last else WHOLE)
        assert (pictures_of(parts.newest(shown(0, 0, 1), None)).number == 1) == is_last
    parts.let_go(WHOLE)
    parts.forget_looks()  # nor does another embedder bring it back
    assert pictures_of(parts.newest(shown(0, 0, 1), None)).number == 0


def test_another_embedder_s_pictures_are_not_known_of_somebody_whose_own_may_not_be():
    parts = Parts()
    parts.cut(SECOND, 10, pictures(0, 0))
    parts.let_go(WHOLE)
    known = msgspec.structs.replace(shown(1), key=SECOND, model_hash="m")
    told_now = msgspec.structs.replace(shown(0, 0, 1), model_hash="other")
    assert pictures_of(parts.newest(told_now, known)).number == 0


def test_a_part_never_ends_before_it_begins():
    known = msgspec.structs.replace(told(3, 9), key=THIRD, t_first_ns=at(8.2))
    assert twice().newest(told(12, 7.5), known).t_last_ns == at(8.2)
