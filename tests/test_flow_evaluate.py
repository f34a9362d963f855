"""End-point errors on pairs whose errors can be added up by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from flow import packs
from flow.evaluate import (
    REFERENCES,
    Errors,
    Sample,
    chairs_samples,
    evaluate,
    milliseconds,
    open_estimator,
    pack_samples,
    read_flow,
    read_picture,
    regions,
    resized,
)
from flow.pairs import Pair

HEIGHT, WIDTH = 4, 10


def sample(flow: np.ndarray, **more: object) -> Sample:
    picture = np.zeros((*flow.shape[:2], 3), np.uint8)
    return Sample(picture, picture, np.asarray(flow, np.float32), **more)


def moved_by(x: float, y: float, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.broadcast_to(np.float32([x, y]), (height, width, 2)).copy()


def errors_of(one: Sample, estimated: np.ndarray, trust: np.ndarray | None = None) -> dict[str, float | None]:
    errors = Errors()
    errors.add(one, np.asarray(estimated, np.float32), trust)
    return errors.row()


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (height // 6, width // 6, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def shifted_pair(dx: int, height: int = 96, width: int = 128) -> Sample:
    """A texture of which the camera sees another part: exactly ``dx`` px to the right."""
    wide = texture(height, width + dx)
    flow = moved_by(dx, 0, height, width)
    return Sample(np.ascontiguousarray(wide[:, dx:]), np.ascontiguousarray(wide[:, :width]), flow)


# --- errors


def test_an_error_is_the_distance_between_two_ends():
    row = errors_of(sample(moved_by(3, 4)), moved_by(0, 0))
    assert row["epe_all"] == pytest.approx(5)  # sqrt(3^2 + 4^2)


def test_each_region_has_its_own_mean():
    # 40 pixels: 10 of a person who moved by 6, of whom 2 are hidden after it; 30 of a wall that did not move.
    flow, people = moved_by(0, 0), np.zeros((HEIGHT, WIDTH), np.uint8)
    flow[0], people[0] = (6, 0), 7
    hidden = np.zeros((HEIGHT, WIDTH), bool)
    hidden[0, :2] = True
    estimated = moved_by(1, 0)  # 1 px off on the wall, 5 px on the person
    estimated[0, 0] = 6, 0  # right where it does not count
    row = errors_of(sample(flow, hidden=hidden, people=people), estimated)
    assert row["epe_all"] == pytest.approx((30 * 1 + 9 * 5 + 0) / 40)
    assert row["epe_visible"] == pytest.approx((30 * 1 + 8 * 5) / 38)
    assert row["epe_people"] == pytest.approx(5)
    assert row["epe_moving_people"] == pytest.approx(5)
    assert row["outliers_percent"] == pytest.approx(100 * 9 / 40)  # 5 px is more than 3 and than 5 % of 6


def test_people_who_stand_or_run_are_not_those_who_move_2_to_20_px():
    flow, people = moved_by(0, 0), np.ones((HEIGHT, WIDTH), np.uint8)
    flow[:, :3], flow[:, 3:6], flow[:, 6:] = (1.9, 0), (0, 20), (0, 20.1)
    where = regions(sample(flow, people=people), np.hypot(*np.moveaxis(flow, 2, 0)))
    assert_array_equal(where["moving_people"][0], [False] * 3 + [True] * 3 + [False] * 4)
    assert where["people"].all() and "visible" not in where


def test_an_outlier_is_far_off_in_pixels_and_in_share():
    # Off by 4 px: of a way of 100 px that is 4 %, of one of 10 px it is 40 %.
    flow = np.concatenate([moved_by(100, 0), moved_by(10, 0)])
    assert errors_of(sample(flow), flow + np.float32([4, 0]))["outliers_percent"] == pytest.approx(50)
    assert errors_of(sample(flow), flow + np.float32([3, 0]))["outliers_percent"] == 0


def test_pixels_of_all_pairs_count_alike_whatever_the_pair():
    errors = Errors()
    errors.add(sample(moved_by(1, 0, 2, 10)), moved_by(0, 0, 2, 10), None)  # 20 pixels, off by 1
    errors.add(sample(moved_by(4, 0, 6, 10)), moved_by(0, 0, 6, 10), None)  # 60 pixels, off by 4
    assert errors.row()["epe_all"] == pytest.approx((20 * 1 + 60 * 4) / 80)


def test_what_nobody_knows_does_not_count():
    flow = moved_by(2, 0)
    flow[0] = np.nan
    row = errors_of(sample(flow), moved_by(0, 0))
    assert row["epe_all"] == pytest.approx(2)
    assert row["epe_visible"] is None and row["epe_people"] is None and row["epe_trusted"] is None
    assert errors_of(sample(moved_by(np.nan, 0)), moved_by(0, 0))["epe_all"] is None


def test_an_estimate_that_is_no_number_counts_as_no_motion():
    assert errors_of(sample(moved_by(2, 0)), moved_by(np.nan, np.nan))["epe_all"] == pytest.approx(2)


def test_trust_is_told_as_a_share_and_the_error_there():
    estimated, trust = moved_by(0, 0), np.zeros((HEIGHT, WIDTH), np.float32)
    estimated[:, :5], trust[:, :4] = (8, 0), 1.0  # 5 columns of 10 are off by 8, 4 of them trusted
    trust[:, 9] = 0.51
    row = errors_of(sample(moved_by(0, 0)), estimated, trust)
    assert row["trusted_percent"] == pytest.approx(50)
    assert row["epe_trusted"] == pytest.approx((4 * 8 + 1 * 0) / 5)


# --- estimators


def test_zero_flow_is_off_by_the_length_of_the_motion_and_dis_by_less():
    rows = evaluate(["none", "dis-fast", "dis-medium-half", "dis"], [shifted_pair(5)], trust=True)
    by_name = {row["estimator"]: row for row in rows}
    assert by_name["none"]["epe_all"] == pytest.approx(5)
    assert by_name["none"]["trusted_percent"] == 0
    assert by_name["dis-fast"]["epe_all"] < 2 and by_name["dis-medium-half"]["epe_all"] < 2
    assert by_name["dis-fast"]["trusted_percent"] is None  # does not say
    assert by_name["dis"]["trusted_percent"] > 50
    assert by_name["dis"]["pairs"] == 1


def test_pairs_of_several_gaps_are_told_apart():
    one, other = sample(moved_by(1, 0)), sample(moved_by(9, 0), gap=5)
    rows = evaluate(["none"], [other, one, other])
    assert [(row["gap"], row["pairs"], row["epe_all"]) for row in rows] == [(1, 1, 1.0), (5, 2, 9.0)]


def test_a_field_found_at_half_the_size_is_in_pixels_of_the_whole():
    one = shifted_pair(6)
    for name in ("dis-medium", "dis-medium-half"):
        found = open_estimator(name).estimate(one.before, one.after)
        assert found.shape == one.flow.shape and found.dtype == np.float32
        assert_allclose(np.median(found, axis=(0, 1)), [6, 0], atol=0.4)


def test_pictures_too_small_for_a_search_do_not_move():
    picture = texture(40, 40)
    assert_array_equal(open_estimator("dis-fast-half").estimate(picture, picture), np.zeros((40, 40, 2)))


@pytest.mark.parametrize("name", ["dis-slow", "dis-fast-third", "raft"])
def test_an_estimator_that_is_not_there_is_told(name: str):
    with pytest.raises(Exception, match=name):
        open_estimator(name)


def test_no_pairs_are_no_measurement():
    with pytest.raises(ValueError, match="no pairs"):
        evaluate(["none"], [])


def test_times_are_of_all_estimators_and_leave_opencv_as_it_was():
    before = cv2.getNumThreads()
    taken = milliseconds(["none", "dis-ultrafast"], shifted_pair(2), threads=2, rounds=2)
    assert set(taken) == {"none", "dis-ultrafast"} and all(ms > 0 for ms in taken.values())
    assert cv2.getNumThreads() == before


def test_the_references_are_dis_at_two_sizes_and_no_motion():
    presets = ("ultrafast", "fast", "medium", "quick", "fine")
    assert set(REFERENCES) == {"none", *(f"dis-{one}{size}" for one in presets for size in ("", "-half"))}
    assert len(REFERENCES) == 1 + 5 * 2
    for name in REFERENCES:
        open_estimator(name)


# --- pairs on disk


def write_chairs(folder: Path, flow: np.ndarray) -> Path:
    folder.mkdir()
    for number in (1, 2):
        cv2.imwrite(str(folder / f"01_{number}.png"), texture(*flow.shape[:2], seed=number))
    np.savez(folder / "01_flow.npz", flow=flow.astype(np.float16))
    return folder


def test_chairs_are_read_as_they_lie(tmp_path: Path):
    folder = write_chairs(tmp_path / "chairs", moved_by(2.5, -1, 24, 32))
    (one,) = chairs_samples(folder)
    assert_array_equal(one.before, texture(24, 32, seed=1))
    assert_array_equal(one.flow, moved_by(2.5, -1, 24, 32))
    assert one.hidden is None and one.people is None
    with pytest.raises(ValueError, match="_flow.npz"):
        list(chairs_samples(tmp_path))


def test_packs_are_read_alone_and_together(tmp_path: Path):
    picture = texture(24, 32)
    pair = Pair(
        picture,
        picture[::-1].copy(),
        moved_by(3, 0, 24, 32),
        np.ones((24, 32), bool),
        np.full((24, 32), 2, np.uint8),
        gap=5,
    )
    for name in ("000", "001"):
        packs.write_pack(tmp_path / name, [pair], 1)
    (alone,) = pack_samples(tmp_path / "000")
    assert_array_equal(alone.after, picture[::-1])
    assert alone.gap == 5 and alone.hidden is not None and alone.hidden.all()
    assert len(list(pack_samples(tmp_path))) == 2
    with pytest.raises(ValueError, match="no pack"):
        pack_samples(tmp_path / "000" / "nothing")


def test_flow_is_read_from_every_kind_of_file(tmp_path: Path):
    flow = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", flow)
    np.savez(tmp_path / "a.npz", any_name=flow)
    # "PIEH", width, height as little-endian int32, then x, y of each pixel, row by row, as float32
    (tmp_path / "a.flo").write_bytes(
        b"PIEH" + np.int32([5, 3]).astype("<i4").tobytes() + flow.astype("<f4").tobytes()
    )
    for ending in ("npy", "npz", "flo"):
        assert_array_equal(read_flow(tmp_path / f"a.{ending}"), flow)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.flo", b"P6 5 3 255", "PIEH"),
        ("a.flo", b"PIEH" + bytes(8) + bytes(4), "0x0 and holds 1 numbers"),
        ("a.npy", b"not an array", "no file of flow"),
        ("a.npz", b"", "no file of flow"),
        ("a.npz", b"PK\x03\x04 cut off", "no file of flow"),
    ],
)
def test_what_is_no_flow_is_told(tmp_path: Path, name: str, content: bytes, said: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_flow(tmp_path / name)


def test_an_array_of_another_shape_is_no_flow_and_text_is_no_picture(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"\(3, 5\)"):
        read_flow(tmp_path / "a.npy")
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match="not a picture"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "b.png")


def test_a_pair_at_half_the_size_moves_half_as_far():
    one = shifted_pair(6)
    half = resized(one, (64, 48))
    assert half.before.shape == (48, 64, 3)
    assert_array_equal(half.flow, moved_by(3, 0, 48, 64))
    assert resized(one, (128, 96)) is one
