"""The two ways to correlate are one, and a map is warped as the loop does it; see test_flow_flownet for the loop."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from flow.correlation import _banded, _sliced, local_correlation, places, strided_correlation, warp  # noqa: E402


def maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("radius", [1, 2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (6, 3)])
def test_bands_of_rows_are_shifted_products(radius, height, width):
    first, second = maps(2, 3, height, width), maps(2, 3, height, width, seed=1)
    assert torch.allclose(_banded(first, second, radius), _sliced(first, second, radius), atol=1e-5)


def test_both_ways_teach_the_same():
    slopes = []
    for way in (_sliced, _banded):
        first, second = maps(1, 2, 4, 5).requires_grad_(), maps(1, 2, 4, 5, seed=1).requires_grad_()
        (way(first, second, 2) * maps(1, 25, 4, 5, seed=2)).sum().backward()
        slopes.append((first.grad, second.grad))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*slopes))


@pytest.mark.parametrize("radius", [2, 3])
def test_channels_are_rows_of_displacements(radius):
    """A lone 1 at (x, y) = (4, 3) against one at (5, 1): displacement (1, -2)."""
    first, second = torch.zeros(1, 4, 7, 9), torch.zeros(1, 4, 7, 9)
    first[0, :, 3, 4], second[0, :, 1, 5] = 1.0, 1.0
    found = local_correlation(first, second, radius).nonzero().tolist()
    assert found == [[0, (-2 + radius) * (2 * radius + 1) + (1 + radius), 3, 4]]


@pytest.mark.parametrize("radius", [1, 4])
def test_a_map_with_itself_is_its_mean_square_in_the_middle_channel(radius):
    first = maps(2, 5, 4, 6)
    middle = ((2 * radius + 1) ** 2) // 2
    found = local_correlation(first, first, radius)[:, middle]
    assert torch.allclose(found, first.square().mean(dim=1), atol=1e-6)


@pytest.mark.parametrize("radius", [2, 3])
def test_there_and_back_is_the_same_likeness(radius):
    """What (x, y) is to (x + dx, y + dy) of the other, that one is to (x, y), at (-dx, -dy)."""
    first, second = maps(1, 3, 6, 8), maps(1, 3, 6, 8, seed=1)
    there, back = local_correlation(first, second, radius), local_correlation(second, first, radius)
    reach = 2 * radius + 1
    for dy, dx in [(0, 1), (-1, 2), (2, -2)]:
        one = there[0, (dy + radius) * reach + dx + radius, 2:4, 2:6]
        other = back[0, (-dy + radius) * reach - dx + radius, 2 + dy : 4 + dy, 2 + dx : 6 + dx]
        assert torch.allclose(one, other, atol=1e-6)


def test_steps_are_every_second_displacement():
    first, second = maps(1, 3, 6, 8), maps(1, 3, 6, 8, seed=1)
    every = local_correlation(first, second, 4).reshape(1, 9, 9, 6, 8)
    steps = strided_correlation(first, second, 4, 2).reshape(1, 5, 5, 6, 8)
    assert torch.allclose(steps, every[:, ::2, ::2], atol=1e-6)


def naive_warp(features, flow):
    """Four neighbours of x + flow, weighed by how near they are; what lies outside is 0."""
    batch, channels, height, width = features.shape
    out = np.zeros(features.shape)
    for n in range(batch):
        for y in range(height):
            for x in range(width):
                there_x, there_y = x + flow[n, 0, y, x], y + flow[n, 1, y, x]
                left, upper = int(np.floor(there_x)), int(np.floor(there_y))
                for v, u in [(upper, left), (upper, left + 1), (upper + 1, left), (upper + 1, left + 1)]:
                    if 0 <= v < height and 0 <= u < width:
                        near = (1 - abs(there_x - u)) * (1 - abs(there_y - v))
                        out[n, :, y, x] += near * features[n, :, v, u]
    return out


@pytest.mark.parametrize("reach", [0.4, 2.0, 30.0])
def test_warping_is_the_loop(reach):
    features, flow = maps(2, 3, 5, 7), maps(2, 2, 5, 7, seed=1) * reach
    expected = naive_warp(features.double().numpy(), flow.double().numpy())
    assert warp(features, flow).numpy() == pytest.approx(expected, abs=1e-4)


def test_no_flow_warps_nothing():
    features = maps(1, 4, 6, 9)
    assert torch.allclose(warp(features, torch.zeros(1, 2, 6, 9)), features, atol=1e-5)


def test_a_whole_flow_brings_what_it_points_to():
    # Everything looks 2 to the right and 1 up; the last two columns and the first row see nothing.
    features, flow = maps(1, 4, 6, 9), torch.zeros(1, 2, 6, 9)
    flow[:, 0], flow[:, 1] = 2.0, -1.0
    seen = warp(features, flow)
    assert torch.allclose(seen[..., 1:, :-2], features[..., :-1, 2:], atol=1e-5)
    assert seen[..., 0, :].abs().max() < 1e-5 and seen[..., -2:].abs().max() < 1e-5


def test_places_are_counted_in_the_kind_asked_for():
    assert places(3, torch.zeros(1, dtype=torch.float64)).tolist() == [0.0, 1.0, 2.0]
    assert places(3, torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
