"""The OSNet family: its blocks by hand, its published sizes, and what its normalisations may and may not change."""

import io

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402  # after the check

from reid.osnet import (  # noqa: E402
    AggregationGate,
    LightConvolution,
    OmniScaleBlock,
    OmniScaleEncoder,
    Stage,
    Stream,
    osnet,
)

NORMS = ("batch", "instance-after", "adaptive")


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameters(part):
    return sum(p.numel() for p in part.parameters())


def lived_in(part):
    """Every norm with statistics and an affine map of its own, as after training; ready to run."""
    for norm in part.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.3, 0.3)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return part.eval()


# Shapes and sizes


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 128), (16, 8)),
        ((128, 64), (8, 4)),
        ((100, 45), (6, 3)),  # 100 -> 50 -> 25 -> 12 -> 6 and 45 -> 23 -> 12 -> 6 -> 3
        ((13, 13), (1, 1)),  # 13 -> 7 -> 4 -> 2 -> 1: the smallest
    ],
)
def test_the_map_has_a_sixteenth_of_the_picture(size, expected):
    encoder = osnet(width=0.25).eval()
    with torch.inference_mode():
        assert encoder(torch.zeros(2, 3, *size)).shape == (2, encoder.width, *expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.0])
def test_every_width_and_norm_of_the_family(width, norm):
    encoder = osnet(width=width, norm=norm).eval()
    assert encoder.width == 512 * width
    with torch.inference_mode():
        features = encoder(noise(1, 3, 64, 32))
    assert features.shape == (1, encoder.width, 4, 2)
    assert features.min() >= 0.0 and features.max() > 0.0


def test_the_parameters_of_a_block_by_hand():
    # A norm has two numbers a channel. 16 channels in, 64 out, so that the streams have 64 / 4 = 16, and the gate's
    # hidden layer 16 / 16 = 1.
    reduce = 16 * 16 + 2 * 16
    light = 16 * 16 + 16 * 9 + 2 * 16
    gate = (16 * 1 + 1) + (1 * 16 + 16)
    expand = shortcut = 16 * 64 + 2 * 64
    assert (reduce, light, gate, expand) == (288, 432, 49, 1152)
    block = OmniScaleBlock(inside=16, outside=64)
    assert parameters(block) == reduce + (1 + 2 + 3 + 4) * light + gate + expand + shortcut == 6961


def parameters_by_table(stem, first, second, third):
    """The published table, summed row by row."""

    def block(inside, outside):
        c, hidden = outside // 4, outside // 4 // 16
        streams = 10 * (c * c + 9 * c + 2 * c)
        gate = (c * hidden + hidden) + (hidden * c + c)
        shortcut = 0 if inside == outside else inside * outside + 2 * outside
        return (inside * c + 2 * c) + streams + gate + (c * outside + 2 * outside) + shortcut

    def pointwise(c):
        return c * c + 2 * c

    stages = sum(block(a, b) + block(b, b) for a, b in ((stem, first), (first, second), (second, third)))
    return (3 * 49 * stem + 2 * stem) + stages + pointwise(first) + pointwise(second) + pointwise(third)


@pytest.mark.parametrize(
    ("width", "channels", "exact", "published_millions"),
    [
        (0.25, (16, 64, 96, 128), 134_792, 0.2),
        (0.5, (32, 128, 192, 256), 497_426, 0.6),
        (0.75, (48, 192, 288, 384), 1_087_610, 1.3),
        (1.0, (64, 256, 384, 512), 1_905_828, 2.2),
    ],
)
def test_the_parameters_of_the_family_are_the_published_ones(width, channels, exact, published_millions):
    encoder = osnet(width=width)
    assert parameters(encoder) == parameters_by_table(*channels) == exact
    # What is published counts the layer from the pooled map to 512 numbers and its norm as well, not the classifier.
    to_512 = encoder.width * 512 + 512 + 2 * 512
    assert round((exact + to_512) / 1e6, 1) == published_millions


# The parts of a block


def test_a_light_convolution_is_a_mixing_of_channels_then_a_blur_of_each():
    """Against four loops."""
    light = lived_in(LightConvolution(channels=2))
    mix, blur, norm = (
        light[0].weight.detach()[:, :, 0, 0],
        light[1].weight.detach()[:, 0],
        light[2],
    )
    x = noise(1, 2, 4, 3)
    expected = torch.zeros(1, 2, 4, 3)
    for c in range(2):
        plane = mix[c, 0] * x[0, 0] + mix[c, 1] * x[0, 1]
        for row in range(4):
            for column in range(3):
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= row + dy < 4 and 0 <= column + dx < 3:
                            expected[0, c, row, column] += (
                                blur[c, dy + 1, dx + 1] * plane[row + dy, column + dx]
                            )
        mean, variance = norm.running_mean[c], norm.running_var[c]
        scale = norm.weight[c] / (variance + norm.eps).sqrt()
        expected[0, c] = ((expected[0, c] - mean) * scale + norm.bias[c]).clamp(min=0.0)
    assert torch.allclose(light(x), expected, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_stream_of_depth_t_sees_2t_plus_1_pixels_each_way(depth):
    stream = Stream(channels=3, depth=depth).eval()
    for part in stream.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.ones_(part.weight)  # nothing cancels
    impulse = torch.zeros(1, 3, 15, 15)
    impulse[:, :, 7, 7] = 1.0
    seen = (stream(impulse)[0, 0] > 0.0).nonzero()
    low, high = 7 - depth, 7 + depth
    assert seen.min(0).values.tolist() == [low, low] and seen.max(0).values.tolist() == [high, high]
    assert len(seen) == (2 * depth + 1) ** 2


def test_a_gate_by_hand():
    gate = AggregationGate(channels=2)
    for part, weight, bias in (
        (gate.squeeze, [[1.0, 2.0]], [-1.0]),
        (gate.excite, [[1.0], [-1.0]], [0.0, 0.5]),
    ):
        part.weight.data = torch.tensor(weight)[:, :, None, None]
        part.bias.data = torch.tensor(bias)
    x = torch.tensor([[1.0, 3.0], [0.0, 2.0]]).view(1, 2, 1, 2)  # means 2 and 1
    hidden = max(0.0, 1.0 * 2.0 + 2.0 * 1.0 - 1.0)  # 3
    first, second = 1.0 / (1.0 + np.exp(-hidden)), 1.0 / (1.0 + np.exp(hidden - 0.5))
    assert gate.weights(x).flatten().tolist() == pytest.approx([first, second], abs=1e-6)
    assert gate(x).flatten().tolist() == pytest.approx([first, 3.0 * first, 0.0, 2.0 * second], abs=1e-6)


def test_a_gate_lets_through_between_nothing_and_all():
    gate = AggregationGate(channels=32)
    x = 10.0 * noise(4, 32, 6, 3)
    weights = gate.weights(x)
    assert weights.shape == (4, 32, 1, 1)
    assert weights.min() > 0.0 and weights.max() < 1.0
    assert torch.equal(gate(x).sign(), x.sign()) and (gate(x).abs() <= x.abs()).all()


def test_a_gate_weighs_channels_not_places():
    """Moving a map's pixels about moves the gated pixels about in the same way."""
    gate, x = AggregationGate(channels=16), noise(2, 16, 5, 4)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))

    def moved(y):
        return y.flatten(2)[:, :, order].view_as(y)

    assert torch.allclose(gate(moved(x)), moved(gate(x)), atol=1e-6)


def test_no_gate_starts_dead():
    """It sees nothing negative: one hidden unit of random sign would answer a constant half of the time."""
    for seed in range(20):
        torch.manual_seed(seed)
        gates = [part for part in osnet(width=0.25).modules() if isinstance(part, AggregationGate)]
        assert all(gate.squeeze(torch.ones(1, gate.squeeze.in_channels, 1, 1)).min() > 0 for gate in gates)


def test_a_block_is_its_shortcut_and_the_gated_sum_of_its_streams():
    block = lived_in(OmniScaleBlock(inside=32, outside=64))
    x = noise(2, 32, 6, 4)
    narrow = block.reduce(x)
    omni = torch.zeros_like(narrow)
    for stream in block.streams:
        scale = stream(narrow)
        omni = omni + scale * block.gate.weights(scale)
    assert torch.allclose(block(x), (block.shortcut(x) + block.expand(omni)).clamp(min=0.0), atol=1e-6)


def test_one_gate_serves_all_streams():
    """So that the order of the streams is of no account: with a gate for each, it would be."""
    block = lived_in(OmniScaleBlock(inside=64, outside=64))
    assert sum(isinstance(part, AggregationGate) for part in block.modules()) == 1
    x = noise(2, 64, 6, 4)
    before = block(x)
    block.streams = nn.ModuleList(block.streams[t] for t in (2, 0, 3, 1))
    assert torch.allclose(block(x), before, atol=1e-5)


def test_a_block_that_keeps_the_width_has_a_plain_shortcut():
    block = OmniScaleBlock(inside=64, outside=64).eval()
    nn.init.zeros_(block.expand[0].weight)
    x = noise(1, 64, 3, 2)
    assert torch.equal(block(x), x.clamp(min=0.0))


# The variants


def blocks_with(norm, where):
    """Which of the six blocks have instance normalisation there."""
    blocks = [part for part in osnet(width=0.25, norm=norm) if isinstance(part, OmniScaleBlock)]
    assert len(blocks) == 6
    found = [
        isinstance(block.after if where == "sum" else block.expand[1], nn.InstanceNorm2d) for block in blocks
    ]
    return [number for number, is_there in enumerate(found) if is_there]


@pytest.mark.parametrize(
    ("norm", "stem", "on_branches", "after_sums"),
    [
        ("batch", False, [], []),
        ("instance-after", True, [], [0, 1]),  # stem and first stage
        ("adaptive", True, [0, 1, 3, 4], []),  # stem; both, the second, the first block of the three stages
    ],
)
def test_where_the_variants_normalise_by_instance(norm, stem, on_branches, after_sums):
    assert isinstance(osnet(width=0.25, norm=norm)[0][1], nn.InstanceNorm2d) == stem
    assert blocks_with(norm, "branch") == on_branches
    assert blocks_with(norm, "sum") == after_sums
    instances = [p for p in osnet(width=0.25, norm=norm).modules() if isinstance(p, nn.InstanceNorm2d)]
    assert len(instances) == stem + len(on_branches) + len(after_sums)


@pytest.mark.parametrize("norm", NORMS[1:])
def test_the_variants_differ_in_norms_alone(norm):
    """The same seed gives the same convolutions under the same names."""

    def convolutions(norm):
        torch.manual_seed(7)
        parts = osnet(width=0.25, norm=norm).named_modules()
        return {name: part for name, part in parts if isinstance(part, nn.Conv2d)}

    plain, other = convolutions("batch"), convolutions(norm)
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[name].weight, other[name].weight) for name in plain)


def test_the_variants_cost_no_or_hardly_any_parameters():
    # An instance norm in place of a batch norm has as many; after a sum it comes on top: 2 blocks x 2 numbers x 64.
    plain = parameters(osnet(width=0.25))
    assert parameters(osnet(width=0.25, norm="adaptive")) == plain
    assert parameters(osnet(width=0.25, norm="instance-after")) == plain + 2 * 2 * 64


@pytest.mark.parametrize("norm", NORMS)
def test_instance_normalisation_forgets_contrast(norm):
    """All that comes before the stem's norm is linear: three times the contrast is divided out again, or not."""
    torch.manual_seed(0)
    encoder = lived_in(osnet(width=0.25, norm=norm))
    x = noise(2, 3, 64, 32)
    with torch.inference_mode():
        plain, strong = encoder(x), encoder(3.0 * x)
    difference = (plain - strong).abs().max() / plain.abs().max()
    assert difference > 0.1 if norm == "batch" else difference < 1e-3


@pytest.mark.parametrize(("width", "norm"), [(0.3, "batch"), (2.0, "batch"), (0.25, "instance")])
def test_what_is_not_published_is_refused(width, norm):
    with pytest.raises(ValueError, match="choose one of"):
        osnet(width=width, norm=norm)


# Learning and running


@pytest.mark.parametrize("norm", NORMS)
def test_the_gradient_reaches_every_parameter(norm):
    torch.manual_seed(0)
    encoder = osnet(width=0.25, norm=norm)
    features = encoder(noise(4, 3, 64, 32))
    (features * noise(*features.shape, seed=1)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0.0, name


def test_a_seed_gives_one_network():
    def drawn(seed):
        torch.manual_seed(seed)
        return osnet(width=0.25, norm="adaptive").state_dict()

    first, again, other = drawn(5), drawn(5), drawn(6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.0.weight"], other["0.0.weight"])


def test_new_weights_keep_the_scale_of_what_flows_through():
    """Neither dying nor bursting on the way: a first map of the order of one, in training."""
    for width in (0.25, 1.0):
        torch.manual_seed(0)
        spread = osnet(width=width)(noise(4, 3, 64, 32)).std().item()
        assert 0.1 < spread < 10.0


@pytest.mark.parametrize("norm", NORMS)
def test_a_picture_has_the_same_map_in_any_company(norm):
    encoder = lived_in(osnet(width=0.25, norm=norm))
    x = noise(3, 3, 64, 32)
    with torch.inference_mode():
        together = encoder(x)
        alone = torch.cat([encoder(x[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_an_encoder_of_other_stages():
    encoder = OmniScaleEncoder(stem=8, stages=[Stage(16, ("none",)), Stage(32, ("branch", "sum", "none"))])
    assert encoder.width == 32
    assert encoder.eval()(torch.zeros(1, 3, 32, 16)).shape == (1, 32, 4, 2)  # one halving fewer


# Of the exporter about itself; of torch's instance norm checking its channels, and having no running averages.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")
@pytest.mark.filterwarnings("ignore:.*operator 'instance_norm' is set to train=True:UserWarning")
@pytest.mark.parametrize("norm", NORMS)
def test_the_exported_graph_gives_the_same_map(norm):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    encoder, file = lived_in(osnet(width=0.25, norm=norm)), io.BytesIO()
    torch.onnx.export(
        encoder,
        (torch.zeros(1, 3, 64, 32),),
        file,
        input_names=["pictures"],
        dynamic_axes={"pictures": {0: "N"}},
        dynamo=False,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    for n in (1, 3):
        x = noise(n, 3, 64, 32, seed=n)
        with torch.inference_mode():
            expected = encoder(x).numpy()
        found = session.run(None, {"pictures": x.numpy()})[0]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())
