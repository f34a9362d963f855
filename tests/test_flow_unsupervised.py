"""Losses that need no true flow, and what a network learns from them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import cv2  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from flow.adapt import Adapting, adapt, adapt_checkpoint, as_input, drawer  # noqa: E402
from flow.footage import Footage  # noqa: E402
from flow.model import Predictions, build  # noqa: E402
from flow.train import load_network  # noqa: E402
from flow.unsupervised import (  # noqa: E402
    Weights,
    as_grey,
    census_distance,
    charbonnier,
    data_distance,
    hidden_by_check,
    leaves,
    photometric_distance,
    smoothness,
    ssim_distance,
    unsupervised_loss,
)

HEIGHT, WIDTH = 48, 64


def texture(height, width, seed=0, channels=1):
    """Smooth noise (1, C, H, W) in [0, 1]."""
    noise = torch.rand((1, channels, height, width), generator=torch.Generator().manual_seed(seed))
    return (F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), mode="reflect"), 5, 1) - 0.5) * 3.0 % 1.0


def shifted(dx, dy, *, seed=0, channels=1):
    """Two pictures of one texture; what is at (x, y) in the first is at (x + dx, y + dy) in the second."""
    world = texture(HEIGHT + 20, WIDTH + 20, seed, channels)
    before = world[..., 10 : 10 + HEIGHT, 10 : 10 + WIDTH]
    after = world[..., 10 - dy : 10 - dy + HEIGHT, 10 - dx : 10 - dx + WIDTH]
    return before, after


def even(dx, dy, *, height=HEIGHT, width=WIDTH, count=1):
    return torch.tensor([float(dx), float(dy)])[None, :, None, None].expand(count, 2, height, width).clone()


def inner(values):
    return values[..., 10:-10, 10:-10].mean().item()


@pytest.mark.parametrize("part", ["census", "photometric", "ssim"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_true_flow_costs_less_than_a_wrong_one(part, channels):
    before, after = shifted(4, -3, channels=channels)
    weights = Weights(**({"census": 0.0} | {part: 1.0}))
    true = inner(data_distance(before, after, even(4, -3), weights))
    for wrong in [(0, 0), (3, -3), (4, -2), (-4, 3)]:
        assert inner(data_distance(before, after, even(*wrong), weights)) > true + 0.02


def test_the_slope_points_to_the_true_flow():
    before, after = shifted(4, -3)
    flow = even(3.6, -2.5).requires_grad_()
    data_distance(before, after, flow, Weights()).mean().backward()
    slope = flow.grad.mean((0, 2, 3))
    assert slope[0] < 0.0 < slope[1]  # more to the right, more up


def test_charbonnier_by_hand():
    assert charbonnier(torch.tensor([2.0])).item() == pytest.approx((4.0 + 1e-6) ** 0.45)
    x = torch.zeros(1, requires_grad=True)
    charbonnier(x).sum().backward()
    assert x.grad.item() == 0.0


def naive_census(first, second, radius):
    first, second = first.numpy()[0, 0] * 255.0, second.numpy()[0, 0] * 255.0
    height, width = first.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            parts = []
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    v, u = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                    a, b = first[v, u] - first[y, x], second[v, u] - second[y, x]
                    t = a / np.sqrt(0.81 + a * a) - b / np.sqrt(0.81 + b * b)
                    parts.append(t * t / (0.1 + t * t))
            out[y, x] = (np.mean(parts) ** 2 + 1e-6) ** 0.45
    return out


def test_census_is_the_loop():
    first, second = texture(6, 7), texture(6, 7, seed=1)
    assert census_distance(first, second, radius=2)[0, 0].numpy() == pytest.approx(
        naive_census(first, second, 2), abs=1e-4
    )


def test_census_does_not_see_light_where_colours_do():
    before = texture(HEIGHT, WIDTH) * 0.5
    same = census_distance(before, before).mean().item()
    assert census_distance(before, before + 0.3).mean().item() == pytest.approx(same, abs=1e-3)
    assert photometric_distance(before, before + 0.3).mean().item() == pytest.approx(0.3**0.9, abs=1e-3)


def test_ssim_by_hand():
    # Even pictures a and b have no contrast: likeness (2 a b + c) / (a^2 + b^2 + c), c = 1e-4.
    a, b = torch.full((1, 1, 4, 4), 0.2), torch.full((1, 1, 4, 4), 0.6)
    likeness = (2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4)
    assert ssim_distance(a, b).numpy() == pytest.approx((1 - likeness) / 2, abs=1e-4)
    assert ssim_distance(a, a).abs().max() < 1e-6


def test_an_even_slope_costs_only_at_first_order():
    x = torch.arange(8.0).expand(1, 2, 6, 8)
    grey = torch.zeros(1, 1, 6, 8)
    # Slope 1 along x, 0 along y: the mean of the two axes.
    first = (charbonnier(torch.tensor(1.0)) + charbonnier(torch.tensor(0.0))) / 2
    assert smoothness(x, grey, order=1, edge=10.0).item() == pytest.approx(first.item())
    assert smoothness(x, grey, order=2, edge=10.0).item() == pytest.approx(1e-6**0.45)
    with pytest.raises(ValueError, match="order"):
        smoothness(x, grey, order=3, edge=10.0)


@pytest.mark.parametrize("order", [1, 2])
def test_smoothness_is_of_cells_whatever_the_size_of_the_flow(order):
    """A flow of every pixel used to cost less than that of every fourth: a slope 4 times and a bend 16 times less."""
    cells = torch.rand((2, 2, HEIGHT // 4, WIDTH // 4), generator=torch.Generator().manual_seed(2)) * 4.0
    pixels = cells.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    before, after = shifted(4, 0)
    told = []
    for share in (0.0, 1.0):
        shares = {"smooth_first": share} if order == 1 else {}
        shares["smooth_second"] = share if order == 2 else 0.0
        weights = Weights(census=0.0, **shares)
        told.append(
            [unsupervised_loss(Predictions((f,)), before, after, weights=weights) for f in (cells, pixels)]
        )
    cost = [with_it["loss"] - without["loss"] for without, with_it in zip(*told)]
    grey = F.avg_pool2d(torch.cat((before, after)), 4)
    assert cost[0].item() == pytest.approx(smoothness(cells, grey, order=order, edge=20.0).item(), rel=1e-4)
    assert cost[1].item() == pytest.approx(cost[0].item(), rel=1e-4) and cost[0] > 0.01


@pytest.mark.parametrize("order", [1, 2])
def test_what_has_too_few_places_to_bend_is_smooth(order):
    assert smoothness(torch.rand(1, 2, 1, 1), torch.rand(1, 1, 1, 1), order=order, edge=10.0).item() == 0.0
    line = torch.tensor([0.0, 3.0]).expand(1, 2, 1, 2)  # one slope along x, no bend
    expected = charbonnier(torch.tensor(3.0)).item() / 2 if order == 1 else 0.0
    assert smoothness(line, torch.zeros(1, 1, 1, 2), order=order, edge=10.0).item() == pytest.approx(expected)


def test_a_picture_of_less_than_a_cell_has_no_slope():
    small = torch.rand((1, 1, 3, 3), generator=torch.Generator().manual_seed(0))
    flow = torch.rand((2, 2, 3, 3), generator=torch.Generator().manual_seed(1))
    assert torch.isfinite(unsupervised_loss(Predictions((flow,)), small, small)["loss"])


@pytest.mark.parametrize("order", [1, 2])
def test_a_step_is_cheaper_on_an_edge(order):
    flow = even(0, 0, height=8, width=8)
    flow[..., 4:] = 3.0
    picture = torch.zeros(1, 1, 8, 8)
    plain = smoothness(flow, picture, order=order, edge=10.0)
    picture[..., 4:] = 1.0
    assert smoothness(flow, picture, order=order, edge=10.0) < 0.2 * plain


def test_what_is_covered_is_found():
    # A square of 16 px goes 8 to the right over a still ground: the 8 columns before it are covered.
    forward, backward = even(0, 0), even(0, 0)
    forward[:, 0, 16:32, 16:32] = 8.0
    backward[:, 0, 16:32, 24:40] = -8.0
    hidden = hidden_by_check(forward, backward)[0, 0]
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    expected[16:32, 32:40] = True
    assert torch.equal(hidden, expected)


def test_a_check_at_a_quarter_of_the_size_is_the_same_check():
    forward, backward = (even(d, 0, height=12, width=16) for d in (8, -8))
    backward[..., 9, 7] = 0.0
    hidden = hidden_by_check(forward, backward, scale=4.0)[0, 0]
    # 8 px are 2 places: the two last columns leave, and (9, 5) does not come back.
    expected = torch.zeros(12, 16, dtype=torch.bool)
    expected[:, 14:], expected[9, 5] = True, True
    assert torch.equal(hidden, expected)
    assert torch.equal(leaves(forward, 4.0)[0, 0, 0], torch.arange(16) >= 14)


def both_ways(dx, dy, trust=None):
    return Predictions((torch.cat((even(dx, dy), even(-dx, -dy))),), trust)


def test_hidden_pixels_do_not_count():
    before, after = shifted(4, 0)
    plain = unsupervised_loss(both_ways(4, 0), before, after)
    assert plain["hidden"].item() == pytest.approx(4 / WIDTH)  # what leaves on one side
    spoilt = before.clone()
    spoilt[..., -4:] = torch.rand((1, 1, HEIGHT, 4), generator=torch.Generator().manual_seed(9))
    flow = both_ways(4, 0)
    weights = Weights(census=0.0, photometric=1.0)
    first, second = (unsupervised_loss(flow, b, after, weights=weights)["data"] for b in (before, spoilt))
    assert first.item() == pytest.approx(second.item(), abs=1e-6)


def test_what_is_known_speaks_where_nothing_is_seen():
    before, after = shifted(4, 0)
    known, weights = both_ways(4, 0), Weights(anchor=1.0)
    flow = torch.cat((even(4, 0), even(-4, 0)))
    flow[..., :, -4:] += 2.0  # off by (2, 2) in the hidden columns, alone in the way there
    flow[1] = even(-4, 0)
    said = unsupervised_loss(Predictions((flow,)), before, after, known, weights)
    plain = unsupervised_loss(Predictions((flow,)), before, after, None, weights)
    assert (said["loss"] - plain["loss"]).item() == pytest.approx(8**0.5 * 4 / (2 * WIDTH), rel=0.01)


class Shift(nn.Module):
    """One displacement for all there is, and its opposite the other way round: learned, or not at all."""

    channels = 1

    def __init__(self, start):
        super().__init__()
        self.flow = nn.Parameter(torch.tensor(start))
        self.norm = nn.BatchNorm2d(1)

    def forward(self, before, after):
        count, _, height, width = before.shape
        sign = torch.ones(count, 1, 1, 1)
        if count > 1:
            sign[count // 2 :] = -1.0
        flow = sign * self.flow[None, :, None, None].expand(count, 2, height // 4, width // 4)
        return Predictions((flow,), torch.zeros(count, 1, height // 4, width // 4))


def pairs(dx, dy):
    """Draws one pair each time: a batch of one."""
    seeds = iter(range(10_000))

    def draw(count):
        made = [shifted(dx, dy, seed=next(seeds)) for _ in range(count)]
        return torch.cat([before for before, _ in made]), torch.cat([after for _, after in made])

    return draw


def test_a_network_learns_from_pictures_alone():
    network = Shift([2.4, 0.4])
    adapting = Adapting(steps=30, batch=1, judged=4, learning_rate=0.1, average=0.2)
    adapted, report = adapt(network, pairs(3, 1), adapting)
    assert report.is_better
    assert adapted.flow.tolist() == pytest.approx([3.0, 1.0], abs=0.15)
    assert network.flow.tolist() == pytest.approx([2.4, 0.4])  # left as it was
    assert not adapted.training


def test_a_network_that_gets_worse_is_given_back():
    adapting = Adapting(steps=2, batch=1, judged=2, learning_rate=20.0, average=1.0)
    adapted, report = adapt(Shift([3.0, 1.0]), pairs(3, 1), adapting)
    assert not report.is_better and adapted.flow.tolist() == [3.0, 1.0]


def test_adapting_that_diverges_says_so():
    def broken(count):
        return torch.full((count, 1, HEIGHT, WIDTH), torch.nan), torch.zeros(count, 1, HEIGHT, WIDTH)

    with pytest.raises(ValueError, match="learning rate"):
        adapt(Shift([0.0, 0.0]), broken, Adapting(steps=1, batch=1, judged=1))


def footage(count=4):
    """A texture that moves 2 px a frame to the left."""
    world = (texture(40, 70 + 2 * count, channels=3)[0] * 255.0).permute(1, 2, 0).numpy().astype(np.uint8)
    return Footage([np.stack([world[:, 2 * n : 2 * n + 70] for n in range(count)])], 32, 64)


def test_footage_becomes_input():
    before, after = drawer(footage(), 1, np.random.default_rng(0))(2)
    assert before.shape == after.shape == (2, 1, 32, 64) and before.min() >= 0.0 and before.max() <= 1.0
    pictures = footage().draw(2, np.random.default_rng(0))[0]
    assert as_grey(as_input(pictures, 3)).numpy() == pytest.approx(as_input(pictures, 1).numpy())
    # Blue 255, green 0, red 0 is a grey of 0.114.
    assert as_input(np.array([[[[255, 0, 0]]]], np.uint8), 1).item() == pytest.approx(0.114)


def checkpoint(folder, **recipe):
    """A young network's, of pictures of 64 x 32, and the network."""
    network = build("tiny")
    recipe = {"network": "tiny", "height": 32, "picture_width": 64} | recipe
    start = {"recipe": recipe, "network": network.state_dict(), "average": network.state_dict(), "steps": 7}
    torch.save(start, folder / "last.pt")
    return folder / "last.pt", network


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_a_network_that_mends_a_search_adapts(name):
    """Its finest flow has every pixel, its trust every eighth; every stage is taught."""
    torch.manual_seed(0)
    network = build(name).eval()
    draw = drawer(footage(), network.channels, np.random.default_rng(0))
    weights = Weights(smooth_first=0.1)
    told = []
    adapted, report = adapt(
        network,
        draw,
        Adapting(steps=2, batch=2, judged=2, average=1.0, weights=weights),
        told=lambda step, said: told.append(said),
    )
    assert np.isfinite([report.before, report.after]).all()
    assert len(told) == 2 and all(np.isfinite(list(said.values())).all() for said in told)
    assert all(0.0 <= said["hidden"] <= 1.0 for said in told)
    first, second = draw(2)
    both = torch.cat((first, second)), torch.cat((second, first))
    with torch.no_grad():
        known = network(*both)
    unsupervised_loss(network(*both), first, second, known, weights)["loss"].backward()
    silent = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # The trust that a refinement says beside its flow is handed on: it learns, too.
    assert not silent


def test_a_size_that_does_not_fit_the_network_is_refused(tmp_path):
    """It used to end in a traceback of two tensors that do not match."""
    path, _ = checkpoint(tmp_path)
    with pytest.raises(ValueError, match="tiny takes pictures whose sides are multiples of 32 px"):
        adapt_checkpoint(path, [tmp_path], tmp_path / "out", size=(48, 64))
    older, _ = checkpoint(tmp_path, height=48)
    with pytest.raises(ValueError, match="multiples of 32 px"):
        adapt_checkpoint(older, [tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_becomes_a_checkpoint(tmp_path):
    path, network = checkpoint(tmp_path)
    folder = tmp_path / "footage"
    folder.mkdir()
    for n in range(4):
        pictures, _ = footage().draw(1, np.random.default_rng(n))
        cv2.imwrite(str(folder / f"{n}.png"), pictures[0])
    adapting = Adapting(steps=1, batch=1, judged=1)
    steps = []
    written, report = adapt_checkpoint(
        path, [folder], tmp_path / "out", adapting, told=lambda step, said: steps.append(step)
    )
    loaded, made_by = load_network(written)
    assert (made_by.network, made_by.height, made_by.picture_width) == ("tiny", 32, 64)
    assert steps == [1] and np.isfinite([report.before, report.after]).all()
    assert torch.equal(loaded.pyramid.fine.weight, network.pyramid.fine.weight) != report.is_better
