"""Packs on disk give back what was written; a view of a pair has the flow that the pair had, seen so."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from flow.motion import similarity
from flow.packs import Pack, augment, pack_folders, reframe, write_pack
from flow.pairs import Drawer, Pair

STAYS = np.eye(3)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    drawer = Drawer(np.random.default_rng(7), surveillance=0.5, textures=10)
    return [drawer.draw(48, 80) for _ in range(6)]


def test_a_pack_gives_back_what_was_written(pairs, tmp_path: Path):
    write_pack(tmp_path, [replace(pair, gap=5) for pair in pairs], 4, {"seed": 7})
    pack = Pack(tmp_path)
    assert len(pack) == 4 and pack.info == {"seed": 7, "pairs": 4}
    for read, pair in zip(pack, pairs):
        assert np.array_equal(read.before, pair.before) and np.array_equal(read.after, pair.after)
        assert np.array_equal(read.hidden, pair.hidden) and np.array_equal(read.people, pair.people)
        assert read.gap == 5
        # float16 has 11 bits: half of the last one is 2^-12 of the value, rounded up to a power of two.
        assert read.flow.dtype == np.float32
        assert np.abs(read.flow - pair.flow).max() <= max(np.abs(pair.flow).max(), 1) * 2.0**-11
    assert np.array_equal(pack[-1].before, pairs[3].before)
    with pytest.raises(IndexError):
        pack[4]


def test_what_is_read_is_ones_own(pairs, tmp_path: Path):
    write_pack(tmp_path, pairs, 1)
    Pack(tmp_path)[0].before[:] = 0
    assert np.array_equal(Pack(tmp_path)[0].before, pairs[0].before)


def test_a_pack_of_too_few_or_unequal_pairs_is_refused_and_not_finished(pairs, tmp_path: Path):
    with pytest.raises(ValueError, match="6 pairs where 9"):
        write_pack(tmp_path / "few", pairs, 9)
    smaller = augment(pairs[1], np.random.default_rng(0), height=32, width=32)
    with pytest.raises(ValueError, match=r"pair 1 is \(32, 32\), the first \(48, 80\)"):
        write_pack(tmp_path / "unequal", [pairs[0], smaller], 2)
    for name in ("few", "unequal", "nothing at all"):
        with pytest.raises(FileNotFoundError, match="not a pack"):
            Pack(tmp_path / name)


def test_packs_that_are_still_being_filled_are_not_found(pairs, tmp_path: Path):
    """scenes pairs writes info.json first: black pictures that do not move used to be learned from."""
    for name in ("000", "001.unfinished", "002.unfinished.new"):
        write_pack(tmp_path / name, pairs, 1)
    assert pack_folders(tmp_path) == [tmp_path / "000"]


def test_the_same_view_is_the_same_pair(pairs):
    seen = reframe(pairs[0], STAYS, STAYS, 48, 80)
    assert np.array_equal(seen.before, pairs[0].before) and np.array_equal(seen.after, pairs[0].after)
    assert seen.flow == pytest.approx(pairs[0].flow) and np.array_equal(seen.people, pairs[0].people)
    assert (
        seen.hidden == pairs[0].hidden
    ).mean() > 0.999  # half a pixel beyond the rim may fall to either side


def test_a_mirror_turns_the_flow_around(pairs):
    seen = reframe(pairs[0], np.array([[-1.0, 0, 79], [0, 1, 0], [0, 0, 1]]), STAYS, 48, 80)
    assert np.array_equal(seen.before, pairs[0].before[:, ::-1])
    assert seen.flow == pytest.approx(pairs[0].flow[:, ::-1] * [-1, 1], abs=1e-4)
    assert np.array_equal(seen.people, pairs[0].people[:, ::-1])


def test_twice_as_large_is_twice_as_far(pairs):
    # Each pixel becomes two by two; centres are whole numbers, so 0 lands on 0.5.
    seen = reframe(pairs[0], similarity(0.0, 2.0, np.array([0.5, 0.5])), STAYS, 96, 160)
    assert seen.flow[::2, ::2] == pytest.approx(2 * pairs[0].flow, abs=1e-4)
    assert (seen.hidden[::2, ::2] == pairs[0].hidden).mean() > 0.98


def test_a_camera_that_moves_adds_its_motion_and_hides_what_leaves(pairs):
    pair = replace(pairs[0], flow=np.zeros((48, 80, 2), np.float32), hidden=np.zeros((48, 80), bool))
    seen = reframe(pair, STAYS, similarity(0.0, 1.0, np.array([10.0, 0.0])), 48, 80)
    assert (seen.flow == [10, 0]).all()
    assert seen.hidden[:, 70:].all() and not seen.hidden[:, :70].any()


def test_beyond_the_picture_nothing_is_known(pairs):
    seen = reframe(pairs[0], similarity(0.0, 1.0, np.array([0.0, 20.0])), STAYS, 48, 80)
    assert seen.hidden[:20].all() and not seen.flow[:20].any() and not seen.people[:20].any()


def test_a_view_still_warps_back(pairs):
    rng, errors = np.random.default_rng(1), []
    for pair in pairs * 3:
        view = augment(pair, rng, height=40, width=64, shake=1.0, noise=False)
        x, y = np.meshgrid(np.arange(64, dtype=np.float32), np.arange(40, dtype=np.float32))
        back = cv2.remap(view.after, x + view.flow[..., 0], y + view.flow[..., 1], cv2.INTER_LINEAR)
        seen = ~cv2.dilate(view.hidden.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        if seen.sum() > 100:
            errors.append(1 - np.corrcoef(back[seen].mean(-1), view.before[seen].mean(-1))[0, 1])
    assert len(errors) > 10 and np.median(errors) < 0.1


def test_light_and_noise_leave_the_flow_alone(pairs):
    plain = augment(pairs[2], np.random.default_rng(3), noise=False)
    noisy = augment(pairs[2], np.random.default_rng(3), noise=True)
    assert np.array_equal(plain.flow, noisy.flow) and np.array_equal(plain.hidden, noisy.hidden)
    assert not np.array_equal(plain.before, noisy.before)
    again = augment(pairs[2], np.random.default_rng(3), noise=True)
    assert np.array_equal(noisy.before, again.before) and np.array_equal(noisy.after, again.after)


def test_a_view_has_the_size_asked_for_whatever_the_pair_had(pairs):
    rng = np.random.default_rng(0)
    for height, width in ((16, 16), (48, 80), (100, 50), (20, 160)):
        view = augment(pairs[0], rng, height=height, width=width, shake=0.0)
        assert view.before.shape == (height, width, 3) and view.flow.shape == (height, width, 2)
        assert (view.hidden | np.isfinite(view.flow).all(-1)).all()
