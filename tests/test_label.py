"""Which hand-overs are asked about, and what the answers say of a run; every figure worked by hand."""

from __future__ import annotations

import math
import stat
from collections import Counter

import msgspec
import numpy as np
import pytest
from scipy.stats import beta

from tracker.errors import UserError
from tracker.evaluate import Boxes
from tracker.label import (
    LINE_UP,
    MOST_PAGES,
    STRATA,
    Arrival,
    Earlier,
    Label,
    Labels,
    Question,
    Same,
    Stratum,
    Visit,
    draw,
    estimate,
    find_arrivals,
    gap_s,
    next_question,
    read_labels,
    score_labels,
    weighted,
    with_reply,
    without_last,
    write_labels,
)


def visit(camera: str, person: int, first_s: float, last_s: float, x: float = 0.0) -> Visit:
    """A stay at ten frames a second, found again by one box in its middle frame, 10 px wide, at ``x``."""
    first, last = round(first_s * 10) + 1, round(last_s * 10) + 1
    return Visit(
        camera_id=camera,
        global_id=person,
        first_frame=first,
        last_frame=last,
        t_first_ns=round(first_s * 1e9),
        t_last_ns=round(last_s * 1e9),
        boxes=(((first + last) // 2, x, 0.0, 10.0, 20.0),),
    )


def names(visits: tuple[Visit, ...]) -> list[str]:
    return [f"{one.camera_id}{one.global_id}" for one in visits]


# --- what to ask


def test_a_gap_is_never_below_zero():
    assert gap_s(visit("a", 1, 0, 5), visit("b", 1, 7, 9)) == 2.0
    assert gap_s(visit("a", 1, 0, 5), visit("b", 1, 3, 9)) == 0.0


def test_arrivals_are_joined_or_new():
    one, two, three = visit("a", 1, 0, 5), visit("b", 1, 7, 12), visit("b", 2, 13, 20)
    joined, new = find_arrivals([three, two, one], horizon_s=60)
    # Before the first visit nobody had been seen: it is no arrival. The second was joined to it. The third might be 1
    # again, who was last seen in b: one visit of every identity is enough.
    assert (joined.visit, joined.joined, joined.others) == (two, one, ())
    assert (new.visit, new.joined, new.others) == (three, None, (two,))
    assert (joined.stratum, new.stratum) == ("joined", "new")


def test_who_has_been_away_for_longer_than_the_horizon_is_not_asked_about():
    visits = [visit("a", 1, 0, 5), visit("b", 2, 20, 25)]
    assert len(find_arrivals(visits, horizon_s=15)) == 1
    assert find_arrivals(visits, horizon_s=14.9) == []
    assert find_arrivals([], horizon_s=15) == []


def test_pieces_of_tracks_are_no_visits():
    assert len(find_arrivals([visit("a", 1, 0, 5), visit("b", 2, 7, 7.5)], 60)) == 1
    assert find_arrivals([visit("a", 1, 0, 5), visit("b", 2, 7, 7.4)], 60) == []


def test_a_joined_arrival_goes_with_whom_its_identity_was_seen_last():
    # 1 is in a until 9 s and in b until 4 s; c sees her from 6 s on, when a sees her still.
    visits = [visit("a", 1, 0, 9), visit("b", 1, 1, 4), visit("c", 1, 6, 12)]
    assert [arrival.joined for arrival in find_arrivals(visits, 60)] == [visits[0], visits[0]]
    # Both see her at that moment: the one that she entered later.
    visits[1] = visit("b", 1, 1, 9)
    assert find_arrivals(visits, 60)[1].joined == visits[1]


def test_likely_gaps_come_first_and_whom_the_camera_sees_at_once_last():
    passages = [
        # The run itself found that it takes 10 s from a to b.
        visit("a", 1, 0, 5),
        visit("b", 1, 15, 20),
        # Before 9 comes to b at 100 s: 2 left a 9 s before, 3 left a 1 s before, 4 is in a; 5 left b 2 s before; 6 was
        # in a 10 s before, and is in b at the same time as 9: two people, unless the run mixed 6 up with others.
        visit("a", 2, 80, 91),
        visit("a", 3, 82, 99),
        visit("a", 4, 83, 120),
        visit("b", 5, 84, 98),
        visit("a", 6, 85, 90),
        visit("b", 6, 99, 130),
        visit("b", 9, 100, 110),
    ]
    found = find_arrivals(passages, horizon_s=60)
    [nine] = [arrival for arrival in found if arrival.visit.global_id == 9]
    # Distance from the nearest usual gap: 2 |9 - 10| = 1; 5 in the same camera 2 - 0 = 2; 3 |1 - 10| = 9; 4 10.
    assert names(nine.others) == ["a2", "b5", "a3", "a4", "a6"]


def test_arrivals_do_not_depend_on_the_order_of_the_visits():
    rng = np.random.default_rng(2)
    starts = rng.integers(0, 60, 40)
    visits = [
        visit("abc"[k % 3], k % 13 + 1, int(t), int(t + rng.integers(1, 9))) for k, t in enumerate(starts)
    ]
    found = find_arrivals(visits, 30)
    assert {arrival.stratum for arrival in found} == {"joined", "new"}
    assert all(find_arrivals([visits[k] for k in rng.permutation(40)], 30) == found for _ in range(5))


def test_a_long_line_up_comes_in_pages():
    crowd = [visit("a", person, person, 100) for person in range(1, 31)]
    last = find_arrivals([*crowd, visit("b", 99, 90, 95)], 60)[-1]
    # All are there still: who came last is the likeliest.
    assert names(last.others) == [f"a{person}" for person in range(30, 0, -1)] and last.left_out == 0
    # Thirty are twelve, twelve and six.
    labels: list[Label] = []
    for pages, many in ((3, 12), (2, 12), (1, 6)):
        question = next_question([last], labels)
        assert question and (question.pages, len(question.earlier)) == (pages, many)
        labels = with_reply(labels, question, "n")
    assert next_question([last], labels) is None and len(labels[0].earlier) == 30
    assert len(without_last(labels)[0].earlier) == 24
    assert without_last(without_last(without_last(labels))) == []
    found = with_reply(without_last(labels), question, 2)
    assert names(tuple(e.visit for e in found[0].earlier[-1:])) == ["a4"] and len(found[0].earlier) == 25
    assert without_last(found) == without_last(labels)


def test_beyond_some_pages_nobody_is_asked_and_that_is_told():
    crowd = [visit("a", person, person / 10, 100) for person in range(1, 101)]
    last = find_arrivals([*crowd, visit("b", 999, 90, 95)], 60)[-1]
    assert (len(last.others), last.left_out) == (LINE_UP * MOST_PAGES, 100 - LINE_UP * MOST_PAGES)
    labels: list[Label] = []
    while (question := next_question([last], labels)) is not None:
        labels = with_reply(labels, question, "n")
    told = Labels(run="", seed=0, arrivals={"joined": 0, "new": 1}, labels=weighted(labels, {"new": 1}))
    assert score_labels(told, {}).cut_short == 1
    found = with_reply(without_last(labels), Question(0, last, last.others[48:]), 0)
    assert score_labels(msgspec.structs.replace(told, labels=tuple(found)), {}).cut_short == 0


def arrivals(joined: int, new: int) -> list[Arrival]:
    before = visit("a", 1, 0, 1)
    of_joined = [
        Arrival(visit=visit("b", k, k, k + 1), joined=before, others=(before,)) for k in range(joined)
    ]
    return of_joined + [
        Arrival(visit=visit("c", k, k, k + 1), joined=None, others=(before,)) for k in range(new)
    ]


@pytest.mark.parametrize(
    ("joined", "new", "count", "expected"),
    [
        (60, 40, 30, (18, 12)),  # in proportion
        (100, 10, 30, (20, 10)),  # 27 to 3, but a third at least
        (10, 100, 30, (10, 20)),
        (100, 4, 30, (26, 4)),  # there are no more
        (3, 100, 30, (3, 27)),
        (5, 5, 30, (5, 5)),
        (0, 50, 30, (0, 30)),
        (50, 0, 30, (30, 0)),
        (60, 40, 1, (1, 0)),
        (0, 0, 30, (0, 0)),
    ],
)
def test_every_stratum_has_its_part_of_the_draw(joined: int, new: int, count: int, expected: tuple[int, int]):
    drawn = Counter(arrival.stratum for arrival in draw(arrivals(joined, new), count, seed=0))
    assert (drawn["joined"], drawn["new"]) == expected


def test_the_draw_repeats_and_a_larger_one_only_adds():
    all_of_them = arrivals(60, 40)
    few, more = draw(all_of_them, 20, seed=3), draw(all_of_them, 50, seed=3)
    assert few == draw(all_of_them, 20, seed=3) != draw(all_of_them, 20, seed=4)
    for stratum in STRATA:
        small, large = ([a for a in drawn if a.stratum == stratum] for drawn in (few, more))
        assert large[: len(small)] == small
    assert sorted(draw(all_of_them, 100, seed=3), key=str) == sorted(all_of_them, key=str)


def test_whoever_stops_early_has_seen_both_strata():
    drawn = draw(arrivals(60, 40), 50, seed=0)  # 30 and 20
    early = Counter(arrival.stratum for arrival in drawn[:10])
    assert early == {"joined": 6, "new": 4}


def test_every_arrival_is_equally_likely_to_be_drawn():
    """6 of 12 joined arrivals: each in half of 400 draws, 200 give or take 4 standard deviations of 10."""
    all_of_them = arrivals(12, 12)
    counted: Counter[Visit] = Counter()
    for seed in range(400):
        counted.update(arrival.visit for arrival in draw(all_of_them, 12, seed))
    assert min(counted[arrival.visit] for arrival in all_of_them) > 160
    assert max(counted.values()) < 240


def test_questions_follow_the_answers():
    a1, a2 = visit("a", 1, 0, 5), visit("a", 2, 0, 6)
    joined = Arrival(visit=visit("b", 1, 7, 9), joined=a1, others=(a2,))
    new = Arrival(visit=visit("b", 3, 8, 9), joined=None, others=(a2, a1))
    drawn = [joined, new]
    question = next_question(drawn, [])
    assert question and (question.place, question.earlier) == (0, (a1,))
    # Not the same: who else of the line-up?
    labels = with_reply([], question, "n")
    question = next_question(drawn, labels)
    assert question and (question.place, question.earlier) == (0, (a2,)) and not labels[0].finished
    labels = with_reply(labels, question, 0)
    assert [(e.visit, e.same) for e in labels[0].earlier] == [(a1, "no"), (a2, "yes")] and labels[0].finished
    question = next_question(drawn, labels)
    assert question and (question.place, question.earlier) == (1, (a2, a1))
    # Of a line-up in which somebody was found, the others are left out: one of them may be the same person as well.
    found = with_reply(labels, question, 1)
    assert [(e.visit, e.same) for e in found[1].earlier] == [(a1, "yes")]
    none = with_reply(labels, question, "n")
    assert [(e.visit, e.same) for e in none[1].earlier] == [(a2, "no"), (a1, "no")]
    unknown = with_reply(labels, question, "?")
    assert {e.same for e in unknown[1].earlier} == {"unknown"}
    assert next_question(drawn, found) is next_question(drawn, none) is next_question(drawn, unknown) is None


def test_where_there_is_nobody_else_a_wrong_join_is_all_there_is_to_say():
    alone = Arrival(visit=visit("b", 1, 7, 9), joined=visit("a", 1, 0, 5), others=())
    question = next_question([alone], [])
    assert question and with_reply([], question, "n")[0].finished


def test_back_undoes_one_reply_at_a_time():
    a1, a2 = visit("a", 1, 0, 5), visit("a", 2, 0, 6)
    drawn = [
        Arrival(visit=visit("b", 3, 8, 9), joined=None, others=(a2, a1)),
        Arrival(visit=visit("b", 1, 7, 9), joined=a1, others=(a2, visit("a", 4, 1, 2))),
    ]
    history: list[list[Label]] = [[]]
    for reply in ("n", "n", "n"):  # new: none; joined: no; its line-up: none
        question = next_question(drawn, history[-1])
        assert question
        history.append(with_reply(history[-1], question, reply))
    assert next_question(drawn, history[-1]) is None
    for before, after in zip(reversed(history[:-1]), reversed(history), strict=False):
        assert without_last(after) == before
    assert without_last([]) == []


# --- files


def label(stratum: Stratum, second: Visit, *earlier: tuple[Visit, Same], finished: bool = True) -> Label:
    pairs = tuple(Earlier(visit=visit, same=same) for visit, same in earlier)
    return Label(stratum=stratum, weight=1.0, finished=finished, visit=second, earlier=pairs)


def labels(*said: Label, joined: int = 10, new: int = 10) -> Labels:
    counts: dict[Stratum, int] = {"joined": joined, "new": new}
    return Labels(run="0", seed=0, arrivals=counts, labels=weighted(said, counts))


def test_each_label_stands_for_as_many_arrivals_as_there_are_to_one_asked_about():
    a1 = visit("a", 1, 0, 5)
    said = labels(
        label("joined", visit("b", 1, 7, 9), (a1, "yes")),
        label("joined", visit("b", 2, 7, 9), (a1, "unknown")),
        label("joined", visit("b", 3, 7, 9), (a1, "no"), finished=False),
        label("new", visit("b", 4, 7, 9), (a1, "no")),
        joined=21,
        new=8,
    )
    assert [one.weight for one in said.labels] == [7.0, 7.0, 7.0, 8.0]


def test_labels_are_kept_to_their_owner_and_read_again(tmp_path):
    said = labels(label("joined", visit("b", 1, 7, 9, x=0.1), (visit("a", 1, 0, 5), "yes")))
    path = tmp_path / "labels.json"
    path.write_text("")
    path.chmod(0o644)  # a file that was open to all is closed
    write_labels(path, said)
    assert read_labels(path) == said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and list(tmp_path.iterdir()) == [path]
    assert len(path.read_text().splitlines()) == 3  # a line for the head, one a label, one to close
    write_labels(path, msgspec.structs.replace(said, labels=()))
    assert read_labels(path).labels == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "these are no labels"),
        ('{"schema_version": 1}', "these are no labels"),
        ('{"schema_version": 2, "run": "", "seed": 0, "arrivals": {}}', "labels of version 2"),
    ],
)
def test_what_is_no_labels_is_refused(tmp_path, text: str, sentence: str):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_labels(path)
    with pytest.raises(UserError, match="no such file; the command label makes one"):
        read_labels(tmp_path / "none.json")


# --- what the answers say


def tracks(*rows: tuple[str, int, Visit]) -> dict[str, Boxes]:
    """Tracks in which ids lie on visits: (camera, id, visit), one box each."""
    found = {}
    for camera in dict.fromkeys(camera for camera, _, _ in rows):
        own = [(i, *one.boxes[0]) for name, i, one in rows if name == camera]
        table = np.array(own, float)
        ones = np.ones(len(own))
        found[camera] = Boxes(
            table[:, 1].astype(np.int64), table[:, 0].astype(np.int64), table[:, 2:], ones, ones
        )
    return found


A1, B1 = visit("a", 1, 0, 5, x=0), visit("b", 1, 7, 9, x=0)
A2, B2 = visit("a", 2, 0, 5, x=100), visit("b", 2, 7, 9, x=100)
B3 = visit("b", 3, 7, 9, x=200)
SAID = labels(
    label("joined", B1, (A1, "yes")),
    label("joined", B2, (A2, "no"), (A1, "no")),
    label("new", B3, (A2, "yes")),
    joined=4,
    new=3,
)
LABELLED = tracks(("a", 1, A1), ("b", 1, B1), ("a", 2, A2), ("b", 2, B2), ("b", 3, B3))


def test_the_run_that_was_labelled():
    found = score_labels(SAID, LABELLED)
    # One of two joined arrivals is a true hand-over, and kept: 4 * 1/2 = 2 arrivals. The new one is missed, for 3.
    kept = found.hand_overs_kept
    assert (kept.share, kept.counted, kept.labels) == (pytest.approx(2 / (2 + 3)), 1, 2)
    # Of two joins one is wrong.
    assert (found.false_merges.share, found.false_merges.counted, found.false_merges.labels) == (0.5, 1, 2)
    assert (found.labels, found.unknown, found.unseen, found.unfinished) == (3, 0, 0, 0)
    assert kept.is_vague and found.false_merges.is_vague


def test_a_better_run_with_other_ids_and_boxes():
    # It sees B3 as A2 and lets B2 be somebody new; its boxes are 2 of 10 px to the right: IoU 8 / 12 = 0.67.
    def aside(one: Visit) -> Visit:
        [(frame, left, *rest)] = one.boxes
        return msgspec.structs.replace(one, boxes=((frame, left + 2, *rest),))

    rows = [("a", 71, A1), ("b", 71, B1), ("a", 72, A2), ("b", 72, B3), ("b", 73, B2)]
    better = tracks(*((camera, i, aside(one)) for camera, i, one in rows))
    found = score_labels(SAID, better)
    assert (found.hand_overs_kept.share, found.hand_overs_kept.labels) == (1.0, 2)
    assert (found.false_merges.share, found.false_merges.labels) == (0.0, 2)
    # At an IoU of 0.7 it has seen nobody, and nothing can be said.
    nothing = score_labels(SAID, better, min_iou=0.7)
    assert math.isnan(nothing.hand_overs_kept.share) and nothing.hand_overs_kept.labels == 0
    assert nothing.unseen == 3


def test_one_id_on_everybody_keeps_all_hand_overs_and_merges_everybody():
    everybody = tracks(*((one.camera_id, 1, one) for one in (A1, A2, B1, B2, B3)))
    found = score_labels(SAID, everybody)
    assert found.hand_overs_kept.share == 1.0
    # Joined pairs: A1 B1 right; A2 B2 and A1 B2 wrong, at 4/2 = 2 arrivals each; A2 B3 right, for 3.
    assert found.false_merges.share == pytest.approx((2 + 2) / (2 + 2 + 2 + 3))


def test_a_visit_that_the_run_did_not_see_is_told_and_counts_neither_way():
    rows = [("a", 1, A1), ("b", 1, B1), ("b", 2, B2), ("b", 3, B3)]
    found = score_labels(SAID, tracks(*rows))  # without A2
    # B3 was A2: whether it is kept cannot be said. Of the pairs of B2 one is left, and not joined.
    assert (found.hand_overs_kept.share, found.hand_overs_kept.labels, found.unseen) == (1.0, 1, 1)
    assert (found.false_merges.share, found.false_merges.labels) == (0.0, 1)
    other_site = score_labels(SAID, {})
    assert other_site.unseen == 3 and other_site.hand_overs_kept.labels == 0


def test_what_nobody_could_tell_or_was_not_asked_counts_no_hand_over_but_a_join():
    said = labels(
        label("joined", B2, (A2, "no"), (A1, "unknown")),
        label("joined", B1, (A1, "no"), finished=False),
        label("new", B3, (A2, "unknown"), (A1, "unknown")),
    )
    found = score_labels(said, LABELLED)
    assert found.hand_overs_kept.labels == 0
    # Both joins are known to be wrong, whoever it was.
    assert (found.false_merges.share, found.false_merges.labels) == (1.0, 2)
    assert (found.unknown, found.unfinished) == (2, 1)


def test_the_id_of_most_boxes_counts():
    long = msgspec.structs.replace(B1, boxes=tuple((n, 0.0, 0.0, 10.0, 20.0) for n in (71, 75, 80)))
    said = labels(label("joined", long, (A1, "yes")))
    at = {n: msgspec.structs.replace(B1, boxes=((n, 0.0, 0.0, 10.0, 20.0),)) for n in (71, 75, 80)}
    mixed = tracks(("a", 1, A1), ("b", 9, at[71]), ("b", 1, at[75]), ("b", 1, at[80]))
    assert score_labels(said, mixed).hand_overs_kept.share == 1.0


@pytest.mark.parametrize(("good", "bad"), [(19, 1), (5, 5), (20, 0), (0, 20), (1, 0)])
def test_one_stratum_is_the_jeffreys_interval(good: int, bad: int):
    """Quantiles of Beta(good + 1/2, bad + 1/2), open where all are good or all bad (Brown, Cai, DasGupta 2001)."""
    found = estimate([(7.0, good, bad, 0)])
    low, high = beta.ppf([0.025, 0.975], good + 0.5, bad + 0.5)
    assert found.share == pytest.approx(good / (good + bad)) and (found.counted, found.labels) == (
        good,
        good + bad,
    )
    assert found.low == pytest.approx(low if good else 0.0, abs=0.006)
    assert found.high == pytest.approx(high if bad else 1.0, abs=0.006)


def test_how_wide_an_interval_is_with_twenty_labels():
    # 19 of 20: Beta(19.5, 1.5) gives 78.9 to 99.5 %, 21 points; 5 of 10: Beta(5.5, 5.5) 22.4 to 77.6 %.
    assert estimate([(1.0, 19, 1, 0)]).low == pytest.approx(0.789, abs=0.005)
    assert not estimate([(1.0, 19, 1, 0)]).is_vague
    assert estimate([(1.0, 5, 5, 0)]).is_vague


def test_strata_count_by_their_sizes():
    # 60 arrivals, 8 of 10 good and the rest neither; 40, of which 1 of 10 is bad: 48 good to 4 bad.
    found = estimate([(60.0, 8, 0, 2), (40.0, 0, 1, 9)])
    assert found.share == pytest.approx(48 / 52) and (found.counted, found.labels) == (8, 9)
    # A stratum without any error yet may have some: the larger it is, the less is sure.
    unseen = [estimate([(60.0, 10, 0, 0), (size, 0, 0, 10)]) for size in (6.0, 60.0, 600.0)]
    assert [found.high for found in unseen] == [1.0] * 3
    assert unseen[0].low > unseen[1].low + 0.02 > unseen[2].low + 0.2


def test_nothing_was_labelled():
    for strata in ([], [(10.0, 0, 0, 5)]):
        found = estimate(strata)
        assert math.isnan(found.share) and (found.low, found.high, found.labels) == (0.0, 1.0, 0)
        assert found.is_vague


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """120 joined arrivals, of which 18 are asked, and 80 new ones, 12 asked, over and over. In truth one join in ten is
    wrong and hides a missed hand-over half of the time, and three in ten of the new ones are missed:
    120 * 0.9 / (120 * 0.95 + 80 * 0.3) = 78.3 % are kept."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        kept, missed, neither = rng.multinomial(18, [0.9, 0.05, 0.05])
        lost = rng.binomial(12, 0.3)
        found = estimate([(120.0, kept, missed, neither), (80.0, 0, lost, 12 - lost)])
        hits += found.low <= 108 / 138 <= found.high
    assert hits >= 89  # of 95 expected, 2.8 standard deviations below
