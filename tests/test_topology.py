"""What a site's traffic teaches about its ways: the default, what changes it, and laws of what is remembered."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from tracker.core import topology
from tracker.core.evidence import gap_llr
from tracker.core.passing import NEAR
from tracker.core.topology import DAY_NS, MOST_WAYS, QUIET_S, Crossings, Distances, Passages, SiteModel
from tracker.core.zones import (
    BINS,
    CELLS,
    EARLIEST_S,
    GOES_ON,
    GRID,
    MAX_LOG_RATIO,
    MOST_ZONES,
    UNUSUAL,
    WINDOW_S,
    Zones,
    bin_of,
    cell_of,
    default_density,
    side_of,
    zones_of,
)

HALL_RIGHT, HALL_LEFT, YARD_LEFT, YARD_RIGHT = (0.94, 0.6), (0.06, 0.6), (0.06, 0.6), (0.94, 0.6)
GAPS_S = (-3.0, 0.0, 4.0, 12.0, 60.0, 119.0)


def ns(seconds: ArrayLike) -> NDArray[np.int64]:
    return (np.asarray(seconds, float) * 1e9).astype(np.int64).reshape(-1)


def crossings(camera: str, xy: ArrayLike, t_s: ArrayLike, weight: ArrayLike) -> Crossings:
    t_ns = ns(t_s)
    n = len(t_ns)
    return Crossings(
        camera=np.full(n, camera, object).astype(np.str_),
        xy=np.broadcast_to(np.asarray(xy, float), (n, 2)).copy(),
        t_ns=t_ns,
        weight=np.broadcast_to(np.asarray(weight, float), n).copy(),
    )


def passages(
    a: str, from_xy: ArrayLike, out_s: ArrayLike, b: str, to_xy: ArrayLike, in_s: ArrayLike, weight: ArrayLike
) -> Passages:
    left = crossings(a, from_xy, out_s, weight)
    came = crossings(b, to_xy, in_s, weight)
    return Passages(
        from_camera=left.camera,
        from_xy=left.xy,
        t_out_ns=left.t_ns,
        to_camera=came.camera,
        to_xy=came.xy,
        t_in_ns=came.t_ns,
        weight=came.weight,
    )


def rows(record, keep: ArrayLike):
    """Some rows of a record."""
    return type(record)(**{name: getattr(record, name)[keep].copy() for name in record.__struct_fields__})


def together(*records):
    """The rows of several records of a kind."""
    columns = {
        name: np.concatenate([getattr(one, name) for one in records]) for name in records[0].__struct_fields__
    }
    return type(records[0])(**columns)


NOBODY, NO_PASSAGES = Crossings.none(), Passages.none()


def ratio(
    model: SiteModel,
    gaps_s: ArrayLike = GAPS_S,
    *,
    a: str = "hall",
    from_xy: ArrayLike = HALL_RIGHT,
    b: str = "yard",
    to_xy: ArrayLike = YARD_LEFT,
) -> NDArray[np.float64]:
    """What the model says of leaving a and entering b after each of K gaps, (K,)."""
    gaps = np.atleast_2d(np.asarray(gaps_s, float))
    k = gaps.shape[1]
    return model.log_ratio([a], [from_xy], [b] * k, [to_xy] * k, gaps)[0]


def traffic(
    people: int, seed: int, *, others_per_s: float = 1 / 120, wrong: float = 0.3
) -> tuple[Passages, Crossings, Crossings, int]:
    """``people`` leave the hall by its right and enter the yard by its left 12 +- 2 s later; others enter there too.

    Who is who is only probable: right pairs weigh 0.5 to 1, every wrong one within the window up to ``wrong``, shared
    among all that exclude each other.
    """
    rng = np.random.default_rng(seed)
    end_s = people * 40.0
    out_s = np.sort(rng.uniform(0, end_s, people))
    in_s = np.concatenate(
        [out_s + rng.normal(12, 2, people), rng.uniform(0, end_s, rng.poisson(others_per_s * end_s))]
    )
    gap_s = in_s[None, :] - out_s[:, None]
    possible = (gap_s >= EARLIEST_S) & (gap_s <= WINDOW_S)
    weight = np.where(
        possible, rng.uniform(0, wrong, gap_s.shape) / np.maximum(possible.sum(axis=1), 1)[:, None], 0
    )
    weight[np.arange(people), np.arange(people)] = rng.uniform(0.5, 1.0, people)
    i, j = np.nonzero(weight)
    from_xy = HALL_RIGHT + rng.normal(0, 0.02, (people, 2))
    to_xy = YARD_LEFT + rng.normal(0, 0.02, (len(in_s), 2))
    return (
        passages("hall", from_xy[i], out_s[i], "yard", to_xy[j], in_s[j], weight[i, j]),
        crossings("yard", to_xy, in_s, 1 - np.minimum(weight.sum(axis=0), 1)),
        crossings("hall", from_xy, out_s, 1 - np.minimum(weight.sum(axis=1), 1)),
        int(end_s * 1e9),
    )


def learned(people: int, seed: int = 0) -> SiteModel:
    ways, entries, exits, now_ns = traffic(people, seed)
    return SiteModel().learn(ways, entries, exits, now_ns=now_ns)


# ---- what it says --------------------------------------------------------------------------------------------


def test_nothing_learned_is_the_default():
    expected = gap_llr(np.array(GAPS_S), typical_s=4.0, window_s=WINDOW_S)
    assert ratio(SiteModel()) == pytest.approx(expected)
    assert ratio(SiteModel(), [12.0])[0] == pytest.approx(np.log(120 / 4 / (1 + 12 / 4) ** 2))
    assert SiteModel().leaves(["hall"], [HALL_RIGHT]) == pytest.approx([0.5])


def test_cameras_of_which_nothing_is_known_keep_the_default_beside_others_that_have_learned():
    model = learned(100)
    assert ratio(model, a="gate", b="lift") == pytest.approx(ratio(SiteModel()))
    assert ratio(model, a="hall", b="lift") == pytest.approx(ratio(SiteModel()))


@pytest.mark.parametrize("seed", range(5))
def test_ten_passages_teach_how_long_a_way_takes(seed: int):
    model = learned(10, seed)
    at_12, at_60 = ratio(model, [12.0, 60.0])
    assert at_12 > ratio(model, [25.0])[0] + 1
    assert at_12 > at_60 + 3
    assert at_12 > ratio(SiteModel(), [12.0])[0] + 0.5


def test_ten_passages_teach_more_than_the_default_knows():
    gains = [ratio(learned(10, seed), [12.0])[0] - ratio(SiteModel(), [12.0])[0] for seed in range(20)]
    assert np.mean(gains) > 1.2
    assert np.mean([ratio(learned(5, seed), [12.0])[0] for seed in range(20)]) > 1.5  # of 0.63 by default


def test_more_passages_teach_more_exactly():
    few, many = learned(10), learned(500)
    assert many.log_ratio(["hall"], [HALL_RIGHT], ["yard"], [YARD_LEFT], [[18.0]]) < few.log_ratio(
        ["hall"], [HALL_RIGHT], ["yard"], [YARD_LEFT], [[18.0]]
    )
    assert ratio(many, [12.0])[0] > ratio(many, [18.0])[0] + 1.5  # three sigma away: e^4.5 in truth


def test_a_border_by_which_nobody_goes_over_speaks_against():
    ways, entries, exits, now_ns = traffic(40, 0)
    t_s = np.arange(0, now_ns / 1e9, 40.0)
    lefts = crossings("hall", HALL_LEFT, t_s, 1.0)
    model = SiteModel().learn(ways, entries, together(exits, lefts), now_ns=now_ns)
    assert ratio(model, [12.0], from_xy=HALL_LEFT)[0] < 0
    assert ratio(model, [12.0])[0] > 1.5
    gone_left, gone_right = model.leaves(["hall", "hall"], [HALL_LEFT, HALL_RIGHT])
    assert gone_left > 0.95 and gone_right < 0.25


def test_a_camera_to_which_nobody_goes_gets_a_negative_ratio_even_at_once():
    t_s = np.arange(0, 3600, 30.0)
    model = SiteModel().learn(
        NO_PASSAGES,
        crossings("yard", YARD_LEFT, t_s + 5, 1.0),
        crossings("hall", HALL_RIGHT, t_s, 1.0),
        now_ns=int(3600e9),
    )
    # 120 left and none came: of all who leave 0.5 / 121 go, of those who leave just here 1 / 121 of that; one in
    # fifty is unusual and goes with odds of a half. The yard has (120 + 1) new people in 3570 + 240 s, all at one
    # door, where nobody of the hall's is expected more than elsewhere. At 12 s the default density is 1 / 64 per s.
    share = 0.98 * 0.5 / 121 / 121 + 0.02 / 2
    expected = np.log(share / 64 / (121 / 3810))
    assert ratio(model, [12.0])[0] == pytest.approx(expected, abs=0.1)
    assert expected < -4


def test_one_or_two_wrong_passages_do_little():
    """Two of the first ten who left look like people who entered 47 s later."""
    t_s = np.arange(0, 600, 60.0)
    exits, entries = crossings("hall", HALL_RIGHT, t_s, 0.9), crossings("yard", YARD_LEFT, t_s + 47, 0.9)
    wrong = passages("hall", HALL_RIGHT, t_s[:2], "yard", YARD_LEFT, t_s[:2] + 47, 0.6)
    model = SiteModel().learn(wrong, entries, exits, now_ns=int(600e9))
    assert ratio(model, [47.0])[0] < ratio(SiteModel(), [47.0])[0]
    truth = traffic(10, 0)
    after = model.learn(*truth[:3], now_ns=truth[3])
    assert ratio(after, [12.0])[0] > ratio(after, [47.0])[0] + 1
    assert ratio(after, [12.0])[0] > ratio(SiteModel(), [12.0])[0]


def test_views_that_overlap_are_entered_before_the_last_one_is_left():
    t_s = np.arange(0, 1200, 60.0)
    model = SiteModel().learn(
        passages("hall", HALL_RIGHT, t_s + 3, "yard", YARD_LEFT, t_s, 0.9),
        crossings("yard", YARD_LEFT, t_s, 0.1),
        crossings("hall", HALL_RIGHT, t_s + 3, 0.1),
        now_ns=int(1200e9),
    )
    at_once, before, after = ratio(model, [-3.0, -30.0, 12.0])
    assert at_once > 2 > after
    assert before == ratio(model, [EARLIEST_S])[0]  # so long before is as EARLIEST_S before


def test_ways_go_one_way():
    ways, entries, exits, now_ns = traffic(50, 0)
    t_s = exits.t_ns / 1e9
    model = SiteModel().learn(
        ways,
        together(entries, crossings("hall", HALL_LEFT, t_s - 9, 1.0)),
        together(exits, crossings("yard", YARD_RIGHT, t_s + 20, 1.0)),
        now_ns=now_ns,
    )
    back = ratio(model, [12.0], a="yard", from_xy=YARD_LEFT, b="hall", to_xy=HALL_RIGHT)[0]
    assert back < ratio(model, [12.0])[0] - 1


def test_who_left_before_a_camera_was_there_says_nothing_about_it():
    t_s = np.arange(0, 36_000, 60.0)
    old = SiteModel().learn(
        NO_PASSAGES, NOBODY, crossings("hall", HALL_RIGHT, t_s, 1.0), now_ns=int(36_000e9)
    )
    new = old.learn(NO_PASSAGES, crossings("yard", YARD_LEFT, [36_000], 1.0), NOBODY, now_ns=int(36_000e9))
    # One arrival, at this very door, beside the one of the prior that is anywhere: log 2 for the number, and the
    # kernel's height for the place.
    assert ratio(new, [12.0])[0] == pytest.approx(ratio(SiteModel(), [12.0])[0], abs=2.2)


def test_nights_say_nothing_about_days():
    t_s = np.arange(0, 3600, 30.0)
    day = SiteModel(half_life_days=1e5).learn(
        NO_PASSAGES, crossings("yard", YARD_LEFT, t_s, 1.0), NOBODY, now_ns=int(3600e9)
    )
    both = day.learn(
        NO_PASSAGES, crossings("yard", YARD_LEFT, t_s + 50_000, 1.0), NOBODY, now_ns=int(53_600e9)
    )
    (door,) = both.doorways()
    # 240 people in 2 * 3570 s and QUIET_S of the night.
    assert door.new_per_hour == pytest.approx(3600 * 240 / (2 * 3570 + QUIET_S), rel=1e-4)


# ---- laws of its memory --------------------------------------------------------------------------------------


def state(model: SiteModel) -> NDArray[np.float64]:
    """All numbers of a model's file, in its order."""

    def numbers(value) -> list[float]:
        if isinstance(value, dict):
            return [x for key in value for x in numbers(value[key])]
        if isinstance(value, list):
            return [x for one in value for x in numbers(one)]
        return [float(value)] if isinstance(value, int | float) else []

    return np.array(numbers(json.loads(model.to_file_text())))


def full(model: SiteModel) -> SiteModel:
    """With distances and overlaps as well."""
    model = model.learn_distances("hall", "yard", [0.3, 0.4, np.nan], [0.7, 0.8, 0.9])
    return model.learn_distances("yard", "yard", [], [0.5]).learn_overlaps({("hall", "yard"): (3, 7)})


@pytest.mark.parametrize("cut_s", [0.0, 333.0, 900.0, 1e6])
def test_learning_in_two_parts_equals_learning_in_one(cut_s: float):
    ways, entries, exits, now_ns = traffic(60, 3)
    cut_ns = int(cut_s * 1e9)
    one = SiteModel(half_life_days=0.01).learn(ways, entries, exits, now_ns=now_ns)
    first = SiteModel(half_life_days=0.01).learn(
        rows(ways, ways.t_in_ns < cut_ns),
        rows(entries, entries.t_ns < cut_ns),
        rows(exits, exits.t_ns < cut_ns),
        now_ns=min(cut_ns, now_ns),
    )
    two = first.learn(
        rows(ways, ways.t_in_ns >= cut_ns),
        rows(entries, entries.t_ns >= cut_ns),
        rows(exits, exits.t_ns >= cut_ns),
        now_ns=now_ns,
    )
    assert state(two) == pytest.approx(state(one))
    assert ratio(two) == pytest.approx(ratio(one))


def test_the_order_of_rows_does_not_matter():
    ways, entries, exits, now_ns = traffic(30, 4)
    back = [rows(one, slice(None, None, -1)) for one in (ways, entries, exits)]
    assert state(SiteModel().learn(*back, now_ns=now_ns)) == pytest.approx(
        state(SiteModel().learn(ways, entries, exits, now_ns=now_ns))
    )


def test_everything_fades_by_half_in_its_half_life():
    model = full(SiteModel(half_life_days=2.0).learn(*traffic(20, 0)[:3], now_ns=10**9))
    later = model.learn(NO_PASSAGES, NOBODY, NOBODY, now_ns=10**9 + 2 * DAY_NS)
    for a, b in (
        (sum(one.weights.sum() for one in m.ways.values()), sum(p.counts.sum() for p in m.pictures.values()))
        for m in (model, later)
    ):
        assert a > 0 and b > 0
    assert later.ways["hall", "yard"].weights == pytest.approx(model.ways["hall", "yard"].weights / 2)
    assert later.pictures["hall"].counts == pytest.approx(model.pictures["hall"].counts / 2)
    assert later.pictures["hall"].watched_s == pytest.approx(model.pictures["hall"].watched_s / 2)
    assert later.distances["hall", "yard"] == pytest.approx(model.distances["hall", "yard"] / 2)
    assert later.overlaps["hall", "yard"] == (1.5, 3.5)


def test_a_model_is_a_value():
    model = learned(10)
    text, said = model.to_file_text(), ratio(model)
    full(model.learn(*traffic(20, 5)[:3], now_ns=10**15))
    assert model.to_file_text() == text
    assert ratio(model).tolist() == said.tolist()


def test_time_does_not_run_backwards():
    model = learned(10)
    assert model.learn(NO_PASSAGES, NOBODY, NOBODY, now_ns=0).to_file_text() == model.to_file_text()


def test_after_many_half_lives_it_is_the_default_again():
    old = learned(100).learn(NO_PASSAGES, NOBODY, NOBODY, now_ns=1000 * DAY_NS)
    assert ratio(old) == pytest.approx(ratio(SiteModel()), abs=1e-6)


def test_memory_is_bounded():
    rng = np.random.default_rng(0)
    n = MOST_WAYS * 2
    t_s = rng.uniform(0, 1000, n)
    xy = rng.uniform(0, 1, (2, n, 2))
    weight = rng.uniform(0, 0.1, n)
    weight[:50] = 1.0
    model = SiteModel().learn(
        passages("hall", xy[0], t_s, "yard", xy[1], t_s + rng.uniform(0, 120, n), weight),
        crossings("yard", xy[1], t_s, 0.5),
        crossings("hall", xy[0], t_s, 0.5),
        now_ns=int(1e12),
    )
    kept = model.ways["hall", "yard"]
    assert len(kept.keys) == MOST_WAYS
    assert (kept.weights > 0.9).sum() == 50  # the heaviest stay
    assert len(model.to_file_text()) < 200_000
    assert len(model.doorways()) <= 2 * (MOST_ZONES + 1)


# ---- no input breaks it --------------------------------------------------------------------------------------


def test_shapes_and_limits():
    model = learned(300)
    for n, m in ((0, 0), (3, 0), (0, 4), (3, 4)):
        found = model.log_ratio(
            ["hall"] * n, np.zeros((n, 2)), ["yard"] * m, np.zeros((m, 2)), np.zeros((n, m))
        )
        assert found.shape == (n, m)
    odd = np.array([[np.nan, np.inf, -np.inf, 1e9, -1e9, 120.0, 120.1]])
    places = [(np.nan, np.nan), (-5, 9), (0, 0), (1, 1), (0.5, np.inf), YARD_LEFT, YARD_LEFT]
    for a in ("hall", "nobody knows this one", ""):
        found = model.log_ratio([a], [(np.nan, 0.5)], ["yard"] * 7, places, odd)
        assert np.isfinite(found).all() and (np.abs(found) <= MAX_LOG_RATIO).all()
        assert found[0, [0, 1, 3, 6]].tolist() == [-MAX_LOG_RATIO] * 4
    assert model.leaves([], np.zeros((0, 2))).shape == (0,)
    gone = model.leaves(["hall", "x"], [(np.nan, 0), (0, 0)])
    assert ((gone > 0) & (gone < 1)).all()


def test_places_and_times_nobody_knows_teach_nothing():
    nan = (np.nan, 0.5)
    model = SiteModel().learn(
        together(
            passages("hall", nan, [1.0], "yard", YARD_LEFT, [2.0], 1.0),
            passages("hall", HALL_RIGHT, [1.0], "yard", YARD_LEFT, [1.0 + WINDOW_S + 1], 1.0),
            passages("hall", HALL_RIGHT, [1.0], "yard", YARD_LEFT, [2.0], 0.0),
        ),
        crossings("yard", nan, [1.0], 1.0),
        crossings("hall", nan, [1.0], 1.0),
        now_ns=10**10,
    )
    assert model.ways == {} and model.routes() == [] and model.doorways() == []
    assert np.isfinite(ratio(model)).all()


def slow_ratio(model: SiteModel, a: str, p: ArrayLike, b: str, q: ArrayLike, gap_s: float) -> float:
    """The same answer, one pair of places, in plain sums over everything remembered."""
    middle = [((n % GRID + 0.5) / GRID, (n // GRID + 0.5) / GRID) for n in range(CELLS)]

    def near(m: int, n: int) -> float:
        (x, y), (u, v) = middle[m], middle[n]
        return float(np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * NEAR**2)))

    def spread(m: int, n: int) -> float:
        return near(m, n) / float(np.mean([near(k, n) for k in range(CELLS)]))

    left, entered = (int(cell_of(np.array([place]))[0]) for place in (p, q))
    hall, yard = model.pictures[a], model.pictures[b]
    starts, new = yard.counts[0], yard.counts[1]
    density = (sum(spread(entered, n) * starts[n] for n in range(CELLS)) + 2) / (starts.sum() + 2)
    new_per_s = (sum(spread(entered, n) * new[n] for n in range(CELLS)) + density) / (yard.watched_s + 240)
    since = min(1.0, (yard.watched_s + 1) / (hall.watched_s + 1))

    passed = [(*divmod(int(key), BINS), w) for key, w in zip(*vars(model.ways[a, b]).values(), strict=True)]
    number = sum(w for *_, w in passed)
    width = (np.arcsinh(60) - np.arcsinh(-2.5)) / BINS
    sigma = 0.5 / 2 ** (min(max(round(np.log2(max(number, 1.0))), 0), 5) / 2)
    at = int(bin_of(np.array(gap_s)))
    default = float(default_density(np.array(gap_s)))

    def time(n: int) -> float:
        """A passage in bin n, smoothed, at the gap, per second."""
        kernel = [np.exp(-0.5 * ((k - n) * width / sigma) ** 2) for k in range(BINS)]
        return float(kernel[at] / sum(kernel) / width / np.sqrt(gap_s**2 + 4))

    here = sum(near(left, c // CELLS) * spread(entered, c % CELLS) * time(n) * w for c, n, w in passed)
    went = sum(near(left, c // CELLS) * w for c, _, w in passed)
    ended = max(sum(near(left, n) * hall.counts[2][n] for n in range(CELLS)) * since, went)
    goes = (number + GOES_ON) / (max(hall.counts[2].sum() * since, number) + 1)
    enters = (sum(spread(entered, c % CELLS) * w for c, _, w in passed) + density) / (number + 1)
    borrowed = min(1.0, 4 / max(number, 4))
    usual = (borrowed * sum(time(n) * w for _, n, w in passed) + 2 * default) / (borrowed * number + 2)
    likely = (here + goes * enters * usual) / (ended + 1)
    return float(np.log(((1 - UNUSUAL) * likely + UNUSUAL * GOES_ON * density * default) / new_per_s))


def test_all_pairs_at_once_equal_one_pair_in_plain_sums():
    ways, entries, exits, now_ns = traffic(80, 7)
    rng = np.random.default_rng(1)
    t_s = rng.uniform(0, now_ns / 1e9, 60)
    model = SiteModel().learn(
        together(ways, passages("hall", HALL_LEFT, t_s[:20], "yard", YARD_RIGHT, t_s[:20] + 30, 0.8)),
        together(
            entries, crossings("yard", YARD_RIGHT, t_s + 30, 0.4), crossings("hall", HALL_LEFT, t_s, 0.9)
        ),
        together(exits, crossings("hall", HALL_LEFT, t_s, 0.6), crossings("yard", YARD_RIGHT, t_s, 0.9)),
        now_ns=now_ns,
    )
    from_xy = np.array([HALL_LEFT, HALL_RIGHT, (0.5, 0.1), (0.9, 0.55)])
    to_xy = np.array([YARD_LEFT, YARD_RIGHT, (0.5, 0.9)])
    gap_s = rng.uniform(EARLIEST_S, WINDOW_S, (4, 3))
    gap_s[0] = 0.3, 12.0, 29.0
    found = model.log_ratio(["hall"] * 4, from_xy, ["yard"] * 3, to_xy, gap_s)
    slow = [
        [slow_ratio(model, "hall", p, "yard", q, gap_s[i, j]) for j, q in enumerate(to_xy)]
        for i, p in enumerate(from_xy)
    ]
    assert found == pytest.approx(
        np.clip(slow, -MAX_LOG_RATIO, MAX_LOG_RATIO), abs=1e-3
    )  # tables are float32


def test_many_at_once_is_each_alone():
    model, rng = learned(60), np.random.default_rng(2)
    cameras = np.array(["hall", "yard", "gate"])
    a, b = cameras[rng.integers(0, 3, 50)], cameras[rng.integers(0, 3, 7)]
    p, q, gap_s = rng.uniform(0, 1, (50, 2)), rng.uniform(0, 1, (7, 2)), rng.uniform(-9, 130, (50, 7))
    found = model.log_ratio(a, p, b, q, gap_s)
    assert found.shape == (50, 7)
    for i in (0, 17, 49):
        for j in range(7):
            alone = model.log_ratio(a[i : i + 1], p[i : i + 1], b[j : j + 1], q[j : j + 1], gap_s[i, j])
            assert alone.ravel().tolist() == [found[i, j]]


# ---- zones ---------------------------------------------------------------------------------------------------


def points(*places: tuple[float, float, int]) -> NDArray[np.float64]:
    """(CELLS,) from places x, y and how often."""
    counts = np.zeros(CELLS)
    for x, y, number in places:
        counts[cell_of(np.array([(x, y)]))[0]] += number
    return counts


def test_few_points_make_no_zone():
    assert zones_of(np.zeros(CELLS)).tolist() == [0] * CELLS
    assert zones_of(points((0.1, 0.5, 4))).max() == 0


def test_two_doors_are_two_zones_with_the_space_around_them():
    label = zones_of(points((0.05, 0.6, 20), (0.95, 0.6, 30)))
    assert label.max() == 2
    left, right, beside, middle = label[
        cell_of(np.array([(0.05, 0.6), (0.95, 0.6), (0.15, 0.7), (0.5, 0.5)]))
    ]
    assert (left, right, beside, middle) == (2, 1, 2, 0)  # the more used one comes first


def test_a_border_used_unevenly_by_chance_is_one_zone():
    rng = np.random.default_rng(0)
    for _ in range(20):
        along = rng.uniform(0, 1, 60)
        label = zones_of(points(*((x, 0.99, 1) for x in along)))
        assert label.max() == 1


def test_a_dip_that_is_no_chance_parts_two_zones():
    # Two doors beside each other, two cells between them: 100 each, 4 strays between.
    label = zones_of(points((0.05, 0.9, 100), (0.30, 0.9, 4), (0.55, 0.9, 100)))
    assert label.max() == 2


def test_most_zones_are_kept_by_use():
    grid = points(*((x / GRID, y / GRID, 20 + x) for x in (0, 3, 6) for y in (0, 3, 6)))
    label = zones_of(grid)
    assert label.max() == MOST_ZONES
    assert (label[grid > 0] == 0).sum() == 1


def test_zones_are_called_by_where_they_lie():
    assert [side_of(*xy) for xy in ((0.1, 0.5), (0.95, 0.7), (0.5, 0.98), (0.4, 0.05), (0.5, 0.5))] == [
        "left border",
        "right border",
        "bottom border",
        "top border",
        "middle",
    ]
    counts = np.zeros((1, 4, CELLS))
    counts[0, 0] = points((0.05, 0.3, 30), (0.05, 0.8, 20), (0.95, 0.5, 10))
    zones = Zones(["hall"], counts, np.zeros(1))
    assert zones.titles == [
        "elsewhere",
        "left border at 6, 31 %",
        "left border at 6, 81 %",
        "right border",
        "anywhere",
    ]


def test_routes_and_doorways_can_be_read():
    ways, entries, exits, now_ns = traffic(200, 0, wrong=0.0)
    model = SiteModel().learn(ways, entries, exits, now_ns=now_ns)
    (route,) = model.routes(least=5.0)
    assert (route.from_camera, route.from_zone) == ("hall", "right border")
    assert (route.to_camera, route.to_zone) == ("yard", "left border")
    assert route.passages == pytest.approx(200 * 0.75, rel=0.1)
    assert route.share == pytest.approx(0.75, rel=0.1)
    # Of a normal distribution of 12 +- 2 s a tenth lies below 12 - 1.28 * 2 = 9.4 s, a tenth above 14.6 s.
    assert route.gaps_s == pytest.approx((9.4, 12.0, 14.6), abs=0.7)
    hall, yard = model.doorways()
    assert (hall.camera, hall.zone, hall.ends) == ("hall", "right border", pytest.approx(200, rel=0.01))
    assert hall.gone == pytest.approx(0.25, abs=0.05)
    assert (yard.camera, yard.zone) == ("yard", "left border")


# ---- looks and overlaps --------------------------------------------------------------------------------------

PRIOR = Distances(0.42, 0.09, 0.60, 0.09)


def test_distances_are_shrunk_to_the_site_and_to_the_prior():
    assert SiteModel().distance_model("hall", "yard", PRIOR) == PRIOR
    model = SiteModel().learn_distances("hall", "yard", [0.2, 0.4, np.nan], np.full(30, 0.9))
    found = model.distance_model("hall", "yard", PRIOR)
    # Same: 2 of mean 0.3 and squares about it 0.02; prior and site weigh 15.
    site = (15 * 0.42 + 0.6) / 17
    site_variance = (15 * 0.09**2 + 0.02) / 17
    assert found.mean_same == pytest.approx((15 * site + 0.6) / 17)
    assert found.sigma_same == pytest.approx(np.sqrt((15 * site_variance + 0.02) / 17))
    # Different: 30 of 0.9 without spread.
    assert found.mean_different == pytest.approx((15 * (15 * 0.6 + 27) / 45 + 27) / 45)
    assert found.sigma_different == pytest.approx(0.09 / 3)  # (15 / 45) of the variance, twice
    assert (found.n_same, found.n_different) == (2, 30)
    # Of another pair only what the site says is known.
    other = model.distance_model("yard", "hall", PRIOR)
    assert other.mean_same == pytest.approx(site) and (other.n_same, other.n_different) == (0, 0)


def test_many_distances_outweigh_every_prior():
    rng = np.random.default_rng(0)
    model = SiteModel().learn_distances("a", "b", rng.normal(0.2, 0.05, 5000), rng.normal(0.8, 0.1, 5000))
    assert model.distance_model("a", "b", PRIOR)[:4] == pytest.approx((0.2, 0.05, 0.8, 0.1), abs=0.01)


def test_distances_in_two_parts_are_as_in_one():
    values = np.random.default_rng(0).uniform(0, 1, 100)
    one = SiteModel().learn_distances("a", "b", values, values)
    two = (
        SiteModel()
        .learn_distances("a", "b", values[:30], values[:9])
        .learn_distances("a", "b", values[30:], values[9:])
    )
    assert two.distances["a", "b"] == pytest.approx(one.distances["a", "b"])


def test_overlap_is_a_share_with_a_prior():
    model = SiteModel().learn_overlaps({("hall", "yard"): (6, 7)}).learn_overlaps({("hall", "yard"): (1, 3)})
    assert model.overlap_share("hall", "yard") == pytest.approx((7 + 1.5) / (10 + 3))
    assert model.overlap_share("yard", "hall") == 0.5
    assert model.overlap_share("yard", "hall", prior=0.2) == pytest.approx(0.2)


# ---- its file ------------------------------------------------------------------------------------------------


def test_a_file_reads_back_as_the_same_model():
    model = full(learned(30))
    text = model.to_file_text()
    again = SiteModel.from_text(text)
    assert again.to_file_text() == text
    assert ratio(again).tolist() == ratio(model).tolist()
    assert again.routes() == model.routes() and again.doorways() == model.doorways()
    assert again.distance_model("hall", "yard", PRIOR) == model.distance_model("hall", "yard", PRIOR)
    later = [m.learn(*traffic(10, 9)[:3], now_ns=10**14).to_file_text() for m in (model, again)]
    assert later[0] == later[1]
    assert SiteModel.from_text(SiteModel().to_file_text()).to_file_text() == SiteModel().to_file_text()
    assert SiteModel.from_text(text.encode()).t_ns == model.t_ns


def test_a_file_is_json_with_a_line_a_camera():
    text = full(learned(30)).to_file_text()
    assert json.loads(text)["schema_version"] == topology.SCHEMA_VERSION
    assert sum(line.startswith('  "hall": {') for line in text.splitlines()) == 1
    assert len(text.splitlines()) < 40


def damaged(**changes: object) -> str:
    return json.dumps(json.loads(full(learned(5)).to_file_text()) | changes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "damaged"),
        ("no JSON", "damaged"),
        (b"\xff\xfe\x00", "damaged"),
        ("[]", "damaged"),
        ("{}", "schema_version"),
        (damaged(schema_version=2), "version 2"),
        (damaged(grid=9), "grid"),
        (damaged(edges_s=[0.0, 1.0]), "bins"),
        (damaged(half_life_days=0), "half_life_days"),
        (damaged(t_ns="now"), "t_ns"),
        (damaged(cameras={"hall": {"watched_s": -1, "cells": []}}), "watched_s"),
        (damaged(cameras={"hall": {"watched_s": 1, "cells": [[64, 0, 0, 0, 0]]}}), "cells"),
        (damaged(cameras={"hall": {"watched_s": 1, "cells": [[1, 0, 0]]}}), "cells"),
        (damaged(ways=[{"from": "a", "to": "b", "passages": [[0, 0, 64, 1.0]]}]), "passages"),
        (damaged(ways=[{"from": "a", "to": "b", "passages": [[0, 0, 0, None]]}]), "passages"),
        (damaged(ways=[{"to": "b", "passages": []}]), "from"),
        (damaged(overlaps=[{"from": "a", "to": "b", "found": 1e300, "could": 1}]), "found"),
        (full(learned(5)).to_file_text()[:-30], "damaged"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(text: str | bytes, told: str):
    with pytest.raises(ValueError, match=told) as problem:
        SiteModel.from_text(text)
    assert "\n" not in str(problem.value)
