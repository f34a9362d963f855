"""What augmentation may and may not do to a crop."""

import pytest

torch = pytest.importorskip("torch")

from reid import augment  # noqa: E402  # after the check for torch


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=16):
    """Upper half blue, lower half red, a white column at the left edge."""
    result = torch.zeros(count, 3, 128, 64)
    result[:, 0, :64], result[:, 2, 64:] = 200.0, 100.0
    result[:, :, :, :8] = 255.0
    return result


def test_all_together_keep_range_and_give_the_size_asked_for():
    result = augment.augment(pictures(), rng(), (96, 48))
    assert result.shape == (16, 3, 96, 48)
    assert result.isfinite().all()
    assert result.min() >= 0.0 and result.max() <= 255.0


def test_one_seed_gives_one_answer_and_each_picture_its_own():
    first, again, other = (augment.augment(pictures(), rng(seed), (128, 64)) for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)
    assert not first[0].equal(first[1])


def test_reframing_mirrors_about_half_and_keeps_up_and_down():
    result = augment.reframe(pictures(400), rng(), (128, 64))
    left, right = result[:, 1, 64, :2].mean(1), result[:, 1, 64, -2:].mean(1)
    mirrored = right > left
    assert 0.4 < mirrored.float().mean() < 0.6  # standard error .025
    # Head up: the middle of the top edge stays blue. A cut foot never loses the head.
    assert (result[:, 0, 2, 24:40].mean(1) > 150.0).all()


def test_a_cut_foot_shows_in_some_pictures():
    # Red starts at half of an uncut picture; the window of a cut one ends further up, so that red starts lower.
    red = (augment.reframe(pictures(400), rng(), (128, 64))[:, 2, :, 32] > 50.0).float().mean(1)
    cut = (red < 0.3).float().mean()
    assert 0.03 < cut < 0.125


def test_erasing_fills_one_box_of_some_pictures():
    source = pictures(200)
    result = augment.erase(source, rng(), chance=0.5)
    changed = (result != source).any(1)  # (N, H, W)
    touched = changed.flatten(1).any(1)
    assert 0.35 < touched.float().mean() < 0.65
    for mask in changed[touched]:
        rows, columns = mask.any(1).nonzero().squeeze(1), mask.any(0).nonzero().squeeze(1)
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()
        assert mask.float().mean() <= 0.31


def test_blur_touches_the_stated_share_and_keeps_the_mean():
    source = pictures(40) + 10.0 * torch.rand(40, 3, 128, 64, generator=rng())
    result = augment.blur(source, rng(), share=0.25)
    changed = (result != source).flatten(1).any(1)
    assert int(changed.sum()) == 10
    assert (result - source).mean().abs() < 1.0
    assert augment.blur(source[:3], rng(), share=0.25).equal(source[:3])  # a share of less than one picture


def test_relighting_changes_pictures_as_wholes():
    source = torch.full((50, 3, 128, 64), 100.0)
    result = augment.relight(source, rng())
    assert (result.amax(dim=(2, 3)) - result.amin(dim=(2, 3))).max() < 1e-3  # a plain picture stays plain
    levels = result[:, :, 0, 0]
    assert levels.min() >= 75.0 * 0.92 - 0.01 and levels.max() <= 125.0 * 1.08 + 0.01
    assert levels.std() > 5.0
