"""What augmentation may and may not do to a crop."""

import dataclasses
import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from reid import augment  # noqa: E402  # after the check for torch
from reid.augment import USUAL, Augmentation, varied  # noqa: E402

NOTHING = Augmentation(
    mirror_share=0.0,
    scale=(1.0, 1.0),
    shift=0.0,
    cut_share=0.0,
    brightness=(1.0, 1.0),
    contrast=(1.0, 1.0),
    saturation=(1.0, 1.0),
    cast=(1.0, 1.0),
    hue_degrees=0.0,
    grey_share=0.0,
    gamma_share=0.0,
    far_share=0.0,
    soft_share=0.0,
    noise_share=0.0,
    erase_share=0.0,
)


def only(**changes: Any) -> Augmentation:
    """Nothing but what is named."""
    return dataclasses.replace(NOTHING, **changes)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 16) -> torch.Tensor:
    """Upper half blue, lower half red, a white column at the left edge."""
    result = torch.zeros(count, 3, 128, 64)
    result[:, 0, :64], result[:, 2, 64:] = 200.0, 100.0
    result[:, :, :, :8] = 255.0
    return result


def noisy(count: int = 40) -> torch.Tensor:
    return 100.0 + 50.0 * torch.rand(count, 3, 128, 64, generator=rng())


STEPS = [augment.relight, augment.blur, augment.grain, augment.erase]


def test_all_together_keep_range_and_give_the_size_asked_for() -> None:
    result = augment.augment(pictures(), rng(), (96, 48))
    assert result.shape == (16, 3, 96, 48)
    assert result.isfinite().all()
    assert result.min() >= 0.0 and result.max() <= 255.0


def test_one_seed_gives_one_answer_and_each_picture_its_own() -> None:
    first, again, other = (augment.augment(pictures(), rng(seed), (128, 64)) for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)
    assert not first[0].equal(first[1])


def test_a_generator_put_back_gives_the_same_pictures_again() -> None:
    drawn = rng()
    augment.augment(pictures(), drawn, (128, 64))
    state = drawn.get_state()
    expected = augment.augment(pictures(), drawn, (128, 64))
    resumed = torch.Generator()
    resumed.set_state(state)
    torch.manual_seed(5)  # the generator of everybody else has no say
    assert augment.augment(pictures(), resumed, (128, 64)).equal(expected)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_leaves_its_input_alone_and_may_meet_no_picture(step: Any) -> None:
    source = noisy()
    before = source.clone()
    assert not step(source, rng()).equal(source)
    assert source.equal(before)
    assert step(source[:0], rng()).shape == (0, 3, 128, 64)


def test_parameters_are_drawn_where_the_generator_is_and_moved_to_the_pictures() -> None:
    # Pictures on a device without values: whatever mixed the two, or asked for a value, would fail.
    result = augment.augment(pictures().to("meta"), rng(), (96, 48))
    assert (result.device.type, result.shape) == ("meta", (16, 3, 96, 48))


def test_with_everything_off_nothing_happens() -> None:
    result = augment.augment(noisy(), rng(), (128, 64), NOTHING)
    assert torch.allclose(result, noisy(), atol=1e-3)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"far_share is a chance between 0 and 1, not 1\.5"):
        Augmentation(far_share=1.5)
    with pytest.raises(ValueError, match="contrast is"):
        Augmentation(contrast=(1.2, 0.8))
    with pytest.raises(ValueError, match="gamma is"):
        Augmentation(gamma=(0.0, 1.0))


def test_reframing_mirrors_about_half_and_keeps_up_and_down() -> None:
    result = augment.reframe(pictures(400), rng(), (128, 64))
    left, right = result[:, 1, 64, :2].mean(1), result[:, 1, 64, -2:].mean(1)
    mirrored = right > left
    assert 0.4 < mirrored.float().mean() < 0.6  # standard error .025
    # Head up: the middle of the top edge stays blue. A cut foot never loses the head.
    assert (result[:, 0, 2, 24:40].mean(1) > 150.0).all()


def test_mirroring_alone_is_exact() -> None:
    result = augment.reframe(noisy(), rng(), (128, 64), only(mirror_share=1.0))
    assert torch.allclose(result, noisy().flip(3), atol=1e-3)


def test_a_cut_foot_takes_the_stated_share_away_and_keeps_the_head() -> None:
    # 64 of 128 rows are blue. Of a box that keeps 80 %, 64 / (128 * .8) = 62.5 % are: 80 rows.
    result = augment.reframe(pictures(3), rng(), (128, 64), only(cut_share=1.0, cut_kept=(0.8, 0.8)))
    blue = result[:, 0, :, 32]
    assert (blue[:, :79] > 199.0).all()
    assert (blue[:, 81:] < 1.0).all()


def test_relighting_changes_pictures_as_wholes() -> None:
    source = torch.full((50, 3, 128, 64), 100.0)
    settings = dataclasses.replace(augment.USUAL, gamma_share=0.0)
    result = augment.relight(source, rng(), settings)
    assert (result.amax(dim=(2, 3)) - result.amin(dim=(2, 3))).max() < 1e-3  # a plain picture stays plain
    levels = result[:, :, 0, 0]
    # Grey keeps its hue, saturation and contrast: what is left is brightness times cast.
    assert levels.min() >= 70.0 * 0.88 - 0.01 and levels.max() <= 130.0 * 1.12 + 0.01
    assert levels.std() > 5.0


def test_contrast_stretches_about_the_mean() -> None:
    result = augment.relight(noisy(), rng(), only(contrast=(0.5, 0.5)))
    mean = noisy().mean(dim=(1, 2, 3), keepdim=True)
    assert torch.allclose(result, mean + 0.5 * (noisy() - mean), atol=1e-3)


def test_grey_pictures_have_the_luma_of_the_coloured_ones_and_no_cast() -> None:
    result = augment.relight(noisy(), rng(), only(grey_share=1.0, cast=(0.5, 1.5), hue_degrees=30.0))
    blue, green, red = noisy().unbind(1)
    expected = 0.114 * blue + 0.587 * green + 0.299 * red
    assert torch.allclose(result, expected.unsqueeze(1).expand_as(result), atol=1e-3)


def test_gamma_bends_between_black_and_white() -> None:
    result = augment.relight(noisy(), rng(), only(gamma_share=1.0, gamma=(2.0, 2.0)))
    assert torch.allclose(result, 255.0 * (noisy() / 255.0) ** 2, atol=1e-2)


def test_turning_the_hue_keeps_the_sum_and_the_spread_of_the_colours() -> None:
    # A rotation about (1, 1, 1): the sum of the channels and the length of the colour stay.
    result = augment.relight(noisy(), rng(), only(hue_degrees=20.0))
    assert torch.allclose(result.sum(1), noisy().sum(1), atol=1e-2)
    assert torch.allclose(result.norm(dim=1), noisy().norm(dim=1), atol=1e-2)
    cosine = (colourful(result) * colourful(noisy())).sum(1) / colourful(noisy()).square().sum(1)
    assert cosine.min() >= math.cos(math.radians(20.0)) - 1e-3
    assert cosine.min() < 0.999


def colourful(source: torch.Tensor) -> torch.Tensor:
    return source - source.mean(dim=1, keepdim=True)


def test_blur_touches_the_stated_share_and_keeps_the_mean() -> None:
    source = noisy(200)
    for settings in (only(far_share=0.25), only(soft_share=0.25)):
        result = augment.blur(source, rng(), settings)
        changed = (result != source).flatten(1).any(1)
        assert 0.15 < changed.float().mean() < 0.35  # standard error .03
        assert (result - source).mean(dim=(1, 2, 3)).abs().max() < 1.0
        assert (result.std(dim=(1, 2, 3))[changed] < source.std(dim=(1, 2, 3))[changed]).all()


def test_softening_spreads_a_point_like_a_gaussian_of_each_axis() -> None:
    source = torch.zeros(2, 3, 21, 21)
    source[:, :, 10, 10] = 1000.0
    sigma = torch.tensor([[0.5, 1.0], [1.25, 0.0]])
    result = augment._soften(source, sigma)
    for row in range(2):
        for channel in range(3):
            spread = result[row, channel] / 1000.0
            assert spread.sum() == pytest.approx(1.0, abs=1e-4)
            steps = (torch.arange(21.0) - 10.0).square()
            down, across = (spread.sum(1) * steps).sum(), (spread.sum(0) * steps).sum()
            assert [down.item(), across.item()] == pytest.approx((sigma[row] ** 2).tolist(), abs=0.05)


def test_noise_has_the_stated_width_and_no_bias() -> None:
    source = torch.full((100, 3, 32, 16), 100.0)
    result = augment.grain(source, rng(), only(noise_share=0.5, noise_sigma=(4.0, 4.0)))
    touched = (result != source).flatten(1).any(1)
    assert 0.35 < touched.float().mean() < 0.65  # standard error .05
    assert result[touched].std().item() == pytest.approx(4.0, rel=0.05)
    assert result[touched].mean().item() == pytest.approx(100.0, abs=0.1)


def test_erasing_fills_one_box_of_some_pictures() -> None:
    source = pictures(200)
    result = augment.erase(source, rng(), only(erase_share=0.5))
    changed = (result != source).any(1)  # (N, H, W)
    touched = changed.flatten(1).any(1)
    assert 0.35 < touched.float().mean() < 0.65
    for mask in changed[touched]:
        rows, columns = mask.any(1).nonzero().squeeze(1), mask.any(0).nonzero().squeeze(1)
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()
        assert mask.float().mean() <= 0.33  # 30 %, and a box may reach into a pixel more each way


def test_variety_goes_from_none_to_the_usual():
    assert varied(1.0) == USUAL
    calm = varied(0.0)
    assert calm.brightness == calm.cast == (1.0, 1.0)
    assert calm.hue_degrees == calm.gamma_share == calm.noise_share == 0.0
    assert (calm.scale, calm.erase_share) == (USUAL.scale, USUAL.erase_share)
    assert varied(0.5).brightness == pytest.approx((0.85, 1.15))  # half of 0.7 .. 1.3
    with pytest.raises(ValueError, match="between 0 and 1"):
        varied(1.5)
