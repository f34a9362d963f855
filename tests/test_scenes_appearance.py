"""Rows drawn in place of an embedder's: as far apart as measured, steady where they should be, lost where hidden."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.appearance_noise import AT, MEASURED, MEASURED_EER, SITES, drawn, drawn_eer
from scenes.appearance import CUT, DIM, HIDDEN, SMALL, Appearance, degrade


def looks(people: int = 60, seed: int = 0, **more: object) -> tuple[Appearance, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return Appearance(range(people), ["a", "b"], rng, **more), rng  # type: ignore[arg-type]


def apart(one: np.ndarray, two: np.ndarray) -> float:
    """Mean cosine distance of rows side by side."""
    return float(1 - (one * two).sum(axis=1).mean())


# ---- as measured ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SITES)
def test_drawn_distances_have_the_quantiles_that_were_measured(site: str):
    found = drawn(site, SITES[site], seeds=range(20, 22))
    middle = (AT >= 0.05) & (AT <= 0.95)
    for kind, measured in MEASURED[site].items():
        miss = np.abs(found[kind] - np.array(measured))
        assert miss[middle].max() < 0.07, kind
        if "across" in kind:  # what a linker decides by
            assert miss[AT == 0.5] < 0.03, kind


@pytest.mark.parametrize("site", SITES)
def test_the_equal_error_rate_is_the_measured_one(site: str):
    assert drawn_eer(site, SITES[site], seeds=range(20, 22)) == pytest.approx(MEASURED_EER[site], abs=0.025)


# ---- laws --------------------------------------------------------------------------------------------------------


def test_rows_are_unit_and_the_same_for_a_seed():
    rows = []
    for _ in range(2):
        site, rng = looks(5)
        rows.append(site.rows("a", [0.0, 1.0, 1.0], [3, 3, 4], rng, seen_from_rad=0.3))
    assert rows[0].shape == (3, DIM) and rows[0].dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows[0], axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert site.rows("a", [], [], rng).shape == (0, DIM)


def test_the_longer_ago_the_less_alike():
    site, rng = looks()
    people = np.arange(60)
    now = site.rows("a", 0.0, people, rng)
    later = [apart(now, site.rows("a", t_s, people, rng)) for t_s in (0.04, 0.5, 5.0, 100.0)]
    assert later == sorted(later)
    assert later[0] < 0.5 * later[-1]


def test_another_camera_and_another_side_look_different():
    site, rng = looks()
    people = np.arange(60)
    front, other = (site.rows("a", t_s, people, rng) for t_s in (0.0, 1000.0))
    behind = site.rows("a", 2000.0, people, rng, seen_from_rad=np.pi)
    elsewhere = site.rows("b", 3000.0, people, rng)
    assert apart(front, other) < apart(front, behind) < 1
    assert apart(front, other) < apart(front, elsewhere) < apart(front, np.roll(elsewhere, 1, axis=0))


def test_people_in_one_uniform_are_nearer_to_each_other():
    distances = []
    for likeness in (0.0, 1.0):
        site, rng = looks(100, likeness=likeness)
        rows = site.rows("a", 0.0, np.arange(100), rng)
        distances.append(apart(rows, np.roll(rows, 1, axis=0)))
    assert distances[1] < distances[0] - 0.05


# ---- small and hidden --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clear() -> np.ndarray:
    site, rng = looks(400)
    return site.rows("a", 0.0, np.arange(400), rng)


def test_large_whole_pictures_stay_as_they_are(clear: np.ndarray):
    kept = degrade(clear, np.random.default_rng(0), height_px=200, hidden=0.0, cut=0.0)
    np.testing.assert_allclose(kept, clear, atol=1e-6)


@pytest.mark.parametrize(("argument", "table"), [("height_px", SMALL), ("cut", CUT)])
def test_so_much_is_left_as_the_table_says(clear: np.ndarray, argument: str, table: np.ndarray):
    for amount, own in table[:, :2]:
        left = degrade(clear, np.random.default_rng(0), **{argument: amount})
        # A turned row has something to do with the row itself, as all rows have something in common.
        assert 1 - apart(left, clear) == pytest.approx(own, abs=0.06)


def test_who_is_hidden_looks_like_who_hides_them(clear: np.ndarray):
    rng = np.random.default_rng(0)
    hider = np.roll(clear, 1, axis=0)
    alike = [
        (1 - apart(rows, clear), 1 - apart(rows, hider))
        for rows in (degrade(clear, rng, hidden=share, hider=hider) for share in HIDDEN[:, 0])
    ]
    own, other = zip(*alike)
    assert own[0] == pytest.approx(1, abs=1e-5) and other[-1] == pytest.approx(1, abs=1e-5)
    assert list(own) == sorted(own, reverse=True)
    assert other[4] < own[4] and own[6] < other[6]  # half hidden: in between


def test_two_small_pictures_of_one_person_are_still_alike(clear: np.ndarray):
    """Most of what smallness takes is a steady change of look: measured, distances hardly grow down to 32 px."""
    rng = np.random.default_rng(0)
    one, two = (degrade(clear, rng, height_px=32) for _ in range(2))
    assert apart(one, two) < 0.2 < apart(one, clear)
