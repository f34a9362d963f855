"""Pieces -> people: what may never be joined, what must be, and that nobody's place in the list matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.scenes import at, look, person_box, tracklet
from tracker.core import grouping
from tracker.core.appearance import AppearanceModel, unit
from tracker.core.columns import own_looks
from tracker.core.feet import Feet
from tracker.core.grouping import (
    AT_ONCE,
    MAX_MEETING_LLR,
    MERGED,
    NEVER,
    SAID_LLR,
    SPLIT,
    TOGETHER,
    Doubt,
    Piece,
    Scores,
    competing,
    continued,
    group,
    one_to_one,
    refined,
)
from tracker.core.walking import Walks
from tracker.core.work import done

THRESHOLD = 2.2  # log-odds of 9 : 1


def scores(
    looks: Sequence[NDArray | None],
    *,
    link: float = 2.0,
    apart: Sequence[tuple[int, int]] = (),
    met: Sequence[tuple[int, int]] = (),
    meeting: float = 0.0,
) -> Scores:
    """Pieces one after the other unless they met; ``apart``: seen at once by one camera."""
    n = len(looks)
    rows = np.stack([np.zeros(32) if r is None else r for r in looks]) if n else np.zeros((0, 32))
    pictures = np.array([0.0 if r is None else 12.0 for r in looks])
    flags = np.zeros((2, n, n), bool)
    for which, pairs in enumerate((apart, met)):
        for i, j in pairs:
            flags[which, i, j] = flags[which, j, i] = True
    table = np.full((n, n), link)
    table[flags[0] | flags[1]] = NEVER
    np.fill_diagonal(table, NEVER)
    gap = np.where(flags[0] | flags[1], -1.0, 3.0)
    return Scores(rows, pictures, table, np.full((n, n), meeting), flags[1], flags[0], gap, AppearanceModel())


def parted(given: Scores, said: Sequence[int] | None = None, threshold: float = THRESHOLD) -> list[list[int]]:
    return group(given, list(range(len(given))) if said is None else said, threshold)


def test_nobody():
    assert parted(scores([])) == []


def test_who_looks_alike_is_joined_and_who_does_not_is_not():
    assert parted(scores([look(0), look(1), look(0, 0.3), look(1, 0.3)])) == [[0, 2], [1, 3]]


def test_how_likely_two_groups_are_one_is_the_same_either_way_round():
    # Else a pair may lie above a threshold one way round and below it the other. Of pieces as near in time as each
    # other, which of them tells may hang on the way round.
    rng = np.random.default_rng(4)
    given = scores([look(n % 32, 0.1 * n) for n in range(40)])
    for table, values in (
        (given.link, rng.normal(size=(40, 40))),
        (given.gap_s, rng.integers(3, size=(40, 40))),
    ):
        table[:] = np.triu(values, 1) + np.triu(values, 1).T
    nodes = grouping._Nodes(given)
    done(nodes.know(given, list(range(40))))
    done(nodes.joining(np.arange(0, 40, 2), np.arange(1, 40, 2)))
    done(nodes.odds(0.0))
    assert np.array_equal(nodes.S, nodes.S.T)


def test_without_looks_time_must_be_certain():
    assert parted(scores([None, None], link=2.0)) == [[0], [1]]
    assert parted(scores([None, None], link=2.5)) == [[0, 1]]


def test_a_glimpse_joins_somebody_but_never_two_people():
    """A box of three frames between two people used to make one of them: each went on as the next."""
    given = scores([None, None, None], link=3.0)
    given.link[0, 2] = given.link[2, 0] = -3.0  # the two are not one
    given.link[0, 1] = given.link[1, 0] = 4.0
    given.gap_s[0, 2] = given.gap_s[2, 0] = 9.0  # the glimpse lies between them
    assert parted(given) == [[0, 1, 2]]  # while all are believed in alike
    given.core = np.array([True, False, True])
    assert parted(given) == [[0, 1], [2]]


def test_joins_in_doubt_are_left_undone_where_few_may_be_wrong():
    # Pairs that are one at odds of 20 : 1, so that 1 in 21 joins is wrong. For 1 % of 21 joins there is credit of
    # 0.21, which four of them use up (4 / 21 = 0.19, and 24 joins would allow 0.24); a fifth would make it 0.238
    # beside 0.25 allowed, a sixth 0.286 beside 0.26.
    n = 20
    given = scores([None] * n, link=NEVER)
    for k in range(0, n, 2):
        given.link[k, k + 1] = given.link[k + 1, k] = np.log(20)
    pairs = sum(len(g) == 2 for g in group(given, list(range(n)), 0.0, 0.01))
    assert pairs == 5
    assert sum(len(g) == 2 for g in group(given, list(range(n)), 0.0)) == n / 2
    assert sum(len(g) == 2 for g in group(given, list(range(n)), 0.0, 0.05)) == n / 2


def test_two_who_walk_side_by_side_are_put_in_their_places():
    """Cameras a and b see both, 0 and 1, 2 and 3: whoever was joined first by chance stayed so."""
    given = scores([None] * 4, apart=[(0, 1), (2, 3)], met=[(0, 2), (0, 3), (1, 2), (1, 3)])
    given.placed = given.met.copy()
    given.meeting[:] = 5.0
    for i, j in ((0, 2), (1, 3)):
        given.meeting[i, j] = given.meeting[j, i] = 9.0
    # 9 + 9 for the one reading, 5 + 5 for the other.
    assert refined([[0, 3], [1, 2]], given) == [[1, 3], [0, 2]] or refined([[0, 3], [1, 2]], given) == [
        [0, 2],
        [1, 3],
    ]
    assert refined([[0, 2], [1, 3]], given) == [[0, 2], [1, 3]]
    # Somebody alone goes to where the places say; nobody goes to who excludes them.
    assert sorted(refined([[0], [2], [1, 3]], given)) == [[0, 2], [1, 3]]
    given.force(0, 3)
    assert refined([[0, 3], [1, 2]], given) == [[0, 3], [1, 2]]


def test_who_goes_on_as_whom_is_told_by_whole_groups():
    """Two cross each other's way, seen by two cameras each; after 0.8 s both are seen again, by one camera."""
    speed = 1.0
    pieces = [
        (0.0, 0.0, speed),
        (0.0, 0.02, speed),
        (0.0, 4.4, -speed),
        (2.4, 2.4, speed),
        (2.4, 2.0, -speed),
    ]
    noted = [
        (n, t_s + 0.4 * k, x + v * 0.4 * k, 0.0) for n, (t_s, x, v) in enumerate(pieces) for k in range(5)
    ]
    table = np.array(noted)
    given = scores([None] * 5, met=[(0, 1), (0, 2), (1, 2), (3, 4)], meeting=0.0)
    given.walks = Walks(
        table[:, 0].astype(np.intp),
        table[:, 1],
        Feet.of(table[:, 2:], np.full(len(table), 0.05), np.full((len(table), 2), np.nan)),
    )
    given.walked[:] = True
    given.longest_s = 60.0
    # Nearest to where the first two ended, at 1.6 m, is who starts at 2.0 m; but he comes from the other side.
    assert continued([[0, 1], [2], [3], [4]], given, 0.4) == [[0, 1, 3], [2, 4]]
    given.forbid(0, 3)
    assert continued([[0, 1], [2], [3], [4]], given, 0.4) == [[0, 1], [2, 4], [3]]
    assert (given.standing().link[given.walked] == NEVER).all()


def test_a_bond_counts_like_a_place():
    given = scores([None] * 3, link=NEVER)
    given.walks = Walks(
        np.zeros(0, np.intp), np.zeros(0), Feet.of(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)))
    )
    given.bonds[0, 1] = given.bonds[1, 0] = 4.0
    given.bonds[1, 2] = given.bonds[2, 1] = -1.0
    assert parted(given.standing()) == [[0, 1], [2]]


def test_of_pairs_that_exclude_each_other_the_odds_count_all():
    i, j = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    # Of the first: 1 / (1 + 3 + 2); of the last: 5 / (1 + 2 + 3).
    np.testing.assert_allclose(
        np.exp(one_to_one(i, j, np.log([1.0, 3.0, 2.0, 5.0]))), [1 / 6, 3 / 7, 2 / 7, 5 / 6]
    )
    assert np.isneginf(one_to_one(i, j, np.full(4, -np.inf))).all()


def test_people_seen_at_once_by_one_camera_are_never_one():
    assert parted(scores([look(0), look(0)], apart=[(0, 1)])) == [[0], [1]]
    # Not even through a third piece that would go with either.
    found = parted(scores([look(0), look(0), look(0)], apart=[(0, 1)], link=4.0))
    assert not any({0, 1} <= set(g) for g in found)


def test_of_two_who_exclude_each_other_the_better_one_is_taken():
    found = parted(scores([look(0), look(0, 0.2), look(0, 1.4)], apart=[(1, 2)]))
    assert found == [[0, 1], [2]]


def test_two_who_fit_as_well_make_a_new_person():
    """Nobody can say which of the two it was, so neither is claimed."""
    assert parted(scores([look(0), look(0), look(0)], apart=[(1, 2)], link=0.0)) == [[0], [1], [2]]


def test_two_cameras_that_see_somebody_at_one_place():
    assert parted(scores([None, None], met=[(0, 1)], meeting=6.0)) == [[0, 1]]
    assert parted(scores([None, None], met=[(0, 1)], meeting=-6.0)) == [[0], [1]]
    assert parted(scores([look(0), look(0)], met=[(0, 1)], meeting=-20.0)) == [[0], [1]]


def test_what_was_said_stays_unless_there_is_better():
    # 1.9 alone is not enough for 2.2; having been said is worth 1.
    assert parted(scores([None, None], link=1.9)) == [[0], [1]]
    assert parted(scores([None, None], link=1.9), said=[7, 7]) == [[0, 1]]
    # But looks that contradict it undo it.
    assert parted(scores([look(0), look(1)], link=1.9), said=[7, 7]) == [[0], [1]]


def test_who_an_operator_joined_stays_joined_and_who_was_parted_stays_parted():
    one = scores([look(0), look(1)], link=-3.0)
    one.force(0, 1)
    assert parted(one) == [[0, 1]]
    two = scores([look(0), look(0)], link=4.0)
    two.forbid(0, 1)
    assert parted(two) == [[0], [1]]


@pytest.mark.parametrize("seed", range(40))
def test_the_order_of_the_pieces_does_not_matter(seed):
    """Groups that had been joined into others used to count on as strangers, so the order told."""
    rng = np.random.default_rng(seed)
    n = 10
    rows = [look(int(rng.integers(3)), float(rng.uniform(0, 0.8))) for _ in range(n)]
    apart = [(i, j) for i in range(n) for j in range(i) if rng.uniform() < 0.25]
    plain = scores(rows, apart=apart)
    noise, more = (np.triu(rng.uniform(-3, 3, (n, n)), 1) for _ in range(2))
    plain.link += noise + noise.T
    plain.gap_s += np.where(
        plain.conflict, 0, more + more.T
    )  # no two gaps are equal: ties go by place in the list
    said = rng.integers(0, 4, n)
    order = rng.permutation(n)
    mixed = Scores(
        plain.looks[order], plain.pictures[order],
        *(m[np.ix_(order, order)] for m in (plain.link, plain.meeting, plain.met, plain.conflict, plain.gap_s)),
        AppearanceModel(),
    )  # fmt: skip
    found = {frozenset(g) for g in parted(plain, list(said))}
    again = {frozenset(int(order[i]) for i in g) for g in parted(mixed, list(said[order]))}
    assert found == again
    assert sorted(i for g in found for i in g) == list(range(n))
    assert not any(i in g and j in g for i, j in apart for g in found)
    assert any(len(g) > 1 for g in found)


def slow_group(given: Scores, said: Sequence[int], threshold: float) -> list[list[int]]:
    """The twin of `group`: what was joined is scored anew from its members, and all joins are weighed again."""
    model = given.appearance
    groups = [[i] for i in range(len(given))]

    def pooled(rows: list[int]) -> tuple[NDArray, float]:
        w = given.pictures[rows]
        return w @ given.looks[rows] / max(w.sum(), 1e-12), w.sum()

    def any_of(flags: NDArray, a: list[int], b: list[int]) -> bool:
        return bool(flags[np.ix_(a, b)].any())

    def score(a: list[int], b: list[int]) -> float:
        if a is b or any_of(given.conflict, a, b):
            return -np.inf
        if any_of(given.forced, a, b):
            return -NEVER
        (mean_a, n_a), (mean_b, n_b) = pooled(a), pooled(b)
        alike = unit(mean_a) @ unit(mean_b)
        value = float(model.llr(np.array(alike), np.array(n_a), np.array(n_b))) - given.new
        block = np.ix_(a, b)
        met, placed = given.met[block], given.met[block] & given.placed[block]
        if met.any():
            guessed = given.meeting[block][met & ~placed]
            shared = guessed.mean() if len(guessed) else 0.0
            value += np.clip(given.meeting[block][placed].sum() + shared, -MAX_MEETING_LLR, MAX_MEETING_LLR)
        else:
            value += given.link[block].flat[given.gap_s[block].argmin()]
        value += SAID_LLR * bool({said[i] for i in a} & {said[i] for i in b})
        return value if value > NEVER / 2 else -np.inf

    while len(groups) > 1:
        S = np.array([[score(a, b) for b in groups] for a in groups])
        conflict = np.array([[a is b or any_of(given.conflict, a, b) for b in groups] for a in groups])
        odds = competed(S, conflict)
        best = [int(row.argmax()) for row in odds]
        least = max(threshold, TOGETHER * odds.max())
        found = [(i, j) for i, j in enumerate(best) if i < j and best[j] == i and odds[i, j] >= least]
        if not found:
            break
        for i, j in found:
            groups[i] = sorted(groups[i] + groups[j])
        groups = [g for n, g in enumerate(groups) if n not in [j for _, j in found]]
    return sorted(groups)


@pytest.mark.parametrize("seed", range(30))
def test_groups_are_those_of_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    n = 20
    rows = [
        None if rng.uniform() < 0.1 else look(int(rng.integers(4)), float(rng.uniform(0, 1)))
        for _ in range(n)
    ]
    pairs = [(i, j) for i in range(n) for j in range(i)]
    kinds = rng.choice(3, len(pairs), p=[0.6, 0.25, 0.15])
    apart, met = ([pair for pair, kind in zip(pairs, kinds, strict=True) if kind == k] for k in (1, 2))
    given = scores(rows, apart=apart, met=met)
    for matrix in (given.link, given.gap_s, given.meeting):
        noise = np.triu(rng.uniform(-2.5, 2.5, (n, n)), 1)
        matrix += noise + noise.T
    given.placed = np.array(given.met & (np.add.outer(range(n), range(n)) % 2 == 0))
    given.force(*map(int, rng.choice(n, 2, replace=False)))
    said = [int(g) for g in rng.integers(0, 12, n)]
    found = group(given, said, 1.0)
    assert found == slow_group(given, said, 1.0)
    assert any(len(g) > 1 for g in found)


def competed(S: np.ndarray, conflict: np.ndarray) -> np.ndarray:
    """`competing`, as a matrix."""
    odds = competing(S, conflict)
    out = np.full(S.shape, -np.inf)
    out[odds.a, odds.b] = odds.value
    return out


@pytest.mark.parametrize("few", [0, 10**6])  # as a product of matrices, one by one
def test_the_odds_of_a_join_count_what_it_excludes(few, monkeypatch):
    """Against a slow twin: joining a with b excludes a with c, where b and c cannot be one, and the same from b."""
    monkeypatch.setattr(grouping, "FEW", few)
    rng = np.random.default_rng(3)
    n = 6
    S = rng.uniform(-3, 3, (n, n))
    S = (S + S.T) / 2
    conflict = rng.uniform(size=(n, n)) < 0.3
    conflict |= conflict.T
    np.fill_diagonal(conflict, True)
    S[conflict] = -np.inf
    found = competed(S, conflict)
    for a in range(n):
        for b in range(n):
            if conflict[a, b]:
                assert found[a, b] == -np.inf
                continue
            rivals = sum(np.exp(S[a, c]) for c in range(n) if conflict[c, b] and c != b and S[a, c] > -np.inf)
            rivals += sum(
                np.exp(S[b, c]) for c in range(n) if conflict[c, a] and c != a and S[b, c] > -np.inf
            )
            assert found[a, b] == pytest.approx(S[a, b] - np.log(1 + rivals))


def test_why_two_groups_are_one():
    found = scores([look(0), look(0, 0.3), look(1)]).between([0], [1])
    assert found is not None
    assert found.distance == pytest.approx(1 - np.cos(0.3), abs=1e-4)
    assert found.gap_s == 3.0 and found.probability > 0.9
    assert found.cues["appearance"] > 1 and found.cues["time"] == 2.0 and found.cues["place"] == 0
    assert scores([look(0)]).between([0], []) is None


def test_a_decision_is_weighed_against_everybody_known_and_somebody_new():
    # Three people; of the second one camera has seen the first at once, the third looks like the first.
    given = scores([look(0), look(1), look(0), None], apart=[(0, 1)])
    given.people = 3
    owner = np.array([0, 1, 2, -1])
    log_odds = np.log([6.0, 2.0, 1.0])  # somebody new: 1
    told = given.verdict(log_odds, 0, owner, 3)
    alike = float(given.appearance.llr(np.array(1.0), np.array(12.0), np.array(12.0)))
    one = 1 / (1 + 3 * np.exp(-alike))  # odds beforehand of the third being the first: 1 : 3
    assert told.probability == pytest.approx((6 + one) / 10)
    assert told.runner_up == 1 and told.runner_up_probability == pytest.approx(0.2)
    doubt = Doubt(0.5, 0.6, 0.1)
    assert doubt.of(told).probability == pytest.approx(0.5 * (6 + one) / 10 + 0.3)
    assert doubt.of(told).runner_up_probability == pytest.approx(0.15)


@pytest.mark.parametrize("doubt", [AT_ONCE, MERGED, SPLIT])
def test_probabilities_of_one_decision_are_at_most_one_together(doubt):
    rng = np.random.default_rng(1)
    given = scores([look(n % 3) for n in range(6)], apart=[(0, 1), (2, 4)])
    for _ in range(100):
        told = doubt.of(given.verdict(rng.normal(0, 4, 6), int(rng.integers(6)), np.arange(6), 6))
        assert told.probability + told.runner_up_probability <= 1
        assert min(told.probability, told.runner_up_probability) >= 0


def test_a_query_of_several_pieces_is_what_two_groups_are():
    rng = np.random.default_rng(2)
    given = scores([look(int(n), float(a)) for n, a in zip(rng.integers(3, size=9), rng.uniform(0, 1, 9))])
    given.people = 4
    owner = np.array([-1, -1, 0, 1, 0, 1, 2, 2, 0])
    [found] = given.to_groups([[0, 1]], owner, 3)
    expected = [given._of([0, 1], np.flatnonzero(owner == g).tolist())[0] for g in range(3)]
    assert found == pytest.approx(expected)


# ---- a piece -------------------------------------------------------------------------------------------------


def test_where_a_piece_was_in_the_picture_is_sparse_and_bounded():
    piece = Piece(tracklet("a", 1, 0, 0))
    for n in range(40):
        piece.see(at(n / 10), person_box(300), np.array([n / 10, 0.0]), 0.1)
    assert [t for t, _ in piece.sights] == [at(n / 2) for n in range(8)]  # a place every 0.5 s
    assert piece.speed_m_s == pytest.approx((1.0, 0.0))  # 0.1 m in 0.1 s
    for n in range(2000):
        piece.see(at(4 + n / 2), person_box(300), np.array([0.0, 0.0]), 0.1)
    assert len(piece.sights) == 240 and piece.sights[-1][0] == at(4 + 1999 / 2)
    assert piece.speed_m_s == (0.0, 0.0)


def test_a_newer_revision_brings_newer_looks_and_times():
    piece = Piece(tracklet("a", 1, 0, 1))
    assert piece.looks is None and piece.pictures == 0
    assert np.isnan(piece.distance(Piece(tracklet("b", 1, 0, 1, look(0)))))
    piece.update(tracklet("a", 1, 0, 3, look(0), revision=2))
    assert piece.t_last_ns == at(3) and piece.pictures == 12
    assert piece.distance(Piece(tracklet("b", 1, 0, 1, look(0, 0.5)))) == pytest.approx(
        1 - np.cos(0.5), abs=1e-6
    )
    piece.forget_looks()
    assert piece.looks is None and piece.pictures == 0


def test_a_piece_comes_back_from_its_state():
    piece = Piece(tracklet("a", 1, 0, 1, look(0)))
    piece.see(at(1.2), person_box(300), np.array([1.5, 2.5]), 0.1)
    again = Piece.from_state(piece.to_state())
    assert again.to_state() == piece.to_state()
    assert again.last_sighting() == piece.last_sighting() and again.place == (1.5, 2.5)
    piece.forget_looks()
    assert Piece.from_state(piece.to_state()).looks is None


def test_a_piece_that_holds_earlier_ones_looks_like_all_of_them():
    model = AppearanceModel()  # of which no camera has taught anything: looks are all the person's own
    first, second, third = (Piece(tracklet("a", n, n, n + 1, look(n))) for n in range(3))
    second.hold(first, look(0), 12.0)
    rows, pictures = own_looks([second], model)
    np.testing.assert_allclose(rows[0], (look(0) + look(1)) / np.sqrt(2), atol=1e-6)
    third.hold(second, rows[0], float(pictures[0]))
    rows, pictures = own_looks([third, first], model)
    # 24 pictures of the first two, whose mean is brought to length 1, and 12 of the third.
    np.testing.assert_allclose(rows[0], unit(2 * (look(0) + look(1)) / np.sqrt(2) + look(2)), atol=1e-6)
    assert pictures.tolist() == [36, 12] and third.pictures == 36
    assert third.boxes_seen == sum(p.tracklet.boxes_seen for p in (first, second, third))
    assert third.holds == [(first.key, first.t_last_ns), (second.key, second.t_last_ns)]
    again = Piece.from_state(third.to_state())
    assert again.to_state() == third.to_state()
    np.testing.assert_array_equal(own_looks([again], model)[0], own_looks([third], model)[0])
    third.forget_looks()
    assert own_looks([third], model)[1].tolist() == [0]


def test_of_somebody_long_unseen_one_look_is_left():
    piece, earlier = Piece(tracklet("a", 2, 2, 3, look(1))), Piece(tracklet("a", 1, 0, 1, look(0)))
    piece.hold(earlier, look(0), 12.0)
    rows, _ = own_looks([piece], AppearanceModel())
    looks, pictures = rows[0], piece.pictures
    back = Piece.from_state(piece.slim_state())
    assert back.looks is None and back.pictures == 0 and back.holds == [] and back.sights == []
    assert len(back.tracklet.prototypes) == 0 and len(back.tracklet.mean_embedding) == 0
    back.look_like(looks, pictures)
    np.testing.assert_allclose(own_looks([back], AppearanceModel())[0][0], looks, atol=1e-6)
    assert (back.pictures, back.t_last_ns, back.boxes_seen) == (24, piece.t_last_ns, piece.boxes_seen)


def test_who_was_away_is_one_of_those_who_may_have_been():
    given = scores([look(n) for n in range(4)])
    given.expect(6, 0.75)
    # Each of 4 may be any of the 3 others, so that each of 6 people may be anybody: 6 * 3 / 1 for somebody new.
    assert given.new_away == pytest.approx(np.log(6 * 3))
    some = scores([look(n) for n in range(4)], met=[(0, 1), (2, 3)])
    some.expect(6, 0.75)
    assert some.new_away == pytest.approx(np.log(6 * 2 / 3 * 3))  # two of three others are elsewhere


def test_in_a_crowd_looks_that_would_do_among_few_do_not():
    """Somebody new had odds of N^0.4 among N people however they came: strangers were taken for each other."""
    for people, groups in ((3, [[0, 1]]), (300, [[0], [1]])):
        given = scores([look(0), look(0, 0.8)])
        given.expect(people, 0.5)
        assert parted(given) == groups
        # The same for who comes, to any rounding.
        alone = given.to_group(1, [0])
        assert alone == pytest.approx(given.to_groups([[1]], np.array([0, -1]), 1)[0, 0])
        found = given.between([1], [0])
        assert found is not None
        assert np.log(found.probability / (1 - found.probability)) == pytest.approx(alone)
        assert alone == pytest.approx(sum(found.cues.values()) - np.log(people), abs=0.01)


def test_who_is_followed_is_not_asked_how_many_there_are():
    for gap_s, is_away in ((1.0, False), (2.0, True)):
        given = scores([look(0), look(0, 0.8)])
        given.gap_s[:] = gap_s
        given.expect(300, 0.5)
        found = given.are_away(np.array([0, -1]), 1)
        assert found.tolist() == [[False], [is_away]]  # nobody is away from themselves
        assert given.after[0, 1] == pytest.approx(2.0 - (np.log(300) if is_away else 0.4 * np.log(300)))
