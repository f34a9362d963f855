"""The parts of the embedding network."""

import pytest

torch = pytest.importorskip("torch")

from reid.model import BodyPooling, GeneralisedMean, HalfInstanceNorm, normalise, reid_small  # noqa: E402


def test_generalised_mean_lies_between_mean_and_maximum():
    x = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    assert GeneralisedMean()(x).item() == pytest.approx(((1 + 27) / 2) ** (1 / 3))


def test_body_pooling_is_the_pool_of_the_whole_and_of_both_halves():
    x = torch.rand(2, 5, 6, 4, generator=torch.Generator().manual_seed(0))
    pool = GeneralisedMean()
    expected = torch.cat([pool(x), pool(x[:, :, :3]), pool(x[:, :, 3:])], dim=1)
    assert torch.allclose(BodyPooling(pool=pool)(x), expected, atol=1e-6)


def test_a_silent_channel_has_a_finite_slope():
    x = torch.zeros(1, 2, 4, 2, requires_grad=True)
    BodyPooling(pool=GeneralisedMean())(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_half_of_the_channels_forget_light_and_contrast():
    norm = HalfInstanceNorm(4).eval()
    x = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, lit = norm(x), norm(3.0 * x + 5.0)
    assert torch.allclose(plain[:, :2], lit[:, :2], atol=1e-3)
    assert not torch.allclose(plain[:, 2:], lit[:, 2:], atol=1.0)


def test_the_small_network_is_small_and_runs_at_both_training_sizes():
    network = reid_small().eval()
    assert sum(p.numel() for p in network.parameters()) < 2_000_000
    for size in ((128, 64), (96, 48)):
        rows = network(normalise(torch.zeros(2, 3, *size)))
        assert rows.shape == (2, network.dim)


def test_normalising_centres_each_colour():
    mid = torch.tensor([103.5, 116.3, 123.7]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert normalise(mid).abs().max() < 1e-5
    assert normalise(mid + 58.0) == pytest.approx(torch.ones(1, 3, 2, 2))
