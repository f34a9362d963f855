"""Motion between two pictures, on pictures whose motion is known because we moved them."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from flow import load_estimator
from flow.estimator import DisEstimator


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random blobs, some 30 along the longer side, (H, W, 3) BGR."""
    blob = max(4, max(height, width) // 30)
    coarse = np.random.default_rng(seed).uniform(0, 255, (height // blob, width // blob, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def shifted(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], float)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def inside(values: np.ndarray, margin: int = 40) -> np.ndarray:
    return values[margin:-margin, margin:-margin]


@pytest.mark.parametrize("size", [(240, 320), (364, 644), (365, 643), (728, 1288)])
def test_a_shift_is_found_in_pixels_of_the_picture_whatever_its_size(size):
    image = texture(*size)
    field = load_estimator().estimate(image, shifted(image, 5, -3))
    assert field.shape == (*size, 2) and field.dtype == np.float32
    assert_allclose(np.median(inside(field), axis=(0, 1)), [5, -3], atol=0.3)
    assert np.abs(inside(field) - [5, -3]).mean() < 0.5


def test_grey_pictures_and_colour_pictures_give_the_same():
    image = texture(240, 320)
    after = shifted(image, 2, 2)
    grey = [cv2.cvtColor(i, cv2.COLOR_BGR2GRAY) for i in (image, after)]
    assert_array_equal(load_estimator().estimate(image, after), load_estimator().estimate(*grey))


def test_a_reduced_picture_is_made_once_and_used_twice():
    estimator = load_estimator()
    pictures = [texture(364, 644), *(shifted(texture(364, 644), 4 * i, 0) for i in (1, 2))]
    first, second, third = (estimator.reduce(picture) for picture in pictures)
    for before, after in ((first, second), (second, third)):
        flow = estimator.between(before, after)
        assert flow.field.shape == (217, 384, 2)
        assert flow.scale == pytest.approx(644 / 384, rel=1e-2)
        assert_allclose(np.median(inside(flow.field), axis=(0, 1)), [4, 0], atol=0.3)


def test_the_small_field_is_in_its_own_pixels():
    image = texture(728, 1288)
    small, scale = load_estimator().estimate_small(image, shifted(image, 10, 0))
    assert_allclose(np.median(inside(small)[..., 0]) * scale, 10, atol=0.3)


def test_we_trust_what_agrees_and_not_what_appeared_or_has_no_texture():
    image = texture(240, 320)
    image[:, 220:] = 90  # a bare wall
    after = shifted(image, 3, 0)
    after[60:180, 60:140] = texture(120, 80, seed=9)  # something else came into view
    field, trust = load_estimator().estimate_checked(image, after)
    assert_array_equal(field, load_estimator().estimate(image, after))
    assert trust.shape == (240, 320) and trust.min() >= 0 and trust.max() <= 1
    good, new, bare = trust[10:50, 20:200].mean(), trust[80:160, 80:120].mean(), trust[:, 240:310].mean()
    assert good > 0.7
    assert new < 0.6 * good
    assert bare < 0.1


def test_pictures_of_two_sizes_or_no_pictures_are_refused():
    for estimator in (load_estimator("dis"), load_estimator("none")):
        with pytest.raises(ValueError, match="320x240 and 240x320"):
            estimator.estimate(texture(240, 320), texture(320, 240))
        with pytest.raises(ValueError, match="grey or"):
            estimator.estimate(np.zeros((10, 10, 4), np.uint8), np.zeros((10, 10, 4), np.uint8))
        with pytest.raises(ValueError, match="float64"):
            estimator.estimate(np.zeros((10, 10)), np.zeros((10, 10)))
        with pytest.raises(ValueError, match="one size"):
            estimator.between(estimator.reduce(texture(240, 320)), estimator.reduce(texture(320, 240)))


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (20, 20), (33, 33)])
def test_the_smallest_pictures_have_an_answer(size):
    image = np.zeros((*size, 3), np.uint8)
    assert_allclose(load_estimator().estimate(image, image), np.zeros((*size, 2)), atol=1e-3)


def test_none_estimates_nothing():
    estimator = load_estimator("none")
    image = texture(24, 48)
    field, trust = estimator.estimate_checked(image, image)
    assert not field.any() and not trust.any() and field.shape == (24, 48, 2)
    assert estimator.between(estimator.reduce(image), estimator.reduce(image)) is None


def test_an_unknown_estimator_is_named():
    with pytest.raises(ValueError, match="'raft'.*dis or none"):
        load_estimator("raft")


def test_two_estimators_share_nothing_and_repeat_themselves():
    image = texture(240, 320)
    after = shifted(image, 4, 1)
    other = DisEstimator(side=96)
    first = load_estimator().estimate(image, after)
    other.estimate(texture(120, 90, 3), texture(120, 90, 4))
    assert_array_equal(load_estimator().estimate(image, after), first)


def test_importing_flow_changes_no_thread_setting_and_loads_no_torch_and_nothing_of_the_tracker():
    script = (
        "import cv2, sys; n = cv2.getNumThreads(); import flow, flow.warp; assert cv2.getNumThreads() == n;"
        "assert not {'torch', 'tracker', 'reid', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
