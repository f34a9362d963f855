"""Pictures of flow: colours that tell direction and length, arrows, trust, errors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from flow import show

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)  # BGR
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def one(x: float, y: float, longest: float = 1.0) -> tuple[int, ...]:
    return tuple(int(value) for value in show.colours(np.array([[[x, y]]], np.float32), longest)[0, 0])


def direction(step: float) -> tuple[float, float]:
    """Where on the wheel of 55 steps a colour lies, as a unit step in the picture (y downwards)."""
    angle = 2 * np.pi * step / 55
    return float(np.cos(angle)), float(np.sin(angle))


@pytest.mark.parametrize(
    ("step", "colour"),
    [(0, RED), (15, (0, 255, 255)), (21, GREEN), (25, (255, 255, 0)), (36, BLUE), (49, (255, 0, 255))],
)
def test_a_direction_has_its_colour(step: int, colour: tuple[int, ...]):
    """Red, then 15 steps to yellow, 6 to green, 4 to cyan, 11 to blue, 13 to magenta, 6 back to red."""
    assert np.abs(np.subtract(one(*direction(step), longest=1.0001), colour)).max() <= 1


def test_a_length_is_told_by_how_strong_the_colour_is():
    assert one(0, 0) == WHITE
    assert one(0.5, 0) == (128, 128, 255)  # half way from white to red
    assert one(2, 0) == (0, 0, 191)  # beyond the longest: 0.75 of red
    assert one(5, 0, longest=10) == one(0.5, 0)


def test_what_is_not_known_is_black():
    assert one(np.nan, 0) == BLACK
    everything = show.colours(np.full((3, 4, 2), np.nan, np.float32))
    assert everything.shape == (3, 4, 3) and not everything.any()


def test_the_longest_leaves_a_few_wild_ones_out_and_is_never_nothing():
    flow = np.zeros((10, 100, 2), np.float32)
    flow[..., 0] = 4
    flow[0, 0] = 900
    assert show.longest_of(flow) == pytest.approx(4)
    assert show.longest_of(np.zeros((3, 3, 2))) == 1
    assert show.longest_of(np.full((3, 3, 2), np.nan)) == 1


def test_the_wheel_is_the_key_to_the_colours():
    wheel = show.wheel(101)
    assert tuple(wheel[50, 50]) == WHITE
    assert tuple(wheel[50, 100]) == RED  # to the right
    assert tuple(wheel[0, 0]) == (128, 128, 128)  # beside the disc


def test_an_arrow_leads_from_where_it_stands_to_where_that_went():
    flow = np.zeros((40, 40, 2), np.float32)
    flow[...] = 12, 0
    drawn = show.arrows(np.zeros((40, 40), np.uint8), flow, step=40)  # one arrow, at 20, 20
    assert drawn.shape == (40, 40, 3)
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert abs(columns.min() - 20) <= 1 and abs(columns.max() - 32) <= 2 and abs(np.median(rows) - 20) <= 1


def test_arrows_fade_where_nobody_trusts_them_and_are_absent_where_nobody_knows():
    flow = np.full((32, 32, 2), 5, np.float32)
    image = np.zeros((32, 32, 3), np.uint8)
    sure, unsure = (show.arrows(image, flow, trust=np.full((32, 32), value)) for value in (1.0, 0.0))
    assert unsure.max() < 0.5 * sure.max()
    assert not show.arrows(image, np.full((32, 32, 2), np.nan)).any()


def test_what_is_not_trusted_is_red():
    trust = np.zeros((4, 6), np.float32)
    trust[:, 3:] = 1
    trust[0, 5] = np.nan  # no trust either
    seen = show.trust_overlay(np.full((4, 6), 100, np.uint8), trust)
    assert_array_equal(seen[1, 4], [100, 100, 100])
    assert seen[1, 0, 2] > 180 > 100 > seen[1, 0, 0]
    assert_array_equal(seen[0, 5], seen[1, 0])


def test_true_flow_leaves_nothing_unexplained():
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (20, 34, 3), dtype=np.uint8)
    before, after = wide[:, 4:], wide[:, :30]  # everything went 4 px to the right
    flow = np.zeros((20, 30, 2), np.float32)
    flow[..., 0] = 4
    assert not show.leftover(before, after, flow).any()
    assert show.leftover(before, after, 0 * flow).mean() > 50
    assert not show.leftover(before, after, flow * np.nan).any()


def test_an_error_is_as_bright_as_it_is_large():
    truth = np.zeros((1, 3, 2), np.float32)
    flow = np.array([[[0, 0], [0, 2.5], [30, 0]]], np.float32)
    assert_array_equal(show.error_map(flow, truth)[0, :, 0], [0, 128, 255])


def test_a_sheet_holds_its_pictures_unchanged():
    pictures = [np.full((10, 20, 3), value, np.uint8) for value in (10, 90, 200)]
    sheet = show.sheet([(str(k), picture) for k, picture in enumerate(pictures)])
    tall, wide = 10 + show.CAPTION_HEIGHT + show.GAP, 20 + show.GAP
    assert sheet.shape == (2 * tall + show.GAP, 2 * wide + show.GAP, 3)
    for number, picture in enumerate(pictures):
        top = show.GAP + number // 2 * tall + show.CAPTION_HEIGHT
        left = show.GAP + number % 2 * wide
        assert_array_equal(sheet[top : top + 10, left : left + 20], picture)


def test_an_overview_shows_what_there_is_to_see():
    image = np.full((96, 128), 90, np.uint8)
    flow = np.ones((96, 128, 2), np.float32)
    trust = np.ones((96, 128), np.float32)
    rows = {  # pictures in two columns: 5 without trust and truth
        3: show.overview(image, image, flow),
        4: show.overview(image, image, flow, trust, flow),
    }
    tall = 96 + show.CAPTION_HEIGHT + show.GAP
    for count, sheet in rows.items():
        assert sheet.shape[0] == count * tall + show.GAP


def test_the_key_lies_in_the_corner_and_only_where_there_is_room():
    picture = np.zeros((100, 160, 3), np.uint8)
    keyed = show.with_wheel(picture)
    assert not picture.any() and not keyed[:80].any() and not keyed[:, :140].any()
    assert tuple(keyed[90, 150]) != BLACK
    assert_array_equal(show.with_wheel(picture[:40]), picture[:40])


def test_pictures_of_flow_can_be_written():
    assert cv2.imencode(".png", show.wheel(64))[0]
