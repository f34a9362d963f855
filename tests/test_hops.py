"""Tracklets that went over to somebody else, by looks: when two people explain one better, and what becomes of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from tests.scenes import at, blurred, heard, look, of_kind, person_box, tracklet, update
from tracker.core import linker as linker_module
from tracker.core import work
from tracker.core.grouping import Piece
from tracker.core.hops import HOP_LOG, MOST_SURE, Halves, _People, hop_evidence, places, two_or_one
from tracker.core.linker import Linker
from tracker.core.parts import Pictures
from tracker.types import (
    CARRIED,
    Advance,
    CameraUpdate,
    Command,
    Event,
    Split,
    TrackKey,
)

P, Q, OTHER = 0, 1, 2
MINE = 0


def halves(**changed: object) -> Halves:
    """One place of a tracklet whose halves are like nobody known, of three people of whom the first is its own."""
    nothing = np.zeros((1, 3))
    no = np.zeros((1, 3), bool)
    same = Halves(nothing, nothing.copy(), np.zeros(1), no, no.copy(), no.copy(), np.zeros(3))
    return same._replace(**changed)  # type: ignore[arg-type]


def row(*values: float) -> np.ndarray:
    return np.array([values], float)


def flags(*people: int) -> np.ndarray:
    return np.isin(np.arange(3), people)[None]


def odds(**changed: object) -> float:
    return float(two_or_one(halves(**changed), MINE)[0])


def test_halves_that_are_like_two_people_are_two():
    apart = {"left": row(6, -6, 0), "right": row(-6, 6, 0), "alike": np.array([-2.0])}
    assert odds(**apart) > -HOP_LOG
    assert odds(**(apart | {"right": row(6, -6, 0), "alike": np.array([3.0])})) < 0


def test_halves_that_are_like_each_other_are_one_whoever_it_is():
    unknown = {"left": row(-6, -6, 3), "right": row(-6, 4, -6)}
    assert odds(**unknown, near=flags(1), alike=np.array([5.0])) < odds(
        **unknown, near=flags(1), alike=np.array([-5.0])
    )
    assert odds(**unknown, near=flags(1), alike=np.array([8.0])) + HOP_LOG < 0


def test_who_was_beside_one_half_is_not_that_half():
    likes = {"left": row(6, -6, 0), "right": row(-6, 6, 0)}
    assert odds(**likes, beside_right=flags(1)) < odds(**likes) - 3
    # And who was beside any half is not the whole of it.
    whole = {"left": row(0, 5, 0), "right": row(0, 5, 0)}
    assert odds(**whole) < odds(**whole, beside_left=flags(1))


def test_one_of_two_is_their_own_or_came_or_went_about_then():
    strangers = {"left": row(-9, 6, 0), "right": row(-9, -9, 6), "alike": np.array([-5.0])}
    assert odds(**strangers) < odds(**strangers, near=flags(1))
    # Of many who came or went, each is less likely to be meant.
    assert odds(**strangers, near=flags(0, 1, 2)) < odds(**strangers, near=flags(1))


def test_somebody_beside_one_half_who_is_like_the_own_identity_speaks_for_two():
    seen = {"left": row(6, 0, 0), "right": row(-6, 0, 0), "twins": np.array([0.0, 5.0, 0.0])}
    assert odds(**seen, beside_right=flags(1)) == pytest.approx(odds(**seen) + 5, abs=0.5)
    # Not where both halves are like it: then all of them are alike.
    both = seen | {"right": row(6, 0, 0)}
    nobody_alike = both | {"twins": np.zeros(3)}
    assert odds(**both, beside_right=flags(1)) == pytest.approx(
        odds(**nobody_alike, beside_right=flags(1)), abs=0.1
    )
    assert odds(**(seen | {"right": row(6, 0, 0)}), beside_right=flags(1)) < 0
    assert odds(**seen, beside_right=flags(1), beside_left=flags(1)) == pytest.approx(odds(**seen), abs=0.5)


def test_what_is_said_of_it_is_never_certain():
    for log_odds in (0.0, 3.0, 50.0):
        said = hop_evidence(log_odds, 7)
        assert 0.4 < said.probability <= MOST_SURE and said.runner_up == 7
        assert said.runner_up_probability == pytest.approx(1 - said.probability)


# ---- in the linker ---------------------------------------------------------------------------------------------


class Followed:
    """One camera's tracklet, told again and again as a camera tells it: the mean of all its pictures so far."""

    def __init__(self, camera: str, number: int, first_s: float, x: float) -> None:
        self.camera, self.number, self.first_s, self.x = camera, number, first_s, x
        self.rows: list[np.ndarray] = []

    def seen(self, t_s: float, person: int, rng: np.random.Generator, *, ended: bool = False):
        self.rows.append(blurred(look(person), rng, 0.1))
        told = tracklet(
            self.camera, self.number, self.first_s, t_s, np.mean(self.rows, axis=0), first_box=person_box(self.x),
            last_box=person_box(self.x), pictures=len(self.rows), revision=len(self.rows), ended=ended,
        )  # fmt: skip
        return told, (self.number, person_box(self.x))


def a(number: int) -> TrackKey:
    return TrackKey(camera_id="a", run=0, number=number)


HOP_S, END_S = 12.0, 20.0


def hopping(*, hops: bool = True) -> Iterator[CameraUpdate]:
    """Camera b has seen P and Q. In a, tracklet 1 follows P and, as Q's own track 2 ends beside it, Q from `HOP_S` on;
    P goes on as track 3. Where nobody ``hops``, 1 stays with P, and 3 shows Q."""
    rng = np.random.default_rng(0)
    tracks = [Followed("b", 1, 0, 200), Followed("b", 2, 0, 700)]
    for n in range(8):
        told = [one.seen(n / 2, who, rng, ended=n == 7) for one, who in zip(tracks, (P, Q), strict=True)]
        yield update("b", n / 2, [t for t, _ in told], [h for _, h in told], seq=n)
    one, two, three = Followed("a", 1, 6, 300), Followed("a", 2, 6, 600), Followed("a", 3, HOP_S, 800)
    for n in range(round(2 * (END_S - 6)) + 1):
        t_s = 6 + n / 2
        if t_s < HOP_S:
            told = [one.seen(t_s, P, rng), two.seen(t_s, Q, rng, ended=t_s == HOP_S - 0.5)]
        else:
            told = [one.seen(t_s, Q if hops else P, rng), three.seen(t_s, P if hops else Q, rng)]
        yield update("a", t_s, [t for t, _ in told], [h for _, h in told], seq=n)
    yield update("a", END_S + 0.5, seq=99)


def cuts(events: list[Event]) -> list[Split]:
    return [event for event in of_kind(events, Split) if any(key.since_ns for key in event.tracks)]


def test_a_tracklet_that_went_over_is_cut_and_both_are_who_they_were():
    ledger, events = heard([*hopping(), Advance(t_ns=at(END_S + 1), final=True)], Linker())
    first = next(event for event in cuts(events) if event.tracks[0].since_ns)
    assert abs(first.tracks[0].since_ns - at(HOP_S)) <= at(1)
    assert first.evidence is not None and 0.5 < first.evidence.probability <= MOST_SURE
    p, q = (ledger.identity_of(TrackKey(camera_id="b", run=0, number=n)) for n in (1, 2))
    assert p != q
    assert (ledger.identity_at(a(1), at(8)), ledger.identity_of(a(3))) == (p, p)
    assert (ledger.identity_at(a(1), at(END_S)), ledger.identity_of(a(2))) == (q, q)


def test_a_tracklet_that_stays_with_one_is_not_cut():
    ledger, events = heard([*hopping(hops=False), Advance(t_ns=at(END_S + 1), final=True)], Linker())
    assert not cuts(events)
    assert ledger.identity_of(a(1)) == ledger.identity_of(TrackKey(camera_id="b", run=0, number=1))


def test_what_is_told_of_it_after_a_cut_is_of_the_later_one_alone():
    linker = Linker()
    heard(hopping(), linker)
    first, last = linker._pieces[a(1)], linker._pieces[linker._parts.of(a(1))]
    assert first.key != last.key and first.looks is not None and last.looks is not None
    assert first.looks @ look(P) > 0.7 > 0.3 > abs(first.looks @ look(Q))
    assert last.looks @ look(Q) > 0.7 > 0.3 > abs(last.looks @ look(P))
    assert first.t_last_ns < at(HOP_S + 0.5) < last.t_last_ns == at(END_S)


@pytest.mark.parametrize("stopped_s", [9.0, HOP_S + 1, 15.0, 18.0])
def test_a_linker_that_was_stopped_cuts_as_one_that_was_not(stopped_s):
    messages = list(hopping())
    straight, life = Linker(), Linker()
    _, events = heard(messages, straight)
    before = [m for m in messages if m.t_ns <= at(stopped_s)]
    _, said = heard(before, life)
    again = Linker()
    again.restore(life.checkpoint())
    _, more = heard(messages[len(before) :], again)
    assert said + more == events and cuts(events)
    assert again.checkpoint() == straight.checkpoint()


def test_of_whom_an_operator_spoke_nothing_is_cut():
    messages, linker = list(hopping()), Linker()
    ledger, _ = heard([m for m in messages if m.t_ns < at(HOP_S)], linker)
    p, q = (ledger.identity_of(a(n)) for n in (1, 2))
    linker.step(Command(t_ns=at(HOP_S), verb="merge", global_ids=(p, q)))  # they were seen at once: no
    linker.step(Command(t_ns=at(HOP_S), verb="name", global_ids=(p,), name="P"))
    linker.step(Command(t_ns=at(HOP_S), verb="split", global_ids=(p,), track_keys=(a(1),)))
    _, events = heard([m for m in messages if m.t_ns >= at(HOP_S)], linker)
    assert not cuts(events)


@pytest.mark.parametrize("which", ["first", "last"])
def test_who_is_forgotten_leaves_no_looks_in_what_is_left(which):
    linker = Linker()
    messages = list(hopping())
    heard(messages[:-4], linker)
    key = a(1) if which == "first" else linker._parts.of(a(1))
    gone = linker.identity_of(key)
    assert key.since_ns or linker._parts.of(a(1)) != a(1)
    linker.step(Command(t_ns=messages[-4].t_ns, verb="forget", global_ids=(gone,)))
    if which == "first":
        assert all(before is None for *_, before in linker._parts.to_state())
        before = linker._pieces[linker._parts.of(a(1))].looks
        rows = [p.tracklet.prototypes for p in linker._pieces.values() if p.tracklet.key.since_ns]
        assert rows and not any(one.size for one in rows)
        heard(messages[-4:], linker)  # the camera's mean is of both: nothing of it is taken in
        assert linker._pieces[linker._parts.of(a(1))].looks is before
    else:
        assert all(is_forgotten for *_, is_forgotten, _ in linker._parts.to_state())


def test_long_after_nothing_is_kept_to_cut_it_by():
    linker = Linker()
    heard(hopping(), linker)
    assert any(piece.glimpses for piece in linker._pieces.values())
    heard([update("a", END_S + 0.5 + n, seq=100 + n) for n in range(14)], linker)
    assert linker._pieces and not any(piece.glimpses for piece in linker._pieces.values())


def test_whom_there_was_no_time_to_ask_about_comes_first_the_next_time(monkeypatch):
    """A step asks about two, and there is little time for it: to ask about all nine takes five seconds."""
    monkeypatch.setattr(work, "WORK_AT_ONCE", 50_000)
    monkeypatch.setattr(work, "WORK_PER_S", 1)
    monkeypatch.setattr(linker_module, "MOST_ASKED_AT_ONCE", 2)
    asked: list[TrackKey] = []
    monkeypatch.setattr(linker_module, "places", lambda piece, _: asked.append(piece.key))
    linker, most, crowd = Linker(), 0, range(1, 10)
    for n in range(150):
        told = [tracklet("a", m, 0, n / 5, look(m), pictures=1 + n, revision=1 + n) for m in crowd]
        before = len(asked)
        linker.step(update("a", n / 5, told, [(m, person_box(60 * m)) for m in crowd]))
        most = max(most, len(asked) - before)
    often = [asked.count(a(m)) for m in crowd]
    assert most == 2 and min(often) >= 3 and max(often) <= 2 * min(often)


def test_however_little_time_there_is_some_are_asked_about_after_every_revision(monkeypatch):
    monkeypatch.setattr(work, "WORK_AT_ONCE", 300)
    monkeypatch.setattr(work, "WORK_PER_S", 1)
    asked: list[TrackKey] = []
    monkeypatch.setattr(linker_module, "places", lambda piece, _: asked.append(piece.key))
    linker, crowd = Linker(), range(1, 10)
    for n in range(100):
        told = [tracklet("a", m, 0, n / 5, look(m), pictures=1 + n, revision=1 + n) for m in crowd]
        linker.step(update("a", n / 5, told, [(m, person_box(60 * m)) for m in crowd]))
    often = [asked.count(a(m)) for m in crowd]
    assert len(asked) >= 15 * linker_module.MOST_ASKED_AT_ONCE and max(often) <= 2 * min(often)


def test_another_embedder_s_pictures_are_not_taken_off():
    linker = Linker()
    messages = list(hopping())
    heard(messages[:-4], linker)
    assert linker._parts.of(a(1)) != a(1)
    other = [
        msgspec.structs.replace(
            m, tracklets=tuple(msgspec.structs.replace(t, model_hash="other") for t in m.tracklets)
        )
        for m in messages[-4:]
    ]
    heard(other, linker)
    told = [t for t in other[-2].tracklets if t.key == a(1)][0]
    last = linker._pieces[linker._parts.of(a(1))]
    assert last.looks is not None and np.allclose(last.looks, told.mean_embedding, atol=1e-6)


# ---- what a camera takes back ----------------------------------------------------------------------------------


def gone_over(*, is_told: bool) -> Iterator[CameraUpdate]:
    """Track 1 follows P to 4 s, then somebody else for a second, while P goes on as track 2; the camera tells later
    that 1 has not been seen since, where that ``is_told``."""
    rng = np.random.default_rng(0)
    one, two = Followed("a", 1, 0, 300), Followed("a", 2, 4, 320)
    for n in range(60):
        t_s = n / 5
        tracklets, here = [], []
        if t_s < 5:
            told, seen = one.seen(t_s, P, rng) if t_s < 4 else (None, (1, person_box(500)))
            tracklets += [] if told is None else [told]
            here.append(seen)
        if t_s >= 4:
            told, seen = two.seen(t_s, P, rng)
            tracklets.append(told)
            here.append(seen)
        if n == 26:
            told, _ = one.seen(3.8 if is_told else 4.8, P, rng, ended=True)
            tracklets.append(told)
        yield update("a", t_s, tracklets, here, seq=n)


@pytest.mark.parametrize("is_told", [True, False])
def test_what_was_seen_of_a_track_that_went_over_does_not_count(is_told):
    linker = Linker()
    ledger, _ = heard([*gone_over(is_told=is_told), Advance(t_ns=at(12), final=True)], linker)
    assert (ledger.identity_of(a(1)) == ledger.identity_of(a(2))) == is_told
    assert (linker._pieces[a(1)].t_last_ns, linker._pieces[a(1)].went_xy[0] < 0.4) == (
        (at(3.8), True) if is_told else (at(4.8), False)
    )


def test_a_track_that_is_seen_is_not_taken_back():
    """Between two looks of the detector boxes are carried, and what is told was seen a little earlier."""
    linker = Linker()
    told, seen = Followed("a", 1, 0, 300).seen(0.8, P, np.random.default_rng(0))
    linker.step(update("a", 0.8, [told], [seen]))
    linker.step(update("a", 1.0, [], [seen], seq=1))
    again = msgspec.structs.replace(told, revision=2)
    linker.step(update("a", 1.2, [again], [seen], seq=2))
    assert linker._pieces[a(1)].t_last_ns == at(1.2)


def side_by_side() -> Linker:
    """Tracks 1 and 2 beside each other from 0 to 1 s."""
    rng, linker = np.random.default_rng(0), Linker()
    tracks = [Followed("a", 1, 0, 300), Followed("a", 2, 0, 700)]
    for n in range(6):
        told = [one.seen(n / 5, who, rng) for one, who in zip(tracks, (P, Q), strict=True)]
        linker.step(update("a", n / 5, [t for t, _ in told], [h for _, h in told], seq=n))
    return linker


def test_boxes_that_were_carried_are_not_taken_back():
    """The detector rests for half a second, and 1 is gone when it looks again: it was told as seen at the last look."""
    linker = side_by_side()
    told = [msgspec.structs.replace(linker._pieces[a(n)].tracklet, revision=9) for n in (1, 2)]
    carried = update("a", 1.4, [], [(1, person_box(300)), (2, person_box(700))], seq=6)
    tracks = msgspec.structs.replace(carried.tracks, detections=np.full(2, CARRIED, np.int32))
    linker.step(msgspec.structs.replace(carried, tracks=tracks))
    linker.step(update("a", 1.6, [told[0]], [(2, person_box(700))], seq=7))
    assert linker._company.are_two([a(1), a(2)])[0, 1] and linker._pieces[a(1)].t_last_ns == at(1.4)


def test_what_comes_late_takes_nothing_back():
    linker = side_by_side()
    told = msgspec.structs.replace(linker._pieces[a(1)].tracklet, t_last_ns=at(0), revision=1)
    for one in (told, msgspec.structs.replace(told, revision=9)):
        linker.step(update("a", 0.1, [one], [(2, person_box(700))], seq=9))
        assert linker._company.are_two([a(1), a(2)])[0, 1] and linker._pieces[a(1)].t_last_ns == at(1)


def test_a_tracklet_is_cut_again_before_where_it_was_cut():
    """The camera's track goes on as its last part, and parts never overlap."""
    linker = Linker()
    heard(hopping(), linker)
    last = linker._parts.of(a(1))
    first = linker._pieces[a(1)]
    earlier = msgspec.structs.replace(a(1), since_ns=first.glimpses[len(first.glimpses) // 2].t_ns + 1)
    parts = first.cut(earlier)
    assert parts is not None
    linker._cut(*parts, at(END_S))
    assert linker._parts.of(a(1)) == last and linker._pieces[earlier].tracklet.ended
    spans = [(p.tracklet.t_first_ns, p.t_last_ns) for p in (linker._pieces[k] for k in (a(1), earlier, last))]
    assert all(begin <= end for begin, end in spans)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))


def test_rows_of_another_length_say_nothing():
    linker = Linker()
    messages = list(hopping())
    heard(messages[:-2], linker)
    wide = tracklet("a", 9, END_S, END_S, np.ones(90, np.float32) / 90)
    heard([update("a", END_S, [wide], [(9, person_box(100))], seq=50), *messages[-2:]], linker)
    piece = linker._pieces[a(3)]
    piece.glimpses = [
        piece.glimpses[0]._replace(pictures=Pictures(2, np.ones(90, np.float32))),
        *piece.glimpses,
    ]
    found = places(piece, linker.appearance)
    assert found is None or found.left.shape[1] == len(look(P))


def test_what_a_first_part_holds_stays_with_it():
    held, piece = Piece(tracklet("a", 8, 0, 1, look(P))), Piece(tracklet("a", 9, 2, 3, look(P), pictures=3))
    piece.hold(held, look(P), 12.0)
    piece.update(tracklet("a", 9, 2, 9, look(P), pictures=9, revision=2))
    parts = piece.cut(msgspec.structs.replace(piece.key, since_ns=at(4)))
    assert parts is not None
    assert [(p.held_pictures, len(p.holds), p.pictures) for p in parts] == [(12, 1, 15), (0, 0, 6)]


def test_where_a_part_stood_is_known_only_if_it_was_seen_about_then():
    piece = Piece(tracklet("a", 9, 0, 0, look(P), pictures=1))
    for n in range(101):
        t_s = n / 10
        xy = np.array([t_s, 0.0], np.float32)
        piece.see(at(t_s), person_box(10 * n), xy, 0.1)
        if n % 20 == 0:
            piece.update(tracklet("a", 9, 0, t_s, look(P), pictures=1 + n, revision=1 + n))
    first, rest = piece.cut(msgspec.structs.replace(piece.key, since_ns=at(5))) or (None, None)
    assert first is not None and rest is not None
    assert first.place is None and rest.first_place is None  # of the middle nothing was noted
    assert first.first_place == (0.0, 0.0) and rest.place == (10.0, 0.0)


def test_what_a_tracklet_looks_like_does_not_speak_for_itself():
    linker = side_by_side()
    columns = linker._table.at(linker._recent(at(1)), linker.appearance)
    looks, known = _People(columns).without(0, columns)
    assert not looks[0].any() and known.tolist() == [0, columns.pictures[1]]
    assert np.allclose(looks[1], columns.looks[1])
