"""Who a tracklet is, from the events alone."""

from __future__ import annotations

import msgspec

from tracker.core.ledger import Ledger
from tracker.types import (
    Appeared,
    CameraLost,
    Event,
    HandedOver,
    Left,
    Merged,
    Sighting,
    Split,
    TrackKey,
    Updated,
)

HERE = Sighting(camera_id="a", t_ns=0, box=(0.0, 0.0, 1.0, 1.0))


def key(number: int) -> TrackKey:
    return TrackKey(camera_id="a", run=0, number=number)


def appeared(global_id: int, number: int) -> Appeared:
    return Appeared(t_ns=0, global_id=global_id, track=key(number), sighting=HERE)


def over(global_id: int, number: int) -> HandedOver:
    return HandedOver(
        t_ns=0,
        global_id=global_id,
        from_camera="a",
        to_camera="a",
        track=key(number),
        gap_s=1.0,
        sighting=HERE,
    )


def merged(kept: int, absorbed: int, *numbers: int) -> Merged:
    return Merged(t_ns=0, kept=kept, absorbed=absorbed, tracks=tuple(map(key, numbers)))


def split(global_id: int, to: int, *numbers: int) -> Split:
    return Split(t_ns=0, global_id=global_id, to=to, tracks=tuple(map(key, numbers)))


def after(*events: Event) -> dict[int, int]:
    """Number of the tracklet -> identity, after these events."""
    ledger = Ledger()
    for event in events:
        ledger.follow(event)
    return {k.number: g for k, g in ledger.tracks().items()}


def test_nobody_was_told():
    assert after() == {}
    assert Ledger().identity_of(key(1)) is None


def test_appeared_and_handed_over():
    assert after(appeared(1, 10), over(1, 11), appeared(2, 20)) == {10: 1, 11: 1, 20: 2}


def test_merged_takes_everything_along():
    assert after(appeared(1, 10), appeared(2, 20), over(2, 21), merged(1, 2, 20, 21)) == {10: 1, 20: 1, 21: 1}


def test_what_the_linker_has_forgotten_goes_along_as_well():
    """Tracklet 20 is older than the linker's memory and not named in the event."""
    assert after(appeared(1, 10), appeared(2, 20), over(2, 21), merged(1, 2, 21)) == {10: 1, 20: 1, 21: 1}


def test_merges_in_a_chain():
    events = [appeared(n, 10 * n) for n in (1, 2, 3)]
    assert after(*events, merged(2, 3, 30), merged(1, 2, 20, 30)) == {10: 1, 20: 1, 30: 1}
    # Of what is not named, too.
    assert after(*events, merged(2, 3), merged(1, 2)) == {10: 1, 20: 1, 30: 1}


def test_split_takes_only_what_it_names():
    events = [appeared(1, 10), over(1, 11), over(1, 12)]
    assert after(*events, split(1, 2, 11)) == {10: 1, 11: 2, 12: 1}


def test_split_after_a_merge_and_back():
    events = [appeared(1, 10), appeared(2, 20), merged(1, 2, 20)]
    assert after(*events, split(1, 3, 20)) == {10: 1, 20: 3}
    assert after(*events, split(1, 3, 20), merged(3, 1, 10)) == {10: 3, 20: 3}


def test_other_events_change_nothing():
    said = [
        appeared(1, 10),
        Updated(t_ns=1, global_id=1, sightings=(HERE,), tracks=(key(10), key(99))),
        Left(t_ns=2, global_id=1, last=HERE),
        CameraLost(t_ns=3, camera_id="a"),
    ]
    assert after(*said) == {10: 1}


def left(global_id: int, *, unsure: bool) -> Left:
    return Left(t_ns=2, global_id=global_id, last=HERE, unsure=unsure)


def is_unsure(*events: Event) -> list[int]:
    """Who of three is, after these events."""
    ledger = Ledger()
    for event in (appeared(1, 10), appeared(2, 20), appeared(3, 30), *events):
        ledger.follow(event)
    return [g for g in (1, 2, 3) if ledger.is_unsure(g)]


def test_who_left_may_be_unsure_until_they_come_back():
    assert is_unsure() == is_unsure(left(1, unsure=False)) == []
    gone = left(1, unsure=True)
    assert is_unsure(gone, left(2, unsure=True)) == [1, 2]
    assert is_unsure(gone, left(1, unsure=False)) == []
    assert is_unsure(gone, over(1, 11)) == []
    assert is_unsure(gone, Updated(t_ns=3, global_id=1, sightings=(), tracks=())) == []
    assert is_unsure(gone, split(2, 3, 20), over(2, 21)) == [1]


def test_who_is_unsure_becomes_sure_with_somebody_who_is():
    both = left(1, unsure=True), left(2, unsure=True)
    assert is_unsure(*both, merged(1, 2, 20)) == [1]
    assert is_unsure(both[0], merged(1, 2, 20)) == is_unsure(both[1], merged(1, 2, 20)) == []


def test_tracks_come_in_the_order_of_their_keys():
    ledger = Ledger()
    for number in (3, 1, 2):
        ledger.follow(appeared(number, number))
    assert [k.number for k in ledger.tracks()] == [1, 2, 3]


def test_a_tracklet_that_was_cut_is_several_people_one_after_the_other():
    whole, ledger = key(1), Ledger()
    parts = [msgspec.structs.replace(whole, since_ns=since_ns) for since_ns in (30, 10)]
    for event in (
        appeared(1, 1),
        *(Split(t_ns=0, global_id=1, to=4 + n, tracks=(part,)) for n, part in enumerate(parts)),
        Merged(t_ns=0, kept=9, absorbed=4, tracks=(parts[0],)),
    ):
        ledger.follow(event)
    assert [ledger.identity_at(whole, t_ns) for t_ns in (0, 9, 10, 29, 30, 99)] == [1, 1, 5, 5, 9, 9]
    assert ledger.identity_of(whole) == 1 and ledger.identity_of(parts[0]) == 9
    assert [ledger.until_ns(one) for one in (whole, parts[1], parts[0], key(2))] == [10, 30, None, None]
    assert ledger.identity_at(key(2), 99) is None
