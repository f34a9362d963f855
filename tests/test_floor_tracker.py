"""Everybody on a floor, followed by all cameras at once."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tests.scenes import Crowd
from tracker.core import floor_tracker
from tracker.core.feet import Feet
from tracker.core.floor_tracker import INSTANT_S, WINDOW_S, FloorTracker
from tracker.types import TrackKey


def key(camera: str, number: int) -> TrackKey:
    return TrackKey(camera_id=camera, run=0, number=number)


def feet(places: np.ndarray, sigma_m: float = 0.1, near: np.ndarray | None = None) -> Feet:
    places = np.asarray(places, float).reshape(-1, 2)
    nearest = np.full(places.shape, np.nan) if near is None else np.asarray(near, float).reshape(-1, 2)
    return Feet.of(places, np.full(len(places), sigma_m), nearest)


def groups_of(
    floor: FloorTracker, keys: list[TrackKey], conflict: np.ndarray | None = None
) -> list[list[int]]:
    floor.finish()
    none = np.zeros((len(keys), len(keys)), bool)
    return floor.groups(keys, none if conflict is None else conflict).groups


def plain(floor: FloorTracker) -> bytes:
    return msgspec.msgpack.encode(floor.to_state())


def show(crowd: Crowd, floor: FloorTracker) -> None:
    for camera, t_s, keys, places in crowd.frames:
        floor.watch(camera, t_s, keys, feet(places))


def right_of(crowd: Crowd, floor: FloorTracker) -> tuple[float, float]:
    """The share of tracklets that are with whom most of their group are, and of those in the largest group of their
    person."""
    keys = sorted(crowd.person)
    person = np.array([crowd.person[one] for one in keys])
    group = np.zeros(len(keys), int)
    for g, members in enumerate(groups_of(floor, keys)):
        group[members] = g
    both = np.zeros((group.max() + 1, person.max() + 1))
    np.add.at(both, (group, person), 1)
    return both.max(axis=1).sum() / len(keys), both.max(axis=0).sum() / len(keys)


def test_two_who_walk_side_by_side_are_told_apart_in_two_views():
    floor = FloorTracker()
    for n in range(6):
        for camera, off in (("a", 0.0), ("b", 0.1)):
            floor.watch(
                camera, n / 2, [key(camera, 1), key(camera, 2)], feet([(n / 2, off), (n / 2, off + 0.8)])
            )
    keys = [key("a", 1), key("a", 2), key("b", 1), key("b", 2)]
    assert groups_of(floor, keys) == [[0, 2], [1, 3]]


def test_whoever_walks_on_is_the_same_under_a_new_track():
    floor = FloorTracker()
    for n in range(8):
        number = 1 if n < 4 else 2
        floor.watch("a", n / 2, [key("a", number), key("a", 9)], feet([(n / 2, 0), (3, 2)]))
    assert groups_of(floor, [key("a", 1), key("a", 2), key("a", 9)]) == [[0, 1], [2]]


def test_whoever_is_unseen_for_long_is_not_followed():
    floor = FloorTracker()
    for t_s in (0.0, 0.5, 1.0, 4.0, 4.5):
        floor.watch("a", t_s, [key("a", 1 if t_s < 3 else 2)], feet([(0, 0)]))
    assert groups_of(floor, [key("a", 1), key("a", 2)]) == [[0], [1]]


def test_feet_that_are_hidden_are_on_the_line_of_sight():
    """From b all feet seem 1.5 m behind, where nobody stands: the same person all the same."""
    floor = FloorTracker()
    for n in range(6):
        floor.watch("a", n / 2, [key("a", 1)], feet([(n / 2, 0)], near=[(n / 2, -9)]))
        floor.watch("b", n / 2, [key("b", 1)], feet([(n / 2 + 1.5, 0)], near=[(n / 2 - 0.5, 0)]))
    assert groups_of(floor, [key("a", 1), key("b", 1)]) == [[0, 1]]


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_is_told_apart(seed):
    crowd, floor = Crowd(seed), FloorTracker()
    show(crowd, floor)
    pure, whole = right_of(crowd, floor)
    assert pure > 0.95 and whole > 0.85


def test_looking_again_is_righter_than_the_first_look(monkeypatch):
    """Summed over crowds that stand dense and are seen badly."""

    def told(seed: int) -> float:
        crowd, floor = Crowd(seed, people=14, sigma_m=0.1, dropped=0.55), FloorTracker()
        show(crowd, floor)
        return sum(right_of(crowd, floor))

    with_it = sum(told(seed) for seed in range(4))
    monkeypatch.setattr(FloorTracker, "look_again", lambda self: None)
    assert with_it > sum(told(seed) for seed in range(4)) + 0.1


def stuttering(frames: int) -> FloorTracker:
    """Six people walk in file, 3 m apart at 1.2 m/s; the picture of 4 s is shown again at 4.5 s."""
    floor = FloorTracker()
    walked = np.cumsum([0.0, *[0.6] * 8, 0.0, 1.2, 0.6])
    for n, way in enumerate(walked[:frames]):
        places = [(way + 3 * person, 0.0) for person in range(6)]
        floor.watch("a", n / 2, [key("a", person) for person in range(6)], feet(places, sigma_m=0.05))
    floor.finish()
    return floor


def test_a_picture_that_is_shown_twice_is_no_halt(monkeypatch):
    def pace(frames: int) -> float:
        return stuttering(frames)._instants[-1].dt_s / 0.5

    assert [pace(frames) for frames in (9, 10, 11, 12)] == [1, 0, 2, 1]  # of pictures of 4, 4.5, 5 and 5.5 s
    assert stuttering(10)._walkers.mean[:, 2] == pytest.approx(np.full(6, 1.2), abs=0.05)
    monkeypatch.setattr(floor_tracker, "PACES", ())
    assert (stuttering(10)._walkers.mean[:, 2] < 1.0).all()


def test_who_cannot_be_one_is_whoever_else_they_were_on():
    """Two tracks of one camera on one person: the longer one stays, the other is alone."""
    floor = FloorTracker()
    for n in range(6):
        floor.watch("a", n / 2, [key("a", 1 if n < 4 else 2)], feet([(0, 0)]))
    keys = [key("a", 1), key("a", 2)]
    assert groups_of(floor, keys) == [[0, 1]]
    assert groups_of(floor, keys, ~np.eye(2, dtype=bool)) == [[0], [1]]


def test_whoever_is_not_known_is_alone_and_said_so():
    floor = FloorTracker()
    floor.watch("a", 0.0, [key("a", 1)], feet([(0, 0)]))
    floor.finish()
    found = floor.groups([key("b", 1), key("a", 1)], np.zeros((2, 2), bool))
    assert found.groups == [[0], [1]] and found.known == [1]


def test_a_guess_is_made_before_the_instant_is_over():
    floor = FloorTracker()
    for n in range(4):
        floor.watch("a", n / 2, [key("a", 1)], feet([(n / 2, 0)]))
        floor.watch("b", n / 2, [key("b", 1)], feet([(n / 2, 5)]))
    floor.watch("a", 2.0, [key("a", 2), key("a", 3)], feet([(2, 0), (9, 9)]))
    guess = floor.guess("a")
    assert guess == {key("a", 2): {key("a", 1): 4}}  # the other is nobody's
    assert floor.guess("b") == {} == floor.guess("elsewhere")


def test_of_whom_is_forgotten_nothing_is_kept():
    crowd, floor = Crowd(0), FloorTracker()
    show(crowd, floor)
    for one in crowd.person:
        floor.forget(one)
    state = floor.to_state()
    assert not state["settled"] and not any(instant[3] for instant in state["instants"])
    assert not len(floor._walkers) and not len(floor._before)
    assert not any(keys for _, keys, _ in state["waiting"])
    assert groups_of(floor, sorted(crowd.person)) == [[n] for n in range(len(crowd.person))]
    floor.watch("a", 30.0, [key("a", 1)], feet([(0, 0)]))
    floor.watch("a", 30.5, [key("a", 1)], feet([(0, 0)]))  # and it goes on


def test_who_is_joined_counts_for_both():
    floor = FloorTracker()
    for n in range(60):  # longer than the window, so that some of it has settled
        floor.watch("a", n / 2, [key("a", n // 10)], feet([(0, 0)]))
    floor.finish()
    for n in range(5):
        floor.join(key("a", 5), key("a", n))
    assert floor._counts([key("a", n) for n in range(6)]) == {key("a", 5): {1: 60}}


def test_a_camera_that_is_late_or_sees_nobody_changes_nothing():
    crowd, calm, disturbed = Crowd(1), FloorTracker(), FloorTracker()
    show(crowd, calm)
    for camera, t_s, keys, places in crowd.frames:
        disturbed.watch(camera, t_s, keys, feet(places))
        disturbed.watch("z", t_s - 1.0, [key("z", 1)], feet([(5, 5)]))
    assert groups_of(calm, sorted(crowd.person)) == groups_of(disturbed, sorted(crowd.person))
    nobody = FloorTracker()
    nobody.watch("a", 0.0, [], feet(np.zeros((0, 2))))
    nobody.finish()
    nobody.look_again()
    assert groups_of(nobody, []) == []


@pytest.mark.parametrize("stop", [1, 17, 50, 83, 119])
def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(stop):
    crowd, straight = Crowd(2), FloorTracker()
    for n, (camera, t_s, keys, places) in enumerate(crowd.frames):
        if n == stop:
            again = FloorTracker.from_state(msgspec.msgpack.decode(plain(straight)))
            assert plain(again) == plain(straight)
        straight.watch(camera, t_s, keys, feet(places))
        if n >= stop:
            again.watch(camera, t_s, keys, feet(places))
    assert plain(again) == plain(straight)


def test_what_is_kept_is_bounded_by_what_is_asked_for():
    floor = FloorTracker()
    for n in range(400):
        floor.watch("a", n / 2, [key("a", n)], feet([(n % 7, 0)]))
        if n >= 30:
            floor.forget(key("a", n - 30))  # as a linker does
    assert len(floor._instants) <= WINDOW_S / INSTANT_S + 1
    assert len(floor._settled) <= 30 and len(floor._walkers) < 20


# ---- what used to go wrong -----------------------------------------------------------------------------------


def test_a_track_carries_its_person_over_a_gap_and_a_sharp_turn():
    """Whoever was unseen for 2 s, or turned round within one, was somebody new, though their tracks went on."""
    gap, turn = FloorTracker(), FloorTracker()
    for n in range(40):
        for camera in ("a", "b"):
            if not 20 <= n < 24:
                gap.watch(camera, n / 2, [key(camera, 1)], feet([(0, 0)]))
            turn.watch(camera, n / 2, [key(camera, 1)], feet([(10 - abs(n - 20) * 1.2, 0)]))
    for floor in (gap, turn):
        floor.finish()
        counts = floor._counts([key("a", 1), key("b", 1)])
        assert [set(of) for of in counts.values()] == [{1}, {1}]


def test_cameras_that_take_turns_are_both_heard():
    floor = FloorTracker()
    for n in range(8):
        floor.watch("a", n / 2, [key("a", 1)], feet([(0.5 * n, 0)]))
        floor.watch("b", n / 2 + 0.25, [key("b", 1)], feet([(0.5 * n + 0.25, 0)]))
    assert groups_of(floor, [key("a", 1), key("b", 1)]) == [[0, 1]]
    assert (floor._walkers.found > 0.9).all()  # neither is thought to miss them while the other is asked


@pytest.mark.parametrize("origin", [(0.0, 0.0), (4e5, 5e6)])
def test_it_does_not_matter_where_the_floor_begins(origin):
    crowd = Crowd(0)
    here, there = FloorTracker(), FloorTracker()
    show(crowd, here)
    for camera, t_s, keys, places in crowd.frames:
        there.watch(camera, t_s, keys, feet(places + origin))
    keys = sorted(crowd.person)
    assert groups_of(here, keys) == groups_of(there, keys)


def test_feet_at_the_horizon_say_nothing():
    floor = FloorTracker()
    floor.watch("a", 0.0, [key("a", 1)], feet([(0, 0)]))
    for n, sigma_m in enumerate((1e5, 3e7, 1e10), 1):
        floor.watch("a", n / 2, [key("a", 1)], feet([(1e6, 0)], sigma_m=sigma_m, near=[(0, 0)]))
    assert groups_of(floor, [key("a", 1)]) == [[0]] and floor._counts([key("a", 1)]) == {key("a", 1): {1: 1}}


def test_a_clock_that_was_ahead_is_set_back():
    """What was seen ahead of time was kept, and followed, until that time came."""
    floor = FloorTracker()
    for n in range(6):
        floor.watch("a", 1e5 + n / 2, [key("a", 1)], feet([(0, 0)]))
    for n in range(100):
        floor.watch("a", n / 2, [key("a", 2)], feet([(0, 0)]))
    floor.finish()
    assert floor._counts([key("a", 1), key("a", 2)]) == {key("a", 1): {1: 6}, key("a", 2): {2: 100}}
    assert len(floor._instants) <= WINDOW_S / INSTANT_S + 1 and len(floor._walkers) == 1


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_seen_twice_by_a_camera_at_one_instant(seed):
    crowd, floor = Crowd(seed, people=14, sigma_m=0.2, dropped=0.4), FloorTracker()
    show(crowd, floor)
    floor.finish()
    floor.look_again()
    for instant in floor._instants:
        for camera in range(3):
            walkers = instant.walker[(instant.camera == camera) & (instant.walker > 0)]
            assert len(set(walkers.tolist())) == len(walkers)


def test_of_a_great_crowd_nobody_is_looked_at_again(monkeypatch):
    """It would all be done within one step."""
    monkeypatch.setattr(floor_tracker, "MOST_AGAIN", 5)
    monkeypatch.setattr(FloorTracker, "_relink", lambda self: pytest.fail("looked again"))
    show(Crowd(0), FloorTracker())


def crossing_over(at_s: float, back_s: float = np.inf) -> FloorTracker:
    """Two people 3 m apart; camera a's first track is on one, on the other from ``at_s`` on, and back again."""
    floor = FloorTracker()
    for n in range(60):
        t_s = n / 2
        for camera in "abc":
            places = {1: (0.5 * t_s, 0.0), 2: (0.5 * t_s, 3.0)}
            if camera == "a" and at_s <= t_s < back_s:
                places = {1: places[2], 3: places[1]}
            floor.watch(camera, t_s, [key(camera, n) for n in places], feet(np.array(list(places.values()))))
    return floor


def test_a_tracklet_that_goes_over_to_somebody_else_is_another_from_then_on():
    floor = crossing_over(10.0)
    floor.close()
    [(first, later)] = floor.parted()
    assert first == key("a", 1) and 9.5e9 < later.since_ns <= 10e9
    assert floor.parted() == []
    on = floor.mainly_on([first, later, key("a", 2), key("a", 3), key("b", 1), key("b", 2)])
    assert on[first] == on[key("a", 3)] == on[key("b", 1)] != on[later] == on[key("a", 2)] == on[key("b", 2)]
    assert sum(floor._counts([first])[first].values()) == 20


def test_a_tracklet_is_cut_when_nothing_will_be_looked_at_again():
    floor = crossing_over(30.0 - WINDOW_S + 1)
    assert floor.parted() == []
    floor.close()
    assert [first for first, _ in floor.parted()] == [key("a", 1)]


def test_a_moment_on_somebody_else_is_no_cut_unless_it_is_the_last():
    floor = crossing_over(10.0, back_s=10.4)
    floor.close()
    assert floor.parted() == []
    floor = crossing_over(29.5)
    floor.close()
    assert [first for first, _ in floor.parted()] == [key("a", 1)]


def test_what_is_not_cut_after_all_is_whole_again():
    floor = crossing_over(10.0)
    floor.close()
    [(first, later)] = floor.parted()
    floor.take_back(first, later)
    assert floor._on[first] == floor.mainly_on([key("a", 2)])[key("a", 2)]  # it will not be cut again
    assert floor.mainly_on([later]) == {}
    assert sum(floor._counts([first])[first].values()) == 60


@pytest.mark.parametrize("is_later", [False, True])
def test_of_whom_is_forgotten_no_part_is_kept(is_later):
    floor = crossing_over(10.0)
    if is_later:
        floor.parted()
    later = msgspec.structs.replace(key("a", 1), since_ns=9_800_000_000)
    assert floor.mainly_on([later])
    for one in (key("a", 1), later)[: 1 + is_later]:
        floor.forget(one)
    assert b"9800000000" not in msgspec.json.encode(floor.to_state()["settled"])
    assert floor.mainly_on([key("a", 1), later]) == {}


def test_who_is_given_up_was_somebody_all_the_same():
    floor, known = FloorTracker(), FloorTracker()
    for n in range(8):
        for one in (floor, known):
            one.watch("a", n / 2, [key("a", n)], feet([(0.5 * n, 0.0)]))
            one.watch("b", n / 2, [key("b", n)], feet([(0.5 * n, 0.0)]))
        if n:
            floor.give_up(key("a", n - 1))
    for one in (floor, known):
        one.finish()
    assert plain_walkers(floor) == plain_walkers(known)
    assert floor.mainly_on([key("a", n) for n in range(7)]) == {}
    assert len(floor._settled) <= 8 and not any(key("a", 0) in instant.keys for instant in floor._instants)


def test_who_is_given_up_gives_nobody_their_person():
    floor = FloorTracker()
    for n in range(8):
        floor.watch("a", n / 2, [key("a", 1)], feet([(0.0, 0.0)]))
    floor.give_up(key("a", 1))
    for t_s in (4.0, 4.5):
        floor.watch("b", t_s, [key("b", 7)], feet([(50.0, 50.0)]))
        floor.give_up(key("b", 7))  # before the instant is over
    floor.watch("b", 5.0, [key("b", 8)], feet([(50.0, 50.0)]))
    floor.finish()
    assert floor.mainly_on([key("b", 8)])[key("b", 8)] != 1


def test_an_earlier_tracklet_does_not_say_whom_a_later_one_is_on():
    floor = FloorTracker()
    for n in range(100):
        if n < 20:
            floor.watch("b", n / 2, [key("b", 1)], feet([(0.0, 0.0)]))
        floor.watch("a", n / 2, [key("a", 1)] if n > 41 else [], feet([(30.0, 0.0)] if n > 41 else []))
        if n == 46:
            floor.join(key("a", 1), key("b", 1))
    floor.close()
    assert floor.parted() == []


def test_where_somebody_was_who_is_forgotten_is_not_kept_as_anybodys():
    floor = FloorTracker()
    for n in range(8):
        floor.watch("a", n / 2, [key("a", 1), key("a", 2)], feet([(0.0, 0.0), (9.0, 9.0)]))
    floor.forget(key("a", 1))
    floor.finish()
    assert len(floor._walkers) == len(floor._before) + 1 == 1
    assert all(len(instant.keys) == 1 for instant in floor._instants)


def plain_walkers(floor: FloorTracker) -> bytes:
    return msgspec.msgpack.encode(floor.to_state()["walkers"])
