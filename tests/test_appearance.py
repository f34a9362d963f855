"""How alike two tracklets look: what cameras add is taken off, and what a cosine says of one person."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tracker.core.appearance import (
    CAMERA_PEOPLE,
    MAX_APPEARANCE_LLR,
    MOST_PEOPLE,
    SITE_PEOPLE,
    AppearanceModel,
    CameraShares,
    unit,
)
from tracker.core.grouping import Scores, pooled


def looks_llr(distance: float, pictures: float = 12) -> float:
    """The appearance cue between two pieces at a cosine distance, as the linker's own model has it."""
    a = np.array([1.0, 0.0])
    b = np.array([1 - distance, np.sqrt(max(0.0, 1 - (1 - distance) ** 2))])
    zero, none = np.zeros((2, 2)), np.zeros((2, 2), bool)
    scores = Scores(
        np.stack((a, b)), np.full(2, pictures), zero, zero, none, none.copy(), zero, AppearanceModel()
    )
    found = scores.between([0], [1])
    assert found is not None
    return found.cues["appearance"]


# ---- looks ---------------------------------------------------------------------------------------------------


def test_near_looks_speak_for_and_far_ones_against_one_person():
    cues = [looks_llr(d) for d in np.linspace(0, 1.2, 25)]
    assert cues[0] > 2 and cues[-1] < -2
    assert (np.diff(cues) <= 0).all()
    assert max(map(abs, cues)) <= MAX_APPEARANCE_LLR


def test_few_pictures_speak_less_for_one_person():
    for distance in (0.3, 0.35, 0.4):
        assert looks_llr(distance, 1) < looks_llr(distance, 12)
    assert looks_llr(0.0, 1) > 1


def test_who_was_never_embedded_says_nothing():
    assert looks_llr(0.1, 0) == 0


def test_looks_are_pooled_by_their_number_of_pictures():
    looks = np.array([[1.0, 0], [0, 1], [9, 9]])
    mean, pictures = pooled(looks, np.array([3.0, 1.0, 0.0]))  # the third was never embedded
    assert mean.tolist() == [0.75, 0.25] and pictures == 4
    mean, pictures = pooled(looks, np.zeros(3))
    assert mean.tolist() == [0, 0] and pictures == 0


def test_what_a_cosine_says_is_a_line_in_it():
    model = AppearanceModel(same=0.5, different_sigma=0.2, common=0.0, few_pictures=1.0)
    # Seen in 1 and in 3 pictures, 1 / (1 + 1) and 3 / (3 + 1) of what they show is theirs: one person's cosine is
    # expected at 0.5 sqrt(3 / 8), and half of that speaks for neither.
    expected = 0.5 * np.sqrt(3 / 8)
    one, three = np.array(1.0), np.array(3.0)
    assert model.llr(np.array(expected / 2), one, three) == pytest.approx(0)
    assert model.llr(np.array(expected), one, three) == pytest.approx(expected**2 / 2 / 0.2**2)
    assert model.llr(np.array(1.0), np.array(0.0), three) == 0  # never embedded


def test_what_is_of_one_walk_fades_with_more_walks():
    model = AppearanceModel(same=0.5, different_sigma=0.2, common=0.0, few_pictures=1.0)
    # Of one walk as much is the person's as the walk's, and of one moment 1 / 0.5 times that. Four tracklets of 12
    # pictures each are of 1 + 3 / 3 walks, and their mean shows 1 : 1 / 2 : 2 / 48: 24 / 37 of it is the person.
    expected, two_walks = 24 / 37, np.array(48.0)
    assert model.llr(np.array(expected / 2), two_walks, two_walks) == pytest.approx(0)
    assert model.llr(np.array(expected), two_walks, two_walks) == pytest.approx(expected**2 / 2 / 0.2**2)


def test_a_middling_cosine_is_of_one_person_in_single_walks_and_of_strangers_in_many():
    model = AppearanceModel(common=0.0)
    for pictures, sign in ((12.0, 1), (36.0, -1), (120.0, -1)):
        assert np.sign(model.llr(np.array(0.24), np.array(pictures), np.array(pictures))) == sign


def fitted(
    model: AppearanceModel, alike: np.ndarray, two: np.ndarray, maybe: np.ndarray, steps: int = 1
) -> None:
    for _ in range(steps):
        model.fit(alike, np.full(len(alike), 12.0), two, maybe)


def test_strangers_at_a_site_say_what_a_cosine_of_theirs_is():
    # One was seen beside two others, whom nobody saw together.
    alike, two = np.eye(3), np.zeros((3, 3), bool)
    alike[0, 1:] = alike[1:, 0] = 0.1, 0.3
    two[0, 1:] = two[1:, 0] = True
    model = AppearanceModel(common=0.0, different_sigma=0.1, prior_strength=2.0)
    fitted(model, alike, two, np.zeros((3, 3), bool))
    # Each pair is told of from both sides, beside two more pairs at 0: 2 (0.1 + 0.3) / (2 + 4). About each one's own
    # mean only the first's two differ, by 0.1: (2 * 0.1^2 + 2 * 0.1^2) / (2 + 1).
    assert model.strangers() == pytest.approx((0.8 / 6, np.sqrt(0.04 / 3)))


@pytest.mark.parametrize("theirs", [0.35, 0.6, 0.8])
def test_what_one_persons_cosine_is_at_a_site_is_learned_without_a_name(theirs: float):
    rng = np.random.default_rng(1)
    people = 30
    shared = np.sqrt(theirs / (1 - theirs)) * rng.normal(size=(people, 60))
    looks = unit(np.concatenate([shared + rng.normal(size=(people, 60)) for _ in range(2)]))
    camera = np.repeat([0, 1], people)
    two = (camera[:, None] == camera) & ~np.eye(2 * people, dtype=bool)
    model = AppearanceModel(common=0.0, few_pictures=0.0)
    fitted(model, looks @ looks.T, two, camera[:, None] != camera, steps=10)
    # So many at `theirs`, and `same_strength` at what is believed beforehand.
    believed = (people * theirs + model.same_strength * model.same) / (people + model.same_strength)
    # Half way between strangers and one person neither is likelier. Where the two overlap much, the sure half of one
    # person's pairs counts more.
    cosines = np.linspace(-0.2, 0.8, 1001)
    between = cosines[np.abs(model.llr(cosines, np.array(12.0), np.array(12.0))).argmin()]
    assert 2 * (between - model.strangers()[0]) == pytest.approx(believed, abs=0.08)


def test_where_nobody_is_seen_twice_what_was_believed_stays():
    looks = unit(np.random.default_rng(2).normal(size=(20, 60)))
    model, asked = AppearanceModel(common=0.0), (np.array(0.3), np.array(12.0), np.array(12.0))
    before = model.llr(*asked)
    fitted(model, looks @ looks.T, np.zeros((20, 20), bool), ~np.eye(20, dtype=bool), steps=10)
    assert model.llr(*asked) == pytest.approx(before, abs=0.3)


@pytest.mark.parametrize("seed", range(3))
def test_where_light_differs_and_nobody_is_seen_twice_looks_still_say_something(seed: int):
    rng = np.random.default_rng(seed)
    n, dimensions = 60, 12
    camera = np.repeat([0, 1], n // 2)
    looks = unit(rng.normal(size=(n, dimensions)) + rng.normal(size=(2, dimensions))[camera])
    two = (camera[:, None] == camera) & ~np.eye(n, dtype=bool)
    pictures = rng.choice([3.0, 12.0, 480.0], n)
    model = AppearanceModel(common=0.0)
    for _ in range(40):
        model.fit(looks @ looks.T, pictures, two, camera[:, None] != camera)
    said = model.llr(np.linspace(-1, 1, 21)[:, None, None], pictures[:, None], pictures)
    assert np.isfinite(said).all() and (np.diff(said, axis=0) >= 0).all()
    assert model.llr(np.array(0.95), np.array(12.0), np.array(12.0)) > 1


def test_of_nobody_nothing_is_learned():
    model = AppearanceModel()
    fitted(model, np.zeros((0, 0)), np.zeros((0, 0), bool), np.zeros((0, 0), bool))
    assert model.strangers() == pytest.approx(AppearanceModel().strangers())


# ---- what cameras add ----------------------------------------------------------------------------------------


def rows(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None] * np.eye(4)[0]


def test_a_camera_share_is_the_mean_over_people_shrunk_towards_the_sites():
    cameras = np.array(["a", "a", "b"])
    shares = CameraShares().learn(cameras, rows(0.9, 0.3, 0.3), np.array([1.0, 1.0, 1.0]))
    # Of two people (the most that one camera saw), the site's mean is (0.9 + 0.3 + 0.3) / 3 = 0.5, shrunk to nothing.
    site = 0.5 * 2 / (2 + SITE_PEOPLE)
    a = (1.2 + CAMERA_PEOPLE * site) / (2 + CAMERA_PEOPLE)
    seen = np.array(
        [[a + 0.3, 0.4, 0, 0], [site + 0.3, 0.4, 0, 0]]
    )  # the second in a camera that is not known yet
    own = shares.taken_off(seen, np.array(["a", "new"]))
    assert own == pytest.approx(np.array([[0.6, 0.8, 0, 0], [0.6, 0.8, 0, 0]]))
    assert shares.left == pytest.approx((SITE_PEOPLE / (2 + SITE_PEOPLE)) ** 2)


def test_one_person_in_many_tracklets_counts_once():
    once = CameraShares().learn(np.array(["a"]), rows(0.6), np.ones(1))
    often = CameraShares().learn(np.array(["a"] * 4), rows(0.6, 0.6, 0.6, 0.6), np.full(4, 0.25))
    assert once.people == often.people and once.sums["a"] == pytest.approx(often.sums["a"])


def test_of_many_people_the_latest_count():
    shares = CameraShares()
    for value in (0.2,) * 300 + (0.8,) * 1000:
        shares = shares.learn(np.array(["a"]), rows(value), np.ones(1))
    assert shares.people["a"] == MOST_PEOPLE
    assert shares.sums["a"][0] / MOST_PEOPLE == pytest.approx(0.8, abs=0.001)  # the first faded by 0.99^1000


def test_cameras_of_different_light_are_compared_as_if_it_were_one():
    rng = np.random.default_rng(0)
    people, light = rng.normal(size=(40, 32)), 2 * rng.normal(size=(2, 32))
    looks = np.concatenate([unit(people + light[0]), unit(people + light[1])])
    cameras = np.repeat(["a", "b"], 40)
    own = CameraShares().learn(cameras, looks, np.ones(80)).taken_off(looks, cameras)

    def found(rows: np.ndarray) -> float:
        """Share of people whose looks in the other camera are those most like theirs."""
        return float(np.mean((rows[:40] @ rows[40:].T).argmax(axis=1) == np.arange(40)))

    assert found(own) > 0.95 > found(looks)


def test_looks_that_are_no_numbers_or_of_another_length_harm_nobody():
    shares = CameraShares().learn(np.array(["a", "a"]), rows(0.6, np.nan), np.ones(2))
    assert shares.people == {"a": 1.0}
    own = shares.taken_off(rows(0.6, np.nan, 0.0), np.array(["a"] * 3))
    assert np.linalg.norm(own, axis=1) == pytest.approx([1, 0, 0])
    other = np.eye(8)[:1]
    assert shares.taken_off(other, np.array(["a"])) == pytest.approx(other)
    assert shares.learn(np.array(["a"]), other, np.ones(1)).sums["a"] == pytest.approx(other[0])


def test_what_was_learned_comes_back_from_its_state():
    model = AppearanceModel()
    fitted(model, np.array([[1.0, 0.4], [0.4, 1.0]]), ~np.eye(2, dtype=bool), np.zeros((2, 2), bool))
    model.cameras = model.cameras_now = CameraShares().learn(np.array(["a"]), rows(0.6), np.ones(1))
    again = AppearanceModel()
    again.take_state(msgspec.msgpack.decode(msgspec.msgpack.encode(model.to_state())))
    assert again.to_state() == model.to_state() and again.strangers() == model.strangers()
    again.forget()
    assert again.to_state()["cameras"] == [{}, {}]


def test_what_cameras_add_is_the_same_in_whichever_order_they_were_learned_from():
    """A checkpoint names them by the alphabet; sums in another order differ by rounding: so did a restored linker."""
    rng, names = np.random.default_rng(0), list("dbca")
    looks = {name: unit(rng.normal(size=(5, 32))) for name in names}
    rows, seen = unit(rng.normal(size=(40, 32))), np.array([names[n % 4] for n in range(40)])
    found = []
    for order in (names, sorted(names)):
        shares = CameraShares()
        for name in order:
            shares = shares.learn(np.full(5, name), looks[name], np.full(5, 0.7))
        found.append(shares.taken_off(rows, seen))
    assert np.array_equal(*found)
