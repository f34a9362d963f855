"""Who is seen beside whom."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tests.scenes import at, person_box
from tracker.core.company import Company
from tracker.core.feet import UNHEARD, Feet, look_llr
from tracker.types import TrackKey


def key(camera: str, number: int) -> TrackKey:
    return TrackKey(camera_id=camera, run=0, number=number)


A1, A2, B1 = key("a", 1), key("a", 2), key("b", 1)


def told(*keys: TrackKey) -> Company:
    company = Company()
    for one in keys:
        company.add(one)
    return company


def watch(
    company: Company, camera: str, t_s: float, keys: list[TrackKey], xs: list[float], places=None
) -> None:
    floor = np.full((len(keys), 2), np.nan) if places is None else np.array(places, float)
    sigma = np.where(np.isnan(floor[:, 0]), np.nan, 0.1)
    company.watch(camera, at(t_s), keys, np.array([person_box(x) for x in xs]), floor, sigma)


def test_two_in_one_frame_again_and_again_are_two():
    company = told(A1, A2)
    for n in range(6):
        watch(company, "a", n / 10, [A1, A2], [300, 600])
    beside = company.beside([A1, A2])
    assert (
        beside.seconds[0, 1] == pytest.approx(0.5) == company.seconds(A2, A1)
    )  # the first frame stands for nothing
    assert company.are_two([A1, A2]).tolist() == [[False, True], [True, False]]
    assert not beside.is_one_body[0, 1]


def test_a_box_inside_another_is_one_person_twice():
    company = told(A1, A2)
    for n in range(10):
        watch(company, "a", n / 10, [A1, A2], [300, 302])
    assert company.beside([A1, A2]).is_one_body[0, 1] and not company.are_two([A1, A2])[0, 1]


def test_a_pause_of_the_camera_counts_as_one_frame():
    company = told(A1, A2)
    watch(company, "a", 0, [A1, A2], [300, 600])
    watch(company, "a", 50, [A1, A2], [300, 600])
    assert company.seconds(A1, A2) == pytest.approx(0.6)


def test_places_are_compared_at_one_instant_a_few_times_a_second():
    company = told(A1, B1)
    for n in range(10):  # 10 pictures a second, compared at 0.0, 0.2, ... of either camera
        watch(company, "a", n / 10, [A1], [300], [(1.0, 2.0)])
        watch(company, "b", n / 10, [B1], [500], [(1.0, 2.3)])
    beside = company.beside([A1, B1])
    assert beside.looks[0, 1] == 9  # five of b with what a saw last, four of a; at first a is alone
    both = Feet.of(np.array([(1.0, 2.0), (1.0, 2.3)]), np.full(2, 0.1), np.full((2, 2), np.nan))
    hidden, ratios = np.array(UNHEARD), []
    for _ in range(9):
        ratio, hidden = look_llr(both, hidden, 0.2)
        ratios.append(float(ratio))
    assert beside.place[0, 1] == pytest.approx(np.mean(ratios), abs=0.05) == beside.place[1, 0]
    assert beside.seconds[0, 1] == 0


def test_whoever_was_beside_an_earlier_piece_was_beside_the_whole():
    a3 = key("a", 3)
    company = told(A1, A2, a3, B1)
    for n in range(6):
        watch(company, "a", n / 10, [A1, A2], [300, 600], [(0.0, 0.0), (5.0, 5.0)])
        watch(company, "b", n / 10, [B1], [300], [(0.0, 0.1)])
    looks = company.beside([A1, B1]).looks[0, 1]
    company.join(a3, A1)
    assert company.are_two([A2, a3]).tolist() == [[False, True], [True, False]]
    assert company.seconds(a3, A2) == pytest.approx(0.5)
    assert company.beside([a3, B1]).looks[0, 1] == looks > 0
    again = Company.from_state(company.to_state())
    assert again.to_state() == company.to_state() and again.are_two([A2, a3])[0, 1]
    with pytest.raises(KeyError):
        company.seconds(A1, A2)


def test_two_who_are_known_to_be_two_are_two():
    company = told(A1, A2, B1)
    company.part(A1, B1)
    assert company.are_two([A1, A2, B1]).sum() == 2 and company.are_two([A1, B1])[0, 1]


def test_who_is_forgotten_leaves_nothing_for_who_comes_after():
    company = told(A1, A2)
    for n in range(10):
        watch(company, "a", n / 10, [A1, A2], [300, 600])
    company.forget(A2)
    watch(company, "a", 1.0, [A1, A2], [300, 600])  # never told of again
    company.add(key("a", 3))
    assert company.beside([A1, key("a", 3)]).seconds[0, 1] == 0


def test_more_than_there_were_rows_for():
    company = Company()
    keys = [key("ab"[n % 2], n) for n in range(300)]
    for one in keys:
        company.add(one)
    watch(company, "a", 0, keys[0:4:2], [300, 600])
    watch(company, "a", 0.3, keys[0:4:2], [300, 600])
    assert company.seconds(keys[0], keys[2]) == pytest.approx(0.3)
    assert company.beside(keys, 3).seconds.shape == (3, 300)


def test_it_comes_back_from_its_state():
    company = told(A1, A2, B1)
    for n in range(5):
        watch(company, "a", n / 10, [A1, A2], [300, 600], [(0, 0), (3, 0)])
        watch(company, "b", n / 10, [B1], [500], [(0, 0.1)])
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(company.to_state()))
    again = Company.from_state(state)
    assert again.to_state() == company.to_state()
    for one in (company, again):
        watch(one, "a", 0.9, [A1, A2], [300, 600], [(0, 0), (3, 0)])
    assert again.to_state() == company.to_state()


def test_who_is_certainly_two_stays_so_when_joined_with_a_glimpse_and_over_a_checkpoint():
    company = Company()
    keys = [TrackKey(camera_id="a", run=0, number=n) for n in range(3)]
    for key in keys:
        company.add(key)
    boxes = np.array([[0, 0, 50, 100], [300, 0, 350, 100]], float)
    nowhere = np.full((2, 2), np.nan), np.full(2, np.nan)
    for n in range(20):
        company.watch("a", n * 10**8, keys[:2], boxes, *nowhere)
    for n in range(40, 200):  # as one body, far longer
        company.watch("a", n * 10**8, [keys[0], keys[2]], boxes[[0, 0]], *nowhere)
    assert company.are_two(keys)[0].tolist() == [False, True, False]
    company.join(keys[2], keys[1])
    again = Company.from_state(company.to_state())
    for one in (company, again):
        assert one.are_two([keys[0], keys[2]])[0, 1]


def since(one: TrackKey, t_s: float) -> TrackKey:
    return msgspec.structs.replace(one, since_ns=at(t_s))


def met_before_and_after() -> Company:
    """A1 is beside A2 until 2 s, and beside another from 4 s on."""
    company = told(A1, A2, key("a", 3))
    for n in range(12):
        watch(company, "a", n / 2, [A1, A2 if n < 5 else key("a", 3)], [300, 600])
    return company


@pytest.mark.parametrize("is_restored", [False, True])
def test_each_part_of_a_tracklet_is_beside_whomever_it_was_seen_with(is_restored):
    company, later = met_before_and_after(), since(A1, 2.3)
    if is_restored:
        company = Company.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(company.to_state())))
    company.cut(A1, later)
    assert company.are_two([A1, A2, key("a", 3)])[0].tolist() == [False, True, False]
    assert company.are_two([later, A2, key("a", 3), A1])[0].tolist() == [False, False, True, False]
    assert (company.seconds(A1, key("a", 3)), company.seconds(later, A2), company.seconds(A1, later)) == (
        0,
        0,
        0,
    )
    watch(company, "a", 6, [later, A2], [300, 600])
    assert company.are_two([later, A2])[0, 1]


def test_who_is_on_both_sides_of_a_cut_is_beside_both():
    company, later = told(A1, A2), since(A1, 2)
    for n in range(12):
        watch(company, "a", n / 2, [A1, A2], [300, 600])
    company.cut(A1, later)
    assert company.are_two([A1, later, A2])[2].tolist() == [True, True, False]
    again = since(A1, 4)
    company.cut(later, again)
    assert company.are_two([A1, later, again, A2])[3].tolist() == [True, True, True, False]


def test_what_an_older_version_did_not_know_counts_for_both_parts():
    state = met_before_and_after().to_state()
    del state["met_s"]
    company, later = Company.from_state(state), since(A1, 2.3)
    company.cut(A1, later)
    assert company.are_two([A1, later, A2, key("a", 3)])[:2, 2:].all()


def test_whoever_was_joined_to_another_before_a_cut_stays_beside_them():
    company = met_before_and_after()
    company.join(key("a", 3), A2)  # one person, in truth or not
    later = since(A1, 2.3)
    company.cut(A1, later)
    assert company.are_two([A1, later, key("a", 3)])[2].tolist() == [True, True, False]


@pytest.mark.parametrize("off_s, is_beside", [(0.1, False), (1.0, True)])
def test_a_few_frames_on_the_wrong_side_of_a_cut_are_no_company(off_s, is_beside):
    """Nobody knows to a frame when a track went over: who came in its place is not beside what it was before."""
    company, later = told(A1, A2, key("a", 3)), since(A1, 3)
    for n in range(60):
        t_s = n / 10
        watch(company, "a", t_s, [A1, A2 if t_s < 3 - off_s else key("a", 3)], [300, 600])
    company.cut(A1, later)
    assert company.are_two([A1, A2, key("a", 3)])[0].tolist() == [False, True, is_beside]
    assert company.are_two([later, A2, key("a", 3)])[0].tolist() == [False, False, True]
    assert company.seconds(A1, A2) + company.seconds(later, key("a", 3)) == pytest.approx(
        5.9, abs=0.3 + is_beside
    )


def test_one_frame_of_a_slow_camera_is_company():
    company, later = told(A1, A2), since(A1, 1.8)
    for n in range(8):
        watch(company, "a", n / 2, [A1, A2] if n == 4 else [A1], [300, 600])
    company.cut(A1, later)
    assert company.are_two([A1, later, A2])[2].tolist() == [False, True, False]


def taken_back(until_s: float) -> Company:
    """1 is beside 2 from 0 to 1 s, beside 3 from 1 to 3 s, and was not itself after ``until_s``."""
    third = key("a", 3)
    company = told(A1, A2, third)
    for n in range(31):
        t_s = n / 10
        watch(company, "a", t_s, [A1, A2] if t_s < 1 else [A1, third], [300, 600])
    company.take_back(A1, at(until_s))
    return company


@pytest.mark.parametrize(
    "until_s, are_two",
    [(0.0, (False, False)), (0.75, (True, False)), (1.1, (True, False)), (2.5, (True, True))],
)
def test_beside_whom_a_camera_had_somebody_else_one_was_not(until_s, are_two):
    company = taken_back(until_s)
    third = key("a", 3)
    assert tuple(company.are_two([A1, A2, third])[0, 1:]) == are_two
    assert company.seconds(A1, A2) == pytest.approx(min(until_s + 0.1, 0.9) if until_s else 0.0, abs=0.11)
    assert company.seconds(A1, third) == pytest.approx(max(until_s - 0.9, 0), abs=0.11)
    again = Company.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(company.to_state())))
    assert again.to_state() == company.to_state()


def test_what_is_known_without_a_time_is_not_taken_back():
    company = told(A1, A2)
    company.part(A1, A2)
    company.take_back(A1, at(0))
    assert company.are_two([A1, A2])[0, 1]


def test_who_is_beside_one_after_it_was_taken_back_is_beside_it_anew():
    company = taken_back(0.75)
    for n in range(40, 46):
        watch(company, "a", n / 10, [A1, key("a", 3)], [300, 600])
    assert company.are_two([A1, key("a", 3)])[0, 1]


def test_it_is_told_who_is_somebody_else_until_a_time_and_after_it():
    third = key("a", 3)
    company = taken_back(9.0)  # nothing
    row, others = company.row_of(A1), np.array([company.row_of(A2), company.row_of(third)])
    before, after = company.beside_until(row, others, np.array([0.5, 1.5, 2.95]))
    assert before.tolist() == [[True, False], [True, True], [True, True]]
    assert after.tolist() == [[True, True], [False, True], [False, False]]


def test_as_it_was_it_stays_and_those_asked_for_stand_in_their_order():
    C1 = key("c", 1)
    company = told(key("a", 7), A1, B1, A2, C1)
    for n in range(8):
        watch(company, "a", n / 10, [A1, A2], [300, 600], [(1, 0), (4, 0)])
        watch(company, "b", n / 10, [B1], [500], [(1.1, 0)])
    company.note_sights([(A2, B1, 0.7)])
    company.forget(key("a", 7))
    rows = np.array([company.row_of(k) for k in (B1, A2, A1)])
    still, before = company.still(rows), company.beside([B1, A2, A1], of=2)
    assert before.seconds[1, 2] > 0 and before.looks[0, 2] > 0 and before.sights[0, 1] > 0
    for n in range(8, 60):
        watch(company, "a", n / 10, [A1, A2], [300, 301], [(1, 0), (1, 0)])
        watch(company, "b", n / 10, [B1], [500], [(7.1, 0)])
    for ours, theirs in zip(still.beside_of(np.arange(2), np.arange(3)), before, strict=True):
        assert np.array_equal(ours, theirs)
    assert still.are_two_of(np.arange(3)).tolist() == [
        [False] * 3,
        [False, False, True],
        [False, True, False],
    ]
    assert not company.are_two([A2, A1]).any()  # by now they are one person twice
