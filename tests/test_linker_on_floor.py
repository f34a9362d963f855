"""People without looks before calibrated cameras: who is who is told by the floor."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from tests.scenes import Crowd, at, heard, look, person_box, tracklet, update
from tracker.config import LinkSettings
from tracker.core import linker as linker_module
from tracker.core import revision as revision_module
from tracker.core import work
from tracker.core.floor_tracker import NOBODY
from tracker.core.ledger import Ledger
from tracker.core.linker import Linker
from tracker.types import CONFIRMED, TENTATIVE, Advance, Command, LinkerInput, TrackKey


def filmed(crowd: Crowd, model_hash: str = "", row: np.ndarray | None = None) -> list[LinkerInput]:
    """What cameras tell of a crowd; a tracklet when it begins."""
    begun: set[TrackKey] = set()
    messages: list[LinkerInput] = []
    for camera, t_s, keys, places in crowd.frames:
        boxes = [person_box(150 * x, 150 * y, 120) for x, y in places]
        new = [
            tracklet(camera, k.number, t_s, t_s, row, first_box=box, last_box=box, model_hash=model_hash)
            for k, box in zip(keys, boxes, strict=True)
            if k not in begun
        ]
        begun.update(keys)
        here = [(k.number, box) for k, box in zip(keys, boxes, strict=True)]
        messages.append(update(camera, t_s, new, here, floor=[(x, y) for x, y in places]))
    return messages


def closed(messages: Sequence[LinkerInput]) -> list[LinkerInput]:
    return [*messages, Advance(t_ns=messages[-1].t_ns, final=True)]


def encode(events: Sequence) -> bytes:
    return msgspec.json.encode(events)


def identities(
    crowd: Crowd, linker: Linker | None = None, extra: Sequence[tuple[float, Command]] = ()
) -> Ledger:
    linker, ledger = linker or Linker(), Ledger()
    waiting = list(extra)
    for message in closed(filmed(crowd)):
        while waiting and at(waiting[0][0]) <= message.t_ns:
            for event in linker.step(waiting.pop(0)[1]):
                ledger.follow(event)
        for event in linker.step(message):
            ledger.follow(event)
    return ledger


def shares(crowd: Crowd, ledger: Ledger) -> tuple[float, float]:
    """Of tracklets: with whom most of their identity are, and in the largest identity of their person."""
    names: dict[int | None, int] = {}
    both = np.zeros((len(crowd.person), len(crowd.person)))
    for k, person in crowd.person.items():
        both[names.setdefault(ledger.identity_of(k), len(names)), person] += 1
    assert None not in names
    return both.max(axis=1).sum() / both.sum(), both.max(axis=0).sum() / both.sum()


@pytest.mark.parametrize("seed", range(2))
def test_a_crowd_without_looks_is_told_apart(seed):
    crowd = Crowd(seed)
    pure, whole = shares(crowd, identities(crowd))
    assert pure > 0.93 and whole > 0.85


def test_without_the_floor_it_is_not(monkeypatch):
    """What it is for: pairs of tracklets alone tell the same crowds apart less well, whoever is asked at first."""

    def told(seed: int, *, with_floor: bool) -> float:
        crowd, linker = Crowd(seed), Linker()
        if not with_floor:
            linker._company.floor = None
        return sum(shares(crowd, identities(crowd, linker)))

    monkeypatch.setattr(Linker, "_ask_floor", lambda *_: None)
    assert (
        sum(told(n, with_floor=True) for n in range(2))
        > sum(told(n, with_floor=False) for n in range(2)) + 0.1
    )


def appeared(messages: Sequence[LinkerInput]) -> int:
    """How many were taken for somebody new at first."""
    linker = Linker()
    return sum(type(event).__name__ == "Appeared" for message in messages for event in linker.step(message))


def test_a_new_track_is_at_once_whom_it_was_on(monkeypatch):
    messages = filmed(Crowd(1, people=14, sigma_m=0.2, dropped=0.4))
    with_it = appeared(messages)
    monkeypatch.setattr(Linker, "_ask_floor", lambda *_: None)
    assert with_it < appeared(messages) / 2


def test_the_last_instant_counts():
    linker, box = Linker(), person_box(300)
    keys = [TrackKey(camera_id="a", run=0, number=n) for n in (1, 2)]
    for n in range(9):
        number = 1 if n < 8 else 2
        new = (
            [tracklet("a", number, n / 2, n / 2, first_box=box, last_box=box, model_hash="")]
            if n in (0, 8)
            else []
        )
        linker.step(update("a", n / 2, new, [(number, box)], floor=[(1.0, 1.0)]))
    assert linker._company.floor is not None
    assert linker._company.floor._counts(keys) == {keys[0]: {1: 8}}  # the last one may not be over
    linker.step(Advance(t_ns=at(4), final=True))
    assert linker._company.floor._counts(keys) == {keys[0]: {1: 8}, keys[1]: {1: 1}}
    assert len({linker.identity_of(key) for key in keys}) == 1


@pytest.mark.parametrize("seed", range(2))
def test_nobody_is_twice_before_one_camera(seed):
    crowd = Crowd(seed, people=14, sigma_m=0.2, dropped=0.4)
    ledger = identities(crowd)
    for camera, _, keys, _ in crowd.frames:
        owners = [ledger.identity_of(k) for k in keys]
        assert len(set(owners)) == len(owners), camera


@pytest.fixture
def hurried(monkeypatch):
    """Little is done in a step, and few tracklets are looked at again."""
    monkeypatch.setattr(work, "WORK_AT_ONCE", 3000)
    monkeypatch.setattr(work, "WORK_PER_S", 1)
    monkeypatch.setattr(linker_module, "SETTLED_S", 1.0)
    monkeypatch.setattr(revision_module, "SETTLED_S", 1.0)


@pytest.mark.parametrize("most_pieces", [400, 12])
def test_restored_at_any_instant_it_says_what_it_would_have_said(hurried, monkeypatch, most_pieces):
    monkeypatch.setattr(linker_module, "MOST_PIECES", most_pieces)
    messages = closed(filmed(Crowd(0, people=5, seconds=16)))
    straight, lives = Linker(), Linker()
    for n, message in enumerate(messages):
        if n == 40:
            message = Command(t_ns=message.t_ns, verb="forget", global_ids=(1,))
        again = Linker()
        again.restore(lives.checkpoint())
        lives = again
        assert encode(lives.step(message)) == encode(straight.step(message))
    assert lives.checkpoint() == straight.checkpoint()


def test_two_linkers_that_hear_the_same_say_the_same():
    messages = closed(filmed(Crowd(1)))
    one, other = Linker(), Linker()
    assert [encode(one.step(m)) for m in messages] == [encode(other.step(m)) for m in messages]


def test_where_looks_are_known_the_floor_is_not_asked():
    crowd, linker = Crowd(0), Linker()
    blind, seeing = filmed(crowd), filmed(crowd, model_hash="m", row=look(0))
    for message in [*blind[:20], *seeing[20:]]:
        linker.step(message)
    assert linker._company.floor is None
    assert not any(piece.trail for piece in linker._pieces.values())
    again = Linker()
    again.restore(linker.checkpoint())
    assert again._company.floor is None and again.checkpoint() == linker.checkpoint()


@pytest.mark.parametrize("model_hash", ["", "m"])
def test_a_checkpoint_of_a_version_that_knew_no_floor_is_gone_on_from(model_hash):
    messages = closed(filmed(Crowd(0), model_hash))
    linker, again = Linker(), Linker()
    for message in messages[:60]:
        linker.step(message)
    checkpoint = linker.checkpoint()
    state = msgspec.msgpack.decode(checkpoint.state)
    del state["company"]["floor"]
    again.restore(msgspec.structs.replace(checkpoint, state=msgspec.msgpack.encode(state)))
    assert (again._company.floor is None) == bool(model_hash)
    for message in messages[60:]:
        again.step(message)


def test_operators_are_obeyed_whatever_the_floor_says():
    crowd = Crowd(0)
    keys = sorted(crowd.person)
    alone = identities(crowd)
    person = alone.identity_of(keys[0])
    mine = [k for k in keys if alone.identity_of(k) == person]
    assert len(mine) > 2
    late = crowd.frames[-1][1]
    linker = Linker(LinkSettings())
    early = identities(Crowd(0, seconds=late - 1))  # who they are when the operator speaks
    part = [k for k in mine if early.identity_of(k) is not None][-1]
    split = Command(
        t_ns=at(late - 1), verb="split", global_ids=(early.identity_of(part),), track_keys=(part,)
    )
    ledger = identities(crowd, linker, [(late - 1, split)])
    others = {ledger.identity_of(k) for k in mine if k != part and early.identity_of(k) is not None}
    assert ledger.identity_of(part) not in others


def test_whom_an_operator_joined_stays_where_they_are():
    """Two who stood apart were joined, and then another camera saw both: they changed places once a second."""
    linker, kinds = Linker(), []

    def see(t_s: float, camera: str, people: dict[int, float]) -> None:
        here = [(number, person_box(100 + 150 * x, 300, 120)) for number, x in people.items()]
        new = [
            tracklet(camera, number, t_s, t_s, first_box=box, last_box=box, model_hash="")
            for number, box in here
            if TrackKey(camera_id=camera, run=0, number=number) not in begun
        ]
        begun.update(piece.key for piece in new)
        for event in linker.step(update(camera, t_s, new, here, floor=[(x, 0.0) for x in people.values()])):
            kinds.append(type(event).__name__)

    begun: set[TrackKey] = set()
    for n in range(80):
        t_s = n / 2
        see(t_s, "b", {1: 0.0})
        see(t_s, "c", {1: 5.0})
        if n == 20:
            both = [linker.identity_of(TrackKey(camera_id=c, run=0, number=1)) for c in "bc"]
            order = Command(t_ns=at(t_s), verb="merge", global_ids=tuple(both))  # type: ignore[arg-type]
            kinds += [type(event).__name__ for event in linker.step(order)]
        if n > 30:
            see(t_s, "a", {1: 0.0, 2: 5.0})
    assert kinds.count("Merged") + kinds.count("Split") <= 3
    assert len({linker.identity_of(TrackKey(camera_id=c, run=0, number=1)) for c in "bc"}) == 1


def swapping(swap_s: float = 12.0, seconds: float = 40.0) -> list[LinkerInput]:
    """Two people 3 m apart before three cameras; in the first of these their tracks change places at ``swap_s``."""
    messages: list[LinkerInput] = []
    for n in range(int(seconds * 2)):
        t_s = n / 2
        for camera in "abc":
            y = {1: 0.0, 2: 3.0}
            if camera == "a" and t_s >= swap_s:
                y = {1: 3.0, 2: 0.0}
            here = [(number, person_box(100 + 100 * y[number], 300, 120)) for number in y]
            new = [
                msgspec.structs.replace(
                    tracklet(
                        camera, number, 0, t_s, first_box=box, last_box=box, model_hash="", revision=n + 1
                    ),
                    boxes_seen=n + 1,
                )
                for number, box in here
            ]
            places = [(0.3 * t_s, y[number]) for number in y]
            messages.append(update(camera, t_s, new, here, floor=places))
    return closed(messages)


def numbered(camera: str, number: int) -> TrackKey:
    return TrackKey(camera_id=camera, run=0, number=number)


def test_tracks_that_change_places_are_cut_and_everybody_is_one():
    linker = Linker()
    ledger, events = heard(swapping(), linker)
    one, other = (ledger.identity_of(numbered("b", number)) for number in (1, 2))
    assert one != other
    for t_s in (0, 11.5):
        assert [ledger.identity_at(numbered("a", n), at(t_s)) for n in (1, 2)] == [one, other]
    for t_s in (12, 39):
        assert [ledger.identity_at(numbered("a", n), at(t_s)) for n in (1, 2)] == [other, one]
    assert [linker.identity_now(numbered("a", n)) for n in (1, 2)] == [other, one]
    assert len(linker.view().identities) == 2
    cut = [e for e in events if type(e).__name__ == "Split" and any(key.since_ns for key in e.tracks)]
    assert len(cut) == 2 and all(at(11.5) < e.tracks[0].since_ns <= at(12) for e in cut)
    boxes = [
        (piece.key.since_ns > 0, piece.boxes_seen)
        for piece in linker._pieces.values()
        if piece.key.camera_id == "a"
    ]
    assert [(later, boxes) for later, boxes in sorted(boxes)] == [(False, 24)] * 2 + [(True, 56)] * 2


def test_nobody_is_cut_who_keeps_their_person():
    _, events = heard(swapping(swap_s=np.inf), Linker())
    assert not any(key.since_ns for e in events for key in getattr(e, "tracks", ()))


def test_restored_at_any_instant_after_a_cut_it_says_what_it_would_have_said():
    straight, lives = Linker(), Linker()
    for n, message in enumerate(swapping(swap_s=4.0, seconds=24)):
        if n % 3 == 0:
            again = Linker()
            again.restore(lives.checkpoint())
            lives = again
        assert encode(lives.step(message)) == encode(straight.step(message))
    assert lives.checkpoint() == straight.checkpoint()


def test_whom_an_operator_spoke_of_is_not_cut():
    messages, linker = swapping(), Linker()
    early, _ = heard(messages[:30], linker)
    one, other = (early.identity_of(numbered("b", number)) for number in (1, 2))
    a = [numbered("a", n) for n in (1, 2)]
    linker.step(Command(t_ns=at(5), verb="split", global_ids=(one,), track_keys=(a[0],)))
    ledger, events = heard(messages[30:], linker)
    cut = [key for e in events if type(e).__name__ == "Split" for key in e.tracks if key.since_ns]
    assert a[0] not in [msgspec.structs.replace(key, since_ns=0) for key in cut]


def test_who_is_forgotten_after_a_cut_is_forgotten_whole():
    messages, linker = swapping(), Linker()
    heard(messages[:-1], linker)
    ids = {linker.identity_now(numbered("a", n)) for n in (1, 2)}
    linker.step(Command(t_ns=messages[-2].t_ns, verb="forget", global_ids=tuple(sorted(ids))))
    assert [linker.identity_now(numbered("a", n)) for n in (1, 2)] == [None, None]
    floor = linker._company.floor
    assert not linker._pieces and floor is not None and not floor._settled
    assert not len(floor._walkers) and not any(instant.keys for instant in floor._instants)
    state = msgspec.msgpack.decode(linker.checkpoint().state)
    assert state["floor_names"] == []
    parts = linker._parts.to_state()
    assert all(
        is_forgotten for *_, is_forgotten, _ in parts
    )  # their camera may go on with them, or be silent:
    linker.step(Advance(t_ns=messages[-2].t_ns + at(11)))
    linker.step(Advance(t_ns=messages[-2].t_ns + at(13)))
    assert linker._parts.to_state() == []


def test_a_cut_tracklet_that_goes_on_after_it_was_forgotten_is_somebody_new():
    messages, linker = swapping(), Linker()
    heard(messages[:-40], linker)
    ids = {linker.identity_now(numbered(c, n)) for c in "abc" for n in (1, 2)}
    linker.step(Command(t_ns=messages[-41].t_ns, verb="forget", global_ids=tuple(sorted(ids))))
    ledger, events = heard(messages[-40:], linker)
    now = {ledger.identity_at(numbered(c, n), at(39)) for c in "abc" for n in (1, 2)}
    assert None not in now and not now & ids and len(now) == 2


def test_of_a_crowd_all_that_is_sure_is_said(monkeypatch):
    """More tracklets come than a revision looks at: those that it never saw together are joined all the same."""
    monkeypatch.setattr(linker_module, "MOST_PIECES", 12)
    crowd = Crowd(0, seconds=40)
    ledger, linker = Ledger(), Linker()
    for message in closed(filmed(crowd)):
        for event in linker.step(message):
            ledger.follow(event)
    pure, whole = shares(crowd, ledger)
    assert pure > 0.9 and whole > 0.8


@pytest.mark.parametrize(
    ("hop", "is_taken_up"),
    [*itertools.product([11.9, 12.0, 12.1, 12.2, 12.3], [True]), (12.0, False), (12.2, False)],
)
def test_a_track_may_go_over_at_any_frame(hop, is_taken_up):
    """At 10 frames a second: a/1 goes over to the other, whose own track ends, and its person gets another one, or none
    (as it is cut before that matters, not at every frame)."""
    linker = Linker()
    messages: list[LinkerInput] = []
    for n in range(200):
        t_s = n / 10
        for camera in "abc":
            y = {1: 0.0, 2: 3.0}
            if camera == "a" and t_s >= hop - 1e-6:
                y = {1: 3.0, 3: 0.0} if is_taken_up else {1: 3.0}
            here = [(number, person_box(100 + 100 * where, 300, 120)) for number, where in y.items()]
            new = [
                tracklet(
                    camera,
                    k,
                    0 if k < 3 else hop,
                    t_s,
                    first_box=box,
                    last_box=box,
                    model_hash="",
                    revision=n + 1,
                )
                for k, box in here
            ]
            messages.append(
                update(camera, t_s, new, here, floor=[(0.3 * t_s, where) for where in y.values()])
            )
    ledger, _ = heard(closed(messages), linker)
    one, other = (ledger.identity_of(numbered("b", number)) for number in (1, 2))
    assert [ledger.identity_at(numbered("a", 1), at(t_s)) for t_s in (0, 19)] == [one, other]
    assert ledger.identity_of(numbered("a", 2)) == other
    assert ledger.identity_of(numbered("a", 3)) == (one if is_taken_up else None)
    assert len(linker.view().identities) == 2


@pytest.mark.parametrize("every_s", [1.0, 6.0, 20.0])
def test_tracks_are_cut_however_seldom_is_looked_again(every_s):
    ledger, _ = heard(swapping(seconds=80), Linker(LinkSettings(revise_every_s=every_s)))
    one, other = (ledger.identity_of(numbered("b", number)) for number in (1, 2))
    assert [ledger.identity_at(numbered("a", 1), at(t_s)) for t_s in (0, 39)] == [one, other]


def test_identities_that_become_one_while_others_are_settled(monkeypatch):
    """Two walkers' tracklets are settled in one go: what the first one joins is nobody any more for the second."""
    monkeypatch.setattr(linker_module, "MOST_PIECES", 1)
    linker = Linker()
    keys = [numbered(camera, 1) for camera in "abc"]
    for n in range(4):
        for k, x in zip(keys, (0.0, 4.0, 8.0), strict=True):
            box = person_box(100 + 60 * x, 300, 120)
            new = (
                [tracklet(k.camera_id, 1, 0, 0, first_box=box, last_box=box, model_hash="")] if n == 0 else []
            )
            linker.step(update(k.camera_id, n / 2, new, [(1, box)], floor=[(x, 0.0)]))
    one, other, third = (linker.identity_of(k) for k in keys)
    floor = linker._company.floor
    assert floor is not None and one and other and third
    floor.finish()
    on = floor.mainly_on(keys)
    for instant in floor._instants:  # on second thoughts, the first one's tracklet is on the other walker
        instant.walker[[n for n, k in enumerate(instant.keys) if k == keys[0]]] = on[keys[1]]
    linker._pieces[keys[1]]._held_boxes = 50
    linker._floor_names.note(on[keys[2]], one, 99, at(1))
    ledger = Ledger()
    for n in range(4, 60):
        for event in linker.step(update("d", n / 2)):
            ledger.follow(event)
    assert one not in linker._people and other in linker._people
    assert {name[1] for name in linker._floor_names.to_state()} <= set(linker._people)


def test_who_left_before_a_cut_does_not_leave_again():
    """Tracks change places, and all are gone before that is known."""
    linker, kinds = Linker(), []
    messages = swapping(swap_s=3.0, seconds=8)[:-1]
    messages += [update("abc"[n % 3], 8 + n // 3 / 2) for n in range(120)]
    for message in messages:
        kinds += [(type(e).__name__, getattr(e, "global_id", 0)) for e in linker.step(message)]
    assert [kind for kind, _ in kinds].count("Split") >= 2
    left = [g for kind, g in kinds if kind == "Left"]
    assert len(left) == len(set(left)) == 2 == len(linker._people)
    assert not any(person.here for person in linker._people.values())


def test_the_last_part_goes_on_when_it_is_forgotten_late():
    """Long after a cut the person is forgotten: the camera's track is still cut, and not whole again."""
    linker = Linker(LinkSettings(max_gap_s=20, revise_s=20))
    messages = swapping(seconds=70)
    ledger, _ = heard(messages[:280], linker)
    one, other = (ledger.identity_of(numbered("b", number)) for number in (1, 2))
    for event in linker.step(Command(t_ns=messages[280].t_ns, verb="forget", global_ids=(other,))):
        ledger.follow(event)
    quiet = [
        msgspec.structs.replace(m, tracklets=()) if n % 24 > 2 and not isinstance(m, Advance) else m
        for n, m in enumerate(messages[280:])
    ]
    for message in quiet:
        for event in linker.step(message):
            ledger.follow(event)
    assert ledger.identity_at(numbered("a", 1), at(5)) == one
    for number in (1, 2):
        key = numbered("a", number)
        assert ledger.identity_at(key, at(69)) == linker.identity_now(key)
    assert len({ledger.identity_at(numbered("a", 1), at(69)), one, other}) == 3


def test_what_an_unconfirmed_track_saw_stays_on_the_floor_as_anybodys():
    linker, box = Linker(), person_box(300)
    for n in range(4):
        here = [(1, box), (2, person_box(700))][: 2 if n == 1 else 1]
        new = [tracklet("a", 1, 0, 0, first_box=box, last_box=box, model_hash="")] if n == 0 else []
        message = update("a", n / 2, new, here, floor=[(0.0, 0.0), (9.0, 0.0)][: len(here)])
        states = np.array([CONFIRMED, TENTATIVE][: len(here)], np.int8)
        tracks = msgspec.structs.replace(message.tracks, states=states)
        linker.step(msgspec.structs.replace(message, tracks=tracks))
    floor = linker._company.floor
    assert floor is not None and not linker._hopeful
    assert [len(instant.keys) for instant in floor._instants] == [1, 2, 1]
    assert NOBODY in floor._instants[1].keys and numbered("a", 2) not in floor._instants[1].keys
