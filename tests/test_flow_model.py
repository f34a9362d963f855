"""LightFlow: shapes, units, and its parts against loops and counts by hand."""

import math

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from flow import model  # noqa: E402
from flow.flownet import FlowNet  # noqa: E402
from flow.model import (  # noqa: E402
    GlobalMatching,
    LightFlow,
    Mending,
    Pyramid,
    Refinement,
    Separable,
    base,
    build,
    search_flow,
    tiny,
)
from flow.search import PRESETS, dense_search  # noqa: E402

BOTH = pytest.mark.parametrize("network", [tiny, base])
HEIGHT, WIDTH = 64, 96
SHUT = -200.0  # a gate's logit; its sigmoid is 0 to the last digit, and that of 200 is 1


def pictures(*shape, seed=0):
    """In [0, 1], of blobs some 8 px wide."""
    *lead, height, width = shape
    coarse = torch.rand(
        (*lead, height // 8 + 1, width // 8 + 1), generator=torch.Generator().manual_seed(seed)
    )
    return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)


def made(network, seed=0):
    torch.manual_seed(seed)
    return network().eval()


@torch.no_grad()
def answered(net, before, after):
    return net(before, after)


def lively(net):
    """The same network with last layers that say something: at first they whisper."""
    with torch.no_grad():
        for refinement in (*net.coarse, net.fine):
            refinement.say.weight *= 10.0
    return net


# --- the whole network


@BOTH
def test_flows_come_coarse_to_fine_with_a_trust_for_the_finest(network):
    net = made(network)
    said = answered(net, *(pictures(2, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1)))
    # The guess and each refinement at 1/16; the search's pixels, mended and trusted at 1/8.
    coarse = [(2, 2, HEIGHT // 16, WIDTH // 16)] * (1 + len(net.coarse))
    assert [tuple(flow.shape) for flow in said.flows] == [*coarse, (2, 2, HEIGHT, WIDTH)]
    assert said.trust.shape == (2, 1, HEIGHT // 8, WIDTH // 8)
    assert all(flow.isfinite().all() for flow in said.flows) and said.trust.isfinite().all()


@BOTH
@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 160), (96, 64)])
def test_any_multiple_of_32_will_do(network, height, width):
    net = made(network)
    assert net.multiple == 32
    said = answered(net, *(pictures(1, net.channels, height, width, seed=n) for n in (0, 1)))
    assert said.flows[0].shape == (1, 2, height // 16, width // 16)
    assert said.flows[-1].shape == (1, 2, height, width) and said.flows[-1].isfinite().all()
    assert said.trust.shape == (1, 1, height // 8, width // 8) and said.trust.isfinite().all()


@BOTH
def test_no_guess_leaves_the_picture(network):
    """Where the network has learned nothing, its first flow is a mean of places of the second picture."""
    net = made(network)
    flow = answered(net, *(torch.rand(1, net.channels, HEIGHT, WIDTH) for _ in range(2))).flows[0][0]
    x, y = torch.arange(WIDTH // 16) * 16.0, torch.arange(HEIGHT // 16) * 16.0
    there_x, there_y = x + flow[0], y[:, None] + flow[1]
    assert there_x.min() >= -0.01 and there_x.max() <= WIDTH - 16 + 0.01
    assert there_y.min() >= -0.01 and there_y.max() <= HEIGHT - 16 + 0.01


@BOTH
def test_what_an_untrained_network_adds_is_small(network):
    net = made(network)
    pair = [pictures(1, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1)]
    said = answered(net, *pair)
    for guess, mended in zip(said.flows[:-2], said.flows[1:-1]):
        assert (mended - guess).abs().mean() < 4.0  # px; a place at 1/16 is 16
    # The search is taken for right at first: of the network's own flow a share of sigmoid(-2) goes in, 0.12.
    searched = search_flow(*pair, net.search)
    apart = F.interpolate(said.flows[-2], size=(HEIGHT, WIDTH), mode="bilinear") - searched
    assert apart.abs().mean() > 4.0  # there is something to be drawn to
    assert (said.flows[-1] - searched).abs().mean() < 0.2 * apart.abs().mean() + 1.0


@BOTH
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_pictures_without_anything_to_see_have_a_finite_answer_and_slope(network, level):
    net = made(network)
    same = torch.full((1, net.channels, 32, 64), level)
    said = net(same, same)
    (said.flows[-1].square().sum() + said.trust.sum()).backward()
    assert said.flows[-1].isfinite().all() and said.trust.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@BOTH
def test_pairs_of_a_batch_do_not_know_of_one_another(network):
    net = lively(made(network))
    before, after = (pictures(3, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1))
    together = answered(net, before, after)
    for n in range(3):
        alone = answered(net, before[n : n + 1], after[n : n + 1])
        assert torch.allclose(alone.flows[-1], together.flows[-1][n : n + 1], atol=1e-3)
        assert torch.allclose(alone.trust, together.trust[n : n + 1], atol=1e-4)


@BOTH
def test_every_weight_learns(network):
    """The flow that a stage begins with carries no slope, so each scale needs its own loss; all of them do."""
    torch.manual_seed(0)
    net = network()
    said = net(*(pictures(2, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1)))
    (sum(flow.square().sum() for flow in said.flows) + said.trust.sum()).backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@BOTH
def test_a_shift_by_whole_places_is_guessed_in_pixels_of_the_input(network):
    """Features of chance are enough to match what is exactly the same: 16 px to the right is +16, not +1."""
    net = made(network)
    with torch.no_grad():
        net.matching.sharpness.fill_(math.log(200.0))
    world = torch.rand((1, net.channels, 128, 256), generator=torch.Generator().manual_seed(3))
    before, after = world[..., 32:], world[..., 16:-16]
    flow = answered(net, before, after).flows[0][0, :, 2:-2, 4:-6]
    assert flow[0].median().item() == pytest.approx(16.0, abs=0.5)
    assert flow[1].median().item() == pytest.approx(0.0, abs=0.5)


# --- a search, mended


@BOTH
def test_what_comes_out_is_the_search_and_what_is_added_to_its_cells(network):
    net = lively(made(network))
    before, after = (pictures(2, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1))
    said = answered(net, before, after)
    searched = search_flow(before, after, net.search)
    with torch.no_grad():
        flows, added, trust, _ = net.mend(before, after, F.avg_pool2d(searched, 8))
    assert added.shape == (2, 2, HEIGHT // 8, WIDTH // 8) and added.abs().mean() > 0.1
    for one, found, more in zip(said.flows[-1], searched, added):
        cells = more.permute(1, 2, 0).numpy()
        spread = cv2.resize(cells, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        assert one.permute(1, 2, 0).numpy() == pytest.approx(
            found.permute(1, 2, 0).numpy() + spread, abs=1e-3
        )
    assert torch.equal(said.trust, trust)
    assert all(torch.equal(*pair) for pair in zip(said.flows[:-1], flows, strict=True))


@BOTH
def test_a_flow_that_is_given_is_mended_and_nothing_is_searched(network, monkeypatch):
    net = lively(made(network))
    before, after = (pictures(2, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1))
    by_itself, found = answered(net, before, after), search_flow(before, after, net.search)
    monkeypatch.setattr(model, "search_flow", lambda *_: pytest.fail("searched, though a flow was given"))
    with torch.no_grad():
        assert torch.equal(net(before, after, found).flows[-1], by_itself.flows[-1])
        given = found + torch.tensor([30.0, -20.0])[:, None, None]
        other = net(before, after, given)
        _, added, trust, _ = net.mend(before, after, F.avg_pool2d(given, 8))
    expected = given + F.interpolate(added, scale_factor=8.0, mode="bilinear")
    assert torch.allclose(other.flows[-1], expected, atol=1e-4) and torch.equal(other.trust, trust)
    assert (other.flows[-1] - by_itself.flows[-1]).abs().mean() > 1.0
    assert torch.equal(other.flows[0], by_itself.flows[0])  # the guess does not know of it


@BOTH
def test_what_is_added_is_in_pixels_of_the_input(network):
    """It says one place to the right and half a place up of everything: 8 px and 4 px."""
    net = made(network)
    with torch.no_grad():
        net.fine.say.weight.zero_()
        net.fine.say.bias.copy_(torch.tensor([1.0, -0.5, 3.0, SHUT]))
    given = torch.randn((1, 2, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(7)) * 5.0
    with torch.no_grad():
        said = net(*(pictures(1, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1)), given)
    expected = given + torch.tensor([8.0, -4.0])[:, None, None]
    assert torch.allclose(said.flows[-1], expected, atol=1e-4) and (said.trust == 3.0).all()


@BOTH
def test_with_the_gate_wide_open_the_search_is_gone_from_every_cell(network):
    net = made(network)
    with torch.no_grad():
        net.fine.say.weight.zero_()
        net.fine.say.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -SHUT]))
        given = torch.zeros(1, 2, HEIGHT, WIDTH)
        given[:] = torch.tensor([50.0, -30.0])[:, None, None]
        said = net(*(pictures(1, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1)), given)
    # Its own flow at 1/16 is enlarged twice: to cells, then to pixels; its values stay pixels.
    own = said.flows[-2]
    for factor in (2.0, 8.0):
        own = F.interpolate(own, scale_factor=factor, mode="bilinear")
    assert torch.allclose(said.flows[-1], own, atol=1e-3)


@BOTH
def test_the_finest_flow_teaches_the_guess_nothing(network):
    """The two flows that are compared are taken as they are: what matches is taught by its own losses alone."""
    net = made(network)
    said = net(*(pictures(1, net.channels, HEIGHT, WIDTH, seed=n) for n in (0, 1)))
    said.flows[-1].square().sum().backward()
    assert net.matching.sharpness.grad is None and net.coarse[-1].say.weight.grad[:2].abs().sum() == 0.0
    assert net.coarse[-1].take[0].weight.grad.any()  # by what it hands on


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_are_searched_as_their_pictures_are(channels):
    levels = [(pictures(2, channels, HEIGHT, WIDTH, seed=n) * 255.0).round() for n in (0, 1)]
    found = search_flow(*((one / 255.0).requires_grad_() for one in levels), "fast")
    assert found.shape == (2, 2, HEIGHT, WIDTH) and found.dtype == torch.float32 and not found.requires_grad
    search = dense_search("fast")
    for n in range(2):
        greys = []
        for one in levels:
            picture = one[n].permute(1, 2, 0).numpy().astype(np.uint8)
            greys.append(picture[..., 0] if channels == 1 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
        expected = search(*greys)
        assert np.array_equal(found[n].permute(1, 2, 0).numpy(), expected) and np.abs(expected).max() > 1.0


def test_each_network_has_its_search(monkeypatch):
    asked = []

    def search(before, after, preset):
        asked.append(preset)
        return torch.zeros(1, 2, *before.shape[2:])

    monkeypatch.setattr(model, "search_flow", search)
    for net in (made(tiny), made(base)):
        answered(net, *(pictures(1, net.channels, 32, 32, seed=n) for n in (0, 1)))
    assert asked == ["quick", "fine"] and set(asked) <= set(PRESETS)


# --- sizes


def test_tiny_is_tiny_and_both_are_small():
    counts = [sum(p.numel() for p in network().parameters()) for network in (tiny, base)]
    assert counts[0] < 0.25e6 and counts[0] < counts[1] < 0.6e6
    assert (tiny().channels, base().channels) == (1, 3)


def test_a_part_is_counted_by_hand():
    # A depthwise 5x5, a pointwise one, scale and offset of the norm.
    assert sum(p.numel() for p in Separable(8, kernel=5).parameters()) == 8 * 25 + 8 * 8 + 2 * 8
    refinement = Refinement(features=16, carried=4, hidden=8, radius=2, dense=2, depth=1)
    seen = 25 + 16 + 4 + 2  # likenesses, features, what was carried, the flow
    take = (9 * seen * 8 + 8) + (9 * 8 * 8 + 8)
    think, say = 8 * 25 + 8 * 8 + 2 * 8, 9 * 8 * 3 + 3
    assert sum(p.numel() for p in refinement.parameters()) == take + think + say
    mending = Mending(features=16, carried=4, hidden=8, depth=1)
    seen = 2 * 9 + 16 + 4 + 4  # likenesses around both flows, features, what was carried, both flows
    take, say = 9 * seen * 8 + 8, 9 * 8 * 4 + 4
    assert sum(p.numel() for p in mending.parameters()) == take + think + say


# --- its parts


def test_features_are_compared_by_direction():
    """Each has length sqrt(C), whatever the contrast of the picture; a map's middle is taken out before."""
    torch.manual_seed(0)
    pyramid = Pyramid(channels=1, widths=(8, 12, 16, 20), fine=8).eval()
    fine, eighth = (maps.detach() for maps in pyramid(pictures(2, 1, HEIGHT, WIDTH)))
    assert fine.shape == (2, 8, HEIGHT // 4, WIDTH // 4)
    assert eighth.shape == (2, 16, HEIGHT // 8, WIDTH // 8)
    for maps in (fine, eighth):
        assert maps.square().mean(dim=1).median().item() == pytest.approx(1.0, abs=1e-2)
        assert maps.square().mean(dim=1).max() <= 1.0 + 1e-4


def naive_matching(first, second, sharpness, stillness):
    """For each place: the mean of all places, weighed by exp(sharpness * mean product - stillness * distance^2)."""
    channels, height, width = first.shape
    flow, alone = np.zeros((2, height, width)), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            likeness = np.zeros((height, width))
            for v in range(height):
                for u in range(width):
                    product = first[:, y, x] @ second[:, v, u] / channels
                    likeness[v, u] = sharpness * product - stillness * ((u - x) ** 2 + (v - y) ** 2)
            chance = np.exp(likeness - likeness.max())
            chance /= chance.sum()
            rows, columns = np.mgrid[:height, :width]
            flow[:, y, x] = (chance * (columns - x)).sum(), (chance * (rows - y)).sum()
            alone[y, x] = chance.max()
    return flow, alone


@pytest.mark.parametrize(("sharpness", "stillness"), [(12.0, 0.02), (3.0, 0.5), (40.0, 1e-3)])
def test_global_matching_is_the_loop(sharpness, stillness):
    matching = GlobalMatching()
    with torch.no_grad():
        matching.sharpness.fill_(math.log(sharpness))
        matching.stillness.fill_(math.log(stillness))
    first, second = (torch.randn((2, 5, 4, 6), generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    with torch.no_grad():
        flow, alone = matching(first, second)
    assert flow.shape == (2, 2, 4, 6) and alone.shape == (2, 1, 4, 6)
    for n in range(2):
        expected, how_alone = naive_matching(
            first[n].double().numpy(), second[n].double().numpy(), sharpness, stillness
        )
        assert flow[n].numpy() == pytest.approx(expected, abs=1e-4)
        assert alone[n, 0].numpy() == pytest.approx(how_alone, abs=1e-4)


def test_where_nothing_is_alike_things_stay():
    """Without a likeness the prior alone decides: away from the rim its mean is no motion."""
    with torch.no_grad():
        flow, alone = GlobalMatching()(torch.zeros(1, 3, 41, 41), torch.zeros(1, 3, 41, 41))
    # exp(-0.02 d^2) is a Gaussian of variance 25: 20 places to the rim are 4 of its deviations.
    assert flow[0, :, 20, 20].abs().max() < 1e-3
    assert alone[0, 0, 20, 20].item() == pytest.approx(1 / (2 * math.pi * 25), rel=1e-2)


def test_only_chance_and_not_how_alone_it_is_carries_a_slope():
    first = torch.randn(1, 4, 3, 3).requires_grad_()
    flow, alone = GlobalMatching()(first, torch.randn(1, 4, 3, 3))
    assert flow.requires_grad and not alone.requires_grad


def refinement(seed=0, **changed):
    torch.manual_seed(seed)
    sizes = {"features": 6, "carried": 3, "hidden": 8, "radius": 1, "dense": 1, "depth": 1} | changed
    return Refinement(**sizes).eval()


def test_a_refinement_adds_to_the_flow_and_hands_on_what_it_thought():
    part = refinement()
    maps = [torch.randn(2, 6, 5, 7) for _ in range(2)]
    flow, carried = torch.randn(2, 2, 5, 7), torch.randn(2, 3, 5, 7)
    with torch.no_grad():
        mended, trust, handed = part(*maps, flow, carried)
        assert mended.shape == flow.shape and trust.shape == (2, 1, 5, 7) and handed.shape == (2, 8 + 1, 5, 7)
        assert torch.equal(handed[:, 8:], trust)
        assert not torch.equal(mended, flow)
        part.say.weight.zero_()
        mended, trust, _ = part(*maps, flow, carried)
    assert torch.equal(mended, flow) and not trust.any()  # who says nothing leaves the flow as it was


def test_a_refinement_looks_where_the_flow_points_to():
    """A second map that lies 2 places to the right is the same to it, when the flow says so."""
    part = refinement()
    world = torch.randn(1, 6, 5, 26)
    first, moved = world[..., 2:], world[..., :24]  # what is at x in first is at x + 2 in moved
    still, right, carried = torch.zeros(1, 2, 5, 24), torch.zeros(1, 2, 5, 24), torch.zeros(1, 3, 5, 24)
    right[:, 0] = 2.0
    with torch.no_grad():
        part.take[0].weight[:, -2:] = 0.0  # what it thinks of the flow itself is another question
        here = part(first, first, still, carried)[0] - still
        there = part(first, moved, right, carried)[0] - right
    # The last 2 of 24 columns are out of sight, and seen 1 + 1 + 2 + 1 further: radius and kernels of 3, 5 and 3.
    assert torch.allclose(here[..., :17], there[..., :17], atol=1e-5)
    assert not torch.allclose(here[..., 17:], there[..., 17:], atol=1e-5)


def test_no_slope_goes_back_through_the_flow_that_is_mended():
    flow = torch.randn(1, 2, 5, 7).requires_grad_()
    part = refinement()
    mended, _, _ = part(torch.randn(1, 6, 5, 7), torch.randn(1, 6, 5, 7), flow, torch.randn(1, 3, 5, 7))
    mended.sum().backward()
    assert flow.grad is None


def mending(bias=None, seed=0):
    """With a ``bias`` it says that and nothing else, everywhere."""
    torch.manual_seed(seed)
    part = Mending(features=6, carried=3, hidden=8, depth=1).eval()
    if bias is not None:
        with torch.no_grad():
            part.say.weight.zero_()
            part.say.bias.copy_(torch.tensor(bias))
    return part


def mended(part, seed=0):
    """Two flows of chance, in places; what the part adds to the first, and its trust."""
    chance = torch.Generator().manual_seed(seed)
    first, second = torch.randn((2, 2, 6, 5, 7), generator=chance)
    flow, other = torch.randn((2, 2, 2, 5, 7), generator=chance) * 3.0
    with torch.no_grad():
        added, trust = part(first, second, flow, other, torch.randn((2, 3, 5, 7), generator=chance))
    assert added.shape == flow.shape and trust.shape == (2, 1, 5, 7)
    return flow, other, added, trust


def test_with_its_gate_closed_and_nothing_to_say_it_adds_nothing():
    _, _, added, trust = mended(mending([0.0, 0.0, 1.5, SHUT]))
    assert not added.any() and (trust == 1.5).all()


def test_with_its_gate_wide_open_it_gives_the_other_flow():
    flow, other, added, _ = mended(mending([0.0, 0.0, 0.0, -SHUT]))
    assert torch.allclose(flow + added, other, atol=1e-5)


def test_what_it_says_comes_on_top_of_its_share_of_the_other_flow():
    # A logit of log 3 opens the gate by 3/4; 2 places to the right and 1 up are said in places.
    flow, other, added, _ = mended(mending([2.0, -1.0, 0.0, math.log(3.0)]))
    expected = 0.75 * (other - flow) + torch.tensor([2.0, -1.0])[:, None, None]
    assert torch.allclose(added, expected, atol=1e-5)


def test_at_first_it_leaves_the_first_flow_nearly_as_it_was():
    part = mending()
    assert part.say.bias.tolist() == [0.0, 0.0, 0.0, -2.0]
    flow, other, added, _ = mended(part)
    assert added.any() and (added - 0.119 * (other - flow)).abs().mean() < 0.3  # 1 / (1 + e^2) = 0.119


@pytest.mark.parametrize("which", ["flow", "other"])
def test_it_looks_where_either_flow_points_to(which):
    """Features that lie 2 places to the right are where the flow says so; the other one sees what it saw before."""
    part = mending()
    with torch.no_grad():
        part.take[0].weight[:, -4:] = 0.0  # what it thinks of the flows themselves is another question
        ignored = slice(9, 18) if which == "flow" else slice(0, 9)
        part.take[0].weight[:, ignored] = 0.0  # nor does it look along the other one
    world = torch.randn((1, 6, 5, 26), generator=torch.Generator().manual_seed(0))
    first, moved = world[..., 2:], world[..., :24]  # what is at x in first is at x + 2 in moved
    still, right, carried = torch.zeros(1, 2, 5, 24), torch.zeros(1, 2, 5, 24), torch.zeros(1, 3, 5, 24)
    right[:, 0] = 2.0

    def trusted(second, pointing):
        flows = (pointing, still) if which == "flow" else (still, pointing)
        with torch.no_grad():
            return part(first, second, *flows, carried)[1]

    here, there, lost = trusted(first, still), trusted(moved, right), trusted(moved, still)
    # The last 2 of 24 columns are out of sight, and seen 1 + 1 + 2 + 1 further: radius and kernels of 3, 5 and 3.
    assert torch.allclose(here[..., :17], there[..., :17], atol=1e-5)
    assert not torch.allclose(here[..., 17:], there[..., 17:], atol=1e-5)
    assert not torch.allclose(here[..., :17], lost[..., :17], atol=1e-5)


# --- names


def test_a_network_is_built_by_its_name():
    assert isinstance(build("tiny"), LightFlow) and build("tiny").channels == 1
    assert isinstance(build("base"), LightFlow) and build("base").channels == 3
    nets = [build(name, width=1 / 16) for name in ("flownets", "flownetc")]
    assert all(isinstance(net, FlowNet) and net.multiple == 64 for net in nets)
    assert nets[1].stem.is_cosine and not hasattr(nets[0].stem, "is_cosine")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'raft'; choose tiny, base, flownets, flownetc"):
        build("raft")


def test_the_seed_decides_the_first_weights():
    first, again, other = (made(tiny, seed) for seed in (0, 0, 1))
    weights = [net.pyramid.fine.weight for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
