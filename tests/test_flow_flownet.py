"""FlowNetS, FlowNetC and the correlation layer, against counts by hand and loops."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from flow.correlation import local_correlation, strided_correlation  # noqa: E402
from flow.flownet import SiameseStem, at_full_size, flownetc, flownets  # noqa: E402

BOTH = pytest.mark.parametrize("network", [flownets, flownetc])


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(*shape, seed=0):
    return torch.rand(shape, generator=chance(seed))


def naive_correlation(first, second, radius, stride):
    """Equation 1 of the paper, with patches of one place, as four loops."""
    batch, channels, height, width = first.shape
    steps = range(-radius, radius + 1, stride)
    out = np.zeros((batch, len(steps) ** 2, height, width), np.float64)
    for n in range(batch):
        for k, (dy, dx) in enumerate((dy, dx) for dy in steps for dx in steps):
            for y in range(max(0, -dy), min(height, height - dy)):
                for x in range(max(0, -dx), min(width, width - dx)):
                    out[n, k, y, x] = first[n, :, y, x] @ second[n, :, y + dy, x + dx] / channels
    return out


@pytest.mark.parametrize(
    ("radius", "stride", "height", "width"),
    [(1, 1, 4, 5), (3, 1, 4, 6), (4, 1, 3, 2), (2, 2, 4, 6), (6, 2, 6, 4), (6, 3, 6, 9), (20, 2, 4, 6)],
)
def test_correlation_is_the_loop(radius, stride, height, width):
    first, second = pictures(2, 3, height, width), pictures(2, 3, height, width, seed=1)
    expected = naive_correlation(first.double().numpy(), second.double().numpy(), radius, stride)
    assert strided_correlation(first, second, radius, stride).numpy() == pytest.approx(expected, abs=1e-6)
    if stride == 1:
        assert torch.equal(
            local_correlation(first, second, radius), strided_correlation(first, second, radius, 1)
        )


def test_a_displaced_map_answers_at_its_displacement():
    # The second map is the first, 4 to the right and 2 up: row 9 and column 12 of the 21 x 21 steps of two.
    first = pictures(1, 64, 32, 32) - 0.5
    second = torch.zeros_like(first)
    second[:, :, :-2, 4:] = first[:, :, 2:, :-4]
    best = strided_correlation(first, second, 20, 2).argmax(dim=1)[0]
    assert (best[2:, :-4] == 9 * 21 + 12).all()


def test_the_correlation_teaches_both_maps():
    first, second = pictures(1, 2, 4, 4).double(), pictures(1, 2, 4, 4, seed=1).double()
    first.requires_grad_()
    second.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: strided_correlation(a, b, 4, 2), (first, second), fast_mode=True
    )


def convolution(size, inputs, outputs):
    return size * size * inputs * outputs + outputs


def trunk_and_refinement(inputs):
    """Numbers in the layers that both networks share; ``inputs`` are the channels of convolution 3.1."""
    trunk = convolution(3, inputs, 256)
    trunk += sum(
        convolution(3, a, b) + convolution(3, b, b) for a, b in [(256, 512), (512, 512), (512, 1024)]
    )
    # What each stage of the refinement sees: a skip, an upconvolution, and the coarser flow.
    seen = [1024, 512 + 512 + 2, 512 + 256 + 2, 256 + 128 + 2, 128 + 64 + 2]
    up = sum(convolution(4, a, b) for a, b in zip(seen, [512, 256, 128, 64]))
    return trunk + up + sum(convolution(3, n, 2) for n in seen) + 4 * convolution(4, 2, 2)


# Of the 473 channels of FlowNetC's convolution 3.1, 441 are correlations and 32 go round them.
@pytest.mark.parametrize(
    ("network", "stem", "joined", "total"),
    [
        (flownets, convolution(7, 6, 64), 256, 38_676_514),
        (flownetc, convolution(7, 3, 64) + convolution(1, 256, 32), 441 + 32, 39_175_298),
    ],
)
def test_the_paper_s_width_has_39_million_parameters_and_runs(network, stem, joined, total):
    net = network(generator=chance()).eval()
    count = sum(p.numel() for p in net.parameters())
    both = convolution(5, 64, 128) + convolution(5, 128, 256)
    assert count == stem + both + trunk_and_refinement(joined) == total
    with torch.no_grad():
        flows = net(pictures(1, 3, 64, 64), pictures(1, 3, 64, 64, seed=1)).flows
    assert len(flows) == 5 and all(flow.isfinite().all() for flow in flows)


@BOTH
def test_flows_come_at_five_sizes(network):
    net = network(width=1 / 16, generator=chance()).eval()
    with torch.no_grad():
        predictions = net(pictures(2, 3, 128, 192), pictures(2, 3, 128, 192, seed=1))
    assert [tuple(flow.shape) for flow in predictions.flows] == [
        (2, 2, 128 // n, 192 // n) for n in (64, 32, 16, 8, 4)
    ]
    assert predictions.trust is None
    assert at_full_size(predictions.flows[-1], 128, 192).shape == (2, 2, 128, 192)


@BOTH
def test_every_weight_learns(network):
    net = network(width=1 / 16, generator=chance())
    predictions = net(pictures(2, 3, 128, 64), pictures(2, 3, 128, 64, seed=1))
    sum((flow * flow).sum() for flow in predictions.flows).backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@BOTH
def test_what_one_cell_sees(network):
    """The flow of 1/64 sees all of 256 pixels; a place of convolution 1 sees 7 pixels around it."""
    net = network(width=1 / 16, generator=chance()).eval()
    before = pictures(1, 3, 256, 256).requires_grad_()
    net(before, before.detach()).flows[0][0, :, 2, 2].sum().backward()
    assert (before.grad.abs().sum((0, 1)) > 0).float().mean() > 0.9
    picture = pictures(1, 6 if network is flownets else 3, 64, 64).requires_grad_()
    net.stem.tower.conv1(picture)[0, :, 16, 16].sum().backward()
    rows = picture.grad.abs().sum((0, 1, 3)).nonzero()
    assert (rows.min().item(), rows.max().item()) == (32 - 3, 32 + 3)


def test_the_towers_are_one():
    # Alike pictures give alike features: the correlation at displacement 0 (channel 220) is a mean of squares.
    stem = SiameseStem(channels=3, widths=(4, 8, 16), redirected=2)
    picture = pictures(1, 3, 64, 64)
    skip, features = stem(picture, picture)
    _, expected = stem.tower(picture)
    assert (skip.shape, features.shape) == ((1, 8, 16, 16), (1, 443, 8, 8))
    assert torch.allclose(features[:, 2 + 220], (expected * expected).mean(1), atol=1e-6)


def test_cosines_are_compared_whatever_the_features_size():
    torch.manual_seed(0)
    stem = SiameseStem(channels=3, widths=(4, 8, 16), redirected=2, is_cosine=True)
    picture = pictures(1, 3, 64, 64)
    with torch.no_grad():
        _, features = stem(picture, picture)
        assert torch.allclose(features[:, 2 + 220], torch.ones(1, 8, 8), atol=0.01)  # a feature with itself
        assert features[:, 2:].max() <= 1.0 + 1e-5
        for weights in stem.tower.conv3.parameters():
            weights *= 0.1
        _, smaller = stem(picture, picture)
    assert torch.allclose(smaller[:, 2:], features[:, 2:], atol=0.02)


def test_enlarging_a_flow_starts_bilinear():
    refinement = flownets(width=1 / 16, generator=chance()).refinement
    flow = pictures(1, 2, 4, 5)
    larger = refinement.enlarge[0](flow)
    expected = torch.nn.functional.interpolate(flow, scale_factor=2.0, mode="bilinear")
    assert torch.allclose(larger[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-6)


def test_a_generator_decides_the_weights():
    first, again, other = (flownets(width=1 / 16, generator=chance(seed)) for seed in (0, 0, 1))
    weights = [net.stem.tower.conv1[0].weight for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_brightness_does_not_matter():
    net = flownets(width=1 / 16, generator=chance()).eval()
    before, after = pictures(1, 3, 64, 64) / 2, pictures(1, 3, 64, 64, seed=1) / 2
    with torch.no_grad():
        dark, light = net(before, after).flows[-1], net(before + 0.3, after + 0.3).flows[-1]
    assert torch.allclose(dark, light, atol=1e-3)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((1, 3, 64, 64), (1, 3, 64, 128), "one size"),
        ((1, 1, 64, 64), (1, 1, 64, 64), r"\(N, 3, H, W\)"),
        ((3, 64, 64), (3, 64, 64), r"\(N, 3, H, W\)"),
        ((1, 3, 96, 64), (1, 3, 96, 64), "multiples of 64"),
    ],
)
def test_what_does_not_fit_is_refused(before, after, said):
    with pytest.raises(ValueError, match=said):
        flownets(width=1 / 16)(torch.zeros(before), torch.zeros(after))


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_is_above_zero(width):
    with pytest.raises(ValueError, match="above 0"):
        flownets(width=width)


@BOTH
def test_onnx_runtime_agrees(network, tmp_path):
    """Plain operators only, sizes free, the same numbers as torch to 1e-3 px of flows of some ten."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    net = network(width=1 / 16, generator=chance()).eval()
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Finest(net),
            (torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)),
            str(path),
            dynamo=False,
            opset_version=18,
            input_names=["before", "after"],
            output_names=["flow"],
            dynamic_axes=dict.fromkeys(("before", "after", "flow"), {0: "N", 2: "H", 3: "W"}),
        )
    assert {node.domain for node in onnx.load(str(path)).graph.node} == {""}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for shape in [(1, 3, 64, 64), (2, 3, 128, 192)]:
        before, after = pictures(*shape), pictures(*shape, seed=1)
        with torch.no_grad():
            expected = net(before, after).flows[-1].numpy()
        (found,) = session.run(None, {"before": before.numpy(), "after": after.numpy()})
        assert found == pytest.approx(expected, abs=1e-3) and np.abs(expected).max() > 1e-2


class Finest(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, before, after):
        return self.network(before, after).flows[-1]
