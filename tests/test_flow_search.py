"""Dense inverse search: OpenCV's own, and an answer where OpenCV has none."""

import cv2
import numpy as np
import pytest

from flow.search import OURS, PRESETS, SMALLEST_SIDE, dense_search


def pair(height: int, width: int, shift: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Grey blobs of some 8 px, and the same ones ``shift`` px further to the right."""
    size = height // 8 + 2, (width + shift) // 8 + 2
    coarse = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    world = cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    return world[:height, shift : shift + width].copy(), world[:height, :width].copy()


@pytest.mark.parametrize(
    ("preset", "opencvs"),
    [
        ("ultrafast", cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST),
        ("fast", cv2.DISOPTICAL_FLOW_PRESET_FAST),
        ("medium", cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (97, 131)])
def test_it_is_the_search_of_opencv(preset, opencvs, size):
    before, after = pair(*size)
    found = dense_search(preset)(before, after)
    assert found.shape == (*size, 2) and found.dtype == np.float32
    assert np.array_equal(found, cv2.DISOpticalFlow.create(opencvs).calc(before, after, None))


@pytest.mark.parametrize(("preset", "numbers"), [("quick", (5, 8, 0)), ("fine", (4, 12, 1))])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (97, 131)])
def test_ours_are_medium_but_for_three_numbers(preset, numbers, size):
    before, after = pair(*size)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    stride, descents, smoothing = numbers
    dis.setPatchStride(stride)
    dis.setGradientDescentIterations(descents)
    dis.setVariationalRefinementIterations(smoothing)
    found = dense_search(preset)(before, after)
    assert np.array_equal(found, dis.calc(before, after, None))
    for other in set(PRESETS) - {preset}:
        assert not np.array_equal(dense_search(other)(before, after), found)


def test_ours_do_less_than_medium_and_end_at_its_size():
    made = {name: cv2.DISOpticalFlow.create(number) for name, number in PRESETS.items()}
    medium = made["medium"]
    theirs = (
        medium.getPatchStride(),
        medium.getGradientDescentIterations(),
        medium.getVariationalRefinementIterations(),
    )
    for name, (stride, descents, smoothing) in OURS.items():
        assert made[name].getFinestScale() == medium.getFinestScale() == 1  # half of the size
        assert stride > theirs[0] and descents < theirs[1] and smoothing < theirs[2]
    assert OURS["fine"][0] == made["fast"].getPatchStride()
    assert OURS["quick"][0] > OURS["fine"][0] and OURS["quick"][2] == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_what_goes_right_is_found_in_pixels(preset):
    found = dense_search(preset)(*pair(96, 128, shift=3))
    assert np.median(found[16:-16, 16:-16], axis=(0, 1)) == pytest.approx([3.0, 0.0], abs=0.3)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_search_remembers_nothing_of_the_pictures_before(preset):
    search = dense_search(preset)
    first = search(*pair(64, 96))
    search(*pair(96, 64, shift=7))
    assert np.array_equal(search(*pair(64, 96)), first)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (31, 31), (31, 200), (200, 31), (8, 16)])
def test_pictures_too_small_to_be_searched_do_not_move(preset, size):
    assert min(size) < SMALLEST_SIDE == 32
    found = dense_search(preset)(*pair(*size))
    assert found.shape == (*size, 2) and found.dtype == np.float32 and not found.any()


@pytest.mark.parametrize("preset", PRESETS)
def test_pictures_without_anything_to_see_have_a_finite_answer(preset):
    flat = [np.full((48, 64), level, np.uint8) for level in (0, 128, 255)]
    seen = pair(48, 64)[0]
    for before in (*flat, seen):
        for after in (*flat, seen):
            assert np.isfinite(dense_search(preset)(before, after)).all()


def test_an_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no preset 'slow'; choose ultrafast, fast, medium, quick, fine"):
        dense_search("slow")
