"""Tracklets of all cameras -> identities: what is said when, and laws that hold over random scenes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import cache

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from scenes.appearance import KNOWN_SITE
from tests.scenes import (
    SIZE,
    Visit,
    at,
    camera_updates,
    in_time_order,
    look,
    nobody,
    of_kind,
    person_box,
    random_visits,
    tracklet,
    update,
)
from tracker.config import LinkSettings
from tracker.core import linker as linker_module
from tracker.core import revision as revision_module
from tracker.core import work
from tracker.core.ledger import Ledger
from tracker.core.linker import Linker
from tracker.core.newcomers import Newcomers
from tracker.core.order import TimeOrder
from tracker.types import (
    TENTATIVE,
    Advance,
    Appeared,
    CameraBack,
    CameraLost,
    CameraStatus,
    CameraUpdate,
    Checkpoint,
    Command,
    Event,
    HandedOver,
    Left,
    LinkerInput,
    Merged,
    Split,
    TrackKey,
    Tracklet,
    Updated,
    global_id_of,
)


def key(camera: str, number: int, run: int = 0) -> TrackKey:
    return TrackKey(camera_id=camera, run=run, number=number)


class Heard:
    """A linker, a subscriber's ledger beside it, and all events. After every message the two must agree."""

    def __init__(self, linker: Linker | None = None, **settings: float) -> None:
        self.linker = linker or Linker(LinkSettings(**settings))
        self.ledger = Ledger()
        self.events: list[Event] = []

    def __call__(self, *messages: LinkerInput) -> list[Event]:
        new: list[Event] = []
        for message in messages:
            told = self.linker.step(message)
            for event in told:
                self.ledger.follow(event)
            new += told
            for person in self.linker.view().identities:
                assert person.unsure == self.ledger.is_unsure(person.global_id)
                assert not (person.unsure and person.here)
                for k in person.tracks:
                    assert self.linker.identity_of(k) == self.ledger.identity_of(k) == person.global_id
        self.events += new
        return new

    def see(
        self,
        camera: str,
        number: int,
        first_s: float,
        last_s: float,
        row: NDArray | None = None,
        *,
        x: float = 300.0,
        revision: int = 1,
        **more: object,
    ) -> list[Event]:
        """One person alone in one camera, told at 5 frames a second; the tracklet comes first and last."""
        new = []
        times = np.arange(first_s, last_s + 1e-9, 0.2)
        for n, t in enumerate(times):
            pieces = []
            if n in (0, len(times) - 1):
                r = revision + (n > 0)
                pieces = [tracklet(camera, number, first_s, float(t), row, revision=r, **more)]  # type: ignore[arg-type]
            new += self(update(camera, float(t), pieces, [(number, person_box(x))]))
        return new

    def pass_time(self, t_s: float, camera: str = "clock") -> list[Event]:
        """A camera that sees nobody says that it is ``t_s``."""
        return self(update(camera, t_s))

    def identity(self, camera: str, number: int, run: int = 0) -> int | None:
        return self.linker.identity_of(key(camera, number, run))


# ---- coming, going over, leaving -----------------------------------------------------------------------------


def test_somebody_appears():
    heard = Heard()
    [event] = of_kind(heard.see("a", 1, 10, 11, look(0)), Appeared)
    assert event.global_id == global_id_of(0, 1) == 1
    assert (event.track, event.t_ns, event.seq, event.epoch) == (key("a", 1), at(10), 0, 0)
    assert (event.sighting.camera_id, event.sighting.t_ns) == ("a", at(10))
    assert event.sighting.box == (0, 200, 80, 400)


def test_somebody_goes_over_to_another_camera():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    new = heard.see("b", 1, 8, 10, look(0, 0.2))
    [event] = of_kind(new, HandedOver)
    assert (event.global_id, event.from_camera, event.to_camera) == (1, "a", "b")
    assert event.gap_s == pytest.approx(3.0)  # from the last sighting at 5 s to the first at 8 s
    assert event.evidence is not None and event.evidence.probability > 0.9
    assert event.evidence.distance == pytest.approx(1 - np.cos(0.2), abs=0.01)
    assert set(event.evidence.cues) == {"appearance", "time", "place"}
    assert of_kind(heard.events, Appeared)[1:] == []


def test_the_runner_up_is_told():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    heard.see("c", 1, 0, 5, look(1))
    [event] = of_kind(heard.see("b", 1, 8, 10, look(0)), HandedOver)
    assert event.evidence is not None and event.evidence.runner_up == 2
    assert event.evidence.runner_up_probability is not None
    assert event.evidence.runner_up_probability < 0.5 < event.evidence.probability


def test_somebody_who_looks_different_is_somebody_new():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    [event] = of_kind(heard.see("b", 1, 8, 10, look(1)), Appeared)
    assert event.global_id == 2


def test_two_who_come_at_once_are_given_out_together():
    """Hungarian, not first come: both look like the first, one of them more so."""
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    pieces = [tracklet("b", 1, 8, 8, look(0, 0.8)), tracklet("b", 2, 8, 8, look(0))]
    new = heard(update("b", 8, pieces, [(1, person_box(300)), (2, person_box(600))]))
    assert [e.track.number for e in of_kind(new, HandedOver)] == [2]
    assert [e.track.number for e in of_kind(new, Appeared)] == [1]


@pytest.mark.parametrize(("gap_s", "same"), [(90, True), (400, True), (900, True), (1100, False)])
def test_who_was_away_for_long_is_recognised_by_looks_until_nobody_may_remember(gap_s, same):
    """Whoever had been away for longer than the longest walk used to come back as somebody new."""
    heard = Heard(max_gap_s=60, revise_s=300, remember_s=1000)
    heard.see("a", 1, 0, 5, look(0))
    heard.see("a", 2, 6, 9, look(1), x=700)
    for t_s in np.arange(20, gap_s, 20):
        heard.pass_time(t_s)
    heard.see("b", 1, 5 + gap_s, 9 + gap_s, look(0, 0.2))
    assert (heard.identity("b", 1) == 1) is same
    [(_, evidence)] = [
        (e.kept, e.evidence) for e in of_kind(heard.events, Merged) if same and gap_s > 300
    ] or [(1, None)]
    if evidence is not None:
        assert evidence.probability > 0.95 and evidence.gap_s == pytest.approx(gap_s)


def test_what_was_seen_since_somebody_was_recalled_is_remembered_with_them():
    """A tracklet that was looked at no more while an earlier one, recalled since, still was used to be dropped: of
    somebody seen for minutes only the first glimpse was remembered."""
    heard = Heard(max_gap_s=20, revise_s=20)
    heard.see("a", 1, 0, 5, look(0), pictures=5)
    for t_s in np.arange(7, 100, 2.0):
        heard.pass_time(float(t_s))
    heard(update("b", 100, [tracklet("b", 1, 100, 100)], [(1, person_box(300))]))  # not embedded yet
    seen = tracklet("b", 1, 100, 100.4, look(0), pictures=12, revision=2)
    heard(update("b", 100.4, [seen], [(1, person_box(300))]))
    for t_s in np.arange(102, 200, 2.0):
        heard.pass_time(float(t_s))
    assert [e.kept for e in of_kind(heard.events, Merged)] == [1]
    assert heard.linker._memory.looks([1])[1].tolist() == [17.0]


def test_whoever_looks_like_two_who_are_remembered_is_neither():
    heard = Heard()
    both = [(1, person_box(300)), (2, person_box(700))]
    for t_s in np.arange(0, 5, 0.2):  # seen side by side: two people, who look the same
        pieces = [tracklet("a", n, 0, t_s, look(0), revision=1 + int(5 * t_s)) for n in (1, 2)]
        heard(update("a", float(t_s), pieces, both))
    for t_s in np.arange(20, 1000, 20):
        heard.pass_time(t_s)
    heard.see("b", 1, 1000, 1004, look(0))
    assert heard.identity("b", 1) == 3


@pytest.mark.parametrize(("found", "same"), [(Newcomers(known=190.0), True), (Newcomers(new=190.0), False)])
def test_whether_those_who_come_are_mostly_new_counts_at_once_and_when_looked_at_again(found, same):
    """Looks that would do where hardly anybody is new (odds of 0.1) do not where nearly all are (odds of 53)."""
    heard = Heard()
    heard.see("a", 1, 0, 3, look(0))
    heard.linker._newcomers = found
    heard.see("b", 2, 30, 30.4, look(0, 0.6))
    assert (heard.identity("b", 2) == 1) is same
    heard.see("b", 2, 30.6, 34, look(0, 0.6), revision=5)
    heard.pass_time(40)
    assert (heard.identity("b", 2) == 1) is same


def test_updated_comes_once_a_second_for_each_identity():
    heard = Heard()
    heard.see("a", 1, 0, 10, look(0))
    times = [e.t_ns / 1e9 for e in of_kind(heard.events, Updated)]
    assert 9 <= len(times) <= 11
    assert min(np.diff(times)) >= 1.0
    last = of_kind(heard.events, Updated)[-1]
    assert last.global_id == 1 and last.tracks == (key("a", 1),)
    assert last.sightings[0].box == tuple(person_box(300).tolist()) and last.sightings[0].t_ns == last.t_ns


def test_who_is_unseen_for_a_while_has_left_and_may_come_back():
    heard = Heard()
    heard.see("a", 1, 0, 4, look(0))
    assert of_kind(heard.pass_time(8.5), Left) == []
    [event] = of_kind(heard.pass_time(9.6), Left)  # leave_s = 5 after 4.0, looked at once a second
    assert (event.global_id, event.last.t_ns, event.last.camera_id) == (1, at(4), "a")
    assert of_kind(heard.pass_time(20), Left) == []  # said once
    assert not heard.linker.view().identities[0].here
    new = heard.see("b", 1, 21, 22, look(0))
    assert [e.global_id for e in of_kind(new, HandedOver)] == [1]
    assert heard.linker.view().identities[0].here


def test_time_alone_makes_people_leave():
    heard = Heard()
    heard.see("a", 1, 0, 4, look(0))
    assert [e.global_id for e in of_kind(heard(Advance(t_ns=at(9.1))), Left)] == [1]


def test_the_end_of_a_recording_makes_everybody_leave():
    heard = Heard()
    heard.see("a", 1, 0, 4, look(0))
    heard.see("b", 1, 0, 4, look(1))
    assert sorted(e.global_id for e in of_kind(heard(Advance(t_ns=at(4), final=True)), Left)) == [1, 2]
    assert heard(Advance(t_ns=at(4), final=True)) == []


def test_a_camera_that_sees_nobody_causes_nothing():
    assert Heard()(*(update("a", n / 10) for n in range(50))) == []


# ---- who is unsure -------------------------------------------------------------------------------------------


def twins(heard: Heard, until_s: float = 5) -> None:
    """Side by side, so that they are two, who look the same."""
    for t_s in np.arange(0, until_s, 0.2):
        pieces = [tracklet("a", n, 0, t_s, look(0), revision=1 + int(5 * t_s)) for n in (1, 2)]
        heard(update("a", float(t_s), pieces, [(1, person_box(300)), (2, person_box(700))]))


def left(events: Sequence[Event]) -> dict[int, bool]:
    """Who left, and whether it is unsure that they were somebody else; of who left twice, the last word."""
    return {e.global_id: e.unsure for e in of_kind(events, Left)}


def unsure(heard: Heard) -> set[int]:
    """Who is, as the linker shows it; `Heard` sees to it that its events tell the same."""
    shown = {p.global_id for p in heard.linker.view().identities if p.unsure}
    assert shown == {
        p.global_id for p in heard.linker.view().identities if heard.ledger.is_unsure(p.global_id)
    }
    return shown


def test_who_is_like_nobody_known_better_is_surely_somebody_else():
    heard = Heard()
    twins(heard)
    heard.see("b", 1, 8, 12, look(1))
    heard.pass_time(30)
    assert left(heard.events) == {1: False, 2: False, 3: False} and unsure(heard) == set()


def test_who_may_be_one_of_two_is_unsure_until_there_is_more_to_tell():
    heard = Heard()
    twins(heard)
    heard.pass_time(100)
    heard.see("b", 1, 1000, 1001, look(0), pictures=4)
    assert heard.identity("b", 1) == 3 and unsure(heard) == set()  # not as long as they are here
    assert left(heard.pass_time(1030)) == {3: True} and unsure(heard) == {3}
    heard.see("b", 2, 1040, 1041, look(0), pictures=4)  # again
    assert heard.identity("b", 2) == 3 and unsure(heard) == set()
    assert left(heard.pass_time(1060)) == {3: True} and unsure(heard) == {3}
    heard(Command(t_ns=at(1061), verb="merge", global_ids=(2, 3)))
    assert unsure(heard) == set() and heard.identity("b", 1) == 2


def test_whom_an_operator_knows_is_not_unsure():
    heard = Heard()
    twins(heard)
    heard.see("b", 1, 1000, 1001, look(0))
    heard(Command(t_ns=at(1002), verb="name", global_ids=(3,), name="Ann"))
    assert left(heard.pass_time(1030))[3] is False


@pytest.mark.parametrize(("rate", "is_unsure"), [(0.1, True), (0.3, False)])
def test_how_sure_it_is_is_told_and_how_sure_is_sure_is_the_setting(rate, is_unsure):
    heard = Heard(false_merge_rate=rate)
    twins(heard)
    first = tracklet("b", 1, 100, 100, look(0, 0.9), pictures=3)
    heard(update("b", 100, [first], [(1, person_box(300))]))
    heard.linker._visits = Newcomers(new=4.0, known=6.0)  # a share of 0.4 of them are new
    heard.pass_time(140)
    event = of_kind(heard.events, Left)[-1]
    known = [heard.linker._asked(heard.linker._people[g]) for g in (1, 2, 3)]
    one, other = (
        float(np.exp(heard.linker.appearance.llr(k.looks @ known[2].looks, np.array(3.0), np.array(12.0))))
        for k in known[:2]
    )
    new = 0.4 / (0.4 + 0.6 / 2 * (one + other))  # known are 2, each as likely beforehand as the other
    assert event.evidence is not None and event.global_id == 3
    assert event.evidence.probability == pytest.approx(new, abs=0.01)
    assert event.evidence.runner_up in (1, 2)
    assert event.evidence.runner_up_probability == pytest.approx((1 - new) / 2, abs=0.01)
    assert event.unsure is is_unsure


def test_in_the_end_it_is_told_again_who_is_unsure():
    """Whoever was like nobody when they left may be like two who came later."""
    heard = Heard()
    first = tracklet("b", 1, 0, 0, look(0, 0.9), pictures=3)
    heard(update("b", 0, [first], [(1, person_box(300))]))
    assert left(heard.pass_time(20)) == {1: False}
    for t_s in np.arange(1000, 1005, 0.2):
        pieces = [tracklet("a", n, 1000, t_s, look(0), revision=1 + int(5 * t_s)) for n in (1, 2)]
        heard(update("a", float(t_s), pieces, [(1, person_box(300)), (2, person_box(700))]))
    assert unsure(heard) == set()
    new = heard(Advance(t_ns=at(1005), final=True))
    assert left(new).pop(1) is True and set(left(new).values()) == {True, False} and unsure(heard) == {1}
    assert heard(Advance(t_ns=at(1005), final=True)) == []
    other = Linker()
    other.restore(heard.linker.checkpoint())
    assert other.view() == heard.linker.view()  # also of who is remembered only
    assert other.step(Advance(t_ns=at(1005), final=True)) == []


def test_an_end_told_twice_changes_nothing():
    """What the first told is learned from: the second used to weigh some of them anew with that."""
    for angle in (1.2, 1.3, 1.35):
        heard = Heard(leave_s=500)
        for n in range(9):
            heard.see("a", n, 10.0 * n, 10.0 * n + 5, look(n), x=300 + 30 * n)
        heard(
            update("b", 100, [tracklet("b", 1, 100, 100, look(0, angle), pictures=3)], [(1, person_box(300))])
        )
        heard(Advance(t_ns=at(101), final=True))
        assert heard(Advance(t_ns=at(101), final=True)) == []


def test_nothing_is_said_of_those_without_looks_and_nobody_is_them():
    heard = Heard()
    twins(heard)
    heard.see("b", 1, 20, 25)  # never embedded, though others are
    heard.see("c", 1, 60, 65, look(5), pictures=2)
    heard.pass_time(100)
    events = {e.global_id: e for e in of_kind(heard.events, Left)}
    assert events[3].evidence is None and not events[3].unsure
    assert events[4].evidence is not None and events[4].evidence.probability > 0.99
    heard.pass_time(1000)
    assert left(heard(Advance(t_ns=at(1001), final=True))) == {}


def test_an_operators_word_makes_sure_and_it_is_told():
    heard = Heard()
    twins(heard)
    heard.see("b", 1, 1000, 1001, look(0), pictures=4)
    heard.pass_time(1030)
    assert unsure(heard) == {3}
    [event] = heard(Command(t_ns=at(1031), verb="name", global_ids=(3,), name="Ann"))
    assert left([event]) == {3: False} and unsure(heard) == set()
    heard(Command(t_ns=at(1032), verb="name", global_ids=(3,), name=""))
    for t_s in np.arange(1040, 2000, 20):
        heard.pass_time(float(t_s))
    assert left(heard(Advance(t_ns=at(2000), final=True))) == {}  # still: they are known, if by no name


@pytest.mark.parametrize("were", [(True, True), (True, False), (False, True)])
def test_who_is_one_with_somebody_sure_is_sure(were):
    heard = Heard()
    twins(heard)
    heard.see("b", 1, 1000, 1001, look(0), pictures=4)
    heard.pass_time(1030)
    people, pair = heard.linker._people, (1, 3)
    for g, is_unsure in zip(pair, were, strict=True):
        people[g].unsure = is_unsure
        heard.ledger.follow(Left(t_ns=at(1030), global_id=g, last=people[g].last, unsure=is_unsure))
    keys = tuple(people[3].keys)
    heard.ledger.follow(heard.linker._move(3, 1, keys, None, at(1031)))
    assert people[1].unsure is heard.ledger.is_unsure(1) is all(were)
    assert people[1].has_left and 3 not in people


def test_of_many_who_leave_at_once_only_some_are_weighed_in_a_step(monkeypatch):
    heard = Heard()
    crowd = range(1, 10)
    boxes = [(n, person_box(60 * n)) for n in crowd]
    for t_s in np.arange(0, 3, 0.2):
        heard(
            update(
                "a",
                float(t_s),
                [tracklet("a", n, 0, t_s, look(n), revision=1 + int(5 * t_s)) for n in crowd],
                boxes,
            )
        )
    asked = []
    why_new = heard.linker._why_new
    monkeypatch.setattr(heard.linker, "_why_new", lambda people: asked.append(len(people)) or why_new(people))
    for t_s in np.arange(3, 15, 0.2):
        heard.pass_time(float(t_s))
    assert sorted(left(heard.events)) == list(crowd)
    assert max(asked) == linker_module.MOST_LEAVE < sum(asked) == len(crowd)


@pytest.mark.parametrize("at_once", [30_000, 100_000])
def test_whoever_is_only_remembered_has_left(monkeypatch, at_once):
    """People passed `leave_s` between two steps of tidying: they were let go while here, and never left."""
    monkeypatch.setattr(work, "WORK_AT_ONCE", at_once)
    monkeypatch.setattr(work, "WORK_PER_S", 1)
    monkeypatch.setattr(linker_module, "MOST_PIECES", 3)
    for module in (linker_module, revision_module):
        monkeypatch.setattr(module, "SETTLED_S", 1.0)
    heard = Heard(leave_s=2.0)
    for n in range(200):
        t_s, come = n / 5, [4 * n + m for m in range(1, 5)] if n % 10 < 5 else []
        boxes = [(m, person_box(200 * place)) for place, m in enumerate(come)]
        heard(update("a", t_s, [tracklet("a", m, t_s, t_s, None) for m in come], boxes))
    linker, again = heard.linker, Linker(LinkSettings(leave_s=2.0))
    remembered = [linker._people[g] for g in linker._memory.ids().tolist()]
    assert len(remembered) > 100 and not any(person.here for person in remembered)
    again.restore(linker.checkpoint())
    assert again.view().identities == linker.view().identities


def test_a_checkpoint_with_unknown_work_is_damaged():
    checkpoint = Heard().linker.checkpoint()
    state = msgspec.msgpack.decode(checkpoint.state)
    state["work"][-1] = ["tidy", "sing"]
    with pytest.raises(ValueError, match="damaged: nobody knows how to sing"):
        Linker().restore(msgspec.structs.replace(checkpoint, state=msgspec.msgpack.encode(state)))


def test_who_is_unsure_outlives_a_restart():
    heard = Heard()
    twins(heard)
    heard.see("b", 1, 1000, 1001, look(0))
    heard.pass_time(1030)
    other = Linker()
    other.restore(heard.linker.checkpoint())
    assert other.checkpoint() == heard.linker.checkpoint()
    assert {p.global_id for p in other.view().identities if p.unsure} == {3}


def test_without_looks_nobody_is_unsure():
    heard = Heard()
    heard.see("a", 1, 0, 5, model_hash="")
    heard.see("b", 1, 100, 105, model_hash="")
    assert left(heard.pass_time(150)) == {2: False}


def test_of_those_who_left_it_is_counted_who_had_not_been_here_before():
    heard = Heard()
    for n in range(4):
        heard.see("a", n, 100 * n, 100 * n + 5, look(0))
        heard.pass_time(100 * n + 20)
    visits = heard.linker._visits
    assert heard.identity("a", 3) == 1 and (visits.new, visits.known) == (1.0, 3.0)


# ---- in the end ----------------------------------------------------------------------------------------------


def seen_beside(heard: Heard, one: TrackKey, other: TrackKey) -> None:
    """As if something that two tracklets hold had been seen at once by one camera."""
    company = heard.linker._company
    i, j = (company.row_of(k) for k in (one, other))
    company._two[i, j] = company._two[j, i] = True


@pytest.mark.parametrize(("cameras", "one"), [(("a", "b"), True), (("a", "a"), False)])
def test_what_was_beside_is_a_proof_of_themselves_and_a_doubt_of_what_they_hold(cameras, one):
    """Two tracklets that look the same, and would be one, used to be kept apart to the end of a recording by what one
    of them held, which was somebody else."""
    heard = Heard()
    names = [key(cameras[0], 1), key(cameras[1], 2)]
    for n, k in enumerate(names):
        heard.see(k.camera_id, k.number, 10.0 * n, 10.0 * n + 5, None if n else look(0))
    seen_beside(heard, *names)
    for k in names:
        heard.linker._pieces[k].look_like(look(0), 360.0)
        heard.linker._table.put(heard.linker._company.row_of(k), heard.linker._pieces[k])
    if cameras[0] == cameras[1]:
        piece = heard.linker._pieces[names[0]]
        heard.linker._table._times_ns[heard.linker._company.row_of(names[0]), 1] = piece.t_last_ns = at(12)
    heard(Advance(t_ns=at(20), final=True))
    assert (heard.linker.identity_of(names[0]) == heard.linker.identity_of(names[1])) is one


def test_who_was_at_once_in_one_camera_stays_two_in_the_end_however_long_ago():
    """Tracklets too old to be looked at again used not to be asked."""
    heard = Heard(max_gap_s=2000, revise_s=60)
    twins(heard)
    for k in (key("a", 1), key("a", 2)):
        heard.linker._pieces[k].look_like(look(0), 360.0)
        heard.linker._table.put(heard.linker._company.row_of(k), heard.linker._pieces[k])
    heard.pass_time(500)
    heard(Advance(t_ns=at(501), final=True))
    assert heard.identity("a", 1) != heard.identity("a", 2)


# ---- corrections ---------------------------------------------------------------------------------------------


def test_who_was_parted_is_merged_when_the_looks_are_known():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    heard(update("b", 50, [tracklet("b", 1, 50, 50)], [(1, person_box(300))]))  # not embedded yet
    assert heard.identity("b", 1) == 2
    new = heard(update("b", 52, [tracklet("b", 1, 50, 52, look(0), revision=2)], [(1, person_box(300))]))
    [event] = of_kind(new, Merged)
    assert (event.kept, event.absorbed, event.tracks) == (1, 2, (key("b", 1),))
    assert event.evidence is not None and event.evidence.probability > 0.5
    assert heard.identity("b", 1) == 1
    assert [p.global_id for p in heard.linker.view().identities] == [1]


def test_the_end_of_a_recording_is_a_last_look_at_everything():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    heard(update("b", 50, [tracklet("b", 1, 50, 50)], [(1, person_box(300))]))
    # The looks come 0.3 s later, before the next look round is due.
    assert of_kind(heard(update("b", 50.3, [tracklet("b", 1, 50, 50.3, look(0), revision=2)])), Merged) == []
    assert len(of_kind(heard(Advance(t_ns=at(50.3), final=True)), Merged)) == 1


def test_who_was_wrongly_joined_is_split_when_the_looks_are_better_known():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    heard.see("b", 1, 8, 8.4, look(0, 0.2))
    assert heard.identity("b", 1) == 1
    later = tracklet("b", 1, 8, 11, look(1), revision=9)
    [event] = of_kind(heard(update("b", 11, [later], [(1, person_box(300))])), Split)
    assert (event.global_id, event.to, event.tracks) == (1, 2, (key("b", 1),))
    assert (heard.identity("a", 1), heard.identity("b", 1)) == (1, 2)


def both(heard: Heard, boxes: Sequence[NDArray], rows: Sequence[NDArray | None], seconds: float = 5) -> None:
    """Two tracks of one camera in the same frames."""
    for n, t in enumerate(np.arange(0, seconds, 0.2)):
        pieces = [tracklet("a", k + 1, 0, float(t), rows[k], revision=n + 1) for k in range(2)]
        heard(update("a", float(t), pieces, [(k + 1, boxes[k]) for k in range(2)]))


def test_people_seen_at_once_by_one_camera_are_never_one():
    heard = Heard()
    both(heard, [person_box(200), person_box(600)], [look(0), look(0)])  # twins
    assert heard.identity("a", 1) != heard.identity("a", 2)


def test_two_boxes_on_one_body_may_be_one_person():
    """One box nearly inside the other in every frame: a body and its upper half."""
    heard = Heard()
    both(heard, [person_box(300), np.array([265, 205, 335, 300])], [look(0), look(0)])
    heard(Advance(t_ns=at(5), final=True))
    assert heard.identity("a", 1) == heard.identity("a", 2)


def test_somebody_seen_at_once_by_two_cameras_is_one_where_they_stand_on_one_spot():
    for apart_m, one in ((0.1, True), (6.0, False)):
        heard = Heard()
        for n, t in enumerate(np.arange(0, 6, 0.2)):
            for camera, offset in (("a", 0.0), ("b", apart_m)):
                piece = tracklet(camera, 1, 0, float(t), None, revision=n + 1)
                place = (2 + 0.5 * float(t) + offset, 3.0)
                heard(update(camera, float(t), [piece], [(1, person_box(300))], floor=[place]))
        heard(Advance(t_ns=at(6), final=True))
        assert (heard.identity("a", 1) == heard.identity("b", 1)) is one


def test_where_a_tentative_track_stood_counts_once_it_is_confirmed():
    """A track of one picture, ended before it was confirmed, used to be nowhere and was nobody's."""
    heard = Heard()
    for n, t in enumerate((0.0, 0.5, 1.0)):
        whole = tracklet("a", 1, 0, t, None, revision=n + 1)
        heard(update("a", t, [whole], [(1, person_box(300))], floor=[(2.0, 3.0)]))
        seen = update("b", t, [], [(7 + n, person_box(500))], floor=[(2.05, 3.0)])
        tentative = msgspec.structs.replace(seen.tracks, states=np.array([TENTATIVE], np.int8))
        ended = [] if not n else [tracklet("b", 6 + n, t - 0.5, t - 0.5, None)]
        heard(msgspec.structs.replace(seen, tracks=tentative, tracklets=tuple(ended)))
    heard(Advance(t_ns=at(2), final=True))
    assert heard.identity("b", 7) == heard.identity("b", 8) == heard.identity("a", 1) is not None
    assert heard.linker.identity_of(TrackKey(camera_id="b", run=0, number=9)) is None  # never confirmed


def test_only_what_two_cameras_saw_at_the_same_instant_is_compared():
    """In a at both ends of the time, in b between, 20 m away: a walk there and back, not two people at once."""
    heard = Heard()
    times = [("a", t, 0.0) for t in (*np.arange(0, 2, 0.2), *np.arange(20, 22, 0.2))]
    times += [("b", t, 20.0) for t in np.arange(10, 12, 0.2)]
    for n, (camera, t, x_m) in enumerate(sorted(times, key=lambda c: c[1])):
        piece = tracklet(camera, 1, 0 if camera == "a" else 10, float(t), look(0), revision=n + 1)
        heard(update(camera, float(t), [piece], [(1, person_box(300))], floor=[(x_m, 0.0)]))
    heard(Advance(t_ns=at(22), final=True))
    assert heard.identity("a", 1) == heard.identity("b", 1)


def test_nobody_walks_faster_than_people_do():
    """The same looks 6 m further on: after 1 s that is nobody's walk, after 10 s it may be."""
    for gap_s, one in ((1.0, False), (10.0, True)):
        heard = Heard()
        for camera, start, x_m in (("a", 0.0, 0.0), ("b", 2.0 + gap_s, 6.0)):
            for n, t in enumerate(np.arange(start, start + 2.1, 0.2)):
                piece = tracklet(camera, 1, start, float(t), look(0), revision=n + 1)
                heard(update(camera, float(t), [piece], [(1, person_box(300))], floor=[(x_m, 0.0)]))
        heard(Advance(t_ns=at(100), final=True))
        assert (heard.identity("a", 1) == heard.identity("b", 1)) is one


# ---- lost, late and repeated messages ------------------------------------------------------------------------


def known(linker: Linker) -> bytes:
    """All that a linker knows, but for how many steps it has taken."""
    return msgspec.msgpack.encode(msgspec.msgpack.decode(linker.checkpoint().state) | {"work": None})


def test_an_old_revision_that_comes_late_says_nothing_new():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    before = known(heard.linker)
    assert heard(update("a", 5, [tracklet("a", 1, 0, 0.2, look(1), revision=1)])) == []
    assert known(heard.linker) == before


def test_a_tracklet_that_was_missed_is_healed_by_its_next_revision():
    heard = Heard()
    heard(update("a", 1, (), [(1, person_box(300))]))  # the tracklet's first revision was lost
    assert heard.identity("a", 1) is None and heard.events == []
    heard(update("a", 3, [tracklet("a", 1, 0.5, 3, look(0), revision=2)], [(1, person_box(300))]))
    assert heard.identity("a", 1) == 1
    assert of_kind(heard.events, Appeared)[0].sighting.t_ns == at(0.5)


@cache
def scene(
    seed: int, cameras: tuple[str, ...] = ("a", "b"), clear: bool = False
) -> tuple[list[Visit], dict[str, list[CameraUpdate]]]:
    """People go to and fro; an embedder errs about who they are, unless their looks are ``clear``."""
    rng = np.random.default_rng(seed)
    visits = random_visits(rng, people=4, cameras=cameras)
    return visits, camera_updates(visits, rng, noise=None if clear else KNOWN_SITE)


def closed(messages: Iterable[CameraUpdate]) -> list[LinkerInput]:
    """The messages of a whole recording, with its end."""
    whole = list(messages)
    return [*whole, Advance(t_ns=whole[-1].t_ns, final=True)]


SEEDS = range(6)
encode = msgspec.json.Encoder().encode


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_that_come_twice_change_nobodys_identity(seed):
    messages = closed(in_time_order(scene(seed)[1]))
    once, twice = Heard(), Heard()
    once(*messages)
    twice(*(m for m in messages for _ in range(2)))
    assert once.ledger.tracks() == twice.ledger.tracks()


# ---- laws over random scenes ---------------------------------------------------------------------------------


def people_of(visits: Sequence[Visit], updates: dict[str, list[CameraUpdate]]) -> dict[TrackKey, int]:
    """Who each tracklet really is: the visit whose feet line its last box stands on."""
    out = {}
    for stream in updates.values():
        for t in (t for u in stream for t in u.tracklets if t.ended):
            near = [
                v
                for v in visits
                if v.camera == t.key.camera_id and v.start_s - 0.5 <= t.t_last_ns / 1e9 <= v.stop_s + 0.5
            ]
            out[t.key] = min(near, key=lambda v: abs(v.foot_y - float(t.last_box[3]))).person
    return out


def last_of(updates: dict[str, list[CameraUpdate]]) -> dict[TrackKey, Tracklet]:
    return {t.key: t for stream in updates.values() for u in stream for t in u.tracklets}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_subscriber_who_follows_the_events_knows_what_the_linker_knows(seed):
    """``Heard`` compares after every message; at the end nobody is missing."""
    _, streams = scene(seed)
    heard = Heard()
    heard(*closed(in_time_order(streams)))
    assert sorted(heard.ledger.tracks()) == sorted(last_of(streams))
    assert of_kind(heard.events, HandedOver)


@pytest.mark.parametrize("seed", SEEDS)
def test_laws_of_the_events(seed):
    _, streams = scene(seed)
    heard = Heard()
    heard(*closed(in_time_order(streams)))
    born: list[int] = []
    gone: set[int] = set()
    updated: dict[int, int] = {}
    for event in heard.events:
        ids = [
            getattr(event, name) for name in ("global_id", "kept", "to", "absorbed") if hasattr(event, name)
        ]
        assert not gone & set(ids)  # who was absorbed is never spoken of again
        match event:
            case Appeared():
                born.append(event.global_id)
            case Split() if event.to not in born:
                born.append(event.to)
            case Merged():
                gone.add(event.absorbed)
            case Updated():
                assert event.t_ns - updated.get(event.global_id, -at(9)) >= at(1)
                updated[event.global_id] = event.t_ns
        assert set(ids) <= set(born)  # nobody is spoken of before they came
    assert born == sorted(set(born)) and born[0] == 1  # numbered as they come, each once
    assert [e.t_ns for e in heard.events] == sorted(e.t_ns for e in heard.events)


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_is_two_people_where_looks_are_clear(seed):
    visits, streams = scene(seed, clear=True)
    heard = Heard(return_log_odds=0.0)  # these people go to and fro between two views all the time
    heard(*closed(in_time_order(streams)))
    truth = people_of(visits, streams)
    owners: dict[int, set[int]] = {}
    for k, g in heard.ledger.tracks().items():
        owners.setdefault(g, set()).add(truth[k])
    assert all(len(people) == 1 for people in owners.values())
    assert len(owners) <= len({v.person for v in visits}) + 2  # and hardly anybody is cut


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_is_seen_at_once_by_one_camera_is_two_people(seed):
    """With looks that say nothing: everybody looks the same."""
    rng = np.random.default_rng(100 + seed)
    visits = random_visits(rng, people=4, cameras=("a", "b"))
    streams = camera_updates([Visit(0, v.camera, v.start_s, v.speed_px_s, v.foot_y) for v in visits], rng)
    heard = Heard()
    heard(*closed(in_time_order(streams)))
    pairs = 0
    for p, q in itertools.combinations(last_of(streams).values(), 2):
        shared_s = (min(p.t_last_ns, q.t_last_ns) - max(p.t_first_ns, q.t_first_ns)) / 1e9
        if p.key.camera_id == q.key.camera_id and shared_s > 1.0:
            pairs += 1
            assert heard.ledger.identity_of(p.key) != heard.ledger.identity_of(q.key)
    assert pairs


def told(messages: Iterable[LinkerInput], linker: Linker | None = None) -> bytes:
    linker = linker or Linker()
    return encode([linker.step(m) for m in messages])


def test_the_same_messages_give_the_same_events():
    messages = closed(in_time_order(scene(1)[1]))
    assert told(messages) == told(messages)


def test_two_linkers_in_one_process_share_nothing():
    one, other = (closed(in_time_order(scene(seed)[1])) for seed in (1, 2))
    a, b = Linker(), Linker()
    events: list[list[list[Event]]] = [[], []]
    for m, n in itertools.zip_longest(one, other):
        for linker, message, out in ((a, m, events[0]), (b, n, events[1])):
            if message is not None:
                out.append(linker.step(message))
    assert encode(events[0]) == told(one) and encode(events[1]) == told(other)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_arrival_gives_the_same_events(seed):
    """Cameras' messages arrive interleaved anyhow; TimeOrder gives them to the linker by capture time."""
    _, streams = scene(seed, ("a", "b", "c"))
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(3):
        waiting = {c: list(stream) for c, stream in streams.items()}
        order, linker, events = TimeOrder(patience_s=1e6, cameras=list(streams)), Linker(), []
        while waiting:
            camera = str(rng.choice(sorted(waiting)))
            for _ in range(min(int(rng.integers(1, 30)), len(waiting[camera]))):
                for released in order.put(waiting[camera].pop(0)):
                    events += linker.step(released.message)
            if not waiting[camera]:
                del waiting[camera]
        for released in order.flush():
            events += linker.step(released.message)
        assert order.late == 0
        results.append(encode(events))
    assert results[0] == results[1] == results[2]
    assert results[0] == encode([e for per in map(Linker().step, in_time_order(streams)) for e in per])


# ---- going on after a stop -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restored_linker_goes_on_byte_for_byte(seed):
    messages = closed(in_time_order(scene(seed)[1]))
    for share in (0.2, 0.5, 0.9):
        cut = int(len(messages) * share)
        whole = Linker()
        told(messages[:cut], whole)
        again = Linker()
        again.restore(whole.checkpoint())
        assert again.checkpoint() == whole.checkpoint()
        assert again.view() == whole.view()
        assert told(messages[cut:], again) == told(messages[cut:], whole)


def test_a_linker_may_stop_at_any_message():
    messages = closed(in_time_order(scene(0)[1]))
    whole = Linker()
    for start in range(0, len(messages), 12):
        again = Linker()
        again.restore(whole.checkpoint())
        part = messages[start : start + 12]
        assert told(part, again) == told(part, whole)


@pytest.fixture
def hurried(monkeypatch):
    """A step may do so little that a revision takes dozens of them."""
    monkeypatch.setattr(work, "WORK_AT_ONCE", 300)
    monkeypatch.setattr(work, "WORK_PER_S", 1)


def test_a_revision_in_parts_is_told_later_and_goes_on_from_a_checkpoint_in_the_midst_of_it(hurried):
    messages = closed(in_time_order(scene(0)[1]))
    straight, stopped, under_way = Linker(), Linker(), 0
    said = [encode(straight.step(message)) for message in messages]
    for n, message in enumerate(messages):
        # Nothing hangs on when a checkpoint is made, nor on whether there is one.
        checkpoint = stopped.checkpoint()
        if n % 5 == 0:
            again = Linker()
            again.restore(checkpoint)
            under_way += stopped._revision is not None
            assert [encode(again.step(m)) for m in messages[n : n + 40]] == said[n : n + 40]
        assert encode(stopped.step(message)) == said[n]
    assert under_way > 10


def eventful(seed: int) -> list[LinkerInput]:
    """A tape with all that a linker hears: frames, late and repeated tracklets, operators, cameras that go, time."""
    frames = in_time_order(scene(seed)[1])
    messages: list[LinkerInput] = []
    for n, message in enumerate(frames):
        messages.append(message)
        t_s = message.t_ns / 1e9
        if n % 11 == 10:
            messages.append(Advance(t_ns=message.t_ns))
        if n % 60 == 59:  # long gone, and said again by a worker whose linker did not answer
            back = frames[n // 2]
            messages.append(msgspec.structs.replace(back, tracks=nobody(), seq=0))
        match n % 150:
            case 40:
                messages.append(command("merge", 1, 2 + n // 150, t_s=t_s))
            case 70:
                messages.append(command("name", 1, t_s=t_s, name=f"Ada {n}"))
            case 90:
                messages.append(command("split", 1, t_s=t_s, tracks=[key("a", 1)]))
            case 100 | 110 as state:
                state = "stalled" if state == 100 else "up"
                messages.append(CameraStatus(camera_id="b", run=0, t_ns=message.t_ns, state=state))
            case 130:
                messages.append(command("forget", 1 + n // 150, t_s=t_s))
    return closed(messages)  # type: ignore[arg-type]


@pytest.mark.parametrize(("most_s", "most_pieces"), [(1000, 400), (5, 400), (1000, 3)])
@pytest.mark.parametrize("seed", [0, 3])
def test_restored_at_any_instant_it_says_what_it_would_have_said(
    hurried, monkeypatch, seed, most_s, most_pieces
):
    """With less time or fewer pieces people are let go: joined to others for good, or only remembered."""
    monkeypatch.setattr(linker_module, "MOST_PIECES", most_pieces)
    monkeypatch.setattr(linker_module, "SETTLED_S", 1.0)
    monkeypatch.setattr(revision_module, "SETTLED_S", 1.0)
    settings = LinkSettings(max_gap_s=most_s, revise_s=most_s, leave_s=1.0)
    messages, straight, lives, under_way = eventful(seed), Linker(settings), Linker(settings), 0
    for message in messages:
        under_way += lives._revision is not None
        again = Linker(settings)
        again.restore(lives.checkpoint())
        lives = again
        assert encode(lives.step(message)) == encode(straight.step(message))
    assert lives.checkpoint() == straight.checkpoint()
    assert under_way > 50


def test_in_parts_people_are_who_they_are_all_at_once(monkeypatch):
    messages = closed(in_time_order(scene(1, clear=True)[1]))
    at_once, in_parts = Heard(), Heard()
    at_once(*messages)
    monkeypatch.setattr(work, "WORK_AT_ONCE", 300)
    monkeypatch.setattr(work, "WORK_PER_S", 1)
    in_parts(*messages)
    assert at_once.ledger.tracks() == in_parts.ledger.tracks()
    assert at_once.events != in_parts.events  # some are told later


def test_an_operators_word_is_not_overtaken_by_a_revision_under_way(hurried):
    heard = Heard()
    both(heard, [person_box(200), person_box(600)], [look(0), look(1)])
    heard.see("b", 1, 8, 10, look(0))
    assert heard.linker._revision is not None
    heard(Command(t_ns=at(10.1), verb="split", global_ids=(1,), track_keys=(key("b", 1),)))
    assert heard.linker._revision is None  # it knew nothing of this, and is put aside
    parted = heard.identity("b", 1)
    heard(Advance(t_ns=at(12), final=True))
    assert heard.identity("b", 1) == parted != heard.identity("a", 1)


def test_whoever_is_to_be_forgotten_while_a_revision_is_under_way_is_forgotten(hurried):
    heard = Heard()
    heard.see("a", 1, 0, 6, look(0))
    heard.see("b", 1, 8, 10, look(0, 1.2))  # somebody new at first
    heard.see("b", 2, 10, 14, look(0))
    assert heard.linker._revision is not None
    ids = [identity.global_id for identity in heard.linker.view().identities]
    for global_id in ids:
        assert heard.linker.objection(Command(t_ns=at(14.1), verb="forget", global_ids=(global_id,))) == ""
    heard(Command(t_ns=at(14.1), verb="forget", global_ids=tuple(ids)))
    assert heard.linker.view().identities == ()
    looks_of = np.asarray(look(0), np.float32).tobytes()
    assert looks_of not in heard.linker.checkpoint().state
    assert heard.linker._shown == []  # nor in memory, in what the revision looked at


def test_a_revision_under_way_ends_and_people_are_forgotten_though_all_cameras_are_silent(hurried):
    heard = Heard(Linker(LinkSettings(remember_s=600, revise_s=60, max_gap_s=60)))
    heard.see("a", 1, 0, 6, look(0))
    heard.see("b", 1, 8, 10, look(0))
    assert heard.linker._revision is not None
    for t in range(11, 2000, 60):
        heard(Advance(t_ns=at(t)))
    assert heard.linker._revision is None
    assert heard.linker.view().identities == ()


def test_work_that_was_too_much_is_not_owed_for_ever(hurried):
    heard, owed = Heard(), []
    for n in range(60):  # somebody new in every step
        t = n / 5
        heard(update("a", t, [tracklet("a", n + 1, t, t, look(n % 30))], [(n + 1, person_box(300))]))
        if n and heard.linker._t_revised_ns == at(t):
            owed.append(
                -heard.linker._pace.to_state()[0] / (n + 1) ** 2
            )  # in operations on each pair of tracklets
    # Of the beginning of a revision (5 operations) or one part of it (20), and no more.
    assert len(owed) > 10 and max(owed) < 20


def test_a_restored_linker_knows_which_cameras_see_the_same_place():
    heard = Heard()
    for n, t in enumerate(np.arange(0, 6, 0.2)):  # four in a and four others in b, all at once
        for camera, first in (("a", 0), ("b", 4)):
            pieces = [tracklet(camera, k + 1, 0, float(t), look(first + k), revision=n + 1) for k in range(4)]
            heard(update(camera, float(t), pieces, [(k + 1, person_box(150 + 200 * k)) for k in range(4)]))
    again = Linker()
    again.restore(heard.linker.checkpoint())
    late = update("b", 6, [tracklet("b", 9, 5, 6, look(0))], [(9, person_box(900))])
    [event] = of_kind(heard(late), HandedOver)
    assert event.evidence is not None and event.evidence.cues["place"] < -0.1  # never the same person so far
    assert of_kind(again.step(late), HandedOver) == [event]


def test_a_restored_linker_keeps_what_operators_said():
    heard = Heard()
    both(heard, [person_box(200), person_box(600)], [look(0), look(1)])
    heard(Command(t_ns=at(5), verb="name", global_ids=(1,), name="Ada"))
    heard.see("b", 1, 8, 10, look(0))
    heard(Command(t_ns=at(10), verb="split", global_ids=(1,), track_keys=(key("b", 1),)))
    again = Heard(Linker())
    again.linker.restore(heard.linker.checkpoint())
    assert again.linker.view().identities[0].name == "Ada"
    parted = again.identity("b", 1)
    again.linker.step(Advance(t_ns=at(12), final=True))
    assert again.identity("b", 1) == parted != again.identity("a", 1)


def test_no_identity_is_used_twice():
    heard = Heard()
    heard.see("a", 1, 0, 2, look(0))
    heard.see("a", 2, 3, 5, look(1))
    heard(Command(t_ns=at(5), verb="forget", global_ids=(2,)))
    again = Linker()
    again.restore(heard.linker.checkpoint())
    for linker in (heard.linker, again):
        [event] = of_kind(linker.step(update("b", 6, [tracklet("b", 1, 6, 6, look(5))])), Appeared)
        assert event.global_id == 3
    fresh = Linker(site=2)
    fresh.start_after(global_id_of(2, 70))
    fresh.start_after(global_id_of(2, 20))  # never back
    fresh.start_after(global_id_of(1, 900))  # of another site
    [event] = of_kind(fresh.step(update("b", 6, [tracklet("b", 1, 6, 6, look(5))])), Appeared)
    assert event.global_id == global_id_of(2, 71)


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x80", b"\x91\x01"])
def test_a_damaged_checkpoint_is_refused(state):
    with pytest.raises(ValueError, match="checkpoint is damaged"):
        Linker().restore(
            Checkpoint(schema_version=linker_module.STATE_VERSION, t_ns=0, model_hash="", state=state)
        )


def test_a_checkpoint_of_another_version_is_refused():
    theirs = msgspec.structs.replace(Linker().checkpoint(), schema_version=99)
    with pytest.raises(ValueError, match="version 99"):
        Linker().restore(theirs)


# ---- operators -----------------------------------------------------------------------------------------------


def three() -> Heard:
    """Identities 1, 2 and 3 in cameras a, b and c, who look different."""
    heard = Heard()
    for n, camera in enumerate("abc"):
        heard.see(camera, 1, 3 * n, 3 * n + 2, look(n))
    assert [heard.identity(c, 1) for c in "abc"] == [1, 2, 3]
    return heard


def revised(heard: Heard, t_s: float = 20) -> Heard:
    heard(Advance(t_ns=at(t_s), final=True))
    return heard


def test_an_operator_merges():
    heard = three()
    events = heard(Command(t_ns=at(9), verb="merge", global_ids=(2, 1, 3)))
    assert [(e.kept, e.absorbed) for e in of_kind(events, Merged)] == [(2, 1), (2, 3)]
    # However different they look, they stay one.
    assert [revised(heard).identity(c, 1) for c in "abc"] == [2, 2, 2]


def test_merging_somebody_twice_or_with_themselves_is_merging_once():
    """The second mention used to stop the linker, and oneself was told as a split from oneself."""
    heard = three()
    assert len(of_kind(heard(Command(t_ns=at(9), verb="merge", global_ids=(1, 2, 2))), Merged)) == 1
    assert heard(Command(t_ns=at(9), verb="merge", global_ids=(1, 1))) == []
    assert heard(Command(t_ns=at(9), verb="merge", global_ids=(1, 2))) == []  # 2 is gone already
    assert [heard.identity(c, 1) for c in "abc"] == [1, 1, 3]


def test_an_operator_splits():
    heard = Heard()
    heard.see("a", 1, 0, 2, look(0))
    heard.see("b", 1, 4, 6, look(0))
    assert heard.identity("b", 1) == 1
    [event] = heard(Command(t_ns=at(7), verb="split", global_ids=(1,), track_keys=(key("b", 1),)))
    assert isinstance(event, Split) and (event.global_id, event.to, event.tracks) == (1, 2, (key("b", 1),))
    # However alike they look, they stay two.
    assert (revised(heard).identity("a", 1), heard.identity("b", 1)) == (1, 2)


def test_who_was_parted_stays_parted_when_one_of_them_is_merged_with_another():
    """Being parted was tied to the number alone, which a merge takes away."""
    heard = Heard()
    heard.see("a", 1, 0, 2, look(0))
    heard.see("b", 1, 4, 6, look(0))
    heard(update("c", 100, [tracklet("c", 1, 100, 100)], [(1, person_box(300))]))
    heard(Command(t_ns=at(100), verb="split", global_ids=(1,), track_keys=(key("b", 1),)))
    assert [heard.identity(c, 1) for c in "abc"] == [1, 3, 2]
    heard(Command(t_ns=at(101), verb="merge", global_ids=(2, 1)))
    assert [revised(heard, 102).identity(c, 1) for c in "abc"] == [2, 3, 2]


def test_who_was_parted_stays_parted_when_the_new_one_is_merged_with_another():
    heard = Heard()
    heard.see("a", 1, 0, 2, look(0))
    heard.see("b", 1, 4, 6, look(0))
    heard(update("c", 100, [tracklet("c", 1, 100, 100)], [(1, person_box(300))]))
    heard(Command(t_ns=at(100), verb="split", global_ids=(1,), track_keys=(key("b", 1),)))
    heard(Command(t_ns=at(101), verb="merge", global_ids=(2, 3)))
    assert [revised(heard, 102).identity(c, 1) for c in "abc"] == [1, 2, 2]


def test_who_was_joined_stays_joined_when_looks_join_them_with_a_third():
    heard = Heard()
    heard.see("a", 1, 0, 2, look(0))
    heard.see("b", 1, 4, 6, look(1), pictures=1)
    heard(Command(t_ns=at(6), verb="merge", global_ids=(1, 2)))
    heard(update("c", 50, [tracklet("c", 1, 50, 50)], [(1, person_box(300))]))
    # The third was seen longest, so the first goes over to its number.
    heard(update("c", 90, [tracklet("c", 1, 50, 90, look(0), revision=2)], [(1, person_box(300))]))
    assert [heard.identity(c, 1) for c in "abc"] == [3, 3, 3]
    assert [revised(heard, 92).identity(c, 1) for c in "abc"] == [3, 3, 3]


def test_splitting_off_nothing_or_everything_is_nothing():
    heard = three()
    for keys in ((), (key("a", 1),), (key("b", 1),), (key("x", 9),)):
        assert heard(Command(t_ns=at(9), verb="split", global_ids=(1,), track_keys=keys)) == []


def test_an_operator_names():
    heard = three()
    assert heard(Command(t_ns=at(9), verb="name", global_ids=(2,), name="Ada")) == []
    assert {p.global_id: p.name for p in heard.linker.view().identities} == {1: "", 2: "Ada", 3: ""}
    heard(Command(t_ns=at(9), verb="merge", global_ids=(1, 2)))
    assert heard.linker.view().identities[0].name == "Ada"  # the name goes along


def test_an_operator_has_somebody_forgotten():
    heard = three()
    assert b"b" in heard.linker.checkpoint().state
    heard(Command(t_ns=at(9), verb="forget", global_ids=(2,)))
    assert [p.global_id for p in heard.linker.view().identities] == [1, 3]
    assert heard.identity("b", 1) is None
    # Nothing of what they looked like is left.
    assert look(1).tobytes() not in heard.linker.checkpoint().state
    assert look(0).tobytes() in heard.linker.checkpoint().state


@pytest.mark.parametrize("verb", ["merge", "split", "name", "forget"])
def test_orders_about_nobody_known_are_passed_over(verb):
    heard = three()
    before = heard.linker.view()
    assert heard(Command(t_ns=at(9), verb=verb, global_ids=(77, 78), track_keys=(key("a", 1),))) == []
    assert heard(Command(t_ns=at(9), verb=verb)) == []
    assert heard.linker.view().identities == before.identities


def command(verb: str, *ids: int, t_s: float = 9, tracks: Sequence[TrackKey] = (), name: str = "") -> Command:
    return Command(t_ns=at(t_s), verb=verb, global_ids=ids, track_keys=tuple(tracks), name=name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        (command("merge", 1, 77), "no identity 77 is known now"),
        (command("split", 77, tracks=[key("a", 1)]), "no identity 77 is known now"),
        (command("name", 77, name="Ada"), "no identity 77 is known now"),
        (command("forget", 77), "no identity 77 is known now"),
        (command("merge", 1, 1), "to merge takes two identities"),
        (command("merge"), "to merge takes two identities"),
        (command("name", 1, 2, name="Ada"), "to name takes one identity"),
        (command("forget"), "to forget takes one identity"),
        (command("split", 1), "to split takes the tracklets that are somebody else"),
        (command("split", 1, tracks=[key("b", 1)]), "b/0/1: no tracklet of 1"),
        (command("split", 1, tracks=[key("a", 1)]), "nothing would be left of 1"),
        (command("name", 1, name="Ada\n2 Bob"), "a name is one line of at most 100 characters"),
        (command("name", 1, name="A" * 101), "a name is one line of at most 100 characters"),
    ],
)
def test_what_cannot_be_obeyed_is_objected_to_in_a_sentence_and_changes_nothing(order, sentence):
    heard = three()
    before = heard.linker.checkpoint().state
    assert heard.linker.objection(order) == sentence
    assert heard(order) == [] and heard.linker.checkpoint().state == before


def test_to_forget_those_who_are_known_is_possible():
    heard = three()
    assert heard.linker.objection(command("forget", 77, 2)) == ""
    heard(command("forget", 77, 2))
    assert [p.global_id for p in heard.linker.view().identities] == [1, 3]


def test_two_whom_one_camera_saw_at_once_cannot_be_merged():
    """It used to be said and undone within a second, without a word why."""
    heard = Heard()
    both(heard, [person_box(200), person_box(600)], [look(0), look(0)])
    heard.see("b", 1, 8, 10, look(5))
    one, two, other = heard.identity("a", 1), heard.identity("a", 2), heard.identity("b", 1)
    for order in (command("merge", one, two), command("merge", other, one, two)):
        # Seen from 0 s to 4.8 s, 25 frames 0.2 s apart.
        assert (
            heard.linker.objection(order)
            == f"{one} and {two} cannot be one: a saw a/0/1 and a/0/2 at once for 4.8 s"
        )
        assert heard(order) == []
    assert [heard.identity("a", 1), heard.identity("a", 2), heard.identity("b", 1)] == [one, two, other]
    # Whoever has been merged with one of them is the other no more than they are.
    heard(command("merge", other, one))
    assert "cannot be one: a saw" in heard.linker.objection(command("merge", other, two))


def test_two_boxes_on_one_body_may_be_merged():
    heard = Heard()
    both(heard, [person_box(300), np.array([265, 205, 335, 300])], [look(0), look(0)])
    heard(Advance(t_ns=at(5), final=True))
    one = heard.identity("a", 1)
    [event] = heard(command("split", one, tracks=[key("a", 2)]))
    assert revised(heard).identity("a", 2) == event.to
    assert len(heard(command("merge", one, event.to, t_s=21))) == 1
    assert revised(heard, 22).identity("a", 2) == one


def test_a_merge_of_two_who_are_seen_at_once_later_is_undone_in_the_open():
    """Nobody could know when it was said. That nobody is beside himself holds above all."""
    heard = Heard()
    heard(update("a", 0, [tracklet("a", n, 0, 0, look(n)) for n in (1, 2)]))
    heard(command("merge", 1, 2, t_s=0.1))
    assert heard.identity("a", 1) == heard.identity("a", 2) == 1
    both(heard, [person_box(200), person_box(600)], [look(1), look(2)])
    assert heard.identity("a", 1) != heard.identity("a", 2)
    [event] = of_kind(heard.events, Split)
    assert event.global_id == 1


Partition = dict[frozenset[TrackKey], tuple[object, ...]]


def partition(linker: Linker) -> Partition:
    """Who is one person, with names and sightings, whatever their numbers are."""
    return {frozenset(p.tracks): (p.name, p.first, p.last, p.seen) for p in linker.view().identities}


@pytest.mark.parametrize("seed", (1, 4, 5, 6, 7))  # in others everybody has met everybody
def test_a_merge_and_a_split_of_the_same_tracks_restore_what_was(seed):
    """Who is one person, names and sightings; and neither is undone by any later look at everything."""
    messages = closed(in_time_order(scene(seed)[1]))
    cut = len(messages) // 2
    heard = Heard()
    heard(*messages[:cut])
    people = [p.global_id for p in heard.linker.view().identities]
    for g in people:
        heard(command("name", g, name=f"somebody {g}"))
    tried = 0
    for p, q in itertools.permutations(people, 2):
        if heard.linker.objection(command("merge", p, q)):
            continue
        [leaving] = [one.tracks for one in heard.linker.view().identities if one.global_id == q]
        again = Heard()
        again.linker.restore(heard.linker.checkpoint())
        for k, g in heard.ledger.tracks().items():
            again.ledger._given[k] = g
        before = partition(again.linker)
        assert len(again(command("merge", p, q))) == 1
        assert len(again.linker.view().identities) == len(before) - 1
        again(command("split", p, tracks=leaving))
        assert partition(again.linker) == before
        staying = next(k for k, g in heard.ledger.tracks().items() if g == p)
        again(*messages[cut:])
        assert again.linker.identity_of(leaving[0]) != again.linker.identity_of(staying)
        tried += 1
    assert tried


@pytest.mark.parametrize("seed", (1, 2, 4))
def test_what_operators_said_holds_to_the_end(seed):
    """Through revisions, further words and restarts: pairs that were joined are one, pairs that were parted are two."""
    messages = closed(in_time_order(scene(seed, tuple("abcde"))[1]))
    rng = np.random.default_rng(seed)
    heard = Heard()
    one: set[tuple[TrackKey, TrackKey]] = set()
    two: set[tuple[TrackKey, TrackKey]] = set()
    for n, message in enumerate(messages):
        heard(message)
        # Of those only who have been away for 4 s: no later frame can show that they are two.
        gone = [p for p in heard.linker.view().identities if message.t_ns - p.last.t_ns > at(4)]
        if n % 5 or not gone:
            continue
        p, q = (gone[int(i)] for i in rng.integers(len(gone), size=2))
        if len(p.tracks) > 1 and rng.random() < 0.5:
            leaving = p.tracks[: int(rng.integers(1, len(p.tracks)))]
            assert len(heard(command("split", p.global_id, tracks=leaving))) == 1
            pairs = {tuple(sorted((a, b))) for a in leaving for b in p.tracks[len(leaving) :]}
            one, two = one - pairs, two | pairs
        elif heard(command("merge", p.global_id, q.global_id)):
            one |= {tuple(sorted((a, b))) for a in p.tracks for b in q.tracks}
            two -= set(itertools.combinations(sorted((*p.tracks, *q.tracks)), 2))
        again = Linker()
        again.restore(heard.linker.checkpoint())
        heard.linker = again
    assert one and two
    where = heard.linker.identity_of
    assert [pair for pair in one if where(pair[0]) != where(pair[1])] == []
    assert [pair for pair in two if where(pair[0]) == where(pair[1])] == []


def test_what_operators_said_outlives_the_tracklets_of_which_it_was_said():
    """People are known on by newer tracklets; the word was lost with the last of the old ones."""
    told = []
    for word in (command("split", 1, t_s=8, tracks=[key("b", 1)]), command("name", 1, t_s=8, name="Ada")):
        heard = Heard(max_gap_s=20, revise_s=20, return_log_odds=5)
        for n in range(30):
            # Alike enough to be taken for one (1 - cos 0.4 = 0.08), each in a view of their own, one after the other.
            heard.see("ab"[n % 2], 1 + n // 2, 5 * n, 5 * n + 3, look(0, 0.4 * (n % 2)), x=40)
            if n == 1:
                assert heard.identity("a", 1) == heard.identity("b", 1) == 1
                heard(word)
        assert heard.identity("a", 1) is heard.identity("b", 1) is None
        told.append([(p.name, [k.camera_id for k in p.tracks]) for p in heard.linker.view().identities])
    # Of the 20 s before the last revision, at 147 s, are the visits that ended at 128, 133, 138, 143 and 148 s.
    assert told == [[("", ["a", "a"]), ("", ["b", "b", "b"])], [("Ada", ["a", "a", "b", "b", "b"])]]


def test_who_was_joined_stays_joined_when_the_first_tracklets_are_forgotten():
    heard = Heard(max_gap_s=20, revise_s=20, return_log_odds=5)
    for n, camera in enumerate("ab"):  # they look different
        heard.see(camera, 1, 0, 4, look(n), x=40)
    heard(command("merge", 1, 2, t_s=4))
    for n in range(1, 20):
        for m, camera in enumerate("ab"):
            heard.see(camera, n + 1, 5 * n, 5 * n + 4, look(m), x=40)
    assert heard.identity("a", 1) is heard.identity("b", 1) is None
    [person] = revised(heard, 100).linker.view().identities
    assert person.global_id == 1
    assert [k.camera_id for k in person.tracks] == ["a"] * 5 + ["b"] * 5  # five visits of each in 20 s


def test_an_operators_commands_give_the_same_bytes_again_and_from_any_checkpoint():
    messages: list[LinkerInput] = []
    for n, message in enumerate(in_time_order(scene(2)[1])):
        messages.append(message)
        if n % 50 == 49:
            t_s = message.t_ns / 1e9
            messages.append(command("merge", 1, 2 + n // 50, t_s=t_s))
            messages.append(command("name", 1, t_s=t_s, name=f"Ada {n}"))
            messages.append(command("split", 1, t_s=t_s, tracks=[key("a", 1)]))
            messages.append(command("forget", n // 50, t_s=t_s))
    messages = closed(messages)  # type: ignore[arg-type]
    whole = told(messages)
    assert whole == told(messages) != told([m for m in messages if not isinstance(m, Command)])
    straight = Linker()
    for start in range(0, len(messages), 20):
        again = Linker()
        again.restore(straight.checkpoint())
        assert told(messages[start : start + 20], again) == told(messages[start : start + 20], straight)


def test_names_survive_merges_and_come_back_with_a_split():
    heard = three()
    heard(command("name", 1, name="Ada"), command("name", 2, name="Bob"))
    heard(command("merge", 3, 2), command("merge", 1, 3))  # 3 took Bob's name; who stays keeps their own
    assert [p.name for p in heard.linker.view().identities] == ["Ada"]
    [event] = heard(command("split", 1, tracks=[key("b", 1)]))
    assert {p.global_id: p.name for p in heard.linker.view().identities} == {1: "Ada", event.to: "Bob"}


def test_a_name_follows_its_tracklet_when_the_linker_corrects_itself():
    """It used to stay with the number, whoever that was afterwards."""
    heard = Heard()
    heard.see("b", 1, 8, 8.4, look(0, 0.2))
    heard(command("name", 1, t_s=8.4, name="Bob"))
    heard(update("a", 9, [tracklet("a", 1, 0, 5, look(0))]))  # comes late
    assert heard.identity("a", 1) == 1
    later = tracklet("b", 1, 8, 11, look(1), revision=9)
    [event] = of_kind(heard(update("b", 11, [later], [(1, person_box(300))])), Split)
    names = {p.global_id: p.name for p in heard.linker.view().identities}
    assert names[heard.identity("b", 1)] == "Bob" and sorted(names.values()) == ["", "Bob"]
    assert event.global_id == 1


def test_a_view_says_when_each_tracklet_was_seen():
    heard = Heard()
    heard.see("a", 1, 0, 2, look(0))
    heard.see("b", 1, 4, 6, look(0))
    [person] = heard.linker.view().identities
    assert person.tracks == (key("a", 1), key("b", 1)) and person.seen == ((at(0), at(2)), (at(4), at(6)))


def test_nothing_of_who_is_forgotten_is_left_in_what_operators_said():
    heard = three()
    heard(command("name", 2, name="Bob"), command("merge", 1, 2))
    heard(command("split", 1, tracks=[key("b", 1)]))
    [bob] = [p.global_id for p in heard.linker.view().identities if p.name == "Bob"]
    assert b"Bob" in heard.linker.checkpoint().state
    heard(command("forget", bob))
    assert b"Bob" not in heard.linker.checkpoint().state
    assert msgspec.msgpack.decode(heard.linker.checkpoint().state)["rulings"] == {
        "joined": [],
        "parted": [],
        "named": [],
    }


# ---- cameras -------------------------------------------------------------------------------------------------


def status(camera: str, t_s: float, state: str, reason: str = "") -> CameraStatus:
    return CameraStatus(camera_id=camera, run=0, t_ns=at(t_s), state=state, reason=reason)  # type: ignore[arg-type]


def test_a_camera_is_lost_once_and_back_once():
    heard = Heard()
    assert heard(status("a", 0, "up"), update("a", 1)) == []
    [lost] = heard(status("a", 5, "stalled", "no frame for 5 s"), status("a", 6, "gone"))
    assert isinstance(lost, CameraLost) and (lost.camera_id, lost.reason) == ("a", "no frame for 5 s")
    [back] = heard(status("a", 9, "up"), update("a", 10))
    assert isinstance(back, CameraBack) and (back.camera_id, back.t_ns) == ("a", at(9))


def test_a_camera_that_sends_again_is_back_without_saying_so():
    heard = Heard()
    heard(status("a", 5, "gone"))
    assert [type(e) for e in heard(update("a", 6), update("a", 7))] == [CameraBack]


def test_the_end_of_a_recording_is_no_loss():
    assert Heard()(update("a", 1), status("a", 2, "ended")) == []


# ---- memory --------------------------------------------------------------------------------------------------


def long_day(people: int = 6, visits: int = 4) -> list[LinkerInput]:
    """Six who look different come one after the other, each again after 600 s, in one of three cameras."""
    messages: list[LinkerInput] = []
    for visit, n in itertools.product(range(visits), range(people)):
        start, camera = 600 * visit + 20 * n, "abc"[(n + visit) % 3]
        number = visit * people + n
        for step in range(25):
            t_s = start + step / 5
            pieces = [tracklet(camera, number, start, t_s, look(n, 0.1 * visit), revision=step + 1)]
            messages.append(update(camera, t_s, pieces, [(number, person_box(300))]))
        messages += [update("clock", start + 6 + more) for more in range(1, 12)]
    messages += [update("clock", 600 * visits + 20 * n) for n in range(30)]
    return sorted(messages, key=lambda m: (m.t_ns, m.camera_id if isinstance(m, CameraUpdate) else ""))


def test_six_who_come_again_and_again_are_six():
    heard = Heard()
    heard(*long_day())
    assert len(heard.linker.view().identities) == 6
    assert len(set(heard.ledger.tracks().values())) == 6
    for n in range(6):
        assert len({heard.ledger.identity_of(key("abc"[(n + v) % 3], 6 * v + n)) for v in range(4)}) == 1
    # All are out of sight at the end: no tracklet, one look each.
    assert all(p.tracks == () and not p.here for p in heard.linker.view().identities)


@pytest.mark.parametrize("cut", [0.2, 0.4, 0.6, 0.9])
def test_who_is_remembered_outlives_a_restart_with_the_same_bytes(cut):
    messages = long_day()
    cut_at = int(cut * len(messages))
    whole, first, second = Linker(), Linker(), Linker()
    before = [e for m in messages[:cut_at] for e in whole.step(m)]
    assert [e for m in messages[:cut_at] for e in first.step(m)] == before
    second.restore(first.checkpoint())
    assert second.checkpoint() == first.checkpoint()
    assert encode([whole.step(m) for m in messages[cut_at:]]) == encode(
        [second.step(m) for m in messages[cut_at:]]
    )
    assert second.checkpoint() == whole.checkpoint()


def test_a_remembered_person_keeps_a_name_and_can_be_merged_and_forgotten():
    heard = Heard()
    heard(*long_day(visits=1))
    one, other = [p.global_id for p in heard.linker.view().identities][:2]
    heard(command("name", one, name="Ada", t_s=700))
    [event] = heard(command("merge", one, other, t_s=701))
    assert isinstance(event, Merged) and (event.kept, event.absorbed) == (one, other)
    assert [p.name for p in heard.linker.view().identities if p.global_id == one] == ["Ada"]
    for n in range(40):
        heard.pass_time(720 + 20 * n)
    assert [p.name for p in heard.linker.view().identities if p.global_id == one] == ["Ada"]
    heard(command("forget", one, t_s=1600))
    assert one not in [p.global_id for p in heard.linker.view().identities]
    assert b"Ada" not in heard.linker.checkpoint().state


def test_two_who_were_seen_at_once_cannot_be_merged_hours_later():
    heard = Heard()
    both = [(1, person_box(300)), (2, person_box(700))]
    for t_s in np.arange(0, 5, 0.2):
        pieces = [tracklet("a", n, 0, t_s, look(n), revision=1 + int(5 * t_s)) for n in (1, 2)]
        heard(update("a", float(t_s), pieces, both))
    for n in range(40):
        heard.pass_time(20 + 20 * n)
    assert all(p.tracks == () for p in heard.linker.view().identities)
    assert "cannot be one" in heard.linker.objection(command("merge", 1, 2, t_s=900))
    assert heard(command("merge", 1, 2, t_s=900)) == []


def test_whom_an_operator_parted_is_not_taken_for_the_other_when_they_come_back():
    heard = Heard(return_log_odds=5)
    heard.see("a", 1, 0, 4, look(0))
    heard.see("b", 1, 8, 12, look(0))
    assert heard.identity("a", 1) == heard.identity("b", 1) == 1
    heard(command("split", 1, t_s=13, tracks=[key("b", 1)]))
    other = heard.identity("b", 1)
    assert other == 2
    for n in range(40):
        heard.pass_time(20 + 20 * n)
    heard.see("a", 9, 1000, 1004, look(0))
    heard.see("a", 9, 1004, 1006, look(0), revision=5)
    found = heard.identity("a", 9)  # one or the other, or nobody is sure; but never both in one
    assert {p.global_id for p in heard.linker.view().identities} >= {1, 2} and found is not None


def test_memory_is_bounded_by_count_and_the_longest_unseen_go_first():
    heard = Heard(max_identities=10)
    sizes = []
    for n in range(60):
        heard.see("a", n + 1, 2 * n, 2 * n + 1, look(n % 16), x=300 + 5 * (n % 3))
        sizes.append(len(heard.linker.checkpoint().state))
    known = [p.global_id for p in heard.linker.view().identities]
    assert len(known) <= 11  # one may come before the next look round
    assert max(sizes[30:]) < 1.3 * max(sizes[:15])
    assert known == sorted(known) and known[-1] == max(e.global_id for e in of_kind(heard.events, Appeared))


def test_memory_is_bounded_by_age():
    heard = Heard(max_gap_s=20, revise_s=20, remember_s=60)
    for n in range(10):
        heard.see("a", n + 1, n, n + 0.8, look(n))
    full = len(heard.linker.checkpoint().state)
    heard.pass_time(40)
    assert [p.tracks for p in heard.linker.view().identities] == [()] * 10  # one look of each is left
    assert len(heard.linker.checkpoint().state) < full
    heard.pass_time(80)
    assert heard.linker.view().identities == ()
    assert len(heard.linker.checkpoint().state) < full / 8  # what cameras add to looks is kept
    # What the subscriber was told stays told.
    assert heard.ledger.identity_of(key("a", 1)) == 1


def test_memory_of_somebody_who_stays_is_bounded_too():
    heard = Heard(max_gap_s=20, revise_s=20, return_log_odds=5)
    sizes = []
    for n in range(40):
        heard.see("a", n + 1, 4 * n, 4 * n + 2, look(0))
        sizes.append(len(heard.linker.checkpoint().state))
    assert len(heard.linker.view().identities) == 1
    assert len(heard.linker.view().identities[0].tracks) <= 8  # of the last 20 s, not all 40
    assert max(sizes[20:]) < 1.3 * max(sizes[:10])


def test_time_alone_makes_the_linker_forget():
    """Cameras that all went silent used to leave their people in memory for good."""
    heard = Heard(max_gap_s=20, revise_s=20, remember_s=40)
    heard.see("a", 1, 0, 1, look(0))
    for t_s in (20, 22, 40):
        heard(Advance(t_ns=at(t_s)))
        assert len(heard.linker.view().identities) == 1
    heard(Advance(t_ns=at(42)))
    assert heard.linker.view().identities == ()


def test_nothing_is_kept_of_who_is_forgotten_while_still_in_view():
    """Two tracks seen side by side after both were forgotten used to be counted for good."""
    heard = Heard()
    both = [(1, person_box(300)), (2, person_box(600))]
    heard(update("a", 10, [tracklet("a", n, 10, 10, look(n)) for n in (1, 2)], both))
    heard(Command(t_ns=at(10.1), verb="forget", global_ids=(1, 2)))
    before = len(heard.linker.checkpoint().state)
    heard(update("a", 10.2, (), both))
    assert len(heard.linker.checkpoint().state) <= before


def test_a_crowd_is_looked_at_again_in_bounded_time(monkeypatch):
    """Every tracklet of five minutes used to be looked at, which takes the cube of their number."""
    looked_at = []

    def counting(plain):
        def counted(columns, *more, **options):
            looked_at.append([p.key for p in columns.pieces])
            return plain(columns, *more, **options)

        return counted

    monkeypatch.setattr(linker_module, "score_pieces", counting(linker_module.score_pieces))
    monkeypatch.setattr(revision_module, "scoring", counting(revision_module.scoring))
    linker = Linker(LinkSettings(revise_every_s=1000))
    monkeypatch.setattr(linker_module, "MOST_PIECES", 80)
    crowd = 120
    for n in range(crowd):
        linker.step(update("abcdef"[n % 6], 10 + n / 10, [tracklet("abcdef"[n % 6], n, n / 10, 9 + n / 10)]))
        if n == 50:  # few are all looked at
            assert len(looked_at[-1]) == n + 1
    assert max(map(len, looked_at)) <= linker_module.MOST_PIECES + 1
    looked_at.clear()
    linker.step(Advance(t_ns=at(30), final=True))
    [keys] = looked_at
    assert sorted(k.number for k in keys) == list(range(crowd - linker_module.MOST_PIECES, crowd))


# ---- another embedder ----------------------------------------------------------------------------------------


def test_looks_of_another_network_are_not_compared():
    for later, same in (("m", True), ("other", False)):
        heard = Heard()
        heard.see("a", 1, 0, 5, look(0), model_hash="m")
        heard.see("b", 1, 50, 52, look(0), model_hash=later)
        assert (heard.identity("b", 1) == 1) is same
        assert heard.linker.model_hash == later
        assert heard.linker.checkpoint().model_hash == later


def test_rows_of_another_length_stop_nobody():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0), model_hash="m")
    heard.see("b", 1, 7, 9, look(0, dim=64), model_hash="other")
    heard.see("c", 1, 10, 12, None, model_hash="")
    assert len(heard.ledger.tracks()) == 3


def test_boxes_and_looks_that_are_no_numbers_stop_nobody():
    heard = Heard()
    heard.see("a", 1, 0, 5, look(0))
    heard.see("b", 1, 6, 9, np.full(32, np.nan, np.float32))
    nowhere = np.full(4, np.nan, np.float32)
    heard(
        update("c", 9, [tracklet("c", 1, 9, 9, look(0), first_box=nowhere, last_box=nowhere)], [(1, nowhere)])
    )
    heard.pass_time(12)
    assert heard.identity("a", 1) == 1


def test_boxes_that_are_no_numbers_are_no_reason_to_know_nobody_later():
    """What one NaN said of who comes was kept: from then on whoever came back was somebody new."""
    heard = Heard()
    heard.see("a", 1, 0, 3, look(0))
    nowhere = np.full(4, np.nan, np.float32)
    heard(update("b", 6, [tracklet("b", 1, 6, 6, look(1), last_box=nowhere)], [(1, nowhere)]))
    heard.see("b", 2, 7, 9, look(1))  # who might go on from there, or be 1
    heard.see("a", 2, 12, 14, look(0))
    assert heard.identity("a", 2) == 1


def test_cameras_may_be_numbered_anew_by_a_restart(hurried):
    """Where cameras were heard of in another order than that of their names, a restored linker's revision had its parts
    in another order, and was told in another step."""
    names = {"a": "z", "b": "m"}
    messages: list[LinkerInput] = []
    for message in closed(in_time_order(scene(0)[1])):
        if isinstance(message, CameraUpdate):
            named = [
                msgspec.structs.replace(t, key=key(names[t.key.camera_id], t.key.number))
                for t in message.tracklets
            ]
            message = msgspec.structs.replace(
                message, camera_id=names[message.camera_id], tracklets=tuple(named)
            )
        messages.append(message)
    straight, lives = Linker(), Linker()
    for message in messages:
        again = Linker()
        again.restore(lives.checkpoint())
        lives = again
        assert encode(lives.step(message)) == encode(straight.step(message))
        assert lives._pace.to_state() == straight._pace.to_state()
    assert straight.site_model.ways


def test_pictures_are_of_one_size_here():  # of the helper the tests lean on
    assert tracklet("a", 1, 0, 1).image_size == SIZE
