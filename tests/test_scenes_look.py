"""What cameras make of clean pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from scenes import settings
from scenes.look import CameraLook, smear

SAID = settings.Camera(at=(0, 0, 3), look=(5, 5, 1))
NEUTRAL = CameraLook(
    gain=(1, 1, 1),
    gamma=1,
    saturation=1,
    contrast=1,
    noise=0,
    blur_px=0,
    sharpening=0,
    vignette=0,
    shutter_s=0,
)


def picture(seed: int = 0, shape: tuple[int, int] = (36, 64)) -> np.ndarray:
    return np.random.default_rng(seed).integers(30, 200, (*shape, 3)).astype(np.uint8)


def changed(**values: Any) -> CameraLook:
    return replace(NEUTRAL, _tables={}, **values)


def test_a_neutral_camera_changes_nothing():
    image = picture()
    assert_array_equal(NEUTRAL.apply(image, np.random.default_rng(0)), image)


def test_gain_multiplies_light_and_not_grey_levels():
    # Half the light of a channel is 0.5^(1 / 2.2) = 0.73 of its level: 100 becomes 73.
    image = np.full((4, 4, 3), 100, np.uint8)
    shown = changed(gain=(0.5, 1.0, 1.0)).apply(image, np.random.default_rng(0))
    assert shown[0, 0].tolist() == [100, 100, 73]  # BGR


def test_gamma_above_one_brightens_the_middle_and_keeps_the_ends():
    image = np.array([[[0, 0, 0], [100, 100, 100], [216, 216, 216]]], np.uint8)
    shown = changed(gamma=1.5).apply(image, np.random.default_rng(0))
    assert shown[0, 0, 0] == 0 and shown[0, 1, 0] > 120 and shown[0, 2, 0] < 256


def test_without_saturation_all_is_grey():
    shown = changed(saturation=0.0).apply(picture(), np.random.default_rng(0)).astype(int)
    assert np.ptp(shown, axis=2).max() <= 1


def test_noise_is_as_strong_as_said_and_new_in_each_picture():
    image = np.full((200, 300, 3), 120, np.uint8)
    noisy = changed(noise=6.0)
    first, again, second = (noisy.apply(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.astype(float).std() == pytest.approx(6.0, rel=0.05)
    assert first.mean() == pytest.approx(120, abs=0.1)
    assert_array_equal(first, again)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.1


def test_noise_covers_pictures_larger_than_its_bank():
    shown = changed(noise=5.0).apply(np.full((1100, 1500, 3), 120, np.uint8), np.random.default_rng(0))
    assert shown[-50:, -50:].std() > 3


def test_corners_lose_light_and_the_middle_does_not():
    shown = changed(vignette=0.3).apply(np.full((101, 101, 3), 100, np.uint8), np.random.default_rng(0))
    assert shown[50, 50, 0] == 100
    assert shown[0, 0, 0] == pytest.approx(70, abs=1)


def test_what_settings_say_stands_and_chance_draws_the_rest():
    said = SAID.model_copy(update={"gain": (1.1, 1.0, 0.9), "gamma": 1.2, "noise": 2.0, "blur": 0.5})
    one = CameraLook.of(said, 1.0, np.random.default_rng(0))
    assert (one.gain, one.gamma, one.noise, one.blur_px) == ((1.1, 1.0, 0.9), 1.2, 2.0, 0.5)
    free = CameraLook.of(SAID, 1.0, np.random.default_rng(0))
    assert free.gain != one.gain
    assert (free.sharpening, free.vignette) == (one.sharpening, one.vignette)  # the same numbers are drawn


def test_harder_scenes_have_worse_and_more_different_cameras():
    easy, hard = (
        [CameraLook.of(SAID, difficulty, np.random.default_rng(seed)) for seed in range(60)]
        for difficulty in (0.0, 1.0)
    )
    for value in ("noise", "blur_px"):
        means = [np.mean([getattr(one, value) for one in looks]) for looks in (easy, hard)]
        assert means[1] > 2 * means[0]
    spreads = [np.std([one.gain for one in looks]) for looks in (easy, hard)]
    assert spreads[1] > 2 * spreads[0]


def test_a_moving_bar_is_smeared_over_its_way_and_the_rest_stays():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:30] = 200
    flow = np.zeros((20, 60, 2), np.float32)
    flow[:, 20:30, 0] = 8.0
    shown = smear(image, flow, 0.5)[10, :, 0].astype(int)
    # Half of 8 px: each edge is spread over 4 px around where it was, and no light is lost.
    assert shown[25] == 200 and 0 < shown[20] < 200 and 0 < shown[19] < 200
    assert shown[:16].max() == shown[36:].max() == 0
    assert shown.sum() == pytest.approx(2000, rel=0.1)


def test_a_picture_without_motion_is_not_smeared():
    image = picture()
    assert smear(image, np.zeros((36, 64, 2)), 0.5) is image
    shut = changed(shutter_s=0.0)
    assert_array_equal(shut.apply(image, np.random.default_rng(0), np.full((36, 64, 2), 9.0)), image)
