"""The benchmark of the linker at scale: its tapes, its judge and its past are what they say."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.chart import draw
from benchmarks.filmed import Filmed
from benchmarks.link_scale import (
    Decision,
    Judge,
    accepted,
    accepting,
    cost_of,
    linked,
    looks_error,
    remembering,
    scored,
)
from benchmarks.link_tapes import Site, Taped, again, kept, past, taped
from scenes.traffic import Plan, Way, Zone, corners
from tests.scenes import look, tracklet, update
from tracker.config import LinkSettings
from tracker.types import (
    Advance,
    Appeared,
    CameraUpdate,
    Evidence,
    HandedOver,
    Merged,
    Sighting,
    Split,
    TrackKey,
)

SIGHTING = Sighting(camera_id="a", t_ns=0, box=(0, 0, 1, 1))


def key(number: int, camera: str = "a") -> TrackKey:
    return TrackKey(camera_id=camera, run=0, number=number)


def tiny_site(seconds: float = 20.0) -> Site:
    hall = Zone("hall", (0, 14), (0, 10))
    eyes = {f"c{n}": eye for n, eye in enumerate(corners(hall, 2))}
    return Site("tiny", Plan((hall,), (Way("hall", (0, 5)),), eyes), people=8, seconds=seconds)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Taped:
    return taped(tiny_site(), tmp_path_factory.mktemp("tapes"))


def judged(shown: dict[TrackKey, dict[int, int]], *events) -> Judge:
    tape = Taped(Path(), {}, {k: boxes_on(people) for k, people in shown.items()}, 5, 5.0)
    judge = Judge(tape)
    for event in events:
        judge.follow(event)
    return judge


def boxes_on(people: dict[int, int]) -> NDArray[np.int64]:
    """So many boxes on each person, one after the other."""
    return np.array(list(enumerate(p for p, count in people.items() for _ in range(count))), np.int64)


def came(number: int, identity: int) -> Appeared:
    return Appeared(t_ns=0, global_id=identity, track=key(number), sighting=SIGHTING)


def handed(number: int, identity: int, said: Evidence | None) -> HandedOver:
    return HandedOver(
        t_ns=0, global_id=identity, from_camera="a", to_camera="a", track=key(number), gap_s=1.0,
        sighting=SIGHTING, evidence=said,
    )  # fmt: skip


def test_decisions_are_held_against_whom_the_boxes_show():
    # 1 and 3 show person 7; 2 shows person 8, and 7 in a box that strayed.
    shown = {key(1): {7: 5}, key(2): {8: 5, 7: 1}, key(3): {7: 4}}
    said = Evidence(probability=0.7, runner_up=101, runner_up_probability=0.2)
    judge = judged(shown, came(1, 101), came(2, 102), handed(3, 102, said))
    assert judge.decisions == [Decision("handed over", 0.7, False), Decision("runner-up", 0.2, True)]
    # Put right: the third goes from 102, where only 2 stays, to 101.
    judge.follow(Split(t_ns=0, global_id=102, to=101, tracks=(key(3),), evidence=Evidence(probability=0.9)))
    assert judge.decisions[2:] == [Decision("split", 0.9, True)]
    assert judge.wrong_joins() == (1, 0)
    judge.follow(Merged(t_ns=0, kept=101, absorbed=102, tracks=(key(2),), evidence=Evidence(probability=0.6)))
    assert judge.decisions[3:] == [Decision("merged", 0.6, False)]
    assert judge.wrong_joins() == (2, 1)  # three tracklets in one identity: two joins, one of somebody else


def test_what_nobody_can_know_is_no_decision():
    judge = judged({key(1): {7: 5}}, came(1, 101), handed(2, 101, Evidence(probability=0.9)))
    assert judge.decisions == []  # nobody is under the boxes of 2
    judge = judged({key(1): {7: 5}}, came(1, 101), handed(1, 101, None))
    assert judge.decisions == []


def test_a_tape_is_made_once_for_one_recipe(tmp_path: Path):
    made = []

    def make() -> Filmed:
        made.append(1)
        one = update("a", 1.0, [tracklet("a", 1, 0.0, 1.0, look(0))])
        return Filmed({"a": [one]}, {}, {key(1): [(0, 7), (5, 7), (9, 8)]})

    for recipe in ("one", "one", "other"):
        tape = kept("x", recipe, 5.0, make, tmp_path)
    assert len(made) == 2
    assert tape.shown(key(1)) == {7: 2, 8: 1} and tape.shown(key(2)) == {} and tape.person(key(2)) is None
    later = msgspec.structs.replace(key(1), since_ns=5)
    assert (tape.shown(key(1), until_ns=5), tape.shown(later)) == ({7: 1}, {7: 1, 8: 1})
    for _ in range(2):  # it can be played as often as one likes
        assert [type(message) for message in tape] == [CameraUpdate, Advance]


def test_a_tape_tells_what_its_film_did(tiny: Taped):
    messages = list(tiny)
    assert [message.t_ns for message in messages] == sorted(message.t_ns for message in messages)
    told = {one.key for message in messages if isinstance(message, CameraUpdate) for one in message.tracklets}
    assert told and told <= set(tiny.boxes)
    people = {tiny.person(one) for one in told}
    assert people <= set(range(1, 9)) and len(people) > 3
    again = taped(tiny_site(), tiny.path.parent)
    assert {k: again.shown(k) for k in again.boxes} == {k: tiny.shown(k) for k in tiny.boxes}
    assert (again.truth["c0"].boxes == tiny.truth["c0"].boxes).all()


def test_a_perfect_linker_is_scored_perfect(tiny: Taped):
    class Knowing:
        def identity_at(self, key: TrackKey, t_ns: int) -> int | None:
            return tiny.person(key)

    found = scored(tiny, Knowing())
    assert found.false_merge_rate == 0 and found.idf1 == pytest.approx(found.idf1_limit, abs=0.05)


def test_a_linker_is_judged_on_a_whole_tape(tiny: Taped):
    run = linked(tiny, LinkSettings())
    assert len(run.step_ms) == len(list(tiny)) and (run.step_ms >= 0).all()
    joins, wrong = run.judge.wrong_joins()
    assert 0 <= wrong <= joins and joins + len(set(run.judge.ledger.tracks().values())) <= len(tiny.boxes)
    assert all(0 <= one.probability <= 1 for one in run.judge.decisions)


def test_looks_that_differ_are_not_mistaken():
    class Made(Taped):
        def __iter__(self):
            rows = [("a", 1, look(0)), ("b", 2, look(0)), ("a", 3, look(1)), ("b", 4, look(1))]
            yield update("a", 1.0, [tracklet(camera, n, 0.0, 1.0, row) for camera, n, row in rows])

    shown = {key(1): {7: 1}, key(2, "b"): {7: 1}, key(3): {8: 1}, key(4, "b"): {8: 1}}
    tape = Made(Path(), {}, {k: boxes_on(people) for k, people in shown.items()}, 5, 5.0)
    assert looks_error(tape) == pytest.approx(0, abs=0.01)


def test_everybody_of_the_past_is_remembered():
    site = tiny_site()
    updates = list(past(120, site))
    assert [len(one.tracklets) for one in updates] == [20] * 6  # in crowds of 20
    assert updates[-1].t_ns < site.start_s * 1e9
    means = np.concatenate([[one.mean_embedding for one in seen.tracklets] for seen in updates])
    assert np.linalg.norm(means, axis=1).max() < 1  # means of pictures, not unit rows
    assert len(remembering(updates).view().identities) == pytest.approx(
        120, abs=6
    )  # two may be taken for one


def test_steps_are_timed_once_the_linker_is_warm(tiny: Taped, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.link_scale.WARM_S", 10.0)
    found = cost_of(remembering([]), tiny, tiny_site(), cameras=1, seconds=25.0)
    # 20 s at 5 a second of one camera and its end; those from 10 s on.
    assert len(found.step_ms) == 51 and found.played_s == pytest.approx(19.9)
    assert found.load == pytest.approx(found.step_ms.sum() / 1e3 / 9.9)


def test_a_linker_far_too_slow_is_given_up_and_said(tiny: Taped, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]

    def slow() -> float:  # every step takes a second
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr("benchmarks.link_scale.GRACE_S", 10.0)
    monkeypatch.setattr("benchmarks.link_scale.time.process_time", slow)
    found = cost_of(remembering([]), tiny, tiny_site(), cameras=2, seconds=25.0)
    # A second a step, ten steps a second: 10 t > 10 + 3 t from t = 1.43 s on.
    assert found.played_s == pytest.approx(1.4)
    assert found.figures()["max ms"] == 1000 and found.load > 3


def test_a_tape_is_played_again_later_with_other_people_and_loses_no_tracklet(tiny: Taped):
    once, twice = list(again(tiny, 0)), list(again(tiny, 3))
    last = {one.key.number: one for told in once if told.camera_id == "c0" for one in told.tracklets}
    final = {
        one.key.number: one
        for told in tiny
        if isinstance(told, CameraUpdate) and told.camera_id == "c0"
        for one in told.tracklets
    }
    assert last.keys() == final.keys()
    assert all(last[n].revision == final[n].revision and last[n].ended for n in last)
    assert len(once) == len(twice) < len(list(tiny)) * 0.6
    for a, b in zip(once, twice):
        assert b.t_ns - a.t_ns == 3 * 1800 * 10**9 and b.run == 3
        for one, other in zip(a.tracklets, b.tracklets):
            assert other.key.run == 3 and other.t_first_ns - one.t_first_ns == 3 * 1800 * 10**9
            assert (np.roll(one.mean_embedding, 3) == other.mean_embedding).all()


def test_the_share_of_wrong_joins_that_is_asked_for_is_the_one_accepted():
    assert accepted(accepting(0.02)) == pytest.approx(0.02)
    assert accepting(None) == LinkSettings()


def test_a_chart_is_drawn(tmp_path: Path):
    draw(
        tmp_path / "a.png",
        {"one": [(0, 0), (5, 40)], "none": []},
        title="t",
        across="x",
        up="y",
        diagonal=True,
    )
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape == (460, 760, 3) and (picture < 200).any()
    draw(tmp_path / "b.png", {}, title="t", across="x", up="y")
    assert (tmp_path / "b.png").exists()


def test_a_split_to_somebody_new_says_that_they_are_not_whom_they_were_taken_for():
    shown = {key(1): {7: 5}, key(2): {8: 5}, key(3): {7: 4}}
    judge = judged(shown, came(1, 101), handed(2, 101, None), handed(3, 101, None))
    judge.follow(Split(t_ns=0, global_id=101, to=102, tracks=(key(2),), evidence=Evidence(probability=0.8)))
    judge.follow(Split(t_ns=0, global_id=101, to=103, tracks=(key(3),), evidence=Evidence(probability=0.7)))
    # 2 shows somebody else than 1 and 3, so it is right that it goes; 3 shows who 1 does.
    assert judge.decisions == [Decision("split", 0.8, True), Decision("split", 0.7, False)]
